package rtp

import (
	"time"

	"github.com/bluenviron/mediacommon/v2/pkg/codecs/h264"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/h265"

	"github.com/hookline/hookline/internal/media"
)

// DTS derives decoding times from the order of the pictures, which RTP does not carry: with B-frames the PTS of what comes
// next may lie before that of what came. Times never decrease, and a DTS is never behind its PTS.
type DTS struct {
	codec media.Codec
	h264  *h264.DTSExtractor
	h265  *h265.DTSExtractor
	sets  [][]byte // of the configuration, until the first unit
	begun bool
	last  time.Duration
}

// NewDTS returns one for a video track. sets of t's configuration are what the first pictures are read with.
func NewDTS(t *media.Track) *DTS {
	d := &DTS{codec: t.Codec}
	d.Reset(t)
	return d
}

// Reset begins anew with the parameter sets of t.
func (d *DTS) Reset(t *media.Track) {
	d.h264, d.h265 = nil, nil
	if d.codec == media.H265 {
		d.h265 = &h265.DTSExtractor{}
		d.h265.Initialize()
	} else {
		d.h264 = &h264.DTSExtractor{}
		d.h264.Initialize()
	}
	d.sets = parameterSets(t)
}

// Of returns the decoding time of a unit.
func (d *DTS) Of(data []byte, pts time.Duration) time.Duration {
	dts := pts
	if v, err := d.extract(data, int64(pts)); err == nil {
		dts = min(time.Duration(v), pts)
	}
	if d.begun && dts < d.last {
		dts = min(d.last, pts)
	}
	if d.begun && dts < d.last { // the source went back in time; the hub repairs that
		d.begun = false
	}
	d.begun, d.last = true, dts
	return dts
}

func (d *DTS) extract(data []byte, pts int64) (int64, error) {
	au := append([][]byte{}, d.sets...)
	for nalu := range media.NALUnits(data) {
		au = append(au, nalu)
	}
	var v int64
	var err error
	if d.h265 != nil {
		v, err = d.h265.Extract(au, pts)
	} else {
		v, err = d.h264.Extract(au, pts)
	}
	if err == nil {
		d.sets = nil
	}
	return v, err
}

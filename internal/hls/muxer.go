package hls

import (
	"bytes"
	"slices"
	"time"

	"github.com/hookline/hookline/internal/format/fmp4"
	"github.com/hookline/hookline/internal/format/mpegts"
	"github.com/hookline/hookline/internal/media"
)

// muxer writes the segments of a variant.
type muxer interface {
	// tracks takes new tracks, between two segments.
	tracks(t []*media.Track)
	// init is the init segment; nil for a variant without.
	init() []byte
	// begin appends what a segment begins with.
	begin(dst []byte) []byte
	// add takes a frame and appends what can be written.
	add(dst []byte, f *media.Frame) []byte
	// end appends the rest of a segment. next is the frame behind it, nil at the end of the stream.
	end(dst []byte, next *media.Frame) []byte
}

type tsMuxer struct{ mux *mpegts.Muxer }

func (m *tsMuxer) tracks(t []*media.Track)               { m.mux.SetTracks(t) }
func (m *tsMuxer) init() []byte                          { return nil }
func (m *tsMuxer) begin(dst []byte) []byte               { return m.mux.AppendTables(dst) }
func (m *tsMuxer) add(dst []byte, f *media.Frame) []byte { return m.mux.Append(dst, f) }
func (m *tsMuxer) end(dst []byte, _ *media.Frame) []byte { return dst }

// fragmentLength and fragmentBytes bound what is held back for a fragment.
const (
	fragmentLength = 500 * time.Millisecond
	fragmentBytes  = 4 << 20
)

type fmp4Muxer struct {
	mux   *fmp4.Muxer
	low   *lowLatency   // not nil: parts end fragments, once there are parts
	begun time.Duration // DTS of the first frame that is held back
	bytes int           // held back
}

func (m *fmp4Muxer) tracks(t []*media.Track) { m.mux.SetTracks(t) }
func (m *fmp4Muxer) init() []byte            { return m.mux.AppendInit(nil) }
func (m *fmp4Muxer) begin(dst []byte) []byte { return dst }

func (m *fmp4Muxer) add(dst []byte, f *media.Frame) []byte {
	ends := m.bytes >= fragmentBytes
	if m.low == nil || m.low.target == 0 {
		ends = ends || f.Key || f.DTS-m.begun >= fragmentLength
	}
	if m.mux.Pending() > 0 && ends {
		dst = m.mux.AppendFragment(dst, f)
	}
	if m.mux.Pending() == 0 {
		m.begun, m.bytes = f.DTS, 0
	}
	if m.mux.Add(f) {
		m.bytes += len(f.Data)
	}
	return dst
}

func (m *fmp4Muxer) end(dst []byte, next *media.Frame) []byte { return m.mux.AppendFragment(dst, next) }

func newMuxer(variant string, t []*media.Track, low *lowLatency) muxer {
	if variant == FMP4 {
		return &fmp4Muxer{mux: fmp4.NewMuxer(t), low: low}
	}
	return &tsMuxer{mux: mpegts.NewMuxer(t)}
}

// carries says whether a variant can carry one of the tracks.
func carries(variant string, tracks []*media.Track) bool {
	for _, t := range tracks {
		if variant == FMP4 && fmp4.Carries(t) || variant == TS && mpegts.Carries(t) {
			return true
		}
	}
	return false
}

// same says whether two sets of tracks are decoded alike. Configurations that only a variant without init segments could
// take in its stride count as different, too: a decoder may have to be another one (RFC 8216 section 4.3.2.3).
func same(a, b []*media.Track) bool {
	if len(a) != len(b) {
		return false
	}
	for _, t := range a {
		if !contains(b, t) {
			return false
		}
	}
	return true
}

// contains says whether a frame of t can be decoded as one of the tracks.
func contains(tracks []*media.Track, t *media.Track) bool {
	return slices.ContainsFunc(tracks, func(x *media.Track) bool {
		return x == t || x.Codec == t.Codec && bytes.Equal(x.Config, t.Config) && x.SampleRate == t.SampleRate && x.Channels == t.Channels
	})
}

// leads says whether the times of t are those that make the length of a segment: video, if there is some.
func leads(tracks []*media.Track, t *media.Track) bool {
	return t.Codec.Kind() == media.Video || !slices.ContainsFunc(tracks, func(x *media.Track) bool { return x.Codec.Kind() == media.Video })
}

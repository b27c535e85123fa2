package vod

import (
	"time"

	"github.com/hookline/hookline/internal/format/amf"
	"github.com/hookline/hookline/internal/media"
)

// metadata is what the tracks say of a time line.
type metadata struct {
	raw           []byte
	video, audio  bool
	width, height int
	fps           float64
}

// metadataOf makes the onMetaData of a time line: its length. The packagers add what they know of the tracks.
func metadataOf(tracks []*media.Track, length time.Duration) metadata {
	var m metadata
	for _, t := range tracks {
		if t.Codec.Kind() == media.Audio {
			m.audio = true
			continue
		}
		m.video, m.width, m.height, m.fps = true, t.Width, t.Height, t.FPS
	}
	members := amf.ECMAArray{{Name: "duration", Value: length.Seconds()}}
	if raw, err := amf.Append(nil, members); err == nil { // it has no value that could not be written
		m.raw = raw
	}
	return m
}

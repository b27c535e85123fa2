package httplive

import (
	"github.com/hookline/hookline/internal/format/flv"
	"github.com/hookline/hookline/internal/media"
	"github.com/hookline/hookline/internal/stream"
)

// FormatName is the Format.Name of FLV tags with a file header.
const FormatName = "flv"

// Formats returns the wire formats of this package for the hub. enhanced says how H.265 and Opus are written: as
// Enhanced RTMP ("hvc1"), or with the unofficial ids that older players know.
func Formats(enhanced bool) []stream.Format {
	return []stream.Format{{
		Name:   FormatName,
		Schema: "rtmp",
		New: func(p stream.Program) stream.Packager {
			return &packager{flv: flv.NewPackager(program(p, enhanced)), enhanced: enhanced}
		},
	}}
}

// packager is a stream.Packager that writes FLV.
type packager struct {
	flv      *flv.Packager
	enhanced bool
}

func program(p stream.Program, enhanced bool) flv.Program {
	return flv.Program{Tracks: p.Tracks, Metadata: p.Metadata, Enhanced: enhanced}
}

// Start implements stream.Packager.
func (k *packager) Start() []byte { return k.flv.Start() }

// Change implements stream.Packager.
func (k *packager) Change(dst []byte, p stream.Program) []byte {
	return k.flv.Change(dst, program(p, k.enhanced))
}

// Append implements stream.Packager.
func (k *packager) Append(dst []byte, f *media.Frame) []byte { return k.flv.Append(dst, f) }

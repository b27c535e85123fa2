package httplive

import (
	"github.com/hookline/hookline/internal/format/flv"
	"github.com/hookline/hookline/internal/format/fmp4"
	"github.com/hookline/hookline/internal/format/mpegts"
	"github.com/hookline/hookline/internal/media"
	"github.com/hookline/hookline/internal/stream"
)

// kind is a way to play live streams over HTTP.
type kind struct {
	format      string // stream.Format.Name
	schema      string // the family of sources, also the value of the parameter schema
	suffix      string // of the path; its case does not matter
	contentType string
}

func kinds() [3]kind {
	return [...]kind{
		{format: "flv", schema: "rtmp", suffix: ".live.flv", contentType: "video/x-flv"},
		{format: "ts", schema: "ts", suffix: ".live.ts", contentType: "video/mp2t"},
		{format: "fmp4", schema: "fmp4", suffix: ".live.mp4", contentType: "video/mp4"},
	}
}

// Formats returns the wire formats of this package for the hub: "flv" (schema rtmp), "ts" and "fmp4" (schemas of the same
// names), and each of them in WebSocket frames. enhanced says how H.265 and Opus are written into FLV: as Enhanced RTMP ("hvc1"), or with the unofficial ids that
// older players know.
func Formats(enhanced bool) []stream.Format {
	plain := []stream.Format{
		{Name: "flv", Schema: "rtmp", New: func(p stream.Program) stream.Packager {
			return &packager{flv: flv.NewPackager(program(p, enhanced)), enhanced: enhanced}
		}},
		{Name: "ts", Schema: "ts", Carries: mpegts.Carries, New: func(p stream.Program) stream.Packager {
			return &tsPackager{mux: mpegts.NewMuxer(p.Tracks), tracks: p.Tracks}
		}},
		{Name: "fmp4", Schema: "fmp4", Carries: fmp4.Carries, New: func(p stream.Program) stream.Packager {
			return &fmp4Packager{mux: fmp4.NewMuxer(p.Tracks)}
		}},
	}
	all := plain
	for _, f := range plain {
		inner := f.New
		f.Name, f.New = framedName(f.Name), func(p stream.Program) stream.Packager { return framed{inner(p)} }
		all = append(all, f)
	}
	return all
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

// tsPackager writes a transport stream. Key frames bring tables and parameter sets, so nothing has to go before them.
type tsPackager struct {
	mux    *mpegts.Muxer
	tracks []*media.Track
}

// Start implements stream.Packager. Who starts at sound has the tables from here.
func (k *tsPackager) Start() []byte {
	for _, t := range k.tracks {
		if t.Codec.Kind() == media.Video {
			return nil
		}
	}
	return k.mux.AppendTables(nil)
}

// Append implements stream.Packager.
func (k *tsPackager) Append(dst []byte, f *media.Frame) []byte { return k.mux.Append(dst, f) }

// Size implements stream.Sizer.
func (k *tsPackager) Size(f *media.Frame) int { return k.mux.Size(f) }

// Change implements stream.Packager: tables of other streams, or else what tells a reader that it skipped a part.
func (k *tsPackager) Change(dst []byte, p stream.Program) []byte {
	k.tracks = p.Tracks
	if k.mux.SetTracks(p.Tracks) {
		return k.mux.AppendTables(dst)
	}
	return k.mux.AppendGap(dst)
}

// fmp4Packager writes fragmented MP4, each frame as a fragment of its own: a viewer has it as soon as the server.
type fmp4Packager struct {
	mux *fmp4.Muxer
	// changed: viewers may have another init segment than the one that is valid.
	changed bool
}

// Start implements stream.Packager.
func (k *fmp4Packager) Start() []byte { return k.mux.AppendInit(nil) }

// Append implements stream.Packager.
func (k *fmp4Packager) Append(dst []byte, f *media.Frame) []byte {
	k.mux.Add(f)
	return k.mux.AppendFragment(dst, nil)
}

// Size implements stream.Sizer.
func (k *fmp4Packager) Size(f *media.Frame) int { return k.mux.Size(f) }

// Change implements stream.Packager: another init segment. Who skipped a part may have skipped one.
func (k *fmp4Packager) Change(dst []byte, p stream.Program) []byte {
	k.changed = k.mux.SetTracks(p.Tracks) || k.changed
	if !k.changed {
		return dst
	}
	return k.mux.AppendInit(dst)
}

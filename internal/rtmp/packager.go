package rtmp

import (
	"github.com/hookline/hookline/internal/format/flv"
	"github.com/hookline/hookline/internal/media"
	"github.com/hookline/hookline/internal/stream"
)

// FormatName is the Format.Name of RTMP chunks.
const FormatName = "rtmp"

// ChunkSize is the chunk size in bytes of everything that a [Server] and a [Client] send after connect. It is one value
// for all viewers because they share their wire bytes.
const ChunkSize = 60000

// Formats returns the wire formats of this package for the hub. enhanced says how codecs are announced that Adobe gave no
// id: by the FourCC of Enhanced RTMP ("hvc1", "av01"; the default of rtmp.enhanced), or by the unofficial ids that older
// players know.
func Formats(enhanced bool) []stream.Format {
	return []stream.Format{{
		Name:   FormatName,
		Schema: FormatName,
		New:    func(p stream.Program) stream.Packager { return newPackager(p, enhanced) },
	}}
}

// packager writes chunks that any viewer can start at: all headers are of format 0.
type packager struct {
	program  stream.Program
	enhanced bool
	last     uint32 // time stamp of the newest frame
}

func newPackager(p stream.Program, enhanced bool) *packager {
	p.Tracks = flv.Carried(p.Tracks)
	return &packager{program: p, enhanced: enhanced}
}

// Start returns the messages that a viewer needs first: metadata and codec configuration.
func (p *packager) Start() []byte { return p.announce(nil, 0) }

// Change implements stream.Packager.
func (p *packager) Change(dst []byte, program stream.Program) []byte {
	program.Tracks = flv.Carried(program.Tracks)
	p.program = program
	return p.announce(dst, p.last)
}

func (p *packager) announce(dst []byte, timestamp uint32) []byte {
	dst, body := beginMessage(dst, csidData, TypeDataAMF0, mediaStreamID, timestamp)
	dst = flv.AppendMetadataBody(dst, p.program.Metadata, p.program.Tracks, p.enhanced)
	dst = endMessage(dst, body, timestamp, ChunkSize)
	for _, t := range p.program.Tracks {
		dst = appendSequenceHeader(dst, t, mediaStreamID, timestamp, p.enhanced)
	}
	return dst
}

// Append implements stream.Packager.
func (p *packager) Append(dst []byte, f *media.Frame) []byte {
	if f.Config || !flv.Carries(f.Track.Codec) {
		return dst // Change announces it
	}
	p.last = flv.Millis(f.DTS + f.Skew)
	return appendFrame(dst, f, mediaStreamID, p.enhanced)
}

// appendFrame appends the message of f. The time stamp is the frame's DTS, of a file behind a seek its place there, which players
// that seek expect; it wraps after 49.7 days.
func appendFrame(dst []byte, f *media.Frame, streamID uint32, enhanced bool) []byte {
	timestamp := flv.Millis(f.DTS + f.Skew)
	csid, typ := channel(f.Track)
	dst, body := beginMessage(dst, csid, typ, streamID, timestamp)
	return endMessage(flv.AppendBody(dst, f, enhanced), body, timestamp, ChunkSize)
}

// appendSequenceHeader appends the message that announces t, nothing when its codec has none.
func appendSequenceHeader(dst []byte, t *media.Track, streamID, timestamp uint32, enhanced bool) []byte {
	csid, typ := channel(t)
	out, body := beginMessage(dst, csid, typ, streamID, timestamp)
	out = flv.AppendSequenceHeader(out, t, enhanced)
	if len(out) == body {
		return out[:len(dst)]
	}
	return endMessage(out, body, timestamp, ChunkSize)
}

// channel returns the chunk stream and the message type of a track.
func channel(t *media.Track) (csid byte, typ MessageType) {
	if t.Codec.Kind() == media.Video {
		return csidVideo, TypeVideo
	}
	return csidAudio, TypeAudio
}

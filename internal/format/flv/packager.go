package flv

import (
	"slices"
	"time"

	"github.com/hookline/hookline/internal/media"
)

// Program is what a Packager needs to know of the stream.
type Program struct {
	Tracks []*media.Track
	// Metadata is Metadata.Raw of the publisher; when it is empty, one is made of the tracks.
	Metadata []byte
	// Enhanced is that of AppendBody.
	Enhanced bool
}

// Packager writes an FLV stream. It is used by one goroutine at a time.
type Packager struct {
	program Program
	// announced are the tracks whose sequence header the stream has, by media.Kind.
	announced [2]*media.Track
	last      time.Duration // DTS of the newest frame
}

// NewPackager returns a packager of p.
func NewPackager(p Program) *Packager {
	k := new(Packager)
	k.take(p)
	return k
}

// Carried returns the tracks that can be written.
func Carried(tracks []*media.Track) []*media.Track {
	if !slices.ContainsFunc(tracks, func(t *media.Track) bool { return !Carries(t.Codec) }) {
		return tracks
	}
	return slices.DeleteFunc(slices.Clone(tracks), func(t *media.Track) bool { return !Carries(t.Codec) })
}

// Start returns what a viewer needs before the first frame: file header, metadata and sequence headers, of timestamp 0.
func (k *Packager) Start() []byte {
	var audio, video bool
	for _, t := range k.program.Tracks {
		audio = audio || t.Codec.Kind() == media.Audio
		video = video || t.Codec.Kind() == media.Video
	}
	return k.appendProgram(AppendFileHeader(nil, audio, video), 0)
}

// Append appends the tag of f to dst. A frame whose track was not announced has its sequence header before it, so that
// a Config frame and a Change that tell of the same track announce it once.
func (k *Packager) Append(dst []byte, f *media.Frame) []byte {
	if !Carries(f.Track.Codec) {
		return dst
	}
	k.last = f.DTS
	kind := f.Track.Codec.Kind()
	if k.announced[kind] != f.Track {
		k.announced[kind] = f.Track
		dst = appendSequenceTag(dst, f.Track, f.DTS, k.program.Enhanced)
	}
	if f.Config || len(f.Data) == 0 {
		return dst
	}
	return AppendFrameTag(dst, f, k.program.Enhanced)
}

// Change tells of a new program. It appends metadata and all sequence headers to dst, with the newest timestamp; with
// the program as it is, that is what a viewer needs who skipped a part.
func (k *Packager) Change(dst []byte, p Program) []byte {
	k.take(p)
	return k.appendProgram(dst, k.last)
}

func (k *Packager) take(p Program) {
	p.Tracks = Carried(p.Tracks)
	k.program = p
	k.announced = [2]*media.Track{}
	for _, t := range p.Tracks {
		k.announced[t.Codec.Kind()] = t
	}
}

func (k *Packager) appendProgram(dst []byte, ts time.Duration) []byte {
	p := k.program
	dst = AppendTag(dst, TagData, ts, AppendMetadataBody(nil, p.Metadata, p.Tracks, p.Enhanced))
	for _, t := range p.Tracks {
		dst = appendSequenceTag(dst, t, ts, p.Enhanced)
	}
	return dst
}

// appendSequenceTag appends the tag that announces t, nothing when its codec has none.
func appendSequenceTag(dst []byte, t *media.Track, ts time.Duration, enhanced bool) []byte {
	if body := AppendSequenceHeader(nil, t, enhanced); len(body) > 0 {
		dst = AppendTag(dst, TypeOf(t), ts, body)
	}
	return dst
}

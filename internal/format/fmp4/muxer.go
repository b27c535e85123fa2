package fmp4

import (
	"bytes"
	"encoding/binary"
	"slices"
	"time"

	"github.com/hookline/hookline/internal/format/bmff"
	"github.com/hookline/hookline/internal/media"
)

// Tolerance is how far the stamps of sound may be from where its length puts it.
const Tolerance = 25 * time.Millisecond

// IDs of the tracks.
const (
	VideoID = 1
	AudioID = 2
)

// Carries says that t can be carried.
func Carries(t *media.Track) bool { return bmff.Carries(t) }

// Sample is a frame as it stands in a fragment.
type Sample struct {
	Track    *media.Track
	DTS      int64 // in ticks of Timescale(Track); at least 0
	CTO      int32 // composition time offset: PTS minus DTS, in the same ticks
	Duration uint32
	Offset   int // of the data, from the beginning of the fragment
	Size     int
	Key      bool // a reader can start here; always true for sound
}

// Timescale returns the ticks per second of a track's times.
func Timescale(t *media.Track) uint32 { return bmff.Timescale(t) }

// Muxer writes fragments.
type Muxer struct {
	tracks   [2]track // by media.Kind
	sequence uint32
	samples  []Sample
}

type track struct {
	cur    *media.Track // nil: there is none
	inBand bool         // parameter sets go into the key frames
	frames []*media.Frame
	stamps []int64       // DTS of frames
	end    int64         // where the next frame of sound would be
	any    bool          // end is valid
	step   time.Duration // distance of the newest two frames
	last   time.Duration // DTS of the newest
}

// NewMuxer returns a muxer of tracks. Those that can't be carried are left out.
func NewMuxer(tracks []*media.Track) *Muxer {
	m := &Muxer{}
	m.SetTracks(tracks)
	m.tracks[media.Video].inBand = false
	return m
}

// SetTracks replaces the tracks and says whether another init segment is needed. What was added before and not written is
// dropped if its track is gone.
func (m *Muxer) SetTracks(tracks []*media.Track) bool {
	var next [2]*media.Track
	for _, t := range tracks {
		if Carries(t) {
			next[t.Codec.Kind()] = t
		}
	}
	changed := false
	for i, n := range next {
		t := &m.tracks[i]
		if same(t.cur, n) {
			if n != nil {
				t.cur = n
			}
			continue
		}
		changed = true
		inBand := t.inBand || t.cur != nil
		*t = track{cur: n, inBand: inBand && n != nil}
	}
	return changed
}

// same says whether a and b need the same sample entry.
func same(a, b *media.Track) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Codec == b.Codec && a.SampleRate == b.SampleRate && a.Channels == b.Channels &&
		a.Width == b.Width && a.Height == b.Height && bytes.Equal(a.Config, b.Config)
}

// AppendInit appends the init segment: "ftyp" and "moov".
func (m *Muxer) AppendInit(dst []byte) []byte {
	dst, at := bmff.Begin(dst, "ftyp")
	dst = append(dst, "iso5\x00\x00\x02\x00iso5iso6mp41"...)
	dst = bmff.End(dst, at)
	return bmff.AppendMovie(dst, 0, m.Movie(), true)
}

// Movie returns the tracks as an init segment has them.
func (m *Muxer) Movie() []bmff.Track {
	var tracks []bmff.Track
	for i := range m.tracks {
		if t := m.tracks[i].cur; t != nil {
			tracks = append(tracks, bmff.Track{ID: uint32(i) + VideoID, Media: t})
		}
	}
	return tracks
}

// Add takes a frame for the next fragment, and says whether it will be in it: frames without media, or of a track that is
// not in the init segment, are not. The frames of a track come in the order of DTS.
func (m *Muxer) Add(f *media.Frame) bool {
	t := &m.tracks[f.Track.Codec.Kind()]
	if t.cur == nil || t.cur.Codec != f.Track.Codec || f.Config || len(f.Data) == 0 {
		return false
	}
	t.frames = append(t.frames, f)
	t.stamps = append(t.stamps, t.stamp(f))
	if t.any {
		t.step = f.DTS - t.last
	}
	t.any, t.last = true, f.DTS
	return true
}

// Pending returns the number of frames that wait to be written.
func (m *Muxer) Pending() int { return len(m.tracks[0].frames) + len(m.tracks[1].frames) }

// Ticks returns d in ticks of a time scale, rounded to the nearest. It does not overflow within 20 years.
func Ticks(d time.Duration, scale uint32) int64 {
	s, ns := d/time.Second, d%time.Second
	half := time.Second / 2
	if ns < 0 {
		half = -half
	}
	return int64(s)*int64(scale) + int64((ns*time.Duration(scale)+half)/time.Second)
}

// stamp returns the DTS of f in ticks. Sound goes on where its length puts it while that is about right.
func (t *track) stamp(f *media.Frame) int64 {
	scale := Timescale(t.cur)
	at := max(Ticks(f.DTS, scale), 0)
	n := int64(0)
	if t.cur.Codec.Kind() == media.Audio {
		n = int64(media.AudioSamples(t.cur, f.Data))
	}
	if n == 0 {
		return at
	}
	if tolerance := Ticks(Tolerance, scale); t.any && at >= t.end-tolerance && at <= t.end+tolerance {
		at = t.end
	}
	t.end = at + n
	return at
}

// AppendFragment appends all frames that were added, as one fragment, and returns dst as it is if there are none. next is
// the frame that comes after them, nil when it is not known: it makes the duration of the last frame of its track exact.
func (m *Muxer) AppendFragment(dst []byte, next *media.Frame) []byte {
	m.samples = m.samples[:0]
	if m.Pending() == 0 {
		return dst
	}
	start := len(dst)
	dst, moof := bmff.Begin(dst, "moof")
	dst, at := bmff.BeginFull(dst, "mfhd", 0, 0)
	m.sequence++
	dst = bmff.End(binary.BigEndian.AppendUint32(dst, m.sequence), at)
	var offsets [2]int // where the offset of a track's data goes
	for i := range m.tracks {
		if t := &m.tracks[i]; len(t.frames) > 0 {
			first := len(m.samples)
			m.measure(t, next)
			dst, offsets[i] = t.appendTraf(dst, uint32(i)+VideoID, m.samples[first:])
		}
	}
	dst = bmff.End(dst, moof)
	dst, mdat := bmff.Begin(dst, "mdat")
	n := 0
	for i := range m.tracks {
		t := &m.tracks[i]
		if len(t.frames) == 0 {
			continue
		}
		binary.BigEndian.PutUint32(dst[offsets[i]:], uint32(len(dst)-start))
		for _, f := range t.frames {
			m.samples[n].Offset = len(dst) - start
			dst = t.appendData(dst, f)
			n++
		}
		clear(t.frames)
		t.frames, t.stamps = t.frames[:0], t.stamps[:0]
	}
	return bmff.End(dst, mdat)
}

// Samples returns the samples of the fragment that was appended last, ordered by track. The slice is valid until the next
// call of AppendFragment.
func (m *Muxer) Samples() []Sample { return m.samples }

// Size returns about the most bytes that a fragment of f alone has.
func (m *Muxer) Size(f *media.Frame) int {
	const boxes = 128
	n := boxes + len(f.Data)
	if t := &m.tracks[f.Track.Codec.Kind()]; t.inBand && f.Key {
		n += len(f.Track.Config) + 64
	}
	return n
}

// measure appends the samples of a track, without their offsets.
func (m *Muxer) measure(t *track, next *media.Frame) {
	scale := Timescale(t.cur)
	for i, f := range t.frames {
		s := Sample{
			Track: f.Track, DTS: t.stamps[i], CTO: int32(Ticks(f.PTS-f.DTS, scale)),
			Size: t.size(f), Key: f.Key || t.cur.Codec.Kind() == media.Audio,
		}
		s.Duration = t.duration(i, next)
		m.samples = append(m.samples, s)
	}
}

func (t *track) duration(i int, next *media.Frame) uint32 {
	at, scale := t.stamps[i], Timescale(t.cur)
	if i+1 < len(t.stamps) {
		return uint32(max(t.stamps[i+1]-at, 0))
	}
	switch {
	case t.cur.Codec.Kind() == media.Audio && t.end > at:
		return uint32(t.end - at)
	case next != nil && next.Track.Codec.Kind() == t.cur.Codec.Kind() && next.DTS > t.last:
		return uint32(max(Ticks(next.DTS, scale)-at, 0))
	case t.step > 0 && t.step < 10*time.Second:
		return uint32(Ticks(t.step, scale))
	case t.cur.FPS > 0:
		return uint32(float64(scale) / t.cur.FPS)
	}
	return scale / 25
}

// appendTraf appends the box "traf" and says where the offset of the data goes.
func (t *track) appendTraf(dst []byte, id uint32, samples []Sample) ([]byte, int) {
	const (
		baseIsMoof                      = 0x2_0000
		hasOffset, hasDuration, hasSize = 0x1, 0x100, 0x200
		hasFlags, hasComposition        = 0x400, 0x800
	)
	be := binary.BigEndian
	dst, traf := bmff.Begin(dst, "traf")
	dst, at := bmff.BeginFull(dst, "tfhd", 0, baseIsMoof)
	dst = bmff.End(be.AppendUint32(dst, id), at)
	dst, at = bmff.BeginFull(dst, "tfdt", 1, 0)
	dst = bmff.End(be.AppendUint64(dst, uint64(samples[0].DTS)), at)
	flags := uint32(hasOffset | hasDuration | hasSize)
	if t.cur.Codec.Kind() == media.Video {
		flags |= hasFlags
		if slices.ContainsFunc(samples, func(s Sample) bool { return s.CTO != 0 }) {
			flags |= hasComposition
		}
	}
	dst, at = bmff.BeginFull(dst, "trun", 1, flags)
	dst = be.AppendUint32(dst, uint32(len(samples)))
	offset := len(dst)
	dst = be.AppendUint32(dst, 0)
	for _, s := range samples {
		dst = be.AppendUint32(be.AppendUint32(dst, s.Duration), uint32(s.Size))
		if flags&hasFlags != 0 {
			f := uint32(bmff.FlagsNotSync)
			if s.Key {
				f = bmff.FlagsSync
			}
			dst = be.AppendUint32(dst, f)
		}
		if flags&hasComposition != 0 {
			dst = be.AppendUint32(dst, uint32(s.CTO))
		}
	}
	return bmff.End(bmff.End(dst, at), traf), offset
}

// size returns the number of bytes that appendData appends.
func (t *track) size(f *media.Frame) int {
	n := len(f.Data)
	for set := range t.sets(f) {
		n += 4 + len(set)
	}
	return n
}

func (t *track) appendData(dst []byte, f *media.Frame) []byte {
	for set := range t.sets(f) {
		dst = append(binary.BigEndian.AppendUint32(dst, uint32(len(set))), set...)
	}
	return append(dst, f.Data...)
}

// sets yields the parameter sets that go before the data of f.
func (t *track) sets(f *media.Frame) func(yield func([]byte) bool) {
	return func(yield func([]byte) bool) {
		if !t.inBand || !f.Key {
			return
		}
		var kinds [3][][]byte
		switch f.Track.Codec {
		case media.H264:
			if c, err := media.ParseAVCConfig(f.Track.Config); err == nil {
				kinds = [...][][]byte{nil, c.SPS, c.PPS}
			}
		case media.H265:
			if c, err := media.ParseHEVCConfig(f.Track.Config); err == nil {
				kinds = [...][][]byte{c.VPS, c.SPS, c.PPS}
			}
		default:
		}
		if len(media.FindParameterSets(f.Track.Codec, f.Data).SPS) > 0 {
			return
		}
		for _, sets := range kinds {
			for _, set := range sets {
				if !yield(set) {
					return
				}
			}
		}
	}
}

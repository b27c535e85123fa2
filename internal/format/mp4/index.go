package mp4

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/hookline/hookline/internal/format/bmff"
	"github.com/hookline/hookline/internal/format/fmp4"
	"github.com/hookline/hookline/internal/media"
)

// largeHeader is the size of the header of "mdat" with 64 bits for its size.
const largeHeader = 16

// Reserve returns about the bytes to reserve in the head of a file that will be d long. Zeros that are never written cost no
// disk where files may have holes.
func Reserve(d time.Duration) int { return 4096 + int(max(d, 0)/time.Second)*1000 }

// AppendHead appends the head of a recording: the init segment of m and reserved space.
func AppendHead(dst []byte, m *fmp4.Muxer, reserve int) []byte {
	dst, at := bmff.Begin(m.AppendInit(dst), "free")
	return bmff.End(append(dst, make([]byte, reserve)...), at)
}

// Index collects where the samples of a recording are. It is used by one goroutine at a time.
type Index struct {
	tracks []*table
	head   int64 // size of what was reserved, and all before it
	ftyp   int64 // size of the first box
	end    int64 // of the data
}

// table is the sample table of a track, nearly as it stands in the file.
type table struct {
	track    bmff.Track
	count    uint32
	first    int64 // DTS of the first sample, in ticks
	firstCTO int32
	lastDTS  int64
	lastFor  uint32 // duration of the last sample
	sizes    []uint32
	times    []run // durations, but for that of the last sample
	offsets  []run // composition offsets
	reorders bool
	sync     []uint32
	chunks   []chunk
}

type run struct{ count, value uint32 }

type chunk struct {
	at    int64
	count uint32
}

func appendRun(runs []run, v uint32) []run {
	if n := len(runs); n > 0 && runs[n-1].value == v {
		runs[n-1].count++
		return runs
	}
	return append(runs, run{1, v})
}

// NewIndex returns the index of a file that begins with head, what AppendHead appended, of m's tracks as they are now.
func NewIndex(m *fmp4.Muxer, head []byte) *Index {
	_, _, ftyp, _ := bmff.Header(head)
	x := &Index{head: int64(len(head)), ftyp: int64(ftyp), end: int64(len(head))}
	for _, t := range m.Movie() {
		x.tracks = append(x.tracks, &table{track: t})
	}
	return x
}

// Add tells of a fragment of size bytes that was written at at, with the samples of fmp4.Muxer.Samples.
func (x *Index) Add(at int64, size int, samples []fmp4.Sample) {
	x.end = max(x.end, at+int64(size))
	for i := 0; i < len(samples); {
		n := i + 1
		for n < len(samples) && samples[n].Track.Codec == samples[i].Track.Codec {
			n++
		}
		for _, t := range x.tracks {
			if t.track.Media.Codec == samples[i].Track.Codec {
				t.add(at, samples[i:n])
			}
		}
		i = n
	}
}

func (t *table) add(at int64, samples []fmp4.Sample) {
	t.chunks = append(t.chunks, chunk{at + int64(samples[0].Offset), uint32(len(samples))})
	for _, s := range samples {
		if t.count == 0 {
			t.first, t.firstCTO = s.DTS, s.CTO
		} else {
			t.times = appendRun(t.times, uint32(max(s.DTS-t.lastDTS, 0)))
		}
		t.count++
		t.lastDTS, t.lastFor = max(s.DTS, t.lastDTS), s.Duration
		t.sizes = append(t.sizes, uint32(s.Size))
		t.offsets = appendRun(t.offsets, uint32(s.CTO))
		t.reorders = t.reorders || s.CTO != 0
		if s.Key && t.track.Media.Codec.Kind() == media.Video {
			t.sync = append(t.sync, t.count)
		}
	}
}

// Duration returns the length of what was added.
func (x *Index) Duration() time.Duration {
	d, _ := x.layout()
	return time.Duration(d) * time.Millisecond
}

// Patch is a write into a file.
type Patch struct {
	At   int64
	Data []byte
}

// Finish returns the writes that make the file progressive, in their order: each has to be on disk before the next is begun.
// ok is false when the reserved space is too small.
func (x *Index) Finish() (patches [2]Patch, ok bool) {
	moov := x.appendMovie(nil, 0)
	at := x.head - largeHeader - int64(len(moov))
	const keep = 8 // the header of the reserved space
	if at < x.reserved()+keep {
		return patches, false
	}
	patches[0] = Patch{at, x.appendDataHeader(moov, x.head)}
	free := binary.BigEndian.AppendUint32(nil, uint32(at-x.ftyp))
	patches[1] = Patch{x.ftyp, append(free, "free"...)}
	return patches, true
}

// FinishBehind returns the writes that make the file progressive with its index behind the data, whatever room there is, in
// their order: each has to be on disk before the next is begun. The second covers the init segment and the heads of the
// fragments with the header of one "mdat".
func (x *Index) FinishBehind() [2]Patch {
	head := append([]byte{0, 0, 0, 1}, "mdat"...)
	return [2]Patch{
		{x.end, x.appendMovie(nil, 0)},
		{x.ftyp, binary.BigEndian.AppendUint64(head, uint64(x.end-x.ftyp))},
	}
}

// reserved returns where the reserved space begins: behind the movie box of the init segment.
func (x *Index) reserved() int64 {
	tracks := make([]bmff.Track, len(x.tracks))
	for i, t := range x.tracks {
		tracks[i] = t.track
	}
	return x.ftyp + int64(len(bmff.AppendMovie(nil, 0, tracks, true)))
}

// FastStart returns the head of a progressive copy: what follows is the file from from on.
func (x *Index) FastStart() (head []byte, from int64) {
	ftyp := fmp4.NewMuxer(nil).AppendInit(nil)[:x.ftyp]
	size := int64(len(x.appendMovie(ftyp, 0)) + largeHeader)
	head = x.appendMovie(ftyp[:x.ftyp:x.ftyp], size-x.head)
	return x.appendDataHeader(head, x.head), x.head
}

// appendDataHeader appends the header of an "mdat" that has everything from from on.
func (x *Index) appendDataHeader(dst []byte, from int64) []byte {
	dst = append(dst, 0, 0, 0, 1, 'm', 'd', 'a', 't')
	return binary.BigEndian.AppendUint64(dst, uint64(x.end-from+largeHeader))
}

// ticks converts ticks of a track into those of the movie.
func (t *table) ticks(n int64) int64 {
	return n * bmff.MovieTimescale / int64(bmff.Timescale(t.track.Media))
}

func (t *table) duration() int64 { return t.lastDTS - t.first + int64(t.lastFor) }

// layout places the tracks on the time line of the movie: where the first of them is shown is 0.
func (x *Index) layout() (duration uint64, tracks []bmff.Track) {
	begin, known := int64(0), false
	for _, t := range x.tracks {
		if at := t.ticks(t.first + int64(t.firstCTO)); t.count > 0 && (!known || at < begin) {
			begin, known = at, true
		}
	}
	for _, t := range x.tracks {
		m := t.track
		if t.count > 0 {
			m.Duration = uint64(t.duration())
			wait := t.ticks(t.first+int64(t.firstCTO)) - begin
			length := t.ticks(t.duration())
			if wait > 0 {
				m.Edits = append(m.Edits, bmff.Edit{Duration: uint64(wait), Time: -1})
			}
			if wait > 0 || t.firstCTO > 0 {
				m.Edits = append(m.Edits, bmff.Edit{Duration: uint64(length), Time: int64(max(t.firstCTO, 0))})
			}
			duration = max(duration, uint64(wait+length))
		}
		tracks = append(tracks, m)
	}
	return duration, tracks
}

// appendMovie appends the movie box with all sample tables, for data that is moved by shift.
func (x *Index) appendMovie(dst []byte, shift int64) []byte {
	duration, tracks := x.layout()
	large := x.end+int64(len(x.tracks))<<24 > 1<<32-1 // with room for a longer head
	for i, t := range x.tracks {
		tracks[i].Tables = func(dst []byte) []byte { return t.appendTables(dst, shift, large) }
	}
	return bmff.AppendMovie(dst, duration, tracks, false)
}

func (t *table) appendTables(dst []byte, shift int64, large bool) []byte {
	be := binary.BigEndian
	times := t.times
	if t.count > 0 {
		times = appendRun(slices.Clone(times), t.lastFor)
	}
	dst = appendRuns(dst, "stts", 0, times)
	if t.reorders {
		dst = appendRuns(dst, "ctts", 1, t.offsets)
	}
	var at int
	if t.track.Media.Codec.Kind() == media.Video {
		dst, at = bmff.BeginFull(dst, "stss", 0, 0)
		dst = be.AppendUint32(dst, uint32(len(t.sync)))
		for _, n := range t.sync {
			dst = be.AppendUint32(dst, n)
		}
		dst = bmff.End(dst, at)
	}
	dst = t.appendChunks(dst)
	dst, at = bmff.BeginFull(dst, "stsz", 0, 0)
	dst = be.AppendUint32(be.AppendUint32(dst, 0), t.count)
	for _, n := range t.sizes {
		dst = be.AppendUint32(dst, n)
	}
	dst = bmff.End(dst, at)
	typ := "stco"
	if large {
		typ = "co64"
	}
	dst, at = bmff.BeginFull(dst, typ, 0, 0)
	dst = be.AppendUint32(dst, uint32(len(t.chunks)))
	for _, c := range t.chunks {
		if large {
			dst = be.AppendUint64(dst, uint64(c.at+shift))
		} else {
			dst = be.AppendUint32(dst, uint32(c.at+shift))
		}
	}
	return bmff.End(dst, at)
}

// appendChunks appends "stsc": how many samples the chunks have.
func (t *table) appendChunks(dst []byte) []byte {
	be := binary.BigEndian
	dst, at := bmff.BeginFull(dst, "stsc", 0, 0)
	count := len(dst)
	dst = be.AppendUint32(dst, 0)
	n, last := uint32(0), uint32(0)
	for i, c := range t.chunks {
		if c.count == last {
			continue
		}
		n, last = n+1, c.count
		dst = be.AppendUint32(be.AppendUint32(be.AppendUint32(dst, uint32(i+1)), c.count), 1)
	}
	be.PutUint32(dst[count:], n)
	return bmff.End(dst, at)
}

func appendRuns(dst []byte, typ string, version byte, runs []run) []byte {
	dst, at := bmff.BeginFull(dst, typ, version, 0)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(runs)))
	for _, r := range runs {
		dst = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(dst, r.count), r.value)
	}
	return bmff.End(dst, at)
}

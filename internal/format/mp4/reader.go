package mp4

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sort"
	"time"

	"github.com/hookline/hookline/internal/format/bmff"
	"github.com/hookline/hookline/internal/media"
)

// Limits of Open.
const (
	// MaxSamples is the most samples of a file.
	MaxSamples = 4 << 20
	maxMovie   = 128 << 20 // bytes of "moov" or "moof"
	maxBoxes   = 1 << 22   // at the top level
	maxSample  = 64 << 20  // bytes of a sample
)

// ErrMalformed: what was read is no MP4 file that can be played; it comes wrapped with the reason.
var ErrMalformed = errors.New("mp4: malformed")

// File is the index of a file. It does not change; any number of Readers may use it.
type File struct {
	r      io.ReaderAt
	size   int64
	tracks []*track
	shift  time.Duration // makes the first DTS 0 if it were negative
	total  int           // samples
	mvex   map[uint32]defaults
	scale  uint32 // of the movie
}

type track struct {
	id         uint32
	media      *media.Track
	lengthSize int
	scale      int64
	wait       time.Duration // before the media begins
	skip       int64         // media time at which it begins, in ticks
	samples    []sample
	next       int64 // DTS of what comes next, in ticks; while fragments are read
}

// sample is one access unit.
type sample struct {
	at   int64
	dts  int64
	size uint32 // the topmost bit says that it is a key frame
	cto  int32
}

const keyBit = 1 << 31

// Open reads the index of a file of size bytes. Errors are those of r, or wrap ErrMalformed.
func Open(r io.ReaderAt, size int64) (*File, error) {
	f := &File{r: r, size: size}
	movie := false
	for at, n := int64(0), 0; at < size; n++ {
		typ, body, next, err := f.box(at)
		if err != nil {
			if movie && f.total > 0 {
				break // it was cut off
			}
			return nil, err
		}
		if n > maxBoxes {
			return nil, fmt.Errorf("too many boxes: %w", ErrMalformed)
		}
		switch {
		case typ == "moov" && !movie:
			movie = true
			err = f.movie(body)
		case typ == "moof" && movie && f.mvex != nil:
			err = f.fragment(body, at)
		}
		if err != nil {
			return nil, err
		}
		at = next
	}
	if !movie || f.total == 0 {
		return nil, fmt.Errorf("no samples: %w", ErrMalformed)
	}
	f.settle()
	return f, nil
}

// box reads the header of the box at at, and the content of those that matter.
func (f *File) box(at int64) (typ string, body []byte, next int64, err error) {
	var h [bmff.HeaderSize]byte
	n, err := f.r.ReadAt(h[:min(bmff.HeaderSize, f.size-at)], at)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", nil, 0, fmt.Errorf("mp4: box at %d: %w", at, err)
	}
	typ, head, size, ok := bmff.Header(h[:n])
	if !ok {
		return "", nil, 0, fmt.Errorf("box at %d: %w", at, ErrMalformed)
	}
	left := uint64(f.size - at)
	if size == 0 {
		size = left
	}
	if typ != "moov" && typ != "moof" {
		if size > left { // cut off: the samples that are there may be read
			size = left
		}
		return typ, nil, at + int64(size), nil
	}
	if size > left || size > maxMovie {
		return "", nil, 0, fmt.Errorf("%s of %d bytes at %d: %w", typ, size, at, ErrMalformed)
	}
	body = make([]byte, int(size)-head)
	if _, err := f.r.ReadAt(body, at+int64(head)); err != nil && !errors.Is(err, io.EOF) {
		return "", nil, 0, fmt.Errorf("mp4: %s at %d: %w", typ, at, err)
	}
	return typ, body, at + int64(size), nil
}

// settle drops tracks without samples and finds the shift.
func (f *File) settle() {
	kept := f.tracks[:0]
	for _, t := range f.tracks {
		if len(t.samples) == 0 {
			continue
		}
		kept = append(kept, t)
		f.shift = max(f.shift, -t.time(t.samples[0].dts))
	}
	f.tracks = kept
}

// time returns when a moment of the media is, in ticks, on the time line of the movie.
func (t *track) time(ticks int64) time.Duration {
	n := ticks - t.skip
	return t.wait + time.Duration(n/t.scale)*time.Second + time.Duration(n%t.scale)*time.Second/time.Duration(t.scale)
}

// Tracks returns the tracks: at most one of each kind.
func (f *File) Tracks() []*media.Track {
	var tracks []*media.Track
	for _, t := range f.tracks {
		tracks = append(tracks, t.media)
	}
	return tracks
}

// Samples returns how many samples the index has, of tracks that are not read, too.
func (f *File) Samples() int { return f.total }

// Duration returns the end of the last frame, which is taken to last as long as the one before.
func (f *File) Duration() time.Duration {
	var d time.Duration
	for _, t := range f.tracks {
		n := len(t.samples)
		last, step := t.samples[n-1], int64(0)
		if n > 1 {
			step = last.dts - t.samples[n-2].dts
		}
		d = max(d, f.shift+t.time(last.dts+max(int64(last.cto), step)))
	}
	return d
}

// Reader reads the frames of a file. It is used by one goroutine at a time.
type Reader struct {
	f  *File
	at []int // next sample by track
}

// NewReader returns a reader that stands at the beginning.
func (f *File) NewReader() *Reader { return &Reader{f: f, at: make([]int, len(f.tracks))} }

// Seek moves to the last key frame at or before at, or to the first one, and returns its DTS: that of the next frame, about.
// Without video it moves to at itself.
func (r *Reader) Seek(at time.Duration) time.Duration {
	for _, t := range r.f.tracks {
		if t.media.Codec.Kind() == media.Video {
			at = r.f.keyBefore(t, at)
		}
	}
	for i, t := range r.f.tracks {
		r.at[i] = sort.Search(len(t.samples), func(n int) bool { return r.f.shift+t.time(t.samples[n].dts) >= at })
	}
	return at
}

func (f *File) keyBefore(t *track, at time.Duration) time.Duration {
	n := sort.Search(len(t.samples), func(n int) bool { return f.shift+t.time(t.samples[n].dts) > at })
	for n--; n >= 0; n-- {
		if s := t.samples[n]; s.size&keyBit != 0 && f.shift+t.time(s.dts+int64(s.cto)) <= at {
			return f.shift + t.time(s.dts)
		}
	}
	for _, s := range t.samples {
		if s.size&keyBit != 0 {
			return f.shift + t.time(s.dts)
		}
	}
	return 0
}

// Next returns the next frame, whose data is the caller's, and io.EOF behind the last. Samples that the file does not have,
// because it was cut off, end it too. Other errors are those of the io.ReaderAt, or wrap ErrMalformed.
func (r *Reader) Next() (*media.Frame, error) {
	var best *track
	var which int
	var dts time.Duration
	for i, t := range r.f.tracks {
		if r.at[i] == len(t.samples) {
			continue
		}
		if d := r.f.shift + t.time(t.samples[r.at[i]].dts); best == nil || d < dts {
			best, which, dts = t, i, d
		}
	}
	if best == nil {
		return nil, io.EOF
	}
	s := best.samples[r.at[which]]
	r.at[which]++
	size := int64(s.size &^ keyBit)
	if s.at < 0 || s.at > r.f.size-size {
		return nil, io.EOF
	}
	data := make([]byte, size)
	if _, err := r.f.r.ReadAt(data, s.at); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("mp4: sample at %d: %w", s.at, err)
	}
	video := best.media.Codec.Kind() == media.Video
	if best.lengthSize != 0 {
		var err error
		if data, err = media.WidenNALULengths(data, best.lengthSize); err != nil {
			return nil, fmt.Errorf("sample at %d: %w: %w", s.at, err, ErrMalformed)
		}
	}
	return &media.Frame{
		Track: best.media, DTS: dts, PTS: r.f.shift + best.time(s.dts+int64(s.cto)),
		Key: video && s.size&keyBit != 0, Data: data,
	}, nil
}

// beyond says that nothing is at at: a table of a few bytes may describe millions of samples, of a file that ends before them.
func (f *File) beyond(at int64) bool { return at < 0 || at >= f.size }

// add appends a sample, unless there are too many.
func (f *File) add(t *track, s sample, size uint32, key bool) error {
	if size == 0 {
		return nil
	}
	if f.total++; f.total > MaxSamples || size > maxSample {
		return fmt.Errorf("%d samples, one of %d bytes: %w", f.total, size, ErrMalformed)
	}
	if n := len(t.samples); n > 0 && s.dts < t.samples[n-1].dts {
		s.dts = t.samples[n-1].dts // Seek relies on the order
	}
	if s.size = size; key {
		s.size |= keyBit
	}
	t.samples = append(t.samples, s)
	return nil
}

func u32(b []byte) uint32 { return binary.BigEndian.Uint32(b) }
func u64(b []byte) uint64 { return binary.BigEndian.Uint64(b) }

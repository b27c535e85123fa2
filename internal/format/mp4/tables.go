package mp4

import (
	"fmt"
	"time"

	"github.com/hookline/hookline/internal/format/bmff"
	"github.com/hookline/hookline/internal/media"
)

// defaults are those of a track's fragments.
type defaults struct{ duration, size, flags uint32 }

// maxTicks bounds times: what is later is nonsense, and must not overflow.
const maxTicks = 1 << 56

func (f *File) movie(b []byte) error {
	header, ok := bmff.Find(b, "mvhd")
	if !ok || len(header) < 20 {
		return fmt.Errorf("no movie header: %w", ErrMalformed)
	}
	if f.scale = u32(header[12:]); header[0] == 1 && len(header) >= 24 {
		f.scale = u32(header[20:])
	}
	f.scale = max(f.scale, 1)
	if mvex, ok := bmff.Find(b, "mvex"); ok {
		f.mvex = map[uint32]defaults{}
		for typ, e := range bmff.Boxes(mvex) {
			if typ == "trex" && len(e) >= 24 && len(f.mvex) < 64 {
				f.mvex[u32(e[4:])] = defaults{u32(e[12:]), u32(e[16:]), u32(e[20:])}
			}
		}
	}
	for typ, trak := range bmff.Boxes(b) {
		if typ != "trak" {
			continue
		}
		t := f.track(trak)
		if t == nil {
			continue
		}
		stbl, _ := bmff.Find(trak, "mdia", "minf", "stbl")
		if err := f.samples(t, stbl); err != nil {
			return err
		}
		f.tracks = append(f.tracks, t)
	}
	return nil
}

// track reads what a track is; nil when it is of no use.
func (f *File) track(b []byte) *track {
	head, _ := bmff.Find(b, "tkhd")
	times, _ := bmff.Find(b, "mdia", "mdhd")
	stsd, _ := bmff.Find(b, "mdia", "minf", "stbl", "stsd")
	if len(head) < 24 || len(times) < 24 {
		return nil
	}
	t := &track{id: u32(head[12:]), scale: int64(u32(times[12:]))}
	if head[0] == 1 {
		t.id = u32(head[20:])
	}
	if times[0] == 1 {
		t.scale = int64(u32(times[20:]))
	}
	t.media, t.lengthSize = bmff.ParseEntries(stsd)
	if t.media == nil || t.scale == 0 {
		return nil
	}
	for _, other := range f.tracks {
		if other.media.Codec.Kind() == t.media.Codec.Kind() {
			return nil
		}
	}
	if edits, ok := bmff.Find(b, "edts", "elst"); ok {
		f.edit(t, edits)
	}
	return t
}

// edit reads how a track begins: empty edits, then the first that shows something.
func (f *File) edit(t *track, b []byte) {
	if len(b) < 8 {
		return
	}
	size := 12
	if b[0] == 1 {
		size = 20
	}
	for e := b[8:]; len(e) >= size; e = e[size:] {
		duration, at := uint64(u32(e)), int64(int32(u32(e[4:])))
		if size == 20 {
			duration, at = u64(e), int64(u64(e[8:]))
		}
		if at >= 0 {
			t.skip = min(at, maxTicks)
			return
		}
		const most = 365 * 24 * 3600
		t.wait += time.Duration(min(duration*1000/uint64(f.scale), most*1000)) * time.Millisecond
		if t.wait > most*time.Second {
			t.wait = 0
			return
		}
	}
}

// list is a table of entries of a fixed size, read one after the other.
type list struct {
	b    []byte
	size int
}

// entries returns the entries of a table box: as many as it says, and has.
func entries(stbl []byte, typ string, skip, size int) list {
	b, _ := bmff.Find(stbl, typ)
	if len(b) < skip+4 {
		return list{size: size}
	}
	n := uint64(u32(b[skip:]))
	b = b[skip+4:]
	return list{b[:min(n*uint64(size), uint64(len(b)/size*size))], size}
}

func (l *list) next() ([]byte, bool) {
	if len(l.b) < l.size {
		return nil, false
	}
	e := l.b[:l.size]
	l.b = l.b[l.size:]
	return e, true
}

// runs reads a table of runs, value by value.
type runs struct {
	list  list
	left  uint32
	value uint32
}

func (r *runs) next() uint32 {
	for r.left == 0 {
		e, ok := r.list.next()
		if !ok {
			return r.value // the last goes on
		}
		r.left, r.value = u32(e), u32(e[4:])
	}
	r.left--
	return r.value
}

// samples reads the sample table of a track (ISO 14496-12, 8.6 and 8.7).
func (f *File) samples(t *track, stbl []byte) error {
	sizes, _ := bmff.Find(stbl, "stsz")
	if len(sizes) < 12 {
		return nil
	}
	fixed, count := u32(sizes[4:]), u32(sizes[8:])
	if fixed == 0 {
		count = min(count, uint32(len(sizes)-12)/4)
	}
	c := cursor{
		f: f, t: t, fixed: fixed, left: count, sizes: sizes[12:],
		times: runs{list: entries(stbl, "stts", 4, 8)}, offsets: runs{list: entries(stbl, "ctts", 4, 8)},
		sync: entries(stbl, "stss", 4, 4),
	}
	_, c.marked = bmff.Find(stbl, "stss")
	if fixed > 0 && fixed < 8 {
		return c.raw(stbl)
	}
	return c.chunks(stbl)
}

// cursor walks over a sample table.
type cursor struct {
	f              *File
	t              *track
	fixed, left    uint32
	sizes          []byte
	times, offsets runs
	sync           list
	marked         bool // there is a table of sync samples
	number, key    uint32
	dts            int64
}

// eachChunk calls visit with the offset and the number of samples of every chunk.
func eachChunk(stbl []byte, visit func(at int64, samples uint32) (bool, error)) error {
	offsets, large := entries(stbl, "stco", 4, 4), false
	if _, ok := bmff.Find(stbl, "co64"); ok {
		offsets, large = entries(stbl, "co64", 4, 8), true
	}
	table := entries(stbl, "stsc", 4, 12)
	samples, from := uint32(0), uint32(0) // from: the chunk that next is valid from
	next, more := table.next()
	if more {
		from = u32(next)
	}
	for n := uint32(1); ; n++ {
		e, ok := offsets.next()
		if !ok {
			return nil
		}
		for more && n >= from {
			samples = u32(next[4:])
			if next, more = table.next(); more {
				from = u32(next)
			}
		}
		at := int64(u32(e))
		if large {
			at = int64(u64(e))
		}
		if on, err := visit(at, samples); err != nil || !on {
			return err
		}
	}
}

func (c *cursor) chunks(stbl []byte) error {
	return eachChunk(stbl, func(at int64, samples uint32) (bool, error) {
		for range min(samples, c.left) {
			if c.f.beyond(at) {
				return false, nil
			}
			size := c.fixed
			if size == 0 {
				size = u32(c.sizes)
				c.sizes = c.sizes[4:]
			}
			if err := c.f.add(c.t, sample{at: at, dts: c.dts, cto: int32(c.offsets.next())}, size, c.isKey()); err != nil {
				return false, err
			}
			at += int64(size)
			c.dts = min(c.dts+int64(c.times.next()), maxTicks)
			c.left--
		}
		return c.left > 0, nil
	})
}

// isKey says whether the next sample is a sync sample: all are, when no table marks them.
func (c *cursor) isKey() bool {
	c.number++
	for c.key < c.number {
		e, ok := c.sync.next()
		if !ok {
			return !c.marked
		}
		c.key = u32(e)
	}
	return c.key == c.number
}

// raw reads sound whose samples are single values: QuickTime's G.711. What is shorter than a chunk makes no frame.
func (c *cursor) raw(stbl []byte) error {
	const frame = 1024 // samples
	if c.t.media.Codec != media.PCMA && c.t.media.Codec != media.PCMU {
		return fmt.Errorf("samples of %d bytes: %w", c.fixed, ErrMalformed)
	}
	return eachChunk(stbl, func(at int64, samples uint32) (bool, error) {
		for samples = min(samples, c.left); samples > 0; {
			if c.f.beyond(at) {
				return false, nil
			}
			n := min(samples, frame)
			if err := c.f.add(c.t, sample{at: at, dts: c.dts}, n*c.fixed, true); err != nil {
				return false, err
			}
			at += int64(n * c.fixed)
			c.dts += int64(n)
			samples, c.left = samples-n, c.left-n
		}
		return c.left > 0, nil
	})
}

// fragment reads a "moof" that is at at (8.8).
func (f *File) fragment(b []byte, at int64) error {
	for typ, traf := range bmff.Boxes(b) {
		if typ != "traf" {
			continue
		}
		if err := f.trackFragment(traf, at); err != nil {
			return err
		}
	}
	return nil
}

func (f *File) trackFragment(b []byte, at int64) error {
	head, _ := bmff.Find(b, "tfhd")
	if len(head) < 8 {
		return fmt.Errorf("track fragment at %d: %w", at, ErrMalformed)
	}
	var t *track
	for _, c := range f.tracks {
		if c.id == u32(head[4:]) {
			t = c
		}
	}
	if t == nil {
		return nil
	}
	d := f.mvex[t.id]
	flags, rest := u32(head), head[8:]
	for _, field := range []struct {
		bit  uint32
		size int
		to   *uint32
	}{{0x1, 8, nil}, {0x2, 4, nil}, {0x8, 4, &d.duration}, {0x10, 4, &d.size}, {0x20, 4, &d.flags}} {
		if flags&field.bit == 0 {
			continue
		}
		if len(rest) < field.size {
			return fmt.Errorf("track fragment at %d: %w", at, ErrMalformed)
		}
		if field.to != nil {
			*field.to = u32(rest)
		}
		if field.bit == 1 {
			at = int64(u64(rest))
		}
		rest = rest[field.size:]
	}
	if times, ok := bmff.Find(b, "tfdt"); ok && len(times) >= 8 {
		if t.next = int64(u32(times[4:])); times[0] == 1 && len(times) >= 12 {
			t.next = int64(u64(times[4:]) & (maxTicks - 1))
		}
	}
	data := at
	for typ, run := range bmff.Boxes(b) {
		if typ == "trun" {
			var err error
			if data, err = f.run(t, run, at, data, d); err != nil {
				return err
			}
		}
	}
	return nil
}

// run reads a "trun" whose data begins at data, if it does not say where, and returns where that ends.
func (f *File) run(t *track, b []byte, base, data int64, d defaults) (int64, error) {
	if len(b) < 8 {
		return 0, fmt.Errorf("track run at %d: %w", base, ErrMalformed)
	}
	flags, count := u32(b)&0xffffff, u32(b[4:])
	b = b[8:]
	short := false
	take := func(bit, or uint32) uint32 {
		if flags&bit == 0 {
			return or
		}
		if len(b) < 4 {
			short = true
			return 0
		}
		v := u32(b)
		b = b[4:]
		return v
	}
	if flags&1 != 0 {
		data = base + int64(int32(take(1, 0)))
	}
	first := take(4, 0)
	hasFirst := flags&4 != 0
	for i := uint32(0); i < count; i++ {
		duration, size := take(0x100, d.duration), take(0x200, d.size)
		fl, cto := take(0x400, d.flags), take(0x800, 0)
		if short || f.beyond(data) {
			break
		}
		if i == 0 && hasFirst {
			fl = first
		}
		const notSync = 0x1_0000
		if err := f.add(t, sample{at: data, dts: t.next, cto: int32(cto)}, size, fl&notSync == 0); err != nil {
			return 0, err
		}
		if size == 0 && flags&0xf00 == 0 {
			break // nothing, a billion times
		}
		data += int64(size)
		t.next = min(t.next+int64(duration), maxTicks)
	}
	if short {
		return 0, fmt.Errorf("track run at %d: %w", base, ErrMalformed)
	}
	return data, nil
}

package mp4

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/Eyevinn/mp4ff/mp4"

	"github.com/hookline/hookline/internal/format/bmff"
	"github.com/hookline/hookline/internal/format/fmp4"
	"github.com/hookline/hookline/internal/formattest"
	"github.com/hookline/hookline/internal/media"
)

// record writes a recording with a fragment for every n frames, and returns it as it is while open.
func record(c formattest.Clip, n, reserve int) ([]byte, *Index) {
	m := fmp4.NewMuxer(c.Tracks)
	file := AppendHead(nil, m, reserve)
	x := NewIndex(m, file)
	cut := func(next *media.Frame) {
		at := len(file)
		file = m.AppendFragment(file, next)
		x.Add(int64(at), len(file)-at, m.Samples())
	}
	for i, f := range c.Frames {
		if i > 0 && i%n == 0 {
			cut(f)
		}
		m.Add(f)
	}
	cut(nil)
	return file, x
}

func apply(file []byte, p Patch) []byte {
	file = bytes.Clone(file)
	copy(file[p.At:], p.Data)
	return file
}

func read(t *testing.T, file []byte) (*File, []*media.Frame) {
	t.Helper()
	f, err := Open(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	return f, readAll(t, f.NewReader())
}

func readAll(t *testing.T, r *Reader) (frames []*media.Frame) {
	t.Helper()
	for {
		f, err := r.Next()
		if errors.Is(err, io.EOF) {
			return frames
		}
		if err != nil {
			t.Fatal(err)
		}
		frames = append(frames, f)
	}
}

func ofKind(frames []*media.Frame, k media.Kind) []*media.Frame {
	return slices.DeleteFunc(slices.Clone(frames), func(f *media.Frame) bool { return f.Track.Codec.Kind() != k })
}

// compare demands the same frames, and one shift of time for all of them.
func compare(t *testing.T, what string, got, want []*media.Frame) {
	t.Helper()
	var shifts []time.Duration
	for _, k := range []media.Kind{media.Video, media.Audio} {
		got, want := ofKind(got, k), ofKind(want, k)
		if len(got) != len(want) {
			t.Fatalf("%s: %d frames of %d", what, len(got), len(want))
		}
		for i, g := range got {
			w := want[i]
			if !bytes.Equal(g.Data, w.Data) || g.Key != w.Key || g.Track.Codec != w.Track.Codec {
				t.Fatalf("%s: frame %d of kind %d differs", what, i, k)
			}
			if d := (g.PTS - g.DTS) - (w.PTS - w.DTS); d.Abs() > time.Millisecond {
				t.Fatalf("%s: frame %d: composition is off by %v", what, i, d)
			}
			shifts = append(shifts, g.DTS-w.DTS)
		}
	}
	if d := slices.Max(shifts) - slices.Min(shifts); d > 3*time.Millisecond {
		t.Errorf("%s: times are off by %v", what, d)
	}
}

// TestRecording: at every moment, open, while it is finished, and finished, the file has every frame; ffprobe, ffmpeg and mp4ff
// agree.
func TestRecording(t *testing.T) {
	for _, c := range formattest.Clips(t) {
		for _, n := range []int{1, 25} {
			open, x := record(c, n, 64<<10)
			patches, ok := x.Finish()
			if !ok {
				t.Fatal("no room")
			}
			half := apply(open, patches[0])
			done := apply(half, patches[1])
			copied, from := x.FastStart()
			copied = append(copied, open[from:]...)
			for what, file := range map[string][]byte{"open": open, "half": half, "done": done, "copied": copied} {
				what = fmt.Sprint(c.Name, "/", n, "/", what)
				f, frames := read(t, file)
				compare(t, what, frames, c.Frames)
				for i, track := range f.Tracks() {
					if track.SampleRate != ofCodec(c, track.Codec).SampleRate || track.Width != ofCodec(c, track.Codec).Width {
						t.Errorf("%s: track %d is %+v", what, i, track)
					}
				}
			}
			checkProgressive(t, done, c)
			checkProgressive(t, copied, c)
			if n == 25 {
				checkProbe(t, done, c)
			}
		}
	}
}

func ofCodec(c formattest.Clip, codec media.Codec) *media.Track {
	return c.Tracks[slices.IndexFunc(c.Tracks, func(t *media.Track) bool { return t.Codec == codec })]
}

// checkProgressive demands a movie box before the data, and no fragments, and the samples that mp4ff counts.
func checkProgressive(t *testing.T, file []byte, c formattest.Clip) {
	t.Helper()
	var order []string
	for typ := range bmff.Boxes(file) {
		if typ != "free" {
			order = append(order, typ)
		}
	}
	if !slices.Equal(order, []string{"ftyp", "moov", "mdat"}) {
		t.Fatalf("%s: boxes %v", c.Name, order)
	}
	parsed, err := mp4.DecodeFile(bytes.NewReader(file))
	if err != nil {
		t.Fatal(c.Name, err)
	}
	if parsed.IsFragmented() || len(parsed.Moov.Traks) != len(c.Tracks) {
		t.Fatalf("%s: fragmented, or %d tracks", c.Name, len(parsed.Moov.Traks))
	}
	for _, trak := range parsed.Moov.Traks {
		kind := media.Audio
		if trak.Mdia.Hdlr.HandlerType == "vide" {
			kind = media.Video
		}
		want := ofKind(c.Frames, kind)
		if n := trak.GetNrSamples(); int(n) != len(want) {
			t.Fatalf("%s: mp4ff finds %d samples of %d", c.Name, n, len(want))
		}
		samples, err := trak.GetSampleData(1, trak.GetNrSamples())
		if err != nil {
			t.Fatal(c.Name, err)
		}
		for i, s := range samples {
			if int(s.Size) != len(want[i].Data) {
				t.Fatalf("%s: sample %d has %d bytes", c.Name, i, s.Size)
			}
		}
	}
}

func checkProbe(t *testing.T, file []byte, c formattest.Clip) {
	t.Helper()
	packets, _ := formattest.Probe(t, "done.mp4", file)
	var shifts []float64
	for kind, name := range map[media.Kind]string{media.Video: "video", media.Audio: "audio"} {
		got := slices.DeleteFunc(slices.Clone(packets), func(p formattest.Packet) bool { return p.Kind != name })
		want := ofKind(c.Frames, kind)
		if len(got) != len(want) {
			t.Fatalf("%s: ffprobe finds %d %s packets of %d", c.Name, len(got), name, len(want))
		}
		for i, g := range got {
			shifts = append(shifts, g.PTS-want[i].PTS.Seconds())
			if kind == media.Video && g.Key != want[i].Key || i > 0 && g.DTS <= got[i-1].DTS {
				t.Fatalf("%s: %s %d: %+v", c.Name, name, i, g)
			}
		}
	}
	if d := slices.Max(shifts) - slices.Min(shifts); math.IsNaN(d) || d > 0.004 {
		t.Errorf("%s: ffprobe's times are off by %v s", c.Name, d)
	}
	formattest.Decode(t, "done.mp4", file)
}

// TestCutOff: whatever is cut off an open file, what was whole before it is there.
func TestCutOff(t *testing.T) {
	c := formattest.Named(t, "h264_aac_bframes")
	file, _ := record(c, 1, 100)
	_, all := read(t, file)
	last := 0
	for n := 1500; n < len(file); n += 101 {
		f, err := Open(bytes.NewReader(file[:n]), int64(n))
		if err != nil {
			if last > 0 {
				t.Fatal(err)
			}
			continue
		}
		frames := readAll(t, f.NewReader())
		if len(frames) < last {
			t.Fatalf("%d bytes: %d frames, %d with fewer bytes", n, len(frames), last)
		}
		last = len(frames)
	}
	if last < len(all)-2 {
		t.Errorf("%d frames of %d", last, len(all))
	}
}

func TestNoRoom(t *testing.T) {
	c := formattest.Named(t, "h264_aac_bframes")
	if _, x := record(c, 1, 100); x != nil {
		if _, ok := x.Finish(); ok {
			t.Error("100 bytes are enough")
		}
	}
	// What Reserve promises is enough, exactly or with much to spare.
	open, x := record(c, 10, Reserve(x10(c)))
	if patches, ok := x.Finish(); !ok {
		t.Error("what was reserved is not enough")
	} else if _, frames := read(t, apply(apply(open, patches[0]), patches[1])); len(frames) != len(c.Frames) {
		t.Error(len(frames))
	}
}

// TestBehind: without room the index goes behind the data. At every step the file can be read.
func TestBehind(t *testing.T) {
	for _, name := range []string{"h264_aac_bframes", "hevc"} {
		c := formattest.Named(t, name)
		file, x := record(c, 10, 100)
		for i, p := range x.FinishBehind() {
			if n := int(p.At) + len(p.Data) - len(file); n > 0 {
				file = append(file, make([]byte, n)...)
			}
			file = apply(file, p)
			if _, frames := read(t, file); len(frames) != len(c.Frames) {
				t.Errorf("%s, step %d: %d frames of %d", name, i, len(frames), len(c.Frames))
			}
			packets, _ := formattest.Probe(t, "behind.mp4", file)
			if len(packets) != len(c.Frames) {
				t.Errorf("%s, step %d: ffprobe finds %d packets of %d", name, i, len(packets), len(c.Frames))
			}
		}
		formattest.Decode(t, "behind.mp4", file)
		if _, err := mp4.DecodeFile(bytes.NewReader(file)); err != nil {
			t.Error(err)
		}
	}
}

func x10(c formattest.Clip) time.Duration { return c.Frames[len(c.Frames)-1].DTS }

// TestLarge: files beyond 4 GiB have offsets of 64 bits.
func TestLarge(t *testing.T) {
	c := formattest.Named(t, "h264_aac_bframes")
	m := fmp4.NewMuxer(c.Tracks)
	head := AppendHead(nil, m, 1<<20)
	x := NewIndex(m, head)
	const far = int64(5) << 30
	holes := map[int64][]byte{0: head}
	for i, f := range c.Frames {
		m.Add(f)
		at := far + int64(i)<<20
		b := m.AppendFragment(nil, nil)
		x.Add(at, len(b), m.Samples())
		holes[at] = b
	}
	patches, ok := x.Finish()
	if !ok {
		t.Fatal("no room")
	}
	holes[0] = apply(apply(head, patches[0]), patches[1])
	f, err := Open(sparse(holes), x.end)
	if err != nil {
		t.Fatal(err)
	}
	compare(t, "large", readAll(t, f.NewReader()), c.Frames)
}

// sparse is a file of holes.
type sparse map[int64][]byte

func (s sparse) ReadAt(p []byte, at int64) (int, error) {
	clear(p)
	for begin, b := range s {
		for i := range p {
			if n := at + int64(i) - begin; n >= 0 && n < int64(len(b)) {
				p[i] = b[n]
			}
		}
	}
	return len(p), nil
}

// TestSeek: every moment is reached by the key frame before it.
func TestSeek(t *testing.T) {
	c := formattest.Named(t, "h264_alaw")
	length := c.Frames[len(c.Frames)-1].DTS + 40*time.Millisecond
	frames := slices.Clone(c.Frames)
	for _, f := range c.Frames { // a second round
		g := *f
		g.DTS, g.PTS = g.DTS+length, g.PTS+length
		frames = append(frames, &g)
	}
	c.Frames = frames
	open, _ := record(c, 10, 0)
	f, all := read(t, open)
	r := f.NewReader()
	for at := time.Duration(0); at < f.Duration()+time.Second; at += 70 * time.Millisecond {
		got := r.Seek(at)
		want := time.Duration(-1)
		for _, fr := range all {
			if fr.Key && (fr.PTS <= at || want < 0) {
				want = fr.DTS
			}
		}
		if got != want {
			t.Fatalf("seek to %v reaches %v, want %v", at, got, want)
		}
		rest := readAll(t, r)
		if i := slices.IndexFunc(rest, func(f *media.Frame) bool { return f.Track.Codec == media.H264 }); i < 0 || !rest[i].Key || rest[i].DTS != got {
			t.Fatalf("seek to %v: the first picture is no key frame", at)
		}
	}
	if r.Seek(0); len(readAll(t, r)) != len(all) {
		t.Error("the beginning is not reached")
	}
}

// TestFFmpegWrote reads what another muxer wrote.
func TestFFmpegWrote(t *testing.T) {
	for _, c := range formattest.Clips(t) {
		ours, x := record(c, 25, 64<<10)
		patches, _ := x.Finish()
		path := filepath.Join(t.TempDir(), "ours.mp4")
		if err := os.WriteFile(path, apply(apply(ours, patches[0]), patches[1]), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, flags := range []string{"frag_keyframe+empty_moov", "frag_every_frame+empty_moov+default_base_moof"} {
			container := "mp4"
			if c.Name == "mulaw" || c.Name == "h264_alaw" {
				container = "mov"
			}
			theirs := formattest.Tool(t, nil, "ffmpeg", "-v", "error", "-i", path, "-c", "copy", "-strict", "-2",
				"-movflags", flags, "-f", container, "-")
			f, frames := read(t, theirs)
			if len(f.Tracks()) != len(c.Tracks) {
				t.Fatalf("%s: %d tracks", c.Name, len(f.Tracks()))
			}
			comparePackets(t, c.Name, frames, theirs)
		}
	}
}

// comparePackets demands what ffprobe finds, at the same times but for one shift.
func comparePackets(t *testing.T, name string, frames []*media.Frame, file []byte) {
	t.Helper()
	packets, _ := formattest.Probe(t, "theirs.mp4", file)
	var shifts []float64
	for kind, word := range map[media.Kind]string{media.Video: "video", media.Audio: "audio"} {
		want := slices.DeleteFunc(slices.Clone(packets), func(p formattest.Packet) bool { return p.Kind != word })
		got := ofKind(frames, kind)
		if len(got) != len(want) {
			t.Fatalf("%s: %d %s frames, ffprobe finds %d", name, len(got), word, len(want))
		}
		for i, g := range got {
			if len(g.Data) != want[i].Size || kind == media.Video && g.Key != want[i].Key {
				t.Fatalf("%s: %s frame %d: %d bytes, key %v, ffprobe finds %+v", name, word, i, len(g.Data), g.Key, want[i])
			}
			shifts = append(shifts, g.PTS.Seconds()-want[i].PTS, g.DTS.Seconds()-want[i].DTS)
		}
	}
	if d := slices.Max(shifts) - slices.Min(shifts); d > 0.003 {
		t.Errorf("%s: times are off by %v s", name, d)
	}
}

// TestNoise: damaged files do no harm.
func TestNoise(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	c := formattest.Named(t, "h264_aac_bframes")
	open, x := record(c, 10, 16<<10)
	patches, _ := x.Finish()
	done := apply(apply(open, patches[0]), patches[1])
	for _, file := range [][]byte{open, done} {
		for range 500 {
			b := bytes.Clone(file)
			for range 1 + rnd.IntN(8) {
				b[rnd.IntN(len(b))] = byte(rnd.Uint32())
			}
			exercise(b)
		}
	}
}

// TestClaims: tables of a few bytes that describe millions of samples make none that the file does not hold.
func TestClaims(t *testing.T) {
	c := formattest.Named(t, "h264_aac_bframes")
	fragments, x := record(c, 10, 16<<10)
	patches, _ := x.Finish()
	tables := apply(apply(fragments, patches[0]), patches[1])
	put := func(file []byte, box string, from int, values ...uint32) {
		at := bytes.Index(file, []byte(box))
		if at < 0 {
			t.Fatalf("no %s", box)
		}
		for i, v := range values {
			binary.BigEndian.PutUint32(file[at+4+from+4*i:], v)
		}
	}
	put(tables, "stsz", 4, 100, MaxSamples-1) // each of 100 bytes
	put(tables, "stsc", 12, MaxSamples)       // all in the first chunk
	fragments = bytes.Clone(fragments)
	put(fragments, "trex", 16, 100)
	put(fragments, "trun", 0, 0, MaxSamples-1)
	for name, file := range map[string][]byte{"tables": tables, "fragments": fragments} {
		f, err := Open(bytes.NewReader(file), int64(len(file)))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if most := len(file)/100 + len(c.Frames); f.total == 0 || f.total > most {
			t.Errorf("%s: %d samples of a file of %d bytes", name, f.total, len(file))
		}
	}
}

// exercise reads a file and seeks in it.
func exercise(b []byte) {
	f, err := Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return
	}
	r := f.NewReader()
	for range 2 {
		for range 200 {
			if _, err := r.Next(); err != nil {
				break
			}
		}
		r.Seek(f.Duration() / 2)
	}
}

func FuzzOpen(f *testing.F) {
	for _, c := range formattest.Clips(f) {
		c.Frames = c.Frames[:min(len(c.Frames), 12)]
		open, x := record(c, 4, 2048)
		f.Add(open)
		if patches, ok := x.Finish(); ok {
			f.Add(apply(apply(open, patches[0]), patches[1]))
		}
	}
	f.Fuzz(func(_ *testing.T, b []byte) { exercise(b) })
}

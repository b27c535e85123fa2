package rtmp

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

// wire makes chunks by hand.
type wire struct{ bytes.Buffer }

func (w *wire) basic(format byte, csid int) *wire {
	switch {
	case csid < 64:
		w.WriteByte(format<<6 | byte(csid))
	case csid < 320:
		w.Write([]byte{format << 6, byte(csid - 64)})
	default:
		w.Write([]byte{format<<6 | 1, byte(csid - 64), byte((csid - 64) >> 8)})
	}
	return w
}

func (w *wire) u24(v int) *wire {
	w.Write([]byte{byte(v >> 16), byte(v >> 8), byte(v)})
	return w
}

func (w *wire) u32(v uint32) *wire {
	w.Write(binary.BigEndian.AppendUint32(nil, v))
	return w
}

func (w *wire) raw(s string) *wire {
	w.WriteString(s)
	return w
}

// full writes a header of format 0 with message stream 1.
func (w *wire) full(csid, ts, length int, typ MessageType) *wire {
	w.basic(0, csid).u24(ts).u24(length)
	w.WriteByte(byte(typ))
	return w.raw("\x01\x00\x00\x00")
}

// control writes a control message.
func (w *wire) control(typ MessageType, v uint32) *wire {
	w.Write(appendControl(nil, typ, v))
	return w
}

func w() *wire { return new(wire) }

func readAll(in []byte) (all []Message, err error) {
	c := newChunkReader(bufio.NewReader(bytes.NewReader(in)))
	c.media = true
	for {
		m, err := c.next()
		if err != nil {
			return all, err
		}
		all = append(all, m)
	}
}

type want struct {
	typ  MessageType
	ts   uint32
	body string
}

func long(n int) string { return strings.Repeat("0123456789abcdef", n/16+1)[:n] }

func TestChunkReader(t *testing.T) {
	const ext = extendedField
	big := long(200)
	for _, tc := range []struct {
		name string
		in   *wire
		want []want
		err  error // default io.EOF
	}{
		{name: "nothing", in: w()},
		{
			name: "all formats", in: w().
				full(4, 1000, 3, TypeAudio).raw("abc").
				basic(1, 4).u24(20).u24(2).raw("\x08").raw("de").
				basic(2, 4).u24(23).raw("fg").
				basic(3, 4).raw("hi"),
			want: []want{{TypeAudio, 1000, "abc"}, {TypeAudio, 1020, "de"}, {TypeAudio, 1043, "fg"}, {TypeAudio, 1066, "hi"}},
		},
		{
			name: "format 3 after 0 steps by its time stamp", in: w().
				full(4, 23, 1, TypeAudio).raw("a").basic(3, 4).raw("b"),
			want: []want{{TypeAudio, 23, "a"}, {TypeAudio, 46, "b"}},
		},
		{
			name: "chunk stream ids", in: w().
				full(2, 1, 1, TypeAudio).raw("a").full(63, 2, 1, TypeAudio).raw("b").full(64, 3, 1, TypeAudio).raw("c").
				full(319, 4, 1, TypeAudio).raw("d").full(320, 5, 1, TypeAudio).raw("e").full(65599, 6, 1, TypeAudio).raw("f").
				basic(3, 65599).raw("g"),
			want: []want{
				{TypeAudio, 1, "a"},
				{TypeAudio, 2, "b"},
				{TypeAudio, 3, "c"},
				{TypeAudio, 4, "d"},
				{TypeAudio, 5, "e"},
				{TypeAudio, 6, "f"},
				{TypeAudio, 12, "g"},
			},
		},
		{
			name: "long id of a short one", in: w().raw("\x00\x00").u24(1).u24(1).raw("\x08\x01\x00\x00\x00").raw("a").
				raw("\xc1\x00\x00b"),
			want: []want{{TypeAudio, 1, "a"}, {TypeAudio, 2, "b"}},
		},
		{
			name: "starts with format 1, as librtmp's ping", in: w().basic(1, 5).u24(7).u24(2).raw("\x08ab"),
			want: []want{{TypeAudio, 7, "ab"}},
		},
		{
			name: "chunks", in: w().full(6, 5, 200, TypeVideo).raw(big[:128]).basic(3, 6).raw(big[128:]),
			want: []want{{TypeVideo, 5, big}},
		},
		{
			name: "interleaved", in: w().
				full(6, 5, 200, TypeVideo).raw(big[:128]).full(4, 6, 200, TypeAudio).raw(big[:128]).
				basic(3, 6).raw(big[128:]).basic(3, 4).raw(big[128:]),
			want: []want{{TypeVideo, 5, big}, {TypeAudio, 6, big}},
		},
		{
			name: "empty message", in: w().full(4, 9, 0, TypeAudio).full(4, 10, 1, TypeAudio).raw("x"),
			want: []want{{TypeAudio, 9, ""}, {TypeAudio, 10, "x"}},
		},
		{
			name: "extended time stamp repeated", in: w().
				full(6, ext, 200, TypeVideo).u32(0x01020304).raw(big[:128]).basic(3, 6).u32(0x01020304).raw(big[128:]),
			want: []want{{TypeVideo, 0x01020304, big}},
		},
		{
			name: "extended time stamp not repeated", in: w().
				full(6, ext, 200, TypeVideo).u32(0x01020304).raw(big[:128]).basic(3, 6).raw(big[128:]),
			want: []want{{TypeVideo, 0x01020304, big}},
		},
		{
			name: "extended field of exactly 0xffffff", in: w().full(6, ext, 1, TypeVideo).u32(ext).raw("a"),
			want: []want{{TypeVideo, ext, "a"}},
		},
		{
			name: "extended step", in: w().
				full(6, 1, 1, TypeVideo).raw("a").basic(2, 6).u24(ext).u32(0x02000000).raw("b").
				basic(3, 6).u32(0x02000000).raw("c"),
			want: []want{{TypeVideo, 1, "a"}, {TypeVideo, 0x02000001, "b"}, {TypeVideo, 0x04000001, "c"}},
		},
		{
			name: "time stamp wraps", in: w().
				full(6, ext, 1, TypeVideo).u32(math.MaxUint32).raw("a").basic(2, 6).u24(41).raw("b"),
			want: []want{{TypeVideo, math.MaxUint32, "a"}, {TypeVideo, 40, "b"}},
		},
		{
			name: "extended at the very end", in: w().full(6, ext, 129, TypeVideo).u32(1<<25).raw(big[:128]).basic(3, 6).raw("z"),
			want: []want{{TypeVideo, 1 << 25, big[:128] + "z"}},
		},
		{
			name: "chunk size grows inside a message", in: w().
				full(6, 5, 200, TypeVideo).raw(big[:128]).control(TypeSetChunkSize, 4096).basic(3, 6).raw(big[128:]),
			want: []want{{TypeVideo, 5, big}},
		},
		{
			name: "chunk size 1", in: w().control(TypeSetChunkSize, 1).
				full(6, 5, 3, TypeVideo).raw("a").basic(3, 6).raw("b").basic(3, 6).raw("c"),
			want: []want{{TypeVideo, 5, "abc"}},
		},
		{
			name: "chunk size above all messages", in: w().control(TypeSetChunkSize, 1<<31-1).full(6, 5, 200, TypeVideo).raw(big),
			want: []want{{TypeVideo, 5, big}},
		},
		{
			name: "abort", in: w().full(6, 5, 200, TypeVideo).raw(big[:128]).control(TypeAbort, 6).
				basic(2, 6).u24(10).raw(big[:128]).basic(3, 6).raw(big[128:]),
			want: []want{{TypeVideo, 15, big}},
		},
		{
			name: "abort of nothing", in: w().control(TypeAbort, 99).control(TypeAbort, 2).full(4, 0, 1, TypeAudio).raw("a"),
			want: []want{{TypeAudio, 0, "a"}},
		},
		{
			name: "new header drops the unfinished message", in: w().
				full(6, 5, 200, TypeVideo).raw(big[:128]).full(6, 9, 1, TypeVideo).raw("n"),
			want: []want{{TypeVideo, 9, "n"}},
		},

		{name: "chunk size 0", in: w().control(TypeSetChunkSize, 0), err: ErrProtocol},
		{name: "chunk size 2^31", in: w().control(TypeSetChunkSize, 1<<31), err: ErrProtocol},
		{name: "short set chunk size", in: w().full(2, 0, 2, TypeSetChunkSize).raw("\x00\x01"), err: ErrProtocol},
		{name: "short abort", in: w().full(2, 0, 0, TypeAbort), err: ErrProtocol},
		{name: "begins with format 3", in: w().basic(3, 4), err: ErrProtocol},
		{name: "begins with format 2", in: w().basic(2, 4).u24(1), err: ErrProtocol},
		{name: "command too long", in: w().full(3, 0, maxCommand+1, TypeCommandAMF0), err: ErrProtocol},
		{name: "data too long", in: w().full(3, 0, 1<<20+1, TypeDataAMF0), err: ErrProtocol},
		{name: "control too long", in: w().full(2, 0, maxControl+1, TypeAck), err: ErrProtocol},
		{name: "unknown type too long", in: w().full(2, 0, maxCommand+1, 77), err: ErrProtocol},
		{name: "cut in the id", in: w().raw("\x00"), err: io.ErrUnexpectedEOF},
		{name: "cut in the long id", in: w().raw("\x01\x00"), err: io.ErrUnexpectedEOF},
		{name: "cut in the header", in: w().basic(0, 4).u24(1), err: io.ErrUnexpectedEOF},
		{name: "cut in the extended time stamp", in: w().full(4, ext, 4, TypeAudio).raw("\x00"), err: io.ErrUnexpectedEOF},
		{name: "cut in the body", in: w().full(4, 0, 4, TypeAudio).raw("abc"), err: io.ErrUnexpectedEOF},
		{name: "no body", in: w().full(4, 0, 4, TypeAudio), err: io.ErrUnexpectedEOF},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := readAll(tc.in.Bytes())
			if tc.err == nil {
				tc.err = io.EOF
			}
			if !errors.Is(err, tc.err) {
				t.Errorf("error %v, want %v", err, tc.err)
			}
			if len(got) != len(tc.want) {
				t.Fatalf("%d messages, want %d", len(got), len(tc.want))
			}
			for i, m := range got {
				if m.Type != tc.want[i].typ || m.Timestamp != tc.want[i].ts || string(m.Body) != tc.want[i].body {
					t.Errorf("message %d: type %d at %d, %d bytes, want %+v", i, m.Type, m.Timestamp, len(m.Body), tc.want[i])
				}
			}
		})
	}
}

// TestChunkReaderMemory: what is allocated follows what arrived.
func TestChunkReaderMemory(t *testing.T) {
	in := w().control(TypeSetChunkSize, 1<<24)
	for csid := 3; csid < 3+64-1; csid++ {
		in.full(csid, 0, maxMessage, TypeVideo).raw("x")
		in.full(csid, 0, maxMessage, TypeVideo).raw("x") // the body stays far from complete
	}
	c := newChunkReader(bufio.NewReader(bytes.NewReader(in.Bytes())))
	c.media = true
	_, err := c.next()
	if err == nil {
		t.Fatal("no error at the end of the input")
	}
	if c.partial > 64*firstBodySize {
		t.Errorf("%d bytes are held for %d bytes of input", c.partial, in.Len())
	}
}

func TestChunkReaderLimits(t *testing.T) {
	t.Run("chunk streams", func(t *testing.T) {
		in := w()
		for csid := range 64 + 1 {
			in.full(2+csid, 0, 0, TypeAudio)
		}
		if _, err := readAll(in.Bytes()); !errors.Is(err, ErrProtocol) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("unfinished messages", func(t *testing.T) {
		in := w().control(TypeSetChunkSize, 12<<20)
		for csid := 3; csid < 6; csid++ {
			in.full(csid, 0, maxMessage, TypeVideo).raw(long(12 << 20))
		}
		if _, err := readAll(in.Bytes()); !errors.Is(err, ErrProtocol) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("media before it is allowed", func(t *testing.T) {
		c := newChunkReader(bufio.NewReader(w().full(4, 0, maxCommand+1, TypeVideo)))
		if _, err := c.next(); !errors.Is(err, ErrProtocol) {
			t.Errorf("got %v", err)
		}
	})
}

// TestChunkRoundTrip writes messages with our writer at several chunk sizes and reads them back.
func TestChunkRoundTrip(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, size := range []int{1, 2, 128, 4096, ChunkSize, maxChunkSize} {
		out := appendControl(nil, TypeSetChunkSize, uint32(size))
		var sent []Message
		for range 40 {
			m := Message{Type: TypeVideo, StreamID: 1, Timestamp: rnd.Uint32() >> rnd.IntN(16), Body: []byte(long(rnd.IntN(3 * min(size, 1<<17))))}
			sent = append(sent, m)
			out = appendMessage(out, csidVideo, m, size)
		}
		got, err := readAll(out)
		if !errors.Is(err, io.EOF) || len(got) != len(sent) {
			t.Fatalf("chunk size %d: %d of %d messages, %v", size, len(got), len(sent), err)
		}
		for i, m := range got {
			if m.Timestamp != sent[i].Timestamp || !bytes.Equal(m.Body, sent[i].Body) || m.StreamID != 1 {
				t.Errorf("chunk size %d: message %d differs", size, i)
			}
		}
	}
}

func BenchmarkChunkReader(b *testing.B) {
	m := appendMessage(nil, csidVideo, Message{Type: TypeVideo, StreamID: 1, Body: []byte(long(9000))}, defaultChunkSize)
	in := bytes.Repeat(m, 100)
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		c := newChunkReader(bufio.NewReaderSize(bytes.NewReader(in), publishBuffer))
		c.media = true
		for range 100 {
			if _, err := c.next(); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func FuzzChunkReader(f *testing.F) {
	f.Add(w().full(4, 1000, 3, TypeAudio).raw("abc").basic(1, 4).u24(20).u24(2).raw("\x08de").basic(2, 4).u24(2).raw("fg").basic(3, 4).raw("hi").Bytes())
	f.Add(w().full(6, extendedField, 200, TypeVideo).u32(1<<25).raw(long(128)).basic(3, 6).u32(1 << 25).raw(long(72)).Bytes())
	f.Add(w().control(TypeSetChunkSize, 1).full(65599, 5, 3, TypeVideo).raw("a").basic(3, 65599).raw("b").control(TypeAbort, 65599).Bytes())
	f.Add(w().control(TypeSetChunkSize, 1<<24).full(6, 5, maxMessage, TypeVideo).raw("a").Bytes())
	f.Fuzz(func(t *testing.T, in []byte) {
		c := newChunkReader(bufio.NewReader(bytes.NewReader(in)))
		c.media = true
		total := 0
		for {
			m, err := c.next()
			if err != nil {
				break
			}
			total += len(m.Body)
		}
		if total > len(in) {
			t.Errorf("%d bytes of messages in %d bytes", total, len(in))
		}
		if c.partial < 0 || c.partial > maxPartial+maxMessage || c.partial > firstBodySize*64+bodyGrowth*len(in) {
			t.Errorf("%d bytes held for %d bytes of input", c.partial, len(in))
		}
	})
}

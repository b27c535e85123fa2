package rtmp

import (
	"bufio"
	"bytes"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/format/amf"
)

func newBufio(r io.Reader) *bufio.Reader { return bufio.NewReader(r) }

// handshaken returns a connection after the handshake, closed with the test.
func handshaken(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := dialHandshake(conn, conn); err != nil {
		t.Fatal(err)
	}
	return conn
}

// hello2 is a connect command and a publish command.
func connectBytes() []byte {
	return appendCommand(nil, csidCommand, 0, defaultChunkSize, "connect", 1, amf.Object{{Name: "app", Value: "live"}})
}

func publishBytes() []byte {
	return appendCommand(connectBytes(), csidStatus, 1, defaultChunkSize, "publish", 2, nil, "a", "live")
}

// nested returns n arrays in each other.
func nested(n int) string { return strings.Repeat("\x0a\x00\x00\x00\x01", n) + "\x05" }

func amfBody(values string) []byte {
	return appendMessage(nil, csidCommand, Message{Type: TypeCommandAMF0, Body: []byte(values)}, defaultChunkSize)
}

type hostileCase struct {
	name string
	in   []byte
	// stays: the session may go on, the test hangs up.
	stays bool
}

func hostileCases() []hostileCase {
	after := func(prefix []byte, rest *wire) []byte { return append(prefix, rest.Bytes()...) }
	return []hostileCase{
		{name: "zeros", in: make([]byte, 4096), stays: true}, // headers of empty messages
		{name: "ones", in: bytes.Repeat([]byte{0xff}, 4096)},
		{name: "command before connect", in: amfBody("\x02\x00\x07publish\x00\x00\x00\x00\x00\x00\x00\x00\x00\x05")},
		{name: "command that is none", in: amfBody("\x05")},
		{name: "empty command", in: amfBody("")},
		{name: "string that lies", in: amfBody("\x02\xff\xffx")},
		{name: "array that lies", in: amfBody("\x02\x00\x01x\x00\x00\x00\x00\x00\x00\x00\x00\x00\x0a\xff\xff\xff\xff")},
		{name: "deep AMF", in: amfBody("\x02\x00\x01x\x00\x00\x00\x00\x00\x00\x00\x00\x00" + nested(1000))},
		{name: "object without end", in: amfBody("\x02\x00\x07connect\x00\x00\x00\x00\x00\x00\x00\x00\x00\x03\x00\x01a\x05")},
		{name: "media before connect", in: w().full(4, 0, 3, TypeVideo).raw("abc").Bytes(), stays: true},
		{name: "claims 16 MiB before connect", in: w().full(6, 0, maxMessage, TypeVideo).Bytes()},
		{name: "claims 16 MiB", in: after(publishBytes(), w().full(6, 0, maxMessage, TypeVideo).raw("abc")), stays: true},
		{name: "huge command", in: w().full(3, 0, 1<<20, TypeCommandAMF0).Bytes()},
		{name: "chunk size 0", in: after(connectBytes(), w().control(TypeSetChunkSize, 0))},
		{name: "chunk size 2^31", in: after(connectBytes(), w().control(TypeSetChunkSize, 1<<31))},
		{name: "chunk size 1", in: after(connectBytes(), w().control(TypeSetChunkSize, 1).full(3, 0, 2, TypeAudio).raw("a").basic(3, 3).raw("b")), stays: true},
		{name: "many chunk streams", in: func() []byte {
			in := w()
			for i := range 1000 {
				in.full(2+i, 0, 0, TypeAudio)
			}
			return in.Bytes()
		}()},
		{name: "unknown chunk stream", in: w().basic(3, 40).Bytes()},
		{name: "abort storm", in: after(connectBytes(), func() *wire {
			in := w()
			for i := range 5000 {
				in.full(7, 0, 500, TypeAudio).raw(long(128)).control(TypeAbort, uint32(7+i%2))
			}
			return in
		}()), stays: true},
		{name: "short events", in: after(connectBytes(), w().full(2, 0, 1, TypeUserControl).raw("x").full(2, 0, 2, TypeUserControl).raw("\x00\x06").full(2, 0, 1, TypeWindowAckSize).raw("x")), stays: true},
		{name: "aggregate that lies", in: after(publishBytes(), w().full(6, 0, 12, TypeAggregate).raw("\x09\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00x"))},
		{name: "bad media bodies", in: after(publishBytes(), w().
			full(6, 0, 1, TypeVideo).raw("\x17").full(6, 0, 6, TypeVideo).raw("\x17\x00\x00\x00\x00\x01").
			full(6, 0, 1, TypeVideo).raw("\xff").full(4, 0, 1, TypeAudio).raw("\xaf").full(4, 0, 0, TypeAudio).
			full(4, 0, 2, TypeDataAMF0).raw("\x02\xff").full(4, 0, 1, TypeDataAMF3).raw("\x00")), stays: true},
		{name: "connect with wrong types", in: appendCommand(nil, 3, 0, defaultChunkSize, "connect", 1, "app", true), stays: true},
		{name: "publish with wrong types", in: appendCommand(connectBytes(), 3, 0, defaultChunkSize, "publish", 1, nil, float64(1), true)},
		{name: "play2 with wrong types", in: appendCommand(connectBytes(), 3, 0, defaultChunkSize, "play2", 1, nil, true)},
		{name: "publish without arguments", in: appendCommand(connectBytes(), 3, 0, defaultChunkSize, "publish", 1)},
		{name: "close of nothing", in: appendCommand(connectBytes(), 3, 0, defaultChunkSize, "deleteStream", 1, nil, "x"), stays: true},
	}
}

// TestHostile: whatever comes, the session ends or goes on, and nothing stays behind.
func TestHostile(t *testing.T) {
	for _, tc := range hostileCases() {
		t.Run(tc.name, func(t *testing.T) {
			_, addr := startServer(t, newFakeHub(), Config{})
			conn := handshaken(t, addr)
			if _, err := conn.Write(tc.in); err != nil && tc.stays {
				t.Fatal(err)
			}
			if tc.stays {
				_ = conn.(*net.TCPConn).CloseWrite()
			}
			// The server hangs up; a reset is as good as an end.
			_, _ = io.Copy(io.Discard, conn)
		})
	}
}

// script is a connection whose peer has sent everything it ever will and reads whatever it is told.
type script struct {
	io.Reader
	wrote int
}

func (s *script) Write(p []byte) (int, error)      { s.wrote += len(p); return len(p), nil }
func (s *script) Close() error                     { return nil }
func (s *script) LocalAddr() net.Addr              { return nil }
func (s *script) RemoteAddr() net.Addr             { return nil }
func (s *script) SetDeadline(time.Time) error      { return nil }
func (s *script) SetReadDeadline(time.Time) error  { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }

// FuzzSession feeds a whole server session.
func FuzzSession(f *testing.F) {
	shake := append([]byte{3}, make([]byte, 2*handshakeSize)...)
	for _, tc := range hostileCases() {
		if len(tc.in) < 8<<10 {
			f.Add(tc.in)
		}
	}
	f.Add(appendCommand(connectBytes(), csidStatus, 1, defaultChunkSize, "play", 2, nil, "a"))
	f.Add(append(publishBytes(), appendCommand(nil, 3, 0, defaultChunkSize, "deleteStream", 3, nil, float64(1))...))
	f.Add(append(publishBytes(), appendMessage(nil, 6, Message{Type: TypeVideo, StreamID: 1, Body: []byte("\x17\x01\x00\x00\x00\x00\x00\x00\x02\x65\x88")}, defaultChunkSize)...))
	f.Fuzz(func(t *testing.T, in []byte) {
		srv := New(Config{Logger: slog.New(slog.DiscardHandler)}, newFakeHub())
		srv.Accept(&script{Reader: io.MultiReader(bytes.NewReader(shake), bytes.NewReader(in))})
		srv.Wait() // the session ends by itself
		srv.Close()
		if srv.Connections() != 0 {
			t.Error("a session is left")
		}
	})
}

// TestLimits: what is configured is the limit.
func TestLimits(t *testing.T) {
	lim := Limits{MessageBytes: 1000, DataBytes: 500, ChunkStreams: 8, Commands: 10}
	audio := func(csid, n int) []byte {
		return w().full(csid, 0, n, TypeAudio).raw(long(min(n, defaultChunkSize))).Bytes()
	}
	for name, in := range map[string][]byte{
		"message":       audio(6, 1001),
		"data":          w().full(6, 0, 501, TypeDataAMF0).Bytes(),
		"chunk streams": bytes.Join([][]byte{audio(6, 1), audio(7, 1), audio(8, 1), audio(9, 1), audio(10, 1), audio(11, 1), audio(12, 1)}, nil),
		"commands":      bytes.Repeat(appendCommand(nil, 3, 0, defaultChunkSize, "what", 2, nil), 30),
	} {
		t.Run(name, func(t *testing.T) {
			hub := newFakeHub()
			_, addr := startServer(t, hub, Config{Limits: lim, KeepAlive: time.Hour})
			conn := handshaken(t, addr)
			if _, err := conn.Write(append(publishBytes(), audio(6, 10)...)); err != nil {
				t.Fatal(err)
			}
			r := newChunkReader(newBufio(conn))
			awaitCodes(t, r, []string{codeConnectSuccess, codePublishStart})
			_, _ = conn.Write(in)
			expectEnd(t, hub, fact.EndConnectionLost)
		})
	}
}

package outlet

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/hookline/hookline/internal/leaktest"
	"github.com/hookline/hookline/internal/stream"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// pair returns both ends of a TCP connection.
func pair(t *testing.T) (near, far *net.TCPConn) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, err := new(net.Dialer).DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = a.Close(), b.Close() })
	return a.(*net.TCPConn), b.(*net.TCPConn)
}

// pattern returns n bytes that begin at place from of an endless text.
func pattern(from, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte((from + i) * 7 >> 3)
	}
	return b
}

func expect(t *testing.T, r io.Reader, want []byte) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(r, got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatal("other bytes arrived")
	}
}

// TestTry writes until the connection takes no more, goes on with Write and Send, and then directly again.
func TestTry(t *testing.T) {
	near, far := pair(t)
	o := New(near, Config{Timeout: time.Minute})
	if o.Direct() != canPush {
		t.Fatal("not direct")
	}
	if !canPush {
		return
	}
	if n, taken, err := o.Try(net.Buffers{pattern(0, 5), pattern(5, 6)}); n != 11 || taken != stream.TookAll || err != nil {
		t.Fatal(n, taken, err)
	}
	sent, written := 11, 11
	for {
		var blocks net.Buffers
		for range 40 { // more than one vector
			blocks = append(blocks, pattern(sent, 10_001))
			sent += 10_001
		}
		before := append(net.Buffers(nil), blocks...)
		n, taken, err := o.Try(blocks)
		written += n
		if err != nil {
			t.Fatal(err)
		}
		for i := range blocks {
			if &blocks[i][0] != &before[i][0] || len(blocks[i]) != len(before[i]) {
				t.Fatal("Try has changed what it was given")
			}
		}
		if taken == stream.TookNothing {
			sent -= 400_040
			break
		}
		if taken == stream.TookLate && written >= sent {
			t.Fatal("nothing is left over")
		}
	}
	// What is left over comes first. Without it, when the buffer was full behind a block, there may be room again.
	if len(o.rest) > 0 {
		if n, taken, err := o.Try(net.Buffers{{1}}); n != 0 || taken != stream.TookNothing || err != nil {
			t.Error(n, taken, err)
		}
	}
	done := make(chan error, 1)
	go func() {
		n, err := o.Write(t.Context(), net.Buffers{pattern(sent, 3*Step)})
		if int(n) != sent-written+3*Step {
			err = errors.Join(err, errors.New("Write does not count what was left over"))
		}
		done <- errors.Join(err, o.Send(func(dst []byte) []byte { return append(dst, "message"...) }))
	}()
	expect(t, far, append(pattern(0, sent+3*Step), "message"...))
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if n, taken, err := o.Try(net.Buffers{pattern(0, 100)}); n != 100 || taken != stream.TookAll || err != nil {
		t.Error(n, taken, err)
	}
	if !o.deadline.IsZero() {
		t.Error("a deadline of before is still there")
	}
	expect(t, far, pattern(0, 100))
}

// TestTryWhileWriting: a message that waits for its peer keeps nobody waiting but its own.
func TestTryWhileWriting(t *testing.T) {
	near, far := pair(t)
	o := New(near, Config{Timeout: time.Minute})
	building, build := make(chan struct{}), make(chan struct{})
	done := make(chan error, 1)
	go func() {
		done <- o.Send(func(dst []byte) []byte {
			close(building)
			<-build
			return append(dst, 'm')
		})
	}()
	<-building
	if n, taken, err := o.Try(net.Buffers{{1}}); n != 0 || taken != stream.TookNothing || err != nil {
		t.Error(n, taken, err)
	}
	close(build)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	expect(t, far, []byte("m"))
}

func TestTryAllocatesNothing(t *testing.T) {
	near, far := pair(t)
	go func() { _, _ = io.Copy(io.Discard, far) }()
	o := New(near, Config{Timeout: time.Minute})
	if !canPush {
		return
	}
	blocks := net.Buffers{make([]byte, 10), make([]byte, 10)}
	if n := testing.AllocsPerRun(1000, func() {
		if _, _, err := o.Try(blocks); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestFailure: after a failed write nothing is written any more.
func TestFailure(t *testing.T) {
	for name, write := range map[string]func(t *testing.T, o *Outlet) error{
		"Write": func(t *testing.T, o *Outlet) error {
			t.Helper()
			_, err := o.Write(t.Context(), net.Buffers{{1}})
			return err
		},
		"Send": func(_ *testing.T, o *Outlet) error {
			return o.Send(func(dst []byte) []byte { return append(dst, 1) })
		},
		"Try": func(_ *testing.T, o *Outlet) error {
			_, _, err := o.Try(net.Buffers{{1}})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			near, _ := pair(t)
			o := New(near, Config{Timeout: time.Minute})
			_ = near.SetWriteDeadline(time.Unix(1, 0))
			o.deadline = time.Now().Add(time.Hour)
			o.cfg.SetDeadline = func(time.Time) error { return nil }
			if err := write(t, o); err == nil {
				t.Fatal("no error")
			}
			_ = near.SetWriteDeadline(time.Time{})
			for name, write := range map[string]func() error{
				"Write": func() error { _, err := o.Write(context.Background(), net.Buffers{{1}}); return err },
				"Send":  func() error { return o.Send(func(dst []byte) []byte { return append(dst, 1) }) },
				"Try":   func() error { _, _, err := o.Try(net.Buffers{{1}}); return err },
			} {
				if write() == nil {
					t.Errorf("%s after a failure", name)
				}
			}
		})
	}
}

// TestNotDirect: what is no plain TCP connection works by Write.
func TestNotDirect(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	o := New(near, Config{Timeout: time.Minute})
	if o.Direct() {
		t.Fatal("direct")
	}
	done := make(chan error, 1)
	go func() {
		n, err := o.Write(t.Context(), net.Buffers{pattern(0, 10), pattern(10, 2*Step), pattern(10+2*Step, 20)})
		if n != 30+2*Step {
			err = errors.Join(err, io.ErrShortWrite)
		}
		done <- err
	}()
	expect(t, far, pattern(0, 30+2*Step))
	if err := <-done; err != nil {
		t.Error(err)
	}
}

package webhook

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hookline/hookline/internal/queue/queuetest"
)

func TestConnectionIsReused(t *testing.T) {
	r := answers(t, true, okWire())
	c := newClient(t, Config{IdleTimeout: time.Hour})
	for range 50 {
		wantAccepted(t, send(t, c, r.url("/"), patience))
	}
	if n := r.conns.Load(); n != 1 {
		t.Errorf("%d connections for 50 posts", n)
	}
}

func TestStaleConnection(t *testing.T) {
	reset := func(c net.Conn) {
		if tc, ok := c.(*net.TCPConn); ok {
			_ = tc.SetLinger(0)
		}
	}
	for name, tc := range map[string]struct {
		second  func(c net.Conn, br *bufio.Reader)
		blind   bool // without the look at the socket
		retried bool
	}{
		"closed while idle":             {func(net.Conn, *bufio.Reader) {}, false, true},
		"closed while idle, unseen":     {func(net.Conn, *bufio.Reader) {}, true, true},
		"reset while idle, unseen":      {func(c net.Conn, _ *bufio.Reader) { reset(c) }, true, true},
		"closed on the request":         {func(_ net.Conn, br *bufio.Reader) { readRequest(br) }, false, true},
		"reset on the request":          {func(c net.Conn, br *bufio.Reader) { readRequest(br); reset(c) }, false, true},
		"closed after a byte of answer": {func(c net.Conn, br *bufio.Reader) { readRequest(br); _, _ = io.WriteString(c, "H") }, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			ended := make(chan struct{})
			r := newReceiver(t, func(c net.Conn, br *bufio.Reader, n int64, _ <-chan struct{}) {
				readRequest(br)
				_, _ = io.WriteString(c, okWire())
				if n == 1 {
					tc.second(c, br)
					_ = c.Close()
					close(ended)
				} else {
					readRequest(br)
				}
			})
			c := newClient(t, Config{IdleTimeout: time.Hour})
			wantAccepted(t, send(t, c, r.url("/"), patience))
			if strings.Contains(name, "idle") {
				<-ended
			}
			if tc.blind {
				for _, idle := range c.pool.idle[mustTarget(t, r.url("/")).key] {
					idle.probe = nil
				}
			}
			got := send(t, c, r.url("/"), patience)
			if tc.retried {
				wantAccepted(t, got)
			} else if got.Err == nil {
				t.Fatalf("status %d", got.Status)
			}
			if want := map[bool]int64{true: 2, false: 1}[tc.retried]; r.conns.Load() != want {
				t.Errorf("%d connections, want %d", r.conns.Load(), want)
			}
		})
	}
}

func mustTarget(t testing.TB, raw string) *target {
	t.Helper()
	tg, err := parseTarget(raw)
	if err != nil {
		t.Fatal(err)
	}
	return tg
}

func TestFreshConnectionIsNotRetried(t *testing.T) {
	r := newReceiver(t, func(_ net.Conn, br *bufio.Reader, _ int64, _ <-chan struct{}) { readRequest(br) })
	got := send(t, newClient(t, Config{}), r.url("/"), patience)
	if got.Err == nil || r.conns.Load() != 1 {
		t.Errorf("err %v after %d connections", got.Err, r.conns.Load())
	}
}

func TestUnsolicitedAnswerIsNotTakenForTheNext(t *testing.T) {
	late := make(chan struct{})
	r := newReceiver(t, func(c net.Conn, br *bufio.Reader, n int64, _ <-chan struct{}) {
		readRequest(br)
		_, _ = io.WriteString(c, okWire())
		if n == 1 {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{\"code\":7}")
			close(late)
		}
		readRequest(br)
	})
	c := newClient(t, Config{})
	wantAccepted(t, send(t, c, r.url("/"), patience))
	<-late
	wantAccepted(t, send(t, c, r.url("/"), patience))
}

func TestServerRestart(t *testing.T) {
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(queuetest.FreePort(t)))
	first := newReceiverAt(t, addr, answering(true, okWire()))
	c := newClient(t, Config{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { send(t, c, first.url("/"), patience) })
	}
	wg.Wait()
	first.stop()
	if got := send(t, c, first.url("/"), patience); got.Err == nil {
		t.Fatal("answered while nobody listened")
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, okBody) }),
		ReadHeaderTimeout: time.Minute,
	}
	wg.Go(func() { _ = srv.Serve(ln) })
	for range 10 {
		wantAccepted(t, send(t, c, first.url("/"), patience))
	}
	_ = srv.Close()
	wg.Wait()
}

func TestClose(t *testing.T) {
	r := answers(t, true, okWire())
	c := New(Config{})
	wantAccepted(t, send(t, c, r.url("/"), patience))
	for range 2 {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if got := send(t, c, r.url("/"), patience); !errors.Is(got.Err, ErrClosed) {
		t.Error(got.Err)
	}
}

func TestIdleConnectionsAreClosed(t *testing.T) {
	gone := make(chan struct{})
	r := newReceiver(t, func(c net.Conn, br *bufio.Reader, _ int64, _ <-chan struct{}) {
		readRequest(br)
		_, _ = io.WriteString(c, okWire())
		readRequest(br)
		close(gone)
	})
	c := newClient(t, Config{IdleTimeout: 10 * time.Millisecond})
	wantAccepted(t, send(t, c, r.url("/"), patience))
	<-gone
	c.pool.mu.Lock()
	defer c.pool.mu.Unlock()
	if len(c.pool.idle) != 0 {
		t.Error("the pool still knows the host")
	}
}

func TestMaxIdle(t *testing.T) {
	p := newPool(time.Hour, 2)
	defer p.close()
	for range 3 {
		a, b := net.Pipe()
		defer func() { _ = b.Close() }()
		p.put(newConn("k", a, a))
	}
	if n := len(p.idle["k"]); n != 2 {
		t.Errorf("%d kept", n)
	}
}

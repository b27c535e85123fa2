package webhook

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hookline/hookline/internal/leaktest"
)

func TestMain(m *testing.M) {
	if addr := os.Getenv(benchReceiverEnv); addr != "" {
		serveBenchReceiver()
		return
	}
	leaktest.Main(m)
}

// patience is how long an attempt may take that is to be answered, on a machine that is busy.
const patience = 3 * time.Minute

// receiver is a raw TCP server whose behaviour per connection is a function: hostile receivers can't be written with
// net/http.
type receiver struct {
	ln    net.Listener
	conns atomic.Int64
	wg    sync.WaitGroup
	done  chan struct{}

	mu   sync.Mutex
	open map[net.Conn]bool
}

// newReceiver runs serve for every connection; n counts them from 1. The connection is closed when serve returns.
func newReceiver(t testing.TB, serve func(c net.Conn, br *bufio.Reader, n int64, done <-chan struct{})) *receiver {
	t.Helper()
	return newReceiverAt(t, "127.0.0.1:0", serve)
}

// newReceiverAt is newReceiver at an address.
func newReceiverAt(t testing.TB, addr string, serve func(c net.Conn, br *bufio.Reader, n int64, done <-chan struct{})) *receiver {
	t.Helper()
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	r := &receiver{ln: ln, done: make(chan struct{}), open: map[net.Conn]bool{}}
	r.wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			r.mu.Lock()
			r.open[c] = true
			r.mu.Unlock()
			n := r.conns.Add(1)
			r.wg.Go(func() {
				defer func() { _ = c.Close() }()
				serve(c, bufio.NewReader(c), n, r.done)
			})
		}
	})
	t.Cleanup(r.stop)
	return r
}

func (r *receiver) stop() {
	_ = r.ln.Close()
	r.mu.Lock()
	select {
	case <-r.done:
	default:
		close(r.done)
	}
	for c := range r.open {
		_ = c.Close()
	}
	r.mu.Unlock()
	r.wg.Wait()
}

func (r *receiver) url(path string) string { return "http://" + r.ln.Addr().String() + path }

// readRequest reads one request with its body; nil when the connection ended.
func readRequest(br *bufio.Reader) *http.Request {
	req, err := http.ReadRequest(br)
	if err != nil {
		return nil
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil
	}
	req.Body = io.NopCloser(bytes.NewReader(body))
	return req
}

// answers returns a receiver that answers every request with the same bytes and keeps the connection if keep is set.
func answers(t testing.TB, keep bool, wire string) *receiver {
	return newReceiver(t, answering(keep, wire))
}

// answering is what answers serves.
func answering(keep bool, wire string) func(c net.Conn, br *bufio.Reader, n int64, done <-chan struct{}) {
	return func(c net.Conn, br *bufio.Reader, _ int64, _ <-chan struct{}) {
		for readRequest(br) != nil {
			if _, err := io.WriteString(c, wire); err != nil || !keep {
				return
			}
		}
	}
}

const okBody = `{"code":0,"msg":"success"}`

func okWire() string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(okBody), okBody)
}

func newClient(t testing.TB, cfg Config) *Client {
	t.Helper()
	c := New(cfg)
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func send(t testing.TB, c *Client, to string, timeout time.Duration) Reply {
	t.Helper()
	return c.Send(t.Context(), Request{URL: to, Body: []byte(`{"a":1}`), Timeout: timeout})
}

func wantAccepted(t testing.TB, r Reply) {
	t.Helper()
	if r.Err != nil || r.Status != 200 || string(r.Body) != okBody {
		t.Fatalf("status %d, body %q, err %v", r.Status, r.Body, r.Err)
	}
	if class, code, msg := Classify(r); class != Accepted || code != 0 || msg != "success" {
		t.Fatalf("classified as %v %d %q", class, code, msg)
	}
}

func userURL(t testing.TB, raw, user, password string) string {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(user, password)
	return u.String()
}

package webhook

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestRequestOnTheWire(t *testing.T) {
	heads := make(chan string, 1)
	r := newReceiver(t, func(c net.Conn, br *bufio.Reader, _ int64, _ <-chan struct{}) {
		buf := make([]byte, 64<<10)
		n, _ := br.Read(buf)
		heads <- string(buf[:n])
		_, _ = io.WriteString(c, okWire())
	})
	c := newClient(t, Config{UserAgent: "Hookline/1.2.3"})
	reply := c.Send(t.Context(), Request{
		URL:    userURL(t, r.url("/index/hook?b=2&a=%201&x=a+b#frag"), "us er", "p@ss"),
		Header: http.Header{"X-VHOST": {"evil\r\nX-Injected: 1"}, "Content-Length": {"3"}},
		Body:   []byte(`{"k":"v"}`), Timeout: patience,
	})
	wantAccepted(t, reply)
	got := <-heads
	want := "POST /index/hook?b=2&a=%201&x=a+b HTTP/1.1\r\nHost: " + r.ln.Addr().String() +
		"\r\nUser-Agent: Hookline/1.2.3\r\nAccept: */*\r\nAuthorization: Basic dXMgZXI6cEBzcw==\r\n" +
		"X-VHOST: evilX-Injected: 1\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n" + `{"k":"v"}`
	if got != want {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
}

// targets is the case table of URLs; it also seeds the fuzz target.
func targets() map[string]string {
	return map[string]string{
		"http://h":                     "/",
		"http://h?a=b":                 "/?a=b",
		"http://h/":                    "/",
		"http://h:1/a//b/?x=%41&y=é z": "/a//b/?x=%41&y=%C3%A9%20z",
		"http://u:p@h/a@b#c?d":         "/a@b",
		"https://h/a?u=http://x/y":     "/a?u=http://x/y",
	}
}

func TestRequestTarget(t *testing.T) {
	for raw, want := range targets() {
		tg, err := parseTarget(raw)
		if err != nil {
			t.Errorf("%s: %v", raw, err)
			continue
		}
		if got := strings.Fields(tg.line)[1]; got != want {
			t.Errorf("%s: %s, want %s", raw, got, want)
		}
	}
}

// FuzzTarget: whatever the URL or a redirect says, the head stays one request line and its own headers.
func FuzzTarget(f *testing.F) {
	for raw := range targets() {
		f.Add(raw, "/x?y")
		f.Add("http://h/a", raw)
	}
	f.Add("https://u:p@h/", "//other\\r\n/ x")
	f.Fuzz(func(t *testing.T, raw, location string) {
		tg, err := parseTarget(raw)
		if err != nil {
			return
		}
		for _, tg := range []*target{tg, redirected(tg, location)} {
			head, err := tg.appendHead(nil, &Request{}, "Hookline")
			if err != nil {
				t.Fatal(err)
			}
			req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(head)))
			if err != nil || req.Method != http.MethodPost || bytes.Count(head, []byte("\n")) > 8 {
				t.Errorf("%q to %q: %v", raw, head, err)
			}
		}
	})
}

func redirected(t *target, location string) *target {
	if next, ok := t.redirect(location); ok {
		return next
	}
	return t
}

func TestBadRequests(t *testing.T) {
	c := newClient(t, Config{})
	for _, raw := range []string{
		"", "/x", "ftp://h/", "http://", "http:///x", "http://h:99999999999/", "http://a\r\nb/", "://",
		"http://héé/", "http://user:secret@bad host/",
	} {
		r := send(t, c, raw, time.Second)
		if r.Err == nil || r.Status != 0 {
			t.Errorf("%q: status %d, err %v", raw, r.Status, r.Err)
		} else if strings.Contains(r.Err.Error(), "secret") {
			t.Errorf("password in %v", r.Err)
		}
	}
	ok := answers(t, true, okWire())
	r := c.Send(t.Context(), Request{URL: ok.url("/"), Header: http.Header{"a b": {"c"}}, Timeout: patience})
	if !errors.Is(r.Err, ErrHeader) {
		t.Error(r.Err)
	}
}

// hostile lists what a receiver can do to one attempt.
func hostile() []struct {
	name  string
	wire  string
	keep  bool // keep the connection open after the answer
	check func(r Reply) bool
} {
	class := func(want Class) func(Reply) bool {
		return func(r Reply) bool { c, _, _ := Classify(r); return c == want && (r.Err == nil) == (r.Status != 0) }
	}
	is := func(want error) func(Reply) bool {
		return func(r Reply) bool { return errors.Is(r.Err, want) && r.Status == 0 && class(Retryable)(r) }
	}
	chunked := "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	return []struct {
		name  string
		wire  string
		keep  bool
		check func(r Reply) bool
	}{
		{"accepts and hangs", "", true, is(ErrTimeout)},
		{"half a header, then hangs", "HTTP/1.1 200 OK\r\nContent-", true, is(ErrTimeout)},
		{"half a body, then hangs", "HTTP/1.1 200 OK\r\nContent-Length: 26\r\n\r\n{\"co", true, is(ErrTimeout)},
		{"half a chunk head, then hangs", chunked + "1", true, is(ErrTimeout)},
		{"half a chunk, then hangs", chunked + "10\r\n{", true, is(ErrTimeout)},
		{"no length and stays open", "HTTP/1.1 200 OK\r\n\r\n" + okBody, true, is(ErrTimeout)},
		{"closes at once", "", false, class(Retryable)},
		{"closes in the header", "HTTP/1.1 200 OK\r\nContent-", false, class(Retryable)},
		{"shorter than its length", "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n" + okBody, false, class(Retryable)},
		{"longer than its length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" + okBody, true, class(Rejected)},
		{"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 26\r\nContent-Length: 2\r\n\r\n" + okBody, true, class(Retryable)},
		{"negative length", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n" + okBody, true, class(Retryable)},
		{"claims 1 GB", "HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n", true, is(ErrTooLarge)},
		{"claims more than 63 bits", "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n", true, class(Retryable)},
		{"claims a chunk of 1 GB", chunked + "40000000\r\n", true, is(ErrTooLarge)},
		{"claims a chunk of 2^60", chunked + "fffffffffffffff\r\n", true, class(Retryable)},
		{"huge header", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 9000) + "\r\n\r\n", true, is(ErrTooLarge)},
		{"garbage", "\x00\x01\xffgarbage\r\n\r\n\r\n", false, class(Retryable)},
		{"not HTTP", "SSH-2.0-OpenSSH_9.6\r\n", false, class(Retryable)},
		{"only interim answers", strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 200), true, class(Retryable)},
		{"100-continue first", "HTTP/1.1 100 Continue\r\n\r\n" + okWire(), true, class(Accepted)},
		{"103 first", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + okWire(), true, class(Accepted)},
		{"101", "HTTP/1.1 101 Switching Protocols\r\n\r\n", true, class(Rejected)},
		{"chunked", chunked + "9;x=y\r\n{\"code\":0\r\n1\r\n}\r\n0\r\nX-Trailer: 1\r\n\r\n", true, class(Accepted)},
		{"HTTP/1.0 that closes", "HTTP/1.0 200 OK\r\n\r\n" + okBody, false, class(Accepted)},
		{"no length, closes", "HTTP/1.1 200 OK\r\n\r\n" + okBody, false, class(Accepted)},
		{"204", "HTTP/1.1 204 No Content\r\n\r\n", true, class(Rejected)},
		{"201", "HTTP/1.1 201 Created\r\nContent-Length: 10\r\n\r\n{\"code\":0}", true, class(Rejected)},
		{"empty 200", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true, class(Rejected)},
		{"HTML", "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>", true, class(Rejected)},
		{"404", "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", true, class(Rejected)},
		{"304 without body", "HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n", true, class(Rejected)},
		{"302 without target", "HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", true, class(Rejected)},
		{"302 to ftp", "HTTP/1.1 302 Found\r\nLocation: ftp://x/\r\nContent-Length: 0\r\n\r\n", true, class(Rejected)},
		{"410", "HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n", true, class(Gone)},
		{"503 with Retry-After", "HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n", true, func(r Reply) bool {
			return r.RetryAfter == 7*time.Second && class(Retryable)(r)
		}},
		{"status 042", "HTTP/1.1 042 Odd\r\nContent-Length: 0\r\n\r\n", true, class(Retryable)},
	}
}

func TestHostileAnswers(t *testing.T) {
	for _, tc := range hostile() {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var tame atomic.Bool // the same client must still be able to use the same host afterwards
			r := newReceiver(t, func(c net.Conn, br *bufio.Reader, _ int64, _ <-chan struct{}) {
				if readRequest(br) == nil {
					return
				}
				if tame.Load() {
					_, _ = io.WriteString(c, okWire())
					return
				}
				_, _ = io.WriteString(c, tc.wire)
				if tc.keep {
					readRequest(br) // until the client hangs up or asks again
				}
			})
			c := newClient(t, Config{})
			limit := patience
			if tc.check(Reply{Err: ErrTimeout}) && !tc.check(Reply{Err: io.EOF}) {
				limit = 300 * time.Millisecond
			}
			if got := send(t, c, r.url("/hook"), limit); !tc.check(got) {
				t.Fatalf("status %d, body %q, err %v", got.Status, got.Body, got.Err)
			}
			tame.Store(true)
			wantAccepted(t, send(t, c, r.url("/hook"), patience))
		})
	}
}

func TestEndlessAnswerIsDropped(t *testing.T) {
	for _, head := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
	} {
		wrote := make(chan int, 1)
		r := newReceiver(t, func(c net.Conn, br *bufio.Reader, _ int64, _ <-chan struct{}) {
			readRequest(br)
			total, _ := io.WriteString(c, head)
			block := []byte("1000\r\n" + strings.Repeat("x", 4096) + "\r\n")
			for {
				n, err := c.Write(block)
				total += n
				if err != nil {
					wrote <- total
					return
				}
			}
		})
		got := send(t, newClient(t, Config{}), r.url("/"), patience)
		if !errors.Is(got.Err, ErrTooLarge) {
			t.Fatal(got.Err)
		}
		if n := <-wrote; n > 64<<20 { // what fits into socket buffers, not the gigabyte
			t.Errorf("%d bytes were taken", n)
		}
	}
}

func TestLargestAnswer(t *testing.T) {
	body := okBody + strings.Repeat(" ", MaxReplyBytes-len(okBody))
	r := answers(t, true, fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
	got := send(t, newClient(t, Config{}), r.url("/"), patience)
	if got.Err != nil || len(got.Body) != MaxReplyBytes {
		t.Fatalf("%d bytes, %v", len(got.Body), got.Err)
	}
}

func TestLargeBody(t *testing.T) {
	lengths := make(chan int, 2)
	r := newReceiver(t, func(c net.Conn, br *bufio.Reader, _ int64, _ <-chan struct{}) {
		for req := readRequest(br); req != nil; req = readRequest(br) {
			b, _ := io.ReadAll(req.Body)
			lengths <- len(b)
			_, _ = io.WriteString(c, okWire())
		}
	})
	c := newClient(t, Config{})
	for _, n := range []int{0, inlineBody, inlineBody + 1, 1 << 20} {
		wantAccepted(t, c.Send(t.Context(), Request{URL: r.url("/"), Body: bytes.Repeat([]byte("x"), n), Timeout: patience}))
		if got := <-lengths; got != n {
			t.Errorf("%d bytes arrived of %d", got, n)
		}
	}
}

func TestSlowLorisIsCutAtTheTimeout(t *testing.T) {
	wire := okWire()
	wire = wire[:len(wire)-1] // it comes in time on no machine, however long the client is kept from reading
	r := newReceiver(t, func(c net.Conn, br *bufio.Reader, _ int64, done <-chan struct{}) {
		readRequest(br)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for i := range wire {
			select {
			case <-tick.C:
			case <-done:
				return
			}
			if _, err := io.WriteString(c, wire[i:i+1]); err != nil {
				return
			}
		}
		<-done
	})
	got := send(t, newClient(t, Config{}), r.url("/"), 200*time.Millisecond)
	if !errors.Is(got.Err, ErrTimeout) {
		t.Fatal(got.Err)
	}
}

func TestCancel(t *testing.T) {
	arrived := make(chan struct{}, 1)
	r := newReceiver(t, func(_ net.Conn, br *bufio.Reader, _ int64, done <-chan struct{}) {
		readRequest(br)
		arrived <- struct{}{}
		<-done
	})
	c := newClient(t, Config{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-arrived; cancel() }()
	got := c.Send(ctx, Request{URL: r.url("/"), Timeout: time.Hour})
	if !errors.Is(got.Err, context.Canceled) {
		t.Fatal(got.Err)
	}
	if got := c.Send(ctx, Request{URL: r.url("/")}); !errors.Is(got.Err, context.Canceled) || r.conns.Load() != 1 {
		t.Fatalf("%v, %d connections", got.Err, r.conns.Load())
	}
	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if got := c.Send(ctx, Request{URL: r.url("/"), Timeout: time.Hour}); !errors.Is(got.Err, ErrTimeout) {
		t.Fatal(got.Err)
	}
}

func TestCancelDoesNotSpoilKeptConnections(t *testing.T) {
	r := answers(t, true, okWire())
	c := newClient(t, Config{IdleTimeout: time.Hour})
	for range 20 {
		ctx, cancel := context.WithCancel(t.Context())
		wantAccepted(t, c.Send(ctx, Request{URL: r.url("/"), Timeout: patience}))
		cancel()
	}
	if n := r.conns.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

func TestRedirects(t *testing.T) {
	var other *httptest.Server
	var mu sync.Mutex
	var seen []string
	handler := http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		_, _, auth := req.BasicAuth()
		mu.Lock()
		seen = append(seen, fmt.Sprint(req.Method, " ", req.URL, " ", string(body), " ", req.Header.Get("X-Vhost"), " ", auth))
		mu.Unlock()
		w.Header().Set("Connection", "close")
		switch req.URL.Path {
		case "/loop":
			http.Redirect(w, req, "/loop", http.StatusFound)
		case "/other":
			http.Redirect(w, req, other.URL+"/end?q=1", http.StatusPermanentRedirect)
		case "/end":
			_, _ = io.WriteString(w, okBody)
		default:
			var status int
			_, _ = fmt.Sscanf(req.URL.Path, "/%d", &status)
			w.Header().Set("Location", "end")
			w.WriteHeader(status)
		}
	})
	srv := httptest.NewServer(handler)
	defer srv.Close()
	other = httptest.NewServer(handler)
	defer other.Close()
	c := newClient(t, Config{})
	post := func(c *Client, path string) Reply {
		seen = nil
		return c.Send(t.Context(), Request{
			URL: userURL(t, srv.URL+path, "u", "p"), Body: []byte("B"), Header: http.Header{"X-VHOST": {"v"}}, Timeout: patience,
		})
	}
	for _, status := range []int{301, 302, 303, 307, 308} {
		wantAccepted(t, post(c, fmt.Sprintf("/%d", status)))
		if len(seen) != 2 || seen[1] != "POST /end B v true" {
			t.Errorf("%d: %v", status, seen)
		}
	}
	wantAccepted(t, post(c, "/other"))
	if len(seen) != 2 || seen[1] != "POST /end?q=1 B v false" {
		t.Errorf("other host: %v", seen)
	}
	if r := post(c, "/loop"); r.Status != 302 || r.Err != nil || len(seen) != 4 {
		t.Errorf("loop: %d %v after %d requests", r.Status, r.Err, len(seen))
	}
	none := newClient(t, Config{MaxRedirects: -1})
	if r := post(none, "/301"); r.Status != 301 || len(seen) != 1 {
		t.Errorf("redirects off: %d after %d requests", r.Status, len(seen))
	}
	port := netip.MustParseAddrPort(other.Listener.Addr().String()).Port()
	guarded := newClient(t, Config{Guard: func(_ context.Context, _ string, a netip.AddrPort) error {
		if a.Port() == port {
			return errors.New("not there")
		}
		return nil
	}})
	if r := post(guarded, "/other"); !errors.Is(r.Err, ErrRefused) || len(seen) != 1 {
		t.Errorf("guarded: %v after %d requests", r.Err, len(seen))
	}
}

func TestTLS(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/down" {
			http.Redirect(w, req, "http://"+req.Host+"/", http.StatusFound)
			return
		}
		_, _ = io.WriteString(w, okBody)
	}))
	var conns atomic.Int64
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			conns.Add(1)
		}
	}
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	defer srv.Close()
	if r := send(t, newClient(t, Config{}), srv.URL, patience); !errors.As(r.Err, new(*tls.CertificateVerificationError)) {
		t.Errorf("untrusted certificate: %v", r.Err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	trusting := newClient(t, Config{IdleTimeout: time.Hour, TLS: func() (*tls.Config, error) { return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, nil }})
	before := conns.Load()
	for range 5 {
		wantAccepted(t, send(t, trusting, srv.URL, patience))
	}
	if n := conns.Load() - before; n != 1 {
		t.Errorf("%d connections for 5 posts", n)
	}
	if r := send(t, trusting, srv.URL+"/down", patience); r.Status != 302 {
		t.Errorf("redirect into the clear: %d %v", r.Status, r.Err)
	}
	srv.CloseClientConnections()
	wantAccepted(t, send(t, trusting, srv.URL, patience))
}

func TestTLSHandshakeHang(t *testing.T) {
	r := newReceiver(t, func(_ net.Conn, _ *bufio.Reader, _ int64, done <-chan struct{}) { <-done })
	to := strings.Replace(r.url("/"), "http://", "https://", 1)
	if got := send(t, newClient(t, Config{}), to, 100*time.Millisecond); !errors.Is(got.Err, ErrTimeout) {
		t.Error(got.Err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	if got := newClient(t, Config{}).Send(ctx, Request{URL: to, Timeout: time.Hour}); !errors.Is(got.Err, context.Canceled) {
		t.Error(got.Err)
	}
}

func TestConcurrentSends(t *testing.T) {
	r := answers(t, true, okWire())
	c := newClient(t, Config{MaxIdlePerHost: 4})
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 50 {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				if got := c.Send(ctx, Request{URL: r.url("/"), Timeout: patience}); got.Err != nil || string(got.Body) != okBody {
					t.Errorf("%d %q %v", got.Status, got.Body, got.Err)
				}
				cancel()
			}
		})
	}
	wg.Wait()
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for in, want := range map[string]time.Duration{
		"": 0, "0": 0, "5": 5 * time.Second, "3600": time.Hour, "3601": time.Hour, "99999999999999999999": time.Hour,
		"-1": 0, "1.5": 0, "junk": 0,
		now.Add(90 * time.Second).Format(http.TimeFormat): 90 * time.Second,
		now.Add(-time.Hour).Format(http.TimeFormat):       0,
		now.Add(48 * time.Hour).Format(http.TimeFormat):   time.Hour,
	} {
		if got := retryAfter([]byte(in), func() time.Time { return now }); got != want {
			t.Errorf("%q: %v, want %v", in, got, want)
		}
	}
}

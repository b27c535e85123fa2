package playtool

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/hookline/hookline/internal/format/flv"
	"github.com/hookline/hookline/internal/rtmp"
)

// message is a message of RTMP or a tag of FLV, which is the same.
type message struct {
	typ  flv.TagType
	ms   uint32 // timestamp, wraps
	body []byte // the receiver's
}

// feed is a connection that plays. It belongs to one goroutine, except close.
type feed interface {
	// next returns the next message, io.EOF at the end of the stream. Who uses it does not use skip.
	next() (message, error)
	// skip reads some bytes without looking into them.
	skip(buf []byte) (int, error)
	// received counts the bytes of the connection.
	received() uint64
	// close may be called by any goroutine, and more than once.
	close()
}

// RefusedError says that the server does not let a viewer play.
type RefusedError struct{ Reason string }

// Error implements error.
func (e *RefusedError) Error() string { return "refused: " + e.Reason }

// open connects and asks to play. The first wait is for one of the slots, so that a crowd does not overflow the
// server's backlog.
func open(ctx context.Context, cfg *Config, url string, slots chan struct{}) (feed, error) {
	select {
	case slots <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	leave := sync.OnceFunc(func() { <-slots })
	defer leave()
	ctx, cancel := context.WithTimeout(ctx, cfg.Timeout)
	defer cancel()
	switch cfg.format() {
	case "rtmp":
		return openRTMP(ctx, url, leave)
	case "rtsp":
		return openRTSP(ctx, url, leave)
	}
	return openHTTP(ctx, url, leave)
}

// rtmpFeed plays RTMP.
type rtmpFeed struct{ c *rtmp.Client }

// openRTMP calls connected between connecting and playing.
func openRTMP(ctx context.Context, url string, connected func()) (feed, error) {
	c, err := rtmp.Dial(ctx, url)
	if err == nil {
		connected()
		err = c.Play(ctx)
		if err != nil {
			_ = c.Close()
		}
	}
	if err != nil {
		return nil, refused(err)
	}
	return &rtmpFeed{c}, nil
}

// refused turns a status of the server into a RefusedError.
func refused(err error) error {
	var status *rtmp.StatusError
	if errors.As(err, &status) {
		return &RefusedError{status.Code + ": " + status.Description}
	}
	return err
}

func (f *rtmpFeed) next() (message, error) {
	m, err := f.c.Read()
	return message{flv.TagType(m.Type), m.Timestamp, m.Body}, err
}

func (f *rtmpFeed) skip(buf []byte) (int, error) { return f.c.Skip(buf) }
func (f *rtmpFeed) received() uint64             { return f.c.BytesRead() }
func (f *rtmpFeed) close()                       { _ = f.c.Close() }

// httpFeed plays a live stream over HTTP, of FLV it reads tags. It does without net/http's client, which needs two goroutines for each connection.
type httpFeed struct {
	conn net.Conn
	n    uint64 // bytes read
	body io.ReadCloser
	tags *flv.Reader
}

// httpBuffer is the read buffer of a connection, in bytes. Larger reads go past it.
const httpBuffer = 8 << 10

// openHTTP calls connected between connecting and playing.
func openHTTP(ctx context.Context, url string, connected func()) (feed, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "hookline")
	req.Close = true
	conn, err := dial(ctx, req)
	if err != nil {
		return nil, err
	}
	connected()
	f := &httpFeed{conn: conn}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	err = f.ask(req)
	if !stop() && ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return f, nil
}

// dial connects to the server of req.
func dial(ctx context.Context, req *http.Request) (net.Conn, error) {
	port, secure := "80", req.URL.Scheme == "https"
	if secure {
		port = "443"
	}
	if p := req.URL.Port(); p != "" {
		port = p
	}
	addr := net.JoinHostPort(req.URL.Hostname(), port)
	if secure {
		return new(tls.Dialer).DialContext(ctx, "tcp", addr)
	}
	return new(net.Dialer).DialContext(ctx, "tcp", addr)
}

// maxHeader bounds the header of an answer, in bytes.
const maxHeader = 64 << 10

// ask sends the request and reads the header of the answer.
func (f *httpFeed) ask(req *http.Request) error {
	if err := req.Write(f.conn); err != nil {
		return err
	}
	limited := &io.LimitedReader{R: f, N: maxHeader}
	res, err := http.ReadResponse(bufio.NewReaderSize(limited, httpBuffer), req) //nolint:bodyclose // it ends with the connection
	if err != nil {
		return fmt.Errorf("HTTP answer: %w", err)
	}
	f.body = res.Body
	if res.StatusCode != http.StatusOK {
		return &RefusedError{"HTTP status " + res.Status}
	}
	limited.N = 1<<63 - 1
	f.tags = flv.NewReader(f.body)
	return nil
}

// Read implements io.Reader: it counts.
func (f *httpFeed) Read(p []byte) (int, error) {
	n, err := f.conn.Read(p)
	f.n += uint64(n)
	return n, err
}

func (f *httpFeed) next() (message, error) {
	tag, err := f.tags.Next()
	return message{tag.Type, flv.Millis(tag.Timestamp), tag.Body}, err
}

func (f *httpFeed) skip(buf []byte) (int, error) { return f.body.Read(buf) }
func (f *httpFeed) received() uint64             { return f.n }
func (f *httpFeed) close()                       { _ = f.conn.Close() }

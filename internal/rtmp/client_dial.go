package rtmp

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/hookline/hookline/internal/format/amf"
)

// Dialer makes clients. The zero value is ready.
type Dialer struct {
	// TLS is used for rtmps. Default nil: verify the server's name.
	TLS *tls.Config
	// LegacyHEVC writes H.265 and what else has an unofficial id by that id instead of Enhanced RTMP, and does not announce
	// Enhanced RTMP when it connects. Default false.
	LegacyHEVC bool
	// WriteTimeout bounds one write. Default 10 s.
	WriteTimeout time.Duration
	// ReadTimeout bounds the wait for the next bytes of the server, also while it plays. A publisher's server may be silent
	// for ever. Default 0: no bound but the contexts.
	ReadTimeout time.Duration
	// MaxRedirects is how often a server that rejects the connection and names another one is obeyed. Default 3; below 0:
	// never.
	MaxRedirects int
	// OnReconnect is told the URL of the stream where the server asks to reconnect to (Enhanced RTMP v2), by the goroutine
	// that reads. Default nil: nobody is.
	OnReconnect func(url string)
}

// errRedirects: a server sent a client to another one too often.
var errRedirects = errors.New("rtmp: too many redirects")

// address is a parsed URL.
type address struct {
	host  string // with port
	tls   bool
	app   string
	name  string // stream with query
	tcURL string
}

// parseURL parses rtmp[s]://host[:port]/app/stream...[?params]. Nothing is unescaped: servers take names as they are.
func parseURL(raw string) (address, error) {
	scheme, rest, ok := strings.Cut(raw, "://")
	if !ok || scheme != "rtmp" && scheme != "rtmps" {
		return address{}, fmt.Errorf("rtmp: %q is no rtmp:// or rtmps:// URL", raw)
	}
	host, path, _ := strings.Cut(rest, "/")
	app, name, _ := strings.Cut(path, "/")
	if host == "" || app == "" || name == "" || strings.Contains(app, "?") {
		return address{}, fmt.Errorf("rtmp: %q lacks a host, an app or a stream", raw)
	}
	return newAddress(scheme, host, app, name), nil
}

func newAddress(scheme, host, app, name string) address {
	a := address{host: host, tls: scheme == "rtmps", app: app, name: name, tcURL: scheme + "://" + host + "/" + app}
	if _, _, err := net.SplitHostPort(host); err != nil {
		port := "1935"
		if a.tls {
			port = "443"
		}
		a.host = net.JoinHostPort(strings.Trim(host, "[]"), port)
	}
	return a
}

// String returns the URL.
func (a address) String() string { return a.tcURL + "/" + a.name }

// redirected returns where the same stream is at the server of tcURL, which may be relative to the present one. Some
// servers name the stream behind the app, others do not.
func (a address) redirected(tcURL string) (address, error) {
	base, err := url.Parse(a.tcURL)
	if err != nil {
		return address{}, fmt.Errorf("rtmp: redirect: %w", err)
	}
	ref, err := base.Parse(tcURL)
	if err != nil {
		return address{}, fmt.Errorf("rtmp: redirect to %q: %w", tcURL, err)
	}
	app := strings.Trim(ref.EscapedPath(), "/")
	name, _, _ := strings.Cut(a.name, "?")
	app = strings.TrimSuffix(app, "/"+name)
	if ref.Scheme != "rtmp" && ref.Scheme != "rtmps" || ref.Host == "" || app == "" {
		return address{}, fmt.Errorf("rtmp: redirect to %q: no rtmp:// or rtmps:// URL with an app", tcURL)
	}
	return newAddress(ref.Scheme, ref.Host, app, a.name), nil
}

// Dial connects to the server of url with default options.
func Dial(ctx context.Context, url string) (*Client, error) { return Dialer{}.Dial(ctx, url) }

// Dial connects to the server of url, shakes hands and sends connect. A server that refuses makes it a *StatusError, unless
// it names another server, which is tried then.
func (d Dialer) Dial(ctx context.Context, url string) (*Client, error) {
	target, err := parseURL(url)
	if err != nil {
		return nil, err
	}
	if d.MaxRedirects == 0 {
		d.MaxRedirects = 3
	}
	for range max(d.MaxRedirects, 0) + 1 {
		c, err := d.connect(ctx, target)
		if err == nil {
			return c, nil
		}
		var status *StatusError
		if !errors.As(err, &status) || status.Redirect == "" || d.MaxRedirects < 0 {
			return nil, err
		}
		if target, err = target.redirected(status.Redirect); err != nil {
			return nil, err
		}
	}
	return nil, errRedirects
}

// connect is Dial for one server.
func (d Dialer) connect(ctx context.Context, target address) (*Client, error) {
	conn, err := d.dial(ctx, target)
	if err != nil {
		return nil, fmt.Errorf("rtmp: %w", err)
	}
	return d.over(ctx, conn, target)
}

// over makes a client of a connection, which it owns.
func (d Dialer) over(ctx context.Context, conn net.Conn, target address) (*Client, error) {
	c := &Client{
		conn: conn, target: target, enhanced: !d.LegacyHEVC, timeout: d.WriteTimeout, onMove: d.OnReconnect,
		input: &countingReader{r: conn}, streamID: mediaStreamID,
		readDone: make(chan struct{}), unpublished: make(chan struct{}),
	}
	if c.timeout <= 0 {
		c.timeout = 10 * time.Second
	}
	if d.ReadTimeout > 0 {
		c.input.waiting = func() {
			_ = conn.SetReadDeadline(time.Now().Add(d.ReadTimeout))
			if c.interrupted.Load() {
				_ = conn.SetReadDeadline(time.Unix(1, 0))
			}
		}
	}
	c.in = newChunkReader(bufio.NewReaderSize(c.input, clientBuffer))
	c.in.media = true
	if err := c.within(ctx, c.open); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return c, nil
}

func (d Dialer) dial(ctx context.Context, a address) (net.Conn, error) {
	if a.tls {
		return (&tls.Dialer{Config: d.TLS}).DialContext(ctx, "tcp", a.host)
	}
	return new(net.Dialer).DialContext(ctx, "tcp", a.host)
}

// within runs f and interrupts it when ctx ends; the connection is of no use then.
func (c *Client) within(ctx context.Context, f func() error) error {
	stop := context.AfterFunc(ctx, func() {
		c.interrupted.Store(true)
		_ = c.conn.SetDeadline(time.Unix(1, 0))
	})
	err := f()
	if !stop() && ctx.Err() != nil {
		return fmt.Errorf("rtmp: %w", ctx.Err())
	}
	return err
}

// open shakes hands and connects.
func (c *Client) open() error {
	if err := dialHandshake(c.input, c.conn); err != nil {
		return err
	}
	err := c.send(func(dst []byte) []byte {
		return appendControl(dst, TypeSetChunkSize, ChunkSize)
	})
	if err != nil {
		return err
	}
	object := amf.Object{
		{Name: "app", Value: c.target.app},
		{Name: "type", Value: "nonprivate"},
		{Name: "flashVer", Value: "FMLE/3.0 (compatible; Hookline)"},
		{Name: "tcUrl", Value: c.target.tcURL},
		{Name: "objectEncoding", Value: float64(0)},
	}
	if c.enhanced {
		object = append(append(object, amf.Member{Name: "fourCcList", Value: fourCCList()}), enhancedMembers()...)
	}
	_, err = c.request("connect", object)
	return err
}

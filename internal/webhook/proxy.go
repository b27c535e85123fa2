package webhook

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// ErrProxy says that a proxy is not to be used or did not open a way to the receiver.
var ErrProxy = errors.New("webhook: proxy")

// proxy is an HTTP proxy: requests in the clear are handed to it, for the others it opens a tunnel (RFC 9110, sections
// 7.1 and 9.3.6).
type proxy struct {
	addr string
	auth string // Proxy-Authorization line; empty without userinfo
}

// parseProxy reads http://[user:password@]host[:port].
func parseProxy(raw string) (*proxy, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "http" || u.Hostname() == "" {
		return nil, fmt.Errorf("%w: its URL is not http://[user:password@]host:port", ErrProxy)
	}
	p := &proxy{addr: net.JoinHostPort(u.Hostname(), fallback(u.Port(), "80"))}
	if u.User != nil {
		password, _ := u.User.Password()
		p.auth = "Proxy-Authorization: Basic " +
			base64.StdEncoding.EncodeToString([]byte(u.User.Username()+":"+password)) + "\r\n"
	}
	return p, nil
}

// route makes a target in the clear one that the proxy understands.
func (p *proxy) route(t *target) {
	if t.secure {
		return
	}
	line, rest, _ := strings.Cut(t.line, "\r\n")
	path := strings.TrimSuffix(strings.TrimPrefix(line, "POST "), " HTTP/1.1")
	t.line = "POST http://" + t.url.Host + path + " HTTP/1.1\r\n" + rest + p.auth
}

// tunnel asks for a way to addr over a connection to the proxy.
func (p *proxy) tunnel(ctx context.Context, raw net.Conn, addr string, deadline time.Time) error {
	if err := raw.SetDeadline(deadline); err != nil {
		return fmt.Errorf("%w: %w", ErrProxy, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := raw.Write([]byte("CONNECT " + addr + " HTTP/1.1\r\nHost: " + addr + "\r\n" + p.auth + "\r\n")); err != nil {
		return fmt.Errorf("%w: %w", ErrProxy, err)
	}
	limited := &limitedConn{Conn: raw, left: maxHeaderBytes}
	in := bufio.NewReaderSize(limited, maxHeaderBytes)
	res, err := http.ReadResponse(in, &http.Request{Method: http.MethodConnect})
	if err != nil {
		return fmt.Errorf("%w: bad answer: %w", ErrProxy, err)
	}
	_ = res.Body.Close()
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("%w: it answered %d", ErrProxy, res.StatusCode)
	}
	if in.Buffered() > 0 {
		return fmt.Errorf("%w: it speaks before the receiver does", ErrProxy)
	}
	return nil
}

// limitedConn bounds what is read.
type limitedConn struct {
	net.Conn
	left int
}

// Read implements net.Conn.
func (l *limitedConn) Read(b []byte) (int, error) {
	if l.left <= 0 {
		return 0, ErrTooLarge
	}
	n, err := l.Conn.Read(b[:min(len(b), l.left)])
	l.left -= n
	return n, err
}

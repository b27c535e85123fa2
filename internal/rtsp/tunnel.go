package rtsp

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// tunnel is RTSP over HTTP as Apple's "Tunnelling RTSP and RTP through HTTP" describes it and cameras and players do it:
// what the server says goes out on the answer to a GET, what the client says comes in, in base64, as the body of a POST
// with the same x-sessioncookie on another connection.
type tunnel struct {
	ready chan struct{} // closed when in is set
	in    *inbound
}

const maxTunnels = 1024

// tunnel takes the HTTP request that begins one.
func (s *session) tunnel(q *request) error {
	cookie := q.header["x-sessioncookie"]
	if cookie == "" || len(cookie) > 256 || s.pub != nil || s.view != nil {
		_ = s.write(func(dst []byte) []byte {
			return append(dst, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"...)
		})
		return fmt.Errorf("%w: HTTP without x-sessioncookie", errProtocol)
	}
	switch q.method {
	case "GET":
		return s.tunnelOut(cookie)
	case "POST":
		return s.tunnelIn(cookie)
	}
	return fmt.Errorf("%w: HTTP %.10s", errProtocol, q.method)
}

// tunnelOut is the connection that the session answers on. It goes on reading from the other one.
func (s *session) tunnelOut(cookie string) error {
	t := &tunnel{ready: make(chan struct{})}
	s.srv.mu.Lock()
	full := len(s.srv.tunnels) >= maxTunnels || s.srv.tunnels[cookie] != nil
	if !full {
		s.srv.tunnels[cookie] = t
	}
	s.srv.mu.Unlock()
	if full {
		return fmt.Errorf("%w: tunnel exists", errProtocol)
	}
	defer func() {
		s.srv.mu.Lock()
		delete(s.srv.tunnels, cookie)
		s.srv.mu.Unlock()
	}()
	err := s.write(func(dst []byte) []byte {
		return append(dst, "HTTP/1.0 200 OK\r\nConnection: close\r\nCache-Control: no-store\r\nPragma: no-cache\r\nContent-Type: application/x-rtsp-tunnelled\r\n\r\n"...)
	})
	if err != nil {
		return err
	}
	wait := time.NewTimer(s.cfg.Handshake)
	defer wait.Stop()
	select {
	case <-t.ready:
	case <-wait.C:
		return errTimeout
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
	defer t.in.close()
	s.input.Store(t.in)
	if s.closing.Load() { // ended before it knew of the other connection
		return io.EOF
	}
	s.r.Reset(s)
	s.allow(s.cfg.Handshake)
	return s.serve()
}

// tunnelIn is the connection that the client speaks on. It hands itself to the session of the other one and waits for
// its end.
func (s *session) tunnelIn(cookie string) error {
	s.srv.mu.Lock()
	t := s.srv.tunnels[cookie]
	if t != nil {
		delete(s.srv.tunnels, cookie)
	}
	s.srv.mu.Unlock()
	if t == nil {
		_ = s.write(func(dst []byte) []byte { return append(dst, "HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n"...) })
		return fmt.Errorf("%w: no tunnel of this cookie", errProtocol)
	}
	s.due.Store(0)
	buffered, _ := s.r.Peek(s.r.Buffered())
	t.in = &inbound{conn: s.conn, text: bytes.Clone(buffered), over: make(chan struct{})}
	close(t.ready)
	select {
	case <-t.in.over:
	case <-s.ctx.Done():
	}
	return io.EOF
}

// inbound reads what the client of a tunnel says. Each of its requests is a piece of base64 of its own, so there may be
// padding anywhere. A read that times out can be repeated.
type inbound struct {
	conn net.Conn
	text []byte // not decoded yet
	data []byte // decoded, not taken yet
	raw  [4096]byte
	once sync.Once
	over chan struct{} // closed when nobody reads any more
}

// Read implements io.Reader.
func (in *inbound) Read(p []byte) (int, error) {
	for len(in.data) == 0 {
		if err := in.decode(); err != nil {
			return 0, err
		}
		if len(in.data) > 0 {
			break
		}
		n, err := in.conn.Read(in.raw[:])
		if n == 0 && err != nil {
			return 0, err
		}
		in.text = append(in.text, in.raw[:n]...)
	}
	n := copy(p, in.data)
	in.data = in.data[n:]
	return n, nil
}

// decode turns whole groups of four into bytes.
func (in *inbound) decode() error {
	text := in.text[:0]
	for _, b := range in.text {
		if b != '\r' && b != '\n' && b != ' ' {
			text = append(text, b)
		}
	}
	n := len(text) / 4 * 4
	for group := text[:n]; len(group) > 0; group = group[4:] {
		var out [3]byte
		k, err := base64.StdEncoding.Decode(out[:], group[:4])
		if err != nil {
			return fmt.Errorf("%w: tunnel: %w", errProtocol, err)
		}
		in.data = append(in.data, out[:k]...)
	}
	in.text = append(in.text[:0], text[n:]...)
	return nil
}

// close lets the session of the connection end.
func (in *inbound) close() { in.once.Do(func() { close(in.over) }) }

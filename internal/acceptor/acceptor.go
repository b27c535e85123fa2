// Package acceptor accepts the connections of a protocol over TCP or TLS: no more than are allowed, in all and from one address.
//
// Contract. Each connection that is admitted has a [Session] with a goroutine of its own, which runs it; one for which there is no
// room is closed at once and counted. Running out of file descriptors ends nothing: what is there goes on, and the next connection
// may find room. [Server.Close] ends the listeners and all sessions and waits for their goroutines.
package acceptor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Session is a connection at work.
type Session interface {
	// Run serves the connection until it ends, and closes it.
	Run()
	// Stop makes Run return soon, because the server stops. It does not block, and may be called before Run.
	Stop()
}

// Config of a Server. All of it is needed.
type Config struct {
	// Protocol is its name in logs and errors.
	Protocol string
	// Closed is the error that Serve returns after Close.
	Closed error
	// Limits returns how many connections there may be in all, and from one address; 0 of the second: no limit.
	Limits func() (all, perIP int)
	// New returns the session of a connection, the n-th that was accepted. It must not block.
	New func(conn net.Conn, n uint64) Session
	// Logger takes what goes wrong.
	Logger *slog.Logger
}

// Server accepts connections.
type Server struct {
	cfg      Config
	accepted atomic.Uint64
	refused  atomic.Uint64
	ctx      context.Context
	cancel   context.CancelFunc
	wg       sync.WaitGroup

	mu        sync.Mutex // guards what follows
	closed    bool
	listeners map[net.Listener]struct{}
	sessions  map[Session]struct{}
	perIP     map[string]int
}

// New returns a server that listens nowhere yet.
func New(cfg Config) *Server {
	s := &Server{cfg: cfg, listeners: map[net.Listener]struct{}{}, sessions: map[Session]struct{}{}, perIP: map[string]int{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Context ends when Close is called.
func (s *Server) Context() context.Context { return s.ctx }

// Connections returns how many connections there are.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sessions)
}

// Refused returns how many connections were closed at once because of a limit.
func (s *Server) Refused() uint64 { return s.refused.Load() }

// Wait waits until all sessions have ended. It must not be called while connections are accepted.
func (s *Server) Wait() { s.wg.Wait() }

// Serve accepts connections until l fails or Close is called, which makes it return Config.Closed. It owns l, which may be one of
// crypto/tls. It may be called for several listeners.
func (s *Server) Serve(l net.Listener) error {
	defer l.Close()
	if !s.track(l) {
		return s.cfg.Closed
	}
	defer s.untrack(l)
	for pause := time.Duration(0); ; {
		conn, err := l.Accept()
		if err == nil {
			pause = 0
			s.Accept(conn)
			continue
		}
		if s.ctx.Err() != nil {
			return s.cfg.Closed
		}
		var temporary interface{ Temporary() bool }
		if !errors.As(err, &temporary) || !temporary.Temporary() {
			return fmt.Errorf("%s: accept: %w", s.cfg.Protocol, err)
		}
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		s.cfg.Logger.Warn("can't accept connections", "protocol", s.cfg.Protocol, "error", err, "pause", pause)
		select {
		case <-time.After(pause):
		case <-s.ctx.Done():
		}
	}
}

func (s *Server) track(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.listeners[l] = struct{}{}
	return true
}

func (s *Server) untrack(l net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listeners, l)
}

// Accept starts the session of conn, or closes it when there is no room.
func (s *Server) Accept(conn net.Conn) {
	ip, _ := Endpoint(conn.RemoteAddr())
	sess := s.cfg.New(conn, s.accepted.Add(1))
	if !s.admit(sess, ip) {
		s.refused.Add(1)
		_ = conn.Close()
		s.cfg.Logger.Debug("connection refused: too many", "protocol", s.cfg.Protocol, "peer", ip)
		return
	}
	go func() {
		defer s.wg.Done()
		defer s.release(sess, ip)
		sess.Run()
	}()
}

func (s *Server) admit(sess Session, ip string) bool {
	all, perIP := s.cfg.Limits()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.sessions) >= all || perIP > 0 && s.perIP[ip] >= perIP {
		return false
	}
	s.sessions[sess] = struct{}{}
	s.perIP[ip]++
	s.wg.Add(1)
	return true
}

func (s *Server) release(sess Session, ip string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, sess)
	if s.perIP[ip]--; s.perIP[ip] <= 0 {
		delete(s.perIP, ip)
	}
}

// Close stops accepting, ends all sessions and waits for their goroutines. It is idempotent.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	s.cancel()
	for l := range s.listeners {
		_ = l.Close()
	}
	for sess := range s.sessions {
		sess.Stop()
	}
	s.mu.Unlock()
	s.wg.Wait()
	return nil
}

// Endpoint splits an address; what is no IP address gives an empty one.
func Endpoint(a net.Addr) (ip string, port int) {
	if a == nil {
		return "", 0
	}
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return "", 0
	}
	return ap.Addr().Unmap().WithZone("").String(), int(ap.Port())
}

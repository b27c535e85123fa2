package rtmp

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

	"github.com/hookline/hookline/internal/fact"
)

// ErrServerClosed is returned by Serve after Close.
var ErrServerClosed = errors.New("rtmp: server closed")

// Config configures a Server. A zero value of a field means its default.
type Config struct {
	// Handshake is the time from the connection to the publish or play command (rtmp.handshakeSecond). Default 15 s.
	Handshake time.Duration
	// KeepAlive is how long a publisher may send no audio and no video (rtmp.keepAliveSecond). Default 15 s.
	KeepAlive time.Duration
	// WriteTimeout is how long one write to a peer that does not read may take. Default 10 s.
	WriteTimeout time.Duration
	// MaxConnections limits all connections. Default 20,000.
	MaxConnections int
	// MaxPerIP limits the connections of one address. Default 0: no limit of its own.
	MaxPerIP int
	// Limits bound what a peer may send.
	Limits Limits
	// EnableVhost takes the vhost from tcUrl or the parameter vhost (general.enableVhost). Default false.
	EnableVhost bool
	// Registry lists the sessions. Default nil: nobody does.
	Registry Registry
	// NewID makes the id of a session, unique in the process. Default: "n-m" with the number of the connection and
	// the peer's port.
	NewID func() string
	// Logger gets one line a thing that happened. Default slog.Default().
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	for _, d := range []struct {
		v *time.Duration
		d time.Duration
	}{
		{&c.Handshake, 15 * time.Second},
		{&c.KeepAlive, 15 * time.Second},
		{&c.WriteTimeout, 10 * time.Second},
	} {
		if *d.v <= 0 {
			*d.v = d.d
		}
	}
	if c.MaxConnections <= 0 {
		c.MaxConnections = 20000
	}
	c.Limits = c.Limits.withDefaults()
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// Server accepts RTMP publishers and players.
type Server struct {
	cfg       Config
	hub       Hub
	handshake atomic.Int64 // ns
	keepAlive atomic.Int64 // ns
	accepted  atomic.Uint64
	refused   atomic.Uint64
	stopping  atomic.Bool
	ctx       context.Context // of all decisions and viewers
	cancel    context.CancelFunc
	wg        sync.WaitGroup

	mu        sync.Mutex // guards what follows
	closed    bool
	listeners map[net.Listener]struct{}
	sessions  map[*session]struct{}
	perIP     map[string]int
}

// New returns a server that publishes to and plays from hub.
func New(cfg Config, hub Hub) *Server {
	s := &Server{
		cfg:       cfg.withDefaults(),
		hub:       hub,
		listeners: make(map[net.Listener]struct{}),
		sessions:  make(map[*session]struct{}),
		perIP:     make(map[string]int),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.SetTimeouts(s.cfg.Handshake, s.cfg.KeepAlive)
	return s
}

// SetTimeouts replaces Config.Handshake and Config.KeepAlive, also for sessions that are there. Values that are not
// positive are ignored.
func (s *Server) SetTimeouts(handshake, keepAlive time.Duration) {
	if handshake > 0 {
		s.handshake.Store(int64(handshake))
	}
	if keepAlive > 0 {
		s.keepAlive.Store(int64(keepAlive))
	}
}

// Connections returns how many connections there are.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sessions)
}

// Refused returns how many connections were closed at once because of a limit.
func (s *Server) Refused() uint64 { return s.refused.Load() }

// Serve accepts connections until l fails or Close is called, which makes it return ErrServerClosed. It owns l. A
// listener of crypto/tls makes it rtmps.
func (s *Server) Serve(l net.Listener) error {
	defer l.Close()
	if !s.track(l) {
		return ErrServerClosed
	}
	defer s.untrack(l)
	for pause := time.Duration(0); ; {
		conn, err := l.Accept()
		if err == nil {
			pause = 0
			s.accept(conn)
			continue
		}
		if s.ctx.Err() != nil {
			return ErrServerClosed
		}
		// Out of file descriptors, say: what is there goes on, and the next connection may find room.
		var temporary interface{ Temporary() bool }
		if !errors.As(err, &temporary) || !temporary.Temporary() {
			return fmt.Errorf("rtmp: accept: %w", err)
		}
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		s.cfg.Logger.Warn("can't accept RTMP connections", "error", err, "pause", pause)
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

// accept starts the session of conn, or closes it when there is no room.
func (s *Server) accept(conn net.Conn) {
	n := s.accepted.Add(1)
	sess := newSession(s, conn, n)
	if !s.admit(sess) {
		s.refused.Add(1)
		_ = conn.Close()
		s.cfg.Logger.Debug("RTMP connection refused: too many", "peer", sess.peer.IP)
		return
	}
	go func() {
		defer s.wg.Done()
		defer s.release(sess)
		sess.run()
	}()
}

func (s *Server) admit(sess *session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	ip := sess.peer.IP
	if s.closed || len(s.sessions) >= s.cfg.MaxConnections || s.cfg.MaxPerIP > 0 && s.perIP[ip] >= s.cfg.MaxPerIP {
		return false
	}
	s.sessions[sess] = struct{}{}
	s.perIP[ip]++
	s.wg.Add(1)
	return true
}

func (s *Server) release(sess *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, sess)
	ip := sess.peer.IP
	if s.perIP[ip]--; s.perIP[ip] <= 0 {
		delete(s.perIP, ip)
	}
}

// Stopping says that the server will be closed: whoever is told to go until then is asked to come back, if it understands
// that. It is for callers that end the streams before Close.
func (s *Server) Stopping() { s.stopping.Store(true) }

// Close stops accepting, ends all sessions (their publications with fact.EndServerStop unless the hub ended them
// before) and waits for their goroutines. It is idempotent.
func (s *Server) Close() error {
	s.Stopping()
	s.mu.Lock()
	s.closed = true
	s.cancel()
	for l := range s.listeners {
		_ = l.Close()
	}
	for sess := range s.sessions {
		sess.end(fact.EndServerStop)
	}
	s.mu.Unlock()
	s.wg.Wait()
	return nil
}

// endpoint splits an address; what is no IP address gives an empty one.
func endpoint(a net.Addr) (ip string, port int) {
	if a == nil {
		return "", 0
	}
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return "", 0
	}
	return ap.Addr().Unmap().WithZone("").String(), int(ap.Port())
}

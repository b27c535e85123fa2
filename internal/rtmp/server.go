package rtmp

import (
	"errors"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/hookline/hookline/internal/acceptor"
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

// Server accepts RTMP publishers and players. The server of package acceptor says how many connections there are and were refused,
// and Serve takes a listener, of crypto/tls for rtmps.
type Server struct {
	*acceptor.Server
	cfg       Config
	hub       Hub
	handshake atomic.Int64 // ns
	keepAlive atomic.Int64 // ns
	stopping  atomic.Bool
	// parting and linger are partingTime and lingerTime, but for tests.
	parting, linger time.Duration
}

// New returns a server that publishes to and plays from hub.
func New(cfg Config, hub Hub) *Server {
	s := &Server{cfg: cfg.withDefaults(), hub: hub, parting: partingTime, linger: lingerTime}
	s.Server = acceptor.New(acceptor.Config{
		Protocol: "RTMP", Closed: ErrServerClosed, Logger: s.cfg.Logger,
		Limits: func() (all, perIP int) { return s.cfg.MaxConnections, s.cfg.MaxPerIP },
		New:    func(conn net.Conn, n uint64) acceptor.Session { return newSession(s, conn, n) },
	})
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

// Stopping says that the server will be closed: whoever is told to go until then is asked to come back, if it understands
// that. It is for callers that end the streams before Close.
func (s *Server) Stopping() { s.stopping.Store(true) }

// Close stops accepting, ends all sessions (their publications with fact.EndServerStop unless the hub ended them
// before) and waits for their goroutines. It is idempotent.
func (s *Server) Close() error {
	s.Stopping()
	return s.Server.Close()
}

package api

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// TypeHTTP is ZLMediaKit's class of a connection to the HTTP server.
const TypeHTTP = "mediakit::HttpSession"

// ServerConfig holds the limits of an HTTP server.
type ServerConfig struct {
	// HeaderTimeout is the time in which the head of a request has to arrive. Default 10 s.
	HeaderTimeout time.Duration
	// IdleTimeout returns how long a connection may wait for its next request (http.keepAliveSecond). It is asked whenever a
	// request has ended. Default 30 s.
	IdleTimeout func() time.Duration
	// MaxHeaderBytes limits the head of a request. Default 64 KiB.
	MaxHeaderBytes int
	// MaxConnections limits the connections, live streams included; those beyond are closed at once. Default 20,000.
	MaxConnections int
	// MaxPerIP limits the connections from one address. Behind a proxy that is the proxy's. Default 0: no limit.
	MaxPerIP int
	// Logger gets what net/http has to say, at level debug. Default slog.Default().
	Logger *slog.Logger
}

func (c ServerConfig) withDefaults() ServerConfig {
	if c.HeaderTimeout <= 0 {
		c.HeaderTimeout = 10 * time.Second
	}
	if c.IdleTimeout == nil {
		c.IdleTimeout = func() time.Duration { return 30 * time.Second }
	}
	if c.MaxHeaderBytes <= 0 {
		c.MaxHeaderBytes = 64 << 10
	}
	if c.MaxConnections <= 0 {
		c.MaxConnections = 20000
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// connKey is the context key of the session id of a connection.
type connKey struct{}

// NewServer returns an HTTP/1 server for h that lists its connections in sessions. Live streams take their connection
// over, which HTTP/2 has no way to do. There is no time-out for a whole request or answer: both may be a stream. h
// bounds its own, as API does.
func NewServer(cfg ServerConfig, h http.Handler, sessions *Sessions) *http.Server {
	cfg = cfg.withDefaults()
	t := &connTracker{sessions: sessions, cfg: cfg}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: cfg.HeaderTimeout,
		MaxHeaderBytes:    cfg.MaxHeaderBytes,
		Protocols:         protocols,
		ErrorLog:          slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelDebug),
		ConnContext:       t.opened,
		ConnState:         t.changed,
	}
}

// connTracker lists the connections of one server.
type connTracker struct {
	sessions *Sessions
	cfg      ServerConfig
	conns    sync.Map // net.Conn -> *tracked
}

// tracked is a connection that the server has.
type tracked struct {
	remove func() // takes it off the list
	idle   *time.Timer
}

// opened is called by net/http before anything is read from a new connection.
func (t *connTracker) opened(ctx context.Context, conn net.Conn) context.Context {
	e := &entry{bare: true, Session: Session{TypeID: TypeHTTP, Kick: func() { hangUp(conn) }}}
	e.PeerIP, e.PeerPort = splitAddr(conn.RemoteAddr())
	e.LocalIP, e.LocalPort = splitAddr(conn.LocalAddr())
	id, remove := t.sessions.add(e)
	idle := time.AfterFunc(time.Hour, func() { hangUp(conn) })
	idle.Stop()
	t.conns.Store(conn, &tracked{remove, idle})
	switch all, same := t.sessions.connections(TypeHTTP, e.PeerIP); {
	case all > t.cfg.MaxConnections:
		t.cfg.Logger.Warn("too many HTTP connections", "limit", t.cfg.MaxConnections)
		hangUp(conn)
	case t.cfg.MaxPerIP > 0 && same > t.cfg.MaxPerIP:
		t.cfg.Logger.Debug("too many HTTP connections from one address", "peer", e.PeerIP, "limit", t.cfg.MaxPerIP)
		hangUp(conn)
	}
	return context.WithValue(ctx, connKey{}, id)
}

// changed is called by net/http; closed and taken over connections are not the server's any more.
func (t *connTracker) changed(conn net.Conn, state http.ConnState) {
	c, ok := t.conns.Load(conn)
	if !ok {
		return
	}
	switch state {
	case http.StateIdle:
		c.(*tracked).idle.Reset(t.cfg.IdleTimeout())
	case http.StateActive:
		c.(*tracked).idle.Stop()
	case http.StateClosed, http.StateHijacked:
		c.(*tracked).idle.Stop()
		c.(*tracked).remove()
		t.conns.Delete(conn)
	default:
	}
}

// hangUp closes a connection without the farewell of TLS, which could block.
func hangUp(conn net.Conn) {
	if c, ok := conn.(*tls.Conn); ok {
		conn = c.NetConn()
	}
	_ = conn.Close() // its owner sees the error
}

func splitAddr(a net.Addr) (ip string, port int) {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return a.String(), 0
	}
	return ap.Addr().Unmap().String(), int(ap.Port())
}

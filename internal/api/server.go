package api

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// TypeHTTP is ZLMediaKit's class of a connection to the HTTP server.
const TypeHTTP = "mediakit::HttpSession"

// ServerConfig holds the limits of an HTTP server.
type ServerConfig struct {
	// HeaderTimeout is the time in which the head of a request has to arrive. Default 10 s.
	HeaderTimeout time.Duration
	// IdleTimeout is how long a connection may wait for its next request (http.keepAliveSecond). Default 30 s.
	IdleTimeout time.Duration
	// MaxHeaderBytes limits the head of a request. Default 64 KiB.
	MaxHeaderBytes int
	// MaxConnections limits the connections; those beyond are closed at once. Taken over connections (live streams)
	// don't count any more. Default 20,000.
	MaxConnections int
	// Logger gets what net/http has to say, at level debug. Default slog.Default().
	Logger *slog.Logger
}

func (c ServerConfig) withDefaults() ServerConfig {
	if c.HeaderTimeout <= 0 {
		c.HeaderTimeout = 10 * time.Second
	}
	if c.IdleTimeout <= 0 {
		c.IdleTimeout = 30 * time.Second
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
	t := &connTracker{sessions: sessions, limit: int64(cfg.MaxConnections), log: cfg.Logger}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: cfg.HeaderTimeout,
		IdleTimeout:       cfg.IdleTimeout,
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
	limit    int64
	log      *slog.Logger
	count    atomic.Int64
	conns    sync.Map // net.Conn -> func(): takes it off the list
}

// opened is called by net/http before anything is read from a new connection.
func (t *connTracker) opened(ctx context.Context, conn net.Conn) context.Context {
	if t.count.Add(1) > t.limit {
		t.log.Warn("too many HTTP connections", "limit", t.limit)
		hangUp(conn)
	}
	e := &entry{bare: true, Session: Session{TypeID: TypeHTTP, Kick: func() { hangUp(conn) }}}
	e.PeerIP, e.PeerPort = splitAddr(conn.RemoteAddr())
	e.LocalIP, e.LocalPort = splitAddr(conn.LocalAddr())
	id, remove := t.sessions.add(e)
	t.conns.Store(conn, func() {
		t.count.Add(-1)
		remove()
	})
	return context.WithValue(ctx, connKey{}, id)
}

// changed is called by net/http; closed and taken over connections are not the server's any more.
func (t *connTracker) changed(conn net.Conn, state http.ConnState) {
	if state != http.StateClosed && state != http.StateHijacked {
		return
	}
	if gone, ok := t.conns.LoadAndDelete(conn); ok {
		gone.(func())()
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

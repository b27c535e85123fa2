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
	// HTTP2 offers HTTP/2 to clients of TLS listeners whose ALPN has it. Default false.
	HTTP2 bool
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

// connKey is the context key of the *tracked of a connection.
type connKey struct{}

// NewServer returns a server of HTTP/1 and, over TLS, HTTP/2 for h that lists its connections in sessions. There is no time-out
// for a whole request or answer: both may be a stream. h bounds its own, as API does. In HTTP/2 a write deadline resets the
// stream when it passes, whether something is written or not.
func NewServer(cfg ServerConfig, h http.Handler, sessions *Sessions) *http.Server {
	cfg = cfg.withDefaults()
	t := &connTracker{sessions: sessions, cfg: cfg}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(cfg.HTTP2)
	return &http.Server{
		Handler:           t.guard(h),
		ReadHeaderTimeout: cfg.HeaderTimeout,
		MaxHeaderBytes:    cfg.MaxHeaderBytes,
		Protocols:         protocols,
		HTTP2:             http2Limits(),
		ErrorLog:          slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelDebug),
		ConnContext:       t.opened,
		ConnState:         t.changed,
	}
}

// maxStreams is how many requests a connection of HTTP/2 may have at a time. Others wait at the client; those who do not are cut.
const maxStreams = 100

// http2Limits bound what a connection may cost. Requests have small bodies, so the windows are small.
func http2Limits() *http.HTTP2Config {
	return &http.HTTP2Config{
		MaxConcurrentStreams: maxStreams, MaxReadFrameSize: 16 << 10, MaxReceiveBufferPerConnection: 256 << 10, MaxReceiveBufferPerStream: 64 << 10,
		// A peer that is gone is noticed by pings, one that reads nothing by the bytes that it does not take.
		SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second, WriteByteTimeout: 15 * time.Second,
	}
}

// A client of HTTP/2 that keeps cancelling requests makes work without waiting for answers. Players cancel when they seek and leave.
const (
	resetBurst = 200 // at once
	resetRate  = 20  // per second
)

// guard ends connections that cancel too many requests.
func (t *connTracker) guard(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			c, ok := r.Context().Value(connKey{}).(*tracked)
			if r.ProtoMajor > 1 && r.Context().Err() != nil && ok && !c.mayCancel(time.Now()) {
				t.cfg.Logger.Debug("an HTTP/2 client cancels too many requests", "peer", r.RemoteAddr)
				hangUp(c.conn)
			}
		}()
		h.ServeHTTP(w, r)
	})
}

// connTracker lists the connections of one server.
type connTracker struct {
	sessions *Sessions
	cfg      ServerConfig
	conns    sync.Map // net.Conn -> *tracked
}

// tracked is a connection that the server has.
type tracked struct {
	conn   net.Conn
	id     string // of its session
	remove func() // takes it off the list
	idle   *time.Timer

	mu      sync.Mutex // guards what follows
	cancels float64    // that are still allowed, at the time of the last
	last    time.Time
}

// mayCancel counts a request that the client has cancelled.
func (c *tracked) mayCancel(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cancels = min(c.cancels+now.Sub(c.last).Seconds()*resetRate, resetBurst) - 1
	c.last = now
	return c.cancels >= 0
}

// opened is called by net/http before anything is read from a new connection.
func (t *connTracker) opened(ctx context.Context, conn net.Conn) context.Context {
	e := &entry{bare: true, Session: Session{TypeID: TypeHTTP, Kick: func() { hangUp(conn) }}}
	e.PeerIP, e.PeerPort = splitAddr(conn.RemoteAddr())
	e.LocalIP, e.LocalPort = splitAddr(conn.LocalAddr())
	id, remove := t.sessions.add(e)
	idle := time.AfterFunc(time.Hour, func() { hangUp(conn) })
	idle.Stop()
	c := &tracked{conn: conn, id: id, remove: remove, idle: idle, cancels: resetBurst, last: time.Now()}
	t.conns.Store(conn, c)
	switch all, same := t.sessions.connections(TypeHTTP, e.PeerIP); {
	case all > t.cfg.MaxConnections:
		t.cfg.Logger.Warn("too many HTTP connections", "limit", t.cfg.MaxConnections)
		hangUp(conn)
	case t.cfg.MaxPerIP > 0 && same > t.cfg.MaxPerIP:
		t.cfg.Logger.Debug("too many HTTP connections from one address", "peer", e.PeerIP, "limit", t.cfg.MaxPerIP)
		hangUp(conn)
	}
	return context.WithValue(ctx, connKey{}, c)
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

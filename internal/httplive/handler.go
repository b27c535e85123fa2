package httplive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/outlet"
	"github.com/hookline/hookline/internal/stream"
)

// Hub is what a Handler needs of the stream hub.
type Hub interface {
	Play(ctx context.Context, req stream.PlayRequest) (*stream.Viewer, error)
}

// TypeID is ZLMediaKit's name for the sessions of this package.
const TypeID = "mediakit::HttpSession"

// Session describes a connection to whoever lists and kicks sessions.
type Session struct {
	ID              string // unique per connection
	PeerIP, LocalIP string
	PeerPort        int
	LocalPort       int
	Type            string // "tcp"
	TypeID          string
	Shared          bool   // the connection carries other requests as well (HTTP/2)
	Kick            func() // ends the session; does not block
}

// Registry knows the sessions of the server.
type Registry interface {
	// Add lists a session until remove is called. ok is false when there is no room: whoever accepts connections has not counted a
	// session that shares one.
	Add(s Session) (remove func(), ok bool)
}

// Config holds the knobs of a Handler.
type Config struct {
	// EnableVhost takes the vhost from the host name or the parameter "vhost" (general.enableVhost). Default false:
	// everything is fact.DefaultVhost.
	EnableVhost bool
	// AllowCrossDomains echoes Origin (http.allow_cross_domains). Default false here; ZLMediaKit's default is 1.
	AllowCrossDomains bool
	// WriteTimeout bounds a write that makes no progress. Default 15 s.
	WriteTimeout time.Duration
	// SessionID names a connection, uniquely in the process. Default: a counter of the handler.
	SessionID func() string
	// Registry lists the sessions. Default: none.
	Registry Registry
	// PeerIP returns the client's address as a trusted proxy names it (http.forwarded_ip_header), for hooks and lists of
	// viewers; "" when it names none. Default: nobody is asked.
	PeerIP func(r *http.Request) string
}

// defaultWriteTimeout is Config.WriteTimeout's default.
const defaultWriteTimeout = 15 * time.Second

// Handler serves live streams. It is an http.Handler for requests for which Match is true.
type Handler struct {
	hub  Hub
	cfg  atomic.Pointer[Config]
	last atomic.Uint64 // session id
	// linger is lingerTime, but for tests.
	linger time.Duration

	mu       sync.Mutex
	closed   bool                  // guarded by mu
	sessions map[*session]struct{} // guarded by mu
	done     sync.WaitGroup
}

// New returns a handler that plays streams of hub. The hub must know the formats of Formats.
func New(cfg Config, hub Hub) *Handler {
	h := &Handler{hub: hub, linger: lingerTime, sessions: map[*session]struct{}{}}
	h.Reconfigure(cfg)
	return h
}

// Reconfigure replaces the configuration for requests that come later.
func (h *Handler) Reconfigure(cfg Config) {
	if cfg.WriteTimeout <= 0 {
		cfg.WriteTimeout = defaultWriteTimeout
	}
	if cfg.SessionID == nil {
		cfg.SessionID = func() string { return "http-" + strconv.FormatUint(h.last.Add(1), 10) }
	}
	h.cfg.Store(&cfg)
}

// Close ends all sessions and waits for them. Later requests are answered 503. It is idempotent.
func (h *Handler) Close() {
	h.mu.Lock()
	h.closed = true
	for s := range h.sessions {
		s.kick()
	}
	h.mu.Unlock()
	h.done.Wait()
}

// Match says whether r asks for a live stream: by its suffix, or by the parameter schema.
func Match(r *http.Request) bool {
	_, _, ok := kindOf(r)
	return ok
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	cfg := h.cfg.Load()
	CrossDomain(w, r, cfg.AllowCrossDomains)
	header := w.Header()
	switch r.Method {
	case http.MethodHead: // whether the stream is there or not: a player asks before it plays, and nobody is asked for that
		if _, k, ok := kindOf(r); ok {
			header.Set("Content-Type", k.contentType)
		}
		header.Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusOK)
		return
	case http.MethodOptions:
		header.Set("Allow", methods)
		w.WriteHeader(http.StatusOK)
		return
	case http.MethodGet:
	default:
		header.Set("Allow", methods)
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	mi, k, ok := parse(r, cfg.EnableVhost)
	if !ok {
		http.NotFound(w, r)
		return
	}
	s, err := h.open(cfg, r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	defer h.close(s)
	if wantsWebSocket(r) {
		s.serveWebSocket(w, r, mi, k)
		return
	}
	s.serve(w, r, mi, k)
}

// methods are those of a live stream.
const methods = "GET, HEAD, OPTIONS"

// CrossDomain answers what browsers ask on behalf of pages from elsewhere (CORS): who asks may, with credentials.
func CrossDomain(w http.ResponseWriter, r *http.Request, allow bool) {
	origin := r.Header.Get("Origin")
	if !allow || origin == "" {
		return
	}
	header := w.Header()
	header.Set("Access-Control-Allow-Origin", origin)
	header.Set("Access-Control-Allow-Credentials", "true")
	header.Add("Vary", "Origin")
	if r.Method != http.MethodOptions {
		return
	}
	header.Set("Access-Control-Allow-Methods", methods)
	if want := r.Header.Get("Access-Control-Request-Headers"); want != "" {
		header.Set("Access-Control-Allow-Headers", want)
	}
	header.Set("Access-Control-Max-Age", "86400")
}

// Errors of open.
var (
	errStopping = errors.New("server is stopping")
	errFull     = errors.New("too many viewers")
)

// open makes and lists a session.
func (h *Handler) open(cfg *Config, r *http.Request) (*session, error) {
	s := &session{hub: h.hub, timeout: cfg.WriteTimeout, linger: h.linger, remove: func() {}}
	s.ctx, s.cancel = context.WithCancel(r.Context())
	s.peer = stream.Peer{Client: fact.Client{ID: cfg.SessionID()}, TypeID: TypeID}
	s.peer.IP, s.peer.Port = split(r.RemoteAddr)
	socket := s.peer.IP
	if cfg.PeerIP != nil {
		if ip := cfg.PeerIP(r); ip != "" {
			s.peer.IP = ip
		}
	}
	if a, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		s.peer.LocalIP, s.peer.LocalPort = split(a.String())
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		s.cancel()
		return nil, errStopping
	}
	if cfg.Registry != nil {
		var ok bool
		if s.remove, ok = cfg.Registry.Add(Session{
			ID: s.peer.ID, PeerIP: socket, PeerPort: s.peer.Port, LocalIP: s.peer.LocalIP, LocalPort: s.peer.LocalPort,
			Type: "tcp", TypeID: TypeID, Shared: r.ProtoMajor > 1, Kick: s.kick,
		}); !ok {
			s.cancel()
			return nil, errFull
		}
	}
	h.sessions[s] = struct{}{}
	h.done.Add(1)
	return s, nil
}

func (h *Handler) close(s *session) {
	s.cancel()
	s.remove()
	h.mu.Lock()
	delete(h.sessions, s)
	h.mu.Unlock()
	h.done.Done()
}

// split returns the parts of "ip:port".
func split(addr string) (string, int) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr, 0
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return host, 0
	}
	return host, n
}

// session is one viewer's connection.
type session struct {
	hub     Hub
	peer    stream.Peer
	timeout time.Duration
	linger  time.Duration
	remove  func()
	ctx     context.Context
	cancel  context.CancelFunc

	// parting: a close frame of ours is on its way.
	parting atomic.Bool

	mu     sync.Mutex
	conn   net.Conn                 // guarded by mu; nil until taken over
	shared *http.ResponseController // guarded by mu; of a request whose connection is not taken over, while it is served
	end    bool                     // guarded by mu: kicked
}

// kick ends the session; it does not block.
func (s *session) kick() {
	s.cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end = true
	if s.conn != nil {
		// A write in progress returns; the session closes the connection.
		_ = s.conn.SetDeadline(time.Unix(1, 0))
	}
	if s.shared != nil {
		_ = s.shared.SetWriteDeadline(time.Unix(1, 0)) // resets the stream of HTTP/2
	}
}

func (s *session) serve(w http.ResponseWriter, r *http.Request, mi fact.MediaInfo, k kind) {
	hijacker, ok := w.(http.Hijacker)
	if !ok && r.ProtoMajor < 2 {
		http.Error(w, "can't take the connection over", http.StatusInternalServerError)
		return
	}
	v, err := s.hub.Play(s.ctx, stream.PlayRequest{MediaInfo: mi, Peer: s.peer, Format: k.format, Kick: s.kick})
	if err != nil {
		status, text := refusal(err)
		http.Error(w, text, status)
		return
	}
	defer v.Close()
	if !ok {
		s.serveShared(w, r, v, k)
		return
	}
	conn, rw, err := hijacker.Hijack()
	if err != nil {
		http.Error(w, "can't take the connection over", http.StatusInternalServerError)
		return
	}
	left := make(chan struct{})
	defer func() { <-left }()
	defer s.cancel()
	defer conn.Close()
	if !s.take(conn) {
		close(left)
		return
	}
	go func() {
		defer close(left)
		// A player has nothing to say: its end, or too much talk, ends the session.
		_, _ = io.CopyN(io.Discard, rw.Reader, maxTalk)
		s.kick()
	}()
	out := outlet.New(conn, outlet.Config{Timeout: s.timeout, SetDeadline: s.setDeadline})
	if _, err := out.Write(s.ctx, net.Buffers{head(r, k, w.Header())}); err != nil {
		return
	}
	_ = v.Serve(s.ctx, from(r, out, k)) // whatever ends it, the connection says so
}

// maxTalk is the number of bytes that a player may send after its request.
const maxTalk = 64 << 10

// take makes conn the session's, unless that was kicked. The server's deadlines are lifted.
func (s *session) take(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.end || conn.SetDeadline(time.Time{}) != nil {
		return false
	}
	s.conn = conn
	return true
}

// setDeadline bounds what is written next; a session that was kicked has no time.
func (s *session) setDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.end {
		return net.ErrClosed
	}
	return s.conn.SetWriteDeadline(t)
}

// head returns the head of the answer. It has no Content-Length: the body ends with the connection.
func head(r *http.Request, k kind, extra http.Header) []byte {
	b := fmt.Appendf(nil, "HTTP/1.%d 200 OK\r\nContent-Type: %s\r\nCache-Control: no-store\r\n"+
		"Connection: close\r\nDate: %s\r\n", min(r.ProtoMinor, 1), k.contentType, time.Now().UTC().Format(http.TimeFormat))
	for name, values := range extra {
		for _, v := range values {
			b = fmt.Appendf(b, "%s: %s\r\n", name, v)
		}
	}
	return append(b, "\r\n"...)
}

// refusal says why an attempt failed, as an HTTP status and a text.
func refusal(err error) (status int, text string) {
	var refused *stream.RefusedError
	switch {
	case errors.As(err, &refused):
		return http.StatusUnauthorized, refused.Message
	case errors.Is(err, stream.ErrNotFound):
		return http.StatusNotFound, "stream not found"
	default: // stopping, kicked, or the client has left and nobody reads this
		return http.StatusServiceUnavailable, err.Error()
	}
}

package rtsp

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
	"github.com/hookline/hookline/internal/stream"
)

// ErrServerClosed is returned by Serve after Close.
var ErrServerClosed = errors.New("rtsp: server closed")

// Hub is what a server needs of the stream hub.
type Hub interface {
	// Publish asks whether the stream may be published and claims it; see stream.Hub.
	Publish(ctx context.Context, req stream.PublishRequest) (*stream.Publisher, error)
	// Play asks whether the stream may be played and waits for it; see stream.Hub.
	Play(ctx context.Context, req stream.PlayRequest) (*stream.Viewer, error)
	// Note states the outcome of a decision.
	Note(f *fact.Decided)
	// Control steers a source that can be steered.
	Control(name fact.Stream) (stream.Control, error)
}

// Gate asks the hooks of RTSP's own authentication; see decision.Service.
type Gate interface {
	// Realm asks on_rtsp_realm; empty: no credentials are demanded.
	Realm(ctx context.Context, q stream.PlayQuestion) (realm string, outcome fact.Outcome)
	// Credentials asks on_rtsp_auth for a password; encrypted: md5(user:realm:password) in hex.
	Credentials(ctx context.Context, q stream.PlayQuestion, user, realm string, plain bool) (passwd string, encrypted bool, outcome fact.Outcome)
}

// Transport is what rtsp.rtpTransportType allows.
type Transport int

// The transports. Others than AnyTransport answer 461 to the rest.
const (
	AnyTransport Transport = iota
	TCPOnly
	UDPOnly
	MulticastOnly
)

// Config configures a Server. A zero value of a field means its default.
type Config struct {
	// Handshake is the time from the connection to RECORD or PLAY (rtsp.handshakeSecond). Default 15 s.
	Handshake time.Duration
	// KeepAlive is how long a publisher may send no media, and a player over UDP no sign of life (rtsp.keepAliveSecond).
	// Default 15 s.
	KeepAlive time.Duration
	// WriteTimeout is how long one write to a peer that does not read may take. Default 10 s.
	WriteTimeout time.Duration
	// MaxConnections limits all connections. Default 20,000.
	MaxConnections int
	// MaxPerIP limits the connections of one address. Default 0: no limit of its own.
	MaxPerIP int
	// EnableVhost takes the vhost from the URL (general.enableVhost). Default false.
	EnableVhost bool
	// AuthBasic challenges with Basic in place of Digest (rtsp.authBasic). Default false.
	AuthBasic bool
	// Transport is what may be set up (rtsp.rtpTransportType). Default any.
	Transport Transport
	// PortMin and PortMax are the range of UDP ports (rtp_proxy.port_range). Default: the system chooses.
	PortMin, PortMax int
	// MulticastMin and MulticastMax are the range of addresses for multicast (multicast.addrMin, multicast.addrMax), of IPv4.
	// Default 239.0.0.0 to 239.255.255.255.
	MulticastMin, MulticastMax string
	// MulticastTTL is how many routers multicast passes (multicast.udpTTL); 0: it stays on the machine.
	MulticastTTL int
	// Registry lists the sessions. Default nil: nobody does.
	Registry Registry
	// NewID makes the id of a session, unique in the process. Default: "n-m".
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
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// Session describes a connection to whoever lists and kicks sessions.
type Session struct {
	ID              string
	PeerIP, LocalIP string
	PeerPort        int
	LocalPort       int
	Type            string // "tcp"
	TypeID          string // "mediakit::RtspSession", ZLMediaKit's name for it
	Kick            func() // ends the session; does not block
}

// Registry knows the sessions of the server.
type Registry interface {
	// Add lists a session until remove is called.
	Add(s Session) (remove func())
}

// Server accepts RTSP publishers and players.
type Server struct {
	hub      Hub
	gate     Gate
	cfg      atomic.Pointer[Config]
	accepted atomic.Uint64
	refused  atomic.Uint64
	ports    *ports
	groups   *groups
	ctx      context.Context
	cancel   context.CancelFunc
	wg       sync.WaitGroup

	mu        sync.Mutex // guards what follows
	closed    bool
	listeners map[net.Listener]struct{}
	sessions  map[*session]struct{}
	perIP     map[string]int
	tunnels   map[string]*tunnel // by their cookie, until the second connection comes
	casts     map[string]*caster // by publication and interface
}

// New returns a server that publishes to and plays from hub.
func New(cfg Config, hub Hub, gate Gate) *Server {
	s := &Server{
		hub: hub, gate: gate, listeners: map[net.Listener]struct{}{}, sessions: map[*session]struct{}{},
		perIP: map[string]int{}, tunnels: map[string]*tunnel{}, casts: map[string]*caster{},
		ports: &ports{}, groups: &groups{},
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.Reconfigure(cfg)
	return s
}

// Reconfigure replaces the configuration for sessions that begin later. Registry, NewID and Logger may not change.
func (s *Server) Reconfigure(cfg Config) {
	cfg = cfg.withDefaults()
	s.cfg.Store(&cfg)
	s.ports.limit(cfg.PortMin, cfg.PortMax)
	s.groups.limit(cfg.MulticastMin, cfg.MulticastMax, cfg.PortMin, cfg.PortMax)
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
// listener of crypto/tls makes it rtsps.
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
			return fmt.Errorf("rtsp: accept: %w", err)
		}
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		s.cfg.Load().Logger.Warn("can't accept RTSP connections", "error", err, "pause", pause)
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
		sess.log.Debug("RTSP connection refused: too many")
		return
	}
	go func() {
		defer s.wg.Done()
		defer s.release(sess)
		sess.run()
	}()
}

func (s *Server) admit(sess *session) bool {
	cfg := sess.cfg
	s.mu.Lock()
	defer s.mu.Unlock()
	ip := sess.peer.IP
	if s.closed || len(s.sessions) >= cfg.MaxConnections || cfg.MaxPerIP > 0 && s.perIP[ip] >= cfg.MaxPerIP {
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

// Close stops accepting, ends all sessions (their publications with fact.EndServerStop unless the hub ended them
// before) and waits for their goroutines. It is idempotent.
func (s *Server) Close() error {
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

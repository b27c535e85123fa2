package rtsp

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hookline/hookline/internal/acceptor"
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
	// Opening bounds how long an answer to PLAY waits for the first packets of a file. They come at once, unless a track has nothing
	// at that place. Default 300 ms.
	Opening time.Duration
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
		{&c.Opening, 300 * time.Millisecond},
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

// Server accepts RTSP publishers and players. The server of package acceptor says how many connections there are and were refused;
// Serve takes a listener, of crypto/tls for rtsps; Close ends publications with fact.EndServerStop unless the hub ended them before.
type Server struct {
	*acceptor.Server
	hub    Hub
	gate   Gate
	cfg    atomic.Pointer[Config]
	ports  *ports
	groups *groups
	// linger is lingerTime, but for tests.
	linger time.Duration

	mu      sync.Mutex         // guards what follows
	tunnels map[string]*tunnel // by their cookie, until the second connection comes
	casts   map[string]*caster // by publication and interface
}

// New returns a server that publishes to and plays from hub.
func New(cfg Config, hub Hub, gate Gate) *Server {
	s := &Server{
		hub: hub, gate: gate, tunnels: map[string]*tunnel{}, casts: map[string]*caster{}, ports: &ports{}, groups: &groups{}, linger: lingerTime,
	}
	s.Reconfigure(cfg)
	s.Server = acceptor.New(acceptor.Config{
		Protocol: "RTSP", Closed: ErrServerClosed, Logger: s.cfg.Load().Logger,
		Limits: func() (all, perIP int) {
			c := s.cfg.Load()
			return c.MaxConnections, c.MaxPerIP
		},
		New: func(conn net.Conn, n uint64) acceptor.Session { return newSession(s, conn, n) },
	})
	return s
}

// Reconfigure replaces the configuration for sessions that begin later. Registry, NewID and Logger may not change.
func (s *Server) Reconfigure(cfg Config) {
	cfg = cfg.withDefaults()
	s.cfg.Store(&cfg)
	s.ports.limit(cfg.PortMin, cfg.PortMax)
	s.groups.limit(cfg.MulticastMin, cfg.MulticastMax, cfg.PortMin, cfg.PortMax)
}

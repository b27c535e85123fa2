package api

import (
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/hookline/hookline/internal/attempts"
	"github.com/hookline/hookline/internal/delivery"
	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/journal"
	"github.com/hookline/hookline/internal/stream"
)

// Settings are the configuration values that the API itself obeys. They are asked for at every request.
type Settings struct {
	// Secret is api.secret; empty: nobody is let in.
	Secret string
	// Tokens open /api/v1 beside Secret.
	Tokens []Token
	// AllowCrossDomains is http.allow_cross_domains.
	AllowCrossDomains bool
	// MaxReqSize is http.maxReqSize, the largest body in bytes. Default 40960.
	MaxReqSize int64
	// ForwardedIPHeader is http.forwarded_ip_header: the header in which a proxy names the client; empty: no proxy.
	ForwardedIPHeader string
	// KeepAlive is http.keepAliveSecond, after which an idle connection is closed; clients are told. 0: they are not.
	KeepAlive time.Duration
	// CharSet is http.charSet. Default utf-8.
	CharSet string
	// NotFound is http.notFound, the body of a 404. Default: a page that names Hookline.
	NotFound string
	// EnableVhost is general.enableVhost; while it is off every lookup is in fact.DefaultVhost.
	EnableVhost bool
	// Debug is api.apiDebug: every request is logged, without the secret.
	Debug bool
}

// ConfigStore is the configuration behind getServerConfig and setServerConfig.
type ConfigStore interface {
	// All returns every key "section.key" with its value.
	All() map[string]string
	// Set changes what it knows, ignores the rest and returns the number of keys whose value changed. With an error
	// and changed == 0 nothing was changed; with an error and changed > 0 the change is in effect but was not saved.
	Set(values map[string]string) (changed int, err error)
}

// Hub is the registry of streams. See stream.Hub.
type Hub interface {
	List(f stream.Filter) []stream.Info
	Get(f stream.Filter) (stream.Info, bool)
	Players(f stream.Filter) []stream.Player
	CloseStreams(f stream.Filter, force bool, reason fact.EndReason) (hit, closed int)
	Stats() stream.Stats
}

// Files serves files.
type Files interface {
	// Download answers with the file at an absolute path, or says why not. trusted: the client knows the secret. saveName is
	// the name under which a browser keeps it, "" for none.
	Download(w http.ResponseWriter, r *http.Request, file, saveName string, trusted bool)
}

// EventReader reads the journal. See journal.Journal.
type EventReader interface {
	Info() journal.Info
	Read(from uint64, lim journal.Limit) ([]*journal.Record, error)
	ReadKey(key string, seq uint64, lim journal.Limit) ([]*journal.Record, error)
	LastOfKey(key string) (*journal.Record, error)
}

// EndpointStats is one endpoint of webhooks and its state.
type EndpointStats struct {
	Name  string
	Stats delivery.Stats
}

// Version is the answer to version.
type Version struct {
	BuildTime  string `json:"buildTime"`
	BranchName string `json:"branchName"`
	CommitHash string `json:"commitHash"`
}

// Deps are the neighbours of the API. Those that are not called optional are required.
type Deps struct {
	Settings func() Settings
	// Allowed is http.allow_ip_range. Optional: every address is allowed.
	Allowed  func(netip.Addr) bool
	Config   ConfigStore
	Hub      Hub
	Sessions *Sessions
	Journal  EventReader
	// Broadcaster tells event streams of new records.
	Broadcaster *Broadcaster
	// Endpoints lists the endpoints of webhooks. Optional.
	Endpoints func() []EndpointStats
	// DeadLetters lists dead letters of one endpoint, or of all for "". Optional.
	DeadLetters func(endpoint string) ([]delivery.DeadLetter, error)
	// Platform shows and changes endpoints, dead letters and replays; it takes the place of Endpoints and DeadLetters in
	// /api/v1. Optional: without it there is nothing to change.
	Platform Platform
	// Attempts is what is remembered of requests to receivers. Optional.
	Attempts *attempts.Log
	// Operations is behind snapshot, gaps, queues, retention and backups. Optional.
	Operations Operations
	// Audit is told of every call that changed something or was meant to. Optional.
	Audit     func(Action)
	Readiness *Readiness
	// Metrics is optional: without it there is no /metrics.
	Metrics *Metrics
	Version Version
	// Records starts, stops and finds recordings. Optional: without it there are no calls for that.
	Records Records
	// Files serves what downloadFile names. Optional: without it there is no such call.
	Files Files
	// Playback plays files. Optional: without it there are no calls for that.
	Playback Playback
	// Restart ends the process so that its supervisor starts it again; called once, a second after restartServer was
	// answered. Optional.
	Restart func()
	// Listeners is the number of listening sockets. Optional.
	Listeners func() int
	// Fallback serves the paths that are not the API's. Optional: 404.
	Fallback http.Handler
	// Logger is optional: slog.Default().
	Logger *slog.Logger
	// Heartbeat is the time between comments on an idle event stream. Default 15 s.
	Heartbeat time.Duration
	// WriteTimeout bounds one write to an event stream. Default 10 s.
	WriteTimeout time.Duration
	// MaxEventStreams is the number of event streams at a time. Default 64.
	MaxEventStreams int
	// MaxWaiters is the number of long polls at a time. Default 256.
	MaxWaiters int
}

// API is the handler. See the package comment.
type API struct {
	deps   Deps
	log    *slog.Logger
	logins *logins
	calls  map[string]*endpoint // by lower-case path
	absent map[string]*endpoint // by lower-case path: calls of ZLMediaKit that Hookline does not have
	names  []string
	v1     []v1Route
	load   cpuMeter

	done    chan struct{} // closed by Close
	streams chan struct{} // one token for each event stream
	waiters chan struct{} // one token for each long poll
	busy    chan struct{} // one token for each other call of /api/v1
	strikes strikes
	// scanTime bounds the time in which a request collects records.
	scanTime time.Duration

	mu      sync.Mutex
	closed  bool        // guarded by mu
	restart *time.Timer // guarded by mu
}

// New returns the API. It panics when a required neighbour is missing.
func New(deps Deps) *API {
	if deps.Settings == nil || deps.Config == nil || deps.Hub == nil || deps.Sessions == nil ||
		deps.Journal == nil || deps.Broadcaster == nil || deps.Readiness == nil {
		panic("api: a required neighbour is missing")
	}
	if deps.Logger == nil {
		deps.Logger = slog.Default()
	}
	if deps.Allowed == nil {
		deps.Allowed = netip.Addr.IsValid
	}
	if deps.Heartbeat <= 0 {
		deps.Heartbeat = 15 * time.Second
	}
	if deps.WriteTimeout <= 0 {
		deps.WriteTimeout = 10 * time.Second
	}
	if deps.MaxEventStreams <= 0 {
		deps.MaxEventStreams = 64
	}
	if deps.MaxWaiters <= 0 {
		deps.MaxWaiters = 256
	}
	a := &API{
		deps: deps, log: deps.Logger, logins: newLogins(), calls: map[string]*endpoint{},
		absent: map[string]*endpoint{}, v1: v1Routes(),
		done: make(chan struct{}), streams: make(chan struct{}, deps.MaxEventStreams),
		waiters: make(chan struct{}, deps.MaxWaiters), busy: make(chan struct{}, maxCalls),
		scanTime: defaultScanTime,
	}
	a.register()
	return a
}

// Close ends all event streams and long polls, and a restart that was asked for but has not begun. It is idempotent and does not
// wait for handlers; http.Server.Shutdown does.
func (a *API) Close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return
	}
	a.closed = true
	close(a.done)
	if a.restart != nil {
		a.restart.Stop()
	}
}

// ServeHTTP implements http.Handler.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	serve := a.route(r.URL.Path)
	// A deadline outlives its request: each sets its own. Not every writer has one.
	deadline := http.NewResponseController(w).SetWriteDeadline
	if serve == nil {
		_ = deadline(time.Time{})
		a.fallback(w, r)
		return
	}
	_ = deadline(time.Now().Add(answerTimeout))
	serve(w, r)
}

// route returns what serves a path of the API, nil for other paths.
func (a *API) route(path string) http.HandlerFunc {
	switch {
	case len(path) >= len(indexPrefix) && strings.EqualFold(path[:len(indexPrefix)], indexPrefix),
		strings.EqualFold(path, indexRoot):
		return a.serveIndex
	case strings.HasPrefix(path, v1Prefix), path == strings.TrimSuffix(v1Prefix, "/"):
		return a.serveV1
	case path == "/healthz":
		return a.serveHealth
	case path == "/readyz":
		return a.serveReady
	case path == "/metrics" && a.deps.Metrics != nil:
		return a.serveMetrics
	}
	return nil
}

func (a *API) fallback(w http.ResponseWriter, r *http.Request) {
	if a.deps.Fallback != nil {
		a.deps.Fallback.ServeHTTP(w, r)
		return
	}
	s := a.settings()
	a.notFound(w, &s)
}

// settings returns the settings with defaults.
func (a *API) settings() Settings {
	s := a.deps.Settings()
	if s.MaxReqSize <= 0 {
		s.MaxReqSize = 40960
	}
	if s.CharSet == "" {
		s.CharSet = "utf-8"
	}
	if s.NotFound == "" {
		s.NotFound = `<html><head><title>404 Not Found</title></head><body bgcolor="white"><center><h1>` +
			`您访问的资源不存在！</h1></center><hr><center>Hookline</center></body></html>`
	}
	return s
}

func (a *API) notFound(w http.ResponseWriter, s *Settings) {
	w.Header().Set("Content-Type", "text/html; charset="+s.CharSet)
	w.WriteHeader(http.StatusNotFound)
	_, _ = w.Write([]byte(s.NotFound)) // the client has left
}

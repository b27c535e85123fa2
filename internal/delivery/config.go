package delivery

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/journal"
)

// Policy says what becomes of an event that is not accepted.
type Policy string

// Policies.
const (
	// PolicyDefault: network errors, 5xx, 408, 425 and 429 are retried until MaxAge; other answers RejectAttempts times.
	PolicyDefault Policy = "default"
	// PolicyBlock: the lane waits for ever.
	PolicyBlock Policy = "block"
	// PolicySkip: every failure counts against RejectAttempts.
	PolicySkip Policy = "skip"
)

// Format is the form of a request.
type Format string

// Formats.
const (
	// FormatZLM: the body is ZLMediaKit's with the event member. Accepted is 200 with an integer code.
	FormatZLM Format = "zlm"
	// FormatCloudEvents: CloudEvents 1.0, structured mode. Accepted is any 2xx.
	FormatCloudEvents Format = "cloudevents"
)

// Config of an endpoint. It can be replaced while the endpoint works.
type Config struct {
	// Name is the endpoint's identity.
	Name string
	// URLs by type; a type without one is not owed.
	URLs map[event.Type]string
	// Schemas limits on_stream_changed to these schemas; empty: all.
	Schemas []string
	// Streams limits events to the keys that match one of these patterns; empty: all. In a pattern * is any run of
	// characters, slashes included; "app/stream" stands for any vhost. Events of the server itself are not limited.
	Streams []string
	// within narrows Streams further; for replays.
	within []string
	// History makes the outcomes of decisions owed, too.
	History bool
	// From is the position at which an endpoint that is new begins; 0: at now.
	From uint64
	// Paused keeps the endpoint from sending; it keeps its place.
	Paused bool
	// Rate limits the requests per second; 0: no limit.
	Rate float64
	// Batch is the number of events in one request, FormatCloudEvents only; 0 and 1: one by one, each as itself. A
	// request that is not full is sent when its slot is free and BatchWait has passed since its first event was ready.
	Batch int
	// BatchBytes bounds the bodies of batches, by an estimate; an event that is larger goes alone. Default 512 KiB.
	BatchBytes int
	BatchWait  time.Duration
	// Format of the requests. Default FormatZLM.
	Format Format
	// Signer signs each request (Standard Webhooks); nil: none is signed.
	Signer *event.Signer
	// Header is added to each request.
	Header http.Header
	// Timeout of one attempt. Default 10 s.
	Timeout time.Duration
	// Concurrency is the number of requests in flight per URL, 1 to 64. Default 32.
	Concurrency int
	// Window is the number of events held in memory. Default 65536.
	Window int
	// BackoffMin and BackoffMax bound the delay between attempts of a lane. Defaults 1 s and 60 s.
	BackoffMin, BackoffMax time.Duration
	// ProbeMax bounds the delay between probes of a URL at which everything fails. Default 5 s.
	ProbeMax time.Duration
	// MaxAge of an event that is still retried. Default 24 h. It does not run while the URL as a whole is down.
	MaxAge time.Duration
	// RejectAttempts before an event is given up that is answered, but not with an acceptance. Default 8.
	RejectAttempts int
	// Policy at exhaustion. Default PolicyDefault.
	Policy Policy
	// Unordered switches the ordering off; only for the control of the simulation, which must catch it.
	Unordered bool
}

func (c Config) withDefaults() Config {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&c.Timeout, 10*time.Second)
	def(&c.BackoffMin, time.Second)
	def(&c.BackoffMax, time.Minute)
	def(&c.ProbeMax, 5*time.Second)
	def(&c.MaxAge, 24*time.Hour)
	if c.Concurrency <= 0 {
		c.Concurrency = 32
	}
	if c.Window <= 0 {
		c.Window = 65536
	}
	if c.RejectAttempts <= 0 {
		c.RejectAttempts = 8
	}
	if c.Policy == "" {
		c.Policy = PolicyDefault
	}
	if c.Format == "" {
		c.Format = FormatZLM
	}
	if c.Format != FormatCloudEvents || c.Batch < 2 {
		c.Batch = 0
	}
	if c.BatchBytes <= 0 {
		c.BatchBytes = 512 << 10
	}
	return c
}

// Stamper gives identity to what has no seq: questions, heartbeats, gap notices.
type Stamper interface {
	Stamp(key string) (id string, index, after uint64, t time.Time)
	Identity() (source, incarnation string, epoch int64)
}

// Store is the part of the journal that delivery uses.
type Store interface {
	Info() journal.Info
	Read(from uint64, lim journal.Limit) ([]*journal.Record, error)
	ReadKey(key string, seq uint64, lim journal.Limit) ([]*journal.Record, error)
	State(prefix string) (map[string][]byte, error)
	SetState(ops []journal.Op, sync bool) error
}

// Deps are what an endpoint works with.
type Deps struct {
	Store    Store
	Stamper  Stamper
	Sender   Sender
	Observer Observer
	Logger   *slog.Logger
	// Rand returns a number in [0,1) for jitter; nil: math/rand/v2.
	Rand func() float64
	// Clock is what the age of events that were read from the journal is reckoned by (Config.MaxAge); nil: time.Now.
	// Everything else goes by time.Now, whose differences no step of the system's clock changes.
	Clock func() time.Time
}

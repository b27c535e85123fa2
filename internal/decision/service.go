package decision

import (
	"context"
	"maps"
	"sync/atomic"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/attempts"
	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/stream"
	"github.com/hookline/hookline/internal/webhook"
)

// Who decided, as it stands in fact.Outcome.By.
const (
	ByHook    = "hook"
	ByDefault = "default"
	ByFailed  = "failed"
)

const (
	defaultTimeout       = 10 * time.Second
	defaultMaxConcurrent = 1024
	keyShare             = 8 // a key gets one part in so many of the pool
	maxRetry             = 100
	barrierTime          = 300 * time.Millisecond
)

// Config is what can change while the server runs. It is replaced as a whole.
type Config struct {
	// Enable is hook.enable; default false.
	Enable bool
	// URLs by hook; a missing or empty one means that the hook is not asked.
	URLs map[event.Type]string
	// Timeout of one attempt (hook.timeoutSec); default 10 s.
	Timeout time.Duration
	// Retry is the number of attempts after the first (hook.retry), at most 100; negative means none.
	Retry int
	// RetryDelay between attempts (hook.retry_delay); negative means none.
	RetryDelay time.Duration
	// Defaults are the [protocol] options over which the answer to on_publish is laid.
	Defaults stream.Options
	// Signer signs every request (Standard Webhooks); nil: none is signed.
	Signer *event.Signer
	// Files says whether an address may have files when nobody is asked; nil: every one may.
	Files func(ip string) bool
	// DefaultVhost stands in for an empty vhost; default fact.DefaultVhost.
	DefaultVhost string
}

// Sequence stamps requests.
type Sequence interface {
	// Stamp returns a new id and hook_index, and the last seq raised for the key with the time of the request.
	Stamp(key string) (id string, index uint64, after uint64, t time.Time)
	// Identity returns mediaServerId, the run of the process and the epoch.
	Identity() (source, incarnation string, epoch int64)
}

// Barrier waits for the events of a key to be accepted.
type Barrier interface {
	// WaitAccepted returns when every event of the key up to seq after that is owed to the endpoint which answers
	// decisions was accepted, when there is no point in waiting, after limit, or when ctx ends.
	WaitAccepted(ctx context.Context, key string, after uint64, limit time.Duration)
}

// Observer counts. Its methods must not block.
type Observer interface {
	// AttemptDone is called after every request; the answer is valid during the call only.
	AttemptDone(attempts.Attempt)
	// DecisionDone is called after every decision, also those by default.
	DecisionDone(Decision)
}

// Decision is one that was made.
type Decision struct {
	Type event.Type
	// Key is the stream key that was asked for.
	Key     string
	Start   time.Time
	Took    time.Duration
	Outcome fact.Outcome
}

// Deps are the service's neighbours.
type Deps struct {
	Sequence Sequence
	Sender   webhook.Sender
	// Barrier may be nil: on_publish then waits for nothing.
	Barrier Barrier
	// Observer may be nil.
	Observer Observer
	// Endpoint is the name under which requests are observed.
	Endpoint string
	// MaxConcurrent is the number of requests in flight; default 1024.
	MaxConcurrent int
}

// Service asks. It is safe for concurrent use.
type Service struct {
	deps  Deps
	cfg   atomic.Pointer[Config]
	slots *slots
	files *slots // of on_http_access, so that no crowd of visitors takes the room of publishers and players
}

// New returns a service.
func New(cfg Config, deps Deps) *Service {
	if deps.MaxConcurrent <= 0 {
		deps.MaxConcurrent = defaultMaxConcurrent
	}
	some := max(1, deps.MaxConcurrent/keyShare)
	s := &Service{deps: deps, slots: newSlots(deps.MaxConcurrent, some), files: newSlots(some, max(1, some/keyShare))}
	s.SetConfig(cfg)
	return s
}

// SetConfig replaces the configuration. Decisions that have begun keep the one with which they began.
func (s *Service) SetConfig(cfg Config) {
	cfg.URLs = maps.Clone(cfg.URLs)
	if cfg.Timeout <= 0 {
		cfg.Timeout = defaultTimeout
	}
	cfg.Retry = min(max(cfg.Retry, 0), maxRetry)
	cfg.RetryDelay = max(cfg.RetryDelay, 0)
	if cfg.DefaultVhost == "" {
		cfg.DefaultVhost = fact.DefaultVhost
	}
	s.cfg.Store(&cfg)
}

// deadline is the longest that one decision takes.
func (c *Config) deadline() time.Duration {
	retries := time.Duration(c.Retry)
	return (retries+1)*c.Timeout + retries*c.RetryDelay
}

// Publish asks on_publish. The options are valid when Outcome.Allowed.
func (s *Service) Publish(ctx context.Context, q stream.PublishQuestion) stream.PublishVerdict {
	cfg := s.cfg.Load()
	q.Vhost = orDefault(q.Vhost, cfg.DefaultVhost)
	q.OriginTypeStr = orDefault(q.OriginTypeStr, q.OriginType.String())
	body := publishBody{PublishQuestion: q}
	a := s.ask(ctx, cfg, question{
		hook: event.OnPublish, key: q.Key(), vhost: q.Vhost, body: &body, common: &body.common, barrier: true,
	})
	v := stream.PublishVerdict{Outcome: a.outcome, Options: cfg.Defaults}
	if a.outcome.Allowed && a.body != nil {
		overlay(&v.Options, a.body)
	}
	return v
}

// Play asks on_play.
func (s *Service) Play(ctx context.Context, q stream.PlayQuestion) stream.Verdict {
	cfg := s.cfg.Load()
	q.Vhost = orDefault(q.Vhost, cfg.DefaultVhost)
	body := playBody{PlayQuestion: q}
	a := s.ask(ctx, cfg, question{hook: event.OnPlay, key: q.Key(), vhost: q.Vhost, body: &body, common: &body.common})
	return stream.Verdict{Outcome: a.outcome}
}

// NotFound asks on_stream_not_found. Allowed in the outcome is the same as close: the receiver answered close=true.
func (s *Service) NotFound(ctx context.Context, q stream.PlayQuestion) (closeNow bool, outcome fact.Outcome) {
	cfg := s.cfg.Load()
	q.Vhost = orDefault(q.Vhost, cfg.DefaultVhost)
	body := playBody{PlayQuestion: q}
	a := s.ask(ctx, cfg, question{hook: event.OnStreamNotFound, key: q.Key(), vhost: q.Vhost, body: &body, common: &body.common})
	return a.outcome.Allowed, a.outcome
}

func orDefault(v, def string) string {
	if v == "" {
		return def
	}
	return v
}

// verdict turns the receiver's integral code into an outcome.
func verdict(hook event.Type, code int, msg string, body []byte) (allowed bool, message string) {
	if code != 0 {
		return false, refusal(code, msg)
	}
	if hook == event.OnStreamNotFound {
		return webhook.CloseAnswer(body), ""
	}
	return true, ""
}

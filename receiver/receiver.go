package receiver

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hookline/hookline/event"
)

// Defaults of the options.
const (
	DefaultTimeout   = 8 * time.Second
	DefaultBodyLimit = 4 << 20
	DefaultInFlight  = 256
	DefaultQueue     = 16
)

// Receiver is an endpoint for the events of one or more senders. It is safe for concurrent use.
type Receiver struct {
	handlers  handlers
	keys      []string
	verify    bool
	tolerance time.Duration
	verifier  *event.Verifier // nil: signatures are not looked at
	store     Store
	fetcher   Fetcher
	log       *slog.Logger
	timeout   time.Duration
	bodyLimit int64
	replays   bool
	queue     int

	inboxConfig *InboxConfig

	slots   chan struct{} // one token for each request that is worked on
	lanes   lanes
	tracker tracker
	inbox   *inbox // nil: events are answered when they are handled
	zlm     *zlm   // nil: bodies without the member event are refused
	stats   counters

	base   context.Context // ends when Shutdown has run out of patience
	cancel context.CancelFunc
	mu     sync.Mutex
	closed bool           // guarded by mu
	work   sync.WaitGroup // Add under mu, never after closed
}

// Option is an option of [New].
type Option func(*Receiver)

// WithSecrets has every request verified: it must be signed by one of these keys, "whsec_" (v1) or "whpk_" (v1a). Give the old
// and the new one while a secret is changed. Without any key New fails; without
// this option nothing is verified.
func WithSecrets(keys ...string) Option {
	return func(r *Receiver) { r.keys, r.verify = append(r.keys, keys...), true }
}

// WithTolerance replaces [event.DefaultTolerance], how far the time of a signature may be from now.
func WithTolerance(d time.Duration) Option { return func(r *Receiver) { r.tolerance = d } }

// WithStore replaces the [Memory] store.
func WithStore(s Store) Option { return func(r *Receiver) { r.store = s } }

// WithFetcher has events that were found to be missing read from the sender before the one that follows them is handled.
func WithFetcher(f Fetcher) Option { return func(r *Receiver) { r.fetcher = f } }

// WithLogger replaces slog.Default.
func WithLogger(l *slog.Logger) Option { return func(r *Receiver) { r.log = l } }

// WithTimeout replaces [DefaultTimeout], the deadline of a handler's context. It should be below the sender's time-out
// (hook.timeoutSec, or timeout_ms of the endpoint), so that the sender gets an answer.
func WithTimeout(d time.Duration) Option { return func(r *Receiver) { r.timeout = d } }

// WithBodyLimit replaces [DefaultBodyLimit], in bytes. Batches may be as large.
func WithBodyLimit(n int64) Option { return func(r *Receiver) { r.bodyLimit = n } }

// WithLimits replaces [DefaultInFlight], the number of requests that are worked on or wait, and [DefaultQueue], how many
// may wait for one stream. Beyond them the answer is 503 with Retry-After.
func WithLimits(inFlight, queue int) Option {
	return func(r *Receiver) { r.slots, r.queue = make(chan struct{}, max(inFlight, 1)), max(queue, 0) }
}

// WithReplays has replayed events handled. They have [event.Envelope.Replay], and are de-duplicated within their replay.
func WithReplays() Option { return func(r *Receiver) { r.replays = true } }

// New returns a receiver. It fails when a key is bad; such errors wrap [event.ErrBadKey].
func New(opts ...Option) (*Receiver, error) {
	r := &Receiver{
		timeout: DefaultTimeout, bodyLimit: DefaultBodyLimit, queue: DefaultQueue,
		tolerance: event.DefaultTolerance,
	}
	r.handlers.lifecycle = map[event.Type]func(context.Context, *Event) error{}
	r.handlers.decision = map[event.Type]func(context.Context, *Event) (any, error){}
	for _, o := range opts {
		o(r)
	}
	if r.slots == nil {
		n := DefaultInFlight
		if r.zlm != nil {
			n = plainSlots // each is a request of its own, and some wait
		}
		r.slots = make(chan struct{}, n)
	}
	if r.store == nil {
		r.store = NewMemory()
	}
	if r.log == nil {
		r.log = slog.Default()
	}
	if r.timeout <= 0 || r.bodyLimit <= 0 {
		return nil, errors.New("receiver: time-out and body limit must be positive")
	}
	if r.verify {
		v, err := event.ParseVerifier(r.keys, event.WithTolerance(r.tolerance))
		if err != nil {
			return nil, err
		}
		r.verifier = v
	}
	r.tracker.init(r.log)
	r.base, r.cancel = context.WithCancel(context.Background())
	if r.inboxConfig != nil {
		b, err := newInbox(r, *r.inboxConfig)
		if err != nil {
			r.cancel()
			return nil, err
		}
		r.inbox = b
		b.start()
	}
	return r, nil
}

// Shutdown refuses new requests with 503 and waits until those that are worked on are answered. With [WithInbox] what is being
// handled is handled to its end, and what waits stays in the store. When ctx ends first, the contexts of the handlers end, and Shutdown returns the error of ctx without waiting longer. It may be called again.
func (r *Receiver) Shutdown(ctx context.Context) error {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	done := make(chan struct{})
	go func() {
		if r.inbox != nil {
			r.inbox.stop()
		}
		r.work.Wait()
		close(done)
	}()
	select {
	case <-done:
		if r.zlm != nil {
			r.zlm.stop()
		}
		r.cancel()
		r.tracker.closeWatchers()
		return nil
	case <-ctx.Done():
		r.cancel()
		return ctx.Err()
	}
}

// begin reserves a place for a request.
func (r *Receiver) begin() bool {
	select {
	case r.slots <- struct{}{}:
	default:
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		<-r.slots
		return false
	}
	r.work.Add(1)
	return true
}

func (r *Receiver) end() {
	<-r.slots
	r.work.Done()
}

// Stats are counts since the start, but for Waiting and Stuck, which are of the moment.
type Stats struct {
	// Handled events, with those that came late, and of these Late.
	Handled, Late uint64
	// Duplicates and events of an Obsolete epoch were answered only, and so were Replays without [WithReplays].
	Duplicates, Obsolete, Replays uint64
	// Gaps were told to OnGap. Fetched events were read from the sender.
	Gaps, Fetched uint64
	// Decisions were answered, questions included.
	Decisions uint64
	// Failed: a handler or the store failed; of these Panics. Unauthorized: 401. Malformed: 400 and 413. Busy: 503.
	Failed, Panics, Unauthorized, Malformed, Busy uint64
	// Forgotten: a stream had more than [MaxRanges] runs that never came.
	Forgotten uint64
	// Impossible events had this verdict of the state machine.
	Impossible uint64
	// Accepted events were put into the inbox. Skipped ones were taken out of it without an effect. Waiting is how many are in it
	// now, Stuck in how many streams the oldest has failed [InboxConfig.Attempts] times.
	Accepted, Skipped uint64
	Waiting, Stuck    int
	// Untracked events, changes and entries of snapshots are of publications for which there was no room: [WithMaxPublications].
	Untracked uint64
	// Pruned marks were removed by [Receiver.Prune].
	Pruned uint64
	// Of the events that were handled, those of this [Certainty]. Restarts of plain ZLMediaKits were recognised.
	Inferred, Unknown, Restarts uint64
}

type counters struct {
	handled, late, duplicates, obsolete, replays, gaps, fetched, decisions atomic.Uint64

	failed, panics, unauthorized, malformed, busy, forgotten, impossible, inferred, unknown, restarts, accepted, skipped, pruned atomic.Uint64
}

// Stats returns what was counted.
func (r *Receiver) Stats() Stats {
	c := &r.stats
	s := Stats{
		Handled: c.handled.Load(), Late: c.late.Load(), Duplicates: c.duplicates.Load(), Obsolete: c.obsolete.Load(),
		Replays: c.replays.Load(), Gaps: c.gaps.Load(), Fetched: c.fetched.Load(), Decisions: c.decisions.Load(),
		Failed: c.failed.Load(), Panics: c.panics.Load(), Unauthorized: c.unauthorized.Load(), Malformed: c.malformed.Load(),
		Busy: c.busy.Load(), Forgotten: c.forgotten.Load(), Impossible: c.impossible.Load(),
		Inferred: c.inferred.Load(), Unknown: c.unknown.Load(), Restarts: c.restarts.Load(),
		Accepted: c.accepted.Load(), Skipped: c.skipped.Load(), Pruned: c.pruned.Load(),
	}
	r.tracker.mu.Lock()
	s.Untracked = r.tracker.refused
	r.tracker.mu.Unlock()
	if b := r.inbox; b != nil {
		b.mu.Lock()
		s.Waiting, s.Stuck = b.total, b.stuck
		b.mu.Unlock()
	}
	return s
}

var _ http.Handler = (*Receiver)(nil)

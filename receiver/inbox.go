package receiver

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/hookline/hookline/event"
)

// Defaults of [InboxConfig].
const (
	DefaultInboxCapacity  = 65536
	DefaultInboxPerStream = 4096
	DefaultInboxWorkers   = 32
	DefaultInboxAttempts  = 10
)

// InboxConfig of [WithInbox].
type InboxConfig struct {
	// Capacity is how many events may wait in all, PerStream how many of one stream. Beyond that the answer is 503 with
	// Retry-After. Processes that share a store count for themselves. Default [DefaultInboxCapacity], [DefaultInboxPerStream].
	Capacity, PerStream int
	// Workers is how many streams are handled at the same time. Each has a transaction open in sqlstore: keep it below the size
	// of the pool, because requests need connections, too. Default [DefaultInboxWorkers].
	Workers int
	// Timeout is the deadline of a handler's context, in the place of [WithTimeout]: no sender waits. Default one minute.
	Timeout time.Duration
	// Attempts is after how many failures of an event [OnStuck] is asked and [Stats.Stuck] counts its stream. Default
	// [DefaultInboxAttempts].
	Attempts int
}

// WithInbox has sequenced events answered when they are kept durably, and handled afterwards; without it they are answered when
// they are handled. The [Store] must be an [InboxStore], all in this module are. How durable an answer is then is the store's
// affair: [Memory] keeps nothing beyond the process.
//
// A request is verified, its events are put into the inbox, and it is answered. Workers handle what is in it: each stream in the
// order in which it came, several streams side by side, each event with the time-out of cfg. The effect, the mark, and the
// removal from the inbox commit together. What is in the inbox already is not put there twice; what was handled already is
// recognised by the mark when its turn comes. At a start what is in the inbox goes on where it was, before anything newer of its
// stream. Processes may share the store.
//
// A handler that fails is tried again after a pause, which grows from 100 ms to half a minute, and holds up its own stream only.
// It is tried until it succeeds, or [OnStuck] or [Receiver.Skip] say that the event is not to be handled: nothing is lost
// without being told. [Receiver.Inbox] and [Stats] show what waits, and why. The number of attempts begins anew with the process.
//
// Decisions, questions, heartbeats and the requests of a plain ZLMediaKit are never put in the inbox. So a decision may be asked while
// events that came before it still wait: a handler of decisions that looks at what the others have written must reckon with
// that. [Receiver.Message] puts what it gets into the inbox, too. [Receiver.Pull] can't be used with it: the log is an inbox itself.
//
// [Receiver.Shutdown] ends the workers; without it they go on for ever.
func WithInbox(cfg InboxConfig) Option {
	return func(r *Receiver) { r.inboxConfig = &cfg }
}

// Stuck says how an event in the inbox failed.
type Stuck struct {
	// Attempts that failed since the process has started.
	Attempts int
	// Err is the error of the last. A panic is one, too.
	Err error
}

// OnStuck is asked about an event in the inbox that has failed [InboxConfig.Attempts] times, and after each failure that follows. True
// skips it: it is taken out of the inbox, its mark moves on, and what f has written commits with that; the event's place in a
// table of dead letters, as a rule. A gap that the event tells of is logged then, not told to [OnGap]. False, and an error, leave
// it where it is. Without OnStuck an event is tried for ever.
func OnStuck(f func(context.Context, *Event, Stuck) (skip bool, err error)) Option {
	return func(r *Receiver) { r.handlers.stuck = f }
}

// ErrNotFirst says that the event is not the oldest of its stream in the inbox.
var ErrNotFirst = errors.New("receiver: the event is not the first of its stream in the inbox")

// errNoInbox says what it says.
var errNoInbox = errors.New("receiver: there is no inbox")

// Skip takes the oldest event of a stream out of the inbox without its effect, if its id is id, and moves the mark over it. It waits for an
// attempt that is in progress. A gap that the event tells of is logged. The error is [ErrNotFirst] when another is the oldest.
func (r *Receiver) Skip(ctx context.Context, k Key, id string) error {
	if r.inbox == nil {
		return errNoInbox
	}
	skipped, err := r.inbox.skip(ctx, k, id, func(context.Context, *Event) (bool, error) { return true, nil })
	if err == nil && !skipped {
		return ErrNotFirst
	}
	if err == nil {
		r.inbox.settled(k)
	}
	return err
}

// InboxStream is what waits of one stream.
type InboxStream struct {
	Key     Key
	Waiting int
	// Attempts of the oldest that failed, 0: none. ID is its id, or that of its entry when that can't be read; At is when it failed last, Err why.
	Attempts int
	ID       string
	At       time.Time
	Err      string
}

// Inbox returns the streams of which something waits in this process' inbox: those with the most failures first.
func (r *Receiver) Inbox() []InboxStream {
	if r.inbox == nil {
		return nil
	}
	b := r.inbox
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make([]InboxStream, 0, len(b.streams))
	for k, s := range b.streams {
		if n := s.waiting + s.reserved; n > 0 {
			out = append(out, InboxStream{k, n, s.attempts, s.id, s.at, s.err})
		}
	}
	slices.SortFunc(out, func(a, b InboxStream) int {
		return cmp.Or(cmp.Compare(b.Attempts, a.Attempts), cmp.Compare(a.Key.Source, b.Key.Source), cmp.Compare(a.Key.Stream, b.Key.Stream))
	})
	return out
}

// inbox hands the events of an [InboxStore] to the handlers.
type inbox struct {
	r      *Receiver
	store  InboxStore
	cfg    InboxConfig
	loaded chan struct{}   // closed when it is known what the store holds
	ctx    context.Context // ends with stop
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex // guards what follows
	streams map[Key]*inboxStream
	ready   []*inboxStream // whose oldest may be handled now
	workers int            // that run
	total   int            // events that wait or are reserved
	stuck   int            // streams with Attempts failures
	stopped bool
}

// inboxStream is one stream of an inbox. Its fields are guarded by inbox.mu.
type inboxStream struct {
	key      Key
	waiting  int    // entries that are there, as far as is known
	reserved int    // places for entries that are being kept
	added    uint64 // counts what was kept
	active   bool   // it is ready, being handled, or has a timer
	orphan   string // its oldest entry when the store was read last, and nothing was known of it here
	attempts int
	id, err  string
	at       time.Time
	timer    *time.Timer // ends a pause
}

func newInbox(r *Receiver, cfg InboxConfig) (*inbox, error) {
	store, ok := r.store.(InboxStore)
	if !ok {
		return nil, errors.New("receiver: the store has no inbox")
	}
	for _, d := range []struct {
		v     *int
		value int
	}{
		{&cfg.Capacity, DefaultInboxCapacity},
		{&cfg.PerStream, DefaultInboxPerStream},
		{&cfg.Workers, DefaultInboxWorkers},
		{&cfg.Attempts, DefaultInboxAttempts},
	} {
		if *d.v <= 0 {
			*d.v = d.value
		}
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = time.Minute
	}
	b := &inbox{r: r, store: store, cfg: cfg, streams: map[Key]*inboxStream{}, loaded: make(chan struct{})}
	b.ctx, b.cancel = context.WithCancel(r.base)
	return b, nil
}

// takes says that an event is to be put into the inbox.
func (b *inbox) takes(e *Event) bool {
	return b != nil && e.plain == nil && (e.Seq > 0 || e.Type == event.OnEventGap) && (e.Replay == "" || b.r.replays)
}

// accept keeps the events of one request that are for the inbox, and returns the others.
func (b *inbox) accept(ctx context.Context, events []*Event) (rest []*Event, err error) {
	if b == nil {
		return events, nil
	}
	var entries []Entry
	for _, e := range events {
		if !b.takes(e) {
			rest = append(rest, e)
			continue
		}
		if _, err := gapsOf(e); err != nil {
			return nil, err
		}
		entry, err := sealEntry(e)
		if err != nil {
			return nil, err
		}
		entries = append(entries, entry)
	}
	if len(entries) == 0 {
		return rest, nil
	}
	select {
	case <-b.loaded:
	case <-b.ctx.Done():
		return nil, errBusy
	case <-ctx.Done():
		return nil, errBusy
	}
	if !b.reserve(entries) {
		return nil, errBusy
	}
	err = guard(func() error { return b.store.Accept(ctx, entries) })
	b.kept(entries, err == nil)
	if err == nil {
		b.r.stats.accepted.Add(uint64(len(entries)))
	}
	return rest, err
}

// reserve makes room. What is more than the inbox may hold is taken if there is nothing else.
func (b *inbox) reserve(entries []Entry) bool {
	n := map[Key]int{}
	for i := range entries {
		n[entries[i].Key]++
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.total > 0 && b.total+len(entries) > b.cfg.Capacity {
		return false
	}
	for k, n := range n {
		if s := b.streams[k]; s != nil && s.waiting+s.reserved > 0 && s.waiting+s.reserved+n > b.cfg.PerStream {
			return false
		}
	}
	for k, n := range n {
		s := b.streams[k]
		if s == nil {
			s = &inboxStream{key: k}
			b.streams[k] = s
		}
		s.reserved += n
	}
	b.total += len(entries)
	return true
}

// kept has what was reserved handled, or gives the places back.
func (b *inbox) kept(entries []Entry, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range entries {
		s := b.streams[entries[i].Key]
		s.reserved--
		if !ok {
			b.total--
			b.forget(s)
			continue
		}
		s.waiting++
		s.added++
		b.wake(s)
	}
}

// forget drops a stream of which nothing waits. The caller holds mu.
func (b *inbox) forget(s *inboxStream) {
	if s.waiting <= 0 && s.reserved == 0 && !s.active {
		b.total -= s.waiting
		delete(b.streams, s.key)
	}
}

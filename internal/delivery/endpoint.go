package delivery

import (
	"container/heap"
	"context"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/attempts"
	"github.com/hookline/hookline/internal/journal"
	"github.com/hookline/hookline/internal/webhook"
)

// Sender sends one request; see webhook.Sender. The body is not kept after Send returns.
type Sender = webhook.Sender

const (
	checkpointEvery = 200 * time.Millisecond
	slowCheck       = 10 * time.Millisecond
	// cutDelay is the delay of a lane that was cut short, the first time.
	cutDelay = 100 * time.Millisecond
	// parkAfter is how long a lane may fail, and parkQueue how much it may hold, before it is parked.
	parkAfter = 30 * time.Second
	parkQueue = 64
	// refillRecords is how many events a parked lane takes from the journal at a time.
	refillRecords = 16
	readRecords   = 1024
	feedRecords   = 64
)

// Endpoint delivers to one receiver. See the package comment.
type Endpoint struct {
	name string
	// base is the name in the configuration: that of a replay has more to it.
	base string
	// replay is the id of the replay that this endpoint carries out; "" for one that delivers.
	replay string
	deps   Deps
	log    *slog.Logger

	mu      sync.Mutex
	cfg     Config
	sub     subscription
	cursor  *cursor
	next    uint64 // the next position to take
	newest  uint64 // the highest hook_index that was taken
	tail    uint64 // the newest position that Feed has told of
	held    int    // items in memory
	lanes   map[string]*lane
	targets map[string]*target
	timers  laneHeap
	// parkedDirty are the keys whose stored place (nextSeq of a parked lane, or none) differs from the lane's.
	parkedDirty map[string]struct{}
	gaps        map[string][]storedGap // of each key, not yet accepted by the receiver
	gapsDirty   map[string]struct{}
	refills     []*lane // parked lanes that want their next events read
	dirty       bool    // the cursor moved since the last checkpoint
	lastSave    time.Time
	rateAt      time.Time // when Config.Rate allows the next request
	beat        *heartbeat
	stats       Stats
	complained  time.Time // when the log was told last that an event is not accepted; see complain
	unsaid      uint64    // failures since then
	seen        seen
	closing     bool
	closed      bool // its place is written no more: somebody may have released it
	draining    bool // no batch waits for more events
	storeFailed bool

	signal chan struct{}
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	free   []*lane

	// save orders the writes of cursors and gaps: who holds its one token may write. It is taken before mu, and is a
	// channel because it is held across I/O.
	save chan struct{}
	// askMu guards asked. A question is asked under a stream's lock, which mu may be held across (holds), so that
	// it must not take mu itself.
	askMu sync.Mutex
	asked []*question
}

// Stats are counters and the present state of an endpoint.
type Stats struct {
	Delivered, Refused, DeadLetters, Gaps uint64
	Attempts, Retries, Cuts               uint64 // requests
	Splits                                uint64 // batches that failed and were taken apart
	Lanes, Parked, Held, InFlight         int
	// Floor and Tail are positions: everything up to Floor is done; Tail is the newest.
	Floor, Next, Tail uint64
	Down              bool // a URL is down
	Gone              []string
	StoreFailed       bool
	// Oldest is when the oldest event was raised that still has to be sent; zero: there is none.
	Oldest time.Time
	// P50, P90 and P99 are latencies of the answers of the last five to ten minutes, within a quarter; 0: none.
	P50, P90, P99 time.Duration
	// Results counts attempts since the start.
	Results   [attempts.Results]uint64
	LastError LastError
	URLs      []URLStats
}

// NewEndpoint restores the endpoint's place in the journal and starts it. startAt is the hook_index from which a
// type that is new to the endpoint is owed, and from which a filter holds that has changed; an endpoint that is new itself
// and begins in the past, at Config.From, is owed everything from there on.
func NewEndpoint(cfg Config, deps Deps, startAt uint64) (*Endpoint, error) {
	return newEndpoint(cfg, deps, startAt, "")
}

func newEndpoint(cfg Config, deps Deps, startAt uint64, replay string) (*Endpoint, error) {
	if deps.Logger == nil {
		deps.Logger = slog.Default()
	}
	if deps.Rand == nil {
		deps.Rand = rand.Float64
	}
	if deps.Clock == nil {
		deps.Clock = time.Now
	}
	e := &Endpoint{
		name: cfg.Name, base: strings.TrimSuffix(cfg.Name, "/replay/"+replay), replay: replay, deps: deps, log: deps.Logger.With("endpoint", cfg.Name),
		lanes: map[string]*lane{}, targets: map[string]*target{},
		parkedDirty: map[string]struct{}{}, gaps: map[string][]storedGap{}, gapsDirty: map[string]struct{}{},
		signal: make(chan struct{}, 1), save: make(chan struct{}, 1), beat: &heartbeat{},
	}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	if err := e.restore(cfg.From); err != nil {
		e.cancel()
		return nil, err
	}
	if e.sub.Types == nil && cfg.From > 0 {
		startAt = 0
	}
	cfg = cfg.withDefaults()
	sub := e.subscribe(&cfg, startAt)
	if err := e.writeSubscription(sub); err != nil {
		e.cancel()
		return nil, err
	}
	e.apply(cfg, sub)
	e.restoreLanes()
	e.wg.Add(1)
	go e.run()
	e.wake()
	return e, nil
}

// Configure replaces the configuration. startAt is the hook_index from which newly named types are owed. One call at
// a time.
func (e *Endpoint) Configure(cfg Config, startAt uint64) error {
	cfg = cfg.withDefaults()
	e.mu.Lock()
	sub := e.subscribe(&cfg, undecided)
	e.mu.Unlock()
	if err := e.writeSubscription(sub); err != nil {
		return err
	}
	if !e.reconfigure(cfg, sub, startAt) {
		return nil
	}
	return e.writeSubscription(e.sub) // only Configure changes it
}

// reconfigure puts a configuration in force. It reports whether something of sub was decided now.
func (e *Endpoint) reconfigure(cfg Config, sub subscription, startAt uint64) (decided bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	// Neither owed nor named by prev is what was taken under the configuration before.
	decided = sub.decide(max(startAt, e.newest+1))
	e.apply(cfg, sub)
	// Lanes look for their URL again.
	for _, l := range e.lanes {
		if l.state == laneBlocked || l.state == laneReady {
			l.state = laneIdle
		}
	}
	for _, t := range e.targets {
		t.ready, t.failing, t.waiting = fifo{}, [4]fifo{}, fifo{}
	}
	for _, l := range e.lanes {
		if l.state == laneIdle {
			e.schedule(l)
		}
	}
	e.dispatchAll()
	for url, t := range e.targets {
		if !t.used && t.inFlight() == 0 {
			delete(e.targets, url)
		}
	}
	e.wakeLocked()
	return decided
}

// apply takes over a configuration. The lock is held.
func (e *Endpoint) apply(cfg Config, sub subscription) {
	old := e.cfg
	e.cfg, e.sub = cfg, sub
	for _, t := range e.targets {
		t.used = false
	}
	for _, url := range cfg.URLs {
		if url == "" {
			continue
		}
		t := e.targets[url]
		if t == nil {
			t = &target{url: url, shown: attempts.ShownURL(url), limit: cfg.Concurrency}
			e.targets[url] = t
		}
		t.used, t.gone = true, false
		if old.Concurrency != cfg.Concurrency {
			t.limit = cfg.Concurrency
		}
	}
}

// Feed tells of records that have just become durable. They are in order of position and follow each other.
func (e *Endpoint) Feed(recs []*journal.Record) {
	for len(recs) > 0 {
		n := min(len(recs), feedRecords)
		if !e.feed(recs[:n], recs[len(recs)-1].Position) {
			return
		}
		recs = recs[n:]
	}
}

// CatchUp tells that the journal goes up to a position.
func (e *Endpoint) CatchUp(last uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.tail = max(e.tail, last)
	e.wakeLocked()
}

// feed takes some records, as long as the endpoint is not behind and has room. Few at a time, so that those who wait
// for the lock are not kept from sending.
func (e *Endpoint) feed(recs []*journal.Record, tail uint64) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.tail = max(e.tail, tail)
	if e.next != recs[0].Position || e.held >= e.cfg.Window || e.closing {
		e.wakeLocked() // behind: run reads from the journal
		return false
	}
	held, told := e.held, e.dirty
	for _, r := range recs {
		e.take(r)
	}
	if e.held == held && told {
		return true // nothing of it is owed, and run knows that the place is to be written: most endpoints are idle
	}
	e.dispatchAll()
	e.wakeLocked()
	return true
}

// take puts the next record into its lane. The lock is held.
func (e *Endpoint) take(r *journal.Record) {
	e.next = r.Position + 1
	e.newest = max(e.newest, r.Index)
	if e.cursor.isDone(r.Position) {
		return
	}
	if !e.owes(r) {
		e.done(r.Position)
		return
	}
	key := r.Key
	if e.cfg.Unordered {
		key += "#" + r.ID
	}
	l := e.lane(key)
	if l.parked {
		l.missed++
		e.done(r.Position) // the lane's stored place covers it
		if l.state == laneIdle {
			e.schedule(l)
		}
		return
	}
	l.push(item{rec: r})
	e.held++
	if l.queue[0].question != nil && (l.state == laneBackoff || l.state == laneBlocked) && l.yieldQuestion() {
		if l.state == laneBackoff {
			heap.Remove(&e.timers, l.heapIndex)
		}
		e.schedule(l)
	}
	switch {
	case l.state == laneIdle:
		e.schedule(l)
	case len(l.queue) > parkQueue && l.state == laneBackoff:
		e.park(l)
	}
}

func (e *Endpoint) done(pos uint64) {
	e.cursor.done(pos)
	e.dirty = true
}

func (e *Endpoint) lane(key string) *lane {
	l := e.lanes[key]
	if l != nil {
		return l
	}
	if n := len(e.free); n > 0 {
		l = e.free[n-1]
		e.free = e.free[:n-1]
		*l = lane{key: key, heapIndex: -1, gen: l.gen + 1, queue: l.store[:0], store: l.store[:0]}
	} else {
		l = &lane{key: key, heapIndex: -1}
	}
	e.lanes[key] = l
	return l
}

// drop forgets a lane that has nothing left.
func (e *Endpoint) drop(l *lane) {
	l.wakeWaiters(true)
	delete(e.lanes, l.key)
	if len(e.free) < 1024 {
		e.free = append(e.free, l)
	}
}

// schedule finds the place of an idle lane.
func (e *Endpoint) schedule(l *lane) {
	l.state = laneIdle
	l.gen++
	for len(l.queue) > 0 {
		it := l.queue[0]
		url := e.cfg.URLs[it.typ()]
		if it.rec != nil && it.late && url != "" && e.targets[url].gone {
			url = "" // it stays a dead letter
		}
		if url == "" || it.question != nil && !it.question.holds() {
			// A question whose condition ended is withdrawn. An event whose URL was taken out of the configuration
			// is not owed any more. A gap without a URL for its notice is named on the next event of the lane.
			if it.rec != nil && it.rec.Type == event.OnEventGap && !it.late {
				e.keepRecordGap(it.rec)
			}
			e.finish(l, it)
			continue
		}
		t := e.targets[url]
		if q := it.question; q != nil && (t.down || time.Now().Before(q.retryAt)) {
			if l.yieldQuestion() {
				continue
			}
			if !t.down {
				e.delay(l, time.Until(q.retryAt))
				return
			}
		}
		switch {
		case t.gone && it.rec != nil:
			l.state = laneFlight
			e.wg.Add(1)
			go e.bury(l, it, event.ReasonGone, "the receiver answered 410 before")
			return
		case t.down:
			l.state = laneBlocked
			t.waiting.push(l)
			l.wakeWaiters(true)
			e.wakeLocked() // run times the probes
		case l.failing():
			l.state = laneReady
			t.pushFailing(l)
		default:
			l.state = laneReady
			if e.cfg.BatchWait > 0 {
				e.gathering(t)
			}
			t.ready.push(l)
		}
		return
	}
	if l.parked {
		l.state = laneRefill
		e.refills = append(e.refills, l)
		e.wakeLocked()
		return
	}
	e.drop(l)
}

// finish takes the head out of the lane: it needs no further attempt.
func (e *Endpoint) finish(l *lane, it item) {
	e.held--
	if it.rec != nil && !it.late {
		if l.parked {
			l.nextSeq = max(l.nextSeq, it.rec.Seq+1)
			e.parkedDirty[l.key] = struct{}{}
			e.dirty = true
		}
		if !it.covered {
			e.done(it.rec.Position)
		}
	}
	l.pop()
	l.wakeWaiters(false)
}

// delay puts the lane aside.
func (e *Endpoint) delay(l *lane, d time.Duration) {
	l.retryAt = time.Now().Add(d)
	l.state = laneBackoff
	heap.Push(&e.timers, l)
	e.wakeLocked()
}

// delayOf returns the time between the n-th attempt and the next.
func (e *Endpoint) delayOf(n int, retryAfter time.Duration) time.Duration {
	d := e.cfg.BackoffMin << min(max(n, 1)-1, 20)
	d = min(max(d, e.cfg.BackoffMin), e.cfg.BackoffMax)
	return max(time.Duration(float64(d)*(0.5+e.deps.Rand()/2)), retryAfter)
}

func (e *Endpoint) wake() {
	e.mu.Lock()
	e.wakeLocked()
	e.mu.Unlock()
}

func (e *Endpoint) wakeLocked() {
	select {
	case e.signal <- struct{}{}:
	default:
	}
}

// Stats returns a snapshot.
func (e *Endpoint) Stats() Stats {
	e.mu.Lock()
	defer e.mu.Unlock()
	st := e.stats
	st.Lanes, st.Held = len(e.lanes), e.held
	st.Floor, st.Next, st.Tail, st.StoreFailed = e.cursor.floor, e.next, e.tail, e.storeFailed
	for _, l := range e.lanes {
		if l.parked {
			st.Parked++
		}
	}
	for _, t := range e.targets {
		st.InFlight += t.inFlight()
		st.Down = st.Down || t.down
		if t.gone {
			st.Gone = append(st.Gone, t.shown)
		}
	}
	st.Oldest, st.Results, st.LastError, st.URLs = e.oldest(), e.seen.results, e.seen.last, e.urlStats()
	st.P50, st.P90, st.P99 = e.seen.latency.percentiles(time.Now())
	return st
}

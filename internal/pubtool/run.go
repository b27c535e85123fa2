package pubtool

import (
	"context"
	crand "crypto/rand"
	"encoding/hex"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// The time between attempts to reach a server that does not answer.
const (
	firstRetry = 50 * time.Millisecond
	lastRetry  = time.Second
)

// maxDials is the number of connections that are made at the same time: more would overflow the server's backlog.
const maxDials = 64

// runner is a Run.
type runner struct {
	cfg   Config
	id    string // begins the ids of its publications
	open  func() (source, error)
	slots chan struct{} // one for each publication at the same time
	dials chan struct{}

	taken atomic.Int64 // tickets for publications, up to cfg.Count
	live  atomic.Int64
	bytes atomic.Uint64

	mu     sync.Mutex // guards result
	result Result
}

// Run publishes until ctx ends, Config.Count is reached, or without Config.Churn each stream was published once. A
// publication that is live when ctx ends says goodbye. The error wraps ErrFailed when without Churn an attempt failed,
// or with it none was accepted; the Result is valid beside it.
func Run(ctx context.Context, cfg Config) (Result, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return Result{}, err
	}
	if _, err := cfg.target(1); err != nil {
		return Result{}, err
	}
	open, err := opener(cfg)
	if err != nil {
		return Result{}, err
	}
	r := &runner{
		cfg: cfg, id: newID(), open: open,
		slots: make(chan struct{}, min(cfg.Concurrency, cfg.Streams)), dials: make(chan struct{}, maxDials),
		result: Result{Ends: map[End]int{}},
	}
	start := time.Now()
	stopProgress := r.startProgress(start)
	var wg sync.WaitGroup
	for i := 1; i <= cfg.Streams; i++ {
		t, err := cfg.target(i)
		if err != nil { // the first was good
			return Result{}, err
		}
		wg.Go(func() { r.stream(ctx, t, uint64(i)) })
	}
	wg.Wait()
	stopProgress()
	r.result.Bytes, r.result.Elapsed = r.bytes.Load(), time.Since(start)
	return r.result, r.result.verdict(cfg.Churn)
}

// newID returns what no other run has.
func newID() string {
	var b [6]byte
	_, _ = crand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// stream publishes one stream key.
func (r *runner) stream(ctx context.Context, t target, number uint64) {
	l := &lane{runner: r, target: t, number: number}
	l.dice = rand.New(rand.NewPCG(r.cfg.Seed, number)) //nolint:gosec // G404: repeatable on purpose
	for {
		select {
		case r.slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		taken := r.ticket(ctx) && l.publish(ctx)
		<-r.slots
		if !taken || !r.cfg.Churn || !sleep(ctx, r.cfg.Pause) {
			return
		}
	}
}

// ticket says that there is a publication left.
func (r *runner) ticket(ctx context.Context) bool {
	return ctx.Err() == nil && (r.cfg.Count == 0 || r.taken.Add(1) <= int64(r.cfg.Count))
}

// over takes a publication that the server was asked for.
func (r *runner) over(p Publication, err error) {
	r.mu.Lock()
	r.result.add(p)
	if err != nil {
		r.result.fail(err)
	}
	r.mu.Unlock()
	if r.cfg.OnPublication != nil {
		r.cfg.OnPublication(p)
	}
}

// unreachable takes an attempt that did not get to the server.
func (r *runner) unreachable(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.result.Unreachable++
	r.result.fail(err)
}

// sleep returns false when ctx ended before d.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

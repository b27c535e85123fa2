package simulation

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/ordercheck"
	"github.com/hookline/hookline/internal/webhook"
)

// observer is the receiver of the second endpoint: it is away for whole minutes, and judged by a checker of its own.
type observer struct {
	mu      sync.Mutex // guards what follows
	rnd     *rand.Rand
	check   *ordercheck.Checker
	first   map[string][]uint64
	seen    map[string]map[uint64]bool
	named   int
	healthy bool
	away    time.Time // until when
}

func newObserver(seed uint64) *observer {
	return &observer{
		rnd: rand.New(rand.NewPCG(seed, 2)), check: ordercheck.New(ordercheck.Options{Window: 1 << 16}),
		first: map[string][]uint64{}, seen: map[string]map[uint64]bool{},
	}
}

// Send implements webhook.Sender.
func (o *observer) Send(ctx context.Context, req webhook.Request) webhook.Reply {
	b, err := ordercheck.Parse(req.Body)
	if err != nil {
		return webhook.Reply{Status: 400}
	}
	o.mu.Lock()
	took := time.Duration(o.rnd.Int64N(int64(20 * time.Millisecond)))
	if !o.healthy && o.rnd.IntN(40) == 0 {
		o.away = time.Now().Add(time.Duration(o.rnd.Int64N(int64(3 * time.Minute))))
	}
	down := !o.healthy && time.Now().Before(o.away)
	o.mu.Unlock()
	select {
	case <-time.After(took + time.Microsecond):
	case <-ctx.Done():
		return webhook.Reply{Err: ctx.Err()}
	}
	if down {
		return webhook.Reply{Err: errors.New("connection refused"), Latency: took}
	}
	o.accept(b)
	return webhook.Reply{Status: 200, Body: []byte(`{"code":0}`), Latency: took}
}

func (o *observer) accept(b *ordercheck.Body) {
	o.mu.Lock()
	defer o.mu.Unlock()
	// The outcomes of decisions are sequenced here; the checker knows them as requests, which are not.
	if event.ClassOf(b.Event.Type) == event.Lifecycle {
		o.check.Add(ordercheck.Delivery{Body: b})
	}
	o.named += len(b.Gaps)
	e := b.Event
	if e.Seq == 0 {
		return
	}
	if o.seen[e.Stream] == nil {
		o.seen[e.Stream] = map[uint64]bool{}
	}
	if !o.seen[e.Stream][e.Seq] {
		o.seen[e.Stream][e.Seq] = true
		o.first[e.Stream] = append(o.first[e.Stream], e.Seq)
	}
}

func (o *observer) heal() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.healthy = true
}

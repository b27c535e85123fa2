package receiver_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/receiver"
	"github.com/hookline/hookline/receiver/receivertest"
)

var (
	seeds = flag.Int("seeds", 40, "runs of TestSimulation")
	first = flag.Uint64("seed", 1, "seed of the first run")
)

// seen is an effect of a handler.
type seen struct {
	epoch   int64
	seq     uint64
	late    bool
	fetched bool
}

// world is one run: lanes of several streams in parallel, a receiver that is replaced now and then, and one store.
type world struct {
	store   *receiver.Memory
	current atomic.Pointer[receiver.Receiver]
	mu      sync.Mutex
	effects map[string][]seen
	gaps    map[string][]receiver.Gap
	epochs  map[string][]int64 // of the gaps
	failing sync.Map           // ids whose handler fails next
	inbox   bool               // events are answered before they are handled
	all     []*receiver.Receiver
}

// ServeHTTP implements http.Handler.
func (w *world) ServeHTTP(rw http.ResponseWriter, req *http.Request) {
	w.current.Load().ServeHTTP(rw, req)
}

// restart replaces the receiver by one that knows only what the store knows.
func (w *world) restart(t *testing.T, f receiver.Fetcher) {
	opts := []receiver.Option{
		quiet(), receiver.WithStore(w.store),
		receiver.OnAny(func(ctx context.Context, e *receiver.Event) error {
			receiver.OnCommit(ctx, func() {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.effects[e.Stream] = append(w.effects[e.Stream], seen{e.Epoch, e.Seq, e.Late, e.Fetched})
			})
			if how, ok := w.failing.LoadAndDelete(e.ID); ok && how == "panic" {
				panic("after the effect")
			} else if ok {
				return errors.New("after the effect")
			}
			return nil
		}),
		receiver.OnGap(func(ctx context.Context, e *receiver.Event, g *receiver.Gap) error {
			receiver.OnCommit(ctx, func() {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.gaps[e.Stream], w.epochs[e.Stream] = append(w.gaps[e.Stream], *g), append(w.epochs[e.Stream], e.Epoch)
			})
			return nil
		}),
	}
	if f != nil {
		opts = append(opts, receiver.WithFetcher(f))
	}
	if w.inbox {
		opts = append(opts, receiver.WithInbox(receiver.InboxConfig{Workers: 2}))
	}
	r, err := receiver.New(opts...)
	if err != nil {
		t.Error(err)
		return
	}
	w.current.Store(r)
	w.all = append(w.all, r)
}

// settle waits until nothing is in the inbox, and ends the receivers.
func (w *world) settle(t *testing.T) {
	if !w.inbox {
		return
	}
	for {
		if list, err := w.store.Waiting(t.Context()); err != nil || len(list) == 0 {
			break
		}
		time.Sleep(time.Second)
	}
	for _, r := range w.all {
		if err := r.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	}
	w.all = nil
}

// lane is the sender's side of one stream in one epoch.
type lane struct {
	t      *testing.T
	w      *world
	s      *receivertest.Sender
	rng    *rand.Rand
	events []*receivertest.Event // owed
	pos    int                   // the next to send
	dead   []int                 // given up, not redriven
	gone   map[int]bool          // given up or swallowed: not sent again by a crash
	notice bool                  // gaps go as notices, otherwise as members
	gap    []event.Gap           // to be named by the next event
}

func newLane(t *testing.T, w *world, rng *rand.Rand, stream string, epoch int64, n int) *lane {
	l := &lane{t: t, w: w, s: receivertest.New(w), rng: rng, gone: map[int]bool{}, notice: rng.IntN(2) == 0}
	seq := uint64(rng.IntN(3))
	prev := uint64(0)
	for range n {
		seq += 1 + uint64(rng.IntN(2)*rng.IntN(3)) // not every event is owed to this endpoint
		p := prev
		l.events = append(l.events, &receivertest.Event{HookIndex: seq, Envelope: event.Envelope{
			ID: fmt.Sprintf("%s-%d-%d", stream[len(stream)-1:], epoch, seq), Type: event.OnStreamChanged, Source: "sim", Epoch: epoch, Stream: stream,
			Publication: "p", Seq: seq, Prev: &p, Time: receivertest.Start(),
		}, Body: map[string]any{"schema": "rtmp", "regist": true}})
		prev = seq
	}
	return l
}

// try is one attempt; true: the sender knows that it was accepted.
func (l *lane) try(e *receivertest.Event) bool {
	switch l.rng.IntN(10) {
	case 0:
		return false // the request is lost
	case 1:
		l.w.failing.Store(e.ID, "error")
	case 2:
		l.w.failing.Store(e.ID, "panic")
	}
	a := l.s.Send(e)
	if l.rng.IntN(3) == 0 && a.Status == http.StatusOK {
		a = l.s.Send(e) // a proxy repeats it
	}
	return a.Status == http.StatusOK && l.rng.IntN(8) != 0 // or the answer is lost
}

func (l *lane) deliver(e *receivertest.Event) {
	for n := 0; !l.try(e); n++ {
		if n > 1000 {
			l.t.Error("an event is never accepted")
			return
		}
	}
}

// next returns the next event as it is sent now.
func (l *lane) next() *receivertest.Event {
	e := *l.events[l.pos]
	e.Gap = l.gap
	return &e
}

func (l *lane) step() {
	switch n := l.rng.IntN(100); {
	case n < 72:
		if l.gone[l.pos] {
			l.pos++
		} else if l.try(l.next()) {
			l.pos++
			l.gap = nil
		}
	case n < 80:
		l.giveUp()
	case n < 88: // a crash: a short tail is sent again, in order
		l.pos = max(0, l.pos-l.rng.IntN(4))
	case n < 93:
		l.redrive()
	case n < 96: // another receiver accepts it in our name
		if len(l.gap) == 0 && l.pos > 0 {
			l.gone[l.pos] = true
			l.pos++
		}
	default:
		if l.pos > 0 {
			if i := l.rng.IntN(l.pos); !l.gone[i] {
				l.s.Send(l.events[i])
			}
		}
	}
}

func (l *lane) giveUp() {
	if l.gone[l.pos] {
		l.pos++
		return
	}
	if l.rng.IntN(2) == 0 {
		l.try(l.next()) // it may have been handled all the same
	}
	e := l.events[l.pos]
	g := receivertest.GapOf(event.ReasonRefused, e)
	l.gone[l.pos] = true
	l.dead = append(l.dead, l.pos)
	l.pos++
	if !l.notice {
		l.gap = append(slices.Clone(l.gap), g)
		return
	}
	n := *e
	n.ID, n.Type, n.Seq, n.Prev, n.Publication = "gap-"+e.ID, event.OnEventGap, 0, nil, ""
	n.Body = map[string]any{"from": g.From, "to": g.To, "count": 1, "types": g.Types, "reason": g.Reason}
	l.deliver(&n)
}

func (l *lane) redrive() {
	if len(l.dead) == 0 || len(l.gap) > 0 {
		return // the gap is named first
	}
	i := l.rng.IntN(len(l.dead))
	e := *l.events[l.dead[i]]
	e.Late = true
	l.deliver(&e)
	l.dead = slices.Delete(l.dead, i, i+1)
}

// run sends everything. The last event is accepted, so that nothing that is missing goes unnoticed.
func (l *lane) run() {
	for l.pos < len(l.events)-1 {
		l.step()
	}
	l.deliver(l.next())
	l.gap = nil
}

// check compares what was owed with what had effects and what was named.
func (l *lane) check(fetched bool) {
	stream, epoch := l.events[0].Stream, l.events[0].Epoch
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	count, high := map[uint64]int{}, uint64(0)
	for _, s := range l.w.effects[stream] {
		if s.epoch != epoch {
			continue
		}
		if count[s.seq]++; count[s.seq] > 1 {
			l.t.Errorf("%s: effect %d twice", stream, s.seq)
		}
		switch {
		case s.late && !l.named(s.seq):
			l.t.Errorf("%s: %d is late and was never missing", stream, s.seq)
		case !s.late && s.seq <= high:
			l.t.Errorf("%s: effect %d after %d", stream, s.seq, high)
		case !s.late:
			high = s.seq
		}
	}
	dead := map[int]bool{}
	for _, i := range l.dead {
		dead[i] = true
	}
	for i, e := range l.events {
		named := l.named(e.Seq)
		switch {
		case count[e.Seq] == 0 && !named:
			l.t.Errorf("%s: %d is silently lost", stream, e.Seq)
		case count[e.Seq] == 0 && !l.gone[i]:
			l.t.Errorf("%s: %d was accepted without effect", stream, e.Seq)
		case count[e.Seq] == 0 && !dead[i] && fetched:
			l.t.Errorf("%s: %d was not fetched or redriven", stream, e.Seq)
		}
	}
}

func (l *lane) named(seq uint64) bool {
	for i, g := range l.w.gaps[l.events[0].Stream] {
		if l.w.epochs[l.events[0].Stream][i] == l.events[0].Epoch &&
			(g.Missing.From <= seq && seq <= g.Missing.To || g.Before.From <= seq && seq <= g.Before.To) {
			return true
		}
	}
	return false
}

// logs fetches from the lanes.
type logs map[string]*lane

func (f logs) Fetch(_ context.Context, stream string, missed receiver.Range) ([]*receiver.Event, error) {
	l := f[stream]
	var out []*receiver.Event
	for i := range l.events {
		e := l.events[i]
		// The log has what others are owed, too: seqs are contiguous.
		low := missed.From
		if i > 0 {
			low = max(low, l.events[i-1].Seq+1)
		}
		for seq := low; seq <= min(e.Seq, missed.To); seq++ {
			env := e.Envelope
			if env.Seq != seq {
				env.ID, env.Seq, env.Type = fmt.Sprintf("other-%d", seq), seq, event.OnFlowReport
			}
			out = append(out, &receiver.Event{Envelope: env, Body: []byte(`{"schema":"rtmp","regist":true}`)})
		}
	}
	return out, nil
}

// TestSimulation: a sender that loses requests and answers, gives up, crashes, redrives, shares the URL with another receiver
// and begins new epochs; a receiver that fails after its effects and is restarted. Each effect happens once, in the order
// of its stream, and what had none was named.
func TestSimulation(t *testing.T) {
	for seed := *first; seed < *first+uint64(*seeds); seed++ {
		simulate(t, seed, false)
		if t.Failed() {
			t.Fatalf("seed %d: go test ./receiver -run TestSimulation -seed %d -seeds 1", seed, seed)
		}
	}
}

// TestSimulationInbox: the same, with events that are answered before they are handled. Receivers that were replaced go on beside the
// new one, as other processes would that share the store, or are shut down while events wait.
func TestSimulationInbox(t *testing.T) {
	for seed := *first; seed < *first+uint64(*seeds); seed++ {
		synctest.Test(t, func(t *testing.T) { simulate(t, seed, true) })
		if t.Failed() {
			t.Fatalf("seed %d: go test ./receiver -run TestSimulationInbox -seed %d -seeds 1", seed, seed)
		}
	}
}

func simulate(t *testing.T, seed uint64, inbox bool) {
	rng := rand.New(rand.NewPCG(seed, 0))
	w := &world{
		store: receiver.NewMemory(), effects: map[string][]seen{}, gaps: map[string][]receiver.Gap{}, epochs: map[string][]int64{},
		inbox: inbox,
	}
	var fetch receiver.Fetcher
	fetching := rng.IntN(2) == 0
	for epoch := int64(1); epoch <= 2; epoch++ {
		lanes := logs{}
		if fetch = nil; fetching {
			fetch = lanes
		}
		for i := range 3 {
			stream := fmt.Sprintf("v/live/%d", i)
			lanes[stream] = newLane(t, w, rand.New(rand.NewPCG(seed, uint64(epoch)<<8|uint64(i+1))), stream, epoch, 20+rng.IntN(40))
		}
		w.restart(t, fetch)
		var wg sync.WaitGroup
		for _, l := range lanes {
			wg.Go(l.run)
		}
		for range rng.IntN(4) {
			old := w.current.Load()
			w.restart(t, fetch)
			if inbox && rng.IntN(2) == 0 {
				if err := old.Shutdown(t.Context()); err != nil {
					t.Error(err)
				}
			}
		}
		wg.Wait()
		w.settle(t)
		for _, l := range lanes {
			l.check(fetching)
			if epoch == 2 && !inbox && l.s.Send(&receivertest.Event{Envelope: event.Envelope{
				ID: "old", Type: event.OnStreamChanged, Source: "sim", Epoch: 1, Stream: l.events[0].Stream, Seq: 1 << 20,
			}}).Status != http.StatusOK {
				t.Error("an event of an old epoch is not answered")
			}
			l.check(fetching)
		}
	}
}

package simulation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/delivery"
	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/journal"
	"github.com/hookline/hookline/internal/journal/journaltest"
	"github.com/hookline/hookline/internal/ordercheck"
	"github.com/hookline/hookline/internal/sequencer"
	"github.com/hookline/hookline/internal/webhook"
)

// plan is what a seed decides before the run.
type plan struct {
	keys      int
	actors    int // publications per key, one after the other
	crashes   int
	latency   time.Duration // of the journal, at most
	delay     time.Duration // of the receiver, at most
	fail      float64       // 500
	reject    float64       // 404
	garbage   float64       // 200 that can't be read
	hang      float64
	lost      float64 // accepted, but the answer does not arrive
	outages   int
	badKey    bool // one key fails for a while
	retention bool
	diskFail  bool // writes fail before a crash
	gapURL    bool
	gone      bool
	window    int
	slots     int
	unordered bool
	// unorderedBatches switches ordering off for the endpoint that gets batches.
	unorderedBatches bool
	operations       int // of somebody who changes endpoints, redrives and replays; in each run of the process
}

func newPlan(r *rand.Rand) plan {
	pick := func(p ...float64) float64 { return p[r.IntN(len(p))] }
	return plan{
		keys: 1 + r.IntN(5), actors: 1 + r.IntN(4), crashes: r.IntN(4),
		latency: time.Duration(r.IntN(20)) * time.Millisecond, delay: time.Duration(1+r.IntN(100)) * time.Millisecond,
		fail: pick(0, 0.05, 0.3), reject: pick(0, 0, 0.02, 0.6), garbage: pick(0, 0, 0.05), hang: pick(0, 0, 0.02, 0.1),
		lost: pick(0, 0.05, 0.2), outages: r.IntN(3), badKey: r.IntN(2) == 0, retention: r.IntN(5) == 0,
		operations: r.IntN(12), diskFail: r.IntN(4) == 0, gapURL: r.IntN(2) == 0, gone: r.IntN(20) == 0, window: []int{4, 32, 1000}[r.IntN(3)], slots: 1 + r.IntN(8),
	}
}

// restless makes it a run with crashes and changes without end, in which what seldom meets does: every 16th seed.
func (p *plan) restless() {
	p.keys, p.actors, p.crashes, p.operations, p.retention = 4, 3, 3, 11, false
	p.fail, p.lost, p.outages, p.window = 0.05, 0.2, 2, min(p.window, 32)
}

// world is one run.
type world struct {
	seed uint64
	plan plan
	rnd  *rand.Rand
	mem  *journaltest.Mem
	seq  *sequencer.Sequencer
	ep   *delivery.Endpoint
	// sites are the endpoints beside it, with receivers of their own.
	sites   []*site
	eps     atomic.Pointer[[]*delivery.Endpoint] // that get records
	ops     sync.WaitGroup                       // operators
	replays atomic.Int64

	mu      sync.Mutex // guards everything below and rnd
	check   *ordercheck.Checker
	healthy bool
	outage  bool
	badKey  string
	durable []*journal.Record          // lifecycle records that were acknowledged, in order of position
	seen    map[string]map[uint64]bool // accepted seqs by key
	first   map[string][]uint64        // the same in order of first acceptance
	named   map[string][]event.Gap
	stop    context.CancelFunc // of the actors
	ctx     context.Context
	actors  sync.WaitGroup
	err     error
}

func newWorld(seed uint64, change func(*plan)) *world {
	rnd := rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15))
	w := &world{
		seed: seed, plan: newPlan(rnd), rnd: rnd, seen: map[string]map[uint64]bool{}, first: map[string][]uint64{},
		named: map[string][]event.Gap{},
	}
	if seed%16 == 0 {
		w.plan.restless()
	}
	if change != nil {
		change(&w.plan)
	}
	w.makeSites()
	w.check = ordercheck.New(ordercheck.Options{KeepFacts: false, Window: 1 << 16})
	w.mem = journaltest.NewMem(journaltest.Options{Latency: func() time.Duration { return w.upTo(w.plan.latency) }})
	return w
}

// clock is the system's: of every second seed it jumps every 37 s, by up to half an hour to either side. It does not where
// retention removes events, which goes by the clock: what a jump takes with it is told by tests of their own, and a restart does not
// know the time of a stream's last event when none is left (docs/limitations.md).
func (w *world) clock() time.Time {
	now := time.Now().Round(0)
	if w.seed%2 == 0 || w.plan.retention {
		return now
	}
	at := rand.New(rand.NewPCG(w.seed, uint64(now.Unix()/37)))
	return now.Add(time.Duration(at.Int64N(int64(time.Hour))) - 30*time.Minute)
}

func (w *world) upTo(d time.Duration) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.some(d)
}

func (w *world) some(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(w.rnd.Int64N(int64(d)))
}

func (w *world) urls() map[event.Type]string {
	m := map[event.Type]string{}
	for _, t := range event.Types() {
		m[t] = "http://receiver/" + string(t)
	}
	if !w.plan.gapURL {
		delete(m, event.OnEventGap)
	}
	return m
}

// config of the endpoint.
func (w *world) config() delivery.Config {
	return delivery.Config{
		Name: "hook", URLs: w.urls(), Timeout: 10 * time.Second, Concurrency: w.plan.slots, Window: w.plan.window,
		Unordered: w.plan.unordered,
	}
}

// start begins a run of the process.
func (w *world) start() {
	quiet := slog.New(slog.DiscardHandler)
	w.ctx, w.stop = context.WithCancel(context.Background())
	w.eps.Store(&[]*delivery.Endpoint{})
	seq, err := sequencer.Open(sequencer.Config{Source: "srv", Logger: quiet, Clock: w.clock}, w.mem, func(recs []*journal.Record) {
		w.mu.Lock()
		for _, r := range recs {
			if r.Class == event.Lifecycle {
				w.durable = append(w.durable, r)
			}
		}
		w.mu.Unlock()
		for _, ep := range *w.eps.Load() {
			ep.Feed(recs)
		}
	})
	if err != nil {
		w.fail(err)
		return
	}
	ep, err := delivery.NewEndpoint(w.config(), delivery.Deps{
		Store: w.mem, Stamper: seq, Sender: w, Logger: quiet, Rand: func() float64 { return 0.5 }, Clock: w.clock,
	}, seq.Stats().NextIndex)
	if err != nil {
		w.fail(err)
		return
	}
	w.seq, w.ep = seq, ep
	w.publishEndpoints()
	for _, s := range w.sites {
		s.open()
	}
	if _, err := seq.Compensate(nil); err != nil {
		w.fail(err)
	}
	w.ops.Go(func() { w.operate(w.ctx) })
}

func (w *world) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
	}
}

// kill ends the process as SIGKILL does: what was not durable may or may not be there afterwards.
func (w *world) kill() {
	w.mu.Lock()
	rnd := rand.New(rand.NewPCG(w.rnd.Uint64(), 1))
	w.mu.Unlock()
	w.stop()
	w.ops.Wait()
	old := w.mem
	w.mem = old.Crash(rnd)
	w.closeEndpoints()
	_ = w.seq.Close() // it says that the journal is dead
	w.actors.Wait()
	w.start()
}

// halt ends the process in good order.
func (w *world) halt() {
	w.stop()
	w.ops.Wait()
	w.actors.Wait()
	if err := w.seq.Close(); err != nil && !errors.Is(err, journal.ErrDead) {
		w.fail(err)
	}
	w.closeEndpoints()
}

func (w *world) closeEndpoints() {
	w.ep.Close()
	for _, s := range w.sites {
		if s.ep != nil {
			s.ep.Close()
			s.ep = nil
		}
	}
}

// Send is the receiver.
func (w *world) Send(ctx context.Context, req webhook.Request) webhook.Reply {
	b, err := ordercheck.Parse(req.Body)
	if err != nil {
		w.fail(fmt.Errorf("%s: %w", req.Body, err))
		return webhook.Reply{Status: 200, Body: []byte(`{"code":0}`)}
	}
	w.mu.Lock()
	took := w.some(w.plan.delay) + time.Microsecond
	verdict := w.verdict(b)
	late := w.rnd.Float64() < 0.5
	w.mu.Unlock()
	if verdict == "hang" {
		took = req.Timeout
	}
	start := time.Now()
	select {
	case <-time.After(took):
	case <-ctx.Done(): // the sender was killed or gave up; the request may have arrived all the same
		if verdict == "accept" && late {
			w.accept(b)
		}
		return webhook.Reply{Err: ctx.Err(), Latency: time.Since(start)}
	}
	rep := webhook.Reply{Latency: time.Since(start)}
	switch verdict {
	case "accept":
		w.accept(b)
		rep.Status, rep.Body = 200, []byte(`{"code":0,"msg":"success"}`)
	case "lost":
		w.accept(b)
		rep.Err = errors.New("connection reset")
	case "500":
		rep.Status = 500
	case "404":
		rep.Status = 404
	case "410":
		rep.Status = 410
	case "garbage":
		rep.Status, rep.Body = 200, []byte("<html>")
	default:
		rep.Err = errors.New(verdict)
	}
	return rep
}

// verdict decides what becomes of a request.
func (w *world) verdict(b *ordercheck.Body) string {
	if w.healthy {
		return "accept"
	}
	if w.outage {
		return "connection refused"
	}
	if b.Event.Stream == w.badKey {
		return []string{"500", "hang", "connection refused"}[w.rnd.IntN(3)]
	}
	x := w.rnd.Float64()
	for _, c := range []struct {
		p    float64
		what string
	}{
		{w.plan.fail, "500"},
		{w.plan.reject, "404"},
		{w.plan.garbage, "garbage"},
		{w.plan.hang, "hang"},
		{w.plan.lost, "lost"},
	} {
		if x < c.p {
			return c.what
		}
		x -= c.p
	}
	if w.plan.gone && w.rnd.IntN(50) == 0 {
		return "410"
	}
	return "accept"
}

func (w *world) accept(b *ordercheck.Body) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.check.Add(ordercheck.Delivery{Body: b})
	e := b.Event
	w.named[e.Stream] = append(w.named[e.Stream], b.Gaps...)
	if e.Seq == 0 {
		return
	}
	m := w.seen[e.Stream]
	if m == nil {
		m = map[uint64]bool{}
		w.seen[e.Stream] = m
	}
	if !m[e.Seq] {
		m[e.Seq] = true
		w.first[e.Stream] = append(w.first[e.Stream], e.Seq)
	}
}

// publish is the life of one publication, as the hub would tell it.
func (w *world) publish(ctx context.Context, seq *sequencer.Sequencer, name, id string) {
	s := fact.Stream{Vhost: fact.DefaultVhost, App: "live", Stream: name}
	mi := fact.MediaInfo{Schema: "rtmp", Protocol: "rtmp", Stream: s, Params: "id=" + id}
	pause := func(d time.Duration) bool {
		select {
		case <-time.After(w.upTo(d)):
			return ctx.Err() == nil
		case <-ctx.Done():
			return false
		}
	}
	release, err := seq.Admit()
	if err != nil {
		return
	}
	defer release()
	start := time.Now().UnixMilli()
	seq.Raise(&fact.PublicationStarted{Publication: id, Live: s, MediaInfo: mi, Start: start})
	schemas := []string{"rtmp", "hls", "ts"}[:1+len(id)%3]
	for _, schema := range schemas {
		if !pause(200 * time.Millisecond) {
			return
		}
		seq.Raise(&fact.Registered{
			Publication: id, Regist: true,
			StreamObject: fact.StreamObject{Schema: schema, Stream: s, Params: mi.Params, Tracks: []fact.Track{}},
		})
	}
	for range 3 {
		if !pause(5 * time.Second) {
			return
		}
		seq.Raise(&fact.FlowReport{Publication: id, Live: s, MediaInfo: mi, Player: true})
	}
	seq.Raise(&fact.FlowReport{Publication: id, Live: s, MediaInfo: mi})
	for _, schema := range slices.Backward(schemas) {
		seq.Raise(&fact.Unregistered{Publication: id, Schema: schema, Stream: s, Params: mi.Params})
	}
	seq.Raise(&fact.PublicationEnded{
		Publication: id, Stream: s, Params: mi.Params, Start: start, End: time.Now().UnixMilli(),
		Reason: fact.EndUnpublish, Schemas: schemas,
	})
}

package simulation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/delivery"
	"github.com/hookline/hookline/internal/journal"
	"github.com/hookline/hookline/internal/ordercheck"
	"github.com/hookline/hookline/internal/webhook"
)

// faults of a site's receiver, each a share of its requests.
type faults struct {
	fail, reject, hang, lost float64
	away                     float64 // goes away for whole minutes
	poison                   bool    // one seq of one key is refused for ever
}

// site is an endpoint of a section with its receiver and what judges it.
type site struct {
	name   string
	w      *world
	fixed  bool // its configuration never changes
	faults faults
	// turn is held by who changes or uses the endpoint; a channel, so that virtual time goes on while somebody waits.
	turn chan struct{}

	mu      sync.Mutex // guards what follows
	rnd     *rand.Rand
	cfg     delivery.Config
	ep      *delivery.Endpoint // nil: removed
	changed time.Time          // when cfg last changed
	old     delivery.Config    // before that
	signers map[string]*event.Verifier
	healthy bool
	awayFor time.Time // until when
	leaving bool      // the process died while the endpoint was removed: its place may be there or not
	shared  int       // batches of several keys that were accepted
	lives   int       // how often it was added again
	changes int
	life
}

// life is what a receiver knows of an endpoint from its adding to its removal.
type life struct {
	check *ordercheck.Checker
	first map[string][]uint64
	seen  map[string]map[uint64]bool
	named map[string][]event.Gap
	// replayed holds the seqs of each key in each replay, in order of first acceptance.
	replayed map[string][]uint64
	// since says from which hook_index on a key is surely owed; never: its events may be left out.
	since map[string]uint64
	place uint64 // the first position that is owed
	begun bool   // the endpoint has been open in this life
}

const never = ^uint64(0)

func newSite(w *world, name string, seed uint64, cfg delivery.Config) *site {
	s := &site{
		name: name, w: w, rnd: rand.New(rand.NewPCG(seed, 2)), cfg: cfg, turn: make(chan struct{}, 1),
		signers: map[string]*event.Verifier{},
	}
	s.cfg.Name = name
	s.life = s.newLife()
	return s
}

func (s *site) newLife() life {
	return life{
		check: ordercheck.New(ordercheck.Options{Window: 1 << 16, Reconfigured: !s.fixed}),
		first: map[string][]uint64{}, seen: map[string]map[uint64]bool{}, named: map[string][]event.Gap{},
		replayed: map[string][]uint64{}, since: map[string]uint64{},
	}
}

// urls returns one URL for everything.
func urlsAt(url string, notices bool) map[event.Type]string {
	m := map[event.Type]string{}
	for _, t := range event.Types() {
		m[t] = url
	}
	if !notices {
		delete(m, event.OnEventGap)
	}
	return m
}

// includes is the filter as the documentation has it, in a few lines of its own.
func includes(cfg *delivery.Config, key string) bool {
	if key == "" || len(cfg.Streams) == 0 {
		return true
	}
	return slices.ContainsFunc(cfg.Streams, func(p string) bool { return "__defaultVhost__/"+p == key })
}

// open starts the endpoint as the configuration says, after a start of the process or when it is added.
func (s *site) open() {
	if s.leaving {
		known, err := delivery.Known(s.w.mem)
		if err != nil {
			s.w.fail(err)
		}
		if !slices.Contains(known, s.name) {
			s.end()
		}
		s.leaving = false // with its place it goes on
	}
	s.mu.Lock()
	if cfg := &s.cfg; !s.begun && cfg.From > 0 { // of what is gone by now, nothing is owed to who is new
		s.place = max(s.w.mem.Info().First, cfg.From)
	}
	s.begun = true
	cfg := s.cfg
	s.mu.Unlock()
	index := s.w.seq.Stats().NextIndex
	ep, err := delivery.NewEndpoint(cfg, delivery.Deps{
		Store: s.w.mem, Stamper: s.w.seq, Sender: s, Logger: slog.New(slog.DiscardHandler), Rand: func() float64 { return 0.5 },
		Clock: s.w.clock,
	}, index)
	if err != nil {
		if s.w.alive() {
			s.w.fail(fmt.Errorf("%s: %w", s.name, err))
		}
		return
	}
	s.mu.Lock()
	s.ep = ep
	s.mu.Unlock()
	s.w.publishEndpoints()
	ep.CatchUp(s.w.mem.Info().Last)
	s.owed()
}

// owed notes that the configuration is in force, and from when on each key is surely owed.
func (s *site) owed() {
	now := s.w.seq.Stats().NextIndex
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changed = time.Now()
	for _, key := range s.w.keys() {
		since, known := s.since[key]
		switch {
		case !includes(&s.cfg, key):
			s.since[key] = never
		case !known && s.cfg.From > 0:
			s.since[key] = 0
		case !known, since == never:
			s.since[key] = now
		}
	}
}

// set changes the configuration, as an edit of the file does.
func (s *site) set(change func(*delivery.Config)) {
	s.mu.Lock()
	s.changes++
	s.old = s.cfg
	change(&s.cfg)
	s.changed = time.Now().Add(time.Hour) // until it is in force either may be seen
	for _, key := range s.w.keys() {
		if !includes(&s.cfg, key) {
			s.since[key] = never
		}
	}
	cfg, ep := s.cfg, s.ep
	s.mu.Unlock()
	if ep == nil {
		return
	}
	if err := ep.Configure(cfg, s.w.seq.Stats().NextIndex); err != nil {
		if s.w.alive() {
			s.w.fail(fmt.Errorf("%s: %w", s.name, err))
		}
		return
	}
	s.owed()
}

// remove takes the endpoint out of the configuration.
func (s *site) remove() {
	s.mu.Lock()
	ep := s.ep
	s.ep = nil
	s.mu.Unlock()
	if ep == nil {
		return
	}
	s.w.publishEndpoints()
	ep.Close()
	if err := delivery.Forget(s.w.mem, s.name); err != nil {
		if s.w.alive() {
			s.w.fail(fmt.Errorf("%s: %w", s.name, err))
		}
		s.mu.Lock()
		s.leaving = true
		s.mu.Unlock()
		return
	}
	s.end()
}

// end judges the life of an endpoint whose place is gone.
func (s *site) end() {
	if err := s.judgeOrder(); err != nil {
		s.w.fail(err)
	}
	s.mu.Lock()
	s.life, s.leaving = s.newLife(), false
	s.mu.Unlock()
}

// add brings a removed endpoint back, from now or from the beginning of the journal.
func (s *site) add(beginning bool) {
	s.mu.Lock()
	s.lives++
	s.cfg.From = 0
	if beginning {
		s.cfg.From = max(s.w.mem.Info().First, 1)
	}
	s.mu.Unlock()
	s.open()
}

// Send implements webhook.Sender: it is the receiver.
func (s *site) Send(ctx context.Context, req webhook.Request) webhook.Reply {
	list, err := parse(req)
	if err != nil {
		s.w.fail(fmt.Errorf("%s: %s: %w", s.name, req.Body, err))
		return webhook.Reply{Status: 200, Body: []byte(`{"code":0}`)}
	}
	s.mu.Lock()
	if err := s.allowed(req); err != nil {
		s.w.fail(fmt.Errorf("%s: %w", s.name, err))
	}
	took := time.Duration(s.rnd.Int64N(int64(40*time.Millisecond))) + time.Microsecond
	verdict := s.verdict(list)
	arrives := s.rnd.IntN(2) == 0
	s.mu.Unlock()
	if verdict == "hang" {
		took = req.Timeout
	}
	start := time.Now()
	select {
	case <-time.After(took):
	case <-ctx.Done():
		if verdict == "accept" && arrives {
			s.accept(list)
		}
		return webhook.Reply{Err: ctx.Err(), Latency: time.Since(start)}
	}
	rep := webhook.Reply{Latency: time.Since(start)}
	switch verdict {
	case "accept":
		s.accept(list)
		rep.Status, rep.Body = 200, []byte(`{"code":0}`)
	case "lost":
		s.accept(list)
		rep.Err = errors.New("connection reset")
	case "500":
		rep.Status = 500
	case "404":
		rep.Status = 404
	default:
		rep.Err = errors.New(verdict)
	}
	return rep
}

func parse(req webhook.Request) ([]*ordercheck.Body, error) {
	switch ct := req.Header.Get("Content-Type"); {
	case strings.HasPrefix(ct, event.ContentTypeCloudEventBatch):
		return ordercheck.ParseCloudEvents(req.Body, true)
	case strings.HasPrefix(ct, event.ContentTypeCloudEvent):
		return ordercheck.ParseCloudEvents(req.Body, false)
	}
	b, err := ordercheck.Parse(req.Body)
	return []*ordercheck.Body{b}, err
}

// allowed says what is wrong with a request under the configuration that is in force. A request that began in the
// moment of a change may be of either. mu is held.
func (s *site) allowed(req webhook.Request) error {
	if strings.Contains(req.Meta.Endpoint, "/replay/") {
		return nil // it keeps the configuration with which it began
	}
	ok := func(cfg *delivery.Config) error {
		if cfg.URLs[event.OnFlowReport] != req.URL {
			return fmt.Errorf("sent to %s, not to %s", req.URL, cfg.URLs[event.OnFlowReport])
		}
		if cfg.Paused {
			return errors.New("sent while paused")
		}
		v := s.signers[signerName(cfg)]
		if v == nil {
			if req.Header.Get(event.HeaderID) != "" {
				return errors.New("signed without a secret")
			}
			return nil
		}
		return v.Verify(req.Header, req.Body)
	}
	err := ok(&s.cfg)
	if err != nil && !time.Now().After(s.changed) {
		return ok(&s.old)
	}
	return err
}

// signerName finds a signer's verifier again.
func signerName(cfg *delivery.Config) string { return fmt.Sprintf("%p", cfg.Signer) }

// verdict decides what becomes of a request. mu is held.
func (s *site) verdict(list []*ordercheck.Body) string {
	if s.healthy {
		return "accept"
	}
	if s.rnd.Float64() < s.faults.away {
		s.awayFor = time.Now().Add(time.Duration(s.rnd.Int64N(int64(3 * time.Minute))))
	}
	if time.Now().Before(s.awayFor) {
		return "connection refused"
	}
	for _, b := range list {
		if s.faults.poison && b.Event.Seq == 5 && strings.HasSuffix(b.Event.Stream, "/s1") {
			return "404"
		}
	}
	x := s.rnd.Float64()
	for _, c := range []struct {
		p    float64
		what string
	}{{s.faults.fail, "500"}, {s.faults.reject, "404"}, {s.faults.hang, "hang"}, {s.faults.lost, "lost"}} {
		if x < c.p {
			return c.what
		}
		x -= c.p
	}
	return "accept"
}

// accept takes the events of a request, all of them.
func (s *site) accept(list []*ordercheck.Body) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.ContainsFunc(list, func(b *ordercheck.Body) bool { return b.Event.Stream != list[0].Event.Stream }) {
		s.shared++
	}
	for _, b := range list {
		e := b.Event
		s.check.Add(ordercheck.Delivery{Body: b})
		if b.Replay != "" {
			name := b.Replay + " " + e.Stream
			if !slices.Contains(s.replayed[name], e.Seq) {
				s.replayed[name] = append(s.replayed[name], e.Seq)
			}
			continue
		}
		s.named[e.Stream] = append(s.named[e.Stream], b.Gaps...)
		if e.Seq == 0 {
			continue
		}
		if s.seen[e.Stream] == nil {
			s.seen[e.Stream] = map[uint64]bool{}
		}
		if !s.seen[e.Stream][e.Seq] {
			s.seen[e.Stream][e.Seq] = true
			s.first[e.Stream] = append(s.first[e.Stream], e.Seq)
		}
	}
}

func (s *site) judgeOrder() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if rep := s.check.Report(); !rep.OK() {
		return fmt.Errorf("%s: %s", s.name, rep)
	}
	for name, seqs := range s.replayed {
		if !slices.IsSorted(seqs) {
			return fmt.Errorf("%s: replay %s: %v", s.name, name, seqs)
		}
	}
	return nil
}

// judge compares what the receiver saw with what is durable and what the journal holds in the end.
func (s *site) judge(durable, log []*journal.Record) error {
	if err := s.judgeOrder(); err != nil {
		return err
	}
	named := false
	for _, r := range durable {
		if since := s.since[r.Key]; since == never || r.Index < since || r.Position < s.place || r.Type == event.OnEventGap {
			continue
		}
		if s.seen[r.Key][r.Seq] {
			continue
		}
		named = true
		if !slices.ContainsFunc(s.named[r.Key], func(g event.Gap) bool {
			return g.From <= r.Seq && r.Seq <= g.To && slices.Contains(g.Types, r.Type)
		}) {
			return fmt.Errorf("%s: lost: %s seq %d of %s, position %d", s.name, r.Type, r.Seq, r.Key, r.Position)
		}
	}
	for key := range s.first {
		if s.fixed && !includes(&s.cfg, key) {
			return fmt.Errorf("%s: got %s, which its filter leaves out", s.name, key)
		}
	}
	if named || !s.fixed || s.w.plan.retention || len(s.named) > 0 && s.anyNamed() {
		return nil
	}
	return s.judgeSequence(log)
}

func (s *site) anyNamed() bool {
	for _, gaps := range s.named {
		if len(gaps) > 0 {
			return true
		}
	}
	return false
}

// judgeSequence: without trouble that cost an event, what came per key is what the journal holds.
func (s *site) judgeSequence(log []*journal.Record) error {
	want := map[string][]uint64{}
	for _, r := range log {
		if includes(&s.cfg, r.Key) && (r.Class == event.Lifecycle || s.cfg.History) {
			want[r.Key] = append(want[r.Key], r.Seq)
		}
	}
	for key, seqs := range want {
		if !slices.Equal(s.first[key], seqs) {
			return fmt.Errorf("%s: %s: received %v, journaled %v", s.name, key, s.first[key], seqs)
		}
	}
	return nil
}

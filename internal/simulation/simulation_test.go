package simulation

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/delivery"
	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/journal/journaltest"
	"github.com/hookline/hookline/internal/ordercheck"
)

var (
	seeds = flag.Int("seeds", 100, "number of seeds to run")
	first = flag.Uint64("seed", 1, "first seed")
)

var errDisk = errors.New("no space left on device")

// scenario drives a world from its first start until everything is drained.
func (w *world) scenario() {
	w.start()
	keys := make([]string, w.plan.keys)
	for i := range keys {
		keys[i] = fmt.Sprintf("s%d", i)
	}
	id := 0
	for round := range w.plan.crashes + 1 {
		for _, key := range keys {
			w.actors.Add(1)
			go func(ids int) {
				defer w.actors.Done()
				for n := range w.plan.actors {
					if w.ctx.Err() != nil {
						return
					}
					w.publish(w.ctx, w.seq, key, fmt.Sprintf("p%d%s", ids*10+n, "xxx"[:n%3]))
				}
			}(id)
			id++
		}
		w.trouble()
		if round < w.plan.crashes {
			time.Sleep(w.upTo(20 * time.Second))
			if w.plan.diskFail { // media goes on, nothing is recorded, until somebody restarts the server
				w.mem.FailWrites(errDisk)
				time.Sleep(w.upTo(20 * time.Second))
			}
			w.kill()
		}
	}
	w.actors.Wait()
	w.heal(keys)
}

// trouble makes the receiver fail for a while.
func (w *world) trouble() {
	for range w.plan.outages {
		time.Sleep(w.upTo(10 * time.Second))
		w.mu.Lock()
		w.outage = true
		d := w.some(10 * time.Minute)
		if w.rnd.IntN(3) == 0 {
			d = w.some(2 * time.Second)
		}
		w.mu.Unlock()
		time.Sleep(d)
		w.mu.Lock()
		w.outage = false
		w.mu.Unlock()
	}
	if w.plan.badKey {
		w.mu.Lock()
		w.badKey = fact.DefaultVhost + "/live/s0"
		d := w.some(3 * time.Minute)
		w.mu.Unlock()
		time.Sleep(d)
		w.mu.Lock()
		w.badKey = ""
		w.mu.Unlock()
	}
	if w.plan.retention {
		w.trim()
	}
}

// trim removes the older half of the journal.
func (w *world) trim() {
	info := w.mem.Info()
	if info.Last < info.First {
		return
	}
	before := info.First + (info.Last-info.First)/2
	for _, s := range w.sites {
		s.turn <- struct{}{}
		defer func() { <-s.turn }()
	}
	for _, ep := range *w.eps.Load() {
		if err := ep.Expire(before); err != nil {
			w.fail(err)
			return
		}
	}
	if _, err := w.mem.Trim(before); err != nil {
		w.fail(err)
	}
}

// heal lets everything work and waits until nothing is left to deliver.
func (w *world) heal(keys []string) {
	w.mu.Lock()
	w.healthy, w.outage, w.badKey = true, false, ""
	w.mu.Unlock()
	w.stop()
	w.ops.Wait()
	w.ctx, w.stop = context.WithCancel(context.Background())
	for _, s := range w.sites {
		s.heal()
	}
	if err := w.ep.Configure(w.config(), 0); err != nil { // a reload, which enables what answered 410
		w.fail(err)
	}
	time.Sleep(3 * time.Hour) // beyond every back-off
	for _, s := range w.sites {
		w.redrive(s)
	}
	for _, key := range keys { // one more event of each key, on which gaps may be named
		s := fact.Stream{Vhost: fact.DefaultVhost, App: "live", Stream: key}
		w.seq.Raise(&fact.FlowReport{Live: s, MediaInfo: fact.MediaInfo{Stream: s}, Player: true})
	}
	time.Sleep(time.Hour)
	st := w.ep.Stats()
	if st.Floor != st.Tail || st.Lanes > 0 || st.Held > 0 || st.Parked > 0 || st.InFlight > 0 {
		w.fail(fmt.Errorf("not drained: %+v", st))
	}
	for _, s := range w.sites {
		if st := s.ep.Stats(); st.Floor != st.Tail || st.Lanes > 0 || st.Held > 0 || st.Parked > 0 || st.InFlight > 0 {
			w.fail(fmt.Errorf("%s is not drained: %+v", s.name, st))
		}
		if dead, err := s.ep.DeadLetters(); err != nil || len(dead) > 0 {
			w.fail(fmt.Errorf("%s: %d dead letters after all were redriven, %v", s.name, len(dead), err)) //nolint:errorlint // it may be nil
		}
		if err := w.replayAll(s); err != nil {
			w.fail(err)
		}
	}
	w.halt()
}

// heal lets the receiver take everything, and undoes pauses and removals.
func (s *site) heal() {
	s.mu.Lock()
	s.healthy = true
	removed, paused := s.ep == nil, s.cfg.Paused
	s.mu.Unlock()
	if removed {
		s.add(false)
	}
	if paused { // and nothing else: a change would set going what is stuck
		s.set(func(c *delivery.Config) { c.Paused = false })
	}
}

// judge returns what is wrong.
func (w *world) judge() error {
	if w.err != nil {
		return w.err
	}
	rep := w.check.Report()
	if !rep.OK() {
		return fmt.Errorf("%s", rep)
	}
	announced := 0
	for _, r := range w.durable {
		if w.seen[r.Key][r.Seq] || r.Type == event.OnEventGap {
			continue
		}
		named := slices.ContainsFunc(w.named[r.Key], func(g event.Gap) bool {
			return g.From <= r.Seq && r.Seq <= g.To && slices.Contains(g.Types, r.Type)
		})
		if !named {
			return fmt.Errorf("lost: %s seq %d of %s, position %d", r.Type, r.Seq, r.Key, r.Position)
		}
		announced++
	}
	log, err := journaltest.ReadAll(w.mem)
	if err != nil {
		return err
	}
	for _, s := range w.sites {
		if err := s.judge(w.durable, log); err != nil {
			return err
		}
	}
	if announced > 0 || rep.GapNotices > 0 || w.plan.retention {
		return nil
	}
	if rep.Open > 0 {
		return fmt.Errorf("%d publications never ended: %v", rep.Open, rep.OpenExamples)
	}
	// What the receiver saw per key is what the journal holds. That can be more than was acknowledged: a crash may keep
	// what was on its way.
	want := map[string][]uint64{}
	for _, r := range log {
		if r.Class == event.Lifecycle {
			want[r.Key] = append(want[r.Key], r.Seq)
		}
	}
	for key, seqs := range want {
		if !slices.Equal(w.first[key], seqs) {
			return fmt.Errorf("%s: received %v, journaled %v", key, w.first[key], seqs)
		}
	}
	return nil
}

func simulate(t *testing.T, seed uint64, change func(*plan)) (w *world, err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w = newWorld(seed, change)
		w.scenario()
		err = w.judge()
	})
	return w, err
}

// tally is what the runs together exercised.
type tally map[string]int

func (t tally) add(w *world) {
	count := func(prefix string, rep ordercheck.Report) {
		t[prefix+"events"] += rep.Events
		t[prefix+"duplicates"] += rep.Duplicates
		t[prefix+"gaps"] += rep.GapNotices
		t[prefix+"late"] += rep.Late
		t[prefix+"replayed"] += rep.Replayed
	}
	count("", w.check.Report())
	for _, s := range w.sites {
		count(s.name+" ", s.check.Report())
		t[s.name+" shared batches"] += s.shared
		t[s.name+" lives"] += s.lives
		t[s.name+" changes"] += s.changes
	}
}

// TestSimulation is described in the package comment. A failing seed is run again with -seed N -seeds 1.
func TestSimulation(t *testing.T) {
	seen := tally{}
	for i := range *seeds {
		seed := *first + uint64(i)
		w, err := simulate(t, seed, nil)
		if err != nil {
			t.Fatalf("seed %d (%+v): %v", seed, w.plan, err)
		}
		seen.add(w)
		if t.Failed() {
			t.Fatalf("seed %d failed", seed)
		}
	}
	t.Logf("%d seeds from %d, no violation:", *seeds, *first)
	for _, what := range slices.Sorted(maps.Keys(seen)) {
		t.Logf("%10d %s", seen[what], what)
	}
	if *seeds < 100 {
		return
	}
	for _, what := range []string{
		"events", "duplicates", "gaps", "second events", "second duplicates", "second replayed", "batched events",
		"batched duplicates", "batched gaps", "batched late", "batched replayed", "batched shared batches",
		"moving events", "moving duplicates", "moving replayed", "moving lives", "moving changes",
	} {
		if seen[what] == 0 {
			t.Errorf("the simulation did not exercise what it is for: no %s", what)
		}
	}
}

// TestControl: the same runs with ordering switched off must be caught, or the checkers check nothing.
func TestControl(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*plan)
		check  func(*world) *ordercheck.Checker
	}{
		"hooks": {
			func(p *plan) { p.unordered, p.slots, p.keys, p.crashes = true, 8, 3, 0 },
			func(w *world) *ordercheck.Checker { return w.check },
		},
		"batches": {
			func(p *plan) { p.unorderedBatches, p.slots, p.keys, p.crashes, p.fail = true, 8, 3, 0, 0.3 },
			func(w *world) *ordercheck.Checker { return w.sites[1].check },
		},
	} {
		t.Run(name, func(t *testing.T) {
			caught, runs := 0, 50
			for i := range runs {
				w, _ := simulate(t, uint64(1000+i), c.change)
				if c.check(w).Report().Violations[ordercheck.OutOfOrder] > 0 {
					caught++
				}
			}
			if caught < runs*9/10 {
				t.Errorf("the checker caught %d of %d unordered runs", caught, runs)
			}
		})
	}
}

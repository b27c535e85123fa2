package simulation

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/delivery"
)

// sites makes the endpoints beside "hook".
func (w *world) makeSites() {
	at := func(name string) string { return "http://" + name }
	second := newSite(w, "second", w.rnd.Uint64(), delivery.Config{
		URLs: urlsAt(at("second"), true), Streams: []string{"live/s0", "live/s2"}, History: true, Window: w.plan.window,
	})
	second.faults.away = 1.0 / 40
	batched := newSite(w, "batched", w.rnd.Uint64(), delivery.Config{
		URLs: urlsAt(at("batched"), w.rnd.IntN(2) == 0), History: w.rnd.IntN(2) == 0, Window: w.plan.window,
		Format: delivery.FormatCloudEvents, Batch: []int{2, 5, 50}[w.rnd.IntN(3)], Concurrency: w.plan.slots,
		BatchBytes: []int{1500, 5000, 1 << 20}[w.rnd.IntN(3)], BatchWait: []time.Duration{0, 50 * time.Millisecond, 2 * time.Second}[w.rnd.IntN(3)],
		Unordered: w.plan.unorderedBatches,
	})
	batched.faults = faults{
		fail: w.plan.fail, reject: w.plan.reject / 4, hang: w.plan.hang, lost: w.plan.lost, away: 1.0 / 100,
		poison: w.rnd.IntN(2) == 0,
	}
	moving := newSite(w, "moving", w.rnd.Uint64(), delivery.Config{
		URLs: urlsAt(at("moving"), w.rnd.IntN(2) == 0), Window: w.plan.window, Concurrency: w.plan.slots,
	})
	moving.faults = faults{fail: w.plan.fail, reject: w.plan.reject / 2, hang: w.plan.hang / 2, lost: w.plan.lost, away: 1.0 / 200}
	second.fixed, batched.fixed = true, true
	w.sites = []*site{second, batched, moving}
	for _, s := range w.sites {
		s.life = s.newLife()
	}
}

// operate changes endpoints, asks for events again and lets them be, until the process ends.
func (w *world) operate(ctx context.Context) {
	for range w.plan.operations {
		if !w.sleep(ctx, w.upTo(40*time.Second)) {
			return
		}
		s := w.sites[w.pick(len(w.sites))]
		s.turn <- struct{}{}
		switch what := w.pick(12); {
		case what < 3:
			w.redrive(s)
		case what < 6:
			w.replay(ctx, s)
		case s.fixed:
		default:
			w.reconfigure(ctx, s, what)
		}
		<-s.turn
	}
}

func (w *world) reconfigure(ctx context.Context, s *site, what int) {
	switch what {
	case 6:
		url := fmt.Sprintf("http://moving-%d", w.pick(3))
		s.set(func(c *delivery.Config) { c.URLs = urlsAt(url, c.URLs[event.OnEventGap] != "") })
	case 7:
		streams := [][]string{nil, {"live/s0"}, {"live/s1", "live/s3"}, {"live/nothing"}}[w.pick(4)]
		history := w.pick(2) == 0
		s.set(func(c *delivery.Config) { c.Streams, c.History = streams, history })
	case 8:
		w.rotate(s)
	case 9:
		s.set(func(c *delivery.Config) { c.Paused = true })
		if w.sleep(ctx, w.upTo(2*time.Minute)) {
			s.set(func(c *delivery.Config) { c.Paused = false })
		}
	case 10:
		s.remove()
		if w.sleep(ctx, w.upTo(time.Minute)) {
			s.add(w.pick(2) == 0)
		}
	default:
		n := []int{0, 3, 50}[w.pick(3)]
		s.set(func(c *delivery.Config) { c.Format, c.Batch = delivery.FormatCloudEvents, n })
	}
}

// rotate gives the endpoint another secret, or none.
func (w *world) rotate(s *site) {
	if w.pick(4) == 0 {
		s.set(func(c *delivery.Config) { c.Signer = nil })
		return
	}
	secret := event.GenerateSecret().Reveal()
	signer, err := event.ParseSigner([]string{secret})
	if err != nil {
		w.fail(err)
		return
	}
	v, err := event.ParseVerifier([]string{secret})
	if err != nil {
		w.fail(err)
		return
	}
	s.mu.Lock()
	s.signers[fmt.Sprintf("%p", signer)] = v
	s.mu.Unlock()
	s.set(func(c *delivery.Config) { c.Signer = signer })
}

// redrive asks for all dead letters of the site.
func (w *world) redrive(s *site) {
	s.mu.Lock()
	ep := s.ep
	s.mu.Unlock()
	if ep == nil {
		return
	}
	dead, err := ep.DeadLetters()
	if err != nil {
		return // the process has died
	}
	for _, d := range dead {
		if err := ep.Redrive(d.Position); err != nil && w.alive() {
			w.fail(fmt.Errorf("%s: redrive: %w", s.name, err))
		}
	}
}

// replay sends a part of the journal again, for a while.
func (w *world) replay(ctx context.Context, s *site) {
	s.mu.Lock()
	ep := s.ep
	s.mu.Unlock()
	info := w.mem.Info()
	if ep == nil || info.Last < info.First {
		return
	}
	w.replays.Add(1)
	from := info.First + uint64(w.pick(int(info.Last-info.First)+1))
	rep, err := ep.Replay(delivery.Replay{ID: fmt.Sprintf("r%d", w.replays.Load()), From: from})
	if err != nil {
		return
	}
	w.sleep(ctx, w.upTo(3*time.Minute))
	rep.Close()
}

// replayAll sends everything that the journal has to a receiver that takes it, and counts.
func (w *world) replayAll(s *site) error {
	_, want, err := s.ep.CountReplay(delivery.Replay{})
	if err != nil {
		return nil //nolint:nilerr // the journal is empty
	}
	rep, err := s.ep.Replay(delivery.Replay{ID: "all"})
	if err != nil {
		return fmt.Errorf("%s: replay: %w", s.name, err)
	}
	defer rep.Close()
	time.Sleep(time.Hour)
	if st := rep.Stats(); st.Delivered != want || st.Floor != st.Tail || st.Lanes != 0 {
		return fmt.Errorf("%s: a replay of %d events ended with %+v", s.name, want, st)
	}
	return nil
}

func (w *world) sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

func (w *world) pick(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rnd.IntN(n)
}

// alive says that the process has not been killed and its journal writes.
func (w *world) alive() bool { return w.ctx.Err() == nil && w.mem.Healthy() == nil }

// publishEndpoints makes those that are there what records are handed to.
func (w *world) publishEndpoints() {
	all := []*delivery.Endpoint{w.ep}
	for _, s := range w.sites {
		s.mu.Lock()
		if s.ep != nil {
			all = append(all, s.ep)
		}
		s.mu.Unlock()
	}
	w.eps.Store(&all)
}

// keys returns the stream keys of the run.
func (w *world) keys() []string {
	out := []string{""}
	for i := range w.plan.keys {
		out = append(out, fmt.Sprintf("__defaultVhost__/live/s%d", i))
	}
	return slices.Clip(out)
}

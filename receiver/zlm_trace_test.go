package receiver_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookline/hookline/receiver"
	"github.com/hookline/hookline/receiver/receivertest"
)

var traces = flag.String("traces", "testdata/traces", "directory of the traces of TestTraces")

// outcome is what the kit made of an event.
type outcome struct {
	publication string
	certainty   receiver.Certainty
	late        bool
	count       int
}

// replayed is a trace as the kit saw it.
type replayed struct {
	r      *receiver.Receiver
	seen   map[string]*outcome // by type and hook_index of the attempt that was handled
	pubs   map[string]receiver.Publication
	begin  time.Time
	base   int64
	stats  receiver.Stats
	events int
}

// real returns a time of the kit on the clock of the trace.
func (p *replayed) real(t time.Time) int64 { return p.base + int64(t.Sub(p.begin)) }

// replayTrace sends a trace to a kit in virtual time. faithful: requests that were answered with a failure fail again.
func replayTrace(t *testing.T, hooks []receivertest.Request, faithful bool) *replayed {
	p := &replayed{seen: map[string]*outcome{}, base: hooks[0].At, pubs: map[string]receiver.Publication{}}
	var mu sync.Mutex
	synctest.Test(t, func(t *testing.T) {
		p.begin = time.Now()
		failing := func(ctx context.Context) error {
			if q, ok := receivertest.Recorded(ctx); ok && faithful && q.Status != 200 {
				return errors.New("as recorded")
			}
			return nil
		}
		r, err := receiver.New(
			quiet(), receiver.WithZLMediaKit(receiver.ZLMediaKit{}),
			receiver.OnPublish(func(ctx context.Context, _ *receiver.Event, _ *receiver.Publish) (receiver.PublishDecision, error) {
				return receiver.AllowPublish(receiver.PublishOptions{}), failing(ctx)
			}),
			receiver.OnStreamNoneReader(func(ctx context.Context, _ *receiver.Event, _ *receiver.StreamNoneReader) (bool, error) {
				return false, failing(ctx)
			}),
			receiver.OnAny(func(ctx context.Context, e *receiver.Event) error {
				if err := failing(ctx); err != nil {
					return err
				}
				var f fields
				if err := json.Unmarshal(e.Body, &f); err != nil {
					return err
				}
				mu.Lock()
				defer mu.Unlock()
				q, _ := receivertest.Recorded(ctx)
				key := keyOf(q.Path, f.Index)
				o := p.seen[key]
				if o == nil {
					o = &outcome{}
					p.seen[key] = o
				}
				o.publication, o.certainty, o.late = e.Publication, e.Certainty, e.Late
				o.count++
				p.events++
				return nil
			}),
		)
		if err != nil {
			t.Fatal(err)
		}
		_, changes, stop := r.Watch(20000)
		defer stop()
		if _, err := receivertest.ReplayTrace(t.Context(), r, hooks, 1); err != nil {
			t.Error(err)
		}
		time.Sleep(2 * time.Minute)
		for len(changes) > 0 {
			c := <-changes
			p.pubs[c.Publication.ID] = c.Publication
		}
		p.stats = r.Stats()
		if err := r.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		p.r = r
	})
	return p
}

// score is how far the kit's view is true.
type score struct {
	lives, found, spurious   int // publishers of which something arrived; those with one publication; publications without a publisher
	begun, ended             int // found, and the time is right
	endWrong, endUncertain   int
	exact, inferred, unknown int
	wrongExact               int
	wrongInferred            int
	wrongUnknown             int
	records, recordsRight    int
	lost, twice              int
	notes                    []string
}

func (s *score) String() string {
	return fmt.Sprintf("lives %d found %d spurious %d | begin right %d end right %d wrong %d uncertain %d | events exact %d inferred %d unknown %d, wrong %d %d %d | records %d right %d | lost %d twice %d",
		s.lives, s.found, s.spurious, s.begun, s.ended, s.endWrong, s.endUncertain, s.exact, s.inferred, s.unknown,
		s.wrongExact, s.wrongInferred, s.wrongUnknown, s.records, s.recordsRight, s.lost, s.twice)
}

func (s *score) note(format string, args ...any) {
	if len(s.notes) < 40 {
		s.notes = append(s.notes, fmt.Sprintf(format, args...))
	}
}

// judge compares what the kit says with the truth. faithful: what was answered with a failure twice has no effect.
func (tr *trace) judge(t *testing.T, p *replayed, list []*fact, of map[string]*fact, faithful bool) *score {
	t.Helper()
	s := &score{}
	pubOf := map[*truth]map[string]int{} // votes of registers and reports
	counts := map[*fact]int{}
	for key, o := range p.seen {
		e := of[key]
		if e == nil {
			t.Fatalf("%s was never sent", key)
		}
		counts[e] += o.count
		if e.life == nil {
			continue
		}
		if o.publication != "" && (e.f.Sock != nil || e.typ == "on_flow_report" && !e.f.Player) {
			if pubOf[e.life] == nil {
				pubOf[e.life] = map[string]int{}
			}
			pubOf[e.life][o.publication]++
		}
	}
	main := map[*truth]string{}
	owner := map[string]*truth{}
	for l, votes := range pubOf {
		s.lives++
		if len(votes) == 1 {
			s.found++
		} else {
			s.note("%s at %d: publications %v", l.Stream, l.Start, votes)
		}
		for id, n := range votes {
			if n > votes[main[l]] || main[l] == "" {
				main[l] = id
			}
		}
		owner[main[l]] = l
	}
	tr.judgeEvents(p, of, main, s)
	tr.judgeEnds(p, list, main, owner, s)
	for _, e := range list {
		if e.typ == "on_publish" || e.typ == "on_stream_none_reader" || e.typ == "on_server_keepalive" {
			continue
		}
		switch n := counts[e]; {
		case n > 1:
			s.twice++
			s.note("%s %s %+v handled %d times", e.typ, e.f.Stream, e.f, n)
		case n == 0 && (e.seen || !faithful && e.tries > 0 && !tr.onlyMissed(e)):
			s.lost++
			s.note("%s %s %s %d never handled", e.typ, e.f.Stream, e.f.Schema, e.f.Index)
		}
	}
	return s
}

// onlyMissed says that no attempt arrived.
func (tr *trace) onlyMissed(e *fact) bool { return !e.seen && len(tr.missed) > 0 }

func (tr *trace) judgeEvents(p *replayed, of map[string]*fact, main map[*truth]string, s *score) {
	for key, o := range p.seen {
		e := of[key]
		if e.life == nil || e.f.Stream == "" {
			continue
		}
		right := main[e.life] != "" && main[e.life] == o.publication
		if main[e.life] == "" && o.publication == "" {
			right = true
		}
		isRecord := strings.HasPrefix(e.typ, "on_record")
		if isRecord {
			s.records++
			if right {
				s.recordsRight++
			}
		}
		if refused := e.typ == "on_flow_report" && e.f.Player; !right && refused {
			continue // of a publisher that got no stream
		}
		if !right {
			s.note("%s %s %s (%d, %s): %s, %s, late %t, is %s", key, e.f.Stream, e.f.Schema, e.t0, e.f.FileName, o.publication, o.certainty, o.late, main[e.life])
		}
		n, wrong := &s.exact, &s.wrongExact
		switch o.certainty {
		case receiver.Inferred:
			n, wrong = &s.inferred, &s.wrongInferred
		case receiver.Unknown:
			n, wrong = &s.unknown, &s.wrongUnknown
		case receiver.Exact:
		}
		*n++
		if !right {
			*wrong++
		}
	}
}

func (tr *trace) judgeEnds(p *replayed, list []*fact, main map[*truth]string, owner map[string]*truth, s *score) {
	ends := map[*truth]bool{} // a sign of the end arrived at the first attempt
	for _, e := range list {
		if e.seen && e.life != nil && (e.typ == "on_flow_report" || e.f.Regist != nil && !*e.f.Regist) {
			ends[e.life] = true
		}
	}
	for id, pub := range p.pubs {
		l := owner[id]
		if l == nil {
			s.spurious++
			s.note("publication %s of %s is of nobody: %s %s uncertain %t", id, pub.Stream, pub.State, pub.Reason, pub.Uncertain)
			continue
		}
		since, ended := p.real(pub.Since), p.real(pub.EndedAt)
		if since > l.Start-int64(time.Second) && since < l.Start+6*int64(time.Second) {
			s.begun++
		} else {
			s.note("%s begins %d ms off", id, (since-l.Start)/1e6)
		}
		switch {
		case pub.State != receiver.Ended && !ends[l]:
			s.endUncertain++ // a ghost, until the list is read
		case pub.State != receiver.Ended:
			s.endWrong++
			s.note("%s of %s has not ended: %s %v", id, pub.Stream, pub.State, pub.Schemas)
		case abs(ended-l.End) < int64(1500*time.Millisecond):
			s.ended++
		case pub.EndCertainty == receiver.Exact:
			s.endWrong++
			s.note("%s of %s ends %d ms off, %s %s", id, pub.Stream, (ended-l.End)/1e6, pub.Reason, pub.EndCertainty)
		default:
			s.endUncertain++
			s.note("%s of %s ends %d ms off, %s %s (signs %t)", id, pub.Stream, (ended-l.End)/1e6, pub.Reason, pub.EndCertainty, ends[l])
		}
	}
}

// check says what no replay may show. Wrong is what is said to be known and is not. lost are effects that may be missing.
func (s *score) check(t *testing.T, lost int) {
	t.Helper()
	t.Log(s)
	if s.found != s.lives || s.begun != s.found {
		t.Errorf("%d publications of %d are found, %d with their beginning", s.found, s.lives, s.begun)
	}
	if s.endWrong > 0 || s.wrongExact > 0 || s.twice > 0 || s.lost > lost {
		t.Error("an end is wrong, an exact event is, or an effect is not there once")
	}
	if s.wrongInferred*200 > s.inferred {
		t.Errorf("%d of %d inferred events are wrong", s.wrongInferred, s.inferred)
	}
	if t.Failed() {
		for _, n := range s.notes {
			t.Log(n)
		}
	}
}

// TestTraces replays recordings of a real ZLMediaKit, in their time, and compares with the truth: each publisher of which
// something arrived is one publication, with its beginning, its end and its files; what can't be known is not said to be. As
// recorded: what was answered with a failure is answered so again. Otherwise each request is handled, so that retries are
// repetitions.
func TestTraces(t *testing.T) {
	for _, tr := range readTraces(t) {
		list, of := tr.facts(t)
		failures := slices.ContainsFunc(tr.hooks, func(h receivertest.Request) bool { return h.Status != 200 })
		for _, faithful := range []bool{true, false} {
			if !faithful && !failures {
				continue // it is the same
			}
			t.Run(fmt.Sprintf("%s/recorded answers=%t", tr.name, faithful), func(t *testing.T) {
				s := tr.judge(t, replayTrace(t, tr.hooks, faithful), list, of, faithful)
				s.check(t, 0)
				if s.spurious > 0 {
					t.Errorf("%d publications are nobody's", s.spurious)
				}
			})
		}
	}
}

// TestTracesPerturbed replays the recordings with what else may happen on the way: other delays, losses, proxies that repeat.
func TestTracesPerturbed(t *testing.T) {
	for i, tr := range readTraces(t) {
		if testing.Short() && i%2 == 0 {
			continue
		}
		list, of := tr.facts(t)
		for seed := range uint64(1) {
			for what, p := range map[string]perturbation{
				"delay": {jitter: 250 * time.Millisecond}, "loss": {drop: 0.05}, "repetition": {repeat: 0.1},
				"all": {jitter: 100 * time.Millisecond, drop: 0.02, repeat: 0.05},
			} {
				if testing.Short() && what != "all" {
					continue
				}
				t.Run(fmt.Sprintf("%s/%s/%d", tr.name, what, seed), func(t *testing.T) {
					hooks := p.apply(tr.hooks, rand.New(rand.NewPCG(seed, 7)))
					arrived := map[*fact]bool{}
					for _, h := range hooks {
						var f fields
						if err := json.Unmarshal(h.Body, &f); err != nil {
							t.Fatal(err)
						}
						if h.Status == 200 {
							arrived[of[keyOf(h.Path, f.Index)]] = true
						}
					}
					for _, e := range list {
						e.seen = arrived[e]
					}
					tr.judge(t, replayTrace(t, hooks, true), list, of, true).check(t, int(p.drop*float64(len(hooks))/20))
				})
			}
		}
	}
}

// TestTracesRestart: the process of one recording is killed and that of another begins, whether that is told or not.
func TestTracesRestart(t *testing.T) {
	all := readTraces(t)
	for i, before := range all {
		after := all[(i+1)%len(all)]
		if testing.Short() && i > 0 {
			continue
		}
		for _, told := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s-%s/told=%t", before.name, after.name, told), func(t *testing.T) {
				tr := restarted(before, after, 30*time.Second, told)
				list, of := tr.facts(t)
				p := replayTrace(t, tr.hooks, true)
				s := tr.judge(t, p, list, of, true)
				s.check(t, 0)
				if n := p.stats.Restarts; n != 1 {
					t.Errorf("%d restarts", n)
				}
			})
		}
	}
}

// restarted makes one trace of two: the first is cut, the second follows.
func restarted(before, after *trace, at time.Duration, told bool) *trace {
	out := &trace{lives: map[string][]*truth{}}
	cut := before.hooks[0].At + int64(at)
	gap := cut + int64(2*time.Second) - after.hooks[0].At
	for _, h := range before.hooks {
		if h.At < cut {
			h.Path = "/1/" + filepath.Base(h.Path)
			out.hooks = append(out.hooks, h)
		}
	}
	for _, h := range after.hooks {
		if told || !strings.HasSuffix(h.Path, "on_server_started") {
			h.At, h.Path = h.At+gap, "/2/"+filepath.Base(h.Path)
			out.hooks = append(out.hooks, h)
		}
	}
	for _, m := range before.missed {
		if m.at < cut {
			m.Path = "/1/" + filepath.Base(m.Path)
			out.missed = append(out.missed, m)
		}
	}
	for _, m := range after.missed {
		m.at, m.Path = m.at+gap, "/2/"+filepath.Base(m.Path)
		out.missed = append(out.missed, m)
	}
	for _, list := range before.lives {
		for _, l := range list {
			if l.Start < cut {
				out.lives[l.Stream] = append(out.lives[l.Stream], &truth{Stream: l.Stream, Start: l.Start, End: min(l.End, cut)})
			}
		}
	}
	for _, list := range after.lives {
		for _, l := range list {
			out.lives[l.Stream] = append(out.lives[l.Stream], &truth{Stream: l.Stream, Start: l.Start + gap, End: l.End + gap})
		}
	}
	return out
}

// perturbation is what is done to a recording.
type perturbation struct {
	jitter       time.Duration // is added to each arrival
	drop, repeat float64       // parts of the requests
}

func (p perturbation) apply(hooks []receivertest.Request, rng *rand.Rand) []receivertest.Request {
	var out []receivertest.Request
	for _, h := range hooks {
		if rng.Float64() < p.drop && !strings.HasSuffix(h.Path, "on_server_started") {
			continue
		}
		if h.Status == 200 { // what is refused later is retried later
			h.At += rng.Int64N(int64(p.jitter) + 1)
		}
		out = append(out, h)
		if rng.Float64() < p.repeat {
			h.At += rng.Int64N(int64(100 * time.Millisecond))
			out = append(out, h)
		}
	}
	slices.SortStableFunc(out, func(a, b receivertest.Request) int { return cmp.Compare(a.At, b.At) })
	return out
}

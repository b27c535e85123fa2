package receiver_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookline/hookline/receiver"
	"github.com/hookline/hookline/receiver/receivertest"
)

var traces = flag.String("traces", "testdata/traces", "directory of the traces of TestTraces")

// truth is one publisher process.
type truth struct {
	Stream string `json:"stream"`
	Start  int64  `json:"start_ns"`
	End    int64  `json:"end_ns"`
	Err    string `json:"err"`
}

// trace is a recording with its truth.
type trace struct {
	name   string
	hooks  []receivertest.Request
	lives  map[string][]*truth // of each stream, in order
	missed []missed
}

type missed struct {
	FailedAt string          `json:"failed_at"`
	Path     string          `json:"path"`
	Body     json.RawMessage `json:"body"`
	at       int64
}

func readLines[T any](t *testing.T, name string) []T {
	t.Helper()
	f, err := os.Open(name)
	if errors.Is(err, os.ErrNotExist) && strings.Contains(name, "missed") {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines, err := receivertest.ReadLines[T](f)
	if err != nil {
		t.Fatal(name, err)
	}
	return lines
}

func readTraces(t *testing.T) []*trace {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(*traces, "*.hooks.jsonl.gz"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no traces in %s: %v", *traces, err)
	}
	var out []*trace
	for _, n := range names {
		base := strings.TrimSuffix(n, ".hooks.jsonl.gz")
		tr := &trace{name: filepath.Base(base), hooks: readLines[receivertest.Request](t, n), lives: map[string][]*truth{}}
		slices.SortStableFunc(tr.hooks, func(a, b receivertest.Request) int { return cmp.Compare(a.At, b.At) })
		for _, l := range readLines[truth](t, base+".lives.jsonl.gz") {
			tr.lives[l.Stream] = append(tr.lives[l.Stream], &l)
		}
		for _, l := range tr.lives {
			sort.Slice(l, func(i, j int) bool { return l[i].Start < l[j].Start })
		}
		tr.missed = readLines[missed](t, base+".missed.jsonl.gz")
		for i := range tr.missed {
			at, err := time.Parse("2006-01-02 15:04:05.999999999", tr.missed[i].FailedAt)
			if err != nil {
				t.Fatal(err)
			}
			tr.missed[i].at = at.UnixNano()
		}
		out = append(out, tr)
	}
	return out
}

// fields are the members of hooks that the truth is found by.
type fields struct {
	Stream   string                       `json:"stream"`
	Schema   string                       `json:"schema"`
	Regist   *bool                        `json:"regist"`
	ID       string                       `json:"id"`
	Create   int64                        `json:"createStamp"`
	Sock     *struct{ Identifier string } `json:"originSock"`
	Player   bool                         `json:"player"`
	TimeLen  float64                      `json:"time_len"`
	FileName string                       `json:"file_name"`
	Index    int64                        `json:"hook_index"`
}

// fact is an event with its attempts, and the life that it is really about.
type fact struct {
	typ   string
	f     fields
	t0    int64 // first attempt, Unix ns
	life  *truth
	seen  bool // an attempt arrived that was answered with 200
	tries int
	last  int64
}

// facts groups attempts into events, by what only the truth knows: which were answered with a failure, and which were missed.
func (tr *trace) facts(t *testing.T) (list []*fact, of map[string]*fact) {
	t.Helper()
	type attempt struct {
		at     int64
		path   string
		status int
		body   json.RawMessage
		missed bool
	}
	var all []attempt
	for _, h := range tr.hooks {
		all = append(all, attempt{h.At, h.Path, h.Status, h.Body, false})
	}
	for _, m := range tr.missed {
		all = append(all, attempt{m.at, m.Path, 0, m.Body, true})
	}
	sort.SliceStable(all, func(i, j int) bool { return all[i].at < all[j].at })
	open := map[string]*fact{} // failed and not retried yet, by content
	of = map[string]*fact{}
	for _, a := range all {
		var m map[string]any
		if err := json.Unmarshal(a.body, &m); err != nil {
			t.Fatal(err)
		}
		key := fmt.Sprintf("%s %v", filepath.Base(a.path), m["hook_index"])
		delete(m, "hook_index")
		b, _ := json.Marshal(m)
		content := filepath.Base(a.path) + string(b)
		e := open[content]
		if e == nil {
			e = &fact{typ: filepath.Base(a.path), t0: a.at}
			if err := json.Unmarshal(a.body, &e.f); err != nil {
				t.Fatal(err)
			}
			list = append(list, e)
		}
		e.tries++
		e.last = a.at
		delete(open, content)
		if a.status != 200 && e.tries < 2 {
			open[content] = e
		}
		e.seen = e.seen || a.status == 200
		of[key] = e
	}
	tr.assign(list)
	return list, of
}

// assign finds the life of each fact.
func (tr *trace) assign(list []*fact) {
	sessions, stamps := map[string]*truth{}, map[string]*truth{}
	at := func(stream string, ns int64) *truth {
		var best *truth
		for _, l := range tr.lives[stream] {
			if l.Start <= ns {
				best = l
			}
		}
		return best
	}
	for _, e := range list {
		if e.typ == "on_publish" {
			e.life = at(e.f.Stream, e.t0)
			sessions[e.f.ID] = e.life
		}
	}
	for _, e := range list {
		switch {
		case e.f.Sock != nil:
			e.life = sessions[e.f.Sock.Identifier]
			stamps[fmt.Sprint(e.f.Stream, e.f.Create)] = e.life
		case e.typ == "on_flow_report":
			e.life = sessions[e.f.ID]
		}
	}
	for _, e := range list {
		switch {
		case e.life != nil || e.f.Stream == "":
		case e.f.Regist != nil && *e.f.Regist:
			e.life = stamps[fmt.Sprint(e.f.Stream, e.f.Create)]
		case e.f.Regist != nil: // raised when the process ended
			for _, l := range tr.lives[e.f.Stream] {
				if d := e.t0 - l.End; e.life == nil || abs(d) < abs(e.t0-e.life.End) {
					e.life = l
				}
			}
		default:
			e.life = at(e.f.Stream, e.t0-int64(e.f.TimeLen*5e8))
		}
	}
}

func abs(n int64) int64 { return max(n, -n) }

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
				key := fmt.Sprintf("%s %d", e.Type, f.Index)
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
	for _, tr := range readTraces(t) {
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
							arrived[of[fmt.Sprintf("%s %d", filepath.Base(h.Path), f.Index)]] = true
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
		h.At += rng.Int64N(int64(p.jitter) + 1)
		out = append(out, h)
		if rng.Float64() < p.repeat {
			h.At += rng.Int64N(int64(100 * time.Millisecond))
			out = append(out, h)
		}
	}
	slices.SortStableFunc(out, func(a, b receivertest.Request) int { return cmp.Compare(a.At, b.At) })
	return out
}

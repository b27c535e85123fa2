package receiver_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
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
	seen  map[*receivertest.Request]*outcome // by the attempt that was handled
	pubs  map[string]receiver.Publication    // as they were last
	begin time.Time
	base  int64
	stats receiver.Stats
}

// real returns a time of the kit on the clock of the trace.
func (p *replayed) real(t time.Time) int64 { return p.base + int64(t.Sub(p.begin)) }

// replaying says how a trace is sent to a kit.
type replaying struct {
	options  receiver.ZLMediaKit
	faithful bool // requests that were answered with a failure fail again
	replace  func(stream string) string
}

// replayTrace sends a trace to a kit in virtual time.
func replayTrace(t *testing.T, hooks []receivertest.Request, how replaying) *replayed {
	p := &replayed{seen: map[*receivertest.Request]*outcome{}, base: hooks[0].At, pubs: map[string]receiver.Publication{}}
	var mu sync.Mutex
	synctest.Test(t, func(t *testing.T) {
		p.begin = time.Now()
		failing := func(ctx context.Context) error {
			if q, ok := receivertest.Recorded(ctx); ok && how.faithful && q.Status != 200 {
				return errors.New("as recorded")
			}
			return nil
		}
		r, err := receiver.New(
			quiet(), receiver.WithZLMediaKit(how.options),
			receiver.OnPublish(func(ctx context.Context, _ *receiver.Event, b *receiver.Publish) (receiver.PublishDecision, error) {
				var o receiver.PublishOptions
				if how.replace != nil {
					o.StreamReplace = how.replace(b.Stream)
				}
				return receiver.AllowPublish(o), failing(ctx)
			}),
			receiver.OnStreamNoneReader(func(ctx context.Context, _ *receiver.Event, _ *receiver.StreamNoneReader) (bool, error) {
				return false, failing(ctx)
			}),
			receiver.OnAny(func(ctx context.Context, e *receiver.Event) error {
				if err := failing(ctx); err != nil {
					return err
				}
				mu.Lock()
				defer mu.Unlock()
				q, _ := receivertest.Recorded(ctx)
				o := p.seen[q]
				if o == nil {
					o = &outcome{}
					p.seen[q] = o
				}
				o.publication, o.certainty, o.late = e.Publication, e.Certainty, e.Late
				o.count++
				return nil
			}),
		)
		if err != nil {
			t.Fatal(err)
		}
		_, changes, stop := r.Watch(50000)
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
	})
	return p
}

// score is how far the kit's view is true.
type score struct {
	lives, found, spurious   int // publications of which something arrived that names them; those that are one; those that are none
	begun, ended             int // found, and the time is right
	endWrong, endUncertain   int
	exact, inferred, unknown int
	wrongExact               int
	wrongInferred            int
	wrongUnknown             int
	records, recordsRight    int
	recordsUncertain         int // not right, and said to be Unknown
	lost, twice              int
	vagueLost, vagueTwice    int // of unregisters, of which a retry has no other content than the next one
	notes                    []string
}

func (s *score) String() string {
	return fmt.Sprintf("lives %d found %d spurious %d | begin right %d end right %d wrong %d uncertain %d | events exact %d inferred %d unknown %d, wrong %d %d %d | records %d right %d uncertain %d | lost %d+%d twice %d+%d",
		s.lives, s.found, s.spurious, s.begun, s.ended, s.endWrong, s.endUncertain, s.exact, s.inferred, s.unknown,
		s.wrongExact, s.wrongInferred, s.wrongUnknown, s.records, s.recordsRight, s.recordsUncertain, s.lost, s.vagueLost, s.twice, s.vagueTwice)
}

func (s *score) note(format string, args ...any) {
	if len(s.notes) < 400 {
		s.notes = append(s.notes, fmt.Sprintf(format, args...))
	}
}

// names says that an event names its publication by what is unique.
func (e *fact) names() bool {
	return e.f.Sock != nil || e.typ == "on_flow_report" && !e.f.Player && e.f.ID != e.f.Stream
}

// vague says that the next event of its kind has the same content.
func (e *fact) vague() bool { return e.f.Regist != nil && !*e.f.Regist }

// scene is a trace with the truth about what of it arrived.
type scene struct {
	hooks []receivertest.Request
	list  []*fact
	of    map[*receivertest.Request]*fact
	slack time.Duration // of the clocks
}

// judge compares what the kit says with the truth.
func (sc *scene) judge(t *testing.T, p *replayed) *score {
	t.Helper()
	s := &score{}
	votes, weak := map[*truth]map[string]int{}, map[*truth]map[string]int{}
	counts := map[*fact]int{}
	for q, o := range p.seen {
		e := sc.of[q]
		if e == nil {
			t.Fatalf("%s %s was never sent", q.Path, q.Body)
		}
		counts[e] += o.count
		if e.life == nil || o.publication == "" {
			continue
		}
		of := weak
		if e.names() {
			of = votes
		}
		if of[e.life] == nil {
			of[e.life] = map[string]int{}
		}
		of[e.life][o.publication]++
	}
	main, owner := map[*truth]string{}, map[string]*truth{}
	expected := map[*truth]bool{}
	for _, e := range sc.list {
		if e.seen && e.life != nil && e.names() {
			expected[e.life] = true
		}
	}
	s.lives = len(expected)
	for l, v := range votes {
		if len(v) == 1 {
			s.found++
		} else {
			s.note("%s at %d: publications %v", l.Stream, l.Start, v)
		}
		main[l] = most(v)
		if owner[main[l]] != nil {
			s.found--
			s.note("%s at %d and at %d are one publication", l.Stream, l.Start, owner[main[l]].Start)
		}
		owner[main[l]] = l
	}
	for l, v := range weak {
		if id := most(v); main[l] == "" && owner[id] == nil {
			main[l], owner[id] = id, l
		}
	}
	sc.judgeEvents(p, main, s)
	sc.judgeEnds(p, owner, s)
	sc.judgeEffects(counts, s)
	return s
}

func most(votes map[string]int) string {
	best := ""
	for id, n := range votes {
		if best == "" || n > votes[best] || n == votes[best] && id < best {
			best = id
		}
	}
	return best
}

func (sc *scene) judgeEffects(counts map[*fact]int, s *score) {
	for _, e := range sc.list {
		if e.typ == "on_publish" || e.typ == "on_stream_none_reader" || e.typ == "on_server_keepalive" {
			continue
		}
		lost, twice := &s.lost, &s.twice
		if e.vague() {
			lost, twice = &s.vagueLost, &s.vagueTwice
		}
		switch n := counts[e]; {
		case n > 1:
			*twice++
			s.note("%s %s %+v handled %d times", e.typ, e.f.Stream, e.f, n)
		case n == 0 && e.seen:
			*lost++
			s.note("%s %s %s %d never handled", e.typ, e.f.Stream, e.f.Schema, e.f.Index)
		}
	}
}

func (sc *scene) judgeEvents(p *replayed, main map[*truth]string, s *score) {
	for q, o := range p.seen {
		e := sc.of[q]
		if e.life == nil || e.f.Stream == "" {
			continue
		}
		right := main[e.life] == o.publication
		isRecord := strings.HasPrefix(e.typ, "on_record")
		if isRecord {
			s.records++
			if right {
				s.recordsRight++
			} else if o.certainty == receiver.Unknown {
				s.recordsUncertain++
			}
		}
		if refused := e.typ == "on_flow_report" && e.f.Player; !right && refused {
			continue // of a publisher that got no stream
		}
		if !right {
			s.note("%s %s %s (%d, %d, %s): %s, %s, late %t, is %s", e.typ, e.f.Stream, e.f.Schema, e.f.Index, q.At, e.f.FileName, o.publication, o.certainty, o.late, main[e.life])
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

// told says what of the end of each life arrived: the report, or an unregister of what can't be switched off, or several.
func (sc *scene) told() (out, reported map[*truth]bool) {
	weak := map[*truth]int{}
	out, reported = map[*truth]bool{}, map[*truth]bool{}
	for _, e := range sc.list {
		if !e.seen || e.life == nil {
			continue
		}
		switch {
		case e.typ == "on_flow_report" && !e.f.Player:
			out[e.life], reported[e.life] = true, true
		case e.vague() && (e.f.Schema == "rtsp" || e.f.Schema == "rtmp"):
			out[e.life] = true
		case e.vague():
			if weak[e.life]++; weak[e.life] > 1 {
				out[e.life] = true
			}
		}
	}
	return out, reported
}

func (sc *scene) judgeEnds(p *replayed, owner map[string]*truth, s *score) {
	ends, reported := sc.told()
	for id, pub := range p.pubs {
		l := owner[id]
		if l == nil {
			s.spurious++
			s.note("publication %s of %s is of nobody: %s %s uncertain %t since %d", id, pub.Stream, pub.State, pub.Reason, pub.Uncertain, p.real(pub.Since))
			continue
		}
		since, ended := p.real(pub.Since), p.real(pub.EndedAt)
		if since > l.Start-int64(time.Second+sc.slack) && since < l.Start+6*int64(time.Second) {
			s.begun++
		} else {
			s.note("%s begins %d ms off, uncertain %t", id, (since-l.Start)/1e6, pub.Uncertain)
		}
		switch {
		case pub.State != receiver.Ended && !ends[l]:
			s.endUncertain++ // a ghost, until the list is read
		case pub.State != receiver.Ended:
			s.endWrong++
			s.note("%s of %s has not ended: %s %v", id, pub.Stream, pub.State, pub.Schemas)
		case abs(ended-l.End) < int64(1500*time.Millisecond+sc.slack):
			s.ended++
		case pub.EndCertainty == receiver.Exact || !pub.Uncertain && reported[l]:
			s.endWrong++
			s.note("%s of %s ends %d ms off, %s %s uncertain %t:%s", id, pub.Stream, (ended-l.End)/1e6, pub.Reason, pub.EndCertainty, pub.Uncertain, sc.story(l, p))
		default:
			s.endUncertain++
			s.note("%s of %s ends %d ms off, %s %s (signs %t)", id, pub.Stream, (ended-l.End)/1e6, pub.Reason, pub.EndCertainty, ends[l])
		}
	}
}

// story tells what arrived of a life, in seconds from its end.
func (sc *scene) story(l *truth, p *replayed) string {
	var b strings.Builder
	for i := range sc.hooks {
		q := &sc.hooks[i]
		e := sc.of[q]
		if e.life != l {
			continue
		}
		sign := ""
		if e.f.Regist != nil && *e.f.Regist {
			sign = "+"
		}
		fmt.Fprintf(&b, " %.3f:%s%s%s", float64(q.At-l.End)/1e9, strings.TrimPrefix(e.typ, "on_"), sign, e.f.Schema)
		if q.Status != 200 {
			b.WriteString("!")
		}
		if o := p.seen[q]; o != nil {
			fmt.Fprintf(&b, "(%s %s)", o.publication, o.certainty)
		}
	}
	return b.String()
}

// check says what no replay may show: what is said to be known and is not.
func (s *score) check(t *testing.T) {
	t.Helper()
	t.Log(s)
	if s.found != s.lives || s.begun != s.found {
		t.Errorf("%d publications of %d are found, %d with their beginning", s.found, s.lives, s.begun)
	}
	if s.spurious > 0 {
		t.Errorf("%d publications are nobody's", s.spurious)
	}
	if s.endWrong > 0 || s.wrongExact > 0 || s.twice > 0 || s.lost > 0 {
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
		failures := slices.ContainsFunc(tr.hooks, func(h receivertest.Request) bool { return h.Status != 200 })
		for _, faithful := range []bool{true, false} {
			if !faithful && !failures {
				continue // it is the same
			}
			t.Run(fmt.Sprintf("%s/recorded answers=%t", tr.name, faithful), func(t *testing.T) {
				list, of := tr.facts(t)
				for _, e := range of {
					e.seen = e.seen || !faithful
				}
				sc := &scene{hooks: tr.hooks, list: list, of: of}
				s := sc.judge(t, replayTrace(t, sc.hooks, replaying{faithful: faithful}))
				s.check(t)
				if s.vagueLost > 0 || s.vagueTwice > 0 {
					t.Error("an unregister has not had one effect")
				}
			})
		}
	}
}

package demo

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/ordercheck"
	"github.com/hookline/hookline/internal/pubtool"
)

// at is a time of the tests, in seconds.
func at(s float64) time.Time {
	return time.Unix(1_000_000, 0).Add(time.Duration(s * float64(time.Second)))
}

// attempt of the stream a, named by its parameter. accepted < 0: it was not; ended < 0: it is live.
func attempt(name string, accepted, ended float64, end pubtool.End) pubtool.Publication {
	p := pubtool.Publication{
		ID: name, Key: "demo/a", Params: name, Started: at(accepted - 0.01), End: end, Messages: 20,
	}
	if accepted >= 0 {
		p.Accepted = at(accepted)
	} else {
		p.Started = at(-accepted)
	}
	if ended >= 0 {
		p.Ended = at(ended)
	}
	return p
}

// brief is the short form of facts: one letter each, and a "!" for what the crash raised. The registers of all schemas are
// one letter; a "?" says that some are missing.
func brief(facts []raised) string {
	var out []string
	others := 0
	for _, f := range facts {
		if _, schema, ok := strings.Cut(f.fact.What, "register:"); ok && schema != "rtmp" {
			others++
			continue
		}
		letter := map[string]string{"register:rtmp": "R", "unregister:rtmp": "U", "publisher": "F", "": "E"}[f.fact.What]
		if f.byCrash {
			letter += "!"
		}
		out = append(out, f.fact.Params+":"+letter)
		if letter[0] == 'R' || letter[0] == 'U' {
			others -= len(schemas()) - 1
		}
	}
	if others != 0 && len(facts) > 1 {
		out = append(out, "?")
	}
	return strings.Join(out, " ")
}

func TestRule(t *testing.T) {
	clean, reset, lost := pubtool.EndUnpublish, pubtool.EndReset, pubtool.EndLost
	noMedia := attempt("a", 1, 1.2, clean)
	noMedia.Messages = 2
	unheard := attempt("a", 1, 1.4, clean)
	unheard.Error = "deadline exceeded"
	unanswered := attempt("a", -9.9, 10, pubtool.EndUnanswered)
	kill := []crash{{from: at(10), to: at(10.2)}}
	for _, c := range []struct {
		name     string
		crashes  []crash
		attempts []pubtool.Publication
		seen     string // facts that arrived, in the short form
		want     string
		// uncertain and resumed publications.
		uncertain, resumed int
	}{
		{name: "goodbye after media", attempts: []pubtool.Publication{attempt("a", 1, 1.4, clean)}, want: "a:R a:F a:U a:E"},
		{name: "goodbye before media", attempts: []pubtool.Publication{noMedia}, want: "a:F a:E", uncertain: 1},
		{name: "goodbye that nobody confirmed", attempts: []pubtool.Publication{unheard}, want: "a:F a:E", uncertain: 1},
		{name: "reset after a second", attempts: []pubtool.Publication{attempt("a", 1, 2, reset)}, want: "a:R a:F a:U a:E"},
		{name: "reset too early", attempts: []pubtool.Publication{attempt("a", 1, 1.5, reset)}, want: "a:F a:E", uncertain: 1},
		{
			name: "reset too early, but shown", attempts: []pubtool.Publication{attempt("a", 1, 1.5, reset)}, seen: "a:R",
			want: "a:R a:F a:U a:E", uncertain: 1,
		},
		{name: "live", attempts: []pubtool.Publication{attempt("a", 1, -1, "")}, want: "a:R"},
		{name: "ended by the server", attempts: []pubtool.Publication{attempt("a", 1, 3, lost)}, want: "a:R a:F a:U a:E"},
		{
			name: "live at the crash", crashes: kill, attempts: []pubtool.Publication{attempt("a", 8, 10.1, lost)},
			want: "a:R a:U! a:E!", uncertain: 1,
		},
		{
			name: "accepted right before the crash", crashes: kill,
			attempts: []pubtool.Publication{attempt("a", 9.5, 10.1, lost)}, want: "", uncertain: 1,
		},
		{
			name: "accepted right before the crash, begun when it was shown", crashes: kill,
			attempts: []pubtool.Publication{attempt("a", 9.5, 10.1, lost)}, seen: "a:E", want: "a:E!", uncertain: 1,
		},
		{
			name: "accepted right before the crash, registered when that was shown", crashes: kill,
			attempts: []pubtool.Publication{attempt("a", 9.5, 10.1, lost)}, seen: "a:R", want: "a:R a:U! a:E!", uncertain: 1,
		},
		{
			name: "goodbye right before the crash", crashes: kill,
			attempts: []pubtool.Publication{attempt("a", 8, 9.5, clean)}, want: "a:R a:U a:E", uncertain: 1,
		},
		{
			name: "goodbye right before the crash, report shown", crashes: kill,
			attempts: []pubtool.Publication{attempt("a", 8, 9.5, clean)}, seen: "a:F", want: "a:R a:F a:U a:E", uncertain: 1,
		},
		{
			name: "grace period cut by the crash", crashes: kill,
			attempts: []pubtool.Publication{attempt("a", 5, 8, reset)}, want: "a:R a:F a:U! a:E!",
		},
		{
			name: "no answer before the crash", crashes: kill, attempts: []pubtool.Publication{unanswered}, want: "", uncertain: 1,
		},
		{
			name: "no answer before the crash, but shown", crashes: kill,
			attempts: []pubtool.Publication{unanswered}, seen: "a:E", want: "a:E!", uncertain: 1,
		},
		{
			name:     "resumed",
			attempts: []pubtool.Publication{attempt("a", 1, 2.5, reset), attempt("b", 3, 3.3, clean)},
			want:     "a:R a:F b:F a:U a:E", resumed: 1,
		},
		{
			name:     "resumed, order of the log does not matter",
			attempts: []pubtool.Publication{attempt("b", 3, 3.3, clean), attempt("a", 1, 2.5, reset)},
			want:     "a:R a:F b:F a:U a:E", resumed: 1,
		},
		{
			name:     "resumed or not",
			attempts: []pubtool.Publication{attempt("a", 1, 2.5, reset), attempt("b", 5.4, 7, clean)},
			want:     "a:R a:F a:U a:E b:F", uncertain: 1,
		},
		{
			name:     "resumed or not, shown as a publication of its own",
			attempts: []pubtool.Publication{attempt("a", 1, 2.5, reset), attempt("b", 5.4, 7, clean)},
			seen:     "b:U", want: "a:R a:F a:U a:E b:R b:F b:U b:E", uncertain: 1,
		},
		{
			name:     "published again after a goodbye",
			attempts: []pubtool.Publication{attempt("a", 1, 2.5, clean), attempt("b", 2.6, 4, clean)},
			want:     "a:R a:F a:U a:E b:R b:F b:U b:E",
		},
		{
			name: "published again after the crash", crashes: kill,
			attempts: []pubtool.Publication{attempt("a", 8, 10.1, lost), attempt("b", 10.5, 12, clean)},
			want:     "a:R a:U! a:E! b:R b:F b:U b:E", uncertain: 1,
		},
		{
			name: "reset, then published again after the crash", crashes: kill,
			attempts: []pubtool.Publication{attempt("a", 6, 9.9, reset), attempt("b", 10.5, 12, clean)},
			want:     "a:R a:U! a:E! b:R b:F b:U b:E", uncertain: 1,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := rule{crashes: c.crashes}.apply(c.attempts, func(f ordercheck.Fact) bool {
				if what, _, ok := strings.Cut(f.What, ":"); ok { // a letter stands for every schema
					f.What = what + ":" + schemas()[0]
				}
				return slices.Contains(strings.Fields(c.seen), brief([]raised{{fact: f}}))
			})
			if got := brief(o.facts); got != c.want {
				t.Errorf("facts %q, want %q", got, c.want)
			}
			if o.uncertain != c.uncertain || o.resumed != c.resumed {
				t.Errorf("%d uncertain and %d resumed, want %d and %d", o.uncertain, o.resumed, c.uncertain, c.resumed)
			}
		})
	}
}

func TestRefusedAttemptsOweNothing(t *testing.T) {
	refused := attempt("x", -1, 1.1, pubtool.EndRefused)
	attempts := []pubtool.Publication{attempt("a", 0.1, 0.9, pubtool.EndUnpublish), refused}
	nothing := func(ordercheck.Fact) bool { return false }
	o := rule{}.apply(attempts, nothing)
	if got := brief(o.facts); got != "a:R a:F a:U a:E" || o.refused != 1 || len(o.unexpected) != 0 {
		t.Errorf("facts %q, %d refused, unexpected %v", got, o.refused, o.unexpected)
	}
	o = rule{}.apply(attempts, func(f ordercheck.Fact) bool { return f.Params == "x" && f.Type == event.OnPublicationEnded })
	if len(o.unexpected) != 1 {
		t.Errorf("unexpected: %v", o.unexpected)
	}
}

func TestFactLog(t *testing.T) {
	l := newFactLog()
	a, b := attempt("a", 1, 2, pubtool.EndUnpublish), attempt("b", 3, -1, "")
	l.accepted(a)
	l.ended(a)
	l.accepted(b)
	l.killing(at(4))
	if live, over := l.counts(); live != 1 || over != 1 {
		t.Errorf("%d live, %d over", live, over)
	}
	attempts, r := l.attempts()
	if len(attempts) != 2 || r.safe(at(3.5), at(3.6)) || !r.safe(at(1), at(2)) {
		t.Errorf("attempts %v, rule %v", attempts, r)
	}
	if r.safe(at(20), at(21)) {
		t.Error("the server is not back, but something is safe")
	}
	l.killed(at(5))
	if _, r = l.attempts(); !r.safe(at(5.1), at(6)) {
		t.Error("after the restart nothing is safe")
	}
}

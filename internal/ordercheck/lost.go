package ordercheck

import "github.com/hookline/hookline/event"

// Fact is one event that an observer outside the server knows must have happened.
type Fact struct {
	// Stream is the key after stream_replace.
	Stream string `json:"stream"`
	// Publication and Params tell publications of one key apart: by id, or by a query string of their own, for an
	// observer who can't know the id. "" means any. All facts of one log should use the same of the two.
	Publication string     `json:"publication,omitempty"`
	Params      string     `json:"params,omitempty"`
	Type        event.Type `json:"type"`
	// What is as returned by the function What.
	What string `json:"what,omitempty"`
}

// Loss is the outcome of a comparison.
type Loss struct {
	// Expected is the number of facts, Received of those whose event was accepted.
	Expected, Received int
	// Announced is the number of facts whose event was not accepted but can be among those named in gap notices of
	// their key and type. A notice with several types counts fully for each, so that this is an upper bound.
	Announced int
	// Lost are the facts of which nothing was ever heard.
	Lost []Fact
}

// What returns what sets an event apart from others of its type: "register:SCHEMA" or "unregister:SCHEMA" for
// on_stream_changed, "player" or "publisher" for on_flow_report, "request" for a decision or question that has no
// seq, otherwise "".
func What(b *Body) string {
	class := event.ClassOf(b.Event.Type)
	switch {
	case b.Event.Seq == 0 && (class == event.Decision || class == event.Question):
		return "request"
	case b.Event.Type == event.OnStreamChanged && b.Regist != nil && *b.Regist:
		return "register:" + b.Schema
	case b.Event.Type == event.OnStreamChanged:
		return "unregister:" + b.Schema
	case b.Event.Type == event.OnFlowReport && b.Player != nil && *b.Player:
		return "player"
	case b.Event.Type == event.OnFlowReport:
		return "publisher"
	}
	return ""
}

// ledger counts what was accepted, for comparison with a log of facts.
type ledger struct {
	keep  bool
	seen  map[factName]map[owner]int
	named map[typeName]uint64 // events that gap notices name and that have not come late
}

type factName struct {
	stream string
	typ    event.Type
	what   string
}

type owner struct{ publication, params string }

type typeName struct {
	stream string
	typ    event.Type
}

func newLedger(keep bool) ledger {
	return ledger{keep: keep, seen: map[factName]map[owner]int{}, named: map[typeName]uint64{}}
}

func (l *ledger) received(b *Body) {
	if !l.keep {
		return
	}
	name := factName{b.Event.Stream, b.Event.Type, What(b)}
	m := l.seen[name]
	if m == nil {
		m = map[owner]int{}
		l.seen[name] = m
	}
	m[owner{b.Event.Publication, b.Params}]++
}

func (l *ledger) announced(stream string, g event.Gap) {
	if !l.keep {
		return
	}
	for _, t := range g.Types {
		l.named[typeName{stream, t}] += g.Count
	}
}

func (l *ledger) late(stream string, t event.Type) {
	if n := l.named[typeName{stream, t}]; n > 0 {
		l.named[typeName{stream, t}] = n - 1
	}
}

// Lost compares the accepted events with facts known from outside. An event counts for one fact only. It needs
// Options.KeepFacts.
func (c *Checker) Lost(facts []Fact) Loss {
	c.mu.Lock()
	defer c.mu.Unlock()
	used := map[Fact]int{}
	named := map[typeName]uint64{}
	loss := Loss{Expected: len(facts)}
	for _, f := range facts {
		t := typeName{f.Stream, f.Type}
		used[f]++
		switch {
		case used[f] <= c.facts.count(f):
			loss.Received++
		case named[t] < c.facts.named[t]:
			named[t]++
			loss.Announced++
		default:
			loss.Lost = append(loss.Lost, f)
		}
	}
	return loss
}

// count returns the number of accepted events that match the fact.
func (l *ledger) count(f Fact) int {
	n := 0
	for o, c := range l.seen[factName{f.Stream, f.Type, f.What}] {
		if (f.Publication == "" || f.Publication == o.publication) && (f.Params == "" || f.Params == o.params) {
			n += c
		}
	}
	return n
}

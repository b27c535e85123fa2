package demo

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/ordercheck"
	"github.com/hookline/hookline/internal/pubtool"
)

// keyPrefix makes the stream key of "app/stream".
const keyPrefix = "__defaultVhost__/"

// schemas are those that are registered for what is published here, in their order.
func schemas() []string { return []string{"rtmp", "rtsp", "ts", "fmp4"} }

// enoughMessages is the number of messages by which metadata, configuration and a frame of both tracks are sent.
const enoughMessages = 5

// crash is one kill of the server. What happened between is in doubt.
type crash struct {
	from time.Time // right before the signal
	to   time.Time // the process is gone; zero: not yet
}

// rule says which facts are certain; see the package comment.
type rule struct{ crashes []crash }

// safe says that no crash happened from a to b, or within Settle after b.
func (r rule) safe(a, b time.Time) bool {
	b = b.Add(Settle)
	for _, c := range r.crashes {
		if b.After(c.from) && (c.to.IsZero() || a.Before(c.to)) {
			return false
		}
	}
	return true
}

// between says that the server was killed after the attempt that began at a and is another one for that at b.
func (r rule) between(a, b time.Time) bool {
	for _, c := range r.crashes {
		if a.Before(c.from) && !c.to.IsZero() && b.After(c.to) {
			return true
		}
	}
	return false
}

// publication is one life of a key, as the observer knows it: the sessions that published it one after the other.
type publication struct {
	sessions []pubtool.Publication
	// doubtful: it may be a part of the one before, or not exist at all.
	doubtful bool
}

func (p *publication) first() *pubtool.Publication { return &p.sessions[0] }
func (p *publication) last() *pubtool.Publication  { return &p.sessions[len(p.sessions)-1] }

// publications puts attempts together. Refused ones are left out.
func (r rule) publications(attempts []pubtool.Publication) []*publication {
	byKey := map[string][]pubtool.Publication{}
	var keys []string
	for _, a := range attempts {
		if a.End == pubtool.EndRefused {
			continue
		}
		if byKey[a.Key] == nil {
			keys = append(keys, a.Key)
		}
		byKey[a.Key] = append(byKey[a.Key], a)
	}
	slices.Sort(keys)
	var out []*publication
	for _, key := range keys {
		list := byKey[key]
		slices.SortFunc(list, func(a, b pubtool.Publication) int { return a.Started.Compare(b.Started) })
		var current *publication
		for _, a := range list {
			current = r.link(current, a)
			if len(current.sessions) == 1 {
				out = append(out, current)
			}
		}
	}
	return out
}

// link returns the publication to which a belongs: before, the newest of its key, or a new one.
func (r rule) link(before *publication, a pubtool.Publication) *publication {
	own := &publication{sessions: []pubtool.Publication{a}}
	if a.Accepted.IsZero() {
		own.doubtful = true // the server may have accepted it, or not
		return own
	}
	if before == nil {
		return own
	}
	prev := before.last()
	switch {
	case r.between(prev.Started, a.Started):
	case prev.End == pubtool.EndUnpublish && prev.Error == "" && r.safe(prev.Accepted, prev.Ended):
	case prev.End == pubtool.EndReset && a.Accepted.Before(prev.Ended.Add(grace-graceMargin)) && r.safe(prev.Ended, a.Accepted):
		before.sessions = append(before.sessions, a)
		return before
	default:
		own.doubtful = true
	}
	return own
}

// raised is a fact with the time at which it became true, about.
type raised struct {
	fact ordercheck.Fact
	at   time.Time
	// byCrash: nobody was there to raise it.
	byCrash bool
}

// outcome is what the rule makes of a log.
type outcome struct {
	facts []raised // certain; those of one key are in causal order
	// resumed counts sessions that continued a publication, uncertain the publications of which not everything was
	// certain, refused the attempts that were.
	publications, resumed, uncertain, refused int
	// unexpected are events that the receiver accepted and that can't be.
	unexpected []ordercheck.Fact
}

// apply judges attempts. seen says whether the receiver accepted the event of a fact. Attempts without an end are live.
func (r rule) apply(attempts []pubtool.Publication, seen func(ordercheck.Fact) bool) outcome {
	var o outcome
	for _, p := range r.publications(attempts) {
		if !p.first().Accepted.IsZero() {
			o.publications++
		}
		o.resumed += len(p.sessions) - 1
		facts, certain := r.of(p, seen)
		if !certain {
			o.uncertain++
		}
		o.facts = append(o.facts, facts...)
	}
	for i := range attempts {
		if attempts[i].End != pubtool.EndRefused {
			continue
		}
		o.refused++
		n := named(&attempts[i])
		for _, f := range slices.Concat(n.registers(), []ordercheck.Fact{n.report()}, n.unregisters(), []ordercheck.Fact{n.ended()}) {
			if seen(f) {
				o.unexpected = append(o.unexpected, f)
			}
		}
	}
	return o
}

// of returns the facts of one publication, and whether all that can be there are certain.
func (r rule) of(p *publication, seen func(ordercheck.Fact) bool) (facts []raised, certain bool) {
	first, last, n := p.first(), p.last(), named(p.first())
	begun := !p.doubtful && r.safe(first.Accepted, first.Accepted)
	registered := false
	for i := range p.sessions {
		registered = registered || !p.doubtful && r.registered(&p.sessions[i])
	}
	certain = begun && registered
	// What is shown of one schema says nothing of the others: the crash may have come between them.
	on, off := n.registers(), n.unregisters()
	if !registered {
		hidden := func(f ordercheck.Fact) bool {
			_, schema, _ := strings.Cut(f.What, ":")
			return !seen(n.fact(f.Type, "register:"+schema)) && !seen(n.fact(f.Type, "unregister:"+schema))
		}
		on, off = slices.DeleteFunc(on, hidden), slices.DeleteFunc(off, hidden)
	}
	registered = registered || len(on) > 0
	begun = begun || registered || seen(n.ended())

	if registered {
		for _, f := range on {
			facts = append(facts, raised{fact: f, at: first.Accepted})
		}
	}
	for i := range p.sessions {
		s := &p.sessions[i]
		reported := !s.Accepted.IsZero() && !s.Ended.IsZero() && r.safe(s.Accepted, s.Ended)
		certain = certain && (reported || s.Ended.IsZero())
		if f := named(s).report(); reported || seen(f) {
			facts = append(facts, raised{fact: f, at: s.Ended})
		}
	}
	end, byCrash := r.end(first, last)
	if end.IsZero() {
		return facts, certain
	}
	if registered {
		for _, f := range off {
			facts = append(facts, raised{f, end, byCrash})
		}
	}
	if begun {
		facts = append(facts, raised{n.ended(), end, byCrash})
	}
	return facts, certain
}

// registered says that the session is long enough to have registered for certain.
func (r rule) registered(s *pubtool.Publication) bool {
	long := s.Ended.IsZero() || s.Ended.Sub(s.Accepted) >= Settle
	if long && r.safe(s.Accepted, s.Accepted) {
		return true
	}
	clean := s.End == pubtool.EndUnpublish && s.Error == "" && s.Messages >= enoughMessages
	return clean && r.safe(s.Accepted, s.Ended)
}

// end returns when a publication ended, about; zero: it is live. byCrash: the crash ended it.
func (r rule) end(first, last *pubtool.Publication) (at time.Time, byCrash bool) {
	at = last.Ended
	if at.IsZero() {
		return at, false
	}
	until := at
	switch last.End {
	case pubtool.EndUnpublish:
	case pubtool.EndReset:
		at = at.Add(grace)
		until = at
	default:
		until = at.Add(Settle) // the kill closes the connection before it is known to be over
	}
	for _, c := range r.crashes {
		if c.from.After(first.Started) && c.from.Before(until) {
			return c.from, true
		}
	}
	return at, false
}

// name makes the facts of one attempt.
type name struct{ stream, params string }

func named(p *pubtool.Publication) name { return name{keyPrefix + p.Key, p.Params} }

func (n name) fact(t event.Type, what string) ordercheck.Fact {
	return ordercheck.Fact{Stream: n.stream, Params: n.params, Type: t, What: what}
}

// changes are the registers, or the unregisters, of all schemas.
func (n name) changes(word string) (facts []ordercheck.Fact) {
	for _, s := range schemas() {
		facts = append(facts, n.fact(event.OnStreamChanged, word+":"+s))
	}
	return facts
}

func (n name) registers() []ordercheck.Fact { return n.changes("register") }

func (n name) unregisters() []ordercheck.Fact {
	facts := n.changes("unregister")
	slices.Reverse(facts)
	return facts
}

func (n name) report() ordercheck.Fact { return n.fact(event.OnFlowReport, "publisher") }
func (n name) ended() ordercheck.Fact  { return n.fact(event.OnPublicationEnded, "") }

// serverFacts are those of the server itself.
func serverFacts(starts []time.Time, exit time.Time) []raised {
	var out []raised
	for _, t := range starts {
		out = append(out, raised{fact: ordercheck.Fact{Type: event.OnServerStarted}, at: t})
	}
	if !exit.IsZero() {
		out = append(out, raised{fact: ordercheck.Fact{Type: event.OnServerExited}, at: exit})
	}
	slices.SortFunc(out, func(a, b raised) int { return cmp.Compare(a.at.UnixNano(), b.at.UnixNano()) })
	return out
}

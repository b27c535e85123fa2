package receiver

import (
	"slices"
	"time"

	"github.com/hookline/hookline/event"
)

// An unregister names nothing but its stream and schema, and so does its retry. Each life that lacks one of the schema is a
// candidate; so is the assumption that it repeats one that was handled. The better a candidate explains that it comes now, the
// more points it has.
const (
	impossible = 0
	loose      = 1 // it may be: within the time in which retries come
	plausible  = 2 // the schema is live, and nothing speaks against it
	likely     = 3 // it comes among the other signs of this end
	expected   = 4 // it is missing, and its retry is due; or the publisher leaves just now
)

// How exactly things come when they are due.
const (
	early    = 60 * time.Millisecond  // a retry after what is known of its first attempt: clocks are no better
	prompt   = 200 * time.Millisecond // a retry of a sender and over a network that are not loaded
	tight    = 700 * time.Millisecond // any retry
	together = time.Second            // the signs of one end
)

type guess struct {
	life   *life    // nil: a repetition
	orphan *session // life is not there yet: nothing was seen of it but its publisher
	points int
}

// guesses rates what an unregister may be about, best first; of equals the oldest life first: when the newer has ended as well,
// its own will come, or other signs of its end do.
func (z *zlm) guesses(e *Event, b *StreamChanged) []guess {
	h := e.plain
	var out []guess
	for _, l := range slices.Backward(h.stream.candidates(h.inc, b.Params)) {
		if l.begin >= 0 && h.order >= 0 && h.order < l.begin {
			continue // sent before the publisher was there
		}
		if p := z.points(h, l, b.Schema); p > impossible {
			out = append(out, guess{life: l, points: p})
		}
	}
	if c := z.orphan(h, b); c != nil {
		out = append(out, guess{life: z.adopted(h, c), orphan: c, points: expected})
	}
	if p := z.repetition(h); p > impossible {
		out = append(out, guess{points: p})
	}
	slices.SortStableFunc(out, func(a, b guess) int { return b.points - a.points })
	return out
}

// orphan returns a publisher of which no register came, and who leaves just now.
func (z *zlm) orphan(h *hook, b *StreamChanged) *session {
	for _, w := range h.stream.attempts {
		if w.waits == nil || w.typ != event.OnFlowReport || !h.close(w.at) {
			continue
		}
		r, err := decoded[FlowReport](w.waits)
		if err != nil || r.Player {
			continue
		}
		c := h.source.sessions[r.ID]
		if c != nil && c.life == nil && c.inc == h.inc && c.stream == h.stream.key && c.params == b.Params && c.takesOver(h.stream) == nil {
			return c
		}
	}
	return nil
}

// points rates one life.
func (z *zlm) points(h *hook, l *life, schema string) int {
	o := l.outputs[schema]
	p := h.prior
	retry := p.refused() && !p.retried(h) && h.retries(p) // of what the receiver itself refused
	switch {
	case retry && p.life == l && (o == nil || !o.gone):
		return expected
	case o != nil && o.gone:
		// What was taken for it may have been that of another, and this is it.
		if end := l.end(); o.shaky && !end.IsZero() && h.source.due(h.arrived, end) {
			return plausible
		}
		return impossible
	case o != nil && o.lost:
		return impossible
	case retry && l.came.After(p.at):
		return loose
	case p.refused() && p.life == l && !p.sent(h) && h.arrived.Sub(p.at) < h.source.retryDelay-early:
		return impossible // what is missing of it is a retry, which is not due yet
	case l.named && z.life(l.params) == l.id, z.leaving(h, l):
		return expected
	case z.ending(h, l) && (o != nil && o.reg || h.close(l.gone)):
		return likely
	}
	return h.byTime(l, o)
}

// byTime rates a life of which nothing else that ends it comes just now.
func (h *hook) byTime(l *life, o *output) int {
	end, had := l.end(), o != nil && o.reg || len(l.order) == 0 // of an orphan no register came
	switch {
	case end.IsZero() && !l.closing.IsZero() && h.arrived.Sub(l.closing) < h.source.retryDelay+tight && !h.stream.guessed(l, h.schema):
		return likely // superseded before any sign of its end came: they are to come yet, or lost
	case l.closing.IsZero() && o != nil && o.reg && h.index >= 0 && h.order < o.index:
		return loose // sent before its register, unless that was a retry
	case l.closing.IsZero() && had:
		return plausible
	case end.IsZero():
		return loose
	case h.source.due(h.arrived, end) && !had:
		return plausible // its register would have to be missing as well
	case h.repeats(end):
		return expected
	case h.source.due(h.arrived, end):
		return likely
	case h.arrived.Sub(end) > h.source.settle() && (!had || !l.closing.IsZero()):
		return impossible
	case h.prior.refused() && h.prior.life == l:
		return plausible
	}
	return loose
}

// refused says that an attempt was answered with a failure.
func (a *attempt) refused() bool { return a != nil && !a.done && !a.ended.IsZero() }

// retries says that h comes when the retry of a refused attempt is due. It can't come earlier, but for clocks.
func (h *hook) retries(a *attempt) bool {
	delay := h.source.retryDelay
	return h.arrived.Sub(a.at) > delay-early && h.arrived.Sub(a.ended) < delay+tight
}

// repetition rates the assumption that the sender did not get the answer of one that was handled.
func (z *zlm) repetition(h *hook) int {
	p := h.prior
	switch {
	case p == nil || !p.done:
		return impossible
	case p.retried(h):
		return impossible
	case h.follows(p):
		return likely
	case h.arrived.Sub(p.first) < h.source.retryDelay-tight:
		return impossible
	}
	return loose
}

// follows says that h comes just when the retry of p would, of which the sender did not get the answer. It times out only when the
// receiver was slow: what is lost otherwise ends the connection.
func (h *hook) follows(p *attempt) bool {
	if d := h.arrived.Sub(p.first) - h.source.retryDelay; d > -early && d < prompt {
		return true
	}
	if d := h.arrived.Sub(p.ended) - h.source.retryDelay; d > -early && d < prompt {
		return true
	}
	return p.ended.Sub(p.first) > h.source.timeout-together && (h.repeats(p.first) || h.repeats(p.ended))
}

// repeats says that h comes just when the retry of an attempt would that was answered at t.
func (h *hook) repeats(t time.Time) bool {
	d := h.arrived.Sub(t) - h.source.retryDelay
	late := d - h.source.timeout
	return d > -early && d < prompt || late > -together && late < settleSlack+prompt
}

// due says that the retry of an attempt that failed at t, or was sent at t and timed out, comes about now.
func (s *zlmSource) due(now, t time.Time) bool {
	d := now.Sub(t) - s.retryDelay
	late := d - s.timeout
	return d > -tight/2 && d < tight || late > -together && late < settleSlack+tight
}

// end is when the first sign of the end of a life came.
func (l *life) end() time.Time {
	if l.grace > 0 && l.gone.IsZero() {
		return time.Time{} // the publisher may have been lost and come back
	}
	if l.gone.IsZero() || !l.left.IsZero() && l.left.Before(l.gone) && l.gone.Sub(l.left) < together {
		return l.left
	}
	return l.gone
}

// close says that something came together with h.
func (h *hook) close(t time.Time) bool {
	d := h.first.Sub(t) // when it was sent
	return !t.IsZero() && d < together && d > -together
}

// leaving says that the publisher of l, which its report names, leaves just now, and there is no grace.
func (z *zlm) leaving(h *hook, l *life) bool {
	if l.grace > 0 && l.gone.IsZero() {
		return false
	}
	if h.close(l.left) || h.close(l.told) { // what was lost together is retried together
		return true
	}
	for _, w := range h.stream.attempts {
		if w.waits == nil || w.typ != event.OnFlowReport || !h.close(w.at) {
			continue
		}
		if b, err := decoded[FlowReport](w.waits); err == nil && l.publishedBy(w.waits.plain, b) {
			return true
		}
	}
	return false
}

// ending says that other unregisters of l come just now: those that were handled, and those that wait.
func (z *zlm) ending(h *hook, l *life) bool {
	if h.close(l.gone) {
		return true
	}
	if !l.closing.IsZero() {
		return false // that others come says nothing about one that is over
	}
	leaves := map[string]bool{}
	for _, w := range h.stream.attempts {
		if w.refused() && w.leaves != "" && w.life == l && h.close(w.at) {
			return true // of which the handler failed
		}
		if w.waits == nil || !h.close(w.at) || !w.waits.plain.vague {
			continue
		}
		leaves[w.leaves] = true
		if w != h.self && z.sibling(w.waits, l) {
			return true
		}
	}
	// All that is live leaves: that is no repetition of what told of another end, unless that had the same schemas.
	return len(leaves) > 1 && !slices.ContainsFunc(l.live(), func(s string) bool { return !leaves[s] })
}

// sibling says that another unregister that waits tells of the end of l: it is due for nothing else.
func (z *zlm) sibling(e *Event, l *life) bool {
	b, err := decoded[StreamChanged](e)
	if err != nil || b.Params != l.params {
		return false
	}
	o := l.outputs[b.Schema]
	if o == nil || !o.reg || o.gone {
		return false
	}
	h := e.plain
	if h.prior != nil && h.follows(h.prior) {
		return false
	}
	for _, c := range h.stream.candidates(h.inc, b.Params) {
		if x := c.outputs[b.Schema]; c != l && (x == nil || !x.gone) && !c.end().IsZero() && h.source.due(h.arrived, c.end()) {
			return false
		}
	}
	return true
}

// doubtful says that what comes within the window may decide what an unregister is about.
func (z *zlm) doubtful(e *Event) bool {
	b, err := decoded[StreamChanged](e)
	return err == nil && len(z.guesses(e, b)) != 1
}

// unregister decides what an unregister is about.
func (z *zlm) unregister(e *Event, b *StreamChanged) {
	h := e.plain
	f := &h.found
	if p := h.prior; p != nil && p.done && p.sent(h) && p.inc == h.inc {
		f.duplicate = true // the same request
		return
	}
	list := z.guesses(e, b)
	if len(list) == 0 {
		after := time.Time{}
		for _, l := range h.stream.candidates(h.inc, b.Params) {
			after = l.born
			break
		}
		if l := z.adopt(h, b.Params, after); l != nil && h.first.Sub(l.born) > together { // not of the one before, which is not known
			f.life, f.fresh, e.Certainty = l, true, Inferred
		} else if h.prior != nil && h.prior.done && !h.prior.retried(h) {
			f.duplicate = true
			return
		}
		f.id = unregisterID(h, b.Schema)
		return
	}
	best := list[0]
	e.Certainty = Inferred
	if best.points <= loose || z.unheard(h, best.life) || h.stray || h.twin() || h.stream.shaky(h, b) || len(list) > 1 && list[1].rivals(best) {
		e.Certainty = Unknown
	}
	h.self.unsure = e.Certainty == Unknown
	if best.life == nil {
		f.duplicate = true
		h.adopt(h.prior)
		return
	}
	f.life, f.fresh = best.life, best.orphan != nil
	if f.life.named {
		e.Certainty = Exact
	}
	if p := h.prior; p != nil && !p.done && p.life == f.life {
		h.adopt(p)
	}
	f.id = unregisterID(h, b.Schema)
}

// unheard says that it may be a retry that is about a publication before l: this receiver began a while ago, and never heard of that.
func (z *zlm) unheard(h *hook, l *life) bool {
	return l != nil && !h.inc.started && !h.inc.whole && h.arrived.Sub(z.begun) < h.source.settle() && h.arrived.Sub(l.came) < h.source.retryDelay+tight &&
		!l.named && !z.leaving(h, l)
}

// twin says that two with the same content came together: which is which nobody knows.
func (h *hook) twin() bool {
	for _, a := range h.stream.attempts {
		if a != h.self && a.hash == h.hash && !a.sent(h) && h.arrived.Sub(a.at).Abs() < together/2 {
			return true
		}
	}
	return false
}

// rivals says that a guess explains as well what best does.
func (g guess) rivals(best guess) bool {
	if g.life == nil || best.life == nil { // a repetition that is not one, or the other way round: the other will come as well
		return g.points >= best.points
	}
	return g.points >= min(best.points, likely) || best.life.shaky
}

// guessed says that one that may have been of l was taken for that of another life.
func (st *zlmStream) guessed(l *life, schema string) bool {
	for _, o := range st.lives {
		if x := o.outputs[schema]; o != l && x != nil && x.shaky && !x.at.Before(l.born) {
			return true
		}
	}
	return false
}

// shaky says that an unregister of the schema was taken for that of a life without knowing.
func (st *zlmStream) shaky(h *hook, b *StreamChanged) bool {
	for _, a := range st.attempts { // the same came just now for the one or the other, and a handler failed
		if a != h.self && a.hash == h.hash && a.unsure && a.refused() && h.arrived.Sub(a.at) < together {
			return true
		}
	}
	for _, l := range st.candidates(h.inc, b.Params) {
		if o := l.outputs[b.Schema]; o != nil && o.gone && o.shaky && h.arrived.Sub(o.at) < h.source.settle() {
			return true
		}
	}
	return false
}

// unregisterID makes an id that the retry has, too, and the next unregister of the schema has not.
func unregisterID(h *hook, schema string) uint64 {
	l := h.found.life
	if l == nil {
		return hashOf(h.hash, h.inc.name, h.order)
	}
	var create uint64
	if o := l.outputs[schema]; o != nil {
		create = o.create
	}
	if l.create != 0 && near(create, l.create) || create == 0 {
		create = l.create // also when its register has not come yet
	}
	if o := l.outputs[schema]; o != nil && o.gone { // another was taken for it
		return hashOf(l.id, schema, create, h.order)
	}
	return hashOf(l.id, schema, create)
}

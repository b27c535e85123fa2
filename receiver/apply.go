package receiver

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/hookline/hookline/event"
)

// dispatch handles one event; the answer is nil where a plain success will do.
func (r *Receiver) dispatch(ctx context.Context, e *Event) (any, error) {
	class := event.ClassOf(e.Type)
	switch {
	case e.Seq > 0, e.Type == event.OnEventGap:
		return nil, r.sequenced(ctx, e)
	case class == event.Heartbeat:
		if r.handlers.heartbeat == nil {
			return nil, nil
		}
		return nil, guard(func() error { return r.handlers.heartbeat(ctx, e) })
	case class == event.Decision, class == event.Question:
		return r.decide(ctx, e)
	}
	return nil, &badRequest{"a lifecycle event without seq"}
}

func (r *Receiver) decide(ctx context.Context, e *Event) (any, error) {
	f := r.handlers.decision[e.Type]
	if f == nil {
		r.log.Warn("decision without a handler refused", "type", e.Type, "stream", e.Stream)
		return refusal("no handler for " + string(e.Type)), nil
	}
	var answer any
	err := guard(func() (err error) {
		answer, err = f(ctx, e)
		return err
	})
	if err != nil {
		return nil, err
	}
	r.stats.decisions.Add(1)
	return answer, nil
}

// sequenced takes the turn of the stream.
func (r *Receiver) sequenced(ctx context.Context, e *Event) error {
	if e.Replay != "" && !r.replays {
		r.stats.replays.Add(1)
		return nil
	}
	named, err := gapsOf(e)
	if err != nil {
		return err
	}
	k := Key{Source: e.Source, Stream: e.Stream, Replay: e.Replay}
	if err := r.lanes.enter(ctx, k, r.queue); err != nil {
		return err
	}
	defer r.lanes.leave(k)
	err = r.update(ctx, k, e, named, r.fetcher != nil && e.Replay == "")
	if missing := (*missingError)(nil); errors.As(err, &missing) {
		if err := r.fetch(ctx, k, e, missing.missed); err != nil {
			return err
		}
		return r.update(ctx, k, e, named, false)
	}
	return err
}

// gapsOf returns the gaps that the sender names with e. An error is a [*badRequest].
func gapsOf(e *Event) ([]event.Gap, error) {
	if e.Type != event.OnEventGap {
		return e.Gap, nil
	}
	var g event.Gap
	if err := json.Unmarshal(e.Body, &g); err != nil {
		return nil, &badRequest{"gap: " + err.Error()}
	}
	if err := checkGap(g); err != nil {
		return nil, err
	}
	return []event.Gap{g}, nil
}

// missingError ends an update, so that what is missing can be fetched first.
type missingError struct{ missed Range }

// Error implements error.
func (*missingError) Error() string { return "receiver: events are missing" }

// update brings one event to the handlers and its mark to the store, in one transaction.
func (r *Receiver) update(ctx context.Context, k Key, e *Event, named []event.Gap, fetch bool) error {
	var s step
	err := r.store.Update(ctx, k, func(ctx context.Context, m Mark) (Mark, error) {
		return r.proceed(ctx, m, e, named, fetch, &s)
	})
	if err != nil {
		return err
	}
	r.committed(k, e, &s)
	return nil
}

// proceed calls the handlers of an event and returns the mark behind it.
func (r *Receiver) proceed(ctx context.Context, m Mark, e *Event, named []event.Gap, fetch bool, s *step) (Mark, error) {
	*s = m.advance(&e.Envelope, named)
	s.next.heard(m)
	if unclear := s.unclear(); fetch && unclear.From != 0 {
		return m, &missingError{unclear}
	}
	s.tellMissed()
	for i := range s.gaps {
		if err := r.tellGap(ctx, e, &s.gaps[i]); err != nil {
			return m, err
		}
	}
	if s.act != apply && s.act != applyLate {
		return s.next, nil
	}
	e.Late, e.NewEpoch = s.act == applyLate, s.reset
	e.Verdict = r.tracker.peek(e, len(s.gaps) > 0)
	return s.next, guard(func() error { return r.call(ctx, e) })
}

func (r *Receiver) tellGap(ctx context.Context, e *Event, g *Gap) error {
	if r.handlers.gap == nil {
		r.logGap(e.Stream, g)
		return nil
	}
	return guard(func() error { return r.handlers.gap(ctx, e, g) })
}

func (r *Receiver) logGap(stream string, g *Gap) {
	r.log.Warn("events are missing", "stream", stream, "from", g.From, "to", g.To, "reason", g.Reason)
}

// call runs the handlers of an event.
func (r *Receiver) call(ctx context.Context, e *Event) error {
	if r.handlers.any != nil {
		if err := r.handlers.any(ctx, e); err != nil {
			return err
		}
	}
	if c := event.ClassOf(e.Type); c == event.Decision || c == event.Question { // with a seq: its outcome
		if r.handlers.history == nil {
			return nil
		}
		b, err := bodyOf[struct {
			Outcome Outcome `json:"outcome"`
		}](e.Body)
		if err != nil {
			return err
		}
		return r.handlers.history(ctx, e, &b.Outcome)
	}
	if f := r.handlers.lifecycle[e.Type]; f != nil {
		return f(ctx, e)
	}
	return nil
}

// committed counts, and lets the state follow.
func (r *Receiver) committed(k Key, e *Event, s *step) {
	switch s.act {
	case obsolete:
		r.stats.obsolete.Add(1)
	case duplicate:
		r.stats.duplicates.Add(1)
	case applyLate:
		r.stats.late.Add(1)
		r.stats.handled.Add(1)
	case apply:
		r.stats.handled.Add(1)
	case moveOnly:
	}
	r.follow(k, e, s)
}

// follow lets the state follow an event that was committed.
func (r *Receiver) follow(k Key, e *Event, s *step) {
	r.stats.gaps.Add(uint64(len(s.gaps)))
	r.stats.forgotten.Add(s.forgot)
	if k.Replay != "" {
		return // it tells of the past
	}
	if len(s.gaps) > 0 {
		r.tracker.gap(k)
	}
	if s.act == apply || s.act == applyLate {
		if r.tracker.apply(e) == Impossible {
			r.stats.impossible.Add(1)
		}
	}
}

// fetch reads what is missing from the sender and handles it. What can't be had stays missing: the update that follows
// tells it as a gap. An error is that of a handler or the store.
func (r *Receiver) fetch(ctx context.Context, k Key, e *Event, missed Range) error {
	patience, cancel := context.WithTimeout(ctx, r.timeout/2) // the event that follows needs the rest
	defer cancel()
	list, err := r.fetcher.Fetch(patience, k.Stream, missed)
	if err != nil {
		r.log.Warn("missing events could not be fetched", "stream", k.Stream, "error", err)
		return nil
	}
	last := missed.From - 1
	for _, f := range list {
		if f.Source != k.Source || f.Stream != k.Stream || f.Epoch != e.Epoch || f.Seq <= last || f.Seq > missed.To {
			r.log.Warn("a fetched event does not belong to the gap", "stream", k.Stream, "id", f.ID)
			return nil
		}
		// In the sender's log seqs are contiguous: a hole is what it no longer has.
		prev := f.Seq - 1
		if f.Seq == last+1 {
			prev = 0
		}
		last = f.Seq
		f.Prev, f.Fetched, f.Gap, f.Late, f.Replay = &prev, true, nil, false, ""
		if err := r.update(ctx, k, f, nil, false); err != nil {
			return err
		}
		r.stats.fetched.Add(1)
	}
	return nil
}

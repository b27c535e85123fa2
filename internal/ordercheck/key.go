package ordercheck

import (
	"cmp"
	"slices"
	"time"
)

// key is what is known of one stream key of one source.
type key struct {
	epoch int64
	// mark is the highest seq that was accepted; floor the highest that is forgotten, or lies before the baseline.
	mark, floor uint64
	events      []accepted // in seq order, all above floor
	gaps        runs       // announced
	// doubt: something of the key is missing or came out of order, so what is not there proves nothing.
	doubt        bool
	publications map[string]*publication
	order        []string // of publications, oldest first

	// lastFinish is the latest end of a request and lastID its event; otherFinish the latest of another event.
	lastFinish, otherFinish time.Time
	lastID                  string
}

// accepted is one accepted event.
type accepted struct {
	seq, index uint64
	time       time.Time
	id         string
}

// key returns the state of the delivery's key.
func (s *step) key() *key {
	name := keyName{s.env.Source, s.env.Stream}
	k := s.c.keys[name]
	if k == nil {
		k = &key{epoch: s.env.Epoch, publications: map[string]*publication{}}
		s.c.keys[name] = k
	}
	if s.env.Epoch > k.epoch {
		k.reset(s.env.Epoch)
	}
	return k
}

// reset starts a new epoch. Publications stay: a crash that lost the tail of the journal ends them in the new one.
func (k *key) reset(epoch int64) {
	k.epoch, k.mark, k.floor, k.events, k.gaps = epoch, 0, 0, nil, nil
	k.suspect()
}

// suspect notes that events of the key are missing or displaced.
func (k *key) suspect() {
	k.doubt = true
	for _, p := range k.publications {
		p.doubt = true
	}
}

// overlap finds two requests of different events of one key in flight at once.
func (s *step) overlap(k *key) {
	if s.d.Start.IsZero() || s.d.Finish.IsZero() {
		return
	}
	before := k.otherFinish
	if k.lastID != s.env.ID {
		before = later(k.lastFinish, k.otherFinish)
	}
	if s.d.Start.Before(before) {
		s.violate(Overlap, "%s began %v before another event of its key was answered", s.env.Type, before.Sub(s.d.Start))
	}
	if k.lastID == s.env.ID {
		k.lastFinish = later(k.lastFinish, s.d.Finish)
		return
	}
	k.otherFinish = later(k.lastFinish, k.otherFinish)
	k.lastFinish, k.lastID = s.d.Finish, s.env.ID
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// announce takes the runs that the delivery names as missing.
func (s *step) announce() {
	for _, g := range s.b.Gaps {
		if g.From == 0 || g.From > g.To || g.Count == 0 || g.Count-1 > g.To-g.From {
			s.violate(Malformed, "gap notice from %d to %d counts %d events", g.From, g.To, g.Count)
			continue
		}
		k := s.key()
		r := run{g.From, g.To}
		if s.env.Epoch < k.epoch || k.gaps.contains(r) {
			continue
		}
		k.gaps.add(r)
		k.suspect()
		s.c.report.GapNotices++
		s.c.report.Announced += g.Count
		s.c.facts.announced(s.env.Stream, g)
	}
}

// sequenced handles an event with a seq that was not accepted before.
func (s *step) sequenced() {
	k, e := s.key(), s.env
	if e.Epoch < k.epoch {
		s.violate(OutOfOrder, "epoch %d after epoch %d of the same key", e.Epoch, k.epoch)
		return
	}
	s.announce()
	s.baseline(k)
	if e.Seq <= k.floor {
		s.c.report.Unverified++
		return
	}
	at, taken := slices.BinarySearchFunc(k.events, e.Seq, func(a accepted, seq uint64) int { return cmp.Compare(a.seq, seq) })
	if taken && k.events[at].id == e.ID {
		s.duplicate()
		return
	}
	if taken {
		s.violate(SeqReused, "seq %d belongs to event %s", e.Seq, k.events[at].id)
		return
	}
	s.c.report.Events++
	s.neighbours(k, at)
	s.inTurn(k)
	s.c.facts.received(s.b)
	k.events = slices.Insert(k.events, at, accepted{seq: e.Seq, index: s.b.Index, time: e.Time, id: e.ID})
	k.forget(s.c.opt.Window)
}

// baseline believes the first event of a key that is older than the receiver.
func (s *step) baseline(k *key) {
	if s.c.opt.Reconfigured && *s.env.Prev == 0 && s.env.Seq > 1 {
		k.suspect() // the endpoint, or the key for it, began in the middle
	}
	since := s.c.opt.Since
	if since.IsZero() || k.mark != 0 || k.floor != 0 || *s.env.Prev == 0 || s.env.Epoch >= since.UnixMilli() {
		return
	}
	k.mark, k.floor = *s.env.Prev, *s.env.Prev
	k.suspect()
	s.res.Baseline = true
}

// forget drops the oldest events when there are twice as many as the window holds.
func (k *key) forget(window int) {
	n := len(k.events) - window
	if n < window {
		return
	}
	k.floor = k.events[n-1].seq
	k.events = slices.Clone(k.events[n:])
}

// neighbours compares the event with those before and after it in seq order.
func (s *step) neighbours(k *key, at int) {
	e := s.env
	if at > 0 {
		p := k.events[at-1]
		switch prev := *e.Prev; {
		case prev == 0:
			// Allowed: the source has forgotten the key in between.
			s.c.report.PrevUnknown++
		case prev < p.seq:
			s.violate(PrevLow, "seq %d says that %d precedes it, but %d does", e.Seq, prev, p.seq)
		}
		s.ascending(p, accepted{e.Seq, s.b.Index, e.Time, e.ID})
	}
	if at < len(k.events) {
		s.ascending(accepted{e.Seq, s.b.Index, e.Time, e.ID}, k.events[at])
	}
}

// ascending checks two events of a key, a before b in seq order.
func (s *step) ascending(a, b accepted) {
	if b.time.Before(a.time) {
		s.violate(TimeDecreased, "seq %d is at %s, seq %d at %s", a.seq, a.time.Format(time.RFC3339Nano),
			b.seq, b.time.Format(time.RFC3339Nano))
	}
	if b.index < a.index {
		s.violate(IndexDecreased, "seq %d has hook_index %d, seq %d has %d", a.seq, a.index, b.seq, b.index)
	}
}

// inTurn judges the place of the event in the order of acceptance.
func (s *step) inTurn(k *key) {
	e := s.env
	if s.b.Late && s.c.opt.Reconfigured && e.Seq > k.mark { // of the endpoint before this one
		s.res.Late = true
		s.c.report.Late++
		k.suspect()
		return
	}
	if e.Seq < k.mark {
		if s.b.Late || k.gaps.covers(e.Seq) {
			s.res.Late = true
			s.c.report.Late++
			s.c.facts.late(e.Stream, e.Type)
		} else {
			s.violate(OutOfOrder, "seq %d was accepted after seq %d", e.Seq, k.mark)
		}
		k.suspect()
		s.lifecycle(k, false)
		return
	}
	if prev := *e.Prev; prev > k.mark && !k.gaps.covers(prev) {
		s.violate(Gap, "seq %d follows %d, which was neither accepted nor named in a gap notice (last accepted: %d)",
			e.Seq, prev, k.mark)
		k.suspect()
	}
	k.mark = e.Seq
	s.lifecycle(k, true)
}

package receiver

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/hookline/hookline/event"
)

// Reconcile compares the state with the sender's snapshot and repairs it; it returns what it repaired, which watchers are
// told too. Call it at the start, after the sender was away, or periodically. It may run while events come in: what is newer
// than the snapshot, entry by entry, is left as it is.
//
// It repairs the state only. Marks stay, and no handler is called: events that are on their way still have their effects
// when they come, with the verdict [Known].
func (r *Receiver) Reconcile(ctx context.Context, from Snapshotter) ([]Change, error) {
	s, err := from.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	if s.Media == nil {
		return r.tracker.reconcile(s), nil
	}
	if r.zlm == nil {
		return nil, errors.New("receiver: a snapshot of plain ZLMediaKit without WithZLMediaKit")
	}
	return r.zlm.reconcile(s)
}

func (t *tracker) reconcile(s *Snapshot) []Change {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []Change
	alive := map[publicationKey]bool{}
	newest := map[string]uint64{} // of each stream in the snapshot
	for i := range s.Entries {
		e := &s.Entries[i]
		alive[publicationKey{s.Source, e.Publication}] = true
		newest[e.Stream] = max(newest[e.Stream], e.Seq)
	}
	for k, p := range t.pubs {
		if k.source == s.Source && p.State != Ended && !alive[k] && t.gone(p, s, newest) {
			out = append(out, t.repair(p, nil, s))
		}
	}
	for i := range s.Entries {
		e := &s.Entries[i]
		st := t.streams[Key{Source: s.Source, Stream: e.Stream}]
		if st != nil && (st.epoch > s.Epoch || st.epoch == s.Epoch && st.seq > e.Seq) {
			continue // events have gone on since
		}
		p := t.pubs[publicationKey{s.Source, e.Publication}]
		if p != nil && p.Epoch == s.Epoch && p.State != Ended && slices.Equal(p.Schemas, e.Schemas) {
			p.Uncertain = false
			if e.Readers != nil {
				p.Readers = *e.Readers
			}
			continue
		}
		if p == nil && t.crowded() {
			t.refuse(s.Source, e.Stream)
			continue
		}
		out = append(out, t.repair(p, e, s))
	}
	for stream, seq := range newest {
		st := t.streams[Key{Source: s.Source, Stream: stream}]
		if st != nil && (st.epoch < s.Epoch || st.epoch == s.Epoch && st.seq < seq) {
			st.epoch, st.seq = s.Epoch, seq
		}
	}
	return out
}

// gone says that a publication that the snapshot does not have ended before it. The caller holds mu.
func (t *tracker) gone(p *Publication, s *Snapshot, newest map[string]uint64) bool {
	if p.Epoch != s.Epoch {
		return p.Epoch < s.Epoch
	}
	if seq, ok := newest[p.Stream]; ok {
		return p.Seq <= seq
	}
	return p.HookIndex < s.IndexFloor
}

// repair makes p what entry says, nil: ended. The caller holds mu.
func (t *tracker) repair(p *Publication, entry *SnapshotEntry, s *Snapshot) Change {
	if entry == nil {
		before := p.State
		p.State, p.Schemas, p.Readers = Ended, nil, 0
		p.Reason, p.EndedAt, p.Uncertain = ReasonReconciled, time.Now().UTC(), true
		t.retire(publicationKey{p.Source, p.ID})
		return t.told(p, before, event.OnPublicationEnded)
	}
	isNew, before := p == nil, Publishing
	n := Publication{Source: s.Source, Stream: entry.Stream, ID: entry.Publication}
	if p != nil {
		n, before = p.clone(), p.State
	}
	if n.State == Ended { // ended by mistake, for want of events
		t.ended = slices.DeleteFunc(t.ended, func(k publicationKey) bool { return k == publicationKey{n.Source, n.ID} })
		n.EndedAt, n.Reason = time.Time{}, ""
	}
	n.Epoch, n.Since, n.Params, n.Origin = s.Epoch, entry.Since, entry.Params, entry.Origin
	n.Schemas, n.Seq, n.Readers, n.Uncertain = slices.Clone(entry.Schemas), entry.Seq, -1, false
	n.HookIndex, n.State = s.IndexFloor, Publishing
	if len(n.Schemas) > 0 {
		n.State = Live
	}
	if entry.Publisher != nil {
		n.Publisher = entry.Publisher.IP
	}
	if entry.Readers != nil {
		n.Readers = *entry.Readers
	}
	st := t.stream(Key{Source: s.Source, Stream: entry.Stream})
	t.put(n, isNew, st)
	if isNew && st.epoch == 0 {
		st.epoch = s.Epoch
	}
	return t.told(t.pubs[publicationKey{n.Source, n.ID}], before, event.OnStreamChanged)
}

func (t *tracker) told(p *Publication, before State, typ event.Type) Change {
	c := Change{Publication: p.clone(), Before: before, Event: synthetic(typ, p), Synthesised: true}
	t.tell(c)
	return c
}

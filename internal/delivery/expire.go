package delivery

import (
	"fmt"
	"slices"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/journal"
)

// Expire names everything before a position that the endpoint is still owed, durably, so that retention may remove
// it. It is called before journal.Trim.
func (e *Endpoint) Expire(before uint64) error {
	before = min(before, e.deps.Store.Info().Last+1)
	lost := map[string]*lost{}
	if err := e.expireParked(before, lost); err != nil {
		return err
	}
	e.mu.Lock()
	pos := e.cursor.floor + 1
	e.mu.Unlock()
	for pos < before {
		recs, err := e.deps.Store.Read(pos, journal.Limit{Records: readRecords})
		if err != nil {
			return fmt.Errorf("delivery: expire: %w", err)
		}
		if len(recs) == 0 {
			break
		}
		e.mu.Lock()
		for _, r := range recs {
			if pos = r.Position + 1; r.Position >= before {
				pos = before
				break
			}
			if !e.cursor.isDone(r.Position) && e.owes(r) {
				add(lost, r)
			}
		}
		e.mu.Unlock()
	}
	return e.nameLost(before, lost)
}

// lost collects what a key loses.
type lost struct {
	gap   event.Gap
	epoch int64
}

func add(m map[string]*lost, r *journal.Record) {
	g := m[r.Key]
	if g == nil {
		g = &lost{gap: event.Gap{From: r.Seq, Reason: event.ReasonRetention}, epoch: r.Epoch}
		m[r.Key] = g
	}
	g.gap.From, g.gap.To = min(g.gap.From, r.Seq), max(g.gap.To, r.Seq)
	g.gap.Count++
	if !slices.Contains(g.gap.Types, r.Type) {
		g.gap.Types = append(g.gap.Types, r.Type)
	}
}

// expireParked collects what parked lanes lose; their places are not above the cursor's floor.
func (e *Endpoint) expireParked(before uint64, lost map[string]*lost) error {
	e.mu.Lock()
	places := map[string]uint64{}
	for key, l := range e.lanes {
		if l.parked {
			places[key] = l.nextSeq
		}
	}
	e.mu.Unlock()
	for key, seq := range places {
		for more := true; more; {
			recs, err := e.deps.Store.ReadKey(key, seq, journal.Limit{Records: readRecords})
			if err != nil {
				return fmt.Errorf("delivery: expire: %w", err)
			}
			more = len(recs) > 0
			e.mu.Lock()
			for _, r := range recs {
				seq = r.Seq + 1
				if r.Position >= before {
					more = false
					break
				}
				// Above the floor the cursor answers for it, unless the lane was parked after taking it.
				if e.owes(r) && (r.Position <= e.cursor.floor || e.cursor.isDone(r.Position)) {
					add(lost, r)
				}
			}
			e.mu.Unlock()
		}
	}
	return nil
}

// nameLost puts the gaps into the lanes and moves the cursor, in one durable write.
func (e *Endpoint) nameLost(before uint64, lost map[string]*lost) error {
	gaps := map[string]storedGap{}
	for key, g := range lost { // Stamp may wait for the journal: not under the lock
		gaps[key] = e.newGap(key, g.epoch, g.gap)
	}
	e.mu.Lock()
	for key, gap := range gaps {
		l := e.lane(key)
		e.dropExpired(l, before)
		if l.parked {
			l.nextSeq = max(l.nextSeq, gap.Gap.To+1)
			l.missed++
			e.parkedDirty[key] = struct{}{}
		}
		e.insertGap(l, gap)
		e.gapsDirty[key] = struct{}{}
		if l.state == laneIdle {
			e.schedule(l)
		}
	}
	e.cursor.jump(before - 1)
	e.next = max(e.next, before)
	e.dirty = true
	e.dispatchAll()
	e.mu.Unlock()
	e.checkpoint(true)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.storeFailed {
		return fmt.Errorf("delivery: expire: %w", journal.ErrDead)
	}
	return nil
}

// dropExpired takes records before the position out of a lane, except one in flight.
func (e *Endpoint) dropExpired(l *lane, before uint64) {
	kept := l.queue[:0:0]
	for i, it := range l.queue {
		waits := l.state == laneIdle || l.state == laneBackoff
		if it.rec == nil || it.late || it.rec.Position >= before || i < max(l.sending, 1) && !waits {
			kept = append(kept, it)
			continue
		}
		e.held--
	}
	l.queue = kept
	l.wakeWaiters(false)
}

// insertGap is nameGap for a lane whose head may be in flight.
func (e *Endpoint) insertGap(l *lane, gap storedGap) {
	if len(l.queue) == 0 || l.state == laneIdle {
		e.nameGap(l, gap)
		return
	}
	n := max(l.sending, 1)
	front := slices.Clone(l.queue[:n])
	l.queue = l.queue[n:]
	e.nameGap(l, gap)
	l.queue = append(front, l.queue...)
}

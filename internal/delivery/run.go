package delivery

import (
	"container/heap"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/journal"
)

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// run is the endpoint's own goroutine: timers, reading from the journal, parked lanes, checkpoints.
func (e *Endpoint) run() {
	defer e.wg.Done()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-e.ctx.Done():
			return
		case <-e.signal:
		case <-timer.C:
		}
		again := e.turn()
		if again {
			e.wake()
		}
		timer.Reset(e.untilNext())
	}
}

// turn does everything that is due. It reports whether there is more to do at once.
func (e *Endpoint) turn() bool {
	e.mu.Lock()
	now := time.Now()
	e.takeQuestions()
	for len(e.timers) > 0 && !e.timers[0].retryAt.After(now) {
		e.retry(heap.Pop(&e.timers).(*lane), now) //nolint:forcetypeassert // only lanes are pushed
	}
	for _, t := range e.targets {
		e.watchSlow(t, now)
	}
	e.dispatchAll()
	if e.held >= e.cfg.Window {
		e.relieve()
	}
	e.mu.Unlock()

	more := e.refillSome()
	more = e.readBacklog() || more
	e.checkpoint(false)
	return more
}

// retry lets a lane go on after its delay.
func (e *Endpoint) retry(l *lane, now time.Time) {
	if !l.parked && now.Sub(l.failSince) > parkAfter && len(l.queue) > 0 {
		e.park(l)
	}
	e.schedule(l)
}

// untilNext returns how long run may sleep.
func (e *Endpoint) untilNext() time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	d := time.Hour
	at := func(t time.Time) { d = min(d, t.Sub(now)) }
	if len(e.timers) > 0 {
		at(e.timers[0].retryAt)
	}
	if e.dirty {
		at(e.lastSave.Add(checkpointEvery))
	}
	if e.storeFailed || e.next <= e.tail && e.held < e.cfg.Window {
		d = min(d, time.Second) // the journal could not be read or written
	}
	for _, t := range e.targets {
		if t.first != nil && !t.down {
			d = min(d, slowCheck)
		}
		if free, when := e.due(t, now); free {
			at(when)
		}
	}
	return max(d, time.Millisecond)
}

// due says whether a lane of t has a free slot, and when it may take it. That can be now: since the last dispatch the
// journal was read or written, which takes its time. The lock is held.
func (e *Endpoint) due(t *target, now time.Time) (free bool, when time.Time) {
	fast := t.fast < t.limit && t.ready.peek() != nil
	slow := t.slow < t.slowShare() && t.peekFailing() != nil
	probe := t.waiting.peek()
	switch {
	case e.cfg.Paused:
		return false, time.Time{}
	case t.down:
		if probe == nil || t.inFlight() > 0 {
			return false, time.Time{}
		}
		when = t.nextProbe(probe)
	case !fast && !slow:
		return false, time.Time{}
	case !slow && e.fills(t, now):
		when = t.readySince.Add(e.cfg.BatchWait)
	default:
		when = now
	}
	if e.throttled() && when.Before(e.rateAt) {
		when = e.rateAt
	}
	return true, when
}

// watchSlow moves attempts that take far longer than usual to the share of slots for lanes in trouble. If that is
// full, and lanes wait for a slot, such attempts are ended, provided that the receiver answered others since they
// began; while it answers nobody, one is ended now and then to find out whether it is one key or all.
func (e *Endpoint) watchSlow(t *target, now time.Time) {
	for a := t.first; a != nil; a = a.newer {
		age := now.Sub(a.at)
		if age < minSlow {
			return // the list is in order of age
		}
		if a.cut || age < t.patience(a.n, e.cfg.Timeout) {
			continue
		}
		switch {
		case a.slow:
			if l := t.peekFailing(); l != nil && (t.success.After(a.at) || l.attempts < a.n) {
				a.end()
			}
		case t.slow < t.slowShare():
			a.slow = true
			t.fast--
			t.slow++
		case t.ready.peek() == nil:
		case t.success.After(a.at):
			a.end()
		case !now.Before(t.nextCut):
			a.end()
			t.cutDelay = max(2*t.cutDelay, t.patience(1, e.cfg.Timeout))
			t.nextCut = now.Add(t.cutDelay)
		}
	}
}

// end gives the attempt's slot to another lane; its own tries again later.
func (a *attempt) end() {
	a.cut = true
	a.stop()
}

// relieve parks lanes that hold memory and can't go on, as long as another URL or lane works.
func (e *Endpoint) relieve() {
	works := false
	for _, t := range e.targets {
		works = works || t.used && !t.down && time.Since(t.success) < parkAfter
	}
	if !works {
		return // the endpoint is down: the cursor waits
	}
	for _, l := range e.lanes {
		if e.held < e.cfg.Window*3/4 {
			return
		}
		if !l.parked && (l.state == laneBackoff || l.state == laneBlocked) {
			e.park(l)
		}
	}
}

// park gives up what the lane holds in memory; its place becomes part of the checkpoint.
func (e *Endpoint) park(l *lane) {
	if l.parked || e.cfg.Unordered {
		return
	}
	for _, it := range l.queue {
		if it.rec != nil && !it.late {
			l.parked, l.nextSeq = true, it.rec.Seq
			break
		}
	}
	if !l.parked {
		return // only notices and questions
	}
	e.unload(l)
	e.parkedDirty[l.key] = struct{}{}
	e.dirty = true
	l.missed++
}

// unload drops the events of a parked lane from memory. The attempts stay: they are of the event that is read again
// first.
func (e *Endpoint) unload(l *lane) {
	kept, first := l.queue[:0:0], true
	for _, it := range l.queue {
		if it.rec == nil || it.late {
			kept = append(kept, it)
			continue
		}
		if first {
			l.since, first = it.rec.Time, false
		}
		e.held--
		if !it.covered {
			e.done(it.rec.Position)
		}
	}
	l.queue = kept
}

// refillSome reads the next events of parked lanes. It reports whether lanes are left.
func (e *Endpoint) refillSome() bool {
	for range 256 {
		e.mu.Lock()
		if len(e.refills) == 0 || e.closing {
			e.mu.Unlock()
			return false
		}
		l := e.refills[0]
		e.refills = e.refills[1:]
		seq, missed, next, n := l.nextSeq, l.missed, e.next, max(refillRecords, e.cfg.Batch)
		if l.failing() {
			n = 1 // it most likely fails again
		}
		e.mu.Unlock()

		recs, err := e.deps.Store.ReadKey(l.key, seq, journal.Limit{Records: n})

		e.mu.Lock()
		e.refilled(l, recs, err, missed, next)
		e.dispatchAll()
		e.mu.Unlock()
	}
	return true
}

// refilled puts what was read into a parked lane, or ends the parking: under the lock, with nothing left in the
// journal that was taken while the lane was away, it is at the tail and goes live.
func (e *Endpoint) refilled(l *lane, recs []*journal.Record, err error, missed, next uint64) {
	if err != nil {
		e.log.Error("can't read a parked lane", "stream", l.key, "err", err)
		l.attempts = max(l.attempts, 1)
		e.delay(l, e.cfg.BackoffMin)
		return
	}
	eligible := 0
	for _, r := range recs {
		if r.Position >= next && !e.cursor.isDone(r.Position) {
			// Take has not seen it yet, and the lane must not run ahead of it. What a lane gave up when it was parked
			// in an earlier run is done already and not shown to take again.
			break
		}
		eligible++
		if !e.owes(r) {
			if l.nextSeq == r.Seq || len(l.queue) == 0 { // nothing before it still has to be sent
				l.nextSeq = r.Seq + 1
			}
			continue
		}
		l.push(item{rec: r, covered: true})
		e.held++
	}
	e.parkedDirty[l.key] = struct{}{}
	e.dirty = true
	if eligible == 0 && l.missed == missed {
		l.parked = false
	}
	e.schedule(l)
}

// readBacklog takes records from the journal while the endpoint is behind and has room.
func (e *Endpoint) readBacklog() bool {
	e.mu.Lock()
	next, ok := e.next, e.next <= e.tail && e.held < e.cfg.Window && !e.closing
	e.mu.Unlock()
	if !ok {
		return false
	}
	recs, err := e.deps.Store.Read(next, journal.Limit{Records: readRecords})
	e.mu.Lock()
	defer e.mu.Unlock()
	if err != nil {
		e.log.Error("can't read the journal", "position", next, "err", err)
		e.storeFailed = true
		return false
	}
	if e.next != next || len(recs) == 0 {
		return false
	}
	if first := recs[0].Position; first > next {
		e.cursor.jump(first - 1) // retention was here; what was owed is named already
		e.dirty = true
	}
	for _, r := range recs {
		e.take(r)
	}
	e.dispatchAll()
	return e.next <= e.tail
}

// checkpoint writes the place in the journal when it is due.
func (e *Endpoint) checkpoint(final bool) {
	e.save <- struct{}{}
	defer func() { <-e.save }()
	e.mu.Lock()
	if e.closed || !e.dirty || !final && time.Since(e.lastSave) < checkpointEvery {
		e.mu.Unlock()
		return
	}
	ops := e.placeOps(e.cursor)
	parked, gaps := e.parkedDirty, e.gapsDirty
	e.parkedDirty, e.gapsDirty = map[string]struct{}{}, map[string]struct{}{}
	e.dirty, e.lastSave = false, time.Now()
	e.mu.Unlock()
	// Synced: on a quiet server no later batch would carry it to the disk, and a kill would send far more again than
	// what was done since. The journal commits it together with what else is on its way.
	err := e.deps.Store.SetState(ops, true)
	e.mu.Lock()
	if err != nil {
		if !e.storeFailed {
			e.log.Error("can't write the endpoint's place; a restart sends more again", "err", err)
		}
		e.dirty = true
		maps.Copy(e.parkedDirty, parked)
		maps.Copy(e.gapsDirty, gaps)
	}
	e.storeFailed = err != nil
	e.mu.Unlock()
}

// placeOps renders what changed of the endpoint's place: it is written as one unit, since the floor may pass what
// belongs to a parked lane. The lock is held.
func (e *Endpoint) placeOps(c *cursor) []journal.Op {
	ops := []journal.Op{{Key: "cursor/" + e.name, Value: c.encode()}}
	for key := range e.parkedDirty {
		op := journal.Op{Key: "park/" + e.name + "/" + key}
		if l := e.lanes[key]; l != nil && l.parked {
			op.Value = binary.BigEndian.AppendUint64(nil, l.nextSeq)
		}
		ops = append(ops, op)
	}
	for key := range e.gapsDirty {
		if op, err := e.gapOp(key, e.gaps[key]); err == nil {
			ops = append(ops, op)
		}
	}
	return ops
}

// restore reads the stored place.
func (e *Endpoint) restore(from uint64) error {
	info := e.deps.Store.Info()
	st, err := e.deps.Store.State("cursor/" + e.name)
	if err != nil {
		return fmt.Errorf("delivery: read cursor: %w", err)
	}
	if e.cursor, err = decodeCursor(st["cursor/"+e.name]); err != nil {
		return fmt.Errorf("endpoint %s: %w", e.name, err)
	}
	if _, known := st["cursor/"+e.name]; !known {
		// A new endpoint starts at now. The hook endpoint of a new journal finds nothing before it.
		// Written at once: found without a cursor again, it would start later.
		place := info.Last
		if from > 0 {
			place = min(place, from-1)
		}
		e.cursor.jump(place)
		op := journal.Op{Key: "cursor/" + e.name, Value: e.cursor.encode()}
		if err := e.deps.Store.SetState([]journal.Op{op}, true); err != nil {
			return fmt.Errorf("delivery: write cursor: %w", err)
		}
	}
	if info.First > 0 {
		e.cursor.jump(info.First - 1)
	}
	e.next, e.tail = e.cursor.floor+1, info.Last

	if err := e.restoreSubscription(); err != nil {
		return err
	}
	if e.sub.Types == nil && e.replay == "" {
		since, err := e.firstKnown(e.next, from > 0)
		if err != nil {
			return err
		}
		e.sub.FilterSince = since
	}
	return e.restoreGaps()
}

func (e *Endpoint) restoreGaps() error {
	prefix := "gap/" + e.name + "/"
	st, err := e.deps.Store.State(prefix)
	if err != nil {
		return fmt.Errorf("delivery: read gaps: %w", err)
	}
	for k, v := range st {
		var gaps []storedGap
		if err := json.Unmarshal(v, &gaps); err != nil {
			return fmt.Errorf("delivery: gap %s: %w: %w", k, journal.ErrCorrupt, err)
		}
		e.gaps[strings.TrimPrefix(k, prefix)] = gaps
	}
	prefix = "park/" + e.name + "/"
	st, err = e.deps.Store.State(prefix)
	if err != nil {
		return fmt.Errorf("delivery: read parked lanes: %w", err)
	}
	for k, v := range st {
		if len(v) != 8 {
			return fmt.Errorf("delivery: parked lane %s: %w", k, journal.ErrCorrupt)
		}
		l := e.lane(strings.TrimPrefix(k, prefix))
		l.parked, l.nextSeq = true, binary.BigEndian.Uint64(v)
	}
	return nil
}

// restoreLanes sends the stored gap notices and lets parked lanes go on.
func (e *Endpoint) restoreLanes() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.cfg.URLs[event.OnEventGap] != "" {
		for _, key := range sortedKeys(e.gaps) {
			l := e.lane(key)
			for i := range e.gaps[key] {
				l.push(item{notice: &e.gaps[key][i]})
				e.held++
			}
		}
	}
	for _, key := range sortedKeys(e.lanes) {
		e.schedule(e.lanes[key])
	}
	e.dispatchAll()
}

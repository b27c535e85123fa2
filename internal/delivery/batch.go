package delivery

import (
	"crypto/sha256"
	"encoding/hex"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/webhook"
)

// A batch is one request with the events at the front of several lanes, in order within each lane. The receiver takes
// all or none. While it is under way each of its lanes is in flight, as with a single event, so that nothing of their
// keys overtakes it.
//
// When a batch fails it is not known for which event. So its lanes are tried again each on its own, and if that fails,
// event by event, until what was in the batch is through: one event that can't be delivered holds up its own key only,
// and only an event that failed alone is given up. These attempts have the quarter of the slots that lanes in trouble
// share. A lane whose own event failed proves itself for a while before it shares a batch again.

// proveApart is the number of events that a lane sends apart after one of its own has failed.
const proveApart = 16

// batched is one event of a batch.
type batched struct {
	it   item
	prev uint64
	gaps []storedGap
}

// stretch is the part of a batch that belongs to one lane.
type stretch struct {
	l *lane
	n int
}

// room is what is left of a batch.
type room struct{ events, bytes int }

// fly puts the first n items of the lane into a request.
func (l *lane) fly(n int) {
	l.state = laneFlight
	l.gen++
	l.attempts++
	l.sending = n
}

// land ends the request of all lanes of the attempt. What becomes of them is still to be said.
func (a *attempt) land() {
	a.l.sending = 0
	for _, s := range a.stretches {
		s.l.sending = 0
	}
}

// rest puts the lanes of an attempt aside that has no outcome, because the endpoint closes.
func (a *attempt) rest() {
	a.l.state = laneIdle
	for _, s := range a.stretches {
		s.l.state = laneIdle
	}
}

// gather makes the attempt a batch. The lane of its first event is in flight already; others that are ready join it
// unless it has to go alone.
func (e *Endpoint) gather(a *attempt, alone bool) {
	r := room{e.cfg.Batch, e.cfg.BatchBytes}
	a.l.sending = e.enlist(a, a.l, &r)
	alone = alone || a.l.apart > 0 || a.l.single > 0
	for !alone && r.events > 0 {
		l := a.t.ready.peek()
		if l == nil || l.apart > 0 || l.single > 0 {
			break
		}
		if len(l.queue) > 0 && (l.queue[0].question != nil || l.queue[0].size() > r.bytes) {
			break
		}
		a.t.ready.skip()
		if e.hasHead(l) {
			l.fly(e.enlist(a, l, &r))
			if l.attempts > 1 {
				e.stats.Retries++
			}
		}
	}
	a.prev, a.gaps = a.events[0].prev, a.events[0].gaps
}

// enlist adds the front of a lane to the batch and returns how much of it: at least its head, and what follows as
// long as it goes to the same URL and there is room.
func (e *Endpoint) enlist(a *attempt, l *lane, r *room) int {
	start, named := len(a.events), false
	for i := range l.queue {
		it := &l.queue[i]
		size := it.size()
		if i > 0 && (l.single > 0 || it.question != nil || r.events == 0 || size > r.bytes || e.cfg.URLs[it.typ()] != a.t.url) {
			break
		}
		b := batched{it: *it}
		if it.rec != nil {
			b.prev = e.prev(it.rec)
			if !named {
				b.gaps, named = e.unnamed(l.key, a.events[start:]), true
			}
		}
		a.events = append(a.events, b)
		r.events--
		r.bytes -= size
	}
	n := len(a.events) - start
	a.stretches = append(a.stretches, stretch{l, n})
	return n
}

// unnamed returns the gaps of the key that none of the notices before it in the batch names.
func (e *Endpoint) unnamed(key string, before []batched) []storedGap {
	gaps := e.gaps[key]
	if len(gaps) == 0 || len(before) == 0 {
		return gaps
	}
	var out []storedGap
	for _, g := range gaps {
		said := false
		for i := range before {
			said = said || before[i].it.notice != nil && before[i].it.notice.ID == g.ID
		}
		if !said {
			out = append(out, g)
		}
	}
	return out
}

// size estimates the length of the item's CloudEvent: three attributes hold the key.
func (it *item) size() int {
	const attributes = 768
	if it.rec == nil {
		return attributes
	}
	return attributes + 3*len(it.rec.Key) + len(it.rec.Body)
}

// gathering notes when the oldest lane came into an empty ready queue. The lock is held.
func (e *Endpoint) gathering(t *target) {
	if t.ready.peek() == nil {
		t.readySince = time.Now()
		e.wakeLocked() // run times the end of the wait
	}
}

// fills says that the next batch of t waits for more events. A zero now is the present.
func (e *Endpoint) fills(t *target, now time.Time) bool {
	if e.cfg.Batch == 0 || e.cfg.BatchWait <= 0 || e.draining || e.cfg.Paused || t.down {
		return false
	}
	n := 0
	for i := t.ready.head; i < len(t.ready.items) && n < e.cfg.Batch; i++ {
		if p := t.ready.items[i]; p.l.gen == p.gen {
			n += len(p.l.queue)
		}
	}
	if n == 0 || n >= e.cfg.Batch {
		return false
	}
	if now.IsZero() {
		now = time.Now()
	}
	return now.Before(t.readySince.Add(e.cfg.BatchWait))
}

const batchContentType = event.ContentTypeCloudEventBatch + "; charset=utf-8"

// batchRequest renders a batch and signs it.
func (e *Endpoint) batchRequest(a *attempt, buf []byte) (webhook.Request, []byte) {
	buf = append(buf, '[')
	var ids []byte
	for i := range a.events {
		if i > 0 {
			buf = append(buf, ',')
		}
		env, body := e.content(a, a.events[i])
		public := env.public()
		buf = event.AppendCloudEvent(buf, &public, env.index, body)
		ids = append(append(ids, env.id...), '.')
	}
	buf = append(buf, ']')
	id := batchID(ids, len(a.events))
	n := 1
	if len(a.stretches) == 1 {
		n = a.n
	}
	h := with(header("", n), "Content-Type", batchContentType)
	meta := webhook.Meta{Endpoint: e.name, ID: id, Type: "batch", Attempt: n}
	if first := a.events[0].it.rec; first != nil && len(a.events) == 1 {
		meta.Stream, meta.Publication, meta.Type = first.Key, first.Publication, string(first.Type)
	}
	return webhook.Request{
		URL: a.t.url, Header: a.form.complete(h, id, buf), Body: buf, Timeout: a.wait,
		Meta: meta,
	}, buf
}

// batchID returns the webhook-id of a batch. It stands for exactly these events in this order: a receiver that knows
// the id has had all of them, and a request with other events never has the same. (With the id of the first event it
// would drop, as repetitions, the events that a batch after a failure or a crash has in addition.) One event alone has
// its own id. ids are those of the events, each with a dot behind it, which none of them has.
func batchID(ids []byte, n int) string {
	if n == 1 {
		return string(ids[:len(ids)-1])
	}
	sum := sha256.Sum256(ids)
	return "batch-" + hex.EncodeToString(sum[:16])
}

// settleBatch applies a reply to a batch of several events. The lock is held.
func (e *Endpoint) settleBatch(a *attempt, class webhook.Class, rep webhook.Reply, now time.Time) (then func()) {
	why := ""
	switch class {
	case webhook.Accepted:
		return e.batchAccepted(a, rep, now)
	case webhook.Gone:
		why = e.gone(a.t)
	case webhook.Rejected:
		why = errText(rep)
		e.up(a.t, now, rep.Latency) // it is alive
	case webhook.Retryable:
		why = e.failure(a, rep, now)
	}
	e.observe(a, class, 0, rep, why)
	e.stats.Splits++
	for _, s := range a.stretches {
		e.split(a, s, why, rep, now)
	}
	return nil
}

// split lets one lane of a batch that failed go on by itself.
func (e *Endpoint) split(a *attempt, s stretch, why string, rep webhook.Reply, now time.Time) {
	l := s.l
	l.cuts++ // as far as is known it is not to blame
	l.lastError = why
	if l.failSince.IsZero() {
		l.failSince = now
	}
	l.wakeWaiters(true)
	l.apart = max(l.apart, s.n)
	if len(a.stretches) == 1 {
		l.single = s.n
	}
	if l.parked {
		e.unload(l) // it keeps its place, not its events
	}
	switch {
	case a.t.gone, !a.t.used:
		e.schedule(l)
	case a.t.down:
		l.state = laneBlocked
		a.t.waiting.push(l)
		e.wakeLocked()
	case rep.Err != nil && !a.cut: // most likely the receiver or the way to it
		e.delay(l, e.delayOf(l.attempts, rep.RetryAfter))
	default:
		e.delay(l, max(cutDelay<<min(l.cuts-1, 10), rep.RetryAfter))
	}
}

// batchAccepted takes the events out of their lanes and lets these go on.
func (e *Endpoint) batchAccepted(a *attempt, rep webhook.Reply, now time.Time) (then func()) {
	e.up(a.t, now, rep.Latency)
	e.observe(a, webhook.Accepted, 0, rep, "")
	var late []uint64
	i := 0
	for _, s := range a.stretches {
		for range s.n {
			b := &a.events[i]
			i++
			switch it := b.it; {
			case it.notice != nil:
				e.gapsAccepted(s.l.key, *it.notice)
			case it.late:
				late = append(late, it.rec.Position)
			default:
				e.delivered(it.rec)
				e.gapsAccepted(s.l.key, b.gaps...)
			}
			e.finish(s.l, b.it)
		}
		e.schedule(s.l)
	}
	if late == nil {
		return nil
	}
	return func() {
		for _, position := range late {
			e.redriven(position)
		}
	}
}

package delivery

import (
	"context"
	"strconv"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/attempts"
	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/journal"
	"github.com/hookline/hookline/internal/webhook"
)

// dispatchAll starts what may start. The lock is held.
func (e *Endpoint) dispatchAll() {
	for _, t := range e.targets {
		e.dispatch(t)
	}
}

func (e *Endpoint) dispatch(t *target) {
	for a := e.pick(t, nil); a != nil; a = e.pick(t, nil) {
		e.wg.Add(1)
		go e.work(a)
	}
}

// pick takes the next lane that may use a slot of t, or returns nil. used is an attempt that is over, whose memory is
// used again; it may be nil. The lock is held.
func (e *Endpoint) pick(t *target, used *attempt) *attempt {
	if e.closing || e.cfg.Paused || e.throttled() {
		return nil
	}
	if t.down {
		return e.pickProbe(t, used)
	}
	for t.fast < t.limit && !e.fills(t, time.Time{}) {
		l := t.ready.pop()
		if l == nil {
			break
		}
		if e.hasHead(l) {
			return e.begin(t, l, false, used)
		}
	}
	for t.slow < t.slowShare() {
		l := t.popFailing()
		if l == nil {
			break
		}
		if e.hasHead(l) {
			return e.begin(t, l, true, used)
		}
	}
	return nil
}

// throttled says whether Config.Rate forbids a request now. A second's worth may come at once after a pause.
func (e *Endpoint) throttled() bool {
	return e.cfg.Rate > 0 && time.Now().Before(e.rateAt)
}

// spend takes one request from Config.Rate.
func (e *Endpoint) spend(now time.Time) {
	if e.cfg.Rate <= 0 {
		return
	}
	if idle := now.Add(-time.Second); e.rateAt.Before(idle) {
		e.rateAt = idle
	}
	e.rateAt = e.rateAt.Add(time.Duration(float64(time.Second) / e.cfg.Rate))
}

// hasHead says whether the lane, just taken from a queue, has something to send now. If not it finds itself another
// place: a parked lane reads its next events first, a question whose condition ended is withdrawn.
func (e *Endpoint) hasHead(l *lane) bool {
	if len(l.queue) > 0 && (l.queue[0].question == nil || l.queue[0].question.holds()) {
		return true
	}
	e.schedule(l)
	return false
}

// pickProbe lets one request at a time find out whether the receiver is back. Lanes take turns, so that one that
// always fails does not hide that others would not.
func (e *Endpoint) pickProbe(t *target, used *attempt) *attempt {
	now := time.Now()
	for {
		l := t.waiting.peek()
		if l == nil || !t.mayProbe(l, now) {
			return nil
		}
		t.waiting.skip()
		if e.hasHead(l) {
			t.lastProbe = now
			return e.begin(t, l, false, used)
		}
	}
}

// nextProbe is when a probe may go out: by the back-off, or sooner for a lane that has not failed itself.
func (t *target) nextProbe(head *lane) time.Time {
	if soon := t.lastProbe.Add(freshProbe); head.attempts == 0 && soon.Before(t.probeAt) {
		return soon
	}
	return t.probeAt
}

func (e *Endpoint) begin(t *target, l *lane, slow bool, a *attempt) *attempt {
	l.fly(1)
	if q := l.queue[0].question; q != nil {
		q.attempts++
	}
	next := attempt{t: t, l: l, it: l.queue[0], slow: slow, at: time.Now(), n: l.attempts, wait: e.cfg.Timeout}
	if a != nil && !a.cut {
		next.ctx, next.stop = a.ctx, a.stop
	} else {
		next.ctx, next.stop = context.WithCancel(e.ctx)
	}
	if a == nil {
		a = new(attempt)
	}
	clear(a.events)
	clear(a.stretches)
	next.events, next.stretches = a.events[:0], a.stretches[:0]
	*a = next
	a.form = form{format: e.cfg.Format, signer: e.cfg.Signer, header: e.cfg.Header, replay: e.replay}
	switch {
	case e.cfg.Batch > 0 && !t.gone && a.it.question == nil:
		e.gather(a, slow || t.down)
	case a.it.rec != nil:
		a.prev, a.gaps = e.prev(a.it.rec), e.gaps[l.key]
	}
	if slow {
		t.slow++
	} else {
		t.fast++
	}
	t.link(a)
	e.spend(a.at)
	e.stats.Attempts++
	if a.n > 1 {
		e.stats.Retries++
	}
	if t.first == a {
		e.wakeLocked() // run watches for slow attempts while there are any
	}
	return a
}

// work sends attempts until there is no slot or nothing to send.
func (e *Endpoint) work(a *attempt) {
	defer e.wg.Done()
	var buf []byte
	for {
		var req webhook.Request
		req, buf = e.request(a, buf[:0])
		rep := e.deps.Sender.Send(a.ctx, req)
		e.mu.Lock()
		then := e.settle(a, rep)
		t, stop := a.t, a.stop
		next := e.pick(t, a)
		e.dispatchAll() // the lane's next event may go to another URL
		if next == nil && !t.used && t.inFlight() == 0 && e.targets[t.url] == t {
			delete(e.targets, t.url)
		}
		e.mu.Unlock()
		if then != nil {
			then()
		}
		if next == nil {
			stop()
			return
		}
		a = next
	}
}

// settle applies a reply. It returns what is to be called without the lock. The lock is held.
func (e *Endpoint) settle(a *attempt, rep webhook.Reply) (then func()) {
	a.t.unlink(a)
	if a.slow {
		a.t.slow--
	} else {
		a.t.fast--
	}
	a.land()
	if e.closing && rep.Err != nil {
		a.rest() // its place in the journal stands
		return nil
	}
	now := time.Now()
	class, code, msg := a.form.classify(rep)
	if len(a.events) > 1 {
		return e.settleBatch(a, class, rep, now)
	}
	var why string
	switch class {
	case webhook.Accepted:
		return e.accepted(a, rep, now, code, msg)
	case webhook.Gone:
		why = e.gone(a.t)
	case webhook.Rejected:
		why = msg
		e.up(a.t, now, rep.Latency) // it is alive
		a.l.rejects++
	case webhook.Retryable:
		why = e.failure(a, rep, now)
	}
	if e.cfg.Batch > 0 && !a.cut {
		a.l.apart = max(a.l.apart, proveApart)
	}
	e.observe(a, class, code, rep, why)
	return e.failed(a, class, why, rep.RetryAfter, now)
}

// failure notes what a failed attempt says about the receiver as a whole.
func (e *Endpoint) failure(a *attempt, rep webhook.Reply, now time.Time) string {
	if a.cut {
		e.stats.Cuts++
	}
	switch {
	case len(a.events) > 1: // split counts it
	case e.cfg.Policy == PolicySkip:
		a.l.rejects++
	}
	if a.cut && len(a.events) < 2 {
		a.l.cuts++
	}
	if a.cut {
		return "cut short: took far longer than others, whose slots it held"
	}
	l := a.l
	if len(a.stretches) > 1 {
		l = nil
	}
	if a.t.failed(now, l, &e.cfg) {
		e.log.Warn("receiver is down: probing", "url", a.t.shown, "err", errText(rep))
		e.blockAll(a.t)
	}
	return errText(rep)
}

func errText(rep webhook.Reply) string {
	if rep.Err != nil {
		return attempts.Masked(rep.Err.Error())
	}
	return "status " + strconv.Itoa(rep.Status)
}

// accepted takes the head out and lets the lane go on.
func (e *Endpoint) accepted(a *attempt, rep webhook.Reply, now time.Time, code int, msg string) (then func()) {
	e.up(a.t, now, rep.Latency)
	e.observe(a, webhook.Accepted, code, rep, msg)
	l, it := a.l, a.it
	if code != 0 {
		e.stats.Refused++
		e.log.Info("event refused by the receiver", "type", it.typ(), "stream", l.key, "event", it.id(), "code", code, "msg", msg)
	}
	switch {
	case it.rec != nil && it.late:
		then = func() { e.redriven(it.rec.Position) }
	case it.rec != nil:
		e.delivered(it.rec)
		e.gapsAccepted(l.key, a.gaps...)
	case it.notice != nil:
		e.gapsAccepted(l.key, *it.notice)
	default:
		then = it.question.answered(code, msg, rep.Body)
	}
	e.finish(l, it)
	e.schedule(l)
	return then
}

// delivered counts an event that was accepted in its turn.
func (e *Endpoint) delivered(r *journal.Record) {
	e.stats.Delivered++
	if e.deps.Observer.Delivered != nil {
		e.deps.Observer.Delivered(e.name, r.Type, r.Time)
	}
}

// gone disables a URL.
func (e *Endpoint) gone(t *target) (why string) {
	if !t.gone {
		t.gone = true
		e.log.Error("a receiver answered 410: its URL is disabled until the configuration is reloaded", "url", t.shown)
	}
	return "the receiver answered 410"
}

// up notes that the receiver answers; lanes that waited for it go on.
func (e *Endpoint) up(t *target, now time.Time, latency time.Duration) {
	if !t.succeeded(now, latency, e.cfg.Concurrency) {
		return
	}
	e.log.Info("receiver is back", "url", t.shown, "down_for", now.Sub(t.downSince).Round(time.Millisecond))
	waiting := t.waiting
	t.waiting = fifo{}
	for l := waiting.pop(); l != nil; l = waiting.pop() {
		if l.failSince.After(t.lastGood) { // it was the receiver, not the lane
			l.failSince, l.attempts, l.cuts, l.apart, l.single = time.Time{}, 0, 0, 0, 0
		}
		e.schedule(l)
	}
}

// blockAll lets every lane that is ready wait for the receiver.
func (e *Endpoint) blockAll(t *target) {
	for _, q := range []*fifo{&t.failing[0], &t.failing[1], &t.failing[2], &t.failing[3], &t.ready} {
		for l := q.pop(); l != nil; l = q.pop() {
			l.state = laneBlocked
			l.wakeWaiters(true)
			t.waiting.push(l)
		}
	}
}

// failed decides whether the head is tried again.
func (e *Endpoint) failed(a *attempt, class webhook.Class, why string, retryAfter time.Duration, now time.Time) (then func()) {
	l, it := a.l, a.it
	l.lastError = why
	if l.failSince.IsZero() {
		l.failSince = now
	}
	l.wakeWaiters(true)
	e.complain(a, class, why, now)
	if reason := e.exhausted(a, class, now); reason != "" {
		switch {
		case it.question != nil:
			then = it.question.failed(why)
			e.finish(l, it)
			e.schedule(l)
			return then
		case it.notice != nil: // it is named on the next event instead
			e.finish(l, it)
			e.schedule(l)
			return nil
		}
		if it.late { // it stays a dead letter
			e.finish(l, it)
			e.schedule(l)
			return nil
		}
		e.wg.Add(1)
		return func() { go e.bury(l, it, reason, why) } // the lane stays in flight
	}
	if l.parked {
		e.unload(l) // it keeps its place, not its events
	}
	switch {
	case it.question != nil:
		it.question.retryAt = now.Add(e.delayOf(it.question.attempts, retryAfter))
		e.schedule(l)
	case !a.t.used: // it goes elsewhere by now, and who waits for this URL waits for ever
		e.schedule(l)
	case a.t.down:
		l.state = laneBlocked
		a.t.waiting.push(l)
		e.wakeLocked()
	case a.cut && l.cuts == l.attempts: // it has not failed by itself
		e.delay(l, cutDelay<<min(l.cuts-1, 10))
	default:
		n := l.attempts
		if e.cfg.Batch > 0 {
			n -= l.cuts // what failed in company
		}
		e.delay(l, e.delayOf(n, retryAfter))
	}
	return nil
}

// exhausted returns the reason for which the head is given up, or "".
func (e *Endpoint) exhausted(a *attempt, class webhook.Class, now time.Time) string {
	switch {
	case class == webhook.Gone:
		return event.ReasonGone
	case e.cfg.Policy == PolicyBlock:
		return ""
	case a.l.rejects >= e.cfg.RejectAttempts:
		return event.ReasonRefused
	case a.it.rec != nil && !a.t.down && e.ageOf(a.it.rec, now) > e.cfg.MaxAge:
		return event.ReasonExpired
	}
	return ""
}

// ageOf returns how long ago the record was raised. Of one of this run that was never read again now knows it exactly; of
// others the two clocks may differ while the system's has jumped, and the younger age counts.
func (e *Endpoint) ageOf(r *journal.Record, now time.Time) time.Duration {
	return min(now.Sub(r.Time), e.deps.Clock().Sub(r.Time))
}

// answered reads close out of the answer.
func (q *question) answered(code int, msg string, body []byte) func() {
	out := fact.Outcome{
		Allowed: code == 0 && webhook.CloseAnswer(body), By: "hook", Message: msg, RequestID: q.id,
		Attempts: q.attempts, DurationMS: time.Since(q.asked).Milliseconds(),
	}
	return func() { q.answer(out.Allowed, out) }
}

func (q *question) failed(why string) func() {
	out := fact.Outcome{
		By: "failed", Message: why, RequestID: q.id, Attempts: q.attempts,
		DurationMS: time.Since(q.asked).Milliseconds(),
	}
	return func() { q.answer(false, out) }
}

func (q *question) envelope(s Stamper) envelope {
	source, inc, epoch := s.Identity()
	return envelope{
		id: q.id, source: source, incarnation: inc, stream: q.key, publication: q.publication,
		typ: event.OnStreamNoneReader, epoch: epoch, after: q.after, hasAfter: true, index: q.index, time: q.time,
	}
}

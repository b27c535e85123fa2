package delivery

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/webhook"
)

// dispatchAll starts what may start. The lock is held.
func (e *Endpoint) dispatchAll() {
	for _, t := range e.targets {
		e.dispatch(t)
	}
}

func (e *Endpoint) dispatch(t *target) {
	for a := e.pick(t); a != nil; a = e.pick(t) {
		e.wg.Add(1)
		go e.work(a)
	}
}

// pick takes the next lane that may use a slot of t, or returns nil. The lock is held.
func (e *Endpoint) pick(t *target) *attempt {
	if e.closing {
		return nil
	}
	if t.down {
		return e.pickProbe(t)
	}
	for t.fast < t.limit {
		l := t.ready.pop()
		if l == nil {
			break
		}
		if e.hasHead(l) {
			return e.begin(t, l, false)
		}
	}
	for t.slow < t.slowShare() {
		l := t.popFailing()
		if l == nil {
			break
		}
		if e.hasHead(l) {
			return e.begin(t, l, true)
		}
	}
	return nil
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
func (e *Endpoint) pickProbe(t *target) *attempt {
	if t.inFlight() > 0 {
		return nil
	}
	now := time.Now()
	for {
		l := t.waiting.peek()
		if l == nil || now.Before(t.nextProbe(l)) {
			return nil
		}
		t.waiting.skip()
		if e.hasHead(l) {
			t.lastProbe = now
			return e.begin(t, l, false)
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

func (e *Endpoint) begin(t *target, l *lane, slow bool) *attempt {
	l.state = laneFlight
	l.gen++
	l.attempts++
	if q := l.queue[0].question; q != nil {
		q.attempts++
	}
	a := &attempt{e: e, t: t, l: l, it: l.queue[0], slow: slow, at: time.Now(), n: l.attempts}
	a.ctx, a.stop = context.WithCancel(e.ctx)
	a.wait = e.cfg.Timeout
	if a.it.rec != nil {
		a.prev, a.gaps = e.prev(a.it.rec), e.gaps[l.key]
	}
	if slow {
		t.slow++
	} else {
		t.fast++
	}
	t.link(a)
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
	for a != nil {
		var req webhook.Request
		req, buf = e.request(a, buf[:0])
		rep := e.deps.Sender.Send(a.ctx, req)
		a.stop()
		e.mu.Lock()
		then := e.settle(a, rep)
		t := a.t
		a = e.pick(t)
		e.dispatchAll() // the lane's next event may go to another URL
		if a == nil && !t.used && t.inFlight() == 0 && e.targets[t.url] == t {
			delete(e.targets, t.url)
		}
		e.mu.Unlock()
		if then != nil {
			then()
		}
	}
}

// request renders the body.
func (e *Endpoint) request(a *attempt, buf []byte) (webhook.Request, []byte) {
	it := a.it
	var env envelope
	var body []byte
	switch {
	case it.rec != nil:
		env, body = envelopeOf(it.rec), it.rec.Body
		env.prev = a.prev
		for _, g := range a.gaps {
			env.gap = append(env.gap, g.Gap)
		}
		if it.rec.Type == event.OnEventGap {
			body = gapFact(it.rec.Key, recordGap(it.rec))
		}
	case it.notice != nil:
		env, body = it.notice.envelope(), gapFact(a.l.key, it.notice.Gap)
	default:
		env, body = it.question.envelope(e.deps.Stamper), it.question.body
	}
	buf = appendBody(buf, body, &env)
	return webhook.Request{URL: a.t.url, Header: header(env.stream, a.n), Body: buf, Timeout: a.wait}, buf
}

// defaultVhostHeader is the header of the first attempt of nearly every event. It is not changed by who gets it.
var defaultVhostHeader = http.Header{"X-VHOST": {"__defaultVhost__"}} //nolint:gochecknoglobals // a constant

// header returns X-VHOST for events of a stream, and the number of the attempt from the second on.
func header(key string, n int) http.Header {
	vhost, _, ok := strings.Cut(key, "/")
	if n == 1 && vhost == "__defaultVhost__" {
		return defaultVhostHeader
	}
	h := make(http.Header, 2)
	if ok && vhost != "" {
		h["X-VHOST"] = []string{vhost}
	}
	if n > 1 {
		h["X-Hookline-Attempt"] = []string{strconv.Itoa(n)}
	}
	return h
}

// settle applies a reply. It returns what is to be called without the lock. The lock is held.
func (e *Endpoint) settle(a *attempt, rep webhook.Reply) (then func()) {
	a.t.unlink(a)
	if a.slow {
		a.t.slow--
	} else {
		a.t.fast--
	}
	if e.closing && rep.Err != nil {
		a.l.state = laneIdle // its place in the journal stands
		return nil
	}
	now := time.Now()
	class, code, msg := webhook.Classify(rep)
	var why string
	switch class {
	case webhook.Accepted:
		return e.accepted(a, rep, now, code, msg)
	case webhook.Gone:
		why = "the receiver answered 410"
		if !a.t.gone {
			a.t.gone = true
			e.log.Error("a receiver answered 410: its URL is disabled until the configuration is reloaded", "url", a.t.url)
		}
	case webhook.Rejected:
		why = msg
		e.up(a.t, now, rep.Latency) // it is alive
		a.l.rejects++
	case webhook.Retryable:
		why = e.failure(a, rep, now)
	}
	e.observe(a, class, code, rep)
	return e.failed(a, class, why, rep.RetryAfter, now)
}

// failure notes what a failed attempt says about the receiver as a whole.
func (e *Endpoint) failure(a *attempt, rep webhook.Reply, now time.Time) string {
	if e.cfg.Policy == PolicySkip {
		a.l.rejects++
	}
	if a.cut {
		e.stats.Cuts++
		return "cut short: took far longer than others, whose slots it held"
	}
	if a.t.failed(now, &e.cfg) {
		e.log.Warn("receiver is down: probing", "url", a.t.url, "err", errText(rep))
		e.blockAll(a.t)
	}
	return errText(rep)
}

func errText(rep webhook.Reply) string {
	if rep.Err != nil {
		return rep.Err.Error()
	}
	return "status " + strconv.Itoa(rep.Status)
}

func (e *Endpoint) observe(a *attempt, class webhook.Class, code int, rep webhook.Reply) {
	if e.deps.Observer.Attempt == nil {
		return
	}
	result := "retry"
	switch {
	case class == webhook.Accepted && code != 0:
		result = "refused"
	case class == webhook.Accepted:
		result = "accepted"
	case class == webhook.Rejected:
		result = "rejected"
	case class == webhook.Gone:
		result = "gone"
	case a.cut:
		result = "cut"
	}
	e.deps.Observer.Attempt(e.name, a.it.typ(), result, rep.Latency)
}

// accepted takes the head out and lets the lane go on.
func (e *Endpoint) accepted(a *attempt, rep webhook.Reply, now time.Time, code int, msg string) (then func()) {
	e.up(a.t, now, rep.Latency)
	e.observe(a, webhook.Accepted, code, rep)
	l, it := a.l, a.it
	if code != 0 {
		e.stats.Refused++
		e.log.Info("event refused by the receiver", "type", it.typ(), "stream", l.key, "code", code, "msg", msg)
	}
	switch {
	case it.rec != nil:
		e.stats.Delivered++
		if e.deps.Observer.Delivered != nil {
			e.deps.Observer.Delivered(e.name, it.rec.Type, it.rec.Time)
		}
		e.gapsAccepted(l.key, len(a.gaps))
	case it.notice != nil:
		e.noticeAccepted(l.key, it.notice)
	default:
		then = it.question.answered(code, msg, rep.Body)
	}
	e.finish(l, it)
	e.schedule(l)
	return then
}

// up notes that the receiver answers; lanes that waited for it go on.
func (e *Endpoint) up(t *target, now time.Time, latency time.Duration) {
	if !t.succeeded(now, latency, e.cfg.Concurrency) {
		return
	}
	e.log.Info("receiver is back", "url", t.url, "down_for", now.Sub(t.downSince).Round(time.Millisecond))
	waiting := t.waiting
	t.waiting = fifo{}
	for l := waiting.pop(); l != nil; l = waiting.pop() {
		l.failSince, l.attempts = time.Time{}, 0 // it was the receiver, not the lane
		e.schedule(l)
	}
}

// blockAll lets every lane that is ready wait for the receiver.
func (e *Endpoint) blockAll(t *target) {
	for _, q := range []*fifo{&t.failing[0], &t.failing[1], &t.failing[2], &t.ready} {
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
	case a.t.down:
		l.state = laneBlocked
		a.t.waiting.push(l)
		e.wakeLocked()
	default:
		e.delay(l, e.delayOf(l.attempts, retryAfter))
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
	case a.it.rec != nil && !a.t.down && now.Sub(a.it.rec.Time) > e.cfg.MaxAge:
		return event.ReasonExpired
	}
	return ""
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

package delivery

import (
	"slices"
	"strings"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/attempts"
	"github.com/hookline/hookline/internal/webhook"
)

// Observer is told of every attempt; nil members are not called. They must not block.
type Observer struct {
	// Attempt is called under the endpoint's lock, for each event of a request; the answer is valid during the call only.
	Attempt func(attempts.Attempt)
	// Delivered: raised is when the event was raised.
	Delivered func(endpoint string, t event.Type, raised time.Time)
	// DeadLetter and Gap count what was given up and named.
	DeadLetter func(endpoint, reason string)
	Gap        func(endpoint, reason string)
}

// LastError is the newest attempt of an endpoint that was not accepted. Zero: there was none.
type LastError struct {
	Time      time.Time
	URL, Text string
	Type      event.Type
	// Stream and Event name what was sent.
	Stream, Event string
}

// URLStats is the present state of one URL.
type URLStats struct {
	// URL without user, password and query.
	URL string
	// State is one of the URL constants.
	State string
	// InFlight are the requests on their way, and Slots is the number that is open now.
	InFlight, Slots int
	// Failures in a row.
	Failures int
	// DownSince and NextProbe are zero while the URL is up; LastSuccess is zero when there was none.
	DownSince, NextProbe, LastSuccess time.Time
	// Latency is a moving average of what was answered.
	Latency time.Duration
	// LastError is empty when there was none.
	LastError string
	// LastErrorAt is zero when there was none.
	LastErrorAt time.Time
}

// States of a URL.
const (
	URLUp   = "up"
	URLDown = "down" // everything fails: it is probed
	URLGone = "gone" // it answered 410
)

// Name returns the name in the configuration.
func (e *Endpoint) Name() string { return e.base }

// seen is what an endpoint remembers of its attempts. Guarded by the endpoint's lock.
type seen struct {
	results [attempts.Results]uint64
	latency histogram
	last    LastError
}

// observe notes an attempt and tells of it, for each event of a batch; why says why it was not accepted. The lock is
// held.
func (e *Endpoint) observe(a *attempt, class webhook.Class, code int, rep webhook.Reply, why string) {
	out := attempts.Attempt{
		Endpoint: e.base, URL: a.t.shown, N: a.n, At: a.at, Latency: rep.Latency, Result: resultOf(a, class, code),
		Status: rep.Status, Code: code, Answer: rep.Body, Replay: e.replay, Batch: len(a.events),
	}
	if out.Result != attempts.Accepted {
		out.Err = attempts.Masked(why)
	}
	about(&out, &a.it)
	e.note(a.t, &out)
	if e.deps.Observer.Attempt == nil {
		return
	}
	if len(a.events) < 2 {
		e.deps.Observer.Attempt(out)
		return
	}
	i := 0
	for _, s := range a.stretches {
		for range s.n {
			about(&out, &a.events[i].it)
			out.N = s.l.attempts
			e.deps.Observer.Attempt(out)
			i++
		}
	}
}

func resultOf(a *attempt, class webhook.Class, code int) attempts.Result {
	switch {
	case class == webhook.Accepted && code != 0:
		return attempts.Refused
	case class == webhook.Accepted:
		return attempts.Accepted
	case class == webhook.Rejected:
		return attempts.Rejected
	case class == webhook.Gone:
		return attempts.Gone
	case a.cut:
		return attempts.Cut
	}
	return attempts.Retry
}

// about says what was sent.
func about(a *attempts.Attempt, it *item) {
	a.Type, a.Late = it.typ(), it.late
	switch {
	case it.rec != nil:
		a.Key, a.ID, a.Publication, a.Seq = it.rec.Key, it.rec.ID, it.rec.Publication, it.rec.Seq
	case it.notice != nil:
		a.Key, a.ID, a.Publication, a.Seq = it.notice.Stream, it.notice.ID, "", 0
	default:
		a.Key, a.ID, a.Publication, a.Seq = it.question.key, it.question.id, it.question.publication, 0
	}
}

// note counts a request. The lock is held.
func (e *Endpoint) note(t *target, a *attempts.Attempt) {
	now := a.At.Add(a.Latency)
	e.seen.results[a.Result]++
	if a.Status != 0 {
		e.seen.latency.add(now, a.Latency)
	}
	if a.Result <= attempts.Refused {
		return
	}
	e.seen.last = LastError{Time: now, URL: a.URL, Text: a.Err, Type: a.Type, Stream: a.Key, Event: a.ID}
	if t != nil {
		t.lastError, t.lastErrorAt = a.Err, now
	}
}

// urlStats returns the state of each URL, sorted. The lock is held.
func (e *Endpoint) urlStats() []URLStats {
	out := make([]URLStats, 0, len(e.targets))
	for _, t := range e.targets {
		u := URLStats{
			URL: t.shown, State: URLUp, InFlight: t.inFlight(), Slots: t.limit, Failures: t.failures,
			LastSuccess: t.success, Latency: t.latency, LastError: t.lastError, LastErrorAt: t.lastErrorAt,
		}
		switch {
		case t.gone:
			u.State = URLGone
		case t.down:
			u.State, u.DownSince, u.NextProbe, u.Slots = URLDown, t.downSince, t.probeAt, 1
		}
		out = append(out, u)
	}
	slices.SortFunc(out, func(a, b URLStats) int { return strings.Compare(a.URL, b.URL) })
	return out
}

// oldest returns when the oldest event that still has to be sent was raised, zero when there is none. The lock is
// held.
func (e *Endpoint) oldest() (t time.Time) {
	for _, l := range e.lanes {
		var since time.Time
		if l.parked {
			since = l.since
		}
		for i := range l.queue {
			if r := l.queue[i].rec; r != nil && !l.queue[i].late {
				since = r.Time
				break
			}
		}
		if !since.IsZero() && (t.IsZero() || since.Before(t)) {
			t = since
		}
	}
	return t
}

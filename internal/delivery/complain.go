package delivery

import (
	"time"

	"github.com/hookline/hookline/internal/webhook"
)

const (
	// complainFrom is the number of failed attempts from which on the log tells of a lane: one may be an accident.
	complainFrom = 2
	// complainEvery is the time between two such lines of an endpoint: thousands of streams may fail.
	complainEvery = time.Minute
)

// complain tells the log that a receiver does not take an event. When a URL is down, or has said that it is gone, the log
// knows already. mu is held.
func (e *Endpoint) complain(a *attempt, class webhook.Class, why string, now time.Time) {
	l := a.l
	if l.attempts < complainFrom || a.t.down || a.cut || class == webhook.Gone {
		return
	}
	if !e.complained.IsZero() && now.Sub(e.complained) < complainEvery {
		e.unsaid++
		return
	}
	e.log.Warn("an event is not accepted and tried again; its stream waits", "url", a.t.shown, "type", a.it.typ(), "stream", l.key,
		"event", a.it.id(), "attempt", l.attempts, "err", why, "more_failures_before", e.unsaid)
	e.complained, e.unsaid = now, 0
}

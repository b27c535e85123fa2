package server

import (
	"strings"
	"sync"
	"time"

	"github.com/hookline/hookline/internal/attempts"
	"github.com/hookline/hookline/internal/config"
	"github.com/hookline/hookline/internal/decision"
	"github.com/hookline/hookline/internal/delivery"
)

func attemptsConfig(c *config.Config) attempts.Config {
	d := c.Delivery
	return attempts.Config{Recent: d.AttemptsRecent, Kept: d.AttemptsFailed, AnswerBytes: d.AttemptsAnswer}
}

// deliveryObserver lets metrics and the memory of attempts see what endpoints do.
func (w *web) deliveryObserver() delivery.Observer {
	o := w.metrics.DeliveryObserver()
	count := o.Attempt
	o.Attempt = func(a attempts.Attempt) {
		w.attempts.Add(a)
		count(a)
	}
	return o
}

// decisionObserver is the same for decisions.
type decisionObserver struct {
	decision.Observer
	log *attempts.Log
}

// AttemptDone implements decision.Observer.
func (o decisionObserver) AttemptDone(a attempts.Attempt) {
	o.log.Add(a)
	o.Observer.AttemptDone(a)
}

// deadCount counts dead letters for metrics.
type deadCount struct {
	s  *Server
	mu sync.Mutex // guards what follows
	at time.Time
	n  map[string]int
}

// deadCountEvery bounds how often the journal is asked.
const deadCountEvery = 30 * time.Second

func (d *deadCount) count() map[string]int {
	d.mu.Lock()
	defer d.mu.Unlock()
	if time.Since(d.at) < deadCountEvery {
		return d.n
	}
	st, err := d.s.journal.State("dead/")
	if err != nil {
		return d.n
	}
	d.at, d.n = time.Now(), map[string]int{}
	d.s.eps.each(func(ep *delivery.Endpoint) { d.n[ep.Name()] = 0 })
	for key := range st {
		name := strings.TrimPrefix(key, "dead/")
		if i := strings.LastIndexByte(name, '/'); i >= 0 {
			d.n[name[:i]]++
		}
	}
	return d.n
}

package server

import (
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

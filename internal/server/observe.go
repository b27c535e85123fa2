package server

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/hookline/hookline/internal/attempts"
	"github.com/hookline/hookline/internal/config"
	"github.com/hookline/hookline/internal/decision"
	"github.com/hookline/hookline/internal/delivery"
	"github.com/hookline/hookline/internal/telemetry"
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
	log    *attempts.Log
	tracer *telemetry.Tracer
}

// DecisionDone implements decision.Observer.
func (o decisionObserver) DecisionDone(d decision.Decision) {
	o.Observer.DecisionDone(d)
	if o.tracer != nil {
		o.tracer.Decided(telemetry.Decision{
			Type: d.Type, Key: d.Key, RequestID: d.Outcome.RequestID, By: d.Outcome.By, Allowed: d.Outcome.Allowed,
			Start: d.Start, Took: d.Took,
		})
	}
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

// openTraces lets senders make spans, when the configuration names a collector.
func (s *Server) openTraces(c *config.Config) error {
	s.deliver, s.ask = s.router, s.asker
	if c.Telemetry.Endpoint == "" {
		return nil
	}
	t, err := telemetry.Open(s.ctx, telemetry.Config{
		Endpoint: c.Telemetry.Endpoint, Ratio: c.Telemetry.Ratio, Service: "hookline", Version: s.opt.Version,
		Instance: c.General.MediaServerID, Logger: s.log,
	})
	if err != nil {
		return fmt.Errorf("telemetry.otlp_endpoint: %w", err)
	}
	s.tracer = t
	s.deliver, s.ask = t.Sender(s.router, false), t.Sender(s.asker, true)
	s.onFailure(func() error { return t.Close(s.ctx) })
	return nil
}

// closeTraces exports what is left, as long as that takes no more than two seconds.
func (s *Server) closeTraces(ctx context.Context) {
	if s.tracer == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := s.tracer.Close(ctx); err != nil {
		s.log.Warn("the last traces were not exported", "err", attempts.Masked(err.Error()))
	}
}

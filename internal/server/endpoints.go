package server

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hookline/hookline/internal/api"
	"github.com/hookline/hookline/internal/config"
	"github.com/hookline/hookline/internal/delivery"
	"github.com/hookline/hookline/internal/journal"
)

// endpoints are the receivers: "hook", which the hook.on_* URLs form, and the [endpoint.NAME] sections.
type endpoints struct {
	s *Server
	// all is what Feed runs over; replaced as a whole.
	all atomic.Pointer[[]*delivery.Endpoint]

	mu     sync.Mutex // guards byName; held while endpoints come and go
	byName map[string]*delivery.Endpoint
	// marks tell whether the configuration of an endpoint has changed.
	marks  map[string][sha256.Size]byte
	closed bool
}

func newEndpoints(s *Server) *endpoints {
	e := &endpoints{s: s, byName: map[string]*delivery.Endpoint{}, marks: map[string][sha256.Size]byte{}}
	e.all.Store(&[]*delivery.Endpoint{})
	return e
}

// feed hands durable records to all. It is called by the sequencer and does not block.
func (e *endpoints) feed(recs []*journal.Record) {
	for _, ep := range *e.all.Load() {
		ep.Feed(recs)
	}
}

func (e *endpoints) each(f func(ep *delivery.Endpoint)) {
	for _, ep := range *e.all.Load() {
		f(ep)
	}
}

// open builds what the configuration names, and releases the places of what it does not name any more.
func (e *endpoints) open(c *config.Config) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	known, err := delivery.Known(e.s.journal)
	if err != nil {
		return err
	}
	wanted := e.wanted(c)
	for _, name := range known {
		if _, ok := wanted[name]; !ok {
			e.release(name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		if err := e.add(wanted[name], c); err != nil {
			return err
		}
	}
	return nil
}

// apply follows a new configuration.
func (e *endpoints) apply(c *config.Config) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return
	}
	wanted := e.wanted(c)
	for _, name := range slices.Sorted(maps.Keys(e.byName)) {
		if _, ok := wanted[name]; !ok {
			ep := e.byName[name]
			delete(e.byName, name)
			delete(e.marks, name)
			e.publish()
			ep.Close()
			e.s.router.release(name)
			e.s.web.attempts.Forget(name)
			e.s.web.metrics.Forget(name)
			e.release(name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		if err := e.follow(wanted[name], c); err != nil {
			e.s.log.Error("the endpoint keeps its old configuration", "endpoint", name, "err", err)
		}
	}
}

// follow starts an endpoint or gives it its new configuration. One whose configuration is as it was is left alone, so that
// a change of one of a thousand costs one; but every change of the configuration lets a URL that answered 410 try again.
// mu is held.
func (e *endpoints) follow(cfg delivery.Config, c *config.Config) error {
	ep, mark := e.byName[cfg.Name], markOf(&cfg, c)
	if ep != nil && e.marks[cfg.Name] == mark && len(ep.Stats().Gone) == 0 {
		return nil
	}
	if ep == nil {
		return e.add(cfg, c)
	}
	way := transportOf(c, cfg.Name)
	if way.guarded {
		e.s.router.configure(cfg.Name, way)
	}
	if err := ep.Configure(cfg, e.s.seq.Stats().NextIndex); err != nil {
		delete(e.marks, cfg.Name)
		return err
	}
	e.s.router.configure(cfg.Name, way) // not before: the URLs from before may have been guarded
	e.marks[cfg.Name] = mark
	urls := map[string]bool{}
	for _, u := range cfg.URLs {
		urls[u] = true
	}
	e.s.router.keep(cfg.Name, urls)
	return nil
}

// markOf is the same as long as everything about the endpoint is.
func markOf(cfg *delivery.Config, c *config.Config) [sha256.Size]byte {
	plain := *cfg
	plain.Signer, plain.From = nil, 0
	secrets := c.Hook.Secrets
	if x := c.Endpoint(cfg.Name); x != nil {
		secrets = x.Secrets
	}
	return sha256.Sum256(fmt.Appendf(nil, "%+v %q %+v", plain, secrets, transportOf(c, cfg.Name)))
}

// add starts an endpoint. mu is held.
func (e *endpoints) add(cfg delivery.Config, c *config.Config) error {
	index := e.s.seq.Stats().NextIndex
	var err error
	if cfg.From, err = e.start(cfg.Name, c); err != nil {
		return err
	}
	mark := markOf(&cfg, c)
	e.s.router.configure(cfg.Name, transportOf(c, cfg.Name))
	ep, err := delivery.NewEndpoint(cfg, delivery.Deps{
		Store: e.s.journal, Stamper: e.s.seq, Sender: e.s.deliver, Observer: e.s.web.deliveryObserver(),
		Logger: e.s.log, Clock: e.s.clock.Now,
	}, index)
	if err != nil {
		return fmt.Errorf("endpoint %s: %w", cfg.Name, err)
	}
	e.byName[cfg.Name], e.marks[cfg.Name] = ep, mark
	e.publish()
	ep.CatchUp(e.s.journal.Info().Last) // what came between its look at the journal and its first feed
	return nil
}

// start returns the position from which a new endpoint is owed events, 0 for now.
func (e *endpoints) start(name string, c *config.Config) (uint64, error) {
	x := c.Endpoint(name)
	if x == nil || x.Start == "now" {
		return 0, nil
	}
	info := e.s.journal.Info()
	if x.Start == "beginning" {
		return max(info.First, 1), nil
	}
	t, err := time.Parse(time.RFC3339, x.Start)
	if err != nil {
		return 0, err
	}
	pos, err := positionAt(e.s.journal, t)
	return max(pos, 1), err
}

// publish makes byName what feed runs over. mu is held.
func (e *endpoints) publish() {
	all := make([]*delivery.Endpoint, 0, len(e.byName))
	for _, name := range slices.Sorted(maps.Keys(e.byName)) {
		all = append(all, e.byName[name])
	}
	e.all.Store(&all)
}

func (e *endpoints) release(name string) {
	err := errors.Join(delivery.Forget(e.s.journal, name),
		e.s.journal.SetState([]journal.Op{{Key: statePaused + name}}, false))
	if err != nil {
		e.s.log.Error("can't release the place of a removed endpoint", "endpoint", name, "err", err)
		return
	}
	e.s.log.Info("endpoint removed; its place in the journal is released", "endpoint", name)
}

// expire names to every endpoint what retention is about to take.
func (e *endpoints) expire(before uint64) error {
	var errs []error
	e.each(func(ep *delivery.Endpoint) { errs = append(errs, ep.Expire(before)) })
	return errors.Join(errs...)
}

// stop drains and closes all. What is not drained follows after the next start.
func (e *endpoints) stop(ctx context.Context) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	var wg sync.WaitGroup
	e.each(func(ep *delivery.Endpoint) {
		wg.Go(func() {
			ep.Drain(ctx)
			ep.Close()
		})
	})
	wg.Wait()
}

// stats of all, for API and metrics.
func (e *endpoints) stats() []api.EndpointStats {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []api.EndpointStats
	for _, name := range slices.Sorted(maps.Keys(e.byName)) {
		out = append(out, api.EndpointStats{Name: name, Stats: e.byName[name].Stats()})
	}
	return out
}

// wanted is configs with the pauses that were asked for by API.
func (e *endpoints) wanted(c *config.Config) map[string]delivery.Config {
	out := configs(c)
	paused := e.pauses()
	for name, cfg := range out {
		cfg.Paused = cfg.Paused || paused[name]
		out[name] = cfg
	}
	return out
}

// configs returns what the configuration says of each endpoint.
func configs(c *config.Config) map[string]delivery.Config {
	out := map[string]delivery.Config{endpointName: endpointConfig(c)}
	base := out[endpointName]
	for _, x := range c.Endpoints {
		cfg := base
		cfg.Name, cfg.URLs, cfg.Streams, cfg.History = x.Name, x.URLs, x.Streams, x.History
		cfg.Format, cfg.Rate, cfg.Paused, cfg.Schemas = delivery.Format(x.Format), x.Rate, x.Paused, nil
		cfg.Batch, cfg.BatchBytes, cfg.BatchWait = x.Batch, x.BatchBytes, x.BatchWait
		cfg.Header = headerOf(x.Header)
		cfg.Signer = signer(x.Secrets)
		if x.Timeout > 0 {
			cfg.Timeout = x.Timeout
		}
		if x.Concurrency > 0 {
			cfg.Concurrency = x.Concurrency
		}
		if x.Policy != "" {
			cfg.Policy = delivery.Policy(x.Policy)
		}
		out[x.Name] = cfg
	}
	return out
}

func headerOf(m map[string]string) http.Header {
	h := http.Header{}
	for k, v := range m {
		h[k] = []string{v}
	}
	return h
}

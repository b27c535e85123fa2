package delivery

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/journal"
)

// Replay asks for events once more.
type Replay struct {
	// ID goes with each event beside its own id.
	ID string
	// From and To are the first and the last position.
	From, To uint64
	// Types and Streams limit it further; empty: no limit. Streams as in Config.
	Types   []event.Type
	Streams []string
}

// Replay sends what this endpoint is owed of a range of the journal once more, in order per key, in lanes of its own:
// delivery goes on beside it. What the receiver does not accept is counted, not kept. The caller closes the result.
func (e *Endpoint) Replay(r Replay) (*Endpoint, error) {
	e.mu.Lock()
	cfg, sub := e.cfg, e.sub
	e.mu.Unlock()
	cfg.Name = e.name + "/replay/" + r.ID
	cfg.Paused = false
	urls := map[event.Type]string{}
	for t := range sub.Types {
		urls[t] = cfg.URLs[t]
	}
	if len(r.Types) > 0 {
		maps.DeleteFunc(urls, func(t event.Type, _ string) bool { return !slices.Contains(r.Types, t) })
	}
	delete(urls, event.OnEventGap) // what is given up here is counted only
	cfg.URLs = urls
	if len(r.Streams) > 0 {
		cfg.Streams = r.Streams
	}
	info := e.deps.Store.Info()
	if r.From < info.First {
		r.From = info.First
	}
	r.To = min(r.To, info.Last)
	if r.From > r.To {
		return nil, fmt.Errorf("delivery: replay: nothing between positions %d and %d", r.From, r.To)
	}
	cfg.From = r.From
	deps := e.deps
	deps.Store = &replayStore{Store: e.deps.Store, last: r.To, state: map[string][]byte{}}
	deps.Observer = Observer{Attempt: e.deps.Observer.Attempt}
	return newEndpoint(cfg, deps, 0, r.ID)
}

// replayStore is the journal up to a position, with a state of its own that is forgotten.
type replayStore struct {
	Store
	last uint64

	mu    sync.Mutex
	state map[string][]byte
}

// Info implements Store.
func (s *replayStore) Info() journal.Info {
	info := s.Store.Info()
	info.Last = min(info.Last, s.last)
	return info
}

// Read implements Store.
func (s *replayStore) Read(from uint64, lim journal.Limit) ([]*journal.Record, error) {
	recs, err := s.Store.Read(from, lim)
	return s.cut(recs), err
}

// ReadKey implements Store.
func (s *replayStore) ReadKey(key string, seq uint64, lim journal.Limit) ([]*journal.Record, error) {
	recs, err := s.Store.ReadKey(key, seq, lim)
	return s.cut(recs), err
}

func (s *replayStore) cut(recs []*journal.Record) []*journal.Record {
	for i, r := range recs {
		if r.Position > s.last {
			return recs[:i]
		}
	}
	return recs
}

// State implements Store.
func (s *replayStore) State(prefix string) (map[string][]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string][]byte{}
	for k, v := range s.state {
		if strings.HasPrefix(k, prefix) {
			out[k] = v
		}
	}
	return out, nil
}

// SetState implements Store.
func (s *replayStore) SetState(ops []journal.Op, _ bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, op := range ops {
		switch {
		case strings.HasPrefix(op.Key, "dead/") || strings.HasPrefix(op.Key, "gap/"):
			// Counted by the endpoint; not kept.
		case op.Value == nil:
			delete(s.state, op.Key)
		default:
			s.state[op.Key] = op.Value
		}
	}
	return nil
}

package delivery

import (
	"errors"
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
	if err := e.bound(&r); err != nil {
		return nil, err
	}
	cfg := e.replayConfig(r)
	cfg.From = r.From
	deps := e.deps
	deps.Store = &replayStore{Store: e.deps.Store, last: r.To, state: map[string][]byte{}}
	deps.Observer = Observer{Attempt: e.deps.Observer.Attempt}
	return newEndpoint(cfg, deps, 0, r.ID)
}

// Rate is the number of requests per second that the endpoint sends at most; 0: no limit.
func (e *Endpoint) Rate() float64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.cfg.Rate
}

// ErrNothing says that a range of positions holds no event.
var ErrNothing = errors.New("delivery: nothing to replay")

// bound limits the range to what the journal holds.
func (e *Endpoint) bound(r *Replay) error {
	info := e.deps.Store.Info()
	r.From = max(r.From, info.First)
	if r.To == 0 || r.To > info.Last {
		r.To = info.Last
	}
	if r.From > r.To {
		return fmt.Errorf("%w between positions %d and %d", ErrNothing, r.From, r.To)
	}
	return nil
}

// replayConfig is the endpoint's configuration, narrowed to what the replay asks for.
func (e *Endpoint) replayConfig(r Replay) Config {
	e.mu.Lock()
	cfg, types := e.cfg, slices.Collect(maps.Keys(e.sub.Types))
	e.mu.Unlock()
	urls := map[event.Type]string{}
	for _, t := range types {
		if len(r.Types) == 0 || slices.Contains(r.Types, t) {
			urls[t] = cfg.URLs[t]
		}
	}
	delete(urls, event.OnEventGap) // what is given up here is counted only
	cfg.Name, cfg.Paused, cfg.URLs = e.name+"/replay/"+r.ID, false, urls
	cfg.within = r.Streams
	return cfg
}

// CountReplay returns the range as it would be replayed and the number of events in it.
func (e *Endpoint) CountReplay(r Replay) (Replay, uint64, error) {
	if err := e.bound(&r); err != nil {
		return r, 0, err
	}
	probe := &Endpoint{cfg: e.replayConfig(r)}
	probe.sub.Types = map[event.Type]uint64{}
	for t := range probe.cfg.URLs {
		probe.sub.Types[t] = 0
	}
	var n uint64
	for pos := r.From; pos <= r.To; {
		recs, err := e.deps.Store.Read(pos, journal.Limit{Records: readRecords})
		if err != nil {
			return r, 0, fmt.Errorf("delivery: replay: %w", err)
		}
		if len(recs) == 0 {
			break
		}
		for _, rec := range recs {
			if pos = rec.Position + 1; rec.Position <= r.To && rec.Type != event.OnEventGap && probe.owes(rec) {
				n++
			}
		}
	}
	return r, n, nil
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

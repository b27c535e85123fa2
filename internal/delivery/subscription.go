package delivery

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/journal"
)

// subscription says from when on an endpoint is owed what. It is stored.
type subscription struct {
	// Types holds the hook_index from which each type is owed.
	Types map[event.Type]uint64 `json:"types"`
	// Filter is what limits the events of a type, and FilterSince the hook_index from which it holds: prev does not
	// look behind it, since what came before may not have been owed.
	Filter      string `json:"filter"`
	FilterSince uint64 `json:"filterSince"`
}

func filterOf(c *Config) string {
	return fmt.Sprintf("schemas=%q streams=%q history=%v", c.Schemas, c.Streams, c.History)
}

// undecided stands for a hook_index that is known only when the configuration is in force: what is taken until then is
// taken as the one before says. Found in the journal, it is as if nothing stood there.
const undecided = ^uint64(0)

// subscribe says from when on each type of a configuration is owed: from startAt, unless it was before.
func (e *Endpoint) subscribe(cfg *Config, startAt uint64) subscription {
	old := e.sub
	sub := subscription{Types: map[event.Type]uint64{}, Filter: filterOf(cfg), FilterSince: old.FilterSince}
	if old.Types != nil && (old.Filter != sub.Filter || old.FilterSince == undecided) {
		sub.FilterSince = startAt
	}
	for t, url := range cfg.URLs {
		if url == "" || event.ClassOf(t) != event.Lifecycle && !cfg.History {
			continue
		}
		since, ok := old.Types[t]
		if !ok || since == undecided {
			since = startAt
		}
		sub.Types[t] = since
	}
	return sub
}

// decide puts startAt where nothing was decided yet, and reports whether there was such a place.
func (s *subscription) decide(startAt uint64) (some bool) {
	if s.FilterSince == undecided {
		s.FilterSince, some = startAt, true
	}
	for t, since := range s.Types {
		if since == undecided {
			s.Types[t], some = startAt, true
		}
	}
	return some
}

// writeSubscription makes it durable.
func (e *Endpoint) writeSubscription(sub subscription) error {
	v, err := json.Marshal(sub)
	if err != nil {
		return fmt.Errorf("delivery: subscription: %w", err)
	}
	if err := e.deps.Store.SetState([]journal.Op{{Key: "sub/" + e.name, Value: v}}, true); err != nil {
		return fmt.Errorf("delivery: write subscription: %w", err)
	}
	return nil
}

// owes says whether the endpoint is owed the record.
func (e *Endpoint) owes(r *journal.Record) bool {
	schema := r.Schema
	if r.Class == event.History {
		schema = journal.HistorySchema
	}
	return e.wants(r.Type, schema, r.Index) && e.wantsStream(r.Key)
}

func (e *Endpoint) wants(t event.Type, schema string, index uint64) bool {
	if t == event.OnEventGap { // of the sequencer: named on its own or on the next event
		return true
	}
	since, ok := e.sub.Types[t]
	if !ok || index < since {
		return false
	}
	if schema == journal.HistorySchema {
		return e.cfg.History
	}
	if event.ClassOf(t) != event.Lifecycle {
		return false
	}
	return t != event.OnStreamChanged || len(e.cfg.Schemas) == 0 || slices.Contains(e.cfg.Schemas, schema)
}

func (e *Endpoint) wantsStream(key string) bool {
	return key == "" && len(e.cfg.within) == 0 || matchAny(e.cfg.Streams, key) && matchAny(e.cfg.within, key)
}

// matchAny says whether one of the patterns matches; no pattern is no limit.
func matchAny(patterns []string, key string) bool {
	return len(patterns) == 0 || slices.ContainsFunc(patterns, func(p string) bool { return matchStream(p, key) })
}

// matchStream matches a key against a pattern; see Config.Streams.
func matchStream(pattern, key string) bool {
	if strings.Count(pattern, "/") < 2 {
		_, key, _ = strings.Cut(key, "/")
	}
	return glob(pattern, key)
}

// glob matches s against a pattern in which * is any run of characters.
func glob(pattern, s string) bool {
	star, from := -1, 0
	p, i := 0, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, from = p, i
			p++
		case p < len(pattern) && pattern[p] == s[i]:
			p++
			i++
		case star >= 0: // let the last star take one more
			from++
			p, i = star+1, from
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// prev is the seq of the preceding event of the key that this endpoint is owed.
func (e *Endpoint) prev(r *journal.Record) uint64 {
	var prev uint64
	for i := range r.Marks {
		m := &r.Marks[i]
		if m.Seq > prev && m.Epoch == r.Epoch && m.Index >= e.sub.FilterSince && e.wants(m.Type, m.Schema, m.Index) {
			prev = m.Seq
		}
	}
	return prev
}

// indexSlack is by how much a hook_index may be out of the order of positions: keys are journaled batch by batch.
const indexSlack = 2048

// firstKnown returns the hook_index before which an endpoint that is new and begins at a position, in the past or now,
// has been owed nothing: prev must not name what it will never get.
func (e *Endpoint) firstKnown(position uint64, past bool) (uint64, error) {
	if position <= 1 {
		return 0, nil
	}
	if past {
		recs, err := e.deps.Store.Read(position, journal.Limit{Records: 1})
		if err != nil {
			return 0, fmt.Errorf("delivery: start: %w", err)
		}
		if len(recs) > 0 {
			return recs[0].Index + indexSlack, nil
		}
	}
	// Taken after the position: what was raised since the caller looked may lie before it.
	_, now, _, _ := e.deps.Stamper.Stamp("")
	return now, nil
}

// restoreSubscription reads what was stored.
func (e *Endpoint) restoreSubscription() error {
	st, err := e.deps.Store.State("sub/" + e.name)
	if err != nil {
		return fmt.Errorf("delivery: read subscription: %w", err)
	}
	if v := st["sub/"+e.name]; v != nil {
		if err := json.Unmarshal(v, &e.sub); err != nil {
			return fmt.Errorf("delivery: subscription of %s: %w: %w", e.name, journal.ErrCorrupt, err)
		}
	}
	return nil
}

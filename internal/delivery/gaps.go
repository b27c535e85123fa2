package delivery

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/journal"
)

// OpenGap is a gap of which the receiver of an endpoint was not told yet.
type OpenGap struct {
	Endpoint, ID, Stream string
	Index                uint64
	Time                 time.Time
	Epoch                int64
	Gap                  event.Gap
}

// ReadGaps returns the open gaps of an endpoint, of all for "", as the journal has them: what changed within the last
// 200 ms may be missing.
func ReadGaps(s Store, endpoint string) ([]OpenGap, error) {
	prefix := "gap/"
	if endpoint != "" {
		prefix += endpoint + "/"
	}
	st, err := s.State(prefix)
	if err != nil {
		return nil, fmt.Errorf("delivery: read gaps: %w", err)
	}
	var out []OpenGap
	for _, k := range sortedKeys(st) {
		var gaps []storedGap
		if err := json.Unmarshal(st[k], &gaps); err != nil {
			return nil, fmt.Errorf("delivery: %s: %w: %w", k, journal.ErrCorrupt, err)
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(k, "gap/"), "/")
		for _, g := range gaps {
			out = append(out, OpenGap{
				Endpoint: name, ID: g.ID, Stream: g.Stream, Index: g.Index, Time: g.Time, Epoch: g.Epoch, Gap: g.Gap,
			})
		}
	}
	return out, nil
}

// Depth is how much an endpoint is still owed.
type Depth struct {
	Events uint64
	Bytes  uint64 // of the bodies
	// Oldest is the time of the oldest of them, zero when there is none.
	Oldest time.Time
	// Looked is the number of events that were looked at, and Exact says that these were all.
	Looked int
	Exact  bool
}

// Depth counts what is owed and not done, in the journal behind the cursor and of parked lanes before it, looking at
// so many events at most.
func (e *Endpoint) Depth(most int) (Depth, error) {
	d := Depth{Exact: true}
	e.mu.Lock()
	floor := e.cursor.floor
	parked := map[string]uint64{}
	for key, l := range e.lanes {
		if l.parked {
			parked[key] = l.nextSeq
		}
	}
	e.mu.Unlock()
	for key, seq := range parked {
		if err := e.countParked(&d, key, seq, floor, most); err != nil {
			return d, err
		}
	}
	for pos := floor + 1; ; {
		recs, err := e.deps.Store.Read(pos, d.page(most))
		if err != nil {
			return d, fmt.Errorf("delivery: depth: %w", err)
		}
		if len(recs) == 0 {
			return d, nil
		}
		if d.Looked >= most {
			d.Exact = false
			return d, nil
		}
		e.mu.Lock()
		for _, r := range recs {
			seq, lies := parked[r.Key]
			waits := lies && r.Seq >= seq // its position counts as done, because the lane's place covers it
			if e.owes(r) && (waits || !e.cursor.isDone(r.Position)) {
				d.add(r)
			}
		}
		e.mu.Unlock()
		d.Looked += len(recs)
		pos = recs[len(recs)-1].Position + 1
	}
}

// countParked counts what a parked lane waits with up to a position.
func (e *Endpoint) countParked(d *Depth, key string, seq, floor uint64, most int) error {
	for {
		recs, err := e.deps.Store.ReadKey(key, seq, d.page(most))
		if err != nil {
			return fmt.Errorf("delivery: depth: %w", err)
		}
		if len(recs) == 0 {
			return nil
		}
		if d.Looked >= most {
			d.Exact = false
			return nil
		}
		e.mu.Lock()
		for _, r := range recs {
			if seq = r.Seq + 1; r.Position > floor {
				break
			}
			if d.Looked++; e.owes(r) {
				d.add(r)
			}
		}
		e.mu.Unlock()
		if recs[len(recs)-1].Position > floor {
			return nil
		}
	}
}

// page bounds the next read; one record tells whether there are more.
func (d *Depth) page(most int) journal.Limit {
	return journal.Limit{Records: min(readRecords, max(most-d.Looked, 1))}
}

func (d *Depth) add(r *journal.Record) {
	d.Events++
	d.Bytes += uint64(len(r.Body))
	if d.Oldest.IsZero() || r.Time.Before(d.Oldest) {
		d.Oldest = r.Time
	}
}

package bench

import (
	"sync"
	"sync/atomic"

	"github.com/hookline/hookline/internal/journal"
)

// discard is a journal without a disk: everything is durable at once, the state is in memory, records are forgotten.
type discard struct {
	last atomic.Uint64

	mu    sync.Mutex
	state map[string][]byte // guarded by mu
}

var _ journal.Journal = (*discard)(nil)

func newDiscard() *discard { return &discard{state: map[string][]byte{}} }

type done struct{}

// Wait implements journal.Ack.
func (done) Wait() error { return nil }

// Info implements journal.Journal.
func (d *discard) Info() journal.Info {
	last := d.last.Load()
	return journal.Info{Created: 1, First: last + 1, Last: last}
}

// NewEpochReason implements journal.Journal.
func (d *discard) NewEpochReason() string { return "" }

// Append implements journal.Journal.
func (d *discard) Append(b journal.Batch) (journal.Ack, error) {
	for _, r := range b.Records {
		r.Position = d.last.Add(1)
	}
	return done{}, d.SetState(b.State, true)
}

// Read implements journal.Journal.
func (d *discard) Read(uint64, journal.Limit) ([]*journal.Record, error) { return nil, nil }

// ReadKey implements journal.Journal.
func (d *discard) ReadKey(string, uint64, journal.Limit) ([]*journal.Record, error) { return nil, nil }

// LastOfKey implements journal.Journal.
func (d *discard) LastOfKey(string) (*journal.Record, error) { return nil, nil }

// State implements journal.Journal.
func (d *discard) State(prefix string) (map[string][]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := map[string][]byte{}
	for k, v := range d.state {
		if len(k) >= len(prefix) && k[:len(prefix)] == prefix {
			out[k] = v
		}
	}
	return out, nil
}

// SetState implements journal.Journal.
func (d *discard) SetState(ops []journal.Op, _ bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, op := range ops {
		if op.Value == nil {
			delete(d.state, op.Key)
		} else {
			d.state[op.Key] = op.Value
		}
	}
	return nil
}

// Trim implements journal.Journal.
func (d *discard) Trim(uint64) (int, error) { return 0, nil }

// Healthy implements journal.Journal.
func (d *discard) Healthy() error { return nil }

// Close implements journal.Journal.
func (d *discard) Close() error { return nil }

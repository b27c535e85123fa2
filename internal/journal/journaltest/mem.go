package journaltest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/hookline/hookline/internal/journal"
)

// ErrCrashed is wrapped, beside journal.ErrDead, by what the owner of a crashed Mem gets.
var ErrCrashed = errors.New("journaltest: crashed")

// Options of a Mem.
type Options struct {
	// Latency returns how long a write takes to become durable, counted from Append but never less than the write
	// before it. Nil: no time. It is called under the Mem's lock and must not call the Mem.
	Latency func() time.Duration
	// Created is Info().Created in Unix milliseconds; 0: the time of NewMem.
	Created int64
	// EpochReason is what NewEpochReason returns until the first write.
	EpochReason string
}

// Mem is a journal in memory. Its methods may be called by any goroutine; one at a time may append.
type Mem struct {
	latency func() time.Duration
	reason  string // NewEpochReason of this Mem

	mu       sync.Mutex
	image    *image   // guarded by mu: with everything that was appended
	durable  *image   // guarded by mu: with what is durable
	pending  []*write // guarded by mu: appended but not durable, in order
	due      time.Time
	dead     error         // guarded by mu: wraps ErrDead
	deadCh   chan struct{} // closed with dead set
	readErr  error         // guarded by mu
	closed   bool          // guarded by mu
	crashed  bool          // guarded by mu
	carry    string        // guarded by mu: reason that a Mem made of what is durable would give
	settling bool          // guarded by mu: a write that settles the reason is pending or durable
}

var _ journal.Journal = (*Mem)(nil)

// write is a unit on its way; it implements journal.Ack.
type write struct {
	m       *Mem
	u       unit
	due     time.Time
	durable bool // guarded by m.mu
	settles bool
}

// NewMem returns an empty journal.
func NewMem(o Options) *Mem {
	if o.Created == 0 {
		o.Created = time.Now().UnixMilli()
	}
	im := newImage(o.Created)
	return newMem(im, o.Latency, o.EpochReason)
}

func newMem(im *image, latency func() time.Duration, reason string) *Mem {
	return &Mem{
		latency: latency, reason: reason, carry: reason,
		image: im.clone(), durable: im, deadCh: make(chan struct{}),
	}
}

// Crash ends this Mem, as if the process had died, and returns a new one that holds a durable prefix: everything
// whose Wait had returned nil and, chosen by rnd, some of the writes after that. A closed Mem may be crashed too, to
// open it again. Whoever still uses the old Mem gets errors that wrap ErrDead and ErrCrashed.
func (m *Mem) Crash(rnd *rand.Rand) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	if len(m.pending) > 0 && rnd != nil {
		n = rnd.IntN(len(m.pending) + 1)
	}
	for _, w := range m.pending[:n] {
		m.settleLocked(w)
	}
	m.pending = nil
	m.crashed = true
	m.killLocked(ErrCrashed)
	return newMem(m.durable.clone(), m.latency, m.carry)
}

// FailWrites makes the writer dead: what is not durable yet fails, and every later write. A crash may still keep
// some of it, as a disk may that reported an error.
func (m *Mem) FailWrites(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.killLocked(err)
}

// FailReads makes Read, ReadKey, LastOfKey and State fail with err until it is called with nil.
func (m *Mem) FailReads(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.readErr = err
}

// SetLatency replaces Options.Latency for later writes.
func (m *Mem) SetLatency(f func() time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.latency = f
}

// Pending returns the number of writes that are not durable.
func (m *Mem) Pending() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.pending)
}

func (m *Mem) killLocked(err error) {
	if m.dead != nil {
		return
	}
	m.dead = fmt.Errorf("%w: %w", journal.ErrDead, err)
	close(m.deadCh)
}

// writableLocked returns why nothing can be written.
func (m *Mem) writableLocked() error {
	if m.closed {
		return journal.ErrClosed
	}
	return m.dead
}

// readableLocked returns why nothing can be read.
func (m *Mem) readableLocked() error {
	if m.closed {
		return journal.ErrClosed
	}
	if m.crashed {
		return m.dead
	}
	return m.readErr
}

func (m *Mem) startLocked(u unit) *write {
	w := &write{m: m, u: u, settles: !m.settling && u.before == 0}
	m.settling = m.settling || w.settles
	if m.latency != nil {
		if due := time.Now().Add(m.latency()); due.After(m.due) {
			m.due = due
		}
		w.due = m.due
	}
	m.image.apply(&w.u)
	m.pending = append(m.pending, w)
	return w
}

// settleLocked makes w, the oldest pending write, durable.
func (m *Mem) settleLocked(w *write) {
	w.durable = true
	m.durable.apply(&w.u)
	if w.settles {
		m.carry = ""
	}
}

// Wait implements journal.Ack.
func (w *write) Wait() error {
	m := w.m
	if d := time.Until(w.due); !w.due.IsZero() && d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-m.deadCh:
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if w.durable {
		return nil
	}
	if m.dead != nil {
		return m.dead
	}
	for !w.durable {
		m.settleLocked(m.pending[0])
		m.pending = m.pending[1:]
	}
	return nil
}

// Info implements journal.Journal.
func (m *Mem) Info() journal.Info {
	m.mu.Lock()
	defer m.mu.Unlock()
	return journal.Info{
		Created: m.durable.created, First: m.durable.first, Last: m.durable.last(),
		SeqFloor: m.image.floor, Bytes: m.durable.bytes,
	}
}

// NewEpochReason implements journal.Journal.
func (m *Mem) NewEpochReason() string { return m.reason }

// Append implements journal.Journal.
func (m *Mem) Append(b journal.Batch) (journal.Ack, error) {
	if err := b.Validate(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.writableLocked(); err != nil {
		return nil, err
	}
	u := unit{state: cloneOps(b.State), records: make([]stored, len(b.Records))}
	next := m.image.last() + 1
	for i, r := range b.Records {
		r.Position = next + uint64(i)
		u.records[i] = stored{pos: r.Position, key: r.Key, seq: r.Seq, b: journal.Encode(nil, r)}
	}
	return m.startLocked(u), nil
}

func cloneOps(ops []journal.Op) []journal.Op {
	ops = slices.Clone(ops)
	for i := range ops {
		if v := ops[i].Value; v != nil {
			ops[i].Value = append(make([]byte, 0, len(v)), v...)
		}
	}
	return ops
}

// Read implements journal.Journal.
func (m *Mem) Read(from uint64, lim journal.Limit) ([]*journal.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.readableLocked(); err != nil {
		return nil, err
	}
	recs := m.durable.recs
	if from > m.durable.last() {
		return nil, nil
	}
	if from > m.durable.first {
		recs = recs[from-m.durable.first:]
	}
	return read(recs, lim)
}

// ReadKey implements journal.Journal.
func (m *Mem) ReadKey(key string, seq uint64, lim journal.Limit) ([]*journal.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.readableLocked(); err != nil {
		return nil, err
	}
	recs := m.durable.keys[key]
	i := sort.Search(len(recs), func(i int) bool { return recs[i].seq >= seq })
	return read(recs[i:], lim)
}

// LastOfKey implements journal.Journal.
func (m *Mem) LastOfKey(key string) (*journal.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.readableLocked(); err != nil {
		return nil, err
	}
	recs := m.image.keys[key]
	if len(recs) == 0 {
		return nil, nil
	}
	out, err := read(recs[len(recs)-1:], journal.Limit{})
	if err != nil {
		return nil, err
	}
	return out[0], nil
}

// State implements journal.Journal.
func (m *Mem) State(prefix string) (map[string][]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.readableLocked(); err != nil {
		return nil, err
	}
	return m.image.prefixed(prefix), nil
}

// SetState implements journal.Journal.
func (m *Mem) SetState(ops []journal.Op, sync bool) error {
	b := journal.Batch{State: ops}
	if err := b.Validate(); err != nil {
		return err
	}
	m.mu.Lock()
	if err := m.writableLocked(); err != nil {
		m.mu.Unlock()
		return err
	}
	w := m.startLocked(unit{state: cloneOps(ops)})
	m.mu.Unlock()
	if !sync {
		return nil
	}
	return w.Wait()
}

// Trim implements journal.Journal.
func (m *Mem) Trim(before uint64) (int, error) {
	m.mu.Lock()
	if err := m.writableLocked(); err != nil {
		m.mu.Unlock()
		return 0, err
	}
	before = min(before, m.durable.last()+1)
	if before <= m.image.first {
		m.mu.Unlock()
		return 0, nil
	}
	n := int(before - m.image.first)
	w := m.startLocked(unit{before: before})
	m.mu.Unlock()
	if err := w.Wait(); err != nil {
		return 0, err
	}
	return n, nil
}

// Healthy implements journal.Journal.
func (m *Mem) Healthy() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.dead
}

// Close implements journal.Journal. What is pending becomes durable at once unless the writer is dead.
func (m *Mem) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil
	}
	m.closed = true
	if m.dead == nil {
		for _, w := range m.pending {
			m.settleLocked(w)
		}
		m.pending = nil
	}
	return nil
}

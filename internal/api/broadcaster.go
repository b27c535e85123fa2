package api

import (
	"sync"

	"github.com/hookline/hookline/internal/journal"
)

const (
	// ringRecords and ringBytes bound what a Broadcaster keeps.
	ringRecords = 1024
	ringBytes   = 4 << 20
)

// Broadcaster tells event streams of records that have become durable and keeps the newest of them, so that a stream
// that keeps up does not read the journal. It is safe for concurrent use.
type Broadcaster struct {
	mu    sync.Mutex
	recs  []*journal.Record // guarded by mu: positions follow each other without holes
	bytes int               // guarded by mu: of the bodies in recs
	wake  chan struct{}     // guarded by mu: closed by the next Publish; nil while nobody waits
}

// NewBroadcaster returns a Broadcaster.
func NewBroadcaster() *Broadcaster { return &Broadcaster{} }

// Publish tells of durable records, in order of position; the records and the slice are not changed, and the slice is
// not kept. It does not block.
func (b *Broadcaster) Publish(recs []*journal.Record) {
	if len(recs) == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range recs {
		if n := len(b.recs); n > 0 && b.recs[n-1].Position+1 != r.Position {
			b.recs, b.bytes = nil, 0 // what is missing is in the journal
		}
		b.recs = append(b.recs, r)
		b.bytes += len(r.Body)
	}
	b.trim()
	if b.wake != nil {
		close(b.wake)
		b.wake = nil
	}
}

// trim drops the oldest records. The lock is held.
func (b *Broadcaster) trim() {
	drop := 0
	for len(b.recs)-drop > ringRecords || (b.bytes > ringBytes && len(b.recs)-drop > 1) {
		b.bytes -= len(b.recs[drop].Body)
		b.recs[drop] = nil // the array lives on until append moves on
		drop++
	}
	b.recs = b.recs[drop:]
}

// after returns records from position on, at most n, if the first of them is kept. Otherwise they have to be read from
// the journal, and when that has none either, wake says when to look again.
func (b *Broadcaster) after(position uint64, n int) (recs []*journal.Record, wake <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.recs) > 0 {
		if first := b.recs[0].Position; position >= first && position-first < uint64(len(b.recs)) {
			from := b.recs[position-first:]
			return append([]*journal.Record(nil), from[:min(n, len(from))]...), nil
		}
	}
	if b.wake == nil {
		b.wake = make(chan struct{})
	}
	return nil, b.wake
}

package pebble

import (
	"errors"
	"fmt"

	pebbledb "github.com/cockroachdb/pebble/v2"

	"github.com/hookline/hookline/internal/journal"
)

// Loader fills a new journal with what another one held. Whoever opens it afterwards is told journal.EpochRestored,
// because the other one may have gone on.
type Loader struct{ j *Journal }

// NewLoader makes a journal in a directory that holds none. created, first and floor are those of the other's Info.
func NewLoader(c Config, created int64, first, floor uint64) (*Loader, error) {
	if first == 0 {
		return nil, errors.New("journal: positions begin with 1")
	}
	j, err := Open(c)
	if err != nil {
		return nil, err
	}
	l := &Loader{j}
	if j.Info().Last != 0 || j.Info().First != 1 {
		return nil, errors.Join(fmt.Errorf("%w: %s", ErrExists, c.Dir), j.Close())
	}
	j.header.created = created
	j.run.reason = journal.EpochRestored
	err = j.writing(func() error {
		batch := j.db.NewBatch()
		err := errors.Join(
			batch.Set([]byte(keyHeader), j.header.encode(), nil),
			batch.Set([]byte(keyRun), j.run.encode(), nil),
			batch.Set([]byte(keyTrim), trimMark{first: first, floor: floor}.encode(), nil),
		)
		if err != nil {
			return err
		}
		return j.apply(batch, pebbledb.Sync)
	})
	if err != nil {
		return nil, errors.Join(err, j.Close())
	}
	j.first.Store(first)
	j.floor.Store(floor)
	j.durable.Store(first - 1)
	j.next = first
	return l, nil
}

// Add appends records, which must be the next ones, and sets state.
func (l *Loader) Add(b journal.Batch) error {
	for i, r := range b.Records {
		if want := l.j.next + uint64(i); r.Position != want {
			return fmt.Errorf("journal: record %d, where %d should be", r.Position, want)
		}
	}
	ack, err := l.j.Append(b)
	if err != nil {
		return err
	}
	return ack.Wait()
}

// Close keeps the reason for a new epoch.
func (l *Loader) Close() error {
	l.j.settled.Store(false)
	return l.j.Close()
}

package pebble

import (
	"errors"
	"fmt"

	pebbledb "github.com/cockroachdb/pebble/v2"

	"github.com/hookline/hookline/internal/journal"
)

// trimChunk is the number of records that Trim removes with one write. An Append waits for one such write at most.
const trimChunk = 2048

// Trim implements journal.Journal.
func (j *Journal) Trim(before uint64) (int, error) {
	j.trimMu.Lock()
	defer j.trimMu.Unlock()
	removed := 0
	for {
		n := 0
		err := j.writing(func() error {
			var err error
			n, err = j.trimSome(before)
			return err
		})
		removed += n
		if err != nil || n == 0 {
			return removed, err
		}
	}
}

// trimSome removes up to trimChunk of the oldest durable records below before. In one batch go the records, their
// index entries and the new mark, so that a crash leaves a whole log.
func (j *Journal) trimSome(before uint64) (int, error) {
	first := j.first.Load()
	end := min(before, j.durable.Load()+1)
	if end <= first {
		return 0, nil
	}
	end = min(end, first+trimChunk)
	batch := j.db.NewBatch()
	n, floor, err := j.unindex(batch, first, end)
	if err != nil {
		return 0, errors.Join(j.readError(err), batch.Close())
	}
	mark := trimMark{first: end, floor: max(floor, j.floor.Load())}
	err = errors.Join(
		batch.DeleteRange(recordKey(nil, first), recordKey(nil, end), nil),
		batch.Set([]byte(keyTrim), mark.encode(), nil),
	)
	if err != nil {
		return 0, err
	}
	// Whoever finds a key gone must see a floor that covers it. Both stand even if the write fails: the batch is
	// visible then, but the next Open may find the records again.
	j.floor.Store(mark.floor)
	j.first.Store(end)
	return n, j.apply(batch, pebbledb.Sync)
}

// unindex removes the index entries of the records in [first, end) and returns their number and highest seq.
func (j *Journal) unindex(batch *pebbledb.Batch, first, end uint64) (n int, floor uint64, err error) {
	it, err := j.db.NewIter(&pebbledb.IterOptions{LowerBound: recordKey(nil, first), UpperBound: recordKey(nil, end)})
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	var k []byte
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return 0, 0, err
		}
		key, seq, err := journal.DecodeKeySeq(v)
		if err != nil {
			return 0, 0, fmt.Errorf("record %q: %w", it.Key(), err)
		}
		k = indexKey(k[:0], key, seq)
		if err := batch.Delete(k, nil); err != nil {
			return 0, 0, err
		}
		floor = max(floor, seq)
		n++
	}
	return n, floor, it.Error()
}

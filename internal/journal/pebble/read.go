package pebble

import (
	"errors"
	"fmt"
	"os"

	pebbledb "github.com/cockroachdb/pebble/v2"

	"github.com/hookline/hookline/internal/journal"
)

// readError says of what kind an error of a read is.
func (j *Journal) readError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, journal.ErrCorrupt):
		return fmt.Errorf("read journal %s: %w", j.dir, err)
	case pebbledb.IsCorruptionError(err) || errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("read journal %s: %w: %w", j.dir, journal.ErrCorrupt, err)
	}
	return fmt.Errorf("read journal %s: %w", j.dir, err)
}

// collector gathers records up to a limit.
type collector struct {
	lim  journal.Limit
	size int
	out  []*journal.Record
}

// add decodes a record; it returns false when the limit is reached.
func (c *collector) add(pos uint64, value []byte) (bool, error) {
	c.size += len(value)
	if c.size > c.lim.Bytes && len(c.out) > 0 {
		return false, nil
	}
	r, err := journal.Decode(value)
	if err != nil {
		return false, fmt.Errorf("record %d: %w", pos, err)
	}
	r.Position = pos
	c.out = append(c.out, r)
	return len(c.out) < c.lim.Records && c.size < c.lim.Bytes, nil
}

// Read implements journal.Journal.
func (j *Journal) Read(from uint64, lim journal.Limit) ([]*journal.Record, error) {
	c := collector{lim: lim.OrDefault()}
	err := j.guarded(func() error { return j.readError(j.collect(&c, from)) })
	if err != nil {
		return nil, err
	}
	return c.out, nil
}

func (j *Journal) collect(c *collector, from uint64) (err error) {
	last := j.durable.Load()
	from = max(from, j.first.Load())
	if from > last {
		return nil
	}
	it, err := j.db.NewIter(&pebbledb.IterOptions{
		LowerBound: recordKey(nil, from), UpperBound: recordKey(nil, last+1),
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	var want uint64 // 0: whatever Trim has left
	for ok := it.First(); ok; ok = it.Next() {
		pos, err := recordPosition(it.Key())
		if err != nil {
			return err
		}
		if want != 0 && pos != want {
			return fmt.Errorf("%w: record %d follows record %d", journal.ErrCorrupt, pos, want-1)
		}
		want = pos + 1
		value, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		if more, err := c.add(pos, value); err != nil || !more {
			return err
		}
	}
	return it.Error()
}

// ReadKey implements journal.Journal.
func (j *Journal) ReadKey(key string, seq uint64, lim journal.Limit) ([]*journal.Record, error) {
	c := collector{lim: lim.OrDefault()}
	err := j.guarded(func() error { return j.readError(j.collectKey(&c, key, seq)) })
	if err != nil {
		return nil, err
	}
	return c.out, nil
}

// collectKey reads the index and the records that it names with two iterators over one view, so that Trim can't come
// between.
func (j *Journal) collectKey(c *collector, key string, seq uint64) (err error) {
	last := j.durable.Load()
	index, err := j.db.NewIter(&pebbledb.IterOptions{
		LowerBound: indexKey(nil, key, seq), UpperBound: indexEnd(nil, key),
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, index.Close()) }()
	if !index.First() {
		return index.Error()
	}
	records, err := index.Clone(pebbledb.CloneOptions{IterOptions: &pebbledb.IterOptions{
		LowerBound: []byte(recordPrefix), UpperBound: recordKey(nil, last+1),
	}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, records.Close()) }()
	for ok := true; ok; ok = index.Next() {
		v, err := index.ValueAndErr()
		if err != nil {
			return err
		}
		pos, err := indexPosition(v)
		if err != nil {
			return err
		}
		if pos > last {
			return nil
		}
		value, err := recordAt(records, pos)
		if err != nil {
			return err
		}
		if more, err := c.add(pos, value); err != nil || !more {
			return err
		}
	}
	return index.Error()
}

// recordAt returns the record at pos, to which the index points. The bytes are the iterator's.
func recordAt(it *pebbledb.Iterator, pos uint64) ([]byte, error) {
	k := recordKey(nil, pos)
	if !it.SeekGE(k) || string(it.Key()) != string(k) {
		if err := it.Error(); err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("%w: the index names record %d, which is missing", journal.ErrCorrupt, pos)
	}
	return it.ValueAndErr()
}

// LastOfKey implements journal.Journal.
func (j *Journal) LastOfKey(key string) (*journal.Record, error) {
	var r *journal.Record
	err := j.guarded(func() error {
		var err error
		r, err = j.lastOfKey(key)
		return j.readError(err)
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

func (j *Journal) lastOfKey(key string) (r *journal.Record, err error) {
	it, err := j.db.NewIter(&pebbledb.IterOptions{
		LowerBound: indexKeyPrefix(nil, key), UpperBound: indexEnd(nil, key),
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	if !it.Last() {
		return nil, it.Error()
	}
	v, err := it.ValueAndErr()
	if err != nil {
		return nil, err
	}
	pos, err := indexPosition(v)
	if err != nil {
		return nil, err
	}
	it.SetBounds([]byte(recordPrefix), prefixEnd([]byte(recordPrefix)))
	value, err := recordAt(it, pos)
	if err != nil {
		return nil, err
	}
	if r, err = journal.Decode(value); err != nil {
		return nil, fmt.Errorf("record %d: %w", pos, err)
	}
	r.Position = pos
	return r, nil
}

// State implements journal.Journal.
func (j *Journal) State(prefix string) (map[string][]byte, error) {
	out := map[string][]byte{}
	err := j.guarded(func() error { return j.readError(j.collectState(prefix, out)) })
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (j *Journal) collectState(prefix string, out map[string][]byte) (err error) {
	lower := append([]byte(statePrefix), prefix...)
	it, err := j.db.NewIter(&pebbledb.IterOptions{LowerBound: lower, UpperBound: prefixEnd(lower)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		out[string(it.Key()[len(statePrefix):])] = append([]byte{}, v...)
	}
	return it.Error()
}

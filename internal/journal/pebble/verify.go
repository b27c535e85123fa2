package pebble

import (
	"context"
	"errors"
	"fmt"

	pebbledb "github.com/cockroachdb/pebble/v2"

	"github.com/hookline/hookline/internal/journal"
)

// maxProblems bounds what Verify lists.
const maxProblems = 100

// Verification is what Verify found.
type Verification struct {
	Records, IndexEntries uint64
	// MaxIndex is the highest hook_index of a record.
	MaxIndex uint64
	// Problems are the first ones found, and Omitted counts those after them.
	Problems []string
	Omitted  int
}

func (v *Verification) problem(format string, args ...any) {
	if len(v.Problems) >= maxProblems {
		v.Omitted++
		return
	}
	v.Problems = append(v.Problems, fmt.Sprintf(format, args...))
}

// Verify reads everything: the tables and their checksums; each record, and that its index entry names it; that there
// are no other index entries, and that the positions of a key rise with its seqs. progress is called now and then with
// the number of records read. Nobody may write meanwhile.
func (j *Journal) Verify(progress func(records uint64)) (*Verification, error) {
	v := &Verification{}
	err := j.guarded(func() error {
		if err := j.db.CheckLevels(nil); err != nil {
			v.problem("tables: %v", firstLine{err})
		}
		if err := j.verifyRecords(v, progress); err != nil {
			return err
		}
		return j.verifyIndex(v)
	})
	if err != nil {
		return nil, j.readError(err)
	}
	if v.Records != v.IndexEntries {
		v.problem("%d records, but %d entries of the index", v.Records, v.IndexEntries)
	}
	return v, nil
}

func (j *Journal) verifyRecords(v *Verification, progress func(uint64)) (err error) {
	it, err := j.db.NewIter(&pebbledb.IterOptions{
		LowerBound: []byte(recordPrefix), UpperBound: prefixEnd([]byte(recordPrefix)),
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	want := j.first.Load()
	for ok := it.First(); ok; ok = it.Next() {
		pos, err := recordPosition(it.Key())
		if err != nil {
			v.problem("%v", err)
			continue
		}
		if pos != want {
			v.problem("record %d, where %d should be", pos, want)
		}
		want = pos + 1
		value, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		j.verifyRecord(v, pos, value)
		if v.Records++; v.Records%10000 == 0 {
			progress(v.Records)
		}
	}
	return it.Error()
}

func (j *Journal) verifyRecord(v *Verification, pos uint64, value []byte) {
	r, err := journal.Decode(value)
	if err != nil {
		v.problem("record %d: %v", pos, err)
		return
	}
	v.MaxIndex = max(v.MaxIndex, r.Index)
	entry, err := j.get(string(indexKey(nil, r.Key, r.Seq)))
	if err != nil {
		v.problem("record %d: its index entry: %v", pos, firstLine{err})
		return
	}
	if entry == nil {
		v.problem("record %d (%q, seq %d) is not in the index", pos, r.Key, r.Seq)
	} else if at, err := indexPosition(entry); err != nil || at != pos {
		v.problem("record %d (%q, seq %d): the index says %d (%v)", pos, r.Key, r.Seq, at, err)
	}
}

func (j *Journal) verifyIndex(v *Verification) (err error) {
	it, err := j.db.NewIter(&pebbledb.IterOptions{
		LowerBound: []byte(indexPrefix), UpperBound: prefixEnd([]byte(indexPrefix)),
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	var key []byte
	var last uint64
	for ok := it.First(); ok; ok = it.Next() {
		v.IndexEntries++
		value, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		pos, err := indexPosition(value)
		if err != nil || len(it.Key()) < len(indexPrefix)+12 {
			v.problem("index entry %q: %v", it.Key(), err)
			continue
		}
		if own := it.Key()[:len(it.Key())-8]; string(own) != string(key) {
			key, last = append(key[:0], own...), 0
		}
		if pos <= last {
			v.problem("index entry %q: position %d after %d", it.Key(), pos, last)
		}
		last = pos
	}
	return it.Error()
}

// Compact rewrites the tables, so that what was removed gives its room back at once. It may take long.
func (j *Journal) Compact(ctx context.Context) error {
	return j.writing(func() error {
		if err := j.db.Flush(); err != nil {
			return err
		}
		for _, prefix := range []string{indexPrefix, recordPrefix, statePrefix} {
			if err := j.db.Compact(ctx, []byte(prefix), prefixEnd([]byte(prefix)), true); err != nil {
				return err
			}
		}
		return nil
	})
}

package journaltest

import (
	"fmt"

	"github.com/hookline/hookline/internal/journal"
)

// ReadAll returns all durable records and checks that positions have no holes, that Info tells the ends and that
// the index and the log say the same. Nobody may write meanwhile.
func ReadAll(j journal.Journal) ([]*journal.Record, error) {
	info := j.Info()
	var all []*journal.Record
	perKey := map[string]int{}
	for next := info.First; ; {
		rs, err := j.Read(next, journal.Limit{})
		if err != nil {
			return nil, err
		}
		if len(rs) == 0 {
			break
		}
		for _, r := range rs {
			if r.Position != next {
				return nil, fmt.Errorf("record %d follows record %d", r.Position, next-1)
			}
			next++
			perKey[r.Key]++
			all = append(all, r)
		}
	}
	if uint64(len(all)) != info.Last+1-info.First {
		return nil, fmt.Errorf("read %d records, info says %+v", len(all), info)
	}
	for key, n := range perKey {
		if err := checkKey(j, key, n, all); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// checkKey compares the index of one key, which has n records in all, with the log.
func checkKey(j journal.Journal, key string, n int, all []*journal.Record) error {
	got, err := j.ReadKey(key, 0, journal.Limit{Records: n + 1, Bytes: 1 << 40})
	if err != nil {
		return err
	}
	if len(got) != n {
		return fmt.Errorf("the index has %s of key %q, the log %d", brief(got), key, n)
	}
	for i, r := range got {
		if want := all[r.Position-all[0].Position]; want.Key != key || want.Seq != r.Seq {
			return fmt.Errorf("the index has %q/%d at %d, where the log has %q/%d", key, r.Seq, r.Position, want.Key, want.Seq)
		}
		if i > 0 && (r.Seq <= got[i-1].Seq || r.Position <= got[i-1].Position) {
			return fmt.Errorf("key %q: %d at %d comes after %d at %d", key, r.Seq, r.Position, got[i-1].Seq, got[i-1].Position)
		}
	}
	last, err := j.LastOfKey(key)
	if err != nil {
		return err
	}
	if last == nil || last.Position < got[n-1].Position {
		return fmt.Errorf("the last record of key %q is %v, not at %d", key, last, got[n-1].Position)
	}
	return nil
}

package pebble

import "testing"

// TestTablesHoldOneKind checks that no table has records and index entries, because the merging of the index would
// then rewrite the records as well.
func TestTablesHoldOneKind(t *testing.T) {
	j, err := Open(Config{Dir: t.TempDir(), Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	batch, _, renew := benchRecords(t)
	kinds := map[byte]int{}
	for range 6 { // so many flushes that level 0 is merged
		appendAll(t, j, 4, batch, renew)
		if err := j.db.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	levels, err := j.db.SSTables()
	if err != nil {
		t.Fatal(err)
	}
	for level, tables := range levels {
		for _, table := range tables {
			first, last := table.Smallest.UserKey, table.Largest.UserKey
			if first[0] != last[0] {
				t.Errorf("level %d: a table from %q to %q", level, first, last)
			}
			kinds[first[0]]++
		}
	}
	if kinds[recordPrefix[0]] == 0 || kinds[indexPrefix[0]] == 0 {
		t.Errorf("tables by kind: %v", kinds)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}

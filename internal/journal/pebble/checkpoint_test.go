package pebble

import (
	"errors"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/hookline/hookline/internal/journal"
	"github.com/hookline/hookline/internal/journal/journaltest"
)

// A copy that is made while the journal is written holds everything that was acknowledged before, nothing with holes,
// and begins a new epoch; the original goes on as if nothing had happened.
func TestCheckpoint(t *testing.T) {
	dir := t.TempDir()
	j := mustOpen(t, Config{Dir: dir, Fsync: true})
	copies := filepath.Join(t.TempDir(), "backups")
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() {
		for seq := uint64(1); ; seq++ {
			writeOne(t, j, seq)
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	var last []uint64
	for _, name := range []string{"a", "b", "c"} {
		for j.Info().Last < uint64(10*len(last)+5) {
			if err := j.Healthy(); err != nil {
				t.Fatal(err)
			}
		}
		last = append(last, j.Info().Last)
		if err := j.Checkpoint(filepath.Join(copies, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Checkpoint(filepath.Join(copies, "a")); !errors.Is(err, ErrExists) {
		t.Error(err)
	}
	close(stop)
	wg.Wait()
	all, err := journaltest.ReadAll(j)
	if err != nil {
		t.Fatal(err)
	}
	mustClose(t, j)
	reopen(t, dir, "", false, false)
	for i, name := range []string{"a", "b", "c"} {
		c := mustOpen(t, Config{Dir: filepath.Join(copies, name), Fsync: true})
		recs, err := journaltest.ReadAll(c)
		if err != nil || uint64(len(recs)) < last[i] || !slices.EqualFunc(recs, all[:len(recs)], func(a, b *journal.Record) bool { return a.ID == b.ID }) {
			t.Errorf("%s: %d records, %v; %d were acknowledged", name, len(recs), err, last[i])
		}
		if c.NewEpochReason() != journal.EpochRestored {
			t.Errorf("%s: reason %q", name, c.NewEpochReason())
		}
		mustClose(t, c)
	}
}

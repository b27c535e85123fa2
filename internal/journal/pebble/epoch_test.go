package pebble

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/hookline/hookline/internal/journal"
	"github.com/hookline/hookline/internal/journal/journaltest"
)

// reopen opens dir, checks the reason, settles it when asked to, and closes or crashes.
func reopen(t *testing.T, dir, want string, settle, crash bool) {
	t.Helper()
	j := mustOpen(t, Config{Dir: dir, Fsync: true})
	if got := j.NewEpochReason(); got != want {
		t.Errorf("reason %q, want %q", got, want)
	}
	if settle {
		if err := j.SetState([]journal.Op{{Key: "epoch", Value: []byte("2")}}, true); err != nil {
			t.Fatal(err)
		}
		if got := j.NewEpochReason(); got != want {
			t.Errorf("the reason became %q while open", got)
		}
	}
	if crash {
		j.fs.freeze(journaltest.ErrCrashed)
	}
	mustClose(t, j)
}

func TestCopyIsRestored(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, 3)
	reopen(t, dir, "", false, false)
	copied := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	for _, crash := range []bool{true, false} { // until it is settled
		reopen(t, copied, journal.EpochRestored, false, crash)
	}
	reopen(t, copied, journal.EpochRestored, true, true)
	reopen(t, copied, "", false, false)
	reopen(t, dir, "", false, false) // the original

	moved := dir + "-moved"
	if err := os.Rename(copied, moved); err != nil {
		t.Fatal(err)
	}
	reopen(t, moved, "", false, false)
}

func TestMissingIdentityIsRestored(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, 1)
	if err := os.Remove(filepath.Join(dir, identityFile)); err != nil {
		t.Fatal(err)
	}
	reopen(t, dir, journal.EpochRestored, true, false)
	reopen(t, dir, "", false, false)
}

func TestAppendSettles(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, 1)
	if err := os.Remove(filepath.Join(dir, identityFile)); err != nil {
		t.Fatal(err)
	}
	j := mustOpen(t, Config{Dir: dir, Fsync: true})
	writeOne(t, j, 2)
	j.fs.freeze(journaltest.ErrCrashed)
	mustClose(t, j)
	reopen(t, dir, "", false, false)
}

func TestTailLost(t *testing.T) {
	for _, c := range []struct {
		name         string
		fsync, clean bool
		before, then string
		want         string
	}{
		{"machine crashed", false, false, "a", "b", journal.EpochTailLost},
		{"process crashed", false, false, "a", "a", ""},
		{"closed", false, true, "a", "b", ""},
		{"machine crashed with fsync", true, false, "a", "b", ""},
		{"boot ids unknown", false, false, "", "", journal.EpochTailLost},
		{"boot ids unknown, closed", false, true, "", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			fs := vfs.NewMem()
			openAt := func(boot string) *Journal {
				m := testMachine()
				m.bootID = func() string { return boot }
				j, err := open(Config{Dir: memDir, Fsync: c.fsync, FS: fs, Logger: quiet()}, m)
				if err != nil {
					t.Fatal(err)
				}
				return j
			}
			j := openAt(c.before)
			writeOne(t, j, 1)
			if !c.clean {
				j.fs.freeze(journaltest.ErrCrashed)
			}
			mustClose(t, j)
			for range 2 { // it stands until it is settled
				j = openAt(c.then)
				if got := j.NewEpochReason(); got != c.want {
					t.Errorf("reason %q, want %q", got, c.want)
				}
				mustClose(t, j)
			}
		})
	}
}

func TestBootIDIsReadable(t *testing.T) {
	if _, err := os.Stat("/proc/sys/kernel/random/boot_id"); err == nil && len(readBootID()) < 16 {
		t.Errorf("boot id %q", readBootID())
	}
}

// TestHoleInUnsyncedLog puts a hole into a log that was written without fsync.
func TestHoleInUnsyncedLog(t *testing.T) {
	dir := t.TempDir()
	at := func(boot string, fsync bool) (*Journal, error) {
		m := machine{bootID: func() string { return boot }, number: osFileNumber, now: time.Now}
		return open(Config{Dir: dir, Fsync: fsync, Logger: quiet()}, m)
	}
	j, err := at("before", false)
	if err != nil {
		t.Fatal(err)
	}
	for seq := range uint64(60) {
		writeOne(t, j, seq+1)
	}
	j.fs.freeze(journaltest.ErrCrashed)
	mustClose(t, j)
	damage(t, largest(t, files(t, dir, ".log")), func(int) int { return 40000 })
	if _, err := at("before", false); !errors.Is(err, journal.ErrCorrupt) {
		t.Fatalf("the machine did not crash, so that this is no lost tail: %v", err)
	}
	j, err = at("after", true)
	if err != nil {
		t.Fatal(err)
	}
	if why := j.NewEpochReason(); why != journal.EpochTailLost {
		t.Errorf("reason %q", why)
	}
	all, err := journaltest.ReadAll(j)
	if err != nil || len(all) < 10 || len(all) > 20 {
		t.Errorf("%d records, %v", len(all), err)
	}
	mustClose(t, j)
	if _, err := os.Stat(filepath.Join(dir, unsyncedFile)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the mark is still there: %v", err)
	}
}

// TestMachineCrashWithoutFsync crashes the machine at many moments. A prefix must be left, which may lack records
// that were acknowledged, and then there must be a reason for a new epoch.
func TestMachineCrashWithoutFsync(t *testing.T) {
	mem, w := vfs.NewCrashableMem(), newWorkload()
	m := testMachine()
	m.bootID = func() string { return "after" }
	hook, ops, lost := &hookFS{FS: mem}, uint64(0), 0
	hook.set(func(op, name string) error {
		if ops++; ops%(3*stride) != 0 {
			return nil
		}
		acked := w.acked.Load()
		j, err := open(Config{Dir: memDir, FS: crashClone(mem, ops), Logger: quiet()}, m)
		if err != nil {
			t.Errorf("crash before operation %d, %s %s: %v", ops, op, name, err)
			return nil
		}
		defer j.Close()
		if _, err := journaltest.ReadAll(j); err != nil {
			t.Errorf("crash before operation %d: %v", ops, err)
		}
		if last := j.Info().Last; last < acked {
			lost++
			if why := j.NewEpochReason(); why != journal.EpochTailLost {
				t.Errorf("crash before operation %d: %d of %d records left, reason %q", ops, last, acked, why)
			}
		}
		return nil
	})
	j, err := open(Config{Dir: memDir, FS: hook, Logger: quiet()}, testMachine())
	if err != nil {
		t.Fatal(err)
	}
	if err := w.run(j, 60, rand.New(rand.NewPCG(5, 5))); err != nil {
		t.Fatal(err)
	}
	mustClose(t, j)
	t.Logf("%d operations, %d crashes lost a tail", ops, lost)
	if lost == 0 {
		t.Error("no crash lost anything: the test tests nothing")
	}
}

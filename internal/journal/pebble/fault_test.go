package pebble

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/hookline/hookline/internal/journal"
	"github.com/hookline/hookline/internal/journal/journaltest"
)

// failing makes operation number n fail, and with lasting all after it.
func failing(n int64, lasting bool) (hook func(op, name string) error, ops *atomic.Int64) {
	ops = new(atomic.Int64)
	return func(string, string) error {
		if i := ops.Add(1); i == n || lasting && i > n {
			return syscall.ENOSPC
		}
		return nil
	}, ops
}

// runWithFault opens a journal, writes, closes, opens it again and writes, on a disk that fails at operation n.
func runWithFault(t *testing.T, w *workload, mem *vfs.MemFS, n int64, lasting bool) (ops int64) {
	t.Helper()
	hook := &hookFS{FS: mem}
	f, count := failing(n, lasting)
	hook.set(f)
	rnd := rand.New(rand.NewPCG(11, 11))
	for range 2 {
		j, err := open(Config{Dir: memDir, Fsync: true, FS: hook, Logger: quiet()}, testMachine())
		if err != nil {
			if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), memDir) {
				t.Errorf("fault %d: Open: %v", n, err)
			}
			break
		}
		err = w.run(j, 30, rnd)
		if err != nil {
			checkDead(t, j, n, err)
		}
		if closeErr := j.Close(); err == nil && closeErr != nil {
			err = closeErr
			if !errors.Is(err, journal.ErrDead) || !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("fault %d: Close: %v", n, err)
			}
		}
		if err != nil {
			break
		}
	}
	return count.Load()
}

// checkDead checks what a journal still has to do after a failure.
func checkDead(t *testing.T, j *Journal, n int64, err error) {
	t.Helper()
	for what, err := range map[string]error{
		"the failure": err, "Healthy": j.Healthy(), "SetState": j.SetState(nil, true),
		"Append": func() error { _, err := j.Append(journal.Batch{}); return err }(),
	} {
		if !errors.Is(err, journal.ErrDead) || !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("fault %d: %s: %v; want ErrDead and the cause", n, what, err)
		}
	}
	if _, err := journaltest.ReadAll(j); err != nil {
		t.Errorf("fault %d: reading what is durable: %v", n, err)
	}
}

// TestFaultAtEveryOperation lets each single change of a file fail in turn, for once and for good. Nothing may hang
// or panic, and what was acknowledged must be there when the disk works again, after a crash or without one.
func TestFaultAtEveryOperation(t *testing.T) {
	total := runWithFault(t, newWorkload(), vfs.NewCrashableMem(), -1, false)
	next := new(atomic.Int64)
	work := func() {
		for {
			n := 1 + (next.Add(1)-1)*stride
			if n > total {
				return
			}
			for _, lasting := range []bool{false, true} {
				w, mem := newWorkload(), vfs.NewCrashableMem()
				runWithFault(t, w, mem, n, lasting)
				p := w.promise()
				if err := w.check(crashClone(mem, uint64(n)), p); err != nil {
					t.Errorf("fault %d (lasting: %v), then a crash: %v", n, lasting, err)
				}
				if err := w.check(mem, p); err != nil {
					t.Errorf("fault %d (lasting: %v): %v", n, lasting, err)
				}
			}
		}
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(work)
	}
	wg.Wait()
	t.Logf("%d operations", total)
}

// TestFatalEndsItsGoroutineOnly calls Fatalf as Pebble does, from a goroutine of its own and below a method.
func TestFatalEndsItsGoroutineOnly(t *testing.T) {
	for _, below := range []bool{false, true} {
		t.Run(fmt.Sprintf("below a method: %v", below), func(t *testing.T) {
			j, err := Open(Config{Dir: t.TempDir(), Logger: quiet()})
			if err != nil {
				t.Fatal(err)
			}
			j.brokenWait = time.Hour // it ends, and may take its time
			logger := &pebbleLogger{j: j}
			returned := false
			call := func() error {
				logger.Fatalf("it is %s", "broken")
				returned = true
				return nil
			}
			if below {
				if err := j.guarded(call); !errors.Is(err, journal.ErrDead) || !strings.Contains(err.Error(), "it is broken") {
					t.Errorf("got %v", err)
				}
			} else {
				done := make(chan struct{})
				go func() {
					defer close(done)
					_ = call()
				}()
				<-done
			}
			if returned {
				t.Error("Fatalf returned")
			}
			if err := j.Healthy(); !errors.Is(err, journal.ErrDead) {
				t.Errorf("Healthy: %v", err)
			}
			if err := j.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
	}
}

// TestPanicIsDeath lets Pebble panic below a method.
func TestPanicIsDeath(t *testing.T) {
	j, err := Open(Config{Dir: t.TempDir(), Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	j.brokenWait = time.Hour
	defer j.Close()
	err = j.guarded(func() error { panic(runtime.Error(nil)) })
	if !errors.Is(err, journal.ErrDead) || !errors.Is(err, errPanic) {
		t.Errorf("got %v", err)
	}
	if _, err := j.Append(journal.Batch{}); !errors.Is(err, journal.ErrDead) {
		t.Errorf("Append: %v", err)
	}
}

// TestFrozenFileSystem checks that a frozen file system lets a flush go on, but no compaction fill the memory.
func TestFrozenFileSystem(t *testing.T) {
	f := newFrozenFS(vfs.NewMem(), func(error) {})
	f.freeze(errors.New("no"))
	close(f.closing)
	if _, err := f.Create("/a/000001.sst", "pebble-compaction"); !errors.Is(err, journal.ErrDead) {
		t.Errorf("got %v", err)
	}
	file, err := f.Create("/a/000002.sst", flushCategory)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Stat("/a/000002.sst"); err != nil {
		t.Errorf("a flushed table can't be read again: %v", err)
	}
	if _, err := f.FS.Stat("/a/000002.sst"); err == nil {
		t.Error("the frozen disk was changed")
	}
}

package pebble

import (
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/hookline/hookline/internal/journal"
	"github.com/hookline/hookline/internal/journal/journaltest"
	"github.com/hookline/hookline/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// hookFS asks before each operation that changes a file whether it may be done.
type hookFS struct {
	vfs.FS
	mu     sync.Mutex
	before func(op, name string) error // guarded by mu
}

func (h *hookFS) set(f func(op, name string) error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.before = f
}

func (h *hookFS) ask(op, name string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.before == nil {
		return nil
	}
	return h.before(op, name)
}

func (h *hookFS) wrap(f vfs.File, name string, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &hookFile{File: f, fs: h, name: name}, nil
}

func (h *hookFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := h.ask("create", name); err != nil {
		return nil, err
	}
	f, err := h.FS.Create(name, c)
	return h.wrap(f, name, err)
}

func (h *hookFS) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := h.ask("reuse", to); err != nil {
		return nil, err
	}
	f, err := h.FS.ReuseForWrite(from, to, c)
	return h.wrap(f, to, err)
}

func (h *hookFS) OpenDir(name string) (vfs.File, error) {
	f, err := h.FS.OpenDir(name)
	return h.wrap(f, name, err)
}

func (h *hookFS) Rename(from, to string) error {
	if err := h.ask("rename", to); err != nil {
		return err
	}
	return h.FS.Rename(from, to)
}

func (h *hookFS) Remove(name string) error {
	if err := h.ask("remove", name); err != nil {
		return err
	}
	return h.FS.Remove(name)
}

func (h *hookFS) Unwrap() vfs.FS { return h.FS }

type hookFile struct {
	vfs.File
	fs   *hookFS
	name string
}

func (f *hookFile) Write(p []byte) (int, error) {
	if err := f.fs.ask("write", f.name); err != nil {
		n, _ := f.File.Write(p[:len(p)/2]) // torn
		return n, err
	}
	return f.File.Write(p)
}

func (f *hookFile) Sync() error {
	if err := f.fs.ask("sync", f.name); err != nil {
		return err
	}
	return f.File.Sync()
}

func (f *hookFile) SyncData() error {
	if err := f.fs.ask("sync", f.name); err != nil {
		return err
	}
	return f.File.SyncData()
}

func (f *hookFile) SyncTo(n int64) (bool, error) {
	if err := f.fs.ask("sync", f.name); err != nil {
		return false, err
	}
	return f.File.SyncTo(n)
}

// refuse makes every change fail with err.
func refuse(err error) func(op, name string) error {
	return func(string, string) error { return err }
}

// quiet is a logger for tests that let disks fail.
func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// place keeps a journal for the suite.
type place struct {
	t     *testing.T
	dir   string
	fsync bool
	mem   *vfs.MemFS // nil: the operating system's
	hook  *hookFS
	j     *Journal
}

func (p *place) Open() (journal.Journal, error) {
	p.hook = &hookFS{FS: vfs.Default}
	if p.mem != nil {
		p.hook.FS = p.mem
	}
	j, err := Open(Config{Dir: p.dir, Fsync: p.fsync, FS: p.hook, Logger: quiet()})
	if err != nil {
		return nil, err
	}
	p.j = j
	return j, nil
}

func (p *place) Crash(rnd *rand.Rand) {
	if p.mem != nil {
		clone := crashClone(p.mem, rnd.Uint64())
		p.close()
		p.mem = clone
		return
	}
	// The disk keeps what was written, as when the process is killed.
	p.j.fs.freeze(journaltest.ErrCrashed)
	p.close()
}

func (p *place) close() {
	if err := p.j.Close(); err != nil {
		p.t.Errorf("Close: %v", err)
	}
}

func (p *place) FailWrites(err error) { p.hook.set(refuse(err)) }

func TestSuiteOnDisk(t *testing.T) {
	journaltest.Run(t, func(t *testing.T) journaltest.Opener {
		return &place{t: t, dir: t.TempDir(), fsync: true}
	})
}

func TestSuiteOnDiskWithoutFsync(t *testing.T) {
	journaltest.Run(t, func(t *testing.T) journaltest.Opener {
		return &place{t: t, dir: t.TempDir()}
	})
}

func TestSuiteInMemory(t *testing.T) {
	journaltest.Run(t, func(t *testing.T) journaltest.Opener {
		return &place{t: t, dir: "/var/journal", fsync: true, mem: vfs.NewCrashableMem()}
	})
}

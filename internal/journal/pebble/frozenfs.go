package pebble

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/hookline/hookline/internal/journal"
)

// Pebble's category of the tables and blob files that a memtable is flushed to.
const flushCategory = "pebble-memtable-flush"

// frozenRetry is how long a frozen file system lets a compaction wait before it refuses it again. Open may wait for
// one.
const frozenRetry = 100 * time.Millisecond

// frozenFS is the file system under Pebble. It passes everything on until the first write, sync, creation or rename
// fails. Then it freezes: what is on disk is not changed any more, as if the machine had stopped, so that the next
// Open finds what a crash would have left. Pebble can't be told that its log or its manifest failed, because it would
// end the process; it sees success and goes on in memory until it is closed:
//
//   - Writes to open logs, manifests and markers are dropped, removals and renames are not done.
//   - New files are made in memory, so that memtables can be flushed, which Open and Close may wait for.
//   - Compactions, which would fill the memory, are refused, slowly because Pebble tries again at once.
//
// The freeze happens before the failed call returns to Pebble. So whoever waits for a sync and then sees the file
// system not frozen knows that the sync was a real one.
type frozenFS struct {
	vfs.FS
	// unsynced drops syncs of the log until it is closed. It is set when Open is done, so that what Open writes about
	// this run is durable in any case.
	unsynced atomic.Bool
	// onFreeze is called once, before frozen is set.
	onFreeze func(error)

	freezing sync.Once
	frozen   atomic.Bool
	overlay  *vfs.MemFS    // files made since the freeze
	closing  chan struct{} // closed when compactions shall not wait any more
	lastRead atomic.Pointer[string]
}

var _ vfs.FS = (*frozenFS)(nil)

func newFrozenFS(under vfs.FS, onFreeze func(error)) *frozenFS {
	return &frozenFS{
		FS: under, onFreeze: onFreeze,
		overlay: vfs.NewMem(), closing: make(chan struct{}),
	}
}

// freeze stops all writing because of err.
func (f *frozenFS) freeze(err error) {
	f.freezing.Do(func() {
		f.onFreeze(err)
		f.frozen.Store(true)
	})
}

func (f *frozenFS) fail(op, name string, err error) {
	f.freeze(fmt.Errorf("%s %s: %w", op, name, err))
}

// isTable says whether the file holds tables or blobs. Pebble takes an error of these for an answer and tries again;
// nothing that is in them is needed before the manifest names them.
func isTable(name string) bool {
	return strings.HasSuffix(name, ".sst") || strings.HasSuffix(name, ".blob")
}

func isLog(name string) bool { return strings.HasSuffix(name, ".log") }

func (f *frozenFS) wrap(file vfs.File, name string) vfs.File {
	return &frozenFile{File: file, fs: f, name: name, table: isTable(name), log: isLog(name)}
}

// createInMemory makes a file that is gone with the process.
func (f *frozenFS) createInMemory(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if isTable(name) && category != flushCategory {
		timer := time.NewTimer(frozenRetry)
		defer timer.Stop()
		select {
		case <-f.closing:
		case <-timer.C:
		}
		return nil, journal.ErrDead
	}
	if err := f.overlay.MkdirAll(f.PathDir(name), 0o700); err != nil {
		return nil, err
	}
	return f.overlay.Create(name, category)
}

// Create implements vfs.FS.
func (f *frozenFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if f.frozen.Load() {
		return f.createInMemory(name, category)
	}
	if err := f.beforeMarker(name); err != nil {
		f.fail("sync the directory of", name, err)
		return f.createInMemory(name, category)
	}
	file, err := f.FS.Create(name, category)
	if err != nil {
		f.fail("create", name, err)
		return f.createInMemory(name, category)
	}
	return f.wrap(file, name), nil
}

// beforeMarker makes the file durable that a marker is going to name. Pebble syncs the directory after it has made
// the marker only, so that a crash could keep the marker and lose the manifest.
func (f *frozenFS) beforeMarker(name string) error {
	if !strings.HasPrefix(f.PathBase(name), "marker.") {
		return nil
	}
	return syncDir(f.FS, f.PathDir(name))
}

// ReuseForWrite implements vfs.FS.
func (f *frozenFS) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if f.frozen.Load() {
		return f.createInMemory(newname, category)
	}
	file, err := f.FS.ReuseForWrite(oldname, newname, category)
	if err != nil {
		f.fail("reuse", oldname, err)
		return f.createInMemory(newname, category)
	}
	return f.wrap(file, newname), nil
}

// OpenReadWrite implements vfs.FS.
func (f *frozenFS) OpenReadWrite(name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	if f.frozen.Load() {
		return nil, journal.ErrDead
	}
	file, err := f.FS.OpenReadWrite(name, category, opts...)
	if err != nil {
		return nil, err
	}
	return f.wrap(file, name), nil
}

// OpenDir implements vfs.FS.
func (f *frozenFS) OpenDir(name string) (vfs.File, error) {
	file, err := f.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return f.wrap(file, name), nil
}

// inMemory says whether the file was made since the freeze.
func (f *frozenFS) inMemory(name string) bool {
	if !f.frozen.Load() {
		return false
	}
	_, err := f.overlay.Stat(name)
	return err == nil
}

// Open implements vfs.FS.
func (f *frozenFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	if f.inMemory(name) {
		return f.overlay.Open(name, opts...)
	}
	f.lastRead.Store(&name)
	return f.FS.Open(name, opts...)
}

// Stat implements vfs.FS.
func (f *frozenFS) Stat(name string) (vfs.FileInfo, error) {
	if f.inMemory(name) {
		return f.overlay.Stat(name)
	}
	f.lastRead.Store(&name)
	return f.FS.Stat(name)
}

// Remove implements vfs.FS.
func (f *frozenFS) Remove(name string) error {
	if f.inMemory(name) {
		return f.overlay.Remove(name)
	}
	if f.frozen.Load() {
		return nil
	}
	return f.FS.Remove(name)
}

// RemoveAll implements vfs.FS.
func (f *frozenFS) RemoveAll(name string) error {
	if f.frozen.Load() {
		return nil
	}
	return f.FS.RemoveAll(name)
}

// Rename implements vfs.FS.
func (f *frozenFS) Rename(oldname, newname string) error {
	if f.inMemory(oldname) {
		return f.overlay.Rename(oldname, newname)
	}
	if f.frozen.Load() {
		return nil
	}
	if err := f.FS.Rename(oldname, newname); err != nil {
		f.fail("rename", oldname, err)
	}
	return nil
}

// GetDiskUsage implements vfs.FS. Pebble only watches the free space with it, but takes a failure for a bad one.
func (f *frozenFS) GetDiskUsage(path string) (vfs.DiskUsage, error) {
	u, err := f.FS.GetDiskUsage(path)
	if err != nil {
		return vfs.DiskUsage{}, vfs.ErrUnsupported
	}
	return u, nil
}

// Unwrap implements vfs.FS.
func (f *frozenFS) Unwrap() vfs.FS { return f.FS }

// lastReadName returns the base name of the file that was opened or looked at last.
func (f *frozenFS) lastReadName() string {
	if p := f.lastRead.Load(); p != nil {
		return filepath.Base(*p)
	}
	return ""
}

// frozenFile is an open file of a frozenFS that is on disk.
type frozenFile struct {
	vfs.File
	fs    *frozenFS
	name  string
	table bool // errors go up, and writes go on when frozen
	log   bool
}

// settle turns the result of a write or a sync into what Pebble may see.
func (f *frozenFile) settle(op string, err error) error {
	if err == nil {
		return nil
	}
	f.fs.fail(op, f.name, err)
	if f.table {
		return err
	}
	return nil
}

func (f *frozenFile) skipsSync() bool { return f.log && f.fs.unsynced.Load() }

func (f *frozenFile) dropped() bool { return !f.table && f.fs.frozen.Load() }

// Write implements vfs.File.
func (f *frozenFile) Write(p []byte) (int, error) {
	if f.dropped() {
		return len(p), nil
	}
	n, err := f.File.Write(p)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	if err := f.settle("write", err); err != nil {
		return n, err
	}
	return len(p), nil
}

// WriteAt implements vfs.File.
func (f *frozenFile) WriteAt(p []byte, off int64) (int, error) {
	if f.dropped() {
		return len(p), nil
	}
	n, err := f.File.WriteAt(p, off)
	if err := f.settle("write", err); err != nil {
		return n, err
	}
	return len(p), nil
}

// Preallocate implements vfs.File. It is an optimisation: a real lack of space shows at the write.
func (f *frozenFile) Preallocate(offset, length int64) error {
	if f.dropped() {
		return nil
	}
	return f.File.Preallocate(offset, length)
}

// Sync implements vfs.File.
func (f *frozenFile) Sync() error {
	if f.skipsSync() || f.dropped() {
		return nil
	}
	return f.settle("sync", f.File.Sync())
}

// SyncData implements vfs.File.
func (f *frozenFile) SyncData() error {
	if f.skipsSync() || f.dropped() {
		return nil
	}
	return f.settle("sync", f.File.SyncData())
}

// SyncTo implements vfs.File.
func (f *frozenFile) SyncTo(length int64) (bool, error) {
	if f.skipsSync() || f.dropped() {
		return false, nil
	}
	full, err := f.File.SyncTo(length)
	return full, f.settle("sync", err)
}

// Close implements vfs.File. A log without fsync is synced here: only the newest log may have a torn end.
func (f *frozenFile) Close() error {
	if f.skipsSync() && !f.dropped() {
		if err := f.settle("sync", f.File.Sync()); err != nil {
			return err
		}
	}
	if f.dropped() {
		_ = f.File.Close() // nothing was written since the freeze
		return nil
	}
	err := f.File.Close()
	if errors.Is(err, os.ErrClosed) {
		return err
	}
	return f.settle("close", err)
}

package pebble

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	pebbledb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/hookline/hookline/internal/journal"
)

// Config of a journal.
type Config struct {
	// Dir is the directory; it is made if it is missing, its parents too.
	Dir string
	// Fsync makes an acknowledgement wait until the disk has the records. Without it they survive the death of the
	// process, but not that of the machine.
	Fsync bool
	// FS is the file system; nil: the operating system's.
	FS vfs.FS
	// Logger; nil: slog.Default().
	Logger *slog.Logger
}

// Journal implements journal.Journal.
type Journal struct {
	dir  string
	log  *slog.Logger
	fs   *frozenFS
	lock *pebbledb.Lock
	db   *pebbledb.DB

	header header
	run    run // as found and changed at Open; run.reason is NewEpochReason

	// life is held shared by whoever uses db, and by Close when it closes it.
	life      sync.RWMutex
	opened    atomic.Bool
	closed    atomic.Bool
	closeOnce sync.Once
	closeErr  error
	// brokenWait is how long Close waits for a Pebble that is broken.
	brokenWait time.Duration

	dead   atomic.Pointer[error] // wraps ErrDead; set before fs is frozen
	broken atomic.Bool           // Pebble has called Fatalf or panicked: its locks may be held for ever

	// appendMu makes positions follow the order of the commits.
	appendMu sync.Mutex
	next     uint64 // guarded by appendMu: position of the next record
	scratch  []byte // guarded by appendMu
	keyBuf   []byte // guarded by appendMu

	durable atomic.Uint64 // position of the newest durable record
	first   atomic.Uint64 // position of the oldest record
	floor   atomic.Uint64 // seq floor, raised before what it covers disappears
	settled atomic.Bool   // run.reason is settled, or never was

	trimMu sync.Mutex

	sizeMu sync.Mutex
	size   uint64    // guarded by sizeMu
	sizeAt time.Time // guarded by sizeMu
}

var _ journal.Journal = (*Journal)(nil)

// errPanic is wrapped by errors made of Pebble's panics.
var errPanic = errors.New("pebble panicked")

// kill is called by frozenFS before it freezes.
func (j *Journal) kill(err error) {
	err = fmt.Errorf("%w: %w", journal.ErrDead, err)
	if j.dead.CompareAndSwap(nil, &err) && j.opened.Load() { // Open returns the error
		j.log.Error("the journal failed and will not write again until it is opened anew",
			"dir", j.dir, "error", err)
	}
}

// guarded runs f on an open database and turns a panic of Pebble into the death of the writer.
func (j *Journal) guarded(f func() error) (err error) {
	j.life.RLock()
	defer j.life.RUnlock()
	if j.closed.Load() {
		return journal.ErrClosed
	}
	defer j.recovered(&err)
	return f()
}

// recovered is deferred by what calls Pebble.
func (j *Journal) recovered(err *error) {
	r := recover()
	if r == nil {
		return
	}
	if f, ok := r.(fatal); ok {
		*err = fmt.Errorf("%w: %w", journal.ErrDead, f.err)
		return
	}
	j.broken.Store(true)
	cause := fmt.Errorf("%w: %v", errPanic, r)
	j.fs.freeze(cause)
	*err = fmt.Errorf("%w: %w", journal.ErrDead, cause)
}

// Healthy implements journal.Journal.
func (j *Journal) Healthy() error {
	if p := j.dead.Load(); p != nil {
		return *p
	}
	return nil
}

// writing runs f, which changes the database, on a living writer.
func (j *Journal) writing(f func() error) error {
	return j.guarded(func() error {
		if err := j.Healthy(); err != nil {
			return err
		}
		if err := f(); err != nil {
			return err
		}
		return nil
	})
}

// Info implements journal.Journal.
func (j *Journal) Info() journal.Info {
	info := journal.Info{
		Created: j.header.created, First: j.first.Load(), SeqFloor: j.floor.Load(), Bytes: j.diskUsage(),
	}
	info.Last = max(j.durable.Load(), info.First-1)
	return info
}

// diskUsage asks Pebble at most once a second.
func (j *Journal) diskUsage() uint64 {
	j.sizeMu.Lock()
	defer j.sizeMu.Unlock()
	if !j.sizeAt.IsZero() && time.Since(j.sizeAt) < time.Second {
		return j.size
	}
	_ = j.guarded(func() error { // a closed journal keeps its last size
		j.size = j.db.Metrics().DiskSpaceUsage()
		j.sizeAt = time.Now()
		return nil
	})
	return j.size
}

// NewEpochReason implements journal.Journal.
func (j *Journal) NewEpochReason() string { return j.run.reason }

// ack implements journal.Ack.
type ack struct {
	j     *Journal
	batch *pebbledb.Batch
	last  uint64
}

// Wait implements journal.Ack.
func (a *ack) Wait() error {
	if err := a.batch.SyncWait(); err != nil {
		a.j.fs.freeze(err)
	}
	// frozenFS lets a failed sync succeed, but the writer is dead before it does.
	if err := a.j.Healthy(); err != nil {
		return err
	}
	a.j.advance(a.last)
	return a.batch.Close()
}

// advance raises the durable position. What comes before a durable batch is durable, so that the maximum counts.
func (j *Journal) advance(last uint64) {
	for {
		old := j.durable.Load()
		if last <= old || j.durable.CompareAndSwap(old, last) {
			return
		}
	}
}

// Append implements journal.Journal.
func (j *Journal) Append(b journal.Batch) (journal.Ack, error) {
	if err := b.Validate(); err != nil {
		return nil, err
	}
	a := &ack{j: j}
	err := j.writing(func() error {
		j.appendMu.Lock()
		defer j.appendMu.Unlock()
		if err := j.encodeLocked(a, b); err != nil {
			return err
		}
		if err := j.db.ApplyNoSyncWait(a.batch, pebbledb.Sync); err != nil {
			j.fs.freeze(err)
			return j.Healthy()
		}
		j.next = a.last + 1
		return nil
	})
	if err != nil {
		return nil, err
	}
	return a, nil
}

// encodeLocked assigns positions and fills a.batch.
func (j *Journal) encodeLocked(a *ack, b journal.Batch) error {
	size := 64
	for _, r := range b.Records {
		size += len(r.Body) + 2*len(r.Key) + 256
	}
	a.batch = j.db.NewBatchWithSize(size)
	a.last = j.next - 1
	for _, r := range b.Records {
		a.last++
		r.Position = a.last
		j.scratch = journal.Encode(j.scratch[:0], r)
		j.keyBuf = recordKey(j.keyBuf[:0], r.Position)
		if err := a.batch.Set(j.keyBuf, j.scratch, nil); err != nil {
			return err
		}
		pos := j.keyBuf[len(recordPrefix):]
		j.scratch = append(j.scratch[:0], pos...)
		j.keyBuf = indexKey(j.keyBuf[:0], r.Key, r.Seq)
		if err := a.batch.Set(j.keyBuf, j.scratch, nil); err != nil {
			return err
		}
	}
	if cap(j.scratch) > journal.MaxBody/2 {
		j.scratch = nil // one large record shall not be paid for until the next start
	}
	if err := j.setState(a.batch, b.State); err != nil {
		return err
	}
	if a.batch.Empty() {
		// Pebble does not commit an empty batch, but this one's Wait speaks for those before it.
		return a.batch.LogData(nil, nil)
	}
	return nil
}

// setState adds ops, and what settles the reason for a new epoch with the first write.
func (j *Journal) setState(batch *pebbledb.Batch, ops []journal.Op) error {
	for i := range ops {
		k := append([]byte(statePrefix), ops[i].Key...)
		var err error
		if ops[i].Value == nil {
			err = batch.Delete(k, nil)
		} else {
			err = batch.Set(k, ops[i].Value, nil)
		}
		if err != nil {
			return err
		}
	}
	if j.settled.CompareAndSwap(false, true) {
		r := j.run
		r.reason = ""
		return batch.Set([]byte(keyRun), r.encode(), nil)
	}
	return nil
}

// SetState implements journal.Journal.
func (j *Journal) SetState(ops []journal.Op, sync bool) error {
	if err := (&journal.Batch{State: ops}).Validate(); err != nil {
		return err
	}
	return j.writing(func() error {
		batch := j.db.NewBatch()
		if err := j.setState(batch, ops); err != nil {
			return err
		}
		opts := pebbledb.NoSync
		if sync {
			opts = pebbledb.Sync
		}
		return j.apply(batch, opts)
	})
}

// apply commits batch and fails unless it is as durable as opts say.
func (j *Journal) apply(batch *pebbledb.Batch, opts *pebbledb.WriteOptions) error {
	if err := j.db.Apply(batch, opts); err != nil {
		j.fs.freeze(err)
	}
	if err := j.Healthy(); err != nil {
		return err
	}
	return batch.Close()
}

// Close implements journal.Journal. It returns nil for a dead writer too: what could not be written was reported.
func (j *Journal) Close() error {
	j.closeOnce.Do(func() {
		j.closed.Store(true)
		close(j.fs.closing)
		j.life.Lock()
		defer j.life.Unlock()
		j.closeErr = j.close()
	})
	return j.closeErr
}

// defaultBrokenWait is how long Close waits for a Pebble that has given up.
const defaultBrokenWait = 2 * time.Second

// close marks the run as clean, closes the database and releases the lock.
func (j *Journal) close() error {
	done := make(chan error, 1)
	go func() {
		var err error
		defer func() { done <- err }()
		defer j.recovered(&err)
		err = j.closeDB()
	}()
	if !j.broken.Load() {
		return errors.Join(<-done, j.lock.Close())
	}
	timer := time.NewTimer(j.brokenWait)
	defer timer.Stop()
	select {
	case err := <-done:
		return errors.Join(err, j.lock.Close())
	case <-timer.C:
		// The lock of the directory stays with the process, because Pebble may still use the directory.
		return j.Healthy()
	}
}

func (j *Journal) closeDB() error {
	if j.Healthy() != nil {
		_ = j.db.Close() // the directory is frozen
		return nil
	}
	r := j.run
	r.clean = true
	if j.settled.Load() {
		r.reason = ""
	}
	err := j.db.Set([]byte(keyRun), r.encode(), pebbledb.Sync)
	err = errors.Join(err, j.db.Close())
	if unmark := markUnsynced(j.fs, j.dir, false, ""); unmark != nil {
		j.log.Warn("a mark of the journal was left behind", "dir", j.dir, "file", unsyncedFile, "error", unmark)
	}
	return errors.Join(err, j.Healthy())
}

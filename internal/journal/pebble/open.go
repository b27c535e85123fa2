package pebble

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	pebbledb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/hookline/hookline/internal/journal"
)

// Open opens the journal in c.Dir, or makes an empty one in a directory that holds none.
//
// A log whose end was torn by a crash is cut there. Errors wrap journal.ErrLocked when another process, or this one,
// has the directory open, journal.ErrCorrupt when the directory holds something else than what was written there,
// and journal.ErrTooNew when a newer version of the program wrote it. All of them name the directory.
func Open(c Config) (*Journal, error) {
	return open(c, machine{bootID: readBootID, number: osFileNumber, now: time.Now})
}

// machine is what the driver asks the operating system; tests replace it.
type machine struct {
	bootID func() string
	number fileNumber
	now    func() time.Time
	tune   func(*pebbledb.Options) // changes Pebble's options; nil: as they are
}

func open(c Config, m machine) (*Journal, error) {
	under := c.FS
	if under == nil {
		under = vfs.Default
		abs, err := filepath.Abs(c.Dir)
		if err != nil {
			return nil, fmt.Errorf("open journal %s: %w", c.Dir, err)
		}
		c.Dir = abs
	}
	j := &Journal{dir: c.Dir, log: c.Logger, brokenWait: defaultBrokenWait}
	if j.log == nil {
		j.log = slog.Default()
	}
	j.fs = newFrozenFS(under, j.kill)
	if err := j.lockDir(under); err != nil {
		return nil, err
	}
	if err := j.load(under, c.Fsync, m); err != nil {
		return nil, errors.Join(err, j.abandon())
	}
	j.fs.unsynced.Store(!c.Fsync)
	j.opened.Store(true)
	return j, nil
}

// lockDir makes the directory and takes its lock.
func (j *Journal) lockDir(under vfs.FS) error {
	if err := makeDir(under, j.dir); err != nil {
		return fmt.Errorf("open journal: can't make the directory %s: %w", j.dir, err)
	}
	lock, err := pebbledb.LockDirectory(j.dir, under)
	if err == nil {
		j.lock = lock
		return nil
	}
	if errors.Is(err, syscall.EAGAIN) || strings.Contains(err.Error(), "lock held by current process") {
		return fmt.Errorf("open journal: %w: %s; stop the other process or use another directory", journal.ErrLocked, j.dir)
	}
	return fmt.Errorf("open journal: can't write to the directory %s: %w", j.dir, err)
}

// makeDir makes the directory and those above it, durably.
func makeDir(fs vfs.FS, dir string) error {
	_, err := fs.Stat(dir)
	if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	above := fs.PathDir(dir)
	if above != dir {
		if err := makeDir(fs, above); err != nil {
			return err
		}
	}
	if err := fs.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	return syncDir(fs, above)
}

// load opens the database and reads what the journal has to know of it.
func (j *Journal) load(under vfs.FS, fsync bool, m machine) error {
	if err := j.checkFiles(under); err != nil {
		return j.openError(err)
	}
	if err := j.openOrCut(m); err != nil {
		return j.openError(err)
	}
	if err := j.guarded(func() error { return j.loadMeta(fsync, m) }); err != nil {
		return j.openError(err)
	}
	if err := markUnsynced(j.fs, j.dir, !fsync, m.bootID()); err != nil {
		return j.openError(err)
	}
	// Pebble saw success where the disk failed.
	if err := j.Healthy(); err != nil {
		return j.openError(err)
	}
	return nil
}

// openOrCut opens Pebble, with a cut log if that may have a hole.
func (j *Journal) openOrCut(m machine) error {
	err := j.openDB(m.tune)
	if err == nil || !isCorruption(err) {
		return err
	}
	holes, holesErr := tailMayHaveHoles(j.fs, j.dir, m.bootID())
	if holesErr != nil || !holes {
		return errors.Join(err, holesErr)
	}
	name, at, cutErr := cutLog(j.fs, j.dir)
	if cutErr != nil {
		return errors.Join(err, cutErr)
	}
	j.log.Warn("the machine stopped while the journal was written without fsync; its end is lost",
		"dir", j.dir, "file", name, "cut_at_byte", at)
	return j.openDB(m.tune)
}

// openDB opens Pebble.
func (j *Journal) openDB(tune func(*pebbledb.Options)) (err error) {
	o := j.options()
	if tune != nil {
		tune(o)
	}
	o.Lock = j.lock
	err = j.guarded(func() error {
		j.db, err = pebbledb.Open(j.dir, o)
		return err
	})
	if err != nil { // Pebble does not always name the file
		return fmt.Errorf("%w (last file read: %s)", err, j.fs.lastReadName())
	}
	return nil
}

// checkFiles refuses a directory with data of a journal but without the file that says which of it counts: Pebble
// would make an empty database there and remove the data.
func (j *Journal) checkFiles(under vfs.FS) error {
	desc, err := pebbledb.Peek(j.dir, j.fs)
	if err != nil || desc.Exists {
		return err
	}
	names, err := under.List(j.dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if isTable(name) || isLog(name) || name == identityFile {
			return fmt.Errorf("%w: it has %s but no current manifest", journal.ErrCorrupt, name)
		}
	}
	return nil
}

// openError names the directory, the file and what can be done.
func (j *Journal) openError(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, errPanic) {
		err = fmt.Errorf("%w: %w", journal.ErrCorrupt, err)
	} else if dead := j.Healthy(); dead != nil {
		return fmt.Errorf("open journal %s: %w", j.dir, dead)
	}
	if !errors.Is(err, journal.ErrCorrupt) {
		if !isCorruption(err) {
			return fmt.Errorf("open journal %s: %w", j.dir, err)
		}
		err = fmt.Errorf("%w: %w", journal.ErrCorrupt, err)
	}
	return fmt.Errorf("open journal %s: %w; restore the directory from a backup, or move it aside to start with an "+
		"empty journal", j.dir, firstLine{err})
}

// firstLine shortens the text of an error; Pebble's go on with where in its code they were made.
type firstLine struct{ error }

// Error implements error.
func (e firstLine) Error() string {
	if e.error == nil {
		return ""
	}
	line, _, _ := strings.Cut(e.error.Error(), "\n")
	return line
}

// Unwrap keeps what errors.Is and errors.As look for.
func (e firstLine) Unwrap() error { return e.error }

// isCorruption says whether Pebble's error is about the content of the directory, not about reading it.
func isCorruption(err error) bool {
	return pebbledb.IsCorruptionError(err) || errors.Is(err, pebbledb.ErrDBNotPristine) ||
		errors.Is(err, os.ErrNotExist) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// abandon closes what a failed Open has opened.
func (j *Journal) abandon() error {
	j.closed.Store(true)
	close(j.fs.closing)
	if j.db == nil {
		return j.lock.Close()
	}
	j.fs.freeze(journal.ErrClosed) // leave the directory as it is
	return j.close()
}

// loadMeta reads the metadata, or makes that of a new journal, and marks the beginning of this run.
func (j *Journal) loadMeta(fsync bool, m machine) error {
	isNew, err := j.loadHeader(m)
	if err != nil {
		return err
	}
	if err := j.loadPositions(); err != nil {
		return err
	}
	return j.beginRun(isNew, fsync, m)
}

// loadHeader returns true when it has made the header.
func (j *Journal) loadHeader(m machine) (bool, error) {
	b, err := j.get(keyHeader)
	if err != nil {
		return false, err
	}
	if b != nil {
		j.header, err = decodeHeader(b)
		return false, err
	}
	// A crash may have come before the first header was written; then there is nothing at all.
	empty, err := j.empty()
	if err != nil {
		return false, err
	}
	id, err := readIdentity(j.fs, j.dir, m.number)
	if err != nil {
		return false, err
	}
	if !empty || id.content != "" {
		return false, fmt.Errorf("%w: it has no header of a journal of Hookline", journal.ErrCorrupt)
	}
	j.header = header{created: m.now().UnixMilli()}
	if err := j.db.Set([]byte(keyHeader), j.header.encode(), pebbledb.Sync); err != nil {
		return false, err
	}
	// The first log of a new database is in Pebble's oldest format, which can't tell a torn end from corruption.
	return true, j.db.Flush()
}

// get returns a copy of the value, nil when there is none.
func (j *Journal) get(key string) ([]byte, error) {
	v, closer, err := j.db.Get([]byte(key))
	if errors.Is(err, pebbledb.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	b := append([]byte{}, v...)
	return b, closer.Close()
}

func (j *Journal) empty() (bool, error) {
	it, err := j.db.NewIter(nil)
	if err != nil {
		return false, err
	}
	found := it.First()
	return !found, errors.Join(it.Error(), it.Close())
}

// loadPositions finds the ends of the log.
func (j *Journal) loadPositions() (err error) {
	mark := trimMark{first: 1}
	b, err := j.get(keyTrim)
	if err != nil {
		return err
	}
	if b != nil {
		if mark, err = decodeTrim(b); err != nil {
			return err
		}
	}
	last := mark.first - 1
	it, err := j.db.NewIter(&pebbledb.IterOptions{
		LowerBound: []byte(recordPrefix), UpperBound: prefixEnd([]byte(recordPrefix)),
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	if it.First() {
		first, err := recordPosition(it.Key())
		if err != nil {
			return err
		}
		if first != mark.first {
			return fmt.Errorf("%w: the oldest record is %d, not %d", journal.ErrCorrupt, first, mark.first)
		}
		it.Last()
		if last, err = recordPosition(it.Key()); err != nil {
			return err
		}
	}
	j.first.Store(mark.first)
	j.floor.Store(mark.floor)
	j.durable.Store(last)
	j.next = last + 1
	return it.Error()
}

// beginRun compares the identity and the last run with this one and writes down what it finds, in an order that lets
// no crash lose a reason for a new epoch or find one where there is none.
func (j *Journal) beginRun(isNew, fsync bool, m machine) error {
	prev := run{clean: true}
	b, err := j.get(keyRun)
	if err == nil && b != nil {
		prev, err = decodeRun(b)
	}
	if err != nil {
		return err
	}
	boot := m.bootID()
	j.run = run{fsync: fsync, boot: boot, reason: prev.reason}
	if j.run.reason == "" && prev.tailLost(boot) {
		j.run.reason = journal.EpochTailLost
	}
	known, err := j.knownIdentity()
	if err != nil {
		return err
	}
	found, err := readIdentity(j.fs, j.dir, m.number)
	if err != nil {
		return err
	}
	if known == found && found.content != "" {
		err = j.db.Set([]byte(keyRun), j.run.encode(), pebbledb.Sync)
	} else {
		err = j.adopt(isNew, known, found, m)
	}
	j.settled.Store(j.run.reason == "")
	return err
}

func (j *Journal) knownIdentity() (identity, error) {
	b, err := j.get(keyIdentity)
	if err != nil || b == nil {
		return identity{}, err
	}
	return decodeIdentity(b)
}

// adopt makes the directory the journal's own: a new one, or one that was copied.
func (j *Journal) adopt(isNew bool, known, found identity, m machine) error {
	// Numbers that are 0 mean that a crash came before step 3, so that the file may be there or not.
	unfinished := known.content == "" ||
		known.device == 0 && known.inode == 0 && (found.content == "" || found.content == known.content)
	if !isNew && !unfinished {
		j.run.reason = journal.EpochRestored
	}
	// 1. The reason and the content that is going to be.
	id := newIdentity()
	if unfinished && known.content != "" {
		id = known
	}
	batch := j.db.NewBatch()
	err := errors.Join(
		batch.Set([]byte(keyRun), j.run.encode(), nil),
		batch.Set([]byte(keyIdentity), identity{content: id.content}.encode(), nil),
	)
	if err == nil {
		err = j.apply(batch, pebbledb.Sync)
	}
	if err != nil {
		return err
	}
	// 2. The file.
	if err := id.write(j.fs, j.dir); err != nil {
		return err
	}
	// 3. Its numbers.
	if found, err = readIdentity(j.fs, j.dir, m.number); err != nil {
		return err
	}
	if found.content != id.content {
		return fmt.Errorf("%w: %s is not what was just written", journal.ErrCorrupt, identityFile)
	}
	return j.db.Set([]byte(keyIdentity), found.encode(), pebbledb.Sync)
}

package pebble

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Without fsync the machine may stop with a hole in the newest log: later blocks reached the disk, earlier ones did
// not. Pebble takes that for corruption, because it was told that the earlier ones were synced. The file NOFSYNC,
// which holds the boot id, is there while the journal is written without fsync; when it is found after the machine
// was started again, the newest log is cut at the hole. NewEpochReason is journal.EpochTailLost then.
const (
	unsyncedFile = "NOFSYNC"
	cutTemp      = "CUT.new"
)

// writeFile makes a file with the content, which is there completely or not at all after a crash.
func writeFile(fs vfs.FS, dir, temp, name string, content []byte) error {
	temp = fs.PathJoin(dir, temp)
	f, err := fs.Create(temp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := fs.Rename(temp, fs.PathJoin(dir, name)); err != nil {
		return err
	}
	return syncDir(fs, dir)
}

// readFile returns at most limit bytes; nil when there is no such file.
func readFile(fs vfs.FS, name string, limit int64) ([]byte, error) {
	f, err := fs.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return append([]byte{}, b...), nil
}

// markUnsynced says, for the time after a crash, whether this run writes without fsync.
func markUnsynced(fs vfs.FS, dir string, unsynced bool, boot string) error {
	if unsynced {
		return writeFile(fs, dir, unsyncedFile+".new", unsyncedFile, []byte(boot))
	}
	err := fs.Remove(fs.PathJoin(dir, unsyncedFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return syncDir(fs, dir)
}

// tailMayHaveHoles says whether the machine stopped while the journal was written without fsync.
func tailMayHaveHoles(fs vfs.FS, dir, boot string) (bool, error) {
	b, err := readFile(fs, fs.PathJoin(dir, unsyncedFile), 256)
	if err != nil || b == nil {
		return false, err
	}
	return boot == "" || string(b) != boot, nil
}

// cutLog cuts the newest log of the directory after its last whole record before the first broken one.
func cutLog(fs vfs.FS, dir string) (name string, at int64, err error) {
	names, err := fs.List(dir)
	if err != nil {
		return "", 0, err
	}
	names = slices.DeleteFunc(names, func(n string) bool { return !isLog(n) })
	if len(names) == 0 {
		return "", 0, errors.New("there is no log to cut")
	}
	name = slices.MaxFunc(names, func(a, b string) int {
		x, _ := logNumber(a)
		y, _ := logNumber(b)
		return cmp.Compare(x, y)
	})
	number, err := logNumber(name)
	if err != nil {
		return name, 0, err
	}
	b, err := readFile(fs, fs.PathJoin(dir, name), 1<<32)
	if err != nil {
		return name, 0, err
	}
	at = wholeRecords(b, number)
	return name, at, writeFile(fs, dir, cutTemp, name, b[:at])
}

func logNumber(name string) (uint64, error) {
	return strconv.ParseUint(strings.TrimSuffix(name, ".log"), 10, 64)
}

// wholeRecords returns the length of the part of the log b that holds whole records only.
func wholeRecords(b []byte, number uint64) int64 {
	r := newLogReader(record.NewReader, bytes.NewReader(b), number)
	for {
		end := r.Offset()
		next, err := r.Next()
		if err == nil {
			_, err = io.Copy(io.Discard, next)
		}
		if err != nil {
			return min(end, int64(len(b)))
		}
	}
}

// newLogReader names the type of a log's number, which Pebble does not export, by the function that takes it.
func newLogReader[N ~uint64](open func(io.Reader, N) *record.Reader, r io.Reader, number uint64) *record.Reader {
	return open(r, N(number))
}

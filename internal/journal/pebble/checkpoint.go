package pebble

import (
	"errors"
	"fmt"
	"os"

	pebbledb "github.com/cockroachdb/pebble/v2"
)

// ErrExists says that there is something where a copy was to be made.
var ErrExists = errors.New("journal: the directory exists")

// Checkpoint writes a copy of the journal, as it is now, into a directory that must not exist, while the journal is in
// use. Tables are hard links where the file system allows it, so that it takes no time and little room at first; they
// keep their room when the journal removes them. Everything that was acknowledged before the call is in it.
//
// The copy is one: whoever opens it is told journal.EpochRestored.
func (j *Journal) Checkpoint(dir string) error {
	if _, err := j.fs.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		return errors.Join(fmt.Errorf("%w: %s", ErrExists, dir), err)
	}
	err := j.writing(func() error {
		if err := makeDir(j.fs, j.fs.PathDir(dir)); err != nil {
			return err
		}
		return j.db.Checkpoint(dir, pebbledb.WithFlushedWAL())
	})
	if err == nil {
		// A file with a content of its own, so that the copy is known as one also where files have no numbers.
		err = newIdentity().write(j.fs, dir)
	}
	if err == nil {
		err = syncDir(j.fs, j.fs.PathDir(dir))
	}
	if err == nil {
		err = j.Healthy()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("journal: copy to %s: %w", dir, err), j.fs.RemoveAll(dir))
	}
	return nil
}

package record

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/uuid"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/fact"
)

// note is an entry of the ledger.
type note struct {
	Version     int         `json:"version"`
	Publication string      `json:"publication"`
	Stream      fact.Stream `json:"stream"`
	Params      string      `json:"params"`
	Path        string      `json:"path"` // final and absolute
	Folder      string      `json:"folder"`
	URL         string      `json:"url"`
	Start       int64       `json:"start"`           // Unix seconds
	Quiet       bool        `json:"quiet,omitempty"` // it has no report
	// Of a file that is complete.
	Complete bool    `json:"complete,omitempty"`
	TimeLen  float64 `json:"time_len,omitempty"` // seconds
	Reason   string  `json:"reason,omitempty"`

	file string // of the note
}

const (
	noteVersion = 1
	noteSuffix  = ".json"
	maxNote     = 64 << 10
)

// temporary is the name of the file while it is open.
func (n *note) temporary() string {
	return filepath.Join(filepath.Dir(n.Path), "."+filepath.Base(n.Path))
}

// copied is the name of a copy while it is written.
func (n *note) copied() string { return n.temporary() + ".part" }

// fact returns the report of a complete file.
func (n *note) fact(size int64, sum string) *fact.Recorded {
	return &fact.Recorded{
		Publication: n.Publication, Type: event.OnRecordMP4, StartTime: uint64(max(n.Start, 0)), TimeLen: n.TimeLen,
		FileSize: uint64(max(size, 0)), FilePath: n.Path, FileName: filepath.Base(n.Path), Folder: n.Folder, URL: n.URL,
		Stream: n.Stream, Params: n.Params, Reason: n.Reason, SHA256: sum,
	}
}

// ledger is the directory of notes.
type ledger struct{ dir string }

// write puts a note on stable storage, in place of what it said before.
func (l ledger) write(n *note) error {
	n.Version = noteVersion
	if n.file == "" {
		id, err := uuid.NewV7()
		if err != nil {
			return fmt.Errorf("record: ledger: %w", err)
		}
		n.file = filepath.Join(l.dir, id.String()+noteSuffix)
	}
	b, err := json.Marshal(n)
	if err != nil {
		return fmt.Errorf("record: ledger: %w", err)
	}
	tmp := n.file + ".tmp"
	if err := writeSynced(tmp, b); err != nil {
		return fmt.Errorf("record: ledger: %w", err)
	}
	if err := os.Rename(tmp, n.file); err != nil {
		return fmt.Errorf("record: ledger: %w", err)
	}
	return syncDir(l.dir)
}

// remove drops a note. One that comes back after a power loss tells of a file that is complete.
func (l ledger) remove(n *note) {
	if n.file != "" {
		_ = os.Remove(n.file)
	}
}

// read returns the notes in the order in which they were written. What is no note is passed over and named in err.
func (l ledger) read() (notes []*note, err error) {
	entries, err := os.ReadDir(l.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("record: ledger: %w", err)
	}
	var bad error
	for _, e := range entries { // names begin with their time
		if !strings.HasSuffix(e.Name(), noteSuffix) {
			continue
		}
		n, err := readNote(filepath.Join(l.dir, e.Name()))
		if err != nil {
			bad = errors.Join(bad, err)
			continue
		}
		notes = append(notes, n)
	}
	return notes, bad
}

func readNote(file string) (*note, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, fmt.Errorf("record: ledger: %w", err)
	}
	if info.Size() > maxNote {
		return nil, fmt.Errorf("record: ledger: %s is too large", file)
	}
	b, err := os.ReadFile(file) //nolint:gosec // a file of our own directory
	if err != nil {
		return nil, fmt.Errorf("record: ledger: %w", err)
	}
	n := &note{file: file}
	if err := json.Unmarshal(b, n); err != nil || n.Version != noteVersion || !filepath.IsAbs(n.Path) || n.Publication == "" {
		return nil, fmt.Errorf("record: ledger: %s is no note", file)
	}
	return n, nil
}

func writeSynced(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600) //nolint:gosec // a file of our own directory
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Sync(), f.Close())
}

// syncDir makes the names of a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir) //nolint:gosec // a directory of our own
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

package api

import (
	"context"
	"errors"
	"time"

	"github.com/hookline/hookline/internal/delivery"
	"github.com/hookline/hookline/internal/sequencer"
)

// ErrNoBackup says that there is no backup of that name.
var ErrNoBackup = errors.New("no such backup")

// Operations is what an operator and a reconciling consumer ask for. It is safe for concurrent use.
type Operations interface {
	// Snapshot returns a page of the live state; see sequencer.Sequencer.Snapshot.
	Snapshot(ctx context.Context, at sequencer.Place, limit int) (sequencer.Snapshot, error)
	// Identity is who raises events now.
	Identity() (source, incarnation string, epoch int64)
	// OpenGaps returns the gaps that the receiver of an endpoint was not told of yet, of all for "".
	OpenGaps(endpoint string) ([]delivery.OpenGap, error)
	// Depth counts what an endpoint is still owed, looking at so many events at most. ErrNoEndpoint.
	Depth(endpoint string, most int) (delivery.Depth, error)
	// Retention says what is kept and what goes next.
	Retention() (Retention, error)
	// Backup writes a copy of the journal, under a name, and returns it. ErrConflict when the name is taken.
	Backup(name string) (BackupInfo, error)
	// Backups returns the copies that are there.
	Backups() ([]BackupInfo, error)
	// RemoveBackup removes one. ErrNoBackup.
	RemoveBackup(name string) error
}

// Retention is how long the journal keeps events.
type Retention struct {
	MaxAge   time.Duration
	MaxBytes int64
	// Before: what stands before this position goes at the next look, within a minute; 0: nothing does.
	Before uint64
}

// BackupInfo is a copy of the journal.
type BackupInfo struct {
	Name string    `json:"name"`
	Path string    `json:"path"`
	Time time.Time `json:"time"`
	// Bytes on the disk; files that the journal still uses are shared with it until it removes them.
	Bytes uint64 `json:"bytes"`
	// Last is the position of the newest event, 0 when it is not known.
	Last uint64 `json:"last,omitempty"`
}

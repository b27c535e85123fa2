package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/hookline/hookline/internal/api"
	"github.com/hookline/hookline/internal/delivery"
	"github.com/hookline/hookline/internal/sequencer"
)

// Names below the state directory.
const (
	backupsDir    = "backups"
	backupFile    = "backup.json" // api.BackupInfo; written last
	backupJournal = "journal"     // where a state directory has it by default
	identityFile  = "identity.ini"
)

// operations implements api.Operations.
type operations struct {
	*sequencer.Sequencer
	s *Server

	mu sync.Mutex // held across I/O: one backup is made or removed at a time
}

// OpenGaps implements api.Operations.
func (o *operations) OpenGaps(endpoint string) ([]delivery.OpenGap, error) {
	return delivery.ReadGaps(o.s.journal, endpoint)
}

// Depth implements api.Operations.
func (o *operations) Depth(endpoint string, most int) (delivery.Depth, error) {
	o.s.eps.mu.Lock()
	ep := o.s.eps.byName[endpoint]
	o.s.eps.mu.Unlock()
	if ep == nil {
		return delivery.Depth{}, fmt.Errorf("%w: %q", api.ErrNoEndpoint, endpoint)
	}
	return ep.Depth(most)
}

// Retention implements api.Operations.
func (o *operations) Retention() (api.Retention, error) {
	c := o.s.store.Config().Journal
	before, err := o.s.expired(o.s.clock.Now())
	return api.Retention{MaxAge: c.Retention, MaxBytes: c.RetentionBytes, Before: before}, err
}

func (o *operations) backups() string {
	return filepath.Join(o.s.store.Config().Server.StateDir, backupsDir)
}

// Backup implements api.Operations. The copy is a state directory of its own: identity.ini, if there is one, and the
// journal.
func (o *operations) Backup(name string) (info api.BackupInfo, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	dir, err := filepath.Abs(filepath.Join(o.backups(), name))
	if err != nil {
		return info, err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o750); err != nil {
		return info, fmt.Errorf("backup: %w", err)
	}
	if err := os.Mkdir(dir, 0o750); errors.Is(err, fs.ErrExist) {
		return info, fmt.Errorf("%w: there is a backup %q", api.ErrConflict, name)
	} else if err != nil {
		return info, fmt.Errorf("backup: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	info = api.BackupInfo{Name: name, Path: dir, Time: time.Now().UTC(), Last: o.s.journal.Info().Last}
	if err := o.s.journal.Checkpoint(filepath.Join(dir, backupJournal)); err != nil {
		return info, err
	}
	if err := copyIdentity(o.s.store.Config().Server.StateDir, dir); err != nil {
		return info, err
	}
	if info.Bytes, err = treeSize(dir); err != nil {
		return info, err
	}
	b, err := json.Marshal(info)
	if err != nil {
		return info, err
	}
	if err := os.WriteFile(filepath.Join(dir, backupFile), append(b, '\n'), 0o600); err != nil {
		return info, fmt.Errorf("backup: %w", err)
	}
	o.s.log.Info("backup made", "backup", name, "path", dir, "last", info.Last, "bytes", info.Bytes)
	return info, nil
}

func copyIdentity(from, to string) error {
	b, err := os.ReadFile(filepath.Join(from, identityFile)) //nolint:gosec // the state directory is the operator's
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(to, identityFile), b, 0o600) //nolint:gosec // likewise; the name of the backup was checked
	}
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	return nil
}

func treeSize(dir string) (n uint64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			n += uint64(info.Size())
		}
		return err
	})
	return n, err
}

// Backups implements api.Operations. What has no backup.json is being made, or was interrupted; it is not shown.
func (o *operations) Backups() ([]api.BackupInfo, error) {
	entries, err := os.ReadDir(o.backups())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("backups: %w", err)
	}
	var out []api.BackupInfo
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(o.backups(), e.Name(), backupFile))
		if err != nil {
			continue
		}
		var info api.BackupInfo
		if json.Unmarshal(b, &info) == nil && info.Name == e.Name() {
			out = append(out, info)
		}
	}
	return out, nil
}

// RemoveBackup implements api.Operations.
func (o *operations) RemoveBackup(name string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	dir := filepath.Join(o.backups(), name)
	if _, err := os.Lstat(dir); err != nil {
		return fmt.Errorf("%w: %q", api.ErrNoBackup, name)
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	return nil
}

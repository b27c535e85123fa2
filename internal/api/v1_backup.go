package api

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// backupName keeps a name of a backup from leading elsewhere.
var backupName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$`)

// listBackups lists copies by name.
func (c *v1Call) listBackups() error {
	list, err := c.api.deps.Operations.Backups()
	if err != nil {
		return err
	}
	if list == nil {
		list = []BackupInfo{}
	}
	slices.SortFunc(list, func(a, b BackupInfo) int { return strings.Compare(a.Name, b.Name) })
	return c.answer(http.StatusOK, map[string]any{"backups": list})
}

// backup writes a copy of the journal while it is in use.
func (c *v1Call) backup() error {
	var in struct {
		Name string `json:"name"`
	}
	if err := c.body(&in); err != nil {
		return err
	}
	c.note("backup", clip(in.Name, maxName))
	if !backupName.MatchString(in.Name) {
		return &badParameter{"name", "1 to 64 letters, digits, '_', '-' and '.', not beginning with '.' or '-'"}
	}
	info, err := c.api.deps.Operations.Backup(in.Name)
	if err != nil {
		return err
	}
	return c.answer(http.StatusCreated, info)
}

// removeBackup removes a copy.
func (c *v1Call) removeBackup() error {
	c.note("backup", clip(c.path[0], maxName))
	if !backupName.MatchString(c.path[0]) {
		return ErrNoBackup
	}
	if err := c.api.deps.Operations.RemoveBackup(c.path[0]); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

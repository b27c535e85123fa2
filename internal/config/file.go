package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// writeFile replaces the file at path, or creates it with mode:
//
//  1. the new content goes to a temporary file beside it, with the mode and, where allowed, the owner of the old one;
//  2. the temporary file is synced;
//  3. it is renamed over the old one;
//  4. the directory is synced.
//
// A symbolic link is followed, so that it stays one. Where 1 or 3 is not possible (a single file mounted into a
// container, a directory that only root may write), the file is overwritten in place.
func writeFile(path string, data []byte, mode fs.FileMode) error {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	old, err := os.Stat(path)
	if err == nil {
		mode = old.Mode().Perm()
	}
	err = replaceFile(path, data, mode, old)
	if err == nil || old == nil {
		return err
	}
	if errInPlace := overwrite(path, data); errInPlace != nil {
		return errors.Join(err, errInPlace)
	}
	return nil
}

func replaceFile(path string, data []byte, mode fs.FileMode, old fs.FileInfo) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("config: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil && old != nil {
		keepOwner(f, old)
	}
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("config: %w", err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("config: %w", err)
	}
	syncDir(dir)
	return nil
}

// syncDir makes a rename durable. Not every file system can.
func syncDir(dir string) {
	d, err := os.Open(dir) //nolint:gosec // the directory of the config file
	if err != nil {
		return // the rename is done; a directory that can't be opened can't be synced
	}
	_ = d.Sync()
	_ = d.Close()
}

// overwrite writes data over the file without truncating it first, so that a crash leaves as little damage as
// possible.
func overwrite(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0) //nolint:gosec // the operator names the file
	if err != nil {
		return fmt.Errorf("config: %w", err)
	}
	_, err = f.WriteAt(data, 0)
	if err == nil {
		err = f.Truncate(int64(len(data)))
	}
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("config: %w", err)
	}
	return nil
}

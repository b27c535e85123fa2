package config

import (
	"context"
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// settle is how long the file must be quiet before it is read: editors write in several steps.
	settle = 200 * time.Millisecond
	// longestSettle bounds the wait in a directory where something happens all the time.
	longestSettle = 2 * time.Second
	// pollEvery is the interval where the system can't tell of changes.
	pollEvery = 2 * time.Second
)

// Watch reloads the file when its content changes, until ctx ends. It watches the directory, since editors and
// Set replace the file, and takes a change for one only when the content differs from what was last read or
// written, so that Set does not cause a reload. Where the system can't watch, it polls. Errors of a reload are
// logged and leave the old configuration. Without a file it returns at once.
func (s *Store) Watch(ctx context.Context) {
	if s.path == "" {
		return
	}
	w, err := s.startWatcher()
	if err != nil {
		s.log.Warn("can't watch the config file, polling instead", "file", s.path, "error", err)
		s.poll(ctx, pollEvery)
		return
	}
	s.follow(ctx, w)
}

// startWatcher watches the directory of the file and, when the file is a symbolic link, of its target.
func (s *Store) startWatcher() (*fsnotify.Watcher, error) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	dirs := []string{filepath.Dir(s.path)}
	if target, err := filepath.EvalSymlinks(s.path); err == nil && filepath.Dir(target) != dirs[0] {
		dirs = append(dirs, filepath.Dir(target))
	}
	for _, dir := range dirs {
		if err := w.Add(dir); err != nil {
			_ = w.Close()
			return nil, fmt.Errorf("config: %w", err)
		}
	}
	return w, nil
}

// follow reloads after each burst of events. Polls when the watcher ends.
func (s *Store) follow(ctx context.Context, w *fsnotify.Watcher) {
	quiet := time.NewTimer(settle) // the file may have changed before the watcher was there
	defer quiet.Stop()
	var first time.Time // of the burst; zero: none
	wait := func() {
		switch {
		case first.IsZero():
			first = time.Now()
		case time.Since(first) > longestSettle:
			return
		}
		quiet.Reset(settle)
	}
	for {
		select {
		case <-ctx.Done():
			_ = w.Close()
			return
		case <-quiet.C:
			first = time.Time{}
			s.reloadChanged()
		case ev, ok := <-w.Events:
			if !ok {
				s.poll(ctx, pollEvery)
				return
			}
			if s.concerns(ev) {
				wait()
			}
		case err, ok := <-w.Errors:
			if !ok {
				s.poll(ctx, pollEvery)
				return
			}
			s.log.Warn("watching the config file", "file", s.path, "error", err)
			wait() // an overflow may have swallowed the event
		}
	}
}

// concerns says whether the event may have changed the file. Behind a symbolic link anything may, for links are
// changed by exchanging directories.
func (s *Store) concerns(ev fsnotify.Event) bool {
	if ev.Op == fsnotify.Chmod {
		return false
	}
	if filepath.Base(ev.Name) == filepath.Base(s.path) {
		return true
	}
	target, err := filepath.EvalSymlinks(s.path)
	return err == nil && filepath.Clean(s.path) != target
}

// poll looks at the content at an interval.
func (s *Store) poll(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		s.reloadChanged()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// reloadChanged reloads when the content was not looked at before.
func (s *Store) reloadChanged() {
	s.mu.Lock()
	defer s.mu.Unlock()
	data, err := readFile(s.path, MaxFileBytes)
	if err != nil {
		return // between two steps of a replacement; the next event or a reload by hand tells
	}
	if sha256.Sum256(data) == s.seen {
		return
	}
	if err := s.reload(data); err != nil {
		s.log.Error("config file changed but can't be used, the old configuration stays", "file", s.path, "error", err)
	}
}

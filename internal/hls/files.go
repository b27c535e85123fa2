package hls

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"time"
)

// Names of files beside the playlists.
const (
	delayedName = "hls_delay.m3u8"
	initName    = "init.mp4"
)

// create makes the file of the next segment. The publication before may have used its name within the same second.
func (g *segmenter) create(now time.Time) (*os.File, error) {
	for range 1000 {
		s := &g.cur
		s.name = path.Join(now.Format("2006-01-02"), now.Format("15"), now.Format("04-05")+"_"+strconv.FormatUint(g.number, 10)+g.ext)
		s.file = filepath.Join(g.dir, filepath.FromSlash(s.name))
		if err := os.MkdirAll(filepath.Dir(s.file), 0o755); err != nil { //nolint:gosec // for other programs to read
			return nil, fmt.Errorf("hls: %w", err)
		}
		file, err := os.OpenFile(s.file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644) //nolint:gosec // as above
		switch {
		case err == nil:
			return file, nil
		case errors.Is(err, fs.ErrExist):
			g.number++
		case !errors.Is(err, fs.ErrNotExist): // the other variant removed what it took for an empty directory
			return nil, fmt.Errorf("hls: %w", err)
		}
	}
	return nil, fmt.Errorf("hls: no free name in %s", g.dir)
}

// writeInit writes the init segment when there is a new one.
func (g *segmenter) writeInit() error {
	b := g.mux.init()
	if b == nil || g.init != "" {
		return nil
	}
	n := len(g.inits)
	g.init = initOf(n)
	if g.keeps() { // older files need the one that is there
		for ; n < 10000; n++ {
			g.init = initOf(n)
			old, err := os.ReadFile(filepath.Join(g.dir, g.init))
			if err != nil || bytes.Equal(old, b) {
				break
			}
		}
	}
	g.inits = append(g.inits, g.init)
	if err := replace(filepath.Join(g.dir, g.init), b); err != nil {
		return fmt.Errorf("hls: %w", err)
	}
	return nil
}

func initOf(n int) string {
	if n == 0 {
		return initName
	}
	return "init_" + strconv.Itoa(n) + ".mp4"
}

// discard removes files that left the playlists long enough ago.
func (g *segmenter) discard() {
	keep := g.listing + g.cfg.Delay
	kept := g.keeps()
	if !kept {
		keep += g.cfg.Retain
	}
	n := max(len(g.known)-keep, 0)
	for _, s := range g.known[:n] {
		if !kept {
			_ = os.Remove(s.file)
			if filepath.Dir(s.file) != filepath.Dir(g.cur.file) {
				prune(filepath.Dir(s.file), g.dir)
			}
		}
	}
	g.known = g.known[n:]
}

// prune removes dir and the directories above it, up to top, as far as they are empty.
func prune(dir, top string) {
	for len(dir) >= len(top) && os.Remove(dir) == nil {
		dir = filepath.Dir(dir)
	}
}

// publish shows the segments that are there.
func (g *segmenter) publish(ended bool) {
	l := g.listed(ended)
	now := l.render()
	g.list(playlistName(g.variant), now)
	var behind []byte
	if g.delayed() {
		to := max(len(g.known)-g.cfg.Delay, 0)
		if ended {
			to = len(g.known)
		}
		from := 0
		if n := g.cfg.Count; n > 0 {
			from = max(len(g.known)-g.cfg.Delay-n, 0)
		}
		if l.segments = g.known[min(from, to):to]; len(l.segments) > 0 {
			behind = l.render()
			g.list(delayedName, behind)
		}
	}
	if g.low != nil {
		g.expose(nil, ended)
	}
	g.offer(now, behind, ended)
	g.register()
}

// register makes the playlist known, once.
func (g *segmenter) register() {
	if !g.reported {
		g.reported = true
		g.srv.show(g)
		g.job.Register(g.variant)
	}
}

// listed is what the playlist shows now.
func (g *segmenter) listed(ended bool) list {
	n := len(g.known)
	l := list{variant: g.variant, segments: g.known[n-g.listing : n : n], target: g.target, event: g.cfg.Count == 0, ended: ended}
	if g.cfg.Vhosts {
		l.query = "vhost=" + url.QueryEscape(g.job.Stream.Vhost)
	}
	return l
}

// delayed says whether there is a playlist that is behind.
func (g *segmenter) delayed() bool { return g.cfg.Delay > 0 && g.variant == TS }

// list writes a playlist for other servers; our own viewers get it from memory.
func (g *segmenter) list(name string, b []byte) {
	err := replace(filepath.Join(g.dir, filepath.FromSlash(name)), b)
	if err != nil && !g.unlisted {
		g.log.Warn("HLS: a playlist could not be written", "playlist", name, "err", err)
	}
	g.unlisted = err != nil
}

// finish ends the playlist and removes the files after a while.
func (g *segmenter) finish() {
	g.refresh()
	for name, h := range g.hours {
		g.writeHour(name, h, true)
	}
	if g.listing > 0 {
		g.publish(true)
	} else {
		g.offer(nil, nil, true)
	}
	if g.keeps() {
		g.srv.retire(g, nil, nil)
		return
	}
	var own []string
	for _, s := range g.known {
		own = append(own, s.file)
	}
	shared := []string{filepath.Join(g.dir, playlistName(g.variant))}
	for _, name := range g.inits {
		shared = append(shared, filepath.Join(g.dir, name))
	}
	if g.variant == TS {
		shared = append(shared, filepath.Join(g.dir, delayedName))
	}
	g.srv.retire(g, own, shared)
}

// replace writes a file in one step for its readers.
func replace(file string, b []byte) error {
	tmp := file + ".tmp"
	if err := os.WriteFile(tmp, b, 0o644); err != nil { //nolint:gosec // for other programs to read
		return err
	}
	return os.Rename(tmp, file)
}

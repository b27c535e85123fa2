package hls

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/hookline/hookline/internal/stream"
)

// errNone: there is no playlist.
var errNone = fmt.Errorf("no such playlist yet: %w", os.ErrNotExist)

// OnDemand implements stream.Sleeper.
func (g *segmenter) OnDemand() bool { return g.demand }

// announce registers the schema of a segmenter that works on demand as soon as it could make something of the tracks.
func (g *segmenter) announce(p stream.Program) {
	if g.demand && carries(g.variant, p.Tracks) {
		g.register()
	}
}

// rest takes everything away that could be watched, since nobody does. What comes next is a continuation for the numbers in
// the playlist, and a discontinuity for decoders.
func (g *segmenter) rest() {
	if g.file != nil {
		g.mux.end(nil, nil) // what is held back
		g.buf = g.buf[:0]
		g.scrap()
		prune(filepath.Dir(g.cur.file), g.dir)
		g.sequence++ // parts of it may have been seen
		g.number++
	}
	g.broken = g.sequence > 0
	g.offer(nil, nil, false)
	_ = os.Remove(filepath.Join(g.dir, playlistName(g.variant)))
	if g.variant == TS {
		_ = os.Remove(filepath.Join(g.dir, delayedName))
	}
	for _, s := range g.known {
		_ = os.Remove(s.file)
		prune(filepath.Dir(s.file), g.dir)
	}
	g.known, g.listing = nil, 0
}

// offer makes playlists the ones that are served, nil for none, and wakes those who wait for that.
func (g *segmenter) offer(playlist, behind []byte, over bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.playlist, g.behind, g.over = playlist, behind, over
	if playlist == nil && g.shown != nil {
		close(g.shown.newer)
		g.shown = nil
	}
	if g.news != nil {
		close(g.news)
		g.news = nil
	}
}

// await returns a playlist as get finds it under the lock, and waits for it if there is none. Errors: errNone when there is none in
// time, errCrowd, errSlow or ctx's.
func (g *segmenter) await(ctx context.Context, most time.Duration, get func() []byte) ([]byte, error) {
	b, next := g.look(get)
	if b != nil || next == nil {
		return there(b)
	}
	leave, err := g.srv.queue()
	if err != nil {
		return nil, err
	}
	defer leave()
	t := time.NewTimer(most)
	defer t.Stop()
	for b == nil && next != nil {
		select {
		case <-next:
		case <-t.C:
			return nil, errNone
		case <-g.srv.hung:
			return nil, errSlow
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		b, next = g.look(get)
	}
	return there(b)
}

// look returns what get finds, or else a channel that is closed when there may be more; nil: there will not be.
func (g *segmenter) look(get func() []byte) (b []byte, next <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if b = get(); b != nil || g.over {
		return b, nil
	}
	if g.news == nil {
		g.news = make(chan struct{})
	}
	return nil, g.news
}

func there(b []byte) ([]byte, error) {
	if b == nil {
		return nil, errNone
	}
	return b, nil
}

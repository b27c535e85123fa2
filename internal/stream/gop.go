package stream

import (
	"time"

	"github.com/hookline/hookline/internal/media"
)

// audioGOP is the length of what is cached of a stream without video.
const audioGOP = 2 * time.Second

// gopCache holds the frames since the newest key frame, for packagers that attach later. When the GOP is longer than
// the limits nothing is held until the next key frame. It may hold earlier GOPs, too, for clips; together they stay within the
// same limits, and give way first.
type gopCache struct {
	frames []*media.Frame
	bytes  int
	from   time.Duration // DTS of the first frame
	open   bool          // there is a first frame
	budget *budget       // counts bytes
	video  bool          // a key frame was seen

	past      []gop // those before, without a gap, the oldest first
	pastBytes int
}

// gop is a group of pictures that is complete.
type gop struct {
	frames []*media.Frame
	bytes  int
	from   time.Duration
}

// add takes a frame. start: a viewer can start at it; until there is video that is some audio frame every audioGOP. ok
// is false for video frames that come before the first key frame: nobody can decode them.
func (g *gopCache) add(f *media.Frame, cfg *Config) (start, ok bool) {
	audio := f.Track.Codec.Kind() == media.Audio
	switch {
	case f.Key:
		start, g.video = true, true
	case !audio && !g.video:
		return false, false
	case audio && !g.video:
		start = !g.open || f.DTS-g.from >= audioGOP
	}
	if start {
		g.shelve(cfg.GOPs)
		g.open, g.from = true, f.DTS
	}
	if !g.open {
		return start, true
	}
	g.frames = append(g.frames, f)
	g.bytes += len(f.Data)
	g.budget.add(len(f.Data))
	for len(g.past) > 0 && (g.bytes+g.pastBytes > cfg.GOPMaxBytes || g.budget.exceeded(g.bytes+g.pastBytes) ||
		f.DTS-g.past[0].from > cfg.GOPMaxDuration) {
		g.forget()
	}
	if g.bytes > cfg.GOPMaxBytes || g.budget.exceeded(g.bytes) || f.DTS-g.from > cfg.GOPMaxDuration {
		g.drop()
	}
	return start, true
}

// shelve puts the newest GOP to the past, of which with it keep are held.
func (g *gopCache) shelve(keep int) {
	if keep <= 1 || !g.open {
		g.drop()
		return
	}
	g.past = append(g.past, gop{frames: g.frames, bytes: g.bytes, from: g.from})
	g.pastBytes += g.bytes
	g.frames, g.bytes = nil, 0
	for len(g.past) >= keep {
		g.forget()
	}
}

// forget drops the oldest of the past.
func (g *gopCache) forget() {
	old := &g.past[0]
	g.budget.add(-old.bytes)
	g.pastBytes -= old.bytes
	*old = gop{}
	g.past = g.past[1:]
}

// since returns the frames from the newest key frame on that is not after a time, or from the oldest that is held.
func (g *gopCache) since(at time.Duration) []*media.Frame {
	n, from := len(g.past), g.from
	for ; n > 0 && from > at; n-- {
		from = g.past[n-1].from
	}
	var all []*media.Frame
	for _, p := range g.past[n:] {
		all = append(all, p.frames...)
	}
	return append(all, g.frames...)
}

// drop empties the cache until the next key frame.
func (g *gopCache) drop() {
	for len(g.past) > 0 {
		g.forget()
	}
	clear(g.frames)
	g.budget.add(-g.bytes)
	g.frames, g.bytes, g.open = g.frames[:0], 0, false
}

package stream

import (
	"time"

	"github.com/hookline/hookline/internal/media"
)

// audioGOP is the length of what is cached of a stream without video.
const audioGOP = 2 * time.Second

// gopCache holds the frames since the newest key frame, for packagers that attach later. When the GOP is longer than
// the limits nothing is held until the next key frame.
type gopCache struct {
	frames []*media.Frame
	bytes  int
	from   time.Duration // DTS of the first frame
	open   bool          // there is a first frame
	budget *budget       // counts bytes
	video  bool          // a key frame was seen
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
		g.drop()
		g.open, g.from = true, f.DTS
	}
	if !g.open {
		return start, true
	}
	g.frames = append(g.frames, f)
	g.bytes += len(f.Data)
	g.budget.add(len(f.Data))
	if g.bytes > cfg.GOPMaxBytes || g.budget.exceeded(g.bytes) || f.DTS-g.from > cfg.GOPMaxDuration {
		g.drop()
	}
	return start, true
}

// drop empties the cache until the next key frame.
func (g *gopCache) drop() {
	clear(g.frames)
	g.budget.add(-g.bytes)
	g.frames, g.bytes, g.open = g.frames[:0], 0, false
}

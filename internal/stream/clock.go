package stream

import (
	"time"

	"github.com/hookline/hookline/internal/media"
)

// Values of Options.ModifyStamp.
const (
	stampKeep     = 0
	stampReceive  = 1
	stampRelative = 2
)

const (
	// stampJump is the largest step forward that is taken as it is.
	stampJump = 3 * time.Second
	// stampBack is the largest step back that is taken for jitter: the frame is moved to just after its predecessor.
	// A larger one is a new time line.
	stampBack = 250 * time.Millisecond
	// stampStep is the least distance of two frames of a track, the resolution of the coarsest wire format.
	stampStep = time.Millisecond
	// stampStuck is how long a track may carry one stamp before its clock is taken to have stopped. Several messages of one
	// picture carry the same, and so do sounds that an encoder sends in bursts.
	stampStuck = time.Second
	// stampFrame is assumed as the duration of a frame while it is not known.
	stampFrame = 20 * time.Millisecond
)

// line is one time line of a publisher: what is added to its stamps.
type line struct {
	offset time.Duration
	gen    int
}

// clock computes the DTS of frames, once, at ingest. Both tracks share the newest line, so that a jump that both make
// keeps them in sync.
type clock struct {
	mode   int
	start  time.Time // of the publication, for stampReceive
	newest line
	tracks [2]trackClock // by media.Kind
	begun  bool          // this session has sent a frame
	last   time.Duration // largest DTS given out
	lastAt time.Time     // when the last frame came
}

type trackClock struct {
	line  line
	begun bool          // this session has sent a frame of the track
	any   bool          // a session has: last is valid
	last  time.Duration // DTS given out last
	step  time.Duration // distance of the last two frames
	raw   time.Duration // the last stamp of the publisher
	rawAt time.Time     // when it came first
	at    time.Time     // when the last frame came
}

// resume makes the next frame of each track start a new line: another session's stamps have another origin.
func (c *clock) resume() {
	c.begun = false
	for i := range c.tracks {
		c.tracks[i].begun = false
	}
}

// stamp returns the DTS for a frame of kind k that carries dts. Per track it rises by at least stampStep.
func (c *clock) stamp(k media.Kind, dts time.Duration, now time.Time) time.Duration {
	t := &c.tracks[k]
	var out time.Duration
	switch {
	case c.mode == stampReceive:
		out = now.Sub(c.start)
	case !t.begun:
		out = c.first(t, dts)
	case dts == t.raw && now.Sub(t.rawAt) > stampStuck:
		out = c.stuck(t, dts, now)
	default:
		out = c.next(t, dts, now)
	}
	if dts != t.raw || t.rawAt.IsZero() {
		t.raw, t.rawAt = dts, now
	}
	t.at = now
	if t.any {
		out = max(out, t.last+stampStep)
		t.step = min(out-t.last, stampJump)
	} else {
		out = max(out, 0)
		t.any, t.step = true, stampFrame
	}
	t.last, c.last, c.lastAt = out, max(c.last, out), now
	return out
}

// follow notes a DTS that was given out without stamp: what is stamped later comes behind it.
func (t *trackClock) follow(dts time.Duration) {
	if !t.any {
		t.any, t.step = true, stampFrame
	}
	t.last = max(t.last, dts)
}

// early says how far the first frame of a track would come before the start of the publication: sound that is sent late may
// begin before the first picture.
func (c *clock) early(k media.Kind, dts time.Duration) time.Duration {
	t := &c.tracks[k]
	if c.mode != stampRelative || !c.begun || t.begun || t.any {
		return 0
	}
	if d := -dts - c.newest.offset; d > 0 && d < stampJump {
		return d
	}
	return 0
}

// postpone moves everything that was given out by d.
func (c *clock) postpone(d time.Duration) {
	c.newest.offset += d
	c.last += d
	for i := range c.tracks {
		if t := &c.tracks[i]; t.any {
			t.line.offset += d
			t.last += d
		}
	}
}

// first places the first frame of a track of this session.
func (c *clock) first(t *trackClock, dts time.Duration) time.Duration {
	t.begun = true
	if !c.begun {
		c.begun = true
		switch {
		case c.tracks[0].any || c.tracks[1].any: // resumed: go on where the last session ended
			c.newest = line{offset: c.last + stampFrame - dts, gen: c.newest.gen + 1}
		case c.mode == stampRelative:
			c.newest.offset = -dts
		}
		t.line = c.newest
		return dts + t.line.offset
	}
	t.line = c.newest
	out := dts + t.line.offset
	if (out - c.last).Abs() > stampJump {
		// The tracks have different origins: line this one up with the other.
		t.line.offset = c.last - dts
		out = c.last
	}
	return out
}

// stuck places a frame of a track whose stamps stand still: by the clock on the wall. When they move again, they go on from
// there.
func (c *clock) stuck(t *trackClock, dts time.Duration, now time.Time) time.Duration {
	out := t.last + max(now.Sub(t.at), stampStep)
	c.newest = line{offset: out - dts, gen: c.newest.gen + 1}
	t.line = c.newest
	return out
}

// next places a frame after its predecessor and repairs jumps and roll-backs.
func (c *clock) next(t *trackClock, dts time.Duration, now time.Time) time.Duration {
	out := dts + t.line.offset
	if c.continues(t, out, now) {
		return out
	}
	if t.line.gen != c.newest.gen {
		// The other track has made this jump before: join it.
		if joined := dts + c.newest.offset; (joined - c.last).Abs() <= stampJump {
			t.line = c.newest
			return joined
		}
	}
	out = t.last + max(t.step, stampStep)
	c.newest = line{offset: out - dts, gen: c.newest.gen + 1}
	t.line = c.newest
	return out
}

// continues says that out follows the track's last frame. A gap that the other track or the wall clock has seen as
// well is real: a track may be silent for long.
func (c *clock) continues(t *trackClock, out time.Duration, now time.Time) bool {
	if out < t.last-stampBack {
		return false
	}
	return c.mode == stampKeep || out <= c.last+stampJump+now.Sub(c.lastAt)
}

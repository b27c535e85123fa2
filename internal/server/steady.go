package server

import (
	"log/slog"
	"sync"
	"time"
)

const (
	// slewed is by how much the clock may gain between two looks, which come each minute, without having jumped.
	slewed = 10 * time.Second
	// trustAfter is how long a clock that has jumped ahead must have stayed there until things age by it.
	trustAfter = time.Hour
)

// steady is the clock by which things grow old: events for retention and delivery.max_age_hours, dead letters. It follows
// the system's clock when that is set back, and over a jump ahead only after a while: a clock that is wrong for some
// minutes, and years ahead, must not take everything that the journal holds. It is safe for concurrent use.
type steady struct {
	log *slog.Logger
	// read returns the system's time, and a time that only elapses.
	read func() (wall time.Time, elapsed time.Duration)

	mu     sync.Mutex // guards what follows
	wall   time.Time  // trusted last, and when that was
	at     time.Duration
	jumped bool
	since  time.Duration // when the jump was seen
}

// systemClock reads time.Now, which has both.
func systemClock() func() (time.Time, time.Duration) {
	start := time.Now()
	return func() (time.Time, time.Duration) {
		now := time.Now()
		return now.Round(0), now.Sub(start)
	}
}

func newSteady(log *slog.Logger, read func() (time.Time, time.Duration)) *steady {
	c := &steady{log: log, read: read}
	c.wall, c.at = read()
	return c
}

// Now returns the time, without a monotonic reading.
func (c *steady) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	wall, at := c.read()
	expected := c.wall.Add(at - c.at)
	ahead := wall.Sub(expected)
	switch {
	case ahead <= slewed:
		if c.jumped {
			c.log.Info("the clock has come back", "ahead", ahead)
		}
	case !c.jumped:
		c.jumped, c.since = true, at
		c.log.Warn("the clock has jumped ahead: nothing ages by it before it has stayed there", "ahead", ahead, "for", trustAfter)
		return expected
	case at-c.since < trustAfter:
		return expected
	default:
		c.log.Warn("the clock has stayed ahead and counts from now on", "ahead", ahead)
	}
	c.wall, c.at, c.jumped = wall, at, false
	return wall
}

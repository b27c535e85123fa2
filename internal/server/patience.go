package server

import (
	"fmt"
	"time"

	"github.com/hookline/hookline/internal/delivery"
)

// defaultStall is how long a replay waits for a receiver that takes nothing.
const defaultStall = 10 * time.Minute

// patience ends a replay that comes no further: its events are in the journal and can be asked for again, while it
// takes one of few places.
type patience struct {
	stall time.Duration
	mark  uint64    // what is done
	since time.Time // since when it is no more than that
}

// newPatience returns the patience for an endpoint that sends at most rate requests per second (0: no limit).
func newPatience(stall time.Duration, rate float64) patience {
	if stall <= 0 {
		stall = defaultStall
	}
	if rate > 0 {
		stall = max(stall, time.Duration(2*float64(time.Second)/rate))
	}
	return patience{stall: stall, since: time.Now()}
}

// over says that nothing was done for too long.
func (p *patience) over(st *delivery.Stats, now time.Time) bool {
	if done := st.Floor + st.Delivered + st.DeadLetters; done > p.mark {
		p.mark, p.since = done, now
	}
	return now.Sub(p.since) >= p.stall
}

// lost says why a replay can't be finished, or "".
func (p *platform) lost(r *replay, st *delivery.Stats) string {
	if r.over(st, time.Now()) {
		return fmt.Sprintf("nothing of it was accepted or given up for %v", r.stall)
	}
	if _, err := p.endpoint(r.info.Endpoint); err != nil {
		return "its endpoint was removed"
	}
	return ""
}

package demo

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/hookline/hookline/internal/receivertool"
)

// weather is the state of the receiver from a time on, until the next.
type weather struct {
	from   time.Time
	faults receivertool.Faults
	down   bool
}

// Racing is what the simulated sender did: one connection, one thread and one retry per event.
type Racing struct {
	// Simulated says so wherever this is read.
	Simulated bool `json:"simulated"`
	Events    int  `json:"events"`
	Delivered int  `json:"delivered"`
	// OutOfOrder counts events that were first accepted after a later one of their stream.
	OutOfOrder int `json:"out_of_order"`
	// Lost counts events that never arrived; LostInCrash those of them that were in flight when the server was killed, or
	// that nobody was left to raise.
	Lost        int `json:"lost"`
	LostInCrash int `json:"lost_in_crash"`
}

// retryAfter is ZLMediaKit's default hook.retry_delay; hook.retry is 1.
const retryAfter = 3 * time.Second

// racer is the simulated sender.
type racer struct {
	delays  []time.Duration // from the decision to send to the arrival at the receiver, measured
	weather []weather       // in order of time
	crashes []crash
	timeout time.Duration
	dice    *rand.Rand
}

// race sends the facts, which are in causal order within each key, and counts what arrives how.
func (r *racer) race(facts []raised) Racing {
	out := Racing{Simulated: true, Events: len(facts)}
	type arrival struct {
		order int
		at    time.Time
	}
	keys := map[string][]arrival{}
	for i, f := range facts {
		at, ok := r.send(f)
		if !ok {
			out.Lost++
			if f.byCrash || r.died(f.at, at) {
				out.LostInCrash++
			}
			continue
		}
		out.Delivered++
		keys[f.fact.Stream] = append(keys[f.fact.Stream], arrival{i, at})
	}
	for _, list := range keys {
		slices.SortStableFunc(list, func(a, b arrival) int { return cmp.Compare(a.at.UnixNano(), b.at.UnixNano()) })
		newest := -1
		for _, a := range list {
			if a.order < newest {
				out.OutOfOrder++
			}
			newest = max(newest, a.order)
		}
	}
	return out
}

// send returns when the event was accepted, or when the sender gave it up.
func (r *racer) send(f raised) (at time.Time, ok bool) {
	at = f.at
	if f.byCrash {
		return at, false
	}
	for attempt := range 2 {
		if attempt > 0 {
			at = at.Add(retryAfter)
		}
		at, ok = r.attempt(at)
		if r.died(f.at, at) {
			return at, false
		}
		if ok {
			return at, true
		}
	}
	return at, false
}

// attempt sends once, at a time, and returns when it was accepted or failed.
func (r *racer) attempt(at time.Time) (time.Time, bool) {
	at = at.Add(r.delays[r.dice.IntN(len(r.delays))])
	w := r.at(at)
	hang, fail, jitter := r.dice.Float64(), r.dice.Float64(), r.dice.Float64() // as many draws for each
	switch {
	case w.down:
		return at, false
	case hang < w.faults.HangRate:
		return at.Add(r.timeout), false
	}
	done := at.Add(w.faults.Delay + time.Duration(jitter*float64(w.faults.Jitter)))
	return done, fail >= w.faults.FailRate && !r.at(done).down
}

// at returns the weather of a time.
func (r *racer) at(t time.Time) weather {
	now := weather{}
	for _, w := range r.weather {
		if w.from.After(t) {
			break
		}
		now = w
	}
	return now
}

// died says that the server was killed between a and b.
func (r *racer) died(a, b time.Time) bool {
	return slices.ContainsFunc(r.crashes, func(c crash) bool { return c.from.After(a) && c.from.Before(b) })
}

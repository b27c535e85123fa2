package bench

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"
)

func failingKeys(ctx context.Context, e *env) ([]Result, error) {
	return e.trouble(ctx, "failing_keys", vhostFail, "always answers 500")
}

func hangingKeys(ctx context.Context, e *env) ([]Result, error) {
	return e.trouble(ctx, "hanging_keys", vhostHang, "never answers")
}

// phases are the rates of healthy events at once, when nothing is known of the keys in trouble, and after that.
type phases struct {
	onset, later float64
	// left are the healthy events that were raised and not accepted in time after the load had ended.
	left int64
}

// trouble compares the rate of healthy events while one event in ten is on a key that is in trouble with the rate
// when there are only the healthy ones.
func (e *env) trouble(ctx context.Context, name, vhost, what string) ([]Result, error) {
	var onset, later, rate, alone []float64
	var left int64
	for pair := range e.troublePairs {
		var with, without phases
		order := []func() error{
			func() (err error) { with, err = e.healthy(ctx, vhost); return err },
			func() (err error) { without, err = e.healthy(ctx, ""); return err },
		}
		for i := range order {
			runtime.GC()
			if err := order[(i+pair)%len(order)](); err != nil {
				return nil, err
			}
		}
		if without.onset == 0 || without.later == 0 {
			return nil, fmt.Errorf("%w: of the healthy events alone none was accepted within %v", ErrNothing, e.troubleLimit)
		}
		onset, later = append(onset, with.onset/without.onset), append(later, with.later/without.later)
		rate, alone = append(rate, with.later), append(alone, without.later)
		left = max(left, with.left)
	}
	_, raw, _ := spread(alone)
	l := newStreams(e.keys, vhost)
	note := fmt.Sprintf("events/s of %d healthy keys while each tenth event is on one of %d keys for which the receiver "+
		"%s, to the rate of the healthy ones alone; healthy events %d to %d of a side, or the second %v",
		len(l.good), len(l.bad), what, e.troubleEvents, 2*e.troubleEvents, e.troubleLimit)
	if left > 0 {
		note += fmt.Sprintf("; up to %d of the healthy ones were not accepted %v later", left, e.troubleLimit)
	}
	return []Result{
		overPairs(name+"_ratio", "ratio", later, note),
		overPairs(name+"_onset_ratio", "ratio", onset, fmt.Sprintf(
			"the same for the %d healthy events before, from the moment at which all these keys begin to be in trouble",
			e.troubleEvents)),
		overPairs(name+"_healthy_rate", "events/s", rate, "").against(raw),
	}, nil
}

// healthy measures the rates of healthy events on a new journal.
func (e *env) healthy(ctx context.Context, vhost string) (p phases, err error) {
	dir, err := e.newDir()
	if err != nil {
		return p, err
	}
	r, err := openRig(rigConfig{dir: dir, url: e.url, pad: e.pad})
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	if _, err := r.load(ctx, e.warm, e.outstanding, newStreams(e.keys, "")); err != nil {
		return p, err
	}
	l := newStreams(e.keys, vhost)
	total := r.delivered.Load()
	for _, rate := range []*float64{&p.onset, &p.later} {
		raised, err := int64(0), error(nil)
		*rate, raised, err = e.phase(ctx, r, l, total)
		if err != nil {
			return p, err
		}
		total += raised
	}
	limited, cancel := context.WithTimeout(ctx, e.troubleLimit)
	defer cancel()
	if err := r.waitDelivered(limited, total); err != nil {
		p.left = total - r.delivered.Load()
	}
	return p, ctx.Err()
}

// phase measures the rate of healthy events until all of the phase were raised or its time is over. The next one goes
// on from there: a machine that is too slow for all of them has a rate all the same.
func (e *env) phase(ctx context.Context, r *rig, l streams, base int64) (rate float64, raised int64, err error) {
	limited, cancel := context.WithTimeout(ctx, e.troubleLimit)
	defer cancel()
	before, start := r.delivered.Load(), time.Now()
	raised, _ = r.raiseAll(limited, e.troubleEvents, e.outstanding, l, base) // its only error is that time is over
	// The load goes on until the end of the phase: nobody waits for the last one.
	return perSecond(int(r.delivered.Load()-before), time.Since(start)), raised, ctx.Err()
}

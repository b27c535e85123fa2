package bench

import (
	"context"
	"errors"
	"fmt"
)

func failingKeys(ctx context.Context, e *env) ([]Result, error) {
	return e.trouble(ctx, "failing_keys", vhostFail, "always answers 500")
}

func hangingKeys(ctx context.Context, e *env) ([]Result, error) {
	return e.trouble(ctx, "hanging_keys", vhostHang, "never answers")
}

// trouble compares the rate of healthy events while one event in ten is on a key that is in trouble with the rate
// when there are only the healthy ones.
func (e *env) trouble(ctx context.Context, name, vhost, what string) ([]Result, error) {
	rates, err := interleave(e.troublePairs, []func() (float64, error){
		func() (float64, error) { return e.healthy(ctx, vhost) },
		func() (float64, error) { return e.healthy(ctx, "") },
	})
	if err != nil {
		return nil, err
	}
	_, without, _ := spread(rates[1])
	l := newStreams(e.keys, vhost)
	return []Result{
		overPairs(name+"_ratio", "ratio", ratios(rates[0], rates[1]), fmt.Sprintf(
			"events/s of %d healthy keys while each tenth event is on one of %d keys for which the receiver %s, "+
				"to the rate of the healthy ones alone; from the first event on, %d healthy ones a side",
			len(l.good), len(l.bad), what, e.troubleEvents)),
		overPairs(name+"_healthy_rate", "events/s", rates[0], "").against(without),
	}, nil
}

func (e *env) healthy(ctx context.Context, vhost string) (float64, error) {
	dir, err := e.newDir()
	if err != nil {
		return 0, err
	}
	r, err := openRig(rigConfig{dir: dir, url: e.url, pad: e.pad})
	if err != nil {
		return 0, err
	}
	if _, err := r.load(ctx, e.warm, e.outstanding, newStreams(e.keys, "")); err != nil {
		return 0, errors.Join(err, r.close())
	}
	took, err := r.load(ctx, e.troubleEvents, e.outstanding, newStreams(e.keys, vhost))
	return perSecond(e.troubleEvents, took), errors.Join(err, r.close())
}

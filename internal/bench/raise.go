package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/sequencer"
)

// cost is what one operation costs.
type cost struct{ ns, allocs, bytes float64 }

// costOf runs f, which does n operations, alone.
func costOf(n int, f func() error) (cost, error) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	start := time.Now()
	err := f()
	took := time.Since(start)
	runtime.ReadMemStats(&after)
	return cost{
		ns:     float64(took.Nanoseconds()) / float64(n),
		allocs: float64(after.Mallocs-before.Mallocs) / float64(n),
		bytes:  float64(after.TotalAlloc-before.TotalAlloc) / float64(n),
	}, err
}

func (c cost) note() string {
	return fmt.Sprintf("%.1f allocations, %.0f bytes each", c.allocs, c.bytes)
}

// raiseCost measures what a fact costs who raises it: JSON, seq, id, hand-off. The journal is not one.
func raiseCost(_ context.Context, e *env) ([]Result, error) {
	s, err := sequencer.Open(sequencer.Config{Source: "bench", Logger: quiet()}, newDiscard(), nil)
	if err != nil {
		return nil, err
	}
	r := &rig{seq: s, filler: newFiller(e.pad)}
	l := newStreams(e.keys, "")
	for i := range l.good { // the keys are known
		r.raise(l.good[i])
	}
	raise, err := costOf(e.raises, func() error {
		for i := range e.raises {
			st, _ := l.at(i)
			r.raise(st)
		}
		return nil
	})
	if err = errors.Join(err, s.Close()); err != nil {
		return nil, err
	}
	raw, err := costOf(e.raises, func() error {
		for i := range e.raises {
			st, _ := l.at(i)
			f := &fact.Unregistered{Publication: publication, Schema: "rtmp", Stream: st, Params: r.filler.next()}
			if _, err := json.Marshal(f); err != nil {
				return err
			}
		}
		return nil
	})
	note := raise.note() + "; raw is the fact's JSON alone, with " + raw.note()
	return []Result{Result{Name: "raise_cost", Value: raise.ns, Unit: "ns", Note: note}.against(raw.ns)}, err
}

// schedulingCost measures what the endpoint itself costs for each event: lanes, slots, rendering, cursor. The journal
// and the receiver are not there.
func schedulingCost(ctx context.Context, e *env) ([]Result, error) {
	one := func(keys int) (cost, error) {
		r, err := openRig(rigConfig{journal: newDiscard(), url: nowhere, sender: &accepting{}, pad: e.pad})
		if err != nil {
			return cost{}, err
		}
		l := newStreams(keys, "")
		_, err = r.load(ctx, e.warm, e.outstanding, l)
		if err != nil {
			return cost{}, errors.Join(err, r.close())
		}
		c, err := costOf(e.scheduled, func() error {
			_, err := r.load(ctx, e.scheduled, e.outstanding, l)
			return err
		})
		return c, errors.Join(err, r.close())
	}
	many, err := one(e.keys)
	if err != nil {
		return nil, err
	}
	few, err := one(concurrency)
	if err != nil {
		return nil, err
	}
	return []Result{
		{
			Name: "keyed_scheduling_cost", Value: many.ns, Unit: "ns",
			Note: fmt.Sprintf("wall time for each event through sequencer and endpoint, %d keys, a sender that accepts at "+
				"once; %s", e.keys, many.note()),
		},
		{
			Name: "keyed_scheduling_cost_few_keys", Value: few.ns, Unit: "ns",
			Note: fmt.Sprintf("the same with %d keys; %s", concurrency, few.note()),
		},
	}, nil
}

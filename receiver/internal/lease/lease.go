// Package lease has what stores share that keep a stream for one process by a lease: waiting for it, and renewing it while it is
// held. How it is written down is the store's affair.
package lease

import (
	"context"
	mathrand "math/rand/v2"
	"sync"
	"time"
)

// Who waits asks again after a pause that grows from the one to the other: the holder is about to end, as a rule.
const (
	pauseMin = time.Millisecond
	pauseMax = 50 * time.Millisecond
)

// Await calls try until it says that the lease is taken, or fails. again has it called at once, without a pause. The error is that of
// try or of ctx, also when ctx has ended before the first call.
func Await(ctx context.Context, try func() (taken, again bool, err error)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	for pause := pauseMin; ; {
		taken, again, err := try()
		if err != nil || taken {
			return err
		}
		if again {
			continue
		}
		t := time.NewTimer(pause/2 + mathrand.N(pause)) //nolint:gosec // so that those who wait do not ask in step
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		}
		pause = min(2*pause, pauseMax)
	}
}

// Renewal keeps a lease while it is held.
type Renewal struct {
	stop context.CancelFunc
	wg   sync.WaitGroup
}

// Renew calls renew at every third of the lease's length until [Renewal.Settle], or until renew says that the lease is lost. The renewal
// does not end with ctx, of which it has the values: who holds the lease may go on for a moment after that.
func Renew(ctx context.Context, length time.Duration, renew func(ctx context.Context) (lost bool)) *Renewal {
	live, stop := context.WithCancel(context.WithoutCancel(ctx))
	r := &Renewal{stop: stop}
	r.wg.Go(func() {
		t := time.NewTicker(length / 3)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				if renew(live) {
					return
				}
			case <-live.Done():
				return
			}
		}
	})
	return r
}

// Settle ends the renewal: when it returns, renew is not being called and will not be. It may be called again.
func (r *Renewal) Settle() {
	r.stop()
	r.wg.Wait()
}

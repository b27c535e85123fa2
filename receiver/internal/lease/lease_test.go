package lease_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookline/hookline/receiver/internal/lease"
)

func TestAwait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin, tries := time.Now(), 0
		err := lease.Await(t.Context(), func() (bool, bool, error) {
			tries++
			return tries == 20, tries == 1, nil
		})
		if took := time.Since(begin); err != nil || tries != 20 || took < 300*time.Millisecond || took > 1400*time.Millisecond {
			t.Errorf("%d tries in %s, %v", tries, took, err)
		}
		bad := errors.New("bad")
		if err := lease.Await(t.Context(), func() (bool, bool, error) { return false, true, bad }); !errors.Is(err, bad) {
			t.Errorf("%v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := lease.Await(ctx, func() (bool, bool, error) { return false, false, nil }); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		if err := lease.Await(ctx, func() (bool, bool, error) {
			t.Error("tried after the end")
			return true, false, nil
		}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
	})
}

func TestRenew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		n := 0
		r := lease.Renew(ctx, 3*time.Second, func(context.Context) bool {
			n++
			return false
		})
		cancel() // it goes on
		time.Sleep(3500 * time.Millisecond)
		r.Settle()
		r.Settle()
		if n != 3 {
			t.Errorf("%d renewals", n)
		}
		time.Sleep(time.Minute)
		if n != 3 {
			t.Errorf("%d renewals after the end", n)
		}
		r = lease.Renew(t.Context(), 3*time.Second, func(context.Context) bool {
			n++
			return true
		})
		time.Sleep(time.Minute)
		synctest.Wait()
		if n != 4 {
			t.Errorf("a lease that is lost is renewed: %d", n)
		}
		r.Settle()
	})
}

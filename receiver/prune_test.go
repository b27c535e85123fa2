package receiver_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookline/hookline/receiver"
	"github.com/hookline/hookline/receiver/receivertest"
)

func TestPrune(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := receiver.NewMemory()
		r, s, j := setup(t, receiver.WithStore(store), receiver.WithReplays())
		over := reg(s, "live/over", 2)
		end := s.End("live/over", "unpublish")
		live := reg(s, "live/live", 1)
		accepted(t, s, append(over, end, live[0], receivertest.Replay(over[0], "again"))...)
		j.want(t, "1", "2", "3", "1", "1 replay")
		// A cursor of Pull says nothing of a time.
		if err := store.Update(t.Context(), receiver.Key{Replay: "cursor pull"}, func(context.Context, receiver.Mark) (receiver.Mark, error) {
			return receiver.Mark{Epoch: 1, Seq: 9}, nil
		}); err != nil {
			t.Fatal(err)
		}
		prune := func(want int) {
			t.Helper()
			if n, err := r.Prune(t.Context(), receiver.PruneAge); err != nil || n != want {
				t.Errorf("%d pruned, %v, want %d", n, err, want)
			}
		}
		time.Sleep(receiver.PruneAge / 2)
		accepted(t, s, end) // a duplicate is heard, too
		j.want(t)
		time.Sleep(receiver.PruneAge/2 + 2*time.Hour)
		prune(1) // the replay
		time.Sleep(receiver.PruneAge / 2)
		prune(1)
		time.Sleep(10 * receiver.PruneAge)
		prune(0)
		if st := r.Stats(); st.Pruned != 2 {
			t.Errorf("%+v", st)
		}
		accepted(t, s, reg(s, "live/over", 1)[0], s.Unregister("live/live", "rtmp"), live[0])
		j.want(t, "4", "2")
		if err := r.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestPruneKeepsWhatWaits keeps the mark of a stream whose events are in the inbox.
func TestPruneKeepsWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, s, j := inboxed(t, receiver.InboxConfig{})
		e := reg(s, "live/a", 3)
		accepted(t, s, e[0], e[1], s.End("live/a", "unpublish"))
		synctest.Wait()
		j.want(t, "1", "2", "gap missed 3-3 of 3-3", "4")
		j.mu.Lock()
		j.fail = errors.New("down")
		j.mu.Unlock()
		again := reg(s, "live/a", 1)
		accepted(t, s, again...)
		time.Sleep(2 * receiver.PruneAge)
		if n, err := r.Prune(t.Context(), receiver.PruneAge); err != nil || n != 0 {
			t.Errorf("%d pruned, %v", n, err)
		}
		j.mu.Lock()
		j.fail = nil
		j.mu.Unlock()
		time.Sleep(time.Minute)
		j.want(t, "5")
	})
}

func TestPruneRefusesWhatItMust(t *testing.T) {
	r, _, _ := setup(t)
	if _, err := r.Prune(t.Context(), time.Minute); err == nil {
		t.Error("marks of a minute ago can be pruned")
	}
	if err := r.KeepPruned(t.Context(), receiver.PruneAge, 0); err == nil {
		t.Error("no interval")
	}
	other, _, _ := setup(t, receiver.WithStore(noInbox{receiver.NewMemory()}))
	if _, err := other.Prune(t.Context(), receiver.PruneAge); err == nil {
		t.Error("a store that can't")
	}
}

func TestKeepPruned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, s, _ := setup(t)
		e := reg(s, "live/a", 2)
		accepted(t, s, e[0], e[1], s.End("live/a", "unpublish"))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.KeepPruned(ctx, receiver.PruneAge, 24*time.Hour) }()
		time.Sleep(receiver.PruneAge)
		if st := r.Stats(); st.Pruned != 0 {
			t.Errorf("%+v", st)
		}
		time.Sleep(48 * time.Hour)
		if st := r.Stats(); st.Pruned != 1 {
			t.Errorf("%+v", st)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

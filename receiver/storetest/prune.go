package storetest

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hookline/hookline/receiver"
	"github.com/hookline/hookline/receiver/receivertest"
)

// heard updates k to a mark that says when it was heard of.
func heard(t *testing.T, h *Harness, k receiver.Key, seq uint64, at int64) {
	t.Helper()
	err := h.Store.Update(t.Context(), k, func(context.Context, receiver.Mark) (receiver.Mark, error) {
		return receiver.Mark{Epoch: 1, Seq: seq, Heard: at}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func prune(t *testing.T, h *Harness, old func(string, receiver.Mark) bool) int {
	t.Helper()
	n, err := h.Store.(receiver.Pruner).Prune(t.Context(), old)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// testPrune removes some of many marks, and none that changes meanwhile.
func testPrune(t *testing.T, h *Harness) {
	const n = 30
	name := func(i int) receiver.Key {
		return receiver.Key{Source: "s", Stream: fmt.Sprint("v/*[?]\\", i), Replay: []string{"", "r"}[i%2]}
	}
	if got := prune(t, h, func(string, receiver.Mark) bool { return true }); got != 0 {
		t.Errorf("%d removed of none", got)
	}
	digests := map[string]int{}
	for i := range n {
		heard(t, h, name(i), uint64(i+1), int64(100+i))
		digests[name(i).Digest()] = i
	}
	seen := 0
	changed := false
	removed := prune(t, h, func(digest string, m receiver.Mark) bool {
		i, ok := digests[digest]
		if !ok || m.Heard != int64(100+i) || m.Seq != uint64(i+1) {
			t.Errorf("%s: %s", digest, m)
		}
		seen++
		if i == 5 {
			changed = true
			heard(t, h, name(i), 99, 1000)
		}
		return m.Heard < 110
	})
	if seen != n || !changed || removed != 9 {
		t.Errorf("%d seen, %d removed", seen, removed)
	}
	for i := range n {
		want := uint64(i + 1)
		switch {
		case i == 5:
			want = 99
		case i < 10:
			want = 0
		}
		if m := mark(t, h, name(i)); m.Seq != want {
			t.Errorf("%d: mark %s, want seq %d", i, m, want)
		}
	}
	if err := set(t.Context(), h, name(1), 7); err != nil { // it begins anew
		t.Error(err)
	}
	want(t, h, name(1), 7, fmt.Sprintf("%s-7", name(1).Stream))
}

// testPruneBusy prunes old marks over and over while others are updated: no update is lost.
func testPruneBusy(t *testing.T, h *Harness) {
	const rounds = 10
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var wg sync.WaitGroup
	for i := range 3 {
		wg.Go(func() {
			for r := range uint64(rounds) {
				for _, k := range []receiver.Key{key(fmt.Sprint("live", i)), key("shared")} {
					err := h.Store.Update(ctx, k, func(_ context.Context, m receiver.Mark) (receiver.Mark, error) {
						return receiver.Mark{Epoch: 1, Seq: m.Seq + 1, Heard: 1000}, nil
					})
					if err != nil {
						t.Error(err)
						return
					}
				}
				heard(t, h, key(fmt.Sprint("old", i)), r+1, 1)
			}
		})
	}
	done := make(chan struct{})
	pruned := make(chan struct{})
	go func() {
		defer close(pruned)
		for last := false; !last; {
			select {
			case <-done:
				last = true
			default:
			}
			_, err := h.Store.(receiver.Pruner).Prune(ctx, func(_ string, m receiver.Mark) bool { return m.Heard < 1000 })
			if err != nil {
				t.Error(err)
				return
			}
		}
	}()
	wg.Wait()
	close(done)
	<-pruned
	for i := range 3 {
		if m := mark(t, h, key(fmt.Sprint("live", i))); m.Seq != rounds {
			t.Errorf("mark %s", m)
		}
		if m := mark(t, h, key(fmt.Sprint("old", i))); m.Seq != 0 {
			t.Errorf("mark %s", m)
		}
	}
	if m := mark(t, h, key("shared")); m.Seq != 3*rounds {
		t.Errorf("mark %s", m)
	}
}

// testPruneReceiver prunes with a receiver: an old mark of a stream goes, that of one with a live publication stays, as does one that
// was just heard of. A stream that comes again after that is handled.
func testPruneReceiver(t *testing.T, h *Harness) {
	r, err := receiver.New(
		receiver.WithStore(h.Store), receiver.WithLogger(slog.New(slog.DiscardHandler)), receiver.WithTimeout(patience),
		receiver.OnAny(func(ctx context.Context, e *receiver.Event) error {
			return h.Effect(ctx, fmt.Sprintf("%s-%d", e.Stream, e.Seq))
		}))
	if err != nil {
		t.Fatal(err)
	}
	s := receivertest.New(r)
	var want []string
	send := func(e *receivertest.Event) {
		t.Helper()
		if a := s.Send(e); a.Status != 200 {
			t.Fatalf("answered %d", a.Status)
		}
		want = append(want, fmt.Sprintf("%s-%d", e.Stream, e.Seq))
	}
	over, live := s.Register("live/over", "rtmp"), s.Register("live/live", "rtmp")
	send(over)
	send(live)
	send(s.Unregister("live/over", "rtmp"))
	send(s.End("live/over", "unpublish"))
	age := func(e *receivertest.Event) { // as if it had been long ago
		k := receiver.Key{Source: e.Source, Stream: e.Stream}
		err := h.Store.Update(t.Context(), k, func(_ context.Context, m receiver.Mark) (receiver.Mark, error) {
			if d := time.Since(time.Unix(m.Heard, 0)); d > time.Hour {
				t.Errorf("%s was heard of %s ago", e.Stream, d)
			}
			m.Heard = time.Now().Add(-2 * receiver.PruneAge).Unix()
			return m, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if n, err := r.Prune(t.Context(), receiver.PruneAge); err != nil || n != 0 {
		t.Errorf("%d pruned, %v", n, err)
	}
	age(over)
	age(live)
	if n, err := r.Prune(t.Context(), receiver.PruneAge); err != nil || n != 1 {
		t.Errorf("%d pruned, %v", n, err)
	}
	if m := mark(t, h, receiver.Key{Source: over.Source, Stream: over.Stream}); !m.IsZero() {
		t.Errorf("mark %s", m)
	}
	send(s.Register("live/over", "rtmp"))
	send(s.Unregister("live/live", "rtmp"))
	if a := s.Send(live); a.Status != 200 { // a duplicate, still
		t.Errorf("answered %d", a.Status)
	}
	got, err := h.Effects()
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("effects %v, want %v, %v", got, want, err)
	}
}

// Package storetest is the suite that every [receiver.Store] must pass.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/hookline/hookline/receiver"
)

// Harness is a store under test, and effects that commit with its marks.
type Harness struct {
	Store receiver.Store
	// Effect does something in the transaction of ctx.
	Effect func(ctx context.Context, name string) error
	// Effects returns the effects that are committed, in the order of commit.
	Effects func() ([]string, error)
	// Crash returns the store that a new process would open if this one died now. Updates may be in progress.
	Crash func(t *testing.T) *Harness
	// OneWriter: a [receiver.InboxStore] that accepts nothing while a handler's transaction is open.
	OneWriter bool
}

type test struct {
	name string
	test func(*testing.T, *Harness)
}

// Run runs the suite, and what is for a [receiver.InboxStore] and a [receiver.Pruner] if the store is one. Each call of open returns an empty store.
func Run(t *testing.T, open func(t *testing.T) *Harness) {
	t.Helper()
	tests := []test{
		{"Commit", testCommit},
		{"Error", testError},
		{"Panic", testPanic},
		{"Cancelled", testCancelled},
		{"Crash", testCrash},
		{"Keys", testKeys},
		{"Exclusive", testExclusive},
		{"LargeMark", testLargeMark},
		{"Parts", testParts},
		{"Receiver", testReceiver},
	}
	s := open(t).Store
	if _, ok := s.(receiver.InboxStore); ok {
		tests = append(tests, inboxTests()...)
	}
	if _, ok := s.(receiver.Pruner); ok {
		tests = append(tests, test{"Prune", testPrune}, test{"PruneBusy", testPruneBusy}, test{"PruneReceiver", testPruneReceiver})
	}
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
}

var errEffect = errors.New("effect failed")

func key(stream string) receiver.Key { return receiver.Key{Source: "s", Stream: stream} }

// set updates k to seq with one effect.
func set(ctx context.Context, h *Harness, k receiver.Key, seq uint64) error {
	return h.Store.Update(ctx, k, func(ctx context.Context, m receiver.Mark) (receiver.Mark, error) {
		m.Epoch, m.Seq = 1, seq
		return m, h.Effect(ctx, fmt.Sprintf("%s-%d", k.Stream, seq))
	})
}

func mark(t *testing.T, h *Harness, k receiver.Key) receiver.Mark {
	t.Helper()
	var got receiver.Mark
	err := h.Store.Update(t.Context(), k, func(_ context.Context, m receiver.Mark) (receiver.Mark, error) {
		got = m
		return m, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func want(t *testing.T, h *Harness, k receiver.Key, seq uint64, effects ...string) {
	t.Helper()
	if m := mark(t, h, k); m.Seq != seq {
		t.Errorf("mark %s, want seq %d", m, seq)
	}
	got, err := h.Effects()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, effects) {
		t.Errorf("effects %v, want %v", got, effects)
	}
}

func testCommit(t *testing.T, h *Harness) {
	want(t, h, key("a"), 0)
	for seq := uint64(1); seq <= 3; seq++ {
		if err := set(t.Context(), h, key("a"), seq); err != nil {
			t.Fatal(err)
		}
	}
	want(t, h, key("a"), 3, "a-1", "a-2", "a-3")
}

func testError(t *testing.T, h *Harness) {
	if err := set(t.Context(), h, key("a"), 1); err != nil {
		t.Fatal(err)
	}
	err := h.Store.Update(t.Context(), key("a"), func(ctx context.Context, m receiver.Mark) (receiver.Mark, error) {
		m.Seq = 2
		if err := h.Effect(ctx, "a-2"); err != nil {
			t.Error(err)
		}
		return m, errEffect
	})
	if !errors.Is(err, errEffect) {
		t.Errorf("error %v", err)
	}
	want(t, h, key("a"), 1, "a-1")
	if err := set(t.Context(), h, key("a"), 2); err != nil {
		t.Fatal(err)
	}
	want(t, h, key("a"), 2, "a-1", "a-2")
}

func testPanic(t *testing.T, h *Harness) {
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic is gone")
			}
		}()
		_ = h.Store.Update(t.Context(), key("a"), func(ctx context.Context, m receiver.Mark) (receiver.Mark, error) {
			if err := h.Effect(ctx, "a-1"); err != nil {
				t.Error(err)
			}
			panic("handler")
		})
	}()
	want(t, h, key("a"), 0)
	if err := set(t.Context(), h, key("a"), 1); err != nil {
		t.Fatal(err)
	}
	want(t, h, key("a"), 1, "a-1")
}

func testCancelled(t *testing.T, h *Harness) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := set(ctx, h, key("a"), 1); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	want(t, h, key("a"), 0)
}

// testCrash dies between effect and commit, and again after the commit.
func testCrash(t *testing.T, h *Harness) {
	if err := set(t.Context(), h, key("a"), 1); err != nil {
		t.Fatal(err)
	}
	before, err := h.Effects()
	if err != nil {
		t.Fatal(err)
	}
	seq := uint64(len(before))
	var dead *Harness
	err = h.Store.Update(t.Context(), key("a"), func(ctx context.Context, m receiver.Mark) (receiver.Mark, error) {
		m.Epoch, m.Seq = 1, seq+1
		err := h.Effect(ctx, "a-2")
		dead = h.Crash(t)
		return m, err
	})
	if err != nil {
		t.Fatal(err)
	}
	agree(t, dead, 1)
	agree(t, h.Crash(t), 2)
}

// agree demands that mark and effects are both of n updates, or that the store forgets both.
func agree(t *testing.T, h *Harness, n int) {
	t.Helper()
	effects, err := h.Effects()
	if err != nil {
		t.Fatal(err)
	}
	m := mark(t, h, key("a"))
	if uint64(len(effects)) != m.Seq || len(effects) != n && len(effects) != 0 {
		t.Errorf("after %d updates and a crash: mark %s, effects %v", n, m, effects)
	}
	if err := set(t.Context(), h, key("a"), m.Seq+1); err != nil {
		t.Errorf("a crash left the store unusable: %v", err)
	}
}

func testKeys(t *testing.T, h *Harness) {
	keys := []receiver.Key{
		{Source: "s", Stream: ""},
		{Source: "s", Stream: "v/a/b"},
		{Source: "s2", Stream: "v/a/b"},
		{Source: "s", Stream: "v/a/b", Replay: "r"},
		{Source: "s", Stream: "V/a/b"},
		{Source: "s", Stream: "v/a/b "},
		{Source: "s", Stream: "直播/\x00/%"},
	}
	for i, k := range keys {
		err := h.Store.Update(t.Context(), k, func(ctx context.Context, m receiver.Mark) (receiver.Mark, error) {
			m.Epoch, m.Seq = 1, uint64(i+1)
			return m, h.Effect(ctx, fmt.Sprint(i)) // the key may be text that the effects' table does not take
		})
		if err != nil {
			t.Fatalf("%q: %v", k, err)
		}
	}
	for i, k := range keys {
		if m := mark(t, h, k); m.Seq != uint64(i+1) {
			t.Errorf("%q: mark %s, want %d", k, m, i+1)
		}
	}
}

// testExclusive increments from many goroutines: no update is lost.
func testExclusive(t *testing.T, h *Harness) {
	const workers, rounds = 4, 10
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for range rounds {
				for _, k := range []receiver.Key{key("shared"), key(fmt.Sprint("own", w))} {
					err := h.Store.Update(ctx, k, func(_ context.Context, m receiver.Mark) (receiver.Mark, error) {
						m.Epoch, m.Seq = 1, m.Seq+1
						return m, nil
					})
					if err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
	if m := mark(t, h, key("shared")); m.Seq != workers*rounds {
		t.Errorf("mark %s, want %d", m, workers*rounds)
	}
}

func testLargeMark(t *testing.T, h *Harness) {
	big := receiver.Mark{Epoch: 1 << 50, Seq: 1 << 60, Heard: 1 << 40}
	for i := range uint64(receiver.MaxRanges) {
		big.Unseen = append(big.Unseen, receiver.Range{From: 1<<59 + 10*i, To: 1<<59 + 10*i + 5})
	}
	for i := range uint64(receiver.MaxRecent) {
		big.Recent = append(big.Recent, 1<<63+i)
	}
	err := h.Store.Update(t.Context(), key("a"), func(context.Context, receiver.Mark) (receiver.Mark, error) { return big, nil })
	if err != nil {
		t.Fatal(err)
	}
	if got := mark(t, h, key("a")); got.String() != big.String() {
		t.Errorf("mark %s", got)
	}
}

// testParts keeps marks of which only a part is set.
func testParts(t *testing.T, h *Harness) {
	for i, m := range []receiver.Mark{{Epoch: 1}, {Recent: []uint64{7}}, {Heard: 3}} {
		k := key(fmt.Sprint("part", i))
		err := h.Store.Update(t.Context(), k, func(context.Context, receiver.Mark) (receiver.Mark, error) { return m, nil })
		if err != nil {
			t.Fatal(err)
		}
		if got := mark(t, h, k); got.String() != m.String() {
			t.Errorf("mark %s, want %s", got, m)
		}
	}
}

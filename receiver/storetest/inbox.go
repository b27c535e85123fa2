package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hookline/hookline/receiver"
	"github.com/hookline/hookline/receiver/receivertest"
)

// patience is how long a test waits for what must come.
const patience = 5 * time.Minute

// inboxTests are for a store that is a [receiver.InboxStore].
func inboxTests() []test {
	return []test{
		{"InboxOrder", testInboxOrder},
		{"InboxCommit", testInboxCommit},
		{"InboxCrash", testInboxCrash},
		{"InboxKeys", testInboxKeys},
		{"InboxLarge", testInboxLarge},
		{"InboxConcurrent", testInboxConcurrent},
		{"InboxWhileHandled", testInboxWhileHandled},
		{"InboxReceiver", testInboxReceiver},
	}
}

// entry makes one whose data names it.
func entry(k receiver.Key, name string) receiver.Entry {
	return receiver.Entry{Key: k, ID: receiver.Key{Stream: name}.Digest(), Data: []byte("hookline\n" + name + "\x00\xff\n")}
}

func inboxOf(h *Harness) receiver.InboxStore { return h.Store.(receiver.InboxStore) }

func accept(t *testing.T, h *Harness, k receiver.Key, names ...string) {
	t.Helper()
	var list []receiver.Entry
	for _, n := range names {
		list = append(list, entry(k, n))
	}
	if err := inboxOf(h).Accept(t.Context(), list); err != nil {
		t.Fatal(err)
	}
}

// pop handles the oldest entry of k with an effect; "" when there is none.
func pop(ctx context.Context, h *Harness, k receiver.Key, then func() error) (string, error) {
	name := ""
	err := h.Store.Update(ctx, k, func(ctx context.Context, m receiver.Mark) (receiver.Mark, error) {
		e, ok, err := inboxOf(h).First(ctx, k)
		if err != nil || !ok {
			return m, err
		}
		name = strings.TrimSuffix(strings.TrimPrefix(string(e.Data), "hookline\n"), "\x00\xff\n")
		if want := entry(k, name); e.ID != want.ID || e.Key != k || !bytes.Equal(e.Data, want.Data) {
			return m, fmt.Errorf("entry %+v", e)
		}
		if err := h.Effect(ctx, name); err != nil {
			return m, err
		}
		if err := inboxOf(h).Remove(ctx, k, e.ID); err != nil {
			return m, err
		}
		m.Epoch, m.Seq = 1, m.Seq+1
		return m, then()
	})
	return name, err
}

func fine() error { return nil }

func popped(t *testing.T, h *Harness, k receiver.Key, names ...string) {
	t.Helper()
	for _, want := range append(names, "") {
		if got, err := pop(t.Context(), h, k, fine); err != nil || got != want {
			t.Errorf("%q: %q, %v, want %q", k, got, err, want)
		}
	}
}

func waiting(t *testing.T, h *Harness) map[receiver.Key]receiver.Backlog {
	t.Helper()
	list, err := inboxOf(h).Waiting(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out := map[receiver.Key]receiver.Backlog{}
	for _, b := range list {
		if _, ok := out[b.Key]; ok || b.Count < 1 {
			t.Errorf("%+v", b)
		}
		out[b.Key] = b
	}
	return out
}

func testInboxOrder(t *testing.T, h *Harness) {
	a, b := key("a"), key("b")
	popped(t, h, a)
	if w := waiting(t, h); len(w) != 0 {
		t.Errorf("%+v", w)
	}
	accept(t, h, a, "z", "y")
	accept(t, h, b, "z")
	accept(t, h, a, "x", "y", "x", "w") // y and x are there
	w := waiting(t, h)
	if len(w) != 2 || w[a].Count != 4 || w[a].First != entry(a, "z").ID || w[b].Count != 1 {
		t.Errorf("%+v", w)
	}
	popped(t, h, a, "z", "y", "x", "w")
	accept(t, h, a, "v")
	popped(t, h, b, "z")
	popped(t, h, a, "v")
	if w := waiting(t, h); len(w) != 0 {
		t.Errorf("%+v", w)
	}
	want(t, h, a, 5, "z", "y", "x", "w", "z", "v")
}

// testInboxCommit fails and panics after the removal: nothing is removed.
func testInboxCommit(t *testing.T, h *Harness) {
	k := key("a")
	accept(t, h, k, "1", "2")
	if _, err := pop(t.Context(), h, k, func() error { return errEffect }); !errors.Is(err, errEffect) {
		t.Errorf("error %v", err)
	}
	func() {
		defer func() { _ = recover() }()
		_, _ = pop(t.Context(), h, k, func() error { panic("handler") })
	}()
	want(t, h, k, 0)
	if w := waiting(t, h); w[k].Count != 2 {
		t.Errorf("%+v", w)
	}
	popped(t, h, k, "1", "2")
	want(t, h, k, 2, "1", "2")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := inboxOf(h).Accept(ctx, []receiver.Entry{entry(k, "3")}); err == nil {
		t.Error("an entry is accepted by a context that has ended")
	}
	popped(t, h, k)
}

// testInboxCrash dies with an entry in the inbox, between effect and commit, and after the commit.
func testInboxCrash(t *testing.T, h *Harness) {
	k := key("a")
	accept(t, h, k, "1", "2")
	kept := func(h *Harness, done int) {
		t.Helper()
		effects, err := h.Effects()
		if err != nil {
			t.Fatal(err)
		}
		if len(effects) == 0 && len(waiting(t, h)) == 0 {
			return // a store that forgets all of it
		}
		names := []string{"1", "2"}
		want(t, h, k, uint64(done), names[:done]...)
		popped(t, h, k, names[done:]...)
		want(t, h, k, 2, names...)
	}
	kept(h.Crash(t), 0)
	var dead *Harness
	if _, err := pop(t.Context(), h, k, func() error {
		dead = h.Crash(t)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	kept(dead, 0)
	kept(h.Crash(t), 1)
	popped(t, h, k, "2")
	kept(h.Crash(t), 2)
}

func testInboxKeys(t *testing.T, h *Harness) {
	keys := []receiver.Key{
		{Source: "s", Stream: ""},
		{Source: "s", Stream: "v/a/b"},
		{Source: "s", Stream: "v/a/b", Replay: "r"},
		{Source: "s", Stream: "V/a/b"},
		{Source: "s", Stream: "v/a/b "},
		{Source: "s.\xff", Stream: "直播/\x00/%\n"},
		{Source: "s", Stream: strings.Repeat("long/", 4000)},
	}
	for i, k := range keys {
		accept(t, h, k, fmt.Sprint(i), "last")
	}
	w := waiting(t, h)
	for i, k := range keys {
		if w[k].Count != 2 || w[k].First != entry(k, fmt.Sprint(i)).ID {
			t.Errorf("%.40q: %+v", k, w[k])
		}
		popped(t, h, k, fmt.Sprint(i), "last")
	}
	if len(w) != len(keys) {
		t.Errorf("%d keys", len(w))
	}
}

func testInboxLarge(t *testing.T, h *Harness) {
	k := key("a")
	big := entry(k, "1")
	big.Data = bytes.Repeat([]byte{0, 255, '\'', '"', '\\', '\n', '%', '?'}, 120<<10/8)
	if err := inboxOf(h).Accept(t.Context(), []receiver.Entry{big}); err != nil {
		t.Fatal(err)
	}
	err := h.Store.Update(t.Context(), k, func(ctx context.Context, m receiver.Mark) (receiver.Mark, error) {
		e, ok, err := inboxOf(h).First(ctx, k)
		if err != nil || !ok || !bytes.Equal(e.Data, big.Data) {
			t.Errorf("%v, %v, %d bytes", ok, err, len(e.Data))
		}
		return m, err
	})
	if err != nil {
		t.Error(err)
	}
}

// testInboxConcurrent puts in and takes out at the same time, in several streams.
func testInboxConcurrent(t *testing.T, h *Harness) {
	const n = 15
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var wg sync.WaitGroup
	for _, k := range []receiver.Key{key("a"), key("b"), key("c")} {
		wg.Go(func() {
			for i := range n {
				e := entry(k, fmt.Sprintf("%s%02d", k.Stream, i))
				for ctx.Err() == nil && inboxOf(h).Accept(ctx, []receiver.Entry{e}) != nil {
				}
			}
		})
		for range 2 {
			wg.Go(func() {
				for ctx.Err() == nil {
					m := receiver.Mark{}
					err := h.Store.Update(ctx, k, func(_ context.Context, now receiver.Mark) (receiver.Mark, error) {
						m = now
						return now, nil
					})
					if err == nil && m.Seq == n {
						return
					}
					_, _ = pop(ctx, h, k, fine) // a database may end one of two that wait for each other
				}
			})
		}
	}
	wg.Wait()
	got, err := h.Effects()
	if err != nil || len(got) != 3*n {
		t.Fatalf("%d effects, %v", len(got), err)
	}
	slices.SortStableFunc(got, func(a, b string) int { return strings.Compare(a[:1], b[:1]) })
	if !slices.IsSorted(got) {
		t.Errorf("effects %v", got)
	}
}

// testInboxWhileHandled accepts while an entry of the stream is handled. A store with one writer may not do that; then it does once
// the handler has ended.
func testInboxWhileHandled(t *testing.T, h *Harness) {
	k := key("a")
	accept(t, h, k, "1")
	done := make(chan error, 1)
	_, err := pop(t.Context(), h, k, func() error {
		go func() { done <- inboxOf(h).Accept(t.Context(), []receiver.Entry{entry(k, "2"), entry(k, "3")}) }()
		if !h.OneWriter {
			err := <-done
			done <- err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	popped(t, h, k, "2", "3")
}

// testInboxReceiver runs a receiver with an inbox whose handler fails after its effect now and then, and another on the image of
// the store that it leaves.
func testInboxReceiver(t *testing.T, h *Harness) {
	var sent []string
	s := receivertest.New(nil)
	streams := []string{"live/a", "live/b", "live/c"}
	for life := range 2 {
		r := inboxReceiver(t, h)
		to := receivertest.New(r)
		for i := range 6 {
			for _, name := range streams {
				e := s.Register(name, fmt.Sprint("schema", life, i))
				sent = append(sent, fmt.Sprintf("%s-%d", e.Stream, e.Seq))
				send := func() int {
					if i%2 == 0 {
						return to.SendBatch(e).Status
					}
					return to.Send(e).Status
				}
				for end := time.Now().Add(patience); send() != 200; {
					if time.Now().After(end) {
						t.Fatal("an event is never accepted")
					}
				}
				if i == 3 {
					send() // again
				}
			}
		}
		if life == 0 {
			shutdown(t, r) // an image of files that are being written would be none
			dead := h.Crash(t)
			if list, err := dead.Effects(); err == nil && len(list) == 0 && len(waiting(t, dead)) == 0 {
				dead = h // it forgets: go on with the store that is there
			}
			h = dead
			continue
		}
		drained(t, r)
		shutdown(t, r)
	}
	got, err := h.Effects()
	if err != nil {
		t.Fatal(err)
	}
	byStream := func(a, b string) int {
		return strings.Compare(a[:strings.LastIndex(a, "-")], b[:strings.LastIndex(b, "-")])
	}
	slices.SortStableFunc(got, byStream)
	slices.SortStableFunc(sent, byStream)
	if !slices.Equal(got, sent) {
		t.Errorf("effects %v, want %v", got, sent)
	}
}

func inboxReceiver(t *testing.T, h *Harness) *receiver.Receiver {
	t.Helper()
	var mu sync.Mutex
	calls := 0
	r, err := receiver.New(
		receiver.WithStore(h.Store), receiver.WithLogger(slog.New(slog.DiscardHandler)),
		receiver.WithInbox(receiver.InboxConfig{Workers: 2}), receiver.WithTimeout(patience),
		receiver.OnAny(func(ctx context.Context, e *receiver.Event) error {
			if err := h.Effect(ctx, fmt.Sprintf("%s-%d", e.Stream, e.Seq)); err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			calls++
			if calls%7 == 3 {
				return errors.New("after the effect")
			}
			return nil
		}))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// drained waits until the inbox is empty.
func drained(t *testing.T, r *receiver.Receiver) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for r.Stats().Waiting > 0 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("the inbox is never empty: %+v", r.Inbox())
		}
	}
}

func shutdown(t *testing.T, r *receiver.Receiver) {
	t.Helper()
	if err := r.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
}

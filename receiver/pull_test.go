package receiver_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/receiver"
	"github.com/hookline/hookline/receiver/receivertest"
)

// logFeed is a log in memory with pages of four events.
type logFeed struct {
	mu     sync.Mutex
	events []*receiver.Event
	failed int // requests that fail first
	asked  []receiver.Cursor
}

func (f *logFeed) add(stream string, seq uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	prev := seq - 1
	f.events = append(f.events, &receiver.Event{Envelope: event.Envelope{
		ID: fmt.Sprintf("%s-%d", stream, seq), Type: event.OnFlowReport, Source: "s", Epoch: 1, Stream: stream, Seq: seq, Prev: &prev,
	}, Body: []byte(`{}`)})
}

func (f *logFeed) requests() []receiver.Cursor {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.asked)
}

// Next implements receiver.Feed. Positions begin with 1.
func (f *logFeed) Next(ctx context.Context, c receiver.Cursor) (*receiver.Page, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, c)
	if f.failed > 0 {
		f.failed--
		return nil, errors.New("not reachable")
	}
	from := int(max(c.Position, 1)) - 1
	to := min(from+4, len(f.events))
	if from >= to {
		f.mu.Unlock()
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
		f.mu.Lock()
		return &receiver.Page{Next: c}, nil
	}
	page := &receiver.Page{Next: receiver.Cursor{Epoch: 1, Position: uint64(to) + 1}}
	for _, e := range f.events[from:to] {
		clone := *e
		page.Events = append(page.Events, &clone)
	}
	return page, nil
}

// pulls is a receiver that notes what it handles.
type pulls struct {
	mu   sync.Mutex
	got  map[string][]uint64
	fail func(e *receiver.Event) error
}

func (p *pulls) receiver(t *testing.T, s receiver.Store) *receiver.Receiver {
	t.Helper()
	r, err := receiver.New(quiet(), receiver.WithStore(s), receiver.OnAny(func(_ context.Context, e *receiver.Event) error {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.fail != nil {
			if err := p.fail(e); err != nil {
				return err
			}
		}
		p.got[e.Stream] = append(p.got[e.Stream], e.Seq)
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (p *pulls) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return fmt.Sprint(p.got)
}

// TestPull handles a log in order, holds up no other stream for one that fails, tries again what failed, and goes on after a
// restart where it was.
func TestPull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &logFeed{failed: 2}
		for seq := uint64(1); seq <= 10; seq++ {
			f.add("bad", seq)
			f.add("good", seq)
		}
		store := receiver.NewMemory()
		p := &pulls{got: map[string][]uint64{}}
		p.fail = func(e *receiver.Event) error {
			switch {
			case e.Stream == "bad" && e.Seq == 3:
				return errors.New("not now")
			case e.Stream == "good" && e.Seq == 2:
				panic("once in the way")
			}
			return nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		r := p.receiver(t, store)
		go func() { done <- r.Pull(ctx, f, receiver.PullConfig{}) }()
		time.Sleep(time.Minute)
		if got, want := p.text(), "map[bad:[1 2] good:[1]]"; got != want {
			t.Errorf("while both fail: %s", got)
		}
		p.mu.Lock()
		p.fail = func(e *receiver.Event) error {
			if e.Stream == "bad" && e.Seq == 3 {
				return errors.New("not now")
			}
			return nil
		}
		p.mu.Unlock()
		time.Sleep(time.Minute)
		if got, want := p.text(), "map[bad:[1 2] good:[1 2 3 4 5 6 7 8 9 10]]"; got != want {
			t.Errorf("while one fails: %s", got)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Pull returns %v", err)
		}

		// A new process with the same store: it reads again from the page of the event that failed.
		before := len(f.requests())
		p.mu.Lock()
		p.fail = nil
		p.mu.Unlock()
		ctx, cancel = context.WithCancel(t.Context())
		r = p.receiver(t, store)
		go func() { done <- r.Pull(ctx, f, receiver.PullConfig{}) }()
		time.Sleep(time.Second)
		f.add("good", 11)
		time.Sleep(2 * time.Second)
		if got, want := p.text(), "map[bad:[1 2 3 4 5 6 7 8 9 10] good:[1 2 3 4 5 6 7 8 9 10 11]]"; got != want {
			t.Errorf("after a restart: %s", got)
		}
		if first := f.requests()[before]; first != (receiver.Cursor{Epoch: 1, Position: 5}) {
			t.Errorf("it began at %+v", first)
		}
		if st := r.Stats(); st.Duplicates != 8 { // good 3 to 10
			t.Errorf("%+v", st)
		}
		if err := r.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := <-done; !errors.Is(err, context.Canceled) { // it ends with the receiver
			t.Errorf("Pull returns %v", err)
		}
		cancel()
	})
}

// TestPullWindow stops reading when too much waits for a stream that fails.
func TestPullWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &logFeed{}
		for seq := uint64(1); seq <= 100; seq++ {
			f.add("bad", seq)
		}
		p := &pulls{got: map[string][]uint64{}, fail: func(*receiver.Event) error { return errors.New("never") }}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		r := p.receiver(t, receiver.NewMemory())
		go func() { done <- r.Pull(ctx, f, receiver.PullConfig{Window: 10}) }()
		time.Sleep(time.Hour)
		if n := len(f.requests()); n != 3 { // 4 + 4 + 2 of 4
			t.Errorf("%d pages were read", n)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Pull returns %v", err)
		}
	})
}

// TestMessage handles what a queue delivers, and tells what will never be understood from what failed.
func TestMessage(t *testing.T) {
	p := &pulls{got: map[string][]uint64{}}
	r := p.receiver(t, receiver.NewMemory())
	s := receivertest.New(r)
	var bodies [][]byte
	for range 3 {
		e := s.Register("live/a", "rtmp")
		e.Body["event"], e.Body["hook_index"] = e.Envelope, e.HookIndex
		body, err := json.Marshal(e.Body)
		if err != nil {
			t.Fatal(err)
		}
		if e.Seq == 2 {
			body = event.AppendCloudEvent(nil, &e.Envelope, e.HookIndex, body)
		}
		bodies = append(bodies, body, body)
	}
	for i, body := range bodies {
		if i == 2 {
			p.fail = func(*receiver.Event) error { return errors.New("not now") }
			if err := r.Message(t.Context(), body); err == nil || receiver.IsMalformed(err) {
				t.Errorf("a handler that fails: %v", err)
			}
			p.fail = nil
		}
		if err := r.Message(t.Context(), body); err != nil {
			t.Errorf("message %d: %v", i, err)
		}
	}
	for _, body := range []string{"", "{", `{"specversion":"1.0"}`, `{"a":1}`} {
		if err := r.Message(t.Context(), []byte(body)); !receiver.IsMalformed(err) {
			t.Errorf("%q: %v", body, err)
		}
	}
	if st := r.Stats(); fmt.Sprint(p.got) != "map[__defaultVhost__/live/a:[1 2 3]]" || st.Duplicates != 3 || st.Failed != 1 || st.Malformed != 4 {
		t.Errorf("%v, %+v", p.got, st)
	}
}

package receiver_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/receiver"
	"github.com/hookline/hookline/receiver/receivertest"
)

// inboxed is setup with an inbox, in a bubble of virtual time.
func inboxed(t *testing.T, cfg receiver.InboxConfig, opts ...receiver.Option) (*receiver.Receiver, *receivertest.Sender, *journal) {
	t.Helper()
	r, s, j := setup(t, append(opts, receiver.WithInbox(cfg))...)
	t.Cleanup(func() {
		if err := r.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return r, s, j
}

// gate is a handler that waits.
type gate struct {
	mu   sync.Mutex
	open map[string]chan struct{} // by stream
}

// hold returns what lets the events of the stream go on.
func (g *gate) hold(stream string) (release func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open == nil {
		g.open = map[string]chan struct{}{}
	}
	c := make(chan struct{})
	g.open[stream] = c
	return func() { close(c) }
}

func (g *gate) handle(ctx context.Context, e *receiver.Event, _ *receiver.StreamChanged) error {
	g.mu.Lock()
	c := g.open[e.Stream]
	g.mu.Unlock()
	if c == nil {
		return nil
	}
	select {
	case <-c:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func TestInboxAnswersBeforeHandling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{}
		release := g.hold(key("live/a"))
		r, s, j := inboxed(t, receiver.InboxConfig{}, receiver.OnStreamChanged(g.handle))
		e := reg(s, "live/a", 4)
		accepted(t, s, e[0], e[1], e[1], e[2], e[3], e[0]) // duplicates, too
		if st := r.Stats(); st.Handled != 0 || st.Accepted != 6 {
			t.Errorf("%+v", st)
		}
		synctest.Wait()
		j.want(t)
		accepted(t, s, reg(s, "live/b", 2)...) // nobody waits for live/a
		synctest.Wait()
		j.want(t, "1", "2")
		if list := r.Inbox(); len(list) != 1 || list[0].Key.Stream != key("live/a") || list[0].Attempts != 0 {
			t.Errorf("waiting: %+v", list)
		}
		release()
		synctest.Wait()
		j.want(t, "1", "2", "3", "4")
		if st := r.Stats(); st.Handled != 6 || st.Waiting != 0 || len(r.Inbox()) != 0 {
			t.Errorf("%+v, %+v", st, r.Inbox())
		}
		accepted(t, s, e[2]) // handled long ago
		synctest.Wait()
		j.want(t)
		if st := r.Stats(); st.Duplicates != 1 || st.Waiting != 0 {
			t.Errorf("%+v", st)
		}
	})
}

// key is the stream key of a name of the fake sender.
func key(name string) string { return "__defaultVhost__/" + name }

func TestInboxRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var fail error
		var at []time.Time
		begin := time.Now()
		r, s, j := inboxed(t, receiver.InboxConfig{Attempts: 3}, receiver.OnStreamChanged(func(_ context.Context, e *receiver.Event, _ *receiver.StreamChanged) error {
			mu.Lock()
			defer mu.Unlock()
			if e.Stream == key("live/a") && fail != nil {
				at = append(at, time.Now())
				return fail
			}
			return nil
		}))
		fail = errors.New("the database is away")
		a, b := reg(s, "live/a", 3), reg(s, "live/b", 3)
		accepted(t, s, a[0], b[0], a[1], b[1], a[2], b[2])
		time.Sleep(time.Second)
		j.want(t, "1", "2", "3") // those of live/b
		time.Sleep(2 * time.Minute)
		list := r.Inbox()
		if len(list) != 1 || list[0].Waiting != 3 || list[0].Attempts != len(at) || list[0].ID != a[0].ID ||
			list[0].Err != "the database is away" || !list[0].At.Equal(at[len(at)-1]) {
			t.Errorf("waiting: %+v, attempts at %v", list, at)
		}
		if st := r.Stats(); st.Stuck != 1 || st.Waiting != 3 || st.Failed != uint64(len(at)) {
			t.Errorf("%+v", st)
		}
		want := []time.Duration{0, 100 * time.Millisecond, 300 * time.Millisecond, 700 * time.Millisecond}
		for i, d := range want {
			if got := at[i].Sub(begin); got != d {
				t.Errorf("attempt %d after %s, want %s", i, got, d)
			}
		}
		if last := at[len(at)-1].Sub(at[len(at)-2]); last != 30*time.Second {
			t.Errorf("a pause of %s", last)
		}
		mu.Lock()
		fail = nil
		mu.Unlock()
		time.Sleep(31 * time.Second)
		j.want(t, "1", "2", "3")
		if st := r.Stats(); st.Stuck != 0 || st.Waiting != 0 {
			t.Errorf("%+v", st)
		}
	})
}

func TestInboxPanicAndDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		r, s, j := inboxed(t, receiver.InboxConfig{Timeout: time.Hour}, receiver.OnStreamChanged(
			func(ctx context.Context, _ *receiver.Event, _ *receiver.StreamChanged) error {
				switch n++; n {
				case 1:
					panic("a bug")
				case 2:
					<-ctx.Done() // longer than any sender would wait
					return ctx.Err()
				}
				return nil
			}))
		accepted(t, s, reg(s, "live/a", 1)...)
		time.Sleep(time.Minute)
		j.want(t)
		time.Sleep(time.Hour)
		j.want(t, "1")
		if st := r.Stats(); st.Panics != 1 || st.Failed != 2 {
			t.Errorf("%+v", st)
		}
	})
}

func TestInboxStuckIsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad := errors.New("this one never works")
		asked := 0
		j := &journal{}
		_, s, _ := inboxed(t, receiver.InboxConfig{Attempts: 3},
			receiver.OnAny(func(ctx context.Context, e *receiver.Event) error {
				if e.Seq == 2 {
					return bad
				}
				return j.add(ctx, "%d", e.Seq)
			}),
			receiver.OnStuck(func(ctx context.Context, e *receiver.Event, stuck receiver.Stuck) (bool, error) {
				switch asked++; asked {
				case 1:
					return false, nil // not yet
				case 2:
					_ = j.add(ctx, "rolled back")
					return true, errors.New("no room in the table")
				}
				return true, j.add(ctx, "dead %d after %d: %v", e.Seq, stuck.Attempts, errors.Is(stuck.Err, bad))
			}))
		e := reg(s, "live/a", 3)
		accepted(t, s, e...)
		time.Sleep(time.Minute)
		j.want(t, "1", "dead 2 after 5: true", "3")
		accepted(t, s, e[1]) // its mark has moved
		time.Sleep(time.Minute)
		j.want(t)
	})
}

func TestInboxSkip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fail := errors.New("broken")
		r, s, j := inboxed(t, receiver.InboxConfig{})
		j.fail = fail
		e := reg(s, "live/a", 4)
		lost := receivertest.GapOf(event.ReasonRefused, e[1])
		e[2].Gap = []event.Gap{lost}
		accepted(t, s, e[0], e[2], e[3])
		time.Sleep(time.Minute)
		k := receiver.Key{Source: e[0].Source, Stream: e[0].Stream}
		if err := r.Skip(t.Context(), k, e[2].ID); !errors.Is(err, receiver.ErrNotFirst) {
			t.Errorf("skipping the second: %v", err)
		}
		if err := r.Skip(t.Context(), receiver.Key{Stream: "another"}, e[0].ID); !errors.Is(err, receiver.ErrNotFirst) {
			t.Errorf("skipping nothing: %v", err)
		}
		if err := r.Skip(t.Context(), k, e[0].ID); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if list := r.Inbox(); len(list) != 1 || list[0].ID != e[2].ID || list[0].Attempts != 1 || list[0].Waiting != 2 {
			t.Errorf("%+v", list) // the next was tried at once
		}
		if err := r.Skip(t.Context(), k, e[2].ID); err != nil {
			t.Error(err)
		}
		j.mu.Lock()
		j.fail = nil
		j.mu.Unlock()
		time.Sleep(time.Minute)
		j.want(t, "4")
		accepted(t, s, receivertest.Late(e[1])) // the gap was taken note of
		time.Sleep(time.Minute)
		j.want(t, "2 late")
		if st := r.Stats(); st.Skipped != 2 || st.Gaps != 1 || st.Waiting != 0 {
			t.Errorf("%+v", st)
		}
		if p, ok := r.Publication(e[0].Source, e[0].Publication); !ok || p.Seq != 4 {
			t.Errorf("the state did not follow: %+v", p)
		}
	})
}

func TestInboxIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{}
		release := g.hold(key("live/a"))
		r, s, j := inboxed(t, receiver.InboxConfig{Capacity: 6, PerStream: 3}, receiver.OnStreamChanged(g.handle))
		a := reg(s, "live/a", 5)
		accepted(t, s, a[:3]...)
		refused(t, s.Send(a[3]))
		accepted(t, s, reg(s, "live/b", 2)...) // handled at once
		synctest.Wait()
		j.want(t, "1", "2")
		stop := g.hold(key("live/c"))
		c := reg(s, "live/c", 3)
		accepted(t, s, c...)
		refused(t, s.Send(reg(s, "live/d", 1)[0]))
		refused(t, s.SendBatch(reg(s, "live/d", 2)...))
		if st := r.Stats(); st.Busy != 3 || st.Waiting != 6 {
			t.Errorf("%+v", st)
		}
		stop()
		synctest.Wait()
		j.want(t, "1", "2", "3")
		release()
		synctest.Wait()
		j.want(t, "1", "2", "3")
		if a := s.SendBatch(reg(s, "live/e", 8)...); a.Status != http.StatusOK { // more than there is room for, in an empty inbox
			t.Errorf("%d %s", a.Status, a.Body)
		}
		synctest.Wait()
		j.want(t, "1", "2", "3", "4", "5", "6", "7", "8")
	})
}

func refused(t *testing.T, a receivertest.Answer) {
	t.Helper()
	if a.Status != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" {
		t.Errorf("%d, Retry-After %q", a.Status, a.Header.Get("Retry-After"))
	}
}

// TestInboxOutlivesTheReceiver ends a receiver with events that wait. Its successor handles them before what comes after.
func TestInboxOutlivesTheReceiver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := receiver.NewMemory()
		r, s, j := setup(t, receiver.WithStore(store), receiver.WithInbox(receiver.InboxConfig{}))
		j.fail = errors.New("down")
		a, b := reg(s, "live/a", 4), reg(s, "live/b", 1)
		accepted(t, s, a[0], a[1], a[2], b[0])
		time.Sleep(time.Minute)
		if err := r.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if s.Send(a[3]).Status != http.StatusServiceUnavailable {
			t.Error("accepted after the end")
		}
		j.want(t)
		next := &journal{}
		r2, _, _ := inboxed(t, receiver.InboxConfig{Workers: 1}, receiver.WithStore(store), receiver.OnAny(
			func(ctx context.Context, e *receiver.Event) error { return next.add(ctx, "%s %d", e.Stream, e.Seq) }))
		if status := receivertest.New(r2).Send(a[3]).Status; status != http.StatusOK {
			t.Errorf("answered %d", status)
		}
		synctest.Wait()
		got := next.take()
		slices.SortStableFunc(got, func(a, b string) int { return strings.Compare(a[:len(key("live/a"))], b[:len(key("live/a"))]) })
		if want := []string{key("live/a 1"), key("live/a 2"), key("live/a 3"), key("live/a 4"), key("live/b 1")}; !slices.Equal(got, want) {
			t.Errorf("%q", got)
		}
	})
}

// TestInboxOfAnotherProcess leaves events to a receiver that shares the store and was there before.
func TestInboxOfAnotherProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := receiver.NewMemory()
		_, _, j := inboxed(t, receiver.InboxConfig{}, receiver.WithStore(store))
		synctest.Wait() // it has seen that the store is empty
		first, s, broken := setup(t, receiver.WithStore(store), receiver.WithInbox(receiver.InboxConfig{}))
		broken.fail = errors.New("down")
		accepted(t, s, reg(s, "live/a", 2)...)
		synctest.Wait()
		j.want(t)
		if err := first.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		j.want(t, "1", "2")
	})
}

func TestInboxShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{}
		release := g.hold(key("live/a"))
		store := receiver.NewMemory()
		r, s, j := setup(t, receiver.WithStore(store), receiver.OnStreamChanged(g.handle), receiver.WithInbox(receiver.InboxConfig{}))
		accepted(t, s, reg(s, "live/a", 2)...)
		synctest.Wait()
		ended := make(chan error)
		go func() { ended <- r.Shutdown(context.Background()) }()
		synctest.Wait()
		release()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		j.want(t, "1") // to its end; the second waits
		list, err := store.Waiting(t.Context())
		if err != nil || len(list) != 1 || list[0].Count != 1 {
			t.Errorf("%+v, %v", list, err)
		}
	})
}

// TestInboxTakesSequencedEventsOnly: decisions, heartbeats and replays are answered as without an inbox.
func TestInboxTakesSequencedEventsOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{}
		release := g.hold(key("live/a"))
		beats := 0
		r, s, j := inboxed(t, receiver.InboxConfig{}, receiver.OnStreamChanged(g.handle),
			receiver.OnServerKeepalive(func(context.Context, *receiver.Event, *receiver.ServerKeepalive) error {
				beats++
				return nil
			}),
			receiver.OnPublish(func(context.Context, *receiver.Event, *receiver.Publish) (receiver.PublishDecision, error) {
				return receiver.RefusePublish("no"), nil
			}))
		e := reg(s, "live/a", 1)
		accepted(t, s, e...)
		synctest.Wait()
		if a := s.Send(s.Make(event.OnPublish, "live/a", nil)); a.Status != http.StatusOK || a.Code == 0 {
			t.Errorf("%d %s", a.Status, a.Body)
		}
		accepted(t, s, s.Make(event.OnServerKeepalive, "", nil), receivertest.Replay(e[0], "r"))
		if st := r.Stats(); beats != 1 || st.Decisions != 1 || st.Replays != 1 || st.Accepted != 1 {
			t.Errorf("%d beats, %+v", beats, st)
		}
		release()
		synctest.Wait()
		j.want(t, "1")
		bad := s.Lose(event.ReasonRefused, reg(s, "live/b", 1)...)
		bad.Body["from"] = 0
		if a := s.Send(bad); a.Status != http.StatusBadRequest {
			t.Errorf("a gap that is none is answered %d", a.Status)
		}
	})
}

// swap is a handler that is set later.
type swap struct{ http.Handler }

func TestInboxFetches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		to := &swap{}
		s := receivertest.New(to)
		r, _, j := inboxed(t, receiver.InboxConfig{}, receiver.WithFetcher(s))
		to.Handler = r
		e := reg(s, "live/a", 5)
		accepted(t, s, e[0], e[3])
		if a := s.SendBatch(e[4], e[4]); a.Status != http.StatusOK {
			t.Errorf("%d", a.Status)
		}
		synctest.Wait()
		j.want(t, "1", "2 fetched", "3 fetched", "4", "5")
	})
}

// wire is the form zlm of an event.
func wire(t *testing.T, e *receivertest.Event) []byte {
	t.Helper()
	e.Body["event"], e.Body["hook_index"] = e.Envelope, e.HookIndex
	body, err := json.Marshal(e.Body)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func TestInboxMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{}
		release := g.hold(key("live/a"))
		r, s, j := inboxed(t, receiver.InboxConfig{}, receiver.OnStreamChanged(g.handle))
		e := reg(s, "live/a", 2)
		for _, e := range e {
			if err := r.Message(t.Context(), wire(t, e)); err != nil {
				t.Error(err)
			}
		}
		synctest.Wait()
		j.want(t)
		release()
		synctest.Wait()
		j.want(t, "1", "2")
		if err := r.Pull(t.Context(), &receiver.API{}, receiver.PullConfig{}); err == nil {
			t.Error("Pull with an inbox")
		}
	})
}

type noInbox struct{ receiver.Store }

func TestInboxNeedsAStore(t *testing.T) {
	if _, err := receiver.New(receiver.WithStore(noInbox{receiver.NewMemory()}), receiver.WithInbox(receiver.InboxConfig{})); err == nil {
		t.Error("no error")
	}
	r, _, _ := setup(t)
	if r.Inbox() != nil || r.Skip(t.Context(), receiver.Key{}, "") == nil {
		t.Error("an inbox that is not there")
	}
}

// awayStore can't be read at first.
type awayStore struct {
	*receiver.Memory
	until time.Time
	fail  bool
}

func (s *awayStore) Waiting(ctx context.Context) ([]receiver.Backlog, error) {
	if time.Now().Before(s.until) {
		return nil, errors.New("away")
	}
	return s.Memory.Waiting(ctx)
}

func (s *awayStore) Accept(ctx context.Context, list []receiver.Entry) error {
	if err := s.Memory.Accept(ctx, list); err != nil || !s.fail {
		return err
	}
	return errors.New("the answer was lost")
}

func TestInboxOfAStoreThatIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &awayStore{Memory: receiver.NewMemory(), until: time.Now().Add(20 * time.Second)}
		r, s, j := inboxed(t, receiver.InboxConfig{}, receiver.WithStore(store))
		e := reg(s, "live/a", 2)
		refused(t, s.Send(e[0])) // after waiting
		time.Sleep(time.Minute)
		store.fail = true
		if a := s.Send(e[0]); a.Status != http.StatusInternalServerError {
			t.Errorf("%d", a.Status)
		}
		if st := r.Stats(); st.Waiting != 0 {
			t.Errorf("%+v", st)
		}
		time.Sleep(time.Minute) // it was kept all the same, and is found
		j.want(t, "1")
		store.fail = false
		accepted(t, s, e...)
		synctest.Wait()
		j.want(t, "2")
	})
}

// TestInboxEntryThatCannotBeRead holds its stream up until it is skipped by the id of the entry.
func TestInboxEntryThatCannotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := receiver.NewMemory()
		_, s, _ := setup(t)
		e := reg(s, "live/a", 1)
		k := receiver.Key{Source: e[0].Source, Stream: e[0].Stream}
		for i, data := range []string{"", "hookline-inbox/1 {}", "hookline-inbox/1 {}\n{}", "hookline-inbox/1 [\n{}", "hookline-inbox/9 {}\n{}"} {
			if err := store.Accept(t.Context(), []receiver.Entry{{Key: k, ID: fmt.Sprint("bad", i), Data: []byte(data)}}); err != nil {
				t.Fatal(err)
			}
		}
		r, s2, j := inboxed(t, receiver.InboxConfig{}, receiver.WithStore(store))
		accepted(t, s2, e...)
		for i := range 5 {
			time.Sleep(time.Minute)
			list := r.Inbox()
			if len(list) != 1 || list[0].ID != fmt.Sprint("bad", i) || list[0].Err == "" {
				t.Fatalf("%+v", list)
			}
			if err := r.Skip(t.Context(), k, list[0].ID); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		j.want(t, "1")
	})
}

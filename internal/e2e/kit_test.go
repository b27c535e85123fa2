package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hookline/hookline/event"
	kit "github.com/hookline/hookline/receiver"
)

// lazyAPI is the API of a server that is started later.
type lazyAPI struct{ at atomic.Pointer[kit.API] }

// Fetch implements receiver.Fetcher.
func (l *lazyAPI) Fetch(ctx context.Context, stream string, missed kit.Range) ([]*kit.Event, error) {
	return l.at.Load().Fetch(ctx, stream, missed)
}

// Next implements receiver.Feed.
func (l *lazyAPI) Next(ctx context.Context, c kit.Cursor) (*kit.Page, error) {
	return l.at.Load().Next(ctx, c)
}

// thief stands before a receiver: it answers every fourth event in its name, and every fifth with 500.
type thief struct {
	kit    http.Handler
	count  atomic.Uint64
	stolen atomic.Uint64
}

// ServeHTTP implements http.Handler.
func (h *thief) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if bytes.Contains(body, []byte(`"type":"on_stream_changed"`)) && !bytes.Contains(body, []byte(`"prev":0,`)) {
		switch n := h.count.Add(1); {
		case n%4 == 0:
			h.stolen.Add(1)
			_, _ = io.WriteString(w, success)
			return
		case n%5 == 0:
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	h.kit.ServeHTTP(w, r)
}

// TestReceiverKit: the kit, with the real server as the sender, handles each event once and in order, reads from the log what
// another receiver took, and agrees with the snapshot.
func TestReceiverKit(t *testing.T) {
	t.Parallel()
	secret := event.GenerateSecret().Reveal()
	api := &lazyAPI{}
	var mu sync.Mutex
	seen := map[string][]uint64{}
	k, err := kit.New(kit.WithSecrets(secret), kit.WithFetcher(api), kit.WithLogger(slog.New(slog.DiscardHandler)),
		kit.OnAny(func(_ context.Context, e *kit.Event) error {
			mu.Lock()
			defer mu.Unlock()
			seen[e.Stream] = append(seen[e.Stream], e.Seq)
			return nil
		}),
		kit.OnGap(func(_ context.Context, e *kit.Event, g *kit.Gap) error {
			t.Errorf("%s: a gap %+v", e.Stream, g)
			return nil
		}),
		kit.OnPublish(func(context.Context, *kit.Event, *kit.Publish) (kit.PublishDecision, error) {
			return kit.AllowPublish(kit.PublishOptions{}), nil
		}))
	if err != nil {
		t.Fatal(err)
	}
	h := &thief{kit: k}
	web := httptest.NewServer(h)
	t.Cleanup(web.Close)
	cfg := quick().with("server.state_dir", stateDir(t), "hook.enable", "1", "hook.secret", secret, "delivery.start_hold_ms", "1")
	for _, hook := range []event.Type{event.OnPublish, event.OnStreamChanged, event.OnPublicationEnded, event.OnFlowReport, event.OnEventGap} {
		cfg["hook."+string(hook)] = web.URL
	}
	s := start(t, cfg)
	api.at.Store(&kit.API{URL: "http://" + s.http, Secret: "e2e-secret"})
	_, changes, stop := k.Watch(10000)
	defer stop()
	await := func(stream string, want kit.State) {
		t.Helper()
		for deadline := time.After(patience); ; {
			select {
			case c := <-changes:
				if c.Publication.Stream == stream && c.Publication.State == want {
					return
				}
			case <-deadline:
				t.Fatalf("%s is never %s: %+v", stream, want, k.Stats())
			}
		}
	}
	const rounds = 6
	for i := range rounds {
		key := fmt.Sprintf("__defaultVhost__/live/kit%d", i%2)
		p := publish(t, s.rtmpURL(fmt.Sprintf("kit%d", i%2)))
		p.keep(t)
		await(key, kit.Live)
		if _, err := k.Reconcile(t.Context(), api.at.Load()); err != nil {
			t.Fatal(err)
		}
		if live := k.Live(); len(live) != 1 || live[0].Stream != key {
			t.Errorf("after a snapshot %+v is live", live)
		}
		p.unpublish(t)
		await(key, kit.Ended)
	}
	if again, err := k.Reconcile(t.Context(), api.at.Load()); err != nil || len(again) > 0 {
		t.Errorf("the snapshot repairs %+v, %v", again, err)
	}
	mu.Lock()
	defer mu.Unlock()
	for stream, got := range seen {
		if !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) != len(got) {
			t.Errorf("%s: handled %v", stream, got)
		}
		list, err := api.Fetch(t.Context(), stream, kit.Range{From: 1, To: got[len(got)-1]})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			if event.ClassOf(e.Type) == event.Lifecycle && !slices.Contains(got, e.Seq) {
				t.Errorf("%s: %s %d was not handled", stream, e.Type, e.Seq)
			}
		}
	}
	st := k.Stats()
	if h.stolen.Load() == 0 || st.Fetched < h.stolen.Load() || st.Impossible > 0 || len(seen) != 2 {
		t.Errorf("%d stolen, %+v", h.stolen.Load(), st)
	}
}

// TestReceiverPulls: the kit reads the log of a server that gets killed, with no hook configured, and knows every publication.
func TestReceiverPulls(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	ended := map[string]string{} // publication to reason
	last := map[string]uint64{}
	k, err := kit.New(kit.WithLogger(slog.New(slog.DiscardHandler)),
		kit.OnAny(func(_ context.Context, e *kit.Event) error {
			mu.Lock()
			defer mu.Unlock()
			if e.Seq > 0 && e.Seq != last[e.Stream]+1 {
				t.Errorf("%s: seq %d after %d", e.Stream, e.Seq, last[e.Stream])
			}
			last[e.Stream] = e.Seq
			return nil
		}),
		kit.OnPublicationEnded(func(_ context.Context, e *kit.Event, p *kit.PublicationEnded) error {
			mu.Lock()
			defer mu.Unlock()
			if was, ok := ended[e.Publication]; ok {
				t.Errorf("%s ended twice: %s and %s", e.Publication, was, p.Reason)
			}
			ended[e.Publication] = p.Reason
			return nil
		}))
	if err != nil {
		t.Fatal(err)
	}
	cfg := quick().with("server.state_dir", stateDir(t))
	s := start(t, cfg)
	feed := &lazyAPI{}
	feed.at.Store(&kit.API{URL: "http://" + s.http, Secret: "e2e-secret"})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- k.Pull(ctx, feed, kit.PullConfig{}) }()
	const rounds = 3
	for i := range rounds {
		publish(t, s.rtmpURL("whole")).unpublish(t)
		cut := fmt.Sprintf("cut%d", i)
		publish(t, s.rtmpURL(cut)).keep(t)
		eventually(t, "the log says that "+cut+" is live", func() bool {
			p, ok := k.Stream("e2e", key(cut))
			return ok && p.State == kit.Live
		})
		s.kill()
		s = start(t, cfg)
		feed.at.Store(&kit.API{URL: "http://" + s.http, Secret: "e2e-secret"})
	}
	eventually(t, "every end is known", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(ended) == 2*rounds && len(k.Live()) == 0
	})
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Pull returns %v", err)
	}
	reasons := map[string]int{}
	for _, r := range ended {
		reasons[r]++
	}
	if reasons["server_crash"] < rounds || len(reasons) > 2 {
		t.Errorf("ended by %v", reasons)
	}
	if st := k.Stats(); st.Gaps > 0 || st.Impossible > 0 {
		t.Errorf("%+v", st)
	}
}

// eventually asks until it is so.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !so(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it never happens that %s", what)
		}
	}
}

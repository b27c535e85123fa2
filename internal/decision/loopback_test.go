package decision

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/webhook"
)

// TestLoopback asks a real receiver over the real client: it refuses on bad parameters, fails once, hangs on one key.
func TestLoopback(t *testing.T) {
	var flaky atomic.Bool
	release, asked := make(chan struct{}), make(chan struct{}, 1)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var b struct{ Stream, Params string }
		if err := json.NewDecoder(r.Body).Decode(&b); err != nil || r.Header.Get("X-Vhost") != "__defaultVhost__" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		switch b.Stream {
		case "hang":
			asked <- struct{}{}
			<-release
		case "flaky":
			if flaky.CompareAndSwap(false, true) {
				w.WriteHeader(http.StatusBadGateway)
				return
			}
			_, _ = io.WriteString(w, `{"code":0}`)
		case "wrong":
			_, _ = io.WriteString(w, `{"code":-2,"msg":"bad token"}`)
		default:
			_, _ = io.WriteString(w, `{"code":0,"msg":"success","stream_replace":"other"}`)
		}
	}))
	defer srv.Close()
	defer close(release)
	client := webhook.New(webhook.Config{})
	defer func() { _ = client.Close() }()
	cfg := config()
	cfg.URLs = map[event.Type]string{event.OnPublish: srv.URL + "/index/hook/on_publish?k=v", event.OnPlay: srv.URL}
	cfg.Timeout, cfg.RetryDelay = 3*time.Minute, time.Millisecond
	s := New(cfg, Deps{Sequence: &fakeSequence{}, Sender: client})

	if v := s.Publish(t.Context(), publishQuestion("a")); !v.Outcome.Allowed || v.Options.StreamReplace != "other" {
		t.Errorf("%+v", v)
	}
	if v := s.Publish(t.Context(), publishQuestion("wrong")); v.Outcome.Allowed || v.Outcome.Message != "bad token" {
		t.Errorf("%+v", v)
	}
	if v := s.Play(t.Context(), playQuestion("flaky")); !v.Outcome.Allowed || v.Outcome.Attempts != 2 {
		t.Errorf("%+v", v)
	}
	// Time runs out, and the client leaves, when the receiver has the question: before that other things fail first.
	late := &expired{Context: t.Context(), done: make(chan struct{})}
	go func() { <-asked; close(late.done) }()
	if v := s.Play(late, playQuestion("hang")); v.Outcome.Allowed || !strings.Contains(v.Outcome.Message, "deadline") {
		t.Errorf("%+v", v)
	}
	left, leave := context.WithCancel(t.Context())
	go func() { <-asked; leave() }()
	if v := s.Play(left, playQuestion("hang")); v.Outcome.Allowed || !strings.Contains(v.Outcome.Message, "the client left") {
		t.Errorf("%+v", v)
	}
}

// expired is a context whose deadline passes when done is closed.
type expired struct {
	context.Context
	done chan struct{}
}

func (c *expired) Done() <-chan struct{} { return c.done }

func (c *expired) Err() error {
	select {
	case <-c.done:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hookline/hookline/event"
)

// life publishes a stream from begin to end, and waits until the receiver knows.
func life(t *testing.T, s *server, r *receiver, name string) {
	t.Helper()
	before := map[string]bool{}
	for _, p := range r.accepted(name) {
		before[p.body.Event.ID] = true
	}
	p := publish(t, s.rtmpURL(name))
	p.unpublish(t)
	r.accept(event.OnPublicationEnded, name, func(p *post) bool { return !before[p.body.Event.ID] })
}

// attempts counts the posts of a stream's first register.
func (r *receiver) attempts(stream string) (n int) {
	for _, p := range r.all() {
		if p.body.Event.Stream == key(stream) && registerOf("rtmp")(p) {
			n++
		}
	}
	return n
}

// hang never answers.
func hang(_ http.ResponseWriter, req *http.Request) { <-req.Context().Done() }

// cut closes the connection in the middle of an answer.
func cut(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Length", "1000")
	_, _ = w.Write([]byte(`{"code":0`))
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

// TestRetry: what looks like a receiver in trouble is tried again until it is accepted, and nothing of the key overtakes.
func TestRetry(t *testing.T) {
	t.Parallel()
	var endless atomic.Int64
	replies := map[string]reply{
		"s500": {status: 500}, "s502": {status: 502, body: "<html>bad gateway</html>"}, "s503": {status: 503, header: map[string]string{"Retry-After": "1"}},
		"s408": {status: 408}, "s425": {status: 425}, "s429": {status: 429},
		"hang": {write: hang}, "cut": {write: cut},
		"endless": {write: func(w http.ResponseWriter, req *http.Request) {
			chunk := make([]byte, 1<<16)
			for req.Context().Err() == nil && endless.Load() < 1<<30 {
				n, err := w.Write(chunk)
				endless.Add(int64(n))
				if err != nil {
					return
				}
			}
		}},
	}
	answer := func(p *post) reply {
		if registerOf("rtmp")(p) && p.attempt <= 2 {
			return replies[p.body.Stream]
		}
		return reply{}
	}
	// Only where an attempt has to time out the time-out is short, but longer than it may take to answer the others.
	patient, r := serve(t)
	brisk, r2 := serve(t, "hook.timeoutSec", "10")
	r.setAnswer(answer)
	r2.setAnswer(answer)
	t.Run("all", func(t *testing.T) {
		for name := range replies {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				s, r := patient, r
				if name == "hang" {
					s, r = brisk, r2
				}
				life(t, s, r, name)
				r.expectStory(name, "register", "publisher", "unregister", "publication_ended unpublish")
				if n := r.attempts(name); n != 3 {
					t.Errorf("%d attempts", n)
				}
			})
		}
	})
	if n := endless.Load(); n > 64<<20 {
		t.Errorf("%d bytes of an endless answer were taken", n)
	}
}

// TestReject: an answer that another attempt will not improve is a dead letter after some of them, and named in a gap
// notice, in its place.
func TestReject(t *testing.T) {
	t.Parallel()
	replies := map[string]reply{
		"s400": {status: 400}, "s404": {status: 404, body: "<html>"}, "s201": {status: 201, body: success}, "s204": {status: 204},
		"loop":     {status: 302, header: map[string]string{"Location": "/index/hook/on_stream_changed"}},
		"nowhere":  {status: 302},
		"no_code":  {body: `{"msg":"success"}`},
		"string":   {body: `{"code":"0"}`},
		"half":     {body: `{"code":0.5}`},
		"html":     {body: `<html><body>Welcome to nginx!</body></html>`},
		"empty":    {body: " "},
		"array":    {body: `[0]`},
		"cut_json": {body: `{"code":0`},
	}
	answer := func(p *post) reply {
		if registerOf("rtmp")(p) {
			return replies[p.body.Stream]
		}
		return reply{}
	}
	for _, own := range []bool{true, false} {
		t.Run(fmt.Sprintf("notice of its own %v", own), func(t *testing.T) {
			t.Parallel()
			r := newReceiver(t)
			r.setAnswer(answer)
			cfg := quick().endpoint(r).with("server.state_dir", stateDir(t), "delivery.reject_attempts", "3")
			if !own {
				cfg = cfg.without("hook.on_event_gap")
			}
			s := start(t, cfg)
			for name := range replies {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					life(t, s, r, name)
					expectGap(t, r, name, own, event.ReasonRefused)
					requests := 3
					if name == "loop" { // three redirects are followed in each attempt
						requests = 12
					}
					if n := r.attempts(name); n != requests {
						t.Errorf("%d requests, want %d", n, requests)
					}
				})
			}
		})
	}
}

// expectGap demands that the first register is missing and named right before, or in, the event that follows.
func expectGap(t *testing.T, r *receiver, stream string, own bool, reason string) {
	t.Helper()
	want := spell("register", "publisher", "unregister", "publication_ended unpublish")[1:]
	if own {
		want = slices.Insert(want, 0, "event_gap "+reason)
	}
	r.expectStory(stream, want...)
	for _, p := range r.accepted(stream) {
		if p.body.Event.Seq == 0 && p.hook != event.OnEventGap {
			continue
		}
		g := p.body.Gaps
		if len(g) != 1 || g[0].Count != 1 || !slices.Equal(g[0].Types, []event.Type{event.OnStreamChanged}) || g[0].Reason != reason {
			t.Errorf("%v names %+v", p, g)
		}
		return
	}
}

// TestNonZeroCode: a notification that was understood and refused is final.
func TestNonZeroCode(t *testing.T) {
	t.Parallel()
	s, r := serve(t)
	r.setAnswer(func(p *post) reply {
		if registerOf("rtmp")(p) {
			return reply{body: `{"code":-1,"msg":"I do not care"}`}
		}
		return reply{}
	})
	life(t, s, r, "a")
	if n := r.attempts("a"); n != 1 {
		t.Errorf("%d attempts", n)
	}
}

// TestRedirect: a redirect that leads somewhere is followed, with the body.
func TestRedirect(t *testing.T) {
	t.Parallel()
	s, r := serve(t)
	r.setAnswer(func(p *post) reply {
		if registerOf("rtmp")(p) && p.path == "/index/hook/on_stream_changed" {
			return reply{status: map[string]int{"a": 301, "b": 302, "c": 307}[p.body.Stream], header: map[string]string{"Location": "/elsewhere"}}
		}
		return reply{}
	})
	for _, name := range []string{"a", "b", "c"} {
		life(t, s, r, name)
		r.expectStory(name, "register", "publisher", "unregister", "publication_ended unpublish")
		if n := r.attempts(name); n != 2 {
			t.Errorf("%s: %d requests", name, n)
		}
	}
}

// TestGone: 410 disables the URL, not the others, and what it would have got is named.
func TestGone(t *testing.T) {
	t.Parallel()
	s, r := serve(t)
	r.setAnswer(on(event.OnStreamChanged, reply{status: 410}))
	notices := slices.Repeat([]string{"event_gap gone"}, len(schemas()))
	story := slices.Concat(notices, []string{"publisher"}, notices, []string{"publication_ended unpublish"})
	life(t, s, r, "a")
	r.expectStory("a", story...)
	before := len(r.await("a register", 1, register))
	life(t, s, r, "b")
	r.expectStory("b", story...)
	if n := len(r.await("a register", 1, register)); n != before {
		t.Errorf("the URL was called %d times", n)
	}
}

// TestOutage: a receiver that is away for a while gets everything that happened meanwhile, in order.
func TestOutage(t *testing.T) {
	t.Parallel()
	s, r := serve(t, "hook.retry", "0")
	var away atomic.Bool
	r.setAnswer(func(p *post) reply {
		if away.Load() && event.ClassOf(p.hook) == event.Lifecycle {
			return reply{write: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }}
		}
		return reply{}
	})
	away.Store(true)
	for i := range 5 {
		for range 3 {
			p := publish(t, s.rtmpURL(fmt.Sprintf("s%d", i)))
			p.unpublish(t)
		}
	}
	r.await("failures", 8, func(p *post) bool { return !p.accepted })
	away.Store(false)
	one := []string{"register", "publisher", "unregister", "publication_ended unpublish"}
	r.await("the ends", 15, func(p *post) bool { return p.accepted && p.hook == event.OnPublicationEnded })
	for i := range 5 {
		r.expectStory(fmt.Sprintf("s%d", i), slices.Repeat(one, 3)...)
	}
	r.expectClosed()
}

// TestOneSlowKey: a key that hangs delays no other.
func TestOneSlowKey(t *testing.T) {
	t.Parallel()
	s, r := serve(t, "hook.timeoutSec", "10")
	r.setAnswer(func(p *post) reply {
		if p.body.Event.Stream == key("stuck") && event.ClassOf(p.hook) == event.Lifecycle {
			return reply{delay: time.Hour}
		}
		return reply{}
	})
	stuck := publish(t, s.rtmpURL("stuck"))
	for i := range 10 {
		life(t, s, r, fmt.Sprintf("s%d", i))
	}
	r.expectStory("stuck")
	r.setAnswer(func(*post) reply { return reply{} })
	stuck.unpublish(t)
	r.accept(event.OnPublicationEnded, "stuck")
	r.expectStory("stuck", "register", "publisher", "unregister", "publication_ended unpublish")
}

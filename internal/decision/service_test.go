package decision

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/webhook"
)

func TestBodies(t *testing.T) {
	sender := body200(`{"code":0}`)
	s := service(config(), sender)
	s.Publish(t.Context(), publishQuestion("p_rtmp"))
	s.Play(t.Context(), playQuestion("p_rtmp"))
	s.NotFound(t.Context(), playQuestion("none"))
	for i, tc := range []struct {
		hook    event.Type
		payload string
		url     string
	}{
		{event.OnPublish, "on_publish.rtmp_push.json", "http://h/publish"},
		{event.OnPlay, "on_play.rtmp.json", "http://h/play"},
		{event.OnStreamNotFound, "on_stream_not_found.http.json", "http://h/nf"},
	} {
		got := sender.seen[i]
		raw, err := os.ReadFile("testdata/" + tc.payload)
		if err != nil {
			t.Fatal(err)
		}
		body, recorded := decode(t, got.body), decode(t, raw)
		env := body["event"]
		delete(body, "event")
		if names, want := slices.Sorted(maps.Keys(body)), slices.Sorted(maps.Keys(recorded)); !slices.Equal(names, want) {
			t.Errorf("%s: members %v, ZLMediaKit sends %v", tc.hook, names, want)
		}
		for name, v := range recorded {
			if reflect.TypeOf(v) != reflect.TypeOf(body[name]) {
				t.Errorf("%s: %s is %T, ZLMediaKit sends %T", tc.hook, name, body[name], v)
			}
		}
		n := float64(42 + i)
		if body["hook_index"] != n || body["mediaServerId"] != "srv" || body["params"] != "token=abc&who=cam1" {
			t.Errorf("%s: %s", tc.hook, got.body)
		}
		want := map[string]any{
			"id": fmt.Sprintf("id%d", 42+i), "type": string(tc.hook), "source": "srv", "incarnation": "run1",
			"epoch": 1767.0, "stream": "__defaultVhost__/live/" + body["stream"].(string), "after": 7.0,
			"time": "2026-01-02T03:04:05.678901234Z",
		}
		if !reflect.DeepEqual(env, want) {
			t.Errorf("%s: event %v, want %v", tc.hook, env, want)
		}
		if got.url != tc.url || !reflect.DeepEqual(got.header, http.Header{"X-VHOST": {"__defaultVhost__"}}) {
			t.Errorf("%s: %s %v", tc.hook, got.url, got.header)
		}
	}
}

func TestEmptyVhost(t *testing.T) {
	sender := body200(`{"code":0}`)
	s := service(config(), sender)
	q := playQuestion("a")
	q.Vhost = ""
	s.Play(t.Context(), q)
	if b := decode(t, sender.seen[0].body); b["vhost"] != "__defaultVhost__" {
		t.Errorf("%v", b)
	}
}

func TestDefaults(t *testing.T) {
	synctest.Test(t, testDefaults) // in virtual time: the outcome says how long it took
}

func testDefaults(t *testing.T) {
	off, empty := config(), config()
	off.Enable = false
	empty.URLs = nil
	for name, cfg := range map[string]Config{"hooks off": off, "no URLs": empty} {
		sender := body200(`{"code":1}`)
		obs := &counts{}
		s := New(cfg, Deps{Sequence: &fakeSequence{}, Sender: sender, Observer: obs})
		want := fact.Outcome{Allowed: true, By: ByDefault}
		if v := s.Publish(t.Context(), publishQuestion("a")); v.Outcome != want || v.Options != cfg.Defaults {
			t.Errorf("%s: publish %+v", name, v)
		}
		if v := s.Play(t.Context(), playQuestion("a")); v.Outcome != want {
			t.Errorf("%s: play %+v", name, v)
		}
		if c, o := s.NotFound(t.Context(), playQuestion("a")); c || o != (fact.Outcome{By: ByDefault}) {
			t.Errorf("%s: not found %v %+v", name, c, o)
		}
		if len(sender.seen) != 0 || obs.decisions["on_play default true"] != 1 {
			t.Errorf("%s: %d requests, %v", name, len(sender.seen), obs.decisions)
		}
	}
}

// errReply fails an attempt at once.
func errReply() webhook.Reply { return webhook.Reply{Err: errors.New("connection refused")} }

func TestOutcomes(t *testing.T) {
	status := func(code int) webhook.Reply { return webhook.Reply{Status: code, Body: []byte(`{"code":0}`)} }
	ok := func(body string) webhook.Reply { return webhook.Reply{Status: 200, Body: []byte(body)} }
	for _, tc := range []struct {
		name     string
		replies  []webhook.Reply
		allowed  bool
		by       string
		attempts int
		message  string // contained
		took     time.Duration
	}{
		{"allowed", []webhook.Reply{ok(`{"code":0,"msg":"success"}`)}, true, ByHook, 1, "", 0},
		{"refused", []webhook.Reply{ok(`{"code":-1,"msg":"no token"}`)}, false, ByHook, 1, "no token", 0},
		{"refused without a word", []webhook.Reply{ok(`{"code":403}`)}, false, ByHook, 1, "refused with code 403", 0},
		{"error, then allowed", []webhook.Reply{errReply(), ok(`{"code":0}`)}, true, ByHook, 2, "", 3 * time.Second},
		{"unparsable, then refused", []webhook.Reply{ok(`<html>`), ok(`{"code":1}`)}, false, ByHook, 2, "code 1", 3 * time.Second},
		{"code missing, then allowed", []webhook.Reply{ok(`{}`), ok(`{"code":0}`)}, true, ByHook, 2, "", 3 * time.Second},
		{"201, then allowed", []webhook.Reply{status(201), ok(`{"code":0}`)}, true, ByHook, 2, "", 3 * time.Second},
		{"410, then allowed", []webhook.Reply{status(410), ok(`{"code":0}`)}, true, ByHook, 2, "", 3 * time.Second},
		{"errors", []webhook.Reply{errReply(), errReply()}, false, ByFailed, 2, "connection refused", 3 * time.Second},
		{"string codes", []webhook.Reply{ok(`{"code":"0"}`), ok(`{"code":"0"}`)}, false, ByFailed, 2, "integral", 3 * time.Second},
		{"404", []webhook.Reply{status(404), status(404)}, false, ByFailed, 2, "HTTP status 404", 3 * time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sender := newSender(func(_ context.Context, n int, _ webhook.Request) webhook.Reply { return tc.replies[n-1] })
				obs := &counts{}
				s := New(config(), Deps{Sequence: &fakeSequence{}, Sender: sender, Observer: obs})
				o := s.Play(t.Context(), playQuestion("a")).Outcome
				if o.Allowed != tc.allowed || o.By != tc.by || o.Attempts != tc.attempts || o.RequestID != "id1" ||
					!strings.Contains(o.Message, tc.message) || o.DurationMS != tc.took.Milliseconds() {
					t.Errorf("%+v", o)
				}
				for _, r := range sender.seen[1:] {
					if string(r.body) != string(sender.seen[0].body) {
						t.Errorf("an attempt differs: %s", r.body)
					}
				}
				if n := obs.decisions[fmt.Sprintf("on_play %s %v", tc.by, tc.allowed)]; n != 1 {
					t.Errorf("observed %v", obs.decisions)
				}
			})
		})
	}
}

func TestNotFound(t *testing.T) {
	for body, want := range map[string]struct {
		close bool
		by    string
	}{
		`{"code":0,"close":true}`:   {true, ByHook},
		`{"code":0,"close":1}`:      {true, ByHook},
		`{"code":0,"close":false}`:  {false, ByHook},
		`{"code":0}`:                {false, ByHook},
		`{"code":0,"close":"true"}`: {false, ByHook},
		`{"code":5,"close":true}`:   {false, ByHook},
		`{"close":true}`:            {false, ByFailed},
	} {
		synctest.Test(t, func(t *testing.T) {
			c, o := service(config(), body200(body)).NotFound(t.Context(), playQuestion("a"))
			if c != want.close || o.Allowed != want.close || o.By != want.by {
				t.Errorf("%s: %v %+v", body, c, o)
			}
		})
	}
}

func TestDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sender := newSender(func(ctx context.Context, _ int, r webhook.Request) webhook.Reply { return hang(ctx, r) })
		start := time.Now()
		v := service(config(), sender).Publish(t.Context(), publishQuestion("a"))
		if took := time.Since(start); took != 23*time.Second {
			t.Errorf("took %v", took)
		}
		if v.Outcome.Allowed || v.Outcome.By != ByFailed || v.Outcome.Attempts != 2 || !strings.Contains(v.Outcome.Message, "timed out") {
			t.Errorf("%+v", v.Outcome)
		}
		if sender.seen[1].at != 13*time.Second {
			t.Errorf("second attempt at %v", sender.seen[1].at)
		}
	})
}

func TestClientLeaves(t *testing.T) {
	for name, when := range map[string]time.Duration{"in an attempt": 2 * time.Second, "between attempts": 11 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			sender := newSender(func(ctx context.Context, _ int, r webhook.Request) webhook.Reply { return hang(ctx, r) })
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(when, cancel)
			start := time.Now()
			o := service(config(), sender).Play(ctx, playQuestion("a")).Outcome
			if time.Since(start) != when || o.Allowed || o.By != ByFailed || !strings.Contains(o.Message, "the client left") {
				t.Errorf("%s: after %v %+v", name, time.Since(start), o)
			}
		})
	}
}

func TestBarrier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls []string
		sender := body200(`{"code":0}`)
		s := New(config(), Deps{
			Sequence: &fakeSequence{after: 9}, Sender: sender,
			Barrier: barrierFunc(func(_ context.Context, key string, after uint64, limit time.Duration) {
				calls = append(calls, fmt.Sprint(key, " ", after, " ", limit, " ", len(sender.seen)))
				time.Sleep(limit)
			}),
		})
		s.Play(t.Context(), playQuestion("a"))
		s.NotFound(t.Context(), playQuestion("a"))
		if len(calls) != 0 {
			t.Errorf("only on_publish waits: %v", calls)
		}
		s.Publish(t.Context(), publishQuestion("a"))
		if want := []string{"__defaultVhost__/live/a 9 300ms 2"}; !slices.Equal(calls, want) {
			t.Errorf("%v", calls)
		}
	})
}

func TestBarrierIsInsideTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config()
		cfg.Timeout, cfg.Retry = 100*time.Millisecond, 0
		sender := body200(`{"code":0}`)
		s := New(cfg, Deps{
			Sequence: &fakeSequence{}, Sender: sender,
			Barrier: barrierFunc(func(ctx context.Context, _ string, _ uint64, _ time.Duration) { <-ctx.Done() }),
		})
		o := s.Publish(t.Context(), publishQuestion("a")).Outcome
		if o.Allowed || o.By != ByFailed || o.DurationMS != 100 || len(sender.seen) != 0 {
			t.Errorf("%+v", o)
		}
	})
}

func TestHangingKeyLeavesRoomForOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sender := newSender(func(_ context.Context, _ int, r webhook.Request) webhook.Reply {
			if strings.Contains(string(r.Body), `"stream":"bad"`) {
				time.Sleep(time.Minute) // longer than any deadline: nobody gets a slot of this key in time
				return errReply()
			}
			return webhook.Reply{Status: 200, Body: []byte(`{"code":0}`)}
		})
		s := New(config(), Deps{Sequence: &fakeSequence{}, Sender: sender, MaxConcurrent: 16})
		var wg sync.WaitGroup
		var mu sync.Mutex
		noRoom := 0
		for range 100 {
			wg.Go(func() {
				o := s.Play(t.Context(), playQuestion("bad")).Outcome
				if o.Allowed || o.By != ByFailed {
					t.Errorf("%+v", o)
				}
				if strings.Contains(o.Message, "no room") && o.Attempts == 0 && o.DurationMS == 23000 {
					mu.Lock()
					noRoom++
					mu.Unlock()
				}
			})
		}
		synctest.Wait()
		if n := sender.count(); n != 2 { // an eighth of 16
			t.Errorf("%d requests of the hanging key", n)
		}
		for i := range 50 {
			if o := s.Play(t.Context(), playQuestion(fmt.Sprint("good", i))).Outcome; !o.Allowed || o.DurationMS != 0 {
				t.Errorf("%+v", o)
			}
		}
		wg.Wait()
		if noRoom != 98 {
			t.Errorf("%d found no room", noRoom)
		}
		if len(s.slots.keys) != 0 || len(s.slots.all) != 0 {
			t.Errorf("slots leak: %d keys, %d held", len(s.slots.keys), len(s.slots.all))
		}
	})
}

func TestPoolIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sender := newSender(func(ctx context.Context, _ int, r webhook.Request) webhook.Reply { return hang(ctx, r) })
		s := New(config(), Deps{Sequence: &fakeSequence{}, Sender: sender, MaxConcurrent: 4})
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() { s.Play(t.Context(), playQuestion(fmt.Sprint(i))) })
		}
		synctest.Wait()
		if n := sender.count(); n != 4 {
			t.Errorf("%d requests in flight", n)
		}
		wg.Wait()
		if len(s.slots.keys) != 0 || len(s.slots.all) != 0 {
			t.Errorf("slots leak: %d keys, %d held", len(s.slots.keys), len(s.slots.all))
		}
	})
}

func TestSetConfig(t *testing.T) {
	sender := body200(`{"code":3}`)
	cfg := config()
	s := service(cfg, sender)
	cfg.URLs[event.OnPlay] = "http://changed/" // the service has its own copy
	s.Play(t.Context(), playQuestion("a"))
	if got := sender.seen[0].url; got != "http://h/play" {
		t.Error(got)
	}
	s.SetConfig(cfg)
	s.Play(t.Context(), playQuestion("a"))
	if got := sender.seen[1].url; got != "http://changed/" {
		t.Error(got)
	}
	s.SetConfig(Config{})
	if o := s.Play(t.Context(), playQuestion("a")).Outcome; !o.Allowed || o.By != ByDefault {
		t.Errorf("%+v", o)
	}
	s.SetConfig(Config{Enable: true, URLs: cfg.URLs, Retry: -3, RetryDelay: -time.Second})
	if c := s.cfg.Load(); c.deadline() != 10*time.Second || c.DefaultVhost != fact.DefaultVhost {
		t.Errorf("%+v", c)
	}
}

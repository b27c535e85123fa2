package decision

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/webhook"
)

func fileQuestion(ip string) fact.FileAccess {
	return fact.FileAccess{
		Client: fact.Client{IP: ip, Port: 4711, ID: "c-1"}, Path: "/record/a.mp4", FilePath: "/www/record/a.mp4", Params: "viewer=7",
	}
}

func accessConfig() Config {
	cfg := config()
	cfg.URLs = map[event.Type]string{event.OnHTTPAccess: "http://r/access", event.OnPlay: "http://r/play"}
	return cfg
}

func TestAccessBody(t *testing.T) {
	sender := body200(`{"code":0,"err":"","path":"","second":0}`)
	s := service(accessConfig(), sender)
	s.Access(t.Context(), fileQuestion("10.0.0.1"), http.Header{
		"Host": {"h"}, "Accept": {"a", "b"}, "Cookie": {"x=1", "y=2"}, "User-Agent": {"<curl>"},
	})
	got := sender.seen[0]
	b := decode(t, got.body)
	for name, want := range map[string]any{
		"header.Host": "h", "header.Accept": "a, b", "header.Cookie": "x=1; y=2", "header.User-Agent": "<curl>", "ip": "10.0.0.1", "port": 4711.0,
		"id": "c-1", "path": "/record/a.mp4", "file_path": "/www/record/a.mp4", "is_dir": false, "params": "viewer=7", "mediaServerId": "srv",
		"hook_index": 42.0,
	} {
		if b[name] != want {
			t.Errorf("%s: %v, want %v", name, b[name], want)
		}
	}
	env, _ := b["event"].(map[string]any)
	if env["type"] != "on_http_access" || env["stream"] != "" || len(b) != 14 || got.url != "http://r/access" || len(got.header) != 0 {
		t.Errorf("%v %v", got, b)
	}
}

func TestAccessAnswers(t *testing.T) {
	for body, want := range map[string]AccessVerdict{
		`{"code":0,"err":"","path":"/a/","second":600}`: {Outcome: fact.Outcome{Allowed: true, By: ByHook}, Path: "/a/", Life: 10 * time.Minute},
		`{"code":0,"err":"no","path":"","second":3}`:    {Outcome: fact.Outcome{By: ByHook, Message: "no"}, Life: 3 * time.Second},
		`{"code":0}`: {Outcome: fact.Outcome{Allowed: true, By: ByHook}},
		`{"code":0,"err":null,"path":null,"second":null}`:  {Outcome: fact.Outcome{Allowed: true, By: ByHook}},
		`{"code":0,"err":1,"second":"60"}`:                 {Outcome: fact.Outcome{By: ByHook, Message: "1"}, Life: time.Minute},
		`{"code":0,"err":{"a":1},"second":-5}`:             {Outcome: fact.Outcome{By: ByHook, Message: `{"a":1}`}},
		`{"code":0,"second":1e99}`:                         {Outcome: fact.Outcome{Allowed: true, By: ByHook}, Life: MaxAccessLife},
		`{"code":0,"second":0.5}`:                          {Outcome: fact.Outcome{Allowed: true, By: ByHook}},
		`{"code":-1,"msg":"bad","path":"/","second":1000}`: {Outcome: fact.Outcome{By: ByHook, Message: "bad"}},
	} {
		s := service(accessConfig(), body200(body))
		got := s.Access(t.Context(), fileQuestion("10.0.0.1"), nil)
		want.Outcome.RequestID, want.Outcome.Attempts = "id42", 1
		got.Outcome.DurationMS = 0
		if got != want {
			t.Errorf("%s: %+v", body, got)
		}
	}
	// Nobody answers: no.
	synctest.Test(t, func(t *testing.T) {
		s := service(accessConfig(), newSender(func(context.Context, int, webhook.Request) webhook.Reply { return errReply() }))
		if v := s.Access(t.Context(), fileQuestion("10.0.0.1"), nil); v.Outcome.Allowed || v.Outcome.By != ByFailed || v.Life != 0 {
			t.Errorf("%+v", v)
		}
	})
	off := accessConfig()
	off.Enable = false
	off.Files = func(ip string) bool { return ip == "10.0.0.1" }
	for ip, want := range map[string]bool{"10.0.0.1": true, "10.0.0.2": false} {
		v := service(off, body200(`{}`)).Access(t.Context(), fileQuestion(ip), nil)
		if v.Outcome.By != ByDefault || v.Outcome.Allowed != want || (v.Outcome.Message == "") != want {
			t.Errorf("%s: %+v", ip, v)
		}
	}
}

// TestAccessRoom: visitors whose receiver hangs hold up neither those of other addresses nor players.
func TestAccessRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		sender := newSender(func(ctx context.Context, n int, r webhook.Request) webhook.Reply {
			if n <= 64 && r.URL == "http://r/access" {
				return hang(ctx, r)
			}
			return webhook.Reply{Status: 200, Body: []byte(`{"code":0}`)}
		})
		s := New(accessConfig(), Deps{Sequence: &fakeSequence{}, Sender: sender, MaxConcurrent: 512})
		for range 200 {
			go s.Access(ctx, fileQuestion("10.0.0.1"), nil)
		}
		synctest.Wait()
		if n := sender.count(); n != 8 {
			t.Errorf("%d requests of one address", n)
		}
		for i := range 7 {
			for range 20 {
				go s.Access(ctx, fileQuestion("10.0.1."+string(rune('0'+i))), nil)
			}
		}
		synctest.Wait()
		if n := sender.count(); n != 64 {
			t.Errorf("%d requests", n)
		}
		begun := time.Now()
		if v := s.Play(t.Context(), playQuestion("a")); !v.Outcome.Allowed || time.Since(begun) > 0 {
			t.Errorf("%+v after %v", v, time.Since(begun))
		}
		stop()
		synctest.Wait()
		if v := s.Access(t.Context(), fileQuestion("10.0.0.1"), nil); !v.Outcome.Allowed || time.Since(begun) > 0 {
			t.Errorf("%+v after %v", v, time.Since(begun))
		}
	})
}

package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const (
	readToken  = "hunter2-reads-only"
	adminToken = "hunter2-may-change"
)

// withTokens is a world with two tokens, whose actions and log lines are kept.
func withTokens(t *testing.T) (w *world, actions *[]Action, log *bytes.Buffer) {
	t.Helper()
	actions, log = &[]Action{}, &bytes.Buffer{}
	p := &fakePlatform{paused: map[string]bool{}, made: map[string]map[string]string{}}
	w, _ = filled(t, func(d *Deps) {
		d.Platform = p
		d.Audit = func(x Action) { *actions = append(*actions, x) }
		d.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		settings := d.Settings
		d.Settings = func() Settings {
			s := settings()
			s.Debug = true
			s.Tokens = []Token{
				{Name: "grafana", Digest: sha256.Sum256([]byte(readToken))}, {Name: "deploy", Admin: true, Digest: sha256.Sum256([]byte(adminToken))},
			}
			return s
		}
	})
	return w, actions, log
}

func (w *world) with(method, target, token, body string) *httptest.ResponseRecorder {
	w.t.Helper()
	r := request(w.t, method, target, "application/json", body)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return w.serve(r)
}

func TestTokens(t *testing.T) {
	w, actions, log := withTokens(t)
	for _, c := range []struct {
		method, target, token string
		status                int
		code                  string
	}{
		{"GET", "/api/v1/endpoints", readToken, 200, ""},
		{"HEAD", "/api/v1/endpoints", readToken, 200, ""},
		{"GET", "/api/v1/endpoints?secret=" + readToken, "", 200, ""},
		{"GET", "/api/v1/endpoints", adminToken, 200, ""},
		{"GET", "/api/v1/endpoints", testSecret, 200, ""},
		{"GET", "/api/v1/endpoints", readToken + "x", 401, ProblemUnauthorized},
		{"GET", "/api/v1/endpoints", "", 401, ProblemUnauthorized},
		{"POST", "/api/v1/endpoints/ops/pause", readToken, 403, ProblemReadOnly},
		{"DELETE", "/api/v1/endpoints/b", readToken, 403, ProblemReadOnly},
		{"POST", "/api/v1/endpoints/ops/pause?secret=" + adminToken, "", 401, ProblemUnauthorized},
		{"POST", "/api/v1/endpoints/ops/pause", adminToken, 200, ""},
		{"POST", "/api/v1/endpoints/none/pause", testSecret, 404, ProblemNotFound},
	} {
		rec := w.with(c.method, c.target, c.token, "")
		var m map[string]any
		_ = json.Unmarshal(rec.Body.Bytes(), &m)
		if rec.Code != c.status || c.code != "" && (m["code"] != c.code || rec.Header().Get("Content-Type") != "application/problem+json") {
			t.Errorf("%s %s: %d %v", c.method, c.target, rec.Code, m)
		}
	}
	if a := *actions; len(a) != 2 || a[0].By != "deploy" || a[0].Action != "endpoint.pause" || a[0].Result != "done" ||
		a[0].About["endpoint"] != "ops" || a[0].Address == "" || a[1].By != "api.secret" || a[1].Result != ProblemNotFound {
		t.Errorf("%+v", a)
	}
	// A token does not open what speaks with the voice of api.secret.
	if rec := w.with("GET", "/index/api/getServerConfig?secret="+adminToken, "", ""); !strings.Contains(rec.Body.String(), "-100") {
		t.Errorf("%s", rec.Body)
	}
	body := fmt.Sprintf(`{"name":"x","url":"https://joe:%[1]s@x/?k=%[1]s","secret":%[1]q,"header":{"A":%[1]q}}`, "hunter2-in-a-body")
	if rec := w.with("POST", "/api/v1/endpoints", adminToken, body); rec.Code != 201 {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	w.with("GET", "/index/api/setServerConfig?secret="+testSecret+"&hook.on_play=ftp://joe:hunter2-in-a-url@x", "", "")
	all := *actions
	if last := all[len(all)-1]; last.Action != "config.set" || last.About["keys"] != "hook.on_play" {
		t.Errorf("%+v", last)
	}
	told, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"hunter2", testSecret} {
		if strings.Contains(log.String(), secret) || strings.Contains(string(told), secret) {
			t.Errorf("a secret is told:\n%s\n%s", told, log)
		}
	}
}

// TestIndexActions: what changes something by ZLMediaKit's calls is told, too; what reads, or is not let in, is not.
func TestIndexActions(t *testing.T) {
	w, actions, _ := withTokens(t)
	for _, call := range []string{"getMediaList?x=1", "close_streams?stream=none", "kick_session?id=none", "kick_sessions?peer_ip=192.0.2.1"} {
		w.with("GET", "/index/api/"+call+"&secret="+testSecret, "", "")
	}
	w.with("GET", "/index/api/close_streams?secret=wrong", "", "")
	var got []string
	for _, a := range *actions {
		got = append(got, a.Action+" "+a.By+" "+a.Result)
	}
	if s := strings.Join(got, ", "); s != "streams.close api.secret done, session.kick api.secret -1, session.kick api.secret done" {
		t.Error(s)
	}
}

func TestTooManyWrongSecrets(t *testing.T) {
	synctest.Test(t, tooManyWrongSecrets) // in virtual time: time heals
}

func tooManyWrongSecrets(t *testing.T) {
	w, _, _ := withTokens(t)
	status := 0
	for range maxStrikes + 1 {
		status = w.with("GET", "/api/v1/endpoints", "wrong", "").Code
	}
	rec := w.with("GET", "/api/v1/endpoints", testSecret, "")
	if status != 429 || rec.Code != 429 || rec.Header().Get("Retry-After") == "" {
		t.Errorf("%d, then %d", status, rec.Code)
	}
	if rec := w.with("GET", "/index/api/version?secret="+testSecret, "", ""); !strings.Contains(rec.Body.String(), "-100") {
		t.Errorf("%s", rec.Body)
	}
	r := request(t, "GET", "/api/v1/endpoints", "", "")
	r.RemoteAddr = "127.0.0.9:4"
	r.Header.Set("Authorization", "Bearer "+testSecret)
	if rec := w.serve(r); rec.Code != 200 {
		t.Errorf("another address: %d", rec.Code)
	}
}

func TestStrikes(t *testing.T) {
	var s strikes
	at, a := time.Unix(1000, 0), netip.MustParseAddr("2001:db8::1")
	for range 2 * maxStrikes {
		s.add(a, at)
	}
	if !s.out(a, at) || !s.out(netip.MustParseAddr("2001:db8::2"), at) || s.out(netip.MustParseAddr("2001:db8:0:1::1"), at) {
		t.Error("who is out is wrong")
	}
	if s.out(a, at.Add(strikeEvery)) || !s.out(a, at.Add(strikeEvery/2)) {
		t.Error("time heals wrongly")
	}
	for i := range maxStruck + 200 {
		s.add(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), at)
	}
	if len(s.all) > maxStruck || !s.out(a, at) {
		t.Errorf("%d addresses, and who was worst is forgotten: %v", len(s.all), !s.out(a, at))
	}
}

func TestOptions(t *testing.T) {
	w, _, _ := withTokens(t)
	r := request(t, "OPTIONS", "/api/v1/endpoints/x", "", "")
	r.Header.Set("Origin", "https://board.example")
	rec := w.serve(r)
	if rec.Code != 204 || rec.Header().Get("Allow") != "DELETE, GET, HEAD, PATCH, PUT, OPTIONS" ||
		rec.Header().Get("Access-Control-Allow-Methods") != rec.Header().Get("Allow") || !strings.Contains(rec.Header().Get("Access-Control-Expose-Headers"), "ETag") {
		t.Errorf("%d %v", rec.Code, rec.Header())
	}
}

func TestTooManyCalls(t *testing.T) {
	w, _, _ := withTokens(t)
	for range maxCalls {
		w.api.busy <- struct{}{}
	}
	rec := w.with("GET", "/api/v1/endpoints", readToken, "")
	if rec.Code != http.StatusServiceUnavailable || rec.Header().Get("Retry-After") == "" {
		t.Errorf("%d", rec.Code)
	}
	<-w.api.busy
	if rec := w.with("GET", "/api/v1/endpoints", readToken, ""); rec.Code != 200 {
		t.Errorf("%d", rec.Code)
	}
}

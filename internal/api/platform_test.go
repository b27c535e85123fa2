package api

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/delivery"
	"github.com/hookline/hookline/internal/journal"
)

// fakePlatform has the endpoints "billing" and "ops" and what the test puts into it.
type fakePlatform struct {
	mu       sync.Mutex
	paused   map[string]bool
	letters  []delivery.DeadLetter
	redriven []string
	discards []string
	replays  []ReplayInfo
	request  ReplayRequest
	made     map[string]map[string]string // by Define
	fail     error                        // of everything that changes something
}

func (p *fakePlatform) Endpoints() []EndpointInfo {
	p.mu.Lock()
	defer p.mu.Unlock()
	info := func(name string) EndpointInfo {
		state := StateUp
		if p.paused[name] {
			state = StatePaused
		}
		return EndpointInfo{
			Name: name, Format: "zlm", State: state, Paused: p.paused[name], Events: []string{"on_stream_changed"},
			URLs: []string{"http://user:word@127.0.0.1:1/hook?token=x", "http://127.0.0.1:1/hook", "kafka://a:1,b:2/t"},
			Stats: delivery.Stats{
				Floor: 2, Tail: 5, Next: 6, Oldest: time.Now().Add(-time.Minute), P50: time.Millisecond, P90: time.Second,
				P99: time.Minute, LastError: delivery.LastError{
					Time: time.Unix(1, 0), URL: "http://h/", Text: "status 500",
					Type: event.OnStreamChanged, Stream: "v/a/1", Event: "inc-2",
				},
				URLs: []delivery.URLStats{
					{
						URL: "http://h/", State: delivery.URLDown, DownSince: time.Unix(1, 0), NextProbe: time.Unix(2, 0), LastError: "status 500",
						LastErrorAt: time.Unix(1, 0),
					},
					{URL: "http://h/2", State: delivery.URLUp, Latency: time.Millisecond, LastSuccess: time.Unix(3, 0)},
				},
			},
		}
	}
	list := []EndpointInfo{info("ops"), info("billing")}
	for name, keys := range p.made {
		e := info(name)
		e.Origin, e.Keys, e.Version = OriginAPI, keys, fmt.Sprint("v", len(keys))
		list = append(list, e)
	}
	return list
}

func (p *fakePlatform) Define(d Definition) (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	old, version := p.made[d.Name], ""
	if old != nil {
		version = fmt.Sprint("v", len(old))
	}
	if d.Name == "ops" {
		return false, fmt.Errorf("%w: it is in the file", ErrConflict)
	}
	if err := d.Allow(version); err != nil {
		return false, err
	}
	keys := map[string]string{}
	if !d.Replace {
		maps.Copy(keys, old)
	}
	for k, v := range d.Keys {
		if delete(keys, k); v != nil {
			keys[k] = *v
		}
	}
	if keys["url"] == "" {
		return false, FieldErrors{{"url", "a URL"}}
	}
	p.made[d.Name] = keys
	return old == nil, p.fail
}

func (p *fakePlatform) Remove(name string, allow func(string) error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.made[name]
	if old == nil {
		return ErrNoEndpoint
	}
	if err := allow(fmt.Sprint("v", len(old))); err != nil {
		return err
	}
	delete(p.made, name)
	return p.fail
}

func (p *fakePlatform) known(name string) error {
	if name != "ops" && name != "billing" {
		return fmt.Errorf("%q: %w", name, ErrNoEndpoint)
	}
	return p.fail
}

func (p *fakePlatform) Pause(name string, paused bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.known(name); err != nil {
		return err
	}
	p.paused[name] = paused
	return nil
}

func (p *fakePlatform) DeadLetters(endpoint string) ([]delivery.DeadLetter, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(p.letters), func(d delivery.DeadLetter) bool {
		return endpoint != "" && d.Endpoint != endpoint
	}), p.fail
}

func (p *fakePlatform) DeadLetter(endpoint string, position uint64) (delivery.DeadLetter, *journal.Record, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, d := range p.letters {
		if d.Endpoint == endpoint && d.Position == position {
			r, err := d.Event()
			return d, r, err
		}
	}
	return delivery.DeadLetter{}, nil, delivery.ErrNoDeadLetter
}

func (p *fakePlatform) Redrive(endpoint string, position uint64) error {
	if err := p.known(endpoint); err != nil {
		return err
	}
	if _, _, err := p.DeadLetter(endpoint, position); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.redriven = append(p.redriven, fmt.Sprintf("%s/%d", endpoint, position))
	return nil
}

func (p *fakePlatform) Discard(endpoint string, position uint64, reason string) error {
	if _, _, err := p.DeadLetter(endpoint, position); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.discards = append(p.discards, fmt.Sprintf("%s/%d %s", endpoint, position, reason))
	return p.fail
}

func (p *fakePlatform) StartReplay(r ReplayRequest) (ReplayInfo, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.request = r
	if err := p.known(r.Endpoint); err != nil {
		return ReplayInfo{}, err
	}
	info := ReplayInfo{Endpoint: r.Endpoint, From: 1, To: 9, Count: 7, State: ReplayDone}
	if r.DryRun {
		return info, nil
	}
	info.ID, info.State = fmt.Sprintf("r%d", len(p.replays)+1), ReplayRunning
	info.Started = time.Unix(1000+int64(len(p.replays)), 0).UTC()
	p.replays = append(p.replays, info)
	return info, nil
}

func (p *fakePlatform) Replays() []ReplayInfo {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.replays)
}

func (p *fakePlatform) CancelReplay(id string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.replays {
		if p.replays[i].ID == id {
			p.replays[i].State, p.replays[i].Ended = ReplayCancelled, time.Unix(2000, 0).UTC()
			return nil
		}
	}
	return ErrNoReplay
}

// withPlatform is filled with a platform that has dead letters of billing at 1 to 5 and of ops at 2.
func withPlatform(t *testing.T) (*world, *fakePlatform) {
	p := &fakePlatform{paused: map[string]bool{}, made: map[string]map[string]string{}}
	for i := range uint64(6) {
		endpoint, position, reason := "billing", i+1, event.ReasonRefused
		if i == 5 {
			endpoint, position, reason = "ops", 2, event.ReasonExpired
		}
		r := record(fmt.Sprintf("v/a/%d", i%2), i+1, i+1, event.OnStreamChanged, time.Unix(1, 0))
		p.letters = append(p.letters, delivery.DeadLetter{
			Endpoint: endpoint, Position: position, Reason: reason, Error: "400", Attempts: 8,
			Record: base64.StdEncoding.EncodeToString(journal.Encode(nil, r)),
		})
	}
	w, _ := filled(t, func(d *Deps) { d.Platform = p })
	return w, p
}

// call makes a request with the secret in a header. m is nil when the answer is no object.
func (w *world) call(method, target, body string) (status int, m map[string]any) {
	w.t.Helper()
	kind := ""
	if body != "" {
		kind = "application/json"
	}
	r := request(w.t, method, target, kind, body)
	r.Header.Set("Authorization", "Bearer "+testSecret)
	rec := w.serve(r)
	if rec.Body.Len() > 0 {
		if err := json.Unmarshal(rec.Body.Bytes(), &m); err != nil {
			w.t.Fatalf("%s %s: %v: %s", method, target, err, rec.Body)
		}
	}
	if rec.Code >= 400 && rec.Header().Get("Content-Type") != "application/problem+json" {
		w.t.Errorf("%s %s: %d as %s", method, target, rec.Code, rec.Header().Get("Content-Type"))
	}
	return rec.Code, m
}

func TestEndpointsOfPlatform(t *testing.T) {
	w, p := withPlatform(t)
	_, m := w.call("GET", "/api/v1/endpoints", "")
	list := m["endpoints"].([]any)
	first := list[0].(map[string]any)
	if len(list) != 2 || first["name"] != "billing" || first["state"] != "up" || first["lag"] != 3.0 ||
		fmt.Sprint(first["urls"]) != "[http://127.0.0.1:1/hook kafka://a:1,b:2/t]" {
		t.Errorf("%v", m)
	}
	for _, c := range []struct {
		action string
		paused bool
	}{{"pause", true}, {"pause", true}, {"resume", false}} {
		status, m := w.call("POST", "/api/v1/endpoints/ops/"+c.action, "")
		if status != 200 || m["name"] != "ops" || m["paused"] != c.paused || p.paused["ops"] != c.paused {
			t.Errorf("%s: %d %v", c.action, status, m)
		}
	}
	if status, m := w.call("GET", "/api/v1/endpoints/ops", ""); status != 200 || m["name"] != "ops" {
		t.Errorf("%d %v", status, m)
	}
	log := w.log.String()
	if !strings.Contains(log, `msg="admin action" action=endpoint.pause peer=127.0.0.1 endpoint=ops`) {
		t.Errorf("no audit line:\n%s", log)
	}
}

func TestDeadLettersOfPlatform(t *testing.T) {
	w, p := withPlatform(t)
	for query, want := range map[string]int{
		"": 6, "endpoint=billing": 5, "endpoint=nobody": 0, "reason=expired": 1, "stream=v/a/0": 3,
		"endpoint=billing&stream=v/a/1": 2, "stream=v/a/1&reason=expired": 1, "stream=v/a": 0,
		"cursor=billing/3": 3, "cursor=billing/3&stream=v/a/0": 1,
	} {
		_, m := w.call("GET", "/api/v1/dead-letters?"+query, "")
		if got := len(m["deadLetters"].([]any)); got != want || m["more"] != false {
			t.Errorf("%s: %d, want %d", query, got, want)
		}
	}
	status, m := w.call("GET", "/api/v1/dead-letters/ops/2", "")
	if status != 200 || m["reason"] != "expired" || m["event"].(map[string]any)["position"] != 2.0 {
		t.Errorf("%d %v", status, m)
	}
	if status, m := w.call("POST", "/api/v1/dead-letters/ops/2/redrive", ""); status != 202 || m["redriven"] != 1.0 {
		t.Errorf("%d %v", status, m)
	}
	p.redriven = nil
	body := `{"endpoint":"billing","stream":"v/a/0","limit":2}`
	status, m = w.call("POST", "/api/v1/dead-letters/redrive", body)
	if status != 202 || m["redriven"] != 2.0 || m["more"] != true || m["cursor"] != "billing/3" {
		t.Errorf("%d %v", status, m)
	}
	body = `{"endpoint":"billing","stream":"v/a/0","limit":2,"cursor":"billing/3"}`
	status, m = w.call("POST", "/api/v1/dead-letters/redrive", body)
	if status != 202 || m["redriven"] != 1.0 || m["more"] != false {
		t.Errorf("%d %v", status, m)
	}
	if got := fmt.Sprint(p.redriven); got != "[billing/1 billing/3 billing/5]" {
		t.Error(got)
	}
	status, m = w.call("DELETE", "/api/v1/dead-letters/billing/4?reason=known+bug", "")
	if status != 204 || m != nil || fmt.Sprint(p.discards) != "[billing/4 known bug]" {
		t.Errorf("%d %v %v", status, m, p.discards)
	}
	log := w.log.String()
	for _, want := range []string{
		`action=dead_letter.discard peer=127.0.0.1 endpoint=billing position=4 reason="known bug"`,
		`action=dead_letters.redrive peer=127.0.0.1 endpoint=billing stream=v/a/0 reason="" count=2`,
	} {
		if !strings.Contains(log, want) {
			t.Errorf("no audit line %s in\n%s", want, log)
		}
	}
}

func TestReplays(t *testing.T) {
	w, p := withPlatform(t)
	status, m := w.call("POST", "/api/v1/replays", `{"endpoint":"ops","from":3,"to":8,"since":"2026-01-02T03:04:05Z",
		"types":["on_play","on_stream_changed"],"streams":["live/*"],"stallSeconds":30,"dryRun":true}`)
	if status != 200 || m["count"] != 7.0 || m["dryRun"] != true || m["id"] != nil || m["started"] != nil {
		t.Errorf("%d %v", status, m)
	}
	if q := p.request; q.From != 3 || q.To != 8 || q.Since.Year() != 2026 || !q.Until.IsZero() || !q.DryRun || q.Stall != 30*time.Second ||
		fmt.Sprint(q.Types, q.Streams) != "[on_play on_stream_changed] [live/*]" {
		t.Errorf("%+v", q)
	}
	r := request(t, "POST", "/api/v1/replays", "application/json; charset=utf-8", `{"endpoint":"ops"}`)
	r.Header.Set("Secret", testSecret)
	if rec := w.serve(r); rec.Code != 201 || rec.Header().Get("Location") != "/api/v1/replays/r1" {
		t.Errorf("%d %v %s", rec.Code, rec.Header(), rec.Body)
	}
	w.call("POST", "/api/v1/replays", `{"endpoint":"billing"}`)
	if _, m := w.call("GET", "/api/v1/replays", ""); len(m["replays"].([]any)) != 2 ||
		m["replays"].([]any)[0].(map[string]any)["id"] != "r2" {
		t.Errorf("%v", m)
	}
	if status, m := w.call("GET", "/api/v1/replays/r1", ""); status != 200 || m["state"] != "running" || m["ended"] != nil {
		t.Errorf("%d %v", status, m)
	}
	if status, _ := w.call("DELETE", "/api/v1/replays/r1", ""); status != 204 {
		t.Errorf("%d", status)
	}
	if _, m := w.call("GET", "/api/v1/replays/r1", ""); m["state"] != "cancelled" || m["ended"] == nil {
		t.Errorf("%v", m)
	}
	if log := w.log.String(); !strings.Contains(log, "action=replay.start peer=127.0.0.1 endpoint=ops dry_run=false replay=r1") {
		t.Errorf("no audit line in\n%s", log)
	}
}

// TestHostileWrites sends what nobody should.
func TestHostileWrites(t *testing.T) {
	w, p := withPlatform(t)
	long := strings.Repeat("x", 2000)
	many := `"on_play"` + strings.Repeat(`,"on_play"`, 50)
	for _, c := range []struct {
		method, path, body string
		status             int
		code               string
	}{
		{"POST", "endpoints/nobody/pause", "", 404, ProblemNotFound},
		{"POST", "endpoints/" + long + "/pause", "", 400, ProblemParameter},
		{"POST", "endpoints/a%0ab/pause", "", 400, ProblemParameter},
		{"POST", "endpoints/a%2fb/pause", "", 404, ProblemNotFound},
		{"POST", "endpoints//pause", "", 404, ProblemNotFound},
		{"POST", "endpoints/ops/explode", "", 404, ProblemNotFound},
		{"GET", "endpoints/ops/pause", "", 405, ProblemMethod},
		{"DELETE", "endpoints", "", 405, ProblemMethod},
		{"PATCH", "replays", "{}", 405, ProblemMethod},
		{"GET", "endpoints/" + long, "", 404, ProblemNotFound},
		{"GET", "dead-letters?endpoint=" + long, "", 400, ProblemParameter},
		{"GET", "dead-letters?reason=a%00", "", 400, ProblemParameter},
		{"GET", "dead-letters?stream=%ff", "", 400, ProblemParameter},
		{"GET", "dead-letters?limit=0", "", 400, ProblemParameter},
		{"GET", "dead-letters/ops/x", "", 400, ProblemParameter},
		{"GET", "dead-letters/ops/-1", "", 400, ProblemParameter},
		{"GET", "dead-letters/ops/99999999999999999999", "", 400, ProblemParameter},
		{"GET", "dead-letters/ops/3", "", 404, ProblemNotFound},
		{"GET", "dead-letters/ops", "", 404, ProblemNotFound},
		{"POST", "dead-letters/nobody/2/redrive", "", 404, ProblemNotFound},
		{"POST", "dead-letters/ops/9/redrive", "", 404, ProblemNotFound},
		{"DELETE", "dead-letters/ops/2", "", 400, ProblemParameter},
		{"DELETE", "dead-letters/ops/2?reason=+", "", 400, ProblemParameter},
		{"DELETE", "dead-letters/ops/2?reason=" + long, "", 400, ProblemParameter},
		{"DELETE", "dead-letters/ops/2?reason=a%0d%0ab", "", 400, ProblemParameter},
		{"DELETE", "dead-letters/ops/9?reason=x", "", 404, ProblemNotFound},
		{"GET", "dead-letters/redrive", "", 405, ProblemMethod},
		{"POST", "dead-letters/redrive", `{"endpoint":"nobody"}`, 404, ProblemNotFound},
		{"POST", "dead-letters/redrive", `{}`, 400, ProblemParameter},
		{"POST", "replays", `{"endpoint":"ops","stallSeconds":-1}`, 400, ProblemParameter},
		{"POST", "replays", `{"endpoint":"ops","stallSeconds":86401}`, 400, ProblemParameter},
		{"POST", "dead-letters/redrive", `{"endpoint":"ops","limit":0}`, 400, ProblemParameter},
		{"POST", "dead-letters/redrive", `{"endpoint":"ops","limit":1001}`, 400, ProblemParameter},
		{"POST", "dead-letters/redrive", `{"endpoint":"ops","limit":1e99}`, 400, ProblemBody},
		{"POST", "dead-letters/redrive", `{"endpoint":"ops","cursor":"x"}`, 400, ProblemParameter},
		{"POST", "dead-letters/redrive", `{"endpoint":"ops","stream":"\u0000"}`, 400, ProblemParameter},
		{"POST", "dead-letters/redrive", `{"endpoint":"ops","unknown":1}`, 400, ProblemBody},
		{"POST", "replays", `{"endpoint":"ops"} {}`, 400, ProblemBody},
		{"POST", "replays", `[]`, 400, ProblemBody},
		{"POST", "replays", `null`, 400, ProblemParameter},
		{"POST", "replays", `{"endpoint":`, 400, ProblemBody},
		{"POST", "replays", strings.Repeat("[", 30000), 400, ProblemBody},
		{"POST", "replays", `{"endpoint":"` + strings.Repeat("x", 50000) + `"}`, 413, ProblemBody},
		{"POST", "replays", `{"endpoint":"` + long + `"}`, 400, ProblemParameter},
		{"POST", "replays", `{"endpoint":"nobody"}`, 404, ProblemNotFound},
		{"POST", "replays", `{"endpoint":"ops","from":-1}`, 400, ProblemBody},
		{"POST", "replays", `{"endpoint":"ops","from":18446744073709551615}`, 400, ProblemParameter},
		{"POST", "replays", `{"endpoint":"ops","from":5,"to":4}`, 400, ProblemParameter},
		{"POST", "replays", `{"endpoint":"ops","since":"yesterday"}`, 400, ProblemBody},
		{"POST", "replays", `{"endpoint":"ops","since":"2026-01-02T00:00:00Z","until":"2026-01-01T00:00:00Z"}`, 400, ProblemParameter},
		{"POST", "replays", `{"endpoint":"ops","types":["on_nothing"]}`, 400, ProblemParameter},
		{"POST", "replays", `{"endpoint":"ops","types":[` + many + `]}`, 400, ProblemParameter},
		{"POST", "replays", `{"endpoint":"ops","streams":[""]}`, 400, ProblemParameter},
		{"POST", "replays", `{"endpoint":"ops","streams":["` + long + `"]}`, 400, ProblemParameter},
		{"POST", "replays", `{"endpoint":"ops","streams":["x"` + strings.Repeat(`,"x"`, 100) + `]}`, 400, ProblemParameter},
		{"GET", "replays/none", "", 404, ProblemNotFound},
		{"DELETE", "replays/none", "", 404, ProblemNotFound},
		{"DELETE", "replays/a%1bb", "", 400, ProblemParameter},
		{"GET", "streams/none/timeline", "", 404, ProblemNotFound},
		{"GET", "streams/" + strings.Repeat("x", journal.MaxKey+1) + "/timeline", "", 400, ProblemParameter},
		{"GET", "streams/v/a/1/timeline?limit=x", "", 400, ProblemParameter},
		{"GET", "streams/v/a/1/timeline?cursor=-1", "", 400, ProblemParameter},
		{"GET", "streams/v/a/1", "", 404, ProblemNotFound},
		{"GET", "streams/timeline", "", 404, ProblemNotFound},
	} {
		status, m := w.call(c.method, "/api/v1/"+c.path, c.body)
		if detail, ok := m["detail"].(string); !ok || detail == "" {
			t.Errorf("%s %s %.60s: no detail: %v", c.method, c.path, c.body, m)
		}
		if status != c.status || m["code"] != c.code || m["status"] != float64(c.status) {
			t.Errorf("%s %.60s %.60s: %d %v, want %d %s", c.method, c.path, c.body, status, m, c.status, c.code)
		}
	}
	if len(p.redriven)+len(p.discards)+len(p.replays) > 0 || len(p.paused) > 0 {
		t.Errorf("something happened: %+v", p)
	}
}

// TestWriteAccess: what changes something is not reached by a link, a form or a cookie.
func TestWriteAccess(t *testing.T) {
	w, p := withPlatform(t)
	for name, c := range map[string]struct {
		query  string
		header []string
		want   int
	}{
		"nothing":                             {"", nil, 401},
		"parameter":                           {"?secret=" + testSecret, nil, 401},
		"cookie":                              {"", []string{"Cookie", cookieLogin + "=" + w.api.logins.begin(testSecret)}, 401},
		"wrong":                               {"", []string{"Authorization", "Bearer x"}, 401},
		"wrong one goes before the parameter": {"?secret=" + testSecret, []string{"Secret", "x"}, 401},
		"bearer":                              {"", []string{"Authorization", "Bearer " + testSecret}, 200},
		"header":                              {"", []string{"Secret", testSecret}, 200},
	} {
		r := request(t, "POST", "/api/v1/endpoints/ops/pause"+c.query, "", "")
		for i := 0; i < len(c.header); i += 2 {
			r.Header.Set(c.header[i], c.header[i+1])
		}
		if rec := w.serve(r); rec.Code != c.want || c.want == 401 && len(p.paused) > 0 {
			t.Errorf("%s: %d, want %d", name, rec.Code, c.want)
		}
		clear(p.paused)
	}
	form := request(t, "POST", "/api/v1/replays", "text/plain", `{"endpoint":"ops"}`)
	form.Header.Set("Secret", testSecret)
	if rec := w.serve(form); rec.Code != http.StatusUnsupportedMediaType {
		t.Errorf("a form: %d", rec.Code)
	}
	away := request(t, "POST", "/api/v1/endpoints/ops/pause", "", "")
	away.Header.Set("Secret", testSecret)
	away.RemoteAddr = "10.0.0.1:1"
	if rec := w.serve(away); rec.Code != http.StatusForbidden {
		t.Errorf("other address: %d", rec.Code)
	}
}

func TestPlatformFailures(t *testing.T) {
	w, p := withPlatform(t)
	p.fail = errors.New("disk on fire")
	for _, c := range [][3]string{
		{"POST", "endpoints/ops/pause", ""},
		{"GET", "dead-letters", ""},
		{"POST", "dead-letters/redrive", `{"endpoint":"ops"}`},
		{"DELETE", "dead-letters/ops/2?reason=x", ""},
		{"POST", "replays", `{"endpoint":"ops"}`},
	} {
		status, m := w.call(c[0], "/api/v1/"+c[1], c[2])
		if status != 503 || m["code"] != ProblemJournal || strings.Contains(fmt.Sprint(m), "fire") {
			t.Errorf("%v: %d %v", c, status, m)
		}
	}
	p.fail = fmt.Errorf("%w: three replays run", ErrConflict)
	status, m := w.call("POST", "/api/v1/replays", `{"endpoint":"ops"}`)
	if status != 409 || m["code"] != ProblemConflict || !strings.Contains(fmt.Sprint(m["detail"]), "three replays") {
		t.Errorf("%d %v", status, m)
	}
	if log := w.log.String(); !strings.Contains(log, `msg="admin action failed" action=replay.start`) {
		t.Errorf("no audit line in\n%s", log)
	}
}

// TestWithoutPlatform: there is nothing to change.
func TestWithoutPlatform(t *testing.T) {
	w := newWorld(t)
	for _, c := range [][2]string{
		{"POST", "endpoints/x/pause"},
		{"GET", "endpoints/x"},
		{"GET", "replays"},
		{"POST", "replays"},
		{"POST", "dead-letters/redrive"},
		{"GET", "dead-letters/x/1"},
	} {
		if status, m := w.call(c[0], "/api/v1/"+c[1], ""); status != 404 {
			t.Errorf("%v: %d %v", c, status, m)
		}
	}
}

// FuzzReplayBody sends anything: the answer is a replay or a problem.
func FuzzReplayBody(f *testing.F) {
	f.Add(`{"endpoint":"ops","from":1,"to":2,"since":"2026-01-02T03:04:05Z","types":["on_play"],"streams":["*"],"dryRun":true}`)
	f.Add(`{"endpoint":"ops","from":1e3}`)
	f.Fuzz(func(t *testing.T, body string) {
		w, _ := withPlatform(t)
		r := request(t, "POST", "/api/v1/replays", "application/json", body)
		r.Header.Set("Secret", testSecret)
		if rec := w.serve(r); rec.Code >= 500 || !json.Valid(rec.Body.Bytes()) {
			t.Errorf("%d %s", rec.Code, rec.Body)
		}
	})
}

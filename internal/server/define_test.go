package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/natstest"
	"github.com/hookline/hookline/internal/ordercheck"
	"github.com/hookline/hookline/internal/pubtool"
	"github.com/hookline/hookline/internal/server"
	"github.com/hookline/hookline/internal/tlscert"
)

// rig is a server of its own, whose log is kept.
type rig struct {
	t    *testing.T
	s    *server.Server
	dir  string
	file string
	log  *lockedBuffer
}

const rigSecret = "hunter2-api-secret-of-the-test"

// lockedBuffer is a buffer that many write to.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// newRig starts a server; more is added to its file, and made is what its endpoints.ini holds.
func newRig(t *testing.T, more, made string) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir(), log: &lockedBuffer{}}
	r.file = filepath.Join(r.dir, "config.ini")
	r.write(more)
	if made != "" {
		if err := os.WriteFile(filepath.Join(r.dir, "endpoints.ini"), []byte(made), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	log := slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s, err := server.Start(t.Context(), server.Options{ConfigPath: r.file, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	r.s = s
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	return r
}

func (r *rig) write(more string) {
	r.t.Helper()
	text := fmt.Sprintf("[general]\nlisten_ip=127.0.0.1\nflowThreshold=0\nmediaServerId=test\n[rtmp]\nport=65535\nhandshakeSecond=600\nkeepAliveSecond=600\n[rtsp]\nport=65535\n[http]\nport=65535\n"+
		"[server]\nstate_dir=%s\n[delivery]\nbackoff_min_ms=20\nbackoff_max_ms=100\n[api]\nsecret=%s\n%s", r.dir, rigSecret, more)
	if err := os.WriteFile(r.file, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// call calls the API as admin.
func (r *rig) call(method, path, body string, want int, header ...string) map[string]any {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, "http://"+r.s.HTTPAddr()+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+rigSecret)
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	var m map[string]any
	_ = json.Unmarshal(b, &m) // 204 has none
	if res.StatusCode != want {
		r.t.Errorf("%s %s: %d, want %d: %.500s", method, path, res.StatusCode, want, b)
	}
	return m
}

func (r *rig) publish(n int) {
	r.t.Helper()
	_, err := pubtool.Run(r.t.Context(), pubtool.Config{
		URL: "rtmp://" + r.s.RTMPAddr() + "/live/s", Streams: 8, Churn: true, Count: n, Life: 80 * time.Millisecond, Quiet: true, Timeout: patience,
	})
	if err != nil {
		r.t.Error(err)
	}
}

func (r *rig) wait(what string, ok func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if ok() {
			return
		}
	}
	r.t.Fatalf("%s: still not", what)
}

// checked is a sink whose events go into a checker, if one of the secrets has signed them.
func checked(t *testing.T, check *ordercheck.Checker, secrets ...event.Secret) *sink {
	t.Helper()
	verifier, err := event.NewVerifier(secrets, nil)
	if err != nil {
		t.Fatal(err)
	}
	k := newSink(t, http.StatusOK, func(h http.Header, body []byte) error {
		if err := verifier.Verify(h, body); err != nil {
			return err
		}
		b, err := ordercheck.Parse(body)
		if err == nil {
			check.Add(ordercheck.Delivery{Body: b})
		}
		return err
	})
	t.Cleanup(func() {
		k.down(t)
		if err := k.failed(); err != nil {
			t.Error(err)
		}
	})
	return k
}

// TestEndpointChangesInFlight: an endpoint that is made by API changes its URL, secret, filter, pace and pause while events
// are on their way; nothing is lost or out of order.
func TestEndpointChangesInFlight(t *testing.T) {
	r := newRig(t, "allow_private_endpoints=1\n", "")
	one, two := event.GenerateSecret(), event.GenerateSecret()
	check := ordercheck.New(ordercheck.Options{Reconfigured: true}) // its streams change
	a, b := checked(t, check, one, two), checked(t, check, one, two)
	r.call("POST", "/api/v1/endpoints", fmt.Sprintf(`{"name":"moving","url":"http://%s/a","secret":%q,
		"events":["on_stream_changed","on_publication_ended","on_flow_report"]}`, a.addr, one.Reveal()), http.StatusCreated)
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.publish(160)
	}()
	for i := 0; ; i++ {
		to, secret := a, one
		if i%2 == 0 {
			to, secret = b, two
		}
		body := fmt.Sprintf(`{"url":"http://%s/%d","secret":[%q],"streams":["live/*"],"concurrency":%d}`, to.addr, i, secret.Reveal(), 1+i%8)
		if i%3 == 0 {
			body = fmt.Sprintf(`{"url":"http://%s/x","streams":null}`, to.addr)
		}
		r.call("PATCH", "/api/v1/endpoints/moving", body, http.StatusOK)
		if i%5 == 0 {
			r.call("POST", "/api/v1/endpoints/moving/pause", "", http.StatusOK)
			r.call("POST", "/api/v1/endpoints/moving/resume", "", http.StatusOK)
		}
		select {
		case <-done:
		default:
			continue
		}
		break
	}
	r.wait("every publication has ended at the receiver", func() bool {
		rep := check.Report()
		return rep.Publications == 160 && rep.Open == 0
	})
	if rep := check.Report(); !rep.OK() || rep.GapNotices > 0 {
		t.Error(rep)
	}
	shown := r.call("GET", "/api/v1/endpoints/moving", "", http.StatusOK)
	if cfg, _ := shown["config"].(map[string]any); shown["origin"] != "api" || cfg["secret"] != "***" {
		t.Errorf("%v", shown)
	}
	// What was published is there for one that begins at the beginning, and for one that begins at a time not.
	all, none := ordercheck.New(ordercheck.Options{}), ordercheck.New(ordercheck.Options{})
	first, late := checked(t, all, one), checked(t, none, one)
	r.call("PUT", "/api/v1/endpoints/first", fmt.Sprintf(`{"url":"http://%s/","secret":%q,"start":"beginning"}`, first.addr, one.Reveal()), http.StatusCreated)
	r.call("PUT", "/api/v1/endpoints/late", fmt.Sprintf(`{"url":"http://%s/","secret":%q,"start":"2099-01-02T03:04:05Z"}`, late.addr, one.Reveal()), http.StatusCreated)
	r.wait("one that begins at the beginning has all", func() bool {
		rep := all.Report()
		return rep.Publications == 160 && rep.Open == 0
	})
	r.wait("nothing is on its way to it", func() bool { return r.call("GET", "/api/v1/endpoints/moving", "", http.StatusOK)["lag"] == 0.0 })
	r.call("DELETE", "/api/v1/endpoints/moving", "", http.StatusNoContent)
	r.call("GET", "/api/v1/endpoints/moving", "", http.StatusNotFound)
	before := check.Report().Deliveries
	r.publish(3)
	r.wait("the others go on", func() bool { rep := none.Report(); return rep.Publications == 3 && rep.Open == 0 })
	if n := check.Report().Deliveries; n != before {
		t.Errorf("a removed endpoint got %d events", n-before)
	}
	for _, secret := range []string{one.Reveal(), two.Reveal(), rigSecret} {
		if strings.Contains(r.log.String(), secret) {
			t.Error("the log has a secret")
		}
	}
}

// TestDocumentedKeysAreTaken: every key of an endpoint that the OpenAPI document has is taken, in the type that it says, with
// each value that it lists; no other is.
func TestDocumentedKeysAreTaken(t *testing.T) {
	type property struct {
		Type string
		Enum []string
	}
	var document struct {
		Components struct {
			Schemas map[string]struct{ Properties map[string]property }
		}
	}
	r := newRig(t, "", "")
	text, err := json.Marshal(r.call("GET", "/api/v1/openapi.json", "", http.StatusOK))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	pem := filepath.Join(t.TempDir(), "both.pem") // certificate and key
	if err := tlscert.SelfSigned(pem); err != nil {
		t.Fatal(err)
	}
	file := fmt.Sprintf("%q", pem)
	values := map[string]string{
		"url": `"https://192.0.2.1/"`, "events": `["on_stream_changed","on_record_*"]`, "streams": `"live/*,other/*"`,
		"secret": fmt.Sprintf("[%q]", event.GenerateSecret().Reveal()), "bearer": `"token"`, "basic": `"user:password"`,
		"header": `{"X-Team":"billing"}`, "ca_file": file, "client_cert": file, "client_key": file,
		"proxy": `"http://192.0.2.2:3128"`, "start": `"2026-01-02T03:04:05Z"`,
	}
	byType := map[string]string{"integer": "5000", "number": "0.5", "boolean": "true"}
	// What does not go alone.
	with := map[string]string{"client_cert": `"client_key":` + file + ",", "client_key": `"client_cert":` + file + ","}
	batch := `"format":"cloudevents",`
	with["batch"], with["batch_bytes"], with["batch_wait_ms"] = batch, batch+`"batch":2,`, batch+`"batch":2,`
	properties := document.Components.Schemas["EndpointConfig"].Properties
	if len(properties) < 20 {
		t.Fatalf("only %d keys", len(properties))
	}
	put := func(body string, want int) { r.call("PUT", "/api/v1/endpoints/all", body, want) }
	put(`{"url":"https://192.0.2.1/"}`, http.StatusCreated)
	for key, p := range properties {
		list := []string{values[key]}
		switch {
		case len(p.Enum) > 0:
			list = nil
			for _, v := range p.Enum {
				list = append(list, fmt.Sprintf("%q", v))
			}
		case values[key] == "":
			list[0] = byType[p.Type]
		}
		if key == "concurrency" || key == "batch" {
			list[0] = "8"
		}
		for _, v := range list {
			if v == "" {
				t.Errorf("no value for %s", key)
				continue
			}
			put(fmt.Sprintf(`{"url":"https://192.0.2.1/",%s%q:%s}`, with[key], key, v), http.StatusOK)
		}
	}
	put(`{"url":"https://192.0.2.1/","retries":1}`, http.StatusBadRequest)
	put(`{"url":"https://192.0.2.1/","name":"other"}`, http.StatusBadRequest)
}

// TestMadeEndpointsAreGuarded: what is made by API doesn't reach this machine, until the operator says so, or writes it
// into the file.
func TestMadeEndpointsAreGuarded(t *testing.T) {
	queue := natstest.URL(t)
	r := newRig(t, "", "")
	secret := event.GenerateSecret()
	check, filed := ordercheck.New(ordercheck.Options{}), ordercheck.New(ordercheck.Options{})
	k, f := checked(t, check, secret), checked(t, filed, secret)
	_, port, _ := strings.Cut(k.addr, ":")
	for i, host := range []string{"127.0.0.1", "localhost", "[::ffff:127.0.0.1]"} {
		r.call("PUT", fmt.Sprintf("/api/v1/endpoints/in%d", i), fmt.Sprintf(`{"url":"http://hunter2:hunter2@%s:%s/","secret":%q}`, host, port, secret.Reveal()), 201)
	}
	r.call("PUT", "/api/v1/endpoints/queue", fmt.Sprintf(`{"url":"%s/events?create=1"}`, queue), 201)
	r.publish(3)
	r.wait("the attempts were refused", func() bool {
		n := 0
		list, _ := r.call("GET", "/api/v1/endpoints", "", 200)["endpoints"].([]any)
		for _, e := range list {
			if e := e.(map[string]any); e["attempts"].(float64) > 0 || e["name"] == "queue" && e["lag"].(float64) > 0 {
				n++
			}
		}
		return n == 4
	})
	if n := check.Report().Deliveries; n != 0 {
		t.Fatalf("%d events went inside", n)
	}
	r.write(fmt.Sprintf("allow_private_endpoints=0\n[endpoint.file]\nurl=http://%s/\nsecret=%s\nstart=beginning\n", f.addr, secret.Reveal()))
	if err := r.s.Reload(); err != nil {
		t.Fatal(err)
	}
	r.wait("the file's endpoint goes inside", func() bool { rep := filed.Report(); return rep.Publications == 3 && rep.Open == 0 })
	r.call("PATCH", "/api/v1/endpoints/file", `{"rate":1}`, http.StatusConflict)
	r.call("GET", "/index/api/setServerConfig?secret="+rigSecret+"&api.allow_private_endpoints=1", "", 200)
	if n := check.Report().Deliveries; n != 0 {
		t.Errorf("%d events went inside", n)
	}
	r.write("allow_private_endpoints=1\n")
	if err := r.s.Reload(); err != nil {
		t.Fatal(err)
	}
	r.wait("now they go inside", func() bool { return check.Report().Publications == 3 })
	log := ordercheck.New(ordercheck.Options{})
	r.wait("and into the queue", func() bool { e := r.call("GET", "/api/v1/endpoints/queue", "", 200); return e["lag"] == 0.0 })
	queued(t, queue, log)
	if rep := log.Report(); rep.Publications != 3 || !rep.OK() {
		t.Error(rep)
	}
	for _, s := range []string{"hunter2", secret.Reveal()} {
		if text := r.log.String(); strings.Contains(text, s) {
			i := strings.Index(text, s)
			t.Errorf("the log has a secret: %s", text[max(0, i-200):i+20])
		}
	}
}

// TestThousandEndpoints: a thousand endpoints, of which most match nothing, cost no order and stay changeable.
func TestThousandEndpoints(t *testing.T) {
	secret := event.GenerateSecret()
	check := ordercheck.New(ordercheck.Options{})
	k := checked(t, check, secret)
	var made strings.Builder
	for i := range 998 {
		fmt.Fprintf(&made, "[endpoint.e%d]\nurl=http://127.0.0.1:1/\nstreams=none/*\n", i)
	}
	r := newRig(t, "allow_private_endpoints=1\n", made.String())
	r.call("POST", "/api/v1/endpoints", fmt.Sprintf(`{"name":"real","url":"http://%s/","secret":%q}`, k.addr, secret.Reveal()), 201)
	r.call("POST", "/api/v1/endpoints", `{"name":"last","url":"http://127.0.0.1:1/","streams":["none"]}`, 201)
	m := r.call("POST", "/api/v1/endpoints", `{"name":"more","url":"http://127.0.0.1:1/"}`, 400)
	if detail, _ := m["detail"].(string); !strings.Contains(detail, "at most 1000") {
		t.Errorf("%v", m)
	}
	r.publish(10)
	r.wait("the one that matches has all", func() bool { rep := check.Report(); return rep.Publications == 10 && rep.Open == 0 })
	r.call("PATCH", "/api/v1/endpoints/e500", `{"rate":5}`, 200)
	r.call("DELETE", "/api/v1/endpoints/e501", "", 204)
	list, _ := r.call("GET", "/api/v1/endpoints", "", 200)["endpoints"].([]any)
	if len(list) != 1000 { // with hook
		t.Errorf("%d endpoints", len(list))
	}
	for _, e := range list {
		e := e.(map[string]any)
		if name := e["name"]; name != "real" && (e["attempts"].(float64) > 0 || e["held"].(float64) > 0) {
			t.Errorf("%v", e)
		}
	}
	if rep := check.Report(); !rep.OK() {
		t.Error(rep)
	}
}

// TestAdminActions: what is done by API is journaled and goes to who asks for it by name, and to nobody else.
func TestAdminActions(t *testing.T) {
	secret := event.GenerateSecret()
	check := ordercheck.New(ordercheck.Options{})
	others := ordercheck.New(ordercheck.Options{})
	all := checked(t, others, secret)
	var mu sync.Mutex
	var bodies []map[string]any
	audit := newSink(t, http.StatusOK, func(_ http.Header, body []byte) error {
		b, err := ordercheck.Parse(body)
		if err != nil {
			return err
		}
		check.Add(ordercheck.Delivery{Body: b})
		var m map[string]any
		err = json.Unmarshal(body, &m)
		mu.Lock()
		bodies = append(bodies, m)
		mu.Unlock()
		return err
	})
	t.Cleanup(func() { audit.down(t) })
	r := newRig(t, fmt.Sprintf("[tokens]\ngrafana=read:hunter2-reads-only-all\n[endpoint.audit]\nurl=http://%s/\nevents=on_admin_action\n"+
		"[endpoint.all]\nurl=http://%s/\nsecret=%s\n", audit.addr, all.addr, secret.Reveal()), "")
	r.call("POST", "/api/v1/endpoints", `{"name":"x","url":"https://joe:hunter2@192.0.2.1/?k=hunter2","bearer":null}`, 201)
	r.call("PATCH", "/api/v1/endpoints/x", `{"rate":"fast"}`, 400)
	r.call("GET", "/index/api/setServerConfig?secret="+rigSecret+"&hook.on_play=http://joe:hunter2@192.0.2.1/", "", 200)
	r.call("DELETE", "/api/v1/endpoints/x", "", 403, "Authorization", "Bearer hunter2-reads-only-all")
	r.call("DELETE", "/api/v1/endpoints/x", "", 204)
	r.wait("four actions were told", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(bodies) == 4
	})
	mu.Lock()
	defer mu.Unlock()
	var got []string
	for _, b := range bodies {
		got = append(got, fmt.Sprint(b["action"], " ", b["by"], " ", b["result"]))
	}
	want := "endpoint.create api.secret done, endpoint.change api.secret invalid_field, config.set api.secret done, endpoint.remove api.secret done"
	if s := strings.Join(got, ", "); s != want {
		t.Error(s)
	}
	if rep := check.Report(); !rep.OK() {
		t.Error(rep)
	}
	text, err := json.Marshal(bodies)
	if err != nil {
		t.Fatal(err)
	}
	journaled, err := json.Marshal(r.call("GET", "/api/v1/events?type=on_admin_action", "", 200))
	if err != nil || strings.Count(string(journaled), `"action"`) != 4 {
		t.Errorf("%s %v", journaled, err)
	}
	for _, s := range []string{"hunter2", rigSecret} {
		if strings.Contains(string(text), s) || strings.Contains(string(journaled), s) || strings.Contains(r.log.String(), s) {
			t.Error("a secret is told")
		}
	}
	t.Logf("%s", text)
	if n := others.Report().Deliveries; n != 0 {
		t.Errorf("an endpoint that asked for nothing got %d", n)
	}
}

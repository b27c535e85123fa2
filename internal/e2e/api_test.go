package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/ordercheck"
)

// answer is what every call of /index/api answers, with what the tests read of it.
type answer struct {
	Code    int              `json:"code"`
	Msg     string           `json:"msg"`
	Online  bool             `json:"online"`
	Closed  int              `json:"count_closed"`
	Hit     int              `json:"count_hit"`
	Changed int              `json:"changed"`
	Status  bool             `json:"status"`
	Result  bool             `json:"result"`
	Data    json.RawMessage  `json:"data"`
	List    []map[string]any `json:"-"`
}

// call calls /index/api with the secret and pairs of parameters.
func (p *server) call(name string, pairs ...string) answer {
	p.t.Helper()
	q := url.Values{"secret": {"e2e-secret"}}
	for i := 0; i < len(pairs); i += 2 {
		q.Set(pairs[i], pairs[i+1])
	}
	res := get(p.t, "http://"+p.http+"/index/api/"+name+"?"+q.Encode())
	raw, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		p.t.Fatalf("%s: %s %v %s", name, res.Status, err, raw)
	}
	var a answer
	if err := json.Unmarshal(raw, &a); err != nil {
		p.t.Fatalf("%s: %v: %s", name, err, raw)
	}
	_ = json.Unmarshal(a.Data, &a.List) // not every answer has a list
	return a
}

// ofStream are the parameters that name a stream.
func ofStream(name string, more ...string) []string {
	return append([]string{"vhost", "__defaultVhost__", "app", "live", "stream", name}, more...)
}

// TestAPIStreams: what ffmpeg publishes and who watches shows in the API, and can be closed by it.
func TestAPIStreams(t *testing.T) {
	t.Parallel()
	s, r := serve(t)
	if a := s.call("getMediaList", "secret", "wrong"); a.Code != -100 {
		t.Errorf("with a wrong secret the code is %d", a.Code)
	}
	publish(t, s.rtmpURL("a?token=1")).keep(t)
	r.accept(event.OnStreamChanged, "a", register)
	v := view(t, s.rtmpURL("a"))
	<-v.first
	list := s.call("getMediaList", ofStream("a")...).List
	for i, schema := range schemas() {
		if len(list) != len(schemas()) || list[i]["schema"] != schema || list[i]["totalReaderCount"] != 1.0 {
			t.Fatalf("getMediaList: %v", list)
		}
	}
	list = s.call("getMediaList", ofStream("a", "schema", "rtmp")...).List
	if len(list) != 1 || list[0]["schema"] != "rtmp" || list[0]["readerCount"] != 1.0 || list[0]["params"] != "token=1" {
		t.Errorf("getMediaList: %v", list)
	}
	if !s.call("isMediaOnline", ofStream("a", "schema", "rtmp")...).Online {
		t.Error("a is not online")
	}

	play := r.accept(event.OnPlay, "a")
	id, _ := play.json["id"].(string)
	sessions := s.call("getAllSession").List
	if !slices.ContainsFunc(sessions, func(m map[string]any) bool { return m["id"] == id }) || len(sessions) < 2 {
		t.Errorf("getAllSession lacks %q: %v", id, sessions)
	}
	if a := s.call("kick_session", "id", id); a.Code != 0 {
		t.Errorf("kick_session: %+v", a)
	}
	t.Logf("the kicked viewer ended with %v", <-v.end)
	r.accept(event.OnFlowReport, "a", ofPlayer)

	if a := s.call("close_streams", ofStream("a", "schema", "rtmp", "force", "1")...); a.Code != 0 || a.Closed != 1 || a.Hit != 1 {
		t.Errorf("close_streams: %+v", a)
	}
	r.accept(event.OnPublicationEnded, "a")
	r.expectStory("a", "register", "player", "publisher", "unregister", "publication_ended kicked")
	if s.call("isMediaOnline", ofStream("a", "schema", "rtmp")...).Online {
		t.Error("a is still online")
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		if code := status(t, "http://"+s.http+path); code != http.StatusOK {
			t.Errorf("%s answers %d", path, code)
		}
	}
	metrics, err := io.ReadAll(get(t, "http://"+s.http+"/metrics").Body)
	if err != nil || !strings.Contains(string(metrics), "hookline_") {
		t.Errorf("/metrics: %v\n%s", err, tail(string(metrics), 500))
	}
}

// TestSetServerConfig: a platform switches the hooks on at run time, as wvp does, and the file remembers.
func TestSetServerConfig(t *testing.T) {
	t.Parallel()
	r := newReceiverWith(t, ordercheck.Options{}, false)
	file := filepath.Join(t.TempDir(), "config.ini")
	if err := os.WriteFile(file, []byte("; mine\n[hook]\nenable=0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, quick().with("server.state_dir", stateDir(t)).without("hook.alive_interval", "hook.timeoutSec"), "serve", "-c", file)
	p := publish(t, s.rtmpURL("before"))
	p.unpublish(t)
	pairs := []string{"hook.enable", "1", "hook.alive_interval", "0.3"}
	for _, h := range hooks() {
		if h != event.OnServerExited && h != event.OnServerStarted { // their key has a past that nobody was told of
			pairs = append(pairs, "hook."+string(h), r.url(h))
		}
	}
	if a := s.call("setServerConfig", pairs...); a.Code != 0 || a.Changed == 0 {
		t.Errorf("setServerConfig: %+v", a)
	}
	life(t, s, r, "a")
	r.expectStory("a", "register", "publisher", "unregister", "publication_ended unpublish")
	r.expectStory("before")
	r.await("a keepalive", 1, func(p *post) bool { return p.hook == event.OnServerKeepalive })
	if a := s.call("setServerConfig", "hook.timeoutSec", "soon"); a.Code == 0 {
		t.Error("a bad value was taken")
	}
	raw, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(raw), "; mine") || !strings.Contains(string(raw), r.url(event.OnStreamChanged)) {
		t.Errorf("the file does not remember: %v\n%s", err, raw)
	}
	s.kill()
	s = start(t, quick().with("server.state_dir", stateDir(t)).without("hook.alive_interval", "hook.timeoutSec"), "serve", "-c", file)
	if list := s.call("getServerConfig").List; len(list) != 1 || list[0]["hook.on_publish"] != r.url(event.OnPublish) {
		t.Error("the next start does not know")
	}
}

// apiEvent is an event as /api/v1 shows it.
type apiEvent struct {
	Position uint64 `json:"position"`
	event.Envelope
}

// TestAPIEvents: the list and the live tail show the events that the receiver got, with the same identity, and a tail
// that was cut off goes on after a crash.
func TestAPIEvents(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	cfg := quick().endpoint(r).with("server.state_dir", stateDir(t))
	s := start(t, cfg)
	tailed := newTail(t, s, "")
	life(t, s, r, "a")
	life(t, s, r, "a")
	listed := s.events("stream", key("a"))
	for i, e := range listed {
		if e.Seq != uint64(i+1) {
			t.Errorf("event %d of the stream has seq %d", i, e.Seq)
		}
	}
	for _, p := range r.accepted("a") {
		same := func(e apiEvent) bool { return e.ID == p.body.Event.ID && e.Seq == p.body.Event.Seq }
		if p.body.Event.Seq > 0 && !slices.ContainsFunc(listed, same) {
			t.Errorf("%v is not listed", p)
		}
	}
	var last apiEvent
	for _, want := range listed {
		for last = tailed.next(); last.Stream != key("a"); last = tailed.next() {
		}
		if last.ID != want.ID {
			t.Errorf("the tail shows seq %d, want %d", last.Seq, want.Seq)
		}
	}
	if only := s.events("stream", key("a"), "type", "on_publication_ended"); len(only) != 2 {
		t.Errorf("%d ends are listed", len(only))
	}

	s.kill()
	s = start(t, cfg)
	life(t, s, r, "b")
	resumed := newTail(t, s, fmt.Sprint(last.Position))
	for pos := last.Position + 1; ; pos++ {
		e := resumed.next()
		if e.Position != pos {
			t.Fatalf("the tail goes on at %d, want %d", e.Position, pos)
		}
		if e.Stream == key("b") && e.Type == event.OnPublicationEnded {
			return
		}
	}
}

// events lists events.
func (p *server) events(pairs ...string) []apiEvent {
	p.t.Helper()
	q := url.Values{"secret": {"e2e-secret"}}
	for i := 0; i < len(pairs); i += 2 {
		q.Set(pairs[i], pairs[i+1])
	}
	var list struct {
		Events []apiEvent `json:"events"`
		More   bool       `json:"more"`
	}
	res := get(p.t, "http://"+p.http+"/api/v1/events?"+q.Encode())
	if err := json.NewDecoder(res.Body).Decode(&list); err != nil || list.More {
		p.t.Fatalf("%s: %v", res.Status, err)
	}
	return list.Events
}

// liveTail reads server-sent events.
type liveTail struct {
	t     *testing.T
	lines *bufio.Scanner
}

// newTail begins with the next event, or behind the one with the id.
func newTail(t *testing.T, s *server, lastID string) *liveTail {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.http+"/api/v1/events/stream", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer e2e-secret")
	if lastID != "" {
		req.Header.Set("Last-Event-ID", lastID)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	if res.StatusCode != http.StatusOK {
		t.Fatal(res.Status)
	}
	return &liveTail{t: t, lines: bufio.NewScanner(res.Body)}
}

func (l *liveTail) next() (e apiEvent) {
	l.t.Helper()
	for l.lines.Scan() {
		data, ok := strings.CutPrefix(l.lines.Text(), "data: ")
		if !ok {
			continue
		}
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			l.t.Fatalf("%v: %s", err, data)
		}
		return e
	}
	l.t.Fatalf("the tail ended: %v", l.lines.Err())
	return e
}

package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/attempts"
	"github.com/hookline/hookline/internal/decision"
	"github.com/hookline/hookline/internal/delivery"
	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/journal"
	"github.com/hookline/hookline/internal/sequencer"
)

func TestSessions(t *testing.T) {
	s := NewSessions()
	if a, b := s.NewID(), s.NewID(); a == b || strings.Count(a, "-") != 1 {
		t.Errorf("ids %s %s", a, b)
	}
	kicked := 0
	remove := s.Add(Session{ID: "a-1", TypeID: "x", PeerIP: "1.1.1.1", LocalPort: 1, Kick: func() { kicked++ }})
	again := s.Add(Session{ID: "a-1", TypeID: "x", Type: "udp", PeerIP: "1.1.1.2", LocalPort: 2})
	list := s.List()
	if len(list) != 2 || list[0].ID != "a-1" || list[0].Type != "tcp" || list[1].ID == "a-1" ||
		list[1].Identifier != list[1].ID || list[1].Type != "udp" {
		t.Errorf("%v", list)
	}
	if !s.Kick("a-1") || kicked != 1 || s.Kick("b") || s.Kick(list[1].ID) {
		t.Errorf("kicked %d", kicked)
	}
	if len(s.matching("1.1.1.1", 0)) != 1 || len(s.matching("", 2)) != 1 || len(s.matching("1.1.1.1", 2)) != 0 {
		t.Error("filters")
	}
	remove()
	remove()
	again()
	if len(s.List()) != 0 || len(s.pairs) != 0 || len(s.byID) != 0 {
		t.Error("not empty")
	}
	pair := Session{PeerIP: "1.1.1.1", PeerPort: 5, LocalIP: "1.1.1.2", LocalPort: 80, TypeID: TypeHTTP}
	_, bare := s.add(&entry{Session: pair, bare: true})
	live := s.Add(pair)
	if n := s.counts()[TypeHTTP]; n != 1 {
		t.Errorf("a connection and the stream on it count %d", n)
	}
	live()
	if n := len(s.List()); n != 1 {
		t.Errorf("the connection is back: %d", n)
	}
	shared := pair
	shared.Shared = true
	first, _ := s.AddWithin(shared, 3, 0)
	second, ok := s.AddWithin(shared, 9, 3)
	if all, same := s.connections(TypeHTTP, "1.1.1.1"); !ok || all != 3 || same != 3 || s.counts()[TypeHTTP] != 2 {
		t.Errorf("a connection that two streams share counts %d, %d, %v", all, same, s.counts())
	}
	for _, limits := range [][2]int{{3, 0}, {9, 3}} {
		if _, ok := s.AddWithin(shared, limits[0], limits[1]); ok {
			t.Errorf("more than %v are let in", limits)
		}
	}
	first()
	second()
	bare()
	if len(s.conns) != 0 || len(s.perIP) != 0 {
		t.Errorf("%v %v", s.conns, s.perIP)
	}
}

func TestSessionsConcurrently(t *testing.T) {
	s := NewSessions()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 200 {
				remove := s.Add(Session{PeerPort: i, Kick: func() {}})
				for _, x := range s.matching("", 0) {
					s.Kick(x.ID)
				}
				remove()
			}
		})
	}
	wg.Wait()
	if len(s.List()) != 0 {
		t.Error("not empty")
	}
}

// client is one kept connection.
type client struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

func dial(t *testing.T, addr string) *client {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &client{t, conn, bufio.NewReader(conn)}
}

func (c *client) get(path string) (m map[string]any, closing bool) {
	c.t.Helper()
	fmt.Fprintf(c.conn, "GET /index/api/%s HTTP/1.1\r\nHost: x\r\nsecret: %s\r\n\r\n", path, testSecret)
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	defer discard(resp.Body)
	if err := json.NewDecoder(resp.Body).Decode(&m); err != nil {
		c.t.Fatal(err)
	}
	return m, resp.Close
}

// gone waits for the end of the connection.
func (c *client) gone() {
	c.t.Helper()
	if _, err := c.in.ReadByte(); err == nil {
		c.t.Error("the connection is still there")
	}
}

func TestKickHTTPConnections(t *testing.T) {
	w := newWorld(t)
	_, addr := w.listen(ServerConfig{}, w.api)
	var others []*client
	for range 3 {
		c := dial(t, addr)
		c.get("version")
		others = append(others, c)
	}
	me := dial(t, addr)
	m, _ := me.get("getAllSession")
	list := m["data"].([]any)
	if len(list) != 4 {
		t.Fatalf("%v", list)
	}
	mine := list[3].(map[string]any)
	if mine["typeid"] != TypeHTTP || mine["type"] != "tcp" || mine["peer_ip"] != "127.0.0.1" ||
		fmt.Sprint(mine["peer_port"]) != fmt.Sprint(me.conn.LocalAddr().(*net.TCPAddr).Port) {
		t.Errorf("%v", mine)
	}
	if m, _ = me.get("kick_session?id=" + list[0].(map[string]any)["id"].(string)); m["code"] != 0.0 {
		t.Errorf("%v", m)
	}
	others[0].gone()
	if m, _ = me.get("kick_sessions?local_port=1"); m["count_hit"] != 0.0 {
		t.Errorf("%v", m)
	}
	port := addr[strings.LastIndexByte(addr, ':')+1:]
	m, _ = me.get("kick_sessions?peer_ip=127.0.0.1&local_port=" + port)
	if n := m["count_hit"].(float64); n < 2 || n > 3 { // the first may not be off the list yet
		t.Errorf("%v", m)
	}
	others[1].gone()
	others[2].gone()
	m, closing := me.get("kick_session?id=" + mine["id"].(string))
	if m["code"] != 0.0 || !closing {
		t.Errorf("%v %v", m, closing)
	}
	me.gone()
}

func TestTooManyConnections(t *testing.T) {
	w := newWorld(t)
	_, addr := w.listen(ServerConfig{MaxConnections: 1}, w.api)
	a := dial(t, addr)
	a.get("version")
	dial(t, addr).gone()
	a.get("version")
}

// TestTooManyOfOneAddress: live streams, which have taken their connection over, count as well.
func TestTooManyOfOneAddress(t *testing.T) {
	w := newWorld(t)
	_, addr := w.listen(ServerConfig{MaxPerIP: 2}, w.api)
	a := dial(t, addr)
	a.get("version")
	live := Session{TypeID: TypeHTTP, PeerIP: "127.0.0.1", PeerPort: 1, LocalPort: 2}
	remove := w.sessions.Add(live)
	again := w.sessions.Add(live) // the same connection
	dial(t, addr).gone()
	a.get("version")
	again()
	remove()
	for deadline := time.Now().Add(3 * time.Minute); ; time.Sleep(time.Millisecond) {
		if all, same := w.sessions.connections(TypeHTTP, "127.0.0.1"); all == 1 && same == 1 {
			break
		} else if time.Now().After(deadline) {
			t.Fatal(all, same)
		}
	}
	dial(t, addr).get("version")
}

// TestIdle: a connection that has nothing more to ask is closed, after the time that holds now.
func TestIdle(t *testing.T) {
	w := newWorld(t)
	var idle atomic.Int64
	idle.Store(int64(time.Hour))
	asked := make(chan struct{}, 16) // whenever a connection has become idle, which is after its client has the answer
	_, addr := w.listen(ServerConfig{IdleTimeout: func() time.Duration {
		defer func() { asked <- struct{}{} }()
		return time.Duration(idle.Load())
	}}, w.api)
	a, b := dial(t, addr), dial(t, addr)
	a.get("version")
	<-asked
	b.get("version") // before the time gets short, which holds for a first request, too
	<-asked
	idle.Store(int64(time.Millisecond))
	b.get("version")
	b.gone()
	a.get("version")
	a.gone()
}

// TestTooManyCancelled: a connection of HTTP/2 whose client keeps cancelling is closed, one whose client does so now and then is not.
func TestTooManyCancelled(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	c := &tracked{conn: near, cancels: resetBurst, last: time.Now()}
	gone, cancel := context.WithCancel(context.WithValue(t.Context(), connKey{}, c))
	cancel()
	served := 0
	h := (&connTracker{cfg: ServerConfig{}.withDefaults()}).guard(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served++ }))
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		_, _ = far.Read(make([]byte, 1))
	}()
	for done := false; !done; {
		r := httptest.NewRequestWithContext(gone, http.MethodGet, "/", http.NoBody)
		h.ServeHTTP(httptest.NewRecorder(), r) // HTTP/1.1 has no part in it
		r.ProtoMajor = 2
		h.ServeHTTP(httptest.NewRecorder(), r)
		select {
		case <-closed:
			done = true
		default:
		}
	}
	if served < 2*resetBurst {
		t.Errorf("closed after %d", served)
	}
	now := time.Now()
	c = &tracked{cancels: resetBurst, last: now}
	for i := range 10 * resetBurst {
		if !c.mayCancel(now.Add(time.Duration(i) * time.Second / resetRate)) {
			t.Fatal("closed at the pace that is allowed")
		}
	}
}

// TestHeadAndOptions: whatever is asked for, they are answered, and nothing is done.
func TestHeadAndOptions(t *testing.T) {
	w := newWorld(t)
	for _, method := range []string{http.MethodHead, http.MethodOptions} {
		r := httptest.NewRequestWithContext(t.Context(), method, "/index/api/restartServer", http.NoBody)
		r.Header.Set("Origin", "http://page.example")
		rec := httptest.NewRecorder()
		w.api.ServeHTTP(rec, r)
		if rec.Code != http.StatusOK || rec.Body.Len() != 0 || rec.Header().Get("Access-Control-Allow-Origin") != "http://page.example" {
			t.Errorf("%s: %d %q %v", method, rec.Code, rec.Body, rec.Header())
		}
	}
}

func TestHeadTooLarge(t *testing.T) {
	w := newWorld(t)
	_, addr := w.listen(ServerConfig{}, w.api)
	c := dial(t, addr)
	go fmt.Fprintf(c.conn, "GET /index/api/version?x=%s HTTP/1.1\r\nHost: x\r\n\r\n", strings.Repeat("x", 200<<10))
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil {
		t.Fatal(err)
	}
	discard(resp.Body)
	if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Error(resp.Status)
	}
}

func TestHealth(t *testing.T) {
	w := newWorld(t)
	var dead error
	w.ready.Journal = func() error { return dead }
	check := func(status int, want string) {
		t.Helper()
		if got, m := w.get("/readyz"); got != status || !strings.Contains(fmt.Sprint(m), want) {
			t.Errorf("%d %v, want %d %s", got, m, status, want)
		}
	}
	check(503, "code:listeners")
	w.ready.Listening()
	check(200, "ready")
	dead = errors.New("EIO")
	check(503, "[map[code:journal detail:EIO]]")
	w.ready.Stopping()
	check(503, "code:stopping")
	r := request(t, "GET", "/readyz", "", "")
	r.RemoteAddr = "10.0.0.1:1"
	if rec := w.serve(r); rec.Code != 503 || strings.Contains(rec.Body.String(), "EIO") {
		t.Errorf("details are not for everybody: %s", rec.Body)
	}
	if status, m := w.get("/healthz"); status != 200 || m["status"] != "ok" {
		t.Errorf("%d %v", status, m)
	}
	if rec := w.serve(request(t, "POST", "/healthz", "", "")); rec.Code != 405 {
		t.Errorf("%d", rec.Code)
	}
}

func TestMetrics(t *testing.T) {
	synctest.Test(t, metrics) // in virtual time: an answer that takes long is none
}

func metrics(t *testing.T) {
	m := NewMetrics()
	w := newWorld(t, func(d *Deps) { d.Metrics = m })
	m.Watch(Sources{
		Sequencer: func() sequencer.Stats {
			return sequencer.Stats{Raised: 11, Shed: 12, NextIndex: 13, Pending: 14, Keys: 15}
		},
		Journal: func() journal.Info { return journal.Info{First: 2, Last: 30, Bytes: 400} },
		Healthy: func() error { return journal.ErrDead },
		Endpoints: func() []EndpointStats {
			return []EndpointStats{
				{"main", delivery.Stats{Floor: 4, Tail: 9, Parked: 1, Down: true, Delivered: 77}},
				{"bad\xff", delivery.Stats{}},
			}
		},
		DeadLetters: func() map[string]int { return map[string]int{"main": 3} },
		Replays: func() []ReplayInfo {
			return []ReplayInfo{
				{Endpoint: "main", Count: 10, Delivered: 4, Failed: 1, State: ReplayRunning},
				{Endpoint: "main", Count: 20, State: ReplayRunning},
				{Endpoint: "main", Count: 99, State: ReplayDone},
			}
		},
		Hub: w.hub.Stats, Sessions: w.sessions, Traffic: func() (uint64, uint64) { return 5, 6 },
		CertificateExpiry: func() time.Time { return time.Unix(1e9, 0) },
		Version:           Version{CommitHash: "abc"},
	})
	defer w.sessions.Add(Session{TypeID: "mediakit::RtmpSession"})()
	o := m.DeliveryObserver()
	o.Attempt(attempts.Attempt{Endpoint: "main", Type: event.OnStreamChanged, Latency: time.Millisecond})
	o.Attempt(attempts.Attempt{Endpoint: "main", Type: "made up", Result: attempts.Results, Latency: time.Millisecond})
	o.Attempt(attempts.Attempt{Endpoint: "bad\xff", Type: event.OnPlay, Result: attempts.Cut, Latency: time.Millisecond})
	o.Delivered("main", event.OnStreamChanged, time.Now().Add(time.Hour))
	o.DeadLetter("main", event.ReasonGone)
	o.Gap("main", "made up")
	d := m.DecisionObserver()
	d.AttemptDone(attempts.Attempt{Type: event.OnPlay, Result: attempts.Retry, Latency: time.Second})
	d.DecisionDone(decision.Decision{Type: event.OnPlay, Outcome: fact.Outcome{Allowed: true, By: "hook"}, Took: time.Second})
	d.DecisionDone(decision.Decision{Type: event.OnPublish, Outcome: fact.Outcome{By: "made up"}, Took: time.Second})

	m.Committed(time.Millisecond)
	o.Attempt(attempts.Attempt{Endpoint: "gone", Type: event.OnPlay})
	m.Forget("gone")
	rec := w.serve(request(t, "GET", "/metrics", "", ""))
	body := rec.Body.String()
	for _, want := range []string{
		"hookline_events_raised_total 11", "hookline_events_shed_total 12", "hookline_hook_index 13",
		"hookline_events_pending 14", "hookline_sequencer_keys 15",
		"hookline_journal_last_position 30", "hookline_journal_bytes 400", "hookline_journal_healthy 0",
		`hookline_endpoint_lag{endpoint="main"} 5`, `hookline_endpoint_lanes_parked{endpoint="main"} 1`,
		`hookline_endpoint_down{endpoint="main"} 1`, `hookline_endpoint_delivered_total{endpoint="main"} 77`,
		`hookline_delivery_attempts_total{endpoint="main",result="accepted",type="on_stream_changed"} 1`,
		`hookline_delivery_attempts_total{endpoint="main",result="other",type="other"} 1`,
		`hookline_delivery_latency_seconds_bucket{endpoint="main",le="0.001"} 1`,
		`hookline_delivery_dead_letters_total{endpoint="main",reason="gone"} 1`,
		`hookline_delivery_gaps_total{endpoint="main",reason="other"} 1`,
		`hookline_decisions_total{by="hook",type="on_play",verdict="allowed"} 1`,
		`hookline_decisions_total{by="other",type="on_publish",verdict="refused"} 1`,
		`hookline_decision_attempts_total{result="retry",type="on_play"} 1`,
		`hookline_decision_seconds_count{type="on_play"} 1`,
		"hookline_tls_certificate_expiry_seconds 1e+09", "hookline_publications 1", "hookline_viewers 2", "hookline_viewers_waiting 3",
		`hookline_dead_letters{endpoint="main"} 3`, "hookline_replays_running 2", `hookline_replay_events{endpoint="main"} 30`,
		`hookline_replay_events_done{endpoint="main"} 5`, "hookline_journal_commit_seconds_count 1",
		`hookline_endpoint_lag_seconds{endpoint="main"} 0`,
		"hookline_publications 1", "hookline_viewers 2", "hookline_viewers_waiting 3",
		`hookline_sessions{type="mediakit::RtmpSession"} 1`,
		"hookline_received_bytes_total 5", "hookline_sent_bytes_total 6",
		`hookline_build_info{branch="",built="",commit="abc"} 1`, "go_goroutines", "# HELP hookline_endpoint_lag Positions",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("missing: %s", want)
		}
	}
	if strings.Contains(body, `endpoint="gone"`) {
		t.Error("an endpoint that is gone is still shown")
	}
	if t.Failed() {
		t.Log(body)
	}
	r := request(t, "GET", "/metrics", "", "")
	r.RemoteAddr = "10.0.0.1:1"
	if rec := w.serve(r); rec.Code != http.StatusForbidden {
		t.Errorf("%d", rec.Code)
	}
}

func TestLoad(t *testing.T) {
	var m cpuMeter
	at := time.Unix(1000, 0)
	if p := m.percent(at, 2); p != 0 {
		t.Errorf("first: %d", p)
	}
	m.used -= 3 * time.Second
	if p := m.percent(at.Add(2*time.Second), 2); p < 75 || p > 100 {
		t.Errorf("three of four seconds: %d", p)
	}
	last := m.last
	if p := m.percent(at.Add(2500*time.Millisecond), 2); p != last {
		t.Errorf("asked at once: %d", p)
	}
}

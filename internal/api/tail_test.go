package api

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/journal"
)

// listen serves w's API on loopback and returns its address.
func (w *world) listen(cfg ServerConfig, h http.Handler) (srv *http.Server, addr string) {
	w.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	cfg.Logger = w.api.log
	cfg.HeaderTimeout = time.Hour // nobody is cut for being slow
	if cfg.IdleTimeout == nil {
		cfg.IdleTimeout = func() time.Duration { return time.Hour }
	}
	srv = NewServer(cfg, h, w.sessions)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(l)
	}()
	w.t.Cleanup(func() {
		w.api.Close()
		_ = srv.Close()
		<-done
	})
	return srv, l.Addr().String()
}

// recorder knows its write deadline.
type recorder struct {
	*httptest.ResponseRecorder
	set      int
	deadline time.Time
}

func (r *recorder) SetWriteDeadline(t time.Time) error {
	r.set++
	r.deadline = t
	return nil
}

// TestTailDeadline: each write is bounded, and the silence after it is not: in HTTP/2 a deadline that passes ends the stream.
func TestTailDeadline(t *testing.T) {
	w := newWorld(t)
	rec := &recorder{ResponseRecorder: httptest.NewRecorder()}
	x := &tail{api: w.api, w: rec, rc: http.NewResponseController(rec)}
	x.buf.WriteString(": hello\n\n")
	if err := x.flush(); err != nil || rec.Body.String() != ": hello\n\n" || !rec.Flushed {
		t.Errorf("%q, %v", rec.Body, err)
	}
	if rec.set != 2 || !rec.deadline.IsZero() {
		t.Errorf("set %d times, last to %v", rec.set, rec.deadline)
	}
}

// message is one server-sent event.
type message struct{ id, event, data string }

// subscription reads an event stream.
type subscription struct {
	t    *testing.T
	body io.ReadCloser
	in   *bufio.Reader
}

func subscribe(t *testing.T, addr, query, last string) *subscription {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/api/v1/events"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+testSecret)
	r.Header.Set("Accept", "text/event-stream")
	if last != "" {
		r.Header.Set("Last-Event-ID", last)
	}
	tr := &http.Transport{DisableKeepAlives: true}
	resp, err := tr.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%s %v", resp.Status, resp.Header)
	}
	s := &subscription{t: t, body: resp.Body, in: bufio.NewReader(resp.Body)}
	t.Cleanup(func() {
		cancel()
		_ = s.body.Close()
	})
	s.block() // the greeting: the stream has begun
	return s
}

// block returns the lines up to an empty one.
func (s *subscription) block() []string {
	s.t.Helper()
	var lines []string
	for {
		line, err := s.in.ReadString('\n')
		if err != nil {
			s.t.Fatalf("stream ended: %v", err)
		}
		if line = strings.TrimSuffix(line, "\n"); line == "" {
			return lines
		}
		lines = append(lines, line)
	}
}

// next returns the next message that is not a comment.
func (s *subscription) next() message {
	s.t.Helper()
	for {
		var m message
		for _, l := range s.block() {
			name, value, _ := strings.Cut(l, ": ")
			switch name {
			case "id":
				m.id = value
			case "event":
				m.event = value
			case "data":
				m.data = value
			}
		}
		if m != (message{}) {
			return m
		}
	}
}

func (s *subscription) close() { _ = s.body.Close() }

func TestTail(t *testing.T) {
	w, base := filled(t)
	_, addr := w.listen(ServerConfig{}, w.api)
	live := subscribe(t, addr, "/stream", "")
	resumed := subscribe(t, addr, "?type=on_flow_report&stream=v/a/1", "7-55")
	started := subscribe(t, addr, "?cursor=60", "")
	if m := resumed.next(); m.id != "7-56" || m.event != "" {
		t.Errorf("resumed: %v", m)
	}
	if m := started.next(); m.id != "7-60" {
		t.Errorf("started: %v", m)
	}
	w.raise(record("v/a/1", 21, 500, event.OnFlowReport, base.Add(time.Minute)))
	for name, s := range map[string]*subscription{"live": live, "resumed": resumed, "started": started} {
		m := s.next()
		var e map[string]any
		if err := json.Unmarshal([]byte(m.data), &e); err != nil || m.id != "7-61" || e["id"] != "inc-1f4" || e["position"] != 61.0 {
			t.Errorf("%s: %v %v", name, m, err)
		}
	}
}

func TestTailGaps(t *testing.T) {
	w, _ := filled(t)
	if _, err := w.journal.Trim(11); err != nil {
		t.Fatal(err)
	}
	w.api.deps.Broadcaster = NewBroadcaster() // nothing but the journal
	_, addr := w.listen(ServerConfig{}, w.api)
	s := subscribe(t, addr, "", "4")
	if m := s.next(); m.event != "gap" || m.data != `{"from":5,"to":10,"reason":"retention"}` || m.id != "" {
		t.Errorf("%v", m)
	}
	if m := s.next(); m.id != "7-11" {
		t.Errorf("%v", m)
	}
	s = subscribe(t, addr, "", "900") // greeting and gap come together
	if m := s.next(); m.event != "gap" || m.data != `{"from":61,"to":900,"reason":"reset"}` {
		t.Errorf("%v", m)
	}
	if m := s.next(); m.id != "7-11" {
		t.Errorf("%v", m)
	}
}

// TestTailResume cuts and resumes streams while events are published in batches: every position comes once, in order.
func TestTailResume(t *testing.T) {
	const total, readers = 3000, 4
	w := newWorld(t)
	_, addr := w.listen(ServerConfig{}, w.api)
	first := make([]*subscription, readers)
	for i := range first {
		first[i] = subscribe(t, addr, "?cursor=1", "")
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := 1; n <= total; {
			var recs []*journal.Record
			for range min(1+n%97, total-n+1) {
				recs = append(recs, record("v/a/"+strconv.Itoa(n%5), uint64(n), uint64(n), event.OnStreamChanged, time.Unix(int64(n), 0)))
				n++
			}
			ack, err := w.journal.Append(journal.Batch{Records: recs})
			if err == nil {
				err = ack.Wait()
			}
			if err != nil {
				t.Error(err)
				return
			}
			w.bc.Publish(recs)
		}
	})
	for i, s := range first {
		wg.Go(func() {
			defer func() { s.close() }()
			for n := 1; n <= total; n++ {
				if n%(101+i*50) == 0 {
					s.close()
					s = subscribe(t, addr, "", "7-"+strconv.Itoa(n-1))
				}
				if m := s.next(); m.id != "7-"+strconv.Itoa(n) {
					t.Errorf("reader %d: %v, want %d", i, m, n)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestTailLimits(t *testing.T) {
	w := newWorld(t, func(d *Deps) { d.MaxEventStreams, d.Heartbeat = 1, time.Millisecond })
	_, addr := w.listen(ServerConfig{}, w.api)
	s := subscribe(t, addr, "", "")
	if b := s.block(); fmt.Sprint(b) != "[:]" {
		t.Errorf("heartbeat: %q", b)
	}
	if status, m := w.get("/api/v1/events/stream"); status != 503 || m["code"] != ProblemBusy {
		t.Errorf("%d %v", status, m)
	}
	for _, id := range []string{"x", "-1", "9223372036854775808"} {
		r := request(t, "GET", "/api/v1/events/stream?secret="+testSecret, "", "")
		r.Header.Set("Last-Event-ID", id)
		if rec := w.serve(r); rec.Code != 400 {
			t.Errorf("%s: %d", id, rec.Code)
		}
	}
	w.api.Close()
	if _, err := io.Copy(io.Discard, s.in); err != nil {
		t.Errorf("a stream that the server ends has an end: %v", err)
	}
	if status, m := w.get("/api/v1/events/stream"); status != 503 || m["code"] != ProblemStopping {
		t.Errorf("%d %v", status, m)
	}
}

// stuck is a writer whose client takes nothing.
type stuck struct {
	http.ResponseWriter
	deadline chan time.Time
}

// SetWriteDeadline tells the test of the deadline.
func (s *stuck) SetWriteDeadline(t time.Time) error {
	s.deadline <- t
	return nil
}

// Write fails as a write does when its deadline has passed.
func (s *stuck) Write([]byte) (int, error) { return 0, context.DeadlineExceeded }

func TestSlowClientIsCut(t *testing.T) {
	w, _ := filled(t)
	s := &stuck{ResponseWriter: &discardWriter{h: http.Header{}}, deadline: make(chan time.Time, 9)}
	r := request(t, "GET", "/api/v1/events/stream?cursor=1&secret="+testSecret, "", "")
	w.api.ServeHTTP(s, r)     // returns
	if len(s.deadline) != 2 { // of the request, and of the first write
		t.Errorf("%d deadlines", len(s.deadline))
	}
	if len(w.api.streams) != 0 {
		t.Error("its place is still taken")
	}
}

type discardWriter struct{ h http.Header }

// Header implements http.ResponseWriter.
func (d *discardWriter) Header() http.Header { return d.h }

// Write implements http.ResponseWriter.
func (d *discardWriter) Write(b []byte) (int, error) { return len(b), nil }

// WriteHeader implements http.ResponseWriter.
func (d *discardWriter) WriteHeader(int) {}

func TestBroadcaster(t *testing.T) {
	b := NewBroadcaster()
	at := func(p uint64, size int) *journal.Record {
		return &journal.Record{Position: p, Body: make([]byte, size)}
	}
	b.Publish(nil)
	if recs, wake := b.after(1, 9); recs != nil || wake == nil {
		t.Error("empty")
	}
	_, wake := b.after(1, 9)
	b.Publish([]*journal.Record{at(1, 1), at(2, 1), at(3, 1)})
	<-wake
	if recs, _ := b.after(2, 9); len(recs) != 2 || recs[0].Position != 2 {
		t.Errorf("%v", recs)
	}
	if recs, _ := b.after(1, 2); len(recs) != 2 {
		t.Errorf("%v", recs)
	}
	if recs, wake := b.after(4, 2); recs != nil || wake == nil {
		t.Errorf("%v", recs)
	}
	b.Publish([]*journal.Record{at(7, 1)}) // a hole
	if recs, _ := b.after(3, 9); recs != nil {
		t.Errorf("%v", recs)
	}
	for p := range uint64(3 * ringRecords) {
		b.Publish([]*journal.Record{at(8+p, 0)})
	}
	if len(b.recs) != ringRecords || b.bytes != 0 {
		t.Errorf("%d records, %d bytes", len(b.recs), b.bytes)
	}
	next := b.recs[len(b.recs)-1].Position + 1
	for p := range uint64(10) {
		b.Publish([]*journal.Record{at(next+p, 1<<20)})
	}
	if b.bytes > ringBytes || len(b.recs) != ringBytes>>20 {
		t.Errorf("%d records, %d bytes", len(b.recs), b.bytes)
	}
}

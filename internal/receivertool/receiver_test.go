package receivertool

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/leaktest"
	"github.com/hookline/hookline/internal/ordercheck"
)

func TestMain(m *testing.M) {
	// net/http gives a client half a second to read an answer that ends the connection.
	leaktest.Main(m, goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait"))
}

// buffer is a bytes.Buffer that several goroutines may use.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func start(t *testing.T, cfg Config) *Receiver {
	t.Helper()
	r, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// client returns a client whose connections end with the test.
func client(t *testing.T) *http.Client {
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func post(ctx context.Context, c *http.Client, url, body string) (int, string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	resp, err := c.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(raw), err
}

// began is when the events of the tests were raised: an event keeps its time when it is made again.
var began = time.Now().Add(-time.Minute)

func envelope(typ event.Type, stream string, seq uint64) string {
	order := fmt.Sprintf(`"seq":%d,"prev":%d,`, seq, max(seq, 1)-1)
	if seq == 0 {
		order = `"after":4,`
	}
	return fmt.Sprintf(`"event":{"id":"%s-%d-%s","type":%q,"source":"srv","incarnation":"i","epoch":1767319445678,`+
		`"stream":%q,"publication":"publication-1",%s"time":%q}`,
		typ, seq, stream, typ, stream, order, began.Add(time.Duration(seq)).UTC().Format(time.RFC3339Nano))
}

// changed is the body of a register.
func changed(stream string, seq uint64) string {
	return fmt.Sprintf(`{"hook_index":%d,"schema":"s%d","regist":true,%s}`, seq, seq, envelope(event.OnStreamChanged, stream, seq))
}

func TestAnswers(t *testing.T) {
	r := start(t, Config{Replies: map[event.Type]string{event.OnPlay: `{"code":-1,"msg":"no"}`}})
	c := client(t)
	tests := []struct {
		path, body string
		status     int
		want       string
	}{
		{"/index/hook/on_publish", `{"hook_index":1}`, 200, `{"code":0,"msg":"success"}`},
		{"/anything/on_publish/?a=b", `{}`, 200, `{"code":0,"msg":"success"}`},
		{"/on_stream_none_reader", `{}`, 200, `{"code":0,"msg":"success","close":false}`},
		{"/index/hook/on_stream_not_found", `{}`, 200, `{"code":0,"msg":"success","close":false}`},
		{"/index/hook/on_http_access", `{}`, 200, `{"code":0,"msg":"success","err":"","path":"","second":0}`},
		{"/index/hook/on_rtsp_realm", `{}`, 200, `{"code":0,"msg":"success","realm":""}`},
		{"/index/hook/on_play", `{}`, 200, `{"code":-1,"msg":"no"}`},
		{"/index/hook/on_else", `{}`, 404, `"code":-1`},
		{"/", `{}`, 404, `"code":-1`},
		{"/index/hook/on_play", `{`, 400, `"code":-1`},
		{"/index/hook/on_play", `[]`, 400, `"code":-1`},
		{"/index/hook/on_play", `{"a":"` + strings.Repeat("x", MaxBody) + `"}`, 413, `"code":-1`},
	}
	for _, tt := range tests {
		status, body, err := post(t.Context(), c, "http://"+r.Addr()+tt.path, tt.body)
		if err != nil || status != tt.status || !strings.Contains(body, tt.want) {
			t.Errorf("%s: %d %s %v", tt.path, status, body, err)
		}
	}
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, r.URL(event.OnPlay), nil)
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d", resp.StatusCode)
	}
	if s := r.Snapshot(); s.Requests != 13 || s.Accepted != 7 || s.Plain != 7 || s.Refused != 6 || !s.Up {
		t.Errorf("%+v", s)
	}
	if rep := r.Checker().Report(); rep.Violations[ordercheck.Malformed] != 2 {
		t.Error(rep)
	}
}

func TestOrderIsChecked(t *testing.T) {
	var out buffer
	r := start(t, Config{Out: &out})
	c := client(t)
	for _, seq := range []uint64{1, 2, 2, 4, 3} {
		if status, body, err := post(t.Context(), c, r.URL(event.OnStreamChanged), changed("v/live/a", seq)); status != 200 {
			t.Fatal(status, body, err)
		}
	}
	rep := r.Checker().Report()
	if rep.Violations[ordercheck.OutOfOrder] != 1 || rep.Violations[ordercheck.Gap] != 1 || rep.Duplicates != 1 || rep.Total() != 2 {
		t.Error(rep)
	}
	text := out.String()
	for _, want := range []string{"2 (prev 1)", "register s1", "pub cation-1", " again attempt 2", "!! VIOLATION out_of_order", "seq 3 was accepted after seq 4"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
	if s := r.Snapshot(); s.Max == 0 || s.P50 == 0 || s.P50 > s.P99 || s.P99 > s.Max {
		t.Errorf("latency %v %v %v", s.P50, s.P99, s.Max)
	}
}

// cloudEvent is a register as CloudEvent.
func cloudEvent(stream string, seq uint64) []byte {
	prev := seq - 1
	e := event.Envelope{
		ID: fmt.Sprintf("ce-%s-%d", stream, seq), Type: event.OnStreamChanged, Source: "srv", Incarnation: "i",
		Epoch: 1767319445678, Stream: stream, Publication: "p", Seq: seq, Prev: &prev,
		Time: time.Unix(1767319446, int64(seq)).UTC(),
	}
	return event.AppendCloudEvent(nil, &e, seq, fmt.Appendf(nil, `{"schema":"s%d","regist":true}`, seq))
}

func postAs(t *testing.T, c *http.Client, url, contentType string, body []byte) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// CloudEvents are read at any path, alone and in batches; a batch is judged event by event and counted so.
func TestCloudEvents(t *testing.T) {
	var out buffer
	r := start(t, Config{Out: &out})
	c := client(t)
	url := "http://" + r.Addr() + "/any/path"
	batch := func(events ...[]byte) []byte { return []byte("[" + string(bytes.Join(events, []byte(","))) + "]") }
	const one, many = "application/cloudevents+json; charset=utf-8", "application/cloudevents-batch+json"
	for _, tt := range []struct {
		contentType string
		body        []byte
		status      int
	}{
		{one, cloudEvent("v/a/x", 1), 200},
		{many, batch(cloudEvent("v/a/x", 2), cloudEvent("v/a/x", 3), cloudEvent("v/a/y", 1)), 200},
		{many, batch(cloudEvent("v/a/y", 1), cloudEvent("v/a/y", 2)), 200},
		{many, batch(cloudEvent("v/a/z", 2), cloudEvent("v/a/z", 1)), 200}, // out of order
		{many, batch(), 400},
		{many, cloudEvent("v/a/x", 4), 400},
		{one, []byte(`{}`), 400},
		{"application/json", cloudEvent("v/a/x", 4), 404},
	} {
		if got := postAs(t, c, url, tt.contentType, tt.body); got != tt.status {
			t.Errorf("%s %s: %d, want %d", tt.contentType, tt.body, got, tt.status)
		}
	}
	s, rep := r.Snapshot(), r.Checker().Report()
	if s.Accepted != 8 || s.Batches != 3 || s.Refused != 4 || s.Requests != 12 || rep.Duplicates != 1 || rep.Events != 7 ||
		rep.Violations[ordercheck.OutOfOrder] != 1 || rep.Violations[ordercheck.Overlap] != 0 {
		t.Errorf("%+v %s", s, rep)
	}
	if text := out.String(); !strings.Contains(text, "batch of 3") || !strings.Contains(text, "register s3") {
		t.Errorf("printed\n%s", text)
	}
}

// A batch fails as a whole.
func TestBatchFailsAsAWhole(t *testing.T) {
	r := start(t, Config{Faults: Faults{FailRate: 0.3}, Seed: 3})
	c := client(t)
	body := []byte("[")
	for i := range 30 {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(body, cloudEvent(fmt.Sprintf("v/a/%d", i), 1)...)
	}
	body = append(body, ']')
	if got := postAs(t, c, "http://"+r.Addr(), "application/cloudevents-batch+json", body); got != 500 {
		t.Errorf("status %d", got)
	}
	if s := r.Snapshot(); s.Failed != 30 || s.Accepted != 0 || r.Checker().Report().Events != 0 {
		t.Errorf("%+v", s)
	}
}

func TestFailures(t *testing.T) {
	outcomes := func(seed uint64) (list []string) {
		r := start(t, Config{Faults: Faults{FailRate: 0.5}, Seed: seed, OnEvent: func(got Received) {
			list = append(list, fmt.Sprint(got.Parsed.Event.Seq, got.Attempt, got.Outcome))
		}})
		c := client(t)
		for seq := uint64(1); seq <= 20; seq++ {
			for status := 0; status != 200; {
				status, _, _ = post(t.Context(), c, r.URL(event.OnStreamChanged), changed("v/live/a", seq))
				if status != 200 && status != 500 {
					t.Fatal(status)
				}
			}
		}
		if rep := r.Checker().Report(); !rep.OK() || rep.Deliveries != 20 {
			t.Error(rep)
		}
		if s := r.Snapshot(); s.Failed == 0 || s.Accepted != 20 || s.Requests != 20+s.Failed {
			t.Errorf("%+v", s)
		}
		_ = r.Close()
		return list
	}
	first := outcomes(1)
	if !slices.Equal(first, outcomes(1)) {
		t.Error("the same seed gives another course")
	}
	if slices.Equal(first, outcomes(2)) {
		t.Error("another seed gives the same course")
	}
}

func TestFaultsAreIndependentOfTheOrderOfArrival(t *testing.T) {
	f := Faults{Delay: time.Second, Jitter: time.Second, FailRate: 0.3, HangRate: 0.2}
	fails, hangs := 0, 0
	for i := range 10_000 {
		got := f.decide(7, fmt.Sprint("e", i), 1)
		if got != f.decide(7, fmt.Sprint("e", i), 1) {
			t.Fatal("not deterministic")
		}
		if got.delay < time.Second || got.delay >= 2*time.Second {
			t.Fatal(got.delay)
		}
		if got.fail {
			fails++
		}
		if got.hang {
			hangs++
		}
	}
	if fails < 2800 || fails > 3200 || hangs < 1800 || hangs > 2200 {
		t.Errorf("%d fail, %d hang of 10,000", fails, hangs)
	}
	always := Faults{FailRate: 1}
	if got := always.decide(1, "x", 1); !got.fail || got.hang || got.delay != 0 {
		t.Errorf("%+v", got)
	}
}

func TestAttemptsAreBounded(t *testing.T) {
	a := attempts{count: map[string]int{}}
	for i := range maxCounted + 10 {
		a.add(fmt.Sprint(i))
	}
	if len(a.count) != maxCounted || a.add("0") != 1 || a.add(fmt.Sprint(maxCounted)) != 2 {
		t.Errorf("%d counted", len(a.count))
	}
}

func TestHang(t *testing.T) {
	hung := make(chan Received, 1)
	r := start(t, Config{Faults: Faults{HangRate: 1}, OnEvent: func(got Received) { hung <- got }})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	c := client(t)
	go func() {
		_, _, err := post(ctx, c, r.URL(event.OnStreamChanged), changed("v/live/a", 1))
		done <- err
	}()
	if got := <-hung; got.Outcome != Hung {
		t.Error(got.Outcome)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	// A receiver that is closed lets go of what it left hanging.
	go func() {
		_, _, err := post(t.Context(), c, r.URL(event.OnStreamChanged), changed("v/live/a", 1))
		done <- err
	}()
	<-hung
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; err == nil {
		t.Error("a hanging request was answered")
	}
	if rep := r.Checker().Report(); rep.Deliveries != 0 || r.Snapshot().Hung != 2 {
		t.Error(rep)
	}
}

func TestWhatTheSenderGaveUpIsNotAccepted(t *testing.T) {
	gone := make(chan Received, 1)
	r := start(t, Config{Faults: Faults{Delay: time.Hour}, OnEvent: func(got Received) { gone <- got }})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	c := client(t)
	go func() {
		defer close(done)
		_, _, _ = post(ctx, c, r.URL(event.OnStreamChanged), changed("v/live/a", 1))
	}()
	for r.Snapshot().Requests == 0 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	<-done
	if got := <-gone; got.Outcome != Abandoned {
		t.Error(got.Outcome)
	}
	if err := r.SetFaults(Faults{}); err != nil {
		t.Fatal(err)
	}
	if status, _, err := post(t.Context(), c, r.URL(event.OnStreamChanged), changed("v/live/a", 1)); status != 200 {
		t.Error(status, err)
	}
	if rep := r.Checker().Report(); rep.Deliveries != 1 || rep.Duplicates != 0 {
		t.Error(rep)
	}
}

func TestDownAndUp(t *testing.T) {
	r := start(t, Config{})
	c := client(t)
	url := r.URL(event.OnStreamChanged)
	for seq := uint64(1); seq <= 3; seq++ {
		if status, _, err := post(t.Context(), c, url, changed("v/live/a", seq)); status != 200 {
			t.Fatal(status, err)
		}
		r.Down()
		r.Down()
		c.CloseIdleConnections()
		if _, _, err := post(t.Context(), c, url, changed("v/live/a", seq+1)); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("while down: %v", err)
		}
		if r.Snapshot().Up {
			t.Error("up while down")
		}
		for range 2 {
			if err := r.Up(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if rep := r.Checker().Report(); !rep.OK() || rep.Events != 3 {
		t.Error(rep)
	}
	r.Down()
	_ = r.Close()
	_ = r.Close()
	if err := r.Up(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("Up after Close: %v", err)
	}
}

func TestConcurrentStreams(t *testing.T) {
	var out buffer
	r := start(t, Config{Out: &out, JSON: true, Faults: Faults{FailRate: 0.2, Jitter: time.Millisecond}})
	c := client(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for seq := uint64(1); seq <= 25; seq++ {
				body := strings.Replace(changed(fmt.Sprint("v/live/", i), seq), `"hook_index":`, fmt.Sprintf(`"hook_index":%d`, i+1), 1)
				for status := 0; status != 200; {
					var err error
					if status, _, err = post(t.Context(), c, r.URL(event.OnStreamChanged), body); err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
	rep := r.Checker().Report()
	if !rep.OK() || rep.Events != 200 || rep.Keys != 8 {
		t.Error(rep)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if s := r.Snapshot(); len(lines) != s.Requests {
		t.Errorf("%d lines for %d requests", len(lines), s.Requests)
	}
	for _, line := range lines {
		var got Received
		if err := json.Unmarshal([]byte(line), &got); err != nil || got.Hook != event.OnStreamChanged || len(got.Body) == 0 {
			t.Fatalf("%v in %s", err, line)
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	bad := []Config{
		{Faults: Faults{FailRate: 1.5}},
		{Faults: Faults{HangRate: -1}},
		{Faults: Faults{Delay: -1}},
		{Outages: []Outage{{At: 0, For: 0}}},
		{Outages: []Outage{{At: 0, For: 5}, {At: 4, For: 5}}},
		{Replies: map[event.Type]string{event.OnPlay: "yes"}},
		{Replies: map[event.Type]string{event.OnPlay: "null"}},
		{Replies: map[event.Type]string{"on_else": "{}"}},
		{Addr: "no such address"},
	}
	for _, cfg := range bad {
		if r, err := Start(t.Context(), cfg); err == nil {
			_ = r.Close()
			t.Errorf("accepted: %+v", cfg)
		}
	}
	if err := start(t, Config{}).SetFaults(Faults{FailRate: 2}); err == nil {
		t.Error("accepted a rate of 2")
	}
}

func TestOutageText(t *testing.T) {
	want := Outage{At: 5 * time.Second, For: 10 * time.Second}
	for _, s := range []string{"5s:10s", "at 5s for 10s", "5s for 10s", want.String()} {
		var o Outage
		if err := o.UnmarshalText([]byte(s)); err != nil || o != want {
			t.Errorf("%q: %v %v", s, o, err)
		}
	}
	for _, s := range []string{"", "5s", "5:10", "5s:", "-1s:1s", "1s:0s", "1s for ever"} {
		if err := new(Outage).UnmarshalText([]byte(s)); err == nil {
			t.Errorf("%q was accepted", s)
		}
	}
}

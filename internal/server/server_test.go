package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/leaktest"
	"github.com/hookline/hookline/internal/natstest"
	"github.com/hookline/hookline/internal/ordercheck"
	"github.com/hookline/hookline/internal/pubtool"
	"github.com/hookline/hookline/internal/server"
)

func TestMain(m *testing.M) {
	// net/http gives a client half a second to read an answer that ends the connection.
	leaktest.Main(m, goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait"))
}

// patience is what everything may take that has to come, on a machine where everything is slow.
const patience = 10 * time.Minute

// door is a listener that hangs up on everybody while it is shut. Its port stays taken: nobody else can get it meanwhile.
type door struct {
	net.Listener
	shut atomic.Bool
}

// Accept implements net.Listener.
func (d *door) Accept() (net.Conn, error) {
	for {
		c, err := d.Listener.Accept()
		if err != nil || !d.shut.Load() {
			return c, err
		}
		_ = c.Close()
	}
}

// sink is a receiver that can be away.
type sink struct {
	addr   string
	status int
	door   *door
	read   func(h http.Header, body []byte) error

	mu  sync.Mutex
	err error
	srv *http.Server
	n   int
}

func newSink(t *testing.T, status int, read func(h http.Header, body []byte) error) *sink {
	t.Helper()
	s := &sink{status: status, read: read}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.door, s.addr = &door{Listener: l}, l.Addr().String()
	s.srv = &http.Server{ReadHeaderTimeout: patience, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		s.mu.Lock()
		if err = errors.Join(err, s.read(r.Header, body)); err != nil && s.err == nil {
			s.err = err
		}
		s.n++
		s.mu.Unlock()
		w.WriteHeader(s.status)
		if s.status == http.StatusOK {
			_, _ = io.WriteString(w, `{"code":0}`)
		}
	})}
	go func() { _ = s.srv.Serve(s.door) }()
	return s
}

func (s *sink) down(t *testing.T) {
	t.Helper()
	if err := s.srv.Close(); err != nil {
		t.Error(err)
	}
}

func (s *sink) failed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// chain checks that the events of each key follow each other: prev is the seq that came before.
type chain struct {
	last  map[string]uint64
	types map[event.Type]int
}

func (c *chain) add(e event.Envelope) error {
	if e.Seq == 0 {
		return nil
	}
	c.types[e.Type]++
	last, known := c.last[e.Stream]
	if known && e.Seq <= last {
		return nil // again
	}
	if *e.Prev != last {
		return fmt.Errorf("%s: seq %d follows %d, but the last one accepted was %d", e.Stream, e.Seq, *e.Prev, last)
	}
	c.last[e.Stream] = e.Seq
	return nil
}

// queued reads everything that is in the queue.
func queued(t *testing.T, url string, check *ordercheck.Checker) {
	t.Helper()
	nc, err := nats.Connect(url, nats.Timeout(patience))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	stream, err := js.Stream(ctx, "EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	// One by one: a fetch that waits for nothing ends early when the queue is slow.
	state := stream.CachedInfo().State
	for seq := state.FirstSeq; seq <= state.LastSeq; seq++ {
		m, err := stream.GetMsg(ctx, seq)
		if err != nil {
			t.Fatal(err)
		}
		b, err := ordercheck.Parse(m.Data)
		if err != nil {
			t.Fatal(err)
		}
		check.Add(ordercheck.Delivery{Body: b})
	}
}

// Three receivers with different filters and forms, one of them away during the run, and a queue: each sees its own
// complete order, and prev never lies. In the end one is removed live.
func TestEndpoints(t *testing.T) {
	dir := t.TempDir()
	secret := event.GenerateSecret()
	verifier, err := event.NewVerifier([]event.Secret{secret}, nil)
	if err != nil {
		t.Fatal(err)
	}
	check := ordercheck.New(ordercheck.Options{})
	hook := newSink(t, http.StatusOK, func(_ http.Header, body []byte) error {
		b, err := ordercheck.Parse(body)
		if err == nil {
			check.Add(ordercheck.Delivery{Body: b})
		}
		return err
	})
	billing := &chain{last: map[string]uint64{}, types: map[event.Type]int{}}
	cloud := newSink(t, http.StatusNoContent, func(h http.Header, body []byte) error {
		if err := verifier.Verify(h, body); err != nil {
			return err
		}
		e, _, _, err := event.ParseCloudEvent(body)
		if err == nil && !strings.Contains(e.Stream, "/live/s_1") && e.Stream != "" {
			err = fmt.Errorf("%s does not match the filter", e.Stream)
		}
		return errors.Join(err, billing.add(e))
	})
	ops := ordercheck.New(ordercheck.Options{})
	away := newSink(t, http.StatusOK, func(_ http.Header, body []byte) error {
		b, err := ordercheck.Parse(body)
		if err == nil {
			ops.Add(ordercheck.Delivery{Body: b})
		}
		return err
	})
	away.door.shut.Store(true)

	queue := natstest.URL(t)
	text := fmt.Sprintf(`[general]
listen_ip=127.0.0.1
flowThreshold=0
mediaServerId=test
[protocol]
enable_hls=0
[rtmp]
port=65535
handshakeSecond=600
keepAliveSecond=600
[http]
port=65535
[rtsp]
port=65535
[server]
state_dir=%[1]s
[delivery]
backoff_min_ms=20
backoff_max_ms=200
drain_ms=600000
[hook]
enable=1
on_stream_changed=http://%[2]s/on_stream_changed
on_publication_ended=http://%[2]s/on_publication_ended
on_flow_report=http://%[2]s/on_flow_report
[endpoint.log]
url=%[6]s/events?create=1
[endpoint.ops]
url=http://%[4]s/ops
events=on_stream_*, on_publication_ended
[endpoint.billing]
url=http://%[3]s/billing
streams=live/s_1*
format=cloudevents
history=1
secret=%[5]s
`, dir, hook.addr, cloud.addr, away.addr, secret.Reveal(), queue)
	file := filepath.Join(dir, "config.ini")
	write := func(s string) {
		if err := os.WriteFile(file, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(text)
	quiet := slog.New(slog.DiscardHandler)
	s, err := server.Start(t.Context(), server.Options{ConfigPath: file, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	publish := func(n int) {
		_, err := pubtool.Run(t.Context(), pubtool.Config{
			URL: "rtmp://" + s.RTMPAddr() + "/live/s", Streams: 12, Churn: true, Count: n, Life: 100 * time.Millisecond, Quiet: true, Timeout: patience,
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	publish(60)
	away.door.shut.Store(false)
	publish(40)
	stop := func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.Stop(ctx); err != nil {
			t.Error(err)
		}
	}
	wait := func(what string, ok func() bool) {
		t.Helper()
		for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			if ok() {
				return
			}
		}
		t.Fatalf("%s: still not", what)
	}
	ended := func(c *ordercheck.Checker) bool {
		r := c.Report()
		return r.Publications == 100 && r.Open == 0
	}
	wait("the hook receiver has every publication to its end", func() bool { return ended(check) })
	wait("the receiver that was away, too", func() bool { return ended(ops) })

	// Without ops: its place is released, and a new one of that name begins at now.
	write(strings.Split(text, "[endpoint.ops]")[0] + "[endpoint.billing]" + strings.Split(text, "[endpoint.billing]")[1])
	if err := s.Reload(); err != nil {
		t.Fatal(err)
	}
	before := ops.Report().Deliveries
	publish(5)
	if n := ops.Report().Deliveries; n != before {
		t.Errorf("a removed endpoint got %d events", n-before)
	}
	stop()

	log := ordercheck.New(ordercheck.Options{})
	queued(t, queue, log)
	if r := log.Report(); r.Publications != 105 || r.Open != 0 {
		t.Errorf("the queue holds %d publications, %d without an end", r.Publications, r.Open)
	}
	for name, r := range map[string]ordercheck.Report{"hook": check.Report(), "ops": ops.Report(), "log": log.Report()} {
		if !r.OK() || r.GapNotices > 0 {
			t.Errorf("%s: %s", name, r)
		}
	}
	for _, k := range []*sink{hook, cloud, away} {
		if err := k.failed(); err != nil {
			t.Error(err)
		}
		k.down(t)
	}
	if billing.types[event.OnPublish] == 0 || billing.types[event.OnPublicationEnded] == 0 {
		t.Errorf("billing got %v", billing.types)
	}
}

// A replay to a receiver that is down ends as failed, says why, and leaves nothing behind; so does one whose endpoint
// is removed.
func TestReplayToReceiverThatIsDown(t *testing.T) {
	dir := t.TempDir()
	away := newSink(t, http.StatusOK, func(http.Header, []byte) error { return nil })
	t.Cleanup(func() { away.down(t) })
	away.door.shut.Store(true)
	text := fmt.Sprintf(`[general]
listen_ip=127.0.0.1
mediaServerId=test
[api]
secret=replay-secret
[protocol]
enable_hls=0
[rtmp]
port=65535
handshakeSecond=600
keepAliveSecond=600
[http]
port=65535
[rtsp]
port=65535
[server]
state_dir=%s
[endpoint.ops]
url=http://%s/ops
format=cloudevents
batch=10
`, dir, away.addr)
	file := filepath.Join(dir, "config.ini")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := server.Start(t.Context(), server.Options{ConfigPath: file, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pubtool.Run(t.Context(), pubtool.Config{
		URL: "rtmp://" + s.RTMPAddr() + "/live/s", Streams: 2, Churn: true, Count: 4, Life: 50 * time.Millisecond, Quiet: true, Timeout: patience,
	}); err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	call := func(method, path, body string) map[string]any {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+s.HTTPAddr()+"/api/v1/"+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer replay-secret")
		req.Header.Set("Content-Type", "application/json")
		resp, err := (&http.Client{Transport: tr}).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var m map[string]any
		if err := json.NewDecoder(resp.Body).Decode(&m); err != nil {
			t.Fatal(err)
		}
		return m
	}
	for deadline := time.Now().Add(patience); ; {
		if count, _ := call(http.MethodPost, "replays", `{"endpoint":"ops","dryRun":true}`)["count"].(float64); count > 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("nothing is journaled")
		}
		time.Sleep(20 * time.Millisecond)
	}
	// Two kinds of an end: the receiver takes nothing, and the endpoint goes.
	for _, c := range []struct{ stall, why string }{{"1", "nothing of it"}, {"86400", "was removed"}} {
		r := call(http.MethodPost, "replays", `{"endpoint":"ops","stallSeconds":`+c.stall+`}`)
		if r["state"] != "running" {
			t.Fatalf("%v", r)
		}
		id, _ := r["id"].(string)
		if c.stall != "1" {
			gone := strings.Split(text, "[endpoint.ops]")[0]
			if err := os.WriteFile(file, []byte(gone), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := s.Reload(); err != nil {
				t.Fatal(err)
			}
		}
		for deadline := time.Now().Add(patience); r["state"] == "running"; {
			if time.Now().After(deadline) {
				t.Fatalf("still running: %v", r)
			}
			time.Sleep(20 * time.Millisecond)
			r = call(http.MethodGet, "replays/"+id, "")
		}
		if why, _ := r["error"].(string); r["state"] != "failed" || !strings.Contains(why, c.why) || r["ended"] == nil || r["delivered"] != 0.0 {
			t.Errorf("%v", r)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.Stop(ctx); err != nil {
		t.Error(err)
	}
}

package queuetest

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hookline/hookline/internal/queue/port"
)

// Run checks a kind of destination against a server.
func Run(t *testing.T, srv Server, open Opener) {
	s := suite{srv: srv, open: open}
	t.Run("Content", s.content)
	t.Run("OrderThroughFaults", s.faults)
	t.Run("OrderThroughRestart", s.restart)
	t.Run("GivenUp", s.givenUp)
	t.Run("Cancelled", s.cancelled)
	t.Run("Unavailable", s.unavailable)
	t.Run("Rejected", s.rejected)
	t.Run("Close", s.close)
	t.Run("Secrets", s.secrets)
	t.Run("TLS", s.tls)
}

type suite struct {
	srv  Server
	open Opener
}

func (s suite) destination(tb testing.TB, rawURL string, opts port.Options) port.Destination {
	tb.Helper()
	d, err := s.open(tb, rawURL, opts)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := d.Close(); err != nil {
			tb.Errorf("Close: %v", err)
		}
	})
	return d
}

func patient(tb testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(tb.Context(), patience)
	tb.Cleanup(cancel)
	return ctx
}

// keys have all that an encoding can trip over.
func keys() []string {
	return []string{
		"", "__defaultVhost__/live/a", "vhost.example.org/live/camera 1", "v/a/*", "v/a/>", "v/a/#", "v//x", "/", "v/a/%41",
		"v/a/Straße/直播", "v/a/\x00\x7f\xff", "v/a/q?x=1&y=:;,=\"'",
	}
}

func (s suite) content(t *testing.T) {
	q := s.srv.Queue(t)
	d := s.destination(t, q.URL, options(NewNet(t), nil, nil))
	l := NewLanes(d)
	ctx := patient(t)
	for _, key := range keys() {
		if err := l.Deliver(ctx, NewMessage(key, 1)); err != nil {
			t.Fatalf("key %q: %v", key, err)
		}
	}
	notice := port.Message{Key: "gap", ID: "gap-1", Type: "on_event_gap", Epoch: 7, Body: []byte("{}")}
	if err := l.Deliver(ctx, notice); err != nil {
		t.Fatal(err)
	}
	seen := map[string]Entry{}
	for _, e := range q.Read(t) {
		seen[e.Key] = e
	}
	for _, key := range keys() {
		want, got := NewMessage(key, 1), seen[key]
		if got.ID != want.ID || got.Body != string(want.Body) {
			t.Errorf("key %q: id %q, body %q", key, got.ID, got.Body)
		}
		for name, value := range want.Headers() {
			if got.Header[name] != value {
				t.Errorf("key %q: header %s is %q, want %q", key, name, got.Header[name], value)
			}
		}
	}
	gap := seen["gap"]
	if _, ok := gap.Header[port.HeaderSeq]; ok || gap.Header[port.HeaderEpoch] != "7" || gap.Header[port.HeaderType] != "on_event_gap" {
		t.Errorf("gap notice: headers %v", gap.Header)
	}
}

// laneKeys are enough for lanes to disturb each other.
func laneKeys() []string {
	return []string{"v/live/a", "v/live/b", "v/live/c", "v/live/d", "v/live/e", "v/live/f", "v/live/g", ""}
}

func (s suite) faults(t *testing.T) {
	const n, step = 60, 40
	q, n1 := s.srv.Queue(t), NewNet(t)
	l := NewLanes(s.destination(t, q.URL, options(n1, nil, nil)))
	var chaos sync.WaitGroup
	chaos.Go(func() {
		for _, fault := range []Mode{Pass, Hole, Slow, Refuse, Pass, Hole, Pass} {
			l.Acked(step)
			switch fault {
			case Hole, Refuse:
				n1.Set(fault)
				l.Failed(len(laneKeys()))
				n1.Set(Pass)
			case Slow:
				n1.Set(Slow)
				l.Acked(step / 2)
				n1.Cut()
			default:
				n1.Cut()
			}
		}
		n1.Set(Pass)
	})
	l.Run(patient(t), t, laneKeys(), n)
	n1.Set(Pass)
	chaos.Wait()
	again := Check(t, q.Read(t), laneKeys(), n)
	t.Logf("%d of %d messages more than once", again, n*len(laneKeys()))
}

func (s suite) restart(t *testing.T) {
	const n = 40
	q := s.srv.Queue(t)
	l := NewLanes(s.destination(t, q.URL, options(NewNet(t), nil, nil)))
	var chaos sync.WaitGroup
	chaos.Go(func() {
		l.Acked(n)
		s.srv.Stop(t)
		l.Failed(len(laneKeys()))
		s.srv.Start(t)
	})
	l.Run(patient(t), t, laneKeys(), n)
	chaos.Wait()
	again := Check(t, q.Read(t), laneKeys(), n)
	t.Logf("%d of %d messages more than once", again, n*len(laneKeys()))
}

// givenUp: a message that timed out and was given up does not land behind its successors.
func (s suite) givenUp(t *testing.T) {
	const key, rounds = "v/live/given-up", 3
	q, n := s.srv.Queue(t), NewNet(t)
	d := s.destination(t, q.URL, options(n, nil, nil))
	l := NewLanes(d)
	ctx := patient(t)
	lost := map[string]bool{}
	for i := 1; i <= 2*rounds; i += 2 {
		if err := l.Deliver(ctx, NewMessage(key, i)); err != nil {
			t.Fatal(err)
		}
		n.Set(Hole)
		short, cancel := context.WithTimeout(ctx, attemptTimeout/4)
		m := NewMessage(key, i+1)
		err := d.Publish(short, m)
		cancel()
		if err == nil || errors.Is(err, port.ErrRejected) {
			t.Fatalf("message %d into a hole: %v", i+1, err)
		}
		lost[m.ID] = true
		n.Set(Pass)
	}
	if err := l.Deliver(ctx, NewMessage(key, 2*rounds+1)); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	top := 0
	for _, e := range q.Read(t) {
		var i int
		for i = 1; NewMessage(key, i).ID != e.ID; i++ {
			if i > 100 {
				t.Fatalf("unknown id %q", e.ID)
			}
		}
		if i < top && lost[e.ID] {
			t.Errorf("message %d, given up, landed behind %d", i, top)
		}
		top = max(top, i)
	}
	if top != 2*rounds+1 {
		t.Errorf("last message is %d", top)
	}
}

// inHole publishes message i of key, into a hole, and returns where its result comes once bytes have vanished there. The
// messages before it are delivered. A client that asks its server for signs of life may find the connection dead before it has
// sent anything; then it has another try with a new one.
func inHole(ctx context.Context, t *testing.T, d port.Destination, n *Net, key string, i int) <-chan error {
	t.Helper()
	for {
		n.Set(Pass)
		if err := NewLanes(d).Deliver(ctx, NewMessage(key, i-1)); err != nil {
			t.Fatal(err)
		}
		n.Set(Hole)
		result := make(chan error, 1)
		go func() { result <- d.Publish(ctx, NewMessage(key, i)) }()
		select {
		case <-n.Swallowed():
			return result
		case err := <-result:
			if !errors.Is(err, port.ErrUnavailable) {
				t.Fatalf("before it was sent: %v", err)
			}
		}
	}
}

func (s suite) cancelled(t *testing.T) {
	const key = "v/live/cancelled"
	q, n := s.srv.Queue(t), NewNet(t)
	d := s.destination(t, q.URL, options(n, nil, nil))
	patient := patient(t)
	for lost := true; lost; {
		ctx, cancel := context.WithCancel(patient)
		result := inHole(ctx, t, d, n, key, 2)
		cancel()
		err := <-result
		lost = errors.Is(err, port.ErrUnavailable) // the client was faster
		if !lost && (!errors.Is(err, context.Canceled) || errors.Is(err, port.ErrRejected)) {
			t.Errorf("cancelled: %v", err)
		}
	}
	n.Set(Pass)
	l := NewLanes(d)
	for i := 2; i <= 3; i++ {
		if err := l.Deliver(patient, NewMessage(key, i)); err != nil {
			t.Fatal(err)
		}
	}
	Check(t, q.Read(t), []string{key}, 3)
}

func (s suite) unavailable(t *testing.T) {
	q, n := s.srv.Queue(t), NewNet(t)
	n.Set(Refuse)
	d := s.destination(t, q.URL, options(n, nil, nil))
	m := NewMessage("v/live/u", 1)
	for range 20 {
		if err := d.Publish(patient(t), m); !errors.Is(err, port.ErrUnavailable) || errors.Is(err, port.ErrRejected) {
			t.Fatalf("while nothing answers: %v", err)
		}
	}
	n.Set(Pass)
	if err := NewLanes(d).Deliver(patient(t), m); err != nil {
		t.Fatal(err)
	}
}

func (s suite) rejected(t *testing.T) {
	q := s.srv.Queue(t)
	if len(q.Rejected) == 0 {
		t.Fatal("no cases")
	}
	for name, c := range q.Rejected {
		t.Run(name, func(t *testing.T) {
			if c.URL == "" {
				c.URL = q.URL
			}
			opts := options(NewNet(t), nil, nil)
			opts.MaxBytes = 64 << 20
			l := NewLanes(s.destination(t, c.URL, opts))
			for range 2 {
				if err := l.Deliver(patient(t), c.Message); !errors.Is(err, port.ErrRejected) {
					t.Errorf("got %v", err)
				}
			}
		})
	}
	t.Run("limit", func(t *testing.T) {
		opts := options(NewNet(t), nil, nil)
		opts.MaxBytes = 10
		m := NewMessage("v/live/a", 1)
		m.Body = make([]byte, 11)
		if err := NewLanes(s.destination(t, q.URL, opts)).Deliver(patient(t), m); !errors.Is(err, port.ErrRejected) {
			t.Errorf("got %v", err)
		}
	})
}

func (s suite) close(t *testing.T) {
	q, n := s.srv.Queue(t), NewNet(t)
	ctx := patient(t)
	for lost := true; lost; {
		d := s.destination(t, q.URL, options(n, nil, nil))
		result := inHole(ctx, t, d, n, "v/live/a", 2)
		for range 2 {
			if err := d.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		}
		err := <-result
		lost = errors.Is(err, port.ErrUnavailable) // the client was faster
		if !lost && !errors.Is(err, port.ErrClosed) {
			t.Errorf("in flight: %v", err)
		}
		if err := d.Publish(ctx, NewMessage("v/live/a", 2)); !errors.Is(err, port.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	}
	for _, mode := range []Mode{Refuse, Hole} {
		n.Set(mode)
		opts := options(n, nil, nil)
		opts.ConnectTimeout = time.Hour
		d := s.destination(t, q.URL, opts)
		if mode == Hole {
			<-n.Swallowed()
		}
		if err := d.Close(); err != nil {
			t.Errorf("Close before there was a connection: %v", err)
		}
	}
}

// record keeps log lines.
type record struct {
	mu sync.Mutex
	strings.Builder
}

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.Builder.Write(p)
}

func (r *record) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.String()
}

func (s suite) secrets(t *testing.T) {
	q := s.srv.Queue(t)
	var log record
	logger := slog.New(slog.NewTextHandler(io.Writer(&log), &slog.HandlerOptions{Level: slog.LevelDebug}))
	var said []string
	const wrong = "wr0ngPassw0rd"
	userinfo := strings.TrimSuffix(UserInfo(), "@")
	_, password, _ := strings.Cut(userinfo, ":")
	if !strings.Contains(q.URL, password) {
		t.Fatal("the URL has no password")
	}
	d := s.destination(t, strings.ReplaceAll(q.URL, password, wrong), options(NewNet(t), logger, nil))
	Await(t, "the server's refusal", func() bool {
		err := d.Publish(patient(t), NewMessage("v/live/a", 1))
		if err == nil || errors.Is(err, port.ErrRejected) {
			t.Fatalf("with a wrong password: %v", err)
		}
		said = append(said, err.Error(), d.String())
		// At first there was no attempt yet, and no reason.
		return err.Error() != port.ErrUnavailable.Error()
	})
	t.Log(said[len(said)-2:])
	n := NewNet(t)
	d = s.destination(t, q.URL, options(n, logger, nil))
	if err := NewLanes(d).Deliver(patient(t), NewMessage("v/live/a", 1)); err != nil {
		t.Fatal(err)
	}
	Await(t, "a line in the log", func() bool { return strings.Contains(log.text(), "queue reached") })
	n.Set(Refuse)
	short, cancel := context.WithTimeout(patient(t), attemptTimeout/4)
	defer cancel()
	said = append(said, d.Publish(short, NewMessage("v/live/a", 2)).Error(), d.String())
	for _, bad := range []string{"unknown=1", "%zz", "a=1&a=2"} {
		sep := "?"
		if strings.Contains(q.URL, "?") {
			sep = "&"
		}
		_, err := s.open(t, q.URL+sep+bad, port.Options{})
		if !errors.Is(err, port.ErrURL) {
			t.Fatalf("parameter %s: %v", bad, err)
		}
		said = append(said, err.Error())
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	said = append(said, log.text())
	for _, text := range said {
		for _, secret := range []string{wrong, Password, password, url.QueryEscape(Password)} {
			if strings.Contains(text, secret) {
				t.Errorf("a secret is shown in %q", text)
			}
		}
	}
}

func (s suite) tls(t *testing.T) {
	q := s.srv.Secure(t)
	n := NewNet(t)
	if err := NewLanes(s.destination(t, q.URL, options(n, nil, Certificates(t).Client))).Deliver(patient(t), NewMessage("v/live/a", 1)); err != nil {
		t.Fatal(err)
	}
	Check(t, q.Read(t), []string{"v/live/a"}, 1)
	// Without the CA the server is a stranger.
	d := s.destination(t, q.URL, options(n, nil, nil))
	for range 3 {
		if err := d.Publish(patient(t), NewMessage("v/live/a", 2)); !errors.Is(err, port.ErrUnavailable) {
			t.Errorf("a server that nobody vouches for: %v", err)
		}
	}
	Check(t, q.Read(t), []string{"v/live/a"}, 1)
}

package rtsp

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/leaktest"
	"github.com/hookline/hookline/internal/stream"
	"github.com/hookline/hookline/internal/stream/streamtest"
	"github.com/hookline/hookline/internal/vod"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// world is a hub with a gate that the tests steer, and the facts that came of it.
type world struct {
	*streamtest.Plane
	// waiting takes one element for each of the first players who wait for a stream.
	waiting chan struct{}

	allow  func(params string) bool
	realm  string
	passwd string
	hashed bool
	files  string // root of the files that can be played
}

func newWorld() *world {
	w := &world{Plane: streamtest.New(stream.Options{EnableAudio: true, EnableRTSP: true, MaxTrack: 2}), waiting: make(chan struct{}, 16)}
	w.allow = func(string) bool { return true }
	w.Judge = func(q fact.MediaInfo) fact.Outcome {
		o := fact.Outcome{Allowed: w.allow(q.Params), By: "hook"}
		if !o.Allowed {
			o.Message = "wrong token"
		}
		return o
	}
	return w
}

// shown returns how many bytes players were sent, when the first of them is reported.
func (w *world) shown() uint64 {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if n := w.reported(); n > 0 {
			return n
		}
	}
	return 0
}

func (w *world) reported() (n uint64) {
	for _, r := range streamtest.Of[*fact.FlowReport](w.Plane) {
		if r.Player {
			n += r.TotalBytes
		}
	}
	return n
}

func (w *world) NotFound(context.Context, stream.PlayQuestion) (bool, fact.Outcome) {
	select {
	case w.waiting <- struct{}{}:
	default:
	}
	return false, fact.Outcome{By: "default"}
}

func (w *world) Realm(context.Context, stream.PlayQuestion) (string, fact.Outcome) {
	if w.realm == "" {
		return "", fact.Outcome{Allowed: true, By: "default"}
	}
	return w.realm, fact.Outcome{Allowed: true, By: "hook"}
}

func (w *world) Credentials(_ context.Context, _ stream.PlayQuestion, user, realm string, _ bool) (string, bool, fact.Outcome) {
	if w.hashed {
		return md5Hex(user + ":" + realm + ":" + w.passwd), true, fact.Outcome{Allowed: true, By: "hook"}
	}
	return w.passwd, false, fact.Outcome{Allowed: true, By: "hook"}
}

// start serves on a free port and returns the address.
func start(t *testing.T, w *world, cfg Config) (srv *Server, addr string) {
	t.Helper()
	cfg.Logger = slog.New(slog.DiscardHandler)
	for _, d := range []*time.Duration{&cfg.Handshake, &cfg.KeepAlive, &cfg.WriteTimeout} {
		if *d == 0 {
			*d = patience // nobody is slow here, but for those whose test says so
		}
	}
	hc := streamtest.Patient()
	hc.FlowThreshold = 0
	hub := stream.New(hc, w, w, Formats(Packing{}))
	files := vod.New(vod.Config{
		Root: w.files, Tick: 50 * time.Millisecond, Logger: cfg.Logger, Options: stream.Options{EnableAudio: true, EnableRTSP: true, MaxTrack: 2},
	}, hub)
	hub.SetDemand(files.Demand)
	srv = New(cfg, hub, w)
	srv.linger = patience
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	t.Cleanup(func() {
		if err := hub.Stop(context.Background()); err != nil {
			t.Error(err)
		}
		if err := errors.Join(srv.Close(), files.Close()); err != nil {
			t.Error(err)
		}
		if err := <-served; !errors.Is(err, ErrServerClosed) {
			t.Error(err)
		}
		if n := srv.Connections(); n != 0 {
			t.Errorf("%d sessions are left", n)
		}
	})
	return srv, l.Addr().String()
}

// patience bounds what waits for others, on a machine where everything is slow.
const patience = streamtest.Patience

// run runs a tool and returns what it wrote. A tool that is missing fails the test.
func run(t *testing.T, name string, args ...string) (out string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	b, err := cmd.Output()
	if errors.Is(err, exec.ErrNotFound) {
		t.Fatal(err)
	}
	return string(b) + stderr.String(), err
}

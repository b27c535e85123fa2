package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/ordercheck"
)

// TestGracefulStop: SIGTERM ends every publication, tells a slow receiver all of it, and says good-bye last.
func TestGracefulStop(t *testing.T) {
	t.Parallel()
	s, r := serve(t, "delivery.drain_ms", "120000")
	names := []string{"a", "b", "c", "d"}
	var viewers []*viewer
	for _, name := range names {
		publish(t, s.rtmpURL(name)).keep(t)
		v := view(t, s.rtmpURL(name))
		<-v.first
		viewers = append(viewers, v)
	}
	flv := runTool(t, "ffmpeg", "-v", "fatal", "-nostdin", "-i", s.flvURL("a"), "-f", "null", "-")
	r.await("the viewers", 5, func(p *post) bool { return p.hook == event.OnPlay })
	r.setAnswer(func(*post) reply { return reply{delay: 100 * time.Millisecond} })
	s.stop()
	_ = flv.wait() // any way to end is good, so that it ends
	for _, v := range viewers {
		if err := <-v.end; err != nil && !strings.Contains(err.Error(), "Closed") {
			t.Errorf("a viewer ended with %v", err)
		}
	}
	exited := r.accept(event.OnServerExited, "")
	for _, name := range names {
		story := r.story(name)
		want := spell("register", "publisher", "unregister", "publication_ended server_stop")
		if got, want := fmt.Sprint(story[:min(len(want), len(story))]), fmt.Sprint(want); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	for _, p := range r.all() {
		if p != exited && p.body.Index > exited.body.Index {
			t.Errorf("%v was raised after on_server_exited", p)
		}
	}
	if log := s.log.String(); strings.Contains(log, "not everything was delivered") {
		t.Error("something was left")
	}
	r.expectClosed()
}

// TestStopWithBacklog: what could not be delivered at the stop is after the next start, before anything new of its key.
func TestStopWithBacklog(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	cfg := quick().endpoint(r).with("server.state_dir", stateDir(t), "delivery.drain_ms", "5000")
	s := start(t, cfg)
	var away atomic.Bool
	r.setAnswer(func(p *post) reply {
		if away.Load() && (unregister(p) || p.body.Event.Stream == key("b")) {
			return reply{status: http.StatusServiceUnavailable}
		}
		return reply{}
	})
	for _, name := range []string{"a", "b"} {
		publish(t, s.rtmpURL(name)).keep(t)
		r.accept(event.OnStreamChanged, name, registerOf("fmp4")) // the last
	}
	away.Store(true)
	s.stop()
	if log := s.log.String(); !strings.Contains(log, "not everything was delivered") {
		t.Error("the log does not tell of the backlog")
	}
	r.accept(event.OnServerExited, "")
	r.expectStory("a", "register", "publisher")
	r.expectStory("b", "register")
	away.Store(false)
	s = start(t, cfg)
	again := publish(t, s.rtmpURL("a"))
	again.unpublish(t)
	r.await("two ends", 2, func(p *post) bool {
		return p.accepted && p.hook == event.OnPublicationEnded && p.body.Event.Stream == key("a")
	})
	r.accept(event.OnPublicationEnded, "b")
	life := []string{"register", "publisher", "unregister", "publication_ended server_stop"}
	r.expectStory("b", life...)
	r.expectStory("a", append(life, "register", "publisher", "unregister", "publication_ended unpublish")...)
	r.expectStory("", "server_started", "server_exited", "server_started")
	r.expectClosed()
}

// TestSecondSignal: whoever does not want to wait for the drain sends another signal.
func TestSecondSignal(t *testing.T) {
	t.Parallel()
	s, r := serve(t, "delivery.drain_ms", "3600000")
	r.setAnswer(on(event.OnServerExited, reply{status: http.StatusInternalServerError}))
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	r.await("the attempt", 1, func(p *post) bool { return p.hook == event.OnServerExited })
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	s.wait()
}

// TestReload: SIGHUP makes the server read its file again; a hook's new URL counts from then on, a bad file for nothing.
func TestReload(t *testing.T) {
	t.Parallel()
	// A publication between the two has its first events at one and its last at the other.
	between := ordercheck.Options{Since: time.Now().Add(time.Hour)}
	before, after := newReceiverWith(t, between, false), newReceiverWith(t, between, false)
	file := filepath.Join(t.TempDir(), "config.ini")
	write := func(r *receiver, more string) {
		var b strings.Builder
		b.WriteString("[hook]\nenable=1\n" + more)
		for _, h := range hooks() {
			if !strings.HasPrefix(string(h), "on_server") { // their key goes on, with a past that the second does not know
				fmt.Fprintf(&b, "%s=%s\n", h, r.url(h))
			}
		}
		if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(before, "")
	s := start(t, quick().with("server.state_dir", stateDir(t)), "serve", "-c", file)
	life(t, s, before, "a")

	write(after, "")
	_ = s.cmd.Process.Signal(syscall.SIGHUP)
	if s.log.await(regexp.MustCompile(`msg="config changed".*hook\.on_publish`), s.gone) == nil {
		t.Fatal("no reload")
	}
	for i := 0; len(after.all()) == 0; i++ { // the line is written right before the change is made
		p := publish(t, s.rtmpURL(fmt.Sprintf("meanwhile%d", i)))
		p.unpublish(t)
	}
	life(t, s, after, "b")
	before.expectStory("b")

	write(before, "timeoutSec=never\n")
	_ = s.cmd.Process.Signal(syscall.SIGHUP)
	if s.log.await(regexp.MustCompile(`level=ERROR.*never`), s.gone) == nil {
		t.Fatal("a bad file was not refused")
	}
	life(t, s, after, "c")
}

// TestStopWhileStarting: a receiver that hangs holds the start, not the signal. What it could not be told is told after
// the next start, in order.
func TestStopWhileStarting(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	cfg := quick().endpoint(r).with("server.state_dir", stateDir(t), "delivery.start_hold_ms", "3600000", "delivery.drain_ms", "200")
	r.setAnswer(func(*post) reply { return reply{status: http.StatusServiceUnavailable} })
	s := launch(t, cfg)
	r.await("on_server_started", 1, func(p *post) bool { return p.hook == event.OnServerStarted })
	if s.log.String() != "" && up.MatchString(s.log.String()) {
		t.Error("the server is up before on_server_started was accepted")
	}
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	s.wait()
	r.setAnswer(func(*post) reply { return reply{} })
	s = start(t, cfg)
	life(t, s, r, "a")
	r.expectStory("", "server_started", "server_exited", "server_started")
}

// TestStartHold: who does not accept on_server_started holds the start only for a while.
func TestStartHold(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	r.setAnswer(on(event.OnServerStarted, reply{status: http.StatusServiceUnavailable}))
	s := start(t, quick().endpoint(r).with("server.state_dir", stateDir(t), "delivery.start_hold_ms", "300"))
	life(t, s, r, "a") // its lane waits for nobody
	r.setAnswer(func(*post) reply { return reply{} })
	r.accept(event.OnServerStarted, "")
}

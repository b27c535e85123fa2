package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/rtmp"
)

// on answers one hook in its own way, and the others with success.
func on(hook event.Type, re reply) func(*post) reply {
	return func(p *post) reply {
		if p.hook == hook {
			return re
		}
		return reply{}
	}
}

// TestPublishWaitsForDecision: the publish command is answered after on_publish was, not before.
func TestPublishWaitsForDecision(t *testing.T) {
	t.Parallel()
	s, r := serve(t)
	asked, release := make(chan struct{}), make(chan struct{})
	r.setAnswer(func(p *post) reply {
		if p.hook == event.OnPublish {
			close(asked)
			<-release
		}
		return reply{}
	})
	c := dial(t, s.rtmpURL("a"))
	answered := make(chan error, 1)
	go func() { answered <- askToPublish(t, c) }()
	<-asked
	select {
	case err := <-answered:
		t.Errorf("publish was answered before the decision: %v", err)
	case <-time.After(time.Second): // the time that the decision takes
	}
	close(release)
	if err := <-answered; err != nil {
		t.Error(err)
	}
}

// TestPublishRefused: the client is told why, leaves, and nothing of it is a publication.
func TestPublishRefused(t *testing.T) {
	t.Parallel()
	s, r := serve(t)
	r.setAnswer(on(event.OnPublish, reply{body: `{"code":401,"msg":"wrong token"}`}))
	refused := refusedWith(t, askToPublish(t, dial(t, s.rtmpURL("a"))), "NetStream.Publish.BadAuth")
	if !strings.Contains(refused, "wrong token") {
		t.Errorf("the reason is %q", refused)
	}
	file := encode(t, "in.flv", "1", tone(), []string{"-c:a", "aac"})
	encoder := push(t, file, s.rtmpURL("b"), "-re")
	if err := encoder.wait(); err == nil || !strings.Contains(encoder.stderr.String(), "wrong token") {
		t.Errorf("ffmpeg: %v\n%s", err, encoder.stderr.String())
	}
	s.stop()
	r.expectStory("a")
	r.expectStory("b")
}

// TestSecondPublisher: the key is taken, and the first publication does not notice.
func TestSecondPublisher(t *testing.T) {
	t.Parallel()
	s, r := serve(t)
	first := publish(t, s.rtmpURL("a?n=1"))
	r.accept(event.OnStreamChanged, "a", register)
	_ = refusedWith(t, askToPublish(t, dial(t, s.rtmpURL("a?n=2"))), "NetStream.Publish.BadName")
	if n := len(r.await("two questions", 2, func(p *post) bool { return p.hook == event.OnPublish })); n != 2 {
		t.Errorf("on_publish was asked %d times", n)
	}
	first.must(t, first.send(10))
	first.unpublish(t)
	r.accept(event.OnPublicationEnded, "a")
	r.expectStory("a", "register", "publisher", "unregister", "publication_ended unpublish")
}

// TestReceiverDown: without an answer a publisher is refused, within the deadline; a player too.
func TestReceiverDown(t *testing.T) {
	t.Parallel()
	for name, url := range map[string]func(*receiver) string{
		"closed port": func(*receiver) string { return "http://127.0.0.1:1/index/hook/on_publish" },
		"hanging":     func(r *receiver) string { return r.url(event.OnPublish) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newReceiver(t)
			r.setAnswer(func(p *post) reply {
				if p.hook == event.OnPublish || p.hook == event.OnPlay {
					return reply{delay: time.Hour}
				}
				return reply{}
			})
			u := url(r)
			s := start(t, quick().endpoint(r).with("server.state_dir", stateDir(t), "hook.timeoutSec", "1", "hook.retry", "0",
				"hook.on_publish", u, "hook.on_play", u))
			_ = refusedWith(t, askToPublish(t, dial(t, s.rtmpURL("a"))), "NetStream.Publish.BadAuth")
			c := dial(t, s.rtmpURL("a"))
			_ = refusedWith(t, c.Play(t.Context()), "NetStream.Play.BadAuth")
			if code := status(t, s.flvURL("a")); code != http.StatusUnauthorized {
				t.Errorf("HTTP-FLV answers %d", code)
			}
		})
	}
}

// status returns the status of a GET.
func status(t *testing.T, url string) int {
	t.Helper()
	res := get(t, url)
	_ = res.Body.Close()
	return res.StatusCode
}

// get is a GET whose body is closed when the test ends.
func get(t *testing.T, url string) *http.Response {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = res.Body.Close()
		cancel()
	})
	return res
}

// TestNotFound: a player waits for its stream, not longer than it should, and not at all when the receiver says so.
func TestNotFound(t *testing.T) {
	t.Parallel()
	s, r := serve(t, "general.maxStreamWaitMS", "700")
	for _, waits := range []bool{true, false} {
		r.setAnswer(on(event.OnStreamNotFound, reply{body: fmt.Sprintf(`{"code":0,"close":%v}`, !waits)}))
		begin := time.Now()
		_ = refusedWith(t, dial(t, s.rtmpURL("a")).Play(t.Context()), "NetStream.Play.StreamNotFound")
		if took := time.Since(begin); waits && took < 700*time.Millisecond {
			t.Errorf("the player was sent away after %v", took)
		}
		if code := status(t, s.flvURL("a")); code != http.StatusNotFound {
			t.Errorf("HTTP-FLV answers %d", code)
		}
	}
	s2, r2 := serve(t, "general.maxStreamWaitMS", "3600000")
	r2.setAnswer(on(event.OnStreamNotFound, reply{body: `{"code":0,"close":true}`}))
	_ = refusedWith(t, dial(t, s2.rtmpURL("a")).Play(t.Context()), "NetStream.Play.StreamNotFound") // or never
}

// viewer reads a stream until it ends.
type viewer struct {
	*rtmp.Client
	first chan struct{} // closed at the first message
	end   chan error    // takes why it ended; nil: the stream is over
}

func view(t *testing.T, url string) *viewer {
	t.Helper()
	v := &viewer{Client: dial(t, url), first: make(chan struct{}), end: make(chan error, 1)}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := v.Play(ctx); err != nil {
		t.Fatal(err)
	}
	go func() {
		for n := 0; ; n++ {
			_, err := v.Read()
			if n == 0 {
				close(v.first)
			}
			if errors.Is(err, io.EOF) {
				err = nil
			} else if err == nil {
				continue
			}
			v.end <- err
			return
		}
	}()
	return v
}

// TestResume: a publisher whose connection breaks and who returns in time goes on with its publication: no event tells
// of it, the viewer stays.
func TestResume(t *testing.T) {
	t.Parallel()
	s, r := serve(t)
	r.setAnswer(on(event.OnPublish, reply{body: `{"code":0,"continue_push_ms":120000}`}))
	first := publish(t, s.rtmpURL("a?life=1"))
	r.accept(event.OnStreamChanged, "a", register)
	v := view(t, s.rtmpURL("a"))
	<-v.first
	if err := first.Reset(); err != nil {
		t.Fatal(err)
	}
	second := resume(t, s.rtmpURL("a?life=2"))
	second.must(t, second.send(50))
	select {
	case err := <-v.end:
		t.Errorf("the viewer was sent away: %v", err)
	default:
	}
	second.unpublish(t)
	if err := <-v.end; err != nil {
		t.Error(err)
	}
	end := r.accept(event.OnPublicationEnded, "a")
	if end.body.Params != "life=1" {
		t.Errorf("the publication ended with params %q", end.body.Params)
	}
	s.stop()
	r.expectStory("a", "register", "publisher", "publisher", "unregister", "publication_ended unpublish", "player")
	for _, p := range r.accepted("a") {
		if p.hook == event.OnFlowReport && ofPublisher(p) && p.body.Event.Publication != end.body.Event.Publication {
			t.Errorf("%v belongs to publication %s", p, p.body.Event.Publication)
		}
	}
}

// resume publishes as soon as the server has noticed that the publisher before is gone.
func resume(t *testing.T, url string) *publisher {
	t.Helper()
	for begin := time.Now(); ; {
		p := &publisher{Client: dial(t, url), clip: theClip(t)}
		err := askToPublish(t, p.Client)
		if err == nil {
			return p
		}
		_ = refusedWith(t, err, "NetStream.Publish.BadName")
		if time.Since(begin) > patience {
			t.Fatal("the key stays taken")
		}
	}
}

// TestConnectionLost: nobody returned in time.
func TestConnectionLost(t *testing.T) {
	t.Parallel()
	s, r := serve(t)
	r.setAnswer(on(event.OnPublish, reply{body: `{"code":0,"continue_push_ms":200}`}))
	p := publish(t, s.rtmpURL("a"))
	r.accept(event.OnStreamChanged, "a", register)
	_ = p.Close()
	r.accept(event.OnPublicationEnded, "a")
	r.expectStory("a", "register", "publisher", "unregister", "publication_ended connection_lost")
}

// TestPublisherSilent: connected, but nothing comes.
func TestPublisherSilent(t *testing.T) {
	t.Parallel()
	s, r := serve(t, "rtmp.keepAliveSecond", "10") // not while it publishes, however slow
	r.setAnswer(on(event.OnPublish, reply{body: `{"code":0,"continue_push_ms":0}`}))
	publish(t, s.rtmpURL("a"))
	r.accept(event.OnPublicationEnded, "a")
	r.expectStory("a", "register", "publisher", "unregister", "publication_ended timeout")
}

// TestStreamReplace: the stream lives under the new id, and both are taken.
func TestStreamReplace(t *testing.T) {
	t.Parallel()
	s, r := serve(t)
	r.setAnswer(func(p *post) reply {
		if p.hook == event.OnPublish && p.body.Stream == "raw" {
			return reply{body: `{"code":0,"stream_replace":"nice"}`}
		}
		return reply{}
	})
	p := publish(t, s.rtmpURL("raw?t=1"))
	got := r.accept(event.OnStreamChanged, "nice", register)
	if got.body.Stream != "nice" || got.body.Params != "t=1" {
		t.Errorf("registered as %q with params %q", got.body.Stream, got.body.Params)
	}
	for _, name := range []string{"raw", "nice"} {
		_ = refusedWith(t, askToPublish(t, dial(t, s.rtmpURL(name))), "NetStream.Publish.BadName")
	}
	v := view(t, s.rtmpURL("nice"))
	<-v.first
	p.unpublish(t)
	r.accept(event.OnPublicationEnded, "nice")
	report := r.accept(event.OnFlowReport, "nice", ofPublisher)
	if report.body.Stream != "raw" { // the publisher's own words
		t.Errorf("the publisher's on_flow_report is about %q", report.body.Stream)
	}
	r.accept(event.OnFlowReport, "nice", ofPlayer)
	r.expectStory("nice", "register", "publisher", "unregister", "publication_ended unpublish", "player")
	r.expectStory("raw")
}

// TestNoneReader: the receiver closes a stream that nobody watches; one that it leaves open stays.
func TestNoneReader(t *testing.T) {
	t.Parallel()
	s, r := serve(t, "general.streamNoneReaderDelayMS", "300")
	published := make(chan struct{}) // nobody is sent away before
	goOn := sync.OnceFunc(func() { close(published) })
	t.Cleanup(goOn)
	r.setAnswer(func(p *post) reply {
		if p.hook == event.OnStreamNoneReader {
			<-published
			return reply{body: fmt.Sprintf(`{"code":0,"close":%v}`, p.body.Stream == "closed")}
		}
		return reply{}
	})
	open, closed := publish(t, s.rtmpURL("open")), publish(t, s.rtmpURL("closed"))
	goOn()
	open.keep(t)
	closed.keep(t)
	r.accept(event.OnPublicationEnded, "closed")
	r.expectStory("closed", "register", "publisher", "unregister", "publication_ended no_reader")
	<-closed.Done()
	r.accept(event.OnStreamNoneReader, "open")
	v := view(t, s.rtmpURL("open")) // it is there
	<-v.first
	r.expectStory("open", "register")
}

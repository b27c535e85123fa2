// Package pubtest runs a media server for tests of the tools: the real hub, RTMP, RTSP and live HTTP, with an event plane
// that allows everything. It listens on free ports of the loopback interface.
package pubtest

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/httplive"
	"github.com/hookline/hookline/internal/rtmp"
	"github.com/hookline/hookline/internal/rtsp"
	"github.com/hookline/hookline/internal/stream"
)

// patience is what the server has with everybody: on a machine that is busy, peers are slow.
const patience = 5 * time.Minute

// Server is a media server.
type Server struct {
	// RTMP, RTSP and HTTP are the beginnings of URLs, up to the path: "rtmp://127.0.0.1:1234".
	RTMP, RTSP, HTTP string
	Hub              *stream.Hub

	addr  string
	plane *plane
	rtmp  *rtmp.Server
	rtsp  *rtsp.Server
	done  chan error
	stop  sync.Once
	live  *httplive.Handler
	http  *httptest.Server
}

// Start starts a server that the end of the test stops.
func Start(t *testing.T) *Server {
	t.Helper()
	return StartAt(t, "127.0.0.1:0")
}

// StartAt starts a server whose RTMP listens on addr.
func StartAt(t *testing.T, addr string) *Server {
	t.Helper()
	s := &Server{plane: new(plane), done: make(chan error, 2)}
	hub := stream.DefaultConfig()
	hub.MaxStreamWait = patience
	s.Hub = stream.New(hub, s.plane, s.plane, slices.Concat(
		rtmp.Formats(true), rtsp.Formats(rtsp.Packing{AudioMTU: 600}), httplive.Formats(false)))
	s.rtmp = rtmp.New(rtmp.Config{Logger: slog.New(slog.DiscardHandler), Handshake: patience, KeepAlive: patience, WriteTimeout: patience}, rtmp.HubOf(s.Hub))
	s.rtsp = rtsp.New(rtsp.Config{Logger: slog.New(slog.DiscardHandler), Handshake: patience, KeepAlive: patience, WriteTimeout: patience}, s.Hub, s.plane)
	s.addr = s.listen(t, addr, s.rtmp.Serve)
	s.RTMP = "rtmp://" + s.addr
	s.RTSP = "rtsp://" + s.listen(t, "127.0.0.1:0", s.rtsp.Serve)
	s.live = httplive.New(httplive.Config{}, s.Hub)
	s.http = httptest.NewServer(http.HandlerFunc(s.live.ServeHTTP))
	s.HTTP = s.http.URL
	t.Cleanup(func() { s.Stop(t) })
	return s
}

func (s *Server) listen(t *testing.T, addr string, serve func(net.Listener) error) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	go func() { s.done <- serve(l) }()
	return l.Addr().String()
}

// Addr is where RTMP listens.
func (s *Server) Addr() string { return s.addr }

// Stop ends the server and all sessions, and waits for that. It is idempotent.
func (s *Server) Stop(t *testing.T) {
	t.Helper()
	s.stop.Do(func() { s.end(t) })
}

func (s *Server) end(t *testing.T) {
	t.Helper()
	_, _ = s.rtmp.Close(), s.rtsp.Close()
	for range cap(s.done) {
		if err := <-s.done; !errors.Is(err, rtmp.ErrServerClosed) && !errors.Is(err, rtsp.ErrServerClosed) {
			t.Errorf("a server ended with %v", err)
		}
	}
	if err := s.Hub.Stop(context.WithoutCancel(t.Context())); err != nil {
		t.Errorf("hub: %v", err)
	}
	s.live.Close()
	s.http.Close()
}

// Refuse lets the hub refuse what comes later to be published; "" allows it again.
func (s *Server) Refuse(message string) {
	s.plane.mu.Lock()
	defer s.plane.mu.Unlock()
	s.plane.refusal = message
}

// Ended returns the publications that have ended.
func (s *Server) Ended() []*fact.PublicationEnded {
	s.plane.mu.Lock()
	defer s.plane.mu.Unlock()
	return slices.Clone(s.plane.ended)
}

// AwaitPlayers waits until n players have come and wait for a stream that is not there yet. The error is that of ctx.
func (s *Server) AwaitPlayers(ctx context.Context, n int) error {
	for {
		s.plane.mu.Lock()
		waiting := s.plane.waiting
		s.plane.mu.Unlock()
		if waiting >= n {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
}

// Asked returns the parameters of the publications that were asked for.
func (s *Server) Asked() []string {
	s.plane.mu.Lock()
	defer s.plane.mu.Unlock()
	return slices.Clone(s.plane.asked)
}

// plane is the event plane and the decisions.
type plane struct {
	mu      sync.Mutex // guards what follows
	refusal string
	ended   []*fact.PublicationEnded
	asked   []string
	waiting int // players that found nothing
}

// Raise implements stream.Facts.
func (p *plane) Raise(f fact.Fact) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e, ok := f.(*fact.PublicationEnded); ok {
		p.ended = append(p.ended, e)
	}
}

// Admit implements stream.Facts.
func (*plane) Admit() (func(), error) { return func() {}, nil }

// Publish implements stream.Gate.
func (p *plane) Publish(_ context.Context, q stream.PublishQuestion) stream.PublishVerdict {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, q.Params)
	if p.refusal != "" {
		return stream.PublishVerdict{Outcome: fact.Outcome{Message: p.refusal}}
	}
	return stream.PublishVerdict{
		Outcome: fact.Outcome{Allowed: true},
		Options: stream.Options{EnableAudio: true, EnableRTMP: true, EnableRTSP: true, EnableTS: true, EnableFMP4: true, ModifyStamp: 2},
	}
}

// Play implements stream.Gate.
func (*plane) Play(context.Context, stream.PlayQuestion) stream.Verdict {
	return stream.Verdict{Outcome: fact.Outcome{Allowed: true}}
}

// Realm implements rtsp.Gate: nobody needs a password.
func (*plane) Realm(context.Context, stream.PlayQuestion) (string, fact.Outcome) {
	return "", fact.Outcome{Allowed: true}
}

// Credentials implements rtsp.Gate.
func (*plane) Credentials(context.Context, stream.PlayQuestion, string, string, bool) (string, bool, fact.Outcome) {
	return "", false, fact.Outcome{}
}

// NotFound implements stream.Gate: players wait.
func (p *plane) NotFound(context.Context, stream.PlayQuestion) (bool, fact.Outcome) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting++
	return false, fact.Outcome{}
}

// NoneReader implements stream.Gate: streams without viewers go on.
func (*plane) NoneReader(string, fact.NoneReader, func() bool, func(bool, fact.Outcome)) {}

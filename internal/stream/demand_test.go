package stream

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookline/hookline/internal/fact"
)

// steering notes what it is told.
type steering struct{ to time.Duration }

func (s *steering) Seek(to time.Duration) (time.Duration, error) { s.to = to; return to, nil }
func (s *steering) Speed(float64) error                          { return nil }
func (s *steering) Pause(bool) error                             { return nil }
func (s *steering) Position() time.Duration                      { return s.to }
func (s *steering) Duration() time.Duration                      { return time.Minute }
func (s *steering) Find(time.Time) (time.Duration, bool)         { return 0, false }

// A player of a stream that can be opened gets it without on_stream_not_found, and on_publish is not asked.
func TestDemand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.publish = func(context.Context, PublishQuestion) PublishVerdict {
			t.Error("on_publish was asked")
			return PublishVerdict{}
		}
		asked := 0
		w.notFound = func(_ context.Context, q PlayQuestion) (bool, fact.Outcome) {
			asked++
			if q.Stream.Stream != "absent" {
				t.Errorf("on_stream_not_found of %q", q.Stream.Stream)
			}
			return true, fact.Outcome{By: "hook"}
		}
		h := New(DefaultConfig(), w, w, textFormats())
		steer := &steering{}
		var pub *Publisher
		h.SetDemand(func(ctx context.Context, q PlayQuestion) bool {
			if q.Stream.Stream != "file" {
				return false
			}
			opts := defaultOptions()
			p, err := h.Publish(ctx, PublishRequest{
				MediaInfo: q.MediaInfo, OriginType: fact.OriginMP4VOD, OriginURL: "/file",
				Options: &opts, Control: steer, Bytes: &atomic.Uint64{},
			})
			if err != nil {
				t.Error(err)
				return false
			}
			pub = p
			s := &stage{t: t, pubs: map[string]*Publisher{"x": p}, bytes: map[string]*atomic.Uint64{"x": {}}, at: map[string]time.Duration{}}
			s.write("x", "k0")
			s.write("x", "a20")
			return true
		})
		if _, err := h.Play(t.Context(), PlayRequest{MediaInfo: named("absent"), Format: "rtmp"}); !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
		v, err := h.Play(t.Context(), PlayRequest{MediaInfo: named("file"), Format: "rtmp"})
		if err != nil {
			t.Fatal(err)
		}
		if n := len(v.Program().Tracks); n != 2 {
			t.Errorf("%d tracks", n)
		}
		c, err := h.Control(named("file").Stream)
		if err != nil {
			t.Fatal(err)
		}
		if at, err := c.Seek(time.Second); err != nil || at != time.Second || steer.to != time.Second {
			t.Error(at, err)
		}
		if _, err := h.Control(named("absent").Stream); !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
		if asked != 1 {
			t.Errorf("asked %d times", asked)
		}
		v.Close()
		pub.Close(fact.EndUnpublish)
		if err := h.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

package stream

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/media"
)

// slow is a Sink that is done when it is told.
type slow struct{ job Job }

func (s *slow) Write(*media.Frame, bool) {}
func (s *slow) Change(Program)           {}
func (s *slow) Close()                   { go s.job.Done() }

// TestCloseFiles: a stream of which only files are made is closed under the schema of its publisher, from when they are made.
func TestCloseFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		opts := Options{EnableMP4: true, EnableAudio: true, MaxTrack: 2}
		h := New(DefaultConfig(), w, w, textFormats())
		h.SetRecorders([]Recorder{{Name: "mp4", Wanted: func(o *Options) bool { return o.EnableMP4 }, Start: func(j Job) Sink { return &slow{j} }}})
		p, err := h.Publish(t.Context(), PublishRequest{MediaInfo: named("a"), Options: &opts})
		if err != nil {
			t.Fatal(err)
		}
		s := &stage{t: t, pubs: map[string]*Publisher{"x": p}, bytes: map[string]*atomic.Uint64{"x": {}}, at: map[string]time.Duration{}}
		expect := func(f Filter, want int) {
			t.Helper()
			if hit, closed := h.CloseStreams(f, true, fact.EndKicked); hit != want || closed != want {
				t.Errorf("%+v: hit %d, closed %d, want %d", f, hit, closed, want)
			}
		}
		expect(Filter{Stream: "a"}, 0) // its tracks are not known yet
		p.Metadata(nil, true, false, 0, 0, 0)
		s.write("x", "k0")
		if n := len(h.List(Filter{})); n != 0 {
			t.Errorf("%d sources", n)
		}
		expect(Filter{Schema: "rtsp", Stream: "a"}, 0)
		expect(Filter{Schema: "rtmp", Stream: "a"}, 1)
		synctest.Wait()
		expect(Filter{}, 0)
		if err := h.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

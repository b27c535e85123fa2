package stream

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookline/hookline/internal/fact"
)

// TestRelay: who sends what others watch is no reader and no player, keeps no stream from being idle, and is not reported; but it
// gets what it sends, to the end.
func TestRelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, idle := newWorld(), 0
		w.none = func(string, fact.NoneReader, func() bool, func(bool, fact.Outcome)) { idle++ }
		cfg := DefaultConfig()
		cfg.FlowThreshold = 0
		h := New(cfg, w, w, textFormats())
		p, err := h.Publish(t.Context(), PublishRequest{MediaInfo: named("a")})
		if err != nil {
			t.Fatal(err)
		}
		s := &stage{t: t, pubs: map[string]*Publisher{"x": p}, bytes: map[string]*atomic.Uint64{"x": {}}, at: map[string]time.Duration{}}
		p.Metadata(nil, true, false, 0, 0, 0)
		s.write("x", "k0")
		attach := func(relay bool) *Viewer {
			v, err := h.Play(t.Context(), PlayRequest{MediaInfo: named("a"), Format: "rtmp", Relay: relay, Admitted: relay, Kick: func() {}})
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
		expect := func(readers int) {
			t.Helper()
			i, _ := h.Get(Filter{Schema: "rtmp"})
			if n := len(h.Players(Filter{})); i.ReaderCount != readers || i.TotalReaderCount != readers || n != readers || h.Stats().Viewers != readers {
				t.Errorf("readers %d, in all %d, players %d, %+v; want %d", i.ReaderCount, i.TotalReaderCount, n, h.Stats(), readers)
			}
		}
		player, relay := attach(false), attach(true)
		expect(1)
		time.Sleep(time.Minute)
		player.Close()
		expect(0)
		time.Sleep(time.Minute)
		synctest.Wait()
		if idle != 1 {
			t.Errorf("on_stream_none_reader was asked %d times", idle)
		}
		if _, closed := h.CloseStreams(Filter{}, false, fact.EndKicked); closed == 0 {
			t.Error("it keeps the stream open")
		}
		var got strings.Builder
		for {
			bufs, err := relay.Next(t.Context())
			if errors.Is(err, ErrEnded) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, b := range bufs {
				got.Write(b)
				relay.Sent(len(b))
			}
		}
		relay.Close()
		if !strings.Contains(got.String(), "K0") {
			t.Errorf("%q", got.String())
		}
		for _, f := range w.take() {
			if r, ok := f.(*fact.FlowReport); ok && r.Player {
				t.Errorf("%+v", r)
			}
		}
		expect(0)
		if err := h.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

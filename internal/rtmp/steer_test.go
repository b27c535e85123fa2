package rtmp

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/format/amf"
	"github.com/hookline/hookline/internal/stream"
	"github.com/hookline/hookline/internal/stream/streamtest"
	"github.com/hookline/hookline/internal/vod"
	"github.com/hookline/hookline/internal/vod/vodtest"
)

// TestFile: a file is played by each of its names; seek, pause and the speed are those of the file, and stamps say the place.
func TestFile(t *testing.T) {
	root := t.TempDir()
	data, _ := vodtest.Movie(t, "h264_aac_bframes", 600) // so long that nothing here lasts until its end
	vodtest.Put(t, filepath.Join(root, "record/cam/b.mp4"), data)
	facts := newFactLog()
	hub := stream.New(streamtest.Patient(), facts, facts, Formats(true))
	files := vod.New(vod.Config{
		Root: root, Tick: 50 * time.Millisecond, Logger: slog.New(slog.DiscardHandler),
		Options: stream.Options{EnableAudio: true, EnableRTMP: true, MaxTrack: 2},
	}, hub)
	hub.SetDemand(files.Demand)
	t.Cleanup(func() {
		if err := errors.Join(hub.Stop(context.Background()), files.Close()); err != nil {
			t.Error(err)
		}
	})
	_, addr := startServer(t, HubOf(hub), Config{})
	for _, name := range []string{"record/cam/b.mp4", "record/mp4:cam/b", "record/mp4:cam/b.mp4"} {
		v := dial(t, addr, name)
		if err := v.Play(t.Context()); err != nil {
			t.Fatal(name, err)
		}
	}
	v := dial(t, addr, "record/cam/b.mp4")
	if a, err := v.request("getStreamLength", nil, "cam/b.mp4"); err != nil || a.number(0) != 0 {
		t.Error(a, err)
	}
	if err := v.Play(t.Context()); err != nil {
		t.Fatal(err)
	}
	if a, err := v.request("getStreamLength", nil, "cam/b.mp4"); err != nil || a.number(0) < 1198 || a.number(0) > 1201 {
		t.Error(a, err)
	}
	ask := func(want, name string, values ...any) {
		t.Helper()
		if err := v.sendStreamCommand(1, name, append([]any{nil}, values...)...); err != nil {
			t.Fatal(err)
		}
		if err := v.await(want); err != nil {
			t.Fatal(name, err)
		}
	}
	key := func() uint32 {
		t.Helper()
		for {
			m, err := v.Read()
			if err != nil {
				t.Fatal(err)
			}
			if m.Type == TypeVideo && m.Body[0]>>4 == 1 && m.Body[1] == 1 {
				return m.Timestamp
			}
		}
	}
	key()
	for _, to := range []uint32{30500, 2500, 10500} {
		ask(codeSeek, "seek", float64(to))
		if at := key(); at > to || to-at > 600 {
			t.Errorf("seek to %d went to %d", to, at)
		}
	}
	ask(codePause, "pause", true, 0.0)
	c, err := hub.Control(fact.Stream{Vhost: fact.DefaultVhost, App: "record", Stream: "cam/b.mp4"})
	if err != nil {
		t.Fatal(err)
	}
	place := c.Position()
	begun := time.Now()
	ask(codeUnpause, "pause", false, 0.0)
	if now := c.Position(); now < place || now > place+time.Since(begun)+time.Second {
		t.Errorf("%v, then %v after %v", place, now, time.Since(begun))
	}
	for _, bad := range []float64{-1, 1e15, 1_300_000} {
		var refused *StatusError
		if err := v.sendStreamCommand(1, "seek", nil, bad); err != nil {
			t.Fatal(err)
		}
		if err := v.await(codeSeek); !errors.As(err, &refused) || refused.Code != codeSeekInvalid {
			t.Error(bad, err)
		}
	}
	ask(codeSpeed, "playCtrl", amf.Object{{Name: "ctrlType", Value: 1.0}, {Name: "speed", Value: 20.0}})
}

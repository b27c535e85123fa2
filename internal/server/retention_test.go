package server

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hookline/hookline/internal/api"
	"github.com/hookline/hookline/internal/fact"
)

// A replay of what retention has removed says so: as a gap when it is started, as missed when it happens meanwhile.
func TestReplayOfWhatRetentionRemoved(t *testing.T) {
	hold := make(chan struct{})
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return
		}
		if r.URL.Path == "/held" {
			<-hold
		}
		_, _ = io.WriteString(w, `{"code":0}`)
	}))
	defer receiver.Close()
	file := filepath.Join(t.TempDir(), "config.ini")
	text := fmt.Sprintf("[general]\nlisten_ip=127.0.0.1\nflowThreshold=0\n[rtmp]\nport=0\n[http]\nport=0\n[rtsp]\nport=0\n[server]\nstate_dir=%s\n[delivery]\nwindow=1024\n"+
		"[endpoint.held]\nurl=%s/held\nevents=on_flow_report\npaused=1\nconcurrency=1\n", t.TempDir(), receiver.URL)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Start(t.Context(), Options{ConfigPath: file, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	name := fact.Stream{Vhost: fact.DefaultVhost, App: "live", Stream: "s"}
	for range 5000 {
		s.seq.Raise(&fact.FlowReport{Live: name, MediaInfo: fact.MediaInfo{Stream: name}})
	}
	if err := s.seq.WaitDurable(t.Context(), name.Key(), 5000); err != nil {
		t.Fatal(err)
	}
	p := newPlatform(s.eps)
	trim := func(before uint64) {
		t.Helper()
		if err := s.eps.expire(before); err != nil {
			t.Fatal(err)
		}
		if _, err := s.journal.Trim(before); err != nil {
			t.Fatal(err)
		}
	}
	trim(101)
	for _, r := range []api.ReplayRequest{{From: 50}, {}, {Since: time.Now().Add(-time.Hour)}} {
		r.Endpoint, r.DryRun = "held", true
		info, err := p.StartReplay(r)
		if err != nil || info.GapTo != 100 || info.GapFrom != max(r.From, 1) || info.Count == 0 || info.From != 101 {
			t.Errorf("%+v: %+v %v", r, info, err)
		}
	}
	if info, err := p.StartReplay(api.ReplayRequest{Endpoint: "held", DryRun: true, From: 101}); err != nil || info.GapTo != 0 {
		t.Errorf("nothing is missing: %+v %v", info, err)
	}
	if _, err := p.StartReplay(api.ReplayRequest{Endpoint: "held", From: 2, To: 99}); !errors.Is(err, api.ErrConflict) {
		t.Errorf("all of it is gone: %v", err)
	}
	info, err := p.StartReplay(api.ReplayRequest{Endpoint: "held", From: 101})
	if err != nil {
		t.Fatal(err)
	}
	for p.replays[info.ID].ep.Stats().InFlight == 0 {
		time.Sleep(time.Millisecond)
	}
	trim(4900)
	close(hold)
	for deadline := time.Now().Add(10 * time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if r := p.Replays()[0]; r.State == api.ReplayDone {
			if r.Missed == 0 || r.Delivered+r.Failed+r.Missed != r.Count || r.Failed > 0 {
				t.Errorf("%+v", r)
			}
			return
		}
	}
	t.Errorf("still not done: %+v", p.Replays())
}

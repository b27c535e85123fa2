package stream

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/media"
)

// TestPublisherLeaves: a publisher that leaves while on_publish is decided leaves nothing behind.
func TestPublisherLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.publish = func(ctx context.Context, _ PublishQuestion) PublishVerdict {
			<-ctx.Done()
			return PublishVerdict{Outcome: fact.Outcome{Allowed: true, By: "hook"}}
		}
		hub := New(DefaultConfig(), w, w, textFormats())
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := hub.Publish(ctx, PublishRequest{MediaInfo: named("cam")})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if f := w.take(); len(f) != 1 || w.open() != 0 || len(hub.streams) != 0 {
			t.Error(f, w.open(), len(hub.streams))
		}
	})
}

func TestNoRoom(t *testing.T) {
	w := newWorld()
	w.noRoom = errors.New("disk full")
	hub := New(DefaultConfig(), w, w, textFormats())
	_, err := hub.Publish(t.Context(), PublishRequest{MediaInfo: named("cam")})
	if !errors.Is(err, ErrNoRoom) || !errors.Is(err, w.noRoom) {
		t.Error(err)
	}
	if err := hub.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestUnknownFormat(t *testing.T) {
	w := newWorld()
	hub := New(DefaultConfig(), w, w, textFormats())
	if _, err := hub.Play(t.Context(), PlayRequest{MediaInfo: named("cam"), Format: "none"}); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
}

// TestStopDuringDecision: Stop does not wait for a decision, and nothing is raised after it.
func TestStopDuringDecision(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.publish = func(ctx context.Context, _ PublishQuestion) PublishVerdict {
			<-ctx.Done()
			return PublishVerdict{}
		}
		hub := New(DefaultConfig(), w, w, textFormats())
		got := make(chan error, 1)
		go func() {
			_, err := hub.Publish(t.Context(), PublishRequest{MediaInfo: named("cam")})
			got <- err
		}()
		synctest.Wait()
		if err := hub.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		if err := <-got; !errors.Is(err, ErrStopping) {
			t.Error(err)
		}
		if f := w.take(); len(f) != 0 {
			t.Error(f)
		}
	})
}

// TestRegisteredMembers compares the members of a register with those of a recorded body.
func TestRegisteredMembers(t *testing.T) {
	w := newWorld()
	hub := New(DefaultConfig(), w, w, textFormats()[:1])
	var n atomic.Uint64
	p, err := hub.Publish(t.Context(), PublishRequest{
		MediaInfo: named("cam"), OriginType: fact.OriginRTMPPush, OriginURL: "rtmp://v/live/cam", Bytes: &n,
	})
	if err != nil {
		t.Fatal(err)
	}
	p.Metadata(nil, true, true, 320, 240, 25)
	for _, tr := range []*media.Track{audioTrack("A"), videoTrack("V")} {
		if err := p.WriteFrame(&media.Frame{Track: tr, Config: true}); err != nil {
			t.Fatal(err)
		}
	}
	var got, recorded map[string]any
	for _, f := range w.take() {
		if r, ok := f.(*fact.Registered); ok {
			got = decode(t, r)
		}
	}
	b, err := os.ReadFile("testdata/on_stream_changed.regist.rtmp.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &recorded); err != nil {
		t.Fatal(err)
	}
	delete(recorded, "hook_index")
	delete(recorded, "mediaServerId")
	sameMembers(t, "", got, recorded)
	if err := hub.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

func decode(t *testing.T, v any) (m map[string]any) {
	t.Helper()
	b, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(b, &m)
	}
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// sameMembers says where a and b have not the same members of the same types.
func sameMembers(t *testing.T, at string, a, b any) {
	t.Helper()
	switch b := b.(type) {
	case map[string]any:
		a, ok := a.(map[string]any)
		if !ok || len(a) != len(b) {
			t.Errorf("%s: %v, not %v", at, a, b)
		}
		for k, v := range b {
			sameMembers(t, at+"."+k, a[k], v)
		}
	case []any:
		a, ok := a.([]any)
		if !ok || len(a) != len(b) {
			t.Errorf("%s: %v, not %v", at, a, b)
			return
		}
		for i := range b {
			sameMembers(t, at+"[]", a[i], b[i])
		}
	case string:
		if _, ok := a.(string); !ok {
			t.Errorf("%s: %v is no string", at, a)
		}
	case float64:
		if _, ok := a.(float64); !ok {
			t.Errorf("%s: %v is no number", at, a)
		}
	case bool:
		if _, ok := a.(bool); !ok {
			t.Errorf("%s: %v is no bool", at, a)
		}
	}
}

// TestInfo: what the API shows of a stream and its viewers.
func TestInfo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		s.opts.EnableRTSP = false
		s.quietly("publish A cam", "meta A va", "write A cV dA", "play v1 cam rtmp")
		for i := range 100 {
			s.quietly(fmt.Sprintf("write A %c%d a%d", "kvvvv"[i%5], 40*i, 40*i+5), "sleep 40ms")
		}
		all := Filter{Vhost: "v", App: "live", Stream: "cam"}
		i, ok := s.hub.Get(all)
		j, again := s.hub.Get(Filter{App: "live"})
		if !ok || !again || i.Publication != "p1" || j.Publication != "p1" {
			t.Fatal(i, j)
		}
		if i.AliveSecond != 4 || i.TotalBytes != 2000 || i.BytesSpeed < 400 || i.BytesSpeed > 600 || i.ReaderCount != 1 {
			t.Errorf("%+v", i)
		}
		v := i.Tracks[0]
		if v.Frames != 100 || *v.KeyFrames != 20 || *v.GopSize != 5 || *v.GopIntervalMS != 200 || v.Duration != 3960 || *v.FPS != 25 {
			t.Errorf("%+v", v)
		}
		if p := s.hub.Players(all); len(p) != 1 || p[0].Identifier != "v1" || p[0].PeerPort != 2 {
			t.Errorf("%+v", p)
		}
		for _, f := range []Filter{{Schema: "rtsp"}, {Schema: "rtsp", Vhost: "v", App: "live", Stream: "cam"}, {App: "x"}, {Vhost: "v", App: "live", Stream: "x"}} {
			if _, ok := s.hub.Get(f); ok || len(s.hub.List(f)) > 0 || len(s.hub.Players(f)) > 0 {
				t.Errorf("%+v matches", f)
			}
		}
		s.quietly("sleep 20s")
		if hit, closed := s.hub.CloseStreams(all, false, fact.EndKicked); hit != 1 || closed != 0 {
			t.Error(hit, closed)
		}
		if st := s.hub.Stats(); st != (Stats{Sources: 1, Publications: 1, Viewers: 1, MediaBytes: st.MediaBytes}) || st.MediaBytes <= 0 {
			t.Errorf("%+v", st)
		}
		s.quietly("leave v1")
		s.finish()
	})
}

// TestUnreadyCache: what waits for registration is bounded, and viewers start at a key frame of what is left.
func TestUnreadyCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		s.cfg.UnreadyFrameCache = 4
		s.hub.Reconfigure(s.cfg)
		out := s.run("publish A cam\nwrite A k0 v40 v80 k120 v160 v200\nsleep 3s\nplay v1 cam rtmp\nread v1\nleave v1\n")
		if !bytes.Contains(out, []byte("v1: <H264:V>|K120 |v160 |v200 \n")) {
			t.Errorf("%s", out)
		}
	})
}

// quietly runs commands whose effects are not looked at.
func (s *stage) quietly(lines ...string) {
	for _, l := range lines {
		words := strings.Fields(l)
		s.do(words[0], words[1:])
		synctest.Wait()
	}
	for len(s.said) > 0 {
		<-s.said
	}
}

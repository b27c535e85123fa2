package stream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/media"
)

// sparePackager is textPackager with frames as long as their data.
type sparePackager struct{ textPackager }

func newSparePackager(p Program) Packager {
	k := &sparePackager{}
	k.learn(p)
	return k
}

func (k *sparePackager) Append(dst []byte, f *media.Frame) []byte {
	n := len(dst)
	dst = k.textPackager.Append(dst, f)
	return append(dst, make([]byte, max(0, len(f.Data)-(len(dst)-n)))...)
}

// rush is a hub with one stream that is published as fast as possible.
type rush struct {
	t    *testing.T
	w    *world
	hub  *Hub
	pub  *Publisher
	sent []string // what a packager makes of the frames that were written
	last time.Duration
}

func newRush(t *testing.T, cfg Config) *rush {
	t.Helper()
	r := &rush{t: t, w: newWorld()}
	r.hub = New(cfg, r.w, r.w, []Format{
		{Name: "rtmp", Schema: "rtmp", New: newSparePackager},
		{Name: "flv", Schema: "rtmp", New: newSparePackager},
	})
	t.Cleanup(func() {
		if st := r.hub.Stats(); st != (Stats{}) {
			t.Errorf("left over: %+v", st)
		}
	})
	return r
}

// play starts n viewers, which read when start is closed, with a pause after each Next, and returns where they say what
// they got.
func (r *rush) play(n int, start <-chan struct{}, pause time.Duration) <-chan []string {
	got := make(chan []string, n)
	for i := range n {
		format := r.hub.formats[[]string{"rtmp", "flv"}[i%2]].Name
		go func() {
			v, err := r.hub.Play(context.Background(), PlayRequest{MediaInfo: named("cam"), Format: format})
			if err != nil {
				r.t.Error(err)
				got <- nil
				return
			}
			<-start
			blocks := read(r.t, v, pause)
			v.Close() // before the test goes on, which ends with nobody left
			got <- blocks
		}()
	}
	synctest.Wait()
	return got
}

// read takes blocks until the stream ends.
func read(t *testing.T, v *Viewer, pause time.Duration) (got []string) {
	t.Helper()
	for {
		bufs, err := v.Next(context.Background())
		if err != nil {
			if !errors.Is(err, ErrEnded) {
				t.Error(err)
			}
			return got
		}
		for _, b := range bufs {
			got = append(got, strings.TrimRight(string(b), "\x00"))
			v.Sent(len(b))
		}
		time.Sleep(pause)
	}
}

func (r *rush) publish(video, audio bool) {
	r.t.Helper()
	p, err := r.hub.Publish(r.t.Context(), PublishRequest{MediaInfo: named("cam"), Bytes: &atomic.Uint64{}})
	if err != nil {
		r.t.Fatal(err)
	}
	p.Metadata(nil, video, audio, 0, 0, 0)
	r.pub = p
}

// frame writes a frame of n bytes.
func (r *rush) frame(tr *media.Track, at time.Duration, key bool, n int) {
	r.t.Helper()
	f := &media.Frame{Track: tr, DTS: at, PTS: at, Key: key, Data: make([]byte, n), Config: n == 0}
	if err := r.pub.WriteFrame(f); err != nil {
		r.t.Fatal(err)
	}
	r.last = at
	if n > 0 {
		r.sent = append(r.sent, string((&textPackager{}).Append(nil, f)))
	}
}

// sameFrames compares what a viewer got with a header and frames.
func sameFrames(t *testing.T, got, frames []string) {
	t.Helper()
	const header = "<"
	if len(got) == 0 || !strings.HasPrefix(got[0], header) {
		t.Fatalf("it got %.100q", got)
	}
	all := strings.Join(got[1:], "")
	got = strings.SplitAfter(strings.TrimSuffix(strings.ReplaceAll(all, "\x00", ""), " "), " ")
	got[len(got)-1] += " "
	for i := range min(len(got), len(frames)) {
		if got[i] != frames[i] {
			t.Fatalf("frame %d of %d is %q, want %q", i, len(got), got[i], frames[i])
		}
	}
	if len(got) != len(frames) {
		t.Fatalf("%d frames, want %d", len(got), len(frames))
	}
}

// lastKey returns the place of the last key frame.
func lastKey(frames []string) int {
	for i, f := range slices.Backward(frames) {
		if f[0] == 'K' {
			return i
		}
	}
	return -1
}

// burst writes 2,000 frames, at least 26 s of media, as fast as possible. The first audio comes before the first
// picture, and before the picture's configuration.
func (r *rush) burst(video, audio bool, gop int) {
	r.t.Helper()
	pictures, sound := videoTrack("V"), audioTrack("A")
	if audio {
		r.frame(sound, 0, false, 0)
		for i := range 4 {
			r.frame(sound, time.Duration(20*i)*ms, false, 100)
		}
	}
	if video {
		r.frame(pictures, 0, false, 0)
	}
	first := len(r.sent)
	for i := first; len(r.sent) < 2000; i++ {
		at := time.Duration(20*i) * ms
		if audio {
			r.frame(sound, at, false, 100)
		}
		if video && i%2 == 0 {
			r.frame(pictures, at, (i-first)/2%gop == 0, 1000)
		}
	}
}

// TestBurst: viewers that waited get every frame of a publisher that sends faster than real time, whenever they read.
func TestBurst(t *testing.T) {
	for _, tc := range []struct {
		name         string
		video, audio bool
		gop          int // pictures
		merge, pause time.Duration
	}{
		{name: "video and audio", video: true, audio: true, gop: 50},
		{name: "slow viewers", video: true, audio: true, gop: 50, pause: time.Second},
		{name: "one GOP", video: true, audio: true, gop: 1 << 30},
		{name: "video", video: true, gop: 50},
		{name: "audio", audio: true, gop: 1},
		{name: "merged", video: true, audio: true, gop: 50, merge: 100 * time.Millisecond},
	} {
		for _, when := range []string{"from the first frame", "after the burst", "after the end"} {
			t.Run(tc.name+" "+when, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					cfg := DefaultConfig()
					cfg.MergeWrite = tc.merge
					r := newRush(t, cfg)
					start := make(chan struct{})
					got := r.play(4, start, tc.pause)
					r.publish(tc.video, tc.audio)
					if when == "from the first frame" {
						close(start)
					}
					r.burst(tc.video, tc.audio, tc.gop)
					if when == "after the burst" {
						close(start)
						time.Sleep(20 * time.Second)
					}
					r.pub.Close(fact.EndUnpublish)
					if when == "after the end" {
						close(start)
					}
					for range 4 {
						sameFrames(t, <-got, r.sent)
					}
					synctest.Wait()
				})
			})
		}
	}
}

// TestBurstLatecomer: who comes during a burst starts at the newest key frame, and misses nothing from there on.
func TestBurstLatecomer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRush(t, DefaultConfig())
		start := make(chan struct{})
		waited := r.play(1, start, 0)
		r.publish(true, true)
		r.burst(true, true, 50)
		began := make(chan struct{})
		close(began)
		late := r.play(1, began, 0) // reads at once
		unread := r.play(1, start, 0)
		before := slices.Clone(r.sent)
		for i := range 100 {
			r.frame(videoTrack("V"), r.last+40*ms, i%50 == 10, 1000)
		}
		close(start)
		r.pub.Close(fact.EndUnpublish)
		sameFrames(t, <-waited, r.sent)
		sameFrames(t, <-late, r.sent[lastKey(before):])
		sameFrames(t, <-unread, r.sent[lastKey(r.sent):])
	})
}

// TestBurstBeyondBytes: what a viewer that waited does not take is bounded by bytes. It then starts as if it had come
// just now.
func TestBurstBeyondBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := DefaultConfig()
		cfg.ViewerLagBytes, cfg.GOPMaxBytes = 200_000, 100_000
		r := newRush(t, cfg)
		start := make(chan struct{})
		got := r.play(2, start, 0)
		r.publish(true, true)
		r.burst(true, true, 50)
		for _, o := range r.pub.pub.outputs {
			if o.log.held > cfg.ViewerLagBytes {
				t.Errorf("%d bytes are held", o.log.held)
			}
		}
		close(start)
		synctest.Wait()
		r.pub.Close(fact.EndUnpublish)
		for range 2 {
			sameFrames(t, <-got, r.sent[lastKey(r.sent):])
		}
	})
}

// TestBurstChange: a viewer that waited gets the configuration that its first frames need, although another one is valid
// when it takes them, and no frame from before what it is told.
func TestBurstChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRush(t, DefaultConfig())
		start := make(chan struct{})
		got := r.play(1, start, 0)
		r.publish(true, true)
		r.frame(videoTrack("U"), 0, true, 10)
		r.frame(videoTrack("V"), 40*ms, true, 10) // nobody is told of U
		r.frame(audioTrack("A"), 45*ms, false, 0) // registers
		r.frame(videoTrack("V"), 80*ms, false, 10)
		r.frame(videoTrack("W"), 120*ms, true, 10)
		close(start)
		r.pub.Close(fact.EndUnpublish)
		if s := fmt.Sprint(<-got); s != "[<H264:V,mpeg4-generic:A> K40  v80  {H264:W,mpeg4-generic:A} K120 ]" {
			t.Error(s)
		}
	})
}

// TestLinger: after the end a slow viewer may drain while it makes progress, but not forever, and not when the hub stops.
func TestLinger(t *testing.T) {
	for _, tc := range []struct {
		name   string
		sends  time.Duration // between two progresses of the viewer
		stop   bool
		kicked time.Duration // after the end
	}{
		{name: "stands still", sends: time.Hour, kicked: 5 * time.Second},
		{name: "progress", sends: 4 * time.Second, kicked: time.Minute},
		{name: "progress and stop", sends: 4 * time.Second, stop: true, kicked: 5 * time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRush(t, DefaultConfig())
				r.publish(true, false)
				r.frame(videoTrack("V"), 0, true, 10)
				kicked := make(chan struct{}, 1)
				v, err := r.hub.Play(t.Context(), PlayRequest{MediaInfo: named("cam"), Format: "rtmp", Kick: func() { kicked <- struct{}{} }})
				if err != nil {
					t.Fatal(err)
				}
				end, stopped := time.Now(), make(chan error, 1)
				if tc.stop {
					go func() { stopped <- r.hub.Stop(context.Background()) }()
				} else {
					r.pub.Close(fact.EndUnpublish)
					stopped <- nil
				}
				tick := time.NewTicker(tc.sends)
				defer tick.Stop()
				for over := false; !over; {
					select {
					case <-tick.C:
						v.Sent(1)
					case <-kicked:
						over = true
					}
				}
				if d := time.Since(end); d != tc.kicked {
					t.Errorf("kicked after %v, not %v", d, tc.kicked)
				}
				v.Close()
				if err := <-stopped; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestLate: in real time a lag in time counts, in a burst it does not.
func TestLate(t *testing.T) {
	for _, tc := range []struct {
		name       string
		came       time.Duration // between two blocks, by the clock
		wantJumped bool
	}{
		{"real time", 100 * ms, true},
		{"slower than real time", 300 * ms, true},
		{"a little faster", 60 * ms, true},
		{"three times as fast", 33 * ms, false},
		{"at once", 0, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			lim := limits{lagBytes: 1 << 20, gopBytes: 1 << 20, lagTime: time.Second, gopTime: 2 * time.Second, jumps: 2}
			l := &wireLog{lim: lim, resync: []byte("again")}
			waited := l.origin()
			var c cursor
			putAt(l, "K", 2, 0, 0, true)
			want(t, names(t, l, &c), "[K]")
			for i := 1; i <= 50; i++ {
				putAt(l, "v", 2, time.Duration(i)*tc.came, time.Duration(i)*100*ms, i%10 == 0)
			}
			got := names(t, l, &c)
			if jumped := strings.Contains(got, "again"); jumped != tc.wantJumped {
				t.Errorf("got %s", got)
			}
			if n := strings.Count(got, "v"); (n == 1) != tc.wantJumped || !tc.wantJumped && n != 50 {
				t.Errorf("%d blocks", n)
			}
			if n := strings.Count(names(t, l, &waited), "v"); (n == 1) != tc.wantJumped {
				t.Errorf("%d blocks for one that waited", n)
			}
		})
	}
}

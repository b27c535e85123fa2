package stream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/media"
)

const ms = time.Millisecond

func smallLimits() limits {
	return limits{lagBytes: 100, gopBytes: 200, lagTime: time.Second, gopTime: 2 * time.Second, jumps: 2}
}

// put appends a block of n bytes that begins with its name and comes in real time.
func put(l *wireLog, name string, n int, at time.Duration, key bool) {
	putAt(l, name, n, at, at, key)
}

// putAt is put for a block that comes at another time than it is to be played.
func putAt(l *wireLog, name string, n int, came, at time.Duration, key bool) {
	b := append([]byte(name), bytes.Repeat([]byte("."), n-len(name))...)
	if w := l.append(block{data: b, at: at, came: time.Unix(0, 0).Add(came), key: key}, l.lim); w != nil {
		close(w)
	}
}

// names joins the names of what take returns.
func names(t *testing.T, l *wireLog, c *cursor) string {
	t.Helper()
	bufs, _, err := l.take(c, nil)
	if err != nil {
		return err.Error()
	}
	var s []string
	for _, b := range bufs {
		s = append(s, string(bytes.TrimRight(b, ".")))
	}
	return fmt.Sprint(s)
}

func want(t *testing.T, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestWireLogCursor(t *testing.T) {
	l := &wireLog{lim: smallLimits(), start: []byte("start"), resync: []byte("again")}
	var early, late cursor
	want(t, names(t, l, &early), "[]") // nothing yet
	put(l, "a0", 10, 0, false)
	want(t, names(t, l, &early), "[]") // nobody can start there
	put(l, "K1", 10, 10*ms, true)
	put(l, "v2", 10, 20*ms, false)
	want(t, names(t, l, &early), "[start K1 v2]")
	want(t, names(t, l, &early), "[]")
	put(l, "K3", 10, 30*ms, true)
	want(t, names(t, l, &early), "[K3]")
	want(t, names(t, l, &late), "[start K3]")
	l.close()
	want(t, names(t, l, &late), ErrEnded.Error())
	want(t, names(t, l, &cursor{}), "[start K3]")
}

func TestWireLogJump(t *testing.T) {
	l := &wireLog{lim: smallLimits(), start: []byte("start"), resync: []byte("again")}
	var c cursor
	put(l, "K0", 30, 0, true)
	want(t, names(t, l, &c), "[start K0]")
	for i := range 5 {
		put(l, fmt.Sprint("v", i), 30, time.Duration(i+1)*ms, false)
	}
	// It lags, but there is no newer key frame.
	want(t, names(t, l, &c), "[v0 v1 v2 v3 v4]")
	for i := range 5 {
		put(l, fmt.Sprint("w", i), 30, time.Duration(i+10)*ms, false)
	}
	put(l, "K1", 30, 20*ms, true)
	put(l, "x", 30, 21*ms, false)
	want(t, names(t, l, &c), "[again K1 x]")
	// A lag in time moves it as well, and the third move within a minute is the end.
	put(l, "y", 1, 22*ms, false)
	put(l, "K2", 2, 1500*ms, true)
	want(t, names(t, l, &c), "[again K2]")
	put(l, "z", 1, 1501*ms, false)
	put(l, "K3", 2, 3000*ms, true)
	want(t, names(t, l, &c), ErrTooSlow.Error())
}

func TestWireLogLostPlace(t *testing.T) {
	l := &wireLog{lim: smallLimits(), start: []byte("start"), resync: []byte("again")}
	var c, fresh cursor
	put(l, "K0", 30, 0, true)
	want(t, names(t, l, &c), "[start K0]")
	for i := range 30 { // the GOP outgrows every limit
		put(l, fmt.Sprint("v", i), 30, time.Duration(i)*ms, false)
	}
	if l.held > 200 || l.hasKey {
		t.Errorf("held %d, key %v", l.held, l.hasKey)
	}
	want(t, names(t, l, &c), "[]") // its place is gone: it waits for a key frame
	want(t, names(t, l, &fresh), "[]")
	put(l, "w", 30, 40*ms, false)
	want(t, names(t, l, &c), "[]")
	put(l, "K1", 30, 50*ms, true)
	want(t, names(t, l, &c), "[again K1]")
	want(t, names(t, l, &fresh), "[start K1]")
}

// TestWireLogMemory holds the log against a simple model: whatever is written and read, it is bounded, and a viewer gets
// contiguous blocks or a jump to a key frame.
func TestWireLogMemory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lim := smallLimits()
		lim.jumps = 1 << 30
		l := &wireLog{lim: lim, resync: []byte("!")}
		cursors := make([]cursor, 4)
		origin := len(cursors) - 1
		cursors[origin] = l.origin()
		last := make([]int, len(cursors))
		keys := map[int]bool{}
		n := 0
		var at, came time.Duration
		for range rapid.IntRange(1, 300).Draw(t, "steps") {
			if i := rapid.IntRange(-6, len(cursors)-1).Draw(t, "who"); i >= 0 {
				bufs, _, err := l.take(&cursors[i], nil)
				if err != nil {
					t.Fatal(err)
				}
				jumped := false
				for _, b := range bufs {
					if b[0] == '!' {
						jumped = true
						continue
					}
					var no int
					if _, err := fmt.Sscanf(string(b), "%d", &no); err != nil {
						t.Fatal(err)
					}
					if (jumped || last[i] == 0) && !keys[no] && (i != origin || no != 1) || !jumped && last[i] != 0 && no != last[i]+1 || no <= last[i] {
						t.Fatalf("block %d after %d, jumped %v", no, last[i], jumped)
					}
					last[i], jumped = no, false
				}
				continue
			}
			n++
			key := rapid.IntRange(0, 5).Draw(t, "key") == 0
			keys[n] = key
			at += time.Duration(rapid.IntRange(0, 200).Draw(t, "ms")) * ms
			b := fmt.Appendf(nil, "%d ", n)
			b = append(b, make([]byte, rapid.IntRange(0, 60).Draw(t, "size"))...)
			came += time.Duration(rapid.IntRange(0, 200).Draw(t, "pace")) * ms
			if w := l.append(block{data: b, at: at, came: time.Unix(0, 0).Add(came), key: key}, lim); w != nil {
				close(w)
			}
			held := 0
			for i := range l.n {
				held += len(l.nth(i).data)
			}
			if held != l.held || held > lim.gopBytes && l.n > 1 {
				t.Fatalf("held %d, counted %d", held, l.held)
			}
		}
	})
}

// TestMergeWrite merges what comes within the window, but never a key frame with what was before it.
func TestMergeWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		s.cfg.MergeWrite = 100 * time.Millisecond
		s.hub.Reconfigure(s.cfg)
		out := s.run("publish A cam\nmeta A v\nwrite A cV k0\nplay v1 cam rtmp\nread v1\nwrite A v40 v80\nread v1\n" +
			"sleep 100ms\nread v1\nwrite A v120 k160 v200\nread v1\nsleep 100ms\nread v1\nwrite A v240\nclose A unpublish\nread v1\nread v1\nleave v1\n")
		for _, line := range []string{
			"  v1: <H264:V>|K0 \n", "read v1\n  v1: nothing\nsleep 100ms\n", "  v1: v40 v80 \n",
			"  v1: v120 \n", "  v1: K160 v200 \n", "  v1: v240 \n", "  v1: stream: ended\n",
		} {
			if !bytes.Contains(out, []byte(line)) {
				t.Errorf("no %q in:\n%s", line, out)
			}
		}
	})
}

// TestPackagerIsDropped: nothing is muxed for nobody.
func TestPackagerIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		made := 0
		f := s.hub.formats["rtmp"]
		f.New = func(p Program) Packager {
			made++
			return newTextPackager(p)
		}
		s.hub.formats["rtmp"] = f
		s.run("publish A cam\nmeta A v\nwrite A cV k0\nsleep 1s\n")
		if made != 0 {
			t.Error("a packager without a viewer")
		}
		s = newStage(t)
		s.hub.formats["rtmp"] = f
		s.run("publish A cam\nmeta A v\nwrite A cV k0\nplay v1 cam rtmp\nsleep 1s\nleave v1\nsleep 9s\nplay v1 cam rtmp\nsleep 1s\n" +
			"leave v1\nsleep 11s\nplay v2 cam rtmp\nsleep 1s\nleave v2\n")
		if made != 2 {
			t.Errorf("%d packagers, not 2", made)
		}
	})
}

// TestSlowViewer: one viewer that does not read costs the stream nothing and is moved.
func TestSlowViewer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		s.cfg.ViewerLagDuration = 500 * time.Millisecond
		s.hub.Reconfigure(s.cfg)
		out := s.run("publish A cam\nmeta A v\nwrite A cV k0\nplay v1 cam rtmp\nread v1\nwrite A v40\nsleep 500ms\nwrite A k400 v500\nsleep 500ms\nwrite A k1000 v1040\nread v1\nclose A unpublish\nleave v1\n")
		if !bytes.Contains(out, []byte("  v1: {H264:V}|K1000 |v1040 \n")) {
			t.Errorf("%s", out)
		}
	})
}

func BenchmarkFanOut(b *testing.B) {
	for _, viewers := range []int{1, 100, 1000} {
		b.Run(fmt.Sprint(viewers), func(b *testing.B) { fanOut(b, viewers) })
	}
}

// fanOut measures one frame that all viewers take. Time and allocations are per frame, of all viewers together.
func fanOut(b *testing.B, viewers int) {
	w := newWorld()
	hub := New(DefaultConfig(), w, w, []Format{{Name: "raw", Schema: "rtmp", New: func(Program) Packager { return rawPackager{} }}})
	p, err := hub.Publish(b.Context(), PublishRequest{MediaInfo: named("cam"), Bytes: &atomic.Uint64{}})
	if err != nil {
		b.Fatal(err)
	}
	p.Metadata(nil, true, false, 0, 0, 0)
	tr := videoTrack("V")
	data := make([]byte, 10_000)
	write := func(i int) {
		at := time.Duration(i) * 40 * ms
		if err := p.WriteFrame(&media.Frame{Track: tr, DTS: at, PTS: at, Key: i%50 == 0, Data: data}); err != nil {
			b.Error(err)
		}
	}
	write(0)
	var ready, done sync.WaitGroup
	var got atomic.Int64
	for range viewers {
		v, err := hub.Play(b.Context(), PlayRequest{MediaInfo: named("cam"), Format: "raw"})
		if err != nil {
			b.Fatal(err)
		}
		ready.Add(1)
		done.Go(func() { drain(b, v, &ready, &got) })
	}
	ready.Wait()
	b.ReportAllocs()
	b.ResetTimer()
	var writing time.Duration
	for i := range b.N {
		want := got.Load() + int64(viewers)
		from := time.Now()
		write(i + 1)
		writing += time.Since(from)
		for got.Load() < want {
			time.Sleep(10 * time.Microsecond)
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(writing.Nanoseconds())/float64(b.N), "writer-ns/op")
	p.Close(fact.EndUnpublish)
	done.Wait()
	if err := hub.Stop(b.Context()); err != nil {
		b.Fatal(err)
	}
}

func drain(b *testing.B, v *Viewer, ready *sync.WaitGroup, got *atomic.Int64) {
	defer v.Close()
	first := true
	for {
		bufs, err := v.Next(context.Background())
		if errors.Is(err, ErrEnded) {
			return
		}
		if err != nil {
			b.Error(err)
			return
		}
		if first {
			first = false
			ready.Done()
			continue
		}
		for _, buf := range bufs {
			v.Sent(len(buf))
		}
		got.Add(int64(len(bufs)))
	}
}

// rawPackager writes payloads as they are.
type rawPackager struct{}

func (rawPackager) Start() []byte                            { return nil }
func (rawPackager) Append(dst []byte, f *media.Frame) []byte { return append(dst, f.Data...) }
func (rawPackager) Change(dst []byte, _ Program) []byte      { return dst }

func TestNextAllocatesNothing(t *testing.T) {
	l := &wireLog{lim: limitsOf(DefaultConfig())}
	v := &Viewer{log: l}
	sink := net.Buffers{}
	put(l, "K", 100, 0, true)
	data := make([]byte, 100)
	n := testing.AllocsPerRun(1000, func() {
		l.append(block{data: data, key: true}, l.lim)
		b, err := v.Next(t.Context())
		if err != nil {
			t.Error(err)
		}
		sink = b
	})
	if n > 0 {
		t.Errorf("%v allocations per frame and viewer, %d", n, len(sink))
	}
}

func limitsOf(c Config) limits { return c.limits() }

// BenchmarkPublications measures whole lives of streams, each with one viewer, while 10,000 others are live.
func BenchmarkPublications(b *testing.B) {
	w := newWorld()
	w.play = func(context.Context, PlayQuestion) Verdict { return Verdict{Outcome: fact.Outcome{Allowed: true}} }
	hub := New(DefaultConfig(), w, w, textFormats())
	tr := videoTrack("V")
	live := func(name string) *Publisher {
		p, err := hub.Publish(b.Context(), PublishRequest{MediaInfo: named(name)})
		if err != nil {
			b.Fatal(err)
		}
		p.Metadata(nil, true, false, 0, 0, 0)
		if err := p.WriteFrame(&media.Frame{Track: tr, Key: true, Data: make([]byte, 1000)}); err != nil {
			b.Fatal(err)
		}
		return p
	}
	for i := range 10_000 {
		live(fmt.Sprint("other", i))
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		name := fmt.Sprint("s", i)
		p := live(name)
		v, err := hub.Play(b.Context(), PlayRequest{MediaInfo: named(name), Format: "rtmp"})
		if err != nil {
			b.Fatal(err)
		}
		v.Close()
		p.Close(fact.EndUnpublish)
	}
	if err := hub.Stop(b.Context()); err != nil {
		b.Fatal(err)
	}
}

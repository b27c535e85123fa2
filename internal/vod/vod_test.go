package vod

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/format/mp4"
	"github.com/hookline/hookline/internal/leaktest"
	"github.com/hookline/hookline/internal/media"
	"github.com/hookline/hookline/internal/stream"
	"github.com/hookline/hookline/internal/stream/streamtest"
	"github.com/hookline/hookline/internal/vod/vodtest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// house is a hub with a Server, and the events and questions that come of it.
type house struct {
	t    *testing.T
	root string
	hub  *stream.Hub
	srv  *Server

	*streamtest.Plane
	mu       sync.Mutex // guards what follows
	notFound []string
	none     int
	patient  bool // players wait for what is not there
}

func (h *house) Publish(context.Context, stream.PublishQuestion) stream.PublishVerdict {
	h.t.Error("on_publish was asked")
	return stream.PublishVerdict{}
}

func (h *house) NotFound(_ context.Context, q stream.PlayQuestion) (bool, fact.Outcome) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.notFound = append(h.notFound, q.Stream.Stream)
	return !h.patient, fact.Outcome{By: "hook", Allowed: !h.patient}
}

func (h *house) NoneReader(string, fact.NoneReader, func() bool, func(bool, fact.Outcome)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.none++
}

// story returns what happened, in short.
func (h *house) story() string {
	var s []string
	for _, f := range h.Facts() {
		switch f := f.(type) {
		case *fact.Registered:
			s = append(s, "+"+f.Schema)
		case *fact.Unregistered:
			s = append(s, "-"+f.Schema)
		case *fact.PublicationEnded:
			s = append(s, string(f.Reason))
		}
	}
	return strings.Join(s, " ")
}

// text writes a line for each frame: its kind, DTS and place in ms, and a sum of its data.
type text struct{}

func (text) Start() []byte { return nil }

func (text) Append(dst []byte, f *media.Frame) []byte {
	kind := "v"
	switch {
	case f.Key:
		kind = "K"
	case f.Track.Codec.Kind() == media.Audio:
		kind = "a"
	}
	return fmt.Appendf(dst, "%s %d %d %08x\n", kind, f.DTS.Milliseconds(), (f.DTS + f.Skew).Milliseconds(), crc32.ChecksumIEEE(f.Data))
}

func (text) Change(dst []byte, _ stream.Program) []byte { return dst }

// line is one frame that a viewer got.
type line struct {
	kind    string
	dts, at int // ms
	sum     string
	came    time.Time
}

// open returns a house whose root is a directory of its own. It is called within a bubble.
func open(t *testing.T, change func(*Config)) *house {
	t.Helper()
	h := &house{t: t, root: t.TempDir(), Plane: &streamtest.Plane{}}
	h.hub = stream.New(stream.DefaultConfig(), h, h, []stream.Format{
		{Name: "rtmp", Schema: "rtmp", New: func(stream.Program) stream.Packager { return text{} }},
		{Name: "hls", Schema: "hls"},
	})
	cfg := Config{
		Root: h.root, Buffer: 4096, Logger: slog.New(slog.DiscardHandler),
		Options: stream.Options{EnableAudio: true, EnableRTMP: true, EnableHLS: true, EnableMP4: true, MaxTrack: 2},
	}
	if change != nil {
		change(&cfg)
	}
	h.srv = New(cfg, h.hub)
	h.hub.SetDemand(h.srv.Demand)
	return h
}

// close stops everything.
func (h *house) close() {
	h.t.Helper()
	if err := errors.Join(h.hub.Stop(h.t.Context()), h.srv.Close()); err != nil {
		h.t.Error(err)
	}
	if n := h.srv.Playing(); n != 0 || len(h.srv.opening) != 0 {
		h.t.Errorf("%d are playing, %d are opening", n, len(h.srv.opening))
	}
}

// put writes a file below record.
func (h *house) put(name string, data []byte) string {
	h.t.Helper()
	return vodtest.Put(h.t, filepath.Join(h.root, "record", name), data)
}

func named(name string) fact.MediaInfo {
	return fact.MediaInfo{
		Schema: "rtmp", Protocol: "rtmp", Params: "token=secret",
		Stream: fact.Stream{Vhost: fact.DefaultVhost, App: "record", Stream: name},
	}
}

// play attaches a viewer, and gives what it gets to out until it ends.
func (h *house) play(mi fact.MediaInfo) (v *stream.Viewer, out func() []line) {
	h.t.Helper()
	v, err := h.hub.Play(h.t.Context(), stream.PlayRequest{MediaInfo: mi, Format: "rtmp", Kick: func() {}})
	if err != nil {
		h.t.Fatal(err)
	}
	var mu sync.Mutex
	var lines []line
	go func() {
		defer v.Close()
		for {
			bufs, err := v.Next(h.t.Context())
			if err != nil {
				return
			}
			mu.Lock()
			for _, b := range bufs {
				for s := range strings.Lines(string(b)) {
					l := line{came: time.Now()}
					if _, err := fmt.Sscan(s, &l.kind, &l.dts, &l.at, &l.sum); err != nil {
						h.t.Error(err)
					}
					lines = append(lines, l)
				}
			}
			mu.Unlock()
		}
	}()
	return v, func() []line {
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		return lines
	}
}

func (h *house) control(name fact.Stream) stream.Control {
	h.t.Helper()
	c, err := h.hub.Control(name)
	if err != nil {
		h.t.Fatal(err)
	}
	return c
}

// TestPlay: a file comes whole and at its pace, a stream registers and unregisters, and ends at its end.
func TestPlay(t *testing.T) {
	for _, name := range []string{"h264_aac_bframes", "hevc", "aac_only", "h264_alaw", "opus"} {
		for _, speed := range []float64{1, 2, 0.5} {
			t.Run(fmt.Sprint(name, speed), func(t *testing.T) {
				data, want := vodtest.Movie(t, name, 5)
				synctest.Test(t, func(t *testing.T) {
					h := open(t, nil)
					defer h.close()
					h.put("a/b.mp4", data)
					began := time.Now()
					_, out := h.play(named("a/b.mp4"))
					c := h.control(named("a/b.mp4").Stream)
					if err := c.Speed(speed); err != nil {
						t.Fatal(err)
					}
					time.Sleep(time.Minute)
					got := out()
					if len(got) != len(want) {
						t.Fatalf("%d frames, want %d", len(got), len(want))
					}
					last := got[len(got)-1]
					stamps := time.Duration(last.dts) * time.Millisecond
					if took := last.came.Sub(began); (time.Duration(float64(took)*speed) - stamps).Abs() > 2*time.Second {
						t.Errorf("%v of stamps took %v at speed %v", stamps, took, speed)
					}
					for _, l := range got {
						if l.dts != l.at {
							t.Fatalf("%+v", l)
						}
					}
					if s := h.story(); s != "+rtmp -rtmp unpublish" {
						t.Error(s)
					}
					if err := c.Pause(true); !errors.Is(err, stream.ErrEnded) {
						t.Error(err)
					}
				})
			})
		}
	}
}

// TestSeek: seek goes to the key frame at or before, pause stops, both for all viewers; who comes later begins behind the seek.
func TestSeek(t *testing.T) {
	data, frames := vodtest.Movie(t, "h264_aac_bframes", 10)
	keys := map[string]int{} // sum of each key frame to its DTS of the first time
	for _, f := range frames {
		if s := fmt.Sprintf("%08x", crc32.ChecksumIEEE(f.Data)); f.Key {
			if _, ok := keys[s]; !ok {
				keys[s] = int((f.DTS - frames[0].DTS).Milliseconds())
			}
		}
	}
	synctest.Test(t, func(t *testing.T) {
		h := open(t, nil)
		defer h.close()
		h.put("2026-01-02-03-04-05-0.mp4", data)
		mi := named("2026-01-02-03-04-05-0.mp4")
		_, first := h.play(mi)
		c := h.control(mi.Stream)
		if d := c.Duration(); d < 19*time.Second || d > 21*time.Second {
			t.Errorf("%v long", d)
		}
		for _, to := range []time.Duration{9500 * time.Millisecond, 0, 15 * time.Second, 4 * time.Second} {
			before := len(first())
			last := first()[before-1]
			at, err := c.Seek(to)
			if err != nil {
				t.Fatal(err)
			}
			got := first()[before:]
			if len(got) == 0 || got[0].kind != "K" && got[0].kind != "a" {
				t.Fatalf("%+v", got)
			}
			var key line
			for _, l := range got {
				if l.kind == "K" {
					key = l
					break
				}
			}
			if at > to && to > 0 || to-at > 2*time.Second {
				t.Errorf("seek to %v went to %v", to, at)
			}
			if at0, known := keys[key.sum]; !known || (key.at-at0)%int(vodtest.Distance.Milliseconds()) > 1 {
				t.Errorf("the picture at %d is not the one of the file", key.at)
			}
			if key.dts <= last.dts || key.dts > last.dts+100 {
				t.Errorf("stamps go from %d to %d", last.dts, key.dts)
			}
		}
		if err := c.Pause(true); err != nil {
			t.Fatal(err)
		}
		place, n := c.Position(), len(first())
		time.Sleep(10 * time.Second)
		if m := len(first()); m != n || c.Position() != place {
			t.Errorf("%d frames came during a pause", m-n)
		}
		at, err := c.Seek(12 * time.Second)
		if err != nil || len(first()) != n {
			t.Errorf("%d frames came at a seek during a pause: %v", len(first())-n, err)
		}
		_, second := h.play(mi)
		if got := second(); len(got) != 0 {
			t.Errorf("%+v is from before the seek", got[0])
		}
		if err := c.Pause(false); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if got := second(); len(got) == 0 || got[0].kind != "K" || got[0].at > int(at.Milliseconds()) || got[0].at+200 < int(at.Milliseconds()) {
			t.Errorf("seek to %v: %+v", at, got)
		}
		for _, to := range []time.Duration{-1, time.Minute} {
			if _, err := c.Seek(to); !errors.Is(err, ErrRange) {
				t.Error(to, err)
			}
		}
		for _, f := range []float64{0, -1, 0.09, 20.1} {
			if err := c.Speed(f); !errors.Is(err, ErrRange) {
				t.Error(f, err)
			}
		}
		day := time.Date(2026, 1, 2, 3, 4, 5, 0, time.Local)
		if at, ok := c.Find(day.Add(7 * time.Second)); !ok || at != 7*time.Second {
			t.Error(at, ok)
		}
		for _, d := range []time.Duration{-time.Second, time.Hour} {
			if at, ok := c.Find(day.Add(d)); ok {
				t.Error(at)
			}
		}
	})
}

// TestIdle: what was opened on demand ends quietly when nobody reads it.
func TestIdle(t *testing.T) {
	data, _ := vodtest.Movie(t, "aac_only", 100)
	synctest.Test(t, func(t *testing.T) {
		h := open(t, nil)
		defer h.close()
		path := h.put("b.mp4", data)
		v, _ := h.play(named("b.mp4"))
		i, _ := h.hub.Get(stream.Filter{})
		if i.OriginTypeStr != "mp4_vod" || i.OriginURL != path || i.OriginSock != nil || i.Params != "" || i.TotalReaderCount != 1 {
			t.Errorf("%+v", i)
		}
		v.Close()
		time.Sleep(stream.DefaultConfig().NoneReaderDelay + time.Second)
		synctest.Wait()
		if s := h.story(); s != "+rtmp -rtmp no_reader" || h.none != 0 || h.srv.Playing() != 0 {
			t.Error(s, h.none)
		}
		// What the API loads ends, too, and on_stream_none_reader is asked.
		name := fact.Stream{Vhost: fact.DefaultVhost, App: "live", Stream: "x"}
		if _, err := h.srv.Load(t.Context(), Request{Name: name, Files: path}); err != nil {
			t.Fatal(err)
		}
		if _, err := h.srv.Load(t.Context(), Request{Name: name, Files: path}); !errors.Is(err, stream.ErrBusy) {
			t.Error(err)
		}
		time.Sleep(stream.DefaultConfig().NoneReaderDelay + time.Second)
		synctest.Wait()
		if h.none != 1 || h.srv.Playing() != 0 {
			t.Error(h.none, h.srv.Playing())
		}
	})
}

// TestTimeline: several files are one, in a list and in a directory, and are repeated without a step in the stamps.
func TestTimeline(t *testing.T) {
	one, frames := vodtest.Movie(t, "h264_aac_bframes", 1)
	synctest.Test(t, func(t *testing.T) {
		h := open(t, func(c *Config) { c.Repeat = true })
		defer h.close()
		a, b := h.put("day/2026-01-02-00-00-00-0.mp4", one), h.put("day/2026-01-02-01-00-00-1.mp4", one)
		h.put("day/.2026-01-02-02-00-00-2.mp4", one)
		h.put("day/notes.txt", []byte("x"))
		day := time.Date(2026, 1, 2, 0, 0, 0, 0, time.Local)
		for i, files := range []string{a + ";" + b, filepath.Dir(a)} {
			name := fact.Stream{Vhost: fact.DefaultVhost, App: "live", Stream: fmt.Sprint(i)}
			d, err := h.srv.Load(t.Context(), Request{Name: name, Files: files})
			if err != nil || d < 2*time.Second || d > 2500*time.Millisecond {
				t.Fatal(d, err)
			}
			began := time.Now()
			v, out := h.play(fact.MediaInfo{Schema: "rtmp", Stream: name})
			time.Sleep(3*d - 200*time.Millisecond)
			got := out()
			if n := len(got) / (2 * len(frames)); n < 2 || n > 3 {
				t.Errorf("%d frames in three turns of %d", len(got), 2*len(frames))
			}
			last := map[bool]int{}
			for _, l := range got {
				audio := l.kind == "a"
				if was, ok := last[audio]; ok && (l.dts <= was || l.dts > was+200) {
					t.Fatalf("stamps of one kind go from %d to %d", was, l.dts)
				}
				last[audio] = l.dts
			}
			if drift := time.Since(began) - time.Duration(last[false])*time.Millisecond; drift.Abs() > 2*time.Second {
				t.Errorf("the stamps are %v apart from the clock", drift)
			}
			c := h.control(name)
			at, ok := c.Find(day.Add(time.Hour + time.Second))
			if !ok || at != d/2+time.Second {
				t.Errorf("an hour later is at %v of %v", at, d)
			}
			if _, err := c.Seek(at); err != nil {
				t.Error(err)
			}
			v.Close()
		}
	})
}

// FuzzPath: whatever is asked for, the file is below the directory of the app, and nothing on the way is hidden.
func FuzzPath(f *testing.F) {
	for _, s := range []string{"a/b.mp4", "..", "../x", "a/../../x", ".x", "a//b", "/a", "a\\..\\b", "a/.b/c", "", "\x00", "a/b/"} {
		f.Add(s, "v")
	}
	f.Fuzz(func(t *testing.T, name, vhost string) {
		for _, vhosts := range []bool{false, true} {
			c := Config{Root: "/root", AppName: "record", Vhosts: vhosts}
			path, ok := c.path(fact.Stream{Vhost: vhost, App: "record", Stream: name})
			if !ok {
				continue
			}
			base := "/root/record/"
			if vhosts {
				base = "/root/" + vhost + "/record/"
			}
			rest, below := strings.CutPrefix(path, base)
			if !below || strings.HasPrefix(rest, ".") || strings.Contains(rest, "/.") || rest != name {
				t.Errorf("%q of %q is %q", name, vhost, path)
			}
		}
	})
}

// TestTracksChange: files of one time line may have other tracks than the first; all of their frames are played.
func TestTracksChange(t *testing.T) {
	var all []string
	want := 0
	dir := t.TempDir()
	for _, name := range []string{"h264_aac_bframes", "hevc", "h264_alaw", "aac_only", "h264_aac_bframes"} {
		data, frames := vodtest.Movie(t, name, 1)
		all = append(all, vodtest.Put(t, filepath.Join(dir, fmt.Sprint(len(all), ".mp4")), data))
		want += len(frames)
	}
	synctest.Test(t, func(t *testing.T) {
		h := open(t, nil)
		defer h.close()
		name := fact.Stream{Vhost: fact.DefaultVhost, App: "live", Stream: "x"}
		h.patient = true
		loaded := make(chan error, 1)
		time.AfterFunc(time.Second, func() {
			_, err := h.srv.Load(t.Context(), Request{Name: name, Files: strings.Join(all, ";")})
			loaded <- err
		})
		_, out := h.play(fact.MediaInfo{Schema: "rtmp", Stream: name}) // it waits, so that it gets the first frame
		if err := <-loaded; err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		got := out()
		if len(got) != want {
			t.Errorf("%d frames of %d", len(got), want)
		}
		last := map[bool]int{}
		for _, l := range got {
			if audio := l.kind == "a"; l.dts < last[audio] {
				t.Fatalf("stamps go from %d to %d", last[audio], l.dts)
			} else {
				last[audio] = l.dts
			}
		}
		if s := h.story(); s != "+rtmp -rtmp unpublish" {
			t.Error(s)
		}
	})
}

// TestRefused: what is no playable file below the directory is not there, and nothing is left of ten thousand attempts.
func TestRefused(t *testing.T) {
	good, _ := vodtest.Movie(t, "aac_only", 5)
	synctest.Test(t, func(t *testing.T) {
		h := open(t, nil)
		defer h.close()
		h.put("good.mp4", good)
		h.put(".open.mp4", good)
		h.put(".dir/x.mp4", good)
		h.put("../secret.mp4", good)
		h.put("junk.mp4", bytes.Repeat([]byte("junk"), 1000))
		h.put("empty.mp4", nil)
		h.put("cut.mp4", good[:40])
		h.put("dir.mp4/x.mp4", good)
		bad := []string{
			".open.mp4", ".dir/x.mp4", "../secret.mp4", "a/../../secret.mp4", "..", "", "/good.mp4", "x//good.mp4", "junk.mp4",
			"empty.mp4", "cut.mp4", "dir.mp4", "good.mp4/x", "good.mp4\x00", `..\secret.mp4`, "none.mp4",
		}
		for _, name := range bad {
			if h.srv.Demand(t.Context(), stream.PlayQuestion{MediaInfo: named(name)}) {
				t.Errorf("%q was opened", name)
			}
		}
		other := named("good.mp4")
		other.App = "live"
		if h.srv.Demand(t.Context(), stream.PlayQuestion{MediaInfo: other}) {
			t.Error("another app has files")
		}
		hls := named("good.mp4")
		hls.Schema = "hls"
		if h.srv.Demand(t.Context(), stream.PlayQuestion{MediaInfo: hls}) {
			t.Error("HLS opens files")
		}
		var wg sync.WaitGroup
		const many, lanes = 10000, 100
		for i := range lanes {
			wg.Go(func() {
				for j := range many / lanes {
					_, err := h.hub.Play(t.Context(), stream.PlayRequest{MediaInfo: named(fmt.Sprintf("none%d-%d.mp4", i, j)), Format: "rtmp"})
					if !errors.Is(err, stream.ErrNotFound) {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if len(h.notFound) != many {
			t.Errorf("%d were asked for", len(h.notFound))
		}
		if st := h.hub.Stats(); st != (stream.Stats{}) {
			t.Errorf("%+v", st)
		}
		// Many who ask for one file get one stream.
		var views sync.WaitGroup
		for range 100 {
			views.Go(func() {
				v, err := h.hub.Play(t.Context(), stream.PlayRequest{MediaInfo: named("good.mp4"), Format: "rtmp"})
				if err != nil {
					t.Error(err)
					return
				}
				v.Close()
			})
		}
		views.Wait()
		if n := h.srv.Playing(); n != 1 {
			t.Errorf("%d streams", n)
		}
	})
}

// TestLoadErrors: what can't be loaded is said.
func TestLoadErrors(t *testing.T) {
	good, _ := vodtest.Movie(t, "aac_only", 5)
	synctest.Test(t, func(t *testing.T) {
		h := open(t, nil)
		defer h.close()
		path := h.put("good.mp4", good)
		name := fact.Stream{Vhost: fact.DefaultVhost, App: "live", Stream: "x"}
		off := func(o *stream.Options) { o.EnableRTMP, o.EnableHLS = false, false }
		for _, tt := range []struct {
			q    Request
			want error
		}{
			{Request{Files: filepath.Join(h.root, "none.mp4")}, ErrFile},
			{Request{Files: path + ";" + h.put("junk.mp4", []byte("junk"))}, mp4.ErrMalformed},
			{Request{Files: t.TempDir()}, ErrFile},
			{Request{Files: " ; "}, ErrFile},
			{Request{Files: strings.Repeat(path+";", MaxFiles+1)}, ErrFile},
			{Request{Files: path, Seek: time.Hour}, ErrRange},
			{Request{Files: path, Seek: -1}, ErrRange},
			{Request{Files: path, Speed: 21}, ErrRange},
			{Request{Files: path, Options: off}, ErrNoSchema},
		} {
			tt.q.Name = name
			if _, err := h.srv.Load(t.Context(), tt.q); !errors.Is(err, tt.want) {
				t.Errorf("%.80v: %v", tt.q, err)
			}
		}
		if _, err := h.srv.Load(t.Context(), Request{Name: name, Files: path, Seek: 5 * time.Second, Speed: 20}); err != nil {
			t.Fatal(err)
		}
		_, out := h.play(fact.MediaInfo{Schema: "rtmp", Stream: name})
		if got := out(); len(got) == 0 || got[0].at < 4900 {
			t.Errorf("%+v", got)
		}
		h.srv.mu.Lock()
		if h.srv.samples == 0 {
			t.Error("no samples are counted")
		}
		h.srv.samples += MaxSamples
		h.srv.mu.Unlock()
		full := fact.Stream{Vhost: fact.DefaultVhost, App: "live", Stream: "full"}
		if _, err := h.srv.Load(t.Context(), Request{Name: full, Files: path}); !errors.Is(err, ErrTooMany) {
			t.Error(err)
		}
		h.srv.mu.Lock()
		h.srv.samples -= MaxSamples
		h.srv.mu.Unlock()
		if err := h.srv.Close(); err != nil {
			t.Error(err)
		}
		if h.srv.samples != 0 {
			t.Errorf("%d samples are left", h.srv.samples)
		}
		if _, err := h.srv.Load(t.Context(), Request{Name: name, Files: path}); !errors.Is(err, ErrStopping) {
			t.Error(err)
		}
		if h.srv.Demand(t.Context(), stream.PlayQuestion{MediaInfo: named("good.mp4")}) {
			t.Error("opened behind the end")
		}
	})
}

// TestShrinks: a file that loses its end while it plays ends its stream, not more.
func TestShrinks(t *testing.T) {
	good, _ := vodtest.Movie(t, "h264_aac_bframes", 10)
	synctest.Test(t, func(t *testing.T) {
		h := open(t, nil)
		defer h.close()
		path := h.put("good.mp4", good)
		_, out := h.play(named("good.mp4"))
		time.Sleep(time.Second)
		n := len(out())
		if err := os.Truncate(path, int64(len(good)/2)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Second)
		if m := len(out()); m <= n {
			t.Errorf("%d frames, then %d", n, m)
		}
		if s := h.story(); s != "+rtmp -rtmp unpublish" {
			t.Error(s)
		}
	})
}

// TestKicked: who closes the stream, or the server, ends the player.
func TestKicked(t *testing.T) {
	good, _ := vodtest.Movie(t, "h264_aac_bframes", 10)
	synctest.Test(t, func(t *testing.T) {
		h := open(t, nil)
		defer h.close()
		h.put("good.mp4", good)
		_, _ = h.play(named("good.mp4"))
		if hit, closed := h.hub.CloseStreams(stream.Filter{}, true, fact.EndKicked); hit != 1 || closed != 1 {
			t.Error(hit, closed)
		}
		synctest.Wait()
		if n := h.srv.Playing(); n != 0 {
			t.Errorf("%d are playing", n)
		}
		_, _ = h.play(named("good.mp4"))
		if s := h.story(); s != "+rtmp -rtmp kicked +rtmp" {
			t.Error(s)
		}
	})
}

// TestWindow: reads through a buffer are those of the file.
func TestWindow(t *testing.T) {
	data := make([]byte, 10000)
	for i := range data {
		data[i] = byte(i * 7)
	}
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, size := range []int{0, 1, 100, 1000, 20000} {
		w := &window{f: f, size: size}
		for _, at := range []int{0, 50, 51, 9990, 40, 5000, 5001, 9999, 0} {
			for _, n := range []int{1, 10, 99, 100, 101, 3000} {
				p := make([]byte, n)
				k, err := w.ReadAt(p, int64(at))
				want := data[at:min(at+n, len(data))]
				if !bytes.Equal(p[:k], want) || (err == nil) != (len(want) == n) {
					t.Fatalf("size %d, %d at %d: %d, %v", size, n, at, k, err)
				}
			}
		}
	}
}

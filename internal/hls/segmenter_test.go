package hls

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/formattest"
	"github.com/hookline/hookline/internal/media"
	"github.com/hookline/hookline/internal/stream"
)

// run runs a test with a stage in a bubble.
func run(t *testing.T, change func(*Config), f func(s *stage)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, change)
		defer s.stop()
		f(s)
	})
}

// TestFiles: names, playlists and reports as the contract has them, and what is deleted when.
func TestFiles(t *testing.T) {
	run(t, func(c *Config) { c.Count, c.Retain = 2, 1 }, func(s *stage) {
		x := s.publish("live/cam")
		x.send(2)
		first := s.segments(".ts")
		if len(first) != 1 {
			t.Fatalf("%d segments", len(first))
		}
		f := first[0]
		now := time.Now()
		name := now.Format("2006-01-02/15/04-05") + "_0.ts"
		dir := filepath.Join(s.root, "live", "cam")
		st, err := os.Stat(f.FilePath)
		if err != nil {
			t.Fatal(err)
		}
		want := fact.Recorded{
			Publication: f.Publication, Type: f.Type, StartTime: uint64(now.Unix()), TimeLen: 1, FileSize: uint64(st.Size()),
			FilePath: filepath.Join(dir, filepath.FromSlash(name)), FileName: name, Folder: dir, URL: "live/cam/" + name,
			Stream: fact.Stream{Vhost: fact.DefaultVhost, App: "live", Stream: "cam"}, Params: "token=abc",
		}
		if *f != want {
			t.Errorf("reported\n%+v, want\n%+v", *f, want)
		}
		var schemas []string
		for _, r := range of[*fact.Registered](s) {
			schemas = append(schemas, r.Schema)
		}
		slices.Sort(schemas[1:])
		if !slices.Equal(schemas, []string{"rtmp", "hls", "hls.fmp4"}) {
			t.Errorf("registered %q", schemas)
		}
		var old [2]playlist
		for i := range 8 {
			for n, file := range []string{"live/cam/hls.m3u8", "live/cam/hls.fmp4.m3u8"} {
				p := parse(t, s.read(file))
				if i > 0 {
					p.follows(t, &old[n])
				}
				old[n] = p
				for _, e := range p.segments {
					if !s.has("live/cam/" + e.uri) {
						t.Errorf("%s is listed, but not there", e.uri)
					}
				}
				if p.version != []int{4, 7}[n] || p.target != 1 || p.event || p.ended || len(p.segments) != min(i+1, 2) || p.sequence != max(0, i-1) {
					t.Errorf("%+v", p)
				}
			}
			time.Sleep(time.Second)
			x.send(1)
		}
		if old[1].segments[0].init != "init.mp4" || !s.has("live/cam/init.mp4") {
			t.Error("no init segment")
		}
		if n := len(s.files()); n != 2+1+2*(2+1+1) { // lists, init; listed, retained, open
			t.Errorf("%d files: %q", n, s.files())
		}
		x.end()
		p := parse(t, s.read("live/cam/hls.m3u8"))
		if !p.ended || len(p.segments) != 2 {
			t.Errorf("at the end: %+v", p)
		}
		if n := len(s.segments(".ts")); n != 10 {
			t.Errorf("%d segments are reported", n)
		}
		time.Sleep(9 * time.Second)
		if !s.has("live/cam/hls.m3u8") {
			t.Error("deleted too early")
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if files := s.files(); len(files) > 0 || s.has("live/cam") {
			t.Errorf("left: %q", files)
		}
	})
}

// TestDecodes: FFmpeg decodes the segments behind one another, and finds every picture.
func TestDecodes(t *testing.T) {
	for _, variant := range []string{TS, FMP4} {
		t.Run(variant, func(t *testing.T) {
			clip := formattest.Named(t, "h264_aac_bframes")
			var file []byte
			run(t, func(c *Config) { c.Count, c.Segment = 0, 200*time.Millisecond }, func(s *stage) {
				x := s.publish("live/cam")
				for _, f := range clip.Frames {
					if err := x.p.WriteFrame(f); err != nil {
						t.Fatal(err)
					}
				}
				x.end()
				p := parse(t, s.read("live/cam/"+playlistName(variant)))
				if !p.event || !p.ended || p.sequence != 0 {
					t.Errorf("%+v", p)
				}
				if variant == FMP4 {
					file = append(file, s.read("live/cam/"+p.segments[0].init)...)
				}
				for _, e := range p.segments {
					file = append(file, s.read("live/cam/"+e.uri)...)
				}
			})
			pictures, sound := 0, 0
			packets, _ := formattest.Probe(t, "out", file)
			for _, p := range packets {
				if p.Kind == "video" {
					pictures++
				} else {
					sound++
				}
			}
			for _, f := range clip.Frames {
				switch {
				case f.Config || len(f.Data) == 0:
				case f.Track.Codec.Kind() == media.Video:
					pictures--
				default:
					sound--
				}
			}
			if pictures != 0 || sound > 0 {
				t.Errorf("off by %d pictures and %d frames of sound", pictures, sound)
			}
			formattest.Decode(t, "out", file)
		})
	}
}

// TestLengths: lengths are those of the pictures, not of what comes between; the last segment counts its last picture.
func TestLengths(t *testing.T) {
	run(t, func(c *Config) { c.Segment = 1500 * time.Millisecond; c.Count = 10 }, func(s *stage) {
		x := s.publish("live/cam")
		x.send(4)
		x.group(75) // a long group
		x.group(10)
		x.end()
		p := parse(t, s.read("live/cam/hls.m3u8"))
		var lengths []float64
		for _, e := range p.segments {
			lengths = append(lengths, e.length)
		}
		if !slices.Equal(lengths, []float64{2, 2, 3, 0.4}) || p.target != 3 {
			t.Errorf("%v, target duration %d", lengths, p.target)
		}
	})
}

// TestFastRegister: the first segment ends with its first group.
func TestFastRegister(t *testing.T) {
	for _, fast := range []bool{false, true} {
		run(t, func(c *Config) { c.Segment, c.FastRegister = 3*time.Second, fast }, func(s *stage) {
			s.publish("live/cam").send(2)
			if got := s.has("live/cam/hls.m3u8"); got != fast {
				t.Errorf("fast %v: playlist %v", fast, got)
			}
		})
	}
}

// TestChange: another configuration comes behind a discontinuity, with an init segment of its own, and nothing is lost but
// what could not be decoded.
func TestChange(t *testing.T) {
	run(t, func(c *Config) { c.Count = 3 }, func(s *stage) {
		x := s.publish("live/cam")
		x.send(2)
		other := *x.video
		other.Config = slices.Clone(other.Config)
		other.Config[3]++ // level
		x.video = &other
		var old playlist
		for i := range 6 {
			x.send(1)
			p := parse(t, s.read("live/cam/hls.fmp4.m3u8"))
			if i > 0 {
				p.follows(t, &old)
			}
			old = p
			if i == 1 {
				e := p.segments[2]
				if !e.broken || e.init != "init_1.mp4" || p.segments[1].init != "init.mp4" {
					t.Errorf("%+v", p)
				}
			}
		}
		if old.discontinuities != 1 || old.segments[0].init != "init_1.mp4" {
			t.Errorf("%+v", old)
		}
		if p := parse(t, s.read("live/cam/hls.m3u8")); p.discontinuities != 1 {
			t.Errorf("%+v", p)
		}
		// Metadata alone changes nothing.
		x.p.Metadata([]byte("x"), true, true, 320, 240, 25)
		x.send(2)
		if p := parse(t, s.read("live/cam/hls.m3u8")); p.discontinuities != 1 || p.segments[1].broken {
			t.Errorf("%+v", p)
		}
	})
}

// TestJump: times that jump make a discontinuity, and no segment of hours.
func TestJump(t *testing.T) {
	for _, by := range []time.Duration{time.Hour} {
		run(t, func(c *Config) { c.Count = 10 }, func(s *stage) {
			x := s.publish("live/cam")
			x.send(7)
			x.at += by
			x.send(3)
			p := parse(t, s.read("live/cam/hls.m3u8"))
			n := 0
			for _, e := range p.segments {
				if e.broken {
					n++
				}
				if e.length > 2 {
					t.Errorf("%+v", e)
				}
			}
			if n != 1 || len(p.segments) != 9 {
				t.Errorf("%+v", p)
			}
		})
	}
}

// TestAudioOnly: sound alone is cut, too.
func TestAudioOnly(t *testing.T) {
	run(t, nil, func(s *stage) {
		x := s.publish("live/cam")
		for range 300 {
			x.write(x.audio, x.at, false)
			x.at += 1024 * time.Second / 44100
		}
		time.Sleep(time.Second) // no picture comes
		for range 300 {
			x.write(x.audio, x.at, false)
			x.at += 1024 * time.Second / 44100
		}
		x.end()
		for _, name := range []string{"hls.m3u8", "hls.fmp4.m3u8"} {
			p := parse(t, s.read("live/cam/"+name))
			if len(p.segments) < 2 || p.segments[0].length < 1.9 || p.segments[0].length > 2.1 {
				t.Errorf("%+v", p)
			}
		}
	})
}

// TestKeep: files stay, and each hour has a list, which the next publication goes on with.
func TestKeep(t *testing.T) {
	run(t, func(c *Config) { c.Count, c.Keep, c.Retain = 2, true, 0 }, func(s *stage) {
		time.Sleep(time.Hour - 3*time.Second)
		x := s.publish("live/cam")
		hour := []string{time.Now().Format("2006-01-02/15"), time.Now().Add(time.Hour).Format("2006-01-02/15")}
		for range 6 {
			x.send(1)
			time.Sleep(time.Second)
		}
		x.end()
		first := parse(t, s.read("live/cam/"+hour[0]+"/vod.m3u8"))
		p := parse(t, s.read("live/cam/"+hour[1]+"/vod.fmp4.m3u8"))
		if !first.ended || !p.ended || len(first.segments)+len(p.segments) != 6 || p.segments[0].init != "../../init.mp4" {
			t.Errorf("%+v\n%+v", first, p)
		}
		y := s.publish("live/cam")
		y.send(3)
		going := parse(t, s.read("live/cam/"+hour[1]+"/vod.fmp4.m3u8"))
		n := len(p.segments)
		if going.ended || !going.event || len(going.segments) != n+2 || !going.segments[n].broken || going.sequence != 0 {
			t.Errorf("%+v", going)
		}
		for _, e := range going.segments {
			if !s.has("live/cam/" + hour[1] + "/" + e.uri) {
				t.Errorf("%s is gone", e.uri)
			}
		}
		y.end()
		time.Sleep(time.Minute)
		if n := len(s.segments(".ts")); n != 9 {
			t.Errorf("%d segments", n)
		}
		for _, f := range of[*fact.Recorded](s) {
			if _, err := os.Stat(f.FilePath); err != nil {
				t.Error(err)
			}
		}
	})
}

// TestDelay: the second playlist is behind, its files are there, and it catches up at the end.
func TestDelay(t *testing.T) {
	run(t, func(c *Config) { c.Count, c.Delay, c.Retain = 2, 3, 0 }, func(s *stage) {
		x := s.publish("live/cam")
		x.send(4)
		if s.has("live/cam/hls_delay.m3u8") {
			t.Error("it is there before there is a segment for it")
		}
		x.send(4) // 7 segments
		p := parse(t, s.read("live/cam/hls_delay.m3u8"))
		if p.sequence != 2 || len(p.segments) != 2 {
			t.Errorf("%+v", p)
		}
		for _, e := range p.segments {
			if !s.has("live/cam/" + e.uri) {
				t.Errorf("%s is gone", e.uri)
			}
		}
		c := &client{s: s, ip: "10.0.0.1"}
		if got := c.want(200, "/live/cam/hls_delay.m3u8").Body.String(); got != s.read("live/cam/hls_delay.m3u8") {
			t.Errorf("served:\n%s", got)
		}
		x.end()
		end := parse(t, s.read("live/cam/hls_delay.m3u8"))
		if !end.ended || len(end.segments) != 5 {
			t.Errorf("%+v", end)
		}
		time.Sleep(time.Minute)
		if files := s.files(); len(files) > 0 {
			t.Errorf("left: %q", files)
		}
	})
}

// TestRepublish: the next publication of a key keeps its files when those of the one before are deleted.
func TestRepublish(t *testing.T) {
	run(t, nil, func(s *stage) {
		x := s.publish("live/cam")
		x.send(2)
		x.end()
		y := s.publish("live/cam") // within the same second
		time.Sleep(9 * time.Second)
		y.send(1) // the init segment is written, no playlist yet
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if !s.has("live/cam/init.mp4") {
			t.Error("the init segment of the second publication is gone")
		}
		y.send(2)
		p := parse(t, s.read("live/cam/hls.fmp4.m3u8"))
		if p.ended || len(p.segments) != 2 || p.sequence != 0 {
			t.Errorf("%+v", p)
		}
		for _, e := range append(p.segments, parse(t, s.read("live/cam/hls.m3u8")).segments...) {
			if !s.has("live/cam/" + e.uri) {
				t.Errorf("%s is gone", e.uri)
			}
		}
		if n := len(s.files()); n != 2+1+2*3 {
			t.Errorf("%q", s.files())
		}
		y.end()
		z := s.publish("live/cam") // at once, too: no name twice
		z.send(3)
		seen := map[string]bool{}
		for _, f := range of[*fact.Recorded](s) {
			if seen[f.FilePath] {
				t.Errorf("%s was reported twice", f.FilePath)
			}
			seen[f.FilePath] = true
		}
	})
}

// TestHostileNames: no stream leaves the root, and those that can't have a directory have no HLS but live on.
func TestHostileNames(t *testing.T) {
	for _, name := range []string{"live/..", "../x", "live/../../x", "live/a/../../../b", "live/a//b", "live/.", "live/a\\b", "live/\x00"} {
		run(t, nil, func(s *stage) {
			x := s.publish(name)
			x.send(3)
			if n := len(of[*fact.Recorded](s)); n > 0 || len(s.files()) > 0 {
				t.Errorf("%q: %d segments, files %q", name, n, s.files())
			}
			if above, err := os.ReadDir(filepath.Dir(s.root)); err != nil || len(above) != 1 {
				t.Errorf("%q: beside the root: %v %v", name, above, err)
			}
			x.end()
			if len(of[*fact.PublicationEnded](s)) != 1 {
				t.Errorf("%q does not end", name)
			}
		})
	}
}

// TestDiskFails: a segment that can't be written ends HLS of that publication, and nothing else.
func TestDiskFails(t *testing.T) {
	run(t, nil, func(s *stage) {
		if err := os.WriteFile(filepath.Join(s.root, "live"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		x := s.publish("live/cam")
		x.send(3)
		if i, _ := s.hub.Get(stream.Filter{App: "live", Stream: "cam"}); i.Schema != "rtmp" || i.IsRecordingHLS {
			t.Errorf("%+v", i)
		}
		x.end()
		if len(of[*fact.PublicationEnded](s)) != 1 {
			t.Error("it does not end")
		}
	})
}

// TestReportsComeFirst: register, reports and end come in the order of the contract.
func TestReportsComeFirst(t *testing.T) {
	run(t, nil, func(s *stage) {
		s.Options.EnableHLSFMP4 = false
		x := s.publish("live/cam")
		x.send(3)
		x.end()
		var got []string
		for _, f := range s.Facts() {
			switch f := f.(type) {
			case *fact.Registered:
				got = append(got, "+"+f.Schema)
			case *fact.Unregistered:
				got = append(got, "-"+f.Schema)
			case *fact.Recorded:
				got = append(got, regexp.MustCompile(`_\d+`).FindString(f.FileName))
			case *fact.PublicationEnded:
				got = append(got, fmt.Sprint("end ", f.Schemas, len(f.Recordings)))
			}
		}
		if s := strings.Join(got, " "); s != "+rtmp _0 +hls _1 -hls -rtmp _2 end [rtmp hls]0" && s != "+rtmp _0 +hls _1 -hls -rtmp _2 end [rtmp hls] 0" {
			t.Error(s)
		}
	})
}

// TestReconfigure: what applies at once applies to a stream that is live.
func TestReconfigure(t *testing.T) {
	run(t, func(c *Config) { c.Report = false }, func(s *stage) {
		x := s.publish("live/cam")
		x.send(2)
		cfg := *s.srv.cfg.Load()
		cfg.Report, cfg.DeleteDelay = true, time.Hour
		s.srv.Reconfigure(cfg)
		x.send(2)
		if n := len(s.segments(".ts")); n != 2 {
			t.Errorf("%d reports", n)
		}
		x.end()
		time.Sleep(time.Minute)
		if !s.has("live/cam/hls.m3u8") {
			t.Error("deleted")
		}
	})
}

// TestByAPI: a recording that the API starts is as one that the options ask for, may have a root of its own, and can be
// stopped and started again.
func TestByAPI(t *testing.T) {
	run(t, nil, func(s *stage) {
		s.Options.EnableHLS, s.Options.EnableHLSFMP4 = false, false
		x := s.publish("live/cam")
		x.send(2)
		if files := s.files(); len(files) > 0 {
			t.Errorf("%q", files)
		}
		name := fact.Stream{Vhost: fact.DefaultVhost, App: "live", Stream: "cam"}
		if err := s.hub.StartRecord(name, TS, filepath.Join(s.root, "own"), 0); err != nil {
			t.Fatal(err)
		}
		x.send(3)
		if p := parse(t, s.read("own/live/cam/hls.m3u8")); len(p.segments) != 3 { // the group that was there comes first
			t.Errorf("%+v", p)
		}
		c := &client{s: s, ip: "10.0.0.1", keep: true}
		c.want(200, watched)
		over, err := s.hub.StopRecord(name, TS)
		if err != nil {
			t.Fatal(err)
		}
		<-over
		if p := parse(t, c.want(200, watched).Body.String()); !p.ended {
			t.Errorf("%+v", p)
		}
		gone := of[*fact.Unregistered](s)
		if len(gone) != 1 || gone[0].Schema != TS {
			t.Errorf("%+v", gone)
		}
		time.Sleep(11 * time.Second)
		synctest.Wait()
		c.want(404, watched)
		if files := s.files(); len(files) > 0 || s.readers(TS) > 0 {
			t.Errorf("left: %q, %d readers", files, s.readers(TS))
		}
		if err := s.hub.StartRecord(name, TS, "", 0); err != nil {
			t.Fatal(err)
		}
		x.send(3)
		if p := parse(t, c.want(200, watched).Body.String()); p.ended || !s.has("live/cam/hls.m3u8") {
			t.Errorf("%+v, %q", p, s.files())
		}
	})
}

// TestOnlyHLS: a stream of which nothing but HLS is made registers, is watched and ends.
func TestOnlyHLS(t *testing.T) {
	run(t, nil, func(s *stage) {
		s.Options.EnableRTMP, s.Options.EnableHLSFMP4 = false, false
		x := s.publish("live/cam")
		x.send(3)
		c := &client{s: s, ip: "10.0.0.1", keep: true}
		c.want(200, watched)
		if n := s.readers(TS); n != 1 {
			t.Errorf("%d readers", n)
		}
		x.end()
		ended := of[*fact.PublicationEnded](s)
		if len(of[*fact.Registered](s)) != 1 || len(of[*fact.Unregistered](s)) != 1 || len(ended) != 1 || !slices.Equal(ended[0].Schemas, []string{TS}) {
			t.Errorf("%+v", ended)
		}
	})
}

// TestStop: a stop ends lists, reports the last segment and removes the files.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, nil)
		s.publish("live/cam").send(2)
		c := &client{s: s, ip: "10.0.0.1"}
		c.want(200, "/live/cam/hls.m3u8")
		begun := time.Now()
		s.stop()
		if d := time.Since(begun); d > 0 {
			t.Errorf("it took %v", d)
		}
		if n := len(s.segments(".ts")); n != 2 {
			t.Errorf("%d segments", n)
		}
		if files := s.files(); len(files) > 0 {
			t.Errorf("left: %q", files)
		}
		if _, err := s.hub.Play(context.Background(), stream.PlayRequest{Format: TS}); err == nil {
			t.Error("the hub plays on")
		}
	})
}

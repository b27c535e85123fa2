package hls

import (
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/media"
	"github.com/hookline/hookline/internal/stream"
)

// runDemand runs a test with hls_demand.
func runDemand(t *testing.T, change func(*Config), f func(s *stage)) {
	t.Helper()
	run(t, change, func(s *stage) {
		s.Options.HLSDemand = true
		f(s)
	})
}

// resumes demands that p goes on where old was given up: with later numbers, and with a discontinuity that is counted.
func (p *playlist) resumes(t *testing.T, old *playlist) {
	t.Helper()
	discontinuities := old.discontinuities
	for _, e := range old.segments {
		if e.broken {
			discontinuities++
		}
	}
	if p.sequence < old.sequence+len(old.segments) || p.target < old.target || len(p.segments) == 0 || !p.segments[0].broken || p.discontinuities != discontinuities {
		t.Errorf("%+v\nresumes\n%+v", p, old)
	}
}

// TestDemand: without viewers nothing is made, but the schemas are there. The first request for a playlist wakes its variant and
// waits for it; a minute after the last one everything is gone, and the next goes on with a discontinuity.
func TestDemand(t *testing.T) {
	for variant, list := range map[string]string{TS: watched, FMP4: low} {
		runDemand(t, nil, func(s *stage) {
			x := s.publish("live/cam")
			x.send(3)
			var schemas []string
			for _, r := range of[*fact.Registered](s) {
				schemas = append(schemas, r.Schema)
			}
			if slices.Sort(schemas); !slices.Equal(schemas, []string{TS, FMP4, "rtmp"}) || len(s.files()) > 0 {
				t.Errorf("registered %q, files %q", schemas, s.files())
			}
			c := &client{s: s, ip: "10.0.0.1", keep: true}
			var old playlist
			for round := range 3 {
				q := c.ask(list)
				if q.answered() {
					t.Errorf("answered at once: %d %s", q.w.Code, q.w.Body)
				}
				x.send(1) // the group that was there is complete
				if !q.answered() || q.w.Code != http.StatusOK {
					t.Fatalf("round %d: %d %s", round, q.w.Code, q.w.Body)
				}
				p := parse(t, q.w.Body.String())
				if round > 0 {
					p.resumes(t, &old)
				} else if p.segments[0].broken {
					t.Errorf("%+v", p)
				}
				for range 5 {
					x.send(1)
					time.Sleep(time.Second)
					next := parse(t, c.want(200, list).Body.String())
					next.follows(t, &p)
					p = next
					c.want(200, "/live/cam/"+p.segments[len(p.segments)-1].uri)
				}
				old = p
				other := TS
				if variant == TS {
					other = FMP4
				}
				if s.readers(variant) != 1 || s.readers(other) != 0 || s.has("live/cam/"+playlistName(other)) {
					t.Errorf("readers %d %d", s.readers(variant), s.readers(other))
				}
				c.cookie = nil // or it would be known in the middle of its minute
				time.Sleep(62 * time.Second)
				x.send(2)
				if files := s.files(); s.readers(variant) > 0 || len(files) > 0 && !slices.Equal(files, []string{"live/cam/init.mp4"}) {
					t.Errorf("%d readers, files %q", s.readers(variant), files)
				}
			}
			if n := len(of[*fact.Registered](s)); n != 3 || len(of[*fact.Unregistered](s)) > 0 {
				t.Errorf("%d registers", n)
			}
			x.end()
			if n := len(of[*fact.PublicationEnded](s)); n != 1 {
				t.Errorf("%d ends", n)
			}
			time.Sleep(11 * time.Second)
			synctest.Wait()
			if files := s.files(); len(files) > 0 {
				t.Errorf("left: %q", files)
			}
		})
	}
}

// TestDemandLow: a playlist of Low-Latency HLS after a pause has parts at once, and no part of it was shown before.
func TestDemandLow(t *testing.T) {
	runDemand(t, lowLatencyOn, func(s *stage) {
		x := s.publish("live/cam")
		x.send(1)
		c := &client{s: s, ip: "10.0.0.1", agent: "a"}
		seen := map[string]bool{}
		var old lowPlaylist
		for round := range 3 {
			q := c.ask(low + "?_HLS_msn=1&_HLS_part=0")
			for !q.answered() {
				x.group(5)
				if x.at > time.Minute {
					t.Fatal("no playlist")
				}
				if x.at%time.Second == 0 {
					x.group(1)
				}
			}
			p := parseLow(t, q.w.Body.String())
			if round > 0 {
				p.resumes(t, &old.playlist)
				if len(p.parts[0]) == 0 {
					t.Errorf("%+v", p)
				}
			}
			for range 70 {
				for _, part := range p.all() {
					if seen[part.uri] {
						t.Errorf("%s again", part.uri)
					}
				}
				x.write(x.video, x.at, x.at%time.Second == 0)
				x.at += 40 * time.Millisecond
				time.Sleep(40 * time.Millisecond)
				synctest.Wait()
				next := parseLow(t, c.want(200, low).Body.String())
				next.followsLow(t, &p)
				p = next
			}
			for _, part := range p.all() {
				seen[part.uri] = true
			}
			old = p
			waits := c.ask("/live/cam/" + p.hint) // longer than the viewer is known: it is not there any more
			time.Sleep(62 * time.Second)
			if !waits.answered() || waits.w.Code != http.StatusServiceUnavailable || s.readers(FMP4) > 0 {
				t.Errorf("%d %s", waits.w.Code, waits.w.Body)
			}
			c.want(http.StatusUnauthorized, "/live/cam/"+p.hint)
			c.want(http.StatusUnauthorized, "/live/cam/"+p.segments[0].uri)
		}
	})
}

// TestDemandNot: what is kept, and what the API asks for, is made whether somebody watches or not.
func TestDemandNot(t *testing.T) {
	for _, change := range []func(*Config){func(c *Config) { c.Keep = true }, func(c *Config) { c.Count = 0 }} {
		runDemand(t, change, func(s *stage) {
			s.publish("live/cam").send(3)
			if !s.has("live/cam/hls.m3u8") || !s.has("live/cam/hls.fmp4.m3u8") {
				t.Errorf("%q", s.files())
			}
		})
	}
	name := fact.Stream{Vhost: fact.DefaultVhost, App: "live", Stream: "cam"}
	for _, enabled := range []bool{false, true} {
		runDemand(t, nil, func(s *stage) {
			s.Options.EnableHLS = enabled
			x := s.publish("live/cam")
			x.send(2)
			if files := s.files(); len(files) > 0 {
				t.Errorf("%q", files)
			}
			if err := s.hub.StartRecord(name, TS, "", 0); err != nil {
				t.Fatal(err)
			}
			x.send(2)
			if p := parse(t, s.read("live/cam/hls.m3u8")); len(p.segments) != 2 || s.has("live/cam/hls.fmp4.m3u8") {
				t.Errorf("%+v, %q", p, s.files())
			}
			(&client{s: s, ip: "10.0.0.1"}).want(200, watched)
			time.Sleep(62 * time.Second)
			x.send(1)
			if p := parse(t, s.read("live/cam/hls.m3u8")); p.segments[0].broken || s.readers(TS) > 0 {
				t.Errorf("%+v", p)
			}
		})
	}
}

// TestDemandWaits: a request waits no longer than for a stream, nor than the stream lives, and not without bounds.
func TestDemandWaits(t *testing.T) {
	runDemand(t, func(c *Config) { c.MaxWaiting, c.Delay = 2, 1 }, func(s *stage) {
		x := s.publish("live/cam")
		x.send(1)
		begun := time.Now()
		a, b := &client{s: s, ip: "10.0.0.1"}, &client{s: s, ip: "10.0.0.2"}
		first, second := a.ask(watched), b.ask("/live/cam/hls_delay.m3u8")
		(&client{s: s, ip: "10.0.0.3"}).want(http.StatusServiceUnavailable, watched)
		<-first.done
		<-second.done
		if d := time.Since(begun); d != 15*time.Second || first.w.Code != http.StatusNotFound || second.w.Code != http.StatusNotFound {
			t.Errorf("%d, %d after %v", first.w.Code, second.w.Code, d)
		}
		first, second = a.ask(watched), b.ask("/live/cam/hls_delay.m3u8")
		x.send(1)
		if !first.answered() || first.w.Code != http.StatusOK || second.answered() {
			t.Errorf("%d %s", first.w.Code, first.w.Body)
		}
		x.send(1)
		if !second.answered() || len(parse(t, second.w.Body.String()).segments) != 1 {
			t.Errorf("%d %s", second.w.Code, second.w.Body)
		}
		left := a.ask("/live/cam/hls.fmp4.m3u8")
		left.cancel()
		if !left.answered() {
			t.Error("it waits on")
		}
		first = a.ask("/live/cam/hls.fmp4.m3u8")
		x.end() // the segment that is open becomes the only one
		if !first.answered() || first.w.Code != http.StatusOK || !parse(t, first.w.Body.String()).ended {
			t.Errorf("%d %s", first.w.Code, first.w.Body)
		}
	})
	runDemand(t, nil, func(s *stage) {
		x := s.publish("live/cam")
		x.write(x.video, 0, true)
		time.Sleep(2 * time.Millisecond) // it registers without sound
		x.write(x.video, 40*time.Millisecond, false)
		synctest.Wait()
		q := (&client{s: s, ip: "10.0.0.1"}).ask(watched)
		s.srv.Hang()
		if !q.answered() || q.w.Code != http.StatusServiceUnavailable {
			t.Errorf("%d", q.w.Code)
		}
		x.end()
	})
}

// TestDemandChange: tracks that change while nobody watches are those that the next viewer gets; a schema that could carry
// nothing registers as soon as it can.
func TestDemandChange(t *testing.T) {
	runDemand(t, nil, func(s *stage) {
		x := s.publish("live/cam")
		x.send(2)
		c := &client{s: s, ip: "10.0.0.1", agent: "a"}
		q := c.ask(low)
		x.send(2)
		old := parse(t, q.w.Body.String())
		time.Sleep(62 * time.Second)
		other := *x.video
		other.Config = append([]byte{}, other.Config...)
		other.Config[len(other.Config)-1] ^= 1
		x.video = &other
		x.send(2)
		q = c.ask(low)
		x.send(1)
		p := parse(t, q.w.Body.String())
		p.resumes(t, &old)
		if p.segments[0].init != "init_1.mp4" || old.segments[0].init != "init.mp4" {
			t.Errorf("%+v, %+v", old, p)
		}
	})
}

// TestDemandRest: who asks at the moment when its minute is over is let in anew, and served.
func TestDemandRest(t *testing.T) {
	runDemand(t, nil, func(s *stage) {
		x := s.publish("live/cam")
		x.send(1)
		c := &client{s: s, ip: "10.0.0.1", agent: "a"}
		for range 5 {
			q := c.ask(watched)
			x.send(2)
			if !q.answered() || q.w.Code != http.StatusOK || s.readers(TS) != 1 {
				t.Fatalf("%d %s, %d readers", q.w.Code, q.w.Body, s.readers(TS))
			}
			time.Sleep(time.Minute + time.Second/2)
		}
	})
}

// BenchmarkUnwatched is what a second of 2.1 Mbit/s costs that nobody watches, with HLS of both variants: cpu-us counts all
// goroutines.
func BenchmarkUnwatched(b *testing.B) {
	for name, demand := range map[string]bool{"always": false, "demand": true} {
		b.Run(name, func(b *testing.B) {
			s := newStage(b, func(c *Config) { c.Report, c.QueueBytes = false, 1<<40 })
			s.Options.HLSDemand = demand
			x := s.publish("live/cam")
			data := append([]byte{0, 0, 41, 0, 0x41}, []byte(strings.Repeat("Z", 41*256-1))...)
			begun := usage(b)
			for b.Loop() {
				for i := range 25 {
					f := &media.Frame{Track: x.video, DTS: x.at, PTS: x.at, Key: i == 0, Data: data}
					if err := x.p.WriteFrame(f); err != nil {
						b.Fatal(err)
					}
					x.at += 40 * time.Millisecond
				}
			}
			x.p.Close(fact.EndUnpublish)
			s.end()
			b.ReportMetric(float64((usage(b)-begun).Microseconds())/float64(b.N), "cpu-us/op")
		})
	}
}

// usage is the time of the processor that this process has had.
func usage(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

var _ stream.Sleeper = (*segmenter)(nil)

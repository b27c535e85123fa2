package hls

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookline/hookline/internal/fact"
)

const watched = "/live/cam/hls.m3u8"

// TestViewer: with a cookie, or with none at all, somebody who keeps asking is asked for once, counts once as a reader,
// and is reported once when it stops.
func TestViewer(t *testing.T) {
	for _, keep := range []bool{true, false} {
		run(t, nil, func(s *stage) {
			x := s.publish("live/cam")
			x.send(2)
			c := &client{s: s, ip: "10.0.0.1", agent: "player", keep: keep}
			var bytes int
			for i := range 90 {
				x.send(1)
				w := c.want(200, watched+"?token=1")
				if got := w.Header().Get("Content-Type"); got != "application/vnd.apple.mpegurl" || w.Header().Get("Cache-Control") != "no-store" {
					t.Errorf("%v", w.Header())
				}
				bytes += w.Body.Len()
				p := parse(t, w.Body.String())
				seg := c.want(200, "/live/cam/"+p.segments[len(p.segments)-1].uri)
				bytes += seg.Body.Len()
				if seg.Header().Get("Content-Type") != "video/mp2t" || seg.Body.Len()%188 != 0 || seg.Body.Len() == 0 {
					t.Errorf("%v %d", seg.Header(), seg.Body.Len())
				}
				if n := s.readers(TS); n != 1 {
					t.Errorf("round %d: %d readers", i, n)
				}
				time.Sleep(time.Second)
			}
			if s.plays != 1 {
				t.Errorf("on_play was asked %d times", s.plays)
			}
			if n := len(of[*fact.FlowReport](s)); n != 0 {
				t.Errorf("%d reports while it watches", n)
			}
			time.Sleep(66 * time.Second)
			synctest.Wait()
			if n := s.readers(TS); n != 0 {
				t.Errorf("%d readers", n)
			}
			reports := of[*fact.FlowReport](s)
			if len(reports) != 1 {
				t.Fatalf("%d reports", len(reports))
			}
			r := reports[0]
			if !r.Player || r.TotalBytes != uint64(bytes) || r.IP != "10.0.0.1" || r.Port != 4711 || r.ID != "s1" || r.Params != "token=1" ||
				r.Schema != TS || r.Protocol != TS {
				t.Errorf("%+v, sent %d bytes", r, bytes)
			}
			c.want(200, watched+"?token=1")
			if s.plays != 2 {
				t.Errorf("who comes back after a minute is let in without being asked for")
			}
		})
	}
}

// TestCookiePath: the cookie is for the directory of the stream, as addresses spell it.
func TestCookiePath(t *testing.T) {
	run(t, nil, func(s *stage) {
		s.publish("live/摄像 1").send(2)
		c := &client{s: s, ip: "10.0.0.1", keep: true}
		c.want(200, "/live/%E6%91%84%E5%83%8F%201/hls.m3u8")
		if c.cookie == nil || c.cookie.Path != "/live/%E6%91%84%E5%83%8F%201/" {
			t.Errorf("%v", c.cookie)
		}
	})
}

// TestOnce: requests of one viewer that come at the same time, and wait for the stream or a decision, ask once.
func TestOnce(t *testing.T) {
	run(t, nil, func(s *stage) {
		var done sync.WaitGroup
		for range 5 {
			done.Go(func() { (&client{s: s, ip: "10.0.0.1", agent: "a"}).want(200, watched) })
		}
		done.Go(func() { (&client{s: s, ip: "10.0.0.2", agent: "a"}).want(200, watched) })
		synctest.Wait()
		s.publish("live/cam").send(2)
		done.Wait()
		if n := s.readers(TS); n != 2 || s.plays != 2 {
			t.Errorf("%d readers, asked %d times", n, s.plays)
		}
		// What nobody publishes is waited for together.
		begun := time.Now()
		for range 3 {
			done.Go(func() { (&client{s: s, ip: "10.0.0.1"}).want(404, "/live/none/hls.m3u8") })
		}
		done.Wait()
		if d := time.Since(begun); d != 15*time.Second || s.plays != 3 {
			t.Errorf("after %v, asked %d times", d, s.plays)
		}
		// One that leaves leaves the others with their question.
		ctx, leave := context.WithCancel(s.t.Context())
		r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/live/late/hls.m3u8", nil)
		r.RemoteAddr = "10.0.0.1:1"
		done.Go(func() { s.srv.ServeHTTP(httptest.NewRecorder(), r) })
		synctest.Wait()
		done.Go(func() { (&client{s: s, ip: "10.0.0.1"}).want(200, "/live/late/hls.m3u8") })
		synctest.Wait()
		leave()
		synctest.Wait()
		s.publish("live/late").send(2)
		done.Wait()
	})
}

// TestManyBehindOneAddress: parameters, programs and cookies tell viewers apart.
func TestManyBehindOneAddress(t *testing.T) {
	run(t, nil, func(s *stage) {
		s.publish("live/cam").send(2)
		for _, c := range []*client{{ip: "10.0.0.1", agent: "a"}, {ip: "10.0.0.1", agent: "b"}, {ip: "10.0.0.2", agent: "a"}} {
			c.s = s
			c.want(200, watched)
			c.want(200, watched)
		}
		(&client{s: s, ip: "10.0.0.1", agent: "a"}).want(200, watched+"?other=1")
		if n := s.readers(TS); n != 4 || s.plays != 4 {
			t.Errorf("%d readers, asked %d times", n, s.plays)
		}
		// A cookie stands above the address.
		c := &client{s: s, ip: "10.0.0.5", keep: true}
		c.want(200, watched+"?x=1")
		c.ip = "10.0.0.6"
		c.want(200, watched+"?x=1")
		if n := s.readers(TS); n != 5 {
			t.Errorf("%d readers", n)
		}
		c.want(200, "/live/cam/hls.fmp4.m3u8") // is another schema
		if s.readers(FMP4) != 1 || s.plays != 6 {
			t.Errorf("%d readers, asked %d times", s.readers(FMP4), s.plays)
		}
	})
}

// TestEndOfStream: when the stream ends first its viewer still gets what is left, and is reported.
func TestEndOfStream(t *testing.T) {
	run(t, nil, func(s *stage) {
		x := s.publish("live/cam")
		x.send(3)
		c := &client{s: s, ip: "10.0.0.1", keep: true}
		c.want(200, watched)
		x.end()
		p := parse(t, c.want(200, watched).Body.String())
		if !p.ended {
			t.Errorf("%+v", p)
		}
		for _, e := range p.segments {
			c.want(200, "/live/cam/"+e.uri)
			time.Sleep(time.Second)
		}
		time.Sleep(15 * time.Second)
		synctest.Wait()
		reports := of[*fact.FlowReport](s)
		if len(reports) != 2 || !reports[1].Player || reports[1].ID != "s1" || s.plays != 1 {
			t.Errorf("asked %d times, reports %+v", s.plays, reports)
		}
		ended := of[*fact.PublicationEnded](s)
		if len(ended) != 1 {
			t.Error("the publication waits for its viewers")
		}
		c.want(404, watched) // nobody publishes, and after a while that is sure
	})
}

// TestNextPublication: a viewer of one publication is not taken for one of the next.
func TestNextPublication(t *testing.T) {
	run(t, nil, func(s *stage) {
		x := s.publish("live/cam")
		x.send(2)
		c := &client{s: s, ip: "10.0.0.1", keep: true}
		c.want(200, watched)
		x.end()
		y := s.publish("live/cam")
		y.send(2)
		c.want(200, watched)
		if s.plays != 2 || s.readers(TS) != 1 {
			t.Errorf("asked %d times, %d readers", s.plays, s.readers(TS))
		}
		if n := len(of[*fact.FlowReport](s)); n != 2 { // of the first publisher, and of the first session
			t.Errorf("%d reports", n)
		}
	})
}

// TestRefused: a refusal is remembered for a minute from when it was given, for the same parameters.
func TestRefused(t *testing.T) {
	for _, keep := range []bool{true, false} {
		run(t, nil, func(s *stage) {
			s.publish("live/cam").send(2)
			s.refuse = "no"
			c := &client{s: s, ip: "10.0.0.1", keep: keep}
			for range 30 {
				if w := c.want(401, watched); !strings.Contains(w.Body.String(), "no") {
					t.Errorf("%q", w.Body)
				}
				time.Sleep(time.Second)
			}
			if s.plays != 1 || s.readers(TS) != 0 {
				t.Errorf("asked %d times, %d readers", s.plays, s.readers(TS))
			}
			p := s.segments(".ts")[0]
			c.want(401, "/live/cam/"+p.FileName)
			good := &client{s: s, ip: "10.0.0.1", keep: keep, cookie: c.cookie}
			good.want(200, watched+"?good=1")
			if s.plays != 2 {
				t.Errorf("asked %d times", s.plays)
			}
			s.refuse = ""
			time.Sleep(36 * time.Second)
			c.want(200, watched)
		})
	}
}

// TestOneAddress: players without cookies behind one address get segments as long as one of them watches, whoever is
// refused or leaves meanwhile.
func TestOneAddress(t *testing.T) {
	run(t, nil, func(s *stage) {
		s.publish("live/cam").send(2)
		a, b, c := &client{s: s, ip: "10.0.0.1", agent: "a"}, &client{s: s, ip: "10.0.0.1", agent: "b"}, &client{s: s, ip: "10.0.0.1", agent: "c"}
		segment := "/live/cam/" + s.segments(".ts")[0].FileName
		a.want(200, watched)
		b.want(200, watched)
		s.refuse = "no"
		c.want(401, watched)
		a.want(200, segment)
		for range 7 { // b leaves
			time.Sleep(10 * time.Second)
			a.want(200, watched)
			a.want(200, segment)
		}
		if n := s.readers(TS); n != 1 {
			t.Errorf("%d readers", n)
		}
	})
}

// TestWait: who asks before there is a playlist gets it when it is there, or 404.
func TestWait(t *testing.T) {
	run(t, nil, func(s *stage) {
		c := &client{s: s, ip: "10.0.0.1"}
		done := make(chan *httptest.ResponseRecorder)
		go func() { done <- c.get(watched) }()
		synctest.Wait()
		x := s.publish("live/cam")
		x.send(2)
		if w := <-done; w.Code != 200 || len(parse(t, w.Body.String()).segments) != 1 {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		begun := time.Now()
		c.want(404, "/live/none/hls.m3u8")
		if d := time.Since(begun); d != 15*time.Second {
			t.Errorf("after %v", d)
		}
	})
}

// TestPaths: only what a stream has made can be had, by those who may watch it.
func TestPaths(t *testing.T) {
	run(t, func(c *Config) { c.Keep = true }, func(s *stage) {
		s.publish("live/cam").send(3)
		s.publish("live/cam/sub").send(3)
		c := &client{s: s, ip: "10.0.0.1"}
		c.want(200, watched)
		f := s.segments(".ts")[0]
		hour := f.FileName[:13]
		c.want(200, "/live/cam/"+f.FileName)
		c.want(200, "/live/cam/"+hour+"/vod.m3u8")
		for _, path := range []string{
			"/live/cam/../cam/hls.m3u8", "/live/cam/%2e%2e/cam/hls.m3u8", "/live//cam/hls.m3u8", "/hls.m3u8", "/live/hls.m3u8", "/live/cam/./hls.m3u8",
			"/live/cam/../../etc/passwd", "/live/cam/hls.m3u8.tmp", "/live/cam/hls_delay.m3u8", "/live/cam/" + hour + "/../../hls.m3u8",
			"/live/cam/2026-01-01/00/00-00_0.ts", "/live/cam/x/y/z.ts", "/live/cam/init.mp4/x", "/live/cam/init_9.mp4", "/live/cam/" + f.FileName + "%00",
			"/live/none/" + f.FileName, "/live/cam/" + hour + "/vod.m3u8/", "/" + strings.Repeat("a", 2000) + watched,
			"/record/live/cam/2026-01-01/2026-01-01-00-00-00-0.mp4",
		} {
			r := httptest.NewRequestWithContext(s.t.Context(), http.MethodGet, path, nil)
			if s.srv.Match(r) && !strings.HasSuffix(path, "_0.ts") && !strings.HasSuffix(path, "_9.mp4") {
				t.Errorf("%q is taken for a path of HLS", path)
			}
			if w := c.get(path); w.Code != 404 && w.Code != 401 {
				t.Errorf("%q: %d", path, w.Code)
			}
		}
		stranger := &client{s: s, ip: "10.0.0.9"}
		stranger.want(401, "/live/cam/"+f.FileName)
		c.want(401, "/live/cam/sub/"+f.FileName) // another stream
		if s.plays != 1 {
			t.Errorf("asked %d times", s.plays)
		}
	})
}

// TestMethods: HEAD is answered without asking anybody, other methods are refused; who may embed is told.
func TestMethods(t *testing.T) {
	run(t, nil, func(s *stage) {
		s.publish("live/cam").send(2)
		for method, want := range map[string]int{http.MethodHead: 200, http.MethodOptions: 200, http.MethodPost: 405, http.MethodGet: 200} {
			r := httptest.NewRequestWithContext(s.t.Context(), method, watched, nil)
			r.Header.Set("Origin", "http://page")
			w := httptest.NewRecorder()
			s.srv.ServeHTTP(w, r)
			if w.Code != want || w.Header().Get("Access-Control-Allow-Origin") != "http://page" || method == http.MethodHead && w.Body.Len() > 0 {
				t.Errorf("%s: %d %v", method, w.Code, w.Header())
			}
		}
		if s.plays != 1 {
			t.Errorf("asked %d times", s.plays)
		}
	})
}

// TestTooMany: beyond the limit nobody is let in, or asked for.
func TestTooMany(t *testing.T) {
	run(t, func(c *Config) { c.MaxViewers = 2 }, func(s *stage) {
		s.publish("live/cam").send(2)
		for i, want := range []int{200, 200, 503} {
			(&client{s: s, ip: "10.0.1." + string(rune('1'+i))}).want(want, watched)
		}
		if s.plays != 2 {
			t.Errorf("asked %d times", s.plays)
		}
	})
}

// TestKick: a session that the API ends is over, and reported.
func TestKick(t *testing.T) {
	run(t, nil, func(s *stage) {
		s.publish("live/cam").send(2)
		c := &client{s: s, ip: "10.0.0.1", keep: true}
		c.want(200, watched)
		for _, v := range s.srv.viewers {
			v.kick()
			break
		}
		synctest.Wait()
		if s.readers(TS) != 0 || len(of[*fact.FlowReport](s)) != 1 {
			t.Errorf("%d readers, %d reports", s.readers(TS), len(of[*fact.FlowReport](s)))
		}
		c.want(200, watched)
		if s.plays != 2 {
			t.Errorf("asked %d times", s.plays)
		}
	})
}

// TestVhosts: the directory and the addresses in lists have the virtual host.
func TestVhosts(t *testing.T) {
	run(t, func(c *Config) { c.Vhosts = true }, func(s *stage) {
		s.publish("live/cam").send(2)
		if !s.has(fact.DefaultVhost + "/live/cam/hls.m3u8") {
			t.Errorf("%q", s.files())
		}
		c := &client{s: s, ip: "10.0.0.1"}
		p := parse(t, c.want(200, "http://some.host/live/cam/hls.m3u8?vhost="+fact.DefaultVhost).Body.String())
		if !strings.HasSuffix(p.segments[0].uri, "?vhost="+fact.DefaultVhost) {
			t.Errorf("%+v", p)
		}
		c.want(200, "http://some.host/live/cam/"+p.segments[0].uri)
		c.want(200, "http://127.0.0.1:80/live/cam/hls.m3u8")
		if s.plays != 2 {
			t.Errorf("asked %d times", s.plays)
		}
	})
}

// FuzzPath: whatever is asked for, what is found lies below the directory of its stream.
func FuzzPath(f *testing.F) {
	for _, p := range []string{watched, "/live/cam/2026-01-01/00/00-00_0.ts", "/a/b/init_1.mp4", "/live/cam/2026-01-01/00/vod.m3u8", "/../x"} {
		f.Add(p)
	}
	cfg := DefaultConfig()
	s := New(cfg)
	f.Fuzz(func(t *testing.T, p string) {
		r := &http.Request{Method: http.MethodGet, Header: http.Header{}}
		r.URL = httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil).URL
		r.URL.Path = p
		dir, variants, _ := fileOf(p, &cfg)
		if len(variants) > 0 && !strings.HasPrefix(p, dir) {
			t.Errorf("%q is not below %q", p, dir)
		}
		if got, ok := s.parse(r); ok {
			if strings.Contains(got.rest, "..") || got.rest == "" || got.dir+got.rest != p {
				t.Errorf("%q: %+v", p, got)
			}
			if _, err := cfg.Folder("/root", got.name); err != nil && !strings.Contains(p, "\\") && !strings.Contains(p, "\x00") {
				t.Errorf("%q: %v", p, err)
			}
		}
	})
}

package hls

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookline/hookline/internal/fact"
)

const low = "/live/cam/hls.fmp4.m3u8"

// lowPart is an EXT-X-PART.
type lowPart struct {
	uri         string
	length      float64
	independent bool
}

// lowPlaylist is one that was checked against the rules of RFC 8216bis.
type lowPlaylist struct {
	playlist
	part, hold float64
	skipUntil  float64
	parts      [][]lowPart // of each segment, and of the open one
	dates      []time.Time // likewise
	hint       string
}

// attributes reads an attribute list (RFC 8216bis section 4.2).
func attributes(t *testing.T, text string) map[string]string {
	t.Helper()
	m := map[string]string{}
	for text != "" {
		name, rest, ok := strings.Cut(text, "=")
		if !ok || m[name] != "" {
			t.Errorf("attributes %q", text)
			return m
		}
		var value string
		if strings.HasPrefix(rest, `"`) {
			value, rest, ok = strings.Cut(rest[1:], `"`)
			if !ok || rest != "" && rest[0] != ',' {
				t.Errorf("attributes %q", text)
			}
			rest = strings.TrimPrefix(rest, ",")
		} else {
			value, rest, _ = strings.Cut(rest, ",")
		}
		m[name], text = value, rest
	}
	return m
}

func decimal(t *testing.T, s string) float64 {
	t.Helper()
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || f <= 0 {
		t.Errorf("%q is no duration", s)
	}
	return f
}

// parseLow reads a playlist of Low-Latency HLS strictly.
func parseLow(t *testing.T, text string) (p lowPlaylist) {
	t.Helper()
	var plain strings.Builder
	p.parts, p.dates = make([][]lowPart, 1), make([]time.Time, 1)
	mapped := false
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		tag, value, _ := strings.Cut(line, ":")
		i := len(p.parts) - 1
		if p.hint != "" {
			t.Errorf("%q behind the hint", line)
		}
		switch tag {
		case "#EXT-X-SERVER-CONTROL":
			a := attributes(t, value)
			if a["CAN-BLOCK-RELOAD"] != "YES" || p.hold != 0 {
				t.Errorf("%q", line)
			}
			p.hold, p.skipUntil = decimal(t, a["PART-HOLD-BACK"]), decimal(t, a["CAN-SKIP-UNTIL"])
		case "#EXT-X-PART-INF":
			if p.part != 0 {
				t.Errorf("%q", line)
			}
			p.part = decimal(t, attributes(t, value)["PART-TARGET"])
		case "#EXT-X-PROGRAM-DATE-TIME":
			at, err := time.Parse(time.RFC3339Nano, value)
			if err != nil || !p.dates[i].IsZero() || len(p.parts[i]) > 0 {
				t.Errorf("%q %v", line, err)
			}
			p.dates[i] = at
		case "#EXT-X-PART":
			a := attributes(t, value)
			if a["URI"] == "" || !mapped || p.part == 0 || p.dates[i].IsZero() {
				t.Errorf("%q", line)
			}
			p.parts[i] = append(p.parts[i], lowPart{a["URI"], decimal(t, a["DURATION"]), a["INDEPENDENT"] == "YES"})
		case "#EXT-X-PRELOAD-HINT":
			a := attributes(t, value)
			if a["TYPE"] != "PART" || a["URI"] == "" {
				t.Errorf("%q", line)
			}
			p.hint = a["URI"]
		default:
			if tag == "#EXT-X-MAP" {
				mapped = true
			}
			if (tag == "#EXT-X-MAP" || tag == "#EXT-X-DISCONTINUITY") && len(p.parts[i]) > 0 {
				t.Errorf("%q among parts", line)
			}
			plain.WriteString(line + "\n")
			if !strings.HasPrefix(line, "#") {
				p.parts, p.dates = append(p.parts, nil), append(p.dates, time.Time{})
			}
		}
	}
	p.playlist = parse(t, plain.String())
	p.check(t)
	if t.Failed() {
		t.Log(text)
	}
	return p
}

// check holds the parts against the rules.
func (p *lowPlaylist) check(t *testing.T) {
	t.Helper()
	if p.part == 0 || p.hold < 3*p.part-0.0005 || p.skipUntil < 6*float64(p.target) || (p.hint == "") != p.ended {
		t.Errorf("part target %v, hold back %v, hint %q, ended %v", p.part, p.hold, p.hint, p.ended)
	}
	names := map[string]bool{p.hint: true}
	behind := 0.0
	for i := len(p.parts) - 1; i >= 0; i-- {
		sum := 0.0
		for j, x := range p.parts[i] {
			if names[x.uri] {
				t.Errorf("%s is there twice", x.uri)
			}
			names[x.uri] = true
			sum += x.length
			last := j == len(p.parts[i])-1 && i < len(p.segments)
			if x.length > p.part || x.length < 0.85*p.part && !last {
				t.Errorf("%+v, with a target of %v", x, p.part)
			}
			if j == 0 && !x.independent {
				t.Errorf("%+v begins a segment", x)
			}
		}
		if i == len(p.segments) {
			behind = sum
			continue
		}
		length := p.segments[i].length
		if n := len(p.parts[i]); n > 0 && math.Abs(sum-length) > 0.0006*float64(n+1) {
			t.Errorf("segment %d has %v s, its parts %v", i, length, sum)
		}
		if len(p.parts[i]) > 0 && behind >= 3*float64(p.target) {
			t.Errorf("segment %d shows parts", i)
		}
		behind += length
		if next := p.dates[i+1]; p.dates[i].IsZero() || !next.IsZero() && !p.broken(i+1) && math.Abs(next.Sub(p.dates[i]).Seconds()-length) > 0.0065 {
			t.Errorf("segment %d begins at %v and has %v s, the next begins at %v", i, p.dates[i], length, next)
		}
	}
}

func (p *lowPlaylist) broken(i int) bool { return i >= len(p.segments) || p.segments[i].broken }

// all returns the parts in their order.
func (p *lowPlaylist) all() []lowPart { return slices.Concat(p.parts...) }

// followsLow demands that a client can go on from old to p.
func (p *lowPlaylist) followsLow(t *testing.T, old *lowPlaylist) {
	t.Helper()
	p.follows(t, &old.playlist)
	was, is := old.all(), p.all()
	if len(was) == 0 {
		return
	}
	last := slices.Index(is, was[len(was)-1])
	if last < 0 {
		t.Errorf("%+v is gone, or another one", was[len(was)-1])
		return
	}
	for i := 0; i <= last && i < len(was); i++ {
		if was[len(was)-1-i] != is[last-i] {
			t.Errorf("%+v is now %+v", was[len(was)-1-i], is[last-i])
		}
	}
	if next := last + 1; next < len(is) && is[next].uri != old.hint || next == len(is) && !p.ended && p.hint != old.hint {
		t.Errorf("%s was announced, then comes %+v, %s", old.hint, is[last+1:], p.hint)
	}
}

func lowLatencyOn(c *Config) { c.LowLatency = true }

// TestLowLatency: playlists by the rules after every picture, and parts that are what their segment is made of.
func TestLowLatency(t *testing.T) {
	run(t, lowLatencyOn, func(s *stage) {
		x := s.publish("live/cam")
		x.send(2)
		c := &client{s: s, ip: "10.0.0.1", keep: true}
		old := parseLow(t, c.want(200, low).Body.String())
		if old.part != 0.352 || len(old.segments) != 1 || len(old.parts[0]) > 0 || len(old.parts[1]) != 3 {
			t.Errorf("%+v", old)
		}
		got := map[string][]byte{}
		for i := range 100 {
			x.write(x.video, x.at, i%25 == 0)
			x.write(x.audio, x.at+time.Millisecond, false)
			x.at += 40 * time.Millisecond
			time.Sleep(40 * time.Millisecond)
			synctest.Wait()
			p := parseLow(t, c.want(200, low).Body.String())
			p.followsLow(t, &old)
			for _, part := range p.all() {
				if got[part.uri] == nil {
					w := c.want(200, "/live/cam/"+part.uri)
					if got[part.uri] = w.Body.Bytes(); w.Header().Get("Content-Type") != "video/mp4" || !bytes.Contains(got[part.uri][:8], []byte("moof")) {
						t.Errorf("%v %q", w.Header(), got[part.uri][:8])
					}
				}
			}
			for j, e := range p.segments {
				var whole []byte
				for _, part := range p.parts[j] {
					whole = append(whole, got[part.uri]...)
				}
				if len(whole) > 0 && !bytes.Equal(whole, c.want(200, "/live/cam/"+e.uri).Body.Bytes()) {
					t.Errorf("%s is not made of its parts", e.uri)
				}
			}
			old = p
		}
		// Others that read the directory get a list without parts: nobody there could wait.
		if plain := parse(t, s.read("live/cam/hls.fmp4.m3u8")); len(plain.segments) != 3 {
			t.Errorf("%+v", plain)
		}
		if parse(t, c.want(200, watched).Body.String()); s.plays != 2 {
			t.Errorf("asked %d times", s.plays)
		}
		x.end()
		p := parseLow(t, c.want(200, low).Body.String())
		if p.followsLow(t, &old); !p.ended {
			t.Errorf("%+v", p)
		}
	})
}

// waiting is a request that has not been answered yet.
type waiting struct {
	cancel context.CancelFunc
	done   chan struct{}
	w      *httptest.ResponseRecorder
}

func (c *client) ask(target string) *waiting {
	q := &waiting{done: make(chan struct{}), w: httptest.NewRecorder()}
	ctx, cancel := context.WithCancel(c.s.t.Context())
	q.cancel = cancel
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	r.RemoteAddr = c.ip + ":4711"
	go func() {
		defer close(q.done)
		c.s.srv.ServeHTTP(q.w, r)
	}()
	synctest.Wait()
	return q
}

// answered says whether it was by now.
func (q *waiting) answered() bool {
	synctest.Wait()
	select {
	case <-q.done:
		return true
	default:
		return false
	}
}

// TestBlockingReload: requests wait for what they name, no longer and no shorter.
func TestBlockingReload(t *testing.T) {
	run(t, lowLatencyOn, func(s *stage) {
		x := s.publish("live/cam")
		x.send(2)
		c := &client{s: s, ip: "10.0.0.1"}
		p := parseLow(t, c.want(200, low+"?token=1").Body.String())
		next, part := p.sequence+len(p.segments), len(p.parts[len(p.parts)-1])
		at := func(query string, args ...any) string { return low + "?token=1&" + fmt.Sprintf(query, args...) }
		for _, query := range []string{ // is there
			at("_HLS_msn=0"), at("_HLS_msn=%d", next-1), at("_HLS_msn=%d&_HLS_part=99", next-1), at("_HLS_msn=%d&_HLS_part=%d", next, part-1),
			at("_HLS_skip=YES"), at("_HLS_other=1"), at("_HLS_msn=0&_HLS_other=1"),
		} {
			c.want(200, query)
		}
		for _, query := range []string{
			at("_HLS_part=0"), at("_HLS_msn=-1"), at("_HLS_msn=x"), at("_HLS_msn="), at("_HLS_msn=0&_HLS_part=-1"), at("_HLS_msn=0&_HLS_part=x"),
			at("_HLS_msn=%d", next+2), at("_HLS_msn=9999999999999999999999"), at("_HLS_msn=9223372036854775807"), at("_HLS_msn=1;"), at("_HLS_msn=%%zz"),
		} {
			if w := c.want(400, query); w.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("%v", w.Header())
			}
		}
		ofPart := c.ask(at("_HLS_msn=%d&_HLS_part=%d", next, part))
		hinted := c.ask("/live/cam/" + p.hint)
		ofSegment := c.ask(at("_HLS_msn=%d", next))
		ofNext := c.ask(at("_HLS_msn=%d&_HLS_part=0", next+1))
		if ofPart.answered() || hinted.answered() || ofSegment.answered() || ofNext.answered() || s.srv.waiting.Load() != 4 {
			t.Errorf("answered before there was anything; %d wait", s.srv.waiting.Load())
		}
		x.write(x.video, x.at, true) // ends the segment, and the part with it
		if !ofPart.answered() || !hinted.answered() || !ofSegment.answered() || ofNext.answered() {
			t.Fatal("the new segment")
		}
		q := parseLow(t, ofPart.w.Body.String())
		if q.followsLow(t, &p); q.all()[len(q.all())-1].uri != p.hint || hinted.w.Code != 200 || hinted.w.Body.Len() == 0 {
			t.Errorf("%+v, %d", q, hinted.w.Code)
		}
		x.at += 40 * time.Millisecond
		for range 8 {
			x.write(x.video, x.at, false)
			x.at += 40 * time.Millisecond
		}
		if !ofNext.answered() {
			t.Fatal("the first part of the segment behind")
		}
		r := parseLow(t, ofNext.w.Body.String())
		r.followsLow(t, &q)
		if s.plays != 1 || s.readers(FMP4) != 1 || s.srv.waiting.Load() != 0 {
			t.Errorf("asked %d times, %d readers, %d wait", s.plays, s.readers(FMP4), s.srv.waiting.Load())
		}
		// The end answers everybody.
		ofPart, hinted = c.ask(at("_HLS_msn=%d&_HLS_part=5", next+1)), c.ask("/live/cam/"+r.hint)
		ahead := c.ask(at("_HLS_msn=%d", next+2))
		x.end()
		if !ofPart.answered() || !ahead.answered() || !hinted.answered() || hinted.w.Code != 200 {
			t.Fatalf("the end: %d", hinted.w.Code)
		}
		if e := parseLow(t, ahead.w.Body.String()); !e.ended {
			t.Errorf("%+v", e)
		}
		c.want(200, at("_HLS_msn=999")) // nothing more comes
	})
}

// TestDelta: an update leaves out what is far from the end, and is the whole list when the client puts in what it has.
func TestDelta(t *testing.T) {
	run(t, func(c *Config) { c.LowLatency, c.Count = true, 20 }, func(s *stage) {
		x := s.publish("live/cam")
		x.send(2)
		c := &client{s: s, ip: "10.0.0.1"}
		skipped := 0
		for range 30 {
			old := parseLow(t, c.want(200, low).Body.String())
			x.send(1)
			full := c.want(200, low).Body.String()
			now := parseLow(t, full)
			now.followsLow(t, &old)
			delta := c.want(200, low+"?_HLS_msn=0&_HLS_skip=YES").Body.String()
			head, rest, found := strings.Cut(delta, "#EXT-X-SKIP:SKIPPED-SEGMENTS=")
			if !found {
				if delta != full || len(now.segments) > 6 {
					t.Errorf("of %d segments nothing was skipped: %s", len(now.segments), delta)
				}
				continue
			}
			count, rest, _ := strings.Cut(rest, "\n")
			n, err := strconv.Atoi(count)
			if err != nil || n != len(now.segments)-6 || !strings.Contains(head, "#EXT-X-VERSION:9\n") {
				t.Errorf("%d of %d segments: %v %s", n, len(now.segments), err, delta)
			}
			skipped += n
			// What was skipped stands in the full list between its head and the date of the first that was not.
			first := rest[strings.Index(rest, "#EXT-X-PROGRAM-DATE-TIME"):]
			at := strings.Index(full, first)
			if at < 0 || strings.Count(full[:at], "#EXTINF") != n || !strings.HasPrefix(rest, "#EXT-X-MAP") {
				t.Errorf("%s\nis no end of\n%s", delta, full)
			}
		}
		if skipped == 0 {
			t.Error("nothing was ever skipped")
		}
		x.end()
		if a, b := c.want(200, low).Body.String(), c.want(200, low+"?_HLS_skip=YES").Body.String(); a != b {
			t.Error("the end is not told as a whole")
		}
	})
}

// TestBlockingLimits: a stream that stands still, a client that leaves, a crowd and a stop end the waiting.
func TestBlockingLimits(t *testing.T) {
	run(t, func(c *Config) { c.LowLatency, c.MaxWaiting = true, 2 }, func(s *stage) {
		x := s.publish("live/cam")
		x.send(2)
		c := &client{s: s, ip: "10.0.0.1"}
		p := parseLow(t, c.want(200, low).Body.String())
		begun := time.Now()
		c.want(503, low+"?_HLS_msn=1&_HLS_part=99")
		if d := time.Since(begun); d != 3*time.Second {
			t.Errorf("it took %v", d)
		}
		a, b := c.ask(low+"?_HLS_msn=1&_HLS_part=99"), c.ask("/live/cam/"+p.hint)
		c.want(503, low+"?_HLS_msn=1&_HLS_part=99")
		c.want(200, low+"?_HLS_msn=0")
		if a.cancel(); !a.answered() || b.answered() {
			t.Error("who left still waits")
		}
		d := c.ask(low + "?_HLS_msn=2")
		s.srv.Hang()
		if !b.answered() || !d.answered() || b.w.Code != 503 || s.srv.waiting.Load() != 0 {
			t.Errorf("after the stop: %d, %d wait", b.w.Code, s.srv.waiting.Load())
		}
	})
}

// TestParts: what is no part of the stream, or not for the client, can't be had.
func TestParts(t *testing.T) {
	run(t, func(c *Config) { c.LowLatency, c.Retain = true, 0 }, func(s *stage) {
		x := s.publish("live/cam")
		x.send(2)
		c := &client{s: s, ip: "10.0.0.1"}
		p := parseLow(t, c.want(200, low).Body.String())
		first := p.all()[0].uri
		token := strings.Split(first, "_")[1]
		(&client{s: s, ip: "10.0.0.9"}).want(401, "/live/cam/"+first)
		for _, name := range []string{
			"part_1_0.mp4", "part_" + token + "_99.mp4", "part_" + token + "_99999999999999999999.mp4", "part_" + token + "_-1.mp4", "part_" + token + "_0.ts",
			"part_" + token + "_0_0.mp4", "x/part_" + token + "_0.mp4",
		} {
			c.want(404, "/live/cam/"+name)
		}
		x.send(20)
		c.want(404, "/live/cam/"+first) // deleted with its segment
		if s.srv.cfg.Load().Count != 3 {
			t.Error("of how many segments?")
		}
	})
	run(t, nil, func(s *stage) { // without Low-Latency HLS there is none of it
		s.publish("live/cam").send(3)
		c := &client{s: s, ip: "10.0.0.1"}
		parse(t, c.want(200, low+"?_HLS_msn=99&_HLS_part=1").Body.String())
		c.want(404, "/live/cam/part_1_0.mp4")
	})
}

// TestLowUneven: pictures at an uneven pace, new tracks, times that jump, long groups and sound alone keep to the rules.
func TestLowUneven(t *testing.T) {
	for name, feed := range map[string]func(x *publisher, i int){
		"uneven": func(x *publisher, i int) {
			x.write(x.video, x.at, i%30 == 0)
			x.at += 33*time.Millisecond + time.Duration(i*7%5-2)*time.Millisecond
		},
		"slow": func(x *publisher, i int) {
			x.write(x.video, x.at, i%4 == 0)
			x.at += 500 * time.Millisecond
		},
		"long": func(x *publisher, i int) {
			x.write(x.video, x.at, i%80 == 0)
			x.at += 40 * time.Millisecond
		},
		"sound": func(x *publisher, i int) {
			x.write(x.audio, x.at, false)
			x.at += 23220 * time.Microsecond
		},
		"jump": func(x *publisher, i int) {
			if i == 90 {
				x.at += 20 * time.Second
			}
			x.write(x.video, x.at, i%25 == 0)
			x.at += 40 * time.Millisecond
		},
		"other": func(x *publisher, i int) {
			if i == 100 {
				other := *x.video
				other.Config = slices.Clone(other.Config)
				other.Config[3]++
				x.video = &other
			}
			x.write(x.video, x.at, i%25 == 0)
			x.at += 40 * time.Millisecond
		},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, lowLatencyOn, func(s *stage) {
				x := s.publish("live/cam")
				c := &client{s: s, ip: "10.0.0.1"}
				var old lowPlaylist
				resets := 0
				for i := range 250 {
					before := x.at
					feed(x, i)
					time.Sleep(min(x.at-before, time.Second))
					synctest.Wait()
					if len(s.segments(".mp4")) == 0 {
						continue
					}
					p := parseLow(t, c.want(200, low).Body.String())
					if p.followsLow(t, &old); t.Failed() {
						t.Fatalf("after picture %d", i)
					}
					old = p
					resets = p.discontinuities
					for _, e := range p.segments {
						if e.broken {
							resets++
						}
					}
				}
				if len(old.all()) == 0 || (name == "jump" || name == "other") != (resets > 0) {
					t.Errorf("%d discontinuities, %+v", resets, old)
				}
			})
		})
	}
}

// TestLowGap: a picture that lasts long makes the Part Target Duration longer while it is in the list, and no longer.
func TestLowGap(t *testing.T) {
	run(t, lowLatencyOn, func(s *stage) {
		x := s.publish("live/cam")
		x.send(2)
		c := &client{s: s, ip: "10.0.0.1"}
		target := regexp.MustCompile(`PART-HOLD-BACK=([\d.]+)\n#EXT-X-PART-INF:PART-TARGET=([\d.]+)\n`)
		want := func(part float64) {
			t.Helper()
			m := target.FindStringSubmatch(c.want(200, low).Body.String())
			if m == nil || math.Abs(decimal(t, m[2])-part) > 0.0005 || math.Abs(decimal(t, m[1])-3*part) > 0.0015 {
				t.Errorf("%q, want %v", m, part)
			}
		}
		want(0.352)
		x.at += 2 * time.Second // nothing comes for so long
		x.write(x.video, x.at, false)
		synctest.Wait()
		want(2.04) // the picture before
		x.at += 40 * time.Millisecond
		x.send(9)
		want(0.352)
	})
}

// FuzzDirectives: whatever follows the question mark, the answer comes, and parameters that are no directives stay.
func FuzzDirectives(f *testing.F) {
	for _, q := range []string{"", "_HLS_msn=1", "a=b&_HLS_msn=1&_HLS_part=2", "_HLS_part", "_HLS_msn=%zz", "_HLS_msn=1;&;", "x=_HLS_msn"} {
		f.Add(q)
	}
	f.Fuzz(func(t *testing.T, query string) {
		d, err := directives(query)
		if err == nil && (d.part < -1 || d.sequence > math.MaxInt64 || !d.wait && d.sequence > 0) {
			t.Errorf("%+v", d)
		}
		if got := params(query); got != params(got) || len(got) > len(query) || !strings.Contains(query, directivePrefix) && got != query {
			t.Errorf("%q: %q", query, got)
		}
	})
}

// FuzzPaths: what a path is taken for lies below the directory of its stream, and is a name that this package gives.
func FuzzPaths(f *testing.F) {
	s := New(DefaultConfig())
	for _, variant := range []string{TS, FMP4} {
		g := &segmenter{variant: variant}
		g.job.Stream = fact.Stream{Vhost: fact.DefaultVhost, App: "live", Stream: "cam"}
		s.show(g)
	}
	for _, p := range []string{
		watched, low, "/live/cam/2026-01-02/03/04-05_6.ts", "/live/cam/2026-01-02/03/04-05_6.mp4", "/live/cam/2026-01-02/03/vod.m3u8", "/live/cam/init_1.mp4",
		"/live/cam/part_1_2.mp4", "/live/cam/part_1_2.mp4/../x", "/live/cam/..", "//live/cam/hls.m3u8", "/live/cam/hls_delay.m3u8", "live/cam/hls.m3u8",
	} {
		f.Add(p, "vhost=x&_HLS_msn=1", "host:80")
	}
	f.Fuzz(func(t *testing.T, path, query, host string) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		r.URL.Path, r.URL.RawQuery, r.Host = path, query, host
		x, ok := s.parse(r)
		if !ok {
			return
		}
		if !filepath.IsLocal(filepath.FromSlash(x.rest)) || x.dir+x.rest != path || x.name.Vhost != fact.DefaultVhost {
			t.Errorf("%q: %+v", path, x)
		}
		if !x.list && x.name.Stream != "cam" || x.name.App == "" || x.name.Stream == "" {
			t.Errorf("%q: %+v", path, x)
		}
		if VhostOf(r) == "" {
			t.Error("no virtual host")
		}
	})
}

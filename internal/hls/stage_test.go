package hls

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/formattest"
	"github.com/hookline/hookline/internal/leaktest"
	"github.com/hookline/hookline/internal/media"
	"github.com/hookline/hookline/internal/stream"
	"github.com/hookline/hookline/internal/stream/streamtest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// stage is a hub with HLS, in a bubble of synctest.
type stage struct {
	t    testing.TB
	srv  *Server
	hub  *stream.Hub
	root string

	*streamtest.Plane
	mu     sync.Mutex // guards what follows
	plays  int
	refuse string
}

func newStage(t testing.TB, change func(*Config)) *stage {
	t.Helper()
	s := &stage{t: t, root: t.TempDir(), Plane: &streamtest.Plane{}}
	s.Options = stream.Options{
		EnableAudio: true, EnableHLS: true, EnableHLSFMP4: true, EnableRTMP: true, MaxTrack: 2, HLSSavePath: s.root,
	}
	cfg := DefaultConfig()
	cfg.Segment, cfg.Logger, cfg.Report = time.Second, slog.New(slog.DiscardHandler), true
	var n atomic.Int64
	cfg.SessionID = func() string { return "s" + strconv.FormatInt(n.Add(1), 10) }
	if change != nil {
		change(&cfg)
	}
	s.srv = New(cfg)
	hc := stream.DefaultConfig()
	hc.FlowThreshold, hc.WaitAddTrack = 0, time.Millisecond
	rtmp := stream.Format{Name: "rtmp", Schema: "rtmp", New: streamtest.Silent}
	s.hub = stream.New(hc, s, s, append(s.srv.Formats(), rtmp))
	s.srv.SetHub(s.hub)
	s.hub.SetRecorders(s.srv.Recorders())
	return s
}

// stop ends everything, so that the bubble can end.
func (s *stage) stop() {
	s.t.Helper()
	s.end()
	synctest.Wait()
}

func (s *stage) end() {
	s.t.Helper()
	s.srv.Hang()
	if err := errors.Join(s.hub.Stop(context.Background()), s.srv.Close()); err != nil {
		s.t.Error(err)
	}
}

func (s *stage) Play(_ context.Context, q stream.PlayQuestion) stream.Verdict {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.plays++
	return stream.Verdict{Outcome: fact.Outcome{Allowed: s.refuse == "" || q.Params == "good=1", Message: s.refuse}}
}

// of returns the facts of a kind.
func of[T fact.Fact](s *stage) []T { return streamtest.Of[T](s.Plane) }

func (s *stage) segments(ext string) (out []*fact.Recorded) {
	for _, f := range of[*fact.Recorded](s) {
		if f.Type != event.OnRecordTS {
			s.t.Errorf("type %s", f.Type)
		}
		if filepath.Ext(f.FilePath) == ext {
			out = append(out, f)
		}
	}
	return out
}

func (s *stage) readers(schema string) int {
	i, _ := s.hub.Get(stream.Filter{Schema: schema, Vhost: fact.DefaultVhost, App: "live", Stream: "cam"})
	return i.ReaderCount
}

// files returns what lies below the root, without directories.
func (s *stage) files() (out []string) {
	_ = filepath.WalkDir(s.root, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(s.root, p)
			out = append(out, filepath.ToSlash(rel))
		}
		return nil
	})
	return out
}

func (s *stage) has(file string) bool {
	_, err := os.Stat(filepath.Join(s.root, filepath.FromSlash(file)))
	return err == nil
}

func (s *stage) read(file string) string {
	s.t.Helper()
	b, err := os.ReadFile(filepath.Join(s.root, filepath.FromSlash(file)))
	if err != nil {
		s.t.Error(err)
	}
	return string(b)
}

// publisher sends made-up pictures and sound.
type publisher struct {
	s     *stage
	p     *stream.Publisher
	video *media.Track
	audio *media.Track
	at    time.Duration
}

func (s *stage) publish(name string) *publisher {
	s.t.Helper()
	clip := formattest.Named(s.t, "h264_aac_bframes")
	x := &publisher{s: s}
	for _, t := range clip.Tracks {
		if t.Codec.Kind() == media.Video {
			x.video = t
		} else {
			x.audio = t
		}
	}
	app, id, _ := strings.Cut(name, "/")
	var err error
	x.p, err = s.hub.Publish(s.t.Context(), stream.PublishRequest{
		MediaInfo:  fact.MediaInfo{Schema: "rtmp", Protocol: "rtmp", Stream: fact.Stream{Vhost: fact.DefaultVhost, App: app, Stream: id}, Params: "token=abc"},
		OriginType: fact.OriginRTMPPush, OriginURL: "rtmp://" + name,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return x
}

func (x *publisher) write(t *media.Track, at time.Duration, key bool) {
	x.s.t.Helper()
	data := []byte{0, 0, 0, 3, 0x41, 0x9a, 0x01}
	if key {
		data = []byte{0, 0, 0, 3, 0x65, 0x88, 0x84}
	}
	if t == x.audio {
		data = []byte{0x21, 0x10, 0x04, 0x60, 0x8c, 0x1c}
	}
	if err := x.p.WriteFrame(&media.Frame{Track: t, DTS: at, PTS: at, Key: key, Data: data}); err != nil {
		x.s.t.Error(err)
	}
}

// send sends groups of pictures of a second each, with their sound, and waits until everything is on disk.
func (x *publisher) send(groups int) {
	x.s.t.Helper()
	for range groups {
		x.group(25)
	}
	synctest.Wait()
}

// group sends one group of n pictures at 25 a second.
func (x *publisher) group(n int) {
	x.s.t.Helper()
	for i := range n {
		x.write(x.video, x.at, i == 0)
		x.write(x.audio, x.at+time.Millisecond, false)
		x.at += 40 * time.Millisecond
	}
}

func (x *publisher) end() {
	x.p.Close(fact.EndUnpublish)
	synctest.Wait()
}

// client asks over HTTP, with a jar for the cookie when it has one.
type client struct {
	s      *stage
	ip     string
	agent  string
	keep   bool
	cookie *http.Cookie
}

func (c *client) get(target string) *httptest.ResponseRecorder {
	c.s.t.Helper()
	r := httptest.NewRequestWithContext(c.s.t.Context(), http.MethodGet, target, nil)
	r.RemoteAddr = c.ip + ":4711"
	r.Header.Set("User-Agent", c.agent)
	if c.cookie != nil {
		r.AddCookie(c.cookie)
	}
	w := httptest.NewRecorder()
	c.s.srv.ServeHTTP(w, r)
	if cookies := w.Result().Cookies(); c.keep && len(cookies) > 0 {
		c.cookie = cookies[0]
	}
	return w
}

func (c *client) want(status int, target string) *httptest.ResponseRecorder {
	c.s.t.Helper()
	w := c.get(target)
	if w.Code != status {
		c.s.t.Errorf("%s: %d, want %d: %s", target, w.Code, status, w.Body)
	}
	return w
}

// playlist is one that was checked against the rules of RFC 8216.
type playlist struct {
	version, target, sequence, discontinuities int
	event, ended                               bool
	segments                                   []entry
}

type entry struct {
	uri, init string
	length    float64
	broken    bool
}

// parse reads a playlist strictly.
func parse(t *testing.T, text string) (p playlist) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if lines[0] != "#EXTM3U" || !strings.HasSuffix(text, "\n") {
		t.Fatalf("no playlist: %q", text)
	}
	var e entry
	seen := map[string]bool{}
	for _, l := range lines[1:] {
		if p.ended {
			t.Errorf("%q behind the end", l)
		}
		tag, value, _ := strings.Cut(l, ":")
		number := func() int {
			n, err := strconv.Atoi(value)
			if err != nil || seen[tag] || len(p.segments) > 0 {
				t.Errorf("%q", l)
			}
			seen[tag] = true
			return n
		}
		switch tag {
		case "#EXT-X-VERSION":
			p.version = number()
		case "#EXT-X-TARGETDURATION":
			p.target = number()
		case "#EXT-X-MEDIA-SEQUENCE":
			p.sequence = number()
		case "#EXT-X-DISCONTINUITY-SEQUENCE":
			p.discontinuities = number()
		case "#EXT-X-ALLOW-CACHE":
		case "#EXT-X-PLAYLIST-TYPE":
			p.event = value == "EVENT"
		case "#EXT-X-ENDLIST":
			p.ended = true
		case "#EXT-X-DISCONTINUITY":
			e.broken = true
		case "#EXT-X-MAP":
			e.init = strings.Trim(strings.TrimPrefix(value, "URI="), `"`)
		case "#EXTINF":
			var err error
			if e.length, err = strconv.ParseFloat(strings.TrimSuffix(value, ","), 64); err != nil || !strings.HasSuffix(value, ",") {
				t.Errorf("%q", l)
			}
		default:
			if strings.HasPrefix(l, "#") || l == "" || e.length == 0 {
				t.Errorf("%q", l)
			}
			if int(e.length+0.5) > p.target {
				t.Errorf("%s has %v s, more than %d", l, e.length, p.target)
			}
			e.uri = l
			p.segments = append(p.segments, e)
			e = entry{init: e.init}
		}
	}
	if p.version < 3 || p.target < 1 {
		t.Errorf("version %d, target duration %d", p.version, p.target)
	}
	return p
}

func (p *playlist) names() (out []string) {
	for _, e := range p.segments {
		out = append(out, e.uri)
	}
	return out
}

// follows demands that a client can go on from old to p (RFC 8216 section 6.2.2).
func (p *playlist) follows(t *testing.T, old *playlist) {
	t.Helper()
	if p.target < old.target || p.sequence < old.sequence || old.ended && !slices.Equal(p.names(), old.names()) {
		t.Errorf("%+v\nfollows\n%+v", p, old)
	}
	gone := p.sequence - old.sequence
	discontinuities := old.discontinuities
	for i, e := range old.segments {
		if i < gone {
			if e.broken {
				discontinuities++
			}
			continue
		}
		if i-gone >= len(p.segments) || p.segments[i-gone] != e && i != gone {
			t.Errorf("segment %d changed: %+v", old.sequence+i, e)
		}
	}
	if gone <= len(old.segments) && p.discontinuities != discontinuities {
		t.Errorf("discontinuity sequence %d, want %d", p.discontinuities, discontinuities)
	}
}

package httplive

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/format/flv"
	"github.com/hookline/hookline/internal/leaktest"
	"github.com/hookline/hookline/internal/media"
	"github.com/hookline/hookline/internal/stream"
	"github.com/hookline/hookline/internal/stream/streamtest"
)

func TestMain(m *testing.M) {
	// net/http gives a client half a second to read an answer that ends the connection.
	leaktest.Main(m, goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait"))
}

// plane is an event plane that allows everything but params "no".
type plane struct {
	*streamtest.Plane
	mu    sync.Mutex // guards what follows
	asked []stream.PlayQuestion
	// patient: players wait for absent streams.
	patient bool
}

func newPlane() *plane {
	return &plane{Plane: streamtest.New(stream.Options{EnableAudio: true, EnableRTMP: true, EnableTS: true, EnableFMP4: true, ModifyStamp: 2})}
}

// flows returns the reports of sessions.
func (p *plane) flows() []*fact.FlowReport { return streamtest.Of[*fact.FlowReport](p.Plane) }

func (p *plane) Play(_ context.Context, q stream.PlayQuestion) stream.Verdict {
	p.mu.Lock()
	p.asked = append(p.asked, q)
	p.mu.Unlock()
	if q.Params == "no" {
		return stream.Verdict{Outcome: fact.Outcome{Message: "not today"}}
	}
	return stream.Verdict{Outcome: fact.Outcome{Allowed: true}}
}

func (p *plane) NotFound(context.Context, stream.PlayQuestion) (bool, fact.Outcome) {
	return !p.patient, fact.Outcome{By: "default"}
}

// sessions is a Registry.
type sessions struct {
	mu sync.Mutex
	m  map[string]Session
	// room is how many may share a connection; 0: as many as like.
	room int
}

func (s *sessions) Add(v Session) (remove func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v.Shared && s.room > 0 && len(s.m) >= s.room {
		return nil, false
	}
	s.m[v.ID] = v
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.m, v.ID)
	}, true
}

func (s *sessions) list() []Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	var l []Session
	for _, v := range s.m {
		l = append(l, v)
	}
	return l
}

type bench struct {
	plane   *plane
	hub     *stream.Hub
	handler *Handler
	server  *httptest.Server
	list    *sessions

	url    string
	client *http.Client
}

func newBench(t *testing.T) *bench {
	t.Helper()
	return newBenchWith(t, func(s *httptest.Server) { s.Start() })
}

// newBenchWith starts a server in real time, where nobody is slow but for those whose test says so.
func newBenchWith(t *testing.T, start func(*httptest.Server)) *bench {
	t.Helper()
	return newStage(t, Config{WriteTimeout: streamtest.Patience}, streamtest.Patience, func(b *bench) (end func()) {
		b.server = httptest.NewUnstartedServer(b.handler)
		start(b.server)
		b.url, b.client = b.server.URL, b.server.Client()
		return b.server.Close
	})
}

// newStage makes a bench, whose server serve starts and end ends.
func newStage(t *testing.T, hc Config, linger time.Duration, serve func(b *bench) (end func())) *bench {
	t.Helper()
	b := &bench{plane: newPlane(), list: &sessions{m: map[string]Session{}}}
	cfg := streamtest.Patient()
	cfg.FlowThreshold = 0
	b.hub = stream.New(cfg, b.plane, b.plane, Formats(false))
	hc.AllowCrossDomains, hc.Registry = true, b.list
	b.handler = New(hc, b.hub)
	b.handler.linger = linger
	end := serve(b)
	t.Cleanup(func() {
		if err := b.hub.Stop(context.Background()); err != nil {
			t.Error(err)
		}
		b.handler.Close()
		end()
		if l := b.list.list(); len(l) != 0 {
			t.Errorf("sessions left: %v", l)
		}
	})
	return b
}

func (b *bench) publish(t *testing.T, name string) *stream.Publisher {
	t.Helper()
	p, err := b.hub.Publish(t.Context(), stream.PublishRequest{
		MediaInfo: fact.MediaInfo{Stream: fact.Stream{Vhost: fact.DefaultVhost, App: "live", Stream: name}},
		Bytes:     &atomic.Uint64{},
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// pcma publishes audio that needs no configuration.
func pcma(t *testing.T, p *stream.Publisher, from, n int) {
	t.Helper()
	tr := &media.Track{Codec: media.PCMA, SampleRate: 8000, Channels: 1, SampleBits: 16}
	p.Metadata(nil, false, true, 0, 0, 0)
	for i := range n {
		at := time.Duration(from+i) * 20 * time.Millisecond
		if err := p.WriteFrame(&media.Frame{Track: tr, DTS: at, PTS: at, Data: make([]byte, 160)}); err != nil {
			t.Fatal(err)
		}
	}
}

func (b *bench) get(t *testing.T, method, path string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, b.url+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Origin", "http://page.example")
	res, err := b.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	return res
}

func TestParse(t *testing.T) {
	for _, c := range []struct {
		url, host    string
		vhosts       bool
		ok           bool
		want, params string
	}{
		{"/live/cam.live.flv", "", false, true, "__defaultVhost__/live/cam", ""},
		{"/live/cam.LIVE.Flv?a=1&b", "", false, true, "__defaultVhost__/live/cam", "a=1&b"},
		{"/live/a/b/c.live.flv", "", false, true, "__defaultVhost__/live/a/b/c", ""},
		{"/live/a%20b.live.flv", "", false, true, "__defaultVhost__/live/a b", ""},
		{"/live/cam?schema=rtmp&x=1", "", false, true, "__defaultVhost__/live/cam", "schema=rtmp&x=1"},
		{"/live/cam?schema=hls", "", false, false, "", ""},
		{"/live/cam.flv", "", false, false, "", ""},
		{"/cam.live.flv", "", false, false, "", ""},
		{"/live/.live.flv", "", false, false, "", ""},
		{"//cam.live.flv", "", false, false, "", ""},
		{"/.live.flv", "", false, false, "", ""},
		{"/live/cam.live.flv", "tv.example:8080", true, true, "tv.example/live/cam", ""},
		{"/live/cam.live.flv", "127.0.0.1:80", true, true, "__defaultVhost__/live/cam", ""},
		{"/live/cam.live.flv", "[::1]", true, true, "__defaultVhost__/live/cam", ""},
		{"/live/cam.live.flv", "localhost", true, true, "__defaultVhost__/live/cam", ""},
		{"/live/cam.live.flv?vhost=v", "tv.example", true, true, "v/live/cam", "vhost=v"},
		{"/live/cam.live.flv?vhost=v", "tv.example", false, true, "__defaultVhost__/live/cam", "vhost=v"},
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, c.url, http.NoBody)
		r.Host = c.host
		mi, k, ok := parse(r, c.vhosts)
		if ok && k.contentType != "video/x-flv" || ok != c.ok || ok && (mi.Key() != c.want || mi.Params != c.params || mi.Protocol != "http" || mi.Schema != "rtmp") {
			t.Errorf("%s: %+v %v", c.url, mi, ok)
		}
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/live/cam.live.flv", http.NoBody)
	r.TLS = &tls.ConnectionState{}
	if mi, _, _ := parse(r, false); mi.Protocol != "https" {
		t.Error(mi)
	}
}

// TestKinds: suffix and parameter choose the format and the family of sources.
func TestKinds(t *testing.T) {
	for url, want := range map[string][3]string{
		"/live/cam.live.flv":           {"flv", "rtmp", "video/x-flv"},
		"/live/cam?schema=rtmp":        {"flv", "rtmp", "video/x-flv"},
		"/live/cam.live.ts":            {"ts", "ts", "video/mp2t"},
		"/live/cam?a=b&schema=ts":      {"ts", "ts", "video/mp2t"},
		"/live/cam.Live.Mp4":           {"fmp4", "fmp4", "video/mp4"},
		"/live/cam?schema=fmp4":        {"fmp4", "fmp4", "video/mp4"},
		"/live/cam.live.ts?schema=flv": {"ts", "ts", "video/mp2t"},
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
		mi, k, ok := parse(r, false)
		if got := [...]string{k.format, mi.Schema, k.contentType}; !ok || got != want || mi.Key() != "__defaultVhost__/live/cam" {
			t.Errorf("%s: %v, %v", url, got, mi)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"/live/cam.live.flv", "/a/b?schema=rtmp", "/%00/.live.flv", "//", ".LIVE.FLV?vhost=%zz"} {
		f.Add(s, "host:1")
	}
	f.Fuzz(func(t *testing.T, path, host string) {
		path, query, _ := strings.Cut(path, "?")
		r := &http.Request{Method: http.MethodGet, Host: host}
		u := *httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody).URL
		u.Path, u.RawQuery = path, query
		r.URL = &u
		if mi, _, ok := parse(r, true); ok && (mi.App == "" || mi.Stream.Stream == "" || mi.Vhost == "") {
			t.Errorf("%+v", mi)
		}
	})
}

func TestPlay(t *testing.T) {
	b := newBench(t)
	p := b.publish(t, "cam")
	pcma(t, p, 0, 5)
	res := b.get(t, http.MethodGet, "/live/cam.live.flv?who=me")
	if res.StatusCode != http.StatusOK || res.ContentLength != -1 || !res.Close {
		t.Fatalf("%+v", res)
	}
	for k, v := range map[string]string{
		"Content-Type": "video/x-flv", "Cache-Control": "no-store", "Access-Control-Allow-Origin": "http://page.example",
	} {
		if res.Header.Get(k) != v {
			t.Errorf("%s: %q", k, res.Header.Get(k))
		}
	}
	if l := b.list.list(); len(l) != 1 || l[0].TypeID != TypeID || l[0].PeerIP != "127.0.0.1" || l[0].PeerPort == 0 || l[0].LocalPort == 0 {
		t.Errorf("sessions: %+v", l)
	}
	pcma(t, p, 5, 5)
	p.Close(fact.EndUnpublish)
	r := flv.NewReader(res.Body)
	n := 0
	for {
		tag, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if tag.Type == flv.TagAudio {
			n++
		}
	}
	if n != 10 {
		t.Errorf("%d audio tags, not 10", n)
	}
}

func TestAnswers(t *testing.T) {
	b := newBench(t)
	for _, c := range []struct {
		method, path string
		status       int
		body         string
	}{
		{http.MethodGet, "/live/none.live.flv", http.StatusNotFound, "stream not found"},
		{http.MethodGet, "/live/none?schema=rtmp", http.StatusNotFound, "stream not found"},
		{http.MethodGet, "/live/none.live.flv?no", http.StatusUnauthorized, "not today"},
		{http.MethodGet, "/live/file.txt", http.StatusNotFound, "404"},
		{http.MethodHead, "/live/none.live.flv", http.StatusOK, ""},
		{http.MethodPost, "/live/none.live.flv", http.StatusMethodNotAllowed, ""},
	} {
		res := b.get(t, c.method, c.path)
		body, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != c.status || !strings.Contains(string(body), c.body) {
			t.Errorf("%s %s: %d %q %v", c.method, c.path, res.StatusCode, body, err)
		}
	}
}

// TestOldClient speaks HTTP/1.0 and leaves without a word.
func TestOldClient(t *testing.T) {
	b := newBench(t)
	p := b.publish(t, "cam")
	pcma(t, p, 0, 5)
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", b.server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(conn, "GET /live/cam.live.flv HTTP/1.0\r\n\r\n")
	answer := bufio.NewReader(conn)
	line, err := answer.ReadString('\n')
	if err != nil || line != "HTTP/1.0 200 OK\r\n" {
		t.Fatalf("%q %v", line, err)
	}
	if _, err := answer.ReadString('V'); err != nil { // some of the media
		t.Fatal(err)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	// The server notices although nothing more is published; Close waits for the session, so this must return.
	for b.hub.Stats().Viewers != 0 {
		time.Sleep(time.Millisecond)
	}
	if f := b.plane.flows(); len(f) != 1 || !f[0].Player || f[0].TotalBytes == 0 || f[0].Protocol != "http" {
		t.Errorf("%+v", f)
	}
}

func TestKick(t *testing.T) {
	b := newBench(t)
	p := b.publish(t, "cam")
	pcma(t, p, 0, 5)
	res := b.get(t, http.MethodGet, "/live/cam.live.flv")
	b.list.list()[0].Kick()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		t.Log("cut short:", err)
	}
	if n := b.hub.Stats().Publications; n != 1 {
		t.Error("publications", n)
	}
}

// TestTalker: a player that never stops talking is cut off.
func TestTalker(t *testing.T) {
	b := newBench(t)
	p := b.publish(t, "cam")
	pcma(t, p, 0, 5)
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", b.server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET /live/cam.live.flv HTTP/1.1\r\nHost: x\r\n\r\n")
	go func() {
		junk := make([]byte, 32<<10)
		for {
			if _, err := conn.Write(junk); err != nil {
				return
			}
		}
	}()
	_, _ = io.Copy(io.Discard, conn)
}

// gone says that somebody has come and left: a session is listed before it asks, until it has ended.
func (b *bench) gone() bool {
	b.plane.mu.Lock()
	asked := len(b.plane.asked) > 0
	b.plane.mu.Unlock()
	return asked && len(b.list.list()) == 0
}

// TestStuckClient: a client that stops reading is cut off.
func TestStuckClient(t *testing.T) {
	b := newBench(t)
	b.handler.Reconfigure(Config{WriteTimeout: 50 * time.Millisecond, Registry: b.list})
	p := b.publish(t, "cam")
	pcma(t, p, 0, 5)
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", b.server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET /live/cam.live.flv HTTP/1.1\r\nHost: x\r\n\r\n")
	tr := &media.Track{Codec: media.PCMA, SampleRate: 8000, Channels: 1, SampleBits: 16}
	for i := 0; !b.gone(); i++ {
		at := time.Duration(100+20*i) * time.Millisecond
		if err := p.WriteFrame(&media.Frame{Track: tr, DTS: at, PTS: at, Data: make([]byte, 100_000)}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
	if n := b.hub.Stats().Viewers; n != 0 {
		t.Errorf("%d viewers", n)
	}
}

// TestClose ends sessions that play and refuses new ones.
func TestClose(t *testing.T) {
	b := newBench(t)
	p := b.publish(t, "cam")
	pcma(t, p, 0, 5)
	res := b.get(t, http.MethodGet, "/live/cam.live.flv")
	b.handler.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		t.Log("cut short:", err)
	}
	if res := b.get(t, http.MethodGet, "/live/cam.live.flv"); res.StatusCode != http.StatusServiceUnavailable {
		t.Error(res.Status)
	}
}

// TestProbe has ffprobe read a live stream that ffmpeg has made.
func TestProbe(t *testing.T) {
	b := newBench(t)
	made, err := exec.CommandContext(t.Context(), "ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc=size=160x120:rate=25",
		"-f", "lavfi", "-i", "sine", "-t", "4", "-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-g", "25", "-c:a", "aac",
		"-f", "flv", "-").Output()
	if err != nil {
		t.Fatal("ffmpeg:", err)
	}
	p := b.publish(t, "cam")
	video, audio := feed(t, p, made)
	done := make(chan []byte, 1)
	go func() {
		out, err := exec.CommandContext(t.Context(), "ffprobe", "-v", "error", "-show_packets", "-of", "json",
			b.url+"/live/cam.live.flv").Output()
		if err != nil {
			t.Error("ffprobe:", err)
		}
		done <- out
	}()
	for b.hub.Stats().Viewers == 0 {
		time.Sleep(time.Millisecond)
	}
	p.Close(fact.EndUnpublish)
	check(t, <-done, video, audio)
}

func TestMatch(t *testing.T) {
	for url, want := range map[string]bool{"/live/cam.live.flv": true, "/index/api/version": false} {
		if got := Match(httptest.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)); got != want {
			t.Errorf("%s: %v", url, got)
		}
	}
}

// feed publishes an FLV file as fast as possible and returns the number of frames that a viewer gets who comes after.
func feed(t *testing.T, p *stream.Publisher, file []byte) (video, audio int) {
	t.Helper()
	r, d := flv.NewReader(strings.NewReader(string(file))), &flv.Demuxer{}
	for {
		tag, err := r.Next()
		if errors.Is(err, io.EOF) {
			return video, audio
		}
		if err != nil {
			t.Fatal(err)
		}
		var frames []*media.Frame
		switch tag.Type {
		case flv.TagData:
			if m, ok, err := d.Data(tag.Body); ok && err == nil {
				p.Metadata(m.Raw, m.HasVideo, m.HasAudio, m.Width, m.Height, m.FrameRate)
			}
		case flv.TagVideo:
			frames, err = d.Video(tag.Timestamp, tag.Body)
		case flv.TagAudio:
			frames, err = d.Audio(tag.Timestamp, tag.Body)
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range frames {
			if f.Key {
				video, audio = 0, 0 // a viewer starts at the newest one
			}
			switch {
			case f.Config:
			case f.Track.Codec.Kind() == media.Video:
				video++
			default:
				audio++
			}
			if err := p.WriteFrame(f); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func check(t *testing.T, out []byte, video, audio int) {
	t.Helper()
	var probe struct {
		Packets []struct {
			Type string `json:"codec_type"`
			DTS  int64  `json:"dts"`
			PTS  int64  `json:"pts"`
		} `json:"packets"`
	}
	if err := json.Unmarshal(out, &probe); err != nil {
		t.Fatal(err, string(out))
	}
	n, last := map[string]int{}, map[string]int64{"video": -1, "audio": -1}
	for _, k := range probe.Packets {
		n[k.Type]++
		if k.DTS <= last[k.Type] || k.PTS < k.DTS {
			t.Errorf("%+v after %d", k, last[k.Type])
		}
		last[k.Type] = k.DTS
	}
	if n["video"] != video || n["audio"] != audio || video == 0 || audio == 0 {
		t.Errorf("%v, not %d video and %d audio", n, video, audio)
	}
}

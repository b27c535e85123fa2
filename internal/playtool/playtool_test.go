package playtool_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/hookline/hookline/internal/format/flv"
	"github.com/hookline/hookline/internal/leaktest"
	"github.com/hookline/hookline/internal/media"
	"github.com/hookline/hookline/internal/playtool"
	"github.com/hookline/hookline/internal/pubtool"
	"github.com/hookline/hookline/internal/pubtool/pubtest"
	"github.com/hookline/hookline/internal/queue/queuetest"
)

// patience is how long nothing may come, on a machine that is busy.
const patience = 3 * time.Minute

func TestMain(m *testing.M) { leaktest.Main(m) }

// publish publishes the generated stream at live/cam until stop is called or the test ends.
func publish(t *testing.T, s *pubtest.Server, bitrate int) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	accepted, done := make(chan struct{}), make(chan error, 1)
	go func() {
		_, err := pubtool.Run(ctx, pubtool.Config{
			URL: s.RTMP + "/live/cam", Realtime: true, Bitrate: bitrate,
			OnAccepted: func(pubtool.Publication) { close(accepted) },
		})
		done <- err
		close(done)
	}()
	stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("publisher: %v", err)
		}
	}
	t.Cleanup(stop)
	<-accepted
	return stop
}

func urls(s *pubtest.Server) map[string]string {
	return map[string]string{"RTMP": s.RTMP + "/live/cam?viewer=1", "HTTP-FLV": s.HTTP + "/live/cam.live.flv?viewer=1"}
}

func TestFrames(t *testing.T) {
	s := pubtest.Start(t)
	publish(t, s, 0)
	for name, url := range urls(s) {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			res, err := playtool.Run(t.Context(), playtool.Config{URL: url, Viewers: 5, Frames: 20, Out: &out, Timeout: patience, Stall: patience})
			if err != nil {
				t.Fatalf("%v\n%s", err, out.String())
			}
			got := res.Totals
			if res.Played != 5 || res.Failed != 0 || res.Ends[playtool.EndFrames] != 5 || got.Video+got.Audio != 100 ||
				got.Keys < 5 || got.Bytes == 0 || got.Backwards+got.Malformed != 0 {
				t.Errorf("%+v", res)
			}
			want := []playtool.Track{
				{Codec: "H264", Width: 64, Height: 48, FPS: 25}, {Codec: "mpeg4-generic", SampleRate: 32000, Channels: 1},
			}
			if len(res.Tracks) != 2 || res.Tracks[0] != want[0] || res.Tracks[1] != want[1] {
				t.Errorf("tracks %+v", res.Tracks)
			}
			per := res.PerViewer
			if per.FirstFrame.Min <= 0 || per.FirstFrame.Min > per.FirstFrame.Median || per.FirstFrame.Median > per.FirstFrame.Max ||
				per.Keys.Min == 0 || per.Video.Max > 20 {
				t.Errorf("%+v", per)
			}
			for _, text := range []string{"H264 64x48 25 fps", "5 got media, 0 failed (5 frames)", "key frames"} {
				if !strings.Contains(out.String(), text) {
					t.Errorf("%q is missing:\n%s", text, out.String())
				}
			}
		})
	}
}

func TestDiscard(t *testing.T) {
	s := pubtest.Start(t)
	publish(t, s, 2_100_000)
	all := urls(s)
	all["RTSP"] = s.RTSP + "/live/cam?viewer=1"
	all["HTTP-TS"] = s.HTTP + "/live/cam.live.ts?viewer=1"
	all["HTTP-fMP4"] = s.HTTP + "/live/cam.live.mp4"
	for name, url := range all {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			res, err := playtool.Run(t.Context(), playtool.Config{
				URL: url, Viewers: 100, Duration: 2 * time.Second, Discard: true, Out: &out, JSON: true, Timeout: patience, Stall: patience,
			})
			// At least a picture each.
			if err != nil || res.Played != 100 || res.Ends[playtool.EndDuration] != 100 || res.PerViewer.Bytes.Min < 2000 || res.Totals.Video != 0 {
				t.Errorf("%v %s", err, out.String())
			}
			var again playtool.Result
			if err := json.Unmarshal(out.Bytes(), &again); err != nil || again.Totals != res.Totals || len(again.Viewers) != 100 {
				t.Errorf("JSON: %v %s", err, out.String())
			}
		})
	}
}

func TestStreamEnds(t *testing.T) {
	s := pubtest.Start(t)
	for name, url := range urls(s) {
		for _, discard := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				stop := publish(t, s, 0)
				res, err := playtool.Run(t.Context(), playtool.Config{
					URL: url, Viewers: 3, Discard: discard, Timeout: patience, Stall: patience, OnPlaying: func() { go stop() },
				})
				if err != nil || res.Ends[playtool.EndStream] != 3 {
					t.Errorf("%+v %v", res, err)
				}
				stop()
			})
		}
	}
}

// TestTooFew: the end of the stream is no excuse for who wanted more.
func TestTooFew(t *testing.T) {
	s := pubtest.Start(t)
	publish(t, s, 0)
	res, err := playtool.Run(t.Context(), playtool.Config{
		URL: urls(s)["RTMP"], Frames: 1e6, Duration: 100 * time.Millisecond,
	})
	if !errors.Is(err, playtool.ErrFailed) || !strings.Contains(err.Error(), "of 1000000") || res.Failed != 1 {
		t.Errorf("%+v %v", res, err)
	}
}

func TestStopped(t *testing.T) {
	s := pubtest.Start(t)
	for name, url := range urls(s) { // nobody publishes: players wait
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			res, err := playtool.Run(ctx, playtool.Config{URL: url, Viewers: 3})
			if err != nil || res.Ends[playtool.EndStopped] != 3 {
				t.Errorf("%+v %v", res, err)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	nobody := fmt.Sprintf("127.0.0.1:%d", queuetest.FreePort(t)) // is there
	for name, url := range urls(&pubtest.Server{RTMP: "rtmp://" + nobody, HTTP: "http://" + nobody}) {
		t.Run("unreachable by "+name, func(t *testing.T) {
			res, err := playtool.Run(t.Context(), playtool.Config{URL: url, Viewers: 2})
			if !errors.Is(err, playtool.ErrFailed) || res.Ends[playtool.EndUnreachable] != 2 || res.Played != 0 {
				t.Errorf("%+v %v", res, err)
			}
		})
	}
	h := httptest.NewServer(http.NotFoundHandler())
	defer h.Close()
	res, err := playtool.Run(t.Context(), playtool.Config{URL: h.URL + "/live/cam.live.flv"})
	if !errors.Is(err, playtool.ErrFailed) || res.Ends[playtool.EndRefused] != 1 || !strings.Contains(err.Error(), "404") {
		t.Errorf("%+v %v", res, err)
	}
}

// flvServer answers each request with an FLV header and what serve writes.
func flvServer(t *testing.T, serve func(w io.Writer, r *http.Request)) string {
	t.Helper()
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write(flv.AppendFileHeader(nil, true, true))
		serve(w, r)
	}))
	t.Cleanup(h.Close)
	return h.URL + "/live/cam.live.flv"
}

// sound returns an FLV tag of G.711.
func sound(ms int) []byte {
	at := time.Duration(ms) * time.Millisecond
	track := &media.Track{Codec: media.PCMA, SampleRate: 8000, Channels: 1, SampleBits: 16}
	return flv.AppendFrameTag(nil, &media.Frame{Track: track, DTS: at, PTS: at, Data: make([]byte, 160)}, true)
}

func TestChecks(t *testing.T) {
	malformed := flv.AppendTag(nil, flv.TagVideo, 0, []byte{0x17, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff})
	for _, c := range []struct {
		name string
		data [][]byte
		want string
	}{
		{"fine", [][]byte{sound(0), sound(20), sound(20), sound(40)}, ""},
		{"time goes back", [][]byte{sound(0), sound(20), sound(10), sound(40)}, "went back 1 times"},
		{"timestamps wrap", [][]byte{sound(1<<32 - 20), sound(0), sound(20)}, ""},
		{"malformed", [][]byte{sound(0), malformed}, "1 messages make no frame"},
		{"nothing", nil, "no media"},
		{"cut off", [][]byte{sound(0), sound(20)[:50]}, "broken"},
		{"unsupported codec", [][]byte{sound(0), flv.AppendTag(nil, flv.TagAudio, 0, []byte{0xb2, 1, 2, 3})}, "Speex"},
	} {
		t.Run(c.name, func(t *testing.T) {
			url := flvServer(t, func(w io.Writer, _ *http.Request) { _, _ = w.Write(bytes.Join(c.data, nil)) })
			var out bytes.Buffer
			res, err := playtool.Run(t.Context(), playtool.Config{URL: url, Out: &out})
			switch {
			case c.want == "" && (err != nil || res.Totals.Audio != uint64(len(c.data))):
				t.Errorf("%+v %v", res, err)
			case c.want != "" && (!errors.Is(err, playtool.ErrFailed) || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got %v, want %q", err, c.want)
			case c.want != "" && !strings.Contains(out.String(), "failed       1 viewers"):
				t.Errorf("the report does not tell:\n%s", out.String())
			}
		})
	}
}

func TestStall(t *testing.T) {
	url := flvServer(t, func(w io.Writer, r *http.Request) {
		_, _ = w.Write(sound(0))
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	for _, discard := range []bool{false, true} {
		res, err := playtool.Run(t.Context(), playtool.Config{
			URL: url, Viewers: 2, Stall: 50 * time.Millisecond, Discard: discard,
		})
		if !errors.Is(err, playtool.ErrFailed) || res.Ends[playtool.EndStalled] != 2 {
			t.Errorf("%+v %v", res, err)
		}
	}
}

// TestSilentServer: nobody waits for ever for an answer, nor reads an endless header.
func TestSilentServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, scheme := range []string{"rtmp", "http"} {
		res, err := playtool.Run(t.Context(), playtool.Config{
			URL: scheme + "://" + l.Addr().String() + "/live/cam", Timeout: 50 * time.Millisecond,
		})
		if !errors.Is(err, playtool.ErrFailed) || res.Ends[playtool.EndUnreachable] != 1 {
			t.Errorf("%s: %+v %v", scheme, res, err)
		}
	}
}

func TestEndlessHeader(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n")
		for err == nil {
			_, err = io.WriteString(conn, "X-Header: "+strings.Repeat("x", 1000)+"\r\n")
		}
	}()
	_, err = playtool.Run(t.Context(), playtool.Config{URL: "http://" + l.Addr().String() + "/live/cam.live.flv"})
	if !errors.Is(err, playtool.ErrFailed) {
		t.Errorf("error %v", err)
	}
	<-done
}

func TestBadConfigs(t *testing.T) {
	const url = "rtmp://127.0.0.1/live/cam"
	for _, c := range []struct {
		cfg  playtool.Config
		want string
	}{
		{playtool.Config{}, "want rtmp://"},
		{playtool.Config{URL: "srt://x/live/cam"}, "want rtmp://"},
		{playtool.Config{URL: "rtsp://x/live/cam"}, "discard"},
		{playtool.Config{URL: "http://x/live/cam.live.ts", Frames: 1}, "discard"},
		{playtool.Config{URL: "http:///live/cam"}, "lacks a host"},
		{playtool.Config{URL: "http://%zz/"}, "invalid URL"},
		{playtool.Config{URL: url, Viewers: -1}, "viewers"},
		{playtool.Config{URL: url, Viewers: playtool.MaxViewers + 1}, "viewers"},
		{playtool.Config{URL: url, Stall: -1}, "negative"},
		{playtool.Config{URL: url, Frames: 1, Discard: true}, "discarded"},
	} {
		if _, err := playtool.Run(t.Context(), c.cfg); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c.cfg, err)
		}
	}
}

//go:build realclient

package e2e

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"image/png"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hookline/hookline/event"
)

// browser is a headless Chromium, driven by the DevTools protocol over its pipe.
type browser struct {
	t       *testing.T
	in      *os.File
	out     *bufio.Reader
	pipe    *os.File // of out
	next    int
	session string // of the page
}

// newBrowser starts a browser and opens a page.
func newBrowser(t *testing.T, url string) *browser {
	t.Helper()
	toIt, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out, fromIt, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	profile, err := os.MkdirTemp(scratch, "chromium-") //nolint:usetesting // its processes may write a little longer than the test lives
	if err != nil {
		t.Fatal(err)
	}
	log := newProcessLog()
	cmd := exec.Command("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--mute-audio",
		"--autoplay-policy=no-user-gesture-required", "--ignore-certificate-errors", "--remote-debugging-pipe",
		"--user-data-dir="+profile, "about:blank")
	cmd.ExtraFiles = []*os.File{toIt, fromIt} // 3 and 4, as the option wants them
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_, _ = toIt.Close(), fromIt.Close()
	b := &browser{t: t, in: in, out: bufio.NewReaderSize(out, 1<<20), pipe: out}
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
		_, _ = in.Close(), out.Close()
		if t.Failed() {
			t.Logf("the browser's log:\n%s", tail(log.String(), 3000))
		}
	})
	var page struct {
		TargetID  string `json:"targetId"`
		SessionID string `json:"sessionId"`
	}
	b.call("Target.createTarget", map[string]any{"url": url}, &page)
	b.call("Target.attachToTarget", map[string]any{"targetId": page.TargetID, "flatten": true}, &page)
	b.session = page.SessionID
	const loaded = "functionobjectcomplete"
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		is := b.eval("typeof start + typeof mpegts + document.readyState")
		if is == loaded {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the page is %q, not %q", is, loaded)
		}
	}
	return b
}

// call calls a method and waits for its result. Nothing else is of interest.
func (b *browser) call(method string, params map[string]any, result any) {
	b.t.Helper()
	b.next++
	m := map[string]any{"id": b.next, "method": method, "params": params}
	if b.session != "" {
		m["sessionId"] = b.session
	}
	text, err := json.Marshal(m)
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := b.in.Write(append(text, 0)); err != nil {
		b.t.Fatal(err)
	}
	if err := b.pipe.SetReadDeadline(time.Now().Add(patience)); err != nil {
		b.t.Fatal(err)
	}
	for {
		line, err := b.out.ReadBytes(0)
		if err != nil {
			b.t.Fatalf("%s: %v", method, err)
		}
		var answer struct {
			ID     int             `json:"id"`
			Result json.RawMessage `json:"result"`
			Error  json.RawMessage `json:"error"`
		}
		if err := json.Unmarshal(bytes.TrimSuffix(line, []byte{0}), &answer); err != nil {
			b.t.Fatal(err)
		}
		if answer.ID != b.next {
			continue
		}
		if answer.Error != nil {
			b.t.Fatalf("%s: %s", method, answer.Error)
		}
		if result != nil {
			if err := json.Unmarshal(answer.Result, result); err != nil {
				b.t.Fatal(err)
			}
		}
		return
	}
}

// eval runs JavaScript in the page and returns a text.
func (b *browser) eval(script string) string {
	b.t.Helper()
	var r struct {
		Result struct {
			Value any `json:"value"`
		} `json:"result"`
		Exception json.RawMessage `json:"exceptionDetails"`
	}
	b.call("Runtime.evaluate", map[string]any{"expression": script}, &r)
	if r.Exception != nil {
		return string(r.Exception)
	}
	return fmt.Sprint(r.Result.Value)
}

// videoState is what the page says of a player.
type videoState struct {
	Time    float64  `json:"time"`
	Frames  int      `json:"frames"`
	Width   int      `json:"width"`
	Audio   int      `json:"audio"`
	Colours int      `json:"colours"`
	Errors  []string `json:"errors"`
	Parts   int      `json:"parts"`   // of Low-Latency HLS that were loaded
	Blocked int      `json:"blocked"` // playlists that the player waited for
	Skipped int      `json:"skipped"` // segments that updates left out
	Latency float64  `json:"latency"` // seconds, as hls.js reckons it
	X       float64  `json:"x"`
	Y       float64  `json:"y"`
}

func (b *browser) state() map[string]videoState {
	b.t.Helper()
	out := map[string]videoState{}
	if text := b.eval("state()"); json.Unmarshal([]byte(text), &out) != nil {
		b.t.Fatal(text)
	}
	return out
}

// colours counts those of a part of the screen, as the page does.
func (b *browser) colours(x, y, width, height int) int {
	b.t.Helper()
	var shot struct {
		Data string `json:"data"`
	}
	b.call("Page.captureScreenshot", map[string]any{"format": "png"}, &shot)
	raw, err := base64.StdEncoding.DecodeString(shot.Data)
	if err != nil {
		b.t.Fatal(err)
	}
	img, err := png.Decode(bytes.NewReader(raw))
	if err != nil {
		b.t.Fatal(err)
	}
	seen := map[[3]uint32]bool{}
	for i := range width {
		for j := range height {
			r, g, b, _ := img.At(x+i, y+j).RGBA()
			seen[[3]uint32{r >> 13, g >> 13, b >> 13}] = true
		}
	}
	return len(seen)
}

// TestBrowser: Chromium with mpegts.js plays a live stream over HTTP-FLV and WS-FLV, with and without TLS, on a page that
// comes from elsewhere. A picture is on the screen and moves, sound is decoded, and the hooks know who plays how.
func TestBrowser(t *testing.T) {
	t.Parallel()
	file, _ := certificate(t)
	s, r := serve(t, "tls.certificates", file, "rtmp.sslport", "0", "http.sslport", auto)
	_, https := s.secure()
	live(t, s.rtmpURL("web"))
	b := newBrowser(t, playerPage(t))
	path := "/live/web.live.flv?by="
	urls := map[string]string{
		"http": "http://" + s.http + path, "ws": "ws://" + s.http + path, "https": "https://" + https + path, "wss": "wss://" + https + path,
	}
	for protocol, url := range urls {
		b.eval(fmt.Sprintf("start(%q, %q)", protocol, url+protocol))
	}
	last := b.awaitMoving(len(urls))
	for protocol, v := range last {
		for deadline := time.Now().Add(patience); ; {
			n := b.colours(int(v.X), int(v.Y), 160, 120)
			if n >= 20 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: %d colours on the screen", protocol, n)
			}
		}
		r.await("on_play over "+protocol, 1, func(p *post) bool {
			return p.hook == event.OnPlay && p.json["protocol"] == protocol && p.json["params"] == "by="+protocol
		})
	}
	// Over HTTP/1.1 a browser has six connections to a host; over HTTP/2 as many streams as it likes.
	const many = 10
	b.eval(fmt.Sprintf("window.come = 0; for (let i = 0; i < %d; i++) fetch(%q + i).then((r) => r.body.getReader().read()).then(() => window.come++)",
		many, "https://"+https+path+"many"))
	for deadline := time.Now().Add(patience); b.eval("window.come") != fmt.Sprint(many); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s of %d streams play at the same time", b.eval("window.come"), many)
		}
	}
}

// awaitMoving waits until n players show pictures that move, and decode sound.
func (b *browser) awaitMoving(n int) (last map[string]videoState) {
	b.t.Helper()
	begin := map[string]videoState{}
	done := map[string]bool{}
	for deadline := time.Now().Add(patience); len(done) < n; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.t.Fatalf("no moving picture after %v: %+v", patience, last)
		}
		last = b.state()
		for protocol, v := range last {
			if len(v.Errors) > 0 {
				b.t.Fatalf("%s: %v", protocol, v.Errors)
			}
			first, ok := begin[protocol]
			switch {
			case v.Colours < 20: // of about 120 in the test picture
			case !ok:
				begin[protocol] = v
			case v.Frames >= first.Frames+20 && v.Time > first.Time+0.5 && v.Audio > first.Audio && v.Width == 320:
				done[protocol] = true
			}
		}
	}
	return last
}

// playerPage serves the page of the tests from elsewhere than the media.
func playerPage(t *testing.T) (url string) {
	t.Helper()
	dir := filepath.Join("testdata", "browser")
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, filepath.Join(dir, "index.html")) })
	for name, file := range map[string]string{"mpegts.js": "mpegts.js/dist/mpegts.js", "hls.js": "hls.js/dist/hls.js"} {
		script := filepath.Join(dir, "node_modules", filepath.FromSlash(file))
		if _, err := os.Stat(script); err != nil {
			t.Fatal(name, " is missing, make test-deps installs it: ", err)
		}
		mux.HandleFunc("/"+name, func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, script) })
	}
	page := httptest.NewServer(mux)
	t.Cleanup(page.Close)
	return page.URL
}

// TestBrowserHLS: Chromium with hls.js plays both variants of HLS; on_play comes once for each, although it keeps asking.
func TestBrowserHLS(t *testing.T) {
	t.Parallel()
	s, r := serve(t, "protocol.enable_hls", "1", "protocol.enable_hls_fmp4", "1", "hls.segDur", "1", "hls.segRetain", "100")
	live(t, s.rtmpURL("web"))
	b := newBrowser(t, playerPage(t))
	lists := map[string]string{"hls": "hls.m3u8", "hls.fmp4": "hls.fmp4.m3u8"}
	for schema, list := range lists {
		b.eval(fmt.Sprintf("startHLS(%q, %q)", schema, s.hlsURL("web?by="+schema, list)))
	}
	b.awaitMoving(len(lists))
	plays := map[string]int{}
	for _, p := range r.accepted("web") {
		if p.hook == event.OnPlay {
			plays[p.body.Schema]++
		}
	}
	if plays["hls"] != 1 || plays["hls.fmp4"] != 1 || len(plays) != 2 {
		t.Errorf("on_play came %v times\n%s", plays, r.transcript())
	}
}

// TestBrowserFile: Chromium plays a recording from the address that its event names, from the middle on, on a page that comes
// from elsewhere.
func TestBrowserFile(t *testing.T) {
	t.Parallel()
	s, r := serve(t, "protocol.enable_mp4", "1")
	file := encode(t, "in.flv", "12", picture(), tone(), h264(""), []string{"-c:a", "aac", "-ac", "1"})
	push(t, file, s.rtmpURL("a")).output()
	rec := r.accept(event.OnRecordMP4, "a").json
	b := newBrowser(t, playerPage(t))
	b.eval(fmt.Sprintf("startFile('file', %q, 5)", "http://"+s.http+"/"+rec["url"].(string)))
	if v := b.awaitMoving(1)["file"]; v.Time < 5 || v.Time > 12 {
		t.Errorf("%+v", v)
	}
}

// TestBrowserLowLatency: hls.js takes the parts of Low-Latency HLS, over HTTP/2, and waits for its playlists, of which it gets updates; it is asked
// for once. Nothing of it is there for the variant with TS.
func TestBrowserLowLatency(t *testing.T) {
	t.Parallel()
	file, _ := certificate(t)
	s, r := serve(t, "tls.certificates", file, "rtmp.sslport", "0", "http.sslport", auto, "protocol.enable_hls", "1", "protocol.enable_hls_fmp4", "1", "hls.segDur", "1", "hls.segNum", "20", "hls.lowLatency", "1", "hls.partDur", "0.3")
	_, https := s.secure()
	live(t, s.rtmpURL("web"))
	b := newBrowser(t, playerPage(t))
	b.eval(fmt.Sprintf("startHLS(%q, %q)", "low", "https://"+https+"/live/web/hls.fmp4.m3u8?by=low"))
	b.eval(fmt.Sprintf("startHLS(%q, %q)", "plain", s.hlsURL("web?by=plain", "hls.m3u8")))
	b.eval("players.low.loads.player.config.maxLiveSyncPlaybackRate = 1.5") // as players do that want to be near
	b.awaitMoving(2)
	for deadline := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		// There are parts only near the end of the list: whoever has fallen far behind, because the machine was busy, has to jump.
		b.eval("if (players.low.loads.player.latency > 6) players.low.video.currentTime = players.low.loads.player.liveSyncPosition")
		now := b.state()
		if now["plain"].Parts > 0 || now["plain"].Blocked > 0 || len(now["low"].Errors) > 0 {
			t.Fatalf("%+v", now)
		}
		if now["low"].Parts >= 30 && now["low"].Blocked >= 30 && now["low"].Skipped > 0 {
			t.Logf("latency as hls.js has it: %.2f s with parts, %.2f s without", now["low"].Latency, now["plain"].Latency)
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%+v", now)
		}
	}
	plays := 0
	for _, p := range r.accepted("web") {
		if p.hook == event.OnPlay && p.json["params"] == "by=low" {
			plays++
		}
	}
	if plays != 1 {
		t.Errorf("on_play came %d times\n%s", plays, r.transcript())
	}
}

// live publishes a moving picture and a tone in real time until the test ends.
func live(t *testing.T, url string) {
	t.Helper()
	args := []string{"-v", "error", "-nostdin", "-re"}
	args = append(append(args, picture()...), "-re")
	args = append(append(args, tone()...), strings.Fields("-c:v libx264 -preset ultrafast -tune zerolatency -profile:v baseline "+
		"-pix_fmt yuv420p -g 25 -c:a aac -t 3600 -f flv "+url)...)
	runTool(t, "ffmpeg", args...)
}

package e2e

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hookline/hookline/event"
)

// cinema is a server whose app "live" is that of files: the tests' words are about that app.
func cinema(t *testing.T, pairs ...string) (s *server, r *receiver, root string) {
	t.Helper()
	root = t.TempDir()
	pairs = append([]string{"record.appName", "live", "protocol.mp4_save_path", root, "record.sampleMS", "100"}, pairs...)
	s, r = serve(t, pairs...)
	return s, r, root
}

// put copies a file to where a stream of app live has it.
func put(t *testing.T, root, name, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(root, "live", name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// film makes an MP4 file of some seconds, with a picture that differs at each time.
func film(t *testing.T, seconds string) string {
	t.Helper()
	return encode(t, "in.mp4", seconds, picture(), tone(), h264("-bf 2 -b_strategy 0 -s 160x120"), []string{"-c:a", "aac"})
}

// TestVOD: a file is played on demand; on_play is asked, on_stream_not_found is not; it registers and ends as any stream
// does, quietly when nobody reads it; the API shows, seeks and speeds it up. What is no file is asked for as any absent stream.
func TestVOD(t *testing.T) {
	t.Parallel()
	s, r, root := cinema(t, "general.streamNoneReaderDelayMS", "2000", "general.maxStreamWaitMS", "500")
	path := put(t, root, "day/a.mp4", film(t, "60"))
	put(t, root, "junk.mp4", path)
	if err := os.Truncate(filepath.Join(root, "live/junk.mp4"), 100); err != nil {
		t.Fatal(err)
	}
	v := view(t, s.rtmpURL("mp4:day/a?token=1"))
	<-v.first
	if p := r.accept(event.OnPlay, "day/a.mp4"); p.body.Params != "token=1" {
		t.Errorf("%v", p.json)
	}
	reg := r.accept(event.OnStreamChanged, "day/a.mp4", registerOf("fmp4"))
	for k, want := range map[string]any{"originType": 6.0, "originTypeStr": "mp4_vod", "originUrl": path, "params": "", "originSock": nil} {
		if reg.json[k] != want {
			t.Errorf("%s is %v, want %v", k, reg.json[k], want)
		}
	}
	list := s.call("getMediaList", ofStream("day/a.mp4", "schema", "rtmp")...).List
	if len(list) != 1 || list[0]["originTypeStr"] != "mp4_vod" || list[0]["readerCount"] != 1.0 || list[0]["originUrl"] != path {
		t.Errorf("%v", list)
	}
	steer := func(call, key, value string) (result int) {
		t.Helper()
		raw := get(t, "http://"+s.http+"/index/api/"+call+"?secret=e2e-secret&schema=rtmp&vhost=__defaultVhost__&app=live&stream=day/a.mp4&"+key+"="+value)
		var a struct{ Code, Result int }
		if err := json.NewDecoder(raw.Body).Decode(&a); err != nil || a.Code != a.Result {
			t.Errorf("%s: %+v, %v", call, a, err)
		}
		return a.Result
	}
	if a, b := steer("seekRecordStamp", "stamp", "15000"), steer("seekRecordStamp", "stamp", "600000"); a != 0 || b != -1 {
		t.Error(a, b)
	}
	if a, b := steer("setRecordSpeed", "speed", "20"), steer("setRecordSpeed", "speed", "21"); a != 0 || b != -1 {
		t.Error(a, b)
	}
	if err := <-v.end; err != nil {
		t.Error(err)
	}
	r.expectStory("day/a.mp4", "register", "unregister", "publication_ended unpublish", "player")
	again := view(t, s.rtmpURL("day/a.mp4"))
	<-again.first
	if err := again.Close(); err != nil {
		t.Error(err)
	}
	r.await("the quiet end", 2, func(p *post) bool { return p.hook == event.OnPublicationEnded })
	for _, name := range []string{"none.mp4", "junk.mp4", "day"} {
		if err := dial(t, s.rtmpURL(name)).Play(t.Context()); err == nil {
			t.Error(name, "was played")
		}
		r.accept(event.OnStreamNotFound, name)
	}
	for _, p := range r.all() {
		if p.hook == event.OnStreamNotFound && p.body.Event.Stream == key("day/a.mp4") || p.hook == event.OnPublish || p.hook == event.OnStreamNoneReader {
			t.Error("unexpected:", p)
		}
	}
	if res := get(t, s.liveURL("..%2f..%2fetc/passwd", "flv")); res.StatusCode != 404 {
		t.Error(res.Status)
	}
	s.stop()
	r.expectClosed()
}

// TestLoadMP4File: files play as one time line under a chosen name, and what is no file is said.
func TestLoadMP4File(t *testing.T) {
	t.Parallel()
	s, r, _ := cinema(t, "record.appName", "record")
	file := film(t, "3")
	load := func(name string, pairs ...string) answer {
		t.Helper()
		return s.call("loadMP4File", append(ofStream(name), pairs...)...)
	}
	player := decode(t, s.rtmpURL("tv"), nil) // it waits
	r.accept(event.OnStreamNotFound, "tv")
	four := strings.Join(slices.Repeat([]string{file}, 4), ";") // long enough to be looked at
	a := load("tv", "file_path", four, "enable_ts", "0", "seek_ms", "1000")
	var data struct {
		Duration int `json:"duration_ms"`
	}
	if err := json.Unmarshal(a.Data, &data); err != nil || a.Code != 0 || data.Duration < 11800 || data.Duration > 12800 {
		t.Errorf("%+v %s %v", a, a.Data, err)
	}
	r.accept(event.OnStreamChanged, "tv", registerOf("fmp4"))
	if a := load("tv", "file_path", file); a.Code != -1 {
		t.Errorf("%+v", a)
	}
	if s.call("isMediaOnline", ofStream("tv", "schema", "ts")...).Online {
		t.Error("a schema that is switched off is there")
	}
	player.output()
	r.accept(event.OnPublicationEnded, "tv")
	for _, bad := range []string{file + ".none", s.cmd.Dir, "/etc/passwd"} {
		if a := load("bad", "file_path", bad); a.Code != -400 || a.Msg == "" {
			t.Errorf("%s: %+v", bad, a)
		}
	}
	s.stop()
	r.expectClosed()
}

// TestStartRecordTask: the clip of an event, from the cached pictures on, without an event of its own, and listed at the end.
func TestStartRecordTask(t *testing.T) {
	t.Parallel()
	s, r, root := cinema(t)
	p := publish(t, s.rtmpURL("cam"))
	r.accept(event.OnStreamChanged, "cam", registerOf("fmp4"))
	a := s.call("startRecordTask", ofStream("cam", "path", "events/e.mp4", "back_ms", "1000", "forward_ms", "1000")...)
	var data struct{ Path string }
	if err := json.Unmarshal(a.Data, &data); err != nil || data.Path != filepath.Join(root, "live/live/cam/events/e.mp4") {
		t.Fatalf("%+v %s %v", a, a.Data, err)
	}
	p.must(t, p.send(4*len(p.clip.media)))
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(data.Path); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no clip")
		}
	}
	got := probe(t, data.Path).times()["video"]
	if n := len(got); n < 45 || n > 55 {
		t.Errorf("%d pictures of two seconds", n)
	}
	play := decode(t, data.Path, nil)
	play.tolerate = "non monotonically increasing dts" // the clip is repeated, and its sound is not a whole number of pictures
	play.output()
	if a := s.call("startRecordTask", ofStream("cam", "path", "../../e.mp4", "back_ms", "0", "forward_ms", "0")...); a.Code != -1 {
		t.Errorf("%+v", a)
	}
	p.unpublish(t)
	end := r.accept(event.OnPublicationEnded, "cam")
	if list, _ := end.json["recordings"].([]any); len(list) != 1 || list[0].(map[string]any)["path"] != data.Path {
		t.Errorf("%v", end.json)
	}
	r.expectStory("cam", "register", "publisher", "unregister", "publication_ended unpublish")
}

// TestVODStops: a server that stops or is killed while files play leaves nothing open.
func TestVODStops(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	r := newReceiver(t)
	cfg := quick().endpoint(r).with("server.state_dir", stateDir(t), "record.appName", "live", "protocol.mp4_save_path", root)
	file := film(t, "20")
	names := []string{"a.mp4", "b.mp4", "c.mp4"}
	for _, n := range names {
		put(t, root, n, file)
	}
	for _, end := range []string{"server_stop", "server_crash"} {
		s := start(t, cfg)
		for _, n := range names {
			<-view(t, s.rtmpURL(n)).first
			r.await("the register of "+n, map[string]int{"server_stop": 1, "server_crash": 2}[end], func(p *post) bool {
				return p.accepted && p.body.Event.Stream == key(n) && p.hook == event.OnStreamChanged && registerOf("fmp4")(p)
			})
		}
		if end == "server_stop" {
			s.stop()
		} else {
			s.kill()
		}
	}
	s := start(t, cfg)
	for _, n := range names {
		r.await("the end of "+n, 2, func(p *post) bool {
			return p.accepted && p.hook == event.OnPublicationEnded && p.body.Event.Stream == key(n)
		})
	}
	s.stop()
	r.expectClosed()
}

// TestVODPlayers: ffmpeg and ffprobe get every frame of files over every protocol, in sync, and decode them without a fault.
func TestVODPlayers(t *testing.T) {
	t.Parallel()
	s, _, root := cinema(t)
	for _, tc := range []struct {
		name string
		args [][]string
	}{
		// Small pictures: what goes over UDP must fit into the socket of a player that stands still all the while.
		{"h264_bframes_aac", [][]string{picture(), tone(), h264("-bf 3 -b_strategy 0 -s 160x120"), {"-c:a", "aac"}}},
		{"hevc_aac", [][]string{picture(), tone(), strings.Fields("-c:v libx265 -preset ultrafast -x265-params log-level=error:keyint=25:bframes=2 -s 160x120 -pix_fmt yuv420p -c:a aac")}},
		{"audio_only", [][]string{tone(), {"-c:a", "aac"}}},
		{"video_only", [][]string{picture(), h264("-bf 0 -s 160x120")}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			file := encode(t, "in.mp4", "3", tc.args...)
			want := probe(t, file).times()
			decodes := map[string]*tool{}
			probes := map[string]*tool{}
			for _, protocol := range []string{"rtmp", "flv", "ts", "mp4", "tcp", "udp"} {
				if tc.name == "hevc_aac" && (protocol == "rtmp" || protocol == "flv") {
					continue // this ffmpeg knows no H.265 in FLV; TestHEVC has it
				}
				// RTSP players begin where they say, for all: each has a file of its own.
				url := func(what string) string {
					name := tc.name + "_" + protocol + "_" + what + ".mp4"
					put(t, root, name, file)
					switch protocol {
					case "rtmp":
						return s.rtmpURL(name)
					case "tcp", "udp":
						return s.rtspURL(name)
					}
					return s.liveURL(name, protocol)
				}
				in := []string{"-i"}
				if protocol == "tcp" || protocol == "udp" {
					in = []string{"-rtsp_transport", protocol, "-i"}
				}
				args := append([]string{"-v", "error", "-nostdin", "-xerror"}, in...)
				if u := url("decode"); strings.HasPrefix(u, "http") { // ffmpeg calls every end premature where no length was announced
					decodes[protocol] = decode(t, "pipe:0", download(t, u))
				} else {
					decodes[protocol] = runTool(t, "ffmpeg", append(args, u, "-f", "null", "-")...)
				}
				args = append([]string{"-v", "error", "-show_packets", "-of", "json"}, in...)
				probes[protocol] = runTool(t, "ffprobe", append(args, url("probe"))...)
				probes[protocol].tolerate = "Stream ends prematurely"
			}
			for protocol, c := range probes {
				if protocol == "tcp" || protocol == "udp" {
					countPackets(t, protocol, c, want)
					continue
				}
				compareTimes(t, protocol, c.times(), want)
			}
			for _, c := range decodes {
				c.output()
			}
		})
	}
}

// countPackets demands as many packets of each kind: RTP has no decoding times.
func countPackets(t *testing.T, protocol string, c *tool, want map[string][]moment) {
	t.Helper()
	var out struct {
		Packets []packet `json:"packets"`
	}
	if err := json.Unmarshal([]byte(c.output()), &out); err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for _, p := range out.Packets {
		got[p.Type]++
	}
	for kind, w := range want {
		if got[kind] != len(w) {
			t.Errorf("%s: %d %s packets of %d", protocol, got[kind], kind, len(w))
		}
	}
}

// TestVODSeek: ffmpeg that seeks gets the picture of that time over RTMP, and one of at most a group of pictures before it over
// RTSP, where it does not look closer.
func TestVODSeek(t *testing.T) {
	t.Parallel()
	s, _, root := cinema(t)
	file := encode(t, "in.mp4", "12", picture(), tone(), h264("-bf 0 -s 160x120"), []string{"-c:a", "aac"})
	frames := numbered(t, file)
	for _, at := range []float64{4, 6.52, 9.2} {
		for protocol, slack := range map[string]float64{"rtmp": 0.1, "rtsp": 1.2} {
			name := fmt.Sprint(protocol, at, ".mp4")
			put(t, root, name, file)
			url, args := s.rtmpURL(name), []string{}
			if protocol == "rtsp" {
				url, args = s.rtspURL(name), []string{"-rtsp_transport", "tcp"}
			}
			args = append(args, "-ss", strconv.FormatFloat(at, 'f', -1, 64), "-i", url, "-frames:v", "1")
			got := sums(t, args...)
			if len(got) != 1 {
				t.Fatalf("%s: %d pictures", protocol, len(got))
			}
			n, ok := frames[got[0]]
			if d := at - float64(n)/25; !ok || d > slack || math.Abs(min(d, 0)) > 0.1 {
				t.Errorf("%s: seek to %v shows picture %d, of %v (known: %v)", protocol, at, n, float64(n)/25, ok)
			}
		}
	}
}

// sums are those of the pictures that ffmpeg decodes.
func sums(t *testing.T, args ...string) (list []string) {
	t.Helper()
	c := runTool(t, "ffmpeg", append(append([]string{"-v", "error", "-nostdin"}, args...), "-map", "0:v", "-f", "framemd5", "-")...)
	if err := c.wait(); err != nil {
		t.Fatalf("%v: %v\n%s", c.cmd.Args, err, c.stderr.String())
	}
	for l := range strings.Lines(c.stdout.String()) {
		if f := strings.Split(l, ","); !strings.HasPrefix(l, "#") && len(f) == 6 {
			list = append(list, strings.TrimSpace(f[5]))
		}
	}
	return list
}

// numbered returns the numbers of the pictures of a file by their sums.
func numbered(t *testing.T, file string) map[string]int {
	t.Helper()
	frames := map[string]int{}
	for i, sum := range sums(t, "-i", file) {
		frames[sum] = i
	}
	return frames
}

// TestRecordedThenPlayed: the url of on_record_mp4 is what players ask for, and several recordings of a day are one time line.
func TestRecordedThenPlayed(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	s, r := serve(t, "protocol.mp4_save_path", root, "protocol.enable_mp4", "1", "record.sampleMS", "100")
	var files []string
	for i := range 2 {
		p := publish(t, s.rtmpURL("cam"))
		p.must(t, p.send(2*len(p.clip.media)))
		p.unpublish(t)
		found := r.await("the recording", i+1, func(p *post) bool { return p.accepted && p.hook == event.OnRecordMP4 })
		files = append(files, found[i].json["file_path"].(string))
		if i > 0 {
			continue
		}
		url, _ := found[0].json["url"].(string)
		want := len(probe(t, files[0]).times()["video"])
		player := probe(t, "rtmp://"+s.rtmp+"/"+url)
		if got := len(player.packets()["video"]); got != want || want < 75 {
			t.Errorf("%s: %d pictures of %d", url, got, want)
		}
	}
	a := s.call("loadMP4File", ofStream("day", "file_path", filepath.Dir(files[0]), "speed", "4")...)
	var data struct {
		Duration int `json:"duration_ms"`
	}
	if err := json.Unmarshal(a.Data, &data); err != nil || a.Code != 0 || data.Duration < 5900 || data.Duration > 6500 {
		t.Errorf("%+v %s %v", a, a.Data, err)
	}
	r.accept(event.OnPublicationEnded, "day")
	s.stop()
	r.expectClosed()
}

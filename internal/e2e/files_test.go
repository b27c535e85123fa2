package e2e

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hookline/hookline/event"
)

// curl runs curl and returns what it writes.
func curl(t *testing.T, args ...string) string {
	t.Helper()
	return runTool(t, "curl", append([]string{"-sS", "--max-time", "200"}, args...)...).output()
}

// TestFiles: a stream of which only a recording is made has no schema, but its file is reported, and lies where its event, the
// listing and downloadFile say. curl gets parts of it, ffprobe reads it over HTTP; on_http_access decides who may, as
// ZLMediaKit asks, for as long as it says.
func TestFiles(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	r.setAnswer(func(p *post) reply {
		switch {
		case p.hook == event.OnPublish:
			return reply{body: `{"code":0,"enable_mp4":1,"enable_rtmp":0,"enable_rtsp":0,"enable_ts":0,"enable_fmp4":0,"enable_hls":0}`}
		case p.hook != event.OnHTTPAccess, p.body.Params == "viewer=7":
			return reply{}
		case p.body.Params == "cached":
			return reply{body: `{"code":0,"err":"","path":"/record/","second":3600}`}
		}
		return reply{body: `{"code":0,"err":"not you","path":"","second":0}`}
	})
	state := stateDir(t)
	www := filepath.Join(state, "www")
	s := start(t, quick().endpoint(r).with("server.state_dir", state, "general.mediaServerId", "lab-zlm",
		"hook.on_http_access", r.url(event.OnHTTPAccess)))
	base := "http://" + s.http
	publish(t, s.rtmpURL("a")).unpublish(t)
	r.expectStory("a", "publisher", "record_mp4", "publication_ended unpublish")
	rec := r.accept(event.OnRecordMP4, "a").json
	file, at := rec["file_path"].(string), base+"/"+rec["url"].(string)
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}

	// Parts, validators, and who may not.
	if got := curl(t, "-r", "-100", at+"?viewer=7"); got != string(content[len(content)-100:]) {
		t.Errorf("%d bytes of the end", len(got))
	}
	saved := filepath.Join(t.TempDir(), "part.mp4")
	if err := os.WriteFile(saved, content[:1000], 0o600); err != nil {
		t.Fatal(err)
	}
	curl(t, "-C", "-", "-o", saved, at+"?viewer=7") // goes on
	if got, err := os.ReadFile(saved); err != nil || string(got) != string(content) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	status := func(args ...string) string {
		t.Helper()
		return curl(t, append([]string{"-o", os.DevNull, "-w", "%{http_code}"}, args...)...)
	}
	tag := curl(t, "-I", "-o", os.DevNull, "-w", "%header{etag}", at+"?viewer=7")
	for want, args := range map[string][]string{
		"304": {"-H", "If-None-Match: " + tag, at + "?viewer=7"}, "401": {at}, "416": {"-r", "999999999-", at + "?viewer=7"},
		"200": {base + "/record/live/a/?viewer=7"}, "404": {"--path-as-is", base + "/record/../../../etc/passwd?viewer=7"},
	} {
		if got := status(args...); got != want {
			t.Errorf("%q: %s, want %s", args, got, want)
		}
	}
	if text := runTool(t, "ffprobe", "-v", "error", "-count_packets", "-show_entries", "stream=codec_type,nb_read_packets", "-of", "csv", at+"?viewer=7").output(); strings.Count(text, "stream") != 2 {
		t.Errorf("ffprobe: %s", text)
	}

	// The question, and the memory of the answer.
	access := func(params string) []*post {
		var out []*post
		for _, p := range r.all() {
			if p.hook == event.OnHTTPAccess && p.json["params"] == params {
				out = append(out, p)
			}
		}
		return out
	}
	jar := filepath.Join(t.TempDir(), "jar")
	for range 3 {
		if got := status("-b", jar, "-c", jar, at+"?cached"); got != "200" {
			t.Error(got)
		}
	}
	if got := status("-b", jar, at); got != "200" {
		t.Error(got)
	}
	if n := len(access("cached")); n != 1 {
		t.Errorf("asked %d times although the answer holds for an hour", n)
	}
	if err := os.WriteFile(filepath.Join(www, "small.txt"), []byte("small"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := curl(t, base+"/small.txt?viewer=7"); got != "small" {
		t.Errorf("%q", got)
	}
	var small *post
	for _, p := range access("viewer=7") {
		if p.json["path"] == "/small.txt" {
			small = p
		}
	}
	if small == nil {
		t.Fatal("on_http_access did not come")
	}
	for _, k := range []string{"file_path", "header.Host", "header.User-Agent"} { // differ from machine to machine
		if v, _ := small.json[k].(string); v == "" || k == "file_path" && v != filepath.Join(www, "small.txt") {
			t.Errorf("%s: %v", k, small.json[k])
		}
	}
	small.json["file_path"], small.json["header.Host"], small.json["header.User-Agent"] = "/SERVER_DIR/www/small.txt", "127.0.0.1:18500", "curl/7.88.1"
	compareRecorded(t, small, "on_http_access")

	// downloadFile: with the secret, or with leave.
	down := base + "/index/api/downloadFile?file_path=" + url.QueryEscape(file)
	for want, address := range map[string]string{
		"200": down + "&secret=e2e-secret&save_name=x.mp4", "401": down, "404": down + "x&secret=e2e-secret",
	} {
		if got := status(address); got != want {
			t.Errorf("%s: %s", address, got)
		}
	}
	if got := curl(t, "-r", "0-9", "-D", "-", down+"&secret=e2e-secret&save_name=x.mp4"); !strings.Contains(got, "206 ") ||
		!strings.Contains(got, "filename=x.mp4") || !strings.HasSuffix(got, string(content[:10])) {
		t.Errorf("%q", got)
	}
	if got := status(base + "/index/api/downloadFile?secret=e2e-secret&file_path=" + url.QueryEscape("/etc/passwd")); got != "401" {
		t.Error(got)
	}
	history := 0
	for _, e := range s.events("type", string(event.OnHTTPAccess)) {
		if history++; e.Stream != "" {
			t.Errorf("%+v", e)
		}
	}
	if n := len(access("viewer=7")) + len(access("cached")) + len(access("")); history < n {
		t.Errorf("%d outcomes in the journal of at least %d questions", history, n)
	}
	s.stop()
}

// TestFilesWithoutHook: while nobody is asked http.allow_ip_range says who may read files. Lists of hours that outlive their
// stream, and the segments that they name, are files like any other, and play.
func TestFilesWithoutHook(t *testing.T) {
	t.Parallel()
	state := stateDir(t)
	www := filepath.Join(state, "www")
	s, r := serve(t, "server.state_dir", state, "protocol.enable_hls", "1", "hls.segDur", "1", "hls.segKeep", "1", "hls.deleteDelaySec", "0", "hls.broadcastRecordTs", "1",
		"hook.on_record_ts", "", "general.maxStreamWaitMS", "100")
	file := encode(t, "in.flv", "4", picture(), tone(), h264(""), []string{"-c:a", "aac", "-ac", "1"})
	push(t, file, s.rtmpURL("kept"), "-re").output()
	r.accept(event.OnPublicationEnded, "kept")
	lists, err := filepath.Glob(filepath.Join(www, "live", "kept", "*", "*", "vod.m3u8"))
	if err != nil || len(lists) == 0 {
		t.Fatal(lists, err)
	}
	packets := 0
	for _, list := range lists { // two, if the hour has just changed
		rel, err := filepath.Rel(www, list)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range probe(t, fmt.Sprintf("http://%s/%s", s.http, filepath.ToSlash(rel))).packets() {
			packets += len(p)
		}
	}
	want := 0
	for _, p := range probe(t, file).packets() {
		want += len(p)
	}
	if packets != want {
		t.Errorf("%d packets, want %d", packets, want)
	}
	// The list that the stream has left is there for those who come late, when on_play lets them.
	if got := curl(t, s.hlsURL("kept", "hls.m3u8")); !strings.Contains(got, "#EXT-X-ENDLIST") {
		t.Errorf("%s", got)
	}
	s.call("setServerConfig", "http.allow_ip_range", "10.0.0.0-10.0.0.1")
	if got := curl(t, "http://"+s.http+"/live/kept/"); !strings.Contains(got, "not allowed") {
		t.Errorf("%s", got)
	}
	s.stop()
}

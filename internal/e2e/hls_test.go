package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hookline/hookline/event"
)

// hlsURL is the address of a playlist; stream may have a query.
func (p *server) hlsURL(stream, list string) string {
	name, params, _ := strings.Cut(stream, "?")
	return "http://" + p.http + "/live/" + name + "/" + list + "?" + params
}

// TestHLS: ffmpeg publishes pictures with B-frames and sound in real time; ffprobe and ffmpeg play both variants of HLS from
// the first segment to the last, and get every packet. on_play comes once for each, on_flow_report at the end, and files
// and bodies are as ZLMediaKit's.
func TestHLS(t *testing.T) {
	t.Parallel()
	root, r := t.TempDir(), newReceiver(t)
	s := start(t, quick().endpoint(r).with("server.state_dir", stateDir(t), "protocol.enable_hls", "1", "protocol.enable_hls_fmp4", "1",
		"protocol.hls_save_path", root, "hls.segDur", "1", "hls.segNum", "20", "hls.deleteDelaySec", "300", "hls.broadcastRecordTs", "1",
		"hook.on_record_ts", r.url(event.OnRecordTS), "general.mediaServerId", "lab-zlm"))
	const name = "p_rtmp"
	file := encode(t, "in.flv", "6", picture(), tone(), h264("-bf 3 -b_strategy 0"), []string{"-c:a", "aac", "-ac", "1"})
	want := probe(t, file).times()
	lists := map[string]string{"hls": "hls.m3u8", "hls.fmp4": "hls.fmp4.m3u8"}
	players := map[string]*tool{}
	var decoders []*tool
	for schema, list := range lists {
		players[schema] = runTool(t, "ffprobe", "-v", "error", "-live_start_index", "0", "-show_packets", "-of", "json", s.hlsURL(name+"?viewer=6", list))
		decoders = append(decoders, runTool(t, "ffmpeg", "-v", "error", "-nostdin", "-xerror", "-live_start_index", "0",
			"-i", s.hlsURL(name+"?viewer=7", list), "-f", "null", "-"))
	}
	r.await("the players", 4, func(p *post) bool { return p.hook == event.OnStreamNotFound && p.body.Event.Stream == key(name) })
	push(t, file, s.rtmpURL(name+"?token=abc&who=cam1"), "-re").output()
	for schema, c := range players {
		compareTimes(t, schema, c.times(), want)
	}
	for _, c := range decoders {
		c.output()
	}
	r.accept(event.OnPublicationEnded, name)
	for schema := range lists {
		of := func(p *post) bool { return p.body.Schema == schema }
		for _, viewer := range []string{"viewer=6", "viewer=7"} {
			r.accept(event.OnFlowReport, name, params(viewer), ofPlayer, of)
		}
		registered := r.accept(event.OnStreamChanged, name, registerOf(schema))
		registered.json["totalReaderCount"] = 0.0 // those who waited for the other variant may be there already
		compareRecorded(t, registered, "on_stream_changed.regist."+schema)
	}
	compareRecorded(t, asked(r, event.OnPlay, name, params("viewer=6"), func(p *post) bool { return p.body.Schema == "hls" }), "on_play.hls")
	plays, segments := 0, map[string]int{}
	for _, p := range r.accepted(name) {
		if p.hook == event.OnPlay {
			plays++
		}
		if p.hook == event.OnRecordTS {
			compareRecorded(t, p, "on_record_ts")
			file, _ := p.json["file_path"].(string)
			segments[filepath.Ext(file)]++
			if rel, err := filepath.Rel(filepath.Join(root, "live", name), file); err != nil || filepath.ToSlash(rel) != p.json["file_name"] {
				t.Errorf("%v", p.json)
			}
		}
	}
	if plays != 4 || segments[".ts"] != 6 || segments[".mp4"] != 6 {
		t.Errorf("on_play came %d times for 4 players; segments %v\n%s", plays, segments, r.transcript())
	}
	r.expectClosed()
	s.stop()
	if left, err := filepath.Glob(filepath.Join(root, "live", "*")); err != nil || len(left) > 0 {
		t.Errorf("left: %q %v", left, err)
	}
	if _, err := os.Stat(root); err != nil {
		t.Error(err)
	}
}

// TestOnlyHLS: a stream of which nothing but HLS is made registers hls, and nothing else. stopRecord unregisters it while the
// publisher goes on, startRecord brings it back, and it plays each time.
func TestOnlyHLS(t *testing.T) {
	t.Parallel()
	s, r := serve(t, "hls.segDur", "1", "hls.segRetain", "100")
	r.setAnswer(func(p *post) reply {
		if p.hook == event.OnPublish {
			return reply{body: `{"code":0,"enable_hls":1,"enable_rtmp":0,"enable_rtsp":0,"enable_ts":0,"enable_fmp4":0}`}
		}
		return reply{}
	})
	publish(t, s.rtmpURL("only")).keep(t)
	play := func() {
		t.Helper()
		text := runTool(t, "ffprobe", "-v", "error", "-read_intervals", "%+1", "-show_entries", "stream=codec_type", "-of", "csv", s.hlsURL("only", "hls.m3u8")).output()
		if strings.Count(text, "stream") < 2 {
			t.Errorf("ffprobe: %s", text)
		}
	}
	play()
	if a := s.call("stopRecord", ofStream("only", "type", "0")...); !a.Result {
		t.Error(a)
	}
	r.await("the unregister", 1, func(p *post) bool { return unregister(p) && p.body.Stream == "only" })
	if a := s.call("isMediaOnline", ofStream("only", "schema", "hls")...); a.Online {
		t.Error(a)
	}
	if a := s.call("startRecord", ofStream("only", "type", "0")...); !a.Result {
		t.Error(a)
	}
	r.await("the next register", 2, func(p *post) bool { return register(p) && p.body.Stream == "only" })
	play()
	if a := s.call("close_streams", ofStream("only", "force", "1")...); a.Closed != 1 {
		t.Error(a)
	}
	r.accept(event.OnPublicationEnded, "only")
	story := slices.DeleteFunc(r.story("only"), func(w string) bool { return w == "player" }) // they leave when they like
	if want := []string{"register:hls", "unregister:hls", "register:hls", "publisher", "unregister:hls", "publication_ended kicked"}; !slices.Equal(story, want) {
		t.Errorf("%q, want %q", story, want)
	}
	s.stop()
}

// TestHLSOnDemand: with hls_demand both variants are registered like the other schemas and nothing is written; ffprobe wakes each,
// Low-Latency HLS too, and gets pictures and sound without an error.
func TestHLSOnDemand(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	s, r := serve(t, "protocol.hls_demand", "1", "protocol.enable_hls", "1", "protocol.enable_hls_fmp4", "1", "protocol.hls_save_path", root, "hls.segDur", "1", "hls.segRetain", "100", "hls.lowLatency", "1")
	publish(t, s.rtmpURL("quiet")).keep(t)
	for _, schema := range []string{"hls", "hls.fmp4"} {
		r.accept(event.OnStreamChanged, "quiet", registerOf(schema))
	}
	if left, err := os.ReadDir(root); err != nil || len(left) > 0 {
		t.Errorf("%v %v", left, err)
	}
	for _, list := range []string{"hls.m3u8", "hls.fmp4.m3u8"} {
		text := runTool(t, "ffprobe", "-v", "error", "-read_intervals", "%+2", "-show_entries", "packet=codec_type", "-of", "csv", s.hlsURL("quiet", list)).output()
		if strings.Count(text, "video") < 25 || strings.Count(text, "audio") < 25 {
			t.Errorf("%s: %s", list, text)
		}
		if _, err := os.Stat(filepath.Join(root, "live", "quiet", list)); err != nil {
			t.Error(err)
		}
	}
	s.stop()
}

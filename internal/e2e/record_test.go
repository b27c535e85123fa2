package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Eyevinn/mp4ff/mp4"

	"github.com/hookline/hookline/event"
)

// TestRecordScenario is what the product is for: whatever ends a publication, the receiver, which is slow and fails, sees
// register, unregister, the recording and the end that lists it, in this order, once, and the file plays.
func TestRecordScenario(t *testing.T) {
	t.Parallel()
	recordScenario(t, 4, 1)
}

// recordScenario makes so many publications of each ending. Each decodeEvery-th file is decoded, the others are parsed.
func recordScenario(t *testing.T, each, decodeEvery int) {
	t.Helper()
	root := t.TempDir()
	r := newReceiver(t)
	r.setAnswer(func(p *post) reply {
		if p.hook == event.OnPublish {
			return reply{body: `{"code":0,"enable_mp4":true,"continue_push_ms":0}`}
		}
		if p.hook == event.OnPlay {
			return reply{}
		}
		re := reply{delay: time.Duration(rand.Int64N(int64(30 * time.Millisecond)))}
		switch {
		case rand.IntN(10) == 0:
			re.status = http.StatusInternalServerError
		case p.hook == event.OnStreamNoneReader:
			re.body = fmt.Sprintf(`{"code":0,"close":%v}`, strings.HasPrefix(p.body.Stream, "idle"))
		}
		return re
	})
	cfg := quick().endpoint(r).with("server.state_dir", stateDir(t), "protocol.mp4_save_path", root,
		"general.streamNoneReaderDelayMS", "1500", "delivery.drain_ms", "60000")
	s := start(t, cfg)
	run := func(how string, f func(name string)) {
		t.Helper()
		var wg sync.WaitGroup
		for i := range each {
			wg.Go(func() { f(fmt.Sprintf("%s%d", how, i)) })
		}
		wg.Wait()
	}
	ends := map[string]string{
		"unpublish": "unpublish", "reset": "connection_lost", "kick": "kicked", "idle": "no_reader", "stop": "server_stop",
	}
	run("unpublish", func(n string) { publish(t, s.rtmpURL(n)).unpublish(t) })
	run("reset", func(n string) {
		p := publish(t, s.rtmpURL(n))
		r.accept(event.OnStreamChanged, n, registerOf("fmp4"))
		if err := p.Reset(); err != nil {
			t.Error(err)
		}
	})
	run("kick", func(n string) {
		publish(t, s.rtmpURL(n)).keep(t)
		r.accept(event.OnStreamChanged, n, registerOf("fmp4"))
		s.call("close_streams", "stream", n, "force", "1")
	})
	run("idle", func(n string) { publish(t, s.rtmpURL(n)).keep(t) })
	for _, how := range []string{"unpublish", "reset", "kick", "idle"} {
		run(how, func(n string) { r.accept(event.OnPublicationEnded, n) })
	}
	run("stop", func(n string) {
		publish(t, s.rtmpURL(n)).keep(t)
		r.accept(event.OnStreamChanged, n, registerOf("fmp4"))
	})
	s.stop()

	s = start(t, cfg)
	run("crash", func(n string) {
		publish(t, s.rtmpURL(n)).keep(t)
		r.accept(event.OnStreamChanged, n, registerOf("fmp4"))
	})
	s.awaitFiles(t, root, "crash", each)
	s.kill()
	s = start(t, cfg)
	played := func(n string) bool {
		return atoi(t, strings.TrimLeft(n, "abcdefghijklmnopqrstuvwxyz"))%decodeEvery == 0
	}
	for how, reason := range ends {
		run(how, func(n string) {
			r.expectStory(n, "register", "publisher", "unregister", "record_mp4", "publication_ended "+reason)
			r.expectFile(n, root, played(n))
		})
	}
	run("crash", func(n string) {
		r.expectStory(n, "register", "unregister", "record_mp4 server_crash", "publication_ended server_crash")
		r.expectFile(n, root, played(n))
	})
	s.stop()
	r.expectClosed()
}

// awaitFiles waits until the hidden files of n streams hold whole fragments.
func (p *server) awaitFiles(t *testing.T, root, prefix string, n int) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		open, _ := filepath.Glob(filepath.Join(root, "record/live", prefix+"*", "*", ".*.mp4"))
		ready := 0
		for _, f := range open {
			b, err := os.ReadFile(f)
			if err == nil && strings.Count(string(b), "moof") > 1 {
				ready++
			}
		}
		if ready >= n {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d files are being written", ready, n)
		}
	}
}

// expectFile holds the recording of a stream against its file and against the list of the end. The file is decoded, or only
// parsed.
func (r *receiver) expectFile(stream, root string, decoded bool) {
	r.t.Helper()
	rec, end := r.accept(event.OnRecordMP4, stream), r.accept(event.OnPublicationEnded, stream)
	path, _ := rec.json["file_path"].(string)
	info, err := os.Stat(path)
	if err != nil || !strings.HasPrefix(path, root) {
		r.t.Errorf("%s: %v", stream, err)
		return
	}
	if size, _ := rec.json["file_size"].(float64); int64(size) != info.Size() {
		r.t.Errorf("%s: file_size is %v, the file has %d", stream, rec.json["file_size"], info.Size())
	}
	list, _ := end.json["recordings"].([]any)
	if len(list) != 1 || list[0].(map[string]any)["path"] != path {
		r.t.Errorf("%s: the end lists %v", stream, list)
	}
	if file, err := mp4.ReadMP4File(path); err != nil || file.Moov == nil || len(file.Moov.Traks) != 2 {
		r.t.Errorf("%s: mp4ff: %v", path, err)
	}
	if decoded {
		play := runTool(r.t, "ffmpeg", "-v", "error", "-nostdin", "-xerror", "-i", path, "-f", "null", "-")
		play.tolerate = "non monotonically increasing dts" // the clip is repeated, and its sound is not a whole number of pictures
		_ = play.output()
	}
	if rec.body.Event.Publication != end.body.Event.Publication {
		r.t.Errorf("%s: %v and %v are of different publications", stream, rec, end)
	}
}

// TestRecordByAPI: a recording is started and stopped by the API, listed and deleted.
func TestRecordByAPI(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	s, r := serve(t, "protocol.mp4_save_path", root)
	publish(t, s.rtmpURL("a")).keep(t)
	r.accept(event.OnStreamChanged, "a", registerOf("fmp4"))
	api := func(name string, pairs ...string) answer {
		t.Helper()
		return s.call(name, append([]string{"vhost", "__defaultVhost__", "app", "live", "stream", "a", "type", "1"}, pairs...)...)
	}
	if a := api("isRecording"); a.Status {
		t.Error(a)
	}
	if a := api("startRecord", "max_second", "5"); !a.Result || a.Code != 0 {
		t.Error(a)
	}
	if a := api("isRecording"); !a.Status {
		t.Error(a)
	}
	s.awaitFiles(t, root, "a", 1)
	if a := api("stopRecord"); !a.Result {
		t.Error(a)
	}
	rec := r.accept(event.OnRecordMP4, "a")
	day := filepath.Base(filepath.Dir(rec.json["file_path"].(string)))
	for period, want := range map[string]any{day: rec.json["file_name"], day[:7]: day} {
		var data struct{ Paths []string }
		if err := json.Unmarshal(api("getMP4RecordFile", "period", period).Data, &data); err != nil || fmt.Sprint(data.Paths) != fmt.Sprintf("[%v]", want) {
			t.Error(period, data, err)
		}
	}
	for _, bad := range []string{"..", "2026", "2026-01-01/../..", day + "/"} {
		if a := api("deleteRecordDirectory", "period", bad); a.Code == 0 {
			t.Error(bad, a)
		}
	}
	if a := api("deleteRecordDirectory", "period", day); a.Code != 0 {
		t.Error(a)
	}
	if _, err := os.Stat(rec.json["file_path"].(string)); !os.IsNotExist(err) {
		t.Error(err)
	}
	want := recordedBody(t, "on_record_mp4")
	for k, v := range want {
		if kindOf(rec.json[k]) != kindOf(v) {
			t.Errorf("on_record_mp4: %s is %s, want %s", k, kindOf(rec.json[k]), kindOf(v))
		}
	}
	for k := range rec.json {
		if _, ok := want[k]; !ok && k != "event" {
			t.Errorf("on_record_mp4 has %s, which ZLMediaKit's has not", k)
		}
	}
}

// recordedBody is a body of ZLMediaKit.
func recordedBody(t *testing.T, name string) (want map[string]any) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err == nil {
		err = json.Unmarshal(raw, &want)
	}
	if err != nil {
		t.Fatal(err)
	}
	return want
}

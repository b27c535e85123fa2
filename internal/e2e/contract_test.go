package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/ordercheck"
)

// TestContract follows one publication of ffmpeg with viewers over both protocols, from the start of the server to its
// end, and compares every body with the one that was recorded from ZLMediaKit for the same thing.
func TestContract(t *testing.T) {
	t.Parallel()
	s, r := serve(t, "general.mediaServerId", "lab-zlm", "general.streamNoneReaderDelayMS", "500", "hook.alive_interval", "1",
		"general.maxStreamWaitMS", "300")
	compareRecorded(t, r.accept(event.OnServerStarted, ""), "on_server_started")
	compareRecorded(t, r.await("a keepalive", 1, func(p *post) bool { return p.hook == event.OnServerKeepalive })[0], "on_server_keepalive")

	// A player of a stream that does not come.
	missing := probe(t, s.flvURL("none?viewer=8"))
	if missing.wait() == nil {
		t.Error("ffprobe plays a stream that is not there")
	}
	compareRecorded(t, asked(r, event.OnStreamNotFound, "none"), "on_stream_not_found.http")

	const name = "p_rtmp"
	file := encode(t, "in.flv", "10", picture(), tone(), h264("-bf 0"), []string{"-c:a", "aac", "-ac", "1"})
	publisher := push(t, file, s.rtmpURL(name+"?token=abc&who=cam1"), "-re", "-stream_loop", "-1") // until it is told to stop
	for _, schema := range schemas() {
		compareRecorded(t, r.accept(event.OnStreamChanged, name, registerOf(schema)), "on_stream_changed.regist."+schema)
	}
	compareRecorded(t, asked(r, event.OnPublish, name), "on_publish.rtmp_push")

	// Two viewers, one after the other, then nobody.
	view := func(url string) {
		runTool(t, "ffmpeg", "-v", "error", "-nostdin", "-t", "0.5", "-i", url, "-f", "null", "-").output()
	}
	view(s.rtmpURL(name + "?viewer=1"))
	compareRecorded(t, asked(r, event.OnPlay, name, params("viewer=1")), "on_play.rtmp")
	compareRecorded(t, r.accept(event.OnFlowReport, name, params("viewer=1")), "on_flow_report.player.rtmp")
	view(s.flvURL(name + "?viewer=2"))
	asked(r, event.OnPlay, name, params("viewer=2"))
	compareRecorded(t, r.accept(event.OnFlowReport, name, params("viewer=2")), "on_flow_report.player.http")
	view(s.liveURL(name+"?viewer=4", "ts"))
	compareRecorded(t, asked(r, event.OnPlay, name, params("viewer=4")), "on_play.http")
	left := r.accept(event.OnFlowReport, name, params("viewer=4"))
	idle := r.accept(event.OnStreamNoneReader, name, func(p *post) bool { return p.body.Index > left.body.Index })
	compareRecorded(t, idle, "on_stream_none_reader")

	publisher.signal(os.Interrupt)
	_ = publisher.wait() // it says that it was interrupted
	r.accept(event.OnPublicationEnded, name)
	compareRecorded(t, r.accept(event.OnFlowReport, name, ofPublisher), "on_flow_report.publisher.rtmp")
	for _, schema := range schemas() {
		gone := func(p *post) bool { return unregister(p) && p.body.Schema == schema }
		compareRecorded(t, r.accept(event.OnStreamChanged, name, gone), "on_stream_changed.unregist."+schema)
	}
	var all []string
	for _, p := range r.accepted(name) {
		if p.hook == event.OnStreamNoneReader && p != idle { // the first viewers were slow to come
			continue
		}
		all = append(all, strings.TrimSpace(string(p.hook)+" "+ordercheck.What(p.body)))
	}
	want := []string{
		"on_publish request", "register", "on_play request", "on_flow_report player",
		"on_play request", "on_flow_report player", "on_play request", "on_flow_report player",
		"on_stream_none_reader request", "on_flow_report publisher", "unregister", "on_publication_ended",
	}
	want = spell(want...)
	for i, w := range want {
		if strings.Contains(w, "register:") {
			want[i] = "on_stream_changed " + w
		}
	}
	if !slices.Equal(all, want) {
		t.Errorf("the hooks of the stream:\n got %q\nwant %q", all, want)
	}
	compareEnded(t, r.accept(event.OnPublicationEnded, name))
	r.expectClosed()

	s.stop()
	compareRecorded(t, r.accept(event.OnServerExited, ""), "on_server_exited")
	compareEnvelopes(t, r)
}

// asked returns the first request of a decision.
func asked(r *receiver, hook event.Type, stream string, more ...func(*post) bool) *post {
	r.t.Helper()
	return r.accept(hook, stream, more...)
}

// volatile members differ from run to run: only their type is compared.
func volatile() []string {
	return []string{
		"hook_index", "id", "port", "createStamp", "totalBytes", "duration", "frames", "bytesSpeed", "isRecordingHLS",
		"isRecordingMP4", "peer_port", "local_port", "identifier", "data", "loss", "key_frames", "gop_size",
		"gop_interval_ms", "aliveSecond", "file_name", "file_path", "file_size", "folder", "start_time", "time_len", "url",
	}
}

// compareRecorded demands the members of the recorded body with the same JSON types and, where it does not depend on the
// run, the same values; and no other member but event.
func compareRecorded(t *testing.T, p *post, name string) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var want map[string]any
	if err := json.Unmarshal(raw, &want); err != nil {
		t.Fatal(err)
	}
	got := maps.Clone(p.json)
	if _, ok := got["event"].(map[string]any); !ok {
		t.Errorf("%s: there is no event member", name)
	}
	delete(got, "event")
	switch name {
	case "on_server_started": // the values are this server's own, and it has more keys
		compareStarted(t, got, want)
		return
	case "on_stream_none_reader", "on_stream_changed.unregist.rtmp", "on_stream_changed.unregist.rtsp", "on_stream_changed.unregist.ts", "on_stream_changed.unregist.fmp4": // recorded from another stream
		for _, k := range []string{"schema", "stream", "params"} {
			want[k] = got[k]
		}
	}
	for _, d := range differences(name, got, want) {
		t.Error(d)
	}
	if ct := p.header.Get("Content-Type"); ct != "application/json" {
		t.Errorf("%s: Content-Type %q", name, ct)
	}
	if vhost, _ := got["vhost"].(string); p.header.Get("X-VHOST") != vhost {
		t.Errorf("%s: X-VHOST %q, want %q", name, p.header.Get("X-VHOST"), vhost)
	}
}

func compareStarted(t *testing.T, got, want map[string]any) {
	t.Helper()
	for k, v := range want {
		if k != "hook_index" && kindOf(got[k]) != kindOf(v) {
			t.Errorf("on_server_started: %s is %s, want %s", k, kindOf(got[k]), kindOf(v))
		}
	}
	for k, v := range got {
		if k != "hook_index" && kindOf(v) != "string" {
			t.Errorf("on_server_started: %s is %s, want a string", k, kindOf(v))
		}
	}
	if got["mediaServerId"] != "lab-zlm" || got["general.mediaServerId"] != "lab-zlm" {
		t.Errorf("on_server_started: mediaServerId %v, %v", got["mediaServerId"], got["general.mediaServerId"])
	}
}

// kindOf names the JSON type.
func kindOf(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case string:
		return "string"
	case float64:
		return "number"
	case bool:
		return "bool"
	case []any:
		return "array"
	case map[string]any:
		return "object"
	}
	return "unknown"
}

// differences compares got with want; tracks are compared by their kind.
func differences(path string, got, want map[string]any) (out []string) {
	for _, k := range slices.Sorted(maps.Keys(want)) {
		at := path + "." + k
		g, ok := got[k]
		switch w := want[k].(type) {
		case map[string]any:
			o, isObject := g.(map[string]any)
			if !isObject {
				out = append(out, fmt.Sprintf("%s is %s, want an object", at, kindOf(g)))
				continue
			}
			out = append(out, differences(at, o, w)...)
		case []any:
			out = append(out, compareTracks(at, g, w)...)
		default:
			if !ok || kindOf(g) != kindOf(w) {
				out = append(out, fmt.Sprintf("%s is %s, want %s", at, kindOf(g), kindOf(w)))
			} else if g != w && !slices.Contains(volatile(), k) && !slices.Contains(volatile(), last(path)) {
				out = append(out, fmt.Sprintf("%s is %v, want %v", at, g, w))
			}
		}
	}
	for k := range got {
		if _, ok := want[k]; !ok {
			out = append(out, fmt.Sprintf("%s.%s is not in the recorded body", path, k))
		}
	}
	return out
}

func last(path string) string { return filepath.Ext(path)[min(1, len(filepath.Ext(path))):] }

func compareTracks(at string, got any, want []any) (out []string) {
	byKind := map[any]map[string]any{}
	list, _ := got.([]any)
	for _, v := range list {
		if o, ok := v.(map[string]any); ok {
			byKind[o["codec_type"]] = o
		}
	}
	if len(list) != len(want) {
		out = append(out, fmt.Sprintf("%s has %d elements, want %d", at, len(list), len(want)))
	}
	for _, v := range want {
		o, _ := v.(map[string]any)
		out = append(out, differences(fmt.Sprintf("%s[%v]", at, o["codec_type"]), byKind[o["codec_type"]], o)...)
	}
	return out
}

// compareEnded looks at Hookline's own event.
func compareEnded(t *testing.T, p *post) {
	t.Helper()
	b := p.json
	if b["reason"] != "unpublish" || b["params"] != "token=abc&who=cam1" || fmt.Sprint(b["schemas"]) != fmt.Sprint(schemas()) {
		t.Errorf("on_publication_ended: reason %v, params %v, schemas %v", b["reason"], b["params"], b["schemas"])
	}
	start, _ := b["start"].(float64)
	end, _ := b["end"].(float64)
	duration, _ := b["duration"].(float64)
	size, _ := b["bytes"].(float64)
	if start <= 0 || end <= start || duration <= 0 || size <= 0 {
		t.Errorf("on_publication_ended: start %v, end %v, duration %v, bytes %v", start, end, duration, size)
	}
}

// compareEnvelopes demands what is the same for every event of a run, and the member that belongs to its class.
func compareEnvelopes(t *testing.T, r *receiver) {
	t.Helper()
	first := r.all()[0].body.Event
	publications := map[string]bool{}
	for _, p := range r.all() {
		e := p.body.Event
		if e.Source != "lab-zlm" || e.Incarnation != first.Incarnation || e.Epoch != first.Epoch || e.Type != p.hook {
			t.Errorf("%v: source %q, incarnation %q, epoch %d, type %q", p, e.Source, e.Incarnation, e.Epoch, e.Type)
		}
		class := event.ClassOf(e.Type)
		if asks := class == event.Decision || class == event.Question; asks != (e.After != nil) {
			t.Errorf("%v: after is %v", p, e.After)
		}
		if sequenced := class == event.Lifecycle; sequenced != (e.Seq > 0) || sequenced != (e.Prev != nil) {
			t.Errorf("%v: seq %d, prev %v", p, e.Seq, e.Prev)
		}
		if e.Publication != "" {
			publications[e.Publication] = true
		} else if class == event.Lifecycle && e.Stream != "" {
			t.Errorf("%v has no publication", p)
		}
	}
	if len(publications) != 1 {
		t.Errorf("%d publications", len(publications))
	}
	if all := r.accepted(""); ordercheck.What(all[len(all)-1].body) != "" || all[len(all)-1].hook != event.OnServerExited {
		t.Errorf("the last event of the server is %v", all[len(all)-1])
	}
}

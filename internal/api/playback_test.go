package api

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/stream"
)

// fakePlayback notes what it is told; only the stream "file" can be steered.
type fakePlayback struct {
	loaded LoadRequest
	opts   stream.Options
	err    error
	told   string
}

func (p *fakePlayback) Load(_ context.Context, q LoadRequest) (time.Duration, error) {
	p.opts = stream.Options{EnableRTMP: true, EnableHLS: true}
	q.Options(&p.opts)
	q.Options = nil
	p.loaded = q
	return 90500 * time.Millisecond, p.err
}

func (p *fakePlayback) Control(name fact.Stream) (stream.Control, error) {
	if name.Stream != "file" {
		return nil, stream.ErrNotFound
	}
	return p, nil
}

func (p *fakePlayback) Seek(to time.Duration) (time.Duration, error) {
	p.told += fmt.Sprint("seek ", to, " ")
	if to > time.Minute {
		return 0, errors.New("beyond")
	}
	return to, nil
}

func (p *fakePlayback) Speed(f float64) error {
	p.told += fmt.Sprint("speed ", f, " ")
	if f <= 0 {
		return errors.New("no speed")
	}
	return nil
}

func (p *fakePlayback) Pause(on bool) error                           { p.told += fmt.Sprint("pause ", on, " "); return nil }
func (p *fakePlayback) Position() time.Duration                       { return 0 }
func (p *fakePlayback) Duration() time.Duration                       { return time.Minute }
func (p *fakePlayback) Find(time.Time) (place time.Duration, ok bool) { return 0, false }

// fakeRecords takes clips.
type fakeRecords struct {
	Records
	told string
	err  error
}

func (r *fakeRecords) StartClip(name fact.Stream, path string, back, forward time.Duration, report bool) (string, error) {
	r.told = fmt.Sprint(name.Key(), " ", path, " ", back, " ", forward, " ", report)
	return "/records/" + path, r.err
}

func query(pairs ...string) string {
	q := url.Values{"secret": {testSecret}}
	for i := 0; i < len(pairs); i += 2 {
		q.Set(pairs[i], pairs[i+1])
	}
	return "?" + q.Encode()
}

func TestPlaybackCalls(t *testing.T) {
	p, r := &fakePlayback{}, &fakeRecords{}
	w := newWorld(t, func(d *Deps) { d.Playback, d.Records = p, r })
	for _, name := range []string{"file", "live"} {
		w.hub.list = append(w.hub.list, stream.Info{StreamObject: fact.StreamObject{
			Schema: "rtmp", Stream: fact.Stream{Vhost: fact.DefaultVhost, App: "a", Stream: name},
		}})
	}
	tuple := func(name string, more ...string) string {
		return query(append([]string{"schema", "rtmp", "vhost", fact.DefaultVhost, "app", "a", "stream", name}, more...)...)
	}
	for _, tt := range []struct {
		call, query string
		code        Code
		result      any
		told        string
	}{
		{"seekRecordStamp", tuple("file", "stamp", "1500"), 0, 0.0, "seek 1.5s pause false "},
		{"seekRecordStamp", tuple("file", "stamp", "61000"), -1, -1.0, "seek 1m1s "},
		{"seekRecordStamp", tuple("live", "stamp", "1500"), -1, -1.0, ""},
		{"seekRecordStamp", tuple("none", "stamp", "1500"), -500, nil, ""},
		{"seekRecordStamp", tuple("file"), -300, nil, ""},
		{"setRecordSpeed", tuple("file", "speed", "2.5"), 0, 0.0, "speed 2.5 "},
		{"setRecordSpeed", tuple("file", "speed", "junk"), -1, -1.0, "speed 0 "},
		{"setRecordSpeed", tuple("none", "speed", "1"), -500, nil, ""},
		{"setRecordSpeed", tuple("file"), -300, nil, ""},
		{"loadMP4File", tuple("new"), -300, nil, ""},
		{"loadMP4File", tuple("../new", "file_path", "/x.mp4"), -300, nil, ""},
		{"loadMP4File", tuple("new", "file_path", "/x.mp4", "seek_ms", "-1"), -300, nil, ""},
		{"startRecordTask", tuple("live", "path", "x.mp4", "back_ms", "0"), -300, nil, ""},
		{"startRecordTask", tuple("live", "path", "x.mp4", "back_ms", "0", "forward_ms", "-1"), -300, nil, ""},
		{"startRecordTask", tuple("live", "path", "x.mp4", "back_ms", "0", "forward_ms", "86400001"), -300, nil, ""},
		{"startRecordTask", tuple("none", "path", "x.mp4", "back_ms", "0", "forward_ms", "1"), -500, nil, ""},
	} {
		p.told = ""
		_, m := w.get("/index/api/" + tt.call + tt.query)
		if m["code"] != float64(tt.code) || m["result"] != tt.result || p.told != tt.told {
			t.Errorf("%s%s: %v, told %q", tt.call, tt.query, m, p.told)
		}
	}
	_, m := w.get("/index/api/startRecordTask" + tuple("live", "path", "a/x.mp4", "back_ms", "500", "forward_ms", "2500"))
	if m["code"] != 0.0 || m["data"].(map[string]any)["path"] != "/records/a/x.mp4" || r.told != "__defaultVhost__/a/live a/x.mp4 500ms 2.5s false" {
		t.Error(m, r.told)
	}
	r.err = errors.New("no room")
	_, m = w.get("/index/api/startRecordTask" + tuple("live", "path", "x.mp4", "back_ms", "500", "forward_ms", "2500", "report", "1"))
	if m["code"] != -1.0 || m["msg"] != "no room" {
		t.Error(m)
	}
}

func TestLoadMP4File(t *testing.T) {
	p := &fakePlayback{}
	w := newWorld(t, func(d *Deps) { d.Playback = p })
	call := func(pairs ...string) map[string]any {
		t.Helper()
		_, m := w.get("/index/api/loadMP4File" +
			query(append([]string{"vhost", "x", "app", "a", "stream", "s", "file_path", "/a.mp4;/b.mp4"}, pairs...)...))
		return m
	}
	m := call("file_repeat", "1", "seek_ms", "1500", "speed", "2", "enable_hls", "0", "enable_ts", "1", "mp4_max_second", "-5", "auto_close", "0")
	if m["code"] != 0.0 || m["data"].(map[string]any)["duration_ms"] != 90500.0 {
		t.Error(m)
	}
	want := LoadRequest{
		Name:  fact.Stream{Vhost: fact.DefaultVhost, App: "a", Stream: "s"},
		Files: "/a.mp4;/b.mp4", Repeat: true, Seek: 1500 * time.Millisecond, Speed: 2,
	}
	got := p.loaded
	if got.Name != want.Name || got.Files != want.Files || !got.Repeat || got.Seek != want.Seek || got.Speed != want.Speed {
		t.Errorf("%+v", got)
	}
	if p.opts != (stream.Options{EnableRTMP: true, EnableTS: true}) {
		t.Errorf("%+v", p.opts)
	}
	for err, code := range map[error]float64{
		fmt.Errorf("%w: x", ErrBadFile): -400, fmt.Errorf("%w: x", stream.ErrBusy): -1, stream.ErrStopping: -1,
	} {
		p.err = err
		if m := call(); m["code"] != code || m["msg"] == "" {
			t.Error(err, m)
		}
	}
}

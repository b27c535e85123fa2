package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/stream"
)

// example is a call of a real ZLMediaKit.
type example struct {
	Request struct {
		Method      string            `json:"method"`
		Path        string            `json:"path"`
		Params      map[string]string `json:"params"`
		Body        string            `json:"body"`
		ContentType string            `json:"content_type"`
	} `json:"request"`
	Response struct {
		Status  int               `json:"status"`
		Headers map[string]string `json:"headers"`
		JSON    map[string]any    `json:"json"`
		Text    string            `json:"text"`
	} `json:"response"`
}

// goldenWorld holds what that server had.
func goldenWorld(t *testing.T) *world {
	w := newWorld(t)
	var list struct {
		Response struct {
			JSON struct {
				Data []fact.StreamObject `json:"data"`
			} `json:"json"`
		} `json:"response"`
	}
	readFile(t, "testdata/examples/getMediaList.json", &list)
	for _, o := range list.Response.JSON.Data {
		w.hub.list = append(w.hub.list, stream.Info{StreamObject: o})
		o.Stream.Stream = "q010"
		if o.Schema == "rtmp" {
			w.hub.list = append(w.hub.list, stream.Info{StreamObject: o})
		}
	}
	var config struct {
		Response struct {
			JSON struct {
				Data []map[string]string `json:"data"`
			} `json:"json"`
		} `json:"response"`
	}
	readFile(t, "testdata/examples/getServerConfig.json", &config)
	w.config.all = config.Response.JSON.Data[0]
	for _, s := range []Session{
		{ID: "2-11", TypeID: "mediakit::RtmpSession", LocalPort: 11935, Kick: func() {}},
		{ID: "3-16", TypeID: "mediakit::RtspSession", LocalPort: 10554, Kick: func() {}},
	} {
		s.PeerIP, s.LocalIP = "127.0.0.1", "127.0.0.1"
		t.Cleanup(w.sessions.Add(s))
	}
	return w
}

// TestExamples compares answers with those of ZLMediaKit: code and msg exactly, members by name and type.
func TestExamples(t *testing.T) {
	files, err := filepath.Glob("testdata/examples/*.json")
	if err != nil || len(files) < 30 {
		t.Fatalf("%d examples, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".json"), func(t *testing.T) {
			var ex example
			readFile(t, file, &ex)
			w := goldenWorld(t)
			target := ex.Request.Path
			if ex.Request.ContentType == "" {
				q := url.Values{}
				for k, v := range ex.Request.Params {
					q.Set(k, v)
				}
				target += "?" + q.Encode()
			}
			rec := w.serve(request(t, ex.Request.Method, target, ex.Request.ContentType, ex.Request.Body))
			if rec.Code != ex.Response.Status {
				t.Fatalf("status %d, want %d", rec.Code, ex.Response.Status)
			}
			got, want := rec.Header().Get("Content-Type"), ex.Response.Headers["Content-Type"]
			if want != "" && got != want {
				t.Fatalf("content type %q, want %q", got, want)
			}
			if ex.Response.Text != "" {
				if !strings.Contains(rec.Body.String(), "<hr><center>Hookline") {
					t.Fatalf("page: %s", rec.Body)
				}
				return
			}
			compare(t, rec.Body.Bytes(), ex.Response.JSON)
		})
	}
}

func compare(t *testing.T, body []byte, want map[string]any) {
	t.Helper()
	var got map[string]any
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	for _, member := range []string{"code", "msg", "result", "changed", "count_hit", "count_closed", "online"} {
		if got[member] != want[member] {
			t.Errorf("%s: %v, want %v", member, got[member], want[member])
		}
	}
	if g, w := shape("", got, nil), shape("", want, nil); !slices.Equal(g, w) {
		t.Errorf("members\n%v\nwant\n%v", g, w)
	}
}

// shape returns the sorted set of "path:type".
func shape(path string, v any, into []string) []string {
	kind := fmt.Sprintf("%T", v)
	switch v := v.(type) {
	case map[string]any:
		for name, m := range v {
			if name == "loss" { // ZLMediaKit has it or not, depending on the thread that answers
				continue
			}
			into = shape(path+"."+name, m, into)
		}
	case []any:
		for _, e := range v {
			into = shape(path+"[]", e, into)
		}
	}
	into = append(into, path+":"+kind)
	slices.Sort(into)
	return slices.Compact(into)
}

// TestValues compares the stream object with the example's, value by value.
func TestValues(t *testing.T) {
	w := goldenWorld(t)
	var ex example
	readFile(t, "testdata/examples/getMediaList.json", &ex)
	_, m := w.get("/index/api/getMediaList?stream=fix000")
	if g, want := fmt.Sprint(m), fmt.Sprint(ex.Response.JSON); g != want {
		t.Errorf("got\n%s\nwant\n%s", g, want)
	}
	_, m = w.get("/index/api/getMediaInfo?schema=hls&vhost=x&app=live&stream=fix000")
	if m["schema"] != "hls" || m["vhost"] != fact.DefaultVhost {
		t.Errorf("while vhosts are off every vhost is the default one: %v", m)
	}
	w.mu.Lock()
	w.settings.EnableVhost = true
	w.mu.Unlock()
	if _, m = w.get("/index/api/getMediaInfo?schema=hls&vhost=x&app=live&stream=fix000"); m["code"] != -500.0 {
		t.Errorf("another vhost: %v", m)
	}
}

func TestOnlyWhatExists(t *testing.T) {
	w := newWorld(t)
	_, m := w.get("/index/")
	names := m["data"].([]any)
	if !slices.Contains(names, any("/index/api/close_streams")) || len(names) != len(w.api.calls) {
		t.Errorf("list: %v", names)
	}
	for _, n := range []string{"getSnap", "whip", "whep", "startRecord", "addDeviceProxy", ""} {
		rec := w.serve(request(t, http.MethodGet, "/index/api/"+n, "", ""))
		if rec.Code != http.StatusNotFound || slices.Contains(names, any("/index/api/"+n)) {
			t.Errorf("%s: %d", n, rec.Code)
		}
	}
}

// TestAbsentCalls: what ZLMediaKit's clients call and Hookline does not have is told in JSON, as they expect it.
func TestAbsentCalls(t *testing.T) {
	w := newWorld(t)
	_, list := w.get("/index/api/getApiList")
	names := list["data"].([]any)
	known := 0
	for feature, calls := range absentCalls() {
		for _, n := range calls {
			known++
			if slices.Contains(names, any("/index/api/"+n)) {
				t.Errorf("%s is listed", n)
			}
			rec := w.serve(request(t, http.MethodPost, "/index/api/"+n+"?secret="+testSecret, "application/json", `{"key":"k"}`))
			var m map[string]any
			if err := json.Unmarshal(rec.Body.Bytes(), &m); err != nil || rec.Code != http.StatusOK {
				t.Fatalf("%s: %d %s", n, rec.Code, rec.Body)
			}
			if want, ok := nothingThere()[n]; ok {
				if got := fmt.Sprint(m["code"], len(m)); got != fmt.Sprint(0, len(want)) {
					t.Errorf("%s: %v, want %v", n, m, want)
				}
				continue
			}
			if want := n + " is not available: Hookline has no " + feature; m["code"] != -1.0 || m["msg"] != want {
				t.Errorf("%s: %v, want msg %q", n, m, want)
			}
		}
	}
	for n := range nothingThere() {
		if w.api.absent[strings.ToLower(indexPrefix+n)] == nil {
			t.Errorf("%s belongs to no feature", n)
		}
	}
	if known != len(w.api.absent) {
		t.Errorf("%d calls, want %d", len(w.api.absent), known)
	}
	for _, n := range []string{"addStreamProxy", "listRtpServer"} { // for those who may call
		rec := w.serve(request(t, http.MethodGet, "/index/api/"+n, "", ""))
		if _, code := decodeCode(t, w, request(t, http.MethodGet, "/index/api/"+n, "", "")); code != "-100" {
			t.Errorf("%s without secret: %s", n, rec.Body)
		}
	}
	// The examples of a real server that has none of it.
	for _, n := range []string{"delStreamProxy_again", "closeRtpServer_again", "getRtpInfo", "listRtpSender"} {
		var ex example
		readFile(t, "testdata/examples_absent/"+n+".json", &ex)
		_, m := w.get(ex.Request.Path)
		if got, want := fmt.Sprint(m), fmt.Sprint(ex.Response.JSON); got != want {
			t.Errorf("%s: %s, want %s", n, got, want)
		}
	}
}

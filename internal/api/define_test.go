package api

import (
	"encoding/json"
	"maps"
	"net/http"
	"strings"
	"testing"
)

func TestDefineEndpoint(t *testing.T) {
	w, p := withPlatform(t)
	do := func(method, target, body string, header ...string) (int, http.Header, map[string]any) {
		t.Helper()
		r := request(t, method, "/api/v1"+target, "application/json", body)
		r.Header.Set("Authorization", "Bearer "+testSecret)
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		rec := w.serve(r)
		var m map[string]any
		_ = json.Unmarshal(rec.Body.Bytes(), &m)
		return rec.Code, rec.Header(), m
	}
	body := `{"name":"b","url":"https://x","history":true,"paused":false,"rate":2.5,"events":["on_play","on_flow_*"],"streams":[],` +
		`"header":{"X-A":"b"},"timeout_ms":1000,"policy":null}`
	status, h, m := do("POST", "/endpoints", body)
	want := map[string]string{
		"url": "https://x", "history": "1", "paused": "0", "rate": "2.5", "events": "on_play,on_flow_*", "header.X-A": "b", "timeout_ms": "1000",
	}
	if status != 201 || h.Get("Location") != "/api/v1/endpoints/b" || h.Get("ETag") != `"v7"` || !maps.Equal(p.made["b"], want) || m["origin"] != "api" {
		t.Errorf("%d %v %v %v", status, h, p.made["b"], m)
	}
	for _, c := range []struct {
		name, method, target, body string
		header                     []string
		status                     int
	}{
		{"exists", "POST", "/endpoints", body, nil, 409},
		{"stale", "PATCH", "/endpoints/b", `{"rate":1}`, []string{"If-Match", `"v1"`}, 412},
		{"weak", "PATCH", "/endpoints/b", `{"rate":1}`, []string{"If-Match", `W/"v7"`}, 412},
		{"current", "PATCH", "/endpoints/b", `{"rate":1}`, []string{"If-Match", `"v1", "v7"`}, 200},
		{"none may be there", "PUT", "/endpoints/b", `{"url":"http://x"}`, []string{"If-None-Match", "*"}, 412},
		{"one must be there", "PUT", "/endpoints/c", `{"url":"http://x"}`, []string{"If-Match", "*"}, 412},
		{"created", "PUT", "/endpoints/c", `{"url":"http://x"}`, []string{"If-None-Match", "*"}, 201},
		{"stale", "DELETE", "/endpoints/c", "", []string{"If-Match", `"v9"`}, 412},
		{"gone", "DELETE", "/endpoints/c", "", []string{"If-Match", `"v1"`}, 204},
		{"not there", "DELETE", "/endpoints/c", "", nil, 404},
		{"the file's", "PATCH", "/endpoints/ops", `{"rate":1}`, nil, 409},
	} {
		if status, _, m := do(c.method, c.target, c.body, c.header...); status != c.status {
			t.Errorf("%s: %d %v", c.name, status, m)
		}
	}
	status, _, m = do("PATCH", "/endpoints/b", `{"url":null}`)
	errs, _ := m["errors"].([]any)
	if status != 400 || m["code"] != ProblemField || len(errs) != 1 || errs[0].(map[string]any)["field"] != "url" {
		t.Errorf("%d %v", status, m)
	}
}

// hostileBodies are bodies that no definition has.
func hostileBodies() []string {
	deep := strings.Repeat(`{"a":`, 5000) + "1" + strings.Repeat("}", 5000)
	many := `{"name":"x"` + strings.Repeat(`,"k":1`, 10) + `}`
	var wide strings.Builder
	wide.WriteString(`{"name":"x"`)
	for i := range 500 {
		wide.WriteString(`,"k` + strings.Repeat("i", i) + `":"v"`)
	}
	wide.WriteString("}")
	return []string{
		``, `null`, `[]`, `"x"`, `1`, `{`, `{"name":}`, `{"name":"x"}{}`, `{"name":1}`, `{"name":null}`, `{"name":{}}`, `{"name":""}`,
		`{"name":"x","url":{}}`, `{"name":"x","url":[1]}`, `{"name":"x","events":["a,b"]}`, `{"name":"x","events":[""]}`,
		`{"name":"x","header":1}`, `{"name":"x","header":{"a":{}}}`, `{"name":"x","header":{"a":["b"]}}`, `{"name":"x","header":[]}`,
		`{"name":"` + strings.Repeat("n", 300) + `"}`, `{"name":"x\n[api]"}`, `{"name":"x","":"y"}`,
		"{\"name\":\"\xff\"}", deep, many, wide.String(), strings.Repeat("x", 1<<20),
	}
}

func TestHostileDefinitions(t *testing.T) {
	w, p := withPlatform(t)
	for _, body := range hostileBodies() {
		r := request(t, "POST", "/api/v1/endpoints", "application/json", body)
		r.Header.Set("Authorization", "Bearer "+testSecret)
		rec := w.serve(r)
		var m map[string]any
		if err := json.Unmarshal(rec.Body.Bytes(), &m); err != nil || rec.Code < 400 || rec.Code >= 500 || m["detail"] == nil {
			t.Errorf("%.40q: %d %.200s", body, rec.Code, rec.Body)
		}
	}
	if len(p.made) != 0 {
		t.Errorf("%v", p.made)
	}
}

func FuzzDefinition(f *testing.F) {
	for _, b := range hostileBodies() {
		if len(b) < 1000 {
			f.Add(b)
		}
	}
	f.Add(`{"name":"b","url":"https://x","history":true,"events":["on_play"],"header":{"X-A":"b"},"rate":2.5}`)
	f.Fuzz(func(t *testing.T, body string) {
		var in map[string]json.RawMessage
		if json.Unmarshal([]byte(body), &in) != nil {
			return
		}
		keys, err := keysOf(in)
		if (err == nil) != (keys != nil) {
			t.Errorf("%v %v", keys, err)
		}
	})
}

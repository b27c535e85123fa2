package api

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hookline/hookline/event"
)

// document is the part of OpenAPI that the tests look at.
type document struct {
	OpenAPI    string
	Paths      map[string]map[string]operation
	Components struct {
		Schemas map[string]*schema
	}
}

type operation struct {
	OperationID string
	Parameters  []struct{ Name, In string }
	RequestBody *struct {
		Content map[string]struct{ Schema *schema }
	}
	Responses map[string]struct {
		Ref     string `json:"$ref"`
		Content map[string]struct{ Schema *schema }
	}
}

type schema struct {
	Ref                  string `json:"$ref"`
	Type                 string
	Format               string
	Enum                 []any
	Properties           map[string]*schema
	Required             []string
	AdditionalProperties *bool
	Items                *schema
}

// check says how v differs from a schema.
func (d *document) check(s *schema, v any, at string) error {
	if name, ok := strings.CutPrefix(s.Ref, "#/components/schemas/"); ok {
		if s = d.Components.Schemas[name]; s == nil {
			return fmt.Errorf("%s: no schema %s", at, name)
		}
	}
	if s.Enum != nil && !slices.Contains(s.Enum, v) {
		return fmt.Errorf("%s: %v is none of %v", at, v, s.Enum)
	}
	switch v := v.(type) {
	case map[string]any:
		return d.checkObject(s, v, at)
	case []any:
		if s.Type != "array" && s.Type != "" {
			return fmt.Errorf("%s: an array, not %s", at, s.Type)
		}
		for i, e := range v {
			if err := d.check(s.Items, e, fmt.Sprintf("%s[%d]", at, i)); err != nil {
				return err
			}
		}
		return nil
	}
	want := map[string]bool{"": true}
	switch v := v.(type) {
	case string:
		want["string"] = true
		if _, err := time.Parse(time.RFC3339Nano, v); s.Format == "date-time" && err != nil {
			return fmt.Errorf("%s: %w", at, err)
		}
	case float64:
		want["integer"], want["number"] = v == float64(int64(v)), true
	case bool:
		want["boolean"] = true
	}
	if !want[s.Type] {
		return fmt.Errorf("%s: %T, not %s", at, v, s.Type)
	}
	return nil
}

func (d *document) checkObject(s *schema, v map[string]any, at string) error {
	if s.Type != "object" && s.Type != "" {
		return fmt.Errorf("%s: an object, not %s", at, s.Type)
	}
	for _, name := range s.Required {
		if _, ok := v[name]; !ok {
			return fmt.Errorf("%s: %s is missing", at, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(v)) {
		p := s.Properties[name]
		if p == nil {
			if s.AdditionalProperties != nil && !*s.AdditionalProperties {
				return fmt.Errorf("%s: %s is not in the document", at, name)
			}
			continue
		}
		if err := d.check(p, v[name], at+"."+name); err != nil {
			return err
		}
	}
	return nil
}

func readDocument(t *testing.T) *document {
	t.Helper()
	var d document
	if err := json.Unmarshal(openAPIDocument, &d); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(d.OpenAPI, "3.1") {
		t.Fatalf("OpenAPI %q", d.OpenAPI)
	}
	return &d
}

// TestOpenAPIRoutes: document and code have the same routes with the same parameters.
func TestOpenAPIRoutes(t *testing.T) {
	d, ids := readDocument(t), map[string]bool{}
	documented := map[string][]string{}
	for path, methods := range d.Paths {
		for method, op := range methods {
			var names []string
			for _, p := range op.Parameters {
				if p.In == "query" || p.In == "path" {
					names = append(names, p.In+" "+p.Name)
				}
			}
			slices.Sort(names)
			documented[strings.ToUpper(method)+" "+path] = names
			if op.OperationID == "" || ids[op.OperationID] {
				t.Errorf("%s %s: operationId %q is not unique", method, path, op.OperationID)
			}
			ids[op.OperationID] = true
		}
	}
	for _, r := range v1Routes() {
		name := r.method + " /" + strings.ReplaceAll(r.pattern, "...}", "}")
		var want []string
		for _, p := range r.params {
			want = append(want, "query "+p)
		}
		for rest := r.pattern; strings.Contains(rest, "{"); {
			_, rest, _ = strings.Cut(rest, "{")
			var p string
			p, rest, _ = strings.Cut(rest, "}")
			want = append(want, "path "+strings.TrimSuffix(p, "..."))
		}
		slices.Sort(want)
		got, ok := documented[name]
		if !ok {
			t.Errorf("%s is not in the document", name)
		} else if !slices.Equal(got, want) {
			t.Errorf("%s: the document has %q, the code %q", name, got, want)
		}
		if writes := r.method != http.MethodGet; writes != (r.action != "") {
			t.Errorf("%s: writes %v, but its action is %q", name, writes, r.action)
		}
		delete(documented, name)
	}
	for name := range documented {
		t.Errorf("%s is not in the code", name)
	}
}

// TestOpenAPIAnswers: what comes is what the document says, for each operation.
func TestOpenAPIAnswers(t *testing.T) {
	d := readDocument(t)
	w, _ := withPlatform(t)
	w.api.deps.Operations = &fakeOperations{}
	done := map[string]bool{}
	for _, c := range []struct{ op, method, path, target, body string }{
		{"openapi", "get", "/openapi.json", "/openapi.json", ""},
		{"listEvents", "get", "/events", "/events?limit=3", ""},
		{"listEvents", "get", "/events", "/events?cursor=99", ""},
		{"listEvents", "get", "/events", "/events?order=desc&wait=1s", ""},
		{"getEvent", "get", "/events/{id}", "/events/inc-66", ""},
		{"getEvent", "get", "/events/{id}", "/events/none", ""},
		{"timeline", "get", "/streams/{stream}/timeline", "/streams/v/a/1/timeline", ""},
		{"listAttempts", "get", "/attempts", "/attempts?result=failed", ""},
		{"listAttempts", "get", "/attempts", "/attempts?result=x", ""},
		{"journal", "get", "/journal", "/journal", ""},
		{"snapshot", "get", "/snapshot", "/snapshot?limit=1", ""},
		{"snapshot", "get", "/snapshot", "/snapshot", ""},
		{"snapshot", "get", "/snapshot", "/snapshot?cursor=x", ""},
		{"listGaps", "get", "/gaps", "/gaps", ""},
		{"queues", "get", "/queues", "/queues", ""},
		{"makeBackup", "post", "/backups", "/backups", `{"name":"b1"}`},
		{"makeBackup", "post", "/backups", "/backups", `{"name":"b1"}`},
		{"makeBackup", "post", "/backups", "/backups", `{"name":"../b1"}`},
		{"listBackups", "get", "/backups", "/backups", ""},
		{"removeBackup", "delete", "/backups/{name}", "/backups/b1", ""},
		{"removeBackup", "delete", "/backups/{name}", "/backups/b1", ""},
		{"listEndpoints", "get", "/endpoints", "/endpoints", ""},
		{"getEndpoint", "get", "/endpoints/{name}", "/endpoints/ops", ""},
		{"createEndpoint", "post", "/endpoints", "/endpoints", `{"name":"new","url":"http://x","rate":5}`},
		{"createEndpoint", "post", "/endpoints", "/endpoints", `{"name":"new","url":"http://x"}`},
		{"createEndpoint", "post", "/endpoints", "/endpoints", `{"url":"http://x"}`},
		{"getEndpoint", "get", "/endpoints/{name}", "/endpoints/new", ""},
		{"putEndpoint", "put", "/endpoints/{name}", "/endpoints/other", `{"url":"http://x"}`},
		{"putEndpoint", "put", "/endpoints/{name}", "/endpoints/other", `{"url":"http://y"}`},
		{"putEndpoint", "put", "/endpoints/{name}", "/endpoints/ops", `{"url":"http://y"}`},
		{"changeEndpoint", "patch", "/endpoints/{name}", "/endpoints/other", `{"rate":null}`},
		{"changeEndpoint", "patch", "/endpoints/{name}", "/endpoints/none", `{"rate":null}`},
		{"changeEndpoint", "patch", "/endpoints/{name}", "/endpoints/other", `{"url":null}`},
		{"removeEndpoint", "delete", "/endpoints/{name}", "/endpoints/other", ""},
		{"removeEndpoint", "delete", "/endpoints/{name}", "/endpoints/other", ""},
		{"pauseEndpoint", "post", "/endpoints/{name}/pause", "/endpoints/ops/pause", ""},
		{"resumeEndpoint", "post", "/endpoints/{name}/resume", "/endpoints/ops/resume", ""},
		{"listDeadLetters", "get", "/dead-letters", "/dead-letters", ""},
		{"redriveDeadLetters", "post", "/dead-letters/redrive", "/dead-letters/redrive", `{"endpoint":"ops"}`},
		{"redriveDeadLetters", "post", "/dead-letters/redrive", "/dead-letters/redrive", `{"x":1}`},
		{"getDeadLetter", "get", "/dead-letters/{endpoint}/{position}", "/dead-letters/ops/2", ""},
		{"redriveDeadLetter", "post", "/dead-letters/{endpoint}/{position}/redrive", "/dead-letters/ops/2/redrive", ""},
		{"discardDeadLetter", "delete", "/dead-letters/{endpoint}/{position}", "/dead-letters/ops/2?reason=x", ""},
		{"startReplay", "post", "/replays", "/replays", `{"endpoint":"ops","dryRun":true}`},
		{"startReplay", "post", "/replays", "/replays", `{"endpoint":"ops"}`},
		{"listReplays", "get", "/replays", "/replays", ""},
		{"cancelReplay", "delete", "/replays/{id}", "/replays/r1", ""},
		{"getReplay", "get", "/replays/{id}", "/replays/r1", ""},
		{"streamEvents", "get", "/events/stream", "/events/stream?limit=1&cursor=x", ""},
	} {
		op := d.Paths[c.path][c.method]
		if op.OperationID != c.op {
			t.Fatalf("%s %s is %q, not %q", c.method, c.path, op.OperationID, c.op)
		}
		done[c.op] = true
		status, m := w.call(strings.ToUpper(c.method), "/api/v1"+c.target, c.body)
		answer, ok := op.Responses[fmt.Sprint(status)]
		if !ok {
			t.Errorf("%s: status %d is not in the document", c.target, status)
			continue
		}
		if answer.Ref != "" {
			answer.Content = map[string]struct{ Schema *schema }{"": {&schema{Ref: "#/components/schemas/Problem"}}}
		}
		for _, body := range answer.Content {
			if err := d.check(body.Schema, any(m), c.target); err != nil {
				t.Error(err)
			}
		}
		if len(answer.Content) == 0 && m != nil {
			t.Errorf("%s: an answer that is not in the document: %v", c.target, m)
		}
	}
	for path, methods := range d.Paths {
		for method, op := range methods {
			if !done[op.OperationID] {
				t.Errorf("%s %s was not tried", method, path)
			}
		}
	}
}

func TestOpenAPIServed(t *testing.T) {
	w := newWorld(t)
	r := request(t, "GET", "/api/v1/openapi.json", "", "")
	r.Header.Set("Secret", testSecret)
	rec := w.serve(r)
	tag := rec.Header().Get("ETag")
	if rec.Code != 200 || tag == "" || rec.Body.String() != string(openAPIDocument) {
		t.Fatalf("%d %q", rec.Code, tag)
	}
	r.Header.Set("If-None-Match", tag)
	if rec := w.serve(r); rec.Code != http.StatusNotModified || rec.Body.Len() > 0 {
		t.Errorf("%d", rec.Code)
	}
}

// TestOpenAPITypes: every list of types in the document has all that there are.
func TestOpenAPITypes(t *testing.T) {
	var want []any
	for _, typ := range event.Types() {
		want = append(want, string(typ))
	}
	var doc any
	if err := json.Unmarshal(openAPIDocument, &doc); err != nil {
		t.Fatal(err)
	}
	found := 0
	var walk func(v any, at string)
	walk = func(v any, at string) {
		switch v := v.(type) {
		case map[string]any:
			for name, m := range v {
				walk(m, at+"/"+name)
			}
		case []any:
			if slices.Contains(v, any(string(event.OnPublish))) && strings.HasSuffix(at, "/enum") {
				found++
				if !slices.Equal(v, want) {
					t.Errorf("%s: %v, want %v", at, v, want)
				}
			}
			for _, e := range v {
				walk(e, at)
			}
		}
	}
	walk(doc, "")
	if found < 5 {
		t.Errorf("%d lists", found)
	}
}

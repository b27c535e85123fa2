package server_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/hookline/hookline/event"
)

// contract is the OpenAPI document that a server serves, read by a validator of JSON Schema that knows nothing of it.
type contract struct {
	r   *rig
	doc map[string]any
	c   *jsonschema.Compiler
}

const contractURL = "http://hookline/openapi.json"

func (r *rig) contract() *contract {
	r.t.Helper()
	_, _, body := r.raw(http.MethodGet, "/openapi.json", "")
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	k := &contract{r: r, doc: v.(map[string]any), c: jsonschema.NewCompiler()}
	k.c.AssertFormat()
	if err := k.c.AddResource(contractURL, v); err != nil {
		r.t.Fatal(err)
	}
	return k
}

// raw calls /api/v1 as admin.
func (r *rig) raw(method, path, body string) (status int, kind string, answer []byte) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, "http://"+r.s.HTTPAddr()+"/api/v1"+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+rigSecret)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	if answer, err = io.ReadAll(res.Body); err != nil {
		r.t.Fatal(err)
	}
	kind, _, _ = strings.Cut(res.Header.Get("Content-Type"), ";")
	return res.StatusCode, kind, answer
}

// at returns what stands in the document at a path of members, nil when nothing does.
func (k *contract) at(members ...string) any {
	var v any = k.doc
	for _, m := range members {
		object, _ := v.(map[string]any)
		v = object[m]
	}
	return v
}

// pointer is a path of members as the fragment of a URL.
func pointer(members ...string) string {
	var b strings.Builder
	b.WriteString(contractURL + "#")
	for _, m := range members {
		b.WriteString("/" + strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D").Replace(m))
	}
	return b.String()
}

// holds makes a call of the operation at a path and checks status, type and body of the answer against the document.
func (k *contract) holds(method, path, target, body string, want int) {
	k.r.t.Helper()
	status, kind, answer := k.r.raw(method, target, body)
	name := fmt.Sprintf("%s %s %.60s: %d", method, target, body, status)
	if status != want {
		k.r.t.Errorf("%s, want %d: %.300s", name, want, answer)
		return
	}
	where := []string{"paths", path, strings.ToLower(method), "responses", fmt.Sprint(status)}
	if ref, ok := k.at(append(where, "$ref")...).(string); ok {
		where = strings.Split(strings.TrimPrefix(ref, "#/"), "/")
	}
	if k.at(where...) == nil {
		k.r.t.Errorf("%s: the status is not in the document", name)
		return
	}
	if k.at(append(where, "content")...) == nil {
		if len(answer) > 0 {
			k.r.t.Errorf("%s: a body that is not in the document: %.300s", name, answer)
		}
		return
	}
	where = append(where, "content", kind, "schema")
	if k.at(where...) == nil {
		k.r.t.Errorf("%s: %q is not in the document", name, kind)
		return
	}
	s, err := k.c.Compile(pointer(where...))
	if err != nil {
		k.r.t.Fatal(err)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(answer))
	if err != nil {
		k.r.t.Errorf("%s: %v", name, err)
		return
	}
	if err := s.Validate(v); err != nil {
		k.r.t.Errorf("%s: %.2000s", name, err)
	}
}

// TestContract: the answers of a server that has published, delivered, failed, replayed and been changed are what its
// own document says, to a validator of somebody else's.
func TestContract(t *testing.T) {
	accept := func(http.Header, []byte) error { return nil }
	good := newSink(t, http.StatusOK, accept)
	bad := newSink(t, http.StatusBadRequest, accept)
	t.Cleanup(func() {
		good.down(t)
		bad.down(t)
	})
	r := newRig(t, "[delivery]\nreject_attempts=1\n[endpoint.good]\nurl=http://"+good.addr+"/g\nhistory=1\n[endpoint.bad]\nurl=http://"+bad.addr+"/b\nevents=on_flow_report\n", "")
	k := r.contract()
	for name := range k.at("components", "schemas").(map[string]any) {
		if _, err := k.c.Compile(pointer("components", "schemas", name)); err != nil {
			t.Errorf("schema %s: %v", name, err)
		}
	}
	r.publish(16)
	r.wait("dead letters", func() bool {
		m := r.call(http.MethodGet, "/api/v1/dead-letters?endpoint=bad", "", http.StatusOK)
		letters, _ := m["deadLetters"].([]any)
		return len(letters) >= 2
	})
	m := r.call(http.MethodGet, "/api/v1/dead-letters?endpoint=bad", "", http.StatusOK)
	letter := func(i int) string {
		return fmt.Sprint("/dead-letters/bad/", int64(m["deadLetters"].([]any)[i].(map[string]any)["position"].(float64)))
	}
	const one, letterPath = "/endpoints/{name}", "/dead-letters/{endpoint}/{position}"
	stream := "/streams/__defaultVhost__/live/s_1/timeline"
	for _, c := range []struct {
		method, path, target, body string
		status                     int
	}{
		{"POST", "/endpoints", "/endpoints", `{"name":"new","url":"http://192.0.2.1/","rate":5,"events":["on_flow_report"],"header":{"X-A":"b"},"paused":true}`, 201},
		{"POST", "/endpoints", "/endpoints", `{"name":"new","url":"http://192.0.2.1/"}`, 409},
		{"POST", "/endpoints", "/endpoints", `{"name":"other"}`, 400},
		{"POST", "/endpoints", "/endpoints", `{"name":"other","url":"ftp://x","rate":"fast","colour":"red"}`, 400},
		{"PATCH", one, "/endpoints/new", `{"rate":null,"format":"cloudevents"}`, 200},
		{"PUT", one, "/endpoints/new", `{"url":"http://192.0.2.1/","paused":true,"secret":"` + event.GenerateSecret().Reveal() + `"}`, 200},
		{"PUT", one, "/endpoints/good", `{"url":"http://192.0.2.1/"}`, 409},
		{"POST", one + "/resume", "/endpoints/good/resume", "", 200},
		{"GET", "/endpoints", "/endpoints", "", 200},
		{"GET", one, "/endpoints/bad", "", 200},
		{"GET", one, "/endpoints/hook", "", 200},
		{"DELETE", one, "/endpoints/new", "", 204},
		{"GET", one, "/endpoints/new", "", 404},
		{"GET", "/events", "/events?limit=1000", "", 200},
		{"GET", "/events", "/events?limit=1000&order=desc", "", 200},
		{"GET", "/events", "/events?type=on_admin_action", "", 200},
		{"GET", "/events", "/events?limit=none", "", 400},
		{"GET", "/streams/{stream}/timeline", stream, "", 200},
		{"GET", "/streams/{stream}/timeline", "/streams/none/timeline", "", 404},
		{"GET", "/attempts", "/attempts?limit=1000", "", 200},
		{"GET", "/attempts", "/attempts?endpoint=bad&result=rejected", "", 200},
		{"GET", "/journal", "/journal", "", 200},
		{"GET", "/snapshot", "/snapshot", "", 200},
		{"GET", "/gaps", "/gaps", "", 200},
		{"GET", "/queues", "/queues", "", 200},
		{"POST", "/backups", "/backups", `{"name":"one"}`, 201},
		{"GET", "/backups", "/backups", "", 200},
		{"DELETE", "/backups/{name}", "/backups/one", "", 204},
		{"GET", "/dead-letters", "/dead-letters", "", 200},
		{"GET", letterPath, letter(0), "", 200},
		{"POST", letterPath + "/redrive", letter(0) + "/redrive", "", 202},
		{"POST", "/dead-letters/redrive", "/dead-letters/redrive", `{"endpoint":"bad"}`, 202},
		{"DELETE", letterPath, letter(1) + "?reason=test", "", 204},
		{"POST", "/replays", "/replays", `{"endpoint":"good","dryRun":true}`, 200},
		{"POST", "/replays", "/replays", `{"endpoint":"good"}`, 201},
		{"POST", "/replays", "/replays", `{"endpoint":"good","from":900000000,"to":900000001}`, 409},
		{"GET", "/replays", "/replays", "", 200},
		{"GET", "/replays/{id}", "/replays/none", "", 404},
	} {
		k.holds(c.method, c.path, c.target, c.body, c.status)
	}
}

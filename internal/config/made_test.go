package config

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hookline/hookline/event"
)

func edit(name string, kv ...string) EndpointEdit {
	e := EndpointEdit{Name: name, Keys: map[string]*string{}}
	for i := 0; i < len(kv); i += 2 {
		e.Keys[kv[i]] = &kv[i+1]
	}
	return e
}

func TestEditEndpoint(t *testing.T) {
	o := open(t, "[endpoint.mine]\nurl=http://10.0.0.1/\n")
	before := o.content(t)
	secret := event.GenerateSecret().Reveal()
	created, err := o.EditEndpoint(edit("billing", "url", "https://joe:hunter2@billing.example/hook?key=hunter3", "secret", secret,
		"header.X-Key", "hunter4", "events", "on_flow_report"))
	if err != nil || !created {
		t.Fatal(created, err)
	}
	e := o.Config().Endpoint("billing")
	if e == nil || !e.Made || o.Config().Endpoint("mine").Made || e.URLs[event.OnFlowReport] == "" {
		t.Fatalf("%+v", e)
	}
	if o.content(t) != before {
		t.Error("the operator's file was written")
	}
	for k, v := range e.Shown() {
		if strings.Contains(v, "hunter") || strings.Contains(v, secret) {
			t.Errorf("%s = %s", k, v)
		}
	}
	// What is shown can be given back: secrets stay.
	again := EndpointEdit{Name: "billing", Keys: map[string]*string{}, Replace: true}
	for k, v := range e.Shown() {
		again.Keys[k] = &v
	}
	if created, err := o.EditEndpoint(again); err != nil || created {
		t.Fatal(created, err)
	}
	if got := o.Config().Endpoint("billing").Keys; !maps.Equal(got, e.Keys) {
		t.Errorf("%v", got)
	}
	// One key is changed, one taken away; the rest stays.
	change := edit("billing", "rate", "5")
	change.Keys["header.X-Key"] = nil
	if _, err := o.EditEndpoint(change); err != nil {
		t.Fatal(err)
	}
	e = o.Config().Endpoint("billing")
	if e.Rate != 5 || len(e.Header) != 0 || len(e.Secrets) != 1 {
		t.Errorf("%+v", e)
	}
	// It outlives a restart.
	o2 := reopen(t, o.path, o.state)
	if got := o2.Config().Endpoint("billing"); got == nil || !got.Made || !maps.Equal(got.Keys, e.Keys) {
		t.Errorf("%+v", got)
	}
	if st, err := os.Stat(filepath.Join(o.state, madeFile)); err != nil || st.Mode().Perm() != 0o600 {
		t.Error(st, err)
	}
	// A section in the file comes first, and is the operator's.
	o2.rewrite(t, before+"[endpoint.billing]\nurl=http://10.0.0.2/\n")
	if err := o2.Reload(); err != nil {
		t.Fatal(err)
	}
	if got := o2.Config().Endpoint("billing"); got.Made || got.Rate != 0 || len(got.Keys) != 1 {
		t.Errorf("%+v", got)
	}
	if _, err := o2.EditEndpoint(edit("billing", "rate", "6")); !errors.Is(err, ErrFileEndpoint) {
		t.Error(err)
	}
	if err := o2.RemoveEndpoint("billing", nil); !errors.Is(err, ErrFileEndpoint) {
		t.Error(err)
	}
	o2.rewrite(t, before)
	if err := o.RemoveEndpoint("billing", nil); err != nil {
		t.Error(err)
	}
	if err := o.RemoveEndpoint("billing", nil); !errors.Is(err, ErrNoEndpoint) {
		t.Error(err)
	}
	if o.Config().Endpoint("billing") != nil || strings.Contains(o.log.String(), "hunter") {
		t.Error("it is still there, or was logged")
	}
}

// TestEditEndpointRefusals: what the file refuses the API refuses, with the name of the key, and nothing is changed.
func TestEditEndpointRefusals(t *testing.T) {
	o := open(t, "")
	state := func() string {
		b, _ := os.ReadFile(filepath.Join(o.state, madeFile))
		return string(b)
	}
	if _, err := o.EditEndpoint(edit("a", "url", "https://x/")); err != nil {
		t.Fatal(err)
	}
	before := state()
	long := strings.Repeat("x", maxValueBytes+1)
	for _, c := range []struct{ name, key, value, field string }{
		{"a", "url", "ftp://joe:hunter2@x", "endpoint.a.url"},
		{"a", "url", "", "endpoint.a.url"},
		{"b", "rate", "1", "endpoint.b.url"},
		{"a", "rate", "fast", "endpoint.a.rate"},
		{"a", "colour", "red", "endpoint.a.colour"},
		{"a", "url", "https://x/\n[api]\nsecret=y", "endpoint.a.url"},
		{"a", "header.X", "a\r\nb", "endpoint.a.header.X"},
		{"a", "header.X", "\xff\xfe", "endpoint.a.header.X"},
		{"a", "header.X", long, "endpoint.a.header.X"},
		{"a", "x=y\n[b", "1", "endpoint.a"},
		{"a", ";url", "1", "endpoint.a"},
		{"a", strings.Repeat("k", 1<<10), "1", "endpoint.a"},
		{"a", "client_cert", "/none.pem", "endpoint.a.client_cert"},
		{"a", "ca_file", "/none.pem", "endpoint.a.ca_file"},
		{"a", "proxy", "ftp://x", "endpoint.a.proxy"},
		{"a", "proxy", "http://x/path", "endpoint.a.proxy"},
		{"a", "basic", "nocolon", "endpoint.a.basic"},
		{"hook", "url", "http://x", "endpoint.hook"},
		{"A/../b", "url", "http://x", "endpoint.A/../b"},
		{"", "url", "http://x", "endpoint."},
	} {
		_, err := o.EditEndpoint(edit(c.name, c.key, c.value))
		var errs Errors
		if !errors.As(err, &errs) || !slices.ContainsFunc(errs, func(e *ValueError) bool { return e.Key == c.field && e.Allowed != "" }) {
			t.Errorf("%s %s=%.40q: %v", c.name, c.key, c.value, err)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the message shows the secret: %v", err)
		}
	}
	// A file takes an empty section for none: it must not be kept as an endpoint that never starts.
	bare := edit("a")
	bare.Keys["url"] = nil
	for _, e := range []EndpointEdit{edit("empty"), {Name: "a", Replace: true}, bare} {
		_, err := o.EditEndpoint(e)
		var errs Errors
		if !errors.As(err, &errs) || errs[0].Key != "endpoint."+e.Name+".url" {
			t.Errorf("%s without any key: %v", e.Name, err)
		}
	}
	if state() != before {
		t.Errorf("something was changed:\n%s", state())
	}
	refused := errors.New("no")
	e := edit("a", "rate", "2")
	e.Allow = func(now *Endpoint) error {
		if now == nil || now.Name != "a" {
			t.Errorf("%+v", now)
		}
		return refused
	}
	if _, err := o.EditEndpoint(e); !errors.Is(err, refused) || state() != before {
		t.Error(err)
	}
}

func TestCrossedKeys(t *testing.T) {
	o := open(t, "")
	for _, c := range []struct {
		keys  []string
		field string
	}{
		{[]string{"url", "nats://10.0.0.1", "proxy", "http://p:1"}, "proxy"},
		{[]string{"url", "kafka://10.0.0.1", "bearer", "x"}, "bearer"},
		{[]string{"url", "redis://10.0.0.1", "basic", "a:b"}, "basic"},
		{[]string{"url", "http://10.0.0.1", "ca_file", "/x"}, "ca_file"},
		{[]string{"url", "https://10.0.0.1", "client_key", "/x"}, "client_key"},
		{[]string{"url", "https://a:b@10.0.0.1", "bearer", "x"}, "bearer"},
		{[]string{"url", "https://10.0.0.1", "bearer", "x", "basic", "a:b"}, "basic"},
	} {
		_, err := o.EditEndpoint(edit("a", c.keys...))
		var errs Errors
		if !errors.As(err, &errs) || !slices.ContainsFunc(errs, func(e *ValueError) bool { return e.Key == "endpoint.a."+c.field }) {
			t.Errorf("%q: %v", c.keys, err)
		}
	}
	// In a file a missing certificate is a warning: it must not keep the server from starting.
	o = open(t, "[endpoint.a]\nurl=https://x/\nca_file=/none.pem\n")
	if w := o.Config().Warnings(); !slices.ContainsFunc(w, func(w Warning) bool { return w.Key == "endpoint.a.ca_file" && w.Line == 3 }) {
		t.Errorf("%v", w)
	}
}

// TestSetLeavesEndpoints: who reads the configuration and writes it back changes nothing, and no URL of an endpoint.
func TestSetLeavesEndpoints(t *testing.T) {
	o := open(t, "[endpoint.a]\nurl=https://joe:hunter2@x/\nsecret="+event.GenerateSecret().Reveal()+"\n")
	if _, err := o.EditEndpoint(edit("b", "url", "https://x/", "bearer", "hunter4")); err != nil {
		t.Fatal(err)
	}
	before := o.content(t)
	all := o.Config().All()
	if n, err := o.Set(all); n != 0 || err != nil || o.content(t) != before {
		t.Errorf("%d %v", n, err)
	}
	for _, key := range []string{"endpoint.a.url", "endpoint.b.url"} {
		if n, err := o.Set(map[string]string{key: "http://127.0.0.1/"}); n != 0 || err == nil {
			t.Errorf("%s: %d %v", key, n, err)
		}
	}
}

func TestDamagedMadeFile(t *testing.T) {
	state := t.TempDir()
	if err := os.WriteFile(filepath.Join(state, madeFile), []byte("[api]\nsecret=x\n[endpoint.a]\nurl=gopher://x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(Options{Path: write(t, ""), Environ: []string{"HOOKLINE_SERVER_STATE_DIR=" + state}})
	if err == nil || !strings.Contains(err.Error(), "endpoints.ini:2") || !strings.Contains(err.Error(), "endpoints.ini:4") {
		t.Error(err)
	}
}

func TestThousandMadeEndpoints(t *testing.T) {
	o := open(t, "")
	for i := range MaxEndpoints {
		// All but the last few at once: each edit writes the whole file.
		m := o.made
		m.all[fmt.Sprintf("e%d", i)] = map[string]string{"url": "https://x/"}
	}
	delete(o.made.all, "e999")
	if _, err := o.EditEndpoint(edit("e999", "url", "https://y/")); err != nil {
		t.Fatal(err)
	}
	if n := len(o.Config().Endpoints); n != MaxEndpoints {
		t.Fatal(n)
	}
	_, err := o.EditEndpoint(edit("more", "url", "https://y/"))
	if err == nil || !strings.Contains(err.Error(), "at most 1000") {
		t.Error(err)
	}
}

package config

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hookline/hookline/event"
)

func TestEndpointSections(t *testing.T) {
	secret := event.GenerateSecret().Reveal()
	file := filepath.Join(t.TempDir(), "config.ini")
	text := `[hook]
enable=1
on_play=http://127.0.0.1/p

[endpoint.billing]
url=http://127.0.0.1:9/billing
events=on_flow_report, on_publication_*
streams=live/paid-*
format=cloudevents
secret=` + secret + `
header.X-Team=billing
history=1
timeout_ms=2500
concurrency=4
rate=50
batch=50
batch_bytes=65536
batch_wait_ms=20
start=beginning

[endpoint.ops]
on_stream_changed=https://joe:` + "hunter2" + `@ops.example/changed
paused=1
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Endpoints) != 2 {
		t.Fatalf("%+v", c.Endpoints)
	}
	b, ops := c.Endpoints[0], c.Endpoints[1]
	if b.Name != "billing" || b.URLs[event.OnFlowReport] == "" || b.URLs[event.OnPublicationEnded] == "" ||
		b.URLs[event.OnEventGap] == "" || len(b.URLs) != 3 || !slices.Equal(b.Streams, []string{"live/paid-*"}) ||
		b.Format != "cloudevents" || b.Secrets[0] != secret || b.Header["X-Team"] != "billing" || !b.History ||
		b.Timeout.Milliseconds() != 2500 || b.Concurrency != 4 || b.Rate != 50 || b.Batch != 50 || b.BatchBytes != 65536 ||
		b.BatchWait.Milliseconds() != 20 || b.Start != "beginning" {
		t.Errorf("%+v", b)
	}
	if ops.Name != "ops" || len(ops.URLs) != 1 || !ops.Paused || ops.Format != "zlm" {
		t.Errorf("%+v", ops)
	}
	if len(c.Warnings()) != 0 {
		t.Errorf("%v", c.Warnings())
	}
	for k, v := range c.All() {
		if strings.Contains(v, secret) || strings.Contains(v, "hunter2") {
			t.Errorf("%s shows the secret", k)
		}
	}
}

func TestEndpointRefusals(t *testing.T) {
	for _, c := range []struct{ section, line, allowed string }{
		{"endpoint.a", "url=ftp://x", "http"},
		{"endpoint.a", "url=", "http"},
		{"endpoint.a", "url=ftp://joe:hunter2@x", "queue"},
		{"endpoint.a", "format=xml", "cloudevents"},
		{"endpoint.a", "events=on_nothing", "on_stream_changed"},
		{"endpoint.a", "secret=hunter2", "whsec_"},
		{"endpoint.a", "rate=-1", "requests per second"},
		{"endpoint.a", "concurrency=65", "1 to 64"},
		{"endpoint.a", "timeout_ms=0", "600000"},
		{"endpoint.a", "batch=0", "1 (one by one) to 1000"},
		{"endpoint.a", "batch=1001", "1 (one by one) to 1000"},
		{"endpoint.a", "batch_bytes=4095", "8388608"},
		{"endpoint.a", "batch_wait_ms=-1", "10000 ms"},
		{"endpoint.a", "url=http://x\nbatch=2", "batches need format=cloudevents"},
		{"endpoint.a", "url=http://x\nformat=zlm\nbatch=50", "batches need format=cloudevents"},
		{"endpoint.a", "url=redis://x/0\nformat=cloudevents\nbatch=50", "queue"},
		{"endpoint.a", "policy=maybe", "block"},
		{"endpoint.a", "start=tomorrow", "beginning"},
		{"endpoint.a", "colour=red", "one of the keys"},
		{"endpoint.a", "history=perhaps", "0 or 1"},
		{"endpoint.A b", "url=http://x", "NAME is of"},
		{"endpoint.hook", "url=http://x", "not \"hook\""},
		{"endpoint.a", "paused=1", "the section has none"},
	} {
		file := filepath.Join(t.TempDir(), "config.ini")
		if err := os.WriteFile(file, []byte("["+c.section+"]\n"+c.line+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Load(file, nil)
		var errs Errors
		if !errors.As(err, &errs) || !strings.Contains(err.Error(), c.allowed) {
			t.Errorf("%s %s: %v", c.section, c.line, err)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the message shows the secret: %v", err)
		}
	}
}

package delivery_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hookline/hookline/internal/delivery"
	"github.com/hookline/hookline/internal/webhook"
)

// page is a log that many write.
type page struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (p *page) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.buf.Write(b)
}

// lines returns the lines that contain text.
func (p *page) lines(text string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []string
	for line := range strings.Lines(p.buf.String()) {
		if strings.Contains(line, text) {
			out = append(out, line)
		}
	}
	return out
}

// TestComplaints: who reads the log learns of events that wait, before they are given up, and is not buried in it.
func TestComplaints(t *testing.T) {
	const said = "is not accepted and tried again"
	var log page
	run(t, func(c *delivery.Config) { c.BackoffMin, c.BackoffMax = time.Second, time.Minute }, func(r *rig) {
		r.log = slog.NewTextHandler(&log, nil)
		r.restart()
		failed := map[string]bool{}
		r.recv.set(func(b body, _ string) webhook.Reply {
			if b.Event.Stream == key("once") && !failed["once"] {
				failed["once"] = true
				return status(500)
			}
			if strings.HasPrefix(b.Event.Stream, key("bad")) {
				return webhook.Reply{Status: 200, Body: []byte("<html>")}
			}
			return ok()
		})
		r.raise("once", 1)
		time.Sleep(time.Minute)
		if got := log.lines(said); len(got) != 0 {
			t.Fatalf("one failure is an accident: %q", got)
		}
		for i := range 100 {
			r.raise(fmt.Sprintf("bad%d", i), 1)
		}
		r.raise("good", 1)
		time.Sleep(30 * time.Second)
		got := log.lines(said)
		if len(got) != 1 {
			t.Fatalf("%d lines: %q", len(got), got)
		}
		for _, want := range []string{"level=WARN", "url=http://receiver/on_flow_report", "stream=" + key("bad"), "attempt=2", "not a JSON object"} {
			if !strings.Contains(got[0], want) {
				t.Errorf("%s does not say %s", got[0], want)
			}
		}
		time.Sleep(time.Minute)
		got = log.lines(said)
		if len(got) != 2 || strings.Contains(got[1], "more_failures_before=0") {
			t.Errorf("after a minute: %q", got)
		}
	})
}

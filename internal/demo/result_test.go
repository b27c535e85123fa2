package demo

import (
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/config"
	"github.com/hookline/hookline/internal/ordercheck"
	"github.com/hookline/hookline/internal/receivertool"
)

const wantTable = `
                                 Hookline   racing sender (simulated)
  events                             2400           2400
  delivered                          2399           2300
  out of order                          0            500
  lost                                  1            100
  named in gap notices                  0              -
  other violations                      0              -
  duplicates on the wire                3              -
  latency p50, healthy             1.0 ms              -
  latency p99, healthy             3.0 ms              -
  latency p50, all                 2.5 ms              -
  latency p99, all              9000.0 ms              -

  600 publications (20 resumed by another session), 90 attempts refused, receiver away for 9.5 s,
  1 crash with 12 live publications and 100 events waiting. 3100 requests, 300 answered 500, 30 left hanging.
`

func TestTable(t *testing.T) {
	r := Result{
		Events: 2400, Delivered: 2399, DuplicatesOnWire: 3, Lost: 1,
		Publications: 600, Resumed: 20, Refused: 90, Uncertain: 4,
		Latency: Latency{P50: 2.5, P99: 9000}, LatencyHealthy: Latency{P50: 1, P99: 3},
		Crashes: 1, LiveAtCrash: 12, BacklogAtCrash: 100, OutageSeconds: 9.5,
		Requests:     receivertool.Snapshot{Requests: 3100, Failed: 300, Hung: 30},
		Racing:       Racing{Simulated: true, Events: 2400, Delivered: 2300, OutOfOrder: 500, Lost: 100},
		LostExamples: []ordercheck.Fact{{Stream: "__defaultVhost__/demo/a", Params: "pub=1", Type: event.OnPublicationEnded}},
	}
	got := r.Table(false)
	if !strings.HasPrefix(got, wantTable) {
		t.Errorf("got:\n%s\nwant:\n%s", got, wantTable)
	}
	for _, part := range []string{
		"is a simulation with the same facts", "Of 4 publications not every fact is certain",
		"lost: on_publication_ended of __defaultVhost__/demo/a (pub=1)",
	} {
		if !strings.Contains(got, part) {
			t.Errorf("no %q in:\n%s", part, got)
		}
	}
	if strings.Contains(got, "\x1b") || !strings.Contains(r.Table(true), "\x1b[1;31m") {
		t.Error("colours")
	}
}

func TestVerdict(t *testing.T) {
	for _, c := range []struct {
		name   string
		report ordercheck.Report
		o      outcome
		lost   int
		ok     bool
	}{
		{name: "good", ok: true},
		{name: "out of order", report: ordercheck.Report{Violations: map[ordercheck.Kind]int{ordercheck.OutOfOrder: 1}}},
		{name: "a gap", report: ordercheck.Report{Violations: map[ordercheck.Kind]int{ordercheck.Gap: 1}}},
		{name: "never ended", report: ordercheck.Report{Open: 1, OpenExamples: []string{"a b"}}},
		{name: "event of a refused attempt", o: outcome{unexpected: make([]ordercheck.Fact, 1)}},
		{name: "lost", lost: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := Result{Lost: c.lost}
			r.count(c.report, c.o, ordercheck.Loss{Lost: make([]ordercheck.Fact, c.lost)})
			if err := r.verdict(); r.OK != c.ok || errors.Is(err, ErrBroken) == c.ok {
				t.Errorf("%+v: %v", r, err)
			}
		})
	}
}

// TestEnvironment: the server refuses variables that it does not know.
func TestEnvironment(t *testing.T) {
	t.Setenv("HOOKLINE_HOOK_ON_PLAY", "http://example.com/mine")
	r, err := receivertool.Start(t.Context(), receivertool.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c, err := newCommand([]string{"x"}, t.TempDir(), r)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if c.rtmp == c.http || net.ParseIP(strings.Split(c.rtmpAddr(), ":")[0]) == nil {
		t.Errorf("ports %d and %d", c.rtmp, c.http)
	}
	known := map[string]string{}
	for _, k := range config.Keys() {
		known[strings.ToUpper(config.EnvName(k.Name))] = k.Name
	}
	set := map[string]string{}
	for _, v := range c.env {
		name, value, _ := strings.Cut(v, "=")
		if !strings.HasPrefix(name, "HOOKLINE_") {
			continue
		}
		if known[name] == "" {
			t.Errorf("%s is no key", name)
		}
		if set[name] != "" {
			t.Errorf("%s is there twice", name)
		}
		set[name] = value
	}
	if got := set["HOOKLINE_HOOK_ON_PLAY"]; got != r.URL(event.OnPlay) {
		t.Errorf("on_play goes to %q", got)
	}
	if set["HOOKLINE_GENERAL_FLOWTHRESHOLD"] != "0" || set["HOOKLINE_GENERAL_LISTEN_IP"] != "127.0.0.1" {
		t.Errorf("%v", set)
	}
}

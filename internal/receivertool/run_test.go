package receivertool

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/ordercheck"
)

// run runs a receiver, posts bodies to its hooks, stops it, and returns what was printed.
func run(t *testing.T, cfg Config, hook event.Type, bodies ...string) (string, error) {
	t.Helper()
	var out, notes buffer
	cfg.Out, cfg.Err, cfg.Addr = &out, &notes, "127.0.0.1:0"
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error)
	go func() { done <- Run(ctx, cfg) }()
	addr := ""
	for addr == "" {
		if _, rest, ok := strings.Cut(notes.String(), "http://"); ok {
			addr, _, _ = strings.Cut(rest, "/")
		}
		time.Sleep(time.Millisecond)
	}
	c := client(t)
	for _, body := range bodies {
		status, answer, err := post(t.Context(), c, "http://"+addr+"/index/hook/"+string(hook), body)
		if err != nil || status != 200 {
			t.Fatal(status, answer, err)
		}
	}
	cancel()
	err := <-done
	return out.String(), err
}

func TestRun(t *testing.T) {
	strict := ordercheck.Options{Since: time.Unix(1, 0)}
	tests := []struct {
		name   string
		cfg    Config
		bodies []string
		fails  bool
		prints []string
	}{
		{"clean", Config{Check: true, Order: strict}, []string{changed("v/l/a", 1), changed("v/l/a", 2)}, false, []string{"no violation", "2 accepted"}},
		{"a gap", Config{Check: true, Order: strict}, []string{changed("v/l/a", 2)}, true, []string{"1 VIOLATIONS: gap 1"}},
		{"a gap, unchecked", Config{Order: strict}, []string{changed("v/l/a", 2)}, false, []string{"1 VIOLATIONS: gap 1"}},
		{"a server that has run before", Config{Check: true}, []string{changed("v/l/a", 2)}, false, []string{"no violation"}},
		{"quiet", Config{Quiet: true}, []string{changed("v/l/a", 1)}, false, []string{"\n1 requests: 1 accepted"}},
		{"not from Hookline", Config{Check: true}, []string{`{"app":"live","stream":"x","regist":false}`}, true, []string{"1 carry no order fields", "live/x", "unregister"}},
		{"coloured", Config{Color: ColorAlways}, []string{changed("v/l/a", 1)}, false, []string{green + "register s1" + reset}},
		{"nothing", Config{Check: true}, nil, false, []string{"0 requests"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out, err := run(t, tt.cfg, event.OnStreamChanged, tt.bodies...)
			if errors.Is(err, ErrViolations) != tt.fails || (err != nil) != tt.fails {
				t.Errorf("err = %v", err)
			}
			for _, want := range tt.prints {
				if !strings.Contains(out, want) {
					t.Errorf("%q is missing in\n%s", want, out)
				}
			}
			if tt.cfg.Color == ColorAuto && strings.Contains(out, "\x1b") {
				t.Errorf("coloured:\n%q", out)
			}
		})
	}
}

func TestRunJSON(t *testing.T) {
	out, err := run(t, Config{JSON: true}, event.OnStreamChanged, changed("v/l/a", 1))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 2 {
		t.Fatalf("%d lines: %s", len(lines), out)
	}
	var last struct{ Summary *Summary }
	if err := json.Unmarshal([]byte(lines[1]), &last); err != nil || last.Summary == nil || last.Summary.Order.Events != 1 {
		t.Errorf("%v in %s", err, lines[1])
	}
}

func TestRunStagesOutages(t *testing.T) {
	var notes buffer
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		done <- Run(ctx, Config{
			Err:     &notes,
			Outages: []Outage{{At: time.Millisecond, For: time.Millisecond}, {At: 3 * time.Millisecond, For: time.Millisecond}, {At: time.Hour, For: time.Hour}},
		})
	}()
	for strings.Count(notes.String(), "outage is over") < 2 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if got := strings.Count(notes.String(), "refusing connections"); got != 2 {
		t.Errorf("%d outages: %s", got, notes.String())
	}
}

func TestRunRefusesABadConfig(t *testing.T) {
	if err := Run(t.Context(), Config{Faults: Faults{FailRate: 2}}); err == nil {
		t.Error("accepted")
	}
}

func TestText(t *testing.T) {
	p := newPrinter(Config{})
	parse := func(body string) *ordercheck.Body {
		b, err := ordercheck.Parse([]byte(body))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	gap := `{"from":2,"to":3,"count":2,"types":["on_play"],"reason":"expired",` + envelope(event.OnEventGap, "v/l/a", 0) + `}`
	tests := []struct {
		got  Received
		want []string
	}{
		{Received{Hook: event.OnPlay, Outcome: Accepted, Parsed: parse(`{"hook_index":1,` + envelope(event.OnPlay, "__defaultVhost__/live/a", 0) + `}`)}, []string{" live/a ", "- (after 4)", "asked"}},
		{Received{Hook: event.OnPlay, Outcome: Accepted, Parsed: parse(`{"hook_index":1,` + envelope(event.OnPlay, "v/l/a", 5) + `}`)}, []string{"5 (prev 4)", "decided"}},
		{Received{Hook: event.OnFlowReport, Outcome: Failed, Attempt: 3, Parsed: parse(`{"player":false,` + envelope(event.OnFlowReport, "", 5) + `}`)}, []string{"(server)", "publisher", "-> 500 on purpose", "attempt 3"}},
		{Received{Hook: event.OnPublicationEnded, Outcome: Hung, Parsed: parse(`{"reason":"kicked",` + envelope(event.OnPublicationEnded, "v/l/a", 5) + `}`)}, []string{"kicked", "-> no answer"}},
		{Received{Hook: event.OnEventGap, Outcome: Accepted, Late: true, Parsed: parse(gap)}, []string{"GAP 2..3: 2 events will not come (expired)", "late"}},
		{Received{Hook: event.OnRecordMP4, Outcome: Abandoned, Latency: 2 * time.Second, Parsed: parse(`{` + envelope(event.OnRecordMP4, "v/l/a", 5) + `}`)}, []string{"-> the sender gave up", "after 2s"}},
	}
	for _, tt := range tests {
		line := p.text(&tt.got)
		for _, want := range tt.want {
			if !strings.Contains(line, want) {
				t.Errorf("%q is missing in %q", want, line)
			}
		}
	}
	if got := clean("a\x1b[31m\n\u202eb" + strings.Repeat("c", 200)); strings.ContainsAny(got, "\x1b\n\u202e") || len(got) > 90 {
		t.Errorf("%q", got)
	}
}

func TestTerminal(t *testing.T) {
	if terminal(nil) || terminal(&buffer{}) {
		t.Error("not a terminal")
	}
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if terminal(f) {
		t.Error("a file is not a terminal")
	}
}

func TestHistogram(t *testing.T) {
	var h histogram
	if h.quantile(0.5) != 0 {
		t.Error("empty")
	}
	for i := 1; i <= 1000; i++ {
		h.add(time.Duration(i) * time.Millisecond)
	}
	h.add(-time.Second)
	for q, want := range map[float64]time.Duration{0.5: 500 * time.Millisecond, 0.99: 990 * time.Millisecond, 1: time.Second} {
		if got := h.quantile(q); got < want || got > want*107/100 {
			t.Errorf("quantile %v = %v, want about %v", q, got, want)
		}
	}
	for us := uint64(0); us < 1<<20; us += 7 {
		d := time.Duration(us) * time.Microsecond
		if i := bucket(us); upper(i) < d || (i > 0 && upper(i-1) >= d) {
			t.Fatalf("%d µs is in bucket %d, which ends at %v", us, i, upper(i))
		}
	}
	h.add(1<<63 - 1)
}

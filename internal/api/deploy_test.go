package api

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/attempts"
	"github.com/hookline/hookline/internal/decision"
	"github.com/hookline/hookline/internal/journal"
	"github.com/hookline/hookline/internal/sequencer"
	"github.com/hookline/hookline/internal/stream"
)

// exported returns the labels of every metric that /metrics can have, by name.
func exported(t *testing.T) (known map[string][]string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { known = export(t) }) // in virtual time: an answer that takes long is none
	return known
}

func export(t *testing.T) map[string][]string {
	t.Helper()
	m := NewMetrics()
	sessions := NewSessions()
	defer sessions.Add(Session{TypeID: "x"})()
	m.Watch(Sources{
		Sequencer: func() sequencer.Stats { return sequencer.Stats{} }, Journal: func() journal.Info { return journal.Info{} },
		Healthy: func() error { return nil }, Endpoints: func() []EndpointStats { return []EndpointStats{{Name: "e"}} },
		DeadLetters: func() map[string]int { return map[string]int{"e": 1} },
		Replays:     func() []ReplayInfo { return []ReplayInfo{{Endpoint: "e", State: ReplayRunning}} },
		Hub:         func() stream.Stats { return stream.Stats{} }, Sessions: sessions,
		Traffic: func() (uint64, uint64) { return 0, 0 }, CertificateExpiry: time.Now,
	})
	o, d := m.DeliveryObserver(), m.DecisionObserver()
	o.Attempt(attempts.Attempt{Endpoint: "e"})
	o.Delivered("e", event.OnPlay, time.Now())
	o.DeadLetter("e", event.ReasonGone)
	o.Gap("e", event.ReasonGone)
	d.AttemptDone(attempts.Attempt{})
	d.DecisionDone(decision.Decision{})
	m.Committed(time.Second)
	w := newWorld(t, func(d *Deps) { d.Metrics = m })
	out := map[string][]string{}
	label := regexp.MustCompile(`([a-z_]+)="`)
	for line := range strings.SplitSeq(w.serve(request(t, "GET", "/metrics", "", "")).Body.String(), "\n") {
		name, _, _ := strings.Cut(line, " ")
		if name == "#" || name == "" {
			continue
		}
		name, rest, _ := strings.Cut(line, "{")
		name, _, _ = strings.Cut(name, " ")
		labels := []string{"instance", "job"} // of the scraper
		for _, l := range label.FindAllStringSubmatch(rest, -1) {
			labels = append(labels, l[1])
		}
		out[name] = labels
	}
	if len(out) < 50 {
		t.Fatalf("only %d metrics", len(out))
	}
	return out
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// checkQuery says what a PromQL expression names that does not exist.
func checkQuery(t *testing.T, where, query string, known map[string][]string) {
	t.Helper()
	found := false
	var labels []string
	for _, m := range regexp.MustCompile(`\b((?:hookline|process|go)_\w+)(?:\{([^}]*)\})?`).FindAllStringSubmatch(query, -1) {
		found = true
		has, ok := known[m[1]]
		if !ok {
			t.Errorf("%s: there is no %s", where, m[1])
		}
		labels = append(labels, has...)
		for _, l := range regexp.MustCompile(`(\w+)\s*(?:=~|!~|!=|=)`).FindAllStringSubmatch(m[2], -1) {
			if !slices.Contains(has, l[1]) {
				t.Errorf("%s: %s has no label %s", where, m[1], l[1])
			}
		}
	}
	if !found {
		t.Errorf("%s: no metric in %q", where, query)
	}
	for _, m := range regexp.MustCompile(`\b(?:by|on) \(([^)]*)\)`).FindAllStringSubmatch(query, -1) {
		for l := range strings.SplitSeq(m[1], ", ") {
			if !slices.Contains(labels, l) {
				t.Errorf("%s: nothing in it has a label %s", where, l)
			}
		}
	}
	if strings.Count(query, "(") != strings.Count(query, ")") || strings.Count(query, "{") != strings.Count(query, "}") {
		t.Errorf("%s: unbalanced: %s", where, query)
	}
}

// The board asks only for what there is.
func TestDashboard(t *testing.T) {
	known := exported(t)
	var board struct {
		Panels []struct {
			Type, Title string
			GridPos     struct{ X, Y, W, H int }
			Targets     []struct{ Expr string }
		}
	}
	if err := json.Unmarshal([]byte(read(t, "../../deploy/grafana-dashboard.json")), &board); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, p := range board.Panels {
		if p.Type != "row" && len(p.Targets) == 0 || p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("%s: %+v", p.Title, p)
		}
		for _, q := range p.Targets {
			n++
			checkQuery(t, p.Title, strings.ReplaceAll(q.Expr, "$__rate_interval", "5m"), known)
		}
	}
	if n < 20 {
		t.Errorf("%d queries", n)
	}
}

// Every alert asks only for what there is, and docs/operations.md says what to do.
func TestAlerts(t *testing.T) {
	known := exported(t)
	rules, docs := read(t, "../../deploy/prometheus-alerts.yml"), read(t, "../../docs/operations.md")
	alerts := strings.Split(rules, "- alert: ")[1:]
	if len(alerts) < 10 {
		t.Fatalf("%d alerts", len(alerts))
	}
	for _, a := range alerts {
		name, _, _ := strings.Cut(a, "\n")
		expr := regexp.MustCompile(`(?m)^ +expr: '(.*)'$`).FindStringSubmatch(a)
		if expr == nil {
			t.Errorf("%s: no expr", name)
			continue
		}
		checkQuery(t, name, expr[1], known)
		if !strings.Contains(docs, "\n### "+name+"\n") {
			t.Errorf("docs/operations.md has no section %s", name)
		}
		if !strings.Contains(a, "docs/operations.md#"+strings.ToLower(name)+"'") || !strings.Contains(a, "summary: '") {
			t.Errorf("%s: no runbook or summary", name)
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^### (Hookline\w+)$`).FindAllStringSubmatch(docs, -1) {
		if !strings.Contains(rules, "- alert: "+m[1]+"\n") {
			t.Errorf("docs/operations.md: %s is no alert", m[1])
		}
	}
}

// Every metric is explained, or at least named, to who operates the server.
func TestMetricsAreDocumented(t *testing.T) {
	docs := read(t, "../../docs/operations.md")
	for name := range exported(t) {
		base := regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(name, "")
		if strings.HasPrefix(name, "hookline_") && !strings.Contains(docs, "`"+base+"`") {
			t.Errorf("docs/operations.md does not name %s", base)
		}
	}
}

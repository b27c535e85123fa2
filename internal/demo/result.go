package demo

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/hookline/hookline/internal/ordercheck"
	"github.com/hookline/hookline/internal/receivertool"
)

// examples bounds the lists of a Result.
const examples = 10

// Result is what the demo has measured.
type Result struct {
	// OK: nothing lost, nothing out of order, no other violation.
	OK bool `json:"ok"`
	// Events is the number of facts that are certain to the observer outside the server, Delivered of those whose event
	// the receiver accepted. Lost of the others were not even named in a gap notice, GapsNamed were.
	Events    int `json:"events"`
	Delivered int `json:"delivered"`
	// OutOfOrder counts events that were first accepted after a later one of their stream key.
	OutOfOrder int `json:"out_of_order"`
	Lost       int `json:"lost"`
	// DuplicatesOnWire counts acceptances of what was accepted before: same id, same seq.
	DuplicatesOnWire int `json:"duplicates_on_wire"`
	// Latency from the raising of an event to its first acceptance, over the whole run: the outage is in it.
	// LatencyHealthy is that of the first phase.
	Latency        Latency `json:"latency_ms"`
	LatencyHealthy Latency `json:"latency_healthy_ms"`

	// Publications were accepted, Resumed sessions continued one, Refused attempts were refused (the receiver decides,
	// and was away). Of Uncertain publications not every fact is certain; see the package comment.
	Publications int `json:"publications"`
	Resumed      int `json:"resumed"`
	Refused      int `json:"refused"`
	Uncertain    int `json:"uncertain"`

	Crashes int `json:"crashes"`
	// LiveAtCrash and BacklogAtCrash are publications and events that were under way when the server was killed.
	LiveAtCrash    int     `json:"live_at_crash"`
	BacklogAtCrash int     `json:"backlog_at_crash"`
	OutageSeconds  float64 `json:"outage_seconds"`
	GapsNamed      int     `json:"gaps_named"`
	// Violations of all kinds other than order: identity, gaps, life cycles, events that can't be.
	Violations int `json:"violations"`

	Seed    uint64 `json:"seed"`
	Seconds int    `json:"seconds"`
	Streams int    `json:"streams"`

	// Requests as the receiver counts them; its figures are those of all attempts, decisions included.
	Requests receivertool.Snapshot `json:"requests"`
	// Racing is simulated.
	Racing Racing `json:"racing_sender"`

	LostExamples      []ordercheck.Fact `json:"lost_examples,omitempty"`
	ViolationExamples []string          `json:"violation_examples,omitempty"`
}

// Latency in milliseconds. Quantiles are at most 6 % too high.
type Latency struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
}

// count takes the violations.
func (r *Result) count(report ordercheck.Report, o outcome, loss ordercheck.Loss) {
	r.OutOfOrder = report.Violations[ordercheck.OutOfOrder]
	r.DuplicatesOnWire = report.Duplicates
	r.Violations = report.Total() - r.OutOfOrder + len(o.unexpected) + report.Open
	for _, v := range report.Examples {
		r.ViolationExamples = append(r.ViolationExamples, v.String())
	}
	for _, f := range o.unexpected {
		r.ViolationExamples = append(r.ViolationExamples, fmt.Sprintf("%s %s of a refused attempt: %s", f.Type, f.What, f.Params))
	}
	for _, p := range report.OpenExamples {
		r.ViolationExamples = append(r.ViolationExamples, "never ended: "+p)
	}
	r.ViolationExamples = r.ViolationExamples[:min(examples, len(r.ViolationExamples))]
	r.LostExamples = loss.Lost[:min(examples, len(loss.Lost))]
	r.OK = r.OutOfOrder == 0 && r.Lost == 0 && r.Violations == 0
}

// verdict returns ErrBroken when a promise was broken.
func (r *Result) verdict() error {
	if r.OK {
		return nil
	}
	return fmt.Errorf("%w: %d out of order, %d lost, %d other violations", ErrBroken, r.OutOfOrder, r.Lost, r.Violations)
}

// Table returns the result as text of several lines.
func (r *Result) Table(color bool) string {
	p := palette(color)
	var b strings.Builder
	row := func(what, ours, theirs string) { fmt.Fprintf(&b, "  %-26s %s   %s\n", what, ours, theirs) }
	num := func(n int) string { return fmt.Sprintf("%12d", n) }
	good := func(n int) string {
		if n == 0 {
			return p.green(num(n))
		}
		return p.red(num(n))
	}
	none := fmt.Sprintf("%12s", "-")
	ms := func(f float64) string { return fmt.Sprintf("%12s", strconv.FormatFloat(f, 'f', 1, 64)+" ms") }
	b.WriteString("\n")
	row("", p.bold(fmt.Sprintf("%12s", "Hookline")), p.bold("racing sender (simulated)"))
	row("events", num(r.Events), num(r.Racing.Events))
	row("delivered", num(r.Delivered), num(r.Racing.Delivered))
	row("out of order", good(r.OutOfOrder), p.yellow(num(r.Racing.OutOfOrder)))
	row("lost", good(r.Lost), p.yellow(num(r.Racing.Lost)))
	row("named in gap notices", num(r.GapsNamed), none)
	row("other violations", good(r.Violations), none)
	row("duplicates on the wire", num(r.DuplicatesOnWire), none)
	row("latency p50, healthy", ms(r.LatencyHealthy.P50), none)
	row("latency p99, healthy", ms(r.LatencyHealthy.P99), none)
	row("latency p50, all", ms(r.Latency.P50), none)
	row("latency p99, all", ms(r.Latency.P99), none)
	fmt.Fprintf(&b, "\n  %d publications (%d resumed by another session), %d attempts refused, receiver away for %.1f s,\n",
		r.Publications, r.Resumed, r.Refused, r.OutageSeconds)
	fmt.Fprintf(&b, "  %d crash with %d live publications and %d events waiting. %d requests, %d answered 500, %d left hanging.\n",
		r.Crashes, r.LiveAtCrash, r.BacklogAtCrash, r.Requests.Requests, r.Requests.Failed, r.Requests.Hung)
	b.WriteString(`
  Events are the facts that the publishers, outside the server, know for certain; the journal was not asked.
  The racing sender is a simulation with the same facts: a connection and a thread per event, one retry after 3 s,
  nothing kept over a crash, as ZLMediaKit sends.
`)
	if r.Racing.LostInCrash > 0 {
		fmt.Fprintf(&b, "  %d of what it lost was in flight at the crash, or nobody was left to raise it.\n", r.Racing.LostInCrash)
	}
	if r.Uncertain > 0 {
		fmt.Fprintf(&b, "  Of %d publications not every fact is certain (within %v of the crash, or reset early); what was\n"+
			"  shown of them had to be shown to its end.\n", r.Uncertain, Settle)
	}
	for _, f := range r.LostExamples {
		fmt.Fprintf(&b, "  %s %s of %s (%s)\n", p.red("lost:"), strings.TrimSpace(string(f.Type)+" "+f.What), f.Stream, f.Params)
	}
	for _, v := range r.ViolationExamples {
		fmt.Fprintf(&b, "  %s %s\n", p.red("violation:"), v)
	}
	return b.String()
}

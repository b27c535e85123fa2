package ordercheck

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Kind is a kind of violation.
type Kind string

// The kinds of violations; see the package comment.
const (
	OutOfOrder     Kind = "out_of_order"
	Gap            Kind = "gap"
	PrevLow        Kind = "prev_low"
	Mutated        Kind = "mutated"
	SeqReused      Kind = "seq_reused"
	IndexReused    Kind = "index_reused"
	IndexDecreased Kind = "index_decreased"
	TimeDecreased  Kind = "time_decreased"
	Overlap        Kind = "overlap"
	Lifecycle      Kind = "lifecycle"
	// Malformed: the body lacks what every event has, or has what it must not have.
	Malformed Kind = "malformed"
)

// Violation is one broken promise.
type Violation struct {
	Kind   Kind   `json:"kind"`
	Source string `json:"source"`
	Epoch  int64  `json:"epoch"`
	// Stream is the key of the event, ID its id.
	Stream string `json:"stream"`
	ID     string `json:"id"`
	// Detail is one sentence for a human.
	Detail string `json:"detail"`
}

// String returns the violation as one line.
func (v Violation) String() string {
	stream := v.Stream
	if stream == "" {
		stream = "(server)"
	}
	return fmt.Sprintf("%s %q: %s [event %q]", v.Kind, stream, v.Detail, v.ID)
}

// Report is what a Checker has seen so far.
type Report struct {
	// Deliveries counts every accepted delivery.
	Deliveries int `json:"deliveries"`
	// Events counts different events with a seq; Unsequenced different decisions, questions, heartbeats and gap
	// notices.
	Events      int `json:"events"`
	Unsequenced int `json:"unsequenced"`
	// Duplicates counts deliveries of what was accepted before.
	Duplicates int `json:"duplicates"`
	// Late counts events that came after a gap notice that named them; Replayed those that a replay sent again.
	Late     int `json:"late"`
	Replayed int `json:"replayed"`
	// Unverified counts deliveries that were too old for the window of their key.
	Unverified int `json:"unverified"`
	// PrevUnknown counts events that know of no predecessor although one was accepted: their source forgot the key.
	PrevUnknown int `json:"prev_unknown"`
	// GapNotices counts announced runs, Announced the events that they name.
	GapNotices int    `json:"gap_notices"`
	Announced  uint64 `json:"announced"`
	Keys       int    `json:"keys"`
	// Publications counts those of which an event was accepted, Open those that have begun and not ended, or
	// have a schema registered.
	Publications int `json:"publications"`
	Open         int `json:"open"`
	// Violations by kind; a kind without any is absent.
	Violations map[Kind]int `json:"violations"`
	// Examples are the first violations, OpenExamples some of the open publications.
	Examples     []Violation `json:"examples,omitempty"`
	OpenExamples []string    `json:"open_examples,omitempty"`
}

// OK says that there was no violation.
func (r Report) OK() bool { return len(r.Violations) == 0 }

// Total returns the number of violations of all kinds.
func (r Report) Total() int {
	n := 0
	for _, c := range r.Violations {
		n += c
	}
	return n
}

// String returns the report as a few lines of text.
func (r Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d deliveries: %d events of %d keys and %d publications, %d without seq, %d duplicates, %d late\n",
		r.Deliveries, r.Events, r.Keys, r.Publications, r.Unsequenced, r.Duplicates, r.Late)
	if r.GapNotices > 0 {
		fmt.Fprintf(&b, "%d gap notices name %d events\n", r.GapNotices, r.Announced)
	}
	if r.OK() {
		b.WriteString("no violation")
		return b.String()
	}
	fmt.Fprintf(&b, "%d VIOLATIONS:", r.Total())
	for _, k := range slices.SortedFunc(maps.Keys(r.Violations), func(x, y Kind) int { return cmp.Compare(x, y) }) {
		fmt.Fprintf(&b, " %s %d", k, r.Violations[k])
	}
	for _, v := range r.Examples {
		b.WriteString("\n  " + v.String())
	}
	return b.String()
}

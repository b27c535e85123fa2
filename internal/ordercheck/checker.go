package ordercheck

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/hookline/hookline/event"
)

// Options of a Checker. The zero value is strict.
type Options struct {
	// Since is when the receiver began to listen. A key of a journal (epoch) that is older is taken up where it
	// stands: the prev of its first event is believed. Zero: every key is expected from its first event on.
	Since time.Time
	// Window is the number of accepted events remembered per key; 0 means 1,024.
	Window int
	// Identities is the number of recent ids and hook_indexes remembered for all keys together; 0 means 65,536.
	Identities int
	// Publications is the number of publications remembered per key; 0 means 64.
	Publications int
	// Examples is the number of violations kept for the report; 0 means 20.
	Examples int
	// Reconfigured says that the endpoint comes and changes its filter meanwhile: a repetition may then know of no
	// prev, and an event that knows of none may be in the middle of a publication.
	Reconfigured bool
	// KeepFacts remembers what was accepted for Lost.
	KeepFacts bool
}

func (o Options) withDefaults() Options {
	set := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	set(&o.Window, 1024)
	set(&o.Identities, 1<<16)
	set(&o.Publications, 64)
	set(&o.Examples, 20)
	return o
}

// Delivery is one request of a sender that the receiver accepted, or rejected.
type Delivery struct {
	Body *Body
	// Hook is the hook whose URL was called, "" when unknown.
	Hook event.Type
	// Start is when the request arrived, Finish when the answer was about to be written. Both are needed to find
	// overlaps; zero: unknown.
	Start, Finish time.Time
}

// Result says what a delivery was.
type Result struct {
	// Duplicate: it was accepted before. Late: a gap notice had named it. Baseline: its key was taken up here.
	Duplicate, Late, Baseline bool
	Violations                []Violation
}

// Checker checks the deliveries of one endpoint. It is safe for concurrent use; see the package comment for the
// order of calls.
type Checker struct {
	opt Options

	mu       sync.Mutex // guards everything below
	keys     map[keyName]*key
	ids      recent[string, identity]
	indexes  recent[indexName, string]
	facts    ledger
	report   Report
	anyEnded bool // on_publication_ended is subscribed
}

type keyName struct{ source, stream string }

type indexName struct {
	source string
	epoch  int64
	index  uint64
}

// identity is what an id must keep.
type identity struct {
	stream      string
	epoch       int64
	seq, prev   uint64
	index       uint64
	time        time.Time
	publication string
	digest      uint64
}

// New returns a Checker for one endpoint.
func New(opt Options) *Checker {
	opt = opt.withDefaults()
	return &Checker{
		opt:     opt,
		keys:    map[keyName]*key{},
		ids:     newRecent[string, identity](opt.Identities),
		indexes: newRecent[indexName, string](opt.Identities),
		facts:   newLedger(opt.KeepFacts),
		report:  Report{Violations: map[Kind]int{}},
	}
}

// Add takes a delivery at the moment at which it is accepted.
func (c *Checker) Add(d Delivery) Result {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.report.Deliveries++
	s := &step{c: c, d: d, b: d.Body, env: &d.Body.Event}
	s.run()
	return s.res
}

// Rejected takes a delivery that the receiver answered with an error: it is looked at for overlaps only.
func (c *Checker) Rejected(d Delivery) Result {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &step{c: c, d: d, b: d.Body, env: &d.Body.Event}
	if s.inLane() && !s.env.Time.IsZero() {
		s.overlap(s.key())
	}
	return s.res
}

// Unreadable counts a body that Parse refused.
func (c *Checker) Unreadable(hook event.Type, err error) Result {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.report.Deliveries++
	s := &step{c: c, env: &event.Envelope{Type: hook}}
	s.violate(Malformed, "%s: %v", hook, err)
	return s.res
}

// step is the work on one delivery; the Checker's lock is held.
type step struct {
	c   *Checker
	d   Delivery
	b   *Body
	env *event.Envelope
	res Result
}

func (s *step) run() {
	if !s.wellFormed() {
		return
	}
	if s.inLane() {
		s.overlap(s.key())
	}
	if s.known() {
		s.announce()
		return
	}
	if s.b.Replay != "" {
		s.c.report.Replayed++
		return
	}
	s.remember()
	if s.env.Seq == 0 {
		s.unsequenced()
		return
	}
	s.sequenced()
}

// violate records a violation.
func (s *step) violate(kind Kind, format string, args ...any) {
	v := Violation{
		Kind: kind, Source: s.env.Source, Epoch: s.env.Epoch, Stream: s.env.Stream, ID: s.env.ID,
		Detail: fmt.Sprintf(format, args...),
	}
	s.res.Violations = append(s.res.Violations, v)
	r := &s.c.report
	r.Violations[kind]++
	if len(r.Examples) < s.c.opt.Examples {
		r.Examples = append(r.Examples, v)
	}
}

// wellFormed reports what is missing; false means that nothing more can be said about the delivery.
func (s *step) wellFormed() bool {
	e := s.env
	switch {
	case e.ID == "":
		s.violate(Malformed, "%s has no id", e.Type)
		return false
	case e.Source == "" || e.Time.IsZero() || e.Epoch == 0:
		s.violate(Malformed, "%s lacks source, time or epoch", e.Type)
		return false
	case s.d.Hook != "" && s.d.Hook != e.Type:
		s.violate(Malformed, "%s was sent to the URL of %s", e.Type, s.d.Hook)
	case strings.Contains(e.ID, "."):
		s.violate(Malformed, "the id has a dot")
	}
	class := event.ClassOf(e.Type)
	switch {
	case e.Seq == 0 && class == event.Lifecycle && e.Type != event.OnEventGap:
		s.violate(Malformed, "%s has no seq", e.Type)
		return false
	case e.Seq != 0 && class == event.Heartbeat:
		s.violate(Malformed, "%s has a seq", e.Type)
		return false
	case e.Seq != 0 && (e.Prev == nil || *e.Prev >= e.Seq):
		s.violate(Malformed, "%s with seq %d has no prev below it", e.Type, e.Seq)
		return false
	case !s.b.HasIndex && e.Type != event.OnEventGap:
		s.violate(Malformed, "%s has no hook_index", e.Type)
	}
	return true
}

// inLane says that the delivery takes its turn in the lane of its key.
func (s *step) inLane() bool {
	if s.b.Late || s.b.Replay != "" {
		return false
	}
	return s.env.Seq != 0 || s.env.Type == event.OnEventGap || s.env.Type == event.OnStreamNoneReader
}

func (s *step) identity() identity {
	e := s.env
	id := identity{
		stream: e.Stream, epoch: e.Epoch, seq: e.Seq, index: s.b.Index, time: e.Time,
		publication: e.Publication, digest: s.b.digest,
	}
	if e.Prev != nil {
		id.prev = *e.Prev
	}
	return id
}

// known handles an id that was accepted before.
func (s *step) known() bool {
	before, ok := s.c.ids.get(s.env.Source + "\x00" + s.env.ID)
	if !ok {
		return false
	}
	s.duplicate()
	now := s.identity()
	same := func(name string, a, b any) {
		if a != b {
			s.violate(Mutated, "%s of the same id was %v and is %v", name, a, b)
		}
	}
	n := len(s.res.Violations)
	same("stream", before.stream, now.stream)
	same("epoch", before.epoch, now.epoch)
	same("seq", before.seq, now.seq)
	switch {
	case s.b.Replay != "": // its chain is that of the replay
	case s.c.opt.Reconfigured && now.prev == 0:
	default:
		same("prev", before.prev, now.prev)
	}
	same("hook_index", before.index, now.index)
	same("publication", before.publication, now.publication)
	if !before.time.Equal(now.time) {
		same("time", before.time.Format(time.RFC3339Nano), now.time.Format(time.RFC3339Nano))
	}
	if len(s.res.Violations) == n && before.digest != now.digest {
		s.violate(Mutated, "the body of the same id has changed")
	}
	return true
}

func (s *step) duplicate() {
	s.res.Duplicate = true
	s.c.report.Duplicates++
	if s.b.Replay != "" {
		s.c.report.Replayed++
	}
}

// remember keeps the identity and checks that the hook_index is new.
func (s *step) remember() {
	e := s.env
	s.c.ids.put(e.Source+"\x00"+e.ID, s.identity())
	// A gap notice is made by the delivery and belongs to the events that it names.
	if !s.b.HasIndex || e.Type == event.OnEventGap {
		return
	}
	name := indexName{e.Source, e.Epoch, s.b.Index}
	if other, ok := s.c.indexes.get(name); ok {
		if other == e.ID {
			return
		}
		s.violate(IndexReused, "hook_index %d belongs to event %s", s.b.Index, other)
		return
	}
	s.c.indexes.put(name, e.ID)
}

// unsequenced handles decisions, questions, heartbeats and gap notices.
func (s *step) unsequenced() {
	s.c.report.Unsequenced++
	s.c.facts.received(s.b)
	s.announce()
	if s.env.Type != event.OnStreamNoneReader {
		return
	}
	k := s.key()
	if p := k.publications[s.env.Publication]; p != nil && p.ended && k.epoch == s.env.Epoch {
		s.violate(Lifecycle, "on_stream_none_reader asks about publication %s, which has ended", p.id)
	}
}

// Report returns what was seen so far.
func (c *Checker) Report() Report {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.report
	r.Violations = make(map[Kind]int, len(c.report.Violations))
	for k, n := range c.report.Violations {
		r.Violations[k] = n
	}
	r.Examples = append([]Violation(nil), c.report.Examples...)
	r.Keys = len(c.keys)
	for name, k := range c.keys {
		for _, p := range k.publications {
			if !p.open(c.anyEnded) {
				continue
			}
			r.Open++
			if len(r.OpenExamples) < c.opt.Examples {
				r.OpenExamples = append(r.OpenExamples, name.stream+" "+p.id)
			}
		}
	}
	return r
}

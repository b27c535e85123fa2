package demo

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hookline/hookline/internal/ordercheck"
	"github.com/hookline/hookline/internal/pubtool"
	"github.com/hookline/hookline/internal/receivertool"
)

// factLog is what the publishers saw. It is safe for concurrent use.
type factLog struct {
	mu      sync.Mutex
	over    []pubtool.Publication
	live    map[string]pubtool.Publication // accepted and not over, by id
	crashes []crash
}

func newFactLog() *factLog { return &factLog{live: map[string]pubtool.Publication{}} }

func (l *factLog) accepted(p pubtool.Publication) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.live[p.ID] = p
}

func (l *factLog) ended(p pubtool.Publication) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.live, p.ID)
	l.over = append(l.over, p)
}

// killing notes that the server is about to be killed, killed that it is gone.
func (l *factLog) killing(t time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.crashes = append(l.crashes, crash{from: t})
}

func (l *factLog) killed(t time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.crashes[len(l.crashes)-1].to = t
}

// attempts returns all of which something is known, and the rule that the crashes make.
func (l *factLog) attempts() ([]pubtool.Publication, rule) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.AppendSeq(slices.Clone(l.over), maps.Values(l.live)), rule{crashes: slices.Clone(l.crashes)}
}

// counts returns the numbers of publications that are live, and of attempts that are over.
func (l *factLog) counts() (live, over int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.live), len(l.over)
}

// ledger knows what the receiver accepted. It is safe for concurrent use.
type ledger struct {
	mu   sync.Mutex
	seen map[ordercheck.Fact]struct{}
}

func newLedger() *ledger { return &ledger{seen: map[ordercheck.Fact]struct{}{}} }

// take takes a request of the receiver.
func (l *ledger) take(got receivertool.Received) {
	b := got.Parsed
	if got.Outcome != receivertool.Accepted || got.Plain || b.Event.Seq == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen[ordercheck.Fact{
		Stream: b.Event.Stream, Params: b.Params, Type: b.Event.Type, What: ordercheck.What(b),
	}] = struct{}{}
}

// has says that the event of f was accepted.
func (l *ledger) has(f ordercheck.Fact) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.seen[f]
	return ok
}

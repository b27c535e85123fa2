package demo

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hookline/hookline/internal/pubtool"
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

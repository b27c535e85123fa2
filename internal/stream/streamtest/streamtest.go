// Package streamtest is what tests put around a stream hub in place of the event plane. Only tests import it.
package streamtest

import (
	"context"
	"slices"
	"sync"

	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/media"
	"github.com/hookline/hookline/internal/stream"
)

// Plane implements stream.Facts and stream.Gate: it keeps what is stated, and allows what is asked. The fields are set before use;
// tests that want to know more embed it and replace a method.
type Plane struct {
	// Options are what publishers get.
	Options stream.Options
	// Judge answers on_publish and on_play, from several goroutines; nil allows everything.
	Judge func(q fact.MediaInfo) fact.Outcome
	// Ended takes the ends of publications; nil: nobody wants them.
	Ended chan *fact.PublicationEnded

	mu    sync.Mutex // guards facts
	facts []fact.Fact
}

// New returns a plane that gives publishers o, and has room for 1,000 ends.
func New(o stream.Options) *Plane {
	return &Plane{Options: o, Ended: make(chan *fact.PublicationEnded, 1000)}
}

// Raise implements stream.Facts.
func (p *Plane) Raise(f fact.Fact) {
	p.mu.Lock()
	p.facts = append(p.facts, f)
	p.mu.Unlock()
	if e, ok := f.(*fact.PublicationEnded); ok && p.Ended != nil {
		p.Ended <- e
	}
}

// Admit implements stream.Facts: there is always room.
func (p *Plane) Admit() (release func(), err error) { return func() {}, nil }

// Facts returns what was stated, in its order.
func (p *Plane) Facts() []fact.Fact {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.facts)
}

// Types returns the types of what was stated.
func (p *Plane) Types() []string {
	var out []string
	for _, f := range p.Facts() {
		out = append(out, string(f.Meta().Type))
	}
	return out
}

// Of returns the facts of one kind, in their order.
func Of[T fact.Fact](p *Plane) []T {
	var out []T
	for _, f := range p.Facts() {
		if f, ok := f.(T); ok {
			out = append(out, f)
		}
	}
	return out
}

func (p *Plane) outcome(q fact.MediaInfo) fact.Outcome {
	if p.Judge == nil {
		return fact.Outcome{Allowed: true, By: "hook"}
	}
	return p.Judge(q)
}

// Publish implements stream.Gate.
func (p *Plane) Publish(_ context.Context, q stream.PublishQuestion) stream.PublishVerdict {
	return stream.PublishVerdict{Outcome: p.outcome(q.MediaInfo), Options: p.Options}
}

// Play implements stream.Gate.
func (p *Plane) Play(_ context.Context, q stream.PlayQuestion) stream.Verdict {
	return stream.Verdict{Outcome: p.outcome(q.MediaInfo)}
}

// NotFound implements stream.Gate: players wait.
func (p *Plane) NotFound(context.Context, stream.PlayQuestion) (ends bool, o fact.Outcome) {
	return false, fact.Outcome{By: "default"}
}

// NoneReader implements stream.Gate: nobody answers.
func (p *Plane) NoneReader(string, fact.NoneReader, func() bool, func(bool, fact.Outcome)) {}

// Silent returns a packager that writes nothing, for a schema that has only to be there.
func Silent(stream.Program) stream.Packager { return silent{} }

type silent struct{}

func (silent) Start() []byte                              { return nil }
func (silent) Append(dst []byte, _ *media.Frame) []byte   { return dst }
func (silent) Change(dst []byte, _ stream.Program) []byte { return dst }

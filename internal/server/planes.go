package server

import (
	"context"
	"time"

	"github.com/hookline/hookline/internal/decision"
	"github.com/hookline/hookline/internal/delivery"
	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/sequencer"
)

// facts lets the hub raise facts.
type facts struct{ seq *sequencer.Sequencer }

func (f facts) Raise(x fact.Fact) { f.seq.Raise(x) }

func (f facts) Admit() (release func(), err error) { return f.seq.Admit() }

// gate lets the hub ask: decisions from their own pool, the question in the lane of its key.
type gate struct {
	*decision.Service
	ep *delivery.Endpoint
}

func (g gate) NoneReader(publication string, body fact.NoneReader, holds func() bool, answer func(bool, fact.Outcome)) {
	g.ep.NoneReader(publication, body, holds, answer)
}

// stamps gives decisions their identity. The seq that a request shows as after must never be given to another event,
// so that it has to be durable first; that is a matter of the batch that is on its way.
type stamps struct{ *sequencer.Sequencer }

func (s stamps) Stamp(key string) (id string, index, after uint64, t time.Time) {
	id, index, after, t = s.Sequencer.Stamp(key)
	if after > 0 {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = s.WaitDurable(ctx, key, after) // the journal is slow or dead: the request goes out all the same
	}
	return id, index, after, t
}

// barrier lets on_publish wait for the events of its key.
type barrier struct {
	seq *sequencer.Sequencer
	ep  *delivery.Endpoint
	max time.Duration
}

func (b barrier) WaitAccepted(ctx context.Context, key string, after uint64, limit time.Duration) {
	limit = min(limit, b.max)
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if b.seq.WaitDurable(ctx, key, after) == nil {
		b.ep.WaitAccepted(ctx, key, after, limit)
	}
}

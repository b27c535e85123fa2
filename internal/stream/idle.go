package stream

import (
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/fact"
)

// idleWatch finds streams that nobody watches. Guarded by the stream's lock.
type idleWatch struct {
	timer *time.Timer
	// gen counts the changes of the number of readers: a question is about one of them.
	gen uint64
	// schema is the source whose readers changed last.
	schema string
}

// readersChanged is called whenever a viewer came or went. What has no schema that could be watched is never idle.
func (p *publication) readersChanged(schema string) {
	p.idle.schema = schema
	if n := len(p.sources); n > 0 && p.source(schema) == nil {
		p.idle.schema = p.sources[n-1].schema
	}
	p.idle.gen++
	stop(p.idle.timer)
	if p.readers() == 0 && len(p.sources) > 0 {
		p.armIdle()
	}
}

// readers is the number of viewers, and of recorders that count as such.
func (p *publication) readers() int { return len(p.viewers) - p.relays + p.counting }

// armIdle starts the delay before the question: once for each change to zero.
func (p *publication) armIdle() {
	gen := p.idle.gen
	p.idle.timer = time.AfterFunc(p.hub.cfg.Load().NoneReaderDelay, func() { p.idleFor(gen) })
}

func (p *publication) isIdle(gen uint64) bool {
	return !p.ended && p.readers() == 0 && p.idle.gen == gen && len(p.sources) > 0
}

// idleFor asks on_stream_none_reader, and with auto_close ends the publication whatever the answer.
func (p *publication) idleFor(gen uint64) {
	h := p.hub
	if !h.enter() {
		return
	}
	defer h.leave()
	p.live.mu.Lock()
	idle := p.isIdle(gen)
	body := fact.NoneReader{Schema: p.idle.schema, Stream: p.name, Params: p.first.Params}
	p.live.mu.Unlock()
	if !idle {
		return
	}
	if p.first.Quiet {
		p.closeIdle(gen)
		return
	}
	auto := p.opts.AutoClose
	holds := func() bool {
		p.live.mu.Lock()
		defer p.live.mu.Unlock()
		// What auto_close ended still tells: it was queued before the unregisters.
		return p.isIdle(gen) || auto && p.ended && p.cause == fact.EndNoReader
	}
	h.gate.NoneReader(p.id, body, holds, func(closes bool, o fact.Outcome) {
		p.idleAnswer(gen, body, closes && !auto, o)
	})
	if auto {
		p.closeIdle(gen)
	}
}

// idleAnswer takes the receiver's answer.
func (p *publication) idleAnswer(gen uint64, body fact.NoneReader, closes bool, o fact.Outcome) {
	h := p.hub
	if !h.enter() {
		return
	}
	defer h.leave()
	// The publication may have ended and the key may have another life: raise under the lock that is the key's now.
	st := h.acquire(p.name.Key())
	st.mu.Lock()
	h.facts.Raise(&fact.Decided{
		Type: event.OnStreamNoneReader, Publication: p.id, Live: p.name,
		MediaInfo: fact.MediaInfo{Schema: body.Schema, Protocol: body.Schema, Stream: p.name, Params: body.Params},
		Outcome:   o,
	})
	st.mu.Unlock()
	h.drop(st)
	if closes {
		p.closeIdle(gen)
	}
}

// closeIdle ends the publication when it is still idle.
func (p *publication) closeIdle(gen uint64) {
	var d deferred
	p.lock()
	if p.isIdle(gen) {
		p.end(fact.EndNoReader, &d)
	}
	p.unlock()
	d.run()
}

// stop ends the publication because the server stops.
func (p *publication) stop() {
	var d deferred
	p.lock()
	if !p.ended {
		p.end(fact.EndServerStop, &d)
	}
	p.unlock()
	d.run()
}

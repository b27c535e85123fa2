package stream

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/fact"
)

// waiter is a player that waits for its stream.
type waiter struct {
	format Format
	req    PlayRequest
	served chan *Viewer // of one element
	refuse chan struct{}
}

// serve hands the waiter its viewer, when p has its schema. The stream's lock is held and nothing was delivered yet: the
// viewer stands before the first frame, however late it comes to take it.
func (w *waiter) serve(p *publication) {
	if s := p.source(w.format.Schema); s != nil {
		delete(p.live.waiters, w)
		v := p.attach(s, w.format, w.req)
		if v.log != nil {
			v.cur = v.log.origin()
		}
		w.served <- v
	}
}

// Play attaches one viewer. It blocks while on_play is decided and while an absent stream is waited for. Errors:
// ErrNotFound, ErrStopping, a *RefusedError, or ctx's error.
func (h *Hub) Play(ctx context.Context, req PlayRequest) (*Viewer, error) {
	f, ok := h.formats[req.Format]
	if !ok {
		return nil, fmt.Errorf("%w: no format %q", ErrNotFound, req.Format)
	}
	if !h.enter() {
		return nil, ErrStopping
	}
	defer h.leave()
	ctx, cancel := h.bound(ctx)
	defer cancel()
	q := PlayQuestion{MediaInfo: req.MediaInfo, Client: req.Client}
	v := Verdict{Outcome: fact.Outcome{Allowed: true}}
	if !req.Admitted {
		v = h.gate.Play(ctx, q)
	}
	if err := h.gone(ctx); err != nil {
		return nil, err
	}
	st := h.acquire(req.Key())
	defer h.drop(st)
	w := &waiter{format: f, req: req, served: make(chan *Viewer, 1), refuse: make(chan struct{}, 1)}
	edge := strings.HasPrefix(req.Params, "edge=1")

	st.mu.Lock()
	if !req.Admitted {
		h.facts.Raise(&fact.Decided{
			Type: event.OnPlay, Live: req.Stream, MediaInfo: req.MediaInfo, Client: req.Client, Outcome: v.Outcome,
		})
	}
	if !v.Outcome.Allowed {
		st.mu.Unlock()
		return nil, &RefusedError{Message: v.Outcome.Message}
	}
	if p := st.publication(); p != nil {
		if s := p.source(f.Schema); s != nil {
			defer st.mu.Unlock()
			return p.attach(s, f, req), nil
		}
	}
	if edge {
		st.mu.Unlock()
		return nil, ErrNotFound
	}
	absent := st.owner == nil
	opened := !absent && st.owner.first.Options != nil // a source of the server, which registers in a moment
	st.waiters[w] = struct{}{}
	st.mu.Unlock()
	if absent && h.demand != nil {
		opened = h.demand(ctx, q)
	}
	return h.wait(ctx, st, w, q, opened)
}

// Note states the outcome of a decision that a protocol asked for by itself, in the order of the stream.
func (h *Hub) Note(f *fact.Decided) {
	st := h.acquire(f.Live.Key())
	defer h.drop(st)
	st.mu.Lock()
	defer st.mu.Unlock()
	h.facts.Raise(f)
}

// SetDemand tells who opens the sources of absent streams. It is called once, before the first Play.
func (h *Hub) SetDemand(d Demand) { h.demand = d }

// Control returns what steers the source of a live stream. Errors: ErrNotFound, also for a source that can't be steered.
func (h *Hub) Control(name fact.Stream) (c Control, err error) {
	err = h.withLive(name, func(p *publication) error {
		if p.session != nil {
			c = p.session.req.Control
		}
		if c == nil {
			return ErrNotFound
		}
		return nil
	})
	return c, err
}

// publication returns what is published under the key itself, not what only claims it.
func (s *stream) publication() *publication {
	if p := s.owner; p != nil && p.live == s {
		return p
	}
	return nil
}

// gone says why a player is not served any more, when that is so.
func (h *Hub) gone(ctx context.Context) error {
	if h.ctx.Err() != nil {
		return ErrStopping
	}
	return ctx.Err()
}

// wait parks a player until its stream registers, asking on_stream_not_found meanwhile unless its source was opened.
func (h *Hub) wait(ctx context.Context, st *stream, w *waiter, q PlayQuestion, opened bool) (*Viewer, error) {
	h.waiting.Add(1)
	defer h.waiting.Add(-1)
	withdraw := func() {}
	if !opened {
		withdraw = h.askNotFound(ctx, st, w, q)
	}
	t := time.NewTimer(h.cfg.Load().MaxStreamWait)
	defer t.Stop()
	var err error
	select {
	case v := <-w.served:
		return v, nil
	case <-w.refuse:
		err = ErrNotFound
	case <-t.C:
		err = ErrNotFound
	case <-ctx.Done():
		err = h.gone(ctx)
	}
	withdraw()
	st.mu.Lock()
	delete(st.waiters, w)
	st.mu.Unlock()
	select {
	case v := <-w.served: // served just now
		if err == ErrNotFound { //nolint:errorlint // set above
			return v, nil
		}
		v.Close()
	default:
	}
	return nil, err
}

// askNotFound asks on_stream_not_found in the background. The returned function withdraws the question; a player that
// was served leaves it alone, since the receiver may still want to know.
func (h *Hub) askNotFound(ctx context.Context, st *stream, w *waiter, q PlayQuestion) (withdraw func()) {
	if !h.enter() {
		return func() {}
	}
	h.hold(st)
	ctx, cancel := h.bound(context.WithoutCancel(ctx))
	go func() {
		defer h.leave()
		defer h.drop(st)
		defer cancel()
		closes, o := h.gate.NotFound(ctx, q)
		if ctx.Err() != nil {
			return
		}
		if o.By != "default" { // without a hook nothing was asked
			st.mu.Lock()
			h.facts.Raise(&fact.Decided{
				Type: event.OnStreamNotFound, Live: q.Stream, MediaInfo: q.MediaInfo, Client: q.Client, Outcome: o,
			})
			st.mu.Unlock()
		}
		if closes {
			w.refuse <- struct{}{}
		}
	}()
	return cancel
}

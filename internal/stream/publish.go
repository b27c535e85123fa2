package stream

import (
	"context"
	"fmt"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/media"
)

// Publisher is one publishing session. Its methods are called from one goroutine, Close from any.
type Publisher struct {
	pub   *publication
	req   PublishRequest
	start time.Time
	after deferred // scratch of WriteFrame
}

// Publish claims the stream for one publisher session. It blocks while on_publish is decided. Errors: ErrBusy,
// ErrNoRoom, ErrStopping, a *RefusedError, or ctx's error when the client left meanwhile.
func (h *Hub) Publish(ctx context.Context, req PublishRequest) (*Publisher, error) {
	if !h.enter() {
		return nil, ErrStopping
	}
	defer h.leave()
	release, err := h.facts.Admit()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoRoom, err)
	}
	ctx, cancel := h.bound(ctx)
	defer cancel()
	v := h.ask(ctx, &req)
	name := req.Stream
	if r := v.Options.StreamReplace; r != "" && v.Outcome.Allowed {
		name.Stream = r
	}
	pub, err := h.admit(ctx, req, name, v, release)
	if err != nil {
		release()
		return nil, err
	}
	return pub, nil
}

// ask asks on_publish, unless the source is one of the server itself.
func (h *Hub) ask(ctx context.Context, req *PublishRequest) PublishVerdict {
	if req.Options != nil {
		return PublishVerdict{Outcome: fact.Outcome{Allowed: true, By: "server"}, Options: *req.Options}
	}
	return h.gate.Publish(ctx, PublishQuestion{
		MediaInfo: req.MediaInfo, Client: req.Client,
		OriginType: req.OriginType, OriginTypeStr: req.OriginType.String(),
	})
}

// admit turns a verdict into a session, or into the history of an attempt that came to nothing.
func (h *Hub) admit(ctx context.Context, req PublishRequest, name fact.Stream, v PublishVerdict, release func()) (*Publisher, error) {
	orig, live := h.acquire(req.Key()), h.acquire(name.Key())
	defer h.drop(orig)
	defer h.drop(live)
	failed := func(err error, o fact.Outcome) (*Publisher, error) {
		live.mu.Lock()
		defer live.mu.Unlock()
		h.facts.Raise(&fact.Decided{
			Type: event.OnPublish, Live: name, MediaInfo: req.MediaInfo, Client: req.Client, Outcome: o,
		})
		return nil, err
	}
	byServer := func(err error) (*Publisher, error) {
		o := v.Outcome
		o.Allowed, o.By, o.Message = false, "server", err.Error()
		return failed(err, o)
	}
	if h.ctx.Err() != nil {
		return nil, ErrStopping
	}
	if !v.Outcome.Allowed {
		return failed(&RefusedError{Message: v.Outcome.Message}, v.Outcome)
	}
	if err := ctx.Err(); err != nil {
		return byServer(fmt.Errorf("stream: publisher left while on_publish was decided: %w", err))
	}
	s := &Publisher{req: req, start: time.Now()}
	err := h.claim(s, orig, live, name, v, release)
	switch err {
	case nil:
		return s, nil
	case ErrStopping: //nolint:errorlint // returned as it is by claim
		return nil, err
	default:
		return byServer(err)
	}
}

// claim makes s the publisher of orig and live, by a new publication or by resuming the one that waits for it.
func (h *Hub) claim(s *Publisher, orig, live *stream, name fact.Stream, v PublishVerdict, release func()) error {
	for {
		lockPair(orig, live)
		owner := orig.owner
		if owner == nil {
			owner = live.owner
		}
		if owner == nil {
			err := h.begin(s, orig, live, name, v, release)
			unlockPair(orig, live)
			return err
		}
		busy := owner.session != nil
		unlockPair(orig, live)
		if busy {
			return ErrBusy
		}
		// The owner waits for its publisher. Look again under its own locks: they may be others than these.
		if owner.takeOver(s, orig, v) {
			release()
			return nil
		}
	}
}

// begin starts a new publication. The locks of orig and live are held.
func (h *Hub) begin(s *Publisher, orig, live *stream, name fact.Stream, v PublishVerdict, release func()) error {
	p := &publication{
		hub: h, opts: v.Options, live: live, orig: orig, name: name, first: s.req, start: s.start,
		release: release, session: s, continuePush: v.Options.ContinuePush,
		clock: clock{mode: v.Options.ModifyStamp, start: s.start}, viewers: map[*Viewer]struct{}{}, schemas: []string{},
		gop: gopCache{budget: &h.media},
	}
	id, err := h.newID()
	if err != nil {
		return fmt.Errorf("stream: publication id: %w", err)
	}
	p.id = id
	if !h.remember(p) {
		return ErrStopping
	}
	h.media.join(1)
	s.pub = p
	orig.owner, live.owner = p, p
	h.facts.Raise(&fact.PublicationStarted{
		Publication: p.id, Live: name, MediaInfo: s.req.MediaInfo, Client: s.req.Client,
		OriginType: int(s.req.OriginType), OriginTypeStr: s.req.OriginType.String(),
		Start: p.start.UnixMilli(), Outcome: v.Outcome,
	})
	return nil
}

// takeOver lets s resume p. When s is not the publisher that p waits for, p has waited in vain: it ends, so that its
// keys are free.
func (p *publication) takeOver(s *Publisher, orig *stream, v PublishVerdict) bool {
	var d deferred
	p.lock()
	defer d.run()
	defer p.unlock()
	if p.ended || p.session != nil {
		return false
	}
	if p.orig != orig {
		p.end(p.cause, &d)
		return false
	}
	stop(p.grace)
	p.cause = ""
	p.session, p.continuePush = s, v.Options.ContinuePush
	s.pub = p
	p.clock.resume()
	p.hub.facts.Raise(&fact.Decided{
		Type: event.OnPublish, Publication: p.id, Live: p.name,
		MediaInfo: s.req.MediaInfo, Client: s.req.Client, Outcome: v.Outcome,
	})
	p.tryRegister(time.Now(), &d)
	return true
}

// Publication returns the id of the publication: the same one after a resume.
func (s *Publisher) Publication() string { return s.pub.id }

func (s *Publisher) received() uint64 {
	if s.req.Bytes == nil {
		return 0
	}
	return s.req.Bytes.Load()
}

// Metadata states what the publisher announced, before or between frames. raw is kept (Program.Metadata); hasVideo
// and hasAudio name the tracks that will come, both false when the metadata does not say.
func (s *Publisher) Metadata(raw []byte, hasVideo, hasAudio bool, width, height int, fps float64) {
	p := s.pub
	var d deferred
	p.live.mu.Lock()
	if p.session == s {
		p.announce(announcement{
			raw: raw, video: hasVideo, audio: hasAudio && p.opts.EnableAudio,
			width: width, height: height, fps: fps,
		}, &d)
	}
	p.live.mu.Unlock()
	d.run()
}

// WriteFrame hands on one frame. It never blocks on viewers. ErrEnded: the publication was closed from outside.
func (s *Publisher) WriteFrame(f *media.Frame) error {
	p := s.pub
	p.live.mu.Lock()
	if p.session != s {
		p.live.mu.Unlock()
		return ErrEnded
	}
	p.ingest(f, &s.after)
	p.live.mu.Unlock()
	s.after.run()
	return nil
}

// Splice says that the stamps of the next frames have another origin: they go on from the last frame.
func (s *Publisher) Splice() {
	p := s.pub
	p.live.mu.Lock()
	defer p.live.mu.Unlock()
	if p.session == s {
		p.clock.resume()
	}
}

// Jump says that the next frame is of another place of the source than the last one. The stamps go on; who has not begun to
// watch yet begins behind the jump, at a key frame.
func (s *Publisher) Jump() {
	p := s.pub
	var d deferred
	p.live.mu.Lock()
	if p.session == s {
		p.drainPacer(&d)
		p.clock.resume()
		p.jumped = true
		p.cached = p.cached[:0]
		p.gop.drop()
		p.flush(&d)
		for _, o := range p.outputs {
			o.log.turn()
		}
	}
	p.live.mu.Unlock()
	d.run()
}

// Close ends the session. It is idempotent; the first cause wins. After connection_lost and timeout the publisher may
// resume within continue_push_ms; every other reason ends the publication at once.
func (s *Publisher) Close(reason fact.EndReason) {
	p := s.pub
	var d deferred
	p.lock()
	if p.session == s {
		if reason == fact.EndConnectionLost || reason == fact.EndTimeout {
			p.lose(reason, &d)
		} else {
			p.cause = reason
			p.detach() // first: a session that ends by itself is not kicked
			p.end(reason, &d)
		}
	}
	p.unlock()
	d.run()
}

package rtmp

import (
	"context"
	"errors"
	"net"
	"sync/atomic"

	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/format/amf"
	"github.com/hookline/hookline/internal/stream"
)

// view is what a session plays, or wants to.
type view struct {
	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{} // closed when watch has returned
	mute   atomic.Uint32 // what it does not want now
	name   fact.Stream
}

// onPlay takes play and play2 (spec 7.2.2.1 and 7.2.2.2). start and duration mean nothing for a live stream.
func (s *session) onPlay(c command) error {
	if s.pub != nil {
		s.refuse(codePlayFailed, "this connection publishes")
		return nil
	}
	name, reset := c.text(0), c.flag(3, true)
	if c.name == "play2" && len(c.args) > 0 {
		o, _ := amf.Members(c.args[0])
		name = o.Text("streamName")
	}
	target, params, err := s.connect.target(name, s.srv.cfg.EnableVhost)
	if err != nil {
		s.refuse(codePlayFailed, err.Error())
		return nil
	}
	s.endView() // a second play replaces the first
	v := &view{done: make(chan struct{}), name: target}
	v.mute.Store(s.mute)
	v.ctx, v.cancel = context.WithCancel(s.ctx)
	s.view = v
	s.allow(0) // players need not say anything
	go s.watch(v, reset, stream.PlayRequest{
		MediaInfo: fact.MediaInfo{Schema: FormatName, Protocol: s.protocol, Stream: target, Params: params},
		Peer:      s.peer,
		Format:    FormatName,
		Kick:      func() { s.end(fact.EndKicked) },
	})
	return nil
}

// watch waits for the stream and serves it until it or the viewer ends.
func (s *session) watch(v *view, reset bool, req stream.PlayRequest) {
	defer close(v.done)
	viewer, err := s.srv.hub.Play(v.ctx, req)
	if err != nil {
		if v.ctx.Err() == nil {
			s.refuse(playRefusal(err))
		}
		return
	}
	defer viewer.Close()
	s.log.Info("RTMP viewer started", "stream", v.name.Key())
	if err := s.startPlay(reset); err != nil {
		return
	}
	scr := &screen{s: s, sieve: sieve{mute: &v.mute}}
	err = viewer.Serve(v.ctx, scr)
	s.log.Info("RTMP viewer ended", "stream", v.name.Key(), "bytes", scr.sent.Load(), "why", s.parting(v.ctx, err))
	switch {
	case v.ctx.Err() != nil: // whoever cancelled it knows what to say
	case errors.Is(err, stream.ErrEnded), errors.Is(err, stream.ErrStopping):
		_ = s.send(func(dst []byte) []byte { return appendEndOfPlay(s.appendReturn(dst)) })
		s.hangUp()
	default: // too slow, or the connection broke
		_ = s.conn.Close()
	}
}

// startPlay writes what a player waits for.
func (s *session) startPlay(reset bool) error {
	return s.send(func(dst []byte) []byte {
		dst = appendEvent(dst, eventStreamBegin, mediaStreamID)
		if reset {
			dst = appendStatus(dst, levelStatus, codePlayReset, "Playing and resetting stream.")
		}
		dst = appendStatus(dst, levelStatus, codePlayStart, "Started playing stream.")
		return appendStatus(dst, levelStatus, codePlayPublish, "The stream is published.")
	})
}

// screen is the stream.DirectOutlet of a view.
type screen struct {
	s     *session
	sieve sieve
	sent  atomic.Int64
}

// Write implements stream.Outlet. What is shown while the view is paused is lost: a live stream goes on meanwhile.
func (c *screen) Write(ctx context.Context, blocks net.Buffers) (int64, error) {
	if !c.sieve.open() {
		blocks, c.sieve.gap = c.sieve.pass(blocks)
	}
	n, err := c.s.sendBlocks(ctx, blocks)
	c.sent.Add(n)
	return n, err
}

// Direct implements stream.DirectOutlet.
func (c *screen) Direct() bool { return c.s.out.Direct() }

// Try implements stream.DirectOutlet.
func (c *screen) Try(blocks net.Buffers) (int, stream.Taken, error) {
	gap := false
	if !c.sieve.open() {
		if blocks, gap = c.sieve.pass(blocks); len(blocks) == 0 {
			c.sieve.gap = gap
			return 0, stream.TookAll, nil
		}
	}
	n, taken, err := c.s.out.Try(blocks)
	if taken != stream.TookNothing {
		c.sieve.gap = gap
	}
	c.sent.Add(int64(n))
	return n, taken, err
}

// appendEndOfPlay appends what tells a player that the stream has ended.
func appendEndOfPlay(dst []byte) []byte {
	dst = appendStatus(dst, levelStatus, codePlayUnpublish, "The stream has ended.")
	return appendEvent(dst, eventStreamEOF, mediaStreamID)
}

// playRefusal translates an error of Hub.Play.
func playRefusal(err error) (code, description string) {
	var refused *stream.RefusedError
	switch {
	case errors.As(err, &refused):
		return codePlayBadAuth, refused.Message
	case errors.Is(err, stream.ErrNotFound):
		return codePlayNotFound, "No such stream."
	case errors.Is(err, stream.ErrStopping):
		return codePlayFailed, err.Error()
	default:
		return codePlayFailed, "internal error"
	}
}

// setMute says what the player does not want, now and in what it plays next; a pause is for what it plays now.
func (s *session) setMute(what uint32, on bool) {
	if what != mutePause {
		s.mute &^= what
		if on {
			s.mute |= what
		}
	}
	switch {
	case s.view == nil:
	case on:
		s.view.mute.Or(what)
	default:
		s.view.mute.And(^what)
	}
}

// onReceive takes receiveAudio and receiveVideo (spec 7.2.2.4 and 7.2.2.5).
func (s *session) onReceive(c command, what uint32) error {
	s.setMute(what, !c.flag(0, true))
	return s.reply(c, nil, amf.Undefined{})
}

// parting returns why a viewer whose context is ctx was served no longer, when that ended with err.
func (s *session) parting(ctx context.Context, err error) string {
	switch r := s.reason.Load(); {
	case ctx.Err() == nil && err != nil:
		return err.Error()
	case r != nil:
		return string(*r)
	}
	return "left"
}

// closeView ends playing because the player says so.
func (s *session) closeView() error {
	if s.view == nil {
		return nil
	}
	s.endView()
	if s.leaving.Load() {
		return nil
	}
	s.wait()
	return s.status(codePlayStop, "Stopped playing stream.")
}

// endView ends playing and waits for the last write.
func (s *session) endView() {
	if s.view == nil {
		return
	}
	s.view.cancel()
	<-s.view.done
	s.view = nil
}

package rtmp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/format/flv"
	"github.com/hookline/hookline/internal/media"
	"github.com/hookline/hookline/internal/stream"
)

// What is kept of a publisher that sends before it was allowed to; beyond it the socket is not read.
const (
	maxHeldBytes    = 4 << 20
	maxHeldMessages = 4096
)

// publication is what a session publishes, or wants to. It is owned by the session's run, except as noted.
type publication struct {
	ctx     context.Context
	cancel  context.CancelFunc
	decided chan struct{} // closed by decide, after it wrote the answer
	// publisher is written before decided is closed; nil when it was refused.
	publisher Publisher

	bytes     atomic.Uint64 // received since the command; a connection may publish several times
	held      []Message
	heldBytes int
	demux     flv.Demuxer
	clock     unwrapper
	badBodies uint64
	metadata  bucket
	ignoring  bool // additional tracks; it was said
	key       string
}

// errMetadataRate: every change goes to all viewers, which one publisher must not make expensive.
var errMetadataRate = errors.New("rtmp: metadata changes too often")

// onPublish takes publish (spec 7.2.2.6). Its answer is written by decide.
func (s *session) onPublish(c command) error {
	if s.pub != nil || s.view != nil {
		s.refuse(codePublishBadName, "this connection is in use")
		return nil
	}
	target, params, err := s.connect.target(c.text(0), s.srv.cfg.EnableVhost)
	if err != nil {
		s.refuse(codePublishBadName, err.Error())
		return nil
	}
	s.in.media = true
	if s.in.r.Size() < publishBuffer {
		s.in.r = bufio.NewReaderSize(s.in.r, publishBuffer)
	}
	p := &publication{decided: make(chan struct{}), key: target.Key()}
	p.ctx, p.cancel = context.WithCancel(s.ctx)
	s.pub = p
	s.allow(0) // the decision has a deadline of its own
	origin := FormatName + "://" + target.Key()
	if params != "" {
		origin += "?" + params
	}
	go s.decide(p, stream.PublishRequest{
		MediaInfo:  fact.MediaInfo{Schema: FormatName, Protocol: s.protocol, Stream: target, Params: params},
		Peer:       s.peer,
		OriginType: fact.OriginRTMPPush,
		OriginURL:  origin,
		Bytes:      &p.bytes,
		Kick:       func() { s.end(fact.EndKicked) },
	})
	return nil
}

// decide asks the hub and answers the publisher.
func (s *session) decide(p *publication, req stream.PublishRequest) {
	wake := false
	defer func() {
		close(p.decided)
		if wake {
			_ = s.conn.SetReadDeadline(time.Unix(1, 0))
		}
	}()
	publisher, err := s.srv.hub.Publish(p.ctx, req)
	if err == nil {
		p.publisher = publisher
		s.log.Info("RTMP publisher started", "stream", p.key)
		s.allow(time.Duration(s.srv.keepAlive.Load()))
		_ = s.send(func(dst []byte) []byte {
			dst = appendEvent(dst, eventStreamBegin, mediaStreamID)
			return appendStatus(dst, levelStatus, codePublishStart, "Started publishing stream.")
		})
		wake = true // what was kept must not wait for the next message
		return
	}
	if p.ctx.Err() != nil {
		return // the publisher left
	}
	code, description := publishRefusal(err)
	s.refuse(code, description)
}

// publishRefusal translates an error of Hub.Publish.
func publishRefusal(err error) (code, description string) {
	var refused *stream.RefusedError
	switch {
	case errors.As(err, &refused):
		return codePublishBadAuth, refused.Message
	case errors.Is(err, stream.ErrBusy):
		return codePublishBadName, "Already publishing."
	case errors.Is(err, stream.ErrNoRoom), errors.Is(err, stream.ErrStopping):
		return codePublishFailed, err.Error()
	default:
		return codePublishFailed, "internal error"
	}
}

// media takes a message of the publisher.
func (s *session) media(m Message) error {
	p := s.pub
	if p == nil || len(m.Body) == 0 {
		return nil // media without a publication goes nowhere
	}
	select {
	case <-p.decided:
	default:
		if p.hold(m) {
			return nil
		}
		<-p.decided // ends with the context of the session at the latest
	}
	if p.publisher == nil {
		return nil
	}
	if m.Type != TypeDataAMF0 && m.Type != TypeDataAMF3 {
		s.touch()
	}
	if err := s.release(p); err != nil {
		return err
	}
	return s.publish(p, m)
}

// hold keeps a message until the decision, if there is room.
func (p *publication) hold(m Message) bool {
	if p.heldBytes+len(m.Body) > maxHeldBytes || len(p.held) >= maxHeldMessages {
		return false
	}
	p.held = append(p.held, m)
	p.heldBytes += len(m.Body)
	return true
}

// releaseDecided publishes what was kept if the decision has come. It is called by run's reads.
func (s *session) releaseDecided() error {
	if s.pub == nil || len(s.pub.held) == 0 {
		return nil
	}
	select {
	case <-s.pub.decided:
		if s.pub.publisher != nil {
			return s.release(s.pub)
		}
	default:
	}
	return nil
}

// release publishes what was kept.
func (s *session) release(p *publication) error {
	held := p.held
	p.held, p.heldBytes = nil, 0
	for _, m := range held {
		if err := s.publish(p, m); err != nil {
			return err
		}
	}
	return nil
}

// publish turns a message into frames and hands them on. A body that gives none is counted and passed over: encoders
// send codecs and packets that nobody knows.
func (s *session) publish(p *publication, m Message) error {
	var (
		frames []*media.Frame
		err    error
	)
	switch m.Type {
	case TypeAudio:
		frames, err = p.demux.Audio(p.clock.at(m.Timestamp), m.Body)
	case TypeVideo:
		frames, err = p.demux.Video(p.clock.at(m.Timestamp), m.Body)
	case TypeAggregate:
		return splitAggregate(m, func(part Message) error { return s.publish(p, part) })
	default:
		d, ok, dataErr := p.demux.Data(m.Body)
		if ok && dataErr == nil && !p.metadata.take(time.Now(), metadataBurst, metadataRate) {
			dataErr = errMetadataRate
		}
		if ok && dataErr == nil {
			p.publisher.Metadata(d.Raw, d.HasVideo, d.HasAudio, d.Width, d.Height, d.FrameRate)
		}
		err = dataErr
	}
	if err != nil {
		s.bad(p, m, err)
	}
	s.sayIgnored(p)
	for _, f := range frames {
		if err := p.publisher.WriteFrame(f); err != nil {
			return fmt.Errorf("rtmp: publish: %w", err)
		}
	}
	return nil
}

// bad says once what was wrong first; the count is logged at the end.
func (s *session) bad(p *publication, m Message, err error) {
	if p.badBodies++; p.badBodies == 1 {
		s.log.Warn("RTMP message can't be used", "stream", p.key, "type", int(m.Type), "error", err)
	}
}

// sayIgnored says once that the publisher sends tracks that are not carried.
func (s *session) sayIgnored(p *publication) {
	if p.ignoring {
		return
	}
	if n, what := p.demux.Ignored(); n > 0 {
		p.ignoring = true
		s.log.Warn("RTMP publisher sends more tracks than one of each kind: only track 0 is carried", "stream", p.key, "first", what)
	}
}

// unpublish ends the publication because the peer says so.
func (s *session) unpublish() error {
	if s.pub == nil {
		return nil
	}
	s.endPublication(fact.EndUnpublish)
	if s.leaving.Load() {
		return nil
	}
	s.wait()
	return s.status(codeUnpublish, "Stopped publishing stream.")
}

// endPublication ends the publication, whatever became of it. A decision that is pending is cancelled.
func (s *session) endPublication(reason fact.EndReason) {
	p := s.pub
	if p == nil {
		return
	}
	s.pub = nil
	p.cancel()
	<-p.decided
	if p.publisher == nil {
		return
	}
	_ = s.release(p) // the publication ends anyway
	p.publisher.Close(reason)
	ignored, _ := p.demux.Ignored()
	s.log.Info("RTMP publisher ended", "stream", p.key, "reason", string(reason),
		"bytes", p.bytes.Load(), "bad_messages", p.badBodies, "undecodable", p.demux.Dropped(), "other_tracks", ignored)
}

// unwrapper makes durations of 32-bit time stamps that wrap after 49.7 days and may step back. Some encoders know only 24
// bits, which wrap after 4.7 hours.
type unwrapper struct {
	last    uint32
	ms      int64
	started bool
}

func (u *unwrapper) at(timestamp uint32) time.Duration {
	if !u.started {
		u.started, u.ms = true, int64(timestamp)
	} else {
		step := int64(int32(timestamp - u.last))
		const width, near = 1 << 24, 10_000
		if u.last < width && u.last > width-near && timestamp < near {
			step += width
		}
		u.ms += step
	}
	u.last = timestamp
	return time.Duration(u.ms) * time.Millisecond
}

// splitAggregate hands the parts of an aggregate message (spec 7.1.6) to f: FLV tags, whose time stamps count from the
// first one, which stands for the message's.
func splitAggregate(m Message, f func(Message) error) error {
	const tagHeader, tagTrailer = 11, 4
	var offset uint32
	for b, first := m.Body, true; len(b) > 0; first = false {
		if len(b) < tagHeader {
			return fmt.Errorf("%w: aggregate ends in a header", ErrProtocol)
		}
		n := int(uint24(b[1:]))
		timestamp := uint24(b[4:]) | uint32(b[7])<<24
		if first {
			offset = m.Timestamp - timestamp
		}
		if len(b)-tagHeader < n {
			return fmt.Errorf("%w: aggregate ends in a body", ErrProtocol)
		}
		part := Message{
			Type: MessageType(b[0]), StreamID: m.StreamID, Timestamp: timestamp + offset, Body: b[tagHeader : tagHeader+n : tagHeader+n],
		}
		b = b[min(tagHeader+n+tagTrailer, len(b)):]
		if part.Type == TypeAggregate || n == 0 {
			continue
		}
		if err := f(part); err != nil {
			return err
		}
	}
	return nil
}

package rtmp

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/hookline/hookline/internal/acceptor"
	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/outlet"
	"github.com/hookline/hookline/internal/stream"
)

const (
	idleBuffer    = 4 << 10  // read buffer of a session that does not publish
	publishBuffer = 32 << 10 // and of one that does: a frame or two

	serverWindow = 5_000_000   // bytes after which the peer shall acknowledge; nobody enforces it
	writeStep    = outlet.Step // bytes of a viewer that must get through within the write time-out
	minAckWindow = 64 << 10    // a peer can't make us acknowledge every message

	// partingTime is what a session that is ended from outside has to say so.
	partingTime = 500 * time.Millisecond
	// lingerTime and lingerBytes bound what is read from a peer that was told to go. Closing with unread data would
	// reset the connection, and the peer would lose the reason that it was just given.
	lingerTime  = 2 * time.Second
	lingerBytes = 4 << 20
)

var (
	errTimeout = errors.New("rtmp: the peer did not do anything in time")
	errLeaving = errors.New("rtmp: the peer was told to go")
)

// session is one connection. Fields without a note are set before run and not changed.
type session struct {
	srv      *Server
	conn     net.Conn
	log      *slog.Logger
	peer     stream.Peer
	protocol string // "rtmp" or "rtmps"
	ctx      context.Context
	cancel   context.CancelFunc

	received atomic.Uint64 // bytes
	due      atomic.Int64  // Unix ns at which the peer must have done what it is here for; 0: it has time
	closing  atomic.Bool   // ended from outside
	leaving  atomic.Bool   // refused, or done: only the peer's own close is awaited
	reason   atomic.Pointer[fact.EndReason]

	// Owned by run.
	in      *chunkReader
	connect *connectInfo // nil before connect
	window  uint64       // bytes after which we acknowledge; 0: the peer did not ask for it
	acked   uint64       // received bytes at the last acknowledgement
	pub     *publication
	view    *view
	pace    bucket // of what is answered
	mute    uint32 // what it does not want to play

	out *outlet.Outlet // the writing half of conn
}

func newSession(srv *Server, conn net.Conn, n uint64) *session {
	s := &session{srv: srv, conn: conn, protocol: "rtmp"}
	s.out = outlet.New(conn, outlet.Config{Timeout: srv.cfg.WriteTimeout, SetDeadline: s.setDeadline, Ending: s.closing.Load})
	if _, ok := conn.(*tls.Conn); ok {
		s.protocol = "rtmps"
	}
	s.peer.IP, s.peer.Port = acceptor.Endpoint(conn.RemoteAddr())
	s.peer.LocalIP, s.peer.LocalPort = acceptor.Endpoint(conn.LocalAddr())
	if srv.cfg.NewID != nil {
		s.peer.ID = srv.cfg.NewID()
	} else {
		s.peer.ID = fmt.Sprintf("%d-%d", n, s.peer.Port)
	}
	s.log = srv.cfg.Logger.With("session", s.peer.ID, "peer", s.peer.IP)
	s.ctx, s.cancel = context.WithCancel(srv.Context())
	return s
}

// Stop implements acceptor.Session.
func (s *session) Stop() { s.end(fact.EndServerStop) }

// Run implements acceptor.Session.
func (s *session) Run() {
	defer s.conn.Close()
	defer s.cancel()
	if c, ok := s.conn.(interface{ SetNoDelay(bool) error }); ok {
		_ = c.SetNoDelay(true) // frames leave when they are written; blocks are merged before
	}
	if r := s.srv.cfg.Registry; r != nil {
		remove := r.Add(Session{
			ID: s.peer.ID, PeerIP: s.peer.IP, PeerPort: s.peer.Port, LocalIP: s.peer.LocalIP, LocalPort: s.peer.LocalPort,
			Type: "tcp", TypeID: "mediakit::RtmpSession", Kick: func() { s.end(fact.EndKicked) },
		})
		defer remove()
	}
	s.allow(time.Duration(s.srv.handshake.Load()))
	err := s.serve()
	s.finish(err)
}

// serve reads until something ends it.
func (s *session) serve() error {
	if err := s.setDeadline(time.Now().Add(time.Duration(s.srv.handshake.Load()))); err != nil {
		return err
	}
	if err := acceptHandshake(s, s.conn); err != nil {
		return err
	}
	s.in = newChunkReader(bufio.NewReaderSize(s, idleBuffer))
	s.in.lim = s.srv.cfg.Limits
	for {
		m, err := s.in.next()
		if err != nil {
			return err
		}
		if s.leaving.Load() {
			return errLeaving
		}
		if err := s.handle(m); err != nil {
			return err
		}
		if err := s.acknowledge(); err != nil {
			return err
		}
	}
}

// handle takes one message.
func (s *session) handle(m Message) error {
	switch m.Type {
	case TypeWindowAckSize:
		if len(m.Body) >= 4 {
			s.window = max(uint64(binary.BigEndian.Uint32(m.Body)), minAckWindow)
		}
	case TypeUserControl:
		return s.event(m.Body)
	case TypeCommandAMF0, TypeCommandAMF3:
		return s.command(m)
	case TypeAudio, TypeVideo, TypeDataAMF0, TypeDataAMF3, TypeAggregate:
		return s.media(m)
	default: // acknowledgements, bandwidth and shared objects: nothing depends on them
	}
	return nil
}

// event takes a user control message. Buffer lengths are accepted and mean nothing for a live stream.
func (s *session) event(body []byte) error {
	if len(body) < 6 || binary.BigEndian.Uint16(body) != eventPingRequest {
		return nil
	}
	if !s.mayAsk() {
		return fmt.Errorf("%w: too many pings", ErrProtocol)
	}
	return s.send(func(dst []byte) []byte {
		return appendEvent(dst, eventPingResponse, binary.BigEndian.Uint32(body[2:]))
	})
}

// acknowledge tells the peer what was received, once per window, if it asked for that (spec 5.4.3). Who did not ask may
// never read it: ffmpeg closes with acknowledgements unread, which resets the connection and loses what it sent last.
func (s *session) acknowledge() error {
	received := s.received.Load()
	if s.window == 0 || received-s.acked < s.window {
		return nil
	}
	s.acked = received
	return s.send(func(dst []byte) []byte { return appendControl(dst, TypeAck, uint32(received)) })
}

// finish ends what the session published or played and says why.
func (s *session) finish(err error) {
	reason := s.ending(err)
	if s.closing.Load() || errors.Is(err, stream.ErrEnded) {
		s.part(reason)
	}
	if errors.Is(err, errTimeout) && s.pub != nil {
		_ = s.send(func(dst []byte) []byte { return appendStatus(dst, levelError, codePublishIdle, "No media came.") })
	}
	if !errors.Is(err, errLeaving) {
		_ = s.conn.SetWriteDeadline(time.Now().Add(s.srv.parting)) // a write in progress has nobody to go to
	}
	s.endView()
	s.endPublication(reason)
	if errors.Is(err, errLeaving) {
		_, _ = io.CopyN(io.Discard, s, lingerBytes)
	}
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, errLeaving), s.closing.Load(), s.leaving.Load():
		s.log.Debug("RTMP session ended", "reason", string(reason))
	default:
		s.log.Info("RTMP session ended", "reason", string(reason), "error", err)
	}
}

// ending returns why a publication of this session ends when serve returned err.
func (s *session) ending(err error) fact.EndReason {
	if r := s.reason.Load(); r != nil {
		return *r
	}
	if errors.Is(err, errTimeout) {
		return fact.EndTimeout
	}
	if errors.Is(err, stream.ErrEnded) {
		return fact.EndKicked // the hub knows better, and has said so
	}
	return fact.EndConnectionLost
}

// part tells a peer that its session was ended from outside. It has partingTime to take it.
func (s *session) part(reason fact.EndReason) {
	if s.connect == nil {
		return
	}
	_ = s.send(func(dst []byte) []byte {
		if s.view != nil {
			dst = appendEndOfPlay(dst)
		}
		dst = s.appendReturn(dst)
		return appendStatus(dst, levelStatus, codeConnectClosed, "closed by the server: "+string(reason))
	})
	s.closeWrite()
}

// end ends the session from outside, for a reason. It does not block.
func (s *session) end(reason fact.EndReason) {
	s.reason.CompareAndSwap(nil, &reason)
	s.closing.Store(true)
	s.cancel()
	_ = s.conn.SetReadDeadline(time.Unix(1, 0))
	_ = s.conn.SetWriteDeadline(time.Now().Add(s.srv.parting))
}

// hangUp lets the peer read what was written and waits a little for it to close. It may be called by any goroutine of
// the session; run sees it when its read returns.
func (s *session) hangUp() {
	s.leaving.Store(true)
	s.closeWrite()
	s.allow(s.srv.linger)
}

func (s *session) closeWrite() {
	if c, ok := s.conn.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite()
	}
}

// Read implements io.Reader for the chunk reader, in run's goroutine: it counts bytes and knows when the peer's time is over.
func (s *session) Read(p []byte) (int, error) {
	for {
		n, err := s.conn.Read(p)
		if n > 0 {
			s.received.Add(uint64(n))
			if s.pub != nil {
				s.pub.bytes.Add(uint64(n))
			}
			return n, nil
		}
		if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
			return 0, err
		}
		switch due := s.due.Load(); {
		case s.closing.Load():
			return 0, err
		case due != 0 && time.Now().UnixNano() >= due:
			return 0, errTimeout
		default: // something was done in the meantime, or a decision wants to be seen
			if err := s.releaseDecided(); err != nil {
				return 0, err
			}
			s.moveDeadline()
		}
	}
}

// allow gives the peer d to do the next thing, 0: any time.
func (s *session) allow(d time.Duration) {
	var due int64
	if d > 0 {
		due = time.Now().Add(d).UnixNano()
	}
	s.due.Store(due)
	s.moveDeadline()
}

// moveDeadline sets the read deadline to what is due. Others may change that at the same time; the last one wins, but
// end always does.
func (s *session) moveDeadline() {
	for {
		due := s.due.Load()
		var t time.Time
		if due != 0 {
			t = time.Unix(0, due)
		}
		_ = s.conn.SetReadDeadline(t)
		if s.due.Load() == due {
			break
		}
	}
	if s.closing.Load() {
		_ = s.conn.SetReadDeadline(time.Unix(1, 0))
	}
}

// touch says that media came. The deadline of the socket stays; Read moves it when it passes.
func (s *session) touch() {
	s.due.Store(time.Now().UnixNano() + s.srv.keepAlive.Load())
}

// setDeadline bounds what is written next. end may set its own deadline at the same time, and wins.
func (s *session) setDeadline(t time.Time) error {
	err := s.conn.SetWriteDeadline(t)
	if s.closing.Load() {
		err = s.conn.SetWriteDeadline(time.Now().Add(s.srv.parting))
	}
	return err
}

// send writes the messages that build appends, in one piece. A connection whose write failed is closed.
func (s *session) send(build func(dst []byte) []byte) error {
	if err := s.out.Send(build); err != nil {
		return fmt.Errorf("rtmp: %w", err)
	}
	return nil
}

// sendBlocks writes shared wire bytes. A viewer may be slow, as long as it reads; how far it may lag is the hub's decision.
// Between two blocks it gives up when ctx ends.
func (s *session) sendBlocks(ctx context.Context, blocks net.Buffers) (sent int64, err error) {
	sent, err = s.out.Write(ctx, blocks)
	if err != nil {
		return sent, fmt.Errorf("rtmp: %w", err)
	}
	return sent, nil
}

// refuse states an error of the media stream and hangs up.
func (s *session) refuse(code, description string) {
	s.log.Info("RTMP request refused", "code", code, "why", description)
	_ = s.send(func(dst []byte) []byte { return appendStatus(dst, levelError, code, description) })
	s.hangUp()
}

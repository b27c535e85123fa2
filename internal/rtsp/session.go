package rtsp

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hookline/hookline/internal/acceptor"
	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/outlet"
	"github.com/hookline/hookline/internal/stream"
)

const (
	readBuffer = 32 << 10
	// partingTime is what a session that is ended from outside has for its last write.
	partingTime = 500 * time.Millisecond
	// lingerTime is what a player has to take the end of a stream, and lingerTalk how much it may say meanwhile, in bytes.
	lingerTime = 10 * time.Second
	lingerTalk = 64 << 10
	// playerTimeout is how long a player over UDP may give no sign of life.
	playerTimeout = 60 * time.Second
)

var (
	errTimeout     = errors.New("rtsp: the peer did not do anything in time")
	errInterrupted = errors.New("rtsp: read interrupted")
	errTeardown    = errors.New("rtsp: teardown")
)

// session is one connection. Fields without a note are set before run and not changed.
type session struct {
	srv      *Server
	cfg      *Config
	conn     net.Conn
	log      *slog.Logger
	peer     stream.Peer
	protocol string // "rtsp" or "rtsps"
	id       string // of the Session header
	ctx      context.Context
	cancel   context.CancelFunc

	// input is where the peer speaks, when that is another connection (a tunnel).
	input       atomic.Pointer[inbound]
	due         atomic.Int64 // Unix ns at which the peer must have done what it is here for; 0: it has time
	closing     atomic.Bool  // ended from outside
	interrupted atomic.Bool  // a read in the background shall return
	reason      atomic.Pointer[fact.EndReason]

	// Owned by run.
	r      *bufio.Reader
	frame  []byte // buffer of interleaved frames
	access access
	pub    *publication
	view   *view
	ended  bool // the stream that was played over this connection is over, and was sent to its end

	out *outlet.Outlet // the writing half of conn
}

func newSession(srv *Server, conn net.Conn, n uint64) *session {
	s := &session{srv: srv, cfg: srv.cfg.Load(), conn: conn, protocol: "rtsp"}
	s.out = outlet.New(conn, outlet.Config{Timeout: s.cfg.WriteTimeout, SetDeadline: s.writeDeadline, Ending: s.closing.Load})
	if _, ok := conn.(*tls.Conn); ok {
		s.protocol = "rtsps"
	}
	s.peer.IP, s.peer.Port = acceptor.Endpoint(conn.RemoteAddr())
	s.peer.LocalIP, s.peer.LocalPort = acceptor.Endpoint(conn.LocalAddr())
	s.peer.TypeID = "mediakit::RtspSession"
	if s.cfg.NewID != nil {
		s.peer.ID = s.cfg.NewID()
	} else {
		s.peer.ID = fmt.Sprintf("%d-%d", n, s.peer.Port)
	}
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails since Go 1.24
	s.id = hex.EncodeToString(id[:])
	s.log = s.cfg.Logger.With("session", s.peer.ID, "peer", s.peer.IP)
	s.ctx, s.cancel = context.WithCancel(srv.Context())
	return s
}

// Stop implements acceptor.Session.
func (s *session) Stop() { s.end(fact.EndServerStop) }

// Run implements acceptor.Session.
func (s *session) Run() {
	defer s.part()
	defer s.cancel()
	if c, ok := s.conn.(interface{ SetNoDelay(bool) error }); ok {
		_ = c.SetNoDelay(true)
	}
	if r := s.cfg.Registry; r != nil {
		remove := r.Add(Session{
			ID: s.peer.ID, PeerIP: s.peer.IP, PeerPort: s.peer.Port, LocalIP: s.peer.LocalIP, LocalPort: s.peer.LocalPort,
			Type: "tcp", TypeID: s.peer.TypeID, Kick: func() { s.end(fact.EndKicked) },
		})
		defer remove()
	}
	s.allow(s.cfg.Handshake)
	s.r = bufio.NewReaderSize(s, readBuffer)
	s.finish(s.serve())
}

// part closes the connection. A player that was sent the end of a stream has a while to take it and to close first: closing with
// unread reports of his would reset the connection, and what he has not taken yet would be lost.
func (s *session) part() {
	defer s.conn.Close()
	half, ok := s.conn.(interface{ CloseWrite() error })
	if !ok || !s.ended || s.input.Load() != nil || half.CloseWrite() != nil || s.conn.SetReadDeadline(time.Now().Add(s.srv.linger)) != nil {
		return
	}
	if s.srv.Context().Err() == nil { // else the deadline that Stop has set may be gone
		_, _ = io.CopyN(io.Discard, s.conn, lingerTalk)
	}
}

// serve reads until something ends it.
func (s *session) serve() error {
	for {
		b, err := s.r.Peek(1)
		if err != nil {
			return err
		}
		if b[0] == '$' {
			ch, payload, err := readFrame(s.r, s.frame)
			if err != nil {
				return err
			}
			s.frame = payload
			if err := s.interleaved(ch, payload); err != nil {
				return err
			}
			continue
		}
		q, err := readRequest(s.r)
		if err != nil {
			if errors.Is(err, errProtocol) {
				_ = s.answer(&request{header: map[string]string{}}, &reply{status: 400})
			}
			return err
		}
		if err := s.handle(q); err != nil {
			return err
		}
	}
}

// finish ends what the session published or played and says why.
func (s *session) finish(err error) {
	reason := s.ending(err)
	quiet := errors.Is(err, io.EOF) || errors.Is(err, errTeardown) || s.closing.Load()
	s.closing.Store(true) // a write in progress has nobody to go to
	_ = s.conn.SetWriteDeadline(time.Now().Add(partingTime))
	s.endView(errors.Is(err, errTeardown))
	s.endPublication(reason)
	if quiet {
		s.log.Debug("RTSP session ended", "reason", string(reason))
		return
	}
	s.log.Info("RTSP session ended", "reason", string(reason), "error", err)
}

// ending returns why a publication of this session ends when serve returned err.
func (s *session) ending(err error) fact.EndReason {
	if r := s.reason.Load(); r != nil {
		return *r
	}
	switch {
	case errors.Is(err, errTeardown):
		return fact.EndUnpublish
	case errors.Is(err, errTimeout):
		return fact.EndTimeout
	case errors.Is(err, stream.ErrEnded):
		return fact.EndKicked // the hub knows better, and has said so
	}
	return fact.EndConnectionLost
}

// end ends the session from outside, for a reason. It does not block.
func (s *session) end(reason fact.EndReason) {
	s.reason.CompareAndSwap(nil, &reason)
	s.closing.Store(true)
	s.cancel()
	s.readDeadline(time.Unix(1, 0))
	_ = s.conn.SetWriteDeadline(time.Now().Add(partingTime))
}

// Read implements io.Reader for run's buffer: it counts bytes and knows when the peer's time is over.
func (s *session) Read(p []byte) (int, error) {
	for {
		n, err := s.receive(p)
		if n > 0 {
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
		case s.interrupted.Load():
			return 0, errInterrupted
		case due != 0 && time.Now().UnixNano() >= due:
			return 0, errTimeout
		default: // there was a sign of life in the meantime
			s.moveDeadline()
		}
	}
}

func (s *session) receive(p []byte) (int, error) {
	if in := s.input.Load(); in != nil {
		return in.Read(p)
	}
	return s.conn.Read(p)
}

func (s *session) readDeadline(t time.Time) {
	if in := s.input.Load(); in != nil {
		_ = in.conn.SetReadDeadline(t)
		return
	}
	_ = s.conn.SetReadDeadline(t)
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
		s.readDeadline(t)
		if s.due.Load() == due {
			break
		}
	}
	if s.closing.Load() {
		s.readDeadline(time.Unix(1, 0))
	}
}

// touch notes a sign of life, good for d. The deadline of the socket stays; Read moves it when it passes.
func (s *session) touch(d time.Duration) { s.due.Store(time.Now().Add(d).UnixNano()) }

// listening calls f with a context that ends when the peer leaves meanwhile. It is called by run.
func (s *session) listening(f func(ctx context.Context)) {
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	s.allow(0) // decisions and waits have deadlines of their own
	done := make(chan struct{})
	go func() {
		defer close(done)
		if _, err := s.r.Peek(1); err != nil && !errors.Is(err, errInterrupted) {
			cancel()
		}
	}()
	f(ctx)
	s.interrupted.Store(true)
	s.readDeadline(time.Unix(1, 0))
	<-done
	s.interrupted.Store(false)
	s.allow(s.cfg.Handshake)
}

// answer writes the reply to q.
func (s *session) answer(q *request, p *reply) error {
	session := ""
	if s.pub != nil || s.view != nil {
		session = fmt.Sprintf("%s;timeout=%d", s.id, int(playerTimeout/time.Second))
	}
	return s.write(func(dst []byte) []byte { return p.appendTo(dst, q, session) })
}

// write writes what build appends, in one piece. A connection whose write failed is closed.
func (s *session) write(build func(dst []byte) []byte) error {
	if err := s.out.Send(build); err != nil {
		return fmt.Errorf("rtsp: %w", err)
	}
	return nil
}

// writeDeadline bounds the next write. end may set its own at the same time, and wins.
func (s *session) writeDeadline(t time.Time) error {
	err := s.conn.SetWriteDeadline(t)
	if s.closing.Load() {
		_ = s.conn.SetWriteDeadline(time.Now().Add(partingTime))
	}
	return err
}

const methods = "OPTIONS, DESCRIBE, ANNOUNCE, SETUP, RECORD, PLAY, PAUSE, TEARDOWN, GET_PARAMETER, SET_PARAMETER"

// handle takes one request.
func (s *session) handle(q *request) error {
	if strings.HasPrefix(q.proto, "HTTP/") {
		return s.tunnel(q)
	}
	if s.view != nil && s.view.over != "tcp" && s.view.playing() {
		s.touch(playerTimeout)
	}
	if id, _, _ := strings.Cut(q.header["session"], ";"); id != "" && strings.TrimSpace(id) != s.id {
		return s.answer(q, &reply{status: 454})
	}
	switch q.method {
	case "OPTIONS":
		return s.answer(q, &reply{status: 200, header: []string{"Public", methods}})
	case "GET_PARAMETER", "SET_PARAMETER":
		return s.answer(q, &reply{status: 200})
	case "ANNOUNCE":
		return s.announce(q)
	case "DESCRIBE":
		return s.describe(q)
	case "SETUP":
		return s.setup(q)
	case "RECORD":
		return s.record(q)
	case "PLAY":
		return s.play(q)
	case "PAUSE":
		return s.pause(q)
	case "TEARDOWN":
		_ = s.answer(q, &reply{status: 200})
		return errTeardown
	}
	return s.answer(q, &reply{status: 501, header: []string{"Public", methods}})
}

// setup takes SETUP: of a publisher behind its ANNOUNCE, of a player behind its DESCRIBE.
func (s *session) setup(q *request) error {
	offers := parseTransport(q.header["transport"])
	for _, o := range offers {
		if !s.allows(o) {
			continue
		}
		switch {
		case s.pub != nil:
			return s.setupRecord(q, o)
		case s.view != nil:
			return s.setupPlay(q, o)
		default:
			return s.answer(q, &reply{status: 455})
		}
	}
	return s.answer(q, &reply{status: 461})
}

// allows says whether a transport can be served under rtsp.rtpTransportType.
func (s *session) allows(o spec) bool {
	switch {
	case o.multicast:
		return s.view != nil && (s.cfg.Transport == AnyTransport || s.cfg.Transport == MulticastOnly)
	case o.tcp:
		return s.cfg.Transport == AnyTransport || s.cfg.Transport == TCPOnly
	default:
		return (s.cfg.Transport == AnyTransport || s.cfg.Transport == UDPOnly) && o.clientPort[0] > 0
	}
}

// interleaved takes a frame: media of a publisher, reports of a player.
func (s *session) interleaved(ch uint8, payload []byte) error {
	if s.pub != nil {
		return s.pub.interleaved(ch, payload)
	}
	return nil // a player's reports: its connection shows that it is alive
}

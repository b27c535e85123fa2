package httplive

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/outlet"
	"github.com/hookline/hookline/internal/stream"
)

// lingerTime is how long a client that was told to go may take to say that it has heard. Closing with unread data would
// reset the connection, and the client would lose the reason that it was just given.
const lingerTime = time.Second

// serveWebSocket takes the connection over at once, before anything is known of the stream: what goes wrong after that is
// the status of a close frame. ZLMediaKit does it so, and players know it.
func (s *session) serveWebSocket(w http.ResponseWriter, r *http.Request, mi fact.MediaInfo, k kind) {
	answer, status := upgrade(r, w.Header())
	hijacker, ok := w.(http.Hijacker)
	switch {
	case status == http.StatusUpgradeRequired:
		w.Header().Set("Sec-WebSocket-Version", "13")
		fallthrough
	case status != 0:
		http.Error(w, "not a WebSocket handshake that can be accepted", status)
		return
	case !ok:
		http.Error(w, "WebSockets need HTTP/1.1", http.StatusHTTPVersionNotSupported)
		return
	}
	conn, rw, err := hijacker.Hijack()
	if err != nil {
		http.Error(w, "can't take the connection over", http.StatusInternalServerError)
		return
	}
	left := make(chan struct{})
	defer func() { <-left }()
	defer s.cancel()
	defer conn.Close()
	if !s.take(conn) {
		close(left)
		return
	}
	out := outlet.New(conn, outlet.Config{Timeout: s.timeout, SetDeadline: s.setDeadline})
	if out.Send(func(dst []byte) []byte { return append(dst, answer...) }) != nil {
		close(left)
		return
	}
	go func() {
		defer close(left)
		s.listen(rw.Reader, out)
	}()
	err = s.playFrames(mi, k, from(r, out, k))
	if s.ctx.Err() != nil {
		<-left // who ended it has said why, or nobody is there
		return
	}
	closing, reason := closeNormal, ""
	if !errors.Is(err, stream.ErrEnded) {
		closing, reason = refusal(err)
	}
	s.parting.Store(true)
	if out.Send(func(dst []byte) []byte { return appendClose(dst, closing, reason) }) == nil {
		s.bound()
		<-left // with the client's answer to the close frame, at the latest
	}
}

// playFrames waits for the stream and serves it to its end.
func (s *session) playFrames(mi fact.MediaInfo, k kind, out stream.Outlet) error {
	v, err := s.hub.Play(s.ctx, stream.PlayRequest{MediaInfo: mi, Peer: s.peer, Format: framedName(k.format), Kick: s.kick})
	if err != nil {
		return err
	}
	defer v.Close()
	return v.Serve(s.ctx, out)
}

// listen reads what the client says until it leaves or has to.
func (s *session) listen(r *bufio.Reader, out *outlet.Outlet) {
	l := newListener(r, func(op opcode, payload []byte) error {
		if op == opClose && s.parting.Load() {
			return nil // it is the answer to ours
		}
		return out.Send(func(dst []byte) []byte { return appendControl(dst, op, payload) })
	})
	var wrong *closeError
	if errors.As(l.run(), &wrong) {
		s.cancel()
		if out.Send(func(dst []byte) []byte { return appendClose(dst, wrong.status, wrong.reason) }) == nil {
			s.bound()
			_, _ = io.CopyN(io.Discard, r, maxTalk)
		}
	}
	s.kick()
}

// bound ends reading after Handler.linger.
func (s *session) bound() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.end {
		_ = s.conn.SetReadDeadline(time.Now().Add(s.linger))
	}
}

// from returns where the media of a request goes: through startAt when it asks for that.
func from(r *http.Request, out stream.Outlet, k kind) stream.Outlet {
	if at := startPts(r); at > 0 && k.schema == "rtmp" {
		return &startAt{out: out, from: at, ws: wantsWebSocket(r)}
	}
	return out
}

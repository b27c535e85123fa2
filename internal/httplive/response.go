package httplive

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/hookline/hookline/internal/outlet"
	"github.com/hookline/hookline/internal/stream"
)

// serveShared serves a stream on a connection that carries other requests as well (HTTP/2): it can't be taken over, so the body is
// written through net/http, which frames it and waits for the client's windows. The end of the stream is the end of the body;
// everything else resets it, so that what was cut does not look complete.
func (s *session) serveShared(w http.ResponseWriter, r *http.Request, v *stream.Viewer, k kind) {
	out := &response{w: w, control: http.NewResponseController(w), timeout: s.timeout, late: time.AfterFunc(time.Hour, s.kick)}
	out.late.Stop()
	if !s.share(out.control) {
		http.Error(w, "the session was ended", http.StatusServiceUnavailable)
		return
	}
	defer s.unshare()
	w.Header().Set("Content-Type", k.contentType)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	if out.control.Flush() != nil { // the head goes out before there is media
		return
	}
	if err := v.Serve(s.ctx, from(r, out, k)); !errors.Is(err, stream.ErrEnded) {
		s.kick() // again, if that has ended it: the end of the body must not come first
	}
}

// share lets kick reset the stream of a request, unless the session was kicked.
func (s *session) share(control *http.ResponseController) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.end {
		s.shared = control
	}
	return !s.end
}

// unshare is called before the handler returns: net/http uses the writer for other requests then.
func (s *session) unshare() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shared = nil
}

// response is the stream.Outlet of a shared connection.
type response struct {
	w       http.ResponseWriter
	control *http.ResponseController
	timeout time.Duration
	late    *time.Timer // runs while something is written. Not a write deadline: in HTTP/2 that also ends who writes nothing
}

// Write implements stream.Outlet. Each outlet.Step of bytes has to get through within the time-out.
func (o *response) Write(ctx context.Context, blocks net.Buffers) (sent int64, err error) {
	o.late.Reset(o.timeout)
	defer o.late.Stop()
	for step := 0; len(blocks) > 0; blocks = blocks[1:] {
		for b := blocks[0]; len(b) > 0; {
			if sent > 0 && ctx.Err() != nil {
				return sent, ctx.Err()
			}
			n, err := o.w.Write(b[:min(len(b), outlet.Step)])
			sent += int64(n)
			if err != nil {
				return sent, err
			}
			b = b[n:]
			if step += n; step >= outlet.Step {
				step = 0
				o.late.Reset(o.timeout)
			}
		}
	}
	return sent, o.control.Flush()
}

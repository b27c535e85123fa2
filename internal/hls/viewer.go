package hls

import (
	"sync"
	"time"

	"github.com/hookline/hookline/internal/stream"
)

// viewer is somebody who keeps asking for a playlist and its segments.
type viewer struct {
	srv *Server
	ids [3]string // identities under which it is known: cookie, parameters, address

	// Set by begin, before it is known.
	pub     string // publication
	refusal error

	mu     sync.Mutex // guards what follows
	seen   time.Time
	viewer *stream.Viewer // nil: refused, or over
	over   bool           // the stream has ended, or the viewer was kicked
}

// begin notes how it was let in, and says whether that still stands.
func (v *viewer) begin(w *stream.Viewer, refusal error) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.viewer, v.refusal, v.seen = w, refusal, time.Now()
	if w != nil {
		v.pub = w.Publication()
	}
	return !v.over
}

// close ends the session and reports it.
func (v *viewer) close() {
	v.mu.Lock()
	w := v.viewer
	v.viewer, v.over = nil, true
	v.mu.Unlock()
	if w != nil {
		w.Close()
	}
}

// kick is called by the hub, under no lock of ours: the stream has ended or the API ends the session.
func (v *viewer) kick() {
	go func() { // the hub must not wait, and Close takes its locks
		v.srv.drop(v)
		v.close()
	}()
}

// touch notes a request, and says whether the session still stands. A refusal is not prolonged by asking again.
func (v *viewer) touch(now time.Time) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.over {
		return false
	}
	if v.refusal == nil {
		v.seen = now
	}
	return true
}

// sent counts bytes.
func (v *viewer) sent(n int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.viewer != nil {
		v.viewer.Sent(int(n))
	}
}

// drop forgets a viewer.
func (s *Server) drop(v *viewer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range v.ids {
		if s.viewers[id] == v {
			delete(s.viewers, id)
		}
	}
}

// known returns the viewer of an identity that still asks.
func (s *Server) known(id string, now time.Time) *viewer {
	s.mu.Lock()
	v := s.viewers[id]
	s.mu.Unlock()
	if v == nil || !v.touch(now) {
		return nil
	}
	return v
}

// full says whether nobody more can be let in.
func (s *Server) full(most int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed || len(s.viewers) >= len(viewer{}.ids)*most
}

// remember enters a viewer; false: there are too many, or the server is closed.
func (s *Server) remember(v *viewer, most int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.viewers) >= len(v.ids)*most {
		return false
	}
	ids := v.ids[:]
	if v.refusal != nil {
		ids = ids[:2] // others behind its address may watch
	}
	for _, id := range ids {
		s.viewers[id] = v
	}
	if s.sweeper == nil {
		s.sweeper = time.AfterFunc(sweepEvery, s.sweep)
	}
	return true
}

// stand makes v the one that its address means: of several behind it the one that asked last, so that it is there as long
// as one of them is.
func (s *Server) stand(v *viewer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.viewers[v.ids[0]] == v {
		s.viewers[v.ids[2]] = v
	}
}

const sweepEvery = time.Second

// sweep ends the viewers that have not asked for long enough.
func (s *Server) sweep() {
	idle, now := s.cfg.Load().ViewerIdle, time.Now()
	var gone []*viewer
	s.mu.Lock()
	for id, v := range s.viewers {
		v.mu.Lock()
		old := now.Sub(v.seen) > idle
		v.over = v.over || old // who asks from now on is let in anew
		v.mu.Unlock()
		if old {
			delete(s.viewers, id)
			gone = append(gone, v)
		}
	}
	if len(s.viewers) > 0 && !s.closed {
		s.sweeper.Reset(sweepEvery)
	} else {
		s.sweeper = nil
	}
	s.mu.Unlock()
	for _, v := range gone {
		v.close()
	}
}

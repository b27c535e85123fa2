package hls

import (
	"context"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hookline/hookline/internal/stream"
)

// Hub is what a Server needs of the stream hub.
type Hub interface {
	// Play asks whether the stream may be played and waits for it; see stream.Hub.
	Play(ctx context.Context, req stream.PlayRequest) (*stream.Viewer, error)
}

// Server makes and serves HLS. Its methods are safe for concurrent use.
type Server struct {
	hub Hub
	cfg atomic.Pointer[Config]
	wg  sync.WaitGroup // of segmenters

	waiting atomic.Int64  // requests that wait for what comes next
	hung    chan struct{} // closed by Hang

	claims sync.Mutex               // guards owners
	owners map[string]chan struct{} // by directory and variant: closed when the next may begin there

	mu        sync.Mutex // guards what follows
	closed    bool
	live      map[string]*segmenter // by key and variant: those that have a playlist
	retired   map[*segmenter]*retirement
	viewers   map[string]*viewer    // by identity
	admitting map[string]*admission // who is being let in, by identity
	sweeper   *time.Timer
}

// retirement is what is left to do for a segmenter that has ended.
type retirement struct {
	timer       *time.Timer
	own, shared []string // files; shared names may belong to the next publication
}

// New returns a server. SetHub must be called before anything is served.
func New(cfg Config) *Server {
	s := &Server{
		owners: map[string]chan struct{}{}, live: map[string]*segmenter{}, retired: map[*segmenter]*retirement{},
		viewers: map[string]*viewer{}, admitting: map[string]*admission{},
		hung: make(chan struct{}),
	}
	s.Reconfigure(cfg)
	return s
}

// SetHub tells where streams are played from. It is called once.
func (s *Server) SetHub(h Hub) { s.hub = h }

// Reconfigure replaces the configuration: for segmenters that start later, and for requests at once.
func (s *Server) Reconfigure(cfg Config) {
	d := DefaultConfig()
	if cfg.Address == nil {
		cfg.Address = d.Address
	}
	if cfg.Logger == nil {
		cfg.Logger = d.Logger
	}
	if cfg.Extension == "" {
		cfg.Extension = d.Extension
	}
	for _, v := range []struct{ v, d *time.Duration }{{&cfg.Segment, &d.Segment}, {&cfg.ViewerIdle, &d.ViewerIdle}, {&cfg.Wait, &d.Wait}, {&cfg.Part, &d.Part}} {
		if *v.v <= 0 {
			*v.v = *v.d
		}
	}
	if cfg.Root == "" {
		cfg.Root = d.Root
	}
	for _, v := range []struct{ v, d *int }{{&cfg.QueueBytes, &d.QueueBytes}, {&cfg.MaxViewers, &d.MaxViewers}, {&cfg.MaxWaiting, &d.MaxWaiting}} {
		if *v.v <= 0 {
			*v.v = *v.d
		}
	}
	s.cfg.Store(&cfg)
}

// Formats returns the formats for the hub: their schemas are registered by the recorders of this package.
func (s *Server) Formats() []stream.Format {
	return []stream.Format{{Name: TS, Schema: TS}, {Name: FMP4, Schema: FMP4}}
}

// Recorders returns what the hub has to know to make segments.
func (s *Server) Recorders() []stream.Recorder {
	return []stream.Recorder{
		{
			Name: TS, Wanted: func(o *stream.Options) bool { return o.EnableHLS },
			Start: func(j stream.Job) stream.Sink { return s.start(TS, j) },
		},
		{
			Name: FMP4, Wanted: func(o *stream.Options) bool { return o.EnableHLSFMP4 },
			Start: func(j stream.Job) stream.Sink { return s.start(FMP4, j) },
		},
	}
}

func liveKey(stream, variant string) string { return stream + "\x00" + variant }

// show makes a segmenter the one whose playlist is served.
func (s *Server) show(g *segmenter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live[liveKey(g.job.Stream.Key(), g.variant)] = g
}

// retire removes files some time after the end of the stream. The playlist is served until then.
func (s *Server) retire(g *segmenter, own, shared []string) {
	s.mu.Lock()
	r := &retirement{own: own, shared: shared}
	s.retired[g] = r
	closed := s.closed
	if !closed {
		r.timer = time.AfterFunc(g.cfg.DeleteDelay, func() { s.bury(g) })
	}
	s.mu.Unlock()
	if closed {
		s.bury(g)
	}
}

// claim makes g the one that may write in its directory, and returns what it has to wait for, nil for nothing.
func (s *Server) claim(g *segmenter) (before chan struct{}) {
	s.claims.Lock()
	defer s.claims.Unlock()
	before = s.owners[g.place()]
	s.owners[g.place()] = g.free
	return before
}

func (g *segmenter) place() string { return liveKey(g.dir, g.variant) }

// bury removes the files of a segmenter. What its successor writes under the same names stays.
func (s *Server) bury(g *segmenter) {
	s.mu.Lock()
	r := s.retired[g]
	delete(s.retired, g)
	key := liveKey(g.job.Stream.Key(), g.variant)
	if s.live[key] == g {
		delete(s.live, key)
	}
	s.mu.Unlock()
	if r == nil {
		return
	}
	cleared := make(chan struct{})
	s.claims.Lock()
	last := s.owners[g.place()] == g.free
	if last {
		s.owners[g.place()] = cleared // a successor waits until its names are free
	}
	s.claims.Unlock()
	for _, f := range r.own {
		_ = os.Remove(f)
		prune(filepath.Dir(f), g.dir)
	}
	if !last {
		return
	}
	for _, f := range r.shared {
		_ = os.Remove(f)
	}
	if len(r.shared) > 0 {
		_ = os.Remove(g.dir)
	}
	close(cleared)
	s.claims.Lock()
	if s.owners[g.place()] == cleared {
		delete(s.owners, g.place())
	}
	s.claims.Unlock()
}

// find returns the segmenter whose playlist is to be served.
func (s *Server) find(stream, variant string) *segmenter {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.live[liveKey(stream, variant)]
}

// Hang ends all viewers and lets nobody in any more, so that the hub need not wait for those that ask only now and then.
func (s *Server) Hang() {
	s.mu.Lock()
	if !s.closed {
		close(s.hung)
	}
	s.closed = true
	if s.sweeper != nil {
		s.sweeper.Stop()
	}
	var gone []*viewer
	for id, v := range s.viewers {
		gone = append(gone, v)
		delete(s.viewers, id)
	}
	s.mu.Unlock()
	for _, v := range gone {
		v.close()
	}
}

// Close ends all viewers, and removes the files of streams that have ended. It is called when the hub has stopped, and
// waits for the segmenters.
func (s *Server) Close() error {
	s.Hang()
	s.wg.Wait()
	s.mu.Lock()
	var dead []*segmenter
	for g, r := range s.retired {
		if r.timer == nil || r.timer.Stop() {
			dead = append(dead, g)
		}
	}
	s.mu.Unlock()
	for _, g := range dead {
		s.bury(g)
	}
	return nil
}

// remote is the address of the connection.
func remote(r *http.Request) (ip string, port int) {
	host, p, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr, 0
	}
	port, _ = strconv.Atoi(p)
	return host, port
}

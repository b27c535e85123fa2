package stream

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/google/uuid"
)

// Hub is the registry of streams and the way in for publishers and viewers. It is safe for concurrent use.
type Hub struct {
	facts   Facts
	gate    Gate
	formats map[string]Format
	schemas []string // of the formats with a packager, each once, in their order
	// recorders and demand are set before the first Publish and Play.
	recorders []Recorder
	demand    Demand
	cfg       atomic.Pointer[Config]
	newID     func() (string, error)

	ctx    context.Context // ended by Stop
	cancel context.CancelFunc

	mu        sync.Mutex
	stopping  bool                      // guarded by mu
	streams   map[string]*stream        // guarded by mu
	pubs      map[*publication]struct{} // guarded by mu: the live ones
	lingering map[*publication]struct{} // guarded by mu: ended, with viewers that drain

	ops      sync.WaitGroup // calls and timers in progress; Add only while stopping is false, under mu
	watching sync.WaitGroup // viewers
	// finishing counts the publications whose last event was not raised yet; Add only while stopping is false, under mu.
	finishing sync.WaitGroup

	sources, viewers, waiting atomic.Int64
	media                     budget
}

// New returns a hub that states facts to facts, asks gate, and offers formats. The schemas of the formats register in
// the order of formats.
func New(cfg Config, facts Facts, gate Gate, formats []Format) *Hub {
	h := &Hub{
		facts: facts, gate: gate, formats: make(map[string]Format, len(formats)),
		streams: map[string]*stream{}, pubs: map[*publication]struct{}{}, lingering: map[*publication]struct{}{},
		newID: func() (string, error) {
			id, err := uuid.NewV7()
			return id.String(), err
		},
	}
	seen := map[string]bool{}
	for _, f := range formats {
		h.formats[f.Name] = f
		if f.New != nil && !seen[f.Schema] {
			seen[f.Schema] = true
			h.schemas = append(h.schemas, f.Schema)
		}
	}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	h.Reconfigure(cfg)
	return h
}

// Reconfigure replaces the configuration. It applies to timers that start later, and to limits at once.
func (h *Hub) Reconfigure(cfg Config) {
	cfg = cfg.bounded()
	h.cfg.Store(&cfg)
	h.media.most.Store(int64(cfg.MediaMaxBytes))
}

// Stop ends every publication with server_stop, lets the viewers drain, and waits until all calls have returned, all
// viewers have left and all files are complete. When ctx ends first the viewers that are left are closed, so that their
// reports are raised before Stop returns, and ctx's error is returned; files that are open then are left to the next start.
func (h *Hub) Stop(ctx context.Context) error {
	h.mu.Lock()
	h.stopping = true
	live := make([]*publication, 0, len(h.pubs))
	for p := range h.pubs {
		live = append(live, p)
	}
	h.mu.Unlock()
	slices.SortFunc(live, func(a, b *publication) int { return cmp.Compare(a.live.key, b.live.key) })
	h.cancel()
	for _, p := range live {
		p.stop()
	}
	done, complete := make(chan struct{}), make(chan struct{})
	go func() {
		h.ops.Wait()
		h.watching.Wait()
		close(done)
		h.finishing.Wait()
		close(complete)
	}()
	select {
	case <-complete:
		return nil
	case <-ctx.Done():
	}
	h.closeViewers()
	<-done
	return ctx.Err()
}

func (h *Hub) closeViewers() {
	var left []*Viewer
	h.mu.Lock()
	pubs := make([]*publication, 0, len(h.lingering))
	for p := range h.lingering {
		pubs = append(pubs, p)
	}
	h.mu.Unlock()
	for _, p := range pubs {
		p.live.mu.Lock()
		for v := range p.viewers {
			left = append(left, v)
		}
		p.live.mu.Unlock()
	}
	for _, v := range left {
		if v.req.Kick != nil {
			v.req.Kick()
		}
		v.Close()
	}
}

// enter counts a call or a timer in, unless the hub is stopping. leave counts it out.
func (h *Hub) enter() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stopping {
		return false
	}
	h.ops.Add(1)
	return true
}

func (h *Hub) leave() { h.ops.Done() }

// bound returns ctx cut short by Stop.
func (h *Hub) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	off := context.AfterFunc(h.ctx, cancel)
	return ctx, func() {
		off()
		cancel()
	}
}

// acquire returns the stream of a key and holds it; drop gives it back.
func (h *Hub) acquire(key string) *stream {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.streams[key]
	if s == nil {
		s = &stream{key: key, waiters: map[*waiter]struct{}{}}
		h.streams[key] = s
	}
	s.refs++
	return s
}

func (h *Hub) hold(s *stream) {
	h.mu.Lock()
	s.refs++
	h.mu.Unlock()
}

func (h *Hub) drop(s *stream) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.dropLocked(s)
}

func (h *Hub) dropLocked(s *stream) {
	s.refs--
	if s.refs == 0 {
		delete(h.streams, s.key)
	}
}

// remember enters a publication into the registry, unless the hub is stopping.
func (h *Hub) remember(p *publication) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stopping {
		return false
	}
	h.pubs[p] = struct{}{}
	h.finishing.Add(1)
	p.live.refs += 2 // one until finish: its last event is raised under this lock
	p.orig.refs++
	return true
}

// forget takes an ended publication out.
func (h *Hub) forget(p *publication) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.pubs, p)
	if len(p.viewers) > 0 {
		h.lingering[p] = struct{}{}
	}
	h.dropLocked(p.live)
	h.dropLocked(p.orig)
}

// drained says that the last viewer of an ended publication has left.
func (h *Hub) drained(p *publication) {
	h.mu.Lock()
	delete(h.lingering, p)
	h.mu.Unlock()
}

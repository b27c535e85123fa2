package stream

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/media"
)

// Filter selects media sources; an empty field matches everything.
type Filter struct {
	Schema string
	Vhost  string
	App    string
	Stream string
}

func (f *Filter) matches(name fact.Stream) bool {
	return (f.Vhost == "" || f.Vhost == name.Vhost) && (f.App == "" || f.App == name.App) &&
		(f.Stream == "" || f.Stream == name.Stream)
}

func (f *Filter) matchesSchema(schema string) bool { return f.Schema == "" || f.Schema == schema }

// Info is one media source: one registered schema of a stream.
type Info struct {
	fact.StreamObject
	Publication string `json:"-"`
}

// Player is one viewer session, as getMediaPlayerList shows it.
type Player struct {
	fact.Socket
	TypeID string `json:"typeid"`
}

// Stats are counters of what is alive.
type Stats struct {
	Sources      int // registered schemas
	Publications int
	Viewers      int
	Waiting      int // players that wait for a stream
	MediaBytes   int // in caches and wire logs
}

// Stats returns the counters.
func (h *Hub) Stats() Stats {
	h.mu.Lock()
	n := len(h.pubs)
	h.mu.Unlock()
	return Stats{
		Sources: int(h.sources.Load()), Publications: n,
		Viewers: int(h.viewers.Load()), Waiting: int(h.waiting.Load()), MediaBytes: int(h.media.held.Load()),
	}
}

// selected returns the publications whose stream f selects, ordered by key.
func (h *Hub) selected(f Filter) []*publication {
	var found []*publication
	h.mu.Lock()
	for p := range h.pubs {
		if f.matches(p.name) {
			found = append(found, p)
		}
	}
	h.mu.Unlock()
	slices.SortFunc(found, func(a, b *publication) int { return cmp.Compare(a.live.key, b.live.key) })
	return found
}

// each calls visit with every media source that f selects, under the lock of its stream.
func (h *Hub) each(f Filter, visit func(p *publication, s *source)) {
	for _, p := range h.selected(f) {
		p.live.mu.Lock()
		for _, s := range p.sources {
			if f.matchesSchema(s.schema) {
				visit(p, s)
			}
		}
		p.live.mu.Unlock()
	}
}

// List returns the media sources that f selects, ordered by stream key and registration.
func (h *Hub) List(f Filter) []Info {
	var list []Info
	now := time.Now()
	h.each(f, func(p *publication, s *source) {
		list = append(list, Info{StreamObject: p.describe(s, now), Publication: p.id})
	})
	return list
}

// Get returns the first media source that f selects.
func (h *Hub) Get(f Filter) (Info, bool) {
	if f.Vhost != "" && f.App != "" && f.Stream != "" {
		return h.lookUp(f)
	}
	if l := h.List(f); len(l) > 0 {
		return l[0], true
	}
	return Info{}, false
}

func (h *Hub) lookUp(f Filter) (Info, bool) {
	st := h.acquire(fact.Stream{Vhost: f.Vhost, App: f.App, Stream: f.Stream}.Key())
	defer h.drop(st)
	st.mu.Lock()
	defer st.mu.Unlock()
	p := st.publication()
	if p == nil {
		return Info{}, false
	}
	for _, s := range p.sources {
		if f.matchesSchema(s.schema) {
			return Info{StreamObject: p.describe(s, time.Now()), Publication: p.id}, true
		}
	}
	return Info{}, false
}

// Players returns the viewers of the media sources that f selects, ordered by session id.
func (h *Hub) Players(f Filter) []Player {
	list := []Player{}
	h.each(f, func(p *publication, s *source) {
		for v := range p.viewers {
			if v.source == s && !v.req.Relay {
				list = append(list, Player{Socket: socket(&v.req.Peer), TypeID: v.req.TypeID})
			}
		}
	})
	slices.SortFunc(list, func(a, b Player) int { return cmp.Compare(a.Identifier, b.Identifier) })
	return list
}

// CloseStreams ends the streams that f selects, for reason. Without force a stream with readers is kept. hit counts
// the media sources that matched, closed those of streams that were ended. A stream of which only files are made has no source, and
// counts as one of the schema of its publisher.
func (h *Hub) CloseStreams(f Filter, force bool, reason fact.EndReason) (hit, closed int) {
	for _, p := range h.selected(f) {
		var d deferred
		p.lock()
		n := p.matching(&f)
		hit += n
		if n > 0 && (force || p.readers() == 0) {
			closed += n
			p.end(reason, &d)
		}
		p.unlock()
		d.run()
	}
	return hit, closed
}

// matching counts what CloseStreams counts. The stream's lock is held.
func (p *publication) matching(f *Filter) (n int) {
	if p.open && !p.ended && len(p.sources) == 0 && f.matchesSchema(p.first.Schema) {
		return 1
	}
	for _, s := range p.sources {
		if f.matchesSchema(s.schema) {
			n++
		}
	}
	return n
}

func socket(p *Peer) fact.Socket {
	return fact.Socket{PeerIP: p.IP, PeerPort: p.Port, LocalIP: p.LocalIP, LocalPort: p.LocalPort, Identifier: p.ID}
}

// describe returns ZLMediaKit's stream object of one source. The stream's lock is held.
func (p *publication) describe(s *source, now time.Time) fact.StreamObject {
	req := &p.first
	if p.session != nil {
		req = &p.session.req
	}
	var sock *fact.Socket // a source of the server has none
	if req.Options == nil {
		x := socket(&req.Peer)
		sock = &x
	}
	o := fact.StreamObject{
		Schema: s.schema, Stream: p.name, Params: p.first.Params,
		CreateStamp: uint64(max(s.since.Unix(), 0)), AliveSecond: seconds(now.Sub(s.since)),
		BytesSpeed: p.speed.read(now), TotalBytes: p.bytes,
		ReaderCount: s.readers, TotalReaderCount: p.readers(),
		OriginType: int(p.first.OriginType), OriginTypeStr: p.first.OriginType.String(), OriginURL: p.first.OriginURL,
		OriginSock: sock, Tracks: make([]fact.Track, 0, len(p.tracks)),
	}
	for _, r := range p.recordings {
		if !r.closed {
			o.IsRecordingMP4 = o.IsRecordingMP4 || r.kind.Name == "mp4"
			o.IsRecordingHLS = o.IsRecordingHLS || strings.HasPrefix(r.kind.Name, "hls")
		}
	}
	for _, t := range p.tracks {
		o.Tracks = append(o.Tracks, t.describe(&p.meta))
	}
	return o
}

func (t *track) describe(a *announcement) fact.Track {
	unknown := -1.0
	c := t.cur
	f := fact.Track{
		CodecID: int(c.Codec), CodecIDName: c.Codec.String(), CodecType: int(c.Codec.Kind()),
		Ready: c.Ready(), Frames: t.frames, Duration: uint64(max(t.last-t.first, 0) / time.Millisecond), Loss: &unknown,
	}
	if c.Codec.Kind() == media.Audio {
		f.SampleRate, f.Channels, f.SampleBit = &c.SampleRate, &c.Channels, &c.SampleBits
		return f
	}
	width, height, fps := cmp.Or(c.Width, a.width), cmp.Or(c.Height, a.height), cmp.Or(c.FPS, a.fps)
	keys, gop, interval := t.keyFrames, t.gopSize, int(t.gopTime/time.Millisecond)
	f.Width, f.Height, f.FPS = &width, &height, &fps
	f.KeyFrames, f.GopSize, f.GopIntervalMS = &keys, &gop, &interval
	return f
}

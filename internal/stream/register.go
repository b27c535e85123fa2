package stream

import (
	"bytes"
	"slices"
	"time"

	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/media"
)

// track is the live side of a media.Track.
type track struct {
	cur       *media.Track
	seen      *media.Track // what the publisher calls it now; another session has another value for the same track
	frames    uint64
	first     time.Duration // DTS
	last      time.Duration // DTS
	keyFrames uint64
	keyAt     time.Duration // DTS of the newest key frame
	gopFrames int           // frames since then
	gopSize   int
	gopTime   time.Duration
}

// defaultMaxTracks is max_track's default: one video and one audio track.
const defaultMaxTracks = 2

func (p *publication) maxTracks() int {
	n := p.opts.MaxTrack
	if n <= 0 || n > defaultMaxTracks {
		n = defaultMaxTracks
	}
	return n
}

func (p *publication) track(k media.Kind) *track {
	for _, t := range p.tracks {
		if t.cur.Codec.Kind() == k {
			return t
		}
	}
	return nil
}

// program is what packagers are told: the tracks that can be decoded.
func (p *publication) program() Program {
	g := Program{Metadata: p.meta.raw}
	for _, t := range p.tracks {
		if t.cur.Ready() {
			g.Tracks = append(g.Tracks, t.cur)
		}
	}
	return g
}

// announce takes the publisher's metadata.
func (p *publication) announce(a announcement, d *deferred) {
	same := bytes.Equal(a.raw, p.meta.raw)
	p.meta = a
	if p.open {
		if !same {
			p.change(false, d)
		}
		return
	}
	p.tryRegister(time.Now(), d)
}

// ingest takes one frame of the publisher.
func (p *publication) ingest(f *media.Frame, d *deferred) {
	if f == nil || f.Track == nil {
		return
	}
	now := time.Now()
	kind := f.Track.Codec.Kind()
	if kind == media.Audio && !p.opts.EnableAudio {
		return
	}
	t, changed := p.observe(f.Track, now)
	if t == nil {
		return // beyond max_track
	}
	if kind == media.Audio {
		p.unmute()
	}
	open := p.open
	if changed && open && t.cur.Ready() {
		p.drainPacer(d)
		p.change(true, d)
	}
	if f.Config || len(f.Data) == 0 {
		if !open {
			p.tryRegister(now, d)
		}
		return
	}
	p.bytes += uint64(len(f.Data))
	p.speed.add(len(f.Data), now)
	if !open {
		p.makeRoom(kind, f.DTS)
	}
	g := *f
	g.Track = t.cur
	g.DTS = p.clock.stamp(kind, f.DTS, now)
	g.PTS = g.DTS + (f.PTS - f.DTS)
	if p.jumped {
		p.jumped, p.skew = false, f.DTS-g.DTS
	}
	g.Skew = p.skew
	t.count(&g)
	if open {
		p.pace(&g, now, d)
		return
	}
	p.keep(&g)
	p.tryRegister(now, d)
}

// makeRoom lets a track that begins before what is held back begin at 0, and moves that by as much. The frames are copies of
// ours that nobody else has seen.
func (p *publication) makeRoom(kind media.Kind, dts time.Duration) {
	d := p.clock.early(kind, dts)
	if d == 0 {
		return
	}
	p.clock.postpone(d)
	for _, f := range p.cached {
		f.DTS += d
		f.PTS += d
	}
	for _, t := range p.tracks {
		if t.frames > 0 {
			t.first, t.last, t.keyAt = t.first+d, t.last+d, t.keyAt+d
		}
	}
}

// observe finds or adds the track of tr and says whether its configuration is new.
func (p *publication) observe(tr *media.Track, now time.Time) (*track, bool) {
	t := p.track(tr.Codec.Kind())
	if t == nil {
		if len(p.tracks) >= p.maxTracks() {
			return nil, false
		}
		if len(p.tracks) == 0 {
			p.since = now
		}
		t = &track{cur: tr, seen: tr}
		p.tracks = append(p.tracks, t)
		return t, true
	}
	if t.seen == tr {
		return t, false
	}
	t.seen = tr
	if sameForm(t.cur, tr) {
		return t, false
	}
	t.cur = tr
	return t, true
}

// sameForm says that frames of both tracks decode alike. Not every codec has a configuration that says all.
func sameForm(a, b *media.Track) bool {
	return a.Codec == b.Codec && bytes.Equal(a.Config, b.Config) && a.Width == b.Width && a.Height == b.Height &&
		a.SampleRate == b.SampleRate && a.Channels == b.Channels
}

func (t *track) count(f *media.Frame) {
	if t.frames == 0 {
		t.first = f.DTS
	}
	t.frames++
	t.last = f.DTS
	t.gopFrames++
	if !f.Key {
		return
	}
	if t.keyFrames > 0 {
		t.gopSize, t.gopTime = t.gopFrames, f.DTS-t.keyAt
	}
	t.keyFrames++
	t.keyAt, t.gopFrames = f.DTS, 0
}

// keep holds a frame back until registration. When there are too many, the oldest go.
func (p *publication) keep(f *media.Frame) {
	p.cached = append(p.cached, f)
	if n := len(p.cached) - p.hub.cfg.Load().UnreadyFrameCache; n > 0 {
		copy(p.cached, p.cached[n:])
		clear(p.cached[len(p.cached)-n:])
		p.cached = p.cached[:len(p.cached)-n]
	}
}

// readiness says whether the stream can register now, or else how long to wait at most; 0: until something comes.
func (p *publication) readiness(now time.Time) (ok bool, wait time.Duration) {
	ready := 0
	for _, t := range p.tracks {
		if t.cur.Ready() {
			ready++
		}
	}
	if ready == 0 {
		return false, 0
	}
	most := p.maxTracks()
	if !p.opts.EnableAudio {
		most = 1
	}
	cfg, a := p.hub.cfg.Load(), &p.meta
	var bound time.Duration
	switch {
	case ready < len(p.tracks):
		bound = cfg.WaitTrackReady
	case ready >= most:
		return true, 0
	case !a.video && !a.audio:
		bound = cfg.WaitAddTrack
	case a.video && p.track(media.Video) == nil:
		bound = cfg.WaitTrackReady
	case a.audio && p.track(media.Audio) == nil:
		bound = cfg.WaitAudioData
	default:
		return true, 0
	}
	wait = bound - now.Sub(p.since)
	return wait <= 0, wait
}

// tryRegister registers the schemas when the tracks are ready, or sees to it that this is tried again in time.
func (p *publication) tryRegister(now time.Time, d *deferred) {
	if p.ended || p.session == nil || p.open {
		return
	}
	ok, wait := p.readiness(now)
	if ok {
		stop(p.register)
		p.registerAll(now, d)
		return
	}
	if wait <= 0 {
		return
	}
	if p.register == nil {
		p.register = time.AfterFunc(wait, p.registerLate)
	} else {
		p.register.Reset(wait)
	}
}

// registerLate runs when the wait for tracks is over although no frame came.
func (p *publication) registerLate() {
	if !p.hub.enter() {
		return
	}
	defer p.hub.leave()
	var d deferred
	p.live.mu.Lock()
	p.tryRegister(time.Now(), &d)
	p.live.mu.Unlock()
	d.run()
}

// registerAll registers every schema that the options allow, begins the recordings, hands the waiting players their viewers
// and delivers what was held back. A stream of which only files are made has no schema, or one that registers later.
func (p *publication) registerAll(now time.Time, d *deferred) {
	p.addMute()
	for _, schema := range p.hub.schemas {
		if p.opts.enabled(schema) && p.playable(schema) {
			p.registerOne(schema, now)
		}
	}
	p.open = len(p.sources) > 0 || p.wanted()
	if !p.open {
		p.cached = p.cached[:0]
		return
	}
	p.readersChanged("")
	p.startWanted()
	p.serveWaiters()
	cached := p.cached
	p.cached = nil
	for _, f := range cached {
		// What came before a change of the configuration can't be decoded with the one that viewers are told.
		if f.Track == p.track(f.Track.Codec.Kind()).cur {
			p.deliver(f, now, d)
		}
	}
}

// registerOne registers one schema.
func (p *publication) registerOne(schema string, now time.Time) {
	s := &source{schema: schema, since: now}
	p.sources = append(p.sources, s)
	if !slices.Contains(p.schemas, schema) {
		p.schemas = append(p.schemas, schema)
	}
	p.hub.sources.Add(1)
	p.hub.facts.Raise(&fact.Registered{Publication: p.id, StreamObject: p.describe(s, now), Regist: true})
}

// unregister takes one schema away while the stream goes on. Its viewers may take what is left, for as long as at the end
// of a stream one may that makes no progress. The stream's lock is held.
func (p *publication) unregister(schema string) {
	s := p.source(schema)
	if s == nil || p.ended {
		return
	}
	p.sources = slices.DeleteFunc(p.sources, func(x *source) bool { return x == s })
	p.hub.sources.Add(-1)
	p.hub.facts.Raise(&fact.Unregistered{Publication: p.id, Schema: schema, Stream: p.name, Params: p.first.Params})
	if s.readers > 0 {
		time.AfterFunc(p.hub.cfg.Load().ViewerLinger, func() { p.kickFrom(s) })
	}
}

// kickFrom ends the sessions of a schema that is gone.
func (p *publication) kickFrom(s *source) {
	var d deferred
	p.live.mu.Lock()
	for v := range p.viewers {
		if v.source == s {
			d.call(v.req.Kick)
		}
	}
	p.live.mu.Unlock()
	d.run()
}

// serveWaiters hands viewers to the players that wait for what is registered now.
func (p *publication) serveWaiters() {
	for w := range p.live.waiters {
		w.serve(p)
	}
}

// playable says that a format of a schema carries a track that is ready.
func (p *publication) playable(schema string) bool {
	tracks := p.program().Tracks
	for _, f := range p.hub.formats {
		if f.Schema == schema && (f.Carries == nil || slices.ContainsFunc(tracks, f.Carries)) {
			return true
		}
	}
	return false
}

// enabled says whether the options allow a schema. Schemas that they don't name are always allowed.
func (o *Options) enabled(schema string) bool {
	switch schema {
	case "rtsp":
		return o.EnableRTSP
	case "rtmp":
		return o.EnableRTMP
	case "ts":
		return o.EnableTS
	case "fmp4":
		return o.EnableFMP4
	case "hls":
		return o.EnableHLS
	case "hls.fmp4":
		return o.EnableHLSFMP4
	default:
		return true
	}
}

func (p *publication) source(schema string) *source {
	for _, s := range p.sources {
		if s.schema == schema {
			return s
		}
	}
	return nil
}

// deliver hands a stamped frame on, and the silence that goes with it.
func (p *publication) deliver(f *media.Frame, now time.Time, d *deferred) {
	mute := p.mute != nil && f.Track.Codec.Kind() == media.Video
	if mute {
		p.silence(f.DTS, now, d)
	}
	if p.hand(f, now, d) && mute && !p.mute.begun {
		p.mute.begun, p.mute.next = true, f.DTS
	}
}

// hand puts a stamped frame into the GOP cache and the wire logs. It is false for one that nobody could decode.
func (p *publication) hand(f *media.Frame, now time.Time, d *deferred) bool {
	cfg := p.hub.cfg.Load()
	if !f.Track.Ready() {
		return false // of a track that is not in the program
	}
	key, ok := p.gop.add(f, cfg)
	if !ok {
		return false
	}
	for _, o := range p.outputs {
		o.write(f, key, now, cfg, d)
	}
	p.record(f, key)
	return true
}

package stream

import (
	"slices"
	"sync"
	"time"

	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/media"
)

// stream is the place of one key. It exists while somebody publishes, plays or waits there.
type stream struct {
	key  string
	refs int // guarded by Hub.mu

	mu      sync.Mutex
	owner   *publication         // guarded by mu; also set where the key is only claimed (stream_replace)
	waiters map[*waiter]struct{} // guarded by mu
}

// publication is one lifecycle of a stream key.
type publication struct {
	hub   *Hub
	id    string
	opts  Options
	live  *stream // its mu guards everything below that says nothing else
	orig  *stream // the key that was asked for; live unless stream_replace renamed it
	name  fact.Stream
	first PublishRequest // of the first session
	start time.Time
	// release gives the reserved room of the terminal events back; called once, after the last of them.
	release func()

	// The three below are written with the locks of live and orig held, so that one of them suffices to read.
	session      *Publisher // nil during the grace period and after the end
	ended        bool
	continuePush time.Duration

	cause  fact.EndReason // of the first ending, "" before
	grace  *time.Timer
	losses int    // how often the publisher was lost
	past   uint64 // bytes of finished sessions
	clock  clock
	skew   time.Duration // of the frames since the last jump
	jumped bool          // and none has come yet
	tracks []*track      // at most one of each kind, in the order of arrival
	meta   announcement
	// since is when the first track was seen; register fires when the wait for others is over.
	since    time.Time
	register *time.Timer
	cached   []*media.Frame // until open
	// open: the tracks are ready, and schemas have registered or files are made.
	open    bool
	sources []*source // registered, in that order
	bytes   uint64    // of media
	speed   speedometer
	gop     gopCache
	mute    *muteAudio // nil: none is added
	pacer   *pacer     // nil: nothing waits for its time
	outputs []*output
	viewers map[*Viewer]struct{}
	relays  int // of viewers: those that are no readers
	idle    idleWatch
	schemas []string    // ever registered
	linger  *time.Timer // after the end, while viewers drain

	recordings []*recording    // that are not done
	counting   int             // recordings that count as readers
	files      fact.Recordings // complete
	// last closes the publication; it is raised when its files are complete, which may be long after the end.
	last *fact.PublicationEnded
}

// announcement is what the publisher's metadata says.
type announcement struct {
	raw           []byte
	video, audio  bool
	width, height int
	fps           float64
}

// source is one registered schema.
type source struct {
	schema  string
	since   time.Time
	readers int
}

// deferred is what has to happen after the locks are given back.
type deferred struct {
	wakes []chan struct{}
	calls []func()
}

func (d *deferred) wake(c chan struct{}) {
	if c != nil {
		d.wakes = append(d.wakes, c)
	}
}

func (d *deferred) call(f func()) {
	if f != nil {
		d.calls = append(d.calls, f)
	}
}

// run must be called with no lock held. It leaves d empty, with its memory.
func (d *deferred) run() {
	for i, c := range d.wakes {
		close(c)
		d.wakes[i] = nil
	}
	for i, f := range d.calls {
		f()
		d.calls[i] = nil
	}
	d.wakes, d.calls = d.wakes[:0], d.calls[:0]
}

func lockPair(a, b *stream) {
	if a == b {
		a.mu.Lock()
		return
	}
	if a.key > b.key {
		a, b = b, a
	}
	a.mu.Lock()
	b.mu.Lock()
}

func unlockPair(a, b *stream) {
	a.mu.Unlock()
	if a != b {
		b.mu.Unlock()
	}
}

func (p *publication) lock()   { lockPair(p.live, p.orig) }
func (p *publication) unlock() { unlockPair(p.live, p.orig) }

// detach ends the current session: its flow report is the first fact of every ending. Both locks are held.
func (p *publication) detach() {
	s := p.session
	p.session = nil
	n := s.received()
	p.past += n
	if n < p.hub.cfg.Load().FlowThreshold || s.req.Options != nil { // a source of the server has no session
		return
	}
	p.hub.facts.Raise(&fact.FlowReport{
		Publication: p.id, Live: p.name, MediaInfo: s.req.MediaInfo, Client: s.req.Client,
		TotalBytes: n, Duration: seconds(time.Since(s.start)), Player: false,
	})
}

// lose ends the session of a publisher that is gone without a word: it may come back within the grace period. Both
// locks are held.
func (p *publication) lose(reason fact.EndReason, d *deferred) {
	p.cause = reason
	p.detach() // first: a session that ends by itself is not kicked
	if p.continuePush <= 0 {
		p.end(reason, d)
		return
	}
	p.drainPacer(d)
	p.flush(d)
	stop(p.register)
	p.losses++
	n := p.losses
	p.grace = time.AfterFunc(p.continuePush, func() { p.expire(n) })
}

// expire ends the publication when nobody resumed it after its loss n.
func (p *publication) expire(n int) {
	if !p.hub.enter() {
		return // Stop ends it
	}
	defer p.hub.leave()
	var d deferred
	p.lock()
	if !p.ended && p.session == nil && p.losses == n {
		p.end(p.cause, &d)
	}
	p.unlock()
	d.run()
}

// end raises the terminal facts in their one order and frees the keys. The very last follows when the files are complete:
// the unregisters must not wait for them, and neither must the next publication of the key. Both locks are held.
func (p *publication) end(reason fact.EndReason, d *deferred) {
	if p.cause == "" {
		p.cause = reason
	}
	stop(p.grace)
	stop(p.register)
	stop(p.idle.timer)
	p.ended = true
	if s := p.session; s != nil {
		p.detach()
		d.call(s.req.Kick)
	}
	p.drainPacer(d)
	p.flush(d)
	h := p.hub
	for _, s := range slices.Backward(p.sources) {
		h.facts.Raise(&fact.Unregistered{
			Publication: p.id, Schema: s.schema, Stream: p.name, Params: p.first.Params,
		})
	}
	h.sources.Add(-int64(len(p.sources)))
	p.sources = nil
	now := time.Now()
	p.last = &fact.PublicationEnded{
		Publication: p.id, Stream: p.name, Params: p.first.Params,
		OriginType: int(p.first.OriginType), OriginTypeStr: p.first.OriginType.String(),
		Start: p.start.UnixMilli(), End: now.UnixMilli(), Duration: now.Sub(p.start).Seconds(),
		Reason: p.cause, Bytes: p.past, Schemas: p.schemas,
	}
	for _, r := range p.recordings {
		r.close()
	}
	p.live.owner, p.orig.owner = nil, nil
	for _, o := range p.outputs {
		stop(o.idle)
		stop(o.merge)
		d.wake(o.log.close())
	}
	p.cached = nil
	p.gop.drop()
	p.gop = gopCache{}
	h.media.join(-1)
	if len(p.viewers) == 0 {
		p.releaseLogs()
	} else {
		for v := range p.viewers {
			v.drained = v.sent.Load()
		}
		p.linger = time.AfterFunc(h.cfg.Load().ViewerLinger, func() { p.kickViewers(1) })
	}
	h.forget(p)
	if len(p.recordings) == 0 {
		p.finish(d)
	}
}

// releaseLogs says that nobody takes anything from the logs any more. The stream's lock is held.
func (p *publication) releaseLogs() {
	for _, o := range p.outputs {
		o.log.release()
	}
}

// lingerLooks bounds the time that viewers have to drain what is left, in multiples of Config.ViewerLinger.
const lingerLooks = 12

// kickViewers ends the sessions that drain what was left and have sent nothing since the last look. Those that are slow,
// but make progress, are looked at again.
func (p *publication) kickViewers(look int) {
	var d deferred
	h := p.hub
	patient := look < lingerLooks && h.ctx.Err() == nil
	again := false
	p.live.mu.Lock()
	for v := range p.viewers {
		if n := v.sent.Load(); patient && n != v.drained {
			v.drained = n
			again = true
			continue
		}
		d.call(v.req.Kick)
	}
	if again {
		p.linger = time.AfterFunc(h.cfg.Load().ViewerLinger, func() { p.kickViewers(look + 1) })
	}
	p.live.mu.Unlock()
	d.run()
}

func stop(t *time.Timer) {
	if t != nil {
		t.Stop()
	}
}

func seconds(d time.Duration) uint64 { return uint64(max(d, 0) / time.Second) }

// speedometer measures bytes per second over windows of a second.
type speedometer struct {
	from  time.Time
	bytes uint64
	rate  uint64
}

func (s *speedometer) add(n int, now time.Time) {
	if s.from.IsZero() {
		s.from = now
	}
	s.bytes += uint64(n)
	s.roll(now)
}

func (s *speedometer) roll(now time.Time) {
	if d := now.Sub(s.from); d >= time.Second && !s.from.IsZero() {
		s.rate = uint64(float64(s.bytes) / d.Seconds())
		s.from, s.bytes = now, 0
	}
}

func (s *speedometer) read(now time.Time) uint64 {
	s.roll(now)
	return s.rate
}

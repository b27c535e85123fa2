package vod

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/media"
	"github.com/hookline/hookline/internal/stream"
)

// Errors of Control.
var (
	// ErrRange: the time is not within the source, or the speed not within its bounds.
	ErrRange = errors.New("vod: out of range")
	// ErrEnded: the source is over.
	ErrEnded = fmt.Errorf("vod: %w", stream.ErrEnded)
)

// player plays one time line. It implements stream.Control.
type player struct {
	srv    *Server
	pub    *stream.Publisher
	log    *slog.Logger
	tick   time.Duration
	repeat bool
	bytes  atomic.Uint64
	orders chan order
	stop   chan struct{} // closed by kick
	kicked sync.Once
	done   chan struct{} // closed when run has returned

	// line belongs to run but for find.
	line *timeline
	// The clock: at since the source was at from, and goes on with speed unless it pauses. Guarded by mu; written by run.
	mu     sync.Mutex
	from   time.Duration
	since  time.Time
	speed  float64
	paused bool

	// Owned by run.
	next   *media.Frame // that was read and is not due; nil behind the last one
	failed error        // why nothing can be read any more
}

// order is something that run does for somebody.
type order struct {
	do    func() error
	reply chan error // of one element
}

func newPlayer(s *Server, line *timeline, cfg *Config) *player {
	return &player{
		srv: s, line: line, tick: cfg.Tick, speed: 1,
		orders: make(chan order), stop: make(chan struct{}), done: make(chan struct{}),
	}
}

// kick ends the player. It does not block.
func (p *player) kick() { p.kicked.Do(func() { close(p.stop) }) }

// prepare goes to where playing begins. It is called before anybody knows p.
func (p *player) prepare(seek time.Duration, speed float64) error {
	if seek > p.line.length() {
		return fmt.Errorf("%w: %v of %v", ErrRange, seek, p.line.length())
	}
	if speed != 0 {
		p.speed = speed
	}
	if seek > 0 {
		if err := p.line.seek(seek); err != nil {
			return err
		}
	}
	if err := p.read(); err != nil {
		return err
	}
	if p.next != nil {
		p.from = p.next.DTS
	}
	p.since = time.Now()
	return nil
}

// announce publishes the tracks, so that the stream registers before its first frame.
func (p *player) announce() error {
	tracks := p.line.tracks()
	m := metadataOf(tracks, p.line.length())
	p.pub.Metadata(m.raw, m.video, m.audio, m.width, m.height, m.fps)
	for _, t := range tracks {
		if err := p.pub.WriteFrame(&media.Frame{Track: t, Config: true}); err != nil {
			return err
		}
	}
	return nil
}

// run plays until the time line ends or somebody ends the player. It owns the publisher.
func (p *player) run() {
	defer close(p.done)
	defer p.line.close()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-p.stop:
			p.end(fact.EndKicked, nil)
			return
		case o := <-p.orders:
			o.reply <- o.do()
		case <-timer.C:
		}
		over, err := p.show()
		if over || err != nil {
			p.end(fact.EndUnpublish, err)
			return
		}
		timer.Reset(p.wait())
	}
}

// end closes the publication; the hub may have done so before, and knows why.
func (p *player) end(reason fact.EndReason, err error) {
	switch {
	case err == nil, errors.Is(err, stream.ErrEnded):
		p.log.Info("VOD ended", "at", p.Position())
	default:
		p.log.Warn("VOD ends: the file can't be read", "at", p.Position(), "err", err)
	}
	p.pub.Close(reason)
}

// wait is the time until there is something to do.
func (p *player) wait() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.paused {
		return time.Hour
	}
	if p.next != nil {
		return p.step()
	}
	left := float64(p.line.length()-p.at(time.Now())) / p.speed
	return min(p.step(), max(time.Duration(math.Ceil(left)), 0))
}

// minStep is the shortest time between two reads, unless the tick is shorter.
const minStep = 10 * time.Millisecond

// step is the time between two reads: a tick, and less at high speeds, so that a burst does not grow with them. The lock is held.
func (p *player) step() time.Duration {
	return min(p.tick, max(time.Duration(float64(p.tick)/p.speed), minStep))
}

// show hands on what is due before the next step. over: that was all.
func (p *player) show() (over bool, err error) {
	p.mu.Lock()
	at, paused := p.at(time.Now()), p.paused
	until := at + time.Duration(float64(p.step())*p.speed)
	p.mu.Unlock()
	if p.failed != nil {
		return false, p.failed
	}
	if paused {
		return false, nil
	}
	for p.next != nil && p.next.DTS < until {
		f := p.next
		err := p.read()
		if err := errors.Join(p.write(f), err); err != nil {
			return false, err
		}
	}
	if p.next != nil || at < p.line.length() {
		return false, nil
	}
	if !p.repeat && !p.srv.cfg.Load().Repeat {
		return true, nil
	}
	return false, p.again()
}

func (p *player) write(f *media.Frame) error {
	p.bytes.Add(uint64(len(f.Data)))
	return p.pub.WriteFrame(f)
}

// read takes the next frame.
func (p *player) read() error {
	f, err := p.line.next()
	if errors.Is(err, io.EOF) {
		f, err = nil, nil
	}
	p.next, p.failed = f, err
	return err
}

// again begins at the beginning. At most one turn is played in a step, however short it is.
func (p *player) again() error {
	if err := p.line.seek(0); err != nil {
		return err
	}
	if err := p.read(); err != nil {
		return err
	}
	p.pub.Splice()
	p.set(0)
	return nil
}

// at is the place at a time; the lock is held.
func (p *player) at(now time.Time) time.Duration {
	at := p.from
	if !p.paused {
		at += time.Duration(float64(now.Sub(p.since)) * p.speed)
	}
	return min(at, p.line.length())
}

// set moves the clock to a place.
func (p *player) set(at time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.from, p.since = at, time.Now()
}

// order has run do something.
func (p *player) order(do func() error) error {
	o := order{do: do, reply: make(chan error, 1)}
	select {
	case p.orders <- o:
		return <-o.reply
	case <-p.done:
		return ErrEnded
	}
}

// Seek implements stream.Control.
func (p *player) Seek(to time.Duration) (at time.Duration, err error) {
	if to < 0 || to > p.Duration() {
		return 0, fmt.Errorf("%w: %v of %v", ErrRange, to, p.Duration())
	}
	err = p.order(func() error {
		if err := p.line.seek(to); err != nil {
			return err
		}
		if err := p.read(); err != nil {
			return err
		}
		if at = to; p.next != nil {
			at = p.next.PTS
			to = p.next.DTS
		}
		p.pub.Jump()
		p.set(to)
		_, err := p.show()
		return err
	})
	return at, err
}

// Speed implements stream.Control.
func (p *player) Speed(factor float64) error {
	if !(factor >= MinSpeed && factor <= MaxSpeed) {
		return fmt.Errorf("%w: speed %v", ErrRange, factor)
	}
	return p.order(func() error {
		p.change(func() { p.speed, p.paused = factor, false })
		return nil
	})
}

// Pause implements stream.Control.
func (p *player) Pause(on bool) error {
	return p.order(func() error {
		p.change(func() { p.paused = on })
		_, err := p.show()
		return err
	})
}

// change changes the pace from here on.
func (p *player) change(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	p.from, p.since = p.at(now), now
	f()
}

// Position implements stream.Control.
func (p *player) Position() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.at(time.Now())
}

// Duration implements stream.Control.
func (p *player) Duration() time.Duration { return p.line.length() }

// Find implements stream.Control.
func (p *player) Find(at time.Time) (time.Duration, bool) { return p.line.find(at) }

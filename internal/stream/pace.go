package stream

import (
	"time"

	"github.com/hookline/hookline/internal/media"
)

// paceAhead is how far the newest frame may be ahead of its time. What a publisher sends faster goes on at once.
const paceAhead = 2 * time.Second

// paceBytes bounds what waits.
const paceBytes = 8 << 20

// pacer holds frames back until their time has come, so that what arrives in bursts leaves evenly
// (protocol.paced_sender_ms). Guarded by the stream's lock.
type pacer struct {
	every time.Duration
	queue []*media.Frame
	bytes int
	base  time.Duration // DTS that is due at at
	at    time.Time
	timer *time.Timer
}

// push takes a frame.
func (q *pacer) push(f *media.Frame, now time.Time) {
	due := f.DTS - q.base - now.Sub(q.at) // from now
	switch {
	case q.at.IsZero(), len(q.queue) == 0 && due < 0: // late: time begins anew, an interval behind
		q.base, q.at = f.DTS, now.Add(q.every)
	case due > paceAhead:
		q.base, q.at = f.DTS-paceAhead, now
	}
	q.queue = append(q.queue, f)
	q.bytes += len(f.Data)
}

// pop returns the next frame that is due, nil if none is.
func (q *pacer) pop(now time.Time) *media.Frame {
	if len(q.queue) == 0 {
		return nil
	}
	f := q.queue[0]
	if f.DTS-q.base > now.Sub(q.at) && q.bytes <= paceBytes {
		return nil
	}
	return q.take()
}

func (q *pacer) take() *media.Frame {
	f := q.queue[0]
	q.queue[0] = nil
	q.queue = q.queue[1:]
	q.bytes -= len(f.Data)
	return f
}

// pace delivers a frame when its time has come.
func (p *publication) pace(f *media.Frame, now time.Time, d *deferred) {
	if p.opts.PacedSender <= 0 {
		p.deliver(f, now, d)
		return
	}
	if p.pacer == nil {
		p.pacer = &pacer{every: p.opts.PacedSender}
	}
	p.pacer.push(f, now)
	p.letGo(now, d)
	p.armPacer()
}

// letGo delivers what is due.
func (p *publication) letGo(now time.Time, d *deferred) {
	for f := p.pacer.pop(now); f != nil; f = p.pacer.pop(now) {
		p.deliver(f, now, d)
	}
}

// armPacer sees to it that what waits is looked at again.
func (p *publication) armPacer() {
	q := p.pacer
	switch {
	case len(q.queue) == 0:
	case q.timer == nil:
		q.timer = time.AfterFunc(q.every, p.paceLate)
	default:
		q.timer.Reset(q.every)
	}
}

// paceLate is the smoothing timer.
func (p *publication) paceLate() {
	if !p.hub.enter() {
		return // Stop delivers what is left
	}
	defer p.hub.leave()
	var d deferred
	p.live.mu.Lock()
	if !p.ended {
		p.letGo(time.Now(), &d)
		p.armPacer()
	}
	p.live.mu.Unlock()
	d.run()
}

// drainPacer delivers everything that waits: the publication ends, or what follows needs another configuration.
func (p *publication) drainPacer(d *deferred) {
	q := p.pacer
	if q == nil {
		return
	}
	stop(q.timer)
	for now := time.Now(); len(q.queue) > 0; {
		p.deliver(q.take(), now, d)
	}
}

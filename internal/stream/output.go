package stream

import (
	"time"

	"github.com/hookline/hookline/internal/media"
)

// output is a packager that is attached to a publication, with its wire log. Guarded by the stream's lock, but for the
// log, which has its own.
type output struct {
	pub     *publication
	format  Format
	pack    Packager
	sizer   Sizer // pack, if it is one
	log     *wireLog
	viewers int
	idle    *time.Timer // drops the output some time after the last viewer left
	idleGen int
	// pending is merged until it is a block.
	pending   []byte
	pendingAt time.Duration // DTS of its first frame
	pendingIn time.Time     // when that came
	key       bool
	merge     *time.Timer
}

// wireOverhead is added to a frame's length for the buffer of its block; a packager that needs more grows it.
const wireOverhead = 64

// output returns the output of a format, attaching the packager with the first viewer: it replays the cached GOP.
func (p *publication) output(f Format) *output {
	for _, o := range p.outputs {
		if o.format.Name == f.Name {
			return o
		}
	}
	cfg, now := p.hub.cfg.Load(), time.Now()
	g := p.program()
	o := &output{pub: p, format: f, pack: f.New(g), log: &wireLog{lim: cfg.limits(), budget: &p.hub.media}}
	o.sizer, _ = o.pack.(Sizer)
	p.hub.media.join(1)
	o.log.announce(o.pack.Start(), o.pack.Change(nil, g), false)
	p.outputs = append(p.outputs, o)
	for i, fr := range p.gop.frames {
		o.append(fr, i == 0, now, cfg)
		o.flush(cfg)
	}
	return o
}

// write takes one frame. A key frame begins a block; other frames are merged within the window.
func (o *output) write(f *media.Frame, key bool, now time.Time, cfg *Config, d *deferred) {
	if key {
		d.wake(o.flush(cfg))
		if o.viewers > 0 {
			o.log.announce(nil, o.pack.Change(nil, o.pub.program()), false)
		}
	}
	o.append(f, key, now, cfg)
	switch {
	case now.Sub(o.pendingIn) >= cfg.MergeWrite:
		d.wake(o.flush(cfg))
	case o.merge == nil:
		o.merge = time.AfterFunc(cfg.MergeWrite, o.flushLate)
	case o.pendingIn.Equal(now):
		o.merge.Reset(cfg.MergeWrite)
	}
}

func (o *output) append(f *media.Frame, key bool, now time.Time, cfg *Config) {
	if len(o.pending) == 0 {
		o.pendingAt, o.pendingIn = f.DTS, now
	}
	if o.pending == nil {
		n := len(f.Data) + len(f.Data)/64 + wireOverhead
		if o.sizer != nil {
			n = o.sizer.Size(f)
		}
		if cfg.MergeWrite > 0 {
			n += o.log.lastBlock()
		}
		o.pending = make([]byte, 0, n)
	}
	o.pending = o.pack.Append(o.pending, f)
	o.key = o.key || key
}

// flush makes a block of what is pending and returns the channel to be closed when no lock is held, or nil.
func (o *output) flush(cfg *Config) chan struct{} {
	if len(o.pending) == 0 {
		o.key = false
		return nil
	}
	w := o.log.append(block{data: o.pending, at: o.pendingAt, came: o.pendingIn, key: o.key}, cfg.limits())
	o.pending, o.key = nil, false
	return w
}

// flushLate ends a merge window in which no further frame came.
func (o *output) flushLate() {
	var d deferred
	p := o.pub
	p.live.mu.Lock()
	d.wake(o.flush(p.hub.cfg.Load()))
	p.live.mu.Unlock()
	d.run()
}

// flush makes blocks of what is pending in all outputs.
func (p *publication) flush(d *deferred) {
	cfg := p.hub.cfg.Load()
	for _, o := range p.outputs {
		d.wake(o.flush(cfg))
	}
}

// change tells the outputs of new tracks or metadata. recoded: frames of before need another configuration, so nobody
// may start at them.
func (p *publication) change(recoded bool, d *deferred) {
	if recoded {
		p.gop.drop()
	}
	cfg, g, now := p.hub.cfg.Load(), p.program(), time.Now()
	p.recordChange(g)
	for _, o := range p.outputs {
		d.wake(o.flush(cfg))
		at := p.clock.last
		b := o.pack.Change(nil, g)
		o.log.announce(o.pack.Start(), b, recoded)
		if len(b) > 0 {
			d.wake(o.log.append(block{data: b, at: at, came: now}, cfg.limits()))
		}
	}
}

// join counts a viewer in.
func (o *output) join() {
	o.viewers++
	o.idleGen++
	stop(o.idle)
}

// part counts a viewer out. Without viewers the packager is dropped after a while.
func (o *output) part() {
	o.viewers--
	if o.viewers > 0 || o.pub.ended {
		return
	}
	gen := o.idleGen
	o.idle = time.AfterFunc(o.pub.hub.cfg.Load().PackagerIdle, func() { o.expire(gen) })
}

func (o *output) expire(gen int) {
	p := o.pub
	p.live.mu.Lock()
	defer p.live.mu.Unlock()
	if p.ended || o.viewers > 0 || o.idleGen != gen {
		return
	}
	stop(o.merge)
	o.log.release()
	for i, q := range p.outputs {
		if q == o {
			p.outputs = append(p.outputs[:i], p.outputs[i+1:]...)
			return
		}
	}
}

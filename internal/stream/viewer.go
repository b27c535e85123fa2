package stream

import (
	"context"
	"net"
	"sync/atomic"
	"time"

	"github.com/hookline/hookline/internal/fact"
)

// Viewer is a cursor on the wire log of a stream. Serve, or Next, is called from one goroutine, Sent and Close from any.
type Viewer struct {
	pub    *publication
	source *source
	out    *output
	log    *wireLog
	req    PlayRequest
	start  time.Time
	sent   atomic.Uint64
	closed bool // guarded by the stream's lock
	// drained is what was sent when the viewer was last looked at after the end; guarded by the stream's lock.
	drained uint64

	cur  cursor      // owned by Next after Play, or by who the seat says
	bufs net.Buffers // owned by Next or Serve: the memory that is handed out again and again
}

// attach makes a viewer of the publication. The stream's lock is held and s is registered.
func (p *publication) attach(s *source, f Format, req PlayRequest) *Viewer {
	v := &Viewer{pub: p, source: s, req: req, start: time.Now()}
	if f.New != nil {
		v.out = p.output(f)
		v.log = v.out.log
		v.out.join()
	}
	p.hub.hold(p.live)
	p.hub.watching.Add(1)
	p.viewers[v] = struct{}{}
	if req.Relay {
		p.relays++
		return v
	}
	p.hub.viewers.Add(1)
	s.readers++
	p.readersChanged(s.schema)
	if s.readers == 1 {
		p.wake(s)
	}
	return v
}

// Next waits for wire bytes and returns those that come next, about 64 KiB at most. The bytes are shared and must not be changed; the slice is
// valid until the next call and may be consumed by net.Buffers.WriteTo. Errors: ErrEnded after the last byte of a
// stream that ended, ErrTooSlow, or ctx's error.
func (v *Viewer) Next(ctx context.Context) (net.Buffers, error) {
	clear(v.bufs) // the caller may hold on to the slice, but must not hold the blocks
	for {
		bufs, wake, err := v.log.take(&v.cur, v.bufs[:0])
		if err != nil {
			return nil, err
		}
		if wake == nil {
			v.bufs = bufs
			return bufs, nil
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Sent counts n bytes as delivered to the viewer.
func (v *Viewer) Sent(n int) {
	if n > 0 {
		v.sent.Add(uint64(n))
	}
}

// Program returns the tracks of the stream now.
func (v *Viewer) Program() Program {
	v.pub.live.mu.Lock()
	defer v.pub.live.mu.Unlock()
	return v.pub.program()
}

// Publication returns the id of the publication that is watched.
func (v *Viewer) Publication() string { return v.pub.id }

// Close ends the session and reports it. It is idempotent.
func (v *Viewer) Close() {
	p := v.pub
	p.live.mu.Lock()
	if v.closed {
		p.live.mu.Unlock()
		return
	}
	v.closed = true
	delete(p.viewers, v)
	if v.out != nil {
		v.out.part()
	}
	if v.req.Relay {
		p.relays--
	} else {
		v.leave()
	}
	if p.ended && len(p.viewers) == 0 {
		stop(p.linger)
		p.releaseLogs()
		p.hub.drained(p)
	}
	p.live.mu.Unlock()
	p.hub.drop(p.live)
	p.hub.watching.Done()
}

// leave takes back that it counts as a reader, and reports it. The stream's lock is held.
func (v *Viewer) leave() {
	p, s := v.pub, v.source
	s.readers--
	v.report()
	p.hub.viewers.Add(-1) // who sees that it is gone finds it reported
	if p.ended {
		return
	}
	p.readersChanged(s.schema)
	if s.readers == 0 {
		p.sleep(s)
	}
}

// report states that the session has ended, when it got media.
func (v *Viewer) report() {
	n := v.sent.Load()
	if n == 0 || n < v.pub.hub.cfg.Load().FlowThreshold {
		return
	}
	v.pub.hub.facts.Raise(&fact.FlowReport{
		Publication: v.pub.id, Live: v.pub.name, MediaInfo: v.req.MediaInfo, Client: v.req.Client,
		TotalBytes: n, Duration: seconds(time.Since(v.start)), Player: true,
	})
}

package stream

import (
	"context"
	"net"
	"runtime"
	"sync/atomic"
)

// A wire log has a crew: goroutines that write what is new to one viewer after the other, so that a frame wakes one
// goroutine or two instead of a thousand. A viewer has a seat with the crew as long as its connection takes everything at
// once. When it does not, the viewer's own goroutine takes over, writes with all the patience that is due to a slow viewer,
// and takes its seat again when it has caught up. See docs/adr/0005-fanout.md.

// crewSize is the number of viewers from which on another goroutine helps, up to one for each processor.
const crewSize = 1024

// turnTakes bounds what the crew writes to one viewer at a turn, in multiples of takeBytes: one that is far behind must not
// keep the others waiting.
const turnTakes = 4

// hand is a part of a crew. It runs only while there is something to write, as a goroutine of its own.
type hand struct {
	log *wireLog
	// seats, running and seen are guarded by log.mu.
	seats   []*seat
	running bool
	seen    uint64 // version of the log up to which the seats were or are being served

	// Owned by the running goroutine.
	round []*seat
	bufs  net.Buffers
	// more says that there is more than what is in bufs.
	more bool
	// memo says that bufs is what a viewer at memoFrom takes, who stands at memoTo then.
	memo             bool
	memoFrom, memoTo uint64
}

// Who may touch a seat's viewer: its cursor and its outlet.
const (
	seatOwn    int32 = iota // the viewer's goroutine
	seatParked              // nobody; the crew may take it
	seatServed              // the crew, for a moment
	seatWanted              // the crew, and the viewer's goroutine waits for it
)

// seat is a viewer's place with a crew.
type seat struct {
	v      *Viewer
	outlet DirectOutlet
	// state changes from seatOwn by the viewer's goroutine only, from seatServed and seatWanted by the crew, but for
	// seatServed to seatWanted.
	state atomic.Int32
	// given takes one element whenever the crew gives the viewer back to its goroutine.
	given chan struct{}
	err   error // why it was given back; set before
	late  bool  // the outlet has something left over
	hand  *hand // guarded by log.mu
	index int   // in hand.seats; guarded by log.mu
}

// Serve writes the wire bytes to outlet until the stream, the outlet or ctx ends, and counts them. It is called instead of
// Next and Sent; when ctx has ended it may be called again. Errors: ErrEnded after the last byte of a stream that ended, ErrTooSlow, the outlet's, or ctx's.
func (v *Viewer) Serve(ctx context.Context, outlet Outlet) error {
	direct, ok := outlet.(DirectOutlet)
	if !ok || !direct.Direct() {
		return v.serveAlone(ctx, outlet)
	}
	st := &seat{v: v, outlet: direct, given: make(chan struct{}, 1)}
	v.log.join(st)
	defer v.log.leave(st)
	for {
		if err := v.catchUp(ctx, st); err != nil {
			return err
		}
		select {
		case <-st.given:
		case <-ctx.Done():
			st.reclaim()
			return ctx.Err()
		}
		if st.err != nil {
			return st.err
		}
	}
}

// serveAlone writes with the goroutine of the caller.
func (v *Viewer) serveAlone(ctx context.Context, outlet Outlet) error {
	for {
		bufs, err := v.Next(ctx)
		if err != nil {
			return err
		}
		n, err := outlet.Write(ctx, bufs)
		v.Sent(int(n))
		if err != nil {
			return err
		}
	}
}

// catchUp writes what there is and parks the seat.
func (v *Viewer) catchUp(ctx context.Context, st *seat) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		clear(v.bufs)
		bufs, parked, err := v.log.takeOrPark(&v.cur, v.bufs[:0], st)
		v.bufs = bufs
		if err != nil || parked {
			return err
		}
		st.late = false
		n, err := st.outlet.Write(ctx, bufs)
		v.Sent(int(n))
		if err != nil {
			return err
		}
	}
}

// reclaim makes the seat its viewer's own again.
func (st *seat) reclaim() {
	for {
		if st.state.CompareAndSwap(seatParked, seatOwn) {
			return
		}
		if st.state.CompareAndSwap(seatServed, seatWanted) || st.state.Load() == seatOwn {
			<-st.given
			return
		}
	}
}

// giveBack hands the viewer to its goroutine. The crew has it.
func (st *seat) giveBack(err error) {
	st.err = err
	st.state.Store(seatOwn)
	st.given <- struct{}{}
}

// join gives a seat its hand, the one that has the fewest.
func (l *wireLog) join(st *seat) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var best *hand
	for _, h := range l.hands {
		if best == nil || len(h.seats) < len(best.seats) {
			best = h
		}
	}
	if best == nil || len(best.seats) >= crewSize && len(l.hands) < runtime.GOMAXPROCS(0) {
		best = &hand{log: l, seen: l.version}
		l.hands = append(l.hands, best)
	}
	st.hand, st.index = best, len(best.seats)
	best.seats = append(best.seats, st)
}

// leave takes a seat away. Its viewer's goroutine owns it.
func (l *wireLog) leave(st *seat) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := st.hand
	last := len(h.seats) - 1
	h.seats[st.index] = h.seats[last]
	h.seats[st.index].index = st.index
	h.seats[last] = nil
	h.seats = h.seats[:last]
}

// call sets the crew to work on what has changed. l.mu is held.
func (l *wireLog) call() {
	l.version++
	for _, h := range l.hands {
		if !h.running && len(h.seats) > 0 {
			h.running = true
			go h.work()
		}
	}
}

// takeOrPark is take for a viewer with a seat. When there is nothing to take, nor left over in the outlet, the seat is parked
// in the same step, so that nothing can come in between that nobody writes.
func (l *wireLog) takeOrPark(c *cursor, dst net.Buffers, st *seat) (bufs net.Buffers, parked bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	dst, err = l.fetch(c, dst)
	switch {
	case st.late: // whatever else there is
		return dst, false, nil
	case err != nil:
		return dst, false, err
	case len(dst) > 0:
		return dst, false, nil
	}
	st.state.Store(seatParked)
	return dst, true, nil
}

// work writes to the seats until there is nothing new.
func (h *hand) work() {
	for h.muster() {
		for i, st := range h.round {
			h.round[i] = nil
			if st.state.CompareAndSwap(seatParked, seatServed) {
				h.serve(st)
			}
		}
	}
}

// muster notes who is to be served now. It says no, and the hand has stopped, when there is nothing new.
func (h *hand) muster() bool {
	l := h.log
	l.mu.Lock()
	defer l.mu.Unlock()
	h.memo = false
	clear(h.bufs)
	if h.seen == l.version || len(h.seats) == 0 {
		h.seen, h.running = l.version, false
		return false
	}
	h.seen = l.version
	h.round = append(h.round[:0], h.seats...)
	return true
}

// serve writes to one viewer what it has not got yet, and parks it, or gives it back when it needs more than that.
func (h *hand) serve(st *seat) {
	v := st.v
	for range turnTakes {
		cur := v.cur
		if err := h.take(&cur); err != nil {
			st.giveBack(err)
			return
		}
		if len(h.bufs) > 0 {
			n, taken, err := st.outlet.Try(h.bufs)
			v.Sent(n)
			if err != nil || taken != TookAll {
				if taken == TookLate {
					v.cur, st.late = cur, true
				}
				st.giveBack(err)
				return
			}
		}
		v.cur = cur
		if !h.more {
			if !st.state.CompareAndSwap(seatServed, seatParked) {
				st.giveBack(nil)
			}
			return
		}
	}
	st.giveBack(nil)
}

// take makes h.bufs what the viewer at cur takes next, and moves cur on. Nearly all viewers stand at the same place: what
// was taken there is what they all take.
func (h *hand) take(cur *cursor) error {
	settled := cur.placed && cur.greeted && !cur.seeking
	if h.memo && settled && cur.next == h.memoFrom {
		cur.next = h.memoTo
		return nil
	}
	from, jumps := cur.next, cur.jumps
	l := h.log
	l.mu.Lock()
	defer l.mu.Unlock()
	var err error
	h.bufs, err = l.fetch(cur, h.bufs[:0])
	h.more = l.closed || !cur.seeking && cur.placed && cur.next < l.end()
	h.memo = err == nil && settled && !cur.seeking && cur.jumps == jumps
	h.memoFrom, h.memoTo = from, cur.next
	return err
}

package rtp

import "time"

// Reorderer puts packets that came over UDP in the order of their sequence numbers, and gives up on those that don't
// come. It holds at most Depth packets and none longer than Wait. The payload of a packet may be overwritten when those that
// Push returned for it have been used: what is held is a copy, in memory that is used again.
type Reorderer struct {
	// Depth is the number of packets that may wait. Default 128.
	Depth int
	// Wait is how long a packet may wait for one before it. Default 200 ms.
	Wait time.Duration

	started bool
	next    uint16
	held    map[uint16]waiting
	late    int // packets in a row that are too old: the sender began anew
	out     []Packet
	lent    [][]byte // payloads of out, which are free at the next call
	free    [][]byte
}

type waiting struct {
	p  Packet
	at time.Time
}

// Push takes a packet that came at now and returns those whose turn it is, valid until the next call.
func (r *Reorderer) Push(p *Packet, now time.Time) []Packet {
	if r.held == nil {
		r.held = map[uint16]waiting{}
		if r.Depth <= 0 {
			r.Depth = 128
		}
		if r.Wait <= 0 {
			r.Wait = 200 * time.Millisecond
		}
	}
	r.reuse()
	if !r.started {
		r.started, r.next = true, p.Seq
	}
	ahead := int16(p.Seq - r.next)
	switch {
	case ahead < 0 || int(ahead) > 4*r.Depth:
		// A duplicate, a late one, or a sender that began anew: many in a row tell.
		if r.late++; r.late < 8 {
			return r.flush(now)
		}
		for _, w := range r.held {
			r.free = append(r.free, w.p.Payload)
		}
		clear(r.held)
		r.next, ahead = p.Seq, 0
		fallthrough
	default:
		r.late = 0
		if ahead == 0 {
			r.out = append(r.out, *p)
			r.next++
		} else if _, twice := r.held[p.Seq]; !twice {
			r.hold(*p, now)
		}
	}
	return r.flush(now)
}

// hold keeps a copy of a packet.
func (r *Reorderer) hold(p Packet, now time.Time) {
	var b []byte
	if n := len(r.free); n > 0 {
		b, r.free = r.free[n-1][:0], r.free[:n-1]
	}
	p.Payload = append(b, p.Payload...)
	r.held[p.Seq] = waiting{p, now}
}

// reuse takes back what was returned.
func (r *Reorderer) reuse() {
	r.free = append(r.free, r.lent...)
	r.lent, r.out = r.lent[:0], r.out[:0]
}

// release returns a packet that was held.
func (r *Reorderer) release(seq uint16) {
	p := r.held[seq].p
	delete(r.held, seq)
	r.out, r.lent = append(r.out, p), append(r.lent, p.Payload)
	r.next = seq + 1
}

// flush returns what is in order, and skips what was waited for long enough.
func (r *Reorderer) flush(now time.Time) []Packet {
	for len(r.held) > 0 {
		if _, ok := r.held[r.next]; ok {
			r.release(r.next)
			continue
		}
		if len(r.held) < r.Depth && !r.overdue(now) {
			break
		}
		r.next = r.oldest()
	}
	return r.out
}

// Rest returns what is held, in order: nothing follows.
func (r *Reorderer) Rest() []Packet {
	r.reuse()
	for len(r.held) > 0 {
		r.release(r.oldest())
	}
	return r.out
}

func (r *Reorderer) overdue(now time.Time) bool {
	for _, w := range r.held {
		if now.Sub(w.at) >= r.Wait {
			return true
		}
	}
	return false
}

// oldest is the lowest sequence number that waits.
func (r *Reorderer) oldest() uint16 {
	best, first := uint16(0), true
	for seq := range r.held {
		if first || int16(seq-best) < 0 {
			best, first = seq, false
		}
	}
	return best
}

package rtp

import "time"

// Reorderer puts packets that came over UDP in the order of their sequence numbers, and gives up on those that don't
// come. It holds at most Depth packets and none longer than Wait. Packets are kept: they must not be overwritten.
type Reorderer struct {
	// Depth is the number of packets that may wait. Default 128.
	Depth int
	// Wait is how long a packet may wait for one before it. Default 200 ms.
	Wait time.Duration

	started bool
	next    uint16
	held    map[uint16]waiting
	late    int // packets in a row that are too old: the sender began anew
	out     []*Packet
}

type waiting struct {
	p  *Packet
	at time.Time
}

// Push takes a packet that came at now and returns those whose turn it is, valid until the next call.
func (r *Reorderer) Push(p *Packet, now time.Time) []*Packet {
	if r.held == nil {
		r.held = map[uint16]waiting{}
		if r.Depth <= 0 {
			r.Depth = 128
		}
		if r.Wait <= 0 {
			r.Wait = 200 * time.Millisecond
		}
	}
	clear(r.out)
	r.out = r.out[:0]
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
		clear(r.held)
		r.next = p.Seq
		fallthrough
	default:
		r.late = 0
		if _, twice := r.held[p.Seq]; !twice {
			r.held[p.Seq] = waiting{p, now}
		}
	}
	return r.flush(now)
}

// flush returns what is in order, and skips what was waited for long enough.
func (r *Reorderer) flush(now time.Time) []*Packet {
	for len(r.held) > 0 {
		if w, ok := r.held[r.next]; ok {
			delete(r.held, r.next)
			r.out = append(r.out, w.p)
			r.next++
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
func (r *Reorderer) Rest() []*Packet {
	clear(r.out)
	r.out = r.out[:0]
	for len(r.held) > 0 {
		seq := r.oldest()
		r.out = append(r.out, r.held[seq].p)
		delete(r.held, seq)
		r.next = seq + 1
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

package stream

import (
	"net"
	"sync"
	"time"
)

// block is a run of wire bytes that is written once and shared by all viewers.
type block struct {
	data  []byte
	start uint64        // number of bytes written to the log before this block
	at    time.Duration // DTS of the first frame
	came  time.Time     // when the publisher sent the first frame
	key   bool          // a viewer can start here
}

// limits bound a wire log and the viewers on it.
type limits struct {
	lagBytes, gopBytes int
	lagTime, gopTime   time.Duration
	jumps              int
}

func (c *Config) limits() limits {
	return limits{
		lagBytes: c.ViewerLagBytes, gopBytes: c.GOPMaxBytes,
		lagTime: c.ViewerLagDuration, gopTime: c.GOPMaxDuration,
		jumps: c.ViewerJumps,
	}
}

// jumpWindow is the time over which the jumps of a viewer are counted.
const jumpWindow = time.Minute

// burst is how many times faster than real time blocks must have come to count as a burst.
const burst = 2

// takeBytes is about the number of bytes that a viewer takes at a time. The rest stays in the log, where it is shared
// and bounded, and what a viewer reports as sent shows whether it makes progress.
const takeBytes = 64 << 10

// wireLog is the recent wire bytes of one format of one stream. Its writer is whoever holds the stream's lock.
type wireLog struct {
	mu sync.Mutex
	// ring holds the blocks base .. base+n-1; len(ring) is a power of two. All below guarded by mu.
	ring []block
	head int
	n    int
	base uint64
	// total is the number of bytes ever written, held those that are still in the ring.
	total uint64
	held  int
	// newest is the number of the newest block with key set; valid while hasKey.
	newest uint64
	hasKey bool
	// floor is the first block that a viewer may start at.
	floor uint64
	// start is what a new viewer needs first, resync what one needs that was moved.
	start, resync []byte
	// wake is closed at the next change; nil while nobody waits.
	wake  chan struct{}
	hands []*hand // the crew
	// version counts the changes that the crew is called for.
	version uint64
	closed  bool
	lim     limits
	budget  *budget // counts held
}

// cursor is a viewer's place in a wire log.
type cursor struct {
	next    uint64
	placed  bool   // next is valid
	greeted bool   // head was taken
	head    []byte // what goes before the first block; valid while placed and not greeted
	seeking bool   // what comes next has left the log: wait for a key block
	jumps   int
	since   time.Time // of the first of jumps
}

// announce replaces what new and moved viewers are sent first. dropKeys: what is in the log belongs to another
// configuration, so nobody may start there.
func (l *wireLog) announce(start, resync []byte, dropKeys bool) {
	l.mu.Lock()
	if start != nil {
		l.start = start
	}
	l.resync = resync
	if dropKeys {
		l.hasKey = false
	}
	l.mu.Unlock()
}

// origin returns a cursor on the oldest block, or on the first one to come. It keeps what goes before that block: by
// the time it is taken, start may be of another configuration.
func (l *wireLog) origin() cursor {
	l.mu.Lock()
	defer l.mu.Unlock()
	return cursor{placed: true, next: l.base, head: l.start}
}

// append adds a block and returns the channel to be closed when no lock is held, or nil. Its start is not set by the
// caller.
func (l *wireLog) append(b block, lim limits) chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.lim = lim
	if l.n == len(l.ring) {
		l.grow()
	}
	b.start = l.total
	l.ring[(l.head+l.n)&(len(l.ring)-1)] = b
	if b.key {
		l.newest, l.hasKey = l.base+uint64(l.n), true
	}
	l.n++
	l.total += uint64(len(b.data))
	l.held += len(b.data)
	l.budget.add(len(b.data))
	l.trim()
	l.call()
	return l.takeWake()
}

// close ends the log: viewers drain what is left. It returns the channel to be closed when no lock is held, or nil.
func (l *wireLog) close() chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.call()
	return l.takeWake()
}

// turn says that what follows is of another place of the source: who has not begun yet waits for the next key block.
func (l *wireLog) turn() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hasKey, l.floor = false, l.end()
}

// release counts the log out of its budget, when nobody can take anything from it any more. It may be called again.
func (l *wireLog) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.budget.add(-l.held)
	l.budget.join(-1)
	l.budget = nil
}

// lastBlock is the length of the newest block.
func (l *wireLog) lastBlock() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.n == 0 {
		return 0
	}
	return len(l.nth(l.n - 1).data)
}

func (l *wireLog) takeWake() chan struct{} {
	w := l.wake
	l.wake = nil
	return w
}

func (l *wireLog) grow() {
	ring := make([]block, max(32, 2*len(l.ring)))
	for i := range l.n {
		ring[i] = *l.nth(i)
	}
	l.ring, l.head = ring, 0
}

func (l *wireLog) nth(i int) *block { return &l.ring[(l.head+i)&(len(l.ring)-1)] }

// end is the number of the block that comes next.
func (l *wireLog) end() uint64 { return l.base + uint64(l.n) }

// trim drops blocks that neither a lagging viewer may still take nor a new one starts from. Bytes are what bounds the
// memory; time only says who is late.
func (l *wireLog) trim() {
	if l.hasKey && l.nth(l.n-1).at-l.nth(int(l.newest-l.base)).at > max(l.lim.gopTime, l.lim.lagTime) {
		l.hasKey = false // too far back to start there
	}
	for l.n > 1 {
		first := l.nth(0)
		soft := (!l.hasKey || l.base < l.newest) && (l.held > l.lim.lagBytes || l.late(first))
		hard := l.held > max(l.lim.gopBytes, l.lim.lagBytes) || l.budget.exceeded(l.held)
		if !soft && !hard {
			return
		}
		if l.hasKey && l.newest == l.base {
			l.hasKey = false
		}
		l.held -= len(first.data)
		l.budget.add(-len(first.data))
		*first = block{}
		l.head = (l.head + 1) & (len(l.ring) - 1)
		l.base++
		l.n--
	}
}

// late says whether who has not taken b lags too far behind in time: the blocks since b came in over more than lagTime
// by the clock, and at about the pace they are to be played in. Media time alone does not count, because a publisher
// that sends a file as fast as it can is ahead by minutes of media after a second: who takes that step by step is not
// slow, and only bytes bound it. In a live stream both times are the same.
func (l *wireLog) late(b *block) bool {
	newest := l.nth(l.n - 1)
	took := newest.came.Sub(b.came)
	return took > l.lim.lagTime && newest.at-b.at <= burst*took
}

// take appends to dst what c has not taken yet, about takeBytes of it, and moves c on. When there is nothing it returns
// the channel that is closed at the next change.
func (l *wireLog) take(c *cursor, dst net.Buffers) (net.Buffers, <-chan struct{}, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	dst, err := l.fetch(c, dst)
	if err != nil || len(dst) > 0 {
		return dst, nil, err
	}
	if l.wake == nil {
		l.wake = make(chan struct{})
	}
	return dst, l.wake, nil
}

// fetch is take without waiting. l.mu is held.
func (l *wireLog) fetch(c *cursor, dst net.Buffers) (net.Buffers, error) {
	dst, ok, err := l.place(c, dst)
	if err != nil {
		return dst, err
	}
	if ok {
		size := 0
		for end := l.end(); c.next < end && size < takeBytes; c.next++ {
			b := l.nth(int(c.next - l.base))
			dst = append(dst, b.data)
			size += len(b.data)
		}
	}
	if len(dst) == 0 && l.closed {
		return dst, ErrEnded
	}
	return dst, nil
}

// place sees to it that c stands on a block of the log, or at its end. It says no while c waits for a key block. Who
// lags is moved to the newest key block, unless the log is closed: then there is nothing newer to catch up with.
func (l *wireLog) place(c *cursor, dst net.Buffers) (net.Buffers, bool, error) {
	if c.greeted && c.placed && !c.seeking && c.next < l.floor {
		c.next = max(l.floor, l.base) // what is left of before the jump is of no use any more
	}
	gone := !c.placed || c.seeking || c.next < l.base || !c.greeted && c.next < l.floor
	switch {
	case !gone && (l.closed || !l.lagging(c)):
		return c.greet(dst), true, nil
	case !l.hasKey:
		c.seeking = gone
		if gone {
			return dst, false, nil
		}
		return c.greet(dst), true, nil
	case !gone && l.newest <= c.next:
		return c.greet(dst), true, nil // within the newest GOP there is nowhere to move to
	case !c.greeted: // new here, or lagging before it took anything, which is the same
		c.placed, c.seeking, c.next, c.head = true, false, l.newest, l.start
		return c.greet(dst), true, nil
	}
	if err := c.jump(l.lim.jumps); err != nil {
		return dst, false, err
	}
	c.seeking, c.next = false, l.newest
	if len(l.resync) > 0 {
		dst = append(dst, l.resync)
	}
	return dst, true, nil
}

// greet appends what goes before the first block, once.
func (c *cursor) greet(dst net.Buffers) net.Buffers {
	if c.greeted {
		return dst
	}
	if len(c.head) > 0 {
		dst = append(dst, c.head)
	}
	c.greeted, c.head = true, nil
	return dst
}

// lagging says whether c, whose place is in the log, is beyond the limits.
func (l *wireLog) lagging(c *cursor) bool {
	if c.next >= l.end() {
		return false
	}
	b := l.nth(int(c.next - l.base))
	return l.total-b.start > uint64(l.lim.lagBytes) || l.late(b)
}

// jump counts one move of a slow viewer.
func (c *cursor) jump(most int) error {
	now := time.Now()
	if c.jumps == 0 || now.Sub(c.since) > jumpWindow {
		c.jumps, c.since = 0, now
	}
	c.jumps++
	if c.jumps > most {
		return ErrTooSlow
	}
	return nil
}

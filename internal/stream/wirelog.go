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
	// start is what a new viewer needs first, resync what one needs that was moved.
	start, resync []byte
	// wake is closed at the next change; nil while nobody waits.
	wake   chan struct{}
	closed bool
	lim    limits
}

// cursor is a viewer's place in a wire log.
type cursor struct {
	next    uint64
	started bool
	seeking bool // what comes next has left the log: wait for a key block
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

// append adds a block and returns the channel to be closed when no lock is held, or nil.
func (l *wireLog) append(data []byte, at time.Duration, key bool, lim limits) chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.lim = lim
	if l.n == len(l.ring) {
		l.grow()
	}
	l.ring[(l.head+l.n)&(len(l.ring)-1)] = block{data: data, start: l.total, at: at, key: key}
	if key {
		l.newest, l.hasKey = l.base+uint64(l.n), true
	}
	l.n++
	l.total += uint64(len(data))
	l.held += len(data)
	l.trim()
	return l.takeWake()
}

// close ends the log: viewers drain what is left. It returns the channel to be closed when no lock is held, or nil.
func (l *wireLog) close() chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	return l.takeWake()
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

// trim drops blocks that neither a lagging viewer may still take nor a new one starts from.
func (l *wireLog) trim() {
	last := l.nth(l.n - 1).at
	for l.n > 1 {
		first := l.nth(0)
		age := last - first.at
		soft := (!l.hasKey || l.base < l.newest) && (l.held > l.lim.lagBytes || age > l.lim.lagTime)
		hard := l.held > max(l.lim.gopBytes, l.lim.lagBytes) || age > max(l.lim.gopTime, l.lim.lagTime)
		if !soft && !hard {
			return
		}
		if l.hasKey && l.newest == l.base {
			l.hasKey = false
		}
		l.held -= len(first.data)
		*first = block{}
		l.head = (l.head + 1) & (len(l.ring) - 1)
		l.base++
		l.n--
	}
}

// take appends to dst all that c has not taken yet and moves c on. When there is nothing it returns the channel that
// is closed at the next change.
func (l *wireLog) take(c *cursor, dst net.Buffers) (net.Buffers, <-chan struct{}, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	dst, ok, err := l.place(c, dst)
	if err != nil {
		return dst, nil, err
	}
	if ok {
		for end := l.end(); c.next < end; c.next++ {
			dst = append(dst, l.nth(int(c.next-l.base)).data)
		}
	}
	if len(dst) > 0 {
		return dst, nil, nil
	}
	if l.closed {
		return dst, nil, ErrEnded
	}
	if l.wake == nil {
		l.wake = make(chan struct{})
	}
	return dst, l.wake, nil
}

// place sees to it that c stands on a block of the log, or at its end. It says no while c waits for a key block.
func (l *wireLog) place(c *cursor, dst net.Buffers) (net.Buffers, bool, error) {
	if !c.started {
		if !l.hasKey {
			return dst, false, nil
		}
		c.started, c.next = true, l.newest
		if len(l.start) > 0 {
			dst = append(dst, l.start)
		}
		return dst, true, nil
	}
	gone := c.next < l.base || c.seeking
	if !gone && !l.lagging(c) {
		return dst, true, nil
	}
	if !l.hasKey {
		c.seeking = gone
		return dst, !gone, nil
	}
	if !gone && l.newest <= c.next {
		return dst, true, nil // within the newest GOP there is nowhere to move to
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

func (l *wireLog) lagging(c *cursor) bool {
	if c.next >= l.end() {
		return false
	}
	b := l.nth(int(c.next - l.base))
	return l.total-b.start > uint64(l.lim.lagBytes) ||
		l.nth(l.n-1).at-b.at > l.lim.lagTime
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

package stream

import (
	"sync"

	"github.com/hookline/hookline/internal/media"
)

// Inbox is the way from the hub to the goroutine of a Sink: a queue that never blocks the hub and holds at most a number of
// bytes. When it is full frames are dropped up to the next at which a viewer could start. It implements Sink.
type Inbox struct {
	limit int
	wake  chan struct{}

	mu      sync.Mutex // guards what follows
	queue   []Order
	bytes   int
	skip    bool
	closed  bool
	dropped int
}

// Order is one thing for the goroutine to do: take a frame, or a change of the tracks, or sleep.
type Order struct {
	Frame   *media.Frame
	Key     bool     // a viewer could start at Frame
	Program *Program // of a change; Frame is nil
	Sleep   bool     // there are no viewers any more; Frame is nil
}

// NewInbox returns an inbox that holds limit bytes of frames.
func NewInbox(limit int) *Inbox { return &Inbox{limit: limit, wake: make(chan struct{}, 1)} }

// Write implements Sink.
func (b *Inbox) Write(f *media.Frame, key bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return
	}
	if b.skip && !key || b.bytes+len(f.Data) > b.limit {
		b.skip = true
		b.dropped++
		return
	}
	b.skip = false
	b.bytes += len(f.Data)
	b.push(Order{Frame: f, Key: key})
}

// Change implements Sink.
func (b *Inbox) Change(p Program) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.push(Order{Program: &p})
	}
}

// Sleep is that of a Sleeper. What was dropped before matters no more.
func (b *Inbox) Sleep() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.skip = false
		b.push(Order{Sleep: true})
	}
}

// Close implements Sink. It is idempotent; a sink that gives up calls it, too, so that nothing more is kept for it.
func (b *Inbox) Close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.signal()
}

func (b *Inbox) push(o Order) {
	b.queue = append(b.queue, o)
	b.signal()
}

func (b *Inbox) signal() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// Ready delivers when there is something to take.
func (b *Inbox) Ready() <-chan struct{} { return b.wake }

// Take returns what has come, in the memory of into, and whether nothing follows.
func (b *Inbox) Take(into []Order) (out []Order, closed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(into[:cap(into)])
	out = append(into[:0], b.queue...)
	clear(b.queue)
	b.queue, b.bytes = b.queue[:0], 0
	return out, b.closed
}

// Dropped returns the number of frames for which there was no room.
func (b *Inbox) Dropped() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.dropped
}

package delivery

import (
	"context"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/journal"
)

// laneState says where a lane is. Every lane is in exactly one place.
type laneState uint8

const (
	laneIdle    laneState = iota // nothing to send
	laneReady                    // in a ready queue of the head's target
	laneFlight                   // its head is being sent, or given up
	laneBackoff                  // in the timer heap
	laneBlocked                  // in the waiting list of a target that is down
	laneRefill                   // parked, its next events are being read
)

// lane is the FIFO of one stream key. Guarded by the endpoint's lock.
type lane struct {
	key   string
	state laneState
	// gen changes whenever the lane takes another place; entries of queues with an older gen are void.
	gen   uint64
	queue []item // head first
	// store is memory of the queue that is used again.
	store []item
	// Of the head.
	attempts  int
	cuts      int       // attempts that were cut short in favour of other lanes
	rejects   int       // attempts that count against RejectAttempts
	failSince time.Time // zero: the last attempt did not fail
	retryAt   time.Time
	heapIndex int
	lastError string
	// sending is the number of items at the front that are in flight.
	sending int
	// apart is the number of items at the front that share no batch with other lanes, single of those that go one by
	// one: a batch that holds them has failed.
	apart, single int
	// parked: the lane holds only its place; everything from nextSeq on is read from the journal.
	parked  bool
	nextSeq uint64
	since   time.Time // when the event at nextSeq was raised; zero: not known
	// missed counts records of the key that were taken while the lane was parked.
	missed  uint64
	waiters []*acceptWaiter
}

// item is one thing in a lane: a journaled event, a gap notice or a question.
type item struct {
	rec      *journal.Record
	notice   *storedGap
	question *question
	// covered: the position is done already as far as the cursor is concerned (the lane is parked).
	covered bool
	// late: a dead letter that was redriven. It has no part in the lane's place in the journal.
	late bool
}

// question is on_stream_none_reader.
type question struct {
	publication string
	key         string
	body        []byte
	id          string
	index       uint64
	after       uint64
	time        time.Time
	asked       time.Time
	attempts    int
	retryAt     time.Time // not before
	holds       func() bool
	answer      func(closeStream bool, outcome fact.Outcome)
}

func (it item) typ() event.Type {
	switch {
	case it.rec != nil:
		return it.rec.Type
	case it.notice != nil:
		return event.OnEventGap
	default:
		return event.OnStreamNoneReader
	}
}

// id returns the event's id, or the request's.
func (it item) id() string {
	switch {
	case it.rec != nil:
		return it.rec.ID
	case it.notice != nil:
		return it.notice.ID
	default:
		return it.question.id
	}
}

// acceptWaiter waits until nothing up to seq is left in a lane, or the lane gets into trouble.
type acceptWaiter struct {
	seq  uint64
	done chan struct{}
}

// keepQueue bounds the memory that an empty lane keeps for its next events.
const keepQueue = 4

// failing says that the lane's last attempt failed.
func (l *lane) failing() bool { return !l.failSince.IsZero() }

// push appends an item.
func (l *lane) push(it item) {
	l.queue = append(l.queue, it)
	if len(l.queue) == 1 && cap(l.queue) <= keepQueue {
		l.store = l.queue
	}
}

// pop removes the head.
func (l *lane) pop() {
	l.queue[0] = item{}
	l.queue = l.queue[1:]
	if len(l.queue) == 0 {
		l.queue = l.store[:0]
	}
	l.attempts, l.cuts, l.rejects, l.failSince, l.lastError = 0, 0, 0, time.Time{}, ""
	l.apart, l.single = max(l.apart-1, 0), max(l.single-1, 0)
}

// yieldQuestion moves a question at the head behind the events and reports whether there were any: a question that
// has to wait holds up no event.
func (l *lane) yieldQuestion() bool {
	for i, it := range l.queue {
		if it.question == nil {
			q := l.queue[0]
			copy(l.queue, l.queue[1:i+1])
			l.queue[i] = q
			l.attempts, l.cuts, l.rejects, l.failSince = 0, 0, 0, time.Time{}
			return true
		}
	}
	return false
}

// wakeWaiters releases who waits for events that are no longer in the lane; all of them when the lane is in trouble.
func (l *lane) wakeWaiters(all bool) {
	if len(l.waiters) == 0 {
		return
	}
	oldest := ^uint64(0)
	for _, it := range l.queue {
		if it.rec != nil && !it.late {
			oldest = it.rec.Seq
			break
		}
	}
	kept := l.waiters[:0]
	for _, w := range l.waiters {
		if all || w.seq < oldest {
			close(w.done)
		} else {
			kept = append(kept, w)
		}
	}
	l.waiters = kept
}

// attempt is one request in flight. Of a batch l, it, gaps and prev are those of the first event.
type attempt struct {
	t    *target
	l    *lane
	it   item
	gaps []storedGap // of the key, which the body names
	prev uint64      // of the event
	// events are those of a batch, the first included, and stretches say to which lanes they belong; none: no batch.
	events    []batched
	stretches []stretch
	wait      time.Duration
	form      form
	n         int  // number of the attempt, from 1
	slow      bool // counts against the failing share: the lane was failing, or it takes far longer than usual
	cut       bool // ended early in favour of lanes that work
	ctx       context.Context
	stop      context.CancelFunc
	at        time.Time
	// Neighbours in the target's list of attempts, oldest first.
	older, newer *attempt
}

// laneHeap is a heap of lanes by retryAt.
type laneHeap []*lane

func (h laneHeap) Len() int           { return len(h) }
func (h laneHeap) Less(i, j int) bool { return h[i].retryAt.Before(h[j].retryAt) }
func (h laneHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].heapIndex, h[j].heapIndex = i, j
}

// Push implements heap.Interface.
func (h *laneHeap) Push(x any) {
	l := x.(*lane) //nolint:forcetypeassert // only lanes are pushed
	l.heapIndex = len(*h)
	*h = append(*h, l)
}

// Pop implements heap.Interface.
func (h *laneHeap) Pop() any {
	old := *h
	l := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	l.heapIndex = -1
	return l
}

// fifo is a queue of lanes that reuses its memory. Entries whose lane has moved on since are void.
type fifo struct {
	items []place
	head  int
}

type place struct {
	l   *lane
	gen uint64
}

// peek drops void entries from the head and returns the first valid one, nil when there is none.
func (f *fifo) peek() *lane {
	for f.head < len(f.items) {
		if p := f.items[f.head]; p.l.gen == p.gen {
			return p.l
		}
		f.skip()
	}
	return nil
}

func (f *fifo) push(l *lane) {
	l.gen++
	f.items = append(f.items, place{l, l.gen})
}

// pop returns the first valid lane, nil when there is none.
func (f *fifo) pop() *lane {
	l := f.peek()
	if l != nil {
		f.skip()
	}
	return l
}

func (f *fifo) skip() {
	f.items[f.head] = place{}
	f.head++
	if f.head == len(f.items) {
		f.items, f.head = f.items[:0], 0
	} else if f.head > 1024 && f.head*2 > len(f.items) {
		n := copy(f.items, f.items[f.head:])
		clear(f.items[n:])
		f.items, f.head = f.items[:n], 0
	}
}

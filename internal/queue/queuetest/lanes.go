package queuetest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/hookline/hookline/internal/queue/port"
)

const (
	attemptTimeout = time.Second // at first; see Deliver
	pause          = 5 * time.Millisecond
	patience       = 5 * time.Minute // for anything that must happen at all, the restart of a server among it
)

// Lanes publishes as the delivery lanes do: one message per key at a time, repeated until it is accepted.
type Lanes struct {
	dest  port.Destination
	count sync.Mutex
	moved *sync.Cond
	acked int // guarded by count
	tried int // guarded by count; failed attempts
	// doubtful of them may have been stored all the same: the queue has not said that it rejects them. Guarded by count.
	doubtful int
	ended    bool // guarded by count; Run has returned: nothing more comes
}

// NewLanes returns lanes into dest.
func NewLanes(dest port.Destination) *Lanes {
	l := &Lanes{dest: dest}
	l.moved = sync.NewCond(&l.count)
	return l
}

// NewMessage is the n-th message of key, the same each time.
func NewMessage(key string, n int) port.Message {
	return port.Message{
		Key: key, ID: fmt.Sprintf("%x-%d", key, n), Type: "on_stream_changed", Seq: uint64(n), Epoch: 1767319445678,
		Body:   []byte(`{"n":` + strconv.Itoa(n) + `}`),
		Header: map[string]string{"x-test": "value " + strconv.Itoa(n)},
	}
}

// Run publishes messages 1 to n of each key.
func (l *Lanes) Run(ctx context.Context, tb testing.TB, keys []string, n int) {
	var running sync.WaitGroup
	for _, key := range keys {
		running.Go(func() {
			for i := 1; i <= n; i++ {
				if err := l.Deliver(ctx, NewMessage(key, i)); err != nil {
					tb.Errorf("key %q, message %d: %v", key, i, err)
					return
				}
			}
		})
	}
	running.Wait()
	l.count.Lock()
	defer l.count.Unlock()
	l.ended = true // whoever waits for progress, from now on, too, must not wait for ever
	l.moved.Broadcast()
}

// Deliver repeats m until it is accepted, rejected, or ctx ends. An attempt after one that took too long may take twice as
// long, lest a queue on a busy machine never has the time to answer.
func (l *Lanes) Deliver(ctx context.Context, m port.Message) error {
	for limit := attemptTimeout; ; {
		attempt, cancel := context.WithTimeout(ctx, limit)
		err := l.dest.Publish(attempt, m)
		cancel()
		l.note(err)
		if err == nil || errors.Is(err, port.ErrRejected) {
			return err
		}
		if errors.Is(err, context.DeadlineExceeded) {
			limit = min(2*limit, patience)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not accepted in time: %w", err)
		case <-time.After(pause):
		}
	}
}

func (l *Lanes) note(err error) {
	l.count.Lock()
	defer l.count.Unlock()
	if err == nil {
		l.acked++
	} else {
		l.tried++
	}
	if err != nil && !errors.Is(err, port.ErrRejected) {
		l.doubtful++
	}
	l.moved.Broadcast()
}

// Doubtful is the number of attempts so far that failed without the queue's word. Each of them may be in the queue.
func (l *Lanes) Doubtful() int {
	l.count.Lock()
	defer l.count.Unlock()
	return l.doubtful
}

// Acked waits until so many messages more are accepted (or there are no more).
func (l *Lanes) Acked(more int) {
	l.count.Lock()
	defer l.count.Unlock()
	for goal := l.acked + more; l.acked < goal && !l.ended; {
		l.moved.Wait()
	}
}

// Failed waits until so many attempts more have failed (or there are no more).
func (l *Lanes) Failed(more int) {
	l.count.Lock()
	defer l.count.Unlock()
	for goal := l.tried + more; l.tried < goal && !l.ended; {
		l.moved.Wait()
	}
}

// Check compares a queue with what the lanes published: complete, each key's first appearances in order, one id per
// message. It returns the number of repetitions.
func Check(tb testing.TB, got []Entry, keys []string, n int) int {
	tb.Helper()
	last := map[string]int{}
	again := 0
	for _, e := range got {
		i, err := strconv.Atoi(e.Header[port.HeaderSeq])
		if err != nil {
			tb.Fatalf("key %q: sequence %q", e.Key, e.Header[port.HeaderSeq])
		}
		want := NewMessage(e.Key, i)
		if e.ID != want.ID || e.Body != string(want.Body) {
			tb.Errorf("key %q, message %d: id %q and body %q", e.Key, i, e.ID, e.Body)
		}
		switch before := last[e.Key]; {
		case i == before+1:
			last[e.Key] = i
		case i <= before:
			again++
		default:
			tb.Errorf("key %q: message %d after %d", e.Key, i, before)
			last[e.Key] = i
		}
	}
	for _, key := range keys {
		if last[key] != n {
			tb.Errorf("key %q: %d of %d messages", key, last[key], n)
		}
	}
	return again
}

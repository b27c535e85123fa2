package receiver

import (
	"context"
	"sync"
)

// lanes hand out one turn at a time for each key, first come first served.
type lanes struct {
	mu sync.Mutex
	m  map[Key][]chan struct{} // who waits; a key that is here is held
}

// enter waits for the turn of k. It fails when queue others wait already, or ctx ends.
func (l *lanes) enter(ctx context.Context, k Key, queue int) error {
	l.mu.Lock()
	waiting, held := l.m[k]
	if !held {
		if l.m == nil {
			l.m = map[Key][]chan struct{}{}
		}
		l.m[k] = nil
		l.mu.Unlock()
		return nil
	}
	if len(waiting) >= queue {
		l.mu.Unlock()
		return errBusy
	}
	turn := make(chan struct{})
	l.m[k] = append(waiting, turn)
	l.mu.Unlock()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	l.mu.Lock()
	for i, w := range l.m[k] {
		if w == turn {
			l.m[k] = append(l.m[k][:i], l.m[k][i+1:]...)
			l.mu.Unlock()
			return ctx.Err()
		}
	}
	l.mu.Unlock()
	l.leave(k) // the turn came at the same moment
	return ctx.Err()
}

func (l *lanes) leave(k Key) {
	l.mu.Lock()
	defer l.mu.Unlock()
	waiting := l.m[k]
	if len(waiting) == 0 {
		delete(l.m, k)
		return
	}
	close(waiting[0])
	l.m[k] = waiting[1:]
}

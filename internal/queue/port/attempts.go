package port

import (
	"context"
	"sync"
)

// Attempts runs the publishing of clients that cannot be interrupted at once. A caller that gives up is released, and
// the key stays taken until its attempt has really ended, so that none can be overtaken by a later message of the key.
// The zero value is ready.
type Attempts struct {
	running sync.WaitGroup
	mu      sync.Mutex
	taken   map[string]chan struct{} // guarded by mu; closed when the key is free again
	closed  bool                     // guarded by mu
}

// Do runs f, once no attempt of key is running, and returns its error, or the cause of ctx's end if that comes first.
// f must end soon after ctx has.
func (a *Attempts) Do(ctx context.Context, key string, f func() error) error {
	free, err := a.take(ctx, key)
	if err != nil {
		return err
	}
	result := make(chan error, 1)
	go func() {
		defer a.running.Done()
		defer a.release(key, free)
		result <- f()
	}()
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-result:
		// Both at once: what really happened says more.
		return err
	default:
		return context.Cause(ctx)
	}
}

// Close lets nothing new in and waits for what runs.
func (a *Attempts) Close() {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	a.running.Wait()
}

func (a *Attempts) take(ctx context.Context, key string) (chan struct{}, error) {
	for {
		free, before, err := a.tryTake(key)
		if before == nil {
			return free, err
		}
		select {
		case <-before:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (a *Attempts) tryTake(key string) (free, before chan struct{}, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return nil, nil, ErrClosed
	}
	if before, ok := a.taken[key]; ok {
		return nil, before, nil
	}
	if a.taken == nil {
		a.taken = map[string]chan struct{}{}
	}
	free = make(chan struct{})
	a.taken[key] = free
	a.running.Add(1)
	return free, nil, nil
}

func (a *Attempts) release(key string, free chan struct{}) {
	a.mu.Lock()
	delete(a.taken, key)
	a.mu.Unlock()
	close(free)
}

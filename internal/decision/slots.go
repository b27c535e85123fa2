package decision

import (
	"context"
	"sync"
)

// slots bound the requests in flight, over all and per key. Who waits for its key holds none of the others' room.
type slots struct {
	all    chan struct{}
	perKey int

	mu   sync.Mutex
	keys map[string]*keySlots // guarded by mu; a key is here while somebody holds or waits for a slot of it
}

type keySlots struct {
	sem   chan struct{}
	users int // guarded by slots.mu
}

func newSlots(all, perKey int) *slots {
	return &slots{all: make(chan struct{}, all), perKey: perKey, keys: map[string]*keySlots{}}
}

// acquire waits for room. The error is that of ctx.
func (s *slots) acquire(ctx context.Context, key string) (release func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	k := s.join(key)
	select {
	case k.sem <- struct{}{}:
	case <-ctx.Done():
		s.leave(key, k)
		return nil, ctx.Err()
	}
	select {
	case s.all <- struct{}{}:
	case <-ctx.Done():
		<-k.sem
		s.leave(key, k)
		return nil, ctx.Err()
	}
	release = func() {
		<-s.all
		<-k.sem
		s.leave(key, k)
	}
	// Room that came free at the very end is of no use to a question that nobody waits for.
	if err := ctx.Err(); err != nil {
		release()
		return nil, err
	}
	return release, nil
}

func (s *slots) join(key string) *keySlots {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.keys[key]
	if k == nil {
		k = &keySlots{sem: make(chan struct{}, s.perKey)}
		s.keys[key] = k
	}
	k.users++
	return k
}

func (s *slots) leave(key string, k *keySlots) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k.users--; k.users == 0 {
		delete(s.keys, key)
	}
}

package receiver

import (
	"context"
	"maps"
	"slices"
	"sync"
)

// Store keeps marks. It is safe for concurrent use. Package storetest has the suite that every Store must pass.
type Store interface {
	// Update does, as one transaction: read the mark of k (the zero [Mark] when there is none), call f with it, keep the
	// mark that f returns. The context that f gets carries the transaction, so that what f does in it commits with the
	// mark or not at all. An error of f, which is returned as it is, and a panic roll it back. A nil error means: committed, as
	// durably as the store is. Two updates of one key never overlap, also not those of other processes that share the
	// store; f is called at most once.
	Update(ctx context.Context, k Key, f func(ctx context.Context, m Mark) (Mark, error)) error
}

// Memory is a [Store] in memory, and an [InboxStore]. What it knows ends with the process: after a restart the first event of
// each stream is taken for the first ever, so effects that outlive the process may happen again; and what waited in the inbox,
// although it was answered, is lost.
type Memory struct {
	mu    sync.Mutex
	marks map[Key]*memoryMark // guarded by mu
	inbox map[Key][]Entry     // guarded by mu; what waits, oldest first
}

type memoryMark struct {
	mu   sync.Mutex // held through an update
	mark Mark       // guarded by mu
	uses int        // guarded by Memory.mu; updates that are in progress or wait
}

// NewMemory returns an empty store.
func NewMemory() *Memory { return &Memory{marks: map[Key]*memoryMark{}, inbox: map[Key][]Entry{}} }

type memoryTx struct{}

// OnCommit has f called when the update that ctx belongs to commits, before its mark can be seen; it is not called when the
// update fails. It reports whether ctx is that of an update of a [Memory].
func OnCommit(ctx context.Context, f func()) bool {
	list, ok := ctx.Value(memoryTx{}).(*[]func())
	if ok {
		*list = append(*list, f)
	}
	return ok
}

// Update implements [Store].
func (s *Memory) Update(ctx context.Context, k Key, f func(context.Context, Mark) (Mark, error)) error {
	s.mu.Lock()
	m := s.marks[k]
	if m == nil {
		m = &memoryMark{}
		s.marks[k] = m
	}
	m.uses++
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		m.uses--
	}()
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	var commit []func()
	next, err := f(context.WithValue(ctx, memoryTx{}, &commit), m.mark)
	if err != nil {
		return err
	}
	for _, c := range commit {
		c()
	}
	m.mark = next
	return nil
}

// Accept implements [InboxStore].
func (s *Memory) Accept(ctx context.Context, entries []Entry) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, e := range entries {
		if !slices.ContainsFunc(s.inbox[e.Key], func(o Entry) bool { return o.ID == e.ID }) {
			s.inbox[e.Key] = append(s.inbox[e.Key], e)
		}
	}
	return nil
}

// Waiting implements [InboxStore].
func (s *Memory) Waiting(context.Context) ([]Backlog, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Backlog, 0, len(s.inbox))
	for k, list := range s.inbox {
		out = append(out, Backlog{k, len(list), list[0].ID})
	}
	return out, nil
}

// First implements [InboxStore].
func (s *Memory) First(_ context.Context, k Key) (Entry, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if list := s.inbox[k]; len(list) > 0 {
		return list[0], true, nil
	}
	return Entry{}, false, nil
}

// Remove implements [InboxStore].
func (s *Memory) Remove(ctx context.Context, k Key, _ string) error {
	OnCommit(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		list := s.inbox[k]
		list[0] = Entry{}
		if s.inbox[k] = list[1:]; len(list) == 1 {
			delete(s.inbox, k)
		}
	})
	return nil
}

// Prune implements [Pruner].
func (s *Memory) Prune(ctx context.Context, old func(digest string, m Mark) bool) (removed int, err error) {
	s.mu.Lock()
	keys := slices.Collect(maps.Keys(s.marks))
	s.mu.Unlock()
	for _, k := range keys {
		if err := ctx.Err(); err != nil {
			return removed, err
		}
		if m, ok := s.idle(k); ok && (m.IsZero() || old(k.Digest(), m)) && s.drop(k, m) && !m.IsZero() {
			removed++
		}
	}
	return removed, nil
}

// idle returns the mark of a key that is not being updated.
func (s *Memory) idle(k Key) (Mark, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.marks[k]; m != nil && m.uses == 0 {
		return m.mark, true // its lock is free
	}
	return Mark{}, false
}

// drop removes a mark that is still m and not being updated.
func (s *Memory) drop(k Key, m Mark) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.marks[k]
	if now == nil || now.uses > 0 || now.mark.String() != m.String() {
		return false
	}
	delete(s.marks, k)
	return true
}

var (
	_ InboxStore = (*Memory)(nil)
	_ Pruner     = (*Memory)(nil)
)

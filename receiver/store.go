package receiver

import (
	"context"
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

// Memory is a [Store] in memory. What it knows ends with the process: after a restart the first event of each stream
// is taken for the first ever, so effects that outlive the process may happen again.
type Memory struct {
	mu    sync.Mutex
	marks map[Key]*memoryMark
}

type memoryMark struct {
	mu   sync.Mutex // held through an update
	mark Mark       // guarded by mu
}

// NewMemory returns an empty store.
func NewMemory() *Memory { return &Memory{marks: map[Key]*memoryMark{}} }

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
	s.mu.Unlock()
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

package receiver

import (
	"context"
	"errors"
	"time"
)

// PruneAge is what [Receiver.Prune] should be given at least, unless the sender keeps its events for longer than 30 days: a Hookline
// keeps dead letters, which may be sent again, for 30 days, and events for journal.retention_hours, 72 by default.
const PruneAge = 31 * 24 * time.Hour

// minPruneAge is what Prune takes.
const minPruneAge = time.Hour

// heardEvery is how exact [Mark.Heard] is: a mark is not written anew only to say that something came.
const heardEvery = time.Hour

// Pruner is a [Store] that can remove marks.
type Pruner interface {
	// Prune removes the marks for which old says so, unless they change meanwhile, and returns how many it removed, also with an
	// error. old gets the [Key.Digest] of the key; it is called from one goroutine, outside of any transaction. Marks of which
	// nothing was ever kept don't count. Updates go on meanwhile.
	Prune(ctx context.Context, old func(digest string, m Mark) bool) (removed int, err error)
}

// Prune removes the marks of streams, and of replays, of which nothing was heard for longer than olderThan, and returns how many. It keeps
// those of streams that have a publication here that has not ended, or events in the inbox, and marks that say nothing of
// when something was heard: cursors of [Receiver.Pull], and marks that an earlier version wrote. The store must be a [Pruner], all in
// this module are. olderThan is at least an hour.
//
// A mark is there to recognise what comes twice, and to notice what is missing. It is of no more use when the sender can't send again what
// the mark knows: choose an olderThan that is longer than the sender keeps events and dead letters, [PruneAge] for one.
// Then nothing that was handled is handled again. An event that comes after that is the first of its stream here: its prev is taken for
// the mark, so what is missing right before it is not noticed. It never counts as a duplicate: when the sender has forgotten a stream
// itself, the seqs of its new life begin above all that it ever gave (its seq floor), so that a mark that was kept does no harm
// either. A replay is over long before olderThan.
func (r *Receiver) Prune(ctx context.Context, olderThan time.Duration) (removed int, err error) {
	if olderThan < minPruneAge {
		return 0, errors.New("receiver: marks of the last hour can't be pruned")
	}
	p, ok := r.store.(Pruner)
	if !ok {
		return 0, errors.New("receiver: the store can't prune")
	}
	keep := r.inUse()
	before := time.Now().Add(-olderThan - heardEvery).Unix()
	removed, err = p.Prune(ctx, func(digest string, m Mark) bool {
		return m.Heard != 0 && m.Heard < before && !keep[digest]
	})
	r.stats.pruned.Add(uint64(max(removed, 0)))
	return removed, err
}

// inUse returns the digests of the keys that must keep their marks.
func (r *Receiver) inUse() map[string]bool {
	keep := map[string]bool{}
	t := &r.tracker
	t.mu.Lock()
	for _, p := range t.pubs {
		if p.State != Ended {
			keep[Key{Source: p.Source, Stream: p.Stream}.Digest()] = true
		}
	}
	t.mu.Unlock()
	if b := r.inbox; b != nil {
		b.mu.Lock()
		for k := range b.streams {
			keep[k.Digest()] = true
		}
		b.mu.Unlock()
	}
	return keep
}

// KeepPruned calls [Receiver.Prune] every so often until ctx ends, whose error it returns. What fails is logged. One process of those that
// share a store is enough.
func (r *Receiver) KeepPruned(ctx context.Context, olderThan, every time.Duration) error {
	if every <= 0 || olderThan < minPruneAge {
		return errors.New("receiver: the interval must be positive, and the age an hour or more")
	}
	for {
		rest(ctx, every)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		n, err := r.Prune(ctx, olderThan)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			r.log.Warn("marks could not be pruned", "removed", n, "error", err)
		case n > 0:
			r.log.Info("marks pruned", "removed", n)
		}
	}
}

// heard notes in next, which follows old, that something came.
func (m *Mark) heard(old Mark) {
	now := time.Now().Unix()
	if m.Heard = old.Heard; now-old.Heard >= int64(heardEvery/time.Second) {
		m.Heard = now
	}
}

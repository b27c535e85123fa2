package sequencer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/journal"
)

// ErrPlace says that a place of a snapshot is of another run: its shards are not those of this one.
var ErrPlace = errors.New("sequencer: the snapshot was begun in another run")

// LivePublication is an entry of a snapshot.
type LivePublication struct {
	Stream      fact.Stream // after stream_replace
	Publication string
	// Seq is the newest seq of the stream key when the entry was taken: the entry holds what every event up to it
	// says, and nothing of a later one.
	Seq        uint64
	Params     string
	OriginType fact.OriginType
	Protocol   string      // "" for a publication that an older version has journaled
	Publisher  fact.Client // likewise
	Start      int64       // Unix ms
	Schemas    []string    // registered, in order; not to be changed
	AllSchemas []string    // not to be changed
}

// Place says where a snapshot in pages goes on. The zero value begins one.
type Place struct {
	// Incarnation is the run that the place belongs to, Index and Cursor are those of the first page.
	Incarnation   string
	Index, Cursor uint64
	// Behind the entries of Stream in Shard; the zero Stream: from the first one on.
	Shard  int
	Stream fact.Stream
}

// Snapshot is the live state, or a page of it. See Sequencer.Snapshot.
type Snapshot struct {
	Source, Incarnation string
	Epoch               int64
	// Index is the hook_index that would have been given next when the snapshot was begun.
	Index uint64
	// Cursor is a position: every event that the snapshot does not cover stands there or behind it.
	Cursor  uint64
	Entries []LivePublication
	// Next is where the next page begins; nil: this is the last one.
	Next *Place
}

// Snapshot returns up to limit live publications behind a place. Each is taken under the lock of its shard with the
// newest seq of its key; no lock is held for longer than it takes to copy one shard's.
//
// It can be joined with the events of the journal from Cursor on: those of a stream key that has an entry count when
// their seq is above the entry's, those of any other key when their hook_index is not below Index. All that it says
// is durable before it is returned, so that no crash can take it back.
func (s *Sequencer) Snapshot(ctx context.Context, at Place, limit int) (Snapshot, error) {
	if at.Incarnation == "" {
		// The position before the index, and both before any shard: what is durable now was raised before, and an index
		// is taken under the shard's lock, so that what has a lower one is in the shard that is copied later.
		at.Incarnation, at.Cursor = s.inc, s.j.Info().Last+1
		at.Index = s.index.Load()
	}
	if at.Incarnation != s.inc || at.Shard < 0 || at.Shard >= shardCount {
		return Snapshot{}, ErrPlace
	}
	out := Snapshot{Source: s.source, Incarnation: s.inc, Epoch: s.epoch, Index: at.Index, Cursor: at.Cursor}
	for shard := at.Shard; shard < shardCount && out.Next == nil; shard++ {
		entries, raised := s.copyShard(&s.shards[shard])
		if shard == at.Shard && at.Stream != (fact.Stream{}) {
			from := slices.IndexFunc(entries, func(e LivePublication) bool { return compareStreams(e.Stream, at.Stream) > 0 })
			if from < 0 {
				from = len(entries)
			}
			entries = entries[from:]
		}
		if err := s.waitShard(ctx, &s.shards[shard], raised); err != nil {
			return Snapshot{}, err
		}
		n := cut(entries, limit-len(out.Entries))
		out.Entries = append(out.Entries, entries[:n]...)
		if n < len(entries) {
			next := at
			if next.Shard, next.Stream = shard, (fact.Stream{}); n > 0 {
				next.Stream = entries[n-1].Stream
			}
			out.Next = &next
		}
	}
	if at.Index > 0 {
		s.waitReserved(at.Index - 1) // an index that is shown must not be given out again
	}
	return out, s.Healthy()
}

// cut returns how many entries go on a page with room for so many: those of one stream key, which share its seq, stay
// together.
func cut(entries []LivePublication, room int) int {
	n := min(len(entries), max(room, 0))
	for n > 0 && n < len(entries) && entries[n].Stream == entries[n-1].Stream {
		n++
	}
	return n
}

func compareStreams(a, b fact.Stream) int {
	return cmp.Or(cmp.Compare(a.Vhost, b.Vhost), cmp.Compare(a.App, b.App), cmp.Compare(a.Stream, b.Stream))
}

// copyShard returns the entries of a shard, sorted, and how many events it had raised.
func (s *Sequencer) copyShard(sh *shard) (entries []LivePublication, raised uint64) {
	var forgotten []LivePublication
	sh.mu.Lock()
	entries = make([]LivePublication, 0, len(sh.live))
	for lp := range maps.Values(sh.live) {
		e := lp.entry()
		if ks := sh.keys[e.Stream.Key()]; ks != nil {
			e.Seq = ks.seq
			entries = append(entries, e)
		} else {
			forgotten = append(forgotten, e)
		}
	}
	raised = sh.raised
	sh.mu.Unlock()
	for _, e := range forgotten { // its seq is in the journal, and it may have changed since
		ks := s.load(sh, e.Stream.Key())
		if lp := sh.live[e.Publication]; lp != nil {
			e = lp.entry()
			e.Seq = ks.seq
			entries = append(entries, e)
		}
		raised = sh.raised
		sh.mu.Unlock()
	}
	slices.SortFunc(entries, func(a, b LivePublication) int {
		return cmp.Or(compareStreams(a.Stream, b.Stream), cmp.Compare(a.Publication, b.Publication))
	})
	return entries, raised
}

func (lp *livePublication) entry() LivePublication {
	return LivePublication{
		Stream: lp.Stream, Publication: lp.Publication, Params: lp.Params, OriginType: fact.OriginType(lp.OriginType),
		Protocol: lp.Protocol, Publisher: lp.Publisher, Start: lp.Start, Schemas: lp.Schemas, AllSchemas: lp.All,
	}
}

// shardWaiter waits until a number of events of a shard are durable.
type shardWaiter struct {
	raised uint64
	done   chan struct{}
}

// waitShard waits until the first n events that a shard raised in this run are durable.
func (s *Sequencer) waitShard(ctx context.Context, sh *shard, n uint64) error {
	sh.mu.Lock()
	if sh.written >= n {
		sh.mu.Unlock()
		return nil
	}
	w := shardWaiter{n, make(chan struct{})}
	sh.waiters = append(sh.waiters, w)
	sh.mu.Unlock()
	look := time.NewTicker(100 * time.Millisecond) // whether the writer has died
	defer look.Stop()
	for {
		select {
		case <-w.done:
			return nil
		case <-look.C:
			if err := s.Healthy(); err != nil {
				return err
			}
		case <-s.stop:
			return journal.ErrClosed
		case <-ctx.Done():
			return fmt.Errorf("sequencer: snapshot: %w", ctx.Err())
		}
	}
}

// writtenLocked counts an event that has become durable.
func (sh *shard) writtenLocked() {
	sh.written++
	if len(sh.waiters) == 0 {
		return
	}
	sh.waiters = slices.DeleteFunc(sh.waiters, func(w shardWaiter) bool {
		if w.raised > sh.written {
			return false
		}
		close(w.done)
		return true
	})
}

package sequencer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/journal"
	"github.com/hookline/hookline/internal/journal/journaltest"
)

// liveSet is what a consumer makes of events: the registered schemas of each live publication.
type liveSet map[string]map[string]bool

func (l liveSet) apply(r *journal.Record) {
	schemas := l[r.Publication]
	if schemas == nil {
		schemas = map[string]bool{}
	}
	switch r.Type { //nolint:exhaustive // the others change nothing
	case event.OnPublish:
		l[r.Publication] = schemas
	case event.OnStreamChanged:
		l[r.Publication] = schemas
		if delete(schemas, r.Schema); bytes.Contains(r.Body, []byte(`"regist":true`)) {
			schemas[r.Schema] = true
		}
	case event.OnPublicationEnded:
		delete(l, r.Publication)
	}
}

func (l liveSet) String() string {
	var out []string
	for p, schemas := range l {
		out = append(out, fmt.Sprint(p, slices.Sorted(maps.Keys(schemas))))
	}
	slices.Sort(out)
	return fmt.Sprint(out)
}

// truth is the live set after a position, from the whole log.
func truth(log []*journal.Record, last uint64) liveSet {
	l, epoch := liveSet{}, int64(0)
	for _, r := range log {
		if r.Position > last {
			break
		}
		if r.Epoch > epoch {
			clear(l) // another life of the server
			epoch = r.Epoch
		}
		l.apply(r)
	}
	return l
}

// taken is a snapshot of all pages, and the position up to which the journal was durable when it was there.
type taken struct {
	Snapshot
	pages int
	last  uint64
}

// join is what a consumer does.
func (s *taken) join(log []*journal.Record, last uint64) liveSet {
	l, marks, epoch := liveSet{}, map[string]uint64{}, s.Epoch
	for _, e := range s.Entries {
		schemas := map[string]bool{}
		for _, name := range e.Schemas {
			schemas[name] = true
		}
		l[e.Publication] = schemas
		marks[e.Stream.Key()] = e.Seq
	}
	for _, r := range log {
		if r.Position < s.Cursor || r.Position > last {
			continue
		}
		if r.Epoch > epoch {
			clear(l)
			clear(marks)
			epoch = r.Epoch
		}
		mark, known := marks[r.Key]
		if known && r.Seq > mark || !known && (r.Epoch > s.Epoch || r.Index >= s.Index) {
			l.apply(r)
		}
	}
	return l
}

// snapshots runs publications, crashes and epoch changes, and takes snapshots all the while.
func snapshots(t *testing.T, seed uint64) (all []*taken, log []*journal.Record) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(seed, 1))
	var mu sync.Mutex
	some := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return rnd.IntN(n)
	}
	mem := journaltest.NewMem(journaltest.Options{Latency: func() time.Duration { return time.Duration(some(20)) * time.Millisecond }})
	source, id := "a", 0
	for range 1 + some(4) {
		s, _ := open(t, mem, func(c *Config) { c.Source = source })
		if _, err := s.Compensate(nil); err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		pause := func(ms int) bool {
			time.Sleep(time.Duration(some(ms)) * time.Millisecond)
			return ctx.Err() == nil
		}
		for range 2 + some(8) {
			id++
			actor := id
			wg.Go(func() {
				for n := range 20 {
					live(s, fmt.Sprint("s", some(5)), fmt.Sprint(actor, ".", n), some, pause)
				}
			})
		}
		for range 3 {
			wg.Go(func() {
				for pause(400) {
					if snap := takeSnapshot(ctx, s, mem, 1+some(6), some); snap != nil {
						mu.Lock()
						all = append(all, snap)
						mu.Unlock()
					}
				}
			})
		}
		time.Sleep(time.Duration(some(2000)) * time.Millisecond)
		mu.Lock()
		crash := rand.New(rand.NewPCG(rnd.Uint64(), 2))
		mu.Unlock()
		stop()
		if some(4) == 0 {
			wg.Wait()
			_ = s.Close()
		}
		mem = mem.Crash(crash)
		wg.Wait()
		_ = s.Close()
		if some(3) == 0 {
			source += "x"
		}
	}
	s, _ := open(t, mem, func(c *Config) { c.Source = source })
	if _, err := s.Compensate(nil); err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
	mem = mem.Crash(nil) // a closed one can be read no more
	log, err := journaltest.ReadAll(mem)
	if err != nil {
		t.Fatal(err)
	}
	return all, log
}

// live is a publication. Its end may come after the beginning of the next one of its key.
func live(s *Sequencer, name, pub string, some func(int) int, pause func(int) bool) {
	s.Raise(start(name, pub))
	var schemas []string
	for _, schema := range []string{"rtmp", "hls", "ts"}[:some(4)] {
		if !pause(30) {
			return
		}
		s.Raise(register(name, pub, schema))
		schemas = append(schemas, schema)
		s.Raise(report(name, true))
	}
	for _, schema := range slices.Backward(schemas) {
		if !pause(30) {
			return
		}
		s.Raise(&fact.Unregistered{Publication: pub, Schema: schema, Stream: stream(name)})
	}
	if pause(100) {
		s.Raise(&fact.PublicationEnded{Publication: pub, Stream: stream(name), Reason: fact.EndUnpublish})
		pause(100)
	}
}

// takeSnapshot reads all pages, nil when the run ends meanwhile.
func takeSnapshot(ctx context.Context, s *Sequencer, mem *journaltest.Mem, limit int, some func(int) int) *taken {
	var out taken
	for at := (Place{}); ; {
		page, err := s.Snapshot(ctx, at, limit)
		if err != nil {
			return nil
		}
		entries := append(out.Entries, page.Entries...)
		out.Snapshot, out.pages = page, out.pages+1
		out.Entries = entries
		if page.Next == nil {
			out.last = mem.Info().Last
			return &out
		}
		at = *page.Next
		time.Sleep(time.Duration(some(10)) * time.Millisecond)
	}
}

// A snapshot that is taken at any moment, joined with what the journal holds behind it, is the live set at any later
// moment: across crashes, compensation and new epochs.
func TestSnapshot(t *testing.T) {
	joined, paged, live, caught := 0, 0, 0, 0
	for seed := range uint64(12) {
		synctest.Test(t, func(t *testing.T) {
			all, log := snapshots(t, seed)
			for _, s := range all {
				for last := s.last; last <= uint64(len(log)); last += 1 + (uint64(len(log))-s.last)/3 {
					want := truth(log, last).String()
					if got := s.join(log, last).String(); got != want {
						t.Fatalf("seed %d: snapshot at %d of %d pages, joined up to %d:\n%s, want\n%s", seed, s.last, s.pages, last, got, want)
					}
					joined++
				}
				live += len(s.Entries)
				if s.pages > 1 {
					paged++
				}
				// Who takes the index after the scan misses what was raised during it.
				wrong := *s
				if wrong.Index += 20; wrong.join(log, s.last).String() != truth(log, s.last).String() {
					caught++
				}
			}
		})
		if t.Failed() {
			return
		}
	}
	t.Logf("%d joins, %d snapshots of several pages, %d entries; a wrong index was caught %d times", joined, paged, live, caught)
	if joined == 0 || paged == 0 || live == 0 || caught == 0 {
		t.Error("the test did not exercise what it is for")
	}
}

// A place of another run is refused, and a dead journal gives no snapshot.
func TestSnapshotRefused(t *testing.T) {
	mem := journaltest.NewMem(journaltest.Options{})
	s, _ := open(t, mem, nil)
	if _, err := s.Snapshot(t.Context(), Place{Incarnation: "other"}, 10); !errors.Is(err, ErrPlace) {
		t.Error(err)
	}
	if _, err := s.Snapshot(t.Context(), Place{Incarnation: s.inc, Shard: shardCount}, 10); !errors.Is(err, ErrPlace) {
		t.Error(err)
	}
	s.Raise(start("a", "p"))
	snap, err := s.Snapshot(t.Context(), Place{}, 10)
	if err != nil || len(snap.Entries) != 1 || snap.Entries[0].Seq != 1 || snap.Next != nil || mem.Info().Last != 1 {
		t.Errorf("%+v %v", snap, err)
	}
	mem.FailWrites(errors.New("disk on fire"))
	s.Raise(start("a", "q"))
	if _, err := s.Snapshot(t.Context(), Place{}, 10); !errors.Is(err, journal.ErrDead) {
		t.Error(err)
	}
}

// A stream whose key is not in memory any more has its seq from the journal.
func TestSnapshotOfForgottenKey(t *testing.T) {
	mem := journaltest.NewMem(journaltest.Options{})
	s, _ := open(t, mem, nil)
	s.Raise(start("a", "p"))
	s.Raise(register("a", "p", "rtmp"))
	if err := s.WaitDurable(t.Context(), stream("a").Key(), 2); err != nil {
		t.Fatal(err)
	}
	sh := s.shardOf(stream("a").Key())
	sh.mu.Lock()
	clear(sh.keys)
	sh.evictions++
	sh.mu.Unlock()
	snap, err := s.Snapshot(t.Context(), Place{}, 10)
	if err != nil || len(snap.Entries) != 1 || snap.Entries[0].Seq != 2 || !slices.Equal(snap.Entries[0].Schemas, []string{"rtmp"}) {
		t.Errorf("%+v %v", snap, err)
	}
}

func BenchmarkSnapshot(b *testing.B) {
	mem := journaltest.NewMem(journaltest.Options{})
	s, err := Open(Config{Source: "srv"}, mem, nil)
	if err != nil {
		b.Fatal(err)
	}
	for i := range 100000 {
		s.Raise(start(fmt.Sprint(i), fmt.Sprint("p", i)))
	}
	for b.Loop() {
		n := 0
		for at := new(Place); at != nil; {
			page, err := s.Snapshot(context.Background(), *at, 1000)
			if err != nil {
				b.Fatal(err)
			}
			n, at = n+len(page.Entries), page.Next
		}
		if n != 100000 {
			b.Fatal(n)
		}
	}
	_ = s.Close()
}

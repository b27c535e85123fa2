package sequencer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/journal"
	"github.com/hookline/hookline/internal/journal/journaltest"
	"github.com/hookline/hookline/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// log collects what the sink is shown.
type sink struct {
	mu   sync.Mutex
	recs []*journal.Record
}

func (s *sink) take(recs []*journal.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.recs = append(s.recs, recs...)
}

func (s *sink) all() []*journal.Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.recs)
}

func open(t *testing.T, mem *journaltest.Mem, change func(*Config)) (*Sequencer, *sink) {
	t.Helper()
	cfg := Config{Source: "srv", Logger: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&cfg)
	}
	out := &sink{}
	s, err := Open(cfg, mem, out.take)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s, out
}

func stream(name string) fact.Stream {
	return fact.Stream{Vhost: fact.DefaultVhost, App: "live", Stream: name}
}

func report(name string, player bool) *fact.FlowReport {
	s := stream(name)
	return &fact.FlowReport{Live: s, MediaInfo: fact.MediaInfo{Stream: s}, Player: player}
}

func start(name, pub string) *fact.PublicationStarted {
	s := stream(name)
	return &fact.PublicationStarted{Publication: pub, Live: s, MediaInfo: fact.MediaInfo{Stream: s}, Start: 1000}
}

func register(name, pub, schema string) *fact.Registered {
	return &fact.Registered{Publication: pub, Regist: true, StreamObject: fact.StreamObject{Schema: schema, Stream: stream(name)}}
}

// Seqs are contiguous per key, indexes and ids unique, and all of it survives a restart and a crash.
func TestIdentity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := journaltest.NewMem(journaltest.Options{Latency: func() time.Duration { return time.Millisecond }})
		ids, indexes := map[string]bool{}, map[uint64]bool{}
		seqs := map[string]uint64{}
		for run := range 4 {
			s, out := open(t, mem, nil)
			var wg sync.WaitGroup
			for k := range 8 {
				wg.Go(func() {
					for range 200 {
						s.Raise(report(fmt.Sprint(k), true))
					}
				})
			}
			wg.Wait()
			if id, index, after, _ := s.Stamp(stream("0").Key()); id == "" || after == 0 || ids[id] || indexes[index] {
				t.Errorf("stamp %q %d %d", id, index, after)
			}
			time.Sleep(time.Second)
			for _, r := range out.all() {
				if r.Seq != seqs[r.Key]+1 {
					t.Fatalf("run %d: %s: seq %d after %d", run, r.Key, r.Seq, seqs[r.Key])
				}
				seqs[r.Key] = r.Seq
				if ids[r.ID] || indexes[r.Index] {
					t.Fatalf("id %s or index %d was used before", r.ID, r.Index)
				}
				ids[r.ID], indexes[r.Index] = true, true
			}
			if run%2 == 0 {
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
			mem = mem.Crash(nil)
			_ = s.Close()
		}
		if len(ids) != 4*1600 {
			t.Errorf("%d events", len(ids))
		}
		if st, err := mem.State("seq/"); err != nil || st[stateIndex] == nil {
			t.Error("no reservation", err)
		}
	})
}

// A clean stop gives unused indexes back, so that they stay low.
func TestCleanStopSkipsNoIndex(t *testing.T) {
	mem := journaltest.NewMem(journaltest.Options{})
	s, _ := open(t, mem, nil)
	s.Raise(report("a", true))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	mem = mem.Crash(nil)
	s, _ = open(t, mem, nil)
	if _, index, _, _ := s.Stamp("x"); index != 1 {
		t.Errorf("index %d after a clean stop, want 1", index)
	}
}

// Event time never decreases within a key, also when the clock does.
func TestTimeNeverDecreases(t *testing.T) {
	mem := journaltest.NewMem(journaltest.Options{})
	s, out := open(t, mem, nil)
	s.Raise(report("a", true))
	_ = s.WaitDurable(context.Background(), stream("a").Key(), 1)
	sh := s.shardOf(stream("a").Key())
	future := time.Now().Add(time.Hour)
	sh.mu.Lock()
	sh.keys[stream("a").Key()].time = future.UnixNano()
	sh.mu.Unlock()
	s.Raise(report("a", true))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got := out.all()[1].Time; !got.Equal(time.Unix(0, future.UnixNano())) {
		t.Errorf("time went back to %v from %v", got, future)
	}
}

// The clock jumps to and fro, also while the process is down: within a key the time of events never decreases, nor is that of
// a request before the key's newest event; a key that is new takes the clock as it is.
func TestClockJumps(t *testing.T) {
	mem := journaltest.NewMem(journaltest.Options{})
	base := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	var offset atomic.Int64
	clock := func() time.Time { return base.Add(time.Duration(offset.Load())) }
	last, seqs := map[string]time.Time{}, map[string]uint64{}
	for run, jumps := range [][]time.Duration{
		{0, time.Hour, -48 * time.Hour, time.Minute}, {-365 * 24 * time.Hour, 0, 10 * 365 * 24 * time.Hour}, {0, 0, -time.Second},
	} {
		var out []*journal.Record
		news := map[string]time.Time{}
		s, err := Open(Config{Source: "srv", Clock: clock}, mem, func(recs []*journal.Record) { out = append(out, recs...) })
		if err != nil {
			t.Fatal(err)
		}
		for i, jump := range jumps {
			offset.Store(int64(jump))
			s.Raise(report("a", true))
			fresh := fmt.Sprintf("new%d-%d", run, i)
			s.Raise(report(fresh, true))
			news[stream(fresh).Key()] = base.Add(jump)
			key := stream("a").Key()
			if _, _, after, at := s.Stamp(key); after != seqs[key]+uint64(i)+1 || at.Before(last[key]) {
				t.Errorf("run %d: a request after seq %d is at %v", run, after, at)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		for _, r := range out {
			if r.Time.Before(last[r.Key]) {
				t.Errorf("run %d: %s: %v after %v", run, r.Key, r.Time, last[r.Key])
			}
			if at, ok := news[r.Key]; ok && !r.Time.Equal(at) {
				t.Errorf("run %d: a new key is at %v", run, r.Time)
			}
			last[r.Key], seqs[r.Key] = r.Time, r.Seq
		}
		if len(out) != 2*len(jumps) {
			t.Errorf("run %d: %d events", run, len(out))
		}
		mem = mem.Crash(nil)
	}
}

// Marks let any subscription compute prev.
func TestMarks(t *testing.T) {
	mem := journaltest.NewMem(journaltest.Options{})
	s, out := open(t, mem, nil)
	s.Raise(start("a", "p"))            // 1, history
	s.Raise(register("a", "p", "rtmp")) // 2
	s.Raise(register("a", "p", "hls"))  // 3
	s.Raise(report("a", true))          // 4
	s.Raise(report("a", true))          // 5
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range out.all()[4].Marks {
		got = append(got, fmt.Sprint(m.Type, " ", m.Schema, " ", m.Seq))
	}
	want := []string{"on_publish " + journal.HistorySchema + " 1", "on_stream_changed rtmp 2", "on_stream_changed hls 3", "on_flow_report  4"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// What a crash left alive is ended once, in order, marked, with the reason.
func TestCompensation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := journaltest.NewMem(journaltest.Options{})
		s, _ := open(t, mem, nil)
		s.Raise(start("a", "p1"))
		s.Raise(register("a", "p1", "rtmp"))
		s.Raise(register("a", "p1", "hls"))
		s.Raise(start("b", "p2")) // never registered
		s.Raise(start("c", "p3"))
		s.Raise(&fact.PublicationEnded{Publication: "p3", Stream: stream("c"), Reason: fact.EndUnpublish})
		time.Sleep(7 * time.Second)
		mem = mem.Crash(nil)
		_ = s.Close()

		s, out := open(t, mem, nil)
		if n, err := s.Compensate(nil); n != 2 || err != nil {
			t.Fatal(n, err)
		}
		time.Sleep(time.Second)
		var got []string
		for _, r := range out.all() {
			if !r.Compensation {
				t.Error("not marked")
			}
			got = append(got, fmt.Sprint(r.Publication, " ", r.Seq, " ", r.Type, " ", r.Schema))
		}
		slices.Sort(got) // keys are independent; within one the seq tells
		want := []string{
			"p1 4 on_stream_changed hls", "p1 5 on_stream_changed rtmp", "p1 6 on_publication_ended ",
			"p2 2 on_publication_ended ",
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
		mem = mem.Crash(nil)
		_ = s.Close()
		s, _ = open(t, mem, nil)
		if n, _ := s.Compensate(nil); n != 0 {
			t.Errorf("%d publications were ended twice", n)
		}
	})
}

// Files that a crash left open are reported between the unregisters and the end, unless that was done before; the end
// lists them behind those of before the crash.
func TestCompensationOfFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := func(pub, path string) *fact.Recorded {
			return &fact.Recorded{Publication: pub, Type: event.OnRecordMP4, Stream: stream("a"), FilePath: path}
		}
		mem := journaltest.NewMem(journaltest.Options{})
		s, _ := open(t, mem, nil)
		s.Raise(start("a", "p1"))
		s.Raise(register("a", "p1", "rtmp"))
		s.Raise(file("p1", "/1"))
		s.Raise(file("p1", "/2"))
		time.Sleep(time.Second)
		mem = mem.Crash(nil)
		_ = s.Close()

		s, out := open(t, mem, nil)
		_, err := s.Compensate(func(pub string) []*fact.Recorded {
			if pub != "p1" {
				t.Errorf("asked for the files of %q", pub)
			}
			return []*fact.Recorded{file("p1", "/2"), file("p1", "/3")} // the recorder had not noted that 2 was reported
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		var got []event.Type
		for _, r := range out.all() {
			got = append(got, r.Type)
		}
		if want := []event.Type{event.OnStreamChanged, event.OnRecordMP4, event.OnPublicationEnded}; !slices.Equal(got, want) {
			t.Fatalf("%q, want %q", got, want)
		}
		var ended fact.PublicationEnded
		if err := json.Unmarshal(out.all()[2].Body, &ended); err != nil {
			t.Fatal(err)
		}
		var paths []string
		for _, r := range ended.Recordings {
			paths = append(paths, r.Path)
		}
		if want := []string{"/1", "/2", "/3"}; !slices.Equal(paths, want) {
			t.Errorf("the end lists %q, want %q", paths, want)
		}
	})
}

// With a journal that is too slow viewer events are shed and named; lifecycle events are not.
func TestShedding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := journaltest.NewMem(journaltest.Options{Latency: func() time.Duration { return 10 * time.Second }})
		s, out := open(t, mem, func(c *Config) { c.ShedAt = 10; c.Capacity = 100 })
		for range 30 {
			s.Raise(report("a", true))
		}
		s.Raise(register("a", "p", "rtmp"))
		s.Raise(report("b", true)) // shed; nothing of b follows
		if _, err := s.Admit(); err != nil {
			t.Errorf("a publication for which there is room was refused: %v", err)
		}
		for range 10 {
			_, _ = s.Admit()
		}
		if _, err := s.Admit(); !errors.Is(err, ErrNoRoom) {
			t.Errorf("no room, but %v", err)
		}
		time.Sleep(time.Minute)
		s.Raise(report("c", true)) // wakes the appender
		time.Sleep(time.Minute)
		var gaps []string
		registered := false
		for _, r := range out.all() {
			if r.Type == event.OnEventGap {
				gaps = append(gaps, fmt.Sprint(r.Key, string(r.Body)))
			}
			registered = registered || r.Type == event.OnStreamChanged
		}
		if len(gaps) != 2 || !registered {
			t.Errorf("gaps %q, registered %v", gaps, registered)
		}
		if st := s.Stats(); st.Shed == 0 || st.Pending != 0 {
			t.Errorf("%+v", st)
		}
	})
}

// After a failed write nothing new is admitted, nothing is shown, and nobody hangs.
func TestDeadWriter(t *testing.T) {
	mem := journaltest.NewMem(journaltest.Options{})
	s, out := open(t, mem, nil)
	s.Raise(report("a", true))
	_ = s.WaitDurable(context.Background(), stream("a").Key(), 1)
	mem.FailWrites(errors.New("disk on fire"))
	for range 100 {
		s.Raise(report("a", true))
	}
	if err := s.Close(); !errors.Is(err, journal.ErrDead) {
		t.Errorf("close: %v", err)
	}
	if _, err := s.Admit(); !errors.Is(err, journal.ErrDead) {
		t.Errorf("admit: %v", err)
	}
	if n := len(out.all()); n != 1 {
		t.Errorf("%d events were shown", n)
	}
}

// A new source, a restored copy or a lost tail begin a higher epoch; a restart does not.
func TestEpoch(t *testing.T) {
	mem := journaltest.NewMem(journaltest.Options{Created: 1000})
	epoch := func(source string, m *journaltest.Mem) int64 {
		s, _ := open(t, m, func(c *Config) { c.Source = source })
		_, _, e := s.Identity()
		_ = s.Close()
		return e
	}
	first := epoch("srv", mem)
	mem = mem.Crash(nil)
	if again := epoch("srv", mem); first != 1000 || again != first {
		t.Errorf("epochs %d, %d", first, again)
	}
	mem = mem.Crash(nil)
	if other := epoch("other", mem); other <= first {
		t.Errorf("epoch %d for another mediaServerId", other)
	}
	if e := epoch("srv", journaltest.NewMem(journaltest.Options{Created: 5, EpochReason: journal.EpochRestored})); e < 5 {
		t.Errorf("epoch %d", e)
	}
}

// Forgotten keys are found again in the journal.
func TestEviction(t *testing.T) {
	mem := journaltest.NewMem(journaltest.Options{})
	s, out := open(t, mem, nil)
	n := shardCount * keysPerShard * 5 / 4
	for i := range n {
		s.Raise(report(fmt.Sprint(i), true))
		if i%4096 == 0 {
			_ = s.WaitDurable(context.Background(), stream(fmt.Sprint(i)).Key(), 1)
		}
	}
	if keys := s.Stats().Keys; keys > shardCount*keysPerShard+4096 {
		t.Errorf("%d keys in memory", keys)
	}
	for i := range 1000 {
		s.Raise(report(fmt.Sprint(i), true))
	}
	_ = s.Close()
	second := 0
	for _, r := range out.all() {
		if r.Seq == 2 && len(r.Marks) == 1 {
			second++
		} else if r.Seq != 1 || len(r.Marks) != 0 {
			t.Fatalf("%s: seq %d, marks %v", r.Key, r.Seq, r.Marks)
		}
	}
	if second != 1000 {
		t.Errorf("%d keys were found again", second)
	}
}

func BenchmarkRaise(b *testing.B) {
	mem := journaltest.NewMem(journaltest.Options{})
	s, err := Open(Config{Source: "srv"}, mem, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	meta := report("a", true).Meta()
	meta.Shed = false
	body := []byte(`{"app":"live"}`)
	b.ReportAllocs()
	for b.Loop() {
		s.RaiseBody(meta, "", body, nil)
	}
}

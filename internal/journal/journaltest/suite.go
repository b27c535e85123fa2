package journaltest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/journal"
)

// Opener is one place where a journal is kept. A test opens it, closes or crashes what it opened, and opens it again.
type Opener interface {
	// Open opens the journal; an empty place becomes an empty journal.
	Open() (journal.Journal, error)
	// Crash abandons the open journal as the death of the machine would: the next Open finds everything that was
	// acknowledged and, chosen by rnd, some of the rest. The suite does not use the old journal afterwards.
	Crash(rnd *rand.Rand)
	// FailWrites makes writes of the open journal fail with err from now on.
	FailWrites(err error)
}

// Run runs the conformance suite. Each test calls open for a new, empty place.
func Run(t *testing.T, open func(t *testing.T) Opener) {
	for _, c := range []struct {
		name string
		run  func(t *testing.T, s *suite)
	}{
		{"Empty", testEmpty},
		{"AppendAssignsPositions", testAppend},
		{"RecordsComeBackEqual", testEqual},
		{"InvalidIsRefused", testInvalid},
		{"ReadLimits", testReadLimits},
		{"ReadKey", testReadKey},
		{"KeysArePrefixFree", testKeyPrefixes},
		{"LastOfKey", testLastOfKey},
		{"OnlyDurableIsRead", testOnlyDurable},
		{"Pipeline", testPipeline},
		{"State", testState},
		{"BatchIsAtomic", testAtomic},
		{"Trim", testTrim},
		{"TrimAll", testTrimAll},
		{"TrimBesideAppend", testTrimBesideAppend},
		{"Reopen", testReopen},
		{"CrashKeepsPrefix", testCrash},
		{"DeadWriterStaysDead", testDead},
		{"Close", testClose},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &suite{t: t, place: open(t)}
			s.reopen()
			c.run(t, s)
			s.close()
		})
	}
}

// suite is one test's journal.
type suite struct {
	t     *testing.T
	place Opener
	j     journal.Journal
	index uint64
}

func (s *suite) reopen() {
	s.t.Helper()
	j, err := s.place.Open()
	if err != nil {
		s.t.Fatal(err)
	}
	s.j = j
}

func (s *suite) close() {
	s.t.Helper()
	if err := s.j.Close(); err != nil && s.j.Healthy() == nil {
		s.t.Errorf("Close: %v", err)
	}
}

// record returns a record that differs from every other one of this test.
func (s *suite) record(key string, seq uint64) *journal.Record {
	s.index++
	return &journal.Record{
		Key: key, Seq: seq, Index: s.index, ID: fmt.Sprintf("id-%d", s.index), Type: event.OnStreamChanged, Schema: "rtmp",
		Class: event.History, Time: time.Unix(1767319445, int64(s.index)).UTC(), Source: "source",
		Incarnation: "run", Epoch: -5, Publication: "publication", Compensation: s.index%2 == 0,
		Marks: []journal.Mark{{Type: event.OnPublish, Schema: "ts", Seq: 3, Index: 4, Epoch: 5}},
		Body:  fmt.Appendf(nil, `{"n":%d,"key":%q}`, s.index, key),
	}
}

func (s *suite) append(b journal.Batch) journal.Ack {
	s.t.Helper()
	ack, err := s.j.Append(b)
	if err != nil {
		s.t.Fatalf("Append: %v", err)
	}
	return ack
}

// write appends records and waits.
func (s *suite) write(rs ...*journal.Record) {
	s.t.Helper()
	if err := s.append(journal.Batch{Records: rs}).Wait(); err != nil {
		s.t.Fatalf("Wait: %v", err)
	}
}

func (s *suite) read(from uint64, lim journal.Limit) []*journal.Record {
	s.t.Helper()
	rs, err := s.j.Read(from, lim)
	if err != nil {
		s.t.Fatalf("Read: %v", err)
	}
	return rs
}

func (s *suite) readKey(key string, seq uint64, lim journal.Limit) []*journal.Record {
	s.t.Helper()
	rs, err := s.j.ReadKey(key, seq, lim)
	if err != nil {
		s.t.Fatalf("ReadKey: %v", err)
	}
	return rs
}

func (s *suite) last(key string) *journal.Record {
	s.t.Helper()
	r, err := s.j.LastOfKey(key)
	if err != nil {
		s.t.Fatalf("LastOfKey: %v", err)
	}
	return r
}

func (s *suite) state(prefix string) map[string][]byte {
	s.t.Helper()
	m, err := s.j.State(prefix)
	if err != nil {
		s.t.Fatalf("State: %v", err)
	}
	return m
}

func (s *suite) setState(sync bool, ops ...journal.Op) {
	s.t.Helper()
	if err := s.j.SetState(ops, sync); err != nil {
		s.t.Fatalf("SetState: %v", err)
	}
}

// want compares records; both are printed short.
func (s *suite) want(what string, got []*journal.Record, want ...*journal.Record) {
	s.t.Helper()
	if len(got) == 0 && len(want) == 0 {
		return
	}
	if !reflect.DeepEqual(got, want) {
		s.t.Fatalf("%s: got %s, want %s", what, brief(got), brief(want))
	}
}

func (s *suite) wantInfo(first, last, floor uint64) {
	s.t.Helper()
	if i := s.j.Info(); i.First != first || i.Last != last || i.SeqFloor != floor {
		s.t.Fatalf("info %+v, want first %d, last %d, floor %d", i, first, last, floor)
	}
}

func brief(rs []*journal.Record) string {
	out := fmt.Sprintf("%d records:", len(rs))
	for _, r := range rs {
		if len(out) > 2000 {
			return out + " …"
		}
		out += fmt.Sprintf(" %d(%.20q/%d #%d)", r.Position, r.Key, r.Seq, r.Index)
	}
	return out
}

// errDisk is what the suite lets writes fail with.
var errDisk = errors.New("journaltest: the disk says no")

// together runs f n times at once and waits.
func together(n int, f func()) {
	var wg sync.WaitGroup
	for range n {
		wg.Go(f)
	}
	wg.Wait()
}

package journaltest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/hookline/hookline/internal/journal"
)

func testTrim(t *testing.T, s *suite) {
	a1, b7, a2, a3 := s.record("a", 1), s.record("b", 7), s.record("a", 2), s.record("a", 3)
	s.write(a1, b7, a2, a3)
	trim := func(before uint64, want int) {
		t.Helper()
		if n, err := s.j.Trim(before); n != want || err != nil {
			t.Fatalf("Trim(%d) removed %d, %v; want %d", before, n, err, want)
		}
	}
	check := func() {
		t.Helper()
		s.wantInfo(3, 4, 7)
		s.want("Read", s.read(0, journal.Limit{}), a2, a3)
		s.want("a", s.readKey("a", 0, journal.Limit{}), a2, a3)
		s.want("b", s.readKey("b", 0, journal.Limit{}))
		if r := s.last("b"); r != nil {
			t.Errorf("the index still knows %q/%d", r.Key, r.Seq)
		}
	}
	trim(0, 0)
	trim(1, 0)
	trim(3, 2)
	check()
	trim(2, 0)
	check()
	s.close()
	s.reopen()
	check()
	c8 := s.record("c", 8)
	s.write(c8)
	s.want("Read", s.read(4, journal.Limit{}), a3, c8)
	trim(5, 2)
	s.wantInfo(5, 5, 7) // the floor never falls
}

func testTrimAll(t *testing.T, s *suite) {
	s.write(s.record("a", 4), s.record("b", 2))
	if n, err := s.j.Trim(1 << 60); n != 2 || err != nil {
		t.Fatalf("Trim removed %d, %v", n, err)
	}
	s.wantInfo(3, 2, 4)
	s.close()
	s.reopen()
	s.wantInfo(3, 2, 4)
	s.want("Read", s.read(0, journal.Limit{}))
	c := s.record("c", 5)
	s.write(c)
	if c.Position != 3 {
		t.Errorf("position %d was given before", c.Position)
	}
	s.want("Read", s.read(0, journal.Limit{}), c)
}

func testTrimBesideAppend(t *testing.T, s *suite) {
	const rounds, size = 60, 100
	trimmed := make(chan error, 1)
	go func() {
		var err error
		for before := uint64(0); before < rounds*size/2 && err == nil; {
			before = s.j.Info().Last / 2
			_, err = s.j.Trim(before)
		}
		trimmed <- err
	}()
	seq := uint64(0)
	for range rounds {
		var b journal.Batch
		for range size {
			seq++
			b.Records = append(b.Records, s.record(fmt.Sprint(seq%7), seq))
		}
		if err := s.append(b).Wait(); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-trimmed; err != nil {
		t.Fatal(err)
	}
	s.wantInfo(rounds*size/2, rounds*size, rounds*size/2-1)
	s.checkWhole()
}

// checkWhole returns all records after ReadAll's checks.
func (s *suite) checkWhole() []*journal.Record {
	s.t.Helper()
	all, err := ReadAll(s.j)
	if err != nil {
		s.t.Fatal(err)
	}
	return all
}

func testReopen(t *testing.T, s *suite) {
	created := s.j.Info().Created
	var all []*journal.Record
	for i := range uint64(5) {
		r := s.record("k", i+1)
		all = append(all, r)
		s.write(r)
		s.close()
		s.reopen()
		s.want("Read", s.read(0, journal.Limit{}), all...)
		s.wantInfo(1, i+1, 0)
	}
	if got := s.j.Info().Created; got != created {
		t.Errorf("created %d, was %d", got, created)
	}
	if why := s.j.NewEpochReason(); why != "" {
		t.Errorf("a closed journal asks for a new epoch: %q", why)
	}
}

// testCrash crashes a journal again and again and checks that what is left is a prefix with all that was
// acknowledged, that nothing is renumbered, and that state goes with the batch that set it.
func testCrash(t *testing.T, s *suite) {
	rnd := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a test's dice
	var known []*journal.Record        // in the order of positions; all but the tail acknowledged
	acked := 0
	for range 12 {
		for range rnd.IntN(20) {
			var b journal.Batch
			for range 1 + rnd.IntN(4) {
				b.Records = append(b.Records, s.record(fmt.Sprint(rnd.IntN(3)), uint64(len(known)+len(b.Records)+1)))
			}
			known = append(known, b.Records...)
			n := uint64(len(known))
			b.State = []journal.Op{{Key: "last", Value: binary.BigEndian.AppendUint64(nil, n)}}
			ack := s.append(b)
			if rnd.IntN(2) == 0 {
				if err := ack.Wait(); err != nil {
					t.Fatal(err)
				}
				acked = len(known)
			}
		}
		s.place.Crash(rnd)
		s.reopen()
		got := s.checkWhole()
		if len(got) < acked || len(got) > len(known) {
			t.Fatalf("%d records after a crash, %d acknowledged, %d appended", len(got), acked, len(known))
		}
		known = known[:len(got)]
		acked = len(got)
		s.want("after a crash", got, known...)
		if v := s.state("last")["last"]; len(known) > 0 && binary.BigEndian.Uint64(v) != uint64(len(known)) {
			t.Fatalf("state says %d records, the log has %d", binary.BigEndian.Uint64(v), len(known))
		}
	}
	if acked == 0 {
		t.Fatal("the test appended nothing")
	}
}

func testDead(t *testing.T, s *suite) {
	a := s.record("k", 1)
	s.write(a)
	if err := s.j.Healthy(); err != nil {
		t.Fatalf("Healthy: %v", err)
	}
	s.place.FailWrites(errDisk)
	ack, err := s.j.Append(journal.Batch{Records: []*journal.Record{s.record("k", 2)}})
	if err == nil {
		err = ack.Wait()
	}
	wantDead := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, journal.ErrDead) || !errors.Is(err, errDisk) {
			t.Errorf("%s: got %v, want ErrDead and its cause", what, err)
		}
	}
	wantDead("first write", err)
	for range 3 {
		_, err = s.j.Append(journal.Batch{Records: []*journal.Record{s.record("k", 3)}})
		wantDead("Append", err)
	}
	wantDead("SetState", s.j.SetState([]journal.Op{{Key: "k", Value: []byte("v")}}, true))
	_, err = s.j.Trim(2)
	wantDead("Trim", err)
	wantDead("Healthy", s.j.Healthy())
	s.want("Read", s.read(1, journal.Limit{}), a)
	s.want("ReadKey", s.readKey("k", 0, journal.Limit{}), a)
	s.wantInfo(1, 1, 0)
	if err := s.j.Close(); err != nil && !errors.Is(err, journal.ErrDead) {
		t.Errorf("Close: %v", err)
	}
	s.place.Crash(rand.New(rand.NewPCG(3, 4))) //nolint:gosec // a test's dice
	s.reopen()
	if got := s.checkWhole(); len(got) == 0 {
		t.Error("the acknowledged record is gone")
	}
	if r := s.last("k"); r == nil || r.Seq > 2 {
		t.Errorf("last of key after the failure: %+v", r)
	}
	s.write(s.record("k", 4))
}

func testClose(t *testing.T, s *suite) {
	a := s.record("k", 1)
	ack := s.append(journal.Batch{Records: []*journal.Record{a}})
	together(4, func() {
		if err := s.j.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	if err := ack.Wait(); err != nil {
		t.Errorf("Wait after Close: %v", err)
	}
	if err := s.j.Close(); err != nil {
		t.Errorf("Close again: %v", err)
	}
	closed := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, journal.ErrClosed) {
			t.Errorf("%s: got %v, want ErrClosed", what, err)
		}
	}
	_, err := s.j.Append(journal.Batch{Records: []*journal.Record{s.record("k", 2)}})
	closed("Append", err)
	_, err = s.j.Read(1, journal.Limit{})
	closed("Read", err)
	_, err = s.j.ReadKey("k", 1, journal.Limit{})
	closed("ReadKey", err)
	_, err = s.j.LastOfKey("k")
	closed("LastOfKey", err)
	_, err = s.j.State("")
	closed("State", err)
	closed("SetState", s.j.SetState(nil, true))
	_, err = s.j.Trim(1)
	closed("Trim", err)
	s.j.Info()
	s.reopen()
	s.want("Read", s.read(1, journal.Limit{}), a)
}

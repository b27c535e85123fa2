package journaltest

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/journal"
)

func testEmpty(t *testing.T, s *suite) {
	s.wantInfo(1, 0, 0)
	if created := s.j.Info().Created; created <= 0 {
		t.Errorf("created %d", created)
	}
	if why := s.j.NewEpochReason(); why != "" {
		t.Errorf("a new journal asks for a new epoch: %q", why)
	}
	s.want("Read", s.read(0, journal.Limit{}))
	s.want("ReadKey", s.readKey("k", 0, journal.Limit{}))
	if r := s.last("k"); r != nil {
		t.Errorf("LastOfKey: %+v", r)
	}
	if m := s.state(""); len(m) != 0 {
		t.Errorf("state %v", m)
	}
	if n, err := s.j.Trim(10); n != 0 || err != nil {
		t.Errorf("Trim: %d, %v", n, err)
	}
	if err := s.append(journal.Batch{}).Wait(); err != nil {
		t.Errorf("empty batch: %v", err)
	}
	s.wantInfo(1, 0, 0)
}

func testAppend(t *testing.T, s *suite) {
	a, b, c := s.record("k", 1), s.record("l", 1), s.record("k", 2)
	s.write(a, b)
	s.write(c)
	for i, r := range []*journal.Record{a, b, c} {
		if r.Position != uint64(i+1) {
			t.Errorf("record %d has position %d", i, r.Position)
		}
	}
	s.wantInfo(1, 3, 0)
	s.want("Read(0)", s.read(0, journal.Limit{}), a, b, c)
	s.want("Read(1)", s.read(1, journal.Limit{}), a, b, c)
	s.want("Read(3)", s.read(3, journal.Limit{}), c)
	s.want("Read(4)", s.read(4, journal.Limit{}))
	s.want("Read(max)", s.read(1<<64-1, journal.Limit{}))
}

func testEqual(t *testing.T, s *suite) {
	r := s.record("k", 1)
	bare := &journal.Record{Seq: 1, Type: event.OnServerStarted, Time: time.Time{}}
	large := s.record(strings.Repeat("k", journal.MaxKey), 1<<64-1)
	large.Body = bytes.Repeat([]byte("b"), journal.MaxBody)
	s.write(r, bare, large)
	body := bytes.Clone(r.Body)
	copied := *r
	clear(r.Body) // the journal must not have kept it
	copied.Body = body
	s.want("Read", s.read(1, journal.Limit{}), &copied, bare, large)
	s.want("ReadKey", s.readKey(large.Key, large.Seq, journal.Limit{}), large)
}

func testInvalid(t *testing.T, s *suite) {
	bad := s.record("k", 2)
	bad.Type = "on_nothing"
	ok := s.record("k", 1)
	for name, b := range map[string]journal.Batch{
		"record": {Records: []*journal.Record{s.record("k", 1), bad}},
		"state":  {State: []journal.Op{{Key: strings.Repeat("k", journal.MaxStateKey+1)}}},
	} {
		if _, err := s.j.Append(b); !errors.Is(err, journal.ErrInvalid) {
			t.Errorf("%s: got %v, want ErrInvalid", name, err)
		}
	}
	if err := s.j.SetState([]journal.Op{{Value: make([]byte, journal.MaxStateValue+1)}}, true); !errors.Is(err, journal.ErrInvalid) {
		t.Errorf("SetState: got %v, want ErrInvalid", err)
	}
	s.write(ok) // positions were not used up, and the writer lives
	s.want("Read", s.read(1, journal.Limit{}), ok)
	s.wantInfo(1, 1, 0)
}

func testReadLimits(t *testing.T, s *suite) {
	var all []*journal.Record
	for i := range uint64(1200) {
		all = append(all, s.record("k", i+1))
	}
	s.write(all[:700]...)
	s.write(all[700:]...)
	s.want("default", s.read(1, journal.Limit{}), all[:1000]...)
	s.want("7 records", s.read(600, journal.Limit{Records: 7}), all[599:606]...)
	s.want("1 byte", s.read(5, journal.Limit{Bytes: 1}), all[4])
	size := len(journal.Encode(nil, all[0]))
	got := s.read(1, journal.Limit{Bytes: 10 * size})
	if len(got) < 5 || len(got) > 10 {
		t.Errorf("%d records of %d bytes within %d bytes", len(got), size, 10*size)
	}
	s.want("bytes", got, all[:len(got)]...)
	s.want("key, default", s.readKey("k", 0, journal.Limit{}), all[:1000]...)
	s.want("key, 3 records", s.readKey("k", 1199, journal.Limit{Records: 3}), all[1198:]...)
	s.want("key, 1 byte", s.readKey("k", 2, journal.Limit{Bytes: 1}), all[1])
}

func testReadKey(t *testing.T, s *suite) {
	a1, b1, a5, a6 := s.record("a", 1), s.record("b", 300), s.record("a", 5), s.record("a", 1<<40)
	s.write(a1, b1, a5)
	s.write(a6)
	s.want("a from 0", s.readKey("a", 0, journal.Limit{}), a1, a5, a6)
	s.want("a from 2", s.readKey("a", 2, journal.Limit{}), a5, a6)
	s.want("a from 5", s.readKey("a", 5, journal.Limit{}), a5, a6)
	s.want("a from 6", s.readKey("a", 6, journal.Limit{}), a6)
	s.want("a past the end", s.readKey("a", 1<<40+1, journal.Limit{}))
	s.want("b", s.readKey("b", 1, journal.Limit{}), b1)
	s.want("none", s.readKey("c", 0, journal.Limit{}))
}

func testKeyPrefixes(t *testing.T, s *suite) {
	keys := []string{
		"", "a", "a/", "a/b", "ab", "a\x00", "a\x00\x00", "a\xff", "a\xff\xff", "\x00", "\xff", "a\x00\x01",
		"a\x00\x00\x00\x00\x00\x00\x00\x01", "a/\x00\x00\x00\x00\x00\x00\x00\x01",
	}
	want := map[string][]*journal.Record{}
	for _, seq := range []uint64{1, 255, 256, 1<<64 - 1} {
		for _, k := range keys {
			r := s.record(k, seq)
			want[k] = append(want[k], r)
			s.write(r)
		}
	}
	for _, k := range keys {
		s.want(fmt.Sprintf("key %q", k), s.readKey(k, 0, journal.Limit{}), want[k]...)
		s.want(fmt.Sprintf("key %q from 256", k), s.readKey(k, 256, journal.Limit{}), want[k][2:]...)
		s.want(fmt.Sprintf("last of %q", k), []*journal.Record{s.last(k)}, want[k][3])
	}
}

func testLastOfKey(t *testing.T, s *suite) {
	a1, b1, a2 := s.record("a", 1), s.record("b", 9), s.record("a", 2)
	s.write(a1, b1)
	s.want("durable", []*journal.Record{s.last("a")}, a1)
	ack := s.append(journal.Batch{Records: []*journal.Record{a2}})
	s.want("not durable yet", []*journal.Record{s.last("a")}, a2)
	if err := ack.Wait(); err != nil {
		t.Fatal(err)
	}
	s.want("durable again", []*journal.Record{s.last("a")}, a2)
	s.want("other", []*journal.Record{s.last("b")}, b1)
}

func testOnlyDurable(t *testing.T, s *suite) {
	a, b := s.record("k", 1), s.record("k", 2)
	s.write(a)
	ack := s.append(journal.Batch{Records: []*journal.Record{b}})
	s.want("Read", s.read(1, journal.Limit{}), a)
	s.want("Read at the tail", s.read(2, journal.Limit{}))
	s.want("ReadKey", s.readKey("k", 1, journal.Limit{}), a)
	s.wantInfo(1, 1, 0)
	if n, err := s.j.Trim(3); n != 1 || err != nil {
		t.Errorf("Trim removed %d, %v; want what is durable", n, err)
	}
	if err := ack.Wait(); err != nil {
		t.Fatal(err)
	}
	s.want("Read after Wait", s.read(1, journal.Limit{}), b)
	s.wantInfo(2, 2, 1)
}

func testPipeline(t *testing.T, s *suite) {
	var all []*journal.Record
	var acks []journal.Ack
	for i := range uint64(40) {
		r := s.record("k", i+1)
		all = append(all, r)
		acks = append(acks, s.append(journal.Batch{Records: []*journal.Record{r}}))
	}
	// A later batch that is durable makes the earlier ones durable.
	if err := acks[19].Wait(); err != nil {
		t.Fatal(err)
	}
	if got := s.read(1, journal.Limit{}); len(got) < 20 {
		t.Errorf("%s after the 20th batch is durable", brief(got))
	}
	done := make(chan error)
	for i, ack := range acks {
		if i != 19 {
			go func() { done <- ack.Wait() }()
		}
	}
	for range len(acks) - 1 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	s.want("Read", s.read(1, journal.Limit{}), all...)
}

func testState(t *testing.T, s *suite) {
	s.setState(true, journal.Op{Key: "a/1", Value: []byte("x")}, journal.Op{Key: "a/2", Value: []byte{}})
	v := []byte("y")
	s.setState(false, journal.Op{Key: "b", Value: v}, journal.Op{Key: "a\xff", Value: []byte("z")})
	v[0] = '!'
	wantState := func(prefix string, want map[string][]byte) {
		t.Helper()
		if got := s.state(prefix); !reflect.DeepEqual(got, want) {
			t.Errorf("state %q: got %q, want %q", prefix, got, want)
		}
	}
	wantState("a/", map[string][]byte{"a/1": []byte("x"), "a/2": {}})
	wantState("b", map[string][]byte{"b": []byte("y")})
	wantState("c", map[string][]byte{})
	s.setState(true, journal.Op{Key: "a/1"}, journal.Op{Key: "none"}, journal.Op{Key: "b", Value: []byte("w")})
	want := map[string][]byte{"a/2": {}, "a\xff": []byte("z"), "b": []byte("w")}
	wantState("", want)
	s.close()
	s.reopen()
	wantState("", want)
	s.setState(true)
}

func testAtomic(t *testing.T, s *suite) {
	r := s.record("k", 1)
	b := journal.Batch{Records: []*journal.Record{r}, State: []journal.Op{{Key: "live", Value: []byte("1")}}}
	if err := s.append(b).Wait(); err != nil {
		t.Fatal(err)
	}
	if err := s.append(journal.Batch{State: []journal.Op{{Key: "alone", Value: []byte("2")}}}).Wait(); err != nil {
		t.Fatal(err)
	}
	s.close()
	s.reopen()
	s.want("Read", s.read(1, journal.Limit{}), r)
	want := map[string][]byte{"live": []byte("1"), "alone": []byte("2")}
	if got := s.state(""); !reflect.DeepEqual(got, want) {
		t.Errorf("state %q, want %q", got, want)
	}
}

package journaltest_test

import (
	"errors"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/journal"
	"github.com/hookline/hookline/internal/journal/journaltest"
	"github.com/hookline/hookline/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// place keeps a Mem for the suite.
type place struct {
	opts journaltest.Options
	mem  *journaltest.Mem
}

func (p *place) Open() (journal.Journal, error) {
	if p.mem == nil {
		p.mem = journaltest.NewMem(p.opts)
	} else {
		p.mem = p.mem.Crash(nil)
	}
	return p.mem, nil
}

func (p *place) Crash(rnd *rand.Rand) { p.mem = p.mem.Crash(rnd) }

func (p *place) FailWrites(err error) { p.mem.FailWrites(err) }

func TestMem(t *testing.T) {
	journaltest.Run(t, func(*testing.T) journaltest.Opener { return &place{} })
}

func TestMemWithLatency(t *testing.T) {
	journaltest.Run(t, func(*testing.T) journaltest.Opener {
		return &place{opts: journaltest.Options{Latency: func() time.Duration { return 50 * time.Microsecond }}}
	})
}

func record(seq uint64) *journal.Record {
	return &journal.Record{Key: "k", Seq: seq, Type: event.OnFlowReport}
}

func appendOne(t *testing.T, m *journaltest.Mem, seq uint64) journal.Ack {
	t.Helper()
	ack, err := m.Append(journal.Batch{Records: []*journal.Record{record(seq)}})
	if err != nil {
		t.Fatal(err)
	}
	return ack
}

func TestMemLatencyIsVirtual(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		delay := []time.Duration{time.Hour, time.Minute, 2 * time.Hour}
		m := journaltest.NewMem(journaltest.Options{Latency: func() time.Duration {
			d := delay[0]
			delay = delay[1:]
			return d
		}})
		start := time.Now()
		acks := []journal.Ack{appendOne(t, m, 1), appendOne(t, m, 2), appendOne(t, m, 3)}
		// The second is not durable before the first.
		for i, want := range []time.Duration{time.Hour, time.Hour, 2 * time.Hour} {
			if err := acks[i].Wait(); err != nil {
				t.Fatal(err)
			}
			if got := time.Since(start); got != want {
				t.Errorf("batch %d durable after %v, want %v", i, got, want)
			}
		}
	})
}

func TestMemFailureWakesWaiters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := journaltest.NewMem(journaltest.Options{Latency: func() time.Duration { return time.Hour }})
		cause := errors.New("no space")
		ack := appendOne(t, m, 1)
		done := make(chan error)
		go func() { done <- ack.Wait() }()
		synctest.Wait()
		m.FailWrites(cause)
		if err := <-done; !errors.Is(err, journal.ErrDead) || !errors.Is(err, cause) {
			t.Errorf("got %v", err)
		}
	})
}

func TestMemCrashKeepsSomePrefix(t *testing.T) {
	kept := map[uint64]bool{}
	for seed := range uint64(200) {
		m := journaltest.NewMem(journaltest.Options{})
		if err := appendOne(t, m, 1).Wait(); err != nil {
			t.Fatal(err)
		}
		for seq := range uint64(3) {
			appendOne(t, m, seq+2)
		}
		next := m.Crash(rand.New(rand.NewPCG(seed, 0)))
		if _, err := m.Read(1, journal.Limit{}); !errors.Is(err, journaltest.ErrCrashed) {
			t.Fatalf("read of a crashed journal: %v", err)
		}
		rs, err := next.Read(1, journal.Limit{})
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range rs {
			if r.Seq != uint64(i+1) || r.Position != r.Seq {
				t.Fatalf("seed %d: record %d is %+v", seed, i, r)
			}
		}
		kept[next.Info().Last] = true
	}
	for _, last := range []uint64{1, 2, 3, 4} {
		if !kept[last] {
			t.Errorf("no crash left %d records", last)
		}
	}
}

func TestMemReadFailure(t *testing.T) {
	m := journaltest.NewMem(journaltest.Options{})
	if err := appendOne(t, m, 1).Wait(); err != nil {
		t.Fatal(err)
	}
	cause := errors.New("bad block")
	m.FailReads(cause)
	if _, err := m.Read(1, journal.Limit{}); !errors.Is(err, cause) {
		t.Errorf("got %v", err)
	}
	m.FailReads(nil)
	if rs, err := m.Read(1, journal.Limit{}); len(rs) != 1 || err != nil {
		t.Errorf("got %v, %v", rs, err)
	}
}

func TestMemEpochReason(t *testing.T) {
	m := journaltest.NewMem(journaltest.Options{EpochReason: journal.EpochRestored})
	next := m.Crash(nil)
	if why := next.NewEpochReason(); why != journal.EpochRestored {
		t.Errorf("unsettled reason became %q", why)
	}
	if err := next.SetState([]journal.Op{{Key: "epoch", Value: []byte("2")}}, true); err != nil {
		t.Fatal(err)
	}
	if why := next.NewEpochReason(); why != journal.EpochRestored {
		t.Errorf("the reason changed while open: %q", why)
	}
	if why := next.Crash(nil).NewEpochReason(); why != "" {
		t.Errorf("the settled reason came back: %q", why)
	}
}

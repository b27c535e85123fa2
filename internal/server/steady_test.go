package server

import (
	"log/slog"
	"testing"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/journal"
	"github.com/hookline/hookline/internal/journal/journaltest"
)

// A clock that jumps ahead is followed when it has stayed there, one that is set back at once.
func TestSteady(t *testing.T) {
	base := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var elapsed, offset time.Duration
	c := newSteady(slog.New(slog.DiscardHandler), func() (time.Time, time.Duration) { return base.Add(elapsed + offset), elapsed })
	const day = 24 * time.Hour
	for i, step := range []struct{ pass, offset, want time.Duration }{
		{time.Minute, 0, 0},
		{time.Minute, 3 * time.Second, 3 * time.Second}, // slewed
		{time.Minute, 365 * day, 3 * time.Second},       // a jump
		{30 * time.Minute, 365 * day, 3 * time.Second},
		{29 * time.Minute, 400 * day, 3 * time.Second},  // and another
		{time.Minute, 5 * time.Second, 5 * time.Second}, // it was a mistake
		{time.Minute, day, 5 * time.Second},
		{59 * time.Minute, day, 5 * time.Second},
		{time.Minute, day, day}, // it has stayed
		{time.Minute, -40 * day, -40 * day},
		{time.Minute, 0, -40 * day},
		{time.Hour, 0, 0},
	} {
		elapsed += step.pass
		offset = step.offset
		if got := c.Now().Sub(base.Add(elapsed)); got != step.want {
			t.Errorf("step %d: %v off, want %v", i, got, step.want)
		}
	}
}

func TestSystemClock(t *testing.T) {
	read := systemClock()
	w1, e1 := read()
	w2, e2 := read()
	if e2 < e1 || time.Until(w1).Abs() > time.Hour || w2.Sub(w1).Abs() > time.Hour {
		t.Error(w1, e1, w2, e2)
	}
}

// What was stamped while the clock was slow does not make what is before it old.
func TestFirstYoung(t *testing.T) {
	base := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for name, c := range map[string]struct {
		hours []int // of the records; older than 100 is old
		want  uint64
	}{
		"all old":                {[]int{1, 2, 3}, 4},
		"all young":              {[]int{101, 102, 103}, 1},
		"sorted":                 {[]int{1, 2, 101, 102}, 3},
		"a slow clock, young":    {[]int{101, 102, 103, 1, 1, 1, 104, 105}, 1},
		"a slow clock, some old": {[]int{1, 2, 103, 1, 1, 1, 104, 105}, 3},
		"a fast clock":           {[]int{1, 2, 999, 3, 104, 105}, 3},
		"none":                   {nil, 1},
	} {
		t.Run(name, func(t *testing.T) {
			j := journaltest.NewMem(journaltest.Options{})
			for i, h := range c.hours {
				ack, err := j.Append(journal.Batch{Records: []*journal.Record{{
					Key: "k", Seq: uint64(i + 1), Index: uint64(i + 1), ID: "id", Type: event.OnFlowReport, Class: event.Lifecycle,
					Time: base.Add(time.Duration(h) * time.Hour), Source: "s", Incarnation: "i", Epoch: 1, Body: []byte("{}"),
				}}})
				if err != nil {
					t.Fatal(err)
				}
				if err := ack.Wait(); err != nil {
					t.Fatal(err)
				}
			}
			if got, err := firstYoung(j, base.Add(100*time.Hour)); err != nil || got != c.want {
				t.Errorf("%d, %v; want %d", got, err, c.want)
			}
		})
	}
}

package stream

import (
	"testing"
	"time"

	"github.com/hookline/hookline/internal/media"
)

// TestGOPs: earlier groups of pictures are kept in their number and within the limits, count in the budget, and go with the newest.
func TestGOPs(t *testing.T) {
	b := &budget{}
	b.most.Store(1 << 30)
	g := gopCache{budget: b}
	cfg := DefaultConfig()
	cfg.GOPs, cfg.GOPMaxBytes, cfg.GOPMaxDuration = 3, 1000, 10*time.Second
	at := time.Duration(0)
	write := func(n, size int, step time.Duration) {
		t.Helper()
		for i := range n {
			f := &media.Frame{Track: videoTrack("V"), DTS: at, Key: i == 0, Data: make([]byte, size)}
			if _, ok := g.add(f, &cfg); !ok {
				t.Error("refused")
			}
			at += step
		}
	}
	expect := func(back time.Duration, frames, held int) {
		t.Helper()
		got := g.since(at - back)
		if len(got) != frames || frames > 0 && !got[0].Key {
			t.Errorf("%d frames since %v ago, want %d", len(got), back, frames)
		}
		if n := int(b.held.Load()); n != held {
			t.Errorf("%d bytes are held, want %d", n, held)
		}
	}
	for range 5 {
		write(10, 10, 100*time.Millisecond)
	}
	expect(0, 10, 300)
	expect(time.Second, 10, 300)
	expect(1100*time.Millisecond, 20, 300)
	expect(time.Hour, 30, 300)
	write(10, 60, 100*time.Millisecond) // 600 bytes and 200 of before
	expect(time.Hour, 30, 800)
	write(10, 60, 100*time.Millisecond) // 1,200 are too many
	expect(time.Hour, 10, 600)
	write(2, 10, 4*time.Second)
	write(2, 10, 4*time.Second)
	expect(time.Hour, 2, 20) // 12 s are too long
	write(2, 10, time.Second)
	expect(time.Hour, 4, 40)
	cfg.GOPs = 1
	write(3, 10, time.Second)
	expect(time.Hour, 3, 30)
	cfg.GOPs = 3
	write(3, 10, time.Second)
	g.drop()
	expect(time.Hour, 0, 0)
}

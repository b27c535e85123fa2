package server

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookline/hookline/internal/delivery"
)

func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPatience(time.Minute, 0)
		for range 100 { // slow, but it comes on
			time.Sleep(59 * time.Second)
			if p.over(&delivery.Stats{Delivered: p.mark + 1}, time.Now()) {
				t.Fatal("ended although it came on")
			}
		}
		st := delivery.Stats{Delivered: p.mark}
		time.Sleep(59 * time.Second)
		if p.over(&st, time.Now()) {
			t.Error("ended too early")
		}
		time.Sleep(time.Second)
		if !p.over(&st, time.Now()) {
			t.Error("goes on for ever")
		}
		if p := newPatience(0, 0); p.stall != defaultStall {
			t.Errorf("default %v", p.stall)
		}
		if p := newPatience(time.Second, 0.01); p.stall != 200*time.Second {
			t.Errorf("a request each 100 s is given %v", p.stall)
		}
	})
}

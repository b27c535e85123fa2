package leaktest

import (
	"strings"
	"testing"
	"time"
)

func TestFind(t *testing.T) {
	end := make(chan struct{})
	go leaky(end)
	if err := find(0); err == nil || !strings.Contains(err.Error(), "leaktest.leaky") {
		t.Errorf("a goroutine that is left: %v", err)
	}
	// One that takes its time, longer than goleak would wait, is none.
	go func() {
		time.Sleep(time.Second)
		close(end)
	}()
	if err := find(patience); err != nil {
		t.Error(err)
	}
	if Check(0) != 0 || Check(3) != 3 {
		t.Error("exit codes")
	}
}

func leaky(end chan struct{}) { <-end }

package main

import (
	"bytes"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookline/hookline/receiver/receivertest"
)

// output is written by several goroutines.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

// TestRecording: the hooks of a real ZLMediaKit, as they were recorded, are what the program says.
func TestRecording(t *testing.T) {
	f, err := os.Open("../../receiver/testdata/traces/order-jitter20.hooks.jsonl.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	trace, err := receivertest.ReadTrace(f)
	if err != nil {
		t.Fatal(err)
	}
	var out output
	synctest.Test(t, func(t *testing.T) {
		kit, err := newKit(&out)
		if err != nil {
			t.Fatal(err)
		}
		_, changes, stop := kit.Watch(10_000)
		done := make(chan struct{})
		go func() {
			defer close(done)
			ends(&out, changes)
		}()
		if _, err := receivertest.ReplayTrace(t.Context(), kit, trace, 1); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		stop()
		<-done
		if err := kit.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})
	text := out.buf.String()
	for what, want := range map[string]int{
		"registered: true": 5 * 160, "registered: false": 5 * 160, ": file ": 320, " ended at ": 160, "unregistered (exact)": 160, "(unknown)": 0,
	} {
		if n := strings.Count(text, what); n != want {
			t.Errorf("%q is said %d times, not %d", what, n, want)
		}
	}
}

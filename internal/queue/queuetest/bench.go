package queuetest

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hookline/hookline/internal/queue/port"
)

// Bench measures events per second with 32 keys in parallel, each publishing its next event when the one before was
// acknowledged, with bodies of 600 bytes.
func Bench(b *testing.B, q Queue, open Opener) {
	const lanes = 32
	d, err := open(b, q.URL, port.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	l := NewLanes(d)
	if err := l.Deliver(context.Background(), NewMessage("warm", 1)); err != nil {
		b.Fatal(err)
	}
	body := make([]byte, 600)
	var next atomic.Int64
	b.ResetTimer()
	var running sync.WaitGroup
	for k := range lanes {
		running.Go(func() {
			m := NewMessage("v/live/"+strconv.Itoa(k), 1)
			m.Body = body
			for i := 1; next.Add(1) <= int64(b.N); i++ {
				m.ID, m.Seq = fmt.Sprintf("%d-%d-%d", b.N, k, i), uint64(i)
				if err := l.Deliver(context.Background(), m); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	running.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

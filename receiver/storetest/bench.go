package storetest

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/hookline/hookline/receiver"
)

// Bench measures what an event costs with a store: updates of 64 streams at a time, without an effect.
func Bench(b *testing.B, s receiver.Store) {
	b.Helper()
	const streams = 64
	b.ReportAllocs()
	b.SetParallelism(streams)
	var next atomic.Int64
	b.RunParallel(func(pb *testing.PB) {
		k := receiver.Key{Source: "bench", Stream: fmt.Sprint(next.Add(1))}
		for pb.Next() {
			err := s.Update(b.Context(), k, func(_ context.Context, m receiver.Mark) (receiver.Mark, error) {
				m.Epoch, m.Seq = 1, m.Seq+1
				return m, nil
			})
			if err != nil {
				b.Error(err)
				return
			}
		}
	})
}

package pebble

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/journal"
)

const (
	benchBatch    = 256
	benchInFlight = 4
	benchKeys     = 1000
)

// benchRecords returns a batch of records of about 600 bytes, and a function that numbers them anew.
func benchRecords(tb testing.TB) (batch journal.Batch, size int, renew func()) {
	tb.Helper()
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range benchBatch {
		var body []byte // about as compressible as JSON with ids and counters
		for len(body) < 440 {
			body = fmt.Appendf(body, `{"stream":"%x","bytes":%d},`, rnd.Uint64(), rnd.Uint32())
		}
		batch.Records = append(batch.Records, &journal.Record{
			ID: fmt.Sprintf("0198c0de%024d", i), Type: event.OnStreamChanged, Time: time.Now(),
			Source: "hookline-1", Incarnation: "0198c0de", Epoch: time.Now().UnixMilli(), Body: body,
			Publication: "0198c0de", Marks: []journal.Mark{{Type: event.OnPublish, Seq: 1, Index: 1, Epoch: 1}},
		})
	}
	seq := uint64(0)
	renew = func() {
		for _, r := range batch.Records {
			seq++
			r.Key, r.Seq, r.Index = fmt.Sprintf("__defaultVhost__/live/stream-%d", seq%benchKeys), seq, seq
		}
	}
	renew()
	for _, r := range batch.Records {
		size += len(journal.Encode(nil, r))
	}
	return batch, size, renew
}

// appendAll appends n batches as the sequencer does: one appender, some batches in flight, acks in order.
func appendAll(tb testing.TB, j *Journal, n int, batch journal.Batch, renew func()) {
	tb.Helper()
	acks := make(chan journal.Ack, benchInFlight-1)
	done := make(chan error, 1)
	go func() {
		var first error
		for a := range acks {
			if err := a.Wait(); err != nil && first == nil {
				first = err
			}
		}
		done <- first
	}()
	for range n {
		renew()
		a, err := j.Append(batch)
		if err != nil {
			tb.Fatal(err)
		}
		acks <- a
	}
	close(acks)
	if err := <-done; err != nil {
		tb.Fatal(err)
	}
}

// BenchmarkAppend reports records/s of the journal and, from the same run, of a file to which the same bytes are
// written in the same batches, each followed by fdatasync: what the disk gives at most without a pipeline.
func BenchmarkAppend(b *testing.B) {
	for _, fsync := range []bool{true, false} {
		b.Run(fmt.Sprintf("fsync=%v", fsync), func(b *testing.B) {
			j, err := Open(Config{Dir: b.TempDir(), Fsync: fsync, Logger: quiet()})
			if err != nil {
				b.Fatal(err)
			}
			batch, size, renew := benchRecords(b)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			b.ResetTimer()
			appendAll(b, j, b.N, batch, renew)
			b.StopTimer()
			b.ReportMetric(float64(b.N*benchBatch)/b.Elapsed().Seconds(), "records/s")
			b.ReportMetric(float64(size)/benchBatch, "B/record")
			if err := j.Close(); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(rawCeiling(b, b.N, size, fsync), "raw-records/s")
		})
	}
}

func rawCeiling(b *testing.B, n, size int, fsync bool) float64 {
	b.Helper()
	f, err := os.Create(filepath.Join(b.TempDir(), "raw"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	data := bytes.Repeat([]byte("x"), size)
	start := time.Now()
	for range n {
		if _, err := f.Write(data); err != nil {
			b.Fatal(err)
		}
		if fsync {
			if err := fdatasync(f); err != nil {
				b.Fatal(err)
			}
		}
	}
	return float64(n*benchBatch) / time.Since(start).Seconds()
}

func BenchmarkRead(b *testing.B) {
	j, err := Open(Config{Dir: b.TempDir(), Logger: quiet()})
	if err != nil {
		b.Fatal(err)
	}
	defer j.Close()
	batch, _, renew := benchRecords(b)
	appendAll(b, j, 400, batch, renew)
	b.Run("1000", func(b *testing.B) {
		b.ReportAllocs()
		from := uint64(1)
		for b.Loop() {
			rs, err := j.Read(from, journal.Limit{})
			if err != nil {
				b.Fatal(err)
			}
			if from += uint64(len(rs)); len(rs) < 1000 {
				from = 1
			}
		}
		b.ReportMetric(1000*float64(b.N)/b.Elapsed().Seconds(), "records/s")
	})
	b.Run("tail", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if rs, err := j.Read(400*benchBatch-9, journal.Limit{}); err != nil || len(rs) != 10 {
				b.Fatal(len(rs), err)
			}
		}
	})
	b.Run("LastOfKey", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if r, err := j.LastOfKey("__defaultVhost__/live/stream-7"); err != nil || r == nil {
				b.Fatal(r, err)
			}
		}
	})
}

package delivery

import (
	"math/bits"
	"time"
)

const (
	// latencyBuckets: four for each doubling, from 128 µs to 134 s.
	latencyBuckets = 4 * 20
	latencyUnit    = 7 // bits of a microsecond count below the first bucket
	// latencyWindow is after how long figures are forgotten: what is shown covers one to two windows.
	latencyWindow = 5 * time.Minute
)

// histogram counts latencies of the last five to ten minutes. It allocates nothing.
type histogram struct {
	now, before [latencyBuckets]uint32
	since       time.Time
}

func (h *histogram) add(now time.Time, d time.Duration) {
	h.turn(now)
	h.now[bucketOf(d)]++
}

// turn forgets what is too old.
func (h *histogram) turn(now time.Time) {
	switch age := now.Sub(h.since); {
	case age < latencyWindow:
		return
	case age < 2*latencyWindow:
		h.before = h.now
	default:
		clear(h.before[:])
	}
	clear(h.now[:])
	h.since = now
}

// bucketOf returns the bucket of a latency.
func bucketOf(d time.Duration) int {
	us := uint64(max(d, 0) / time.Microsecond)
	n := bits.Len64(us) - 1
	if n < latencyUnit {
		return 0
	}
	return min((n-latencyUnit)*4+int(us>>(n-2)&3), latencyBuckets-1)
}

// upper is the longest latency of a bucket.
func upper(bucket int) time.Duration {
	n := bucket/4 + latencyUnit
	return time.Duration(uint64(5+bucket%4)<<(n-2)) * time.Microsecond
}

// percentiles returns an upper bound of each, within a quarter; 0 without any latency.
func (h *histogram) percentiles(now time.Time) (p50, p90, p99 time.Duration) {
	h.turn(now)
	var total uint64
	for i := range h.now {
		total += uint64(h.now[i]) + uint64(h.before[i])
	}
	if total == 0 {
		return 0, 0, 0
	}
	var n uint64
	for i := range h.now {
		n += uint64(h.now[i]) + uint64(h.before[i])
		for _, p := range []struct {
			of  uint64
			out *time.Duration
		}{{50, &p50}, {90, &p90}, {99, &p99}} {
			if *p.out == 0 && n*100 >= total*p.of {
				*p.out = upper(i)
			}
		}
	}
	return p50, p90, p99
}

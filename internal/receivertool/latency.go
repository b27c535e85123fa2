package receivertool

import (
	"math/bits"
	"time"
)

// histogram counts durations in buckets that are about 6 % wide, from 1 µs to some hours.
type histogram struct {
	buckets [64 * 16]uint64
	n       uint64
	max     time.Duration
}

func (h *histogram) add(d time.Duration) {
	d = max(d, 0)
	h.n++
	h.max = max(h.max, d)
	h.buckets[bucket(uint64(d.Microseconds()))]++
}

// bucket returns the position of us: 16 linear steps for each power of two.
func bucket(us uint64) int {
	if us < 16 {
		return int(us)
	}
	exp := bits.Len64(us) - 5
	return (exp+1)*16 + int(us>>exp) - 16
}

// upper returns the largest value of a bucket.
func upper(i int) time.Duration {
	if i < 16 {
		return time.Duration(i) * time.Microsecond
	}
	exp, step := i/16-1, uint64(i%16)
	return time.Duration((step+17)<<exp-1) * time.Microsecond
}

// quantile returns the value below which the share q of the durations lies, at most 6 % too high.
func (h *histogram) quantile(q float64) time.Duration {
	if h.n == 0 {
		return 0
	}
	want := uint64(q * float64(h.n))
	seen := uint64(0)
	for i, c := range h.buckets {
		seen += c
		if c > 0 && seen > want {
			return min(upper(i), h.max)
		}
	}
	return h.max
}

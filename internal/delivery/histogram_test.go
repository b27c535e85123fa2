package delivery

import (
	"testing"
	"time"
)

// Buckets are in order and each latency is at most a quarter below its bound.
func TestBuckets(t *testing.T) {
	last := -1
	for d := time.Microsecond; d < 130*time.Second; d += d/64 + time.Microsecond {
		i := bucketOf(d)
		if i < last || i >= latencyBuckets {
			t.Fatalf("%v: bucket %d after %d", d, i, last)
		}
		last = i
		if up := upper(i); up < d || d > 200*time.Microsecond && d < up*3/4 {
			t.Fatalf("%v: bucket %d ends at %v", d, i, up)
		}
	}
	if bucketOf(-time.Second) != 0 || bucketOf(time.Hour) != latencyBuckets-1 {
		t.Error("out of range")
	}
}

func TestPercentiles(t *testing.T) {
	var h histogram
	now := time.Unix(1e9, 0)
	for i := range 1000 {
		d := time.Millisecond
		if i >= 950 {
			d = time.Second
		}
		h.add(now, d)
	}
	near := func(got, want time.Duration) bool { return got >= want && got <= want*5/4 }
	if p50, p90, p99 := h.percentiles(now); !near(p50, time.Millisecond) || !near(p90, time.Millisecond) || !near(p99, time.Second) {
		t.Error(p50, p90, p99)
	}
	if p50, _, _ := h.percentiles(now.Add(8 * time.Minute)); !near(p50, time.Millisecond) {
		t.Error("forgotten too early:", p50)
	}
	if p50, _, _ := h.percentiles(now.Add(20 * time.Minute)); p50 != 0 {
		t.Error("not forgotten:", p50)
	}
}

package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// loadShare is the part of our own maximum at which latency under load is measured.
const loadShare = 0.7

// latency measures the time from the raise of an event to its acceptance.
func latency(ctx context.Context, e *env) ([]Result, error) {
	if e.capacity == 0 {
		var err error
		if e.capacity, err = e.delivery(ctx); err != nil {
			return nil, err
		}
	}
	rawPost, rawSync, err := e.rawLatency(ctx)
	if err != nil {
		return nil, err
	}
	idle, err := e.paced(ctx, e.idleEvents, e.idleGap)
	if err != nil {
		return nil, err
	}
	rate := e.capacity * loadShare
	loaded, err := e.paced(ctx, int(rate*e.loadedFor.Seconds()), time.Duration(float64(time.Second)/rate))
	if err != nil {
		return nil, err
	}
	ms := func(name string, v []time.Duration, p float64, note string) Result {
		return Result{Name: name, Value: percentile(v, p), Unit: "ms", Note: note}
	}
	raw := func(p float64) float64 { return percentile(rawPost, p) + percentile(rawSync, p) }
	at := fmt.Sprintf("from raise to acceptance at %.0f events/s, %.0f %% of our own maximum", rate, 100*loadShare)
	return []Result{
		ms("idle_latency_p50", idle, 0.5, fmt.Sprintf("one event each %v; raw is a write with fsync and then a bare POST",
			e.idleGap)).against(raw(0.5)),
		ms("idle_latency_p99", idle, 0.99, "").against(raw(0.99)),
		ms("loaded_latency_p50", loaded, 0.5, at),
		ms("loaded_latency_p99", loaded, 0.99, ""),
	}, nil
}

// paced raises n events, one each gap, and returns how long each took. Events that are due are raised also when
// earlier ones are late.
func (e *env) paced(ctx context.Context, n int, gap time.Duration) ([]time.Duration, error) {
	dir, err := e.newDir()
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	took := make([]time.Duration, 0, n+e.warm)
	r, err := openRig(rigConfig{dir: dir, url: e.url, pad: e.pad, onDelivered: func(d time.Duration) {
		mu.Lock()
		took = append(took, d)
		mu.Unlock()
	}})
	if err != nil {
		return nil, err
	}
	l := newStreams(e.keys, "")
	_, err = r.load(ctx, e.warm, concurrency, l)
	warm := r.delivered.Load()
	start := time.Now()
	for i := 0; i < n && err == nil; {
		due := min(int(time.Since(start)/gap)+1, n)
		for ; i < due; i++ {
			s, _ := l.at(i)
			r.raise(s)
		}
		err = pause(ctx, time.Until(start.Add(time.Duration(i)*gap)))
	}
	if err == nil {
		err = r.waitDelivered(ctx, warm+int64(n))
	}
	err = errors.Join(err, r.close())
	mu.Lock()
	defer mu.Unlock()
	return took[min(int(warm), len(took)):], err
}

func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// rawLatency times a bare POST, and a write of one body with fsync, at the same pace.
func (e *env) rawLatency(ctx context.Context) (posts, syncs []time.Duration, err error) {
	send, stop := netHTTP(e.url)
	defer stop()
	f, err := os.Create(filepath.Join(e.dir, "raw"))
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	body := make([]byte, bodySize)
	for range e.idleEvents {
		start := time.Now()
		if _, err := f.Write(body); err != nil {
			return nil, nil, err
		}
		if err := f.Sync(); err != nil {
			return nil, nil, err
		}
		synced := time.Now()
		if err := send(ctx, body); err != nil {
			return nil, nil, err
		}
		posts, syncs = append(posts, time.Since(synced)), append(syncs, synced.Sub(start))
		if err := pause(ctx, e.idleGap); err != nil {
			return nil, nil, err
		}
	}
	return posts, syncs, nil
}

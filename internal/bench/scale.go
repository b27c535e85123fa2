package bench

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/delivery"
)

// manyEndpoints measures what endpoints deliver together that all get everything.
func manyEndpoints(ctx context.Context, e *env) ([]Result, error) {
	plain, stop := netHTTP(e.url)
	defer stop()
	if _, err := unordered(ctx, plain, e.warm); err != nil {
		return nil, err
	}
	bare, err := unordered(ctx, plain, e.events)
	if err != nil {
		return nil, err
	}
	dir, err := e.newDir()
	if err != nil {
		return nil, err
	}
	r, err := openRig(rigConfig{dir: dir, url: e.url, pad: e.pad})
	if err != nil {
		return nil, err
	}
	rate, err := e.fanOut(ctx, r)
	if err = errors.Join(err, r.close()); err != nil {
		return nil, err
	}
	note := fmt.Sprintf("to a bare unordered net/http sender; %d endpoints that each get all of %d events of %d keys, one POST each, fsync on",
		e.endpoints, e.endpointEvents, min(e.keys, e.endpointEvents))
	return []Result{
		{Name: "hundred_endpoints_ratio", Value: rate / bare, Unit: "ratio", Note: note},
		Result{Name: "hundred_endpoints_rate", Value: rate, Unit: "posts/s"}.against(bare),
	}, nil
}

// fanOut adds endpoints and returns the deliveries per second of all.
func (e *env) fanOut(ctx context.Context, r *rig) (float64, error) {
	for i := range e.endpoints - 1 {
		if err := r.add(delivery.Config{
			Name: fmt.Sprintf("more-%d", i), Concurrency: concurrency,
			URLs: map[event.Type]string{event.OnStreamChanged: e.url},
		}); err != nil {
			return 0, err
		}
	}
	l := newStreams(e.keys, "")
	// What waits is bounded by the events, each of which waits at every endpoint.
	took, err := r.loadAt(ctx, e.endpointEvents, e.outstanding/20, e.endpoints, l)
	return perSecond(e.endpointEvents*e.endpoints, took), err
}

// nothing is a filter that no stream of a benchmark matches.
const nothing = "nothing/*"

// idleEndpoint measures what one more endpoint costs that gets none of the events.
func idleEndpoint(ctx context.Context, e *env) ([]Result, error) {
	n := max(e.scheduled/10, 1)
	run := func(idle int) (c cost, heap float64, err error) {
		r, err := openRig(rigConfig{journal: newDiscard(), url: nowhere, sender: &accepting{}, pad: e.pad})
		if err != nil {
			return c, 0, err
		}
		l := newStreams(min(e.keys, n), "")
		_, err = r.load(ctx, e.warm, e.outstanding, l)
		before := liveHeap()
		for i := 0; i < idle && err == nil; i++ {
			err = r.add(delivery.Config{
				Name: fmt.Sprintf("idle-%d", i), Streams: []string{nothing},
				URLs: map[event.Type]string{event.OnStreamChanged: nowhere},
			})
		}
		heap = liveHeap() - before
		if err == nil {
			c, err = costOf(n, func() error {
				_, err := r.load(ctx, n, e.outstanding, l)
				return err
			})
		}
		return c, heap, errors.Join(err, r.close())
	}
	alone, _, err := run(0)
	if err != nil {
		return nil, err
	}
	with, heap, err := run(e.idleEndpoints)
	if err != nil {
		return nil, err
	}
	per := float64(e.idleEndpoints)
	return []Result{
		Result{
			Name: "idle_endpoint_cost", Value: (with.ns - alone.ns) / per, Unit: "ns",
			Note: fmt.Sprintf("for each event, of one more endpoint whose filter leaves it out: the mean of %d of them; raw is the event itself "+
				"with one endpoint that gets it, a journal that keeps nothing and a sender that accepts at once", e.idleEndpoints),
		}.against(alone.ns),
		{
			Name: "idle_endpoint_memory", Value: heap / per / 1024, Unit: "KiB",
			Note: "live heap of one, its goroutine's stack not included",
		},
	}, nil
}

// liveHeap returns the bytes that are in use.
func liveHeap() float64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// millionKeys measures in a fresh process what many keys cost of which none is parked.
func millionKeys(ctx context.Context, e *env) ([]Result, error) {
	dir, err := e.newDir()
	if err != nil {
		return nil, err
	}
	var a memoryAnswer
	args := memoryArgs{
		Dir: dir, URL: e.url, Pad: e.pad, Warm: e.warm, Keys: e.manyKeys, Outstanding: e.outstanding, Batch: batchEvents,
	}
	if err := ask(ctx, roleMemory, args, &a); err != nil {
		return nil, err
	}
	if a.Parked > 0 || a.Lanes > 0 {
		return nil, fmt.Errorf("%w: %d lanes are left, %d of them parked", errLeft, a.Lanes, a.Parked)
	}
	names := 0
	for _, s := range newStreams(e.manyKeys, "").good {
		names += len(s.Key())
	}
	out := []Result{Result{
		Name: "memory_million_keys", Value: (float64(a.After.Heap) - float64(a.Before.Heap)) / mib, Unit: "MiB",
		Note: fmt.Sprintf("live heap after one event for each of %d keys was accepted (in batches), none parked and no lane left, less that before; "+
			"raw is the keys' own names, which nothing keeps", e.manyKeys),
	}.against(float64(names) / mib)}
	if a.Before.RSS > 0 {
		out = append(out, Result{
			Name: "rss_million_keys", Value: float64(a.After.RSSFreed) / mib, Unit: "MiB",
			Note: fmt.Sprintf("resident memory of the process afterwards, the journal's caches and the benchmark's %d names included; "+
				"%.1f MiB before", e.manyKeys, float64(a.Before.RSSFreed)/mib),
		})
	}
	return out, nil
}

var errLeft = errors.New("the endpoint is not idle")

package bench

import (
	"context"
	"errors"
	"fmt"
	"runtime"
)

// deliveryRatio compares durable ordered delivery with a bare unordered sender.
func deliveryRatio(ctx context.Context, e *env) ([]Result, error) {
	plain, stopPlain := netHTTP(e.url)
	defer stopPlain()
	own, stopOwn := ownClient(e.url)
	defer stopOwn()
	for _, send := range []post{plain, own} {
		if _, err := unordered(ctx, send, e.warm); err != nil {
			return nil, err
		}
	}
	sides := []func() (float64, error){
		func() (float64, error) { return e.delivery(ctx) },
		func() (float64, error) { return unordered(ctx, plain, e.events) },
		func() (float64, error) { return unordered(ctx, own, e.events) },
	}
	rates, err := interleave(e.pairs, sides)
	if err != nil {
		return nil, err
	}
	ours, bare, client := rates[0], rates[1], rates[2]
	_, e.capacity, _ = spread(ours)
	_, bareMid, _ := spread(bare)
	load := fmt.Sprintf("fsync on, %d keys, %d-byte bodies, one event per POST, %d requests in flight, %d events a side",
		e.keys, bodySize, concurrency, e.events)
	return []Result{
		overPairs("durable_ordered_delivery_ratio", "ratio", ratios(ours, bare),
			"to a bare unordered keep-alive net/http sender; "+load),
		overPairs("durable_ordered_delivery_rate", "events/s", ours, "").against(bareMid),
		overPairs("bare_net_http_rate", "posts/s", bare, ""),
		overPairs("bare_own_client_rate", "posts/s", client, "the product's client, unordered, without journal").against(bareMid),
		overPairs("durable_ordered_to_own_client_ratio", "ratio", ratios(ours, client), "what order and durability cost"),
	}, nil
}

// interleave runs the sides in turn, n times, each time beginning with another one.
func interleave(n int, sides []func() (float64, error)) ([][]float64, error) {
	out := make([][]float64, len(sides))
	for pair := range n {
		for i := range sides {
			i = (i + pair) % len(sides)
			runtime.GC() // nobody pays for the garbage of the one before
			v, err := sides[i]()
			if err != nil {
				return nil, err
			}
			out[i] = append(out[i], v)
		}
	}
	return out, nil
}

// batchRatio compares durable ordered delivery in batches with the same ceiling, which sends one by one.
func batchRatio(ctx context.Context, e *env) ([]Result, error) {
	plain, stop := netHTTP(e.url)
	defer stop()
	if _, err := unordered(ctx, plain, e.warm); err != nil {
		return nil, err
	}
	rates, err := interleave(e.pairs, []func() (float64, error){
		func() (float64, error) { return e.deliver(ctx, e.events*2, batchEvents) },
		func() (float64, error) { return unordered(ctx, plain, e.events) },
	})
	if err != nil {
		return nil, err
	}
	_, bare, _ := spread(rates[1])
	note := fmt.Sprintf("to a bare unordered keep-alive net/http sender that sends one by one; fsync on, %d keys, bodies of about %d bytes "+
		"as CloudEvents, up to %d events per POST, %d POSTs in flight, %d events a side", e.keys, bodySize, batchEvents, concurrency, e.events*2)
	return []Result{
		overPairs("batch_50_ratio", "ratio", ratios(rates[0], rates[1]), note),
		overPairs("batch_50_rate", "events/s", rates[0], "").against(bare),
	}, nil
}

// delivery measures the rate of durable ordered delivery on a new journal.
func (e *env) delivery(ctx context.Context) (float64, error) { return e.deliver(ctx, e.events, 0) }

func (e *env) deliver(ctx context.Context, events, batch int) (float64, error) {
	dir, err := e.newDir()
	if err != nil {
		return 0, err
	}
	r, err := openRig(rigConfig{dir: dir, url: e.url, pad: e.pad, batch: batch})
	if err != nil {
		return 0, err
	}
	l := newStreams(e.keys, "")
	if _, err := r.load(ctx, e.warm, e.outstanding, l); err != nil {
		return 0, errors.Join(err, r.close())
	}
	took, err := r.load(ctx, events, e.outstanding, l)
	return perSecond(events, took), errors.Join(err, r.close())
}

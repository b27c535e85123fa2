package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"time"
)

// memoryArgs are the arguments of the child.
type memoryArgs struct {
	Dir, URL                     string
	Pad, Warm, Keys, Outstanding int
	// Batch as in rigConfig.
	Batch int
}

// footprint is what a process uses, in bytes. RSS is 0 where it is not known.
type footprint struct {
	Heap     uint64
	RSS      uint64
	RSSFreed uint64 // after what the runtime keeps for later was given back
}

type memoryAnswer struct {
	Before, After footprint
	Lanes, Parked int // in the end
}

const mib = 1 << 20

// memory measures in a fresh process what keys cost once all their events were accepted.
func memory(ctx context.Context, e *env) ([]Result, error) {
	dir, err := e.newDir()
	if err != nil {
		return nil, err
	}
	var a memoryAnswer
	args := memoryArgs{Dir: dir, URL: e.url, Pad: e.pad, Warm: e.warm, Keys: e.memoryKeys, Outstanding: e.outstanding}
	if err := ask(ctx, roleMemory, args, &a); err != nil {
		return nil, err
	}
	scale := 100_000 / float64(e.memoryKeys) / mib
	per := func(name string, before, after uint64, note string) Result {
		return Result{Name: name, Value: (float64(after) - float64(before)) * scale, Unit: "MiB", Note: note}
	}
	note := fmt.Sprintf("live heap after one event for each of %d keys was accepted, less that before", e.memoryKeys)
	out := []Result{per("memory_per_100k_keys", a.Before.Heap, a.After.Heap, note)}
	if a.Before.RSS == 0 {
		return out, nil
	}
	return append(out,
		per("rss_per_100k_keys", a.Before.RSSFreed, a.After.RSSFreed, fmt.Sprintf(
			"resident memory, freed memory given back; the journal's caches fill meanwhile. "+
				"The process: %.1f MiB before, %.1f MiB after",
			float64(a.Before.RSSFreed)/mib, float64(a.After.RSSFreed)/mib)),
		per("rss_per_100k_keys_at_once", a.Before.RSS, a.After.RSS, "resident memory as the runtime leaves it"),
	), nil
}

// memoryChild runs in the fresh process.
func memoryChild(ctx context.Context, raw []byte) error {
	var args memoryArgs
	if err := json.Unmarshal(raw, &args); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	r, err := openRig(rigConfig{dir: args.Dir, url: args.URL, pad: args.Pad, batch: args.Batch})
	if err != nil {
		return err
	}
	var a memoryAnswer
	l := newStreams(args.Keys, "")
	few := streams{good: l.good[:min(100, len(l.good))]} // code, connections and buffers come into being
	_, err = r.load(ctx, args.Warm, args.Outstanding, few)
	if err == nil {
		a.Before = measureFootprint(ctx)
		_, err = r.load(ctx, args.Keys, args.Outstanding, l)
	}
	if err == nil {
		a.After = measureFootprint(ctx)
		st := r.ep.Stats()
		a.Lanes, a.Parked = st.Lanes, st.Parked
		err = say(a)
	}
	runtime.KeepAlive(l)
	return errors.Join(err, r.close())
}

func measureFootprint(ctx context.Context) footprint {
	_ = pause(ctx, time.Second) // checkpoints are written, idle workers end
	f := footprint{RSS: rss()}
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	f.Heap = m.HeapAlloc
	debug.FreeOSMemory()
	f.RSSFreed = rss()
	return f
}

// rss returns the resident memory of this process in bytes, 0 where there is no /proc/self/status (proc(5)).
func rss() uint64 {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, rest, ok := bytes.Cut(b, []byte("VmRSS:"))
	fields := bytes.Fields(rest)
	if !ok || len(fields) == 0 {
		return 0
	}
	kib, err := strconv.ParseUint(string(fields[0]), 10, 64)
	if err != nil {
		return 0
	}
	return kib << 10
}

package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Config of a run.
type Config struct {
	// Out is the file to which the results are written as JSON; "": none. The journals that are measured are made
	// beside it, so that it must not be on a file system in memory.
	Out string
	// Quick measures less: under 3 minutes instead of under 12 on an idle machine, and noisier.
	Quick bool
	// Server is the command that runs the server; empty: this executable with the argument "serve".
	Server []string
	// Only names the benchmarks to run, Media stands for those of the media plane; empty: all. See Names.
	Only []string
	// Stdout gets the table and a line for each benchmark that begins; nil: os.Stdout.
	Stdout io.Writer
}

// Benchmark is one entry of the list.
type Benchmark struct {
	Name string
	// Aim is what the result of the same name should reach, More what others of its results should.
	Aim  Aim
	More map[string]Aim
	Run  func(ctx context.Context, e *env) ([]Result, error)
}

// Aim is a bound for a result; the zero value is none.
type Aim struct {
	Value  float64
	AtMost bool // the value is an upper bound, not a lower one
}

func atLeast(v float64) Aim { return Aim{Value: v} }
func atMost(v float64) Aim  { return Aim{Value: v, AtMost: true} }

func (a Aim) met(v float64) bool {
	if a.AtMost {
		return v <= a.Value
	}
	return v >= a.Value
}

// benchmarks returns the list in the order in which they run: the first tells the second what our maximum is.
func benchmarks() []Benchmark {
	all := []Benchmark{
		{Name: "durable_ordered_delivery_ratio", Aim: atLeast(0.75), Run: deliveryRatio},
		{Name: "batch_50_ratio", Aim: atLeast(4), Run: batchRatio},
		{Name: "delivery_latency", Run: latency},
		{Name: "failing_keys_ratio", Aim: atLeast(0.75), Run: failingKeys},
		{Name: "hanging_keys_ratio", Aim: atLeast(0.75), Run: hangingKeys},
		{Name: "memory_per_100k_keys", Run: memory},
		{Name: "memory_million_keys", Run: millionKeys},
		{Name: "hundred_endpoints_ratio", Run: manyEndpoints},
		{Name: "idle_endpoint_cost", Run: idleEndpoint},
		{Name: "queue_nats_rate", Run: queueRate("nats")},
		{Name: "queue_kafka_rate", Run: queueRate("kafka")},
		{Name: "queue_redis_rate", Run: queueRate("redis")},
		{Name: "queue_rabbitmq_rate", Run: queueRate("rabbitmq")},
		{Name: "startup_with_million_events", Aim: atMost(2), Run: startup},
		{Name: "raise_cost", Run: raiseCost},
		{Name: "keyed_scheduling_cost", Run: schedulingCost},
		{Name: "rss_idle", Aim: atMost(40), Run: rssIdle},
	}
	return append(all, mediaBenchmarks()...)
}

// Media is the name that stands for all of mediaBenchmarks in Config.Only.
const Media = "media"

// mediaBenchmarks are those of the media plane.
func mediaBenchmarks() []Benchmark {
	all := []Benchmark{
		{Name: "viewer_first_byte", Run: viewerFirstByte, More: map[string]Aim{
			"viewer_first_byte_p50": atMost(2), "viewer_first_byte_p99": atMost(10),
		}},
		{Name: "viewer_first_byte_loaded", Run: viewerFirstByteLoaded, More: map[string]Aim{
			"viewer_first_byte_loaded_p99": atMost(10),
		}},
		{Name: "streams_50_unwatched", Run: streamsUnwatched, More: map[string]Aim{
			"streams_50_unwatched_rss": atMost(85), "streams_50_unwatched_cpu": atMost(30),
		}},
		{Name: "streams_50_packaged", Run: everyPackager, More: map[string]Aim{"streams_50_packaged_cpu": atMost(30)}},
		{Name: "recordings_100", Run: recordings},
		{Name: "hls_segments_ratio", Run: hlsSegments},
		{Name: "publishers_1000", Run: manyPublishers},
		{Name: "viewers_5000", Run: manyViewers},
	}
	for _, c := range crowds() {
		b := c.benchmark()
		b.More = fanoutAims()
		all = append(all, b)
	}
	return all
}

// aim returns that of a result.
func (b *Benchmark) aim(result string) Aim {
	if result == b.Name {
		return b.Aim
	}
	return b.More[result]
}

// Names returns the names of the benchmarks, in the order in which they run.
func Names() []string { return namesOf(benchmarks()) }

func mediaNames() []string { return namesOf(mediaBenchmarks()) }

func namesOf(bs []Benchmark) (names []string) {
	for _, b := range bs {
		names = append(names, b.Name)
	}
	return names
}

// ErrUnknown says that Config.Only names a benchmark that does not exist.
var ErrUnknown = errors.New("bench: no such benchmark")

// ErrNothing says that there is no figure: what it would be the ratio to is nothing.
var ErrNothing = errors.New("nothing was measured")

// benchLimit bounds one benchmark, whatever the machine.
const benchLimit = 5 * time.Minute

// env is what benchmarks share.
type env struct {
	sizes
	dir      string   // on a disk; removed at the end
	url      string   // of the receiver
	pad      int      // length of what fills the body of an event up to bodySize
	capacity float64  // our own maximum, events/s; 0: not measured yet
	server   []string // command, see Config
	memoryFS bool     // dir is on a file system in memory after all
}

// Run measures, prints and writes. Results that were measured are printed and written also when others failed.
func Run(ctx context.Context, cfg Config) error {
	s := fullSizes()
	if cfg.Quick {
		s = quickSizes()
	}
	return run(ctx, cfg, s)
}

func run(ctx context.Context, cfg Config, s sizes) error {
	if cfg.Stdout == nil {
		cfg.Stdout = os.Stdout
	}
	chosen, err := choose(cfg.Only)
	if err != nil {
		return err
	}
	e, stop, err := newEnv(ctx, cfg, s)
	if err != nil {
		return err
	}
	results, err := e.measure(ctx, cfg.Stdout, chosen)
	err = errors.Join(err, stop())
	if e.memoryFS {
		fmt.Fprintln(cfg.Stdout, "note: the journal was on a file system in memory; fsync costs nothing there")
	}
	printTable(cfg.Stdout, results)
	if cfg.Out != "" {
		err = errors.Join(err, writeJSON(cfg.Out, results))
	}
	return err
}

func choose(only []string) ([]Benchmark, error) {
	all := benchmarks()
	if len(only) == 0 {
		return all, nil
	}
	for _, name := range only {
		if name != Media && !slices.Contains(Names(), name) {
			return nil, fmt.Errorf("%w: %q; there are %s, and %s for those of the media plane", ErrUnknown, name, strings.Join(Names(), ", "), Media)
		}
	}
	media := slices.Contains(only, Media)
	return slices.DeleteFunc(all, func(b Benchmark) bool {
		return !slices.Contains(only, b.Name) && (!media || !slices.Contains(mediaNames(), b.Name))
	}), nil
}

// newEnv makes the directory and starts the receiver. stop undoes it.
func newEnv(ctx context.Context, cfg Config, s sizes) (e *env, stop func() error, err error) {
	at := os.TempDir()
	if cfg.Out != "" {
		at = filepath.Dir(cfg.Out)
		if err := os.MkdirAll(at, 0o750); err != nil {
			return nil, nil, fmt.Errorf("bench: %w", err)
		}
	}
	e = &env{sizes: s, server: cfg.Server}
	if e.dir, err = os.MkdirTemp(at, "bench-journal-"); err != nil {
		return nil, nil, fmt.Errorf("bench: %w", err)
	}
	e.memoryFS = inMemory(e.dir)
	url, receiver, err := startReceiver(ctx)
	if err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(e.dir))
	}
	e.url = url
	stop = func() error { return errors.Join(receiver.stop(), os.RemoveAll(e.dir)) }
	if e.pad, err = padding(); err != nil {
		return nil, nil, errors.Join(err, stop())
	}
	return e, stop, nil
}

func (e *env) measure(ctx context.Context, w io.Writer, chosen []Benchmark) ([]Result, error) {
	var results []Result
	var failed error
	for _, b := range chosen {
		if ctx.Err() != nil {
			return results, errors.Join(failed, ctx.Err())
		}
		start := time.Now()
		fmt.Fprintf(w, "%s ...", b.Name)
		limited, cancel := context.WithTimeout(ctx, benchLimit)
		rs, err := b.Run(limited, e)
		cancel()
		fmt.Fprintf(w, " %.1f s\n", time.Since(start).Seconds())
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("bench: %s: %w", b.Name, err))
		}
		for _, r := range rs {
			if !r.finite() {
				failed = errors.Join(failed, fmt.Errorf("bench: %s: %w: %s is no number", b.Name, ErrNothing, r.Name))
				continue
			}
			if aim := b.aim(r.Name); aim != (Aim{}) && r.Skipped == "" {
				r.judge(aim)
			}
			results = append(results, r)
		}
	}
	return results, failed
}

// newDir returns a path for one journal and removes what was measured before.
func (e *env) newDir() (string, error) {
	old, err := filepath.Glob(filepath.Join(e.dir, "j-*"))
	if err != nil {
		return "", err
	}
	for _, o := range old {
		if err := os.RemoveAll(o); err != nil {
			return "", err
		}
	}
	return os.MkdirTemp(e.dir, "j-")
}

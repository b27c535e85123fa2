package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hookline/hookline/internal/leaktest"
	"github.com/hookline/hookline/internal/server"
)

func TestMain(m *testing.M) {
	if ran, err := RunChild(context.Background()); ran {
		if err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
		os.Exit(0)
	}
	if len(os.Args) > 1 && os.Args[1] == "serve" { // the server under test
		if err := serve(os.Args[2:]); err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
		os.Exit(0)
	}
	leaktest.Main(m)
}

// serve is what the command of this name does.
func serve(args []string) error {
	file := ""
	if len(args) == 2 && args[0] == "-c" {
		file = args[1]
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	level := &slog.LevelVar{}
	s, err := server.Start(ctx, server.Options{
		ConfigPath: file, Environ: os.Environ(), Version: "test", Level: level,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})),
	})
	if err != nil {
		return err
	}
	return errors.Join(s.Wait(ctx), s.Stop(context.WithoutCancel(ctx)))
}

func tinySizes() sizes {
	return sizes{
		keys: 50, warm: 40, pairs: 2, events: 200, outstanding: 50,
		idleEvents: 5, idleGap: time.Millisecond, loadedFor: 50 * time.Millisecond,
		troublePairs: 1, troubleEvents: 100, troubleLimit: 20 * time.Second, memoryKeys: 200, manyKeys: 300, endpoints: 4, endpointEvents: 50, idleEndpoints: 5, queueEvents: 20, journaled: 500, raises: 200, scheduled: 200,
		idleFor: 100 * time.Millisecond, firstBytes: 3, firstByteGap: time.Millisecond, bitrate: 10_000_000,
		viewersFew: 30, viewersMany: 50, recorded: 160 * time.Millisecond, fanoutPairs: 1, fanoutFor: 200 * time.Millisecond, settle: 100 * time.Millisecond,
		backlog: 20_000, backlogRate: 5_000, streams: 3, crowdFor: 300 * time.Millisecond, publishers: 5, recorded100: 4, hlsClients: 2, channels: 3, manyWatch: 7,
	}
}

func TestRun(t *testing.T) {
	out := filepath.Join(t.TempDir(), "build", "bench.json")
	var text bytes.Buffer
	// Few and many viewers, and merged writes, are the same code.
	chosen := slices.DeleteFunc(Names(), func(name string) bool {
		return strings.Contains(name, "fanout_300") || strings.Contains(name, "rtmp_fanout_1000_merged")
	})
	if err := run(t.Context(), Config{Out: out, Stdout: &text, Only: chosen}, tinySizes()); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	var got []map[string]any
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, r := range got {
		name, _ := r["name"].(string)
		names = append(names, name)
		checkResult(t, r)
		if !strings.Contains(text.String(), name) {
			t.Errorf("%s is not in the table", name)
		}
	}
	for _, name := range chosen {
		switch name {
		case "delivery_latency":
			name = "idle_latency_p50"
		case "viewer_first_byte", "viewer_first_byte_loaded":
			name += "_p50"
		case "streams_50_unwatched", "streams_50_packaged", "recordings_100", "publishers_1000", "viewers_5000":
			name += "_cpu"
		}
		if !slices.Contains(names, name) {
			t.Errorf("no result %s in %v", name, names)
		}
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(out), "*"))
	if err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestQueues measures real servers, and kfake.
func TestQueues(t *testing.T) {
	dir := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", filepath.Join(dir, queueHelper), "./queueserver")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	names := []string{"queue_nats_rate", "queue_kafka_rate", "queue_redis_rate", "queue_rabbitmq_rate"}
	var text bytes.Buffer
	out := filepath.Join(dir, "out", "bench.json")
	if err := run(t.Context(), Config{Only: names, Out: out, Stdout: &text}, tinySizes()); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	var got []Result
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	for _, r := range got {
		if r.Skipped != "" || r.Value <= 0 || r.Raw == nil || *r.Raw <= 0 {
			t.Errorf("%+v; make test-deps installs the servers", r)
		}
	}
	if len(got) != len(names) || !strings.Contains(text.String(), "not a real one") {
		t.Errorf("%d results:\n%s", len(got), &text)
	}
}

// TestQueueHelperMissing says so, in table and file.
func TestQueueHelperMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	var text bytes.Buffer
	if err := run(t.Context(), Config{Only: []string{"queue_redis_rate"}, Stdout: &text}, tinySizes()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(text.String(), "SKIPPED: "+queueHelper+" is missing") {
		t.Errorf("printed\n%s", &text)
	}
}

func checkResult(t *testing.T, r map[string]any) {
	t.Helper()
	for _, member := range []string{"name", "unit"} {
		if s, ok := r[member].(string); !ok || s == "" {
			t.Errorf("%v: member %s is %v", r, member, r[member])
		}
	}
	if _, ok := r["value"].(float64); !ok {
		t.Errorf("%v: value is %v", r, r["value"])
	}
	_, aimed := r["aim"].(float64)
	_, judged := r["met"].(bool)
	if _, ok := r["aim"]; !ok || aimed != judged || aimed != slices.ContainsFunc(benchmarks(), func(b Benchmark) bool {
		name, _ := r["name"].(string)
		return b.aim(name) != (Aim{}) && r["skipped"] == nil
	}) {
		t.Errorf("%v: aim %v, met %v", r["name"], r["aim"], r["met"])
	}
}

func TestOnly(t *testing.T) {
	var text bytes.Buffer
	err := run(t.Context(), Config{Only: []string{"nothing"}, Stdout: &text}, tinySizes())
	if !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), "raise_cost") {
		t.Errorf("error %v does not name the benchmarks", err)
	}
	if err := run(t.Context(), Config{Only: []string{"raise_cost"}, Stdout: &text}, tinySizes()); err != nil {
		t.Fatal(err)
	}
	if s := text.String(); !strings.Contains(s, "raise_cost") || strings.Contains(s, "delivery") {
		t.Errorf("printed:\n%s", s)
	}
}

// TestSlowMachine cuts every phase: what was accepted until then has a rate, and the load goes on in the next one.
func TestSlowMachine(t *testing.T) {
	s := tinySizes()
	s.troubleEvents, s.troubleLimit = 1_000_000, 2*time.Second
	e, stop, err := newEnv(t.Context(), Config{}, s)
	if err != nil {
		t.Fatal(err)
	}
	p, err := e.healthy(t.Context(), "")
	if err := errors.Join(err, stop()); err != nil {
		t.Fatal(err)
	}
	if p.onset <= 0 || p.later <= 0 || p.left > 2*int64(s.outstanding) {
		t.Errorf("phases %+v", p)
	}
}

// TestNoNumber keeps what is not a number out of table and file, and fails its benchmark.
func TestNoNumber(t *testing.T) {
	inf := math.Inf(1)
	e := &env{}
	got, err := e.measure(t.Context(), io.Discard, []Benchmark{{Name: "b", Run: func(context.Context, *env) ([]Result, error) {
		return []Result{{Name: "nan", Value: math.NaN()}, {Name: "inf", Max: &inf}, {Name: "number", Value: 1}}, nil
	}}})
	if len(got) != 1 || got[0].Name != "number" {
		t.Errorf("results %v", got)
	}
	if !errors.Is(err, ErrNothing) || !strings.Contains(err.Error(), "nan") || !strings.Contains(err.Error(), "inf") {
		t.Errorf("error %v", err)
	}
}

func TestAim(t *testing.T) {
	for _, tt := range []struct {
		aim Aim
		v   float64
		met bool
	}{
		{atLeast(0.75), 0.75, true}, {atLeast(0.75), 0.74, false}, {atMost(2), 2, true}, {atMost(2), 2.1, false},
	} {
		r := Result{Value: tt.v}
		if r.judge(tt.aim); *r.Met != tt.met {
			t.Errorf("%+v with %v: met %v", tt.aim, tt.v, *r.Met)
		}
	}
}

func TestSpread(t *testing.T) {
	for _, tt := range []struct {
		in          []float64
		lo, mid, hi float64
	}{
		{nil, 0, 0, 0}, {[]float64{3}, 3, 3, 3}, {[]float64{3, 1}, 1, 2, 3}, {[]float64{5, 1, 4}, 1, 4, 5},
	} {
		if lo, mid, hi := spread(tt.in); lo != tt.lo || mid != tt.mid || hi != tt.hi {
			t.Errorf("%v: %v %v %v", tt.in, lo, mid, hi)
		}
	}
}

func TestFigure(t *testing.T) {
	for _, tt := range []struct {
		v    float64
		want string
	}{{0, "0"}, {12345.6, "12346"}, {0.7512, "0.751"}, {1.5, "1.50"}, {42.42, "42.4"}, {0.00001, "0.000010"}} {
		if got := figure(&tt.v); got != tt.want {
			t.Errorf("%v: %q, want %q", tt.v, got, tt.want)
		}
	}
}

// TestBodySize holds the bodies to the size that the figures claim.
func TestBodySize(t *testing.T) {
	pad, err := padding()
	if err != nil {
		t.Fatal(err)
	}
	sender := &accepting{}
	r, err := openRig(rigConfig{journal: newDiscard(), url: nowhere, sender: sender, pad: pad})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.load(t.Context(), 200, 10, newStreams(20, "")); err != nil {
		t.Error(err)
	}
	if err := r.close(); err != nil {
		t.Error(err)
	}
	if n := sender.last.Load(); n < bodySize-10 || n > bodySize+10 {
		t.Errorf("body of %d bytes", n)
	}
}

// BenchmarkDelivery is our side of the first benchmark, for a profile.
func BenchmarkDelivery(b *testing.B) { benchDelivery(b, 0) }

// BenchmarkBatches is the same for batches.
func BenchmarkBatches(b *testing.B) { benchDelivery(b, batchEvents) }

func benchDelivery(b *testing.B, batch int) {
	s := fullSizes()
	e, stop, err := newEnv(b.Context(), Config{}, s)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.ResetTimer()
	rate, err := e.deliver(b.Context(), max(b.N, s.warm), batch)
	b.StopTimer()
	if err := errors.Join(err, stop()); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(rate, "events/s")
}

package playtool

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// maxDials is the number of connections that are made at the same time.
const maxDials = 64

// runner is a Run.
type runner struct {
	cfg     Config
	slots   chan struct{}
	playing atomic.Int64
	begun   atomic.Int64 // viewers that have got media
	bytes   atomic.Uint64

	mu     sync.Mutex // guards result
	result Result
}

// Run plays with all viewers until each has ended. The error wraps ErrFailed when one has failed; the Result is valid
// beside it.
func Run(ctx context.Context, cfg Config) (Result, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return Result{}, err
	}
	r := &runner{cfg: cfg, slots: make(chan struct{}, maxDials), result: Result{URL: cfg.URL}}
	start := time.Now()
	stopProgress := r.startProgress(start)
	var wg sync.WaitGroup
	for i := range cfg.Viewers {
		wg.Go(func() { (&play{runner: r, url: cfg.stream(i)}).run(ctx) })
	}
	wg.Wait()
	stopProgress()
	r.result.Elapsed = time.Since(start)
	r.result.sum()
	if err := r.write(); err != nil {
		return r.result, err
	}
	return r.result, r.result.verdict()
}

// over takes a viewer that has ended.
func (r *runner) over(p *play) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.result.Viewers = append(r.result.Viewers, p.out)
	if len(r.result.Tracks) == 0 {
		r.result.Tracks = tracksOf(p.demux.Tracks())
	}
}

// write writes the result to Config.Out.
func (r *runner) write() error {
	switch {
	case r.cfg.Out == nil:
	case r.cfg.JSON:
		return json.NewEncoder(r.cfg.Out).Encode(r.result)
	default:
		r.result.report(r.cfg.Out, r.cfg.Discard)
	}
	return nil
}

// The time between lines of progress, on a terminal and elsewhere.
const (
	terminalStep = time.Second
	logStep      = 10 * time.Second
)

// startProgress writes lines to Config.Out until stop is called.
func (r *runner) startProgress(start time.Time) (stop func()) {
	if r.cfg.Out == nil || r.cfg.JSON || r.cfg.Quiet {
		return func() {}
	}
	step, format := logStep, "%6.1fs  %d viewers playing, %.1f MB\n"
	if terminal(r.cfg.Out) {
		step, format = terminalStep, "\r\x1b[K%6.1fs  %d viewers playing, %.1f MB"
	}
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		t := time.NewTicker(step)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				fmt.Fprintf(r.cfg.Out, format, time.Since(start).Seconds(), r.playing.Load(), float64(r.bytes.Load())/1e6)
			case <-quit:
				if step == terminalStep {
					_, _ = io.WriteString(r.cfg.Out, "\r\x1b[K")
				}
				return
			}
		}
	}()
	return func() {
		close(quit)
		<-done
	}
}

func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

package pubtool

import (
	"fmt"
	"io"
	"os"
	"time"
)

// The time between lines of progress, on a terminal and elsewhere.
const (
	terminalStep = time.Second
	logStep      = 10 * time.Second
)

// startProgress writes lines to Config.Out until stop is called, which writes the last one.
func (r *runner) startProgress(start time.Time) (stop func()) {
	if r.cfg.Out == nil || r.cfg.Quiet {
		return func() {}
	}
	over := terminal(r.cfg.Out)
	step := logStep
	if over {
		step = terminalStep
	}
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		t := time.NewTicker(step)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				r.line(start, over, over)
			case <-quit:
				r.line(start, over, false)
				return
			}
		}
	}()
	return func() {
		close(quit)
		<-done
	}
}

// line writes one line; over: over the one before, stay: the next one is to be written over it.
func (r *runner) line(start time.Time, over, stay bool) {
	head, tail := "", "\n"
	if over {
		head = "\r\x1b[K"
	}
	if stay {
		tail = ""
	}
	// Nobody is left to tell that the output is gone.
	_, _ = io.WriteString(r.cfg.Out, head+r.status(time.Since(start))+tail)
}

func (r *runner) status(elapsed time.Duration) string {
	r.mu.Lock()
	ended, accepted, missed := r.result.chosen(), r.result.Accepted, r.result.Unreachable
	refused := r.result.Ends[EndRefused]
	lost := r.result.Ends[EndLost] + r.result.Ends[EndUnanswered] + r.result.Ends[EndSource]
	r.mu.Unlock()
	live := r.live.Load()
	mb := float64(r.bytes.Load()) / 1e6
	s := fmt.Sprintf("%6.1fs  %d live, %d published, %d ended as planned, %.1f MB",
		elapsed.Seconds(), live, int64(accepted)+live, ended, mb)
	for _, n := range []struct {
		count int
		what  string
	}{{refused, "refused"}, {lost, "lost"}, {missed, "unreachable"}} {
		if n.count > 0 {
			s += fmt.Sprintf(", %d %s", n.count, n.what)
		}
	}
	return s
}

func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

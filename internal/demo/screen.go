package demo

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// palette colours text, or not.
type palette bool

func (p palette) paint(code, s string) string {
	if !p {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (p palette) red(s string) string    { return p.paint("1;31", s) }
func (p palette) green(s string) string  { return p.paint("32", s) }
func (p palette) yellow(s string) string { return p.paint("33", s) }
func (p palette) bold(s string) string   { return p.paint("1", s) }
func (p palette) dim(s string) string    { return p.paint("2", s) }

// screen shows what happens: lines, and below them on a terminal one that is written over.
type screen struct {
	start time.Time
	live  bool
	palette

	mu   sync.Mutex
	w    io.Writer
	held bool // the status line is there
}

func newScreen(cfg Config) *screen {
	return &screen{start: time.Now(), live: cfg.Live, palette: palette(cfg.Color), w: cfg.Out}
}

// say writes a line.
func (s *screen) say(format string, args ...any) { s.write(fmt.Sprintf(format, args...)+"\n", false) }

// begin writes the line of a phase.
func (s *screen) begin(name, text string) {
	s.say("%s %s %s", s.dim(s.elapsed()), s.bold(fmt.Sprintf("%-8s", name)), text)
}

// status replaces the status line, on a terminal.
func (s *screen) status(name string, text func() string) {
	if s.live {
		s.write(s.dim(s.elapsed())+" "+fmt.Sprintf("%-8s ", name)+s.dim(text()), true)
	}
}

func (s *screen) elapsed() string { return fmt.Sprintf("%6.1fs", time.Since(s.start).Seconds()) }

func (s *screen) write(text string, hold bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held {
		text = "\r\x1b[K" + text
	}
	s.held = hold
	// Nobody is left to tell that the output is gone.
	_, _ = io.WriteString(s.w, text)
}

// close removes the status line.
func (s *screen) close() {
	if s.held {
		s.write("", false)
	}
}

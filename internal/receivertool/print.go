package receivertool

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/ordercheck"
)

// ANSI colours.
const (
	reset  = "\x1b[0m"
	dim    = "\x1b[2m"
	loud   = "\x1b[1;31m"
	yellow = "\x1b[33m"
	green  = "\x1b[32m"
	cyan   = "\x1b[36m"
)

// printer writes lines; each line is one write.
type printer struct {
	mu          *sync.Mutex
	out, err    io.Writer // nil: nothing
	json, quiet bool
	color       bool
}

func newPrinter(cfg Config) printer {
	p := printer{mu: new(sync.Mutex), out: cfg.Out, err: cfg.Err, json: cfg.JSON, quiet: cfg.Quiet}
	if p.err == nil && !cfg.JSON {
		p.err = cfg.Out
	}
	switch cfg.Color {
	case ColorAlways:
		p.color = true
	case ColorAuto:
		p.color = terminal(cfg.Out) && os.Getenv("NO_COLOR") == ""
	case ColorNever:
	}
	return p
}

func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// line writes s and a line feed.
func (p printer) line(w io.Writer, s string) {
	if w == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	// Nobody is left to tell that the output is gone.
	_, _ = io.WriteString(w, s+"\n")
}

// say tells a human something that is not an event.
func (p printer) say(format string, args ...any) {
	p.line(p.err, p.paint(cyan, fmt.Sprintf(format, args...)))
}

func (p printer) paint(color, s string) string {
	if !p.color || s == "" {
		return s
	}
	return color + s + reset
}

// object writes v as one line of JSON.
func (p printer) object(v any) {
	if p.out == nil {
		return
	}
	raw, err := json.Marshal(v)
	if err != nil { // only what was parsed from JSON gets here
		p.line(p.err, err.Error())
		return
	}
	p.line(p.out, string(raw))
}

// received prints one request.
func (p printer) received(got *Received) {
	switch {
	case p.out == nil || p.quiet:
	case p.json:
		p.object(got)
	default:
		p.line(p.out, p.text(got))
	}
}

// violations prints them where they can't be overlooked. With JSON they are part of the event's object as well.
func (p printer) violations(vs []ordercheck.Violation) {
	for _, v := range vs {
		p.line(p.err, p.paint(loud, "!! VIOLATION "+v.String()))
	}
}

// text returns the line of a request.
func (p printer) text(got *Received) string {
	b := got.Parsed
	stream := strings.TrimPrefix(b.Event.Stream, "__defaultVhost__/")
	if got.Plain && b.Stream != "" {
		stream = b.App + "/" + b.Stream
	}
	if stream == "" {
		stream = "(server)"
	}
	line := fmt.Sprintf("%s  %-28s %-17s %-20s", p.paint(dim, got.Time.Format("15:04:05.000")), clean(stream), order(b), got.Hook)
	for _, note := range p.notes(got) {
		line += " " + note
	}
	return strings.TrimRight(line, " ")
}

// order returns the place of an event among those of its stream.
func order(b *ordercheck.Body) string {
	switch {
	case b.Event.Seq != 0 && b.Event.Prev != nil:
		return fmt.Sprintf("%d (prev %d)", b.Event.Seq, *b.Event.Prev)
	case b.Event.After != nil:
		return fmt.Sprintf("- (after %d)", *b.Event.After)
	}
	return "-"
}

// notes returns what is worth knowing of a request beside its place.
func (p printer) notes(got *Received) []string {
	b := got.Parsed
	var notes []string
	add := func(color, s string) { notes = append(notes, p.paint(color, s)) }
	switch {
	case got.Hook == event.OnStreamChanged && b.Regist != nil && *b.Regist:
		add(green, "register "+clean(b.Schema))
	case got.Hook == event.OnStreamChanged:
		add(yellow, "unregister "+clean(b.Schema))
	case got.Hook == event.OnFlowReport && b.Player != nil:
		add("", map[bool]string{true: "player", false: "publisher"}[*b.Player])
	case got.Hook == event.OnPublicationEnded:
		add("", clean(b.Reason))
	case event.ClassOf(got.Hook) == event.Decision && b.Event.Seq != 0:
		add(dim, "decided")
	case decision(got):
		add(cyan, "asked")
	}
	if id := b.Event.Publication; id != "" {
		add(dim, "pub "+clean(id[max(0, len(id)-8):]))
	}
	for _, g := range b.Gaps {
		add(yellow, fmt.Sprintf("GAP %d..%d: %d events will not come (%s)", g.From, g.To, g.Count, clean(g.Reason)))
	}
	if b.Event.Compensation {
		add(yellow, "after a crash")
	}
	switch {
	case got.Duplicate:
		add(dim, "again")
	case got.Late:
		add(yellow, "late")
	}
	switch got.Outcome {
	case Failed:
		add(yellow, "-> 500 on purpose")
	case Hung:
		add(yellow, "-> no answer on purpose")
	case Abandoned:
		add(yellow, "-> the sender gave up")
	}
	if got.Batch > 0 {
		add(dim, fmt.Sprintf("batch of %d", got.Batch))
	}
	if got.Attempt > 1 && b.Event.Seq != 0 {
		add(dim, fmt.Sprintf("attempt %d", got.Attempt))
	}
	if got.Latency >= time.Second {
		add(dim, "after "+got.Latency.Round(100*time.Millisecond).String())
	}
	return notes
}

// clean makes a string that a peer sent safe for a terminal, and short.
func clean(s string) string {
	const most = 80
	var b strings.Builder
	n := 0
	for _, r := range s {
		if n++; n > most {
			b.WriteString("...")
			break
		}
		if !strconv.IsPrint(r) {
			r = '?'
		}
		b.WriteRune(r)
	}
	return b.String()
}

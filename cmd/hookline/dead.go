package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

type deadCmd struct {
	client

	Ls      deadLsCmd      `cmd:"" default:"withargs" help:"List dead letters (default)."`
	Show    deadShowCmd    `cmd:"" help:"Show one dead letter with its event."`
	Redrive deadRedriveCmd `cmd:"" help:"Send dead letters once more."`
	Discard deadDiscardCmd `cmd:"" help:"Forget dead letters for good."`
}

// Help implements kong's HelpProvider.
func (deadCmd) Help() string {
	return `A dead letter is an event that an endpoint gave up: refused too often, too old, or the receiver said 410. The receiver
was told of the gap, and the stream went on. LETTER is ENDPOINT/POSITION, as ls shows it.

  hookline dead ls --endpoint billing
  hookline dead show billing/4711
  hookline dead redrive billing/4711             it arrives with its old id and late = true
  hookline dead redrive --endpoint billing --reason refused
  hookline dead discard billing/4711 --reason "order 17 was booked by hand"

Mend the receiver first: what is refused again stays a dead letter.`
}

// deadFlags select dead letters.
type deadFlags struct {
	Endpoint string `help:"Only of this endpoint."`
	Stream   string `help:"Only of this stream, like live/test."`
	Reason   string `help:"Only those given up for this reason: refused, expired or gone."`
}

type deadLsCmd struct {
	deadFlags
	Limit int  `default:"100" help:"At most this many."`
	JSON  bool `help:"Print one JSON object per dead letter."`
}

// deadLine is what of a dead letter is printed.
type deadLine struct {
	Endpoint, Reason, Error string
	Position                uint64
	Attempts                int
	Time                    time.Time
	Event                   struct{ Type, Stream, ID string }
}

// Run implements the command.
func (l *deadLsCmd) Run(c *deadCmd, out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if !l.JSON {
		fmt.Fprintln(w, "LETTER\tGIVEN UP\tREASON\tATTEMPTS\tTYPE\tSTREAM\tERROR")
	}
	q, left := url.Values{}, l.Limit
	for name, v := range map[string]string{"endpoint": l.Endpoint, "stream": fullKey(l.Stream), "reason": l.Reason} {
		if v != "" {
			q.Set(name, v)
		}
	}
	for left > 0 {
		q.Set("limit", strconv.Itoa(min(left, 1000)))
		var page struct {
			DeadLetters []json.RawMessage
			Cursor      string
			More        bool
		}
		if err := c.call(context.Background(), http.MethodGet, "/api/v1/dead-letters", q, nil, &page); err != nil {
			return err
		}
		for _, raw := range page.DeadLetters {
			if err := printDead(out, w, raw, l.JSON); err != nil {
				return err
			}
		}
		left -= len(page.DeadLetters)
		if !page.More {
			break
		}
		q.Set("cursor", page.Cursor)
	}
	return w.Flush()
}

func printDead(out, table io.Writer, raw json.RawMessage, asJSON bool) error {
	if asJSON {
		_, err := fmt.Fprintln(out, string(raw))
		return err
	}
	var d deadLine
	if err := json.Unmarshal(raw, &d); err != nil {
		return fmt.Errorf("dead ls: %w", err)
	}
	_, err := fmt.Fprintf(table, "%s/%d\t%s\t%s\t%d\t%s\t%s\t%.100s\n", d.Endpoint, d.Position,
		d.Time.Local().Format(time.DateTime), d.Reason, d.Attempts, d.Event.Type, oneLine(d.Event.Stream), oneLine(d.Error))
	return err
}

// errLetter says what a dead letter is named like.
var errLetter = errors.New("want ENDPOINT/POSITION, as hookline dead ls shows it")

// letterPath returns the path of a dead letter.
func letterPath(letter string) (string, error) {
	slash := strings.LastIndexByte(letter, '/')
	if slash <= 0 {
		return "", fmt.Errorf("%q: %w", letter, errLetter)
	}
	if _, err := strconv.ParseUint(letter[slash+1:], 10, 63); err != nil {
		return "", fmt.Errorf("%q: %w", letter, errLetter)
	}
	return "/api/v1/dead-letters/" + segment(letter[:slash]) + letter[slash:], nil
}

type deadShowCmd struct {
	Letter string `arg:"" help:"ENDPOINT/POSITION."`
}

// Run implements the command.
func (s *deadShowCmd) Run(c *deadCmd, out io.Writer) error {
	path, err := letterPath(s.Letter)
	if err != nil {
		return err
	}
	var raw json.RawMessage
	if err := c.call(context.Background(), http.MethodGet, path, nil, nil, &raw); err != nil {
		return err
	}
	return printIndented(out, raw)
}

type deadRedriveCmd struct {
	Letters []string `arg:"" optional:"" name:"letter" help:"ENDPOINT/POSITION; or select many by --endpoint."`
	deadFlags
}

// Run implements the command.
func (r *deadRedriveCmd) Run(c *deadCmd, out io.Writer) error {
	switch {
	case len(r.Letters) > 0 && r.deadFlags != deadFlags{}:
		return errors.New("dead redrive: name letters or select them, not both")
	case len(r.Letters) > 0:
		return r.each(c, out)
	case r.Endpoint == "":
		return errors.New("dead redrive: which? name letters, or --endpoint for all of one endpoint")
	}
	body := map[string]any{"endpoint": r.Endpoint, "stream": fullKey(r.Stream), "reason": r.Reason, "limit": 1000}
	for sum := 0; ; {
		var page struct {
			Redriven int
			Cursor   string
			More     bool
		}
		if err := c.call(context.Background(), http.MethodPost, "/api/v1/dead-letters/redrive", nil, body, &page); err != nil {
			return err
		}
		sum += page.Redriven
		if !page.More {
			_, err := fmt.Fprintf(out, "%d on their way; what is accepted leaves the list\n", sum)
			return err
		}
		body["cursor"] = page.Cursor
	}
}

// each redrives what was named.
func (r *deadRedriveCmd) each(c *deadCmd, out io.Writer) error {
	for _, letter := range r.Letters {
		path, err := letterPath(letter)
		if err != nil {
			return err
		}
		if err := c.call(context.Background(), http.MethodPost, path+"/redrive", nil, nil, nil); err != nil {
			return err
		}
		fmt.Fprintf(out, "%s is on its way\n", letter)
	}
	return nil
}

type deadDiscardCmd struct {
	Letters []string `arg:"" name:"letter" help:"ENDPOINT/POSITION."`
	Reason  string   `required:"" help:"Why; the server logs it."`
}

// Run implements the command.
func (d *deadDiscardCmd) Run(c *deadCmd, out io.Writer) error {
	for _, letter := range d.Letters {
		path, err := letterPath(letter)
		if err != nil {
			return err
		}
		q := url.Values{"reason": {d.Reason}}
		if err := c.call(context.Background(), http.MethodDelete, path, q, nil, nil); err != nil {
			return err
		}
		fmt.Fprintf(out, "%s is discarded\n", letter)
	}
	return nil
}

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"
)

type eventsCmd struct {
	client

	Ls       eventsLsCmd       `cmd:"" help:"List events, oldest first."`
	Show     eventsShowCmd     `cmd:"" help:"Show one event with its body."`
	Tail     eventsTailCmd     `cmd:"" help:"Follow events as they become durable."`
	Timeline eventsTimelineCmd `cmd:"" help:"Everything the journal has of one stream, by publication, with the attempts to deliver it."`
}

// Help implements kong's HelpProvider.
func (eventsCmd) Help() string {
	return `Events are journaled before anyone is told of them; here is what the journal has, whoever received it.

  hookline events ls --desc --limit 20                 the newest events
  hookline events ls --stream live/test --since 2h     one stream, the last two hours
  hookline events tail --follow --type on_stream_changed
  hookline events timeline live/test                   what happened to a stream, what was decided, what was tried`
}

type filterFlags struct {
	Stream string   `help:"Stream key, like __defaultVhost__/live/test, or live/test."`
	Type   []string `help:"Only these types, like on_stream_changed; may be given several times."`
	Since  moment   `placeholder:"TIME" help:"Not before this time (RFC 3339), or this long ago (90m)."`
	JSON   bool     `help:"Print one JSON object per event."`
}

func (f *filterFlags) query() url.Values {
	q := url.Values{}
	if f.Stream != "" {
		q.Set("stream", fullKey(f.Stream))
	}
	for _, t := range f.Type {
		q.Add("type", t)
	}
	if since := f.Since.text(); since != "" {
		q.Set("since", since)
	}
	return q
}

type eventsLsCmd struct {
	filterFlags
	Limit int  `default:"100" help:"At most this many."`
	Desc  bool `help:"The newest first."`
}

type eventsShowCmd struct {
	ID string `arg:"" help:"The event's id."`
}

type eventsTailCmd struct {
	filterFlags
	Follow bool `short:"f" help:"Go on until interrupted, also across restarts of the server."`
	Last   int  `short:"n" default:"20" help:"Begin with this many of the newest events."`
}

// newest returns the position of the newest event.
func (c *client) newest(ctx context.Context) (uint64, error) {
	var journal struct{ Last uint64 }
	err := c.call(ctx, http.MethodGet, "/api/v1/journal", nil, nil, &journal)
	return journal.Last, err
}

// Run implements the command.
func (l *eventsLsCmd) Run(c *eventsCmd, out io.Writer) error { return l.from(&c.client, out, 0) }

// from lists what comes after a position.
func (l *eventsLsCmd) from(c *client, out io.Writer, position uint64) error {
	left, q := l.Limit, l.query()
	if position > 0 {
		q.Set("cursor", strconv.FormatUint(position, 10))
	}
	if l.Desc {
		q.Set("order", "desc")
	}
	for left > 0 {
		q.Set("limit", strconv.Itoa(min(left, 1000)))
		var page struct {
			Events []json.RawMessage `json:"events"`
			Cursor json.Number       `json:"cursor"`
			More   bool              `json:"more"`
		}
		if err := c.call(context.Background(), http.MethodGet, "/api/v1/events", q, nil, &page); err != nil {
			return err
		}
		for _, e := range page.Events {
			printEvent(out, e, l.JSON)
		}
		left -= len(page.Events)
		if !page.More {
			return nil
		}
		q.Set("cursor", page.Cursor.String())
	}
	return nil
}

// Run implements the command.
func (s *eventsShowCmd) Run(c *eventsCmd, out io.Writer) error {
	var raw json.RawMessage
	if err := c.call(context.Background(), http.MethodGet, "/api/v1/events/"+segment(s.ID), nil, nil, &raw); err != nil {
		return err
	}
	return printIndented(out, raw)
}

// Run implements the command.
func (t *eventsTailCmd) Run(c *eventsCmd, out io.Writer) error {
	ctx, stop := untilInterrupted()
	defer stop()
	last, err := c.newest(ctx)
	if err != nil {
		return err
	}
	q := t.query()
	from := last - min(last, uint64(max(0, t.Last))) + 1
	if !t.Follow {
		list := eventsLsCmd{filterFlags: t.filterFlags, Limit: t.Last}
		return list.from(&c.client, out, from)
	}
	q.Set("cursor", strconv.FormatUint(from, 10))
	return c.follow(ctx, q, func(m message) error {
		if m.event == "gap" {
			_, err := fmt.Fprintln(os.Stderr, gapLine(m.data))
			return err
		}
		printEvent(out, []byte(m.data), t.JSON)
		return nil
	})
}

type eventsTimelineCmd struct {
	Stream string `arg:"" help:"Stream key, like live/test; \"\" for the server's own events."`
	JSON   bool   `help:"Print one JSON object per event."`
}

// Help implements kong's HelpProvider.
func (eventsTimelineCmd) Help() string {
	return `Events are in the order of their seq, which is the order in which every endpoint gets them. Class history are the
outcomes of decisions: who asked to publish or to play, who allowed or refused it, and why. A publication that is
"live" has no end in the journal yet.

Below each event are the attempts to tell receivers of it, or to ask for it, as long as the server remembers them: when,
endpoint, number, result, HTTP status, latency, error; and what a receiver answered that did not accept. A restart of
the server forgets attempts. --json has all of it.`
}

// timelinePage is an answer of the server.
type timelinePage struct {
	Publications []struct {
		Publication string     `json:"publication"`
		Began       *time.Time `json:"began"`
		Ended       *time.Time `json:"ended"`
		Live        bool       `json:"live"`
	} `json:"publications"`
	Events   []json.RawMessage `json:"events"`
	Requests []struct {
		ID, Type, Endpoint string
		Attempts           []attempt
	} `json:"requests"`
	Cursor uint64 `json:"cursor"`
	More   bool   `json:"more"`
}

// Run implements the command.
func (t *eventsTimelineCmd) Run(c *eventsCmd, out io.Writer) error {
	ctx, stop := untilInterrupted()
	defer stop()
	path := "/api/v1/streams/" + segment(fullKey(t.Stream)) + "/timeline"
	q, current := url.Values{"limit": {"1000"}}, ""
	for {
		var page timelinePage
		if err := c.call(ctx, http.MethodGet, path, q, nil, &page); err != nil {
			return err
		}
		for _, raw := range page.Events {
			var e struct {
				Publication string
				Deliveries  []struct {
					Endpoint string
					Attempts []attempt
				}
			}
			if err := json.Unmarshal(raw, &e); err != nil {
				return fmt.Errorf("events timeline: %w", err)
			}
			if e.Publication != current && !t.JSON {
				current = e.Publication
				fmt.Fprintln(out, page.title(current))
			}
			printEvent(out, raw, t.JSON)
			if t.JSON {
				continue
			}
			for _, d := range e.Deliveries {
				for i := range d.Attempts {
					d.Attempts[i].print(out, d.Endpoint)
				}
			}
		}
		if !t.JSON {
			page.printRequests(out)
		}
		if !page.More {
			return nil
		}
		q.Set("cursor", strconv.FormatUint(page.Cursor, 10))
	}
}

// printRequests prints what was sent that is no event.
func (p *timelinePage) printRequests(out io.Writer) {
	for _, r := range p.Requests {
		fmt.Fprintf(out, "-- request %s %s\n", r.Type, oneLine(r.ID))
		for i := range r.Attempts {
			r.Attempts[i].print(out, r.Endpoint)
		}
	}
}

// title returns the line above the events of a publication.
func (p *timelinePage) title(publication string) string {
	if publication == "" {
		return "-- no publication"
	}
	line := "-- publication " + publication
	for _, g := range p.Publications {
		if g.Publication != publication {
			continue
		}
		switch {
		case g.Live:
			line += ", live"
		case g.Began != nil && g.Ended != nil:
			line += ", lasted " + g.Ended.Sub(*g.Began).Round(time.Millisecond).String()
		}
	}
	return line
}

// printEvent prints one line.
func printEvent(out io.Writer, raw []byte, asJSON bool) {
	if asJSON {
		fmt.Fprintln(out, string(raw))
		return
	}
	var e struct {
		ID, Type, Stream, Class, Publication string
		Seq, Position                        uint64
		Time                                 time.Time
		Body                                 struct {
			Schema, Reason string
			Regist         *bool
			Outcome        *struct {
				Allowed bool
				By      string
			}
		}
	}
	if err := json.Unmarshal(raw, &e); err != nil {
		fmt.Fprintln(out, string(raw))
		return
	}
	extra := e.Body.Schema
	switch {
	case e.Body.Regist != nil && *e.Body.Regist:
		extra += " register"
	case e.Body.Regist != nil:
		extra += " unregister"
	case e.Body.Outcome != nil:
		extra = fmt.Sprintf("allowed=%v by %s", e.Body.Outcome.Allowed, e.Body.Outcome.By)
	case e.Body.Reason != "":
		extra = e.Body.Reason
	}
	fmt.Fprintf(out, "%s %8d %-6d %-9s %-22s %-32s %-24s %s\n", e.Time.Local().Format("15:04:05.000"), e.Position, e.Seq,
		e.Class, e.Type, oneLine(e.Stream), oneLine(extra), e.ID)
}

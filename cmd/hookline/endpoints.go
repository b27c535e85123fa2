package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"
)

type endpointsCmd struct {
	client

	Ls     endpointsLsCmd     `cmd:"" default:"withargs" help:"List endpoints: state, lag, what was delivered (default)."`
	Pause  endpointsPauseCmd  `cmd:"" help:"Keep an endpoint from sending; it keeps its place."`
	Resume endpointsResumeCmd `cmd:"" help:"Let an endpoint go on where it was."`
}

// Help implements kong's HelpProvider.
func (endpointsCmd) Help() string {
	return `An endpoint is a receiver with a place of its own in the journal: "hook" stands for the hook.on_* URLs, the others are
the [endpoint.NAME] sections of config.ini.

  hookline endpoints                  state up, down (everything fails), paused or gone (answered 410)
  hookline endpoints pause billing    before the receiver is taken down: nothing is tried, nothing is lost
  hookline endpoints resume billing   what was held back is sent in order

LAG is the number of journal positions that are not done. A parked stream is one that fails while others succeed: it
waits on its own and holds nobody up. While an endpoint is paused the journal keeps what it is owed only as long as
retention allows.`
}

type endpointsLsCmd struct {
	JSON bool `help:"Print one JSON object per endpoint."`
}

// endpointLine is what of an endpoint is printed.
type endpointLine struct {
	Name, Format, State                              string
	URLs, Events, Streams, Gone                      []string
	Lag, Delivered, Refused, DeadLetters, Gaps, Tail uint64
	Parked, InFlight                                 int
	Down                                             bool
}

// Run implements the command.
func (l *endpointsLsCmd) Run(c *endpointsCmd, out io.Writer) error {
	var list struct{ Endpoints []json.RawMessage }
	if err := c.call(context.Background(), http.MethodGet, "/api/v1/endpoints", nil, nil, &list); err != nil {
		return err
	}
	if l.JSON {
		for _, raw := range list.Endpoints {
			fmt.Fprintln(out, string(raw))
		}
		return nil
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tSTATE\tFORMAT\tLAG\tPARKED\tIN FLIGHT\tDELIVERED\tREFUSED\tDEAD\tGAPS\tURLS")
	for _, raw := range list.Endpoints {
		var e endpointLine
		if err := json.Unmarshal(raw, &e); err != nil {
			return fmt.Errorf("endpoints: %w", err)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%s\n", e.Name, e.State, e.Format, e.Lag, e.Parked, e.InFlight,
			e.Delivered, e.Refused, e.DeadLetters, e.Gaps, shortened(e.URLs))
	}
	return w.Flush()
}

// shortened joins URLs; of many the first is named.
func shortened(urls []string) string {
	if len(urls) > 2 {
		return fmt.Sprintf("%s and %d more", urls[0], len(urls)-1)
	}
	return strings.Join(urls, " ")
}

type endpointsPauseCmd struct {
	Name string `arg:"" help:"The endpoint's name."`
}

type endpointsResumeCmd struct {
	Name string `arg:"" help:"The endpoint's name."`
}

// Run implements the command.
func (p *endpointsPauseCmd) Run(c *endpointsCmd, out io.Writer) error {
	return c.set(out, p.Name, "pause")
}

// Run implements the command.
func (r *endpointsResumeCmd) Run(c *endpointsCmd, out io.Writer) error {
	return c.set(out, r.Name, "resume")
}

// set pauses or resumes and says what became of it.
func (c *endpointsCmd) set(out io.Writer, name, action string) error {
	var e endpointLine
	path := "/api/v1/endpoints/" + segment(name) + "/" + action
	if err := c.call(context.Background(), http.MethodPost, path, nil, nil, &e); err != nil {
		return err
	}
	note := ""
	if action == "resume" && e.State == "paused" {
		note = ": its section in config.ini says so"
	}
	_, err := fmt.Fprintf(out, "%s is %s%s, lag %d\n", e.Name, e.State, note, e.Lag)
	return err
}

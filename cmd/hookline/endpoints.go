package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

type endpointsCmd struct {
	client

	Ls     endpointsLsCmd     `cmd:"" default:"withargs" help:"List endpoints: state, lag, what was delivered (default)."`
	Show   endpointsShowCmd   `cmd:"" help:"Show one endpoint: URLs, latencies, attempts by result, last failures."`
	Add    endpointsAddCmd    `cmd:"" help:"Make an endpoint."`
	Set    endpointsSetCmd    `cmd:"" help:"Change keys of an endpoint that was made by API."`
	Rm     endpointsRmCmd     `cmd:"" help:"Remove an endpoint that was made by API; what it was owed is given up."`
	Pause  endpointsPauseCmd  `cmd:"" help:"Keep an endpoint from sending; it keeps its place."`
	Resume endpointsResumeCmd `cmd:"" help:"Let an endpoint go on where it was."`
}

// Help implements kong's HelpProvider.
func (endpointsCmd) Help() string {
	return `An endpoint is a receiver with a place of its own in the journal: "hook" stands for the hook.on_* URLs, the others are
the [endpoint.NAME] sections of config.ini, and those that were made by API. They have the same keys.

  hookline endpoints                  state up, down (everything fails), paused or gone (answered 410)
  hookline endpoints show billing     what is wrong with one: state of each URL, latencies, the last failures
  hookline endpoints add billing https://billing.example/hook events=on_flow_report,on_publication_ended
  hookline endpoints add audit https://siem.example/in events=on_admin_action format=cloudevents start=beginning
  hookline endpoints set billing rate=50 bearer=    a key without a value is taken away
  hookline endpoints rm billing
  hookline endpoints pause billing    before the receiver is taken down: nothing is tried, nothing is lost
  hookline endpoints resume billing   what was held back is sent in order

LAG is the number of journal positions that are not done, and AGE how old the oldest event is that still has to be sent. A parked stream is one that fails while others succeed: it
waits on its own and holds nobody up. While an endpoint is paused the journal keeps what it is owed only as long as
retention allows.

A secret of your own: secret=whsec_$(head -c 32 /dev/urandom | base64 -w0). On a shared machine others see the arguments
of a command: secret=@FILE reads the value from a file, secret=@- from standard input. What is made by API goes to
public addresses only, unless config.ini says api.allow_private_endpoints=1; write a section there for a receiver inside.`
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
	LagSeconds                                       float64
	Latency                                          *struct{ P50, P90, P99 float64 }
	Results                                          map[string]uint64
	LastError                                        *struct {
		Time                            time.Time
		URL, Error, Type, Stream, Event string
	}
	Targets []struct {
		URL, State, LastError             string
		InFlight, Slots, Failures         int
		DownSince, NextProbe, LastErrorAt *time.Time
	}
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
	fmt.Fprintln(w, "NAME\tSTATE\tFORMAT\tLAG\tAGE\tP99\tPARKED\tIN FLIGHT\tDELIVERED\tREFUSED\tDEAD\tGAPS\tURLS")
	for _, raw := range list.Endpoints {
		var e endpointLine
		if err := json.Unmarshal(raw, &e); err != nil {
			return fmt.Errorf("endpoints: %w", err)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%s\n", e.Name, e.State, e.Format, e.Lag, e.age(), e.p99(), e.Parked, e.InFlight,
			e.Delivered, e.Refused, e.DeadLetters, e.Gaps, shortened(e.URLs))
	}
	return w.Flush()
}

// age is how old the oldest event is that still has to be sent.
func (e *endpointLine) age() string {
	if e.LagSeconds <= 0 {
		return "-"
	}
	return time.Duration(e.LagSeconds * float64(time.Second)).Round(time.Second / 10).String()
}

func (e *endpointLine) p99() string {
	if e.Latency == nil {
		return "-"
	}
	return fmt.Sprintf("%.1f ms", e.Latency.P99)
}

type endpointsShowCmd struct {
	Name     string `arg:"" help:"The endpoint's name."`
	Failures int    `short:"n" default:"10" help:"How many of the last failures are shown."`
	JSON     bool   `help:"Print the endpoint as JSON."`
}

// Run implements the command.
func (s *endpointsShowCmd) Run(c *endpointsCmd, out io.Writer) error {
	ctx := context.Background()
	var raw json.RawMessage
	if err := c.call(ctx, http.MethodGet, "/api/v1/endpoints/"+segment(s.Name), nil, nil, &raw); err != nil {
		return err
	}
	if s.JSON {
		return printIndented(out, raw)
	}
	var e endpointLine
	if err := json.Unmarshal(raw, &e); err != nil {
		return fmt.Errorf("endpoints: %w", err)
	}
	e.print(out)
	if s.Failures <= 0 {
		return nil
	}
	var list struct {
		Attempts []struct {
			Type, Stream, Event string
			attempt
		}
	}
	q := url.Values{"endpoint": {e.Name}, "result": {"failed"}, "limit": {strconv.Itoa(min(s.Failures, 1000))}}
	if err := c.call(ctx, http.MethodGet, "/api/v1/attempts", q, nil, &list); err != nil {
		return err
	}
	for i := range list.Attempts {
		a := &list.Attempts[i]
		if i == 0 {
			fmt.Fprintln(out, "last failures, the newest first:")
		}
		fmt.Fprintf(out, "%s %s %s\n", a.Type, oneLine(a.Stream), oneLine(a.Event))
		a.print(out, e.Name)
	}
	return nil
}

// print prints all there is to know.
func (e *endpointLine) print(out io.Writer) {
	fmt.Fprintf(out, "%s: %s, %s, lag %d", e.Name, e.State, e.Format, e.Lag)
	if e.LagSeconds > 0 {
		fmt.Fprintf(out, " (the oldest event is %s old)", e.age())
	}
	fmt.Fprintf(out, ", %d parked, %d in flight\n", e.Parked, e.InFlight)
	if l := e.Latency; l != nil {
		fmt.Fprintf(out, "answers: p50 %.1f ms, p90 %.1f ms, p99 %.1f ms\n", l.P50, l.P90, l.P99)
	}
	fmt.Fprint(out, "attempts:")
	for _, r := range slices.Sorted(maps.Keys(e.Results)) {
		if n := e.Results[r]; n > 0 {
			fmt.Fprintf(out, " %s %d", oneLine(r), n)
		}
	}
	fmt.Fprintf(out, "; dead letters %d, gaps %d\n", e.DeadLetters, e.Gaps)
	for _, t := range e.Targets {
		fmt.Fprintf(out, "%-5s %s  in flight %d of %d", t.State, oneLine(t.URL), t.InFlight, t.Slots)
		if t.Failures > 0 {
			fmt.Fprintf(out, ", %d failures in a row", t.Failures)
		}
		if t.DownSince != nil {
			fmt.Fprintf(out, ", since %s", t.DownSince.Local().Format(time.DateTime))
		}
		if t.NextProbe != nil {
			fmt.Fprintf(out, ", next probe %s", t.NextProbe.Local().Format(time.TimeOnly))
		}
		if t.LastErrorAt != nil {
			fmt.Fprintf(out, "; last error %s: %s", t.LastErrorAt.Local().Format(time.DateTime), oneLine(t.LastError))
		}
		fmt.Fprintln(out)
	}
	if l := e.LastError; l != nil {
		fmt.Fprintf(out, "last error %s: %s (%s, stream %q, event %s)\n", l.Time.Local().Format(time.DateTime), oneLine(l.Error),
			oneLine(l.Type), oneLine(l.Stream), oneLine(l.Event))
	}
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
		note = ": its definition says so (paused=1)"
	}
	_, err := fmt.Fprintf(out, "%s is %s%s, lag %d\n", e.Name, e.State, note, e.Lag)
	return err
}

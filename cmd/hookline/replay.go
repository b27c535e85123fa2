package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"text/tabwriter"
	"time"
)

type replayCmd struct {
	client

	Endpoint string        `arg:"" help:"The endpoint that gets the events once more."`
	Since    moment        `placeholder:"TIME" help:"Events not before this time (RFC 3339), or this long ago (90m)."`
	Until    moment        `placeholder:"TIME" help:"Events before this time."`
	From     uint64        `help:"First position."`
	To       uint64        `help:"Last position."`
	Type     []string      `help:"Only these types; may be given several times."`
	Stream   []string      `help:"Only these streams: live/test, live/*; may be given several times."`
	Stall    time.Duration `placeholder:"10m" help:"It has failed when its receiver takes nothing for so long, 1s to 24h."`
	DryRun   bool          `help:"Say how many events it would be, send nothing."`
	Follow   bool          `short:"f" help:"Show the progress until it is done."`
	Interval time.Duration `hidden:"" default:"500ms"`
}

// Help implements kong's HelpProvider.
func (replayCmd) Help() string {
	return `A replay sends events of the journal once more to one endpoint: in order within each stream, with the ids that they had
and the id of the replay, beside the usual delivery. The endpoint's own filter holds. A receiver that remembers ids
drops what it has; one that lost its data takes everything.

  hookline replay billing --since 2h --dry-run     how many would it be?
  hookline replay billing --since 2h --follow      do it, and watch
  hookline replay billing --stream 'live/*' --type on_stream_changed --from 1000 --to 2000
  hookline replays                                 what runs and what ran
  hookline replays cancel ID

What retention has removed can't be replayed. What the receiver refuses is counted, not kept. A replay whose receiver
takes nothing for ten minutes (--stall) has failed.`
}

// replayState is a replay as the server shows it.
type replayState struct {
	ID, Endpoint, State      string
	Error                    string
	From, To, At             uint64
	Count, Delivered, Failed uint64
	Missed                   uint64
	Gap                      *struct{ From, To uint64 }
	Started                  time.Time
	Ended                    *time.Time
}

// request returns the body of the request.
func (r *replayCmd) request() map[string]any {
	body := map[string]any{"endpoint": r.Endpoint, "dryRun": r.DryRun}
	if r.From > 0 {
		body["from"] = r.From
	}
	if r.To > 0 {
		body["to"] = r.To
	}
	if t := r.Since.text(); t != "" {
		body["since"] = t
	}
	if t := r.Until.text(); t != "" {
		body["until"] = t
	}
	if len(r.Type) > 0 {
		body["types"] = r.Type
	}
	if r.Stall > 0 {
		body["stallSeconds"] = int(max(r.Stall.Seconds(), 1))
	}
	if len(r.Stream) > 0 {
		body["streams"] = r.Stream
	}
	return body
}

// Run implements the command.
func (r *replayCmd) Run(out io.Writer) error {
	ctx, stop := untilInterrupted()
	defer stop()
	var st replayState
	if err := r.call(ctx, http.MethodPost, "/api/v1/replays", nil, r.request(), &st); err != nil {
		return err
	}
	if st.Gap != nil {
		fmt.Fprintf(out, "gap: retention has removed positions %d to %d\n", st.Gap.From, st.Gap.To)
	}
	if r.DryRun {
		_, err := fmt.Fprintf(out, "%d events between positions %d and %d; without --dry-run %s gets them\n", st.Count, st.From,
			st.To, st.Endpoint)
		return err
	}
	if !r.Follow {
		_, err := fmt.Fprintf(out, "replay %s: %d events, positions %d to %d; see hookline replays\n", st.ID, st.Count, st.From,
			st.To)
		return err
	}
	return r.watch(ctx, out, st)
}

// watch shows the progress until the replay has ended.
func (r *replayCmd) watch(ctx context.Context, out io.Writer, st replayState) error {
	file, ok := out.(*os.File)
	live := ok && isTerminal(file) // a line can be written over
	tick := time.NewTicker(r.Interval)
	defer tick.Stop()
	for st.State == "running" {
		if live {
			fmt.Fprintf(out, "\r\x1b[K%s", st.progress())
		}
		select {
		case <-ctx.Done():
			fmt.Fprintf(out, "\nreplay %s goes on; end it with: hookline replays cancel %s\n", st.ID, st.ID)
			return nil
		case <-tick.C:
		}
		if err := r.call(ctx, http.MethodGet, "/api/v1/replays/"+segment(st.ID), nil, nil, &st); err != nil && ctx.Err() == nil {
			return err
		}
	}
	if live {
		fmt.Fprint(out, "\r\x1b[K")
	}
	fmt.Fprintln(out, st.progress())
	if st.Missed > 0 {
		fmt.Fprintf(out, "gap: retention removed %d events before they were sent\n", st.Missed)
	}
	if st.Error != "" {
		return fmt.Errorf("replay %s: %s: %s; %d of %d delivered", st.ID, st.State, st.Error, st.Delivered, st.Count)
	}
	if st.State != "done" || st.Failed > 0 {
		return fmt.Errorf("replay %s: %s, %d events were not accepted", st.ID, st.State, st.Failed)
	}
	return nil
}

// progress returns one line.
func (st *replayState) progress() string {
	const width = 30
	done, all := min(st.Delivered+st.Failed, st.Count), max(st.Count, 1)
	if st.State == "done" {
		done = all
	}
	full := int(width * done / all)
	return fmt.Sprintf("replay %s %-9s [%s%s] %3d%%  %d of %d delivered, %d failed", st.ID, st.State,
		strings.Repeat("#", full), strings.Repeat(".", width-full), 100*done/all, st.Delivered, st.Count, st.Failed)
}

type replaysCmd struct {
	client

	Ls     replaysLsCmd     `cmd:"" default:"withargs" help:"List replays that run and some that ran, the newest first (default)."`
	Cancel replaysCancelCmd `cmd:"" help:"End a replay; what was sent stays sent."`
}

type replaysLsCmd struct {
	JSON bool `help:"Print one JSON object per replay."`
}

// Run implements the command.
func (l *replaysLsCmd) Run(c *replaysCmd, out io.Writer) error {
	var list struct{ Replays []json.RawMessage }
	if err := c.call(context.Background(), http.MethodGet, "/api/v1/replays", nil, nil, &list); err != nil {
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if !l.JSON {
		fmt.Fprintln(w, "ID\tENDPOINT\tSTATE\tPOSITIONS\tEVENTS\tDELIVERED\tFAILED\tSTARTED")
	}
	for _, raw := range list.Replays {
		if l.JSON {
			fmt.Fprintln(w, string(raw))
			continue
		}
		var st replayState
		if err := json.Unmarshal(raw, &st); err != nil {
			return fmt.Errorf("replays: %w", err)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d-%d\t%d\t%d\t%d\t%s\n", st.ID, st.Endpoint, st.State, st.From, st.To, st.Count,
			st.Delivered, st.Failed, st.Started.Local().Format(time.DateTime))
	}
	return w.Flush()
}

type replaysCancelCmd struct {
	ID string `arg:"" help:"The replay's id."`
}

// Run implements the command.
func (r *replaysCancelCmd) Run(c *replaysCmd, out io.Writer) error {
	if err := c.call(context.Background(), http.MethodDelete, "/api/v1/replays/"+segment(r.ID), nil, nil, nil); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "replay %s is cancelled\n", r.ID)
	return err
}

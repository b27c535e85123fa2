package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/hookline/hookline/internal/config"
	"github.com/hookline/hookline/internal/journaltool"
)

type journalCmd struct {
	Check   journalCheckCmd   `cmd:"" help:"Read everything: tables, records, index, places of endpoints."`
	Stats   journalStatsCmd   `cmd:"" help:"Count what is in it."`
	Export  journalExportCmd  `cmd:"" help:"Write it as JSON lines."`
	Import  journalImportCmd  `cmd:"" help:"Make a new journal of exported lines."`
	Compact journalCompactCmd `cmd:"" help:"Give back the room of what was removed."`
	Backup  journalBackupCmd  `cmd:"" help:"Let a running server copy its journal."`
}

// Help implements kong's HelpProvider.
func (journalCmd) Help() string {
	return `All but backup need the journal for themselves: stop the server first, or work on a copy. What takes long says how far it
is on standard error.

  hookline journal check -c /etc/hookline/config.ini
  hookline journal stats --dir /var/lib/hookline/journal
  hookline journal export --dir ./data/journal events.jsonl
  hookline journal import events.jsonl ./new/journal
  hookline journal backup monday

A journal that was imported or restored has the events with their ids, seqs and positions, and the places of the endpoints.
The server that starts on it begins a new epoch, ends what was live, and delivers again what was not done.`
}

// journalDir is where the journal is.
type journalDir struct {
	Dir    string `placeholder:"DIR" help:"The journal's directory; default: that of --config, or ./data/journal."`
	Config string `short:"c" placeholder:"FILE" help:"The server's config.ini."`
}

func (d *journalDir) path() (string, error) {
	switch {
	case d.Dir != "":
		return d.Dir, nil
	case d.Config != "":
		c, err := config.Load(d.Config, os.Environ())
		if err != nil {
			return "", err
		}
		return c.JournalDir(), nil
	}
	return filepath.Join("data", "journal"), nil
}

// progressOf prints lines, one a second at most.
func progressOf(what string) journaltool.Progress {
	last := time.Now()
	return func(done, total uint64) {
		if time.Since(last) < time.Second {
			return
		}
		last = time.Now()
		if total > 0 {
			fmt.Fprintf(os.Stderr, "%s %d of %d events (%d%%)\n", what, done, total, 100*done/total)
		} else {
			fmt.Fprintf(os.Stderr, "%s %d events\n", what, done)
		}
	}
}

type journalCheckCmd struct{ journalDir }

// Run implements the command.
func (c *journalCheckCmd) Run(out io.Writer) error {
	dir, err := c.path()
	if err != nil {
		return err
	}
	found, err := journaltool.Check(dir, progressOf("checked"))
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s: %d events, positions %d to %d, %d entries of the state\n", dir, found.Records, found.First,
		found.Last, found.States)
	if found.EpochReason != "" {
		fmt.Fprintf(out, "the next server begins a new epoch: %s\n", found.EpochReason)
	}
	for _, p := range found.Problems {
		fmt.Fprintln(out, oneLine(p))
	}
	if n := len(found.Problems) + found.Omitted; n > 0 {
		return fmt.Errorf("%d problems; restore the directory from a backup, or export what can be read", n)
	}
	fmt.Fprintln(out, "no problem was found")
	return nil
}

type journalStatsCmd struct {
	journalDir

	JSON bool `help:"Print a JSON object."`
}

// Run implements the command.
func (c *journalStatsCmd) Run(out io.Writer) error {
	dir, err := c.path()
	if err != nil {
		return err
	}
	ctx, stop := untilInterrupted()
	defer stop()
	s, err := journaltool.Stats(ctx, dir, progressOf("counted"))
	if err != nil {
		return err
	}
	if c.JSON {
		b, err := json.Marshal(s)
		if err != nil {
			return err
		}
		return printIndented(out, b)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "created\t%s\n", s.Created.Format(time.RFC3339))
	fmt.Fprintf(w, "events\t%d, positions %d to %d\n", s.Events, s.First, s.Last)
	if s.Events > 0 {
		fmt.Fprintf(w, "times\t%s to %s\n", s.Oldest.Format(time.RFC3339), s.Newest.Format(time.RFC3339))
	}
	fmt.Fprintf(w, "bytes\t%d on the disk, %d of bodies\n", s.Bytes, s.BodyBytes)
	fmt.Fprintf(w, "streams\t%d\nruns\t%d\nlive at the end\t%d\ndead letters\t%d\nopen gaps\t%d\n", s.Streams, s.Incarnations, s.Live,
		s.DeadLetters, s.OpenGaps)
	for _, k := range slices.Sorted(maps.Keys(s.Types)) {
		fmt.Fprintf(w, "  %s\t%d\n", k, s.Types[k])
	}
	for _, k := range slices.Sorted(maps.Keys(s.Epochs)) {
		fmt.Fprintf(w, "epoch %d\t%d\n", k, s.Epochs[k])
	}
	for _, k := range slices.Sorted(maps.Keys(s.Endpoints)) {
		fmt.Fprintf(w, "endpoint %s\tdone up to %d, %d behind\n", oneLine(k), s.Endpoints[k], s.Last-min(s.Endpoints[k], s.Last))
	}
	return w.Flush()
}

type journalExportCmd struct {
	journalDir

	File string `arg:"" help:"Where to write; - for standard output."`
}

// Run implements the command.
func (c *journalExportCmd) Run(out io.Writer) (err error) {
	dir, err := c.path()
	if err != nil {
		return err
	}
	ctx, stop := untilInterrupted()
	defer stop()
	if c.File == "-" {
		_, err := journaltool.Export(ctx, dir, out, progressOf("exported"))
		return err
	}
	f, err := os.OpenFile(c.File, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	n, err := journaltool.Export(ctx, dir, f, progressOf("exported"))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(c.File))
	}
	_, err = fmt.Fprintf(out, "%s: %d events, %d entries of the state\n", c.File, n.Records, n.States)
	return err
}

type journalImportCmd struct {
	File string `arg:"" help:"What export has written; - for standard input."`
	To   string `arg:"" help:"The directory of the new journal; it must not exist."`
}

// Run implements the command.
func (c *journalImportCmd) Run(out io.Writer) error {
	ctx, stop := untilInterrupted()
	defer stop()
	in := os.Stdin
	if c.File != "-" {
		f, err := os.Open(c.File)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	n, err := journaltool.Import(ctx, in, c.To, progressOf("imported"))
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s: %d events, %d entries of the state; the server that starts on it begins a new epoch\n", c.To,
		n.Records, n.States)
	return err
}

type journalCompactCmd struct{ journalDir }

// Run implements the command.
func (c *journalCompactCmd) Run(out io.Writer) error {
	dir, err := c.path()
	if err != nil {
		return err
	}
	ctx, stop := untilInterrupted()
	defer stop()
	fmt.Fprintln(os.Stderr, "compacting; this may take minutes")
	before, after, err := journaltool.Compact(ctx, dir)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s: %d bytes before, %d after\n", dir, before, after)
	return err
}

type journalBackupCmd struct {
	client

	Name string `arg:"" help:"Name of the backup: letters, digits, _, - and dots."`
}

// Run implements the command.
func (c *journalBackupCmd) Run(out io.Writer) error {
	var made struct {
		Path        string
		Bytes, Last uint64
	}
	body := map[string]string{"name": c.Name}
	if err := c.call(context.Background(), http.MethodPost, "/api/v1/backups", nil, body, &made); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "%s: everything up to position %d, %d bytes; copy it to another disk\n", made.Path, made.Last,
		made.Bytes)
	return err
}

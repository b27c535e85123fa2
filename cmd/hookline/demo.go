package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/hookline/hookline/internal/demo"
)

type demoCmd struct {
	JSON    bool   `help:"Print the result as one JSON object on standard output, and the progress on standard error."`
	Seconds int    `default:"50" help:"How long it takes, about: 10 to 600."`
	Streams int    `default:"48" help:"Publishers at a time: 8 to 500."`
	Seed    uint64 `default:"1" help:"Decides what publishers do and whom faults hit."`
	Keep    string `placeholder:"DIR" help:"Keep the server's journal and log in a new directory below DIR."`
	NoColor bool   `help:"No colours; also with NO_COLOR in the environment."`
}

// Help implements kong's HelpProvider.
func (demoCmd) Help() string {
	return `Starts a server and a receiver on free ports of 127.0.0.1, publishes a crowd of short RTMP streams (no ffmpeg needed), and
lets go wrong what can: the receiver is slow, answers 500, hangs, and vanishes; the server is killed with SIGKILL while
streams are live and events wait, and started again on what it had written.

Loss is judged against what the publishers, outside the server, know for certain: an accepted publication owes
on_publication_ended, and register and unregister when it sent media for a second (or said goodbye after audio and
video), and the publisher's on_flow_report unless the crash ended it. What was accepted less than a second before the
kill is certain only if the receiver has seen any event of it: then it must see all to the end. Refused attempts owe nothing.

The racing sender beside it is a simulation with the same facts: one connection per event, one retry after 3 s.

Exit status 1 when anything was out of order, lost or otherwise against a promise.`
}

// Run implements the command.
func (c *demoCmd) Run() error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	progress := os.Stdout
	if c.JSON {
		progress = os.Stderr
	}
	tty := isTerminal(progress)
	color := tty && !c.NoColor && os.Getenv("NO_COLOR") == ""
	result, err := demo.Run(ctx, demo.Config{
		Server: []string{self, "serve"}, Seconds: c.Seconds, Streams: c.Streams, Seed: c.Seed, Keep: c.Keep,
		Out: progress, Color: color, Live: tty,
	})
	switch {
	case ctx.Err() != nil && err != nil && !errors.Is(err, demo.ErrBroken):
		return errors.New("demo: interrupted")
	case err != nil && !errors.Is(err, demo.ErrBroken):
		return fmt.Errorf("demo: %w", err)
	}
	if c.JSON {
		if err := json.NewEncoder(os.Stdout).Encode(result); err != nil {
			return fmt.Errorf("demo: %w", err)
		}
	} else if _, err := io.WriteString(os.Stdout, result.Table(color)); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	return nil
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

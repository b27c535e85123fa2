package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/receivertool"
)

type listenCmd struct {
	Addr     string                `default:"127.0.0.1:18080" help:"Address to listen on; hooks are expected at /index/hook/NAME (any path that ends in a hook's name), CloudEvents and batches of them at any path."`
	Delay    time.Duration         `help:"Answer this much later."`
	Jitter   time.Duration         `help:"And up to this much more, at random."`
	FailRate float64               `help:"Share of requests answered 500, 0 to 1."`
	HangRate float64               `help:"Share of requests never answered, 0 to 1."`
	Outage   []receivertool.Outage `placeholder:"START:LENGTH" help:"Refuse connections from START after the start for LENGTH, like 5s:10s; may be given several times."`
	Seed     uint64                `default:"1" help:"Decides whom the faults hit."`
	Reply    map[string]string     `placeholder:"HOOK=JSON" help:"Answer a hook with a JSON object of your own, like on_publish={\"code\":0,\"enable_audio\":false}."`
	Check    bool                  `help:"Exit with status 1 when order, identity or completeness was violated."`
	JSON     bool                  `help:"Print one JSON object per event."`
	Quiet    bool                  `help:"Print violations and the summary only."`
	Forward  forwardFlags          `embed:""`
}

// Help implements kong's HelpProvider.
func (listenCmd) Help() string {
	return `Point the server's hooks here, for example

  HOOKLINE_HOOK_ENABLE=1 HOOKLINE_HOOK_ON_STREAM_CHANGED=http://127.0.0.1:18080/index/hook/on_stream_changed hookline serve

Each line shows seq and prev of the event within its stream. A receiver that misbehaves (--fail-rate 0.2 --outage 5s:10s)
shows what the sender does about it. Ctrl-C ends with a summary.

For development there is another way, which needs no hook to be configured: --forward takes the events of a running server
and posts each to an address of yours, in order within each stream, and prints what it answered:

  hookline listen --forward http://127.0.0.1:3000/hooks
  hookline listen --forward http://127.0.0.1:3000/hooks --format cloudevents --sign whsec_... --stream live/test

What is answered is not tried again, and decides nothing; prev is the seq that was forwarded before.`
}

// Run implements the command.
func (c *listenCmd) Run() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if c.Forward.Forward != "" {
		return c.Forward.run(ctx, os.Stdout)
	}
	replies := map[event.Type]string{}
	for hook, body := range c.Reply {
		replies[event.Type(hook)] = body
	}
	err := receivertool.Run(ctx, receivertool.Config{
		Addr: c.Addr, Out: os.Stdout, Err: os.Stderr, JSON: c.JSON, Quiet: c.Quiet, Check: c.Check,
		Faults: receivertool.Faults{Delay: c.Delay, Jitter: c.Jitter, FailRate: c.FailRate, HangRate: c.HangRate},
		Seed:   c.Seed, Outages: c.Outage, Replies: replies,
	})
	if errors.Is(err, receivertool.ErrViolations) {
		return errSilent
	}
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	return nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/hookline/hookline/internal/bench"
	"github.com/hookline/hookline/internal/playtool"
	"github.com/hookline/hookline/internal/pubtool"
)

type publishCmd struct {
	URL       string        `arg:"" default:"rtmp://127.0.0.1/live/test" help:"rtmp://host[:port]/app/stream[?params]. With --streams the name gets _1, _2 and so on."`
	File      string        `arg:"" optional:"" type:"existingfile" help:"An FLV file; without: a small generated stream (H.264 and AAC)."`
	Streams   int           `default:"1" help:"Number of streams."`
	Churn     bool          `help:"Publish again after the end, under the same key."`
	Count     int           `help:"Stop after this many publications."`
	Life      time.Duration `help:"Length of a publication; default: the file's, or until interrupted. With --churn: 3s."`
	Jitter    time.Duration `help:"Up to this much longer, at random."`
	Pause     time.Duration `help:"Between two publications of a stream."`
	Bitrate   int           `help:"Pad the generated stream to this many bit/s."`
	Fast      bool          `help:"As fast as the server takes it, instead of real time."`
	ResetRate float64       `help:"Share of publications that end by a TCP reset instead of a goodbye, 0 to 1."`
	Seed      uint64        `default:"1" help:"Of the dice."`
	Quiet     bool          `help:"Print no progress."`
}

// Run implements the command.
func (c *publishCmd) Run() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if (c.Churn || c.Count > 0) && c.Life == 0 && c.File == "" {
		c.Life = 3 * time.Second
	}
	res, err := pubtool.Run(ctx, pubtool.Config{
		URL: c.URL, File: c.File, Bitrate: c.Bitrate, Streams: c.Streams, Churn: c.Churn, Count: c.Count, Life: c.Life,
		LifeJitter: c.Jitter, Pause: c.Pause, Realtime: !c.Fast, ResetRate: c.ResetRate, Seed: c.Seed, Out: os.Stderr,
		Quiet: c.Quiet,
	})
	if err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	fmt.Printf("%d publications accepted in %s, %d bytes; ended: %v\n", res.Accepted, res.Elapsed.Round(time.Millisecond), res.Bytes, res.Ends)
	return nil
}

type playCmd struct {
	URL      string        `arg:"" help:"rtmp://host/app/stream or http://host/app/stream.live.flv; with --discard also rtsp://host/app/stream and .live.ts, .live.mp4."`
	Viewers  int           `default:"1" help:"Viewers at the same time."`
	Streams  int           `default:"1" help:"Streams that they share: the name gets _1, _2 and so on."`
	Duration time.Duration `help:"How long each plays; default: to the end of the stream."`
	Frames   int           `help:"Leave after this many frames; fewer are a failure."`
	Stall    time.Duration `default:"10s" help:"Time without media after which a viewer gives up."`
	Discard  bool          `help:"Only count bytes: for many viewers."`
	JSON     bool          `help:"Print the result as one JSON object."`
	Quiet    bool          `help:"Print no progress."`
}

// Run implements the command.
func (c *playCmd) Run() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	_, err := playtool.Run(ctx, playtool.Config{
		URL: c.URL, Viewers: c.Viewers, Streams: c.Streams, Duration: c.Duration, Frames: c.Frames, Stall: c.Stall, Discard: c.Discard,
		Out: os.Stdout, JSON: c.JSON, Quiet: c.Quiet,
	})
	if errors.Is(err, playtool.ErrFailed) {
		fmt.Fprintln(os.Stderr, "hookline: play:", err)
		return errSilent
	}
	return err
}

type benchCmd struct {
	Out   string   `default:"build/bench.json" help:"File for the results as JSON."`
	Quick bool     `help:"Measure less, and noisier."`
	Only  []string `help:"Run only these benchmarks, separated by commas: ${benchmarks}; media stands for those of the media plane. Queues need hookline-queueserver beside this program (make bench builds it)."`
}

// Run implements the command.
func (c *benchCmd) Run() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	return bench.Run(ctx, bench.Config{Out: c.Out, Quick: c.Quick, Only: c.Only})
}

package demo

import (
	"errors"
	"fmt"
	"io"
	"time"
)

// ErrBroken says that a promise was broken: something was lost, out of order, or otherwise in violation.
var ErrBroken = errors.New("a promise was broken")

// Bounds of a Config.
const (
	MinSeconds = 10
	MaxSeconds = 600
	MinStreams = 8
	MaxStreams = 500
)

// Times of the demo.
const (
	// Settle is the time after which what a publisher has seen is certain; see the package comment.
	Settle = time.Second

	grace       = 3 * time.Second        // protocol.continue_push_ms
	graceMargin = 250 * time.Millisecond // by which a resume must have come earlier to be one for certain
	hookTimeout = 1500 * time.Millisecond
	overhead    = 2 * time.Second // of Seconds, for start, drain and stop
	drainLimit  = 2 * time.Minute
	drainStall  = 20 * time.Second // on a busy machine, too; more than a time-out, a pause and the grace period together
	startLimit  = time.Minute
	stopLimit   = 2 * time.Minute
)

// Config of a Run.
type Config struct {
	// Server is the command line of the server: the program, and its arguments up to and including "serve".
	Server []string
	// Seconds that the whole takes, about. Default 50.
	Seconds int
	// Streams is the number of publishers at a time. Default 48.
	Streams int
	// Seed of publishers, faults and the simulation. What the server makes of it depends on the machine.
	Seed uint64
	// Keep is a directory in which the server's state and log stay; "": they are removed.
	Keep string
	// Out takes the progress. Color colours it; Live updates a status line in place, for terminals.
	Out         io.Writer
	Color, Live bool
}

func (c Config) withDefaults() Config {
	if c.Seconds == 0 {
		c.Seconds = 50
	}
	if c.Streams == 0 {
		c.Streams = 48
	}
	if c.Out == nil {
		c.Out = io.Discard
	}
	return c
}

func (c *Config) validate() error {
	switch {
	case len(c.Server) == 0:
		return errors.New("no command for the server")
	case c.Seconds < MinSeconds || c.Seconds > MaxSeconds:
		return fmt.Errorf("%d seconds: allowed are %d to %d", c.Seconds, MinSeconds, MaxSeconds)
	case c.Streams < MinStreams || c.Streams > MaxStreams:
		return fmt.Errorf("%d streams: allowed are %d to %d", c.Streams, MinStreams, MaxStreams)
	}
	return nil
}

package pubtool

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// Limits of a Config.
const (
	// MaxStreams is the largest Config.Streams.
	MaxStreams = 100_000
	// MaxBitrate is the largest Config.Bitrate.
	MaxBitrate = 100_000_000
)

// Config of a Run. Only URL is needed: it publishes one generated stream until the context ends. Note that the zero
// value of Realtime is "as fast as possible".
type Config struct {
	// URL is rtmp[s]://host[:port]/app/stream[?params]. With more than one stream the name gets "_1", "_2" and so on.
	URL string
	// File is an FLV file; "" publishes the generated stream, which never ends. A file is published once, and in a loop
	// when Life asks for more.
	File string
	// Bitrate pads the generated stream to this many bit/s of audio and video bodies. 0, and what is less than it has
	// (about 20 kbit/s): no padding.
	Bitrate int
	// Streams is the number of stream keys. Default 1.
	Streams int
	// Concurrency is how many of them are published at the same time. Default 0: all.
	Concurrency int
	// Churn publishes again after the end of a publication, under the same key.
	Churn bool
	// Count ends the run after this many publications, counting those that the server refused. Default 0: no limit.
	Count int
	// Life is the media time of a publication, and LifeJitter what may come to it at random. Default 0: to the end of the
	// file, or of the run.
	Life, LifeJitter time.Duration
	// Pause is the time between two publications of a stream.
	Pause time.Duration
	// Realtime sends media at its own speed; otherwise it is sent as fast as the server takes it.
	Realtime bool
	// ResetRate is the share of publications that end by a TCP reset, HalfCloseRate of those that end by closing one
	// direction; from 0 to 1. The others say goodbye.
	ResetRate, HalfCloseRate float64
	// Timeout bounds each wait for the server. Default 20 s.
	Timeout time.Duration
	// Seed of the dice.
	Seed uint64
	// Out takes lines of progress; nil, and Quiet: none.
	Out   io.Writer
	Quiet bool
	// OnAccepted is called when the server has accepted a publication, OnPublication when one is over that the server
	// was asked for; nil: not. Calls are concurrent.
	OnAccepted, OnPublication func(Publication)
}

func (c Config) withDefaults() Config {
	if c.Streams == 0 {
		c.Streams = 1
	}
	if c.Concurrency == 0 {
		c.Concurrency = c.Streams
	}
	if c.Timeout == 0 {
		c.Timeout = 20 * time.Second
	}
	return c
}

// validate takes a Config with defaults.
func (c *Config) validate() error {
	rate := func(r float64) bool { return r >= 0 && r <= 1 }
	switch {
	case c.Streams < 1 || c.Streams > MaxStreams:
		return fmt.Errorf("%d streams: allowed are 1 to %d", c.Streams, MaxStreams)
	case c.Concurrency < 0 || c.Count < 0:
		return fmt.Errorf("concurrency %d and count %d must not be negative", c.Concurrency, c.Count)
	case c.Life < 0 || c.LifeJitter < 0 || c.Pause < 0 || c.Timeout < 0:
		return errors.New("life, jitter, pause and time-out must not be negative")
	case !rate(c.ResetRate) || !rate(c.HalfCloseRate) || c.ResetRate+c.HalfCloseRate > 1:
		return fmt.Errorf("reset rate %v and half-close rate %v must be from 0 to 1, together too", c.ResetRate, c.HalfCloseRate)
	case c.Bitrate < 0 || c.Bitrate > MaxBitrate:
		return fmt.Errorf("bit rate %d: allowed are 0 to %d", c.Bitrate, MaxBitrate)
	case c.Bitrate > 0 && c.File != "":
		return errors.New("a bit rate is for the generated stream, not for a file")
	case c.endless() && (c.Churn || c.Count > 0):
		return errors.New("the generated stream never ends: publishing it again and again needs a life")
	case c.endless() && !c.Realtime:
		return errors.New("the generated stream never ends: without real time it needs a life")
	}
	return nil
}

// endless says that a publication ends only with the run.
func (c *Config) endless() bool { return c.File == "" && c.Life+c.LifeJitter == 0 }

// target is where one stream goes.
type target struct {
	base   string // URL up to the query
	key    string // app/stream
	params string // of the URL
}

// target returns that of stream i, from 1.
func (c *Config) target(i int) (target, error) {
	base, params, _ := strings.Cut(c.URL, "?")
	scheme, rest, _ := strings.Cut(base, "://")
	_, key, _ := strings.Cut(rest, "/")
	app, name, _ := strings.Cut(key, "/")
	if scheme != "rtmp" && scheme != "rtmps" || app == "" || name == "" {
		return target{}, fmt.Errorf("%q: want rtmp://host/app/stream", c.URL)
	}
	if c.Streams > 1 {
		suffix := "_" + strconv.Itoa(i)
		base, key = base+suffix, key+suffix
	}
	return target{base: base, key: key, params: params}, nil
}

// with returns URL and parameters of the publication id.
func (t target) with(id string) (url, params string) {
	params = "pub=" + id
	if t.params != "" {
		params = t.params + "&" + params
	}
	return t.base + "?" + params, params
}

package playtool

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// MaxViewers is the largest Config.Viewers.
const MaxViewers = 20_000

// Config of a Run. Only URL is needed: it plays with one viewer until the stream or the context ends.
type Config struct {
	// URL is rtmp[s]://host[:port]/app/stream or http[s]://host[:port]/app/stream.live.flv, with parameters. With Discard
	// also rtsp://host[:port]/app/stream, played over TCP, and the endings .live.ts and .live.mp4.
	URL string
	// Viewers at the same time. Default 1.
	Viewers int
	// Streams is the number of streams that they share evenly. With more than one the name in the URL gets "_1", "_2" and
	// so on. Default 1.
	Streams int
	// Duration is how long a viewer plays, from its first byte of the stream on. Default 0: no limit.
	Duration time.Duration
	// Frames of audio and video together after which a viewer leaves; fewer are a failure. Default 0: no limit.
	Frames int
	// Stall is the time without media after which a viewer gives up; it may be noticed only after twice that. Default 10 s.
	Stall time.Duration
	// Timeout bounds the wait from the connection to the server's decision to play, which may include waiting for a
	// publisher. Default 20 s.
	Timeout time.Duration
	// Discard counts bytes without looking into them.
	Discard bool
	// OnPlaying is called once, when all viewers have got media; nil: not.
	OnPlaying func()
	// Out takes lines of progress and the report; nil: nothing. With JSON it takes the Result as one JSON object
	// instead. Quiet leaves out the progress.
	Out         io.Writer
	JSON, Quiet bool
}

func (c Config) withDefaults() Config {
	if c.Viewers == 0 {
		c.Viewers = 1
	}
	if c.Streams == 0 {
		c.Streams = 1
	}
	if c.Stall == 0 {
		c.Stall = 10 * time.Second
	}
	if c.Timeout == 0 {
		c.Timeout = 20 * time.Second
	}
	return c
}

// validate takes a Config with defaults.
func (c *Config) validate() error {
	u, err := url.Parse(c.URL)
	if err != nil {
		return err
	}
	switch u.Scheme {
	case "rtmp", "rtmps", "rtsp", "http", "https":
	default:
		return fmt.Errorf("%q: want rtmp://host/app/stream, http://host/app/stream.live.flv or rtsp://host/app/stream", c.URL)
	}
	switch {
	case u.Host == "":
		return fmt.Errorf("%q lacks a host", c.URL)
	case c.Viewers < 1 || c.Viewers > MaxViewers:
		return fmt.Errorf("%d viewers: allowed are 1 to %d", c.Viewers, MaxViewers)
	case c.Streams < 1 || c.Streams > MaxViewers:
		return fmt.Errorf("%d streams: allowed are 1 to %d", c.Streams, MaxViewers)
	case c.Duration < 0 || c.Stall < 0 || c.Timeout < 0 || c.Frames < 0:
		return errors.New("duration, frames, stall and time-out must not be negative")
	case !c.Discard && c.format() != "rtmp" && c.format() != "flv":
		return fmt.Errorf("%q: %w", c.URL, errOnlyDiscard)
	case c.Discard && c.Frames > 0:
		return errors.New("frames are not counted when everything is discarded")
	}
	return nil
}

// errOnlyDiscard says that there is no reader of frames for a format.
var errOnlyDiscard = errors.New("frames are counted of RTMP and HTTP-FLV only; discard the others")

// format returns what comes from the URL: "rtmp", "rtsp", "ts", "mp4", and "flv" for every other name.
func (c *Config) format() string {
	switch scheme, _, _ := strings.Cut(c.URL, ":"); scheme {
	case "rtmp", "rtmps":
		return "rtmp"
	case "rtsp":
		return "rtsp"
	}
	base, _, _ := strings.Cut(c.URL, "?")
	if _, ending, ok := cutLive(base); ok {
		return ending
	}
	return "flv"
}

// stream returns the URL of the i-th viewer, from 0 on.
func (c *Config) stream(i int) string {
	if c.Streams == 1 {
		return c.URL
	}
	suffix := "_" + strconv.Itoa(i%c.Streams+1)
	base, params, found := strings.Cut(c.URL, "?")
	if name, ending, ok := cutLive(base); ok {
		base = name + suffix + ".live." + ending
	} else {
		base += suffix
	}
	if found {
		base += "?" + params
	}
	return base
}

// cutLive cuts off the ending of a live stream over HTTP: ".live." and "flv", "ts" or "mp4".
func cutLive(name string) (base, ending string, ok bool) {
	for _, ending := range []string{"flv", "ts", "mp4"} {
		if base, ok := strings.CutSuffix(name, ".live."+ending); ok {
			return base, ending, true
		}
	}
	return name, "", false
}

package receivertool

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/ordercheck"
)

// Color says whether text is coloured.
type Color uint8

// Values of Color. ColorAuto colours when Out is a terminal and NO_COLOR is not set.
const (
	ColorAuto Color = iota
	ColorAlways
	ColorNever
)

// Config of a Receiver. The zero value listens on a free port of the loopback interface and prints nothing.
type Config struct {
	// Addr is the address to listen on; "" means 127.0.0.1:0.
	Addr string
	// Out takes a line per event, and the summary of Run; nil: nothing is printed. Err takes what is said to a human
	// beside the events; nil: the same as Out, or nothing with JSON.
	Out, Err io.Writer
	Color    Color
	// JSON prints one JSON object per event, and one with the summary, instead of text.
	JSON bool
	// Quiet prints violations and the summary only.
	Quiet bool
	// Check makes Run fail with ErrViolations when there was one.
	Check bool
	// Faults to begin with; Seed decides whom they hit.
	Faults Faults
	Seed   uint64
	// Outages that Run stages, from its start on; in order and disjoint.
	Outages []Outage
	// Replies replaces the answer to a hook by a JSON object of one's own.
	Replies map[event.Type]string
	// Order configures the checker.
	Order ordercheck.Options
	// OnEvent is called for each request that could be read, before it is answered; nil: not.
	OnEvent func(Received)
}

// Faults is misbehaviour on purpose.
type Faults struct {
	// Delay before each answer, and up to Jitter more.
	Delay, Jitter time.Duration
	// FailRate is the share of requests answered 500, HangRate of those never answered; from 0 to 1.
	FailRate, HangRate float64
}

// Validate says what is wrong with f.
func (f Faults) Validate() error {
	if f.Delay < 0 || f.Jitter < 0 {
		return fmt.Errorf("delay %v and jitter %v must not be negative", f.Delay, f.Jitter)
	}
	rate := func(r float64) bool { return r >= 0 && r <= 1 }
	if !rate(f.FailRate) || !rate(f.HangRate) {
		return fmt.Errorf("fail rate %v and hang rate %v must be between 0 and 1", f.FailRate, f.HangRate)
	}
	return nil
}

// Outage is a time in which connections are refused.
type Outage struct{ At, For time.Duration }

// UnmarshalText reads "5s:10s" or "at 5s for 10s": five seconds after the start, for ten seconds.
func (o *Outage) UnmarshalText(text []byte) error {
	s := strings.TrimPrefix(strings.TrimSpace(string(text)), "at ")
	at, length, ok := strings.Cut(s, " for ")
	if !ok {
		at, length, ok = strings.Cut(s, ":")
	}
	if !ok {
		return fmt.Errorf("outage %q: want START:LENGTH, like 5s:10s", text)
	}
	var err error
	if o.At, err = time.ParseDuration(strings.TrimSpace(at)); err != nil {
		return fmt.Errorf("outage %q: start: %w", text, err)
	}
	if o.For, err = time.ParseDuration(strings.TrimSpace(length)); err != nil {
		return fmt.Errorf("outage %q: length: %w", text, err)
	}
	return o.validate()
}

// String returns the form that UnmarshalText reads.
func (o Outage) String() string { return o.At.String() + ":" + o.For.String() }

func (o Outage) validate() error {
	if o.At < 0 || o.For <= 0 {
		return fmt.Errorf("outage %v: the start must not be negative, the length must be positive", o)
	}
	return nil
}

func (c *Config) validate() error {
	if err := c.Faults.Validate(); err != nil {
		return err
	}
	end := time.Duration(0)
	for _, o := range c.Outages {
		if err := o.validate(); err != nil {
			return err
		}
		if o.At < end {
			return fmt.Errorf("outage %v begins before the one before has ended", o)
		}
		end = o.At + o.For
	}
	for hook, reply := range c.Replies {
		var o map[string]any
		if !known(hook) {
			return fmt.Errorf("reply to %q: no such hook", hook)
		}
		if err := json.Unmarshal([]byte(reply), &o); err != nil || o == nil {
			return errors.Join(fmt.Errorf("reply to %s is not a JSON object", hook), err)
		}
	}
	return nil
}

func known(hook event.Type) bool { return slices.Contains(event.Types(), hook) }

// reply returns the answer to a hook: yes to every decision, no to closing anything.
func (c *Config) reply(hook event.Type) string {
	if own, ok := c.Replies[hook]; ok {
		return own
	}
	switch hook {
	case event.OnStreamNoneReader, event.OnStreamNotFound:
		return `{"code":0,"msg":"success","close":false}`
	case event.OnHTTPAccess:
		return `{"code":0,"msg":"success","err":"","path":"","second":0}`
	case event.OnRTSPRealm:
		return `{"code":0,"msg":"success","realm":""}`
	default:
		return `{"code":0,"msg":"success"}`
	}
}

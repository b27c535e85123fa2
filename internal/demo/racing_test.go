package demo

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/hookline/hookline/internal/ordercheck"
	"github.com/hookline/hookline/internal/receivertool"
)

func newRacer(sky ...weather) *racer {
	return &racer{
		delays: []time.Duration{time.Millisecond}, weather: sky, timeout: 1500 * time.Millisecond,
		dice: rand.New(rand.NewPCG(1, 2)),
	}
}

// events are n of one stream, each after a step.
func events(n int, from time.Time, step time.Duration) []raised {
	out := make([]raised, n)
	for i := range out {
		out[i] = raised{fact: ordercheck.Fact{Stream: "a"}, at: from.Add(time.Duration(i) * step)}
	}
	return out
}

func TestRacingSender(t *testing.T) {
	ms := time.Millisecond
	away := []weather{{from: at(0), down: true}, {from: at(2)}}
	for _, c := range []struct {
		name  string
		racer *racer
		facts []raised
		want  Racing
	}{
		{name: "healthy, even delay", racer: newRacer(), facts: events(100, at(0), ms), want: Racing{Delivered: 100}},
		{
			name: "everything refused twice", racer: newRacer(weather{from: at(0), faults: receivertool.Faults{FailRate: 1}}),
			facts: events(10, at(0), ms), want: Racing{Lost: 10},
		},
		{
			name: "everything hangs", racer: newRacer(weather{from: at(0), faults: receivertool.Faults{HangRate: 1}}),
			facts: events(10, at(0), ms), want: Racing{Lost: 10},
		},
		{
			name: "a short outage is bridged by the retry", racer: newRacer(away...),
			facts: events(10, at(0), ms), want: Racing{Delivered: 10},
		},
		{
			// The second event is accepted at once, the first by its retry.
			name: "the retry overtakes nothing, but is overtaken", racer: newRacer(away...),
			facts: append(events(1, at(1.9), ms), events(1, at(2.1), ms)...), want: Racing{Delivered: 2, OutOfOrder: 1},
		},
		{
			name:  "a long outage loses",
			racer: newRacer(weather{from: at(0), down: true}, weather{from: at(9)}),
			facts: events(10, at(0), ms), want: Racing{Lost: 10},
		},
		{
			name:  "who raises what the crash ended",
			racer: newRacer(), facts: []raised{{at: at(1), byCrash: true}}, want: Racing{Lost: 1, LostInCrash: 1},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.want.Simulated, c.want.Events = true, len(c.facts)
			if got := c.racer.race(c.facts); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestRacingSenderLosesWhatIsInFlightInACrash(t *testing.T) {
	r := newRacer(weather{from: at(0), down: true}, weather{from: at(2)})
	r.crashes = []crash{{from: at(2.5), to: at(3)}}
	// The retries of the first wait when the crash comes; the second is there before it.
	facts := []raised{
		{fact: ordercheck.Fact{Stream: "a"}, at: at(1)}, {fact: ordercheck.Fact{Stream: "a"}, at: at(2.1)},
	}
	want := Racing{Simulated: true, Events: 2, Delivered: 1, Lost: 1, LostInCrash: 1}
	if got := r.race(facts); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestRacingSenderIsRepeatable(t *testing.T) {
	run := func() Racing {
		r := newRacer(weather{from: at(0), faults: receivertool.Faults{
			Delay: 20 * time.Millisecond, Jitter: 180 * time.Millisecond, FailRate: 0.2, HangRate: 0.02,
		}})
		return r.race(events(2000, at(0), 5*time.Millisecond))
	}
	a, b := run(), run()
	if a != b {
		t.Errorf("%+v, then %+v", a, b)
	}
	// One in five fails, and its retry again: about 4 % are lost, and jitter far above the step swaps many.
	if a.Lost < 40 || a.Lost > 160 || a.OutOfOrder < 500 {
		t.Errorf("%+v", a)
	}
}

func TestProbe(t *testing.T) {
	delays, err := probe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(delays) != probeBursts*probeBurst {
		t.Errorf("%d delays", len(delays))
	}
	for _, d := range delays {
		if d <= 0 {
			t.Fatalf("a delay of %v", d)
		}
	}
}

func TestConfigBounds(t *testing.T) {
	good := Config{Server: []string{"x"}, Seconds: 10, Streams: 8}
	for i, bad := range []func(*Config){
		func(c *Config) { c.Server = nil },
		func(c *Config) { c.Seconds = MinSeconds - 1 },
		func(c *Config) { c.Seconds = MaxSeconds + 1 },
		func(c *Config) { c.Streams = MinStreams - 1 },
		func(c *Config) { c.Streams = MaxStreams + 1 },
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			c := good
			bad(&c)
			if _, err := Run(t.Context(), c); err == nil {
				t.Error("accepted")
			}
		})
	}
	if err := good.validate(); err != nil {
		t.Error(err)
	}
}

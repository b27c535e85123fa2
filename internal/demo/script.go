package demo

import (
	"context"
	"time"

	"github.com/hookline/hookline/internal/receivertool"
)

// phase is a part of the demo.
type phase struct {
	name, text string
	share      float64 // of the time
	faults     receivertool.Faults
	begin      func(*demo, context.Context) error // what happens first; nil: nothing
}

// script returns the phases in their order. The shares add up to 1.
func script() []phase {
	ms := time.Millisecond
	return []phase{
		{name: "healthy", share: 0.19, text: "the receiver answers at once"},
		{
			name: "slow", share: 0.17, text: "the receiver takes 20 to 200 ms per request",
			faults: receivertool.Faults{Delay: 20 * ms, Jitter: 180 * ms},
		},
		{
			name: "failing", share: 0.19, text: "the receiver answers 500 to one request in five and leaves one in fifty hanging",
			faults: receivertool.Faults{Delay: 5 * ms, Jitter: 20 * ms, FailRate: 0.2, HangRate: 0.02},
		},
		{
			name: "away", share: 0.12, text: "the receiver refuses connections; new publications are refused, live ones go on",
			begin: (*demo).outage,
		},
		{
			name: "crash", share: 0.09, text: "the server is killed (SIGKILL) with live publications and a backlog, and restarted",
			begin: (*demo).crash,
		},
		{name: "back", share: 0.24, text: "the receiver is back: first the backlog, in order", begin: (*demo).back},
	}
}

// killedAt is the part of the time after which the server is killed.
func killedAt() float64 {
	sum := 0.0
	for _, p := range script() {
		if p.name == "crash" {
			break
		}
		sum += p.share
	}
	return sum
}

// play runs the phases within about the time given.
func (d *demo) play(ctx context.Context, whole time.Duration) error {
	for i, p := range script() {
		d.screen.begin(p.name, p.text)
		if err := d.receiver.SetFaults(p.faults); err != nil {
			return err
		}
		d.sky = append(d.sky, weather{from: time.Now(), faults: p.faults, down: !d.receiver.Snapshot().Up})
		until := time.Now().Add(time.Duration(p.share * float64(whole)))
		if p.begin != nil {
			if err := p.begin(d, ctx); err != nil {
				return err
			}
		}
		if err := d.watch(ctx, p.name, func() bool { return time.Now().After(until) }); err != nil {
			return err
		}
		if i == 0 {
			d.calm = d.receiver.Snapshot()
		}
		d.screen.say("        %s", d.status())
	}
	return nil
}

// watch shows the state until done, and fails when the server ends by itself.
func (d *demo) watch(ctx context.Context, name string, done func() bool) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for n := 0; !done(); n++ {
		if n%5 == 0 {
			d.screen.status(name, d.status)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-d.server.done:
			return d.server.unexpected()
		case <-tick.C:
		}
	}
	return nil
}

// outage lets the receiver vanish.
func (d *demo) outage(context.Context) error {
	d.gone = time.Now()
	d.receiver.Down()
	d.sky = append(d.sky, weather{from: d.gone, down: true})
	return nil
}

// crash kills the server and starts it again.
func (d *demo) crash(ctx context.Context) error {
	live, _ := d.log.counts()
	backlog := d.waiting()
	d.log.killing(time.Now())
	d.server.kill()
	d.log.killed(time.Now())
	d.result.Crashes++
	d.result.LiveAtCrash, d.result.BacklogAtCrash = live, backlog
	d.screen.say("        killed with %d live publications and %d events waiting", live, backlog)
	return d.startServer(ctx)
}

// back lets the receiver listen again.
func (d *demo) back(ctx context.Context) error {
	if err := d.receiver.Up(ctx); err != nil {
		return err
	}
	now := time.Now()
	d.result.OutageSeconds = now.Sub(d.gone).Seconds()
	d.sky = append(d.sky, weather{from: now})
	return nil
}

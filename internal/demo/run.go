package demo

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"time"

	"github.com/hookline/hookline/internal/ordercheck"
	"github.com/hookline/hookline/internal/receivertool"
)

// demo is one Run. It belongs to one goroutine.
type demo struct {
	cfg      Config
	screen   *screen
	log      *factLog
	arrived  *ledger
	receiver *receivertool.Receiver
	command  *command
	server   *process
	crowd    *crowd
	result   Result

	delays []time.Duration // measured
	sky    []weather       // of the receiver, so far
	gone   time.Time       // of the receiver
	starts []time.Time     // of the server
	exit   time.Time
	calm   receivertool.Snapshot // at the end of the first phase
}

// Run plays the demo. The Result is valid when the error is nil or wraps ErrBroken.
func Run(ctx context.Context, cfg Config) (Result, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return Result{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	d := &demo{cfg: cfg, screen: newScreen(cfg), log: newFactLog(), arrived: newLedger()}
	dir, err := d.directory()
	if err != nil {
		return Result{}, err
	}
	if cfg.Keep == "" {
		defer func() { _ = os.RemoveAll(dir) }()
	}
	defer d.close()
	if err := d.perform(ctx, dir); err != nil {
		return Result{}, err
	}
	d.judge()
	return d.result, d.result.verdict()
}

// directory makes the place of state and log.
func (d *demo) directory() (string, error) {
	if d.cfg.Keep != "" {
		if err := os.MkdirAll(d.cfg.Keep, 0o700); err != nil {
			return "", err
		}
	}
	return os.MkdirTemp(d.cfg.Keep, "hookline-demo-")
}

// close ends what is still there.
func (d *demo) close() {
	d.screen.close()
	if d.server != nil {
		d.server.kill()
	}
	if d.crowd != nil {
		d.crowd.end()
	}
	if d.command != nil {
		d.command.close()
	}
	if d.receiver != nil {
		_ = d.receiver.Close()
	}
}

func (d *demo) perform(ctx context.Context, dir string) (err error) {
	if d.delays, err = probe(ctx); err != nil {
		return err
	}
	d.receiver, err = receivertool.Start(ctx, receivertool.Config{
		Seed:    d.cfg.Seed,
		Order:   ordercheck.Options{KeepFacts: true, Publications: 1024, Examples: examples},
		OnEvent: d.arrived.take,
	})
	if err != nil {
		return err
	}
	d.command, err = newCommand(d.cfg.Server, dir, d.receiver)
	if err != nil {
		return err
	}
	d.screen.say("hookline demo: %d publishers for about %d s, seed %d", d.cfg.Streams, d.cfg.Seconds, d.cfg.Seed)
	d.screen.say("  server    rtmp://%s/%s, state and log in %s", d.command.rtmpAddr(), app, dir)
	d.screen.say("  receiver  http://%s/index/hook/<hook>", d.receiver.Addr())
	if err := d.startServer(ctx); err != nil {
		return err
	}
	whole := time.Duration(d.cfg.Seconds)*time.Second - overhead
	long := time.Duration(killedAt() * float64(whole))
	d.crowd = newCrowd(ctx, d.cfg, d.command.rtmpAddr(), long, d.log)
	if err := d.play(ctx, whole); err != nil {
		return err
	}
	return d.finish(ctx)
}

func (d *demo) startServer(ctx context.Context) error {
	begun := time.Now()
	var err error
	for range 3 { // where nothing holds the ports something else may have taken one in between
		if d.server, err = d.command.start(ctx); err == nil {
			d.starts = append(d.starts, begun)
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return err
}

// finish lets the backlog drain, stops the server while some publications are live, and waits for the rest.
func (d *demo) finish(ctx context.Context) error {
	d.screen.begin("drain", "no new publications; what waits is delivered")
	d.crowd.thin()
	if err := d.watch(ctx, "drain", d.drained()); err != nil {
		return err
	}
	live, _ := d.log.counts()
	d.screen.begin("stop", fmt.Sprintf("SIGTERM with %d live publications", live))
	d.exit = time.Now()
	p := d.server
	d.server = nil
	if err := p.stop(); err != nil {
		return err
	}
	d.crowd.end()
	d.screen.say("        %s", d.status())
	return nil
}

// drained returns what says that nothing is waiting any more, or that waiting longer does not help.
func (d *demo) drained() func() bool {
	limit, moved, least := time.Now().Add(drainLimit), time.Now(), math.MaxInt
	return func() bool {
		now, n := time.Now(), d.waiting()
		if n < least {
			least, moved = n, now
		}
		return n == 0 || now.After(limit) || now.Sub(moved) > drainStall
	}
}

// judge fills in the result.
func (d *demo) judge() {
	_ = d.receiver.Close()
	checker, r := d.receiver.Checker(), &d.result
	attempts, rule := d.log.attempts()
	o := rule.apply(attempts, d.arrived.has)
	all := append(serverFacts(d.starts, d.exit), o.facts...)
	loss := checker.Lost(factsOf(all))
	r.Seed, r.Seconds, r.Streams = d.cfg.Seed, d.cfg.Seconds, d.cfg.Streams
	r.Publications, r.Resumed, r.Refused, r.Uncertain = o.publications, o.resumed, o.refused, o.uncertain
	r.Events, r.Delivered, r.Lost, r.GapsNamed = loss.Expected, loss.Received, len(loss.Lost), loss.Announced
	r.count(checker.Report(), o, loss)
	s := d.receiver.Snapshot()
	r.Latency = Latency{P50: millis(s.P50), P99: millis(s.P99)}
	r.LatencyHealthy = Latency{P50: millis(d.calm.P50), P99: millis(d.calm.P99)}
	r.Requests = s
	r.Racing = (&racer{
		delays: d.delays, weather: d.sky, crashes: rule.crashes, timeout: hookTimeout,
		dice: rand.New(rand.NewPCG(d.cfg.Seed, 0x7261636572)), //nolint:gosec // G404: repeatable on purpose
	}).race(all)
}

// waiting returns how many events are certain and not accepted.
func (d *demo) waiting() int {
	attempts, rule := d.log.attempts()
	now := time.Now()
	n := 0
	for _, f := range rule.apply(attempts, d.arrived.has).facts {
		if !f.at.After(now) && !d.arrived.has(f.fact) {
			n++
		}
	}
	return n
}

// status is the state in one line.
func (d *demo) status() string {
	live, over := d.log.counts()
	s, r := d.receiver.Snapshot(), d.receiver.Checker().Report()
	line := fmt.Sprintf("%d live, %d attempts over; %d events accepted, %d waiting, %d again, %d out of order",
		live, over, r.Events, d.waiting(), r.Duplicates, r.Violations[ordercheck.OutOfOrder])
	if s.Failed+s.Hung > 0 {
		line += fmt.Sprintf("; %d answered 500, %d left hanging", s.Failed, s.Hung)
	}
	return line
}

// unexpected is the error of a server that ended although it should run.
func (p *process) unexpected() error {
	return fmt.Errorf("the server ended: %w\n%s", errors.Join(p.err, errEnded), p.lastWords())
}

func factsOf(all []raised) []ordercheck.Fact {
	out := make([]ordercheck.Fact, len(all))
	for i, f := range all {
		out[i] = f.fact
	}
	return out
}

func millis(d time.Duration) float64 {
	return float64(d.Round(10*time.Microsecond)) / float64(time.Millisecond)
}

package receivertool

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hookline/hookline/internal/ordercheck"
)

// ErrViolations says that a promise was broken, or that nothing could be checked because events had no order fields.
var ErrViolations = errors.New("the events broke a promise")

// Summary is what Run prints at its end.
type Summary struct {
	Requests Snapshot          `json:"requests"`
	Order    ordercheck.Report `json:"order"`
}

// Run receives until ctx ends, staging the outages, and prints a summary. It returns ErrViolations, wrapped, when
// cfg.Check is set and a promise was broken. Unless cfg.Order says otherwise, streams of a server that has run before
// are taken up where they stand.
func Run(ctx context.Context, cfg Config) error {
	if cfg.Order.Since.IsZero() {
		cfg.Order.Since = time.Now()
	}
	r, err := Start(ctx, cfg)
	if err != nil {
		return err
	}
	r.print.say("listening on http://%s/index/hook/<hook>; stop with Ctrl-C", r.Addr())
	staged := r.stage(ctx, cfg.Outages)
	if staged == nil {
		<-ctx.Done()
	}
	_ = r.Close()
	sum := Summary{Requests: r.Snapshot(), Order: r.checker.Report()}
	r.print.summary(sum)
	return errors.Join(staged, verdict(cfg, sum))
}

// stage lets the outages happen; it returns early when ctx ends.
func (r *Receiver) stage(ctx context.Context, outages []Outage) error {
	start := time.Now()
	for _, o := range outages {
		if !r.wait(ctx, time.Until(start.Add(o.At))) {
			return nil
		}
		r.print.say("outage: refusing connections for %v", o.For)
		r.Down()
		if !r.wait(ctx, time.Until(start.Add(o.At+o.For))) {
			return nil
		}
		if err := r.Up(ctx); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		r.print.say("outage is over")
	}
	return nil
}

func verdict(cfg Config, sum Summary) error {
	switch {
	case !cfg.Check:
		return nil
	case !sum.Order.OK():
		return fmt.Errorf("%w: %d violations", ErrViolations, sum.Order.Total())
	case sum.Requests.Plain > 0:
		return fmt.Errorf("%w: %d events carry no order fields", ErrViolations, sum.Requests.Plain)
	}
	return nil
}

// summary prints the end of a run.
func (p printer) summary(sum Summary) {
	if p.json {
		p.object(map[string]Summary{"summary": sum})
		return
	}
	s := sum.Requests
	p.line(p.out, fmt.Sprintf(
		"\n%d requests: %d accepted (%d decisions), %d failed and %d left hanging on purpose, %d abandoned, %d refused",
		s.Requests, s.Accepted, s.Decisions, s.Failed, s.Hung, s.Abandoned, s.Refused,
	))
	if s.Batches > 0 {
		p.line(p.out, fmt.Sprintf("%d batches; each event of them counts as a request", s.Batches))
	}
	if s.Plain > 0 {
		p.line(p.out, fmt.Sprintf("%d carry no order fields (not from Hookline): nothing could be checked", s.Plain))
	}
	if s.Max > 0 {
		p.line(p.out, fmt.Sprintf("latency from raised to accepted: p50 %v, p99 %v, most %v",
			s.P50.Round(10*time.Microsecond), s.P99.Round(10*time.Microsecond), s.Max.Round(10*time.Microsecond)))
	}
	color := green
	if !sum.Order.OK() {
		color = loud
	}
	p.line(p.out, p.paint(color, sum.Order.String()))
}

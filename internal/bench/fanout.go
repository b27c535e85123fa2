package bench

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// crowd is one case of fan-out.
type crowd struct {
	name    string
	viewers int
	rtmp    bool              // instead of HTTP-FLV
	keys    map[string]string // of the server's configuration
	kind    string            // for the note
}

func fanoutFew(ctx context.Context, e *env) ([]Result, error) {
	return e.fanout(ctx, crowd{name: "flv_fanout_300", viewers: e.viewersFew, kind: "HTTP-FLV viewers"})
}

func fanoutMany(ctx context.Context, e *env) ([]Result, error) {
	return e.fanout(ctx, crowd{name: "flv_fanout_1000", viewers: e.viewersMany, kind: "HTTP-FLV viewers"})
}

func fanoutMerged(ctx context.Context, e *env) ([]Result, error) {
	return e.fanout(ctx, crowd{
		name: "flv_fanout_1000_merged", viewers: e.viewersMany, keys: map[string]string{"general.mergeWriteMS": "300"},
		kind: "HTTP-FLV viewers and mergeWriteMS=300",
	})
}

func fanoutRTMP(ctx context.Context, e *env) ([]Result, error) {
	return e.fanout(ctx, crowd{name: "rtmp_fanout_1000", viewers: e.viewersMany, rtmp: true, kind: "RTMP viewers"})
}

// carried is what one side used while it carried the viewers.
type carried struct {
	usage
	took time.Duration
}

// perGB returns CPU seconds for each 10^9 bytes.
func (c carried) perGB() float64 { return c.cpu.Seconds() / (float64(c.bytes) / 1e9) }

// rate and writeRate are those of one viewer, in bytes/s and writes/s.
func (c carried) rate(viewers int) float64 {
	return float64(c.bytes) / float64(viewers) / c.took.Seconds()
}

func (c carried) writeRate(viewers int) float64 {
	return float64(c.writes) / float64(viewers) / c.took.Seconds()
}

// fanout compares what it costs the server to carry a crowd with what it costs a bare loop.
func (e *env) fanout(ctx context.Context, c crowd) (rs []Result, err error) {
	s, err := e.openScene(ctx, c.keys)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	plan, err := e.recordAmong(ctx, s, c)
	if err != nil {
		return nil, err
	}
	var ours, bare []carried
	for pair := range e.fanoutPairs {
		order := []func() error{
			func() error {
				got, err := e.carryServer(ctx, s, c)
				ours = append(ours, got)
				return err
			},
			func() error {
				got, err := e.carryBare(ctx, plan, c.viewers)
				bare = append(bare, got)
				return err
			},
		}
		for i := range order {
			if err := order[(i+pair)%len(order)](); err != nil {
				return nil, err
			}
		}
	}
	return c.results(plan, ours, bare), nil
}

func (c crowd) results(plan schedule, ours, bare []carried) []Result {
	cpu, bareCPU := column(ours, carried.perGB), column(bare, carried.perGB)
	nominal := float64(plan.bytes()) / plan.Turn.Seconds()
	rate := func(side []carried) float64 {
		return 100 / nominal * middle(column(side, func(w carried) float64 { return w.rate(c.viewers) }))
	}
	writes := func(side []carried) float64 {
		return middle(column(side, func(w carried) float64 { return w.writeRate(c.viewers) }))
	}
	note := fmt.Sprintf("CPU of the server (user and system, for each byte) with %d %s of one stream of %.2f Mbit/s, to that "+
		"of one goroutine that writes to as many connections the sizes that one of these viewers got, at the same times; "+
		"for each viewer and second %.1f writes here and %.1f there, %.0f %% and %.0f %% of the stream's bytes",
		c.viewers, c.kind, nominal*8/1e6, writes(ours), writes(bare), rate(ours), rate(bare))
	return []Result{
		overPairs(c.name+"_ratio", "ratio", ratios(cpu, bareCPU), note),
		overPairs(c.name+"_cpu", "CPU s/GB", cpu, "").against(middle(bareCPU)),
	}
}

// column returns a figure of each pair.
func column(side []carried, f func(carried) float64) (values []float64) {
	for _, c := range side {
		values = append(values, f(c))
	}
	return values
}

func middle(values []float64) float64 {
	_, mid, _ := spread(values)
	return mid
}

// start starts the viewers and waits until all of them play.
func (c crowd) start(ctx context.Context, s *scene) (*child, error) {
	v, err := startViewers(ctx, s.url(c.rtmp), c.viewers)
	if err != nil {
		return nil, err
	}
	if err := s.server.awaitViewers(ctx, c.viewers); err != nil {
		return nil, errors.Join(err, v.stop())
	}
	return v, nil
}

// recordAmong records what one viewer gets while all the others play: a server that has many may merge what it would
// write to one of a few in two writes.
func (e *env) recordAmong(ctx context.Context, s *scene, c crowd) (schedule, error) {
	v, err := c.start(ctx, s)
	if err != nil {
		return schedule{}, err
	}
	plan, err := s.record(ctx, c.rtmp, e.recorded)
	_, failed := endViewers(v, c.viewers)
	return plan, errors.Join(err, failed)
}

// carryServer measures the server with viewers.
func (e *env) carryServer(ctx context.Context, s *scene, c crowd) (carried, error) {
	v, err := c.start(ctx, s)
	if err != nil {
		return carried{}, err
	}
	return e.carry(ctx, s.server.pid(), v, c.viewers)
}

// carryBare measures the bare loop with viewers.
func (e *env) carryBare(ctx context.Context, plan schedule, viewers int) (carried, error) {
	l, err := startChild(ctx, roleLoop, loopArgs{Viewers: viewers, Schedule: plan})
	if err != nil {
		return carried{}, err
	}
	out, err := func() (carried, error) {
		var addr string
		if err := l.answer(&addr); err != nil {
			return carried{}, err
		}
		c, err := startViewers(ctx, flvURL(addr), viewers)
		if err != nil {
			return carried{}, err
		}
		var all bool
		if err := l.answer(&all); err != nil {
			return carried{}, errors.Join(err, c.stop())
		}
		return e.carry(ctx, l.cmd.Process.Pid, c, viewers)
	}()
	return out, errors.Join(err, l.stop())
}

// carry measures a process to which all viewers are connected, and ends them.
func (e *env) carry(ctx context.Context, pid int, viewersOf *child, viewers int) (out carried, err error) {
	out, err = e.window(ctx, pid)
	p, failed := endViewers(viewersOf, viewers)
	err = errors.Join(err, failed)
	if err == nil && p.Bytes < out.bytes*9/10 {
		err = fmt.Errorf("%w: %d bytes were written, and the viewers have %d", ErrNothing, out.bytes, p.Bytes)
	}
	return out, err
}

// window measures what a process uses for some time, which is longer when that is too little to be told from nothing.
func (e *env) window(ctx context.Context, pid int) (out carried, err error) {
	const longest = 20 // times as long
	if err := pause(ctx, settle); err != nil {
		return out, err
	}
	before, err := usageOf(pid)
	if err != nil {
		return out, err
	}
	start := time.Now()
	for range longest {
		if err := pause(ctx, e.fanoutFor); err != nil {
			return out, err
		}
		now, err := usageOf(pid)
		if err != nil {
			return out, err
		}
		out = carried{usage: now.less(before), took: time.Since(start)}
		if out.cpu >= 3*tick {
			return out, nil
		}
	}
	return out, fmt.Errorf("%w: the process used %v of CPU in %v", ErrNothing, out.cpu, out.took)
}

package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// crowd is one case of fan-out.
type crowd struct {
	name   string
	many   bool // as many viewers as sizes.viewersMany, not viewersFew
	proto  protocol
	merged bool // general.mergeWriteMS=300
}

// crowds returns the cases, in the order in which they run.
func crowds() []crowd {
	return []crowd{
		{name: "flv_fanout_300"},
		{name: "flv_fanout_300_merged", merged: true},
		{name: "flv_fanout_1000", many: true},
		{name: "flv_fanout_1000_merged", many: true, merged: true},
		{name: "rtmp_fanout_300", proto: protoRTMP},
		{name: "rtmp_fanout_300_merged", proto: protoRTMP, merged: true},
		{name: "rtmp_fanout_1000", proto: protoRTMP, many: true},
		{name: "rtmp_fanout_1000_merged", proto: protoRTMP, many: true, merged: true},
		{name: "rtsp_fanout_1000", proto: protoRTSP, many: true},
		{name: "ts_fanout_1000", proto: protoTS, many: true},
		{name: "fmp4_fanout_1000", proto: protoFMP4, many: true},
	}
}

// fanoutAims are those of the figures that are not ratios to the bare loop.
func fanoutAims() map[string]Aim {
	return map[string]Aim{
		"flv_fanout_1000_cpu": atMost(2.4), "flv_fanout_1000_merged_cpu": atMost(0.75),
		"rtmp_fanout_1000_cpu": atMost(1.8), "rtmp_fanout_1000_merged_cpu": atMost(0.75),
		"rtmp_fanout_1000_to_nginx": atMost(1), "rtsp_fanout_1000_cpu": atMost(2.7),
	}
}

func (c crowd) viewers(e *env) int {
	if c.many {
		return e.viewersMany
	}
	return e.viewersFew
}

func (c crowd) keys() map[string]string {
	if c.merged {
		return map[string]string{"general.mergeWriteMS": "300"}
	}
	return nil
}

func (c crowd) kind() string {
	kind := c.proto.String() + " viewers"
	if c.merged {
		kind += " and mergeWriteMS=300"
	}
	return kind
}

// benchmark returns the benchmark of the case.
func (c crowd) benchmark() Benchmark {
	return Benchmark{
		Name: c.name + "_ratio", Aim: atMost(1.15),
		Run: func(ctx context.Context, e *env) ([]Result, error) { return e.fanout(ctx, c) },
	}
}

// carried is what one side used while it carried the viewers.
type carried struct {
	usage
	took    time.Duration
	viewers time.Duration // CPU that the viewers used meanwhile
}

// perGB returns CPU seconds for each 10^9 bytes, and viewersPerGB those of the viewers.
func (c carried) perGB() float64        { return c.cpu.Seconds() / (float64(c.bytes) / 1e9) }
func (c carried) viewersPerGB() float64 { return c.viewers.Seconds() / (float64(c.bytes) / 1e9) }

// rate and writeRate are those of one viewer, in bytes/s and writes/s.
func (c carried) rate(viewers int) float64 {
	return float64(c.bytes) / float64(viewers) / c.took.Seconds()
}

func (c carried) writeRate(viewers int) float64 {
	return float64(c.writes) / float64(viewers) / c.took.Seconds()
}

// contest is a crowd at work: what carries it, one after the other.
type contest struct {
	e       *env
	c       crowd
	viewers int
	scene   *scene
	rival   *scene // nginx; nil: not compared
	plan    schedule

	ours, bare, nginx []carried
}

// fanout compares what it costs the server to carry a crowd with what it costs a bare loop, and nginx.
func (e *env) fanout(ctx context.Context, c crowd) (rs []Result, err error) {
	t := &contest{e: e, c: c, viewers: c.viewers(e)}
	if t.scene, err = e.openScene(ctx, c.keys()); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.scene.close()) }()
	var missing string
	if c.proto == protoRTMP && !c.merged {
		t.rival, err = e.openNginx(ctx)
		switch {
		case errors.Is(err, ErrNoNginx):
			missing = err.Error()
		case err != nil:
			return nil, err
		default:
			defer func() { err = errors.Join(err, t.rival.close()) }()
		}
	}
	// What one viewer gets while nobody else plays: each block for itself, as far as this machine is on time.
	if t.plan, err = t.scene.record(ctx, c.proto, e.recorded); err != nil {
		return nil, err
	}
	for pair := range e.fanoutPairs {
		if err := t.round(ctx, pair); err != nil {
			return nil, err
		}
	}
	return t.results(missing), nil
}

// round has each side carry the crowd once. The bare loop comes right after the server, since it has to know how many
// writes that makes now; nginx comes before and after them in turn.
func (t *contest) round(ctx context.Context, pair int) error {
	sides := []func() error{
		func() error { return add(&t.ours)(t.e.carryStream(ctx, t.scene, t.c.proto, t.viewers)) },
		func() error { return add(&t.bare)(t.e.carryBare(ctx, t.alike(), t.viewers)) },
	}
	if t.rival != nil {
		nginx := func() error { return add(&t.nginx)(t.e.carryStream(ctx, t.rival, protoRTMP, t.viewers)) }
		sides = slices.Insert(sides, pair%2*len(sides), nginx)
	}
	for _, side := range sides {
		if err := side(); err != nil {
			return err
		}
	}
	return nil
}

// add returns a function that takes what a measurement returns.
func add(to *[]carried) func(carried, error) error {
	return func(c carried, err error) error {
		*to = append(*to, c)
		return err
	}
}

// alike returns the plan with as many writes as the server has made lately: one that is behind merges what has come
// meanwhile, and a loop that does not would be compared with other sizes.
func (t *contest) alike() schedule {
	last := t.ours[len(t.ours)-1]
	return t.plan.merged(last.writeRate(t.viewers) * t.plan.Turn.Seconds())
}

func (t *contest) results(missing string) []Result {
	cpu, bareCPU := column(t.ours, carried.perGB), column(t.bare, carried.perGB)
	nominal := float64(t.plan.bytes()) / t.plan.Turn.Seconds()
	rate := func(side []carried) float64 {
		return 100 / nominal * middle(column(side, func(w carried) float64 { return w.rate(t.viewers) }))
	}
	writes := func(side []carried) float64 {
		return middle(column(side, func(w carried) float64 { return w.writeRate(t.viewers) }))
	}
	note := fmt.Sprintf("CPU of the server (user and system, the kernel's receiving half included, for each byte) with %d %s of "+
		"one stream of %.2f Mbit/s, to that of one goroutine that writes to as many connections as many writes with as many "+
		"bytes; for each viewer and second %.1f writes here and %.1f there, %.0f %% and %.0f %% of the stream's bytes; the "+
		"viewers themselves took %.2f and %.2f CPU s/GB",
		t.viewers, t.c.kind(), nominal*8/1e6, writes(t.ours), writes(t.bare), rate(t.ours), rate(t.bare),
		middle(column(t.ours, carried.viewersPerGB)), middle(column(t.bare, carried.viewersPerGB)))
	rs := []Result{
		overPairs(t.c.name+"_ratio", "ratio", ratios(cpu, bareCPU), note),
		overPairs(t.c.name+"_cpu", "CPU s/GB", cpu, "").against(middle(bareCPU)),
	}
	switch name := t.c.name + "_to_nginx"; {
	case missing != "":
		rs = append(rs, Result{Name: name, Unit: "ratio", Skipped: missing})
	case t.rival != nil:
		nginx := column(t.nginx, carried.perGB)
		rs = append(rs,
			overPairs(name, "ratio", ratios(cpu, nginx), fmt.Sprintf("to nginx with its RTMP module, one process, in the same "+
				"run, with %.0f %% of the stream's bytes; its viewers took %.2f CPU s/GB", rate(t.nginx),
				middle(column(t.nginx, carried.viewersPerGB)))),
			overPairs(t.c.name+"_nginx_cpu", "CPU s/GB", nginx, "of nginx"))
	}
	return rs
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

// carryStream measures a server with viewers.
func (e *env) carryStream(ctx context.Context, s *scene, proto protocol, viewers int) (carried, error) {
	v, err := startViewers(ctx, playArgs{URL: s.url(proto), Viewers: viewers})
	if err != nil {
		return carried{}, err
	}
	return e.carry(ctx, s.pid(), v, viewers)
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
		c, err := startViewers(ctx, playArgs{URL: protoFLV.url(addr), Viewers: viewers})
		if err != nil {
			return carried{}, err
		}
		return e.carry(ctx, l.cmd.Process.Pid, c, viewers)
	}()
	return out, errors.Join(err, l.stop())
}

// carry measures a process to which all viewers are connected, and ends them.
func (e *env) carry(ctx context.Context, pid int, viewersOf *child, viewers int) (out carried, err error) {
	out, err = e.window(ctx, pid, viewersOf.cmd.Process.Pid)
	p, failed := endViewers(viewersOf, viewers)
	err = errors.Join(err, failed)
	if err == nil && p.Bytes < out.bytes*9/10 {
		err = fmt.Errorf("%w: the viewers read %d bytes, and say that they have %d", ErrNothing, out.bytes, p.Bytes)
	}
	return out, err
}

// window measures what a process uses for some time, which is longer when that is too little to be told from nothing.
func (e *env) window(ctx context.Context, pid, viewers int) (out carried, err error) {
	const longest = 20                   // times as long
	const enough = 30 * time.Millisecond // of CPU
	if err := pause(ctx, e.settle); err != nil {
		return out, err
	}
	before, err := usageOf(pid)
	if err != nil {
		return out, err
	}
	theirs, err := usageOf(viewers)
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
		if out.cpu >= enough {
			now, err := usageOf(viewers)
			got := now.less(theirs)
			out.viewers, out.bytes = got.cpu, got.read // not every server writes by write(2), which is counted
			return out, err
		}
	}
	return out, fmt.Errorf("%w: the process used %v of CPU in %v", ErrNothing, out.cpu, out.took)
}

// span measures a process for a fixed time.
func (e *env) span(ctx context.Context, pid int, d time.Duration) (out carried, err error) {
	before, err := usageOf(pid)
	if err != nil {
		return out, err
	}
	start := time.Now()
	if err := pause(ctx, d); err != nil {
		return out, err
	}
	now, err := usageOf(pid)
	return carried{usage: now.less(before), took: time.Since(start)}, err
}

package stream

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/media"
)

// TestCausality lets publishers, viewers, closers and decisions meet on a few keys in many interleavings and holds
// the facts against the causal order of the hooks contract.
func TestCausality(t *testing.T) {
	for seed := range uint64(30) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { newCrowd(seed).run(t) })
		})
	}
}

// crowd is one run.
type crowd struct {
	mu  sync.Mutex
	rng *rand.Rand // guarded by mu
	w   *world
	hub *Hub
}

func newCrowd(seed uint64) *crowd {
	c := &crowd{rng: rand.New(rand.NewPCG(seed, 1)), w: newWorld()}
	cfg := DefaultConfig()
	cfg.FlowThreshold, cfg.MaxStreamWait, cfg.NoneReaderDelay = 0, 300*time.Millisecond, 150*time.Millisecond
	cfg.PackagerIdle, cfg.ViewerLinger, cfg.WaitAddTrack = 50*time.Millisecond, 30*time.Millisecond, 60*time.Millisecond
	c.w.publish = func(ctx context.Context, _ PublishQuestion) PublishVerdict {
		c.nap(ctx, 20)
		v := PublishVerdict{Outcome: fact.Outcome{Allowed: c.n(10) > 0, By: "hook"}, Options: defaultOptions()}
		v.Options.ContinuePush = time.Duration(c.n(3)) * 50 * time.Millisecond
		v.Options.AutoClose = c.n(8) == 0
		if c.n(4) == 0 {
			v.Options.StreamReplace = fmt.Sprint("s", c.n(3))
		}
		return v
	}
	c.w.play = func(ctx context.Context, _ PlayQuestion) Verdict {
		c.nap(ctx, 20)
		return Verdict{Outcome: fact.Outcome{Allowed: c.n(10) > 0, By: "hook"}}
	}
	c.w.notFound = func(ctx context.Context, _ PlayQuestion) (bool, fact.Outcome) {
		c.nap(ctx, 100)
		return c.n(4) == 0, fact.Outcome{By: "hook"}
	}
	c.w.none = func(_ string, _ fact.NoneReader, holds func() bool, answer func(bool, fact.Outcome)) {
		if c.n(2) == 0 && holds() {
			answer(c.n(2) == 0, fact.Outcome{By: "hook"})
		}
	}
	c.hub = New(cfg, c.w, c.w, textFormats())
	c.hub.SetRecorders([]Recorder{{
		Name: "mp4", Wanted: func(*Options) bool { return c.n(2) == 0 }, Start: func(j Job) Sink {
			k := &slowSink{c: c, job: j, end: make(chan struct{})}
			go k.run()
			return k
		},
	}})
	numbered(c.hub)
	return c
}

// slowSink reports files now and then, finishes some time after its end, and sometimes fails before.
type slowSink struct {
	c   *crowd
	job Job
	end chan struct{}
}

func (k *slowSink) Write(*media.Frame, bool) {}
func (k *slowSink) Change(Program)           {}
func (k *slowSink) Close()                   { close(k.end) }

func (k *slowSink) run() {
	defer k.job.Done()
	for n := 0; ; n++ {
		over := false
		select {
		case <-k.end:
			over = true
			k.c.nap(context.Background(), 200)
		case <-time.After(time.Duration(k.c.n(300)) * time.Millisecond):
		}
		k.job.Report(&fact.Recorded{Type: event.OnRecordMP4, FilePath: fmt.Sprint(k.job.Publication, "/", n)}, true)
		if over || k.c.n(10) == 0 {
			return
		}
	}
}

func (c *crowd) n(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rng.IntN(n)
}

func (c *crowd) nap(ctx context.Context, ms int) {
	t := time.NewTimer(time.Duration(c.n(ms)) * time.Millisecond)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func (c *crowd) key() fact.MediaInfo { return named(fmt.Sprint("s", c.n(3))) }

func (c *crowd) run(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() { c.publisher(t, ctx, i) })
	}
	for i := range 4 {
		wg.Go(func() { c.viewer(t, ctx, i) })
	}
	wg.Go(func() {
		for ctx.Err() == nil {
			c.nap(ctx, 200)
			c.hub.CloseStreams(Filter{Stream: c.key().Stream.Stream}, c.n(2) == 0, fact.EndKicked)
			c.hub.List(Filter{})
			c.hub.Players(Filter{})
			c.hub.Get(Filter{Vhost: "v", App: "live", Stream: "s1"})
		}
	})
	time.Sleep(3 * time.Second)
	if c.n(2) == 0 { // stop in the middle of everything
		if err := c.hub.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	}
	cancel()
	wg.Wait()
	if err := c.hub.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if st := c.hub.Stats(); st != (Stats{}) || len(c.hub.streams) != 0 || len(c.hub.lingering) != 0 {
		t.Errorf("left over: %+v, %d streams", st, len(c.hub.streams))
	}
	if n := c.w.open(); n != 0 {
		t.Errorf("%d admissions were not given back", n)
	}
	checkCausality(t, c.w.take())
}

func (c *crowd) publisher(t *testing.T, ctx context.Context, id int) {
	reasons := []fact.EndReason{fact.EndUnpublish, fact.EndConnectionLost, fact.EndConnectionLost, fact.EndTimeout}
	for ctx.Err() == nil {
		c.nap(ctx, 100)
		var n atomic.Uint64
		var kicks atomic.Int32
		p, err := c.hub.Publish(ctx, PublishRequest{
			MediaInfo: c.key(), Peer: Peer{Client: fact.Client{ID: fmt.Sprint("p", id)}}, Bytes: &n,
			Kick: func() { kicks.Add(1) },
		})
		if err != nil {
			continue
		}
		s := &stage{t: t, pubs: map[string]*Publisher{"x": p}, bytes: map[string]*atomic.Uint64{"x": &n}, at: map[string]time.Duration{}, said: make(chan string, 1000)}
		if c.n(2) == 0 {
			p.Metadata(nil, true, true, 1, 1, 25)
		}
		for range c.n(40) {
			s.write("x", []string{"kx", "vx", "ax", "cV", "dA"}[c.n(5)])
			c.nap(ctx, 10)
		}
		p.Close(reasons[c.n(len(reasons))])
		if kicks.Load() > 1 {
			t.Errorf("kicked %d times", kicks.Load())
		}
	}
}

func (c *crowd) viewer(t *testing.T, ctx context.Context, id int) {
	for ctx.Err() == nil {
		c.nap(ctx, 50)
		kicked, kick := context.WithTimeout(ctx, time.Duration(c.n(400))*time.Millisecond)
		v, err := c.hub.Play(kicked, PlayRequest{
			MediaInfo: c.key(), Peer: Peer{Client: fact.Client{ID: fmt.Sprint("v", id)}},
			Format: []string{"rtmp", "flv"}[c.n(2)], Kick: kick,
		})
		if err == nil {
			c.watch(t, kicked, v)
		}
		kick()
	}
}

func (c *crowd) watch(t *testing.T, ctx context.Context, v *Viewer) {
	defer v.Close()
	for {
		bufs, err := v.Next(ctx)
		if err != nil {
			if !errors.Is(err, ErrEnded) && ctx.Err() == nil {
				t.Error(err)
			}
			return
		}
		for _, b := range bufs {
			v.Sent(len(b))
		}
		c.nap(ctx, 15)
	}
}

// life is what is known of a publication.
type life struct {
	key     string
	open    []string // registered schemas
	all     []string
	flows   int
	ended   bool
	closing bool // an unregister was seen
	files   []string
}

// checkCausality holds facts, in the order in which they were raised, against the contract.
func checkCausality(t *testing.T, facts []fact.Fact) {
	t.Helper()
	lives, owner := map[string]*life{}, map[string]string{}
	for i, f := range facts {
		m := f.Meta()
		l := lives[m.Publication]
		bad := func(why string) { t.Errorf("fact %d: %s: %s", i, show(f), why) }
		if l != nil && l.key != m.Key {
			bad("another key")
		}
		switch f := f.(type) {
		case *fact.PublicationStarted:
			if l != nil {
				bad("started twice")
			}
			if o := lives[owner[m.Key]]; o != nil && !o.ended && (!o.closing && len(o.all) > 0 || len(o.open) > 0) {
				bad("the key belongs to " + owner[m.Key])
			}
			owner[m.Key] = m.Publication
			lives[m.Publication] = &life{key: m.Key}
		case *fact.Registered:
			if l == nil || l.ended || l.closing || slices.Contains(l.all, f.Schema) {
				bad("unexpected")
				continue
			}
			l.open, l.all = append(l.open, f.Schema), append(l.all, f.Schema)
		case *fact.Unregistered:
			if l == nil || l.ended || len(l.open) == 0 || l.open[len(l.open)-1] != f.Schema {
				bad("not the schema that registered last")
				continue
			}
			if l.flows == 0 {
				bad("before the publisher's report")
			}
			l.open, l.closing = l.open[:len(l.open)-1], true
		case *fact.Recorded:
			if l == nil || l.ended || len(l.all) == 0 {
				bad("unexpected")
				continue
			}
			if l.closing && len(l.open) > 0 {
				bad("in the middle of the unregisters")
			}
			l.files = append(l.files, f.FilePath)
		case *fact.PublicationEnded:
			if l == nil || l.ended || len(l.open) > 0 || !slices.Equal(f.Schemas, append([]string{}, l.all...)) {
				bad("unexpected")
				continue
			}
			var files []string
			for _, r := range f.Recordings {
				files = append(files, r.Path)
			}
			if !slices.Equal(files, l.files) {
				bad(fmt.Sprint("it does not list ", l.files))
			}
			l.ended = true
		case *fact.FlowReport:
			if l == nil {
				bad("of nothing")
				continue
			}
			if !f.Player {
				if l.ended || l.closing {
					bad("publisher's report after the unregisters")
				}
				l.flows++
			} else if l.closing && len(l.open) > 0 {
				bad("viewer's report in the middle of the end")
			}
		}
	}
	for id, l := range lives {
		if !l.ended {
			t.Errorf("%s never ended", id)
		}
	}
}

package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/journal"
	"github.com/hookline/hookline/internal/journal/pebble"
	"github.com/hookline/hookline/internal/ordercheck"
	"github.com/hookline/hookline/internal/rtmp"
)

const (
	leastKills = 25
	killsFor   = 40 * time.Second
	crashKeys  = 10
	crashLoad  = 20
	// crashViewers come and go beside the publishers.
	crashViewers = 5
	failureRate  = 0.1
)

// TestKill kills the server again and again under load. What was surely durable before a kill arrives; everything that arrives is in
// order, under its own identity; what a kill cut off is ended.
func TestKill(t *testing.T) {
	r := newReceiverWith(t, ordercheck.Options{KeepFacts: true, Identities: 1 << 20, Window: 1 << 14}, true)
	var calm atomic.Bool
	load := newLoad(t, crashLoad, crashViewers, 0)
	r.setAnswer(func(*post) reply {
		if calm.Load() {
			return reply{}
		}
		re := reply{delay: time.Duration(rand.Int64N(int64(10 * time.Millisecond)))}
		if rand.Float64() < failureRate {
			re.status = http.StatusInternalServerError
		}
		return re
	})
	state := stateDir(t)
	cfg := quick().endpoint(r).with("server.state_dir", state, "protocol.continue_push_ms", "0", "delivery.drain_ms", "60000",
		"hook.alive_interval", "0.5", "general.maxStreamWaitMS", "300")
	kills := killLoop(t, cfg, load)
	load.stop()
	calm.Store(true)

	s := start(t, cfg)
	s.awaitEndpoint("hook", "done", func(st endpointState) bool { return st.Lag == 0 })
	s.stop()
	if log := s.log.String(); strings.Contains(log, "not everything was delivered") {
		t.Errorf("the backlog was not drained:\n%s", tail(log, 1000))
	}
	rep := r.checker.Report()
	loss := r.checker.Lost(load.facts)
	t.Logf("%d kills, %d publications; %v\nof %d facts %d received, %d announced", kills, load.published.Load(), rep,
		loss.Expected, loss.Received, loss.Announced)
	r.expectClosed()
	if len(loss.Lost) > 0 || loss.Announced > 0 || loss.Expected < kills {
		t.Errorf("of %d facts %d are lost: %v", loss.Expected, len(loss.Lost), loss.Lost[:min(10, len(loss.Lost))])
	}
	audit(t, filepath.Join(state, "journal"))
}

// killLoop starts and kills servers as often as was asked for.
func killLoop(t *testing.T, cfg settings, load *load) (kills int) {
	t.Helper()
	want, asked := 0, os.Getenv("HOOKLINE_E2E_KILLS")
	if asked != "" {
		want = atoi(t, asked)
	}
	for begin := time.Now(); ; kills++ {
		if asked != "" && kills >= want || asked == "" && kills >= leastKills && time.Since(begin) > killsFor {
			return kills
		}
		s := launch(t, cfg)
		if kills%7 == 6 { // in the middle of the start
			time.Sleep(time.Duration(rand.Int64N(int64(60 * time.Millisecond))))
			s.kill()
			continue
		}
		s.awaitUp()
		load.target(s)
		time.Sleep(50*time.Millisecond + time.Duration(rand.Int64N(int64(1100*time.Millisecond))))
		load.kill(s)
	}
}

// load is a crowd of publishers that come and go on a few keys.
type load struct {
	cancel    context.CancelFunc
	wg        sync.WaitGroup
	published atomic.Int64
	addr      atomic.Pointer[string]

	mu    sync.Mutex // guards the rest
	facts []ordercheck.Fact
	fresh []done // not settled yet
}

// durable waits until everything that was raised before now is durable, and returns what was now. The server shows an event when it
// is durable, and makes batches of what is raised at the same time, stream by stream: an event that was raised after something may be
// in an earlier batch than that, but in the batch before at most. So two events prove it: one that was raised after now, and is shown,
// and one that was raised after that was shown.
func (p *server) durable() time.Time {
	p.t.Helper()
	now := time.Now()
	for range 2 {
		since := time.Now()
		eventually(p.t, "an event is durable", func() bool { return p.newest().After(since) })
	}
	return now
}

// newest returns when the last event of the journal was raised.
func (p *server) newest() (raised time.Time) {
	p.t.Helper()
	var page struct {
		Events []apiEvent `json:"events"`
	}
	p.v1(http.MethodGet, "events?order=desc&limit=1", "", http.StatusOK, &page)
	for _, e := range page.Events {
		raised = e.Time
	}
	return raised
}

// done is a publication that its client has ended in good order.
type done struct {
	at    time.Time
	facts []ordercheck.Fact
}

// newLoad starts so many of them, who pause up to so long between publications.
func newLoad(t *testing.T, publishers, viewers int, pause time.Duration) *load {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{cancel: cancel}
	c := theClip(t)
	for range publishers {
		l.wg.Go(func() {
			for ctx.Err() == nil {
				if addr := l.addr.Load(); addr == nil || !l.once(ctx, c, addr) {
					time.Sleep(5 * time.Millisecond)
				}
				if pause > 0 {
					time.Sleep(rand.N(pause))
				}
			}
		})
	}
	for range viewers {
		l.wg.Go(func() {
			for ctx.Err() == nil {
				if addr := l.addr.Load(); addr == nil || !l.watch(ctx, *addr) {
					time.Sleep(5 * time.Millisecond)
				}
			}
		})
	}
	t.Cleanup(l.stop)
	return l
}

// watch plays a stream to its end. It returns false when the server was not there.
func (l *load) watch(ctx context.Context, addr string) bool {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	c, err := rtmp.Dial(ctx, fmt.Sprintf("rtmp://%s/live/k%d", addr, rand.IntN(crashKeys)))
	if err != nil {
		return false
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	if c.Play(ctx) != nil {
		return false
	}
	for err == nil {
		_, err = c.Read()
	}
	return true
}

func (l *load) stop() {
	l.cancel()
	l.wg.Wait()
	l.settle(time.Now())
}

func (l *load) target(s *server) { l.addr.Store(&s.rtmp) }

// kill ends a server without warning, a moment after everything up to a time was durable. What came later may be lost with it.
func (l *load) kill(s *server) {
	until := s.durable()
	time.Sleep(rand.N(50 * time.Millisecond))
	l.settle(until)
	s.kill()
}

func (l *load) settle(until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.addr.Store(nil)
	for _, d := range l.fresh {
		if d.at.Before(until) {
			l.facts = append(l.facts, d.facts...)
		}
	}
	l.fresh = nil
}

// once publishes once. It returns false when the server was not there.
func (l *load) once(ctx context.Context, c *clip, addr *string) bool {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	n := l.published.Add(1)
	stream, params := fmt.Sprintf("k%d", rand.IntN(crashKeys)), "n="+strconv.FormatInt(n, 10)
	client, err := rtmp.Dial(ctx, "rtmp://"+*addr+"/live/"+stream+"?"+params)
	if err != nil {
		return false
	}
	p := &publisher{Client: client, clip: c}
	defer p.Close()
	if p.Publish(ctx) != nil {
		return false
	}
	whole := rand.IntN(3) > 0
	count := len(c.media)
	if !whole {
		count = rand.IntN(count)
	}
	if p.send(count) != nil {
		return false
	}
	if rand.IntN(5) == 0 {
		_ = p.Reset()
		return true
	}
	if rand.IntN(5) == 0 { // stay a while, so that the kill finds it alive
		select {
		case <-time.After(time.Duration(rand.Int64N(int64(300 * time.Millisecond)))):
		case <-p.Done():
		}
	}
	if p.Unpublish(ctx) != nil || ctx.Err() != nil {
		return false
	}
	l.ended(addr, stream, params, whole)
	return true
}

// ended notes what must be known of a publication that was ended in good order, by a server that still lives.
func (l *load) ended(addr *string, stream, params string, whole bool) {
	f := func(t event.Type, what string) ordercheck.Fact {
		return ordercheck.Fact{Stream: key(stream), Params: params, Type: t, What: what}
	}
	d := done{at: time.Now(), facts: []ordercheck.Fact{f(event.OnPublicationEnded, "")}}
	if whole {
		for _, what := range spell("register", "unregister") {
			d.facts = append(d.facts, f(event.OnStreamChanged, what))
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.addr.Load() == addr {
		l.fresh = append(l.fresh, d)
	}
}

// audit reads the journal itself, and returns it: positions and seqs without a hole, ids and indexes given once, every
// publication ended.
func audit(t *testing.T, dir string) (all []*journal.Record) {
	t.Helper()
	j, err := pebble.Open(pebble.Config{Dir: dir, Fsync: true})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	ids, indexes, seqs := map[string]bool{}, map[uint64]bool{}, map[string]uint64{}
	var open []string
	for pos := j.Info().First; pos <= j.Info().Last; {
		recs, err := j.Read(pos, journal.Limit{Records: 1000})
		if err != nil || len(recs) == 0 {
			t.Fatalf("%d records at %d: %v", len(recs), pos, err)
		}
		for _, rec := range recs {
			if rec.Position != pos || ids[rec.ID] || indexes[rec.Index] {
				t.Fatalf("record %d at %d: id %s or index %d is known", rec.Position, pos, rec.ID, rec.Index)
			}
			if last := seqs[rec.Key]; last != 0 && rec.Seq != last+1 {
				t.Errorf("%s: seq %d follows %d", rec.Key, rec.Seq, last)
			}
			ids[rec.ID], indexes[rec.Index], seqs[rec.Key] = true, true, rec.Seq
			open = follow(open, rec)
			all = append(all, rec)
			pos++
		}
	}
	if len(open) > 0 {
		t.Errorf("%d publications never ended: %v", len(open), open)
	}
	t.Logf("%d records of %d keys in the journal", len(all), len(seqs))
	return all
}

// follow keeps the list of publications that are open.
func follow(open []string, rec *journal.Record) []string {
	switch {
	case rec.Publication == "":
	case rec.Type == event.OnPublicationEnded:
		return slices.DeleteFunc(open, func(p string) bool { return p == rec.Publication })
	case rec.Type == event.OnStreamChanged && !slices.Contains(open, rec.Publication):
		return append(open, rec.Publication)
	}
	return open
}

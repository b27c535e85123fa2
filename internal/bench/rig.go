package bench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/delivery"
	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/journal"
	"github.com/hookline/hookline/internal/journal/pebble"
	"github.com/hookline/hookline/internal/sequencer"
	"github.com/hookline/hookline/internal/webhook"
)

// rig is the event plane as a server has it: sequencer, journal, one endpoint, HTTP client.
type rig struct {
	journal journal.Journal
	seq     *sequencer.Sequencer
	ep      *delivery.Endpoint
	more    []*delivery.Endpoint // beside ep; added while nothing is raised
	sender  webhook.Sender
	client  *webhook.Client // nil when the sender is not ours to close
	filler  filler

	delivered atomic.Int64
	// wakeAt is the count at which wake is told.
	wakeAt atomic.Int64
	wake   chan struct{}
	// onDelivered, if set, gets the time from raise to acceptance. It is called under the endpoint's lock.
	onDelivered func(time.Duration)
}

// rigConfig says what a rig is made of.
type rigConfig struct {
	dir     string          // of the journal
	journal journal.Journal // instead of dir
	url     string
	sender  webhook.Sender // nil: the product's client
	pad     int            // length of what fills a body
	// endpoint is its name; default "hook".
	endpoint string
	// batch is the number of events in a POST, as CloudEvents; 0: one by one, as ZLMediaKit's hooks.
	batch       int
	onDelivered func(time.Duration)
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func openRig(c rigConfig) (*rig, error) {
	r := &rig{journal: c.journal, sender: c.sender, filler: newFiller(c.pad), wake: make(chan struct{}, 1), onDelivered: c.onDelivered}
	if r.journal == nil {
		j, err := pebble.Open(pebble.Config{Dir: c.dir, Fsync: true, Logger: quiet()})
		if err != nil {
			return nil, err
		}
		r.journal = j
	}
	if r.sender == nil {
		r.client = webhook.New(webhook.Config{})
		r.sender = r.client
	}
	var err error
	r.seq, err = sequencer.Open(sequencer.Config{Source: "bench", Logger: quiet()}, r.journal,
		func(recs []*journal.Record) {
			r.ep.Feed(recs)
			for _, ep := range r.more {
				ep.Feed(recs)
			}
		})
	if err != nil {
		return nil, errors.Join(err, r.journal.Close())
	}
	if c.endpoint == "" {
		c.endpoint = "hook"
	}
	cfg := delivery.Config{
		Name: c.endpoint, Concurrency: concurrency, URLs: map[event.Type]string{event.OnStreamChanged: c.url},
	}
	if c.batch > 0 {
		cfg.Format, cfg.Batch = delivery.FormatCloudEvents, c.batch
	}
	r.ep, err = delivery.NewEndpoint(cfg, delivery.Deps{
		Store: r.journal, Stamper: r.seq, Sender: r.sender, Logger: quiet(),
		Observer: delivery.Observer{Delivered: r.observe},
	}, r.seq.Stats().NextIndex)
	if err != nil {
		return nil, errors.Join(err, r.seq.Close(), r.journal.Close())
	}
	if _, err := r.seq.Compensate(nil); err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

func (r *rig) observe(_ string, _ event.Type, raised time.Time) {
	n := r.delivered.Add(1)
	if r.onDelivered != nil {
		r.onDelivered(time.Since(raised))
	}
	if n == r.wakeAt.Load() {
		select {
		case r.wake <- struct{}{}:
		default:
		}
	}
}

func (r *rig) close() error {
	err := r.seq.Close()
	r.ep.Close()
	for _, ep := range r.more {
		ep.Close()
	}
	err = errors.Join(err, r.journal.Close())
	if r.client != nil {
		err = errors.Join(err, r.client.Close())
	}
	return err
}

// add adds an endpoint. Nothing may be on its way.
func (r *rig) add(cfg delivery.Config) error {
	ep, err := delivery.NewEndpoint(cfg, delivery.Deps{
		Store: r.journal, Stamper: r.seq, Sender: r.sender, Logger: quiet(), Observer: delivery.Observer{Delivered: r.observe},
	}, r.seq.Stats().NextIndex)
	if err == nil {
		r.more = append(r.more, ep)
	}
	return err
}

// waitDelivered waits until n events were accepted.
func (r *rig) waitDelivered(ctx context.Context, n int64) error {
	for r.delivered.Load() < n {
		r.wakeAt.Store(n)
		if r.delivered.Load() >= n {
			return nil
		}
		select {
		case <-r.wake:
		case <-ctx.Done():
			return fmt.Errorf("accepted %d of %d events: %w", r.delivered.Load(), n, ctx.Err())
		}
	}
	return nil
}

// raise raises an event of the stream.
func (r *rig) raise(s fact.Stream) {
	r.seq.Raise(&fact.Unregistered{Publication: publication, Schema: "rtmp", Stream: s, Params: r.filler.next()})
}

// publication is as long as a real one.
const publication = "0198c0de7f3a00000001"

// load raises n healthy events as raiseAll does and waits until all of them were accepted.
func (r *rig) load(ctx context.Context, n, outstanding int, l streams) (time.Duration, error) {
	start := time.Now()
	base := r.delivered.Load()
	if _, err := r.raiseAll(ctx, n, outstanding, l, base); err != nil {
		return 0, err
	}
	if err := r.waitDelivered(ctx, base+int64(n)); err != nil {
		return 0, err
	}
	return time.Since(start), nil
}

// loadAt is load for several endpoints that all get everything.
func (r *rig) loadAt(ctx context.Context, n, outstanding, endpoints int, l streams) (time.Duration, error) {
	start := time.Now()
	base := r.delivered.Load()
	for i := range n {
		s, _ := l.at(i)
		r.raise(s)
		if over := (i + 1 - outstanding) * endpoints; i%64 == 0 && over > 0 {
			if err := r.waitDelivered(ctx, base+int64(over)); err != nil {
				return 0, err
			}
		}
	}
	err := r.waitDelivered(ctx, base+int64(n*endpoints))
	return time.Since(start), err
}

// raiseAll raises n healthy events, and for each nine of them one on a bad stream if there are any. No more than
// outstanding healthy ones wait at any time. base is the number of events accepted when all raised before were. It
// returns how many healthy ones were raised, all of them unless there is an error.
func (r *rig) raiseAll(ctx context.Context, n, outstanding int, l streams, base int64) (raised int64, err error) {
	for i := 0; raised < int64(n); i++ {
		s, bad := l.at(i)
		r.raise(s)
		if bad {
			continue
		}
		raised++
		if over := raised - int64(outstanding); over > 0 && r.delivered.Load()-base < over {
			// A bit of slack, so that this goroutine does not wake for each event.
			if err := r.waitDelivered(ctx, base+over+int64(outstanding)/8); err != nil {
				return raised, err
			}
		}
	}
	return raised, nil
}

// streams is an endless sequence of streams.
type streams struct {
	good, bad []fact.Stream
}

// newStreams returns n healthy streams and, unless vhost is "", n/9 on the vhost.
func newStreams(n int, vhost string) streams {
	var l streams
	for i := range n {
		l.good = append(l.good, fact.Stream{Vhost: vhostOK, App: "live", Stream: fmt.Sprintf("camera-%06d", i)})
	}
	if vhost == "" {
		return l
	}
	for i := range max(n/(badEvery-1), 1) {
		l.bad = append(l.bad, fact.Stream{Vhost: vhost, App: "live", Stream: fmt.Sprintf("camera-%06d", i)})
	}
	return l
}

// at returns the i-th stream. Bad ones come at random places, the same in every run: real trouble comes in clusters.
func (l streams) at(i int) (s fact.Stream, bad bool) {
	if h := scatter(uint64(i)); len(l.bad) > 0 && h%badEvery == 0 {
		return l.bad[scatter(h)%uint64(len(l.bad))], true
	}
	return l.good[i%len(l.good)], false
}

// scatter is the finaliser of splitmix64.
func scatter(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// accepting is a sender whose receiver accepts at once.
type accepting struct {
	last atomic.Int64 // length of the newest body
}

// Send implements webhook.Sender.
func (a *accepting) Send(_ context.Context, r webhook.Request) webhook.Reply {
	a.last.Store(int64(len(r.Body)))
	return webhook.Reply{Status: 200, Body: []byte(`{"code":0,"msg":"success"}`), Latency: time.Microsecond}
}

// filler makes the strings that fill bodies: no two in a row are alike, so that the journal can't compress them away.
// It is for one goroutine.
type filler struct {
	text string
	size int
	n    uint64
}

func newFiller(size int) filler {
	text := make([]byte, 64<<10)
	for i := range text {
		text[i] = "abcdefghijklmnopqrstuvwxyz012345"[scatter(uint64(i))&31]
	}
	return filler{text: string(text), size: size}
}

func (f *filler) next() string {
	f.n++
	at := int(scatter(f.n) % uint64(len(f.text)-f.size))
	return f.text[at : at+f.size]
}

// padding returns how much makes the body of an event bodySize bytes long.
func padding() (int, error) {
	sender := &accepting{}
	r, err := openRig(rigConfig{journal: newDiscard(), url: "http://receiver.invalid/", sender: sender})
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, err = r.load(ctx, 1, 1, newStreams(1, ""))
	if err = errors.Join(err, r.close()); err != nil {
		return 0, err
	}
	return max(bodySize-int(sender.last.Load()), 0), nil
}

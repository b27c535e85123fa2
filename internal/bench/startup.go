package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/delivery"
	"github.com/hookline/hookline/internal/journal"
	"github.com/hookline/hookline/internal/journal/pebble"
	"github.com/hookline/hookline/internal/sequencer"
	"github.com/hookline/hookline/internal/webhook"
)

// fillArgs are the arguments of the child.
type fillArgs struct {
	Dir                            string
	Pad, Events, Keys, Outstanding int
}

const (
	endpointServed = "hook"   // has accepted everything
	endpointOwed   = "outage" // has accepted nothing
	// journaledPad makes a record about 300 bytes long.
	journaledPad = 100
	nowhere      = "http://receiver.invalid/"
)

// startup measures how long it takes until events are taken and sent again.
func startup(ctx context.Context, e *env) ([]Result, error) {
	dir, err := e.newDir()
	if err != nil {
		return nil, err
	}
	var filled int
	args := fillArgs{Dir: dir, Pad: journaledPad, Events: e.journaled, Keys: e.keys, Outstanding: e.outstanding}
	if err := ask(ctx, roleFill, args, &filled); err != nil {
		return nil, err
	}
	size, read, err := readAll(dir)
	if err != nil {
		return nil, err
	}
	crashed, first, err := e.ready(ctx, dir, endpointOwed)
	if err != nil {
		return nil, err
	}
	clean, _, err := e.ready(ctx, dir, endpointServed)
	if err != nil {
		return nil, err
	}
	seconds := func(name string, d time.Duration, note string) Result {
		return Result{Name: name, Value: d.Seconds(), Unit: "s", Note: note}
	}
	return []Result{
		seconds("startup_with_million_events", crashed, fmt.Sprintf(
			"%d journaled events (%.0f MB), all still owed to the endpoint, after the process was ended without a "+
				"close; until a new event is durable; raw is reading the journal's files once",
			filled, float64(size)/1e6)).against(read.Seconds()),
		seconds("startup_to_first_delivery", first, "the same start, until the oldest event was accepted"),
		seconds("startup_clean_nothing_owed", clean, "after a clean close, everything accepted"),
	}, nil
}

// ready starts the event plane on a filled journal and returns how long it took until a new event was durable, and
// until an event that is owed was accepted (0: none is).
func (e *env) ready(ctx context.Context, dir, endpoint string) (ready, first time.Duration, err error) {
	start := time.Now()
	firsts := make(chan time.Duration, 1)
	r, err := openRig(rigConfig{
		dir: dir, url: nowhere, sender: &accepting{}, pad: e.pad, endpoint: endpoint,
		onDelivered: func(time.Duration) {
			select {
			case firsts <- time.Since(start):
			default:
			}
		},
	})
	if err != nil {
		return 0, 0, err
	}
	s := newStreams(1, vhostOK).bad[0]
	s.Stream = "new"
	r.raise(s)
	err = r.seq.WaitDurable(ctx, s.Key(), r.seq.Last(s.Key()))
	ready = time.Since(start)
	select {
	case first = <-firsts:
	case <-ctx.Done():
		err = errors.Join(err, ctx.Err())
	}
	return ready, first, errors.Join(err, r.close())
}

// readAll reads the files of a directory once.
func readAll(dir string) (size int64, took time.Duration, err error) {
	start := time.Now()
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		f, err := os.Open(path) //nolint:gosec // below our own directory
		if err != nil {
			return err
		}
		n, err := io.Copy(io.Discard, f)
		size += n
		return errors.Join(err, f.Close())
	})
	return size, time.Since(start), err
}

// refusing is a sender that reaches nobody.
type refusing struct{}

var errRefused = errors.New("refused")

// Send implements webhook.Sender.
func (refusing) Send(context.Context, webhook.Request) webhook.Reply {
	return webhook.Reply{Err: errRefused}
}

// fillChild fills a journal as a server would and ends without closing it.
func fillChild(ctx context.Context, raw []byte) error {
	var args fillArgs
	if err := json.Unmarshal(raw, &args); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	j, err := pebble.Open(pebble.Config{Dir: args.Dir, Fsync: true, Logger: quiet()})
	if err != nil {
		return err
	}
	r := &rig{journal: j, filler: newFiller(args.Pad), wake: make(chan struct{}, 1)}
	var eps [2]*delivery.Endpoint
	r.seq, err = sequencer.Open(sequencer.Config{Source: "bench", Logger: quiet()}, j, func(recs []*journal.Record) {
		for _, ep := range eps {
			ep.Feed(recs)
		}
	})
	if err != nil {
		return err
	}
	senders := map[string]webhook.Sender{endpointServed: &accepting{}, endpointOwed: refusing{}}
	for i, name := range []string{endpointServed, endpointOwed} {
		deps := delivery.Deps{Store: j, Stamper: r.seq, Sender: senders[name], Logger: quiet()}
		if name == endpointServed {
			deps.Observer.Delivered = r.observe
		}
		c := delivery.Config{Name: name, URLs: map[event.Type]string{event.OnStreamChanged: nowhere}}
		if eps[i], err = delivery.NewEndpoint(c, deps, r.seq.Stats().NextIndex); err != nil {
			return err
		}
	}
	if _, err := r.load(ctx, args.Events, args.Outstanding, newStreams(args.Keys, "")); err != nil {
		return err
	}
	if err := pause(ctx, time.Second); err != nil { // cursors are written
		return err
	}
	return say(args.Events)
}

package delivery_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/delivery"
	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/journal"
	"github.com/hookline/hookline/internal/journal/journaltest"
	"github.com/hookline/hookline/internal/sequencer"
	"github.com/hookline/hookline/internal/webhook"
)

// body is what the receiver reads.
type body struct {
	HookIndex uint64         `json:"hook_index"`
	Server    string         `json:"mediaServerId"`
	Event     event.Envelope `json:"event"`
	From      uint64         `json:"from"`
	To        uint64         `json:"to"`
	Reason    string         `json:"reason"`
	Stream    string         `json:"stream"`
}

// receiver is a webhook.Sender that answers as a test says and keeps what it accepted.
type receiver struct {
	mu     sync.Mutex
	answer func(b body, url string) webhook.Reply // default: accept at once
	took   time.Duration
	got    []body
	tries  int
	// requests are all, accepted or not.
	requests []request
	raw      func(webhook.Request) webhook.Reply // instead of everything else
}

// request is one that came.
type request struct {
	id       []string
	events   []body
	accepted bool
}

// bodies reads the events of a request in any form.
func bodies(raw []byte) []body {
	if raw[0] != '[' {
		var b body
		if err := json.Unmarshal(raw, &b); err != nil {
			panic(fmt.Sprintf("body %s: %v", raw, err))
		}
		return []body{b}
	}
	list, err := event.ParseCloudEventBatch(raw, event.BatchLimit{})
	if err != nil {
		panic(fmt.Sprintf("batch %s: %v", raw, err))
	}
	var out []body
	for _, ce := range list {
		b := body{}
		if err := json.Unmarshal(ce.Body, &b); err != nil {
			panic(fmt.Sprintf("body %s: %v", ce.Body, err))
		}
		b.Event = ce.Envelope
		out = append(out, b)
	}
	return out
}

var errRefused = errors.New("connection refused")

func ok() webhook.Reply {
	return webhook.Reply{Status: 200, Body: []byte(`{"code":0,"msg":"success"}`)}
}

func status(n int) webhook.Reply { return webhook.Reply{Status: n} }

func (r *receiver) set(f func(b body, url string) webhook.Reply) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = f
}

// hang is an answer that never comes.
func hang() webhook.Reply { return webhook.Reply{} }

func (r *receiver) Send(ctx context.Context, req webhook.Request) webhook.Reply {
	r.mu.Lock()
	if r.raw != nil {
		defer r.mu.Unlock()
		return r.raw(req)
	}
	r.mu.Unlock()
	list := bodies(req.Body)
	r.mu.Lock()
	r.tries++
	took, rep := r.took, ok()
	for _, b := range list { // all or none
		if r.answer != nil && rep.Status == 200 {
			rep = r.answer(b, req.URL)
		}
	}
	r.requests = append(r.requests, request{id: req.Header.Values("webhook-id"), events: list, accepted: rep.Status == 200})
	r.mu.Unlock()
	if rep.Status == 0 && rep.Err == nil {
		took = req.Timeout
		rep = webhook.Reply{Err: context.DeadlineExceeded}
	}
	select {
	case <-time.After(max(took, time.Millisecond)):
	case <-ctx.Done():
		return webhook.Reply{Err: ctx.Err(), Latency: time.Millisecond}
	}
	rep.Latency = max(took, time.Millisecond)
	if rep.Status == 200 {
		r.mu.Lock()
		r.got = append(r.got, list...)
		r.mu.Unlock()
	}
	return rep
}

// do changes what the answers depend on.
func (r *receiver) do(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

// answerRaw sets what answers instead of everything else.
func (r *rig) answerRaw(f func(webhook.Request) webhook.Reply) { r.recv.do(func() { r.recv.raw = f }) }

func (r *receiver) sent() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tries
}

func (r *receiver) all() []body {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got)
}

// take returns and forgets what was accepted.
func (r *receiver) take() []body {
	r.mu.Lock()
	defer r.mu.Unlock()
	got := r.got
	r.got = nil
	return got
}

// seqs returns the accepted seqs of a key, gap notices as negative numbers of their To.
func (r *receiver) seqs(key string) []int {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []int
	for _, b := range r.got {
		if b.Event.Stream != key {
			continue
		}
		for _, g := range b.Event.Gap {
			out = append(out, -int(g.To))
		}
		switch b.Event.Type {
		case event.OnEventGap:
			out = append(out, -int(b.To))
		default:
			out = append(out, int(b.Event.Seq))
		}
	}
	return out
}

// rig is sequencer, journal and one endpoint.
type rig struct {
	t    *testing.T
	mem  *journaltest.Mem
	seq  *sequencer.Sequencer
	ep   *delivery.Endpoint
	recv *receiver
	cfg  delivery.Config
	// observer of the endpoint, from the next start on.
	observer delivery.Observer
	// stamps gives the time of events, ages that by which they grow old, from the next start on; nil: time.Now.
	stamps, ages func() time.Time
	// log of the endpoint, from the next start on; nil: none.
	log slog.Handler
}

func urls() map[event.Type]string {
	m := map[event.Type]string{}
	for _, t := range event.Types() {
		m[t] = "http://receiver/" + string(t)
	}
	return m
}

func newRig(t *testing.T, change func(*delivery.Config)) *rig {
	t.Helper()
	r := &rig{t: t, mem: journaltest.NewMem(journaltest.Options{}), recv: &receiver{}}
	r.cfg = delivery.Config{Name: "hook", URLs: urls(), Timeout: 10 * time.Second}
	if change != nil {
		change(&r.cfg)
	}
	r.start()
	return r
}

func (r *rig) start() {
	r.t.Helper()
	var err error
	quiet := slog.New(slog.DiscardHandler)
	log := quiet
	if r.log != nil {
		log = slog.New(r.log)
	}
	r.seq, err = sequencer.Open(sequencer.Config{Source: "srv", Logger: quiet, Clock: r.stamps}, r.mem,
		func(recs []*journal.Record) { r.ep.Feed(recs) })
	if err != nil {
		r.t.Fatal(err)
	}
	r.ep, err = delivery.NewEndpoint(r.cfg, delivery.Deps{
		Store: r.mem, Stamper: r.seq, Sender: r.recv, Observer: r.observer, Logger: log, Rand: func() float64 { return 1 },
		Clock: r.ages,
	}, r.seq.Stats().NextIndex)
	if err != nil {
		r.t.Fatal(err)
	}
}

// stop ends the run in good order.
func (r *rig) stop() {
	r.t.Helper()
	if err := r.seq.Close(); err != nil && !errors.Is(err, journal.ErrDead) {
		r.t.Error(err)
	}
	r.ep.Close()
}

// restart stops and starts again on the same journal.
func (r *rig) restart() {
	r.t.Helper()
	r.stop()
	r.mem = r.mem.Crash(nil)
	r.start()
}

// crash ends the run as SIGKILL does.
func (r *rig) crash() {
	r.t.Helper()
	old, seq, ep := r.mem, r.seq, r.ep
	r.mem = old.Crash(nil)
	ep.Close()
	_ = seq.Close() // it says that the journal is dead
	r.start()
}

func stream(name string) fact.Stream {
	return fact.Stream{Vhost: fact.DefaultVhost, App: "live", Stream: name}
}

// raise raises n events of a key: flow reports, which need no publication.
func (r *rig) raise(name string, n int) {
	s := stream(name)
	for range n {
		r.seq.Raise(&fact.FlowReport{Publication: "p", Live: s, MediaInfo: fact.MediaInfo{Stream: s}})
	}
}

func key(name string) string { return stream(name).Key() }

func (r *rig) want(name string, seqs ...int) {
	r.t.Helper()
	if got := r.recv.seqs(key(name)); !slices.Equal(got, seqs) {
		r.t.Errorf("%s: accepted %v, want %v", name, got, seqs)
	}
}

// begin raises two events, of which seq is the first that the endpoint is owed: nothing else arrives, and prev names nothing before it.
func (r *rig) begin(name string, seq int) {
	r.t.Helper()
	r.raise(name, 2)
	time.Sleep(time.Second)
	r.want(name, seq, seq+1)
	var prev []uint64
	for _, b := range r.recv.all() {
		prev = append(prev, *b.Event.Prev)
	}
	if !slices.Equal(prev, []uint64{0, uint64(seq)}) {
		r.t.Errorf("prev of these: %v", prev)
	}
}

func upTo(n int) []int {
	var out []int
	for i := 1; i <= n; i++ {
		out = append(out, i)
	}
	return out
}

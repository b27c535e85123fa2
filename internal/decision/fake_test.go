package decision

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/attempts"
	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/leaktest"
	"github.com/hookline/hookline/internal/stream"
	"github.com/hookline/hookline/internal/webhook"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// fakeSequence numbers requests; after is the number raised so far for any key.
type fakeSequence struct {
	mu    sync.Mutex
	index uint64
	after uint64
}

func (f *fakeSequence) Stamp(string) (id string, index, after uint64, t time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.index++
	return fmt.Sprintf("id%d", f.index), f.index, f.after, time.Date(2026, 1, 2, 3, 4, 5, 678901234, time.UTC)
}

func (f *fakeSequence) Identity() (source, incarnation string, epoch int64) {
	return "srv", "run1", 1767
}

// sent is one request that the fake sender saw.
type sent struct {
	url     string
	header  http.Header
	body    []byte
	timeout time.Duration
	at      time.Duration // since the sender was made
}

// fakeSender answers from a function and records what it saw.
type fakeSender struct {
	start time.Time
	reply func(ctx context.Context, n int, r webhook.Request) webhook.Reply

	mu   sync.Mutex
	seen []sent
}

func newSender(reply func(ctx context.Context, n int, r webhook.Request) webhook.Reply) *fakeSender {
	return &fakeSender{start: time.Now(), reply: reply}
}

// body200 answers the bodies in order, the last one for ever.
func body200(bodies ...string) *fakeSender {
	return newSender(func(_ context.Context, n int, _ webhook.Request) webhook.Reply {
		return webhook.Reply{Status: 200, Body: []byte(bodies[min(n, len(bodies))-1])}
	})
}

func (f *fakeSender) Send(ctx context.Context, r webhook.Request) webhook.Reply {
	f.mu.Lock()
	f.seen = append(f.seen, sent{url: r.URL, header: r.Header, body: r.Body, timeout: r.Timeout, at: time.Since(f.start)})
	n := len(f.seen)
	f.mu.Unlock()
	return f.reply(ctx, n, r)
}

func (f *fakeSender) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.seen)
}

// hang waits for the attempt's time-out or the end of ctx.
func hang(ctx context.Context, r webhook.Request) webhook.Reply {
	select {
	case <-time.After(r.Timeout):
		return webhook.Reply{Err: webhook.ErrTimeout}
	case <-ctx.Done():
		return webhook.Reply{Err: ctx.Err()}
	}
}

// barrierFunc is a Barrier.
type barrierFunc func(ctx context.Context, key string, after uint64, limit time.Duration)

func (f barrierFunc) WaitAccepted(ctx context.Context, key string, after uint64, limit time.Duration) {
	f(ctx, key, after, limit)
}

// counts is an Observer.
type counts struct {
	mu        sync.Mutex
	attempts  map[attempts.Result]int
	decisions map[string]int
}

func (c *counts) AttemptDone(a attempts.Attempt) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.attempts == nil {
		c.attempts = map[attempts.Result]int{}
	}
	c.attempts[a.Result]++
}

func (c *counts) DecisionDone(d Decision) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.decisions == nil {
		c.decisions = map[string]int{}
	}
	c.decisions[fmt.Sprintf("%s %s %v", d.Type, d.Outcome.By, d.Outcome.Allowed)]++
}

func config() Config {
	return Config{
		Enable: true,
		URLs: map[event.Type]string{
			event.OnPublish: "http://h/publish", event.OnPlay: "http://h/play", event.OnStreamNotFound: "http://h/nf",
		},
		Timeout: 10 * time.Second, Retry: 1, RetryDelay: 3 * time.Second,
		Defaults: stream.Options{ModifyStamp: 2, EnableRTMP: true, ContinuePush: 15 * time.Second, MP4SavePath: "./www"},
	}
}

func service(cfg Config, sender webhook.Sender) *Service {
	return New(cfg, Deps{Sequence: &fakeSequence{index: 41, after: 7}, Sender: sender})
}

func mediaInfo(id string) fact.MediaInfo {
	return fact.MediaInfo{
		Schema: "rtmp", Protocol: "rtmp", Params: "token=abc&who=cam1",
		Stream: fact.Stream{Vhost: fact.DefaultVhost, App: "live", Stream: id},
	}
}

func publishQuestion(id string) stream.PublishQuestion {
	return stream.PublishQuestion{
		MediaInfo: mediaInfo(id), Client: fact.Client{IP: "127.0.0.1", Port: 51742, ID: "2-16"},
		OriginType: fact.OriginRTMPPush, OriginTypeStr: "rtmp_push",
	}
}

func playQuestion(id string) stream.PlayQuestion {
	return stream.PlayQuestion{MediaInfo: mediaInfo(id), Client: fact.Client{IP: "127.0.0.1", Port: 51756, ID: "8-30"}}
}

func decode(t *testing.T, body []byte) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(body, &m); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return m
}

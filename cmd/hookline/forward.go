package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/hookline/hookline/event"
)

const (
	// forwardWorkers post at the same time; a stream always has the same one.
	forwardWorkers = 8
	// forwardQueue is what may wait for a worker before the server's stream has to.
	forwardQueue = 64
	// forwardStreams bounds the marks that a worker keeps.
	forwardStreams = 1 << 16
)

// forwardFlags are listen --forward.
type forwardFlags struct {
	client

	Forward string        `placeholder:"URL" help:"Attach to a running server and post its events to this address, instead of listening."`
	Format  string        `default:"zlm" enum:"zlm,cloudevents" help:"With --forward: form of the body, zlm or cloudevents."`
	Sign    string        `env:"HOOKLINE_SIGN_SECRET" placeholder:"SECRET" help:"With --forward: sign as an endpoint with this secret (whsec_...) does."`
	Stream  string        `help:"With --forward: only this stream, like live/test."`
	Type    []string      `help:"With --forward: only these types; may be given several times."`
	History bool          `help:"With --forward: outcomes of decisions, too."`
	Last    int           `short:"n" help:"With --forward: begin with what the newest so many positions hold; default: what comes from now on."`
	Timeout time.Duration `default:"10s" help:"With --forward: how long an answer may take."`
}

// forwarder posts events.
type forwarder struct {
	flags  *forwardFlags
	http   http.Client
	signer *event.Signer

	mu  sync.Mutex // guards out
	out io.Writer
}

// forwarded is an event as the API shows it.
type forwarded struct {
	event.Envelope
	Class     string          `json:"class"`
	HookIndex uint64          `json:"hook_index"`
	Body      json.RawMessage `json:"body"`
}

func (f *forwardFlags) run(ctx context.Context, out io.Writer) error {
	w := &forwarder{flags: f, out: out, http: http.Client{Timeout: f.Timeout}}
	defer w.http.CloseIdleConnections()
	if u, err := url.Parse(f.Forward); err != nil || u.Host == "" {
		return fmt.Errorf("--forward %q: want a URL like http://127.0.0.1:3000/hooks", f.Forward)
	}
	if f.Sign != "" {
		var err error
		if w.signer, err = event.ParseSigner([]string{f.Sign}); err != nil {
			return fmt.Errorf("--sign: %w", err)
		}
	}
	filter := filterFlags{Stream: f.Stream, Type: f.Type}
	q := filter.query()
	if f.Last > 0 {
		last, err := f.newest(ctx)
		if err != nil {
			return err
		}
		q.Set("cursor", strconv.FormatUint(last-min(last, uint64(f.Last))+1, 10))
	}
	return w.follow(ctx, q)
}

// follow hands each event to the worker of its stream, so that a slow answer holds up its own stream and few others.
func (w *forwarder) follow(ctx context.Context, q url.Values) error {
	var wg sync.WaitGroup
	var queues [forwardWorkers]chan forwarded
	for i := range queues {
		queue := make(chan forwarded, forwardQueue)
		queues[i] = queue
		wg.Go(func() { w.work(ctx, queue) })
	}
	defer wg.Wait()
	defer func() {
		for _, queue := range queues {
			close(queue)
		}
	}()
	return w.flags.follow(ctx, q, func(m message) error {
		if m.event == "gap" {
			w.say("%s", gapLine(m.data))
			return nil
		}
		var e forwarded
		if err := json.Unmarshal([]byte(m.data), &e); err != nil {
			return fmt.Errorf("the server sent no event: %w", err)
		}
		if e.Class == event.History.String() && !w.flags.History {
			return nil
		}
		h := fnv.New32a()
		_, _ = io.WriteString(h, e.Stream) // a hash takes everything
		select {
		case queues[h.Sum32()%forwardWorkers] <- e:
		case <-ctx.Done():
		}
		return nil
	})
}

// work posts the events of some streams, one after the other.
func (w *forwarder) work(ctx context.Context, queue <-chan forwarded) {
	type mark struct {
		epoch int64
		seq   uint64
	}
	marks := map[string]mark{}
	for e := range queue {
		if ctx.Err() != nil {
			continue
		}
		if e.Seq > 0 && e.Type != event.OnEventGap {
			prev := uint64(0)
			if m, ok := marks[e.Stream]; ok && m.epoch == e.Epoch {
				prev = m.seq
			} else if len(marks) >= forwardStreams {
				clear(marks)
			}
			e.Prev = &prev
			marks[e.Stream] = mark{e.Epoch, e.Seq}
		} else {
			e.Seq = 0 // a notice has none
		}
		w.post(ctx, &e)
	}
}

// post sends one event and prints what came back.
func (w *forwarder) post(ctx context.Context, e *forwarded) {
	body, kind, err := w.render(e)
	if err != nil {
		w.say("%s: %v", e.ID, err)
		return
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.flags.Forward, bytes.NewReader(body))
	if err != nil {
		w.say("%s: %v", e.ID, err)
		return
	}
	req.Header.Set("Content-Type", kind)
	if w.signer != nil {
		if err := w.signer.Headers(req.Header, e.ID, time.Now(), body); err != nil {
			w.say("%s: %v", e.ID, err)
			return
		}
	}
	start := time.Now()
	what := fmt.Sprintf("%s %s seq %d", e.Type, oneLine(e.Stream), e.Seq)
	res, err := w.http.Do(req)
	if err != nil {
		w.say("%s -> %v", what, err)
		return
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 1024))
	if err != nil {
		w.say("%s -> %d, %v", what, res.StatusCode, err)
		return
	}
	w.say("%s -> %d in %v %s", what, res.StatusCode, time.Since(start).Round(time.Millisecond), oneLine(string(bytes.TrimSpace(b))))
}

// render makes the body that an endpoint of the format gets.
func (w *forwarder) render(e *forwarded) (body []byte, kind string, err error) {
	if w.flags.Format == "cloudevents" {
		return event.AppendCloudEvent(nil, &e.Envelope, e.HookIndex, e.Body), "application/cloudevents+json; charset=utf-8", nil
	}
	members, err := json.Marshal(map[string]any{"hook_index": e.HookIndex, "mediaServerId": e.Source, "event": &e.Envelope})
	if err != nil {
		return nil, "", err
	}
	fact := bytes.TrimSpace(e.Body)
	if len(fact) < 2 || fact[0] != '{' || fact[len(fact)-1] != '}' {
		return nil, "", fmt.Errorf("the body is no object: %.40q", fact)
	}
	if fact = bytes.TrimSpace(fact[:len(fact)-1]); len(fact) > 1 {
		fact = append(bytes.Clone(fact), ',')
	}
	return append(bytes.Clone(fact), members[1:]...), "application/json", nil
}

func (w *forwarder) say(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	fmt.Fprintf(w.out, format+"\n", args...)
}

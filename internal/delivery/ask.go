package delivery

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/attempts"
	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/webhook"
)

// NoneReader asks on_stream_none_reader in the lane of the key. holds is called right before each attempt and
// withdraws the question when it returns false; answer is called at most once. NoneReader may be called under a
// stream's lock, which holds may take.
func (e *Endpoint) NoneReader(publication string, body fact.NoneReader, holds func() bool, answer func(bool, fact.Outcome)) {
	b, err := json.Marshal(body)
	if err != nil {
		e.log.Error("question has no JSON form", "stream", body.Key(), "err", err)
		return
	}
	q := &question{
		publication: publication, key: body.Key(), body: b, asked: time.Now(), holds: holds, answer: answer,
	}
	e.askMu.Lock()
	e.asked = append(e.asked, q)
	e.askMu.Unlock()
	select {
	case e.signal <- struct{}{}:
	default:
	}
}

// takeQuestions puts what was asked into the lanes. The lock is held.
func (e *Endpoint) takeQuestions() {
	e.askMu.Lock()
	asked := e.asked
	e.asked = nil
	e.askMu.Unlock()
	for _, q := range asked {
		if e.cfg.URLs[event.OnStreamNoneReader] == "" || e.closing {
			continue
		}
		q.id, q.index, q.after, q.time = e.deps.Stamper.Stamp(q.key)
		l := e.lane(q.key)
		l.push(item{question: q})
		e.held++
		if l.state == laneIdle {
			e.schedule(l)
		}
	}
}

// WaitAccepted waits until this endpoint has accepted what it is owed of the key up to seq, at most limit. It
// returns at once when the lane is in trouble, parked, or the endpoint is behind: a decision does not wait for an
// outage.
func (e *Endpoint) WaitAccepted(ctx context.Context, key string, seq uint64, limit time.Duration) {
	e.mu.Lock()
	l := e.lanes[key]
	if l == nil || l.parked || l.failing() || l.state == laneBlocked || e.next <= e.tail {
		e.mu.Unlock()
		return
	}
	w := &acceptWaiter{seq: seq, done: make(chan struct{})}
	l.waiters = append(l.waiters, w)
	l.wakeWaiters(false)
	e.mu.Unlock()
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-w.done:
	case <-t.C:
	case <-ctx.Done():
	}
}

// heartbeat is the one-slot lane of on_server_keepalive: the latest wins, nothing is repeated.
type heartbeat struct {
	mu      sync.Mutex
	sending bool
	latest  []byte
}

// Beat sends a heartbeat, or lets it replace the one that waits.
func (e *Endpoint) Beat(body []byte) {
	e.beat.mu.Lock()
	defer e.beat.mu.Unlock()
	e.beat.latest = body
	if e.beat.sending || e.ctx.Err() != nil {
		return
	}
	e.beat.sending = true
	e.wg.Add(1)
	go e.beatLoop()
}

func (e *Endpoint) beatLoop() {
	defer e.wg.Done()
	for {
		e.beat.mu.Lock()
		body := e.beat.latest
		e.beat.latest = nil
		if body == nil {
			e.beat.sending = false
			e.beat.mu.Unlock()
			return
		}
		e.beat.mu.Unlock()
		e.sendBeat(body)
	}
}

func (e *Endpoint) sendBeat(fact []byte) {
	e.mu.Lock()
	url, timeout := e.cfg.URLs[event.OnServerKeepalive], e.cfg.Timeout
	f := form{format: FormatZLM, signer: e.cfg.Signer, header: e.cfg.Header}
	e.mu.Unlock()
	if url == "" {
		return
	}
	source, inc, epoch := e.deps.Stamper.Identity()
	id, index, _, now := e.deps.Stamper.Stamp("")
	env := envelope{id: id, source: source, incarnation: inc, typ: event.OnServerKeepalive, epoch: epoch, index: index, time: now}
	body := appendBody(nil, fact, &env)
	rep := e.deps.Sender.Send(e.ctx, webhook.Request{
		URL: url, Header: f.complete(header("", 1), id, body), Body: body, Timeout: timeout,
		Meta: webhook.Meta{Endpoint: e.name, ID: id, Type: string(event.OnServerKeepalive), Epoch: epoch, Attempt: 1},
	})
	class, code, msg := webhook.Classify(rep)
	out := attempts.Attempt{
		Endpoint: e.base, URL: attempts.ShownURL(url), ID: id, Type: event.OnServerKeepalive, N: 1, At: now, Latency: rep.Latency,
		Result: attempts.Dropped, Status: rep.Status, Code: code, Err: attempts.Masked(msg), Answer: rep.Body,
	}
	if class == webhook.Accepted && code == 0 {
		out.Result, out.Err = attempts.Accepted, ""
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.note(nil, &out)
	if e.deps.Observer.Attempt != nil {
		e.deps.Observer.Attempt(out)
	}
}

// Drain waits until everything raised so far is delivered, or what is left waits for a receiver in trouble, or ctx
// ends.
func (e *Endpoint) Drain(ctx context.Context) {
	t := time.NewTicker(10 * time.Millisecond)
	defer t.Stop()
	e.mu.Lock()
	e.draining = true
	e.wakeLocked()
	e.mu.Unlock()
	for {
		e.mu.Lock()
		busy := e.next <= e.tail && e.held < e.cfg.Window
		for _, l := range e.lanes {
			busy = busy || l.state == laneFlight || l.state == laneReady || l.state == laneRefill ||
				l.state == laneBackoff && l.attempts < 3
		}
		e.mu.Unlock()
		if !busy {
			return
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

// Close ends the requests in flight, writes the endpoint's place and waits for its goroutines. It is idempotent.
func (e *Endpoint) Close() {
	e.mu.Lock()
	e.closing = true
	e.mu.Unlock()
	e.cancel()
	e.wg.Wait()
	e.checkpoint(true)
	e.mu.Lock()
	e.closed = true
	e.mu.Unlock()
}

// WaitQuiet waits until nothing of the key is left to deliver, at most limit; unlike WaitAccepted it also waits for a
// lane in trouble. It reports whether the key is quiet.
func (e *Endpoint) WaitQuiet(ctx context.Context, key string, limit time.Duration) bool {
	t := time.NewTicker(5 * time.Millisecond)
	defer t.Stop()
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	for {
		e.mu.Lock()
		quiet := e.lanes[key] == nil && e.next > e.tail
		e.mu.Unlock()
		if quiet {
			return true
		}
		select {
		case <-t.C:
		case <-deadline.C:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

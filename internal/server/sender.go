package server

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hookline/hookline/internal/queue"
	"github.com/hookline/hookline/internal/webhook"
)

// router sends over HTTP, or into a queue when the URL is that of one. Lanes, retry and order are the same.
type router struct {
	http webhook.Sender
	base webhook.Config // of the clients of endpoints with a transport of their own
	log  *slog.Logger
	ways atomic.Pointer[map[string]*way] // by endpoint; replaced as a whole

	mu     sync.Mutex
	queues map[string]queue.Destination // by endpoint and URL
	closed bool
}

func newRouter(h webhook.Sender, base webhook.Config, log *slog.Logger) *router {
	queue.DiscardClientLogs()
	r := &router{http: h, base: base, log: log, queues: map[string]queue.Destination{}}
	r.ways.Store(&map[string]*way{})
	return r
}

// Send implements webhook.Sender.
func (r *router) Send(ctx context.Context, req webhook.Request) webhook.Reply {
	if !queue.IsQueue(req.URL) {
		if w := r.wayOf(req.Meta.Endpoint); w != nil {
			return w.client.Send(ctx, req)
		}
		return r.http.Send(ctx, req)
	}
	start := time.Now()
	err := r.enqueue(ctx, req)
	rep := webhook.Reply{Latency: time.Since(start)}
	switch {
	case err == nil:
		rep.Status, rep.Body = http.StatusOK, []byte(`{"code":0}`)
	case errors.Is(err, queue.ErrRejected), errors.Is(err, queue.ErrURL):
		rep.Status = http.StatusUnprocessableEntity
		r.log.Warn("a queue refused an event", "endpoint", req.Meta.Endpoint, "stream", req.Meta.Stream,
			"event", req.Meta.ID, "err", err.Error())
	default:
		rep.Err = err
	}
	return rep
}

func (r *router) enqueue(ctx context.Context, req webhook.Request) error {
	d, err := r.destination(req)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, req.Timeout)
	defer cancel()
	m := queue.Message{
		Key: req.Meta.Stream, ID: req.Meta.ID, Type: req.Meta.Type, Seq: req.Meta.Seq, Epoch: req.Meta.Epoch,
		Body: req.Body, Header: map[string]string{},
	}
	for k, v := range req.Header {
		m.Header[strings.ToLower(k)] = strings.Join(v, ",")
	}
	return d.Publish(ctx, m)
}

func (r *router) destination(req webhook.Request) (queue.Destination, error) {
	key := req.Meta.Endpoint + " " + req.URL
	r.mu.Lock()
	defer r.mu.Unlock()
	if d := r.queues[key]; d != nil {
		return d, nil
	}
	if r.closed {
		return nil, queue.ErrClosed
	}
	d, err := r.open(&req)
	if err != nil {
		return nil, err
	}
	r.queues[key] = d
	return d, nil
}

// release closes what an endpoint that is gone, or a replay that has ended, had.
func (r *router) release(endpoint string) {
	r.configure(endpoint, transport{})
	r.closeQueues(func(e, _ string) bool { return e == endpoint })
}

// closeQueues closes the queues that are chosen by endpoint and URL.
func (r *router) closeQueues(chosen func(endpoint, url string) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, d := range r.queues {
		endpoint, url, _ := strings.Cut(key, " ")
		if !chosen(endpoint, url) {
			continue
		}
		delete(r.queues, key)
		if err := d.Close(); err != nil {
			r.log.Warn("closing a queue", "endpoint", endpoint, "err", err.Error())
		}
	}
}

// Close closes every queue.
func (r *router) Close() error {
	for _, w := range *r.ways.Load() {
		_ = w.client.Close() // it only closes idle connections
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	var errs []error
	for key, d := range r.queues {
		errs = append(errs, d.Close())
		delete(r.queues, key)
	}
	return errors.Join(errs...)
}

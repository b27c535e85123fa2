package server

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/hookline/hookline/internal/queue"
	"github.com/hookline/hookline/internal/webhook"
)

// router sends over HTTP, or into a queue when the URL is that of one. Lanes, retry and order are the same.
type router struct {
	http webhook.Sender
	log  *slog.Logger

	mu     sync.Mutex
	queues map[string]queue.Destination // by endpoint and URL
	closed bool
}

func newRouter(h webhook.Sender, log *slog.Logger) *router {
	queue.DiscardClientLogs()
	return &router{http: h, log: log, queues: map[string]queue.Destination{}}
}

// Send implements webhook.Sender.
func (r *router) Send(ctx context.Context, req webhook.Request) webhook.Reply {
	if !queue.IsQueue(req.URL) {
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
		r.log.Warn("a queue refused an event", "endpoint", req.Meta.Endpoint, "event", req.Meta.ID, "err", err.Error())
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
	d, err := queue.Open(context.Background(), req.URL, queue.Options{Logger: r.log.With("endpoint", req.Meta.Endpoint)})
	if err != nil {
		return nil, err
	}
	r.queues[key] = d
	return d, nil
}

// release closes the queues of an endpoint that is gone.
func (r *router) release(endpoint string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, d := range r.queues {
		if strings.HasPrefix(key, endpoint+" ") {
			delete(r.queues, key)
			if err := d.Close(); err != nil {
				r.log.Warn("closing a queue", "endpoint", endpoint, "err", err.Error())
			}
		}
	}
}

// Close closes every queue.
func (r *router) Close() error {
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

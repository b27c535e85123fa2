package port

import (
	"context"
	"log/slog"
	"sync"
)

// Link knows whether a server can be reached, for clients that connect on demand: it is down until a probe succeeds, and
// while it is down a goroutine probes with back-off, so that nobody else has to wait for a connection.
type Link struct {
	name  string
	log   *slog.Logger
	probe func(ctx context.Context) error

	mu    sync.Mutex
	err   error         // guarded by mu; nil: up
	down  chan struct{} // guarded by mu; a token when the prober has work
	ended sync.WaitGroup
}

// NewLink returns a link that is down; name and log are for its log lines.
func NewLink(name string, log *slog.Logger, probe func(ctx context.Context) error) *Link {
	l := &Link{name: name, log: log, probe: probe, err: ErrUnavailable, down: make(chan struct{}, 1)}
	l.down <- struct{}{}
	return l
}

// Start starts probing, once. The goroutine ends with ctx; Wait waits for it.
func (l *Link) Start(ctx context.Context) {
	l.ended.Go(func() { l.run(ctx) })
}

// Err is nil while the server is believed to be reachable, else an ErrUnavailable with the last reason.
func (l *Link) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// Lost says that using the connection failed with err. It returns the error to give to the caller.
func (l *Link) Lost(err error) error {
	err = Unavailable(err)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return err
	}
	l.err = err
	l.log.Warn("queue lost", "queue", l.name, "error", err)
	select {
	case l.down <- struct{}{}:
	default:
	}
	return err
}

// Wait waits for the prober; its context must have ended.
func (l *Link) Wait() { l.ended.Wait() }

func (l *Link) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.down:
		}
		for n := 0; ; n++ {
			err := l.probe(ctx)
			if ctx.Err() != nil {
				return
			}
			l.note(n, err)
			if err == nil {
				break
			}
			if !Sleep(ctx, Backoff(n)) {
				return
			}
		}
	}
}

func (l *Link) note(attempt int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		l.err = nil
		l.log.Info("queue reached", "queue", l.name)
		return
	}
	l.err = Unavailable(err)
	if attempt == 0 {
		l.log.Warn("queue not reached", "queue", l.name, "error", err)
	}
}

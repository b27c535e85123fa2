package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hookline/hookline/internal/queue/port"
)

// Destination is a port.Destination.
type Destination struct {
	cfg   config
	opts  port.Options
	dial  port.Dialer
	life  context.Context // ends with Close
	end   context.CancelCauseFunc
	ended sync.WaitGroup

	mu      sync.Mutex
	session *session // guarded by mu; nil while there is none
	lastErr error    // guarded by mu; why there is none
}

// Open opens the destination of rawURL. It connects in the background.
func Open(ctx context.Context, rawURL string, opts port.Options) (*Destination, error) {
	cfg, err := parse(rawURL)
	if err != nil {
		return nil, err
	}
	d := &Destination{cfg: cfg, opts: opts.WithDefaults(), lastErr: port.ErrUnavailable}
	d.life, d.end = context.WithCancelCause(context.WithoutCancel(ctx))
	// Its connections outlive Close by a goodbye.
	d.dial = port.Dialer{Life: context.WithoutCancel(ctx), Opts: d.opts}
	d.ended.Go(d.run)
	return d, nil
}

// String is the URL without secrets.
func (d *Destination) String() string { return d.cfg.url.String() }

// Publish publishes m and waits for the confirm.
func (d *Destination) Publish(ctx context.Context, m port.Message) error {
	if d.life.Err() != nil {
		return port.ErrClosed
	}
	s, err := d.current()
	if err != nil {
		return err
	}
	msg, key, err := d.publishing(m)
	if err != nil {
		return err
	}
	ctx, cancel := d.opts.Bound(ctx)
	defer cancel()
	err = s.publish(ctx, &pending{ctx: ctx, key: key, msg: msg, done: make(chan error, 1)})
	if err != nil && d.life.Err() != nil {
		return port.ErrClosed
	}
	return err
}

// Close ends everything.
func (d *Destination) Close() error {
	d.end(port.ErrClosed)
	d.ended.Wait()
	return nil
}

func (d *Destination) current() (*session, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.session == nil {
		return nil, port.Unavailable(d.lastErr)
	}
	if reason := d.session.blocked.Load(); reason != nil {
		return nil, port.Unavailable(fmt.Errorf("the server blocks publishers: %s", *reason))
	}
	return d.session, nil
}

func (d *Destination) publishing(m port.Message) (amqp.Publishing, string, error) {
	if err := d.opts.Check(m); err != nil {
		return amqp.Publishing{}, "", err
	}
	key := d.cfg.prefix + port.EncodeKey(m.Key)
	if len(key) > maxShort || len(m.ID) > maxShort || len(m.Type) > maxShort {
		return amqp.Publishing{}, "", port.Rejectedf("routing key, id or type of more than %d bytes", maxShort)
	}
	msg := amqp.Publishing{
		ContentType:  "application/json",
		DeliveryMode: amqp.Persistent,
		MessageId:    m.ID,
		Type:         m.Type,
		AppId:        d.opts.Name,
		Body:         m.Body,
		Headers:      amqp.Table{},
	}
	for name, value := range m.Headers() {
		if len(name) > maxShort {
			return amqp.Publishing{}, "", port.Rejectedf("header name of more than %d bytes", maxShort)
		}
		if strings.EqualFold(name, "Content-Type") && len(value) <= maxShort {
			msg.ContentType = value
			continue
		}
		msg.Headers[name] = value
	}
	return msg, key, nil
}

// run keeps one session after the other until Close.
func (d *Destination) run() {
	for n := 0; d.life.Err() == nil; {
		s, err := d.connect(d.cfg.url.Hosts[n%len(d.cfg.url.Hosts)])
		if err != nil {
			d.note(nil, err)
			if n == 0 && d.life.Err() == nil {
				d.opts.Logger.Warn("queue not reached", "queue", d.String(), "error", err)
			}
		} else {
			d.note(s, nil)
			d.opts.Logger.Info("queue reached", "queue", d.String())
			err = s.wait(d.life, func(err error) { d.note(nil, err) })
			if d.life.Err() == nil {
				d.opts.Logger.Warn("queue lost", "queue", d.String(), "error", err)
			}
			if s.useful.Load() {
				n = 0
			}
		}
		if !port.Sleep(d.life, port.Backoff(n)) {
			return
		}
		n++
	}
}

func (d *Destination) note(s *session, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.session = s
	if err != nil {
		d.lastErr = unsent(err)
	}
}

// unsent is the error of a message that did not get into a session that ended with err: what was rejected there was
// another one.
func unsent(err error) error {
	if errors.Is(err, port.ErrRejected) {
		return fmt.Errorf("%w: %v", port.ErrUnavailable, err) //nolint:errorlint // its class is hidden on purpose
	}
	return port.Unavailable(err)
}

// classify says what the end of a channel means for the messages that were on it.
func classify(err error) error {
	var e *amqp.Error
	if errors.As(err, &e) {
		switch e.Code {
		case amqp.NotFound, amqp.AccessRefused, amqp.PreconditionFailed, amqp.ContentTooLarge:
			return port.Rejected(err)
		}
	}
	return port.Unavailable(err)
}

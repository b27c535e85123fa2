package natsjs

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookline/hookline/internal/queue/port"
)

const (
	pingInterval = 3 * time.Second // a connection that is silent for two of them is given up
	apiTimeout   = 5 * time.Second // for questions about the stream
)

// Destination is a port.Destination.
type Destination struct {
	cfg     config
	opts    port.Options
	dial    port.Dialer
	life    context.Context // ends with Close
	end     context.CancelCauseFunc
	started sync.WaitGroup // the goroutine that connects first

	ensure chan struct{} // a token: who has it may look after the stream

	mu      sync.Mutex
	closed  bool                  // guarded by mu
	conn    *nats.Conn            // guarded by mu; nil before the first attempt to connect
	js      jetstream.JetStream   // guarded by mu; set with conn
	lastErr error                 // guarded by mu; why there is no connection
	ensured bool                  // guarded by mu; the stream was seen or created
	waiting map[*attempt]struct{} // guarded by mu
}

// attempt is a Publish that waits for its PubAck.
type attempt struct {
	subject string
	cancel  context.CancelCauseFunc
}

// Open opens the destination of rawURL. It connects in the background.
func Open(ctx context.Context, rawURL string, opts port.Options) (*Destination, error) {
	cfg, err := parse(rawURL)
	if err != nil {
		return nil, err
	}
	d := &Destination{
		cfg: cfg, opts: opts.WithDefaults(), ensure: make(chan struct{}, 1),
		lastErr: port.ErrUnavailable, waiting: map[*attempt]struct{}{},
	}
	d.life, d.end = context.WithCancelCause(context.WithoutCancel(ctx))
	d.dial = port.Dialer{Life: d.life, Opts: d.opts}
	d.ensure <- struct{}{}
	d.started.Go(func() { d.connect(d.options()) })
	return d, nil
}

// String is the URL without secrets.
func (d *Destination) String() string { return d.cfg.url.String() }

// Publish stores m under its key's subject and waits for the stream's acknowledgement.
func (d *Destination) Publish(ctx context.Context, m port.Message) error {
	js, err := d.ready()
	if err != nil {
		return err
	}
	if err := d.opts.Check(m); err != nil {
		return err
	}
	subject := d.cfg.prefix + "." + port.EncodeKey(m.Key)
	if len(subject) > maxSubject {
		return port.Rejectedf("subject of %d bytes, limit %d", len(subject), maxSubject)
	}
	ctx, cancel := d.opts.Bound(ctx)
	defer cancel()
	ctx, a := d.enter(ctx, subject)
	defer d.leave(a)

	if err := d.ensureStream(ctx, js); err != nil {
		return d.explain(ctx, err)
	}
	options := []jetstream.PublishOpt{jetstream.WithMsgID(m.ID), jetstream.WithRetryAttempts(0)}
	if d.cfg.expect != "" {
		options = append(options, jetstream.WithExpectStream(d.cfg.expect))
	}
	_, err = js.PublishMsg(ctx, message(subject, m), options...)
	if errors.Is(err, jetstream.ErrNoStreamResponse) {
		err = d.noStream(ctx, js, subject)
	}
	return d.explain(ctx, err)
}

// Close ends everything.
func (d *Destination) Close() error {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.end(port.ErrClosed)
	d.started.Wait()
	d.mu.Lock()
	conn := d.conn
	d.mu.Unlock()
	if conn != nil {
		conn.Close()
	}
	d.abort(port.ErrClosed)
	return nil
}

func message(subject string, m port.Message) *nats.Msg {
	h := nats.Header{}
	for name, value := range m.Headers() {
		// Names of the server's own have effects.
		if len(name) < 5 || !strings.EqualFold(name[:5], "Nats-") {
			h[name] = []string{value}
		}
	}
	return &nats.Msg{Subject: subject, Header: h, Data: m.Body}
}

func (d *Destination) ready() (jetstream.JetStream, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.closed:
		return nil, port.ErrClosed
	case d.conn == nil || !d.conn.IsConnected():
		return nil, port.Unavailable(d.lastErr)
	}
	return d.js, nil
}

func (d *Destination) enter(ctx context.Context, subject string) (context.Context, *attempt) {
	ctx, cancel := context.WithCancelCause(ctx)
	a := &attempt{subject: subject, cancel: cancel}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		cancel(port.ErrClosed)
	}
	d.waiting[a] = struct{}{}
	return ctx, a
}

func (d *Destination) leave(a *attempt) {
	a.cancel(nil)
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.waiting, a)
}

// abort ends all attempts: their acknowledgements cannot come any more.
func (d *Destination) abort(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for a := range d.waiting {
		a.cancel(err)
	}
}

// refuse ends the attempts on one subject.
func (d *Destination) refuse(subject string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for a := range d.waiting {
		if a.subject == subject {
			a.cancel(err)
		}
	}
}

// explain turns the client's errors into the classes of package port.
func (d *Destination) explain(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if d.life.Err() != nil {
		return port.ErrClosed
	}
	if cause := context.Cause(ctx); cause != nil && ctx.Err() != nil {
		// Why the attempt was ended says more than that it was.
		return fmt.Errorf("publish: %w", cause)
	}
	var api *jetstream.APIError
	switch {
	case errors.Is(err, port.ErrRejected), errors.Is(err, port.ErrUnavailable):
		return err
	case errors.Is(err, nats.ErrMaxPayload), errors.Is(err, nats.ErrBadSubject), errors.Is(err, nats.ErrHeadersNotSupported):
		return port.Rejected(err)
	case errors.Is(err, nats.ErrReconnectBufExceeded), errors.Is(err, nats.ErrDisconnected), errors.Is(err, nats.ErrConnectionClosed):
		return port.Unavailable(err)
	case errors.As(err, &api) && api.Code >= 400 && api.Code < 500 && api.Code != 408 && api.Code != 429:
		return port.Rejected(err)
	}
	return fmt.Errorf("publish: %w", err)
}

// options are the client's settings: one attempt is one attempt, the connection is kept for ever, and nothing waits in
// a buffer while it is away.
func (d *Destination) options() []nats.Option {
	o := []nats.Option{
		nats.Name(d.opts.Name),
		nats.Timeout(d.opts.ConnectTimeout),
		nats.SetCustomDialer(dialer{d.dial}),
		nats.SkipHostLookup(), // the dialer resolves, under its guard
		nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1),
		nats.IgnoreAuthErrorAbort(), // credentials may be mended on the server's side
		nats.ReconnectBufSize(-1),
		nats.CustomReconnectDelay(func(attempts int) time.Duration { return port.Backoff(attempts - 1) }),
		nats.PingInterval(pingInterval),
		nats.MaxPingsOutstanding(2),
		nats.NoCallbacksAfterClientClose(),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { d.lost(err) }),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { d.note(err) }),
		nats.ConnectHandler(func(*nats.Conn) { d.reached() }),
		nats.ReconnectHandler(func(*nats.Conn) { d.reached() }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { d.async(err) }),
	}
	if u := d.cfg.url; u.HasPassword {
		o = append(o, nats.UserInfo(u.User, u.Password))
	} else if u.User != "" {
		o = append(o, nats.Token(u.User))
	}
	if d.cfg.creds != "" {
		o = append(o, nats.UserCredentials(d.cfg.creds))
	}
	if d.cfg.secure {
		tls := d.dial.TLSConfig("")
		o = append(o, nats.Secure(tls))
		if d.cfg.tlsFirst {
			o = append(o, nats.TLSHandshakeFirst())
		}
	}
	return o
}

type dialer struct{ d port.Dialer }

func (d dialer) Dial(network, address string) (net.Conn, error) {
	return d.d.DialContext(context.Background(), network, address)
}

func (d *Destination) connect(options []nats.Option) {
	servers := make([]string, len(d.cfg.url.Hosts))
	for i, host := range d.cfg.url.Hosts {
		servers[i] = "nats://" + host
		if d.cfg.secure {
			servers[i] = "tls://" + host
		}
	}
	conn, err := nats.Connect(strings.Join(servers, ","), options...)
	var js jetstream.JetStream
	if err == nil {
		js, err = jetstream.New(conn)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil {
		// Only settings can be wrong here (a credentials file that cannot be read): connecting is retried.
		d.lastErr = port.Unavailable(err)
		d.opts.Logger.Error("queue cannot be used", "queue", d.String(), "error", err)
		return
	}
	d.conn, d.js = conn, js
}

func (d *Destination) reached() {
	d.opts.Logger.Info("queue reached", "queue", d.String())
}

func (d *Destination) lost(err error) {
	if d.life.Err() != nil {
		return
	}
	if err == nil {
		err = nats.ErrDisconnected
	}
	d.opts.Logger.Warn("queue lost", "queue", d.String(), "error", err)
	d.note(err)
	d.mu.Lock()
	d.ensured = false
	d.mu.Unlock()
	d.abort(port.Unavailable(err))
}

func (d *Destination) note(err error) {
	if err == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lastErr = port.Unavailable(err)
}

// async gets what the server says without being asked, of which a refused publish concerns us: there is no other answer
// to it.
func (d *Destination) async(err error) {
	const mark = `Publish to "`
	if !errors.Is(err, nats.ErrPermissionViolation) {
		d.note(err)
		return
	}
	_, rest, _ := strings.Cut(err.Error(), mark)
	subject, _, ok := strings.Cut(rest, `"`)
	if ok {
		d.refuse(subject, port.Rejected(err))
	}
}

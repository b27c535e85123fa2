package kafka

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/hookline/hookline/internal/queue/port"
)

const (
	metadataMinAge = 250 * time.Millisecond // how often a failure may ask for the leaders anew
	retryBackoff   = time.Second            // the longest pause between the client's own attempts
	produceTimeout = 5 * time.Second        // for the broker to hear from its replicas
	unknownRetries = 1                      // a topic that two answers do not know is missing
	overhead       = 5 * time.Second        // on top of a request's own time-out; then the connection is closed
)

// Destination is a port.Destination.
type Destination struct {
	cfg      config
	opts     port.Options
	life     context.Context // ends with Close
	end      context.CancelCauseFunc
	client   *kgo.Client
	link     *port.Link
	attempts port.Attempts
	closing  sync.Once
}

// Open opens the destination of rawURL. It connects in the background.
func Open(ctx context.Context, rawURL string, opts port.Options) (*Destination, error) {
	cfg, err := parse(rawURL)
	if err != nil {
		return nil, err
	}
	d := &Destination{cfg: cfg, opts: opts.WithDefaults()}
	d.life, d.end = context.WithCancelCause(context.WithoutCancel(ctx))
	d.client, err = kgo.NewClient(d.options()...)
	if err != nil {
		d.end(err)
		return nil, fmt.Errorf("%w: %w", port.ErrURL, err)
	}
	d.link = port.NewLink(d.String(), d.opts.Logger, d.probe)
	d.link.Start(d.life)
	return d, nil
}

// String is the URL without secrets.
func (d *Destination) String() string { return d.cfg.url.String() }

// Publish produces m and waits until all in-sync replicas have it.
func (d *Destination) Publish(ctx context.Context, m port.Message) error {
	if d.life.Err() != nil {
		return port.ErrClosed
	}
	if err := d.link.Err(); err != nil {
		return err
	}
	if err := d.opts.Check(m); err != nil {
		return err
	}
	ctx, cancel := d.opts.Bound(ctx)
	defer cancel()
	ctx, abort := context.WithCancelCause(ctx)
	defer abort(nil)
	stop := context.AfterFunc(d.life, func() { abort(port.ErrClosed) })
	defer stop()
	err := d.attempts.Do(ctx, m.Key, func() error {
		result := make(chan error, 1)
		d.client.Produce(ctx, d.record(m), func(_ *kgo.Record, err error) { result <- err })
		return <-result
	})
	return d.explain(ctx, err)
}

// Close ends everything.
func (d *Destination) Close() error {
	d.closing.Do(func() {
		d.end(port.ErrClosed)
		d.client.Close()
	})
	d.attempts.Close()
	d.link.Wait()
	return nil
}

func (d *Destination) options() []kgo.Opt {
	dialer := port.Dialer{Life: d.life, Opts: d.opts}
	dial := dialer.DialContext
	if d.cfg.secure {
		dial = dialer.DialTLS
	}
	opts := []kgo.Opt{
		kgo.SeedBrokers(d.cfg.url.Hosts...),
		kgo.ClientID(d.opts.Name),
		kgo.Dialer(dial),
		kgo.DefaultProduceTopic(d.cfg.topic),
		kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.AllowIdempotentProduceCancellation(),
		kgo.ProducerLinger(d.cfg.linger),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.ProducerBatchMaxBytes(d.cfg.batch),
		kgo.ProduceRequestTimeout(produceTimeout),
		kgo.RequestTimeoutOverhead(overhead),
		kgo.UnknownTopicRetries(unknownRetries),
		kgo.MetadataMinAge(metadataMinAge),
		kgo.RetryBackoffFn(func(n int) time.Duration { return min(port.Backoff(n-1), retryBackoff) }),
		kgo.DisableClientMetrics(),
		kgo.WithHooks(&brokers{lost: func(err error) { _ = d.link.Lost(err) }}),
	}
	if d.cfg.create {
		opts = append(opts, kgo.AllowAutoTopicCreation())
	}
	if d.cfg.sasl != nil {
		opts = append(opts, kgo.SASL(d.cfg.sasl))
	}
	return opts
}

func (d *Destination) record(m port.Message) *kgo.Record {
	r := &kgo.Record{Key: []byte(m.Key), Value: m.Body, Headers: make([]kgo.RecordHeader, 0, len(m.Header)+4)}
	for name, value := range m.Headers() {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: name, Value: []byte(value)})
	}
	return r
}

func (d *Destination) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, d.opts.ConnectTimeout)
	defer cancel()
	return d.client.Ping(ctx)
}

// explain turns errors into the classes of package port.
func (d *Destination) explain(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if d.life.Err() != nil || errors.Is(err, kgo.ErrClientClosed) {
		return port.ErrClosed
	}
	for _, final := range final() {
		if errors.Is(err, final) {
			return port.Rejected(err)
		}
	}
	if cause := context.Cause(ctx); cause != nil && ctx.Err() != nil {
		return fmt.Errorf("publish: %w", cause)
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		// Not ours: hidden, lest the caller takes it for its own.
		return fmt.Errorf("publish: a record of the same batch was given up: %v", err) //nolint:errorlint // see above
	}
	return fmt.Errorf("publish: %w", err)
}

// final lists the errors of which the message or the topic is the cause. An unknown topic is final after the client has
// asked several times.
func final() [11]error {
	return [...]error{
		kerr.MessageTooLarge, kerr.RecordListTooLarge, kerr.InvalidRecord, kerr.PolicyViolation,
		kerr.InvalidTopicException, kerr.UnknownTopicOrPartition, kerr.UnknownTopicID,
		kerr.TopicAuthorizationFailed, kerr.ClusterAuthorizationFailed,
		kerr.InvalidTimestamp, kerr.UnsupportedForMessageFormat,
	}
}

// brokers counts connections: when the last one is gone and the next attempt fails, nobody can be reached. Produce itself
// would wait in silence.
type brokers struct {
	lost  func(error)
	alive atomic.Int64
}

var (
	_ kgo.HookBrokerConnect    = (*brokers)(nil)
	_ kgo.HookBrokerDisconnect = (*brokers)(nil)
)

// OnBrokerConnect implements kgo.HookBrokerConnect.
func (b *brokers) OnBrokerConnect(_ kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	if err == nil {
		b.alive.Add(1)
	} else if b.alive.Load() == 0 {
		b.lost(err)
	}
}

// OnBrokerDisconnect implements kgo.HookBrokerDisconnect.
func (b *brokers) OnBrokerDisconnect(kgo.BrokerMetadata, net.Conn) { b.alive.Add(-1) }

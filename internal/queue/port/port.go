package port

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net"
	"strconv"
	"time"
)

// Message is one event on its way into a queue.
type Message struct {
	Key   string // stream key; order is kept per key; "" for events of the server itself
	ID    string // event id, the same on every attempt; what consumers drop repetitions by
	Type  string // event type
	Seq   uint64 // position within the key; 0: none (gap notices)
	Epoch int64  // journal epoch, ms since 1970; a higher one starts Seq anew
	Body  []byte // sent as it is; must not change while Publish runs
	// Header goes along as the queue's own message headers. Names that a destination sets itself are not replaced.
	Header map[string]string
}

// Names of the headers (in Redis: fields) that every destination sets beside those of Message.Header.
const (
	HeaderID    = "id"
	HeaderType  = "type"
	HeaderSeq   = "seq"   // decimal; absent when there is none
	HeaderEpoch = "epoch" // decimal
)

// Headers yields the message's headers: the four of its own, then those of Message.Header with other names.
func (m Message) Headers() iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		if !yield(HeaderID, m.ID) || !yield(HeaderType, m.Type) {
			return
		}
		if m.Seq > 0 && !yield(HeaderSeq, strconv.FormatUint(m.Seq, 10)) {
			return
		}
		if !yield(HeaderEpoch, strconv.FormatInt(m.Epoch, 10)) {
			return
		}
		for name, value := range m.Header {
			switch name {
			case HeaderID, HeaderType, HeaderSeq, HeaderEpoch:
				continue
			}
			if !yield(name, value) {
				return
			}
		}
	}
}

// Destination publishes messages into one queue. It is safe for concurrent use under the rule of one message per key.
type Destination interface {
	// Publish returns nil when the message is durable in the queue. It honours ctx, and has a limit of its own
	// (Options.Timeout) when ctx has none.
	Publish(ctx context.Context, m Message) error
	// Close ends what is in flight and releases everything.
	Close() error
	// String is the destination's URL without its secrets.
	String() string
}

// Classes of errors of Publish and Open; test with errors.Is.
var (
	// ErrRejected: repeating cannot help while the message and the queue's configuration stay as they are.
	ErrRejected = errors.New("rejected by the queue")
	// ErrUnavailable: there is no connection to the queue now.
	ErrUnavailable = errors.New("queue unavailable")
	// ErrClosed: the destination was closed.
	ErrClosed = errors.New("queue destination closed")
	// ErrURL: the URL of a destination cannot be used. The error never contains the URL's secrets.
	ErrURL = errors.New("bad queue URL")
)

// Defaults of Options.
const (
	DefaultTimeout        = 30 * time.Second
	DefaultConnectTimeout = 5 * time.Second
	DefaultMaxBytes       = 8 << 20
	DefaultName           = "hookline"
)

// DialFunc opens a TCP connection, like net.Dialer.DialContext.
type DialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// Options apply to every kind of destination. The zero value is usable.
type Options struct {
	// Logger gets one line for each change between connected and not; nil: nothing is logged.
	Logger *slog.Logger
	// TLS adds an own CA, client certificates and so on, used when the URL's scheme asks for TLS; nil: system roots.
	TLS *tls.Config
	// Dial opens connections (the place for an address guard); nil: net.Dialer.
	Dial DialFunc
	// Name is what the client calls itself to the server. Default DefaultName.
	Name string
	// Timeout bounds a Publish whose context has no deadline. Default DefaultTimeout.
	Timeout time.Duration
	// ConnectTimeout bounds one attempt to connect. Default DefaultConnectTimeout.
	ConnectTimeout time.Duration
	// MaxBytes is the largest Body; a larger one is ErrRejected. Servers may allow less. Default DefaultMaxBytes.
	MaxBytes int
}

// WithDefaults fills in what is not set.
func (o Options) WithDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Name == "" {
		o.Name = DefaultName
	}
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	if o.ConnectTimeout <= 0 {
		o.ConnectTimeout = DefaultConnectTimeout
	}
	if o.MaxBytes <= 0 {
		o.MaxBytes = DefaultMaxBytes
	}
	return o
}

// Bound gives ctx a deadline if it has none.
func (o Options) Bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, o.Timeout)
}

// Check refuses a message that no queue would take.
func (o Options) Check(m Message) error {
	if len(m.Body) > o.MaxBytes {
		return Rejectedf("body of %d bytes, limit %d", len(m.Body), o.MaxBytes)
	}
	return nil
}

// Rejected marks err as ErrRejected.
func Rejected(err error) error { return fmt.Errorf("%w: %w", ErrRejected, err) }

// Rejectedf is an ErrRejected with a reason.
func Rejectedf(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrRejected, fmt.Sprintf(format, args...))
}

// Unavailable marks err as ErrUnavailable; nil stays without a reason.
func Unavailable(err error) error {
	switch {
	case err == nil:
		return ErrUnavailable
	case errors.Is(err, ErrUnavailable):
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

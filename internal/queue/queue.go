package queue

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/hookline/hookline/internal/queue/kafka"
	"github.com/hookline/hookline/internal/queue/natsjs"
	"github.com/hookline/hookline/internal/queue/port"
	"github.com/hookline/hookline/internal/queue/rabbitmq"
	"github.com/hookline/hookline/internal/queue/redisstream"
)

// What a destination is and takes; see package port.
type (
	Message     = port.Message
	Destination = port.Destination
	Options     = port.Options
)

// Classes of errors; see package port.
var (
	ErrRejected    = port.ErrRejected
	ErrUnavailable = port.ErrUnavailable
	ErrClosed      = port.ErrClosed
	ErrURL         = port.ErrURL
)

// Schemes returns the URL schemes that Open knows, in lower case.
func Schemes() []string {
	return slices.Concat(natsjs.Schemes(), kafka.Schemes(), redisstream.Schemes(), rabbitmq.Schemes())
}

// IsQueue says whether rawURL has a scheme that Open knows.
func IsQueue(rawURL string) bool {
	return slices.Contains(Schemes(), scheme(rawURL))
}

// Open opens the destination of rawURL. It does not wait for the server, and fails only for a URL or options that cannot
// work (ErrURL). The destination lives until Close; ctx only carries values.
func Open(ctx context.Context, rawURL string, opts Options) (Destination, error) {
	s := scheme(rawURL)
	switch {
	case slices.Contains(natsjs.Schemes(), s):
		return natsjs.Open(ctx, rawURL, opts)
	case slices.Contains(kafka.Schemes(), s):
		return kafka.Open(ctx, rawURL, opts)
	case slices.Contains(redisstream.Schemes(), s):
		return redisstream.Open(ctx, rawURL, opts)
	case slices.Contains(rabbitmq.Schemes(), s):
		return rabbitmq.Open(ctx, rawURL, opts)
	}
	return nil, fmt.Errorf("%w: its scheme is none of %s", ErrURL, strings.Join(Schemes(), ", "))
}

// DiscardClientLogs silences client libraries that would write to standard error by themselves. Call it once, before the
// first Open.
func DiscardClientLogs() { redisstream.DiscardClientLog() }

// Redact returns rawURL without its secrets, for logs and listings; what cannot be read is left out altogether.
func Redact(rawURL string) string {
	u, err := port.ParseURL(rawURL, 0)
	if err != nil {
		return scheme(rawURL) + "://***"
	}
	return u.String()
}

func scheme(rawURL string) string {
	s, _, ok := strings.Cut(rawURL, "://")
	if !ok {
		return ""
	}
	return strings.ToLower(s)
}

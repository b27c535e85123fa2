package queuetest

import (
	"crypto/tls"
	"log/slog"
	"net/url"
	"testing"

	"github.com/hookline/hookline/internal/queue/port"
)

// User and Password are what a Server must ask for. The password needs escaping in a URL.
const (
	User     = "hookline-test"
	Password = "S3cret/w#rd @1" //nolint:gosec // of servers that live for a test
)

// UserInfo is "user:password@" as it stands in a URL.
func UserInfo() string { return url.UserPassword(User, Password).String() + "@" }

// Server is a running queue server.
type Server interface {
	// Queue makes a new, empty queue.
	Queue(tb testing.TB) Queue
	// Secure makes a queue that is reached by TLS with Certificates(tb).
	Secure(tb testing.TB) Queue
	// Stop ends the server, Start brings it back with its address and its data.
	Stop(tb testing.TB)
	Start(tb testing.TB)
}

// Queue is one place that a destination publishes to.
type Queue struct {
	// URL with the server's real address and UserInfo.
	URL string
	// Read returns all that is in the queue, each key's entries in their order.
	Read func(tb testing.TB) []Entry
	// Rejected are attempts that must fail with port.ErrRejected.
	Rejected map[string]Rejection
	// Dedup: the queue recognises repetitions of a key's latest message.
	Dedup bool
}

// Rejection is an attempt that no repetition can mend. An empty URL stands for the queue's.
type Rejection struct {
	URL     string
	Message port.Message
}

// Entry is a message as a consumer gets it.
type Entry struct {
	Key    string
	ID     string
	Header map[string]string
	Body   string
}

// Opener is a destination package's Open.
type Opener func(tb testing.TB, rawURL string, opts port.Options) (port.Destination, error)

// options reach the server through the net.
func options(n *Net, log *slog.Logger, secure *tls.Config) port.Options {
	return port.Options{Dial: n.Dial, Logger: log, TLS: secure}
}

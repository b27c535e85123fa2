package natsjs

import (
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookline/hookline/internal/queue/port"
)

const (
	defaultPort       = 4222
	defaultPrefix     = "hookline"
	defaultMaxAge     = 72 * time.Hour
	defaultDuplicates = 10 * time.Minute
	// A server takes control lines of 4096 bytes and drops the connection of whoever sends more; a subject must leave
	// room in one.
	maxSubject = 2048
)

// Schemes returns the URL schemes of this package.
func Schemes() []string { return []string{"nats", "natss", "tls"} }

type config struct {
	url      *port.URL
	secure   bool
	tlsFirst bool
	prefix   string
	creds    string
	// expect is the stream that must take the events; "": any.
	expect string
	create bool
	stream jetstream.StreamConfig
}

func parse(rawURL string) (config, error) {
	u, err := port.ParseURL(rawURL, defaultPort)
	if err != nil {
		return config{}, err
	}
	c := config{url: u, secure: u.Scheme != "nats", prefix: u.Path, create: u.Bool("create", false)}
	if c.prefix == "" {
		c.prefix = defaultPrefix
	}
	if !validPrefix(c.prefix) {
		return config{}, fmt.Errorf("%w: the subject prefix (its path) is not one", port.ErrURL)
	}
	name := u.Param("stream", "")
	c.expect = name
	if name == "" {
		name = strings.ToUpper(strings.ReplaceAll(c.prefix, ".", "_"))
	}
	if strings.ContainsAny(name, " .*>/\\\t\r\n") {
		return config{}, fmt.Errorf("%w: the stream's name has characters that NATS forbids", port.ErrURL)
	}
	if c.create {
		c.expect = name
	}
	c.creds = u.Param("creds", "")
	c.tlsFirst = u.Bool("tls_first", false)
	maxBytes := u.Int("max_bytes", 0, 0, 1<<60)
	if maxBytes == 0 {
		maxBytes = -1
	}
	c.stream = jetstream.StreamConfig{
		Name:        name,
		Description: "events of a Hookline server",
		Subjects:    []string{c.prefix + ".>"},
		Storage:     jetstream.FileStorage,
		Discard:     jetstream.DiscardNew,
		Replicas:    int(u.Int("replicas", 1, 1, 5)),
		MaxAge:      u.Duration("max_age", defaultMaxAge),
		MaxBytes:    maxBytes,
		Duplicates:  u.Duration("duplicates", defaultDuplicates),
	}
	if age := c.stream.MaxAge; age > 0 {
		c.stream.Duplicates = min(c.stream.Duplicates, age)
	}
	return c, u.Err()
}

// validPrefix: tokens of printable ASCII without wildcards; no "$" at the start, which is the server's own space.
func validPrefix(prefix string) bool {
	for token := range strings.SplitSeq(prefix, ".") {
		if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("*>/\\", r) }) {
			return false
		}
	}
	return prefix[0] != '$' && len(prefix) <= 256
}

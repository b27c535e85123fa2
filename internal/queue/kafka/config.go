package kafka

import (
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/hookline/hookline/internal/queue/port"
)

const (
	defaultPort  = 9092
	defaultTopic = "hookline"
	maxTopic     = 249
	defaultBatch = 1_000_012 // the brokers' default message.max.bytes is 1 MiB and 12 bytes
)

// Schemes returns the URL schemes of this package.
func Schemes() []string { return []string{"kafka", "kafkas"} }

type config struct {
	url    *port.URL
	secure bool
	topic  string
	create bool
	linger time.Duration
	batch  int32
	sasl   sasl.Mechanism // nil: none
}

func parse(rawURL string) (config, error) {
	u, err := port.ParseURL(rawURL, defaultPort)
	if err != nil {
		return config{}, err
	}
	c := config{
		url:    u,
		secure: u.Scheme == "kafkas",
		topic:  u.Path,
		create: u.Bool("create", false),
		linger: u.Duration("linger", 0),
		batch:  int32(u.Int("max_bytes", defaultBatch, 1<<10, 64<<20)),
	}
	if c.topic == "" {
		c.topic = defaultTopic
	}
	if !validTopic(c.topic) {
		return config{}, fmt.Errorf("%w: the topic (its path) is not a name that Kafka allows", port.ErrURL)
	}
	if c.linger > time.Second {
		return config{}, fmt.Errorf("%w: linger is more than 1s", port.ErrURL)
	}
	def := "none"
	if u.User != "" {
		def = "plain"
	}
	switch mechanism := u.Param("sasl", def); mechanism {
	case "none":
	case "plain":
		c.sasl = plain.Auth{User: u.User, Pass: u.Password}.AsMechanism()
	case "scram-sha-256":
		c.sasl = scram.Auth{User: u.User, Pass: u.Password}.AsSha256Mechanism()
	case "scram-sha-512":
		c.sasl = scram.Auth{User: u.User, Pass: u.Password}.AsSha512Mechanism()
	default:
		return config{}, fmt.Errorf("%w: sasl is none of none, plain, scram-sha-256, scram-sha-512", port.ErrURL)
	}
	return c, u.Err()
}

func validTopic(s string) bool {
	if len(s) > maxTopic || s == "." || s == ".." {
		return false
	}
	for _, r := range s {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '_', r == '-':
		default:
			return false
		}
	}
	return true
}

package rabbitmq

import (
	"fmt"
	"strings"

	"github.com/hookline/hookline/internal/queue/port"
)

const (
	defaultPort     = 5672
	defaultPortTLS  = 5671
	defaultExchange = "hookline"
	// maxShort is the length of an AMQP short string: routing key, message-id, names.
	maxShort = 255
)

// Schemes returns the URL schemes of this package.
func Schemes() []string { return []string{"amqp", "amqps"} }

type config struct {
	url       *port.URL
	secure    bool
	vhost     string
	exchange  string
	declare   bool
	kind      string
	prefix    string
	mandatory bool
	external  bool
}

func parse(rawURL string) (config, error) {
	def := defaultPort
	secure := strings.HasPrefix(strings.ToLower(rawURL), "amqps:")
	if secure {
		def = defaultPortTLS
	}
	u, err := port.ParseURL(rawURL, def)
	if err != nil {
		return config{}, err
	}
	c := config{
		url:       u,
		secure:    secure,
		vhost:     u.Path,
		exchange:  u.Param("exchange", defaultExchange),
		declare:   u.Bool("declare", false),
		kind:      u.Param("type", "topic"),
		prefix:    u.Param("prefix", ""),
		mandatory: u.Bool("mandatory", true),
		external:  u.OneOf("auth", "plain", "external") == "external",
	}
	if c.vhost == "" {
		c.vhost = "/"
	}
	if c.prefix != "" {
		c.prefix += "."
	}
	for _, s := range []string{c.vhost, c.exchange, c.kind, c.prefix} {
		if len(s) > maxShort {
			return config{}, fmt.Errorf("%w: vhost, exchange, type and prefix have at most %d bytes", port.ErrURL, maxShort)
		}
	}
	return c, u.Err()
}

package redisstream

import (
	"fmt"
	"strconv"
	"time"

	"github.com/hookline/hookline/internal/queue/port"
)

const (
	defaultPort   = 6379
	defaultPrefix = "hookline"
)

// Schemes returns the URL schemes of this package.
func Schemes() []string { return []string{"redis", "rediss"} }

type config struct {
	url         *port.URL
	secure      bool
	database    int
	prefix      string
	single      bool
	maxLen      int64
	dedup       bool
	wait        int
	waitTimeout time.Duration
}

func parse(rawURL string) (config, error) {
	u, err := port.ParseURL(rawURL, defaultPort)
	if err != nil {
		return config{}, err
	}
	c := config{
		url:         u,
		secure:      u.Scheme == "rediss",
		prefix:      u.Param("prefix", defaultPrefix),
		single:      u.OneOf("layout", "key", "single") == "single",
		maxLen:      u.Int("maxlen", 0, 0, 1<<50),
		dedup:       u.Bool("dedup", true),
		wait:        int(u.Int("wait", 0, 0, 100)),
		waitTimeout: u.Duration("wait_timeout", time.Second),
	}
	// WAIT takes 0 for ever.
	c.waitTimeout = max(c.waitTimeout, time.Millisecond)
	if len(u.Hosts) > 1 {
		return config{}, fmt.Errorf("%w: Redis has one host", port.ErrURL)
	}
	if u.Path != "" {
		c.database, err = strconv.Atoi(u.Path)
		if err != nil || c.database < 0 {
			return config{}, fmt.Errorf("%w: the database (its path) is not a number", port.ErrURL)
		}
	}
	return c, u.Err()
}

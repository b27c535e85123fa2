package redisstore

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/hookline/hookline/receiver"
)

// Prune implements [receiver.Pruner]. It goes through the keys with SCAN.
func (s *Store) Prune(ctx context.Context, old func(digest string, m receiver.Mark) bool) (removed int, err error) {
	prefix := s.cfg.Prefix + "mark:"
	pattern := strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`, "]", `\]`).Replace(prefix) + "*"
	node := func(ctx context.Context, db redis.Cmdable) error {
		var keys []string
		for it := db.Scan(ctx, 0, pattern, 1000).Iterator(); ; {
			more := it.Next(ctx)
			if more {
				keys = append(keys, it.Val())
			}
			if err := it.Err(); err != nil {
				return fmt.Errorf("redisstore: %w", err)
			}
			if len(keys) == 1000 || !more {
				n, err := s.drop(ctx, prefix, keys, old)
				removed += n
				if err != nil || !more {
					return err
				}
				keys = keys[:0]
			}
		}
	}
	if c, ok := s.db.(*redis.ClusterClient); ok {
		var nodes []*redis.Client
		err := c.ForEachMaster(ctx, func(_ context.Context, n *redis.Client) error { // several at once
			s.nodes.Lock()
			defer s.nodes.Unlock()
			nodes = append(nodes, n)
			return nil
		})
		for _, n := range nodes {
			if err == nil {
				err = node(ctx, n)
			}
		}
		return removed, err
	}
	err = node(ctx, s.db)
	return removed, err
}

// drop removes those that old says are, and that are still the same.
func (s *Store) drop(ctx context.Context, prefix string, keys []string, old func(string, receiver.Mark) bool) (removed int, err error) {
	for _, key := range keys {
		text, err := s.db.Get(ctx, key).Result()
		if errors.Is(err, redis.Nil) {
			continue
		}
		if err != nil {
			return removed, fmt.Errorf("redisstore: %w", err)
		}
		m, err := receiver.ParseMark(text)
		if err != nil {
			return removed, fmt.Errorf("redisstore: %s: %w", key, err)
		}
		if !old(strings.TrimPrefix(key, prefix), m) {
			continue
		}
		n, err := s.unlock.Run(ctx, s.db, []string{key}, text).Int() // removes a key that has this value
		if err != nil {
			return removed, fmt.Errorf("redisstore: %w", err)
		}
		removed += n
	}
	return removed, nil
}

var _ receiver.Pruner = (*Store)(nil)

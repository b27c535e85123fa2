package redisstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"

	"github.com/hookline/hookline/receiver"
)

// What the inbox has, behind the prefix:
//
//	inbox:            hash: the key's text under the digest, of each key that has entries
//	inbox:<digest>    list: the ID of each entry, oldest first
//	entries:<digest>  hash: the data of each entry under its ID
const (
	inboxKey   = "inbox:"
	entriesKey = "entries:"
	// acceptBatch is how many entries go into one script.
	acceptBatch = 100
)

// inboxScripts are those of the inbox.
type inboxScripts struct{ accept, remove *redis.Script }

func newInboxScripts() inboxScripts {
	return inboxScripts{
		// KEYS: the hash of keys, then list and entries of each. ARGV: digest, key text, ID and data of each.
		accept: redis.NewScript(`for i = 0, #ARGV / 4 - 1 do
 if redis.call("hsetnx", KEYS[3 + 2 * i], ARGV[4 * i + 3], ARGV[4 * i + 4]) == 1 then
  redis.call("rpush", KEYS[2 + 2 * i], ARGV[4 * i + 3])
  redis.call("hset", KEYS[1], ARGV[4 * i + 1], ARGV[4 * i + 2])
 end
end
return 1`),
		remove: redis.NewScript(`redis.call("lrem", KEYS[2], 1, ARGV[2])
redis.call("hdel", KEYS[3], ARGV[2])
if redis.call("exists", KEYS[2]) == 0 then redis.call("hdel", KEYS[1], ARGV[1]) end
return 1`),
	}
}

// Accept implements [receiver.InboxStore]. A script runs as one, so with a cluster the prefix needs a hash tag.
func (s *Store) Accept(ctx context.Context, entries []receiver.Entry) error {
	for len(entries) > 0 {
		n := min(len(entries), acceptBatch)
		if err := s.acceptSome(ctx, entries[:n]); err != nil {
			return err
		}
		entries = entries[n:]
	}
	return nil
}

func (s *Store) acceptSome(ctx context.Context, entries []receiver.Entry) error {
	keys := []string{s.cfg.Prefix + inboxKey}
	args := make([]any, 0, 4*len(entries))
	for i := range entries {
		e := &entries[i]
		name, err := e.Key.MarshalText()
		if err != nil {
			return fmt.Errorf("redisstore: %w", err)
		}
		digest := e.Key.Digest()
		keys = append(keys, s.cfg.Prefix+inboxKey+digest, s.cfg.Prefix+entriesKey+digest)
		args = append(args, digest, name, e.ID, e.Data)
	}
	if err := s.inbox.accept.Run(ctx, s.db, keys, args...).Err(); err != nil {
		return fmt.Errorf("redisstore: %w", err)
	}
	return nil
}

// Waiting implements [receiver.InboxStore].
func (s *Store) Waiting(ctx context.Context) ([]receiver.Backlog, error) {
	names, err := s.db.HGetAll(ctx, s.cfg.Prefix+inboxKey).Result()
	if err != nil {
		return nil, fmt.Errorf("redisstore: %w", err)
	}
	var out []receiver.Backlog
	for digest, name := range names {
		var b receiver.Backlog
		if err := b.Key.UnmarshalText([]byte(name)); err != nil {
			return nil, err
		}
		list := s.cfg.Prefix + inboxKey + digest
		n, err := s.db.LLen(ctx, list).Result()
		if err == nil {
			b.First, err = s.db.LIndex(ctx, list, 0).Result()
		}
		switch {
		case errors.Is(err, redis.Nil): // gone meanwhile
			continue
		case err != nil:
			return nil, fmt.Errorf("redisstore: %w", err)
		}
		b.Count = int(max(n, 1))
		out = append(out, b)
	}
	return out, nil
}

// First implements [receiver.InboxStore]. The lock of the stream is ours: nobody else takes what it returns.
func (s *Store) First(ctx context.Context, k receiver.Key) (receiver.Entry, bool, error) {
	e := receiver.Entry{Key: k}
	digest := k.Digest()
	id, err := s.db.LIndex(ctx, s.cfg.Prefix+inboxKey+digest, 0).Result()
	if errors.Is(err, redis.Nil) {
		return e, false, nil
	}
	var data string
	if err == nil {
		data, err = s.db.HGet(ctx, s.cfg.Prefix+entriesKey+digest, id).Result()
	}
	if err != nil {
		return e, false, fmt.Errorf("redisstore: entry %s: %w", strconv.Quote(id), err)
	}
	e.ID, e.Data = id, []byte(data)
	return e, true, nil
}

// Remove implements [receiver.InboxStore].
func (s *Store) Remove(ctx context.Context, k receiver.Key, id string) error {
	digest := k.Digest()
	keys := []string{s.cfg.Prefix + inboxKey, s.cfg.Prefix + inboxKey + digest, s.cfg.Prefix + entriesKey + digest}
	OnCommit(ctx, func(tx redis.Pipeliner) { s.inbox.remove.Eval(ctx, tx, keys, digest, id) })
	return nil
}

var _ receiver.InboxStore = (*Store)(nil)

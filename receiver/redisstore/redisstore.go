// Package redisstore keeps the marks of a receiver in Redis, in the transaction (MULTI/EXEC) in which the commands run that
// the handler hands over with [OnCommit]. So both are there or none is, whenever the receiver dies. What Redis itself loses
// when it dies is a matter of its configuration: with "appendonly yes" and "appendfsync always", nothing that was answered.
//
// Several processes may share a Redis. A stream belongs to one of them while it is being handled: a key with a lease says to
// which. The lease is renewed while the handler runs; should it be lost all the same (the process stood still), the commit
// fails, so that two never both commit.
//
// With a cluster all keys that a transaction touches must be on one node: choose a prefix with a hash tag, as "{billing}:",
// and give the handler's keys the same tag.
package redisstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/hookline/hookline/receiver"
	"github.com/hookline/hookline/receiver/internal/lease"
)

// Config of a [Store].
type Config struct {
	// Prefix begins its keys: Prefix + "mark:" + digest has the text of a mark, Prefix + "lock:" + digest says who updates it; the
	// inbox is in Prefix + "inbox:", with and without a digest, and Prefix + "entries:" + digest.
	// Default "hookline:".
	Prefix string
	// Lease is how long a stream is kept for a process that has died, at most. Default 10 s.
	Lease time.Duration
}

// ErrLeaseLost says that the stream was given to another process while the handler ran. Nothing was committed.
var ErrLeaseLost = errors.New("redisstore: the lease of the stream was lost")

// Store implements [receiver.InboxStore] and [receiver.Pruner].
type Store struct {
	db  redis.UniversalClient
	cfg Config

	renew, unlock *redis.Script

	inbox inboxScripts
	nodes sync.Mutex // guards a list that Prune makes
}

// New returns a store in db, which stays the caller's to close.
func New(db redis.UniversalClient, cfg Config) *Store {
	if cfg.Prefix == "" {
		cfg.Prefix = "hookline:"
	}
	if cfg.Lease <= 0 {
		cfg.Lease = 10 * time.Second
	}
	return &Store{
		db: db, cfg: cfg, inbox: newInboxScripts(),
		renew:  redis.NewScript(`if redis.call("get", KEYS[1]) == ARGV[1] then return redis.call("pexpire", KEYS[1], ARGV[2]) end return 0`),
		unlock: redis.NewScript(`if redis.call("get", KEYS[1]) == ARGV[1] then return redis.call("del", KEYS[1]) end return 0`),
	}
}

type effectsKey struct{}

// effects is what a handler has handed over.
type effects struct{ list []func(redis.Pipeliner) }

// OnCommit has f add commands to the transaction that writes the mark, after those that were handed over before. Redis does not
// roll back: a command that fails by itself, of a wrong type for instance, fails alone, and the mark is written. It panics when ctx
// is not that of a handler of a sequenced event.
func OnCommit(ctx context.Context, f func(tx redis.Pipeliner)) {
	e, ok := ctx.Value(effectsKey{}).(*effects)
	if !ok {
		panic("redisstore: no update in this context")
	}
	e.list = append(e.list, f)
}

// Update implements [receiver.Store]:
//
//  1. take the lock of the key, waiting for whoever has it;
//  2. read the mark;
//  3. call f, and renew the lease meanwhile;
//  4. in one transaction, if the lock is still ours: what f has handed over, the mark, and the end of the lock.
func (s *Store) Update(ctx context.Context, k receiver.Key, f func(context.Context, receiver.Mark) (receiver.Mark, error)) (err error) {
	id := k.Digest()
	l, err := s.lock(ctx, s.cfg.Prefix+"lock:"+id)
	if err != nil {
		return err
	}
	defer l.release()
	markKey := s.cfg.Prefix + "mark:" + id
	old, err := s.db.Get(ctx, markKey).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return fmt.Errorf("redisstore: %w", err)
	}
	m, err := receiver.ParseMark(old)
	if err != nil {
		return err
	}
	var e effects
	next, err := f(context.WithValue(ctx, effectsKey{}, &e), m)
	if err != nil {
		return err
	}
	text := next.String()
	if len(e.list) == 0 && (text == old || old == "" && next.IsZero()) {
		return nil
	}
	err = l.commit(ctx, func(tx redis.Pipeliner) {
		for _, f := range e.list {
			f(tx)
		}
		tx.Set(ctx, markKey, text, 0)
	})
	if err != nil && !errors.Is(err, ErrLeaseLost) {
		return fmt.Errorf("redisstore: %w", err)
	}
	return err
}

// held is a lock that is held.
type held struct {
	s          *Store
	key, token string
	gone       bool // the commit has removed it
	renewal    *lease.Renewal
}

// lock takes the lock, and renews it. A renewal that fails shows at the commit.
func (s *Store) lock(ctx context.Context, key string) (*held, error) {
	l := &held{s: s, key: key, token: rand.Text()}
	err := lease.Await(ctx, func() (taken, again bool, err error) {
		taken, err = s.db.SetNX(ctx, key, l.token, s.cfg.Lease).Result()
		if err != nil {
			l.release() // it may have been set
			err = fmt.Errorf("redisstore: %w", err)
		}
		return taken, false, err
	})
	if err != nil {
		return nil, err
	}
	l.renewal = lease.Renew(ctx, s.cfg.Lease, func(ctx context.Context) bool {
		_ = s.renew.Run(ctx, s.db, []string{key}, l.token, s.cfg.Lease.Milliseconds()).Err()
		return false
	})
	return l, nil
}

// commit runs what fill adds in one transaction with the end of the lock.
func (l *held) commit(ctx context.Context, fill func(redis.Pipeliner)) error {
	err := l.s.db.Watch(ctx, func(tx *redis.Tx) error {
		owner, err := tx.Get(ctx, l.key).Result()
		switch {
		case errors.Is(err, redis.Nil) || err == nil && owner != l.token:
			return ErrLeaseLost
		case err != nil:
			return err
		}
		_, err = tx.TxPipelined(ctx, func(p redis.Pipeliner) error {
			fill(p)
			p.Del(ctx, l.key)
			return nil
		})
		return err
	}, l.key)
	if errors.Is(err, redis.TxFailedErr) { // the lock changed after it was looked at: by its end only
		err = ErrLeaseLost
	}
	l.gone = err == nil
	return err
}

// release ends the lock if it is not gone yet. When that fails, the lease ends it.
func (l *held) release() {
	if l.renewal != nil {
		l.renewal.Settle()
	}
	if l.gone {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = l.s.unlock.Run(ctx, l.s.db, []string{l.key}, l.token).Err()
}

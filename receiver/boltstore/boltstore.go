// Package boltstore keeps the marks of a receiver in a file of bbolt, an embedded database: nothing to install, one process.
//
// bbolt has one writer at a time. So that a slow handler holds up its own stream only, the transaction is not open while the
// handler runs: what the handler wants to write it hands over with [OnCommit], and that is done in the transaction that
// writes the mark. So both are in the file or none is, whenever the process dies. Commits of several streams that come at the
// same time share one, and its fsync.
package boltstore

import (
	"context"
	"fmt"
	"sync"

	"go.etcd.io/bbolt"

	"github.com/hookline/hookline/receiver"
)

// bucket has the digest of each key, and the text of its mark.
const bucket = "hookline_marks"

// Store implements [receiver.InboxStore] and [receiver.Pruner].
type Store struct {
	db *bbolt.DB

	mu    sync.Mutex
	locks map[string]*lock // guarded by mu; of the keys that are being updated or waited for
}

// lock is that of one key.
type lock struct {
	held chan struct{} // has an element while the key is being updated
	uses int           // guarded by Store.mu
}

// New returns a store in db, which stays the caller's to close, and may have other buckets.
func New(db *bbolt.DB) (*Store, error) {
	err := db.Update(func(tx *bbolt.Tx) error {
		for _, name := range []string{bucket, inboxBucket, idBucket} {
			if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("boltstore: %w", err)
	}
	return &Store{db: db, locks: map[string]*lock{}}, nil
}

type effectsKey struct{}

// effects is what a handler has handed over.
type effects struct{ list []func(*bbolt.Tx) error }

// OnCommit has f called in the transaction that writes the mark, after what was handed over before it. An error of f rolls
// all of it back. f must do nothing but use the transaction: when another stream's commit that shares the transaction fails,
// f is called again in the next one. OnCommit panics when ctx is not that of a handler of a sequenced event.
func OnCommit(ctx context.Context, f func(tx *bbolt.Tx) error) {
	e, ok := ctx.Value(effectsKey{}).(*effects)
	if !ok {
		panic("boltstore: no update in this context")
	}
	e.list = append(e.list, f)
}

// Update implements [receiver.Store]:
//
//  1. wait until nobody else updates the key;
//  2. read the mark;
//  3. call f;
//  4. in one transaction, with fsync unless the database is opened without: what f has handed over, and the mark.
func (s *Store) Update(ctx context.Context, k receiver.Key, f func(context.Context, receiver.Mark) (receiver.Mark, error)) error {
	id := k.Digest()
	unlock, err := s.lock(ctx, id)
	if err != nil {
		return err
	}
	defer unlock()
	old, err := s.read(id)
	if err != nil {
		return err
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
	err = s.db.Batch(func(tx *bbolt.Tx) error {
		for _, f := range e.list {
			if err := f(tx); err != nil {
				return err
			}
		}
		return tx.Bucket([]byte(bucket)).Put([]byte(id), []byte(text))
	})
	if err != nil {
		return fmt.Errorf("boltstore: %w", err)
	}
	return nil
}

// read returns the text of a mark, "" when there is none.
func (s *Store) read(id string) (text string, err error) {
	err = s.db.View(func(tx *bbolt.Tx) error {
		text = string(tx.Bucket([]byte(bucket)).Get([]byte(id)))
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("boltstore: %w", err)
	}
	return text, nil
}

// lock waits until nobody else updates the key.
func (s *Store) lock(ctx context.Context, id string) (unlock func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	l := s.locks[id]
	if l == nil {
		l = &lock{held: make(chan struct{}, 1)}
		s.locks[id] = l
	}
	l.uses++
	s.mu.Unlock()
	leave := func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if l.uses--; l.uses == 0 {
			delete(s.locks, id)
		}
	}
	select {
	case l.held <- struct{}{}:
		return func() {
			<-l.held
			leave()
		}, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}

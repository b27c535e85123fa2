package boltstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/hookline/hookline/receiver"
)

const (
	// inboxBucket has, under the digest of a key and a number that ascends, the ID, the key's text, a line feed and the data.
	inboxBucket = "hookline_inbox"
	// idBucket has the number under digest and ID.
	idBucket = "hookline_inbox_ids"

	digestLen = 64
	idLen     = 64
)

// Accept implements [receiver.InboxStore]. Requests of several streams that come at the same time share a transaction, and its
// fsync.
func (s *Store) Accept(ctx context.Context, entries []receiver.Entry) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	err := s.db.Batch(func(tx *bbolt.Tx) error {
		for i := range entries {
			if err := accept(tx, &entries[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("boltstore: %w", err)
	}
	return nil
}

func accept(tx *bbolt.Tx, e *receiver.Entry) error {
	inbox, ids := tx.Bucket([]byte(inboxBucket)), tx.Bucket([]byte(idBucket))
	digest := e.Key.Digest()
	id := []byte(digest + e.ID)
	if ids.Get(id) != nil {
		return nil
	}
	name, err := e.Key.MarshalText()
	if err != nil {
		return err
	}
	seq, err := inbox.NextSequence()
	if err != nil {
		return err
	}
	n := binary.BigEndian.AppendUint64(nil, seq)
	if err := ids.Put(id, n); err != nil {
		return err
	}
	value := make([]byte, 0, len(e.ID)+len(name)+1+len(e.Data))
	value = append(append(append(append(value, e.ID...), name...), '\n'), e.Data...)
	return inbox.Put(append([]byte(digest), n...), value)
}

// Waiting implements [receiver.InboxStore].
func (s *Store) Waiting(context.Context) ([]receiver.Backlog, error) {
	var out []receiver.Backlog
	err := s.db.View(func(tx *bbolt.Tx) error {
		var digest []byte
		return tx.Bucket([]byte(inboxBucket)).ForEach(func(k, v []byte) error {
			if bytes.HasPrefix(k, digest) && digest != nil {
				out[len(out)-1].Count++
				return nil
			}
			name, _, ok := bytes.Cut(v[min(idLen, len(v)):], []byte{'\n'})
			if !ok || len(k) < digestLen {
				return errBadEntry
			}
			b := receiver.Backlog{Count: 1, First: string(v[:idLen])}
			if err := b.Key.UnmarshalText(name); err != nil {
				return err
			}
			digest = bytes.Clone(k[:digestLen])
			out = append(out, b)
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("boltstore: %w", err)
	}
	return out, nil
}

var errBadEntry = fmt.Errorf("bucket %s: not an entry", inboxBucket)

// First implements [receiver.InboxStore].
func (s *Store) First(_ context.Context, k receiver.Key) (e receiver.Entry, ok bool, err error) {
	e.Key = k
	err = s.db.View(func(tx *bbolt.Tx) error {
		digest := []byte(k.Digest())
		at, v := tx.Bucket([]byte(inboxBucket)).Cursor().Seek(digest)
		if !bytes.HasPrefix(at, digest) {
			return nil
		}
		_, data, whole := bytes.Cut(v[min(idLen, len(v)):], []byte{'\n'})
		if !whole {
			return errBadEntry
		}
		e.ID, e.Data, ok = string(v[:idLen]), bytes.Clone(data), true // v ends with the transaction
		return nil
	})
	if err != nil {
		return e, false, fmt.Errorf("boltstore: %w", err)
	}
	return e, ok, nil
}

// Remove implements [receiver.InboxStore].
func (s *Store) Remove(ctx context.Context, k receiver.Key, id string) error {
	digest := k.Digest()
	OnCommit(ctx, func(tx *bbolt.Tx) error {
		ids := tx.Bucket([]byte(idBucket))
		n := bytes.Clone(ids.Get([]byte(digest + id)))
		if n == nil {
			return fmt.Errorf("no entry %s", id)
		}
		if err := ids.Delete([]byte(digest + id)); err != nil {
			return err
		}
		return tx.Bucket([]byte(inboxBucket)).Delete(append([]byte(digest), n...))
	})
	return nil
}

var _ receiver.InboxStore = (*Store)(nil)

package boltstore

import (
	"bytes"
	"context"
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/hookline/hookline/receiver"
)

// prunePage is how many marks are read, and removed, in one transaction.
const prunePage = 1000

type row struct{ id, mark []byte }

// Prune implements [receiver.Pruner].
func (s *Store) Prune(ctx context.Context, old func(digest string, m receiver.Mark) bool) (removed int, err error) {
	for after := []byte(nil); ; {
		if err := ctx.Err(); err != nil {
			return removed, err
		}
		rows, err := s.page(after)
		if err != nil || len(rows) == 0 {
			return removed, err
		}
		after = rows[len(rows)-1].id
		var gone []row
		for _, r := range rows {
			m, err := receiver.ParseMark(string(r.mark))
			if err != nil {
				return removed, fmt.Errorf("boltstore: mark %s: %w", r.id, err)
			}
			if old(string(r.id), m) {
				gone = append(gone, r)
			}
		}
		n, err := s.drop(gone)
		removed += n
		if err != nil {
			return removed, err
		}
	}
}

// page returns some marks behind an id, in its order.
func (s *Store) page(after []byte) (list []row, err error) {
	err = s.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket([]byte(bucket)).Cursor()
		k, v := c.Seek(after)
		if after != nil && bytes.Equal(k, after) {
			k, v = c.Next()
		}
		for ; k != nil && len(list) < prunePage; k, v = c.Next() {
			list = append(list, row{bytes.Clone(k), bytes.Clone(v)})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("boltstore: %w", err)
	}
	return list, nil
}

// drop removes those that are still the same.
func (s *Store) drop(rows []row) (n int, err error) {
	if len(rows) == 0 {
		return 0, nil
	}
	err = s.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket([]byte(bucket))
		for _, r := range rows {
			if !bytes.Equal(b.Get(r.id), r.mark) {
				continue
			}
			if err := b.Delete(r.id); err != nil {
				return err
			}
			n++
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("boltstore: %w", err)
	}
	return n, nil
}

var _ receiver.Pruner = (*Store)(nil)

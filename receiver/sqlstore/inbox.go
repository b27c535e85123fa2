package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/hookline/hookline/receiver"
)

// Accept implements [receiver.InboxStore], with one transaction for all entries.
func (s *Store) Accept(ctx context.Context, entries []receiver.Entry) error {
	if len(entries) == 1 { // a statement is a transaction
		return s.accept(ctx, s.db, &entries[0])
	}
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("sqlstore: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // after a commit it does nothing
	for i := range entries {
		if err := s.accept(ctx, tx, &entries[i]); err != nil {
			return err
		}
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("sqlstore: %w", err)
	}
	return nil
}

// execer is a database or a transaction.
type execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

func (s *Store) accept(ctx context.Context, db execer, e *receiver.Entry) error {
	name, err := e.Key.MarshalText()
	if err != nil {
		return fmt.Errorf("sqlstore: %w", err)
	}
	if _, err := db.ExecContext(ctx, s.st.accept, e.Key.Digest(), e.ID, string(name), e.Data); err != nil {
		return fmt.Errorf("sqlstore: %w", err)
	}
	return nil
}

// Waiting implements [receiver.InboxStore].
func (s *Store) Waiting(ctx context.Context) ([]receiver.Backlog, error) {
	rows, err := s.db.QueryContext(ctx, s.st.waiting)
	if err != nil {
		return nil, fmt.Errorf("sqlstore: %w", err)
	}
	defer rows.Close()
	var out []receiver.Backlog
	for rows.Next() {
		var b receiver.Backlog
		var name []byte
		if err := rows.Scan(&b.Count, &name, &b.First); err != nil {
			return nil, fmt.Errorf("sqlstore: %w", err)
		}
		if err := b.Key.UnmarshalText(name); err != nil {
			return nil, err
		}
		out = append(out, b)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("sqlstore: %w", err)
	}
	return out, nil
}

// First implements [receiver.InboxStore]. The row of the mark is locked: nobody else takes what it returns.
func (s *Store) First(ctx context.Context, k receiver.Key) (receiver.Entry, bool, error) {
	e := receiver.Entry{Key: k}
	u := updateOf(ctx)
	err := u.tx.QueryRowContext(ctx, s.st.first, k.Digest()).Scan(&u.n, &e.ID, &e.Data)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return e, false, nil
	case err != nil:
		return e, false, fmt.Errorf("sqlstore: %w", err)
	}
	return e, true, nil
}

// Remove implements [receiver.InboxStore]. It goes by the primary key: MariaDB would lock more than the row otherwise, and what
// comes in for the stream would wait.
func (s *Store) Remove(ctx context.Context, _ receiver.Key, _ string) error {
	u := updateOf(ctx)
	if _, err := u.tx.ExecContext(ctx, s.st.remove, u.n); err != nil {
		return fmt.Errorf("sqlstore: %w", err)
	}
	return nil
}

var _ receiver.InboxStore = (*Store)(nil)

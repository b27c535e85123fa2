// Package sqlstore keeps the marks of a receiver in a table of a SQL database, in the transaction in which the handler
// does its work. So both are there or none is, whenever the process dies.
//
// The handler gets the transaction with [Tx]. It must not commit it or roll it back. [Schema] and [InboxSchema] are the tables.
//
// Several processes may share the table: an update locks the row of its stream (SQLite: the database). A handler holds its
// connection as long as it runs; so the pool bounds how many streams are handled at once.
//
// With an inbox ([receiver.WithInbox]) an event is answered when its row is committed, and the handler's transaction removes the row.
// SQLite has one writer: there an event waits for the transactions of handlers before it is accepted, so a handler that is slow
// within its transaction holds up the answers. Elsewhere it does not.
//
// The tests run the suite of package storetest against SQLite (modernc.org/sqlite), PostgreSQL (lib/pq) and MariaDB
// (go-sql-driver/mysql), and kill a process on each.
package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/hookline/hookline/receiver"
)

// Dialect is a kind of database.
type Dialect uint8

const (
	// SQLite needs write transactions that begin with a write or wait for each other: set a busy time-out.
	SQLite Dialect = iota
	// PostgreSQL with a driver that takes $1.
	PostgreSQL
	// MySQL and MariaDB; MySQL itself was not tried.
	MySQL
)

// statements of one dialect. A key is stored as a digest, because the lengths, the case and the zero bytes that databases
// take in a primary key differ; the readable columns beside it are for people. name is the key's text, from which it can be had.
type statements struct {
	create, insert, lock, update                string
	createInbox, accept, waiting, first, remove string
	list, prune                                 string
}

// waiting is the same for all.
const waiting = `SELECT w.n, i.name, i.event FROM (SELECT COUNT(*) AS n, MIN(n) AS first FROM hookline_inbox GROUP BY id) w
 JOIN hookline_inbox i ON i.n = w.first`

func (d Dialect) statements() (statements, error) {
	switch d {
	case SQLite:
		return statements{
			create: `CREATE TABLE IF NOT EXISTS hookline_marks (id TEXT PRIMARY KEY, mark TEXT NOT NULL,
 source TEXT NOT NULL, stream TEXT NOT NULL, replay TEXT NOT NULL)`,
			insert:  `INSERT INTO hookline_marks (id, mark, source, stream, replay) VALUES (?, '', ?, ?, ?) ON CONFLICT (id) DO NOTHING`,
			lock:    `SELECT mark FROM hookline_marks WHERE id = ?`,
			update:  `UPDATE hookline_marks SET mark = ? WHERE id = ?`,
			accept:  `INSERT INTO hookline_inbox (id, event, name, data) VALUES (?, ?, ?, ?) ON CONFLICT (id, event) DO NOTHING`,
			waiting: waiting,
			list:    `SELECT id, mark FROM hookline_marks WHERE id > ? ORDER BY id LIMIT 500`,
			prune:   `DELETE FROM hookline_marks WHERE id = ? AND mark = ?`,
			first:   `SELECT n, event, data FROM hookline_inbox WHERE id = ? ORDER BY n LIMIT 1`,
			remove:  `DELETE FROM hookline_inbox WHERE n = ?`,
			createInbox: `CREATE TABLE IF NOT EXISTS hookline_inbox (n INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL,
 event TEXT NOT NULL, name TEXT NOT NULL, data BLOB NOT NULL, UNIQUE (id, event), UNIQUE (id, n))`,
		}, nil
	case PostgreSQL:
		return statements{
			create: `CREATE TABLE IF NOT EXISTS hookline_marks (id TEXT PRIMARY KEY, mark TEXT NOT NULL,
 source TEXT NOT NULL, stream TEXT NOT NULL, replay TEXT NOT NULL)`,
			insert: `INSERT INTO hookline_marks (id, mark, source, stream, replay) VALUES ($1, '', $2, $3, $4) ON CONFLICT (id) DO NOTHING`,
			lock:   `SELECT mark FROM hookline_marks WHERE id = $1 FOR UPDATE`,
			update: `UPDATE hookline_marks SET mark = $1 WHERE id = $2`,
			createInbox: `CREATE TABLE IF NOT EXISTS hookline_inbox (n BIGSERIAL PRIMARY KEY, id TEXT NOT NULL,
 event TEXT NOT NULL, name TEXT NOT NULL, data BYTEA NOT NULL, UNIQUE (id, event), UNIQUE (id, n))`,
			accept:  `INSERT INTO hookline_inbox (id, event, name, data) VALUES ($1, $2, $3, $4) ON CONFLICT (id, event) DO NOTHING`,
			waiting: waiting,
			list:    `SELECT id, mark FROM hookline_marks WHERE id > $1 ORDER BY id LIMIT 500`,
			prune:   `DELETE FROM hookline_marks WHERE id = $1 AND mark = $2`,
			first:   `SELECT n, event, data FROM hookline_inbox WHERE id = $1 ORDER BY n LIMIT 1`,
			remove:  `DELETE FROM hookline_inbox WHERE n = $1`,
		}, nil
	case MySQL:
		return statements{
			create: `CREATE TABLE IF NOT EXISTS hookline_marks (id CHAR(64) CHARACTER SET ascii PRIMARY KEY, mark TEXT NOT NULL,
 source TEXT NOT NULL, stream TEXT NOT NULL, replay TEXT NOT NULL) CHARACTER SET utf8mb4`,
			// INSERT IGNORE would share its lock with another, and both would wait for the row.
			insert: `INSERT INTO hookline_marks (id, mark, source, stream, replay) VALUES (?, '', ?, ?, ?) ON DUPLICATE KEY UPDATE id = id`,
			lock:   `SELECT mark FROM hookline_marks WHERE id = ? FOR UPDATE`,
			update: `UPDATE hookline_marks SET mark = ? WHERE id = ?`,
			createInbox: `CREATE TABLE IF NOT EXISTS hookline_inbox (n BIGINT AUTO_INCREMENT PRIMARY KEY,
 id CHAR(64) CHARACTER SET ascii NOT NULL, event CHAR(64) CHARACTER SET ascii NOT NULL, name MEDIUMTEXT CHARACTER SET ascii NOT NULL,
 data MEDIUMBLOB NOT NULL, UNIQUE (id, event), KEY hookline_inbox_order (id, n))`,
			accept:  `INSERT INTO hookline_inbox (id, event, name, data) VALUES (?, ?, ?, ?) ON DUPLICATE KEY UPDATE n = n`,
			waiting: waiting,
			list:    `SELECT id, mark FROM hookline_marks WHERE id > ? ORDER BY id LIMIT 500`,
			prune:   `DELETE FROM hookline_marks WHERE id = ? AND mark = ?`,
			first:   `SELECT n, event, data FROM hookline_inbox WHERE id = ? ORDER BY n LIMIT 1`,
			remove:  `DELETE FROM hookline_inbox WHERE n = ?`,
		}, nil
	}
	return statements{}, errors.New("sqlstore: unknown dialect")
}

// Schema returns the statement that creates the table of marks if it is not there.
func Schema(d Dialect) string {
	s, _ := d.statements()
	return s.create
}

// InboxSchema returns the statement that creates the table of the inbox ([receiver.WithInbox]) if it is not there.
func InboxSchema(d Dialect) string {
	s, _ := d.statements()
	return s.createInbox
}

// Store implements [receiver.InboxStore] and [receiver.Pruner].
type Store struct {
	db *sql.DB
	st statements
}

// New returns a store in db, and creates its tables if they are not there.
func New(ctx context.Context, db *sql.DB, d Dialect) (*Store, error) {
	st, err := d.statements()
	if err != nil {
		return nil, err
	}
	for _, create := range []string{st.create, st.createInbox} {
		if _, err := db.ExecContext(ctx, create); err != nil {
			return nil, fmt.Errorf("sqlstore: %w", err)
		}
	}
	return &Store{db: db, st: st}, nil
}

type txKey struct{}

// update is one that is in progress.
type update struct {
	tx *sql.Tx
	n  int64 // of the row that First has returned
}

// Tx returns the transaction in which the mark will be written. It panics when ctx is not that of a handler of a sequenced
// event: decisions and heartbeats have no transaction.
func Tx(ctx context.Context) *sql.Tx {
	return updateOf(ctx).tx
}

func updateOf(ctx context.Context) *update {
	u, ok := ctx.Value(txKey{}).(*update)
	if !ok {
		panic("sqlstore: no transaction in this context")
	}
	return u
}

// Update implements [receiver.Store]:
//
//  1. begin;
//  2. insert an empty row for the key if there is none, which also takes SQLite's write lock before anything is read;
//  3. read the row and lock it;
//  4. call f with the transaction in its context;
//  5. write the mark, if it is another;
//  6. commit.
//
// Whatever fails, and a panic, rolls back.
func (s *Store) Update(ctx context.Context, k receiver.Key, f func(context.Context, receiver.Mark) (receiver.Mark, error)) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("sqlstore: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // after a commit it does nothing
	id := k.Digest()
	if _, err := tx.ExecContext(ctx, s.st.insert, id, clean(k.Source), clean(k.Stream), clean(k.Replay)); err != nil {
		return fmt.Errorf("sqlstore: %w", err)
	}
	var old string
	err = tx.QueryRowContext(ctx, s.st.lock, id).Scan(&old)
	if errors.Is(err, sql.ErrNoRows) { // it was there, and Prune has removed it
		if _, err := tx.ExecContext(ctx, s.st.insert, id, clean(k.Source), clean(k.Stream), clean(k.Replay)); err != nil {
			return fmt.Errorf("sqlstore: %w", err)
		}
		err = tx.QueryRowContext(ctx, s.st.lock, id).Scan(&old)
	}
	if err != nil {
		return fmt.Errorf("sqlstore: %w", err)
	}
	m, err := receiver.ParseMark(old)
	if err != nil {
		return err
	}
	next, err := f(context.WithValue(ctx, txKey{}, &update{tx: tx}), m)
	if err != nil {
		return err
	}
	if text := next.String(); text != old && (old != "" || !next.IsZero()) {
		if _, err := tx.ExecContext(ctx, s.st.update, text, id); err != nil {
			return fmt.Errorf("sqlstore: %w", err)
		}
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("sqlstore: %w", err)
	}
	return nil
}

// clean makes text that every database takes.
func clean(s string) string {
	out := []rune(s) // bytes that are not UTF-8 become U+FFFD
	for i, c := range out {
		if c == 0 {
			out[i] = '\uFFFD'
		}
	}
	return string(out)
}

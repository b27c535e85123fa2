// Command sqlite-transaction keeps a table of publications in SQLite. The row and the mark that says that the event was
// handled are written in one transaction: whenever the process is killed, each publication is in the table once.
//
//	HOOKLINE_SECRET=whsec_… go run ./examples/sqlite-transaction
package main

import (
	"context"
	"database/sql"
	"log"
	"net/http"
	"os"
	"time"

	_ "modernc.org/sqlite"

	"github.com/hookline/hookline/receiver"
	"github.com/hookline/hookline/receiver/sqlstore"
)

const table = `CREATE TABLE IF NOT EXISTS publications (id TEXT PRIMARY KEY, stream TEXT NOT NULL, ended INTEGER NOT NULL, seconds REAL NOT NULL,
 reason TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS missing (stream TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, reason TEXT NOT NULL)`

// newReceiver returns a receiver whose handlers write to the database file.
func newReceiver(ctx context.Context, file string, opts ...receiver.Option) (*receiver.Receiver, *sql.DB, error) {
	db, err := sql.Open("sqlite", "file:"+file+"?_pragma=busy_timeout(5000)&_pragma=journal_mode(wal)")
	if err != nil {
		return nil, nil, err
	}
	if _, err := db.ExecContext(ctx, table); err != nil {
		return nil, nil, err
	}
	store, err := sqlstore.New(ctx, db, sqlstore.SQLite)
	if err != nil {
		return nil, nil, err
	}
	kit, err := receiver.New(append(opts,
		receiver.WithStore(store),
		receiver.OnPublicationEnded(func(ctx context.Context, e *receiver.Event, p *receiver.PublicationEnded) error {
			_, err := sqlstore.Tx(ctx).ExecContext(ctx, `INSERT INTO publications (id, stream, ended, seconds, reason) VALUES (?, ?, ?, ?, ?)`,
				e.Publication, e.Stream, p.End, p.Duration, p.Reason)
			return err
		}),
		receiver.OnGap(func(ctx context.Context, e *receiver.Event, g *receiver.Gap) error {
			_, err := sqlstore.Tx(ctx).ExecContext(ctx, `INSERT INTO missing (stream, first, last, reason) VALUES (?, ?, ?, ?)`,
				e.Stream, int64(g.Missing.From), int64(g.Missing.To), g.Reason)
			return err
		}),
	)...)
	return kit, db, err
}

func main() {
	kit, db, err := newReceiver(context.Background(), "publications.db", receiver.WithSecrets(os.Getenv("HOOKLINE_SECRET")))
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	srv := &http.Server{Addr: "127.0.0.1:9000", Handler: kit, ReadTimeout: 10 * time.Second}
	log.Print(srv.ListenAndServe())
}

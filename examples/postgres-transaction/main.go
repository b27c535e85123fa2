// Command postgres-transaction keeps tables of publications and recordings in PostgreSQL. A row and the mark that says that the
// event was handled are written in one transaction: whenever server, receiver or database are killed, each publication and each
// recording is there once.
//
//	DATABASE_URL=postgres://… WEBHOOK_SECRET=whsec_… go run ./examples/postgres-transaction
//
// With API_URL=http://127.0.0.1:8080 and API_SECRET what turns out to be missing is read from the server's log.
package main

import (
	"context"
	"database/sql"
	"log"
	"net/http"
	"os"
	"time"

	_ "github.com/lib/pq"

	"github.com/hookline/hookline/receiver"
	"github.com/hookline/hookline/receiver/sqlstore"
)

const tables = `
CREATE TABLE IF NOT EXISTS publications (id TEXT PRIMARY KEY, stream TEXT NOT NULL, began TIMESTAMPTZ NOT NULL, ended TIMESTAMPTZ, reason TEXT);
CREATE TABLE IF NOT EXISTS recordings (publication TEXT NOT NULL, path TEXT PRIMARY KEY, seconds DOUBLE PRECISION NOT NULL, bytes BIGINT NOT NULL);
CREATE TABLE IF NOT EXISTS missing (stream TEXT NOT NULL, first BIGINT NOT NULL, last BIGINT NOT NULL, reason TEXT NOT NULL)`

// The end tells the begin, too: a register that is missing, or comes late, changes nothing.
const (
	insertBegin = `INSERT INTO publications (id, stream, began) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING`
	insertEnd   = `INSERT INTO publications (id, stream, began, ended, reason) VALUES ($1, $2, $3, $4, $5)
 ON CONFLICT (id) DO UPDATE SET began = excluded.began, ended = excluded.ended, reason = excluded.reason`
	insertRecording = `INSERT INTO recordings (publication, path, seconds, bytes) VALUES ($1, $2, $3, $4)`
	insertMissing   = `INSERT INTO missing (stream, first, last, reason) VALUES ($1, $2, $3, $4)`
)

// newReceiver returns a receiver whose handlers write to the database.
func newReceiver(ctx context.Context, db *sql.DB, opts ...receiver.Option) (*receiver.Receiver, error) {
	if _, err := db.ExecContext(ctx, tables); err != nil {
		return nil, err
	}
	store, err := sqlstore.New(ctx, db, sqlstore.PostgreSQL)
	if err != nil {
		return nil, err
	}
	write := func(ctx context.Context, statement string, values ...any) error {
		_, err := sqlstore.Tx(ctx).ExecContext(ctx, statement, values...)
		return err
	}
	return receiver.New(append(opts,
		receiver.WithStore(store),
		receiver.OnPublish(func(context.Context, *receiver.Event, *receiver.Publish) (receiver.PublishDecision, error) {
			return receiver.AllowPublish(receiver.PublishOptions{}), nil
		}),
		receiver.OnStreamChanged(func(ctx context.Context, e *receiver.Event, c *receiver.StreamChanged) error {
			if !c.Regist {
				return nil
			}
			return write(ctx, insertBegin, e.Publication, e.Stream, e.Time)
		}),
		receiver.OnPublicationEnded(func(ctx context.Context, e *receiver.Event, p *receiver.PublicationEnded) error {
			return write(ctx, insertEnd, e.Publication, e.Stream, time.UnixMilli(p.Start), time.UnixMilli(p.End), p.Reason)
		}),
		receiver.OnRecordMP4(func(ctx context.Context, e *receiver.Event, r *receiver.Record) error {
			return write(ctx, insertRecording, e.Publication, r.FilePath, r.TimeLen, int64(r.FileSize))
		}),
		receiver.OnGap(func(ctx context.Context, e *receiver.Event, g *receiver.Gap) error {
			return write(ctx, insertMissing, e.Stream, int64(g.Missing.From), int64(g.Missing.To), g.Reason)
		}),
	)...)
}

func run(ctx context.Context) error {
	db, err := sql.Open("postgres", os.Getenv("DATABASE_URL"))
	if err != nil {
		return err
	}
	defer db.Close()
	opts := []receiver.Option{receiver.WithSecrets(os.Getenv("WEBHOOK_SECRET"))}
	if api := os.Getenv("API_URL"); api != "" {
		opts = append(opts, receiver.WithFetcher(&receiver.API{URL: api, Secret: os.Getenv("API_SECRET")}))
	}
	kit, err := newReceiver(ctx, db, opts...)
	if err != nil {
		return err
	}
	srv := &http.Server{Addr: "127.0.0.1:9000", Handler: kit, ReadTimeout: 10 * time.Second}
	return srv.ListenAndServe() // killed at any time, it loses nothing: what was not answered comes again
}

func main() { log.Fatal(run(context.Background())) }

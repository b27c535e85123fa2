package sqlstore_test

import (
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"testing"

	_ "modernc.org/sqlite"

	"github.com/hookline/hookline/receiver/sqlstore"
	"github.com/hookline/hookline/receiver/storetest"
)

func dsn(file string) string {
	return "file:" + file + "?_pragma=busy_timeout(60000)&_pragma=journal_mode(wal)"
}

func open(t *testing.T, dir string) *storetest.Harness {
	t.Helper()
	return openFile(t, filepath.Join(dir, "test.db"))
}

func openFile(t *testing.T, file string) *storetest.Harness {
	t.Helper()
	dir := filepath.Dir(file)
	db, err := sql.Open("sqlite", dsn(file))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	if _, err := db.ExecContext(t.Context(), `CREATE TABLE IF NOT EXISTS effects (n INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT)`); err != nil {
		t.Fatal(err)
	}
	store, err := sqlstore.New(t.Context(), db, sqlstore.SQLite)
	if err != nil {
		t.Fatal(err)
	}
	return &storetest.Harness{
		Store: store,
		Effect: func(ctx context.Context, name string) error {
			_, err := sqlstore.Tx(ctx).ExecContext(ctx, `INSERT INTO effects (name) VALUES (?)`, name)
			return err
		},
		Effects: func() (list []string, err error) {
			rows, err := db.QueryContext(t.Context(), `SELECT name FROM effects ORDER BY n`)
			if err != nil {
				return nil, err
			}
			defer rows.Close()
			for rows.Next() {
				var s string
				if err := rows.Scan(&s); err != nil {
					return nil, err
				}
				list = append(list, s)
			}
			return list, rows.Err()
		},
		Crash: func(t *testing.T) *storetest.Harness {
			// What the files hold now is what a killed process leaves; locks go with it.
			image := t.TempDir()
			files, err := filepath.Glob(filepath.Join(dir, "test.db*"))
			if err != nil || len(files) == 0 {
				t.Fatalf("%d files, %v", len(files), err)
			}
			for _, f := range files {
				if filepath.Ext(f) == ".db-shm" {
					continue // rebuilt from the log
				}
				b, err := os.ReadFile(f)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(image, filepath.Base(f)), b, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			return open(t, image)
		},
	}
}

func TestSQLite(t *testing.T) {
	storetest.Run(t, func(t *testing.T) *storetest.Harness { return open(t, t.TempDir()) })
}

func TestTxOutsideOfAHandler(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	sqlstore.Tx(t.Context())
}

package sqlstore_test

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	_ "github.com/go-sql-driver/mysql"
	_ "modernc.org/sqlite"

	"github.com/hookline/hookline/internal/pgtest"
	"github.com/hookline/hookline/internal/queue/queuetest"
	"github.com/hookline/hookline/receiver/sqlstore"
	"github.com/hookline/hookline/receiver/storetest"
)

// database is one that a receiver works with.
type database struct {
	Driver, DSN string
	Dialect     sqlstore.Dialect
}

// insert is the statement of an effect.
func (d database) insert() string {
	if d.Dialect == sqlstore.PostgreSQL {
		return `INSERT INTO effects (name) VALUES ($1)`
	}
	return `INSERT INTO effects (name) VALUES (?)`
}

func (d database) open(t testing.TB) *sql.DB {
	t.Helper()
	db, err := sql.Open(d.Driver, d.DSN)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// harness uses an empty database, or what another process has left in it. crash makes the image of one; see storetest.Harness.
func harness(t *testing.T, d database, crash func(*testing.T) database) *storetest.Harness {
	t.Helper()
	db := d.open(t)
	column := map[sqlstore.Dialect]string{
		sqlstore.SQLite: "INTEGER PRIMARY KEY AUTOINCREMENT", sqlstore.PostgreSQL: "BIGSERIAL PRIMARY KEY",
		sqlstore.MySQL: "BIGINT AUTO_INCREMENT PRIMARY KEY",
	}[d.Dialect]
	if _, err := db.ExecContext(t.Context(), `CREATE TABLE IF NOT EXISTS effects (n `+column+`, name TEXT)`); err != nil {
		t.Fatal(err)
	}
	store, err := sqlstore.New(t.Context(), db, d.Dialect)
	if err != nil {
		t.Fatal(err)
	}
	return &storetest.Harness{
		Store: store, OneWriter: d.Dialect == sqlstore.SQLite,
		Effect: func(ctx context.Context, name string) error {
			_, err := sqlstore.Tx(ctx).ExecContext(ctx, d.insert(), name)
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
			image := crash(t)
			return harness(t, image, crash)
		},
	}
}

// sqliteFile is a database in a file.
func sqliteFile(file string) database {
	return database{"sqlite", "file:" + file + "?_pragma=busy_timeout(600000)&_pragma=journal_mode(wal)", sqlstore.SQLite}
}

// sqliteImage copies the files: what they hold now is what a killed process leaves; locks go with it.
func sqliteImage(t *testing.T, dir string) database {
	t.Helper()
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
	return sqliteFile(filepath.Join(image, "test.db"))
}

// server is a database server that the tests have started. Each fresh database of it has another name.
type server struct {
	dialect sqlstore.Dialect
	driver  string
	dsn     func(name string) string
	admin   string // name of the database to begin with
	dir     string
	cmd     *exec.Cmd
	output  bytes.Buffer

	mu sync.Mutex
	n  int // guarded by mu; databases made
}

// fresh makes an empty database.
func (s *server) fresh(t testing.TB) database {
	t.Helper()
	s.mu.Lock()
	s.n++
	name := "test" + strconv.Itoa(s.n)
	s.mu.Unlock()
	admin := database{s.driver, s.dsn(s.admin), s.dialect}.open(t)
	if _, err := admin.ExecContext(context.Background(), "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	return database{s.driver, s.dsn(name), s.dialect}
}

// image copies what is committed: the server outlives its client, and rolls back what that had begun.
func (s *server) image(t *testing.T, from database) database {
	t.Helper()
	to := s.fresh(t)
	harness(t, to, nil) // the tables
	src, dst := from.open(t), to.open(t)
	for _, table := range []struct{ name, columns string }{
		{"effects", "n, name"},
		{"hookline_marks", "id, mark, source, stream, replay"},
		{"hookline_inbox", "n, id, event, name, data"},
	} {
		rows, err := src.QueryContext(t.Context(), "SELECT "+table.columns+" FROM "+table.name)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		names, _ := rows.Columns()
		for rows.Next() {
			row := make([]any, len(names))
			for i := range row {
				row[i] = new(sql.RawBytes)
			}
			if err := rows.Scan(row...); err != nil {
				t.Fatal(err)
			}
			values := ""
			for i := range row {
				row[i] = string(*row[i].(*sql.RawBytes))
				if i > 0 {
					values += ", "
				}
				if s.dialect == sqlstore.PostgreSQL {
					values += "$" + strconv.Itoa(i+1)
				} else {
					values += "?"
				}
			}
			if _, err := dst.ExecContext(t.Context(), "INSERT INTO "+table.name+" ("+table.columns+") VALUES ("+values+")", row...); err != nil {
				t.Fatal(err)
			}
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
	}
	if s.dialect == sqlstore.PostgreSQL { // the counters are not copied with the rows
		for _, table := range []string{"effects", "hookline_inbox"} {
			if _, err := dst.ExecContext(t.Context(), `SELECT setval('`+table+`_n_seq', (SELECT COALESCE(MAX(n), 0) + 1 FROM `+table+`))`); err != nil {
				t.Fatal(err)
			}
		}
	}
	return to
}

// run starts the server's program and waits until it answers.
func (s *server) run(t testing.TB, argv ...string) {
	t.Helper()
	s.cmd = exec.Command(argv[0], argv[1:]...)
	s.cmd.Stdout, s.cmd.Stderr, s.cmd.Dir = &s.output, &s.output, s.dir
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	db := database{s.driver, s.dsn(s.admin), s.dialect}.open(t)
	queuetest.Await(t, argv[0], func() bool { return db.PingContext(context.Background()) == nil })
}

func (s *server) stop() {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
	}
}

// tool runs a program that must succeed.
func tool(t testing.TB, argv ...string) {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", argv, err, out)
	}
}

// startPostgreSQL starts a real one.
func startPostgreSQL(t *testing.T) *server {
	t.Helper()
	return &server{dialect: sqlstore.PostgreSQL, driver: "postgres", admin: pgtest.Admin, dsn: pgtest.Start(t).DSN}
}

// startMariaDB starts a real one.
func startMariaDB(t *testing.T) *server {
	t.Helper()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	s := &server{dialect: sqlstore.MySQL, driver: "mysql", admin: "mysql", dir: t.TempDir()}
	t.Cleanup(s.stop)
	port := strconv.Itoa(queuetest.FreePort(t))
	s.dsn = func(name string) string { return "root@tcp(127.0.0.1:" + port + ")/" + name }
	data := filepath.Join(s.dir, "data")
	tool(t, queuetest.Binary(t, "mariadb-install-db"), "--no-defaults", "--datadir="+data, "--user="+me.Username,
		"--auth-root-authentication-method=normal", "--skip-test-db")
	s.run(t, queuetest.Binary(t, "mariadbd", "/usr/sbin/mariadbd"), "--no-defaults", "--datadir="+data, "--user="+me.Username,
		"--bind-address=127.0.0.1", "--port="+port, "--socket="+filepath.Join(s.dir, "s"), "--pid-file="+filepath.Join(s.dir, "pid"),
		"--max-connections=500", "--innodb-lock-wait-timeout=600") // a busy machine takes its time
	return s
}

func TestSQLite(t *testing.T) {
	storetest.Run(t, func(t *testing.T) *storetest.Harness {
		dir := t.TempDir()
		return harness(t, sqliteFile(filepath.Join(dir, "test.db")), func(t *testing.T) database { return sqliteImage(t, dir) })
	})
}

func TestPostgreSQL(t *testing.T) { testServer(t, startPostgreSQL(t)) }

func TestMariaDB(t *testing.T) { testServer(t, startMariaDB(t)) }

// testServer runs the suite, and kills a receiver, on a real server.
func testServer(t *testing.T, s *server) {
	storetest.Run(t, func(t *testing.T) *storetest.Harness {
		d := s.fresh(t)
		return harness(t, d, func(t *testing.T) database { return s.image(t, d) })
	})
	t.Run("Kill", func(t *testing.T) { testKill(t, s.fresh(t), false) })
	t.Run("KillInbox", func(t *testing.T) { testKill(t, s.fresh(t), true) })
	if t.Failed() {
		t.Logf("the server said:\n%s", fmt.Sprint(s.output.String()))
	}
}

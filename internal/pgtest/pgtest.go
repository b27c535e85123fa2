// Package pgtest starts a PostgreSQL for tests: one of its own, on the loopback, with its files in a directory that goes with
// the test.
package pgtest

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	_ "github.com/lib/pq" // the driver "postgres"

	"github.com/hookline/hookline/internal/queue/queuetest"
)

// Admin is the database that is there from the beginning.
const Admin = "postgres"

// Server is a running PostgreSQL.
type Server struct{ port string }

// DSN returns the data source name of a database for the driver "postgres".
func (s *Server) DSN(name string) string {
	return "postgres://tester@127.0.0.1:" + s.port + "/" + name + "?sslmode=disable"
}

// Start starts the server and waits until it answers. The test ends it. PostgreSQL refuses to run as root; for root it runs as
// the user of Debian's package.
func Start(tb testing.TB) *Server {
	tb.Helper()
	as := credential(tb)
	// Not below TempDir of tb, which another user may not enter.
	dir, err := os.MkdirTemp("", "pgtest") //nolint:usetesting // see above
	if err != nil {
		tb.Fatal(err)
	}
	if as != nil {
		if err := os.Chown(dir, int(as.Uid), int(as.Gid)); err != nil {
			tb.Fatal(err)
		}
	}
	data := filepath.Join(dir, "data")
	initdb := exec.CommandContext(tb.Context(), binary(tb, "initdb"), "-D", data, "-U", "tester", "--auth=trust", "-E", "UTF8", "--no-locale") //nolint:gosec // a program of the machine
	initdb.SysProcAttr, initdb.Dir = &syscall.SysProcAttr{Credential: as}, "/"
	if out, err := initdb.CombinedOutput(); err != nil {
		tb.Fatalf("initdb: %v\n%s", err, out)
	}
	s := &Server{port: strconv.Itoa(queuetest.FreePort(tb))}
	log, err := os.Create(filepath.Join(dir, "log")) //nolint:gosec // made above
	if err != nil {
		tb.Fatal(err)
	}
	cmd := exec.CommandContext(context.WithoutCancel(tb.Context()), binary(tb, "postgres"), "-D", data, "-p", s.port, //nolint:gosec // a program of the machine
		"-c", "listen_addresses=127.0.0.1", "-k", dir,
		// The process of a connection that was closed, or whose client was killed, takes a while to end on a busy machine, and holds its
		// place until then.
		"-c", "max_connections=500",
		// Its worker in template1 is in the way of CREATE DATABASE, which gives up after 5 s.
		"-c", "autovacuum=off")
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as, Pdeathsig: syscall.SIGQUIT}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGQUIT) // its children end with it
		_ = cmd.Wait()
		if tb.Failed() {
			text, _ := os.ReadFile(log.Name())
			tb.Logf("PostgreSQL said:\n%s", text[max(0, len(text)-4000):])
		}
		_ = log.Close()
		_ = os.RemoveAll(dir)
	})
	db := Open(tb, s.DSN(Admin))
	queuetest.Await(tb, "postgres", func() bool { return db.PingContext(tb.Context()) == nil })
	return s
}

// Open opens a database; the test closes it.
func Open(tb testing.TB, dsn string) *sql.DB {
	tb.Helper()
	db, err := sql.Open("postgres", dsn)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = db.Close() })
	return db
}

// credential is that of the user to run as, nil for this one.
func credential(tb testing.TB) *syscall.Credential {
	tb.Helper()
	if os.Getuid() != 0 {
		return nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		tb.Fatal(err)
	}
	var uid, gid uint32
	if _, err := fmt.Sscan(u.Uid+" "+u.Gid, &uid, &gid); err != nil {
		tb.Fatal(err)
	}
	return &syscall.Credential{Uid: uid, Gid: gid}
}

// binary finds a program; Debian keeps those of the server out of PATH.
func binary(tb testing.TB, name string) string {
	tb.Helper()
	var places []string
	for _, pattern := range []string{"/usr/lib/postgresql/*/bin", "/usr/local/bin", "/usr/bin"} {
		found, _ := filepath.Glob(pattern)
		for _, dir := range found {
			places = append(places, filepath.Join(dir, name))
		}
	}
	return queuetest.Binary(tb, name, places...)
}

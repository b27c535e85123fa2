package queuetest

import (
	"net/netip"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/hookline/hookline/internal/heldport"
)

// starting is how long a server may take on a machine that has other things to do.
const starting = 5 * time.Minute

// dirVariable names the directory that a package's tests share.
const dirVariable = "HOOKLINE_QUEUETEST_DIR"

// Main runs a package's tests with a shared directory, then stop, and returns the exit code.
func Main(m *testing.M, stop func()) int {
	dir, err := os.MkdirTemp("", "queuetest")
	if err != nil {
		panic(err)
	}
	if err := os.Setenv(dirVariable, dir); err != nil {
		panic(err)
	}
	code := m.Run()
	stop()
	// What a server has left running may still write there.
	for end := time.Now().Add(starting); os.RemoveAll(dir) != nil && time.Now().Before(end); {
		time.Sleep(20 * time.Millisecond)
	}
	return code
}

// Dir is the directory that Main made.
func Dir(tb testing.TB) string {
	tb.Helper()
	dir := os.Getenv(dirVariable)
	if dir == "" {
		tb.Fatal("queuetest.Main does not run")
	}
	return dir
}

// Binary finds a server's program, in PATH or at one of the given places. It fails the test when there is none.
func Binary(tb testing.TB, name string, places ...string) string {
	tb.Helper()
	for _, place := range places {
		if _, err := os.Stat(place); err == nil {
			return place
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		tb.Fatalf("%s is missing; make test-deps installs it", name)
	}
	return path
}

// FreePort returns a TCP port of the loopback that nobody listens on. It stays reserved as long as the tests' program runs: a server
// that sets SO_REUSEADDR, as all of the tests' servers do, can listen on it, and again after a restart.
func FreePort(tb testing.TB) int {
	tb.Helper()
	p, err := heldport.Hold(netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		tb.Fatal(err)
	}
	return p.Number()
}

// Await asks until ready says yes.
func Await(tb testing.TB, what string, ready func() bool) {
	tb.Helper()
	for end := time.Now().Add(starting); !ready(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			tb.Fatalf("%s: not within %v", what, starting)
		}
	}
}

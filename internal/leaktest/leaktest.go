// Package leaktest looks for goroutines that outlive the tests of a package. It waits for them longer than goleak does by
// itself, which is less than half a second: on a busy machine a goroutine whose connection has just been closed may take
// longer until it runs for the last time.
package leaktest

import (
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// patience is how long goroutines may take to end.
const patience = time.Minute

// Main runs the tests of a package and exits, with an error when goroutines are left. It is for TestMain.
func Main(m *testing.M, options ...goleak.Option) { os.Exit(Check(m.Run(), options...)) }

// Check returns code, the exit code of the tests, or 1 if they passed and goroutines are left.
func Check(code int, options ...goleak.Option) int {
	if code != 0 {
		return code
	}
	if err := find(patience, options...); err != nil {
		fmt.Fprintln(os.Stderr, "after the tests:", err)
		return 1
	}
	return 0
}

// find returns an error that names the goroutines that are still there after a time.
func find(patience time.Duration, options ...goleak.Option) error {
	for end := time.Now().Add(patience); ; {
		err := goleak.Find(options...) // it waits between its looks
		if err == nil || time.Now().After(end) {
			return err
		}
	}
}

//go:build realclient

package e2e

import "testing"

// TestRecordScenario300 is TestRecordScenario with 300 publications, 50 of each ending at the same time.
func TestRecordScenario300(t *testing.T) {
	t.Parallel()
	recordScenario(t, 50, 10)
}

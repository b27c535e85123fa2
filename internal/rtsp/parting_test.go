package rtsp

import (
	"testing"

	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/stream"
)

// TestParting: the log says why a viewer was served no longer, and not that a context was cancelled.
func TestParting(t *testing.T) {
	var s session
	if got := s.parting(nil); got != "left" {
		t.Errorf("a viewer that left: %q", got)
	}
	kicked := fact.EndKicked
	s.reason.Store(&kicked)
	if got := s.parting(nil); got != "kicked" {
		t.Errorf("a viewer that was kicked: %q", got)
	}
	if got := s.parting(stream.ErrEnded); got != stream.ErrEnded.Error() {
		t.Errorf("a stream that ended: %q", got)
	}
}

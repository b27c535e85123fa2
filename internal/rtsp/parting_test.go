package rtsp

import (
	"context"
	"testing"

	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/stream"
)

// TestParting: the log says why a viewer was served no longer, and not that a context was cancelled.
func TestParting(t *testing.T) {
	over, cancel := context.WithCancel(t.Context())
	cancel()
	var s session
	if got := s.parting(over, over.Err()); got != "left" {
		t.Errorf("a viewer that left: %q", got)
	}
	kicked := fact.EndKicked
	s.reason.Store(&kicked)
	if got := s.parting(over, over.Err()); got != "kicked" {
		t.Errorf("a viewer that was kicked: %q", got)
	}
	if got := s.parting(t.Context(), stream.ErrEnded); got != stream.ErrEnded.Error() {
		t.Errorf("a stream that ended: %q", got)
	}
}

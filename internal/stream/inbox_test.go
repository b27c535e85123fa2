package stream

import (
	"testing"

	"github.com/hookline/hookline/internal/media"
)

// A full inbox drops up to the next key frame, so that what was kept can be decoded, and says how much.
func TestInbox(t *testing.T) {
	b := NewInbox(100)
	write := func(n int, key bool) { b.Write(&media.Frame{Data: make([]byte, n)}, key) }
	write(60, true)
	write(30, false)
	write(30, false) // no room
	write(1, false)  // would fit, but what it refers to is missing
	got, closed := b.Take(nil)
	if len(got) != 2 || closed {
		t.Errorf("%d orders, closed %v", len(got), closed)
	}
	write(1, false)
	write(50, true)
	b.Change(Program{})
	b.Close()
	b.Close()
	write(1, true)
	<-b.Ready()
	got, closed = b.Take(got)
	if len(got) != 2 || !got[0].Key || got[1].Program == nil || !closed {
		t.Errorf("%+v, closed %v", got, closed)
	}
	if n := b.Dropped(); n != 3 {
		t.Errorf("%d dropped", n)
	}
}

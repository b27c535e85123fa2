package storetest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"github.com/hookline/hookline/receiver"
	"github.com/hookline/hookline/receiver/receivertest"
)

// testReceiver runs a receiver on the store whose handler fails after its effect now and then.
func testReceiver(t *testing.T, h *Harness) {
	calls := 0
	r, err := receiver.New(
		receiver.WithStore(h.Store), receiver.WithLogger(slog.New(slog.DiscardHandler)), receiver.WithTimeout(patience),
		receiver.OnAny(func(ctx context.Context, e *receiver.Event) error {
			if err := h.Effect(ctx, fmt.Sprintf("%s-%d", e.Stream, e.Seq)); err != nil {
				return err
			}
			calls++
			switch calls % 5 {
			case 2:
				return errors.New("after the effect")
			case 4:
				panic("after the effect")
			}
			return nil
		}))
	if err != nil {
		t.Fatal(err)
	}
	s := receivertest.New(r)
	var want []string
	for i := range 10 {
		e := s.Register("live/a", "rtmp")
		if i%2 == 1 {
			e = s.Unregister("live/a", "rtmp")
		}
		want = append(want, fmt.Sprintf("%s-%d", e.Stream, e.Seq))
		for s.Send(e).Status != 200 {
		}
		if got := s.Send(e); got.Status != 200 { // once more
			t.Fatalf("a duplicate is answered %d", got.Status)
		}
	}
	got, err := h.Effects()
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("effects %v, want %v", got, want)
	}
}

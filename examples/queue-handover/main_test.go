package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/natstest"
	"github.com/hookline/hookline/receiver"
	"github.com/hookline/hookline/receiver/natsstore"
	"github.com/hookline/hookline/receiver/receivertest"
)

// messages returns what is in the stream.
func messages(t *testing.T, js jetstream.JetStream) (list []string) {
	t.Helper()
	st, err := js.Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	info, err := st.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for seq := uint64(1); seq <= info.State.LastSeq; seq++ {
		m, err := st.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, fmt.Sprintf("%s %s %s", m.Subject, m.Header.Get("Hookline-Stream"), m.Header.Get("Hookline-Seq")))
	}
	return list
}

// broken is a store that fails after the handler, as if the program died before the mark was there.
type broken struct{ receiver.Store }

// Update implements receiver.Store.
func (b broken) Update(ctx context.Context, k receiver.Key, f func(context.Context, receiver.Mark) (receiver.Mark, error)) error {
	return b.Store.Update(ctx, k, func(ctx context.Context, m receiver.Mark) (receiver.Mark, error) {
		_, _ = f(ctx, m)
		return m, errors.New("killed")
	})
}

func TestHandover(t *testing.T) {
	js := natstest.JetStream(t)
	store, err := natsstore.New(t.Context(), js, natsstore.Config{})
	if err != nil {
		t.Fatal(err)
	}
	send := func(store receiver.Store, want int, events ...*receivertest.Event) {
		t.Helper()
		kit, err := newReceiver(t.Context(), js, store, receiver.WithLogger(slog.New(slog.DiscardHandler)))
		if err != nil {
			t.Fatal(err)
		}
		s := receivertest.New(kit)
		for _, e := range events {
			if a := s.Send(e); a.Status != want {
				t.Errorf("%s %d is answered %d %s", e.Type, e.Seq, a.Status, a.Body)
			}
		}
	}
	s := receivertest.New(nil)
	sent := s.Publication("live/a")
	lost := s.Register("live/a", "rtmp")
	sent = append(sent, s.Lose(event.ReasonRefused, lost), s.End("live/a", "kicked"))
	send(store, 200, sent[:2]...)
	send(broken{store}, 500, sent[2])
	send(broken{store}, 500, sent[2])
	send(store, 200, sent[:3]...)
	send(broken{store}, 500, sent[3])
	send(store, 200, sent...)
	const key = "__defaultVhost__/live/a"
	want := []string{
		"hookline.on_stream_changed " + key + " 1", "hookline.on_stream_changed " + key + " 2", "hookline.on_publication_ended " + key + " 3",
		"hookline.gap " + key + " 0", "hookline.on_publication_ended " + key + " 5",
	}
	if got := messages(t, js); !slices.Equal(got, want) {
		t.Errorf("in the stream are %q", got)
	}
}

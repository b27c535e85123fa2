package telemetry

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/journal"
	"github.com/hookline/hookline/internal/webhook"
)

func open(t *testing.T, ratio float64) *Tracer {
	t.Helper()
	tr, err := Open(t.Context(), Config{Endpoint: "http://127.0.0.1:1", Ratio: ratio, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond) // nobody is there
		defer cancel()
		_ = tr.Close(ctx)
	})
	return tr
}

func TestAddress(t *testing.T) {
	for _, bad := range []string{"", "127.0.0.1:4318", "grpc://h:1", "http://", "http://h/\x00"} {
		if tr, err := Open(t.Context(), Config{Endpoint: bad}); err == nil {
			t.Errorf("%q was taken", bad)
			_ = tr.Close(t.Context())
		}
	}
}

// Whether a trace is sampled follows from its id, in about the part that was asked for.
func TestSampling(t *testing.T) {
	for _, ratio := range []float64{0, 0.25, 1} {
		tr, n := open(t, ratio), 0
		for i := range 4000 {
			id := traceID(fmt.Sprint(i))
			if tr.sampled(id) {
				n++
			}
		}
		if got := float64(n) / 4000; got < ratio-0.05 || got > ratio+0.05 || ratio == 0 && n > 0 || ratio == 1 && n < 4000 {
			t.Errorf("%v of the traces, not %v", got, ratio)
		}
	}
}

// What is remembered is bounded, and hostile bodies do no harm.
func TestRoots(t *testing.T) {
	tr := open(t, 0)
	began := func(p, body string) {
		tr.Feed([]*journal.Record{{Type: event.OnPublish, Class: event.History, Publication: p, Body: []byte(body)}})
	}
	for i := range keptRoots + 10 {
		began(fmt.Sprint(i), `{"outcome":{"requestId":"ask"}}`)
	}
	if len(tr.asked) != keptRoots || len(tr.order) != keptRoots || tr.root("9") != "9" || tr.root("10") != "ask" {
		t.Error(len(tr.asked), len(tr.order), tr.root("9"), tr.root("10"))
	}
	began("10", `{"outcome":{"requestId":"resume"}}`)
	if tr.root("10") != "ask" {
		t.Error("a resume has changed the trace")
	}
	for _, body := range []string{``, `[]`, `{"outcome":5}`, `{"start":-1,"end":"x"}`, `{"start":9,"end":1}`} {
		began("x", body)
		tr.Feed([]*journal.Record{{Type: event.OnPublicationEnded, Publication: "x", Body: []byte(body)}})
	}
}

type echo struct{ got webhook.Request }

func (e *echo) Send(_ context.Context, r webhook.Request) webhook.Reply {
	e.got = r
	return webhook.Reply{Status: 200}
}

// A request carries its trace, also when that is not sampled, and the header it came with stays as it was.
func TestTraceparent(t *testing.T) {
	for ratio, flags := range map[float64]string{0: "-00", 1: "-01"} {
		tr, e := open(t, ratio), &echo{}
		shared := map[string][]string{"X-Vhost": {"v"}}
		r := webhook.Request{Header: shared, Meta: webhook.Meta{ID: "e", Publication: "p", Type: "on_play", Attempt: 1}}
		tr.Sender(e, false).Send(t.Context(), r)
		parent := e.got.Header.Get("Traceparent")
		if len(shared) != 1 || e.got.Header.Get("X-Vhost") != "v" || len(parent) != 55 || !strings.HasSuffix(parent, flags) ||
			!strings.HasPrefix(parent, "00-"+traceID("p").String()+"-") {
			t.Errorf("%v: %q", ratio, parent)
		}
	}
}

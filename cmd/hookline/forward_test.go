package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/ordercheck"
)

// streamServer sends server-sent events: the parts in turn, each on a connection of its own, which then ends. It writes
// down the Last-Event-ID of each.
type streamServer struct {
	parts []string

	mu   sync.Mutex
	seen []string
}

// ServeHTTP implements http.Handler.
func (s *streamServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.seen)
	s.seen = append(s.seen, r.Header.Get("Last-Event-ID"))
	if n >= len(s.parts) {
		w.WriteHeader(http.StatusNotFound) // ends follow
		return
	}
	_, _ = io.WriteString(w, s.parts[n])
}

func sse(key string, seq uint64) string {
	return fmt.Sprintf("id: 7-%d\ndata: {\"position\":%d,\"class\":\"lifecycle\",\"hook_index\":%d,\"id\":\"inc-%d\",\"type\":\"on_flow_report\","+
		"\"source\":\"me\",\"incarnation\":\"inc\",\"epoch\":7,\"stream\":%q,\"publication\":\"p\",\"seq\":%d,\"time\":\"2026-01-02T03:04:05Z\","+
		"\"body\":{\"app\":\"live\"}}\n\n", seq, seq, seq, seq, key, seq)
}

// A stream that breaks goes on behind the last message that was handled.
func TestFollow(t *testing.T) {
	s := &streamServer{parts: []string{
		": hi\n\n" + sse("v/a/s", 1) + sse("v/a/s", 2) + "id: 7-3\ndata: {\"cut", "event: gap\ndata: {\"from\":3}\n\n" + sse("v/a/s", 4), "",
	}}
	srv := httptest.NewServer(s)
	defer srv.Close()
	defer http.DefaultClient.CloseIdleConnections()
	c := &client{URL: srv.URL, Secret: testSecret}
	var got []string
	err := c.follow(t.Context(), nil, func(m message) error {
		got = append(got, m.id+m.event)
		return nil
	})
	var refused *apiError
	if !errors.As(err, &refused) || strings.Join(got, " ") != "7-1 7-2 gap 7-4" || strings.Join(s.seen, " ") != " 7-2 7-4 7-4" {
		t.Errorf("%v %q %q", err, got, s.seen)
	}
	srv.Close()
	if err := c.follow(t.Context(), nil, nil); err == nil {
		t.Error("a server that is not there is no error")
	}
}

// Each event arrives once, in the form and with the signature of an endpoint, in the order of its stream.
func TestForward(t *testing.T) {
	secret := event.GenerateSecret()
	verifier, err := event.NewVerifier([]event.Secret{secret}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for seq := range uint64(30) {
		for _, key := range []string{"v/a/1", "v/a/2", "v/a/3"} {
			text.WriteString(sse(key, seq+1))
		}
	}
	for _, format := range []string{"zlm", "cloudevents"} {
		t.Run(format, func(t *testing.T) {
			events := httptest.NewServer(&streamServer{parts: []string{text.String()}})
			defer events.Close()
			var mu sync.Mutex
			last, n := map[string]uint64{}, 0
			receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				if err == nil {
					err = verifier.Verify(r.Header, body)
				}
				var e event.Envelope
				if format == "zlm" {
					var b *ordercheck.Body
					if b, err = ordercheck.Parse(body); err == nil {
						e = b.Event
					}
				} else if err == nil {
					e, _, _, err = event.ParseCloudEvent(body)
				}
				mu.Lock()
				defer mu.Unlock()
				if err != nil || e.Prev == nil || *e.Prev != last[e.Stream] || e.Seq != last[e.Stream]+1 {
					t.Errorf("%v: %s after %d", err, body, last[e.Stream])
				}
				last[e.Stream] = e.Seq
				n++
				_, _ = io.WriteString(w, `{"code":0}`)
			}))
			defer receiver.Close()
			defer http.DefaultClient.CloseIdleConnections()
			f := &forwardFlags{
				client: client{URL: events.URL, Secret: testSecret}, Forward: receiver.URL, Format: format, Sign: secret.Reveal(),
				Timeout: 5 * time.Minute,
			}
			var out bytes.Buffer
			err := f.run(t.Context(), &out)
			var refused *apiError
			if !errors.As(err, &refused) || n != 90 || strings.Count(out.String(), `-> 200 in`) != 90 || !strings.Contains(out.String(), `{"code":0}`) {
				t.Errorf("%v, %d events:\n%.500s", err, n, out.String())
			}
		})
	}
	for _, f := range []*forwardFlags{{Forward: "nonsense"}, {Forward: "http://127.0.0.1:1/", Sign: "wrong"}} {
		if err := f.run(context.Background(), io.Discard); err == nil {
			t.Errorf("%+v was taken", f)
		}
	}
}

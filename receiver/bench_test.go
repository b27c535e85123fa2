package receiver_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/receiver"
	"github.com/hookline/hookline/receiver/receivertest"
)

// BenchmarkEvent is what one signed event of the form zlm costs with the memory store, without the network.
func BenchmarkEvent(b *testing.B) {
	secret := event.GenerateSecret()
	r, err := receiver.New(quiet(), receiver.WithSecrets(secret.Reveal()))
	if err != nil {
		b.Fatal(err)
	}
	signer, err := event.NewSigner([]event.Secret{secret}, nil)
	if err != nil {
		b.Fatal(err)
	}
	s := receivertest.New(r)
	reqs := make([]*http.Request, b.N)
	for i := range reqs {
		name := fmt.Sprintf("live/%d", i%100)
		e := s.Register(name, "rtmp")
		if e.Seq%2 == 0 {
			e.Body["regist"] = false
		}
		e.Body["event"], e.Body["hook_index"] = e.Envelope, e.HookIndex
		body, err := json.Marshal(e.Body)
		if err != nil {
			b.Fatal(err)
		}
		reqs[i] = httptest.NewRequestWithContext(b.Context(), http.MethodPost, "/", bytes.NewReader(body))
		reqs[i].Header.Set("Content-Type", "application/json")
		if err := signer.Headers(reqs[i].Header, e.ID, time.Now(), body); err != nil {
			b.Fatal(err)
		}
	}
	b.ResetTimer()
	for _, req := range reqs {
		w := httptest.NewRecorder()
		r.ServeHTTP(w, req)
		if w.Code != http.StatusOK {
			b.Fatal(w.Code)
		}
	}
	b.StopTimer()
	if st := r.Stats(); st.Handled != uint64(b.N) {
		b.Fatalf("%+v", st)
	}
}

// BenchmarkZLMediaKit is what one hook of a plain ZLMediaKit costs with the memory store, without the network.
func BenchmarkZLMediaKit(b *testing.B) {
	r, err := receiver.New(quiet(), receiver.WithZLMediaKit(receiver.ZLMediaKit{}), receiver.OnPublish(
		func(context.Context, *receiver.Event, *receiver.Publish) (receiver.PublishDecision, error) {
			return receiver.AllowPublish(receiver.PublishOptions{}), nil
		}))
	if err != nil {
		b.Fatal(err)
	}
	z := receivertest.NewZLMediaKit(r)
	reqs := make([]*http.Request, b.N)
	for i := range reqs {
		name := fmt.Sprintf("v/live/%d", i/5%100)
		var h receivertest.Hook
		switch i % 5 {
		case 0:
			h = z.Publish(name, "")
		case 1, 2:
			h = z.Changed(name, []string{"rtsp", "rtmp"}[i%5-1], true)
		default:
			h = z.Changed(name, []string{"rtsp", "rtmp"}[i%5-3], false)
		}
		q := z.Attempt(h)
		reqs[i] = httptest.NewRequestWithContext(b.Context(), http.MethodPost, q.Path, bytes.NewReader(q.Body))
	}
	b.ReportAllocs()
	b.ResetTimer()
	for _, req := range reqs {
		w := httptest.NewRecorder()
		r.ServeHTTP(w, req)
		if w.Code != http.StatusOK {
			b.Fatal(w.Code)
		}
	}
	b.StopTimer()
	if err := r.Shutdown(context.Background()); err != nil {
		b.Fatal(err)
	}
}

package server_test

import (
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// traces is a collector of spans.
type traces struct {
	mu    sync.Mutex
	spans []*tracepb.Span
}

func (c *traces) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 4<<20))
	var req collector.ExportTraceServiceRequest
	if err != nil || r.URL.Path != "/v1/traces" || proto.Unmarshal(body, &req) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, res := range req.GetResourceSpans() {
		for _, scope := range res.GetScopeSpans() {
			c.spans = append(c.spans, scope.GetSpans()...)
		}
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
}

func attr(s *tracepb.Span, key string) string {
	for _, a := range s.GetAttributes() {
		if a.GetKey() == key {
			return a.GetValue().GetStringValue()
		}
	}
	return ""
}

// A publication is one trace: its root, the decision that let it begin, and every attempt, whose ids the receiver saw.
func TestTraces(t *testing.T) {
	hooks, got := &flaky{}, &traces{}
	recv, coll := httptest.NewServer(hooks), httptest.NewServer(got)
	defer recv.Close()
	defer coll.Close()
	url := recv.URL + "/hook?token=hidden"
	s := startServer(t, "HOOKLINE_TELEMETRY_OTLP_ENDPOINT="+coll.URL, "HOOKLINE_HOOK_ENABLE=1", "HOOKLINE_HOOK_ON_PUBLISH="+url,
		"HOOKLINE_HOOK_ON_STREAM_CHANGED="+url, "HOOKLINE_HOOK_ON_PUBLICATION_ENDED="+url, "HOOKLINE_HOOK_RETRY_DELAY=0.01",
		"HOOKLINE_DELIVERY_BACKOFF_MIN_MS=10", "HOOKLINE_DELIVERY_BACKOFF_MAX_MS=50")
	publishOnce(t, s, "live")
	// Everything is sent twice, since the receiver fails at first: when root and decision are there, and a span for each
	// request, half of them failed, it is complete.
	complete := func() bool {
		got.mu.Lock()
		defer got.mu.Unlock()
		hooks.mu.Lock()
		defer hooks.mu.Unlock()
		root, failed := 0, 0
		for _, sp := range got.spans {
			if sp.GetName() == "publication" {
				root++
			}
			if sp.GetStatus().GetCode() == tracepb.Status_STATUS_CODE_ERROR {
				failed++
			}
		}
		return root == 1 && len(got.spans) == len(hooks.headers)+2 && 2*failed == len(hooks.headers)
	}
	for deadline := time.Now().Add(patience); !complete() && time.Now().Before(deadline); { // the exporter sends every five seconds
		time.Sleep(20 * time.Millisecond)
	}
	got.mu.Lock()
	defer got.mu.Unlock()
	hooks.mu.Lock()
	defer hooks.mu.Unlock()
	seen := map[string]bool{}
	for _, h := range hooks.headers {
		seen[h.Get("Traceparent")] = true
	}
	var root, decision *tracepb.Span
	for _, sp := range got.spans {
		switch {
		case sp.GetName() == "publication":
			root = sp
		case sp.GetName() == "decide on_publish":
			decision = sp
		}
	}
	if root == nil || decision == nil || len(root.GetParentSpanId()) != 0 || string(decision.GetParentSpanId()) != string(root.GetSpanId()) ||
		!strings.HasSuffix(attr(root, "hookline.stream"), "/s-0") && attr(root, "hookline.stream") == "" ||
		root.GetEndTimeUnixNano() < root.GetStartTimeUnixNano() {
		t.Fatalf("root %v, decision %v", root, decision)
	}
	requests, failed := 0, 0
	for _, sp := range got.spans {
		if string(sp.GetTraceId()) != string(root.GetTraceId()) {
			t.Errorf("%s is in another trace", sp.GetName())
		}
		if strings.Contains(sp.String(), "hidden") {
			t.Errorf("a secret is shown: %v", sp)
		}
		if !strings.HasPrefix(sp.GetName(), "send ") {
			continue
		}
		requests++
		parent := root
		if sp.GetName() == "send on_publish" {
			parent = decision
		}
		if string(sp.GetParentSpanId()) != string(parent.GetSpanId()) || attr(sp, "hookline.endpoint") != "hook" {
			t.Errorf("%v is not below %s", sp, parent.GetName())
		}
		if !seen["00-"+hex.EncodeToString(sp.GetTraceId())+"-"+hex.EncodeToString(sp.GetSpanId())+"-01"] {
			t.Errorf("the receiver has not seen %v", sp)
		}
		if sp.GetStatus().GetCode() == tracepb.Status_STATUS_CODE_ERROR {
			failed++
		}
	}
	if requests < 8 || 2*failed != requests || len(hooks.headers) != requests {
		t.Errorf("%d requests, %d failed, the receiver saw %d", requests, failed, len(hooks.headers))
	}
}

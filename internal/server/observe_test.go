package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hookline/hookline/internal/pubtool"
	"github.com/hookline/hookline/internal/server"
)

// flaky is a receiver that answers 503 to the first request of each event and question, then accepts.
type flaky struct {
	mu      sync.Mutex
	seen    map[string]int
	headers []http.Header
}

func (f *flaky) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Event struct{ ID string }
	}
	_ = json.NewDecoder(r.Body).Decode(&body)
	f.mu.Lock()
	if f.seen == nil {
		f.seen = map[string]int{}
	}
	f.seen[body.Event.ID]++
	first := f.seen[body.Event.ID] == 1
	f.headers = append(f.headers, r.Header.Clone())
	f.mu.Unlock()
	if first {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, "not now")
		return
	}
	_, _ = io.WriteString(w, `{"code":0,"msg":"fine"}`)
}

const observeSecret = "observe-0123456789abcdef"

// startServer starts a server with keys in the environment's form, and stops it at the end.
func startServer(t *testing.T, env ...string) *server.Server {
	t.Helper()
	env = append(env, "HOOKLINE_HTTP_PORT=65535", "HOOKLINE_RTMP_PORT=65535", "HOOKLINE_RTMP_HANDSHAKESECOND=600", "HOOKLINE_RTMP_KEEPALIVESECOND=600", "HOOKLINE_RTMP_SSLPORT=0", "HOOKLINE_RTSP_PORT=65535",
		"HOOKLINE_HTTP_SSLPORT=0", "HOOKLINE_SERVER_STATE_DIR="+t.TempDir(), "HOOKLINE_JOURNAL_FSYNC=0",
		"HOOKLINE_JOURNAL_MIN_FREE_MB=1", "HOOKLINE_API_SECRET="+observeSecret)
	s, err := server.Start(t.Context(), server.Options{Environ: env, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	return s
}

// ask reads a path of the server.
func ask(t *testing.T, s *server.Server, path string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.HTTPAddr()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+observeSecret)
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func publishOnce(t *testing.T, s *server.Server, app string) {
	t.Helper()
	_, err := pubtool.Run(t.Context(), pubtool.Config{
		URL: "rtmp://" + s.RTMPAddr() + "/" + app + "/s", Streams: 1, Churn: true, Count: 1, Life: 100 * time.Millisecond, Quiet: true, Timeout: patience,
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A real publication whose receiver fails at first: the timeline has the question and every event with each attempt,
// the endpoint tells its state, and no secret is shown.
func TestTimelineOfAPublication(t *testing.T) {
	recv := httptest.NewServer(&flaky{})
	defer recv.Close()
	url := strings.Replace(recv.URL, "http://", "http://user:hidden@", 1) + "/hook?token=hidden"
	s := startServer(t, "HOOKLINE_HOOK_ENABLE=1", "HOOKLINE_HOOK_ON_PUBLISH="+url, "HOOKLINE_HOOK_ON_STREAM_CHANGED="+url,
		"HOOKLINE_HOOK_ON_PUBLICATION_ENDED="+url, "HOOKLINE_HOOK_RETRY_DELAY=0.01", "HOOKLINE_DELIVERY_BACKOFF_MIN_MS=10",
		"HOOKLINE_DELIVERY_BACKOFF_MAX_MS=50")
	publishOnce(t, s, "live")

	var page struct {
		Events []struct {
			Type, Stream string
			Deliveries   []struct {
				Endpoint, Request string
				Attempts          []struct {
					Number, Status int
					Result, Answer string
					URL, Error     string
					LatencyMS      float64
				}
			}
		}
	}
	var text string
	complete := func() error {
		key := strings.TrimSpace(streamOf(t, s))
		text = ask(t, s, "/api/v1/streams/"+key+"/timeline")
		page.Events = nil
		if err := json.Unmarshal([]byte(text), &page); err != nil {
			return err
		}
		ended := false
		for _, e := range page.Events {
			ended = ended || e.Type == "on_publication_ended"
			if len(e.Deliveries) != 1 || len(e.Deliveries[0].Attempts) < 2 {
				if e.Type == "on_flow_report" {
					continue // not subscribed
				}
				return fmt.Errorf("%s: %d deliveries", e.Type, len(e.Deliveries))
			}
			d := e.Deliveries[0]
			first, last := d.Attempts[0], d.Attempts[len(d.Attempts)-1]
			if d.Endpoint != "hook" || (d.Request != "") != (e.Type == "on_publish") || first.Number != 1 || first.Result != "retry" ||
				first.Status != 503 || first.Answer != "not now" || first.Error == "" || last.Result != "accepted" || last.Status != 200 ||
				last.Answer != `{"code":0,"msg":"fine"}` || last.LatencyMS <= 0 || !strings.HasSuffix(last.URL, "/hook") {
				return fmt.Errorf("%s: %+v", e.Type, d)
			}
		}
		if !ended {
			return fmt.Errorf("no end among %d events", len(page.Events))
		}
		return nil
	}
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if err = complete(); err == nil {
			break
		}
	}
	if err != nil {
		t.Fatal(err, text)
	}
	endpoint, list := ask(t, s, "/api/v1/endpoints/hook"), ask(t, s, "/api/v1/attempts?result=failed")
	if !strings.Contains(endpoint, `"lastError":{`) || !strings.Contains(endpoint, `"p99":`) || !strings.Contains(list, "not now") {
		t.Errorf("%s\n%s", endpoint, list)
	}
	for _, answer := range []string{text, endpoint, list} {
		if strings.Contains(answer, "hidden") {
			t.Errorf("a secret is shown: %s", answer)
		}
	}
}

// streamOf returns the key of the newest publication that ended.
func streamOf(t *testing.T, s *server.Server) string {
	t.Helper()
	var list struct{ Events []struct{ Stream string } }
	_ = json.Unmarshal([]byte(ask(t, s, "/api/v1/events?type=on_publication_ended&order=desc&limit=1")), &list)
	if len(list.Events) == 0 {
		return "none"
	}
	return list.Events[0].Stream
}

package api

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/journal"
	"github.com/hookline/hookline/internal/journal/journaltest"
	"github.com/hookline/hookline/internal/leaktest"
	"github.com/hookline/hookline/internal/stream"
)

func TestMain(m *testing.M) {
	// net/http gives a client half a second to read an answer that ends the connection.
	leaktest.Main(m, goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait"))
}

const testSecret = "lab-secret-0123456789abcdef"

// fakeHub holds media sources; those of a stream named "watched" have a reader.
type fakeHub struct {
	mu   sync.Mutex
	list []stream.Info
}

func (h *fakeHub) selected(f stream.Filter) []stream.Info {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []stream.Info
	for _, i := range h.list {
		s := i.StreamObject
		if (f.Schema == "" || f.Schema == s.Schema) && (f.Vhost == "" || f.Vhost == s.Vhost) &&
			(f.App == "" || f.App == s.App) && (f.Stream == "" || f.Stream == s.Stream.Stream) {
			out = append(out, i)
		}
	}
	return out
}

func (h *fakeHub) List(f stream.Filter) []stream.Info { return h.selected(f) }

func (h *fakeHub) Get(f stream.Filter) (stream.Info, bool) {
	if l := h.selected(f); len(l) > 0 {
		return l[0], true
	}
	return stream.Info{}, false
}

func (h *fakeHub) Players(f stream.Filter) []stream.Player {
	if f.Stream != "watched" {
		return nil
	}
	return []stream.Player{{
		Socket: fact.Socket{PeerIP: "127.0.0.1", PeerPort: 1, LocalIP: "127.0.0.1", LocalPort: 2, Identifier: "9-9"},
		TypeID: "mediakit::RtmpSession",
	}}
}

func (h *fakeHub) CloseStreams(f stream.Filter, force bool, _ fact.EndReason) (hit, closed int) {
	for _, i := range h.selected(f) {
		hit++
		if force || i.Stream.Stream != "watched" {
			closed++
		}
	}
	return hit, closed
}

func (h *fakeHub) Stats() stream.Stats {
	return stream.Stats{Sources: len(h.list), Publications: 1, Viewers: 2, Waiting: 3}
}

type fakeConfig struct {
	all map[string]string
	set func(map[string]string) (int, error)
}

func (c *fakeConfig) All() map[string]string { return c.all }

func (c *fakeConfig) Set(v map[string]string) (int, error) {
	if c.set == nil {
		return 0, nil
	}
	return c.set(v)
}

// world is an API with fake neighbours.
type world struct {
	t        *testing.T
	api      *API
	hub      *fakeHub
	config   *fakeConfig
	journal  *journaltest.Mem
	sessions *Sessions
	ready    *Readiness
	bc       *Broadcaster
	log      *syncBuffer

	mu       sync.Mutex
	settings Settings
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func newWorld(t *testing.T, change ...func(*Deps)) *world {
	t.Helper()
	w := &world{
		t: t, hub: &fakeHub{}, config: &fakeConfig{all: map[string]string{"http.port": "80"}},
		journal: journaltest.NewMem(journaltest.Options{}), sessions: NewSessions(),
		ready: &Readiness{}, bc: NewBroadcaster(), log: &syncBuffer{},
		settings: Settings{Secret: testSecret, AllowCrossDomains: true},
	}
	deps := Deps{
		Settings: func() Settings {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.settings
		},
		Allowed: func(a netip.Addr) bool { return a.IsLoopback() },
		Config:  w.config, Hub: w.hub, Sessions: w.sessions, Journal: w.journal, Broadcaster: w.bc,
		WriteTimeout: time.Hour, // nobody is cut for being slow
		Readiness:    w.ready, Version: Version{"now", "main", "abc"},
		Logger: slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, c := range change {
		c(&deps)
	}
	w.api = New(deps)
	w.api.scanTime = time.Hour
	t.Cleanup(func() {
		w.api.Close()
		if err := w.journal.Close(); err != nil {
			t.Error(err)
		}
		if strings.Contains(w.log.String(), testSecret) {
			t.Error("the log holds the secret")
		}
	})
	return w
}

// raise journals events and tells the broadcaster.
func (w *world) raise(recs ...*journal.Record) {
	w.t.Helper()
	ack, err := w.journal.Append(journal.Batch{Records: recs})
	if err == nil {
		err = ack.Wait()
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.bc.Publish(recs)
}

// record makes an event; index is also in its id.
func record(key string, seq, index uint64, typ event.Type, at time.Time) *journal.Record {
	const digits = "0123456789abcdef"
	id := ""
	for n := index; n > 0 || id == ""; n /= 16 {
		id = string(digits[n%16]) + id
	}
	return &journal.Record{
		Key: key, Seq: seq, Index: index, ID: "inc-" + id, Type: typ, Time: at, Source: "me", Incarnation: "inc",
		Epoch: 7, Publication: "p", Body: []byte(`{"n":` + id10(index) + `}`),
	}
}

func id10(n uint64) string {
	b, _ := json.Marshal(n)
	return string(b)
}

func request(t *testing.T, method, target, contentType, body string) *http.Request {
	t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.RemoteAddr = "127.0.0.1:4711"
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	return r
}

func (w *world) serve(r *http.Request) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	w.api.ServeHTTP(rec, r)
	return rec
}

// get calls target with the secret and decodes the answer.
func (w *world) get(target string) (status int, m map[string]any) {
	w.t.Helper()
	r := request(w.t, http.MethodGet, target, "", "")
	r.Header.Set("Secret", testSecret)
	rec := w.serve(r)
	if err := json.Unmarshal(rec.Body.Bytes(), &m); err != nil {
		w.t.Fatalf("%s: %v: %s", target, err, rec.Body)
	}
	return rec.Code, m
}

func readFile(t *testing.T, name string, v any) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err == nil {
		err = json.Unmarshal(b, v)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func discard(r io.ReadCloser) {
	_, _ = io.Copy(io.Discard, r)
	_ = r.Close()
}

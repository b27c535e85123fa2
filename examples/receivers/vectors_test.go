package receivers_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/receiver/receivertest"
)

var update = flag.Bool("update", false, "write vectors/behaviour.json")

const (
	vectorFile = "vectors/behaviour.json"
	vectorNow  = 1767323045
	oldSecret  = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	newSecret  = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw=="
	alien      = "whsec_dGhpcyBpcyBub3QgYSBrZXkgb2YgdGhlIHNlbmRlcg=="
	private    = "whsk_VEVTVFNJR05JTkdLRVlET05PVFVTRVRISVNGT1JBTlk="
	about      = "Requests to a receiver of the form zlm, each with the answer and with what the receiver does. The receiver has these keys, and its clock " +
		"shows now all the time. One receiver gets all vectors in this order; each has a source of its own. restart: before this request " +
		"the receiver is killed and started again. needs: v1a: a receiver that does not know these signatures answers 401 and does nothing. code: " +
		"of the answer, if status is 200. log: what the request leads to: 'handled STREAM EPOCH SEQ TYPE', with ' late' for an event " +
		"of the past, and 'gap STREAM FROM TO REASON' for events that are missing."
)

// behaviour is vectors/behaviour.json.
type behaviour struct {
	About   string   `json:"about"`
	Now     int64    `json:"now"`
	Keys    []string `json:"keys"`
	Vectors []vector `json:"vectors"`
}

type vector struct {
	Name     string    `json:"name"`
	Requests []request `json:"requests"`
}

type request struct {
	Restart bool              `json:"restart,omitempty"`
	Needs   string            `json:"needs,omitempty"`
	Headers map[string]string `json:"headers"`
	Body    string            `json:"body"`
	Status  int               `json:"status"`
	Code    int               `json:"code"`
	Log     []string          `json:"log"`
}

// writer makes a vector with a fake sender.
type writer struct {
	*receivertest.Sender
	t      *testing.T
	source string
	signer *event.Signer
	v      vector
	body   []byte // of the request that the sender made last
}

func newWriter(t *testing.T, n int, name string) *writer {
	t.Helper()
	w := &writer{t: t, source: fmt.Sprint("server", n), v: vector{Name: name}}
	w.Sender = receivertest.New(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var b bytes.Buffer
		_, _ = b.ReadFrom(r.Body)
		w.body = b.Bytes()
	}))
	w.signer = signer(t, newSecret)
	return w
}

func signer(t *testing.T, keys ...string) *event.Signer {
	t.Helper()
	s, err := event.ParseSigner(keys)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// raw adds a request.
func (w *writer) raw(id string, body []byte, log ...string) *request {
	w.v.Requests = append(w.v.Requests, request{
		Headers: map[string]string{
			"content-type": "application/json", event.HeaderID: id, event.HeaderTimestamp: strconv.Itoa(vectorNow),
			event.HeaderSignature: w.signer.Sign(id, time.Unix(vectorNow, 0), body),
		},
		Body: string(body), Status: http.StatusOK, Log: append([]string{}, log...),
	})
	return &w.v.Requests[len(w.v.Requests)-1]
}

// send adds a request with an event that leads to log.
func (w *writer) send(e *receivertest.Event, log ...string) *request {
	c := *e
	c.Source = w.source
	c.ID = w.source + "-" + strings.ReplaceAll(c.ID, ".", "-")
	w.Send(&c)
	return w.raw(c.ID, w.body, log...)
}

// handled adds a request with an event that is handled, after these gaps.
func (w *writer) handled(e *receivertest.Event, gaps ...string) *request {
	return w.send(e, append(slices.Clone(gaps), line(e))...)
}

func (w *writer) late(e *receivertest.Event) *request {
	return w.send(e, line(e)+" late")
}

func (w *writer) refused(r *request, status int) {
	r.Status, r.Code, r.Log = status, 0, []string{}
}

func line(e *receivertest.Event) string {
	return fmt.Sprintf("handled %s %d %d %s", e.Stream, e.Epoch, e.Seq, e.Type)
}

func gap(reason string, events ...*receivertest.Event) string {
	return fmt.Sprintf("gap %s %d %d %s", events[0].Stream, events[0].Seq, events[len(events)-1].Seq, reason)
}

// registers makes n events of a stream.
func (w *writer) registers(n int) (list []*receivertest.Event) {
	for i := range n {
		list = append(list, w.Register("live/a", fmt.Sprint("schema", i)))
	}
	return list
}

// cases are the vectors by name.
func cases() map[string]func(*writer) {
	return map[string]func(*writer){
		"in order": func(w *writer) {
			for _, e := range slices.Concat(w.Publication("live/a"), w.Publication("live/a")) {
				w.handled(e)
			}
		},
		"duplicates": func(w *writer) {
			list := w.Publication("live/a")
			for _, e := range list {
				w.handled(e)
				w.send(e)
			}
			w.send(list[0])
			w.send(list[2]).Restart = true
			w.handled(w.Register("live/a", "rtmp"))
		},
		"the first event is not the first of the stream": func(w *writer) {
			e := w.registers(5)
			w.handled(e[3])
			w.send(e[3])
			w.handled(e[4])
		},
		"seq jumps over what is not for this receiver": func(w *writer) {
			e := w.registers(3)
			w.handled(e[0])
			prev := e[0].Seq
			e[2].Prev = &prev
			w.handled(e[2])
			w.send(e[2])
		},
		"several streams": func(w *writer) {
			a, b := w.Publication("live/a"), w.Publication("live/机房 1")
			for i := range a {
				w.handled(b[i])
				w.handled(a[i])
			}
			w.send(a[0])
			w.send(b[1])
		},
		"gap notice": func(w *writer) {
			e := w.registers(4)
			w.handled(e[0])
			n := w.Lose(event.ReasonRefused, e[1], e[2])
			w.send(n, gap("refused", e[1], e[2]))
			w.send(n)
			w.handled(e[3])
		},
		"gap within an event": func(w *writer) {
			e := w.registers(4)
			w.handled(e[0])
			e[3].Gap = []event.Gap{receivertest.GapOf(event.ReasonRefused, e[1]), receivertest.GapOf("rejected", e[2])}
			w.handled(e[3], gap("refused", e[1]), gap("rejected", e[2]))
			w.send(e[3])
		},
		"the rest of a gap": func(w *writer) {
			e := w.registers(4)
			w.handled(e[0])
			w.handled(e[1]) // the sender never got to know
			w.send(w.Lose(event.ReasonRefused, e[1], e[2]), gap("refused", e[2]))
			w.handled(e[3])
		},
		"prev is above the mark": func(w *writer) {
			e := w.registers(5)
			w.handled(e[0])
			w.handled(e[3], gap("missed", e[1], e[2]))
			w.handled(e[4])
		},
		"late": func(w *writer) {
			e := w.registers(6)
			w.handled(e[0])
			w.send(w.Lose(event.ReasonRefused, e[1], e[2], e[3], e[4]), gap("refused", e[1], e[4]))
			w.handled(e[5])
			w.late(receivertest.Late(e[3]))
			w.send(receivertest.Late(e[3]))
			w.late(receivertest.Late(e[1])).Restart = true
			w.send(receivertest.Late(e[1]))
			w.late(receivertest.Late(e[4]))
			w.late(receivertest.Late(e[2]))
			for i := range e {
				w.send(receivertest.Late(e[i]))
			}
		},
		"late, at a receiver that knows nothing of the stream": func(w *writer) {
			e := w.registers(4)
			w.late(receivertest.Late(e[2]))
			w.late(receivertest.Late(e[1]))
			w.send(receivertest.Late(e[2]))
			w.handled(e[3])
		},
		"replay": func(w *writer) {
			e := w.registers(3)
			w.handled(e[0])
			w.send(receivertest.Replay(e[0], "r1"))
			w.send(receivertest.Replay(e[2], "r1"))
			w.handled(e[1])
			w.handled(e[2])
		},
		"new epoch": func(w *writer) {
			old := w.registers(4)
			for _, e := range old[:3] {
				w.handled(e)
			}
			w.NewEpoch()
			e := w.registers(3)
			w.handled(e[0])
			w.send(old[3])
			w.send(e[0])
			w.handled(e[1]).Restart = true
			w.handled(e[2])
		},
		"a new epoch that begins with a gap": func(w *writer) {
			for _, e := range w.registers(3) {
				w.handled(e)
			}
			w.NewEpoch()
			e := w.registers(3)
			w.send(w.Lose("retention", e[0], e[1]), gap("retention", e[0], e[1]))
			w.handled(e[2])
			w.late(receivertest.Late(e[1]))
		},
		"decisions and heartbeats": func(w *writer) {
			w.send(w.Make(event.OnPublish, "live/a", map[string]any{"params": "token=1"}))
			w.handled(w.Register("live/a", "rtmp"))
			w.send(w.Make(event.OnPlay, "live/a", nil))
			w.send(w.Make(event.OnServerKeepalive, "", map[string]any{"data": map[string]any{"TcpSession": 3}}))
			w.handled(w.Unregister("live/a", "rtmp"))
		},
		"signatures": signatures,
		"what is no event": func(w *writer) {
			for i, body := range []string{"", "{", "[]", "null", "7", `"event"`, "{}", `{"event":null}`, `{"event":7}`, `{"event":{}}`, `{"event":{"id":"1","type":"on_play","source":"x","stream":""}}`} {
				w.raw(fmt.Sprint("none", i), []byte(body)).Status = http.StatusBadRequest
			}
			w.handled(w.Register("live/a", "rtmp"))
		},
	}
}

func signatures(w *writer) {
	at := func(r *request, seconds int64) {
		r.Headers[event.HeaderTimestamp] = strconv.FormatInt(seconds, 10)
		r.Headers[event.HeaderSignature] = w.signer.Sign(r.Headers[event.HeaderID], time.Unix(seconds, 0), []byte(r.Body))
	}
	// Each is refused with a wrong signature, then handled with a right one.
	wrong := []func(*request){
		func(r *request) { r.Body += " " },
		func(r *request) { r.Headers[event.HeaderID] += "0" },
		func(r *request) { r.Headers[event.HeaderTimestamp] = strconv.Itoa(vectorNow + 1) },
		func(r *request) { at(r, vectorNow-301) },
		func(r *request) { at(r, vectorNow+301) },
		func(r *request) { r.Headers[event.HeaderTimestamp] = "soon" },
		func(r *request) { delete(r.Headers, event.HeaderSignature) },
		func(r *request) { delete(r.Headers, event.HeaderTimestamp) },
		func(r *request) { delete(r.Headers, event.HeaderID) },
		func(r *request) { r.Headers[event.HeaderSignature] = "v1,AAAA v1 v1, , v2,AAAA v1a,AAAA" },
		func(r *request) {
			r.Headers[event.HeaderSignature] = signer(w.t, alien).Sign(r.Headers[event.HeaderID], time.Unix(vectorNow, 0), []byte(r.Body))
		},
	}
	for i, spoil := range wrong {
		e := w.Register("live/a", fmt.Sprint("schema", i))
		r := w.send(e)
		spoil(r)
		w.refused(r, http.StatusUnauthorized)
		w.handled(e)
	}
	at(w.handled(w.Register("live/a", "old")), vectorNow-300)
	at(w.handled(w.Register("live/a", "new")), vectorNow+300)
	w.signer = signer(w.t, oldSecret)
	w.handled(w.Register("live/a", "rotated"))
	w.signer = signer(w.t, alien, oldSecret, private)
	w.handled(w.Register("live/a", "several"))
	r := w.handled(w.Register("live/a", "unknown"))
	r.Headers[event.HeaderSignature] = "v9,AAAA " + r.Headers[event.HeaderSignature]
	w.signer = signer(w.t, private)
	w.handled(w.Register("live/b", "ed25519")).Needs = "v1a" // on a stream of its own: nothing follows from its absence
}

// TestVectors holds the file against what the fake sender makes; -update writes it.
func TestVectors(t *testing.T) {
	key, err := event.ParseSigningKey(private)
	if err != nil {
		t.Fatal(err)
	}
	file := behaviour{About: about, Now: vectorNow, Keys: []string{oldSecret, newSecret, key.Public().String()}}
	for i, name := range slices.Sorted(maps.Keys(cases())) {
		w := newWriter(t, i+1, name)
		cases()[name](w)
		file.Vectors = append(file.Vectors, w.v)
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	if err := enc.Encode(file); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(vectorFile, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile(vectorFile); err != nil || !bytes.Equal(b.Bytes(), want) {
		t.Errorf("%s differs from what is made now (%v); if that is meant: go test ./examples/receivers -update", vectorFile, err)
	}
}

// readVectors reads the file.
func readVectors(t *testing.T) (b behaviour) {
	t.Helper()
	raw, err := os.ReadFile(vectorFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &b); err != nil || len(b.Vectors) == 0 {
		t.Fatalf("%d vectors, %v", len(b.Vectors), err)
	}
	return b
}

// check compares an answer.
func (r *request) check(t *testing.T, at string, status int, body []byte, v1a bool) (log []string) {
	t.Helper()
	want, log := r.Status, r.Log
	if r.Needs == "v1a" && !v1a {
		want, log = http.StatusUnauthorized, nil
	}
	var a struct {
		Code *int `json:"code"`
	}
	if err := json.Unmarshal(body, &a); err != nil || a.Code == nil {
		t.Fatalf("%s is answered %s", at, body)
	}
	if status != want || status == http.StatusOK && *a.Code != r.Code {
		t.Errorf("%s is answered %d %s, want %d and code %d\n%s", at, status, body, want, r.Code, r.Body)
	}
	return log
}

// record is an answer of a handler.
func record(h http.Handler, r *request) *httptest.ResponseRecorder {
	req := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(r.Body))
	for k, v := range r.Headers {
		req.Header.Set(k, v)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	return w
}

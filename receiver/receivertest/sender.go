// Package receivertest has a fake sender for the tests of handlers: it makes the events that Hookline would send, and sends
// them in order, twice, late, with a gap, of a new epoch, signed, as bodies of the form zlm or as CloudEvents, straight to an
// [http.Handler]. [ZLMediaKit] makes the hooks of a plain ZLMediaKit. [Recorder] and [ReplayTrace] write the requests to any receiver
// down and send them again.
package receivertest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/receiver"
)

// Epoch and Start are the epoch and the time of the first event of a [Sender].
const Epoch = 1767319445678

// Start returns the time of the first event.
func Start() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }

// Event is an event that a [Sender] made. Its fields may be changed before it is sent.
type Event struct {
	event.Envelope
	HookIndex uint64
	// Body is the hook's body without hook_index, mediaServerId and event.
	Body map[string]any
}

// Answer is what a handler answered.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
	// Code and Msg are members of the body.
	Code int
	Msg  string
}

// Sender makes and sends events. It is safe for concurrent use.
type Sender struct {
	h http.Handler

	mu          sync.Mutex
	source      string
	epoch       int64
	index       uint64
	now         time.Time
	streams     map[string]*stream
	signer      *event.Signer
	cloudEvents bool
	log         map[string][]*Event // of each stream in this epoch: what /api/v1/events would have
}

type stream struct {
	seq, owed   uint64
	publication string
	schemas     []string // that ever registered
	live        []string
	start       time.Time
	count       int
}

// New returns a sender named "test" for h.
func New(h http.Handler) *Sender {
	return &Sender{h: h, source: "test", epoch: Epoch, now: Start(), streams: map[string]*stream{}, log: map[string][]*Event{}}
}

// Sign has requests signed with these keys, "whsec_" or "whsk_". Bad keys panic.
func (s *Sender) Sign(keys ...string) {
	signer, err := event.ParseSigner(keys)
	if err != nil {
		panic(err)
	}
	s.signer = signer
}

// CloudEvents has events sent in that form from now on; decisions and questions stay in the form zlm.
func (s *Sender) CloudEvents() { s.cloudEvents = true }

// NewEpoch begins a new epoch, as after a lost journal: seqs begin anew, and nothing is published.
func (s *Sender) NewEpoch() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.epoch++
	s.streams, s.log = map[string]*stream{}, map[string][]*Event{}
}

// Make makes the next event of a stream, "live/a" or "vhost/live/a"; "" for the server itself. A lifecycle event gets a seq and
// the seq before it as prev; another gets after.
func (s *Sender) Make(typ event.Type, name string, body map[string]any) *Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.make(typ, name, body)
}

func (s *Sender) make(typ event.Type, name string, body map[string]any) *Event {
	key, place := split(name)
	st := s.stream(key)
	s.index++
	s.now = s.now.Add(time.Millisecond)
	e := &Event{HookIndex: s.index, Body: map[string]any{}, Envelope: event.Envelope{
		ID: fmt.Sprintf("%x-%x", s.epoch, s.index), Type: typ, Source: s.source, Incarnation: "run", Epoch: s.epoch, Stream: key,
		Publication: st.publication, Time: s.now,
	}}
	for _, m := range []map[string]any{place, body} {
		for k, v := range m {
			e.Body[k] = v
		}
	}
	switch {
	case event.ClassOf(typ) == event.Lifecycle && typ != event.OnEventGap:
		st.seq++
		prev := st.owed
		e.Seq, e.Prev = st.seq, &prev
		st.owed = st.seq
		s.log[key] = append(s.log[key], e)
	case event.ClassOf(typ) == event.Decision || event.ClassOf(typ) == event.Question:
		after := st.seq
		e.After = &after
	}
	return e
}

// Register makes a register. The first of a publication begins it.
func (s *Sender) Register(name, schema string) *Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	key, _ := split(name)
	st := s.stream(key)
	if st.publication == "" {
		st.count++
		st.publication, st.start = fmt.Sprintf("p%x-%d-%s", s.epoch, st.count, strings.ReplaceAll(key, "/", "-")), s.now
	}
	st.schemas, st.live = append(st.schemas, schema), append(st.live, schema)
	return s.make(event.OnStreamChanged, name, map[string]any{
		"schema": schema, "regist": true, "originType": 1, "originTypeStr": "rtmp_push", "originUrl": "rtmp://" + key,
		"originSock":  map[string]any{"peer_ip": "192.0.2.1", "peer_port": 1000, "local_ip": "192.0.2.2", "local_port": 1935, "identifier": "1-1"},
		"createStamp": s.now.Unix(), "readerCount": 0, "totalReaderCount": 0, "tracks": []any{},
	})
}

// Unregister makes an unregister.
func (s *Sender) Unregister(name, schema string) *Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	key, _ := split(name)
	st := s.stream(key)
	st.live = slices.DeleteFunc(st.live, func(l string) bool { return l == schema })
	return s.make(event.OnStreamChanged, name, map[string]any{"schema": schema, "regist": false})
}

// End makes on_publication_ended; the next register of the stream begins another publication.
func (s *Sender) End(name, reason string) *Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	key, _ := split(name)
	st := s.stream(key)
	e := s.make(event.OnPublicationEnded, name, map[string]any{
		"originType": 1, "originTypeStr": "rtmp_push", "start": st.start.UnixMilli(), "end": s.now.UnixMilli(),
		"duration": s.now.Sub(st.start).Seconds(), "reason": reason, "bytes": 1000, "schemas": st.schemas,
	})
	st.publication, st.schemas, st.live = "", nil, nil
	return e
}

// Publication returns the events of a whole short publication: a register and an unregister of rtmp, and the end.
func (s *Sender) Publication(name string) []*Event {
	return []*Event{s.Register(name, "rtmp"), s.Unregister(name, "rtmp"), s.End(name, "unpublish")}
}

// Lose makes the notice that names events as missing, as if they had become dead letters.
func (s *Sender) Lose(reason string, lost ...*Event) *Event {
	g := GapOf(reason, lost...)
	n := s.Make(event.OnEventGap, lost[0].Stream, map[string]any{
		"from": g.From, "to": g.To, "count": g.Count, "types": g.Types, "reason": reason,
	})
	n.ID, n.Publication = fmt.Sprintf("gap-%d-%d", g.From, g.To), ""
	return n
}

// GapOf returns the gap that names these events of one stream, which are in order, for [event.Envelope.Gap].
func GapOf(reason string, lost ...*Event) event.Gap {
	g := event.Gap{From: lost[0].Seq, To: lost[len(lost)-1].Seq, Count: uint64(len(lost)), Reason: reason}
	for _, e := range lost {
		if !slices.Contains(g.Types, e.Type) {
			g.Types = append(g.Types, e.Type)
		}
	}
	return g
}

// Late returns e as a redriven dead letter.
func Late(e *Event) *Event {
	c := *e
	c.Late = true
	return &c
}

// Replay returns e as part of a replay.
func Replay(e *Event, id string) *Event {
	c := *e
	c.Replay = id
	return &c
}

// Send sends one event.
func (s *Sender) Send(e *Event) Answer {
	class := event.ClassOf(e.Type)
	if s.cloudEvents && (class == event.Lifecycle || e.Seq > 0) {
		return s.post(e.ID, event.ContentTypeCloudEvent, s.cloudEvent(e))
	}
	body := map[string]any{}
	for k, v := range e.Body {
		body[k] = v
	}
	body["hook_index"], body["mediaServerId"], body["event"] = e.HookIndex, e.Source, e.Envelope
	return s.post(e.ID, "application/json", encode(body))
}

// SendBatch sends events as one CloudEvents batch.
func (s *Sender) SendBatch(events ...*Event) Answer {
	var b event.CloudEventBatch
	for _, e := range events {
		b.AddEncoded(s.cloudEvent(e))
	}
	return s.post("batch-"+events[0].ID, event.ContentTypeCloudEventBatch, b.Bytes())
}

func (*Sender) cloudEvent(e *Event) []byte {
	return event.AppendCloudEvent(nil, &e.Envelope, e.HookIndex, encode(e.Body))
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

func (s *Sender) post(id, contentType string, body []byte) Answer {
	req := httptest.NewRequestWithContext(context.Background(), http.MethodPost, "/", bytes.NewReader(body))
	req.Header.Set("Content-Type", contentType)
	if s.signer != nil {
		if err := s.signer.Headers(req.Header, id, time.Now(), body); err != nil {
			panic(err)
		}
	}
	w := httptest.NewRecorder()
	s.h.ServeHTTP(w, req)
	return answerOf(w)
}

func answerOf(w *httptest.ResponseRecorder) Answer {
	a := Answer{Status: w.Code, Header: w.Header(), Body: w.Body.Bytes()}
	var m struct {
		Code int    `json:"code"`
		Msg  string `json:"msg"`
	}
	_ = json.Unmarshal(a.Body, &m) // another handler may answer anything
	a.Code, a.Msg = m.Code, m.Msg
	return a
}

// Fetch implements [receiver.Fetcher]: the sender's log of this epoch.
func (s *Sender) Fetch(_ context.Context, key string, missed receiver.Range) ([]*receiver.Event, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*receiver.Event
	for _, e := range s.log[key] {
		if e.Seq >= missed.From && e.Seq <= missed.To {
			env := e.Envelope
			env.Prev = nil
			out = append(out, &receiver.Event{Envelope: env, HookIndex: e.HookIndex, Body: encode(e.Body)})
		}
	}
	return out, nil
}

// Snapshot implements [receiver.Snapshotter]: what is live by the events that were made.
func (s *Sender) Snapshot(context.Context) (*receiver.Snapshot, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := &receiver.Snapshot{Source: s.source, Epoch: s.epoch, IndexFloor: s.index + 1}
	for key, st := range s.streams {
		if st.publication == "" {
			continue
		}
		out.Entries = append(out.Entries, receiver.SnapshotEntry{
			Stream: key, Publication: st.publication, Seq: st.seq, Schemas: slices.Clone(st.live), Since: st.start, Origin: "rtmp_push",
		})
	}
	return out, nil
}

func (s *Sender) stream(key string) *stream {
	st := s.streams[key]
	if st == nil {
		st = &stream{}
		s.streams[key] = st
	}
	return st
}

// split returns the stream key of a name, and the members of a body that name the stream.
func split(name string) (string, map[string]any) {
	parts := strings.Split(name, "/")
	switch len(parts) {
	case 2:
		parts = append([]string{"__defaultVhost__"}, parts...)
	case 3:
	default:
		return name, nil
	}
	return strings.Join(parts, "/"), map[string]any{"vhost": parts[0], "app": parts[1], "stream": parts[2], "params": ""}
}

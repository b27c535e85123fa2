package receiver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"runtime/debug"

	"github.com/hookline/hookline/event"
)

const (
	// maxSeq keeps arithmetic on seqs from overflowing. No journal gets there.
	maxSeq = 1 << 62
	// maxName bounds a stream key and a source, in bytes.
	maxName = 64 << 10
	// maxGaps bounds event.gap.
	maxGaps = 10000
	// readAtOnce bounds what is allocated for a body because the peer says that it will come, in bytes.
	readAtOnce = 64 << 10
)

var errBusy = errors.New("receiver: too many requests for this stream")

// badRequest is an error of the sender: the same request will never be understood.
type badRequest struct{ reason string }

// Error implements error.
func (e *badRequest) Error() string { return "receiver: " + e.reason }

// panicError is a panic of a handler.
type panicError struct {
	value any
	stack []byte
}

// Error implements error.
func (e *panicError) Error() string { return fmt.Sprintf("receiver: handler panicked: %v", e.value) }

// guard calls f and turns a panic into an error, so that a store sees only errors.
func guard(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &panicError{v, debug.Stack()}
		}
	}()
	return f()
}

// ServeHTTP implements [http.Handler].
func (r *Receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		reply(w, http.StatusMethodNotAllowed, refusal("POST only"))
		return
	}
	if !r.begin() {
		r.busy(w)
		return
	}
	kept := false
	defer func() {
		if !kept {
			r.end()
		}
	}()
	body, err := r.read(w, req)
	if err != nil {
		r.stats.malformed.Add(1)
		status := http.StatusBadRequest
		if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
			status = http.StatusRequestEntityTooLarge
		}
		reply(w, status, refusal("body could not be read"))
		return
	}
	if r.verifier != nil {
		if err := r.verifier.Verify(req.Header, body); err != nil {
			r.stats.unauthorized.Add(1)
			r.log.Warn("webhook not authentic", "remote", req.RemoteAddr, "error", err)
			reply(w, http.StatusUnauthorized, refusal("signature"))
			return
		}
	}
	events, err := r.parse(req, body)
	if err != nil {
		r.fail(w, nil, err)
		return
	}
	if len(events) == 1 && events[0].plain != nil {
		kept = r.handlePlain(w, req, events[0])
		return
	}
	r.handle(w, req, events)
}

// read reads the body, at once where its length is known.
func (r *Receiver) read(w http.ResponseWriter, req *http.Request) ([]byte, error) {
	in := http.MaxBytesReader(w, req.Body, r.bodyLimit)
	if n := req.ContentLength; n > 0 && n <= min(r.bodyLimit, readAtOnce) {
		body := make([]byte, n)
		_, err := io.ReadFull(in, body)
		return body, err
	}
	return io.ReadAll(in)
}

// handle handles the events of one request and answers.
func (r *Receiver) handle(w http.ResponseWriter, req *http.Request, events []*Event) {
	ctx, cancel := context.WithTimeout(req.Context(), r.timeout)
	defer cancel()
	defer context.AfterFunc(r.base, cancel)()
	var answer any
	events, err := r.inbox.accept(ctx, events)
	if err != nil {
		r.fail(w, nil, err)
		return
	}
	for _, e := range events {
		var a any
		err := guard(func() (err error) { // handlers are guarded by themselves; this is for the store and its commit
			a, err = r.dispatch(ctx, e)
			return err
		})
		if err != nil {
			r.fail(w, e, err)
			return
		}
		if a != nil {
			answer = a
		}
	}
	if answer == nil {
		send(w, http.StatusOK, []byte(`{"code":0,"msg":"success"}`))
		return
	}
	reply(w, http.StatusOK, answer)
}

func (r *Receiver) fail(w http.ResponseWriter, e *Event, err error) {
	bad := (*badRequest)(nil)
	switch {
	case errors.Is(err, errBusy):
		r.busy(w)
	case errors.As(err, &bad):
		r.stats.malformed.Add(1)
		r.log.Warn("webhook not understood", about(e, err)...)
		reply(w, http.StatusBadRequest, refusal(bad.reason))
	default:
		r.note(e, err)
		reply(w, http.StatusInternalServerError, refusal("handler failed"))
	}
}

// note counts and logs a failure.
func (r *Receiver) note(e *Event, err error) {
	args := about(e, err)
	if panicked := (*panicError)(nil); errors.As(err, &panicked) {
		r.stats.panics.Add(1)
		args = append(args, "stack", string(panicked.stack))
	}
	r.stats.failed.Add(1)
	r.log.Error("webhook handler failed", args...)
}

func about(e *Event, err error) []any {
	args := []any{"error", err}
	if e != nil {
		args = append(args, "stream", e.Stream, "id", e.ID, "type", e.Type)
	}
	return args
}

func (r *Receiver) busy(w http.ResponseWriter) {
	r.stats.busy.Add(1)
	w.Header().Set("Retry-After", "1")
	reply(w, http.StatusServiceUnavailable, refusal("busy"))
}

func reply(w http.ResponseWriter, status int, body any) {
	b, err := json.Marshal(body)
	if err != nil { // plain structs always have a JSON form
		status, b = http.StatusInternalServerError, []byte(`{"code":-1,"msg":"answer"}`)
	}
	send(w, status, b)
}

func send(w http.ResponseWriter, status int, b []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(b) // a sender that has gone asks again
}

// errNoEnvelope: the body is not that of Hookline.
var errNoEnvelope = &badRequest{"no member event: the sender is not Hookline"}

// parse reads the events of a request. Errors are a [*badRequest].
func (r *Receiver) parse(req *http.Request, body []byte) ([]*Event, error) {
	events, err := parse(req.Header.Get("Content-Type"), body)
	if r.zlm == nil || !errors.Is(err, errNoEnvelope) {
		return events, err
	}
	e, err := parsePlain(req.URL.Path, body)
	return []*Event{e}, err
}

// parse reads the events of a body. Errors are a [*badRequest].
func parse(contentType string, body []byte) ([]*Event, error) {
	media := ""
	if contentType != "application/json" { // the form zlm, whatever it is called
		media, _, _ = mime.ParseMediaType(contentType)
	}
	var list []*Event
	switch media {
	case event.ContentTypeCloudEventBatch:
		batch, err := event.ParseCloudEventBatch(body, event.BatchLimit{Bytes: len(body)})
		if err != nil {
			return nil, &badRequest{err.Error()}
		}
		for i := range batch {
			list = append(list, &Event{Envelope: batch[i].Envelope, HookIndex: batch[i].HookIndex, Body: batch[i].Body})
		}
	case event.ContentTypeCloudEvent:
		env, index, data, err := event.ParseCloudEvent(body)
		if err != nil {
			return nil, &badRequest{err.Error()}
		}
		list = []*Event{{Envelope: env, HookIndex: index, Body: data}}
	default:
		e, err := parseHook(body)
		if err != nil {
			return nil, err
		}
		list = []*Event{e}
	}
	for _, e := range list {
		if err := check(&e.Envelope); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// parseHook reads the form zlm.
func parseHook(body []byte) (*Event, error) {
	if b, ok := scanBody(body); ok {
		if !b.given {
			return nil, errNoEnvelope
		}
		return &Event{Envelope: b.event, HookIndex: b.index, Body: body}, nil
	}
	var m struct {
		Event *event.Envelope `json:"event"`
		Index uint64          `json:"hook_index"`
	}
	if err := json.Unmarshal(body, &m); err != nil {
		return nil, &badRequest{err.Error()}
	}
	if m.Event == nil {
		return nil, errNoEnvelope
	}
	return &Event{Envelope: *m.Event, HookIndex: m.Index, Body: body}, nil
}

func check(e *event.Envelope) error {
	switch {
	case e.ID == "", e.Type == "", e.Source == "":
		return &badRequest{"event without id, type or source"}
	case e.Epoch <= 0:
		return &badRequest{"event without epoch"}
	case len(e.Stream) > maxName, len(e.Source) > maxName, len(e.ID) > maxName, len(e.Replay) > maxName:
		return &badRequest{"event with a name that is too long"}
	case e.Seq > maxSeq, e.Prev != nil && *e.Prev > maxSeq, len(e.Gap) > maxGaps:
		return &badRequest{"event out of bounds"}
	}
	for _, g := range e.Gap {
		if err := checkGap(g); err != nil {
			return err
		}
	}
	return nil
}

func checkGap(g event.Gap) error {
	if g.From == 0 || g.To < g.From || g.To > maxSeq {
		return &badRequest{"gap out of bounds"}
	}
	return nil
}

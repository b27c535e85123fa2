package receivertool

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/ordercheck"
)

// Outcomes of a request.
const (
	Accepted  = "accepted"
	Failed    = "failed"    // answered 500 on purpose
	Hung      = "hung"      // not answered on purpose
	Abandoned = "abandoned" // the sender went away first, or the receiver went down
)

// Received is a request that could be read.
type Received struct {
	Time time.Time  `json:"received"`
	Hook event.Type `json:"hook"`
	// Outcome is one of the constants above, Attempt how often the same event has come, from 1.
	Outcome string `json:"outcome"`
	Attempt int    `json:"attempt"`
	// Duplicate and Late are as in ordercheck.Result. Plain: there is no event member.
	Duplicate bool `json:"duplicate,omitempty"`
	Late      bool `json:"late,omitempty"`
	Plain     bool `json:"plain,omitempty"`
	// Latency since the event was raised, for accepted events with a seq.
	Latency time.Duration `json:"latency_ns,omitempty"`
	// Batch is the number of events in its request, if there were several.
	Batch      int                    `json:"batch,omitempty"`
	Violations []ordercheck.Violation `json:"violations,omitempty"`
	// Body is the whole body as it came; Parsed is what was read of it.
	Body   json.RawMessage  `json:"body"`
	Parsed *ordercheck.Body `json:"-"`
}

// handle serves one request.
func (r *Receiver) handle(w http.ResponseWriter, req *http.Request) {
	start := time.Now()
	if !r.enter() {
		panic(http.ErrAbortHandler)
	}
	defer r.running.Done()
	form := formOf(req.Header.Get("Content-Type"))
	hook, ok := hookOf(req.URL.Path)
	switch {
	case !ok && form == hookForm:
		r.refuse(w, http.StatusNotFound, "the last element of the path is not the name of a hook")
		return
	case req.Method != http.MethodPost:
		w.Header().Set("Allow", http.MethodPost)
		r.refuse(w, http.StatusMethodNotAllowed, "hooks are sent by POST")
		return
	}
	most := int64(MaxBody)
	if form == batchForm {
		most = event.DefaultBatchBytes
	}
	raw, err := io.ReadAll(http.MaxBytesReader(w, req.Body, most))
	if err != nil {
		r.unread(w, err)
		return
	}
	// The time limit was for reading; when it strikes later it looks like a sender who went away.
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	list, err := read(form, hook, raw)
	if err != nil {
		res := r.checker.Unreadable(hook, err)
		r.print.violations(res.Violations)
		r.refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	if form == batchForm {
		r.count(func(s *Snapshot) { s.Batches++; s.Requests += len(list) - 1 })
	}
	r.treat(req.Context(), w, start, list)
}

// form of a request.
type form uint8

const (
	hookForm  form = iota // the hook's body, with or without its event member
	eventForm             // one CloudEvent, structured mode
	batchForm             // a batch of them
)

func formOf(contentType string) form {
	media, _, _ := mime.ParseMediaType(contentType) // what can't be read is no CloudEvent
	switch media {
	case event.ContentTypeCloudEvent:
		return eventForm
	case event.ContentTypeCloudEventBatch:
		return batchForm
	}
	return hookForm
}

// errEmpty says that a batch has no event: no sender has a reason to send it.
var errEmpty = errors.New("the batch is empty")

// read reads the events of a request. The hook of a CloudEvent is its type, not the path.
func read(f form, hook event.Type, raw []byte) ([]Received, error) {
	if f == hookForm {
		body, err := ordercheck.Parse(raw)
		plain := errors.Is(err, ordercheck.ErrNoEnvelope)
		if err != nil && !plain {
			return nil, err
		}
		return []Received{{Hook: hook, Plain: plain, Body: raw, Parsed: body}}, nil
	}
	bodies, err := ordercheck.ParseCloudEvents(raw, f == batchForm)
	if err != nil {
		return nil, err
	}
	if len(bodies) == 0 {
		return nil, errEmpty
	}
	objects := []json.RawMessage{raw}
	if f == batchForm {
		if err := json.Unmarshal(raw, &objects); err != nil {
			return nil, err
		}
	}
	list := make([]Received, len(bodies))
	for i, b := range bodies {
		list[i] = Received{Hook: b.Event.Type, Body: objects[i], Parsed: b}
		if len(bodies) > 1 {
			list[i].Batch = len(bodies)
		}
	}
	return list, nil
}

// unread answers a request whose body could not be read.
func (r *Receiver) unread(w http.ResponseWriter, err error) {
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		r.refuse(w, http.StatusRequestEntityTooLarge, "the body is larger than 1 MiB")
		return
	}
	r.count(func(s *Snapshot) { s.Abandoned++ })
	panic(http.ErrAbortHandler)
}

// refuse answers a request that is none.
func (r *Receiver) refuse(w http.ResponseWriter, status int, msg string) {
	r.count(func(s *Snapshot) { s.Refused++ })
	answer, err := json.Marshal(map[string]any{"code": -1, "msg": msg})
	if err != nil { // a string and a number
		answer = []byte(`{"code":-1}`)
	}
	r.answer(w, status, string(answer))
}

// treat lets the fate of a request take its course: that of the worst of its events.
func (r *Receiver) treat(ctx context.Context, w http.ResponseWriter, start time.Time, list []Received) {
	var f fate
	for i := range list {
		one := r.fate(&list[i])
		list[i].Attempt = one.attempt
		f.hang, f.fail, f.delay = f.hang || one.hang, f.fail || one.fail, max(f.delay, one.delay)
	}
	if f.hang {
		r.toldAll(list, Hung)
		r.wait(ctx, maxHang)
		panic(http.ErrAbortHandler)
	}
	if !r.wait(ctx, f.delay) {
		r.toldAll(list, Abandoned)
		panic(http.ErrAbortHandler)
	}
	// The end is taken before the answer is written: the sender may go on before this function does.
	finish := time.Now()
	keys := map[string]bool{}
	for i := range list {
		got := &list[i]
		d := ordercheck.Delivery{Body: got.Parsed, Hook: got.Hook, Start: start, Finish: finish}
		if key := got.Parsed.Event.Stream; keys[key] {
			d.Start = time.Time{} // it came with the one before it
		} else {
			keys[key] = true
		}
		switch {
		case !f.fail:
			r.accept(d, got)
		case !got.Plain:
			got.Violations = r.checker.Rejected(d).Violations
		}
	}
	if f.fail {
		r.toldAll(list, Failed)
		r.answer(w, http.StatusInternalServerError, `{"code":-1,"msg":"failed on purpose"}`)
		return
	}
	r.toldAll(list, Accepted)
	r.answer(w, http.StatusOK, r.cfg.reply(list[0].Hook))
}

func (r *Receiver) toldAll(list []Received, outcome string) {
	for i := range list {
		list[i].Outcome = outcome
		r.told(list[i])
	}
}

// fate counts the attempt and decides what happens to it.
func (r *Receiver) fate(got *Received) fate {
	name := name(got.Hook, got.Parsed)
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.faults.decide(r.cfg.Seed, name, r.attempts.add(name))
}

func (r *Receiver) accept(d ordercheck.Delivery, got *Received) {
	if got.Plain {
		return
	}
	res := r.checker.Add(d)
	got.Duplicate, got.Late, got.Violations = res.Duplicate, res.Late, res.Violations
	if env := &d.Body.Event; env.Seq != 0 && !res.Duplicate && !env.Time.IsZero() {
		got.Latency = d.Finish.Sub(env.Time)
	}
}

// told counts and prints what became of a request.
func (r *Receiver) told(got Received) {
	got.Time = time.Now()
	r.count(func(s *Snapshot) {
		switch got.Outcome {
		case Accepted:
			s.Accepted++
		case Failed:
			s.Failed++
		case Hung:
			s.Hung++
		case Abandoned:
			s.Abandoned++
		}
		if got.Outcome != Accepted {
			return
		}
		if got.Plain {
			s.Plain++
		}
		if decision(&got) {
			s.Decisions++
		}
		if got.Latency != 0 {
			r.latency.add(got.Latency)
		}
	})
	r.print.received(&got)
	r.print.violations(got.Violations)
	if r.cfg.OnEvent != nil {
		r.cfg.OnEvent(got)
	}
}

// decision says that the sender waits for the answer's content.
func decision(got *Received) bool {
	c := event.ClassOf(got.Hook)
	return (c == event.Decision || c == event.Question) && got.Parsed.Event.Seq == 0
}

// wait waits for d; false: the sender went away or the receiver was closed.
func (r *Receiver) wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
	case <-r.stop:
	}
	return false
}

func (r *Receiver) answer(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// The sender may be gone; what it does then is what is tested.
	_, _ = io.WriteString(w, body)
}

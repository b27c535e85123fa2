package api

import (
	"encoding/json"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/attempts"
	"github.com/hookline/hookline/internal/journal"
)

// maxAttempts bounds the attempts in one answer.
const maxAttempts = 5000

// attemptView is one request to a receiver.
type attemptView struct {
	At     time.Time `json:"at"`
	Number int       `json:"number"`
	Result string    `json:"result"`
	URL    string    `json:"url"`
	// Status of HTTP, absent without an answer; Code is the answer's.
	Status int    `json:"status,omitempty"`
	Code   int    `json:"code,omitempty"`
	Error  string `json:"error,omitempty"`
	// LatencyMS in milliseconds.
	LatencyMS float64 `json:"latencyMs"`
	// Answer is the beginning of the body, when it was kept.
	Answer string `json:"answer,omitempty"`
	Batch  int    `json:"batch,omitempty"`
	Replay string `json:"replay,omitempty"`
	Late   bool   `json:"late,omitempty"`
}

func viewAttempt(a *attempts.Attempt) attemptView {
	return attemptView{
		At: a.At.UTC(), Number: a.N, Result: a.Result.String(), URL: a.URL, Status: a.Status, Code: a.Code, Error: a.Err,
		LatencyMS: millis(a.Latency), Answer: text(a.Answer), Batch: a.Batch, Replay: a.Replay, Late: a.Late,
	}
}

// text returns bytes that may have been cut anywhere as text.
func text(b []byte) string {
	for n := len(b); n > 0 && n > len(b)-utf8.UTFMax; n-- {
		if utf8.RuneStart(b[n-1]) {
			if !utf8.FullRune(b[n-1:]) {
				b = b[:n-1]
			}
			break
		}
	}
	return strings.ToValidUTF8(string(b), "\uFFFD")
}

// millis rounds to microseconds.
func millis(d time.Duration) float64 { return math.Round(float64(d)/1e3) / 1e3 }

// attemptLine is an element of /api/v1/attempts.
type attemptLine struct {
	Endpoint    string     `json:"endpoint"`
	Stream      string     `json:"stream"`
	Event       string     `json:"event"`
	Type        event.Type `json:"type"`
	Seq         uint64     `json:"seq,omitempty"`
	Publication string     `json:"publication,omitempty"`
	attemptView
}

// deliveryView is what one endpoint was sent of an event, oldest attempt first.
type deliveryView struct {
	Endpoint string `json:"endpoint"`
	// Request is the id of the question of which the event is the outcome; absent when the event itself was sent.
	Request  string        `json:"request,omitempty"`
	Attempts []attemptView `json:"attempts"`
}

// requestView is a question, heartbeat or gap notice that is no event of the journal.
type requestView struct {
	ID       string        `json:"id"`
	Type     event.Type    `json:"type"`
	Endpoint string        `json:"endpoint"`
	Attempts []attemptView `json:"attempts"`
}

// memoryView says how far back attempts are remembered.
type memoryView struct {
	// Accepted is when the oldest was sent of what was accepted at once, Others the time from which on all of everything
	// else is there; absent: nothing is remembered.
	Accepted *time.Time `json:"accepted,omitempty"`
	Others   *time.Time `json:"others,omitempty"`
}

func (a *API) memory() memoryView {
	var v memoryView
	if a.deps.Attempts == nil {
		return v
	}
	accepted, others := a.deps.Attempts.Oldest()
	v.Accepted, v.Others = timeOf(accepted), timeOf(others)
	return v
}

// timeOf returns nil for no time.
func timeOf(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// findAttempts returns attempts, oldest first; of too many the newest.
func (a *API) findAttempts(limit int, match func(*attempts.Attempt) bool) []attempts.Attempt {
	if a.deps.Attempts == nil {
		return nil
	}
	return a.deps.Attempts.Find(limit, match)
}

// listAttempts returns the newest attempts that match.
func (c *v1Call) listAttempts() error {
	n, err := limit(c.query)
	if err != nil {
		return err
	}
	name, id, key := c.query.Get("endpoint"), c.query.Get("event"), c.query.Get("stream")
	byStream, result := c.query.Has("stream"), c.query.Get("result")
	if result != "" && result != "failed" {
		known := false
		for r := range attempts.Results {
			known = known || r.String() == result
		}
		if !known {
			return &badParameter{"result", "failed, or the name of a result"}
		}
	}
	list := c.api.findAttempts(n, func(a *attempts.Attempt) bool {
		return (name == "" || a.Endpoint == name) && (id == "" || a.ID == id) && (!byStream || a.Key == key) &&
			(result == "" || result == "failed" && a.Result > attempts.Refused || a.Result.String() == result)
	})
	lines := make([]attemptLine, 0, len(list))
	for i := range slices.Backward(list) {
		a := &list[i]
		lines = append(lines, attemptLine{
			Endpoint: a.Endpoint, Stream: a.Key, Event: a.ID, Type: a.Type, Seq: a.Seq, Publication: a.Publication,
			attemptView: viewAttempt(a),
		})
	}
	return c.answer(http.StatusOK, map[string]any{"attempts": lines, "remembered": c.api.memory()})
}

// requestOf returns the id of the question of which a record is the outcome, "" when it is none.
func requestOf(r *journal.Record) string {
	if r.Class != event.History {
		return ""
	}
	var body struct {
		Outcome struct {
			RequestID string `json:"requestId"`
		} `json:"outcome"`
	}
	if json.Unmarshal(r.Body, &body) != nil {
		return ""
	}
	return body.Outcome.RequestID
}

// attach adds to each event of a page what was tried for it, and returns the requests of the key that belong to no
// event and that were sent between the page's first event and the next page.
func (c *v1Call) attach(key string, recs []*journal.Record, views []eventView, more bool) []requestView {
	place := map[string]int{} // of ids, those of questions included
	for i, r := range recs {
		place[r.ID] = i
		if id := requestOf(r); id != "" {
			place[id] = i
		}
	}
	list := c.api.findAttempts(maxAttempts, func(a *attempts.Attempt) bool {
		_, ok := place[a.ID]
		return ok || a.Key == key && a.Seq == 0
	})
	requests := []requestView{}
	for i := range list {
		a := &list[i]
		if at, ok := place[a.ID]; ok {
			views[at].tried(a)
			continue
		}
		if len(recs) > 0 && (a.At.Before(recs[0].Time) && c.query.Get("cursor") != "" || more && !a.At.Before(recs[len(recs)-1].Time)) {
			continue // on another page
		}
		n := slices.IndexFunc(requests, func(r requestView) bool { return r.ID == a.ID && r.Endpoint == a.Endpoint })
		if n < 0 {
			requests = append(requests, requestView{ID: a.ID, Type: a.Type, Endpoint: a.Endpoint})
			n = len(requests) - 1
		}
		requests[n].Attempts = append(requests[n].Attempts, viewAttempt(a))
	}
	return requests
}

// tried adds an attempt.
func (v *eventView) tried(a *attempts.Attempt) {
	request := ""
	if a.ID != v.ID {
		request = a.ID
	}
	n := slices.IndexFunc(v.Deliveries, func(d deliveryView) bool { return d.Endpoint == a.Endpoint && d.Request == request })
	if n < 0 {
		v.Deliveries = append(v.Deliveries, deliveryView{Endpoint: a.Endpoint, Request: request})
		n = len(v.Deliveries) - 1
	}
	v.Deliveries[n].Attempts = append(v.Deliveries[n].Attempts, viewAttempt(a))
}

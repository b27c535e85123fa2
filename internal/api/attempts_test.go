package api

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/attempts"
	"github.com/hookline/hookline/internal/journal"
)

// tried journals a publication of v/a/1 that was asked for, and the attempts around it.
func tried(t *testing.T) *world {
	log := attempts.NewLog(attempts.Config{Recent: 100, Kept: 100, AnswerBytes: 1024})
	w := newWorld(t, func(d *Deps) { d.Attempts = log })
	base := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	at := func(s int) time.Time { return base.Add(time.Duration(s) * time.Second) }
	const key = "v/a/1"
	decided := record(key, 1, 1, event.OnPublish, at(1))
	decided.Class, decided.Body = event.History, []byte(`{"outcome":{"allowed":true,"requestId":"ask-1"}}`)
	w.raise(decided, record(key, 2, 2, event.OnStreamChanged, at(2)), record(key, 3, 3, event.OnStreamChanged, at(3)))
	add := func(s int, endpoint, id string, seq uint64, n int, result attempts.Result, change func(*attempts.Attempt)) {
		a := attempts.Attempt{
			Endpoint: endpoint, URL: "http://h/x", Key: key, ID: id, Type: event.OnStreamChanged, Seq: seq, N: n, At: at(s),
			Latency: 1234567 * time.Nanosecond, Result: result, Status: 200, Answer: []byte(`{"code":0}`),
		}
		if change != nil {
			change(&a)
		}
		log.Add(a)
	}
	add(0, "hook", "ask-1", 0, 1, attempts.Retry, func(a *attempts.Attempt) {
		a.Key, a.Type, a.Status, a.Err, a.Answer = "v/a/before", event.OnPublish, 0, "no route", nil
	})
	add(1, "hook", "ask-1", 0, 2, attempts.Accepted, func(a *attempts.Attempt) { a.Key, a.Type = "v/a/before", event.OnPublish })
	add(2, "hook", "inc-2", 2, 1, attempts.Accepted, nil)
	add(2, "billing", "inc-2", 2, 1, attempts.Retry, func(a *attempts.Attempt) {
		a.Status, a.Err, a.Answer = 500, "status 500", []byte(strings.Repeat("x", 1023)+"é")
	})
	add(3, "billing", "inc-2", 2, 2, attempts.Accepted, func(a *attempts.Attempt) { a.Replay, a.Late = "r1", true })
	add(4, "hook", "ask-2", 0, 1, attempts.Refused, func(a *attempts.Attempt) { a.Type, a.Code = event.OnStreamNoneReader, -1 })
	add(5, "hook", "inc-9", 9, 1, attempts.Accepted, func(a *attempts.Attempt) { a.Key = "v/a/other" })
	return w
}

// lines tells of a page what was tried, an attempt a line.
func lines(m map[string]any) (out []string) {
	attemptsOf := func(what string, v any) {
		for _, x := range v.([]any) {
			a := x.(map[string]any)
			out = append(out, fmt.Sprint(what, " ", a["number"], " ", a["result"], " ", a["status"], " ", a["error"]))
		}
	}
	for _, e := range m["events"].([]any) {
		ev := e.(map[string]any)
		list, _ := ev["deliveries"].([]any)
		for _, d := range list {
			del := d.(map[string]any)
			attemptsOf(fmt.Sprint(ev["seq"], " ", del["endpoint"], " ", del["request"]), del["attempts"])
		}
	}
	requests, _ := m["requests"].([]any)
	for _, r := range requests {
		req := r.(map[string]any)
		attemptsOf(fmt.Sprint(req["id"], " ", req["type"], " ", req["endpoint"]), req["attempts"])
	}
	return out
}

func TestTimelineShowsAttempts(t *testing.T) {
	w := tried(t)
	ask := []string{"1 hook ask-1 1 retry <nil> no route", "1 hook ask-1 2 accepted 200 <nil>"}
	sent := []string{
		"2 hook <nil> 1 accepted 200 <nil>", "2 billing <nil> 1 retry 500 status 500", "2 billing <nil> 2 accepted 200 <nil>",
	}
	question := []string{"ask-2 on_stream_none_reader hook 1 refused 200 <nil>"}
	for query, want := range map[string][][]string{
		"": {ask, sent, question}, "?limit=1": {ask}, "?limit=1&cursor=2": {sent}, "?cursor=3": {question},
	} {
		status, m := w.get("/api/v1/streams/v/a/1/timeline" + query)
		flat := []string{}
		for _, l := range want {
			flat = append(flat, l...)
		}
		if got := lines(m); status != 200 || fmt.Sprint(got) != fmt.Sprint(flat) {
			t.Errorf("%s: %d %q, want %q", query, status, got, flat)
		}
		if r := m["remembered"].(map[string]any); r["accepted"] != "2026-01-02T03:00:02Z" || r["others"] != "2026-01-02T03:00:00Z" {
			t.Errorf("%v", r)
		}
	}
	_, m := w.get("/api/v1/events/inc-2")
	failed := m["deliveries"].([]any)[1].(map[string]any)["attempts"].([]any)[0].(map[string]any)
	if failed["answer"] != strings.Repeat("x", 1023) || failed["latencyMs"] != 1.235 || failed["url"] != "http://h/x" {
		t.Errorf("%v", failed)
	}
	// Without a memory there are events all the same.
	plain, _ := filled(t)
	if _, m := plain.get("/api/v1/streams/v/a/1/timeline"); len(positions(m)) != 20 || len(lines(m)) != 0 {
		t.Errorf("%v", m)
	}
}

func TestListAttempts(t *testing.T) {
	w := tried(t)
	for query, want := range map[string]string{
		"":                                 "inc-9 ask-2 inc-2 inc-2 inc-2 ask-1 ask-1",
		"limit=2":                          "inc-9 ask-2",
		"endpoint=billing":                 "inc-2 inc-2",
		"result=failed":                    "inc-2 ask-1",
		"result=refused":                   "ask-2",
		"stream=v/a/other":                 "inc-9",
		"event=ask-1":                      "ask-1 ask-1",
		"event=ask-1&endpoint=b&stream=":   "",
		"stream=v/a/1&result=accepted&x=y": "inc-2 inc-2",
	} {
		status, m := w.get("/api/v1/attempts?" + query)
		var ids []string
		for _, x := range m["attempts"].([]any) {
			ids = append(ids, x.(map[string]any)["event"].(string))
		}
		if got := strings.Join(ids, " "); status != 200 || got != want {
			t.Errorf("%s: %d %s", query, status, got)
		}
	}
	for _, query := range []string{"result=x", "limit=0"} {
		if status, m := w.get("/api/v1/attempts?" + query); status != 400 {
			t.Errorf("%s: %d %v", query, status, m)
		}
	}
}

// What comes is what the document says, also when there is something.
func TestAttemptsAreDocumented(t *testing.T) {
	d, w := readDocument(t), tried(t)
	for target, path := range map[string]string{
		"streams/v/a/1/timeline": "/streams/{stream}/timeline", "attempts": "/attempts", "events/inc-2": "/events/{id}",
	} {
		_, m := w.get("/api/v1/" + target)
		for _, body := range d.Paths[path]["get"].Responses["200"].Content {
			if err := d.check(body.Schema, any(m), target); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestText(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "abc": "abc", "é": "é", "a\xc3": "a", "a\xe6\x8b": "a", "拒绝": "拒绝", "\xff": "\uFFFD", "a\xffb": "a\uFFFDb",
	} {
		if got := text([]byte(in)); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// An outcome is read out of whatever a body may be.
func TestRequestOf(t *testing.T) {
	for body, want := range map[string]string{
		`{"outcome":{"requestId":"x"}}`: "x", `{}`: "", `[]`: "", ``: "", `{"outcome":5}`: "",
	} {
		r := &journal.Record{Class: event.History, Body: json.RawMessage(body)}
		if got := requestOf(r); got != want {
			t.Errorf("%s: %q", body, got)
		}
	}
}

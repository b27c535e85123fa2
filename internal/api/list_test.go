package api

import (
	"fmt"
	"net/url"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/journal"
)

func reversed(s []int) []int {
	s = slices.Clone(s)
	slices.Reverse(s)
	return s
}

func TestNewestFirst(t *testing.T) {
	w, base := filled(t)
	at := func(s int) string {
		return url.QueryEscape(base.Add(time.Duration(s) * time.Second).Format(time.RFC3339))
	}
	for _, c := range []struct {
		query string
		want  []int
		more  bool
	}{
		{"", reversed(span(1, 60, 1)), false},
		{"limit=3", []int{60, 59, 58}, true},
		{"limit=3&cursor=58", []int{57, 56, 55}, true},
		{"cursor=1", nil, false},
		{"cursor=2", []int{1}, false},
		{"limit=2&cursor=9223372036854775807", []int{60, 59}, true},
		{"stream=v/a/1", reversed(span(2, 60, 3)), false},
		{"stream=v/a/1&limit=2", []int{59, 56}, true},
		{"stream=v/a/1&limit=2&cursor=56", []int{53, 50}, true},
		{"stream=v/a/1&after=17", []int{59, 56, 53}, false},
		{"stream=v/a/1&after=17&before=20", []int{56, 53}, false},
		{"stream=v/a/1&cursor=2", nil, false},
		{"stream=nosuch", nil, false},
		{"type=on_flow_report&limit=2", []int{60, 58}, true},
		{"since=" + at(57), []int{60, 59, 58}, false},
		{"until=" + at(2), []int{2, 1}, false},
		{"stream=v/a/0&since=" + at(50), []int{58, 55, 52}, false},
	} {
		status, m := w.get("/api/v1/events?order=desc&" + c.query)
		if status != 200 || fmt.Sprint(positions(m)) != fmt.Sprint(c.want) || m["more"] != c.more {
			t.Errorf("%s: %d %v %v, want %v %v", c.query, status, positions(m), m["more"], c.want, c.more)
		}
	}
	for _, q := range []string{"order=down", "order=desc&wait=1s", "wait=61s", "wait=-1s", "wait=x", "wait=99999999999"} {
		if status, m := w.get("/api/v1/events?" + q); status != 400 || m["code"] != ProblemParameter {
			t.Errorf("%s: %d %v", q, status, m)
		}
	}
}

func TestNewestFirstPaging(t *testing.T) {
	w, _ := filled(t)
	for _, q := range []string{"", "&stream=v/a/2", "&type=on_flow_report"} {
		_, all := w.get("/api/v1/events?order=desc&limit=1000" + q)
		for n := 1; n < 8; n++ {
			var got []int
			for cursor, more := 0.0, true; more; {
				_, m := w.get(fmt.Sprintf("/api/v1/events?order=desc&limit=%d&cursor=%.0f%s", n, cursor, q))
				got = append(got, positions(m)...)
				cursor, more = m["cursor"].(float64), m["more"].(bool)
			}
			if want := positions(all); !slices.Equal(got, want) || len(got) == 0 {
				t.Errorf("%s by %d: %v, want %v", q, n, got, want)
			}
		}
	}
}

// TestBackward reads sequences with large records and wide holes.
func TestBackward(t *testing.T) {
	big := make([]byte, answerBytes/3)
	for name, c := range map[string]struct {
		places []uint64
		body   []byte
	}{
		"dense":      {seqs(1, 3000), nil},
		"large":      {seqs(1, 20), big},
		"holes":      {[]uint64{3, 4, 1 << 20, 1<<20 + 1, 1 << 60}, nil},
		"hole ahead": {append([]uint64{1}, seqs(1<<40, 1<<40+900)...), nil},
		"none":       {nil, nil},
	} {
		var recs []*journal.Record
		for _, p := range c.places {
			recs = append(recs, &journal.Record{Position: p, Body: c.body})
		}
		b := &backward{
			read: func(from uint64) ([]*journal.Record, error) {
				i, _ := slices.BinarySearchFunc(recs, from, func(r *journal.Record, p uint64) int {
					if r.Position < p {
						return -1
					}
					return 1
				})
				return recs[i:min(len(recs), i+100)], nil
			},
			place: func(r *journal.Record) uint64 { return r.Position },
			high:  1 << 61, step: backRecords,
		}
		var got []uint64
		for {
			part, err := b.next()
			if err != nil {
				t.Fatal(err)
			}
			if len(part) == 0 {
				break
			}
			for _, r := range slices.Backward(part) {
				got = append(got, r.Position)
			}
		}
		slices.Reverse(got)
		if !slices.Equal(got, c.places) {
			t.Errorf("%s: %d records, want %d", name, len(got), len(c.places))
		}
	}
}

func seqs(from, to uint64) (out []uint64) {
	for ; from <= to; from++ {
		out = append(out, from)
	}
	return out
}

// TestLongPoll: an answer comes as soon as there is something that matches, or when the time is over.
func TestLongPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, base := filled(t)
		defer w.api.Close()
		poll := func(query string) <-chan map[string]any {
			out := make(chan map[string]any, 1)
			go func() {
				_, m := w.call("GET", "/api/v1/events?"+query, "")
				out <- m
			}()
			synctest.Wait()
			return out
		}
		if m := <-poll("cursor=60&wait=30s"); fmt.Sprint(positions(m)) != "[60]" {
			t.Errorf("what is there: %v", m)
		}
		began := time.Now()
		if m := <-poll("cursor=61&wait=30"); len(positions(m)) != 0 || m["cursor"] != 61.0 || time.Since(began) != 30*time.Second {
			t.Errorf("nothing: %v after %v", m, time.Since(began))
		}
		all, one, typed := poll("cursor=61&wait=30s"), poll("cursor=61&wait=30s&stream=v/b/1"), poll("cursor=61&wait=10s&type=on_play")
		w.raise(record("v/b/0", 1, 300, event.OnStreamChanged, base))
		if m := <-all; fmt.Sprint(positions(m)) != "[61]" || m["cursor"] != 62.0 {
			t.Errorf("all: %v", m)
		}
		synctest.Wait()
		select {
		case m := <-one:
			t.Fatalf("another stream: %v", m)
		default:
		}
		for i := range 3000 { // more than is kept for those who wait
			w.raise(record("v/c/0", uint64(i+1), uint64(301+i), event.OnStreamChanged, base))
		}
		w.raise(record("v/b/1", 1, 9000, event.OnStreamChanged, base))
		if m := <-one; fmt.Sprint(positions(m)) != "[3062]" {
			t.Errorf("one: %v", m)
		}
		if m := <-typed; len(positions(m)) != 0 || m["cursor"] != 3063.0 || m["more"] != false {
			t.Errorf("typed: %v", m)
		}
		if m := <-poll("cursor=9999&wait=30s"); m["gap"].(map[string]any)["reason"] != "reset" {
			t.Errorf("ahead: %v", m)
		}
		ended := poll("cursor=3063&wait=60s")
		w.api.Close()
		if m := <-ended; len(positions(m)) != 0 {
			t.Errorf("closed: %v", m)
		}
		if status, m := w.call("GET", "/api/v1/events?wait=1s", ""); status != 503 || m["code"] != ProblemStopping {
			t.Errorf("%d %v", status, m)
		}
	})
}

func TestTooManyWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(d *Deps) { d.MaxWaiters = 1 })
		done := make(chan struct{})
		go func() {
			defer close(done)
			w.call("GET", "/api/v1/events?wait=5s", "")
		}()
		synctest.Wait()
		r := request(t, "GET", "/api/v1/events?wait=5s", "", "")
		r.Header.Set("Secret", testSecret)
		if rec := w.serve(r); rec.Code != 503 || rec.Header().Get("Retry-After") == "" {
			t.Errorf("%d %s", rec.Code, rec.Body)
		}
		<-done
		if rec := w.serve(r); rec.Code != 200 {
			t.Errorf("%d %s", rec.Code, rec.Body)
		}
	})
}

func TestRetentionGap(t *testing.T) {
	w, _ := filled(t)
	if _, err := w.journal.Trim(11); err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string]string{
		"cursor=5&limit=1": "map[from:5 reason:retention to:10]", "cursor=11&limit=1": "<nil>", "limit=1": "<nil>",
	} {
		if _, m := w.get("/api/v1/events?" + query); fmt.Sprint(m["gap"]) != want || fmt.Sprint(positions(m)) != "[11]" {
			t.Errorf("%s: %v", query, m)
		}
	}
	if _, m := w.get("/api/v1/events?order=desc&cursor=13"); fmt.Sprint(positions(m)) != "[12 11]" || m["more"] != false {
		t.Errorf("%v", m)
	}
}

// TestTimeline follows a stream over two publications and a refusal between them.
func TestTimeline(t *testing.T) {
	w := newWorld(t)
	base := time.Unix(1000, 0)
	var recs []*journal.Record
	add := func(typ event.Type, publication string) {
		n := uint64(len(recs) + 1)
		r := record("v/live/timeline", n, n, typ, base.Add(time.Duration(n)*time.Second))
		if r.Publication = publication; event.ClassOf(typ) == event.Decision {
			r.Class = event.History
		}
		recs = append(recs, r)
	}
	add(event.OnPublish, "p1")
	add(event.OnStreamChanged, "p1")
	add(event.OnPlay, "p1")
	add(event.OnPublicationEnded, "p1")
	add(event.OnPublish, "")
	add(event.OnPublish, "p2")
	add(event.OnStreamChanged, "p2")
	w.raise(recs...)
	w.raise(record("v/live/other", 1, 99, event.OnStreamChanged, base))
	sums := func(m map[string]any) (out string) {
		for _, p := range m["publications"].([]any) {
			g := p.(map[string]any)
			out += fmt.Sprint(g["publication"], " ", g["first"], "-", g["last"], " ", g["events"], " ", g["live"], " ", g["began"] != nil,
				" ", g["ended"] != nil, "; ")
		}
		return out
	}
	for _, c := range []struct {
		query, positions, sums string
		cursor                 float64
		more                   bool
	}{
		{"", "[1 2 3 4 5 6 7]", "p1 1-4 4 false true true; p2 6-7 2 true true false; ", 8, false},
		{"?limit=2", "[1 2]", "p1 1-2 2 false true false; ", 3, true},
		{"?limit=2&cursor=3", "[3 4]", "p1 3-4 2 false false true; ", 5, true},
		{"?limit=5&cursor=7", "[7]", "p2 7-7 1 true false false; ", 8, false},
		{"?cursor=8", "[]", "", 8, false},
	} {
		status, m := w.get("/api/v1/streams/v/live/timeline/timeline" + c.query)
		if status != 200 || fmt.Sprint(positions(m)) != c.positions || sums(m) != c.sums || m["cursor"] != c.cursor || m["more"] != c.more {
			t.Errorf("%s: %d %v %s", c.query, status, m, sums(m))
		}
	}
	w.raise(record("", 1, 200, event.OnServerStarted, base))
	if status, m := w.get("/api/v1/streams/v/live/nobody/timeline"); status != 404 || m["detail"] != "the journal has no event of this stream" {
		t.Errorf("no such stream: %d %v", status, m)
	}
	if status, m := w.get("/api/v1/streams//timeline"); status != 200 || len(positions(m)) != 1 {
		t.Errorf("the server's own: %d %v", status, m)
	}
}

func TestJournalState(t *testing.T) {
	w, _ := withPlatform(t)
	status, m := w.get("/api/v1/journal")
	if status != 200 || m["first"] != 1.0 || m["last"] != 60.0 || m["events"] != 60.0 ||
		m["oldest"] != "2026-01-02T03:00:00Z" || m["newest"] != "2026-01-02T03:00:59Z" {
		t.Errorf("%d %v", status, m)
	}
	e := m["endpoints"].([]any)[0].(map[string]any)
	if e["name"] != "billing" || e["lag"] != 3.0 || e["since"] != "2026-01-02T03:00:02Z" {
		t.Errorf("%v", e)
	}
	_, m = newWorld(t).get("/api/v1/journal")
	if m["events"] != 0.0 || m["oldest"] != nil || len(m["endpoints"].([]any)) != 0 {
		t.Errorf("%v", m)
	}
}

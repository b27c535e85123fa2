package api

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/delivery"
	"github.com/hookline/hookline/internal/journal"
)

// filled journals 60 events of the streams v/a/0 to v/a/2, one a second from base on; hook_index is twice the position
// plus 100, with neighbours swapped.
func filled(t *testing.T, change ...func(*Deps)) (w *world, base time.Time) {
	w = newWorld(t, change...)
	base = time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	var recs []*journal.Record
	for i := range uint64(60) {
		typ := event.OnStreamChanged
		if i%2 == 1 {
			typ = event.OnFlowReport
		}
		r := record(fmt.Sprintf("v/a/%d", i%3), i/3+1, (i^1)*2+102, typ, base.Add(time.Duration(i)*time.Second))
		if i%5 == 0 {
			r.Class = event.History
		}
		recs = append(recs, r)
	}
	w.raise(recs...)
	return w, base
}

func positions(m map[string]any) []int {
	out := []int{}
	list, _ := m["events"].([]any)
	for _, e := range list {
		out = append(out, int(e.(map[string]any)["position"].(float64)))
	}
	return out
}

func span(from, to, step int) []int {
	out := []int{}
	for ; from <= to; from += step {
		out = append(out, from)
	}
	return out
}

func TestListEvents(t *testing.T) {
	w, base := filled(t)
	at := func(s int) string {
		return url.QueryEscape(base.Add(time.Duration(s) * time.Second).Format(time.RFC3339))
	}
	cases := []struct {
		query  string
		want   []int
		cursor float64
		more   bool
	}{
		{"", span(1, 60, 1), 61, false},
		{"limit=10", span(1, 10, 1), 11, true},
		{"limit=10&cursor=51", span(51, 60, 1), 61, false},
		{"limit=10&cursor=52", span(52, 60, 1), 61, false},
		{"cursor=61", nil, 61, false},
		{"cursor=9223372036854775807", span(1, 60, 1), 61, false}, // with a gap: it is another journal
		{"cursor=61&epoch=7", nil, 61, false},
		{"limit=1&cursor=61&epoch=6", []int{1}, 2, true}, // likewise
		{"stream=v/a/1", span(2, 60, 3), 60, false},
		{"stream=v/a/1&limit=3", []int{2, 5, 8}, 9, true},
		{"stream=v/a/1&limit=3&cursor=9", []int{11, 14, 17}, 18, true},
		{"stream=v/a/1&limit=3&cursor=12", []int{14, 17, 20}, 21, true},
		{"stream=v/a/1&cursor=60", nil, 60, false},
		{"stream=v/a/1&after=17", []int{53, 56, 59}, 60, false},
		{"stream=v/a/1&after=17&before=20", []int{53, 56}, 57, false},
		{"stream=v/a/1&before=3", []int{2, 5}, 6, false},
		{"stream=v/a/1&before=1", nil, 1, false},
		{"stream=v/a/1&after=9223372036854775807", nil, 1, false},
		{"stream=nosuch", nil, 1, false},
		{"stream=", nil, 1, false},
		{"stream=%00%ff", nil, 1, false},
		{"type=on_flow_report&limit=3", []int{2, 4, 6}, 8, true},
		{"type=on_flow_report&type=on_stream_changed&limit=2", []int{1, 2}, 3, true},
		{"type=on_flow_report,on_play&limit=2", []int{2, 4}, 6, true},
		{"type=on_play", nil, 61, false},
		{"since=" + at(57), []int{58, 59, 60}, 61, false},
		{"until=" + at(2), []int{1, 2}, 61, false},
		{"since=" + at(10) + "&until=" + at(12), []int{11, 12}, 61, false},
		{fmt.Sprintf("since=%d.5", base.Unix()+57), []int{59, 60}, 61, false},
		{"stream=v/a/0&until=" + at(4), []int{1, 4}, 5, false},
	}
	for _, c := range cases {
		t.Run(c.query, func(t *testing.T) {
			status, m := w.get("/api/v1/events?" + c.query)
			if status != 200 || !slices.Equal(positions(m), c.want) && len(c.want) > 0 || len(positions(m)) != len(c.want) {
				t.Fatalf("%d %v, want %v", status, positions(m), c.want)
			}
			if m["more"] != c.more || m["cursor"] != c.cursor {
				t.Errorf("more %v cursor %v, want %v %v", m["more"], m["cursor"], c.more, c.cursor)
			}
		})
	}
}

func TestBadQueries(t *testing.T) {
	w, _ := filled(t)
	for _, q := range []string{
		"limit=0", "limit=1001", "limit=x", "cursor=-1", "cursor=18446744073709551616", "type=on_nothing", "type=",
		"after=1", "before=1", "stream=a&after=x", "since=yesterday", "since=NaN", "until=1e300", "until=-1",
		"stream=" + strings.Repeat("x", journal.MaxKey+1),
	} {
		status, m := w.get("/api/v1/events?" + q)
		if status != 400 || m["code"] != ProblemParameter || m["status"] != 400.0 || m["title"] != "Bad Request" {
			t.Errorf("%.40s: %d %v", q, status, m)
		}
	}
}

// TestPaging reads everything in pages and checks that nothing is missed or seen twice.
func TestPaging(t *testing.T) {
	w, _ := filled(t)
	for _, q := range []string{"", "&stream=v/a/2", "&type=on_flow_report"} {
		_, all := w.get("/api/v1/events?limit=1000" + q)
		for n := 1; n < 8; n++ {
			var got []int
			for cursor, more := 0.0, true; more; {
				_, m := w.get(fmt.Sprintf("/api/v1/events?limit=%d&cursor=%.0f%s", n, cursor, q))
				got = append(got, positions(m)...)
				cursor, more = m["cursor"].(float64), m["more"].(bool)
			}
			if want := positions(all); !slices.Equal(got, want) {
				t.Errorf("%s by %d: %v, want %v", q, n, got, want)
			}
		}
	}
}

func TestGetEvent(t *testing.T) {
	w, base := filled(t)
	for i := range uint64(60) {
		id := record("", 1, (i^1)*2+102, event.OnPlay, base).ID
		status, m := w.get("/api/v1/events/" + id)
		if status != 200 || m["id"] != id || m["position"] != float64(i+1) {
			t.Fatalf("%s: %d %v", id, status, m)
		}
	}
	_, m := w.get("/api/v1/events/" + record("", 1, 102, event.OnPlay, base).ID)
	want := `{"body":{"n":102},"class":"lifecycle","epoch":7,"hook_index":102,"id":"inc-66","incarnation":"inc",` +
		`"position":2,"publication":"p","seq":1,"source":"me","stream":"v/a/1","time":"2026-01-02T03:00:01Z",` +
		`"type":"on_flow_report"}`
	if got, _ := json.Marshal(m); string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for _, id := range []string{"inc-67", "other-66", "x", "-", "inc-", "inc-ffffffffffffffff", "inc-ffffffffffffffffff", "%00", "a%2fb"} {
		if status, m := w.get("/api/v1/events/" + id); status != 404 || m["code"] != ProblemNotFound {
			t.Errorf("%s: %d %v", id, status, m)
		}
	}
	w.journal.FailReads(errors.New("disk on fire"))
	for _, path := range []string{"events/inc-66", "events", "events?stream=v/a/1", "events?since=1"} {
		status, m := w.get("/api/v1/" + path)
		if status != 503 || m["code"] != ProblemJournal || strings.Contains(fmt.Sprint(m), "fire") {
			t.Errorf("%s: %d %v", path, status, m)
		}
	}
	w.journal.FailReads(nil)
}

func TestV1Access(t *testing.T) {
	w := newWorld(t)
	call := func(method, target string, header ...string) (int, string) {
		r := request(t, method, target, "", "")
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		rec := w.serve(r)
		return rec.Code, rec.Header().Get("Content-Type")
	}
	for _, c := range []struct {
		method, target string
		header         []string
		want           int
	}{
		{"GET", "/api/v1/endpoints", []string{"Authorization", "bearer " + testSecret}, 200},
		{"GET", "/api/v1/endpoints", []string{"Authorization", "Bearer x", "secret", testSecret}, 401},
		{"GET", "/api/v1/endpoints", []string{"Authorization", "Basic x", "secret", testSecret}, 200},
		{"GET", "/api/v1/endpoints?secret=" + testSecret, nil, 200},
		{"GET", "/api/v1/endpoints", nil, 401},
		{"GET", "/api/v1/nothing", nil, 401},
		{"GET", "/api/v1/nothing?secret=" + testSecret, nil, 404},
		{"GET", "/api/v1?secret=" + testSecret, nil, 404},
		{"POST", "/api/v1", []string{"secret", testSecret}, 404},
		{"GET", "/api/v1/events/", []string{"secret", testSecret}, 404},
		{"POST", "/api/v1/endpoints?secret=" + testSecret, nil, 405},
		{"OPTIONS", "/api/v1/endpoints", []string{"Origin", "http://x"}, 204},
	} {
		status, kind := call(c.method, c.target, c.header...)
		if status != c.want || status >= 400 && kind != "application/problem+json" {
			t.Errorf("%s %s %v: %d %s, want %d", c.method, c.target, c.header, status, kind, c.want)
		}
	}
	r := request(t, "GET", "/api/v1/endpoints?secret="+testSecret, "", "")
	r.RemoteAddr = "10.0.0.1:1"
	if rec := w.serve(r); rec.Code != http.StatusForbidden {
		t.Errorf("other address: %d", rec.Code)
	}
	w.settings.Secret = ""
	if status, _ := call("GET", "/api/v1/endpoints"); status != 401 {
		t.Errorf("no secret configured: %d", status)
	}
}

func TestDeadLettersAndEndpoints(t *testing.T) {
	letters := []delivery.DeadLetter{}
	for i := range 5 {
		for _, e := range []string{"b", "a"} {
			r := record("v/a/1", uint64(i+1), uint64(i+1), event.OnStreamChanged, time.Unix(1, 0))
			letters = append(letters, delivery.DeadLetter{
				Endpoint: e, Position: uint64(i + 1), Reason: "refused", Error: "400", Attempts: 8,
				Record: base64.StdEncoding.EncodeToString(journal.Encode(nil, r)),
			})
		}
	}
	rand.Shuffle(len(letters), func(i, j int) { letters[i], letters[j] = letters[j], letters[i] })
	letters = append(letters, delivery.DeadLetter{Endpoint: "c", Position: 1, Record: "junk"})
	var fails error
	w := newWorld(t, func(d *Deps) {
		d.DeadLetters = func(e string) ([]delivery.DeadLetter, error) {
			return slices.DeleteFunc(slices.Clone(letters), func(d delivery.DeadLetter) bool {
				return e != "" && d.Endpoint != e
			}), fails
		}
		d.Endpoints = func() []EndpointStats {
			return []EndpointStats{
				{"z", delivery.Stats{Floor: 5, Tail: 3}},
				{"a", delivery.Stats{Floor: 5, Tail: 9, Gone: []string{"http://u:pw@h:1/p?token=x", "::"}}},
			}
		}
	})
	var got []string
	for cursor, more := "", true; more; {
		_, m := w.get("/api/v1/dead-letters?limit=3&cursor=" + cursor)
		for _, d := range m["deadLetters"].([]any) {
			l := d.(map[string]any)
			seq := "-"
			if e, ok := l["event"].(map[string]any); ok {
				seq = fmt.Sprint(e["seq"], e["position"])
			}
			got = append(got, fmt.Sprint(l["endpoint"], " ", seq))
		}
		cursor, more = m["cursor"].(string), m["more"].(bool)
	}
	want := "[a 1 1 a 2 2 a 3 3 a 4 4 a 5 5 b 1 1 b 2 2 b 3 3 b 4 4 b 5 5 c -]"
	if fmt.Sprint(got) != want {
		t.Errorf("got %v, want %s", got, want)
	}
	if _, m := w.get("/api/v1/dead-letters?endpoint=b"); len(m["deadLetters"].([]any)) != 5 {
		t.Errorf("%v", m)
	}
	for _, q := range []string{"limit=x", "cursor=x", "cursor=a/x", "cursor=1"} {
		if status, m := w.get("/api/v1/dead-letters?" + q); status != 400 {
			t.Errorf("%s: %d %v", q, status, m)
		}
	}
	fails = journal.ErrCorrupt
	if status, m := w.get("/api/v1/dead-letters"); status != 503 {
		t.Errorf("%d %v", status, m)
	}
	_, m := w.get("/api/v1/endpoints")
	list := m["endpoints"].([]any)
	first, second := list[0].(map[string]any), list[1].(map[string]any)
	if first["name"] != "a" || first["lag"] != 4.0 || second["lag"] != 0.0 ||
		fmt.Sprint(first["gone"]) != "[ http://h:1/p]" {
		t.Errorf("%v", list)
	}
	if _, m := newWorld(t).get("/api/v1/endpoints"); len(m["endpoints"].([]any)) != 0 {
		t.Errorf("%v", m)
	}
}

// FuzzEventQuery asks for anything: the answer is a list or a problem.
func FuzzEventQuery(f *testing.F) {
	f.Add("limit=1&cursor=2&stream=v/a/1&after=1&before=3&type=on_play&since=1&until=2026-01-02T03:04:05Z")
	f.Add("since=1e9&until=nan&cursor=%zz;&after=18446744073709551615")
	f.Fuzz(func(t *testing.T, query string) {
		w, _ := filled(t)
		r := request(t, "GET", "/api/v1/events", "", "")
		r.URL.RawQuery = query
		r.Header.Set("Secret", testSecret)
		r.Header.Set("Authorization", "")
		if rec := w.serve(r); rec.Code != 200 && rec.Code != 400 || !json.Valid(rec.Body.Bytes()) {
			t.Errorf("%d %s", rec.Code, rec.Body)
		}
	})
}

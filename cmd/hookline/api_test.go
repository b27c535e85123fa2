package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hookline/hookline/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

const testSecret = "cli-secret"

// fakeAPI answers what it was told to answer, in turn, and writes down what it was asked.
type fakeAPI struct {
	t   *testing.T
	url string

	mu      sync.Mutex
	answers map[string][]string // by "METHOD /path?query": bodies; the last one stays. "404 ..." is a problem
	asked   []string            // with the body behind it
}

func newFakeAPI(t *testing.T, answers map[string][]string) *fakeAPI {
	f := &fakeAPI{t: t, answers: answers}
	s := httptest.NewServer(f)
	f.url = s.URL
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		s.Close()
	})
	return f
}

// ServeHTTP implements http.Handler.
func (f *fakeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	call := r.Method + " " + r.URL.RequestURI()
	body, _ := io.ReadAll(r.Body)
	f.asked = append(f.asked, strings.TrimSpace(call+" "+string(body)))
	if r.Header.Get("Authorization") != "Bearer "+testSecret || r.URL.Query().Has("secret") {
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, `{"detail":"the secret is missing or wrong","code":"unauthorized"}`)
		return
	}
	if len(body) > 0 && r.Header.Get("Content-Type") != "application/json" {
		f.t.Errorf("%s: a body as %q", call, r.Header.Get("Content-Type"))
	}
	list := f.answers[call]
	if len(list) == 0 {
		f.t.Errorf("unexpected: %s %s", call, body)
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	answer := list[0]
	if len(list) > 1 {
		f.answers[call] = list[1:]
	}
	switch detail, failed := strings.CutPrefix(answer, "404 "); {
	case failed:
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusNotFound)
		_ = json.NewEncoder(w).Encode(map[string]string{"detail": detail, "code": "not_found"})
	case answer == "":
		w.WriteHeader(http.StatusNoContent)
	default:
		_, _ = io.WriteString(w, answer)
	}
}

// run runs a command line against the server.
func (f *fakeAPI) run(args ...string) (out string, err error) {
	f.t.Helper()
	var c cli
	var b bytes.Buffer
	p, err := newParser(&c, &b)
	if err != nil {
		f.t.Fatal(err)
	}
	k, err := p.Parse(append(args, "--url", f.url+"/", "--secret", testSecret))
	if err != nil {
		return "", err
	}
	err = k.Run()
	return b.String(), err
}

const (
	anEvent = `{"position":7,"class":"lifecycle","type":"on_stream_changed","stream":"__defaultVhost__/live/a","seq":3,` +
		`"publication":"p1","id":"e-7","time":"2026-01-02T03:04:05Z","body":{"schema":"rtmp","regist":true}}`
	aDecision = `{"position":8,"class":"history","type":"on_play","stream":"__defaultVhost__/live/a","seq":4,` +
		`"id":"e-8","time":"2026-01-02T03:04:06Z","body":{"outcome":{"allowed":false,"by":"hook"}},` +
		`"deliveries":[{"endpoint":"billing","attempts":[` + anAttempt + `]}]}`
	anAttempt = `{"at":"2026-01-02T03:04:06Z","number":2,"result":"retry","url":"http://h/","status":500,"latencyMs":1.5,` +
		`"error":"status 500 \u001b[2J","answer":"broken"}`
	aLetter = `{"endpoint":"billing","position":7,"reason":"refused","error":"HTTP 400\n\u001b[2J","attempts":8,` +
		`"time":"2026-01-02T03:04:05Z","event":` + anEvent + `}`
	anEndpoint = `{"name":"billing","state":"up","format":"zlm","urls":["http://h/hook"],"lag":12,"delivered":100,"deadLetters":2}`
)

func TestCommandsOfAPI(t *testing.T) {
	const key = "%2Flive%2Fa"
	for _, c := range []struct {
		name    string
		args    []string
		answers map[string][]string
		asked   []string // in this order
		want    []string // parts of what is printed
		fails   string
	}{
		{
			"endpoints",
			[]string{"endpoints"},
			map[string][]string{"GET /api/v1/endpoints": {`{"endpoints":[` + anEndpoint + `]}`}},
			nil,
			[]string{"NAME", "billing", "up", "zlm", "12", "http://h/hook"},
			"",
		},
		{
			"endpoints as JSON",
			[]string{"endpoints", "ls", "--json"},
			map[string][]string{"GET /api/v1/endpoints": {`{"endpoints":[` + anEndpoint + `]}`}},
			nil,
			[]string{anEndpoint + "\n"},
			"",
		},
		{
			"pause",
			[]string{"endpoints", "pause", "bill/ing"},
			map[string][]string{"POST /api/v1/endpoints/bill%2Fing/pause": {`{"name":"bill/ing","state":"paused","lag":3}`}},
			nil,
			[]string{"bill/ing is paused", "lag 3"},
			"",
		},
		{
			"resume what the file pauses",
			[]string{"endpoints", "resume", "billing"},
			map[string][]string{"POST /api/v1/endpoints/billing/resume": {`{"name":"billing","state":"paused"}`}},
			nil,
			[]string{"billing is paused: its definition"},
			"",
		},
		{
			"pause nobody",
			[]string{"endpoints", "pause", "nobody"},
			map[string][]string{"POST /api/v1/endpoints/nobody/pause": {"404 there is no endpoint of this name"}},
			nil,
			nil, "404 Not Found: there is no endpoint of this name",
		},
		{
			"dead letters by pages",
			[]string{"dead", "ls", "--endpoint", "billing", "--stream", "live/a"},
			map[string][]string{
				"GET /api/v1/dead-letters?endpoint=billing&limit=100&stream=__defaultVhost__" + key: {
					`{"deadLetters":[` + aLetter + `],"cursor":"billing/7","more":true}`,
				},
				"GET /api/v1/dead-letters?cursor=billing%2F7&endpoint=billing&limit=99&stream=__defaultVhost__" + key: {
					`{"deadLetters":[],"cursor":"billing/7","more":false}`,
				},
			},
			nil,
			[]string{"LETTER", "billing/7", "refused", "HTTP 400??[2J"},
			"",
		},
		{
			"show",
			[]string{"dead", "show", "bil/ling/7"},
			map[string][]string{"GET /api/v1/dead-letters/bil%2Fling/7": {aLetter}},
			nil,
			[]string{"\n  \"endpoint\": \"billing\""},
			"",
		},
		{"show junk", []string{"dead", "show", "billing"}, nil, nil, nil, "ENDPOINT/POSITION"},
		{"show more junk", []string{"dead", "show", "/7"}, nil, nil, nil, "ENDPOINT/POSITION"},
		{
			"redrive named",
			[]string{"dead", "redrive", "billing/7", "billing/8"},
			map[string][]string{
				"POST /api/v1/dead-letters/billing/7/redrive": {`{"redriven":1}`},
				"POST /api/v1/dead-letters/billing/8/redrive": {`{"redriven":1}`},
			},
			[]string{"POST /api/v1/dead-letters/billing/7/redrive", "POST /api/v1/dead-letters/billing/8/redrive"},
			[]string{"billing/7 is on its way", "billing/8 is on its way"},
			"",
		},
		{
			"redrive many",
			[]string{"dead", "redrive", "--endpoint", "billing", "--reason", "refused"},
			map[string][]string{"POST /api/v1/dead-letters/redrive": {
				`{"redriven":1000,"cursor":"billing/1000","more":true}`, `{"redriven":3,"cursor":"billing/1003","more":false}`,
			}},
			[]string{
				`POST /api/v1/dead-letters/redrive {"endpoint":"billing","limit":1000,"reason":"refused","stream":""}`,
				`POST /api/v1/dead-letters/redrive {"cursor":"billing/1000","endpoint":"billing","limit":1000,"reason":"refused","stream":""}`,
			},
			[]string{"1003 on their way"},
			"",
		},
		{"redrive nothing", []string{"dead", "redrive"}, nil, nil, nil, "which?"},
		{"redrive both", []string{"dead", "redrive", "billing/7", "--endpoint", "x"}, nil, nil, nil, "not both"},
		{
			"discard",
			[]string{"dead", "discard", "billing/7", "--reason", "by hand"},
			map[string][]string{"DELETE /api/v1/dead-letters/billing/7?reason=by+hand": {""}},
			nil,
			[]string{"billing/7 is discarded"},
			"",
		},
		{"discard without a reason", []string{"dead", "discard", "billing/7"}, nil, nil, nil, "--reason"},
		{
			"replay dry",
			[]string{"replay", "billing", "--dry-run", "--since", "2026-01-02T03:04:05+01:00", "--type", "on_play"},
			map[string][]string{"POST /api/v1/replays": {`{"endpoint":"billing","count":42,"from":1,"to":99,"state":"done"}`}},
			[]string{
				`POST /api/v1/replays {"dryRun":true,"endpoint":"billing","since":"2026-01-02T02:04:05Z","types":["on_play"]}`,
			},
			[]string{"42 events between positions 1 and 99"},
			"",
		},
		{
			"replay",
			[]string{"replay", "billing", "--from", "5", "--to", "9", "--stream", "live/*"},
			map[string][]string{"POST /api/v1/replays": {`{"id":"r1","endpoint":"billing","count":4,"from":5,"to":9,"state":"running"}`}},
			[]string{`POST /api/v1/replays {"dryRun":false,"endpoint":"billing","from":5,"streams":["live/*"],"to":9}`},
			[]string{"replay r1: 4 events, positions 5 to 9"},
			"",
		},
		{
			"replay and watch",
			[]string{"replay", "billing", "--follow", "--interval", "1ms"},
			map[string][]string{
				"POST /api/v1/replays": {`{"id":"r1","count":4,"state":"running"}`},
				"GET /api/v1/replays/r1": {
					`{"id":"r1","count":4,"delivered":1,"state":"running"}`, `{"id":"r1","count":4,"delivered":4,"state":"done"}`,
				},
			},
			nil,
			[]string{"replay r1 done", "[##############################] 100%  4 of 4 delivered, 0 failed"},
			"",
		},
		{
			"replay that is refused",
			[]string{"replay", "billing", "-f", "--interval", "1ms"},
			map[string][]string{
				"POST /api/v1/replays":   {`{"id":"r1","count":4,"state":"running"}`},
				"GET /api/v1/replays/r1": {`{"id":"r1","count":4,"delivered":1,"failed":3,"state":"done"}`},
			},
			nil,
			[]string{"1 of 4 delivered, 3 failed"},
			"3 events were not accepted",
		},
		{"replay since whenever", []string{"replay", "billing", "--since", "whenever"}, nil, nil, nil, "how long ago"},
		{
			"replays",
			[]string{"replays"},
			map[string][]string{"GET /api/v1/replays": {
				`{"replays":[{"id":"r1","endpoint":"billing","state":"running","from":5,"to":9,"count":4,"started":"2026-01-02T03:04:05Z"}]}`,
			}},
			nil,
			[]string{"ID", "r1", "running", "5-9"},
			"",
		},
		{
			"cancel",
			[]string{"replays", "cancel", "r1"},
			map[string][]string{"DELETE /api/v1/replays/r1": {""}},
			nil,
			[]string{"r1 is cancelled"},
			"",
		},
		{
			"timeline",
			[]string{"events", "timeline", "live/a"},
			map[string][]string{
				"GET /api/v1/streams/__defaultVhost__" + key + "/timeline?limit=1000": {
					`{"publications":[{"publication":"p1","live":true}],"events":[` + anEvent + `],"cursor":4,"more":true}`,
				},
				"GET /api/v1/streams/__defaultVhost__" + key + "/timeline?cursor=4&limit=1000": {
					`{"publications":[],"events":[` + aDecision + `],"cursor":5,"more":false,"requests":[{"id":"q-1","type":"on_stream_none_reader",` +
						`"endpoint":"hook","attempts":[` + anAttempt + `]}]}`,
				},
			},
			nil,
			[]string{
				"-- publication p1, live\n", "rtmp register", "-- no publication\n", "allowed=false by hook",
				"-> billing          #2   retry     500       1.5 ms status 500 ?[2J\n", "broken", "-- request on_stream_none_reader q-1\n",
			},
			"",
		},
		{
			"endpoint",
			[]string{"endpoints", "show", "billing"},
			map[string][]string{
				"GET /api/v1/endpoints/billing": {`{"name":"billing","state":"down","format":"zlm","lag":7,"lagSeconds":90.5,` +
					`"latency":{"p50":1,"p90":2.5,"p99":80},"results":{"accepted":5,"retry":2,"gone":0},"targets":[{"url":"http://h/",` +
					`"state":"down","inFlight":1,"slots":32,"failures":6,"downSince":"2026-01-02T03:04:05Z"}],"lastError":{"error":"refused"}}`},
				"GET /api/v1/attempts?endpoint=billing&limit=10&result=failed": {`{"attempts":[{"type":"on_play","stream":"s","event":"e-8",` +
					anAttempt[1:] + `]}`},
			},
			nil,
			[]string{
				"billing: down, zlm, lag 7 (the oldest event is 1m30.5s old)", "p50 1.0 ms, p90 2.5 ms, p99 80.0 ms",
				"attempts: accepted 5 retry 2;", "in flight 1 of 32, 6 failures in a row, since ", "on_play s e-8\n", "broken",
			},
			"",
		},
		{
			"newest events",
			[]string{"events", "ls", "--desc", "--limit", "2"},
			map[string][]string{"GET /api/v1/events?limit=2&order=desc": {`{"events":[` + aDecision + `,` + anEvent + `],"cursor":7,"more":true}`}},
			nil,
			[]string{"e-8", "e-7"},
			"",
		},
		{
			"tail",
			[]string{"events", "tail", "-n", "1"},
			map[string][]string{
				"GET /api/v1/journal":                 {`{"last":8}`},
				"GET /api/v1/events?cursor=8&limit=1": {`{"events":[` + aDecision + `],"cursor":9,"more":false}`},
			},
			nil,
			[]string{"e-8"},
			"",
		},
		{
			"follow",
			[]string{"events", "tail", "-f", "--type", "on_play"},
			map[string][]string{
				"GET /api/v1/journal":                             {`{"last":8}`},
				"GET /api/v1/events/stream?cursor=1&type=on_play": {": hookline\n\nid: 8\ndata: " + aDecision + "\n\n", "404 it has ended"},
			},
			nil,
			[]string{"e-8"},
			"it has ended",
		},
		{
			"an event",
			[]string{"events", "show", "e-7"},
			map[string][]string{"GET /api/v1/events/e-7": {anEvent}},
			nil,
			[]string{"\"id\": \"e-7\""},
			"",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFakeAPI(t, c.answers)
			out, err := f.run(c.args...)
			if c.fails == "" && err != nil || c.fails != "" && (err == nil || !strings.Contains(err.Error(), c.fails)) {
				t.Errorf("error %v, want %q", err, c.fails)
			}
			for _, part := range c.want {
				if !strings.Contains(out, part) {
					t.Errorf("%q is not in\n%s", part, out)
				}
			}
			if strings.ContainsRune(out, '\x1b') {
				t.Errorf("an escape sequence: %q", out)
			}
			if c.asked != nil && fmt.Sprintf("%q", f.asked) != fmt.Sprintf("%q", c.asked) {
				t.Errorf("asked\n%q, want\n%q", f.asked, c.asked)
			}
		})
	}
}

func TestWrongSecret(t *testing.T) {
	f := newFakeAPI(t, nil)
	var c cli
	p, err := newParser(&c, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	k, err := p.Parse([]string{"endpoints", "--url", f.url, "--secret", "no"})
	if err != nil {
		t.Fatal(err)
	}
	err = k.Run()
	if err == nil || !strings.Contains(err.Error(), "the secret is missing or wrong") ||
		!strings.Contains(err.Error(), "HOOKLINE_API_SECRET") {
		t.Error(err)
	}
}

func TestMoment(t *testing.T) {
	for text, want := range map[string]time.Duration{"90m": 90 * time.Minute, "0s": 0} {
		var m moment
		if err := m.UnmarshalText([]byte(text)); err != nil || time.Since(m.Time).Truncate(time.Minute) != want {
			t.Errorf("%s: %v %v", text, m, err)
		}
	}
	for _, text := range []string{"", "-5m", "yesterday", "2026-13-01T00:00:00Z"} {
		if err := new(moment).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is a moment", text)
		}
	}
}

// TestServerAddress: who names the server's file need not repeat what it says.
func TestServerAddress(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, name := range []string{"config.ini", "off.ini"} {
		port := map[string]string{"config.ini": "18099", "off.ini": "0"}[name]
		text := "[api]\nsecret=of-the-file-0123456789abcdef\n[http]\nport=" + port + "\n"
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir("data", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("data/identity.ini", []byte("secret = of-the-state\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const usual = "http://127.0.0.1:8080"
	for _, c := range []struct {
		client
		address, secret string
	}{
		{client{}, usual, "of-the-state"},
		{client{Config: "config.ini"}, "http://127.0.0.1:18099", "of-the-file-0123456789abcdef"},
		{client{Config: "off.ini"}, usual, "of-the-file-0123456789abcdef"},
		{client{Config: "config.ini", URL: "http://h:1/"}, "http://h:1", "of-the-file-0123456789abcdef"},
		{client{Config: "config.ini", Secret: "s"}, "http://127.0.0.1:18099", "s"},
		{client{Config: "not there", URL: "http://h:1", Secret: "s"}, "http://h:1", "s"},
	} {
		address, secret, err := c.server()
		if err != nil || address != c.address || secret != c.secret {
			t.Errorf("%+v: %s %s %v", c.client, address, secret, err)
		}
	}
	if _, _, err := (&client{Config: "not there"}).server(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without the file: %v", err)
	}
}

// TestNoServer: the error says what to do.
func TestNoServer(t *testing.T) {
	c := &client{URL: "http://127.0.0.1:1", Secret: "s"}
	err := c.call(t.Context(), http.MethodGet, "/api/v1/endpoints", nil, nil, nil)
	if err == nil || !strings.Contains(err.Error(), "no server listens at 127.0.0.1:1: is it running? --url") {
		t.Error(err)
	}
}

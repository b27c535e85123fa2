package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/ordercheck"
)

// post is one request that the receiver took.
type post struct {
	hook   event.Type
	body   *ordercheck.Body
	json   map[string]any
	header http.Header
	path   string
	at     time.Time // of arrival
	// accepted: it was answered as the contract demands of a success.
	accepted bool
	// attempt counts the posts with this id, from 1.
	attempt int
}

// String names the post in failures.
func (p *post) String() string {
	s := fmt.Sprintf("%s %s seq %d", p.hook, p.body.Event.Stream, p.body.Event.Seq)
	if w := ordercheck.What(p.body); w != "" {
		s += " " + w
	}
	if p.body.Reason != "" {
		s += " " + p.body.Reason
	}
	if !p.accepted {
		s += " (not accepted)"
	}
	return s
}

// reply is an answer of the receiver. The zero value is a success.
type reply struct {
	status int
	body   string
	delay  time.Duration
	header map[string]string
	// write replaces all of the answer; it is not an acceptance.
	write func(http.ResponseWriter, *http.Request)
}

const success = `{"code":0,"msg":"success"}`

// accepts says whether the reply is an acceptance. The tests write only codes that are plain.
func (r *reply) accepts() bool {
	var m struct {
		Code *int `json:"code"`
	}
	return r.write == nil && r.status == http.StatusOK && json.Unmarshal([]byte(r.body), &m) == nil && m.Code != nil
}

// receiver takes hooks.
type receiver struct {
	t       *testing.T
	srv     *httptest.Server
	checker *ordercheck.Checker

	silent bool // posts are not kept

	mu     sync.Mutex // guards everything below
	answer func(*post) reply
	posts  []*post
	tries  map[string]int
	change chan struct{}
}

// newReceiver starts a receiver that says yes to everything.
func newReceiver(t *testing.T) *receiver {
	t.Helper()
	return newReceiverWith(t, ordercheck.Options{}, false)
}

// newReceiverWith is newReceiver with options; a silent one keeps no posts, for there will be many.
func newReceiverWith(t *testing.T, opt ordercheck.Options, silent bool) *receiver {
	t.Helper()
	r := &receiver{
		t: t, checker: ordercheck.New(opt), tries: map[string]int{}, change: make(chan struct{}), silent: silent,
		answer: func(*post) reply { return reply{} },
	}
	r.srv = httptest.NewServer(http.HandlerFunc(r.handle))
	t.Cleanup(func() {
		r.srv.CloseClientConnections()
		r.srv.Close()
		if rep := r.checker.Report(); !rep.OK() {
			t.Error(rep)
		}
		if t.Failed() && !r.silent {
			t.Logf("the receiver got:\n%s", r.transcript())
		}
	})
	return r
}

func (r *receiver) url(hook event.Type) string { return r.srv.URL + "/index/hook/" + string(hook) }

// setAnswer decides from now on.
func (r *receiver) setAnswer(f func(*post) reply) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = f
}

func (r *receiver) handle(w http.ResponseWriter, req *http.Request) {
	p := &post{hook: event.Type(path.Base(req.URL.Path)), header: req.Header, path: req.URL.Path, at: time.Now()}
	raw, err := io.ReadAll(io.LimitReader(req.Body, 1<<20))
	if err != nil {
		return // the sender was killed
	}
	if p.body, err = ordercheck.Parse(raw); err != nil {
		r.t.Errorf("%s: %v: %.200s", req.URL.Path, err, raw)
		return
	}
	if !r.silent {
		if err := json.Unmarshal(raw, &p.json); err != nil {
			r.t.Error(err)
		}
	}
	re := r.decide(p)
	if re.delay > 0 {
		select {
		case <-time.After(re.delay):
		case <-req.Context().Done():
			return
		}
	}
	if req.Context().Err() != nil {
		return // who is not there is told nothing
	}
	r.note(p, re.accepts())
	for k, v := range re.header {
		w.Header().Set(k, v)
	}
	if re.write != nil {
		re.write(w, req)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(re.status)
	_, _ = io.WriteString(w, re.body)
}

func (r *receiver) decide(p *post) reply {
	r.mu.Lock()
	if !r.silent {
		r.tries[p.body.Event.ID]++
		p.attempt = r.tries[p.body.Event.ID]
	}
	answer := r.answer
	r.mu.Unlock()
	re := answer(p)
	if re.status == 0 {
		re.status = http.StatusOK
	}
	if re.body == "" && re.status == http.StatusOK {
		re.body = success
	}
	return re
}

// note tells the checker, right before the answer is written.
func (r *receiver) note(p *post, accepted bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p.accepted = accepted
	hook := p.hook
	if !slices.Contains(event.Types(), hook) {
		hook = ""
	}
	d := ordercheck.Delivery{Body: p.body, Hook: hook, Start: p.at, Finish: time.Now()}
	if accepted {
		r.checker.Add(d)
	} else {
		r.checker.Rejected(d)
	}
	if r.silent {
		return
	}
	r.posts = append(r.posts, p)
	close(r.change)
	r.change = make(chan struct{})
}

// all returns the posts that were answered, in the order of the answers.
func (r *receiver) all() []*post {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.posts)
}

// accepted returns those of a stream that were accepted, without duplicates; "" is the server.
func (r *receiver) accepted(stream string) (out []*post) {
	seen := map[string]bool{}
	for _, p := range r.all() {
		if p.accepted && p.body.Event.Stream == key(stream) && !seen[p.body.Event.ID] {
			seen[p.body.Event.ID] = true
			out = append(out, p)
		}
	}
	return out
}

// key returns the key of a stream of app live.
func key(stream string) string {
	if stream == "" {
		return ""
	}
	return "__defaultVhost__/live/" + stream
}

func (r *receiver) transcript() string {
	var b strings.Builder
	for _, p := range r.all() {
		b.WriteString("  " + p.String() + "\n")
	}
	return b.String()
}

// await waits until n posts match and returns them.
func (r *receiver) await(what string, n int, match func(*post) bool) []*post {
	r.t.Helper()
	return r.awaitIn(r.t, what, n, match)
}

// awaitIn is await in a part of the test, which fails when they don't come.
func (r *receiver) awaitIn(t *testing.T, what string, n int, match func(*post) bool) []*post {
	t.Helper()
	deadline := time.After(patience)
	var found []*post
	for seen := 0; ; {
		r.mu.Lock()
		for _, p := range r.posts[seen:] {
			if match(p) {
				found = append(found, p)
			}
		}
		seen = len(r.posts)
		change := r.change
		r.mu.Unlock()
		if len(found) >= n {
			return found
		}
		select {
		case <-change:
		case <-deadline:
			t.Fatalf("%d of %d: %s did not come", len(found), n, what)
		}
	}
}

// accept waits until an event of the stream was accepted.
func (r *receiver) accept(hook event.Type, stream string, more ...func(*post) bool) *post {
	r.t.Helper()
	return r.acceptIn(r.t, hook, stream, more...)
}

// acceptIn is accept in a part of the test.
func (r *receiver) acceptIn(t *testing.T, hook event.Type, stream string, more ...func(*post) bool) *post {
	t.Helper()
	found := r.awaitIn(t, fmt.Sprintf("%s of %q", hook, stream), 1, func(p *post) bool {
		ok := p.accepted && p.hook == hook && p.body.Event.Stream == key(stream)
		for _, m := range more {
			ok = ok && m(p)
		}
		return ok
	})
	return found[0]
}

// register and unregister narrow on_stream_changed, ofPlayer and ofPublisher on_flow_report.
func register(p *post) bool { return p.body.Regist != nil && *p.body.Regist }

func registerOf(schema string) func(*post) bool {
	return func(p *post) bool { return register(p) && p.body.Schema == schema }
}
func unregister(p *post) bool  { return p.body.Regist != nil && !*p.body.Regist }
func ofPlayer(p *post) bool    { return p.body.Player != nil && *p.body.Player }
func ofPublisher(p *post) bool { return p.body.Player != nil && !*p.body.Player }

// params narrows to a query string.
func params(want string) func(*post) bool { return func(p *post) bool { return p.body.Params == want } }

// story returns what was accepted of a stream, without questions, decisions and what a crash sent again, as words.
func (r *receiver) story(stream string) (out []string) {
	seen := map[string]bool{}
	for _, p := range r.accepted(stream) {
		if p.body.Event.Seq == 0 && p.hook != event.OnEventGap || seen[p.body.Event.ID] {
			continue
		}
		seen[p.body.Event.ID] = true
		s := strings.TrimPrefix(string(p.hook), "on_")
		if w := ordercheck.What(p.body); w != "" {
			s = w
		}
		if p.body.Reason != "" {
			s += " " + p.body.Reason
		}
		out = append(out, s)
	}
	return out
}

// schemas are those of a stream of pictures and sound, in the order of registration.
func schemas() []string { return []string{"rtmp", "rtsp", "ts", "fmp4"} }

// spell puts the registers of all schemas for the word "register", and their unregisters, in reverse, for "unregister".
func spell(words ...string) (out []string) {
	for _, w := range words {
		all := schemas()
		switch w {
		case "unregister":
			slices.Reverse(all)
			fallthrough
		case "register":
			for _, s := range all {
				out = append(out, w+":"+s)
			}
		default:
			out = append(out, w)
		}
	}
	return out
}

// expectStory compares, when as much has come as is wanted. See spell for the words.
func (r *receiver) expectStory(stream string, want ...string) {
	r.t.Helper()
	want = spell(want...)
	if len(want) > 0 {
		r.awaitStory(stream, len(want))
	}
	if got := r.story(stream); !slices.Equal(got, want) {
		r.t.Errorf("%s:\n got %q\nwant %q", stream, got, want)
	}
}

// awaitStory waits until n events of a stream were accepted.
func (r *receiver) awaitStory(stream string, n int) {
	r.t.Helper()
	deadline := time.After(patience)
	for {
		r.mu.Lock()
		change := r.change
		r.mu.Unlock()
		if len(r.story(stream)) >= n {
			return
		}
		select {
		case <-change:
		case <-deadline:
			return // the comparison fails
		}
	}
}

// expectClosed demands that no publication is open.
func (r *receiver) expectClosed() {
	r.t.Helper()
	if rep := r.checker.Report(); rep.Open != 0 {
		r.t.Errorf("%d publications are open: %q", rep.Open, rep.OpenExamples)
	}
}

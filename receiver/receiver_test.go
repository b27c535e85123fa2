package receiver_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/leaktest"
	"github.com/hookline/hookline/receiver"
	"github.com/hookline/hookline/receiver/receivertest"
	"github.com/hookline/hookline/receiver/storetest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// journal is what a receiver's handlers saw.
type journal struct {
	mu   sync.Mutex
	list []string
	fail error
}

func (j *journal) add(ctx context.Context, format string, args ...any) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.fail != nil {
		return j.fail
	}
	text := fmt.Sprintf(format, args...)
	if !receiver.OnCommit(ctx, func() { j.mu.Lock(); j.list = append(j.list, text); j.mu.Unlock() }) {
		j.list = append(j.list, text)
	}
	return nil
}

func (j *journal) take() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	out := j.list
	j.list = nil
	return out
}

func (j *journal) want(t *testing.T, want ...string) {
	t.Helper()
	if got := j.take(); !slices.Equal(got, want) {
		t.Errorf("handlers saw\n %q, want\n %q", got, want)
	}
}

func quiet() receiver.Option {
	return receiver.WithLogger(slog.New(slog.DiscardHandler))
}

func setup(t *testing.T, opts ...receiver.Option) (*receiver.Receiver, *receivertest.Sender, *journal) {
	t.Helper()
	j := &journal{}
	r, err := receiver.New(append([]receiver.Option{
		quiet(),
		receiver.OnAny(func(ctx context.Context, e *receiver.Event) error {
			flags := ""
			for _, f := range []struct {
				name string
				on   bool
			}{{" late", e.Late}, {" new epoch", e.NewEpoch}, {" fetched", e.Fetched}, {" replay", e.Replay != ""}} {
				if f.on {
					flags += f.name
				}
			}
			return j.add(ctx, "%d%s", e.Seq, flags)
		}),
		receiver.OnGap(func(ctx context.Context, _ *receiver.Event, g *receiver.Gap) error {
			return j.add(ctx, "gap %s %d-%d of %d-%d", g.Reason, g.Missing.From, g.Missing.To, g.From, g.To)
		}),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	return r, receivertest.New(r), j
}

func accepted(t *testing.T, s *receivertest.Sender, events ...*receivertest.Event) {
	t.Helper()
	for _, e := range events {
		if a := s.Send(e); a.Status != http.StatusOK || a.Code != 0 {
			t.Errorf("%s %d is answered %d %s", e.Type, e.Seq, a.Status, a.Body)
		}
	}
}

// reg makes n events of one stream.
func reg(s *receivertest.Sender, name string, n int) []*receivertest.Event {
	var out []*receivertest.Event
	for i := range n {
		if i%2 == 0 {
			out = append(out, s.Register(name, "rtmp"))
		} else {
			out = append(out, s.Unregister(name, "rtmp"))
		}
	}
	return out
}

func TestDuplicates(t *testing.T) {
	for _, form := range []string{"zlm", "cloudevents"} {
		t.Run(form, func(t *testing.T) {
			r, s, j := setup(t)
			if form == "cloudevents" {
				s.CloudEvents()
			}
			e := reg(s, "live/a", 3)
			accepted(t, s, e[0], e[0], e[1], e[0], e[1], e[2], e[2])
			j.want(t, "1", "2", "3")
			if st := r.Stats(); st.Handled != 3 || st.Duplicates != 4 {
				t.Errorf("%+v", st)
			}
		})
	}
}

func TestFailureIsRetried(t *testing.T) {
	_, s, j := setup(t)
	e := reg(s, "live/a", 2)
	j.fail = errors.New("down")
	if a := s.Send(e[0]); a.Status != http.StatusInternalServerError {
		t.Errorf("%d", a.Status)
	}
	j.fail = nil
	accepted(t, s, e[0], e[1])
	j.want(t, "1", "2")
}

func TestPanic(t *testing.T) {
	on := true
	r, s, j := setup(t, receiver.OnStreamChanged(func(context.Context, *receiver.Event, *receiver.StreamChanged) error {
		if on {
			panic("handler")
		}
		return nil
	}), receiver.OnPlay(func(context.Context, *receiver.Event, *receiver.Play) (receiver.Decision, error) { panic("play") }))
	e := s.Register("live/a", "rtmp")
	if a := s.Send(e); a.Status != http.StatusInternalServerError {
		t.Errorf("%d", a.Status)
	}
	if a := s.Send(s.Make(event.OnPlay, "live/a", nil)); a.Status != http.StatusInternalServerError {
		t.Errorf("%d", a.Status)
	}
	on = false
	accepted(t, s, e)
	j.want(t, "1")
	if st := r.Stats(); st.Panics != 2 || st.Failed != 2 {
		t.Errorf("%+v", st)
	}
}

func TestMissed(t *testing.T) {
	_, s, j := setup(t)
	e := reg(s, "live/a", 6)
	accepted(t, s, e[0], e[3], e[2], e[2], e[4])
	j.want(t, "1", "gap missed 2-3 of 2-3", "4", "3 late", "5")
}

func TestFetch(t *testing.T) {
	_, s, j := setup(t)
	r, err := receiver.New(quiet(), receiver.WithFetcher(s), receiver.OnAny(func(ctx context.Context, e *receiver.Event) error {
		return j.add(ctx, "%d %t", e.Seq, e.Fetched)
	}))
	if err != nil {
		t.Fatal(err)
	}
	s2 := receivertest.New(r)
	e := reg(s, "live/a", 5)
	accepted(t, s2, e[0], e[3], e[1], e[4])
	j.want(t, "1 false", "2 true", "3 true", "4 false", "5 false")
	if st := r.Stats(); st.Fetched != 2 || st.Gaps != 0 {
		t.Errorf("%+v", st)
	}
}

// holes fetches all but one.
type holes struct {
	receiver.Fetcher
	seq  uint64
	fail bool
}

func (h holes) Fetch(ctx context.Context, stream string, missed receiver.Range) ([]*receiver.Event, error) {
	if h.fail {
		return nil, errors.New("away")
	}
	list, err := h.Fetcher.Fetch(ctx, stream, missed)
	return slices.DeleteFunc(list, func(e *receiver.Event) bool { return e.Seq == h.seq }), err
}

func TestFetchFindsLess(t *testing.T) {
	for _, c := range []struct {
		hole uint64
		fail bool
		want []string
	}{
		{2, false, []string{"1", "gap missed 2-2 of 2-2", "3 fetched", "4 fetched", "5"}},
		{3, false, []string{"1", "2 fetched", "gap missed 3-3 of 3-3", "4 fetched", "5"}},
		{4, false, []string{"1", "2 fetched", "3 fetched", "gap missed 4-4 of 4-4", "5"}},
		{0, true, []string{"1", "gap missed 2-4 of 2-4", "5"}},
	} {
		_, log, _ := setup(t)
		_, s, j := setup(t, receiver.WithFetcher(holes{log, c.hole, c.fail}))
		e := reg(log, "live/a", 5)
		accepted(t, s, e[0], e[4])
		j.want(t, c.want...)
	}
}

// stuck never answers.
type stuck struct{}

func (stuck) Fetch(ctx context.Context, _ string, _ receiver.Range) ([]*receiver.Event, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// TestStuckFetcher: a sender whose API hangs does not hold its stream up.
func TestStuckFetcher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, s, j := setup(t, receiver.WithFetcher(stuck{}))
		e := reg(s, "live/a", 3)
		accepted(t, s, e[0], e[2])
		j.want(t, "1", "gap missed 2-2 of 2-2", "3")
	})
}

// brokenStore panics after the handler.
type brokenStore struct{ receiver.Store }

func (b brokenStore) Update(ctx context.Context, k receiver.Key, f func(context.Context, receiver.Mark) (receiver.Mark, error)) error {
	return b.Store.Update(ctx, k, func(ctx context.Context, m receiver.Mark) (receiver.Mark, error) {
		if next, err := f(ctx, m); err != nil {
			return next, err
		}
		panic("store")
	})
}

func TestStorePanics(t *testing.T) {
	r, s, j := setup(t, receiver.WithStore(brokenStore{receiver.NewMemory()}))
	e := s.Register("live/a", "rtmp")
	for range 2 { // the second finds its turn free
		if a := s.Send(e); a.Status != http.StatusInternalServerError {
			t.Errorf("status %d", a.Status)
		}
	}
	j.want(t)
	if st := r.Stats(); st.Panics != 2 || st.Handled != 0 {
		t.Errorf("%+v", st)
	}
}

func TestNamedGaps(t *testing.T) {
	_, s, j := setup(t)
	e := reg(s, "live/a", 8)
	accepted(t, s, e[0])
	notice := s.Lose(event.ReasonRefused, e[1], e[2])
	accepted(t, s, notice, notice, e[3], receivertest.Late(e[2]), receivertest.Late(e[2]), receivertest.Late(e[0]))
	j.want(t, "1", "gap refused 2-3 of 2-3", "4", "3 late")
}

func TestGapMember(t *testing.T) {
	for _, cloud := range []bool{false, true} {
		_, s, j := setup(t)
		if cloud {
			s.CloudEvents()
		}
		e := reg(s, "live/a", 4)
		accepted(t, s, e[0])
		e[2].Gap = []event.Gap{receivertest.GapOf(event.ReasonExpired, e[1])}
		accepted(t, s, e[2], e[2], e[3], receivertest.Late(e[1]))
		j.want(t, "1", "gap expired 2-2 of 2-2", "3", "4", "2 late")
	}
}

// TestGapThatWasHandled: the answer was lost, so that the sender gave up what had been handled.
func TestGapThatWasHandled(t *testing.T) {
	_, s, j := setup(t)
	e := reg(s, "live/a", 4)
	accepted(t, s, e[0], e[1], s.Lose(event.ReasonRefused, e[1], e[2]), receivertest.Late(e[1]), receivertest.Late(e[2]), e[3])
	j.want(t, "1", "2", "gap refused 3-3 of 2-3", "3 late", "4")
}

func TestEpochs(t *testing.T) {
	r, s, j := setup(t)
	old := reg(s, "live/a", 3)
	accepted(t, s, old[0], old[1])
	s.NewEpoch()
	e := reg(s, "live/a", 2)
	accepted(t, s, e[0], old[2], receivertest.Late(old[2]), e[1])
	j.want(t, "1", "2", "1 new epoch", "2")
	if st := r.Stats(); st.Obsolete != 2 {
		t.Errorf("%+v", st)
	}
}

// TestFirstContact: prev is the mark, and what is below it was never handled here.
func TestFirstContact(t *testing.T) {
	_, s, j := setup(t)
	e := reg(s, "live/a", 6)
	accepted(t, s, e[4], e[5], receivertest.Late(e[1]), receivertest.Late(e[1]))
	j.want(t, "5", "6", "2 late")
	_, s, j = setup(t)
	accepted(t, s, receivertest.Late(e[1]), e[4], e[1])
	j.want(t, "2 late", "gap missed 3-4 of 3-4", "5")
}

func TestReplays(t *testing.T) {
	r, s, j := setup(t)
	e := reg(s, "live/a", 3)
	accepted(t, s, e[0], receivertest.Replay(e[1], "r"), e[1])
	j.want(t, "1", "2")
	if st := r.Stats(); st.Replays != 1 {
		t.Errorf("%+v", st)
	}
	_, s, j = setup(t, receiver.WithReplays())
	accepted(t, s, e[0], receivertest.Replay(e[0], "r"), receivertest.Replay(e[0], "r"), receivertest.Replay(e[1], "r"), e[1])
	j.want(t, "1", "1 replay", "2 replay", "2")
}

func TestBatch(t *testing.T) {
	r, s, j := setup(t)
	a, b := reg(s, "live/a", 2), reg(s, "live/b", 2)
	if got := s.SendBatch(a[0], a[1], b[0]); got.Status != http.StatusOK {
		t.Errorf("%d", got.Status)
	}
	j.want(t, "1", "2", "1")
	_, s, j = setup(t, receiver.OnPublicationEnded(func(context.Context, *receiver.Event, *receiver.PublicationEnded) error {
		return errors.New("no")
	}))
	end := s.End("live/c", "unpublish")
	if got := s.SendBatch(a[0], end, a[1]); got.Status != http.StatusInternalServerError {
		t.Errorf("%d", got.Status)
	}
	if got := s.SendBatch(a[0], a[1]); got.Status != http.StatusOK {
		t.Errorf("%d", got.Status)
	}
	j.want(t, "1", "2")
	_ = r
}

func TestSignatures(t *testing.T) {
	secret, old, key := event.GenerateSecret(), event.GenerateSecret(), event.GenerateSigningKey()
	r, _, j := setup(t, receiver.WithSecrets(secret.Reveal(), old.Reveal()), receiver.WithSecrets(key.Public().String()))
	for i, c := range []struct {
		key  string
		want int
	}{
		{"", 401},
		{event.GenerateSecret().Reveal(), 401},
		{secret.Reveal(), 200},
		{old.Reveal(), 200},
		{key.Reveal(), 200},
	} {
		s := receivertest.New(r)
		if c.key != "" {
			s.Sign(c.key)
		}
		if a := s.Send(s.Register(fmt.Sprintf("live/%d", i), "rtmp")); a.Status != c.want {
			t.Errorf("%d: %d", i, a.Status)
		}
	}
	j.want(t, "1", "1", "1")
	if st := r.Stats(); st.Unauthorized != 2 {
		t.Errorf("%+v", st)
	}
	for _, opt := range []receiver.Option{receiver.WithSecrets(), receiver.WithSecrets("whsec_x")} {
		if _, err := receiver.New(opt); !errors.Is(err, event.ErrBadKey) {
			t.Errorf("error %v", err)
		}
	}
}

func TestDecisions(t *testing.T) {
	ms, off := 5000, false
	_, s, j := setup(t,
		receiver.OnPublish(func(_ context.Context, e *receiver.Event, b *receiver.Publish) (receiver.PublishDecision, error) {
			switch b.Stream {
			case "bad":
				return receiver.RefusePublish("no such camera"), nil
			case "down":
				return receiver.PublishDecision{}, errors.New("database")
			}
			return receiver.AllowPublish(receiver.PublishOptions{StreamReplace: "x", ContinuePushMS: &ms, EnableAudio: &off}), nil
		}),
		receiver.OnPlay(func(context.Context, *receiver.Event, *receiver.Play) (receiver.Decision, error) {
			return receiver.Decision{}, nil
		}),
		receiver.OnStreamNoneReader(func(context.Context, *receiver.Event, *receiver.StreamNoneReader) (bool, error) { return true, nil }),
		receiver.OnStreamNotFound(func(context.Context, *receiver.Event, *receiver.StreamNotFound) (bool, error) { return false, nil }),
		receiver.OnRTSPRealm(func(context.Context, *receiver.Event, *receiver.RTSPRealm) (string, error) { return "cams", nil }),
		receiver.OnRTSPAuth(func(context.Context, *receiver.Event, *receiver.RTSPAuth) (receiver.RTSPCredentials, error) {
			return receiver.RTSPCredentials{Password: "pw"}, nil
		}),
		receiver.OnHTTPAccess(func(context.Context, *receiver.Event, *receiver.HTTPAccess) (receiver.HTTPAccessDecision, error) {
			return receiver.HTTPAccessDecision{Allow: true, Seconds: 60}, nil
		}),
	)
	for _, c := range []struct {
		typ    event.Type
		stream string
		status int
		body   string
	}{
		{event.OnPublish, "live/a", 200, `{"code":0,"msg":"success","stream_replace":"x","continue_push_ms":5000,"enable_audio":false}`},
		{event.OnPublish, "live/bad", 200, `{"code":-1,"msg":"no such camera"}`},
		{event.OnPublish, "live/down", 500, `{"code":-1,"msg":"handler failed"}`},
		{event.OnPlay, "live/a", 200, `{"code":-1,"msg":"refused"}`},
		{event.OnStreamNoneReader, "live/a", 200, `{"code":0,"msg":"success","close":true}`},
		{event.OnStreamNotFound, "live/a", 200, `{"code":0,"msg":"success","close":false}`},
		{event.OnRTSPRealm, "live/a", 200, `{"code":0,"msg":"success","realm":"cams"}`},
		{event.OnRTSPAuth, "live/a", 200, `{"code":0,"msg":"success","encrypted":false,"passwd":"pw"}`},
		{event.OnHTTPAccess, "", 200, `{"code":0,"msg":"success","err":"","path":"","second":60}`},
		{event.OnShellLogin, "", 200, `{"code":-1,"msg":"no handler for on_shell_login"}`},
		{event.OnServerKeepalive, "", 200, `{"code":0,"msg":"success"}`},
	} {
		if a := s.Send(s.Make(c.typ, c.stream, nil)); a.Status != c.status || string(a.Body) != c.body {
			t.Errorf("%s %s: %d %s", c.typ, c.stream, a.Status, a.Body)
		}
	}
	j.want(t)
}

func TestHistory(t *testing.T) {
	var got receiver.Outcome
	_, s, _ := setup(t, receiver.OnHistory(func(_ context.Context, _ *receiver.Event, o *receiver.Outcome) error {
		got = *o
		return nil
	}))
	e := s.Make(event.OnPlay, "live/a", map[string]any{"outcome": map[string]any{"allowed": true, "by": "hook", "attempts": 2}})
	zero := uint64(0)
	e.Seq, e.Prev, e.After = 1, &zero, nil
	accepted(t, s, e)
	if got.By != "hook" || !got.Allowed || got.Attempts != 2 {
		t.Errorf("%+v", got)
	}
}

func TestRefusedRequests(t *testing.T) {
	r, _, j := setup(t, receiver.WithBodyLimit(1000))
	ok := `{"id":"x","type":"on_stream_changed","source":"s","epoch":1,"stream":"v/a/b","seq":1,"time":"2026-01-02T03:04:05Z"`
	for _, c := range []struct {
		method, typ, body string
		want              int
	}{
		{"GET", "", "", 405},
		{"POST", "application/json", "", 400},
		{"POST", "application/json", "{}", 400},
		{"POST", "application/json", "[1]", 400},
		{"POST", "application/json", `{"event":{}}`, 400},
		{"POST", "application/json", `{"event":` + ok + `,"epoch":0}}`, 400},
		{"POST", "application/json", `{"event":` + ok + `,"seq":9223372036854775808}}`, 400},
		{"POST", "application/json", `{"event":` + ok + `,"seq":0}}`, 400},
		{"POST", "application/json", `{"event":` + ok + `,"gap":[{"from":2,"to":1}]}}`, 400},
		{"POST", "application/json", `{"event":` + ok + `,"type":"on_event_gap"}}`, 400},
		{"POST", "application/cloudevents+json", `{}`, 400},
		{"POST", "application/cloudevents-batch+json", `{}`, 400},
		{"POST", "application/cloudevents-batch+json", `[]`, 200},
		{"POST", "application/json", `{"event":` + ok + `,"x":"` + strings.Repeat("x", 1000) + `"}}`, 413},
		{"POST", "text/plain", `{"event":` + ok + `}}`, 200},
	} {
		req := httptest.NewRequestWithContext(t.Context(), c.method, "/", strings.NewReader(c.body))
		req.Header.Set("Content-Type", c.typ)
		w := httptest.NewRecorder()
		r.ServeHTTP(w, req)
		if w.Code != c.want {
			t.Errorf("%s %s: %d, want %d", c.typ, c.body, w.Code, c.want)
		}
	}
	j.want(t, "1")
}

func TestOrderAndBackPressure(t *testing.T) {
	entered, release := make(chan uint64), make(chan struct{})
	r, s, _ := setup(t, receiver.WithLimits(100, 1), receiver.WithTimeout(time.Hour), receiver.OnStreamChanged(
		func(_ context.Context, e *receiver.Event, _ *receiver.StreamChanged) error {
			entered <- e.Seq
			<-release
			return nil
		}))
	e, other := reg(s, "live/a", 2), s.Register("live/b", "rtmp")
	status := make(chan int, 4)
	send := func(e *receivertest.Event) { go func() { status <- s.Send(e).Status }() }
	send(e[0])
	if got := <-entered; got != 1 {
		t.Errorf("seq %d", got)
	}
	send(other) // another stream waits for nobody
	<-entered
	send(e[1])
	send(e[1]) // one of the two waits, the other finds the place taken
	if got := <-status; got != http.StatusServiceUnavailable {
		t.Errorf("status %d", got)
	}
	close(release)
	if got := <-entered; got != 2 {
		t.Errorf("seq %d", got)
	}
	for range 3 {
		if got := <-status; got != http.StatusOK {
			t.Errorf("status %d", got)
		}
	}
	if st := r.Stats(); st.Busy != 1 || st.Handled != 3 {
		t.Errorf("%+v", st)
	}
}

func TestShutdown(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	r, s, _ := setup(t, receiver.OnStreamChanged(func(ctx context.Context, _ *receiver.Event, _ *receiver.StreamChanged) error {
		close(entered)
		select {
		case <-release:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}))
	status := make(chan int, 1)
	e := s.Register("live/a", "rtmp")
	go func() { status <- s.Send(e).Status }()
	<-entered
	impatient, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Shutdown(impatient); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if got := <-status; got != http.StatusInternalServerError {
		t.Errorf("status %d", got)
	}
	if a := s.Send(e); a.Status != http.StatusServiceUnavailable {
		t.Errorf("status %d", a.Status)
	}
	close(release)
	if err := r.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestDeadline(t *testing.T) {
	r, s, _ := setup(t, receiver.WithTimeout(time.Millisecond), receiver.OnStreamChanged(
		func(ctx context.Context, _ *receiver.Event, _ *receiver.StreamChanged) error {
			<-ctx.Done()
			return ctx.Err()
		}))
	if a := s.Send(s.Register("live/a", "rtmp")); a.Status != http.StatusInternalServerError {
		t.Errorf("status %d", a.Status)
	}
	if r.Stats().Failed != 1 {
		t.Errorf("%+v", r.Stats())
	}
}

func TestMemory(t *testing.T) {
	storetest.Run(t, openMemory)
}

func openMemory(*testing.T) *storetest.Harness {
	var mu sync.Mutex
	var effects []string
	return &storetest.Harness{
		Store: receiver.NewMemory(),
		Effect: func(ctx context.Context, name string) error {
			if !receiver.OnCommit(ctx, func() { mu.Lock(); effects = append(effects, name); mu.Unlock() }) {
				return errors.New("no transaction")
			}
			return nil
		},
		Effects: func() ([]string, error) { mu.Lock(); defer mu.Unlock(); return slices.Clone(effects), nil },
		Crash:   openMemory,
	}
}

func FuzzBody(f *testing.F) {
	f.Add("application/json", []byte(`{"event":{"id":"x","type":"on_stream_changed","source":"s","epoch":1,"stream":"v/a/b","seq":3,"prev":2,"time":"2026-01-02T03:04:05Z","publication":"p"},"schema":"rtmp","regist":true}`))
	f.Add("application/json", []byte(`{"from":1,"to":5,"event":{"id":"x","type":"on_event_gap","source":"s","epoch":1,"stream":"v/a/b","time":"2026-01-02T03:04:05Z"}}`))
	f.Add(event.ContentTypeCloudEventBatch, []byte(`[]`))
	r, err := receiver.New(quiet())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(_ *testing.T, typ string, body []byte) {
		req := httptest.NewRequestWithContext(context.Background(), http.MethodPost, "/", bytes.NewReader(body))
		req.Header.Set("Content-Type", typ)
		r.ServeHTTP(httptest.NewRecorder(), req)
	})
}

func FuzzParseMark(f *testing.F) {
	f.Add("1 5 9 1-2 4-6")
	f.Add("1 5 9 1-2 4-6 @a @zz t1767319445")
	f.Add("1 0 0 t0")
	f.Add("1 0 0 t5 @a")
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		m, err := receiver.ParseMark(s)
		if err != nil {
			return
		}
		again, err := receiver.ParseMark(m.String())
		if err != nil || again.String() != m.String() {
			t.Errorf("%q became %q, %v", s, again, err)
		}
	})
}

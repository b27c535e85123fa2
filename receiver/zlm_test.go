package receiver_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/receiver"
	"github.com/hookline/hookline/receiver/receivertest"
)

// plain is a receiver for plain ZLMediaKit, whose handlers write into the journal.
func plain(t *testing.T, o receiver.ZLMediaKit, opts ...receiver.Option) (*receiver.Receiver, *receivertest.ZLMediaKit, *journal) {
	t.Helper()
	j := &journal{}
	r, err := receiver.New(append([]receiver.Option{
		quiet(), receiver.WithZLMediaKit(o),
		receiver.OnPublish(func(context.Context, *receiver.Event, *receiver.Publish) (receiver.PublishDecision, error) {
			return receiver.AllowPublish(receiver.PublishOptions{}), nil
		}),
		receiver.OnStreamChanged(func(ctx context.Context, e *receiver.Event, c *receiver.StreamChanged) error {
			return j.add(ctx, "%s %t %s late %t", c.Schema, c.Regist, e.Certainty, e.Late)
		}),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	return r, receivertest.NewZLMediaKit(r), j
}

func ok(t *testing.T, answers ...receivertest.Answer) {
	t.Helper()
	for _, a := range answers {
		if a.Status != http.StatusOK || a.Code != 0 {
			t.Errorf("%d %s", a.Status, a.Body)
		}
	}
}

func post(h http.Handler, path, body string) receivertest.Answer {
	q := receivertest.Request{Path: path, Body: json.RawMessage(body)}
	a, _ := receivertest.ReplayTrace(context.Background(), h, []receivertest.Request{q}, 0)
	return a[0]
}

func shutdown(t *testing.T, r *receiver.Receiver) {
	t.Helper()
	if err := r.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
}

const one = "v/live/a"

func TestZLMRefuses(t *testing.T) {
	r, _, _ := plain(t, receiver.ZLMediaKit{})
	defer shutdown(t, r)
	hook := `{"mediaServerId":"zlm","hook_index":%s,"vhost":"v","app":"live","stream":"a","params":"","schema":"rtmp","regist":false}`
	for _, tt := range []struct {
		path, index string
		status      int
	}{
		{"/on_stream_changed", "0", 200},
		{"/index/hook/on_stream_changed", "1", 200},
		{"/", "2", 400},
		{"/on_publication_ended", "2", 400},
		{"/on_stream_changed", "-1", 400},
		{"/on_stream_changed", `"x"`, 400},
		{"/on_stream_changed", "9007199254740993", 400},
	} {
		if a := post(r, tt.path, fmt.Sprintf(hook, tt.index)); a.Status != tt.status {
			t.Errorf("%s %s: %d %s", tt.path, tt.index, a.Status, a.Body)
		}
	}
	if a := post(r, "/on_stream_changed", `[]`); a.Status != http.StatusBadRequest {
		t.Errorf("%d", a.Status)
	}
	without, _, _ := setup(t)
	if a := post(without, "/on_stream_changed", fmt.Sprintf(hook, "0")); a.Status != http.StatusBadRequest {
		t.Errorf("without the option: %d", a.Status)
	}
	signed, _, _ := plain(t, receiver.ZLMediaKit{}, receiver.WithSecrets(event.GenerateSecret().Reveal()))
	defer shutdown(t, signed)
	if a := post(signed, "/on_stream_changed", fmt.Sprintf(hook, "0")); a.Status != http.StatusUnauthorized {
		t.Errorf("with secrets: %d", a.Status)
	}
}

func TestZLMLifecycle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, z, j := plain(t, receiver.ZLMediaKit{})
		_, changes, stop := r.Watch(100)
		defer stop()
		ok(t, z.Send(z.Restart(map[string]string{"protocol.continue_push_ms": "0"})), z.Send(z.Publish("v/live/a", "k=v")))
		begin := time.Now()
		ok(t, z.Send(z.Changed(one, "rtsp", true)), z.Send(z.Changed(one, "rtmp", true)))
		live := r.Live()
		if len(live) != 1 || fmt.Sprint(live[0].Schemas) != "[rtsp rtmp]" || live[0].Params != "k=v" || live[0].Publisher != "192.0.2.1" || !live[0].Since.Equal(begin) {
			t.Fatalf("%+v", live)
		}
		time.Sleep(5 * time.Second)
		ok(t, z.Send(z.Changed(one, "rtsp", false)), z.Send(z.Report(one)), z.Send(z.Changed(one, "rtmp", false)))
		ok(t, z.Send(z.Record(one, begin, 5*time.Second)))
		p, _ := r.Stream("zlm", one)
		if p.State != receiver.Closing || p.Reason != receiver.ReasonUnregistered || p.EndCertainty != receiver.Exact || len(p.Recordings) != 1 ||
			p.Recordings[0].Certainty != receiver.Inferred || p.Bytes != 1000 || p.Uncertain {
			t.Errorf("%+v", p)
		}
		time.Sleep(time.Minute)
		if p, _ = r.Publication("zlm", p.ID); p.State != receiver.Ended || !p.EndedAt.Equal(begin.Add(5*time.Second)) {
			t.Errorf("%+v", p)
		}
		j.want(t, "rtsp true exact late false", "rtmp true exact late false", "rtsp false inferred late false", "rtmp false inferred late false")
		states := ""
		for len(changes) > 0 {
			c := <-changes
			states += fmt.Sprintf("%s ", c.Publication.State)
		}
		if states != "live live live live closing closing ended " {
			t.Error(states)
		}
		shutdown(t, r)
	})
}

// TestZLMOrder: what overtakes waits for what is missing, and not for ever.
func TestZLMOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, z, j := plain(t, receiver.ZLMediaKit{Window: 200 * time.Millisecond})
		ok(t, z.Send(z.Publish(one, "")))
		there, gone := z.Attempt(z.Changed(one, "rtmp", true)), z.Attempt(z.Changed(one, "rtmp", false))
		lost := z.Attempt(z.Changed(one, "rtsp", true))
		after := z.Attempt(z.Changed("v/live/b", "rtmp", true))
		late := z.Attempt(z.Changed(one, "ts", true))
		begin := time.Now()
		there.At, gone.At, after.At, late.At, lost.At = 50e6, 0, 100e6, 250e6, 5000e6
		answers, err := receivertest.ReplayTrace(t.Context(), r, []receivertest.Request{gone, there, after, late}, 1)
		if err != nil {
			t.Error(err)
		}
		ok(t, answers...)
		if d := time.Since(begin); d != 300*time.Millisecond { // after waits for what is lost; then that is given up
			t.Errorf("%s", d)
		}
		j.want(t, "rtmp true exact late false", "rtmp false inferred late false", "rtmp true exact late false", "ts true exact late false")
		ok(t, post(r, lost.Path, string(lost.Body)))
		j.want(t, "rtsp true exact late true")
		shutdown(t, r)
	})
}

// TestZLMRetry: a retry is another attempt of the same event, also of an unregister when the stream is there again.
func TestZLMRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, z, j := plain(t, receiver.ZLMediaKit{})
		ok(t, z.Send(z.Publish(one, "")), z.Send(z.Changed(one, "rtmp", true)), z.Send(z.Changed(one, "rtsp", true)))
		time.Sleep(10 * time.Second)
		first, _ := r.Stream("zlm", one)
		j.take()
		ok(t, z.Send(z.Changed(one, "rtsp", false)), z.Send(z.Report(one)))
		gone := z.Changed(one, "rtmp", false)
		j.fail = errors.New("on purpose")
		if a := z.Send(gone); a.Status != http.StatusInternalServerError {
			t.Errorf("%d", a.Status)
		}
		j.fail = nil
		time.Sleep(time.Second)
		again := z.Publish(one, "")
		there := z.Changed(one, "rtmp", true)
		ok(t, z.Send(again), z.Send(there), z.Send(z.Changed(one, "rtsp", true)))
		time.Sleep(2 * time.Second)
		ok(t, z.Send(gone), z.Send(there))
		j.want(t, "rtsp false inferred late false", "rtmp true exact late false", "rtsp true exact late false", "rtmp false inferred late true")
		if live := r.Live(); len(live) != 1 || len(live[0].Schemas) != 2 || live[0].ID == first.ID {
			t.Errorf("%+v", live)
		}
		if p, _ := r.Publication("zlm", first.ID); p.Reason != receiver.ReasonUnregistered || p.EndCertainty != receiver.Exact {
			t.Errorf("%+v", p)
		}
		if n := r.Stats().Duplicates; n != 1 {
			t.Errorf("%d duplicates", n)
		}
		shutdown(t, r)
	})
}

// TestZLMConclude: what is missing of an end is not waited for for ever.
func TestZLMConclude(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, z, _ := plain(t, receiver.ZLMediaKit{ContinuePush: 4 * time.Second})
		for _, name := range []string{one, "v/live/hls", "v/live/lost", "v/live/back"} {
			ok(t, z.Send(z.Publish(name, "")), z.Send(z.Changed(name, "rtmp", true)), z.Send(z.Changed(name, "hls", true)))
		}
		time.Sleep(10 * time.Second)
		at := time.Now()
		ok(t, z.Send(z.Changed(one, "rtmp", false)))         // and hls is lost
		ok(t, z.Send(z.Changed("v/live/hls", "hls", false))) // switched off
		ok(t, z.Send(z.Report("v/live/lost")))               // and every unregister is lost
		ok(t, z.Send(z.Report("v/live/back")))               // and the publisher comes back
		ok(t, z.Send(z.Publish("v/live/back", "")))          // without a register
		time.Sleep(time.Minute)
		ok(t, z.Send(z.Report("v/live/back")), z.Send(z.Changed("v/live/back", "rtmp", false)), z.Send(z.Changed("v/live/back", "hls", false)))
		for name, want := range map[string]string{
			one: "ended inferred inferred 0s", "v/live/hls": "live exact  -", "v/live/lost": "ended inferred inferred 0s", "v/live/back": "closing exact unregistered 1m0s",
		} {
			p, _ := r.Stream("zlm", name)
			took := "-"
			if !p.EndedAt.IsZero() {
				took = p.EndedAt.Sub(at).String()
			}
			if got := fmt.Sprint(p.State, " ", p.EndCertainty, " ", p.Reason, " ", took); got != want {
				t.Errorf("%s: %s, want %s", name, got, want)
			}
		}
		if p, _ := r.Stream("zlm", "v/live/back"); p.Bytes != 2000 {
			t.Errorf("%+v", p)
		}
		shutdown(t, r)
	})
}

func TestZLMRestart(t *testing.T) {
	for _, told := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			r, z, _ := plain(t, receiver.ZLMediaKit{})
			ok(t, z.Send(z.Restart(nil)))
			for _, name := range []string{one, "v/live/b", "v/live/c"} {
				ok(t, z.Send(z.Publish(name, "")), z.Send(z.Changed(name, "rtmp", true)))
			}
			time.Sleep(5 * time.Second)
			started := z.Attempt(z.Restart(nil)) // the process was killed
			if told {
				ok(t, post(r, started.Path, string(started.Body)))
			}
			time.Sleep(time.Second)
			ok(t, z.Send(z.Publish(one, "")), z.Send(z.Changed(one, "rtmp", true)), z.Send(z.Changed(one, "rtsp", true)), z.Send(z.Changed(one, "ts", true)))
			if live := r.Live(); len(live) != 1 || live[0].Stream != one || len(live[0].Schemas) != 3 || r.Stats().Restarts != 1 {
				t.Errorf("told %t: %+v, %+v", told, live, r.Stats())
			}
			if p, _ := r.Stream("zlm", "v/live/b"); p.State != receiver.Ended || p.Reason != receiver.ReasonRestarted || p.EndCertainty != receiver.Unknown {
				t.Errorf("told %t: %+v", told, p)
			}
			ok(t, z.Send(receivertest.Hook{Type: event.OnServerExited, Body: map[string]any{}}))
			if p, _ := r.Stream("zlm", one); p.State != receiver.Ended || p.Reason != receiver.ReasonExited {
				t.Errorf("%+v", p)
			}
			shutdown(t, r)
		})
	}
}

// TestZLMLife: a life id in the URL makes everything exact, unless it is used again.
func TestZLMLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, z, j := plain(t, receiver.ZLMediaKit{LifeParam: "life"})
		for _, life := range []string{"one", "two", "two"} {
			ok(t, z.Send(z.Publish(one, "life="+life)), z.Send(z.Changed(one, "rtmp", true)))
			if p, _ := r.Stream("zlm", one); (p.ID == life) != (j.list[0] == "rtmp true exact late false") && len(j.list) < 4 {
				t.Errorf("%+v", p)
			}
			time.Sleep(5 * time.Second)
			ok(t, z.Send(z.Changed(one, "rtmp", false)))
			time.Sleep(5 * time.Second)
		}
		j.want(t, "rtmp true exact late false", "rtmp false exact late false", "rtmp true exact late false", "rtmp false exact late false",
			"rtmp true exact late false", "rtmp false inferred late false")
		for _, life := range []string{"one", "two"} {
			if p, found := r.Publication("zlm", life); !found || p.EndCertainty != receiver.Exact {
				t.Errorf("%+v", p)
			}
		}
		shutdown(t, r)
	})
}

// TestZLMRTP: publications of GB28181 have the stream as their session; a report is of the one that it is long enough for.
func TestZLMRTP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, z, _ := plain(t, receiver.ZLMediaKit{ContinuePush: -1}, receiver.OnFlowReport(
			func(_ context.Context, e *receiver.Event, _ *receiver.FlowReport) error {
				if e.Certainty != receiver.Inferred {
					return fmt.Errorf("%s", e.Certainty)
				}
				return nil
			}))
		rtp := func(h receivertest.Hook) receivertest.Hook {
			if sock, ok := h.Body["originSock"].(map[string]any); ok {
				sock["identifier"] = "a"
			} else if h.Body["id"] != nil {
				h.Body["id"] = "a"
			}
			return h
		}
		ok(t, z.Send(rtp(z.Publish(one, ""))), z.Send(rtp(z.Changed(one, "rtsp", true))), z.Send(rtp(z.Changed(one, "ts", true))))
		first, _ := r.Stream("zlm", one)
		time.Sleep(20 * time.Second)
		report := rtp(z.Report(one)) // its first attempt is lost, and so are both of the unregister of ts
		ok(t, z.Send(z.Changed(one, "rtsp", false)))
		time.Sleep(2 * time.Second)
		ok(t, z.Send(rtp(z.Publish(one, ""))), z.Send(rtp(z.Changed(one, "rtsp", true))))
		time.Sleep(time.Second)
		ok(t, z.Send(report))
		if p, _ := r.Publication("zlm", first.ID); p.Bytes != 1000 || p.State != receiver.Ended || p.Reason != receiver.ReasonInferred || p.EndCertainty != receiver.Inferred {
			t.Errorf("%+v", p)
		}
		if live := r.Live(); len(live) != 1 || live[0].ID == first.ID || live[0].Bytes != 0 {
			t.Errorf("%+v", live)
		}
		shutdown(t, r)
	})
}

func TestZLMAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, z, j := plain(t, receiver.ZLMediaKit{AnswerAtOnce: true}, receiver.OnRecordMP4(func(ctx context.Context, _ *receiver.Event, _ *receiver.Record) error {
			select {
			case <-time.After(2 * time.Second):
			case <-ctx.Done():
			}
			return errors.New("on purpose")
		}))
		begin := time.Now()
		ok(t, z.Send(z.Publish(one, "")), z.Send(z.Changed(one, "rtmp", true)), z.Send(z.Record(one, begin, time.Second)), z.Send(z.Changed(one, "rtmp", false)))
		if time.Since(begin) != 0 {
			t.Error("the answer is not given at once")
		}
		shutdown(t, r) // waits for what was accepted
		if d := time.Since(begin); d != 12*time.Second {
			t.Errorf("%s", d)
		}
		j.want(t, "rtmp true exact late false", "rtmp false inferred late false")
		if st := r.Stats(); st.Failed != 1 || st.Handled != 2 {
			t.Errorf("%+v", st)
		}
	})
}

// TestZLMStore: what an earlier run of the receiver handled is not handled again.
func TestZLMStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := receiver.NewMemory()
		_, z, j := plain(t, receiver.ZLMediaKit{}, receiver.WithStore(store))
		ok(t, z.Send(z.Publish(one, "")))
		var hooks []receivertest.Hook
		hooks = append(hooks, z.Changed(one, "rtmp", true), z.Record(one, time.Now(), time.Second))
		for _, h := range hooks {
			ok(t, z.Send(h))
		}
		j.want(t, "rtmp true exact late false")
		r, _, j := plain(t, receiver.ZLMediaKit{}, receiver.WithStore(store))
		for i, h := range append(hooks, z.Changed(one, "rtsp", true)) {
			q := z.Attempt(h)
			ok(t, post(r, q.Path, string(q.Body)))
			if n := r.Stats().Duplicates; n != uint64(min(i+1, 2)) {
				t.Errorf("%d duplicates", n)
			}
		}
		j.want(t, "rtsp true exact late false")
		if live := r.Live(); len(live) != 1 || len(live[0].Schemas) != 2 || len(live[0].Recordings) != 1 {
			t.Errorf("the state is not what was repeated: %+v", live)
		}
		shutdown(t, r)
	})
}

func TestZLMQuestionsAndReplacement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked []string
		r, z, _ := plain(t, receiver.ZLMediaKit{},
			receiver.OnPublish(func(context.Context, *receiver.Event, *receiver.Publish) (receiver.PublishDecision, error) {
				return receiver.AllowPublish(receiver.PublishOptions{StreamReplace: "b"}), nil
			}),
			receiver.OnStreamNoneReader(func(_ context.Context, e *receiver.Event, _ *receiver.StreamNoneReader) (bool, error) {
				asked = append(asked, fmt.Sprint(e.Publication != "", e.Certainty, e.Seq))
				return true, nil
			}))
		publish := z.Publish("v/live/b", "")
		publish.Body["stream"] = "a" // as it was asked for
		ok(t, z.Send(publish))
		since := time.Now()
		time.Sleep(10 * time.Second)
		ok(t, z.Send(z.Changed("v/live/b", "rtmp", true)))
		a := z.Send(receivertest.Hook{Type: event.OnStreamNoneReader, Body: map[string]any{
			"vhost": "v", "app": "live", "stream": "b", "params": "", "schema": "rtmp",
		}})
		if ok(t, a); !strings.Contains(string(a.Body), `"close":true`) || fmt.Sprint(asked) != "[true inferred 0]" {
			t.Errorf("%s %v", a.Body, asked)
		}
		if p, _ := r.Stream("zlm", "v/live/b"); !p.Since.Equal(since) || p.Readers != 0 {
			t.Errorf("%+v", p)
		}
		if a := z.Send(receivertest.Hook{Type: event.OnPlay, Body: map[string]any{"stream": "b"}}); a.Code == 0 {
			t.Error("a decision without a handler is allowed")
		}
		shutdown(t, r)
	})
}

// list answers getMediaList and getServerConfig.
type list struct {
	mu    sync.Mutex
	media []map[string]any
	asked int
}

func (l *list) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	answer := map[string]any{"code": 0}
	switch {
	case req.FormValue("secret") != "s":
		answer = map[string]any{"code": -100, "msg": "Please login first"}
	case req.URL.Path == "/index/api/getServerConfig":
		answer["data"] = []any{map[string]any{"general.mediaServerId": "zlm"}}
	case len(l.media) > 0:
		answer["data"] = l.media
	}
	l.asked++
	_ = json.NewEncoder(w).Encode(answer)
}

func TestZLMReconcile(t *testing.T) {
	l := &list{}
	srv := httptest.NewServer(l)
	defer srv.Close()
	r, z, j := plain(t, receiver.ZLMediaKit{})
	api := &receiver.ZLMediaKitAPI{URL: srv.URL + "/", Secret: "s", Client: srv.Client()}
	media := func(h receivertest.Hook) {
		delete(h.Body, "regist")
		h.Body["aliveSecond"] = 7
		l.media = append(l.media, h.Body)
	}
	for _, name := range []string{"v/live/ghost", "v/live/half", "v/live/kept", "v/live/unseen"} {
		ok(t, z.Send(z.Publish(name, "")))
	}
	ok(t, z.Send(z.Changed("v/live/ghost", "rtmp", true)), z.Send(z.Changed("v/live/kept", "rtmp", true)))
	ok(t, z.Send(z.Changed("v/live/half", "rtmp", true)), z.Send(z.Changed("v/live/half", "hls", true)))
	media(z.Changed("v/live/kept", "rtmp", true))
	media(z.Changed("v/live/half", "rtmp", true))
	media(z.Changed("v/live/half", "ts", true))
	media(z.Changed("v/live/unseen", "rtmp", true))
	j.take()
	changed, err := r.Reconcile(t.Context(), api)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, c := range changed {
		if !c.Synthesised {
			t.Errorf("%+v", c)
		}
		got[c.Publication.Stream] = fmt.Sprint(c.Publication.State, " ", c.Publication.Schemas, " ", c.Publication.Reason)
	}
	if len(got) != 3 || got["v/live/ghost"] != "ended [] reconciled" || got["v/live/half"] != "live [rtmp ts] " || got["v/live/unseen"] != "live [rtmp] " {
		t.Errorf("%v", got)
	}
	j.want(t) // no handler is called
	ok(t, z.Send(z.Changed("v/live/unseen", "rtmp", true)))
	j.want(t, "rtmp true exact late false")
	if changed, err = r.Reconcile(t.Context(), api); err != nil || len(changed) != 0 {
		t.Errorf("again: %+v %v", changed, err)
	}
	l.media = nil
	if changed, err = r.Reconcile(t.Context(), api); err != nil || len(changed) != 3 || len(r.Live()) != 0 {
		t.Errorf("nothing is live: %+v %v", changed, err)
	}
	if _, err = r.Reconcile(t.Context(), &receiver.ZLMediaKitAPI{URL: srv.URL, Secret: "x"}); err == nil {
		t.Error("a wrong secret is no error")
	}
	other, _, _ := setup(t)
	if _, err = other.Reconcile(t.Context(), api); err == nil {
		t.Error("without the option")
	}
	shutdown(t, r)
}

// snapshots counts how often it was asked.
type snapshots struct {
	n    atomic.Int32
	fail atomic.Bool
}

func (s *snapshots) Snapshot(context.Context) (*receiver.Snapshot, error) {
	s.n.Add(1)
	if s.fail.Load() {
		return nil, errors.New("on purpose")
	}
	return &receiver.Snapshot{Source: "zlm", Asked: time.Now(), Media: []receiver.StreamChanged{}}, nil
}

func TestKeepReconciled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, z, _ := plain(t, receiver.ZLMediaKit{})
		s := &snapshots{}
		ctx, cancel := context.WithTimeout(t.Context(), 95*time.Second)
		defer cancel()
		go func() {
			time.Sleep(10 * time.Second)
			s.fail.Store(true)
			ok(t, z.Send(z.Changed(one, "rtmp", false))) // of nothing that is known
		}()
		if err := r.KeepReconciled(ctx, s, 30*time.Second); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if n := s.n.Load(); n != 5 { // at 0, 11, 30, 60 and 90 s
			t.Errorf("asked %d times", n)
		}
		if err := r.KeepReconciled(ctx, s, 0); err == nil {
			t.Error("no interval")
		}
		shutdown(t, r)
	})
}

// TestZLMResumedOrNew: a file made the kit take a publisher that had come back for a new one, and then the list says when its stream
// began. What tells of that publisher is not said to be exact.
func TestZLMResumedOrNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said []string
		r, z, j := plain(t, receiver.ZLMediaKit{ContinuePush: 5 * time.Second},
			receiver.OnFlowReport(func(_ context.Context, e *receiver.Event, _ *receiver.FlowReport) error {
				said = append(said, e.Publication+" "+e.Certainty.String())
				return nil
			}),
			receiver.OnRecordMP4(func(_ context.Context, e *receiver.Event, _ *receiver.Record) error {
				said = append(said, e.Publication+" "+e.Certainty.String())
				return nil
			}))
		ok(t, z.Send(z.Publish(one, "")))
		there := z.Changed(one, "rtmp", true)
		ok(t, z.Send(there), z.Send(z.Changed(one, "fmp4", true)))
		time.Sleep(time.Second)
		ok(t, z.Send(z.Changed(one, "fmp4", false))) // a retry of the publication before, or it was switched off
		time.Sleep(3 * time.Second)
		ok(t, z.Send(z.Report(one)))
		time.Sleep(time.Second)
		began := time.Now()
		back := z.Publish(one, "")
		ok(t, z.Send(back))
		time.Sleep(2 * time.Second)
		ok(t, z.Send(z.Record(one, began, 2*time.Second)))
		raw, err := json.Marshal(there.Body)
		if err != nil {
			t.Fatal(err)
		}
		var m receiver.StreamChanged
		if err := json.Unmarshal(raw, &m); err != nil {
			t.Fatal(err)
		}
		m.OriginSock.Identifier = back.Body["id"].(string) // the present publisher, and the stamp of the stream
		if _, err := r.Reconcile(t.Context(), fixed{&receiver.Snapshot{Source: "zlm", Asked: time.Now(), Media: []receiver.StreamChanged{m}}}); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		ok(t, z.Send(z.Report(one)))
		t.Log(said, j.take())
		if len(said) != 3 {
			t.Fatal(said)
		}
		first, _, _ := strings.Cut(said[0], " ")
		for _, s := range said {
			if p, certainty, _ := strings.Cut(s, " "); p != first && certainty == receiver.Exact.String() {
				t.Errorf("%q", said)
			}
		}
		shutdown(t, r)
	})
}

func TestRecorder(t *testing.T) {
	r, _, _ := setup(t)
	var b bytes.Buffer
	rec := receivertest.NewRecorder(r, &b)
	sender := receivertest.New(rec)
	accepted(t, sender, sender.Publication("live/a")...)
	if a := post(rec, "/x", `"no hook"`); a.Status != http.StatusBadRequest {
		t.Errorf("%d", a.Status)
	}
	if err := rec.Err(); err != nil {
		t.Error(err)
	}
	trace, err := receivertest.ReadTrace(&b)
	if err != nil || len(trace) != 4 || trace[0].Status != 200 || trace[3].Status != 400 || trace[0].Header["content-type"] != "application/json" || trace[0].Done < trace[0].At {
		t.Fatalf("%+v %v", trace, err)
	}
	again, _, j := setup(t)
	answers, err := receivertest.ReplayTrace(t.Context(), again, trace, 0)
	if err != nil || answers[2].Status != 200 || answers[3].Status != 400 {
		t.Errorf("%+v %v", answers, err)
	}
	j.want(t, "1", "2", "3")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := receivertest.ReplayTrace(ctx, again, trace, 0.001); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := receivertest.ReadTrace(strings.NewReader("{")); err == nil {
		t.Error("half a line is a trace")
	}
}

func FuzzPlain(f *testing.F) {
	for _, s := range []string{
		`{"hook_index":0,"mediaServerId":"zlm","vhost":"v","app":"live","stream":"a","params":"","schema":"rtmp","regist":true,"createStamp":1}`,
		`{"hook_index":1,"mediaServerId":"zlm","vhost":"v","app":"live","stream":"a","params":"","schema":"rtmp","regist":false}`,
		`{"hook_index":2,"mediaServerId":"zlm","vhost":"v","app":"live","stream":"a","id":"1","player":false,"duration":18446744073709551615}`,
		`{"hook_index":3,"mediaServerId":"zlm","stream":"a","start_time":1,"time_len":1e300,"file_name":"x-9.mp4"}`,
		`{"hook_index":4,"hook.retry":"9","hook.retry_delay":"1e308","hook.timeoutSec":"-1"}`, `{"stream_id":"a"}`, `null`,
	} {
		for _, typ := range []string{"on_stream_changed", "on_flow_report", "on_record_mp4", "on_publish", "on_server_started", "on_stream_none_reader"} {
			f.Add("/"+typ, s)
		}
	}
	f.Fuzz(func(t *testing.T, path, body string) {
		r, _, _ := plain(t, receiver.ZLMediaKit{Window: -1})
		for range 2 {
			req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(body))
			req.URL.Path = path
			w := httptest.NewRecorder()
			r.ServeHTTP(w, req)
			if w.Code != http.StatusOK && w.Code != http.StatusBadRequest {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		}
		shutdown(t, r)
	})
}

package receiver_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/receiver"
	"github.com/hookline/hookline/receiver/receivertest"
)

const keyA = "__defaultVhost__/live/a"

func verdicts(t *testing.T) (*receiver.Receiver, *receivertest.Sender, *journal) {
	t.Helper()
	_, _, j := setup(t)
	r, err := receiver.New(quiet(), receiver.OnAny(func(ctx context.Context, e *receiver.Event) error {
		return j.add(ctx, "%s", e.Verdict)
	}))
	if err != nil {
		t.Fatal(err)
	}
	return r, receivertest.New(r), j
}

func TestLifecycle(t *testing.T) {
	r, s, j := verdicts(t)
	now, changes, stop := r.Watch(10)
	defer stop()
	if len(now) != 0 {
		t.Errorf("%v", now)
	}
	first := s.Register("live/a", "rtmp")
	accepted(t, s, first, s.Register("live/a", "rtsp"))
	live := r.Live()
	if len(live) != 1 {
		t.Fatalf("%v", live)
	}
	p := live[0]
	if p.State != receiver.Live || fmt.Sprint(p.Schemas) != "[rtmp rtsp]" || !p.Since.Equal(first.Time) || p.Publisher != "192.0.2.1" ||
		p.Origin != "rtmp_push" || p.Uncertain || p.Stream != keyA {
		t.Errorf("%+v", p)
	}
	accepted(t, s,
		s.Make(event.OnFlowReport, "live/a", map[string]any{"player": true, "totalBytes": 7}),
		s.Unregister("live/a", "rtsp"), s.Unregister("live/a", "rtmp"),
		s.Make(event.OnRecordMP4, "live/a", map[string]any{"file_name": "x.mp4"}))
	if p, _ = r.Stream("test", keyA); p.State != receiver.Closing || len(p.Recordings) != 1 || p.Views != 1 || p.ViewBytes != 7 {
		t.Errorf("%+v", p)
	}
	accepted(t, s, s.End("live/a", "unpublish"))
	p, ok := r.Publication("test", first.Publication)
	if !ok || p.State != receiver.Ended || p.Reason != "unpublish" || p.Bytes != 1000 || len(r.Live()) != 0 {
		t.Errorf("%+v", p)
	}
	j.want(t, "expected", "expected", "expected", "expected", "expected", "expected", "expected")
	states := ""
	for range 7 {
		c := <-changes
		states += fmt.Sprintf("%s>%s ", c.Before, c.Publication.State)
	}
	if states != "publishing>live live>live live>live live>live live>closing closing>closing closing>ended " {
		t.Error(states)
	}
}

func TestImpossible(t *testing.T) {
	r, s, j := verdicts(t)
	a := s.Register("live/a", "rtmp")
	accepted(t, s, a, s.Register("live/a", "rtmp")) // twice
	end := s.End("live/a", "unpublish")             // without an unregister
	back := s.Unregister("live/a", "rtmp")
	back.Publication = a.Publication // after its end
	accepted(t, s, end, back)
	j.want(t, "expected", "impossible", "impossible", "impossible")
	b := s.Register("live/a", "rtmp")
	s.End("live/a", "unpublish") // never sent, and its number given to another
	c := s.Register("live/a", "rtmp")
	prev := b.Seq
	c.Prev = &prev
	accepted(t, s, b, c)
	j.want(t, "expected", "impossible")
	if p, _ := r.Publication("test", b.Publication); p.State != receiver.Ended || p.Reason != receiver.ReasonSuperseded {
		t.Errorf("%+v", p)
	}
	if n := r.Stats().Impossible; n != 4 {
		t.Errorf("%d impossible", n)
	}
}

// TestOverlap: the last file of a publication may come when the next has begun.
func TestOverlap(t *testing.T) {
	r, s, j := verdicts(t)
	a := s.Register("live/a", "rtmp")
	accepted(t, s, a, s.Unregister("live/a", "rtmp"))
	record := s.Make(event.OnRecordMP4, "live/a", map[string]any{"file_name": "x.mp4"})
	end := s.End("live/a", "unpublish")
	b := s.Register("live/a", "rtmp")
	for i, e := range []*receivertest.Event{b, record, end} {
		prev := uint64(2 + i)
		e.Seq, e.Prev = prev+1, &prev
		accepted(t, s, e)
	}
	j.want(t, "expected", "expected", "expected", "expected", "expected")
	if p, _ := r.Publication("test", a.Publication); p.State != receiver.Ended || len(p.Recordings) != 1 {
		t.Errorf("%+v", p)
	}
	if p, _ := r.Stream("test", keyA); p.ID != b.Publication || p.State != receiver.Live {
		t.Errorf("%+v", p)
	}
}

func TestUnexplained(t *testing.T) {
	r, s, j := verdicts(t)
	e := s.Publication("live/a")
	accepted(t, s, e[0], s.Lose(event.ReasonRefused, e[1]), e[2], receivertest.Late(e[1]))
	j.want(t, "expected", "unexplained", "belated")
	if p, _ := r.Publication("test", e[0].Publication); !p.Uncertain || p.State != receiver.Ended {
		t.Errorf("%+v", p)
	}
	if r.Stats().Impossible != 0 {
		t.Error("a gap makes an event impossible")
	}
}

func TestReconcile(t *testing.T) {
	r, s, j := verdicts(t)
	lost := s.Register("live/lost", "rtmp")
	gone := s.Register("live/gone", "rtmp")
	kept := s.Register("live/kept", "rtmp")
	accepted(t, s, gone, kept)
	s.Unregister("live/gone", "rtmp")
	s.End("live/gone", "kicked")
	unregister := s.Register("live/lost", "rtsp")
	_, changes, stop := r.Watch(10)
	defer stop()
	repaired, err := r.Reconcile(t.Context(), s)
	if err != nil || len(repaired) != 2 {
		t.Fatalf("%+v, %v", repaired, err)
	}
	for range repaired {
		if c := <-changes; !c.Synthesised || c.Event.ID != "" || c.Event.Stream != c.Publication.Stream {
			t.Errorf("%+v", c)
		}
	}
	if p, _ := r.Publication("test", gone.Publication); p.State != receiver.Ended || p.Reason != receiver.ReasonReconciled {
		t.Errorf("%+v", p)
	}
	if p, _ := r.Publication("test", lost.Publication); p.State != receiver.Live || fmt.Sprint(p.Schemas) != "[rtmp rtsp]" {
		t.Errorf("%+v", p)
	}
	j.take()
	accepted(t, s, lost, unregister, s.Unregister("live/lost", "rtmp")) // what was on its way still has its effects
	j.want(t, "known", "known", "expected")
	if again, err := r.Reconcile(t.Context(), s); err != nil || len(again) != 0 {
		t.Errorf("%+v, %v", again, err)
	}
	s.NewEpoch()
	if again, err := r.Reconcile(t.Context(), s); err != nil || len(again) != 2 || len(r.Live()) != 0 {
		t.Errorf("%+v, %v", again, err)
	}
}

// TestOldSnapshot: events that are newer than the snapshot win.
func TestOldSnapshot(t *testing.T) {
	r, s, _ := verdicts(t)
	a, b := s.Register("live/a", "rtmp"), s.Register("live/b", "rtmp")
	accepted(t, s, b)
	old, err := s.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c := s.Register("live/c", "rtmp")
	accepted(t, s, a, c, s.Unregister("live/b", "rtmp"), s.End("live/b", "unpublish"))
	if got, err := r.Reconcile(t.Context(), fixed{old}); err != nil || len(got) != 0 || len(r.Live()) != 2 {
		t.Errorf("%+v, %v, %v", got, err, r.Live())
	}
}

type fixed struct{ s *receiver.Snapshot }

func (f fixed) Snapshot(context.Context) (*receiver.Snapshot, error) { return f.s, nil }

func TestWatcherThatIsBehind(t *testing.T) {
	r, s, _ := verdicts(t)
	_, changes, stop := r.Watch(1)
	accepted(t, s, s.Publication("live/a")...)
	n := 0
	for range changes {
		n++
	}
	stop()
	if n != 1 {
		t.Errorf("%d changes", n)
	}
}

func TestEndedAreForgotten(t *testing.T) {
	r, s, _ := verdicts(t)
	first := s.Publication("live/0")
	accepted(t, s, first...)
	for i := range receiver.MaxEnded {
		accepted(t, s, s.Publication(fmt.Sprintf("live/%d", i+1))...)
	}
	if _, ok := r.Publication("test", first[0].Publication); ok {
		t.Error("it is still there")
	}
	if _, ok := r.Stream("test", "__defaultVhost__/live/0"); ok {
		t.Error("its stream is still there")
	}
	if _, ok := r.Stream("test", "__defaultVhost__/live/1"); !ok {
		t.Error("another is not")
	}
}

func TestAPI(t *testing.T) {
	restarted := false
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Header.Get("Authorization") != "Bearer pw" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		q := req.URL.Query()
		switch req.URL.Path + " " + q.Get("cursor") + q.Get("after") {
		case "/api/v1/snapshot ":
			fmt.Fprint(w, `{"source":"s","epoch":5,"index_floor":9,"eventsCursor":3,"more":true,"cursor":"c","streams":[
				{"stream":"v/a/b","publication":"p","seq":4,"schemas":["rtmp"],"since":"2026-01-02T03:04:05Z","params":"k=1","originTypeStr":"rtmp_push",
				 "publisher":{"protocol":"rtmp","ip":"192.0.2.1","port":1,"id":"1"},"readers":3}]}`)
		case "/api/v1/snapshot c":
			if !restarted {
				restarted = true
				w.WriteHeader(http.StatusConflict)
				return
			}
			fmt.Fprint(w, `{"source":"s","epoch":5,"index_floor":9,"more":false,"streams":[{"stream":"v/a/c","publication":"q","seq":1,"schemas":[]}]}`)
		case "/api/v1/events 1":
			fmt.Fprint(w, `{"events":[{"position":2,"class":"lifecycle","hook_index":2,"id":"i","type":"on_stream_changed","source":"s","epoch":5,
				"stream":"v/a/b","publication":"p","seq":2,"time":"2026-01-02T03:04:05Z","body":{"schema":"rtmp","regist":true}}],"cursor":3,"more":true}`)
		case "/api/v1/events 2":
			fmt.Fprint(w, `{"events":[{"id":"j","type":"on_stream_changed","source":"s","epoch":5,"stream":"v/a/b","seq":3,"time":"2026-01-02T03:04:05Z","body":{}}]}`)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	defer srv.Close()
	api := &receiver.API{URL: srv.URL + "/", Secret: "pw", Client: srv.Client()}
	r, _, _ := verdicts(t)
	got, err := r.Reconcile(t.Context(), api)
	if err != nil || len(got) != 2 {
		t.Fatalf("%+v, %v", got, err)
	}
	if p, _ := r.Stream("s", "v/a/b"); p.State != receiver.Live || p.Readers != 3 || p.Publisher != "192.0.2.1" || p.Params != "k=1" {
		t.Errorf("%+v", p)
	}
	if p, _ := r.Stream("s", "v/a/c"); p.State != receiver.Publishing || p.Readers != -1 {
		t.Errorf("%+v", p)
	}
	events, err := api.Fetch(t.Context(), "v/a/b", receiver.Range{From: 2, To: 4})
	if err != nil || len(events) != 2 || events[0].ID != "i" || events[1].Seq != 3 || string(events[0].Body) != `{"schema":"rtmp","regist":true}` {
		t.Errorf("%+v, %v", events, err)
	}
	api.Secret = "x"
	if _, err := api.Fetch(t.Context(), "v/a/b", receiver.Range{From: 2, To: 3}); err == nil {
		t.Error("a wrong secret")
	}
	srv.Client().CloseIdleConnections()
}

// TestPublicationsAreBounded follows as many as there is room for. The others are handled all the same.
func TestPublicationsAreBounded(t *testing.T) {
	var verdicts []string
	r, s, _ := setup(t, receiver.WithMaxPublications(2), receiver.OnAny(func(_ context.Context, e *receiver.Event) error {
		verdicts = append(verdicts, e.Verdict.String())
		return nil
	}))
	a, b, c := s.Register("live/a", "rtmp"), s.Register("live/b", "rtmp"), s.Register("live/c", "rtmp")
	accepted(t, s, a, b, c, s.Register("live/c", "rtsp"))
	if fmt.Sprint(verdicts) != "[expected expected untracked untracked]" || len(r.Live()) != 2 || r.Stats().Untracked != 2 || r.Stats().Handled != 4 {
		t.Errorf("%v, %v, %+v", verdicts, r.Live(), r.Stats())
	}
	if _, ok := r.Publication("test", c.Publication); ok {
		t.Error("there was no room")
	}
	changes, err := r.Reconcile(t.Context(), s) // it knows of three
	if err != nil || len(changes) != 0 || r.Stats().Untracked != 3 {
		t.Errorf("%+v, %v, %+v", changes, err, r.Stats())
	}
	accepted(t, s, s.Unregister("live/a", "rtmp"), s.End("live/a", "unpublish"), s.Register("live/c", "ts"))
	p, ok := r.Publication("test", c.Publication)
	if !ok || fmt.Sprint(p.Schemas) != "[ts]" || p.State != receiver.Live || !p.Uncertain {
		t.Errorf("%+v", p)
	}
	if changes, err = r.Reconcile(t.Context(), s); err != nil || len(changes) != 1 {
		t.Errorf("%+v, %v", changes, err)
	}
	if p, _ = r.Publication("test", c.Publication); fmt.Sprint(p.Schemas) != "[rtmp rtsp ts]" || p.Uncertain {
		t.Errorf("%+v", p)
	}
}

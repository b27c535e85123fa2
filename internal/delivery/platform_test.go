package delivery_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/delivery"
	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/webhook"
)

func start(r *rig, name string) {
	s := stream(name)
	r.seq.Raise(&fact.PublicationStarted{Publication: "p-" + name, Live: s, MediaInfo: fact.MediaInfo{Stream: s}})
}

// Streams and History decide what is owed, and prev follows.
func TestFilters(t *testing.T) {
	run(t, func(c *delivery.Config) { c.Streams = []string{"live/cam*", "*/*/z"}; c.History = true }, func(r *rig) {
		for _, name := range []string{"cam1", "other", "camera/2", "z"} {
			start(r, name)
			r.raise(name, 2)
		}
		time.Sleep(time.Second)
		r.want("cam1", 1, 2, 3)
		r.want("camera/2", 1, 2, 3)
		r.want("z", 1, 2, 3)
		r.want("other")
		for _, b := range r.recv.take() {
			if *b.Event.Prev != b.Event.Seq-1 {
				t.Errorf("%s: prev of %d is %d", b.Event.Stream, b.Event.Seq, *b.Event.Prev)
			}
		}
		cfg := r.cfg
		cfg.Streams, cfg.History = nil, false
		if err := r.ep.Configure(cfg, r.seq.Stats().NextIndex); err != nil {
			t.Fatal(err)
		}
		start(r, "other") // 4, not owed
		r.raise("other", 1)
		time.Sleep(time.Second)
		got := r.recv.take()
		if len(got) != 1 || got[0].Event.Seq != 5 || *got[0].Event.Prev != 0 {
			t.Errorf("after the filter was opened nothing before it is known: %+v", got)
		}
	})
}

func TestPauseKeepsThePlace(t *testing.T) {
	run(t, func(c *delivery.Config) { c.Paused = true }, func(r *rig) {
		r.raise("a", 3)
		time.Sleep(time.Hour)
		r.want("a")
		r.restart()
		if err := r.ep.Configure(delivery.Config{Name: "hook", URLs: urls()}, 0); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		r.want("a", 1, 2, 3)
	})
}

func TestRate(t *testing.T) {
	run(t, func(c *delivery.Config) { c.Rate = 10 }, func(r *rig) {
		for i := range 10 {
			r.raise(string(rune('a'+i)), 10)
		}
		time.Sleep(4 * time.Second)
		if n := r.recv.sent(); n < 40 || n > 52 {
			t.Errorf("%d requests in 4 s at 10/s and a second's worth at once", n)
		}
		time.Sleep(10 * time.Second)
		if n := r.recv.sent(); n != 100 {
			t.Errorf("%d requests in the end", n)
		}
	})
}

// A redriven dead letter comes late, flagged, with its own seq, and is forgotten when it is accepted.
func TestRedrive(t *testing.T) {
	run(t, nil, func(r *rig) {
		bad := true
		r.recv.set(func(b body, _ string) webhook.Reply {
			if bad && b.Event.Seq == 2 {
				return status(404)
			}
			return ok()
		})
		r.raise("a", 3)
		time.Sleep(time.Hour)
		dead, err := r.ep.DeadLetters()
		if err != nil || len(dead) != 1 {
			t.Fatal(dead, err)
		}
		if err := r.ep.Redrive(dead[0].Position); err != nil { // and fails again
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		r.want("a", 1, -2, 3)
		r.recv.do(func() { bad = false })
		r.raise("a", 1)
		time.Sleep(time.Second)
		if err := r.ep.Redrive(dead[0].Position); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		r.want("a", 1, -2, 3, 4, 2)
		last := r.recv.all()[4].Event
		if !last.Late || *last.Prev != 1 {
			t.Errorf("%+v", last)
		}
		if dead, _ := r.ep.DeadLetters(); len(dead) != 0 {
			t.Errorf("still there: %+v", dead)
		}
		if err := r.ep.Redrive(99); err == nil {
			t.Error("redrove nothing")
		}
		if st := r.ep.Stats(); st.Floor != st.Tail || st.Lanes != 0 || st.Held != 0 {
			t.Errorf("%+v", st)
		}
	})
}

func TestDiscard(t *testing.T) {
	run(t, nil, func(r *rig) {
		r.recv.set(func(b body, _ string) webhook.Reply {
			if b.Event.Seq == 1 {
				return status(404)
			}
			return ok()
		})
		r.raise("a", 1)
		time.Sleep(time.Hour)
		dead, _ := r.ep.DeadLetters()
		if err := delivery.Discard(r.mem, "hook", dead[0].Position); err != nil {
			t.Fatal(err)
		}
		if dead, _ := r.ep.DeadLetters(); len(dead) != 0 {
			t.Errorf("%+v", dead)
		}
	})
}

// A replay sends a range again, in order, beside delivery, under an id of its own, and leaves no trace.
func TestReplay(t *testing.T) {
	run(t, nil, func(r *rig) {
		r.raise("a", 5)
		r.raise("b", 5)
		time.Sleep(time.Second)
		r.recv.take()
		info := r.mem.Info()
		rep, err := r.ep.Replay(delivery.Replay{ID: "r1", From: info.First + 1, To: info.Last, Streams: []string{"live/a"}})
		if err != nil {
			t.Fatal(err)
		}
		r.raise("a", 2)
		time.Sleep(time.Second)
		st := rep.Stats()
		rep.Close()
		var again, fresh []int
		for _, b := range r.recv.take() {
			if b.Event.Replay == "r1" {
				again = append(again, int(b.Event.Seq))
			} else {
				fresh = append(fresh, int(b.Event.Seq))
			}
		}
		if !slices.Equal(fresh, []int{6, 7}) || !slices.IsSorted(again) || len(again) < 4 || again[len(again)-1] != 5 {
			t.Errorf("replayed %v, delivered %v", again, fresh)
		}
		if st.Floor != info.Last || st.Delivered != uint64(len(again)) {
			t.Errorf("%+v", st)
		}
		names, err := delivery.Known(r.mem)
		if err != nil || !slices.Equal(names, []string{"hook"}) {
			t.Errorf("a replay left a place: %v, %v", names, err)
		}
		if _, err := r.ep.Replay(delivery.Replay{ID: "r2", From: 1000, To: 2000}); err == nil {
			t.Error("replayed nothing")
		}
	})
}

// A new endpoint may begin at a position; a removed one releases its place.
func TestBeginningAndEnd(t *testing.T) {
	run(t, nil, func(r *rig) {
		r.raise("a", 5)
		time.Sleep(time.Second)
		r.recv.take()
		second, err := delivery.NewEndpoint(delivery.Config{Name: "billing", URLs: urls(), From: 3}, delivery.Deps{
			Store: r.mem, Stamper: r.seq, Sender: r.recv,
		}, 0)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		second.Close()
		r.want("a", 3, 4, 5)
		if names, _ := delivery.Known(r.mem); !slices.Equal(names, []string{"billing", "hook"}) {
			t.Error(names)
		}
		if err := delivery.Forget(r.mem, "billing"); err != nil {
			t.Fatal(err)
		}
		if names, _ := delivery.Known(r.mem); !slices.Equal(names, []string{"hook"}) {
			t.Error(names)
		}
	})
}

// CloudEvents and signatures: any 2xx accepts, every attempt is signed anew.
func TestFormatAndSignature(t *testing.T) {
	secret := event.GenerateSecret()
	signer, err := event.NewSigner([]event.Secret{secret}, nil)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := event.NewVerifier([]event.Secret{secret}, nil)
	if err != nil {
		t.Fatal(err)
	}
	checks := 0
	raw := func(req webhook.Request) webhook.Reply {
		checks++
		if err := verifier.VerifyAt(req.Header, req.Body, time.Now()); err != nil {
			t.Errorf("attempt %d: %v", checks, err)
		}
		if checks == 1 {
			return status(500)
		}
		env, _, _, err := event.ParseCloudEvent(req.Body)
		if err != nil || env.Seq != 1 || env.Type != event.OnFlowReport || env.Stream != key("a") {
			t.Errorf("%+v, %v: %s", env, err, req.Body)
		}
		if ct := req.Header.Get("Content-Type"); !strings.HasPrefix(ct, "application/cloudevents+json") {
			t.Error(ct)
		}
		if req.Header.Get("X-Team") != "billing" {
			t.Error("extra header is missing")
		}
		return status(204)
	}
	run(t, func(c *delivery.Config) {
		c.Format, c.Signer, c.Header = delivery.FormatCloudEvents, signer, http.Header{"X-Team": {"billing"}}
	}, func(r *rig) {
		r.recv.do(func() { r.recv.raw = raw })
		r.raise("a", 1)
		time.Sleep(time.Minute)
		if st := r.ep.Stats(); st.Delivered != 1 || checks != 2 {
			t.Errorf("%d requests, %+v", checks, st)
		}
	})
}

// An endpoint that begins where retention was does not name as prev what it will never get.
func TestStartKnowsNoPrevBeforeItself(t *testing.T) {
	run(t, nil, func(r *rig) {
		r.raise("a", 6)
		time.Sleep(time.Second)
		if err := r.ep.Expire(4); err != nil {
			t.Fatal(err)
		}
		if _, err := r.mem.Trim(4); err != nil {
			t.Fatal(err)
		}
		recv := &receiver{}
		cfg := r.cfg
		cfg.Name, cfg.From = "late", 1
		ep, err := delivery.NewEndpoint(cfg, delivery.Deps{Store: r.mem, Stamper: r.seq, Sender: recv}, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer ep.Close()
		time.Sleep(time.Second)
		if got := recv.seqs(key("a")); !slices.Equal(got, []int{4, 5, 6}) {
			t.Errorf("accepted %v", got)
		}
		if prev := recv.all()[0].Event.Prev; *prev != 0 {
			t.Errorf("the first event says prev %d", *prev)
		}
	})
}

// What is raised while a change is being written is taken as the configuration before says: if that does not owe it, prev
// never names it.
func TestPrevAfterChangeThatTakesTime(t *testing.T) {
	run(t, func(c *delivery.Config) { c.Streams = []string{"live/other"} }, func(r *rig) {
		r.raise("k", 2)
		time.Sleep(time.Second)
		r.mem.SetLatency(func() time.Duration { return time.Second })
		cfg, index, done := r.cfg, r.seq.Stats().NextIndex, make(chan error)
		cfg.Streams = nil
		r.raise("k", 2)
		time.Sleep(time.Millisecond)
		r.mem.SetLatency(func() time.Duration { return 2 * time.Second })
		go func() { done <- r.ep.Configure(cfg, index) }()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		r.mem.SetLatency(nil)
		r.begin("k", 5)
	})
}

// The filter of an endpoint that once began at the beginning has changed while the server was down: what it left out until
// then is not owed, and prev never names it.
func TestPrevAfterChangeOfOneThatBeganInThePast(t *testing.T) {
	change := func(c *delivery.Config) { c.From, c.Streams = 1, []string{"live/other"} }
	run(t, change, func(r *rig) {
		r.raise("k", 2)
		time.Sleep(time.Second)
		r.cfg.Streams = nil
		r.restart()
		r.begin("k", 3)
	})
}

// An endpoint was removed and begins anew in the past. Dead letters of before, asked for again, overtake nothing.
func TestRedriveOvertakesNothing(t *testing.T) {
	run(t, func(c *delivery.Config) { c.RejectAttempts = 1 }, func(r *rig) {
		r.recv.set(func(b body, _ string) webhook.Reply {
			if b.Event.Seq == 3 && b.Event.Type != event.OnEventGap {
				return status(404)
			}
			return ok()
		})
		r.raise("k", 4)
		time.Sleep(time.Second)
		dead, err := r.ep.DeadLetters()
		if err != nil || len(dead) != 1 {
			t.Fatal(dead, err)
		}
		r.ep.Close()
		if err := delivery.Forget(r.mem, "hook"); err != nil {
			t.Fatal(err)
		}
		r.recv.take()
		r.recv.set(func(body, string) webhook.Reply { return status(500) })
		r.cfg.From = 1
		r.restart()
		time.Sleep(time.Second)
		if err := r.ep.Redrive(dead[0].Position); err != nil {
			t.Fatal(err)
		}
		r.recv.set(nil)
		r.drained()
		r.want("k", 1, 2, 3, 4)
		if err := r.ep.Redrive(dead[0].Position); err != nil { // now it has passed
			t.Fatal(err)
		}
		r.drained()
		r.want("k", 1, 2, 3, 4, 3)
		if dead, err = r.ep.DeadLetters(); err != nil || len(dead) != 0 {
			t.Error(dead, err)
		}
	})
}

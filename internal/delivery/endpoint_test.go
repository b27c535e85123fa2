package delivery_test

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/delivery"
	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/leaktest"
	"github.com/hookline/hookline/internal/webhook"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// run runs a test in virtual time with a rig of its own.
func run(t *testing.T, change func(*delivery.Config), f func(r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, change)
		defer func() { r.stop() }()
		f(r)
	})
}

func noGapURL(c *delivery.Config) { delete(c.URLs, event.OnEventGap) }

func TestDeliversInOrderWithEnvelope(t *testing.T) {
	run(t, nil, func(r *rig) {
		r.raise("a", 3)
		r.raise("b", 2)
		time.Sleep(time.Second)
		r.want("a", 1, 2, 3)
		r.want("b", 1, 2)
		for _, b := range r.recv.take() {
			e := b.Event
			if e.ID == "" || strings.Contains(e.ID, ".") || e.Source != "srv" || b.Server != "srv" || e.Epoch == 0 ||
				e.Type != event.OnFlowReport || e.Publication != "p" || e.Prev == nil || *e.Prev != e.Seq-1 || e.Time.IsZero() {
				t.Errorf("envelope %+v", e)
			}
		}
	})
}

// A failing head is repeated by its own lane with the same identity; other keys go on meanwhile.
func TestRetryHoldsTheLaneOnly(t *testing.T) {
	run(t, nil, func(r *rig) {
		fails := 3
		var ids []string
		r.recv.set(func(b body, _ string) webhook.Reply {
			if b.Event.Stream == key("a") && fails > 0 {
				fails--
				ids = append(ids, b.Event.ID)
				return status(500)
			}
			return ok()
		})
		r.raise("a", 3)
		r.raise("b", 50)
		time.Sleep(500 * time.Millisecond)
		r.want("a")
		r.want("b", upTo(50)...)
		time.Sleep(10 * time.Second)
		r.want("a", 1, 2, 3)
		if len(slices.Compact(ids)) != 1 {
			t.Errorf("a retry changed the id: %v", ids)
		}
	})
}

// Keys that hang do not keep others waiting, though each attempt takes the whole time-out.
func TestHangingKeysLeaveSlots(t *testing.T) {
	run(t, func(c *delivery.Config) { c.Concurrency = 8 }, func(r *rig) {
		r.recv.set(func(b body, _ string) webhook.Reply {
			if strings.Contains(b.Event.Stream, "hang") {
				return hang()
			}
			return ok()
		})
		r.raise("warm", 20)
		time.Sleep(time.Second)
		for i := range 40 {
			r.raise("hang"+string(rune('A'+i)), 1)
			r.raise("good"+string(rune('A'+i)), 5)
		}
		time.Sleep(5 * time.Second)
		for i := range 40 {
			r.want("good"+string(rune('A'+i)), upTo(5)...)
		}
		r.recv.set(nil)
		time.Sleep(10 * time.Minute)
		for i := range 40 {
			r.want("hang"+string(rune('A'+i)), 1)
		}
	})
}

func TestRejectedBecomesDeadLetterAndNotice(t *testing.T) {
	reject := func(b body, _ string) webhook.Reply {
		if b.Event.Seq == 2 {
			return status(404)
		}
		return ok()
	}
	for _, c := range []struct {
		name   string
		change func(*delivery.Config)
	}{{"notice", nil}, {"member", noGapURL}} {
		t.Run(c.name, func(t *testing.T) {
			run(t, c.change, func(r *rig) {
				r.recv.set(reject)
				r.raise("a", 4)
				time.Sleep(time.Hour)
				r.want("a", 1, -2, 3, 4)
				dead, err := r.ep.DeadLetters()
				if err != nil || len(dead) != 1 || dead[0].Reason != event.ReasonRefused || dead[0].Attempts != 8 {
					t.Errorf("dead letters %+v, %v", dead, err)
				}
				for _, b := range r.recv.all() {
					if b.Event.Seq == 3 && *b.Event.Prev != 2 {
						t.Errorf("prev of 3 is %d, want 2", *b.Event.Prev)
					}
				}
				r.restart()
				r.raise("a", 1)
				time.Sleep(time.Hour)
				r.want("a", 1, -2, 3, 4, 5)
			})
		})
	}
}

// A gap that is not accepted yet survives a crash.
func TestGapSurvivesCrash(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*delivery.Config)
	}{{"notice", nil}, {"member", noGapURL}} {
		t.Run(c.name, func(t *testing.T) {
			run(t, c.change, func(r *rig) {
				r.recv.set(func(b body, _ string) webhook.Reply {
					if b.Event.Type == event.OnEventGap || len(b.Event.Gap) > 0 {
						return status(500)
					}
					return status(404)
				})
				r.raise("a", 1)
				time.Sleep(10 * time.Minute)
				r.crash()
				r.recv.set(nil)
				r.raise("a", 1)
				time.Sleep(10 * time.Minute)
				r.want("a", -1, 2)
			})
		})
	}
}

// Everything that could not be read by a receiver is rejected; a code that is not 0 is final.
func TestAnswers(t *testing.T) {
	html := webhook.Reply{Status: 200, Body: []byte("<html>")}
	refuse := webhook.Reply{Status: 200, Body: []byte(`{"code":-1,"msg":"no"}`)}
	run(t, nil, func(r *rig) {
		r.recv.set(func(body, string) webhook.Reply { return refuse })
		r.raise("a", 2)
		time.Sleep(time.Second)
		if st := r.ep.Stats(); st.Refused != 2 || st.Retries != 0 || st.DeadLetters != 0 {
			t.Errorf("%+v", st)
		}
		r.recv.set(func(b body, _ string) webhook.Reply {
			if b.Event.Type == event.OnEventGap {
				return ok()
			}
			return html
		})
		r.raise("b", 1)
		time.Sleep(time.Hour)
		if st := r.ep.Stats(); st.DeadLetters != 1 {
			t.Errorf("%+v", st)
		}
	})
}

// While the receiver is down one request at a time looks for it; nothing is lost or reordered when it is back.
func TestOutage(t *testing.T) {
	run(t, func(c *delivery.Config) { c.Window = 100 }, func(r *rig) {
		r.recv.set(func(body, string) webhook.Reply { return webhook.Reply{Err: errRefused} })
		for i := range 50 {
			r.raise(string(rune('A'+i)), 10)
		}
		time.Sleep(10 * time.Minute)
		st := r.ep.Stats()
		if !st.Down || st.Held > 100+1024 || st.Attempts > 800 {
			t.Errorf("during the outage: %+v", st)
		}
		r.recv.set(nil)
		time.Sleep(10 * time.Second)
		for i := range 50 {
			r.want(string(rune('A'+i)), upTo(10)...)
		}
		if st := r.ep.Stats(); st.Floor != st.Tail || st.Down || st.DeadLetters > 0 || st.Lanes > 0 || st.Held > 0 {
			t.Errorf("after it: %+v", st)
		}
	})
}

func TestGoneDisablesTheURL(t *testing.T) {
	run(t, nil, func(r *rig) {
		gone := true
		r.recv.set(func(b body, url string) webhook.Reply {
			if gone && strings.HasSuffix(url, "on_flow_report") {
				return status(410)
			}
			return ok()
		})
		r.raise("a", 2)
		r.raise("b", 1)
		time.Sleep(time.Minute)
		r.want("a", -1, -2)
		r.want("b", -1)
		tries := r.recv.sent()
		r.recv.do(func() { gone = false })
		r.raise("a", 1)
		time.Sleep(time.Minute)
		r.want("a", -1, -2, -3)
		if n := r.recv.sent() - tries; n != 1 {
			t.Errorf("%d requests to a URL that is gone and one notice", n)
		}
		if err := r.ep.Configure(r.cfg, 0); err != nil {
			t.Fatal(err)
		}
		r.raise("a", 1)
		time.Sleep(time.Minute)
		r.want("a", -1, -2, -3, 4)
	})
}

// A lane that fails while others succeed keeps only its place; when it works again it catches up in order and goes
// live.
func TestParking(t *testing.T) {
	for _, crash := range []bool{false, true} {
		run(t, nil, func(r *rig) {
			bad := true
			r.recv.set(func(b body, _ string) webhook.Reply {
				if bad && b.Event.Stream == key("bad") {
					return status(503)
				}
				return ok()
			})
			for range 30 {
				r.raise("bad", 10)
				r.raise("good", 10)
				time.Sleep(2 * time.Second)
			}
			r.want("good", upTo(300)...)
			st := r.ep.Stats()
			if st.Parked != 1 || st.Held > 16 {
				t.Errorf("%+v", st)
			}
			if d, err := r.ep.Depth(10000); err != nil || d.Events != 300 || d.Bytes == 0 || !d.Exact || d.Oldest.IsZero() {
				t.Errorf("depth %+v %v", d, err)
			}
			if d, err := r.ep.Depth(100); err != nil || d.Exact || d.Events == 0 || d.Events > 100 || d.Looked > 101 {
				t.Errorf("depth of a part %+v %v", d, err)
			}
			if crash {
				time.Sleep(time.Second)
				r.crash()
			}
			r.raise("bad", 5)
			r.recv.do(func() { bad = false })
			time.Sleep(2 * time.Minute)
			r.raise("bad", 5)
			time.Sleep(time.Second)
			r.want("bad", upTo(310)...)
			if st := r.ep.Stats(); st.Parked != 0 || st.Floor != st.Tail || st.Held != 0 {
				t.Errorf("after it: %+v", st)
			}
		})
	}
}

// Lanes that block the window are parked when another works.
func TestWindowPressureParks(t *testing.T) {
	run(t, func(c *delivery.Config) { c.Window = 64 }, func(r *rig) {
		bad := true
		r.recv.set(func(b body, _ string) webhook.Reply {
			if bad && strings.Contains(b.Event.Stream, "bad") {
				return status(500)
			}
			return ok()
		})
		for i := range 20 {
			r.raise("good", 10)
			r.raise("bad"+string(rune('A'+i)), 10)
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(10 * time.Second)
		r.want("good", upTo(200)...)
		r.recv.do(func() { bad = false })
		time.Sleep(5 * time.Minute)
		for i := range 20 {
			r.want("bad"+string(rune('A'+i)), upTo(10)...)
		}
	})
}

// After a crash only a short tail comes again, in order, with the same ids.
func TestCrashResendsTheTail(t *testing.T) {
	run(t, nil, func(r *rig) {
		r.raise("a", 100)
		time.Sleep(5 * time.Second)
		r.raise("a", 3)
		time.Sleep(10 * time.Millisecond)
		r.crash()
		time.Sleep(5 * time.Second)
		got := r.recv.seqs(key("a"))
		if len(got) < 103 || len(got) > 106 || got[len(got)-1] != 103 || !slices.IsSorted(got[103:]) {
			t.Errorf("%v", got)
		}
		r.raise("a", 1)
		time.Sleep(time.Second)
		if got := r.recv.seqs(key("a")); got[len(got)-1] != 104 {
			t.Errorf("seq after the restart: %v", got[len(got)-1])
		}
	})
}

// prev names the last event that this endpoint is owed, whatever it subscribes to and when.
func TestPrevFollowsTheSubscription(t *testing.T) {
	run(t, func(c *delivery.Config) { delete(c.URLs, event.OnStreamChanged); c.Schemas = []string{"rtmp"} }, func(r *rig) {
		prevs := func() (out []int) {
			for _, b := range r.recv.take() {
				out = append(out, int(b.Event.Seq), int(*b.Event.Prev))
			}
			return out
		}
		reg := func(schema string) {
			r.seq.Raise(&fact.Unregistered{Stream: stream("a"), Schema: schema})
		}
		r.raise("a", 1) // 1
		reg("rtmp")     // 2: not owed
		r.raise("a", 1) // 3
		time.Sleep(time.Second)
		if got := prevs(); !slices.Equal(got, []int{1, 0, 3, 1}) {
			t.Errorf("%v", got)
		}
		cfg := r.cfg
		cfg.URLs = urls()
		if err := r.ep.Configure(cfg, r.seq.Stats().NextIndex); err != nil {
			t.Fatal(err)
		}
		reg("rtmp")     // 4: owed from now on; 2 never was
		reg("rtsp")     // 5: filtered
		reg("rtmp")     // 6
		r.raise("a", 1) // 7
		time.Sleep(time.Second)
		if got := prevs(); !slices.Equal(got, []int{4, 3, 6, 4, 7, 6}) {
			t.Errorf("%v", got)
		}
	})
}

func TestQuestion(t *testing.T) {
	ask := func(r *rig, holds func() bool, got *[]string) {
		s := stream("a")
		r.ep.NoneReader("p", fact.NoneReader{Schema: "rtmp", Stream: s}, holds, func(c bool, o fact.Outcome) {
			r.recv.do(func() {
				*got = append(*got, o.By)
				if c {
					*got = append(*got, "close")
				}
			})
		})
	}
	always := func() bool { return true }
	run(t, nil, func(r *rig) {
		var got []string
		r.raise("a", 2)
		time.Sleep(time.Second)
		r.recv.set(func(b body, _ string) webhook.Reply {
			if b.Event.Seq != 0 || b.Event.After == nil || *b.Event.After != 2 || b.Event.Prev != nil {
				t.Errorf("a question has no seq but says after what it was asked: %+v", b.Event)
			}
			return webhook.Reply{Status: 200, Body: []byte(`{"code":0,"close":true}`)}
		})
		ask(r, always, &got)
		time.Sleep(time.Second)
		ask(r, func() bool { return false }, &got) // withdrawn before it is sent
		time.Sleep(time.Second)
		r.recv.do(func() {
			if !slices.Equal(got, []string{"hook", "close"}) {
				t.Errorf("%v", got)
			}
		})
	})
	// A question that fails holds up no event, is repeated while its condition holds, and is withdrawn then.
	run(t, nil, func(r *rig) {
		var got []string
		var holds atomic.Bool
		holds.Store(true)
		r.recv.set(func(b body, _ string) webhook.Reply {
			if b.Event.Type == event.OnStreamNoneReader {
				return status(500)
			}
			return ok()
		})
		ask(r, holds.Load, &got)
		time.Sleep(100 * time.Millisecond)
		r.raise("a", 2)
		time.Sleep(100 * time.Millisecond)
		r.want("a", 1, 2)
		time.Sleep(time.Minute)
		if r.recv.sent() < 6 {
			t.Errorf("%d attempts", r.recv.sent())
		}
		holds.Store(false)
		time.Sleep(2 * time.Minute)
		tries := r.recv.sent()
		time.Sleep(10 * time.Minute)
		r.recv.do(func() { got = append(got, "end") })
		if r.recv.sent() != tries || len(got) > 1 || r.ep.Stats().Lanes > 0 {
			t.Errorf("%d attempts after the end, %v, %+v", r.recv.sent()-tries, got, r.ep.Stats())
		}
	})
}

func TestHeartbeatLatestWins(t *testing.T) {
	run(t, nil, func(r *rig) {
		r.recv.do(func() { r.recv.took = 5 * time.Second })
		for range 10 {
			r.ep.Beat([]byte(`{"data":{}}`))
			time.Sleep(time.Second)
		}
		time.Sleep(time.Minute)
		if n := r.recv.sent(); n != 3 {
			t.Errorf("%d beats in 10 s at 5 s each, want 3", n)
		}
		r.recv.set(func(body, string) webhook.Reply { return status(500) })
		r.ep.Beat([]byte(`{"data":{}}`))
		time.Sleep(time.Minute)
		if n := r.recv.sent(); n != 4 {
			t.Errorf("a heartbeat was repeated: %d", n)
		}
	})
}

// Retention names what it takes, also of parked lanes and while a request is in flight.
func TestExpire(t *testing.T) {
	run(t, nil, func(r *rig) {
		bad := true
		r.recv.set(func(b body, _ string) webhook.Reply {
			if bad && b.Event.Stream != key("good") {
				return status(503)
			}
			return ok()
		})
		r.raise("parked", 100)
		for range 40 {
			r.raise("good", 1)
			time.Sleep(time.Second)
		}
		r.raise("waits", 3)
		time.Sleep(time.Second)
		before := r.mem.Info().Last + 1
		if err := r.ep.Expire(before); err != nil {
			t.Fatal(err)
		}
		if _, err := r.mem.Trim(before); err != nil {
			t.Fatal(err)
		}
		gaps, err := delivery.ReadGaps(r.mem, "")
		if err != nil || len(gaps) != 2 || gaps[0].Stream != key("parked") || gaps[0].Gap.To != 100 || gaps[1].Gap.Count != 3 {
			t.Errorf("gaps %+v %v", gaps, err)
		}
		r.recv.do(func() { bad = false })
		r.raise("parked", 1)
		r.raise("waits", 1)
		time.Sleep(5 * time.Minute)
		r.want("parked", -100, 101)
		got := r.recv.seqs(key("waits"))
		if !slices.Contains(got, -3) || got[len(got)-1] != 4 {
			t.Errorf("waits: %v", got)
		}
		if st := r.ep.Stats(); st.Floor != st.Tail || st.Parked != 0 {
			t.Errorf("%+v", st)
		}
		if d, err := r.ep.Depth(10000); err != nil || d != (delivery.Depth{Exact: true}) {
			t.Errorf("depth %+v %v", d, err)
		}
		if gaps, err := delivery.ReadGaps(r.mem, "hook"); err != nil || len(gaps) != 0 {
			t.Errorf("gaps %+v %v", gaps, err)
		}
	})
}

func TestWaitAccepted(t *testing.T) {
	run(t, nil, func(r *rig) {
		r.recv.do(func() { r.recv.took = 100 * time.Millisecond })
		r.raise("a", 2)
		time.Sleep(time.Millisecond)
		start := time.Now()
		r.ep.WaitAccepted(context.Background(), key("a"), 2, 300*time.Millisecond)
		if d := time.Since(start); d < 190*time.Millisecond || d > 250*time.Millisecond {
			t.Errorf("waited %v for two events of 100 ms", d)
		}
		start = time.Now()
		r.ep.WaitAccepted(context.Background(), key("a"), 2, 300*time.Millisecond)
		r.ep.WaitAccepted(context.Background(), key("other"), 2, 300*time.Millisecond)
		if time.Since(start) > 0 {
			t.Error("waited for nothing")
		}
		r.recv.set(func(body, string) webhook.Reply { return status(500) })
		r.raise("a", 1)
		time.Sleep(200 * time.Millisecond)
		start = time.Now()
		r.ep.WaitAccepted(context.Background(), key("a"), 3, 300*time.Millisecond)
		if time.Since(start) > 0 {
			t.Error("waited for a lane in trouble")
		}
	})
}

// Nothing is given up while the dead letter can't be stored.
func TestDeadLetterNeedsTheStore(t *testing.T) {
	run(t, nil, func(r *rig) {
		r.recv.set(func(b body, _ string) webhook.Reply { return status(404) })
		r.raise("a", 1)
		time.Sleep(time.Second)
		r.mem.FailWrites(errRefused)
		time.Sleep(time.Hour)
		if st := r.ep.Stats(); st.DeadLetters != 0 || !st.StoreFailed {
			t.Errorf("%+v", st)
		}
	})
}

// An outage does not use up the age of events; a key that fails alone does.
// The clock jumps years ahead while a receiver fails: attempts go on at their pace, nothing is given up before the clock is
// trusted, and order and signatures are right when it is back.
func TestClockJumps(t *testing.T) {
	const secret = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
	run(t, func(c *delivery.Config) {
		s, err := event.ParseSigner([]string{secret})
		if err != nil {
			panic(err)
		}
		c.Signer, c.MaxAge = s, time.Hour
	}, func(r *rig) {
		// The events were stamped by a clock that was ten years slow; the one by which they age has not followed yet.
		slow := func() time.Time { return time.Now().Round(0).Add(-10 * 365 * 24 * time.Hour) }
		r.stamps, r.ages = slow, slow
		r.restart()
		bad := true
		r.recv.set(func(b body, _ string) webhook.Reply {
			if bad && b.Event.Stream == key("a") {
				return status(503)
			}
			return ok()
		})
		r.raise("a", 3)
		for range 30 {
			r.raise("b", 1)
			time.Sleep(time.Minute)
		}
		if st := r.ep.Stats(); st.Parked != 1 || st.DeadLetters != 0 {
			t.Errorf("after half an hour: %+v", st)
		}
		if n := r.recv.sent() - 30; n < 20 || n > 60 {
			t.Errorf("%d attempts in half an hour", n)
		}
		r.recv.do(func() { bad = false })
		time.Sleep(2 * time.Minute)
		r.want("a", 1, 2, 3)
		r.want("b", upTo(30)...)
		// Attempts are signed with the time at which they are made, whatever the event's.
		v, err := event.ParseVerifier([]string{secret})
		if err != nil {
			t.Fatal(err)
		}
		r.answerRaw(func(q webhook.Request) webhook.Reply {
			if err := v.Verify(q.Header, q.Body); err != nil {
				t.Error(err)
			}
			return ok()
		})
		r.raise("c", 1)
		time.Sleep(time.Minute)
		r.answerRaw(func(webhook.Request) webhook.Reply { return status(503) })
		// Now the clock is trusted: what fails, was read from the journal and is older than an hour by it is given up.
		r.ages = nil
		r.restart()
		r.raise("d", 1)
		r.answerRaw(func(q webhook.Request) webhook.Reply {
			if bodies(q.Body)[0].Event.Stream == key("d") && bodies(q.Body)[0].Event.Seq > 0 {
				return status(503)
			}
			return ok()
		})
		for range 10 {
			r.raise("e", 1)
			time.Sleep(time.Minute)
		}
		if dead, err := r.ep.DeadLetters(); err != nil || len(dead) != 1 || dead[0].Reason != event.ReasonExpired {
			t.Errorf("%+v, %v", dead, err)
		}
	})
}

func TestMaxAge(t *testing.T) {
	run(t, nil, func(r *rig) {
		r.recv.set(func(body, string) webhook.Reply { return webhook.Reply{Err: errRefused} })
		r.raise("a", 1)
		r.raise("b", 1)
		time.Sleep(26 * time.Hour)
		r.recv.set(nil)
		time.Sleep(time.Minute)
		r.want("a", 1)
		r.want("b", 1)
		r.recv.set(func(b body, _ string) webhook.Reply {
			if b.Event.Stream == key("a") && b.Event.Seq != 0 {
				return status(503)
			}
			return ok()
		})
		r.raise("a", 1)
		for range 25 * 60 {
			r.raise("b", 1)
			time.Sleep(time.Minute)
		}
		r.want("a", 1, -2)
	})
}

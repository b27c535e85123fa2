package delivery_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/delivery"
	"github.com/hookline/hookline/internal/webhook"
)

// oneURL is what the endpoints of sections have.
func oneURL() map[event.Type]string {
	m := urls()
	for t := range m {
		m[t] = "http://receiver/all"
	}
	return m
}

func batched(n int) func(*delivery.Config) {
	return func(c *delivery.Config) {
		c.Name, c.Format, c.Batch, c.URLs = "batched", delivery.FormatCloudEvents, n, oneURL()
	}
}

func (r *receiver) seen() []request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.requests)
}

// A batch holds runs of several keys, each in order, no more events than it may, and prev is that of single events.
func TestBatchHoldsRunsOfKeys(t *testing.T) {
	run(t, func(c *delivery.Config) { batched(20)(c); c.Concurrency = 1 }, func(r *rig) {
		r.recv.took = 100 * time.Millisecond
		for i := range 50 {
			for k := range 5 {
				r.raise(fmt.Sprintf("k%d", k), 1)
			}
			if i%10 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
		time.Sleep(time.Minute)
		keys := 0
		for _, q := range r.recv.seen() {
			if len(q.events) > 20 {
				t.Errorf("%d events in a batch of at most 20", len(q.events))
			}
			var of []string
			for _, b := range q.events {
				if *b.Event.Prev != b.Event.Seq-1 {
					t.Errorf("%s: prev of %d is %d", b.Event.Stream, b.Event.Seq, *b.Event.Prev)
				}
				of = append(of, b.Event.Stream)
			}
			keys = max(keys, len(slices.Compact(of)))
		}
		for k := range 5 {
			r.want(fmt.Sprintf("k%d", k), upTo(50)...)
		}
		if n := r.recv.sent(); n > 30 || keys < 2 {
			t.Errorf("%d requests for 250 events, at most %d keys in one", n, keys)
		}
		if st := r.ep.Stats(); st.Floor != st.Tail || st.Lanes != 0 || st.Held != 0 || st.Delivered != 250 {
			t.Errorf("%+v", st)
		}
	})
}

// One event that is always refused holds its own key only, and only itself is given up.
func TestPoisonedEventSplitsTheBatch(t *testing.T) {
	for name, answer := range map[string]webhook.Reply{
		"rejected": status(404), "failing": status(500), "hanging": hang(), "reset": {Err: errRefused},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(c *delivery.Config) { batched(50)(c); c.Concurrency, c.MaxAge = 4, time.Minute }, func(r *rig) {
				r.recv.took = 20 * time.Millisecond
				bad := func(b body) bool { return b.Event.Stream == key("k3") && b.Event.Seq == 4 }
				r.recv.set(func(b body, _ string) webhook.Reply {
					if bad(b) {
						return answer
					}
					return ok()
				})
				for range 6 {
					for k := range 30 {
						r.raise(fmt.Sprintf("k%d", k), 1)
					}
				}
				time.Sleep(20 * time.Second)
				for k := range 30 {
					if k != 3 {
						r.want(fmt.Sprintf("k%d", k), upTo(6)...)
					}
				}
				for range 80 { // others go on, or the receiver as a whole counts as down
					r.raise("others", 1)
					time.Sleep(5 * time.Second)
				}
				r.want("k3", 1, 2, 3, -4, 5, 6)
				r.want("others", upTo(80)...)
				dead, err := r.ep.DeadLetters()
				if err != nil || len(dead) != 1 {
					t.Errorf("dead letters %+v, %v", dead, err)
				}
				for _, q := range r.recv.seen() {
					if q.accepted && slices.ContainsFunc(q.events, bad) {
						t.Error("a batch with the bad event was accepted")
					}
				}
				if st := r.ep.Stats(); st.Floor != st.Tail || st.Lanes != 0 || st.Splits == 0 {
					t.Errorf("%+v", st)
				}
			})
		})
	}
}

// While the receiver is away it is probed with single runs; then batches go on, and nothing is lost.
func TestBatchesAfterAnOutage(t *testing.T) {
	run(t, batched(50), func(r *rig) {
		r.recv.set(func(body, string) webhook.Reply { return webhook.Reply{Err: errRefused} })
		for range 5 {
			for k := range 100 {
				r.raise(fmt.Sprintf("k%d", k), 1)
			}
		}
		time.Sleep(10 * time.Minute)
		if n := r.recv.sent(); n > 500 {
			t.Errorf("%d requests to a receiver that is down", n)
		}
		before := r.recv.sent()
		r.recv.set(nil)
		time.Sleep(10 * time.Minute)
		for k := range 100 {
			r.want(fmt.Sprintf("k%d", k), upTo(5)...)
		}
		if n := r.recv.sent() - before; n > 150 {
			t.Errorf("%d requests for 500 events in batches of 50", n)
		}
	})
}

// The answer to a batch is lost: it comes again with the same events, ids and prev, and never under the id of another.
func TestBatchIDs(t *testing.T) {
	run(t, func(c *delivery.Config) {
		batched(10)(c)
		s, err := event.ParseSigner([]string{"whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="})
		if err != nil {
			panic(err)
		}
		c.Signer, c.Concurrency = s, 2
	}, func(r *rig) {
		r.recv.took = 10 * time.Millisecond
		n := 0
		r.recv.set(func(body, string) webhook.Reply {
			if n++; n%7 == 0 {
				return webhook.Reply{Err: errRefused}
			}
			return ok()
		})
		for range 20 {
			for k := range 8 {
				r.raise(fmt.Sprintf("k%d", k), 1)
			}
		}
		time.Sleep(time.Hour)
		ids := map[string]string{}
		for _, q := range r.recv.seen() {
			if len(q.id) != 1 || q.id[0] == "" || strings.Contains(q.id[0], ".") {
				t.Fatalf("webhook-id %q", q.id)
			}
			var of []string
			for _, b := range q.events {
				of = append(of, b.Event.ID)
			}
			all := strings.Join(of, " ")
			if before, ok := ids[q.id[0]]; ok && before != all {
				t.Errorf("%s stands for %s and %s", q.id, before, all)
			}
			ids[q.id[0]] = all
			if len(of) == 1 != (q.id[0] == of[0]) {
				t.Errorf("webhook-id %s of %d events", q.id, len(of))
			}
		}
		for k := range 8 {
			r.want(fmt.Sprintf("k%d", k), upTo(20)...)
		}
	})
}

// A batch that is signed verifies as it is.
func TestBatchVerifies(t *testing.T) {
	const secret = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
	run(t, func(c *delivery.Config) {
		batched(10)(c)
		s, err := event.ParseSigner([]string{secret})
		if err != nil {
			panic(err)
		}
		c.Signer = s
	}, func(r *rig) {
		v, err := event.ParseVerifier([]string{secret})
		if err != nil {
			t.Fatal(err)
		}
		sizes := 0
		r.recv.raw = func(q webhook.Request) webhook.Reply {
			if err := v.Verify(q.Header, q.Body); err != nil {
				t.Error(err)
			}
			if ct := q.Header.Get("Content-Type"); ct != "application/cloudevents-batch+json; charset=utf-8" {
				t.Errorf("content type %q", ct)
			}
			sizes += len(bodies(q.Body))
			return ok()
		}
		r.raise("a", 5)
		r.raise("b", 5)
		time.Sleep(time.Second)
		r.recv.do(func() {
			if sizes != 10 {
				t.Errorf("%d events", sizes)
			}
		})
	})
}

// What a lane gave up is named in the batch before what follows; redrive and replay go in batches, too.
func TestBatchRedriveAndReplay(t *testing.T) {
	for name, change := range map[string]func(*delivery.Config){"notice": func(*delivery.Config) {}, "member": noGapURL} {
		t.Run(name, func(t *testing.T) {
			run(t, func(c *delivery.Config) { batched(50)(c); change(c) }, func(r *rig) {
				bad := true
				r.recv.set(func(b body, _ string) webhook.Reply {
					if bad && b.Event.Seq == 2 {
						return status(404)
					}
					return ok()
				})
				r.raise("a", 4)
				r.raise("b", 4)
				time.Sleep(time.Hour)
				r.want("a", 1, -2, 3, 4)
				r.want("b", 1, -2, 3, 4)
				r.recv.do(func() { bad = false })
				dead, err := r.ep.DeadLetters()
				if err != nil || len(dead) != 2 {
					t.Fatal(dead, err)
				}
				for _, d := range dead {
					if err := r.ep.Redrive(d.Position); err != nil {
						t.Fatal(err)
					}
				}
				time.Sleep(time.Hour)
				r.want("a", 1, -2, 3, 4, 2)
				if dead, _ := r.ep.DeadLetters(); len(dead) != 0 {
					t.Errorf("still there: %+v", dead)
				}
				r.recv.take()
				sent := r.recv.sent()
				rep, err := r.ep.Replay(delivery.Replay{ID: "r1"})
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Minute)
				if st := rep.Stats(); st.Delivered != 8 || st.Floor != st.Tail {
					t.Errorf("%+v", st)
				}
				rep.Close()
				for _, b := range r.recv.all() {
					if b.Event.Replay != "r1" {
						t.Errorf("not marked: %+v", b.Event)
					}
				}
				r.want("a", 1, 2, 3, 4)
				if n := r.recv.sent() - sent; n > 4 {
					t.Errorf("%d requests to replay 8 events", n)
				}
			})
		})
	}
}

// A key that fails is parked, keeps its place through a crash and goes on in order.
func TestBatchParksAndSurvives(t *testing.T) {
	run(t, func(c *delivery.Config) { batched(30)(c); c.Window = 200 }, func(r *rig) {
		bad := true
		r.recv.set(func(b body, _ string) webhook.Reply {
			if bad && b.Event.Stream == key("bad") {
				return status(503)
			}
			return ok()
		})
		for range 100 {
			r.raise("bad", 1)
			r.raise("good", 1)
			r.raise("other", 1)
			time.Sleep(time.Second)
		}
		r.want("good", upTo(100)...)
		if st := r.ep.Stats(); st.Parked != 1 {
			t.Errorf("%+v", st)
		}
		r.crash()
		time.Sleep(time.Minute)
		r.recv.do(func() { bad = false })
		time.Sleep(time.Hour)
		r.want("bad", upTo(100)...)
		r.raise("bad", 1)
		time.Sleep(time.Minute)
		r.want("bad", upTo(101)...)
	})
}

// A batch waits for more events, not longer than it may, and not at all when it is full.
func TestBatchWait(t *testing.T) {
	run(t, func(c *delivery.Config) { batched(10)(c); c.BatchWait = time.Second }, func(r *rig) {
		for k := range 5 {
			r.raise(fmt.Sprintf("k%d", k), 1)
			time.Sleep(100 * time.Millisecond)
		}
		if n := r.recv.sent(); n != 0 {
			t.Errorf("%d requests before the wait was over", n)
		}
		time.Sleep(time.Second)
		if n := r.recv.sent(); n != 1 {
			t.Errorf("%d requests for one batch", n)
		}
		r.raise("hot", 25)
		time.Sleep(100 * time.Millisecond)
		r.want("hot", upTo(20)...)
		time.Sleep(2 * time.Second)
		r.want("hot", upTo(25)...)
		r.raise("last", 1)
		time.Sleep(time.Millisecond)
		r.ep.Drain(context.Background())
		r.want("last", 1)
	})
}

// Retention while a batch is under way takes nothing out of it.
func TestExpireDuringABatch(t *testing.T) {
	run(t, func(c *delivery.Config) { batched(5)(c); c.Concurrency = 1 }, func(r *rig) {
		r.recv.took = time.Second
		r.raise("a", 12)
		time.Sleep(100 * time.Millisecond)
		before := uint64(9)
		if err := r.ep.Expire(before); err != nil {
			t.Fatal(err)
		}
		if _, err := r.mem.Trim(before); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		got := r.recv.seqs(key("a"))
		first := slices.Index(got, -8) // the batch under way has what was durable when it began, at most 5
		if want := append(upTo(max(first, 0)), -8, 9, 10, 11, 12); first < 1 || first > 5 || !slices.Equal(got, want) {
			t.Errorf("accepted %v", got)
		}
		if st := r.ep.Stats(); st.Floor != st.Tail || st.Held != 0 || st.Lanes != 0 {
			t.Errorf("%+v", st)
		}
	})
}

// A URL that is gone takes no batch; what was owed becomes dead letters.
func TestBatchGone(t *testing.T) {
	run(t, batched(10), func(r *rig) {
		r.recv.set(func(body, string) webhook.Reply { return status(410) })
		r.raise("a", 3)
		r.raise("b", 3)
		time.Sleep(time.Hour)
		dead, err := r.ep.DeadLetters()
		if err != nil || len(dead) != 6 {
			t.Errorf("%d dead letters, %v", len(dead), err)
		}
		if st := r.ep.Stats(); st.Floor != st.Tail || st.Lanes != 0 {
			t.Errorf("%+v", st)
		}
	})
}

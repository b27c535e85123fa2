package delivery_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/delivery"
	"github.com/hookline/hookline/internal/journal/journaltest"
	"github.com/hookline/hookline/internal/webhook"
)

// drained demands that everything was delivered within a minute: what waits for a time must be woken by it, not by the
// next event.
func (r *rig) drained() {
	r.t.Helper()
	time.Sleep(time.Minute)
	if st := r.ep.Stats(); st.Floor != st.Tail || st.Lanes != 0 || st.InFlight != 0 {
		r.t.Errorf("%+v", st)
	}
}

// The wait for a batch ends while the endpoint writes its place, which takes longer than the wait.
func TestBatchWaitEndsDuringCheckpoint(t *testing.T) {
	for apart := time.Duration(0); apart < 400*time.Millisecond; apart += 20 * time.Millisecond {
		synctest.Test(t, func(t *testing.T) {
			r := &rig{
				t: t, recv: &receiver{}, cfg: delivery.Config{Timeout: 10 * time.Second, BatchWait: 50 * time.Millisecond},
				mem: journaltest.NewMem(journaltest.Options{Latency: func() time.Duration { return 80 * time.Millisecond }}),
			}
			batched(20)(&r.cfg)
			r.start()
			defer r.stop()
			r.raise("k", 1)
			time.Sleep(100 * time.Millisecond)
			r.raise("k", 1)
			time.Sleep(apart)
			r.raise("k", 1)
			r.drained()
			r.want("k", 1, 2, 3)
		})
	}
}

// A lane that failed is ready before the rate allows the next request, and nothing else is to be sent.
func TestRateEndsForLaneThatFailed(t *testing.T) {
	run(t, func(c *delivery.Config) { c.Rate = 0.2 }, func(r *rig) {
		failed := false
		r.recv.set(func(body, string) webhook.Reply {
			if failed {
				return ok()
			}
			failed = true
			return status(500)
		})
		r.raise("k", 1)
		r.drained()
		r.want("k", 1)
	})
}

// The only lane gives up events while its URL is down: then its next event is the probe.
func TestProbeByLaneThatGaveUp(t *testing.T) {
	change := func(c *delivery.Config) { c.Policy, c.RejectAttempts = delivery.PolicySkip, 5 }
	run(t, change, func(r *rig) {
		r.recv.set(func(b body, _ string) webhook.Reply {
			if b.Event.Seq <= 2 && b.Event.Type != event.OnEventGap {
				return status(500)
			}
			return ok()
		})
		r.raise("k", 3)
		r.drained()
		if got := r.recv.seqs(key("k")); len(got) == 0 || got[len(got)-1] != 3 {
			t.Errorf("accepted %v", got)
		}
	})
}

// An attempt at a URL that is down is under way when the configuration names another: its lane goes on there.
func TestURLChangesWhileDown(t *testing.T) {
	for name, change := range map[string]func(*delivery.Config){
		"single": func(c *delivery.Config) { c.URLs = oneURL() }, "batch": batched(5),
	} {
		t.Run(name, func(t *testing.T) {
			run(t, change, func(r *rig) {
				old := r.cfg.URLs[event.OnFlowReport]
				r.recv.set(func(_ body, url string) webhook.Reply {
					if url == old {
						return webhook.Reply{Err: errRefused}
					}
					return ok()
				})
				for _, k := range []string{"a", "b", "c"} {
					r.raise(k, 2)
				}
				time.Sleep(time.Minute)
				if !r.ep.Stats().Down {
					t.Fatal("the receiver counts as up")
				}
				r.recv.do(func() { r.recv.took = 4 * time.Second })
				for r.ep.Stats().InFlight == 0 {
					time.Sleep(10 * time.Millisecond)
				}
				for typ := range r.cfg.URLs {
					r.cfg.URLs[typ] = "http://receiver/other"
				}
				if err := r.ep.Configure(r.cfg, 0); err != nil {
					t.Fatal(err)
				}
				r.recv.do(func() { r.recv.took = 0 })
				r.drained()
				for _, k := range []string{"a", "b", "c"} {
					r.want(k, 1, 2)
				}
			})
		})
	}
}

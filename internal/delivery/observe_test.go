package delivery_test

import (
	"errors"
	"testing"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/attempts"
	"github.com/hookline/hookline/internal/delivery"
	"github.com/hookline/hookline/internal/webhook"
)

// Every attempt is told of, with what is needed to find it, and the endpoint's figures follow.
func TestAttemptsAreObserved(t *testing.T) {
	var log []attempts.Attempt
	run(t, func(c *delivery.Config) {
		for typ, u := range c.URLs {
			c.URLs[typ] = "http://user:pass@receiver/" + u[len("http://receiver/"):] + "?token=x"
		}
	}, func(r *rig) {
		r.observer = delivery.Observer{Attempt: func(a attempts.Attempt) { log = append(log, a) }}
		r.restart()
		tries := 0
		r.recv.set(func(b body, _ string) webhook.Reply {
			if b.Event.Type != event.OnFlowReport {
				return ok()
			}
			switch tries++; tries {
			case 1:
				return webhook.Reply{Err: errors.New("dial http://user:pass@receiver/x?token=x: refused")}
			case 2:
				return webhook.Reply{Status: 500, Body: []byte("broken")}
			case 4:
				return webhook.Reply{Status: 200, Body: []byte(`{"code":-5,"msg":"no"}`)}
			}
			return ok()
		})
		r.raise("a", 3)
		time.Sleep(time.Second / 2)
		if st := r.ep.Stats(); st.Oldest.IsZero() || st.LastError.Stream != key("a") {
			t.Errorf("while it fails: %+v", st)
		}
		time.Sleep(time.Minute)
		st := r.ep.Stats() // its lock orders what follows behind the attempts
		want := []struct {
			seq    uint64
			n      int
			result attempts.Result
			err    string
		}{
			{1, 1, attempts.Retry, "dial http://receiver/x refused"},
			{1, 2, attempts.Retry, "status 500"},
			{1, 3, attempts.Accepted, ""},
			{2, 1, attempts.Refused, "no"},
			{3, 1, attempts.Accepted, ""},
		}
		if len(log) != len(want) {
			t.Fatalf("%d attempts: %+v", len(log), log)
		}
		for i, a := range log {
			w := want[i]
			if a.Seq != w.seq || a.N != w.n || a.Result != w.result || a.Err != w.err {
				t.Errorf("%d: %+v", i, a)
			}
			if a.Endpoint != "hook" || a.Key != key("a") || a.ID == "" || a.Publication != "p" || a.At.IsZero() ||
				a.Latency != time.Millisecond || a.URL != "http://receiver/on_flow_report" {
				t.Errorf("%d: %+v", i, a)
			}
		}
		if st.Results[attempts.Accepted] != 2 || st.Results[attempts.Refused] != 1 || st.Results[attempts.Retry] != 2 ||
			!st.Oldest.IsZero() || st.P50 < time.Millisecond || st.P50 > 1250*time.Microsecond || st.P99 != st.P50 ||
			st.LastError.Text != "status 500" || st.LastError.Event != log[0].ID {
			t.Errorf("%+v", st)
		}
		for _, u := range st.URLs {
			if u.State != delivery.URLUp || u.InFlight != 0 || u.Slots != 32 ||
				u.URL == "http://receiver/on_flow_report" && u.LastError != "status 500" {
				t.Errorf("%+v", u)
			}
		}
		time.Sleep(time.Hour)
		if st := r.ep.Stats(); st.P50 != 0 || st.P99 != 0 {
			t.Errorf("an hour later: %v %v", st.P50, st.P99)
		}
	})
}

// While it is down, a URL says since when and why; a parked lane says how old its first event is.
func TestURLStats(t *testing.T) {
	run(t, nil, func(r *rig) {
		r.recv.set(func(b body, _ string) webhook.Reply { return status(503) })
		raised := time.Now()
		r.raise("a", 20)
		time.Sleep(time.Minute)
		st := r.ep.Stats()
		if age := st.Oldest.Sub(raised); age < 0 || age > time.Second {
			t.Errorf("the oldest is of %v", st.Oldest)
		}
		found := false
		for _, u := range st.URLs {
			if u.State == delivery.URLDown {
				found = true
				if u.DownSince.IsZero() || u.NextProbe.IsZero() || u.LastError != "status 503" || u.Failures < 5 || u.Slots != 1 {
					t.Errorf("%+v", u)
				}
			}
		}
		if !found {
			t.Errorf("nothing is down: %+v", st.URLs)
		}
	})
	run(t, nil, func(r *rig) {
		r.recv.set(func(b body, _ string) webhook.Reply {
			if b.Event.Stream == key("a") {
				return status(503)
			}
			return ok()
		})
		raised := time.Now()
		r.raise("a", 2)
		for range 100 {
			r.raise("b", 1)
			time.Sleep(time.Second)
		}
		st := r.ep.Stats()
		if age := st.Oldest.Sub(raised); st.Parked != 1 || age < 0 || age > time.Second {
			t.Errorf("parked %d, the oldest is of %v", st.Parked, st.Oldest)
		}
	})
}

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/journal"
	"github.com/hookline/hookline/internal/natstest"
	"github.com/hookline/hookline/internal/ordercheck"
	"github.com/hookline/hookline/internal/pubtool"
)

// fromNATS reads everything that is in the stream EVENTS.
func fromNATS(t *testing.T, url string) (bodies []*ordercheck.Body) {
	t.Helper()
	nc, err := nats.Connect(url, nats.Timeout(patience))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(patience))
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), "EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	state := stream.CachedInfo().State
	for seq := state.FirstSeq; seq <= state.LastSeq; seq++ {
		m, err := stream.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		b, err := ordercheck.Parse(m.Data)
		if err != nil {
			t.Fatal(err)
		}
		bodies = append(bodies, b)
	}
	return bodies
}

// publications are those that a crowd of publishers made.
type publications struct {
	accepted []pubtool.Publication
	ends     map[pubtool.End]int
	life     time.Duration // of the shortest that was not cut off
	took     time.Duration
}

// crowd publishes n times, or until the context ends when n is 0, on 30 keys, a dozen at the same time: s_1 to s_30.
func crowd(ctx context.Context, s *server, n int, life time.Duration) (p publications, err error) {
	res, err := pubtool.Run(ctx, pubtool.Config{
		URL: s.rtmpURL("s"), Streams: 30, Concurrency: 12, Churn: true, Count: n, Life: life, LifeJitter: life, Realtime: true,
		Pause: 20 * time.Millisecond, ResetRate: 0.1, HalfCloseRate: 0.1, Timeout: patience, Seed: 1, Quiet: true,
	})
	if err != nil {
		return p, err
	}
	for _, x := range res.Publications {
		if !x.Accepted.IsZero() {
			p.accepted = append(p.accepted, x)
		}
	}
	p.ends, p.life, p.took = res.Ends, life, res.Elapsed
	return p, nil
}

// facts are what must have been told of the publications that want picks: of all that they ended, of those that said
// goodbye all their registers, too.
func (p publications) facts(wants func(stream string) bool) (out []ordercheck.Fact) {
	for _, x := range p.accepted {
		stream := "__defaultVhost__/" + x.Key
		if !wants(stream) {
			continue
		}
		f := func(typ event.Type, what string) {
			out = append(out, ordercheck.Fact{Stream: stream, Params: x.Params, Type: typ, What: what})
		}
		f(event.OnPublicationEnded, "")
		if x.End != pubtool.EndUnpublish || x.Ended.Sub(x.Accepted) < p.life {
			continue
		}
		for _, what := range spell("register", "unregister") {
			f(event.OnStreamChanged, what)
		}
	}
	return out
}

// expectFacts demands that a receiver was told of everything that it must have been told of.
func expectFacts(t *testing.T, name string, c *ordercheck.Checker, facts []ordercheck.Fact) {
	t.Helper()
	loss := c.Lost(facts)
	if len(loss.Lost) > 0 || loss.Announced > 0 || loss.Received != len(facts) || len(facts) == 0 {
		t.Errorf("%s: of %d facts %d were received, %d announced as missing, %d lost: %v", name, loss.Expected, loss.Received,
			loss.Announced, len(loss.Lost), head(loss.Lost))
	}
	if rep := c.Report(); !rep.OK() || rep.Open > 0 || rep.GapNotices > 0 {
		t.Errorf("%s: %s\nopen: %q", name, rep, rep.OpenExamples)
	}
}

// configFile writes a configuration file.
func configFile(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.ini")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// lifecycle and history are the classes of records that an endpoint may be owed; what only those get that name it apart.
func lifecycle(r *journal.Record) bool {
	return r.Class == event.Lifecycle && r.Type != event.OnServerStarted && r.Type != event.OnAdminAction
}

// TestThreeReceiversAndAQueue: three receivers with filters, formats and failures of their own, one of them away for the
// whole run, and a queue; 300 short publications. Each has its own complete order in the end, and prev names what the
// journal says.
func TestThreeReceiversAndAQueue(t *testing.T) {
	t.Parallel()
	secret := event.GenerateSecret().Reveal()
	billing := newStation(t, "billing", secret, 20*time.Millisecond, map[trouble]float64{fails: 0.1, cuts: 0.03})
	analytics := newStation(t, "analytics", secret, 5*time.Millisecond, map[trouble]float64{hangs: 0.015, fails: 0.02})
	operations := newStation(t, "operations", secret, 30*time.Millisecond, map[trouble]float64{fails: 0.1, cuts: 0.1})
	queue := natstest.URL(t)
	file := configFile(t, fmt.Sprintf(`
[endpoint.billing]
url=http://%s/billing
events=on_stream_changed, on_flow_report, on_publication_ended
streams=live/s_1*
secret=%[5]s
[endpoint.analytics]
url=http://%[2]s/analytics
format=cloudevents
history=1
timeout_ms=2000
secret=%[5]s
[endpoint.operations]
url=http://%[3]s/operations
events=on_stream_*, on_publication_ended
format=cloudevents
batch=20
secret=%[5]s
[endpoint.queue]
url=%[4]s/events?create=1
`, billing.addr, analytics.addr, operations.addr, queue, secret))
	state := stateDir(t)
	s := start(t, quick().with("server.state_dir", state, "protocol.continue_push_ms", "0", "delivery.drain_ms", "60000"),
		"serve", "-c", file)
	billing.open()
	analytics.open()

	all := func(string) bool { return true }
	forBilling := func(stream string) bool { return strings.HasPrefix(stream, "__defaultVhost__/live/s_1") }
	pubs, err := crowd(t.Context(), s, 310, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d publications in %v: %v", len(pubs.accepted), pubs.took.Round(time.Second), pubs.ends)
	if n := len(pubs.accepted); n < 300 {
		t.Fatalf("only %d publications", n)
	}
	ends := func(wants func(string) bool) (n int) {
		for _, f := range pubs.facts(wants) {
			if f.Type == event.OnPublicationEnded {
				n++
			}
		}
		return n
	}
	analytics.awaitEnds(ends(all))
	billing.awaitEnds(ends(forBilling))
	if n := operations.count(); n != 0 {
		t.Errorf("who is away has got %d events", n)
	}
	operations.open()
	operations.awaitEnds(ends(all))
	s.stop()
	if log := s.log.String(); strings.Contains(log, "not everything was delivered") || strings.Contains(log, "dead letter") {
		t.Errorf("something is left:\n%s", tail(log, 2000))
	}

	recs := audit(t, filepath.Join(state, "journal"))
	compare(t, "billing", billing.all(), owed(recs, func(r *journal.Record) bool {
		return (r.Type == event.OnStreamChanged || r.Type == event.OnFlowReport || r.Type == event.OnPublicationEnded) && forBilling(r.Key)
	}))
	compare(t, "analytics", analytics.all(), owed(recs, func(r *journal.Record) bool { return lifecycle(r) || r.Class == event.History }))
	compare(t, "operations", operations.all(), owed(recs, func(r *journal.Record) bool {
		return r.Type == event.OnStreamChanged || r.Type == event.OnPublicationEnded
	}))
	expectFacts(t, "billing", billing.checker, pubs.facts(forBilling))
	expectFacts(t, "analytics", analytics.checker, pubs.facts(all))
	expectFacts(t, "operations", operations.checker, pubs.facts(all))

	log := ordercheck.New(ordercheck.Options{KeepFacts: true})
	queued := map[string][]told{}
	for _, b := range fromNATS(t, queue) {
		if log.Add(ordercheck.Delivery{Body: b}).Duplicate {
			t.Errorf("the queue has %s twice", b.Event.ID)
			continue
		}
		queued[b.Event.Stream] = append(queued[b.Event.Stream], ofBody(b))
	}
	compare(t, "queue", queued, owed(recs, lifecycle))
	expectFacts(t, "queue", log, pubs.facts(all))
}

package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/hookline/hookline/internal/leaktest"
	"github.com/hookline/hookline/internal/queue/kafka"
	"github.com/hookline/hookline/internal/queue/port"
	"github.com/hookline/hookline/internal/queue/queuetest"
)

const partitions = 3

// patience is how long anything may take, on a machine that is busy.
const patience = 3 * time.Minute

func TestMain(m *testing.M) {
	code := queuetest.Main(m, func() {})
	os.Exit(leaktest.Check(code))
}

// fake is franz-go's kfake, an imitation of a cluster and not a real one: two brokers with their data in files.
type fake struct {
	*kfake.Cluster
	opts   []kfake.Opt
	secure bool
	ports  []int
	next   int
}

func newFake(tb testing.TB, secure bool) *fake {
	f := &fake{secure: secure, ports: []int{queuetest.FreePort(tb), queuetest.FreePort(tb)}}
	f.opts = []kfake.Opt{
		kfake.NumBrokers(2), kfake.Ports(f.ports...), kfake.DataDir(tb.TempDir()), kfake.DefaultNumPartitions(partitions),
		kfake.AllowAutoTopicCreation(), kfake.EnableSASL(), kfake.Superuser("PLAIN", queuetest.User, queuetest.Password),
		kfake.Superuser("SCRAM-SHA-256", queuetest.User, queuetest.Password), kfake.EnableACLs(),
		kfake.User("PLAIN", "stranger", "stranger"),
	}
	if secure {
		f.opts = append(f.opts, kfake.TLS(queuetest.Certificates(tb).Server))
	}
	f.Start(tb)
	tb.Cleanup(func() { f.Stop(tb) })
	return f
}

func (f *fake) Start(tb testing.TB) {
	c, err := kfake.NewCluster(f.opts...)
	if err != nil {
		tb.Fatal(err)
	}
	f.Cluster = c
}

func (f *fake) Stop(testing.TB) { f.Close() }

func (f *fake) Queue(tb testing.TB) queuetest.Queue {
	f.next++
	topic := fmt.Sprintf("events%d", f.next)
	f.createTopic(tb, topic)
	scheme := "kafka"
	if f.secure {
		scheme = "kafkas"
	}
	base := fmt.Sprintf("%s://%s%s/", scheme, queuetest.UserInfo(), strings.Join(f.ListenAddrs(), ","))
	big := queuetest.NewMessage("v/live/a", 1)
	big.Body = make([]byte, 2<<20)
	return queuetest.Queue{
		URL:  base + topic,
		Read: func(tb testing.TB) []queuetest.Entry { return f.read(tb, topic) },
		Rejected: map[string]queuetest.Rejection{
			"too large":       {Message: big},
			"too large there": {URL: base + topic + "?max_bytes=8000000", Message: big},
			"no topic":        {URL: base + "nowhere", Message: queuetest.NewMessage("v/live/a", 1)},
			"not permitted":   {URL: strings.Replace(base, queuetest.UserInfo(), "stranger:stranger@", 1) + topic, Message: queuetest.NewMessage("v/live/a", 1)},
		},
	}
}

func (f *fake) Secure(tb testing.TB) queuetest.Queue {
	s := newFake(tb, true)
	q := s.Queue(tb)
	q.URL += "?sasl=scram-sha-256"
	return q
}

func (f *fake) client(tb testing.TB, opts ...kgo.Opt) *kgo.Client {
	opts = append(opts, kgo.SeedBrokers(f.ListenAddrs()...), kgo.SASL(plain.Auth{User: queuetest.User, Pass: queuetest.Password}.AsMechanism()))
	if f.secure {
		opts = append(opts, kgo.DialTLSConfig(queuetest.Certificates(tb).Client))
	}
	c, err := kgo.NewClient(opts...)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func (f *fake) createTopic(tb testing.TB, topic string) {
	c := f.client(tb)
	defer c.Close()
	req := kmsg.NewCreateTopicsRequest()
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = topic, partitions, 1
	req.Topics = append(req.Topics, t)
	if _, err := req.RequestWith(context.Background(), c); err != nil {
		tb.Fatal(err)
	}
}

// read consumes up to the ends of the partitions.
func (f *fake) read(tb testing.TB, topic string) []queuetest.Entry {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c := f.client(tb, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(50*time.Millisecond))
	defer c.Close()
	ends := f.ends(tb, c, topic)
	var out []queuetest.Entry
	at := map[int32]int64{}
	for !reached(at, ends) {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			tb.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			at[r.Partition] = r.Offset + 1
			if want := kgo.StickyKeyPartitioner(nil).ForTopic(topic).Partition(r, partitions); int(r.Partition) != want {
				tb.Errorf("key %q in partition %d, not %d", r.Key, r.Partition, want)
			}
			e := queuetest.Entry{Key: string(r.Key), Header: map[string]string{}, Body: string(r.Value)}
			for _, h := range r.Headers {
				e.Header[h.Key] = string(h.Value)
			}
			e.ID = e.Header[port.HeaderID]
			out = append(out, e)
		})
	}
	return out
}

func (f *fake) ends(tb testing.TB, c *kgo.Client, topic string) map[int32]int64 {
	ends := map[int32]int64{}
	for p := range int32(partitions) {
		info := f.PartitionInfo(topic, p)
		if info == nil {
			tb.Fatalf("no partition %d of %s", p, topic)
		}
		ends[p] = info.HighWatermark
	}
	return ends
}

func reached(at, ends map[int32]int64) bool {
	for p, end := range ends {
		if at[p] < end {
			return false
		}
	}
	return true
}

func open(_ testing.TB, rawURL string, opts port.Options) (port.Destination, error) {
	return kafka.Open(context.Background(), rawURL, opts)
}

func TestConformance(t *testing.T) {
	queuetest.Run(t, newFake(t, false), open)
}

func dest(t *testing.T, url string) port.Destination {
	t.Helper()
	d, err := open(t, url, port.Options{Timeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func topic(q queuetest.Queue) string { return q.URL[strings.LastIndexByte(q.URL, '/')+1:] }

func ids(entries []queuetest.Entry) []string {
	var out []string
	for _, e := range entries {
		out = append(out, e.Header[port.HeaderSeq])
	}
	return out
}

// giveUp publishes m, and gives up when arrived has returned.
func giveUp(t *testing.T, d port.Destination, m port.Message, arrived func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	result := make(chan error, 1)
	go func() { result <- d.Publish(ctx, m) }()
	if err := arrived(); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
}

// TestGivenUpIsNotRetried: while the broker answers with an error worth a repetition, the client repeats the record in
// the background; once its Publish has ended it must not, or it would land whenever the broker is well again.
func TestGivenUpIsNotRetried(t *testing.T) {
	f := newFake(t, false)
	q := f.Queue(t)
	d := dest(t, q.URL)
	l := queuetest.NewLanes(d)
	const key = "v/live/a"
	if err := l.Deliver(t.Context(), queuetest.NewMessage(key, 1)); err != nil {
		t.Fatal(err)
	}
	fault := f.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: topic(q), Err: kerr.NotLeaderForPartition, Count: -1})
	giveUp(t, d, queuetest.NewMessage(key, 2), func() error { return fault.Wait(t.Context(), 1) })
	fault.Remove()
	// Another key first: it gives the client every occasion to send what it still holds.
	for _, m := range []port.Message{queuetest.NewMessage("v/live/b", 5), queuetest.NewMessage(key, 3)} {
		if err := l.Deliver(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range q.Read(t) {
		if e.Key == key {
			got = append(got, e.Header[port.HeaderSeq])
		}
	}
	if fmt.Sprint(slices.Compact(got)) != "[1 3]" {
		t.Errorf("the topic has %v", got)
	}
}

// TestStoredButNotSaid: a record whose answers get lost is repeated by the client and stored once.
func TestStoredButNotSaid(t *testing.T) {
	f := newFake(t, false)
	q := f.Queue(t)
	l := queuetest.NewLanes(dest(t, q.URL))
	fault := f.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: topic(q), Err: kerr.RequestTimedOut, Count: 2})
	for i := range 3 {
		if err := l.Deliver(t.Context(), queuetest.NewMessage("v/live/a", i+1)); err != nil {
			t.Fatal(err)
		}
	}
	if err := fault.Wait(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	if again := queuetest.Check(t, q.Read(t), []string{"v/live/a"}, 3); again > l.Doubtful() {
		t.Errorf("%d messages more than once, and %d attempts were given up", again, l.Doubtful())
	}
}

// TestHeldByTheBroker: the broker has a request when its Publish gives up, and looks at it only after the next record
// of the key: its producer epoch is too old by then.
func TestHeldByTheBroker(t *testing.T) {
	f := newFake(t, false)
	q := f.Queue(t)
	d := dest(t, q.URL)
	l := queuetest.NewLanes(d)
	const key = "v/live/a"
	if err := l.Deliver(t.Context(), queuetest.NewMessage(key, 1)); err != nil {
		t.Fatal(err)
	}
	held, release := make(chan struct{}), make(chan struct{})
	hold := sync.OnceFunc(func() { close(held) }) // brokers may ask for it side by side
	f.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		f.DropControl()
		hold()
		f.SleepControl(func() { <-release })
		return nil, nil, false
	})
	giveUp(t, d, queuetest.NewMessage(key, 2), func() error { <-held; return nil })
	delivered := make(chan error, 1)
	go func() { delivered <- l.Deliver(t.Context(), queuetest.NewMessage(key, 3)) }()
	select {
	case err := <-delivered:
		delivered <- err
	case <-time.After(2 * time.Second):
		t.Log("the next record waits for the broker")
	}
	close(release)
	if err := <-delivered; err != nil {
		t.Fatal(err)
	}
	if err := l.Deliver(t.Context(), queuetest.NewMessage(key, 4)); err != nil {
		t.Fatal(err)
	}
	// The third may be there twice: it was sent while the broker was busy.
	switch got := fmt.Sprint(slices.Compact(ids(q.Read(t)))); got {
	case "[1 3 4]", "[1 2 3 4]":
		t.Logf("the topic has %s", got)
	default:
		t.Errorf("the topic has %s", got)
	}
}

func BenchmarkPublish(b *testing.B) {
	f := newFake(b, false)
	queuetest.Bench(b, f.Queue(b), open)
}

package redisstream_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/hookline/hookline/internal/leaktest"
	"github.com/hookline/hookline/internal/queue/port"
	"github.com/hookline/hookline/internal/queue/queuetest"
	"github.com/hookline/hookline/internal/queue/redisstream"
)

func TestMain(m *testing.M) {
	redisstream.DiscardClientLog()
	code := queuetest.Main(m, func() {})
	os.Exit(leaktest.Check(code))
}

// patience is how long anything may take, on a machine that is busy.
const patience = 3 * time.Minute

// process is a redis-server with an append-only file that is synced for each write.
type process struct {
	dir, primary string
	port, secure int
	cmd          *exec.Cmd
	ended        chan struct{}
	next         int
}

func start(tb testing.TB, primary string) *process {
	p := &process{dir: tb.TempDir(), primary: primary, port: queuetest.FreePort(tb), secure: queuetest.FreePort(tb)}
	p.Start(tb)
	tb.Cleanup(func() { p.Stop(tb) })
	return p
}

func (p *process) Start(tb testing.TB) {
	id := queuetest.Certificates(tb)
	lines := []string{
		"bind 127.0.0.1", "port " + strconv.Itoa(p.port), "tls-port " + strconv.Itoa(p.secure),
		"tls-cert-file " + id.CertFile, "tls-key-file " + id.KeyFile, "tls-ca-cert-file " + id.CertFile, "tls-auth-clients no",
		"dir " + p.dir, "appendonly yes", "appendfsync always", "repl-diskless-sync-delay 0", `save ""`,
		"user " + queuetest.User + ` on ">` + queuetest.Password + `" ~* &* +@all`, "user default off",
	}
	if p.primary != "" {
		lines = append(lines, "replicaof "+p.primary, "masteruser "+queuetest.User, `masterauth "`+queuetest.Password+`"`)
	}
	conf := filepath.Join(p.dir, "redis.conf")
	if err := os.WriteFile(conf, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		tb.Fatal(err)
	}
	p.cmd = exec.Command(queuetest.Binary(tb, "redis-server"), conf)
	var output bytes.Buffer
	p.cmd.Stdout, p.cmd.Stderr = &output, &output
	if err := p.cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	p.ended = make(chan struct{})
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait()
	}()
	queuetest.Await(tb, "redis-server", func() bool {
		select {
		case <-p.ended:
			tb.Fatalf("redis-server: %s", output.String())
		default:
		}
		c := p.client()
		defer c.Close()
		return c.Ping(context.Background()).Err() == nil
	})
}

// Stop kills: with appendfsync always nothing that was acknowledged may be missing afterwards.
func (p *process) Stop(testing.TB) {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

func (p *process) client() *redis.Client {
	return redis.NewClient(&redis.Options{
		Addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(p.port)), Username: queuetest.User, Password: queuetest.Password,
		DialerRetries:            1,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
}

func (p *process) url() string {
	return "redis://" + queuetest.UserInfo() + "127.0.0.1:" + strconv.Itoa(p.port)
}

func (p *process) Queue(tb testing.TB) queuetest.Queue {
	p.next++
	prefix := fmt.Sprintf("events%d", p.next)
	return p.queue(tb, prefix, p.url()+"/?prefix="+prefix)
}

func (p *process) queue(tb testing.TB, prefix, url string) queuetest.Queue {
	c := p.client()
	defer c.Close()
	ctx := context.Background()
	if err := c.Set(ctx, prefix+"x:string", "not a stream", 0).Err(); err != nil {
		tb.Fatal(err)
	}
	if err := c.Do(ctx, "ACL", "SETUSER", "reader", "on", ">reader", "~*", "+ping", "+@read").Err(); err != nil {
		tb.Fatal(err)
	}
	many := queuetest.NewMessage("v/live/a", 1)
	for i := range 300 {
		many.Header["h"+strconv.Itoa(i)] = ""
	}
	reader := strings.Replace(url, queuetest.UserInfo(), "reader:reader@", 1)
	return queuetest.Queue{
		URL:  url,
		Read: func(tb testing.TB) []queuetest.Entry { return p.read(tb, prefix) },
		Rejected: map[string]queuetest.Rejection{
			"not a stream":     {URL: strings.Replace(url, prefix, prefix+"x", 1), Message: queuetest.NewMessage("string", 1)},
			"not permitted":    {URL: reader, Message: queuetest.NewMessage("v/live/a", 1)},
			"too many headers": {Message: many},
		},
		Dedup: true,
	}
}

func (p *process) Secure(tb testing.TB) queuetest.Queue {
	q := p.Queue(tb)
	q.URL = strings.Replace(strings.Replace(q.URL, "redis:", "rediss:", 1), strconv.Itoa(p.port), strconv.Itoa(p.secure), 1)
	return q
}

func (p *process) read(tb testing.TB, prefix string) []queuetest.Entry {
	c := p.client()
	defer c.Close()
	ctx := context.Background()
	streams, err := c.Keys(ctx, prefix+":*").Result()
	if err != nil {
		tb.Fatal(err)
	}
	if n, _ := c.Exists(ctx, prefix).Result(); n == 1 {
		streams = append(streams, prefix)
	}
	var out []queuetest.Entry
	for _, stream := range streams {
		messages, err := c.XRange(ctx, stream, "-", "+").Result()
		if err != nil {
			tb.Fatal(err)
		}
		for _, m := range messages {
			e := queuetest.Entry{Header: map[string]string{}}
			for name, value := range m.Values {
				e.Header[strings.TrimPrefix(name, redisstream.FieldHeaders)] = value.(string)
			}
			e.Key, e.ID, e.Body = e.Header[redisstream.FieldKey], e.Header[port.HeaderID], e.Header[redisstream.FieldBody]
			if key, ok := strings.CutPrefix(stream, prefix+":"); ok && key != e.Key {
				tb.Errorf("key %q in the stream of %q", e.Key, key)
			}
			out = append(out, e)
		}
	}
	return out
}

func open(_ testing.TB, rawURL string, opts port.Options) (port.Destination, error) {
	return redisstream.Open(context.Background(), rawURL, opts)
}

func TestConformance(t *testing.T) {
	queuetest.Run(t, start(t, ""), open)
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

// TestRepetition: the script recognises the last entry's id, and only that.
func TestRepetition(t *testing.T) {
	p := start(t, "")
	for _, tt := range []struct {
		params string
		want   int
	}{{"", 3}, {"&maxlen=1000", 3}, {"&dedup=0", 4}, {"&layout=single", 4}} {
		q := p.Queue(t)
		l := queuetest.NewLanes(dest(t, q.URL+tt.params))
		deliver := func(key string, i int) {
			if err := l.Deliver(t.Context(), queuetest.NewMessage(key, i)); err != nil {
				t.Fatal(err)
			}
		}
		deliver("v/live/other", 1) // now there is a connection
		before := l.Doubtful()
		for _, i := range []int{1, 2, 2, 1} {
			deliver("v/live/a", i)
		}
		got := 0
		for _, e := range q.Read(t) {
			if e.Key == "v/live/a" {
				got++
			}
		}
		// Without the script an attempt that was given up may have added one.
		if spare := l.Doubtful() - before; got < tt.want || got > tt.want+spare {
			t.Errorf("%q: %d entries, want %d, %d attempts were given up", tt.params, got, tt.want, spare)
		}
	}
}

// TestMaxLen: a stream is trimmed to whole nodes, of 100 entries by default.
func TestMaxLen(t *testing.T) {
	p := start(t, "")
	for _, params := range []string{"&maxlen=100", "&maxlen=100&layout=single", "&maxlen=100&dedup=0"} {
		q := p.Queue(t)
		l := queuetest.NewLanes(dest(t, q.URL+params))
		l.Run(t.Context(), t, []string{"v/live/a"}, 500)
		if got := q.Read(t); len(got) >= 300 || got[len(got)-1].Header[port.HeaderSeq] != "500" {
			t.Errorf("%q: %d entries", params, len(got))
		}
	}
}

// TestWait: with a replica the acknowledgement covers it; without one, Publish says what is missing.
func TestWait(t *testing.T) {
	p := start(t, "")
	q := p.Queue(t)
	d := dest(t, q.URL+"&wait=1&wait_timeout=50ms")
	m := queuetest.NewMessage("v/live/a", 1)
	queuetest.Await(t, "a connection", func() bool {
		err := d.Publish(t.Context(), m)
		return err != nil && strings.Contains(err.Error(), "0 of 1 replicas")
	})
	replica := start(t, "127.0.0.1 "+strconv.Itoa(p.port))
	if err := queuetest.NewLanes(d).Deliver(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	// A replica that does not answer has neither the entry nor its repetition.
	if err := replica.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	m = queuetest.NewMessage("v/live/a", 2)
	for range 3 {
		if err := d.Publish(t.Context(), m); err == nil || !strings.Contains(err.Error(), "0 of 1 replicas") {
			t.Errorf("with a replica that hangs: %v", err)
		}
	}
	if err := replica.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if err := queuetest.NewLanes(d).Deliver(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if got := replica.read(t, strings.SplitN(q.URL, "prefix=", 2)[1]); len(got) != 2 {
		t.Errorf("the replica has %d entries", len(got))
	}
}

// TestBackAtOnce: after a restart of the server the connections of the pool, each of which is dead, cost the destination
// no attempt more than those that noticed.
func TestBackAtOnce(t *testing.T) {
	p := start(t, "")
	for name, q := range map[string]queuetest.Queue{"plain": p.Queue(t), "TLS": p.Secure(t)} {
		t.Run(name, func(t *testing.T) {
			// No attempt may fail for lack of time.
			d, err := open(t, q.URL, port.Options{TLS: queuetest.Certificates(t).Client, Timeout: patience, ConnectTimeout: patience})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { d.Close() })
			const keys = 32
			key := func(i int) string { return fmt.Sprintf("v/live/%d", i) }
			queuetest.Await(t, "the queue", func() bool { return d.Publish(t.Context(), queuetest.NewMessage(key(0), 1)) == nil })
			together := func(n int) {
				errs := make(chan error, keys)
				for i := range keys {
					go func() { errs <- d.Publish(t.Context(), queuetest.NewMessage(key(i), n)) }()
				}
				for range keys {
					if err := <-errs; err != nil {
						t.Errorf("message %d: %v", n, err)
					}
				}
			}
			together(2)
			p.Stop(t)
			if err := d.Publish(t.Context(), queuetest.NewMessage(key(0), 3)); !errors.Is(err, port.ErrUnavailable) {
				t.Errorf("while the server is away: %v", err)
			}
			p.Start(t)
			queuetest.Await(t, "the queue", func() bool { return d.Publish(t.Context(), queuetest.NewMessage(key(0), 3)) == nil })
			together(4)
		})
	}
}

func BenchmarkPublish(b *testing.B) {
	p := start(b, "")
	queuetest.Bench(b, p.Queue(b), open)
}

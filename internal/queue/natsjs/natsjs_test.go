package natsjs_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookline/hookline/internal/leaktest"
	"github.com/hookline/hookline/internal/queue/natsjs"
	"github.com/hookline/hookline/internal/queue/port"
	"github.com/hookline/hookline/internal/queue/queuetest"
)

func TestMain(m *testing.M) {
	code := queuetest.Main(m, func() {})
	os.Exit(leaktest.Check(code))
}

// patience is how long anything may take, on a machine that is busy.
const patience = 3 * time.Minute

// embedded is a real nats-server in this process, with its streams in files.
type embedded struct {
	opts *server.Options
	srv  *server.Server
	next int
}

func newEmbedded(tb testing.TB, secure bool) *embedded {
	e := &embedded{opts: &server.Options{
		ServerName: "test", Host: "127.0.0.1", Port: queuetest.FreePort(tb), NoLog: true, NoSigs: true,
		JetStream: true, StoreDir: tb.TempDir(), MaxPayload: 64 << 10, AuthTimeout: patience.Seconds(),
		Users: []*server.User{{Username: queuetest.User, Password: queuetest.Password, Permissions: &server.Permissions{
			Publish: &server.SubjectPermission{Allow: []string{">"}, Deny: []string{"*.secret.>"}},
		}}},
	}}
	if secure {
		e.opts.TLSConfig = queuetest.Certificates(tb).Server
		e.opts.TLSTimeout = patience.Seconds()
	}
	e.Start(tb)
	tb.Cleanup(func() { e.Stop(tb) })
	return e
}

func (e *embedded) Start(tb testing.TB) {
	srv, err := server.NewServer(e.opts.Clone())
	if err != nil {
		tb.Fatal(err)
	}
	srv.Start()
	if !srv.ReadyForConnections(patience) {
		tb.Fatal("nats-server does not get ready")
	}
	e.srv = srv
}

func (e *embedded) Stop(testing.TB) {
	e.srv.Shutdown()
	e.srv.WaitForShutdown()
}

func (e *embedded) Queue(testing.TB) queuetest.Queue {
	e.next++
	prefix := fmt.Sprintf("events%d", e.next)
	scheme := "nats"
	if e.opts.TLSConfig != nil {
		scheme = "natss"
	}
	base := fmt.Sprintf("%s://%s127.0.0.1:%d/", scheme, queuetest.UserInfo(), e.opts.Port)
	big := queuetest.NewMessage("v/live/a", 1)
	big.Body = make([]byte, 64<<10)
	return queuetest.Queue{
		URL:  base + prefix + "?create=1",
		Read: func(tb testing.TB) []queuetest.Entry { return e.read(tb, prefix) },
		Rejected: map[string]queuetest.Rejection{
			"too large":     {Message: big},
			"long key":      {Message: queuetest.NewMessage(strings.Repeat("k", 4000), 1)},
			"no stream":     {URL: base + "nowhere", Message: queuetest.NewMessage("v/live/a", 1)},
			"wrong stream":  {URL: base + prefix + "?stream=other", Message: queuetest.NewMessage("v/live/a", 1)},
			"not permitted": {Message: queuetest.NewMessage("secret/live/a", 1)},
		},
		Dedup: true,
	}
}

func (e *embedded) Secure(tb testing.TB) queuetest.Queue { return newEmbedded(tb, true).Queue(tb) }

func (e *embedded) client(tb testing.TB) jetstream.JetStream {
	opts := []nats.Option{nats.UserInfo(queuetest.User, queuetest.Password), nats.Timeout(patience)}
	if e.opts.TLSConfig != nil {
		opts = append(opts, nats.Secure(queuetest.Certificates(tb).Client))
	}
	conn, err := nats.Connect(e.srv.ClientURL(), opts...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		tb.Fatal(err)
	}
	return js
}

func (e *embedded) read(tb testing.TB, prefix string) []queuetest.Entry {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	stream, err := e.client(tb).Stream(ctx, strings.ToUpper(prefix))
	if err != nil {
		tb.Fatal(err)
	}
	info, err := stream.Info(ctx)
	if err != nil {
		tb.Fatal(err)
	}
	var out []queuetest.Entry
	for i := info.State.FirstSeq; i <= info.State.LastSeq; i++ {
		m, err := stream.GetMsg(ctx, i)
		if err != nil {
			tb.Fatal(err)
		}
		key, err := port.DecodeKey(strings.TrimPrefix(m.Subject, prefix+"."))
		if err != nil {
			tb.Fatal(err)
		}
		entry := queuetest.Entry{Key: key, ID: m.Header.Get(nats.MsgIdHdr), Header: map[string]string{}, Body: string(m.Data)}
		for name := range m.Header {
			entry.Header[name] = m.Header.Get(name)
		}
		out = append(out, entry)
	}
	return out
}

func open(_ testing.TB, rawURL string, opts port.Options) (port.Destination, error) {
	return natsjs.Open(context.Background(), rawURL, opts)
}

func TestConformance(t *testing.T) {
	queuetest.Run(t, newEmbedded(t, false), open)
}

func BenchmarkPublish(b *testing.B) {
	e := newEmbedded(b, false)
	queuetest.Bench(b, e.Queue(b), open)
}

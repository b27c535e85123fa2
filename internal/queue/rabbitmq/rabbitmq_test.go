package rabbitmq_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hookline/hookline/internal/leaktest"
	"github.com/hookline/hookline/internal/queue/port"
	"github.com/hookline/hookline/internal/queue/queuetest"
	"github.com/hookline/hookline/internal/queue/rabbitmq"
)

// shared is the package's only server: it takes seconds to start.
var shared process

func TestMain(m *testing.M) {
	code := queuetest.Main(m, shared.end)
	os.Exit(leaktest.Check(code))
}

// process is a rabbitmq-server with an epmd of its own, so that nothing outlives the tests.
type process struct {
	dir                          string
	port, secure, epmdPort, dist int
	epmd, server                 *exec.Cmd
	ended                        chan struct{}
	output                       bytes.Buffer
	next                         int
}

func running(tb testing.TB) *process {
	if shared.server == nil {
		shared.prepare(tb)
		shared.Start(tb)
	}
	return &shared
}

func (p *process) prepare(tb testing.TB) {
	p.dir = queuetest.Dir(tb)
	p.port, p.secure = queuetest.FreePort(tb), queuetest.FreePort(tb)
	p.epmdPort, p.dist = queuetest.FreePort(tb), queuetest.FreePort(tb)
	id := queuetest.Certificates(tb)
	user := func(name, password string) map[string]any {
		salt := []byte("salt")
		sum := sha256.Sum256(append(salt, password...))
		return map[string]any{
			"name": name, "tags": "", "hashing_algorithm": "rabbit_password_hashing_sha256",
			"password_hash": base64.StdEncoding.EncodeToString(append(salt, sum[:]...)),
		}
	}
	definitions, err := json.Marshal(map[string]any{
		"vhosts": []any{map[string]any{"name": "/"}, map[string]any{"name": "other/one"}},
		"users":  []any{user(queuetest.User, queuetest.Password), user("stranger", "stranger")},
		"permissions": []any{
			map[string]any{"user": queuetest.User, "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"},
			map[string]any{"user": queuetest.User, "vhost": "other/one", "configure": ".*", "write": ".*", "read": ".*"},
			map[string]any{"user": "stranger", "vhost": "/", "configure": "", "write": "", "read": ""},
		},
	})
	if err != nil {
		tb.Fatal(err)
	}
	p.write(tb, "definitions.json", string(definitions))
	p.write(tb, "rabbitmq.conf", strings.Join([]string{
		"listeners.tcp.1 = 127.0.0.1:" + strconv.Itoa(p.port),
		"listeners.ssl.1 = 127.0.0.1:" + strconv.Itoa(p.secure),
		"ssl_options.cacertfile = " + id.CertFile,
		"ssl_options.certfile = " + id.CertFile,
		"ssl_options.keyfile = " + id.KeyFile,
		"ssl_options.verify = verify_none",
		"load_definitions = " + filepath.Join(p.dir, "definitions.json"),
		"num_acceptors.tcp = 2", "num_acceptors.ssl = 2",
		"vm_memory_high_watermark.relative = 0.9", "disk_free_limit.absolute = 1MB",
		"",
	}, "\n"))
	p.write(tb, "enabled_plugins", "[].\n")
	p.epmd = exec.Command(queuetest.Binary(tb, "epmd"), "-port", strconv.Itoa(p.epmdPort), "-address", "127.0.0.1")
	if err := p.epmd.Start(); err != nil {
		tb.Fatal(err)
	}
}

func (p *process) write(tb testing.TB, name, text string) {
	if err := os.WriteFile(filepath.Join(p.dir, name), []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
}

func (p *process) Start(tb testing.TB) {
	p.server = exec.Command(queuetest.Binary(tb, "rabbitmq-server", "/usr/lib/rabbitmq/bin/rabbitmq-server"))
	p.server.Env = append(os.Environ(),
		"HOME="+p.dir,
		"ERL_EPMD_PORT="+strconv.Itoa(p.epmdPort), "ERL_EPMD_ADDRESS=127.0.0.1",
		"RABBITMQ_NODENAME=queuetest@localhost", "RABBITMQ_DIST_PORT="+strconv.Itoa(p.dist),
		"RABBITMQ_CONF_ENV_FILE="+filepath.Join(p.dir, "none"),
		"RABBITMQ_CONFIG_FILE="+filepath.Join(p.dir, "rabbitmq.conf"),
		"RABBITMQ_ENABLED_PLUGINS_FILE="+filepath.Join(p.dir, "enabled_plugins"),
		"RABBITMQ_MNESIA_BASE="+filepath.Join(p.dir, "mnesia"),
		"RABBITMQ_LOG_BASE="+filepath.Join(p.dir, "log"),
		"RABBITMQ_PID_FILE="+filepath.Join(p.dir, "pid"),
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none",
	)
	// The start script has children; they are ended together.
	p.server.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.output.Reset()
	p.server.Stdout, p.server.Stderr = &p.output, &p.output
	if err := p.server.Start(); err != nil {
		tb.Fatal(err)
	}
	p.ended = make(chan struct{})
	go func() {
		defer close(p.ended)
		_ = p.server.Wait()
	}()
	queuetest.Await(tb, "rabbitmq-server", func() bool {
		select {
		case <-p.ended:
			tb.Fatalf("rabbitmq-server: %s", p.output.String())
		default:
		}
		c, err := amqp.Dial(p.url("amqp", p.port, queuetest.UserInfo()) + "/")
		if err != nil {
			return false
		}
		return c.Close() == nil
	})
}

// Stop kills: what was confirmed must be there after the next start.
func (p *process) Stop(testing.TB) {
	_ = syscall.Kill(-p.server.Process.Pid, syscall.SIGKILL)
	<-p.ended
}

func (p *process) end() {
	if p.server != nil {
		p.Stop(nil)
	}
	if p.epmd != nil {
		_ = p.epmd.Process.Kill()
		_ = p.epmd.Wait()
	}
}

func (p *process) url(scheme string, port int, userinfo string) string {
	return scheme + "://" + userinfo + "127.0.0.1:" + strconv.Itoa(port)
}

func (p *process) channel(tb testing.TB) (*amqp.Channel, func()) {
	conn, err := amqp.Dial(p.url("amqp", p.port, queuetest.UserInfo()) + "/")
	if err != nil {
		tb.Fatal(err)
	}
	ch, err := conn.Channel()
	if err != nil {
		tb.Fatal(err)
	}
	return ch, func() { _ = conn.Close() }
}

func (p *process) Queue(tb testing.TB) queuetest.Queue {
	p.next++
	name := fmt.Sprintf("events%d", p.next)
	ch, done := p.channel(tb)
	defer done()
	for _, exchange := range []string{name, name + "-unbound"} {
		if err := ch.ExchangeDeclare(exchange, "topic", true, false, false, false, nil); err != nil {
			tb.Fatal(err)
		}
	}
	if _, err := ch.QueueDeclare(name, true, false, false, false, nil); err != nil {
		tb.Fatal(err)
	}
	if err := ch.QueueBind(name, "#", name, false, nil); err != nil {
		tb.Fatal(err)
	}
	base := p.url("amqp", p.port, queuetest.UserInfo())
	m := queuetest.NewMessage("v/live/a", 1)
	var seen []queuetest.Entry
	return queuetest.Queue{
		URL: base + "/?exchange=" + name,
		Read: func(tb testing.TB) []queuetest.Entry {
			seen = append(seen, p.take(tb, name)...)
			return seen
		},
		Rejected: map[string]queuetest.Rejection{
			"unroutable":    {URL: base + "/?exchange=" + name + "-unbound", Message: m},
			"no exchange":   {URL: base + "?exchange=" + name + "-none", Message: m},
			"not permitted": {URL: p.url("amqp", p.port, "stranger:stranger@") + "/?exchange=" + name, Message: m},
			"long key":      {Message: queuetest.NewMessage(strings.Repeat("k", 256), 1)},
		},
	}
}

func (p *process) Secure(tb testing.TB) queuetest.Queue {
	q := p.Queue(tb)
	q.URL = strings.Replace(strings.Replace(q.URL, "amqp:", "amqps:", 1), strconv.Itoa(p.port), strconv.Itoa(p.secure), 1)
	return q
}

func (p *process) take(tb testing.TB, queue string) []queuetest.Entry {
	ch, done := p.channel(tb)
	defer done()
	var out []queuetest.Entry
	for {
		m, ok, err := ch.Get(queue, true)
		if err != nil {
			tb.Fatal(err)
		}
		if !ok {
			return out
		}
		key, err := port.DecodeKey(m.RoutingKey)
		if err != nil {
			tb.Fatal(err)
		}
		e := queuetest.Entry{Key: key, ID: m.MessageId, Header: map[string]string{}, Body: string(m.Body)}
		for name, value := range m.Headers {
			e.Header[name] = value.(string)
		}
		if m.DeliveryMode != amqp.Persistent || m.Type != e.Header[port.HeaderType] || m.ContentType != "application/json" {
			tb.Errorf("delivery mode %d, type %q, content type %q", m.DeliveryMode, m.Type, m.ContentType)
		}
		out = append(out, e)
	}
}

func open(_ testing.TB, rawURL string, opts port.Options) (port.Destination, error) {
	return rabbitmq.Open(context.Background(), rawURL, opts)
}

func TestConformance(t *testing.T) {
	queuetest.Run(t, running(t), open)
}

func dest(t *testing.T, url string) port.Destination {
	t.Helper()
	d, err := open(t, url, port.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// TestDeclare: the exchange is made on connecting, in a vhost whose name needs escaping; mandatory=0 accepts what nobody
// gets.
func TestDeclare(t *testing.T) {
	p := running(t)
	base := p.url("amqp", p.port, queuetest.UserInfo()) + "/other%2Fone?exchange=made&declare=1&type=fanout&prefix=events"
	m := queuetest.NewMessage("v/live/a", 1)
	if err := queuetest.NewLanes(dest(t, base)).Deliver(t.Context(), m); err == nil || !strings.Contains(err.Error(), "events.v.live.a") {
		t.Errorf("unbound: %v", err)
	}
	if err := queuetest.NewLanes(dest(t, base+"&mandatory=0")).Deliver(t.Context(), m); err != nil {
		t.Errorf("unbound, but not mandatory: %v", err)
	}
}

// TestReturnsAmongOthers: of messages in flight together only the unroutable ones are rejected.
func TestReturnsAmongOthers(t *testing.T) {
	p := running(t)
	ch, done := p.channel(t)
	defer done()
	const name = "some"
	if err := ch.ExchangeDeclare(name, "topic", true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := ch.QueueDeclare(name, true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	if err := ch.QueueBind(name, "v.bound.#", name, false, nil); err != nil {
		t.Fatal(err)
	}
	d := dest(t, p.url("amqp", p.port, queuetest.UserInfo())+"/?exchange="+name)
	l := queuetest.NewLanes(d)
	if err := l.Deliver(t.Context(), queuetest.NewMessage("v/bound/x", 1)); err != nil {
		t.Fatal(err)
	}
	before := l.Doubtful()
	results := make(chan error)
	const lanes, each = 16, 30
	for k := range lanes {
		go func() {
			app := []string{"bound", "unbound"}[k%2]
			for i := range each {
				err := l.Deliver(t.Context(), queuetest.NewMessage(fmt.Sprintf("v/%s/%d", app, k), i+1))
				if (err == nil) != (app == "bound") {
					results <- fmt.Errorf("%s: %w", app, err)
					return
				}
			}
			results <- nil
		}()
	}
	for range lanes {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	var keys []string
	for k := 0; k < lanes; k += 2 {
		keys = append(keys, fmt.Sprintf("v/bound/%d", k))
	}
	got := slices.DeleteFunc(p.take(t, name), func(e queuetest.Entry) bool { return e.Key == "v/bound/x" })
	if again := queuetest.Check(t, got, keys, each); again > l.Doubtful()-before {
		t.Errorf("%d messages more than once, and %d attempts were given up", again, l.Doubtful()-before)
	}
}

func BenchmarkPublish(b *testing.B) {
	queuetest.Bench(b, running(b).Queue(b), open)
}

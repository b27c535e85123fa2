package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/hookline/hookline/internal/ordercheck"
	"github.com/hookline/hookline/internal/queue/queuetest"
)

// queueServer is a server of a message queue that comes back with its address and its data.
type queueServer interface {
	url() string
	start(t *testing.T)
	stop(t *testing.T)
	// read returns all that is in the queue, each key's events in their order.
	read(t *testing.T) []*ordercheck.Body
}

// natsQueue is a real nats-server in this process, with its streams in files.
type natsQueue struct {
	dir  string
	port int
	srv  *natsserver.Server
}

func (q *natsQueue) start(t *testing.T) {
	t.Helper()
	srv, err := natsserver.NewServer(&natsserver.Options{
		Host: "127.0.0.1", Port: q.port, JetStream: true, StoreDir: q.dir, NoLog: true, NoSigs: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	q.srv = srv
	srv.Start()
	if !srv.ReadyForConnections(patience) {
		t.Fatal("the NATS server does not start")
	}
	q.port = srv.Addr().(*net.TCPAddr).Port
}

func (q *natsQueue) stop(*testing.T) {
	q.srv.Shutdown()
	q.srv.WaitForShutdown()
}

func (q *natsQueue) url() string { return q.srv.ClientURL() + "/events?create=1" }

func (q *natsQueue) read(t *testing.T) []*ordercheck.Body {
	t.Helper()
	return fromNATS(t, q.srv.ClientURL())
}

// program is a queue server that is a process; it has a process group of its own, so that its children end with it.
type program struct {
	cmd  *exec.Cmd
	log  *processLog
	gone chan struct{}
}

func startProgram(t *testing.T, cmd *exec.Cmd) *program {
	t.Helper()
	p := &program{cmd: cmd, log: newProcessLog(), gone: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.log, p.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.gone)
		_ = cmd.Wait()
	}()
	return p
}

func (p *program) kill() {
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.gone
}

// await waits until the program answers.
func (p *program) await(t *testing.T, ready func() bool) {
	t.Helper()
	queuetest.Await(t, p.cmd.Path, func() bool {
		select {
		case <-p.gone:
			t.Fatalf("%s has ended:\n%s", p.cmd.Path, tail(p.log.String(), 2000))
		default:
		}
		return ready()
	})
}

// redisQueue is a redis-server that syncs each write; it is stopped by SIGKILL.
type redisQueue struct {
	dir, port string
	*program
}

func (q *redisQueue) start(t *testing.T) {
	t.Helper()
	q.program = startProgram(t, exec.Command(queuetest.Binary(t, "redis-server"), "--bind", "127.0.0.1", "--port", q.port,
		"--dir", q.dir, "--appendonly", "yes", "--appendfsync", "always", "--save", ""))
	q.await(t, func() bool {
		c := q.client()
		defer c.Close()
		return c.Ping(context.Background()).Err() == nil
	})
}

func (q *redisQueue) stop(*testing.T) { q.kill() }

func (q *redisQueue) url() string { return "redis://127.0.0.1:" + q.port + "/?prefix=events" }

func (q *redisQueue) client() *redis.Client {
	return redis.NewClient(&redis.Options{
		Addr: "127.0.0.1:" + q.port, DialerRetries: 1, ReadTimeout: patience, WriteTimeout: patience,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
}

func (q *redisQueue) read(t *testing.T) (bodies []*ordercheck.Body) {
	t.Helper()
	c := q.client()
	defer c.Close()
	streams, err := c.Keys(t.Context(), "events:*").Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, stream := range streams {
		messages, err := c.XRange(t.Context(), stream, "-", "+").Result()
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range messages {
			raw, _ := m.Values["body"].(string)
			b, err := ordercheck.Parse([]byte(raw))
			if err != nil || "events:"+b.Event.Stream != stream {
				t.Fatalf("%s: %v: %.200s", stream, err, raw)
			}
			bodies = append(bodies, b)
		}
	}
	return bodies
}

// rabbitQueue is a rabbitmq-server with an epmd of its own and one durable queue that gets everything; it is stopped by
// SIGKILL.
type rabbitQueue struct {
	dir              string
	port, epmd, dist string
	names            *program
	*program
}

func (q *rabbitQueue) start(t *testing.T) {
	t.Helper()
	env := append(os.Environ(), "HOME="+q.dir, "ERL_EPMD_PORT="+q.epmd, "ERL_EPMD_ADDRESS=127.0.0.1",
		"RABBITMQ_NODENAME=e2e@localhost", "RABBITMQ_DIST_PORT="+q.dist,
		"RABBITMQ_CONF_ENV_FILE="+filepath.Join(q.dir, "none"), "RABBITMQ_CONFIG_FILE="+filepath.Join(q.dir, "rabbitmq.conf"),
		"RABBITMQ_ENABLED_PLUGINS_FILE="+filepath.Join(q.dir, "enabled_plugins"), "RABBITMQ_MNESIA_BASE="+filepath.Join(q.dir, "mnesia"),
		"RABBITMQ_LOG_BASE="+filepath.Join(q.dir, "log"), "RABBITMQ_PID_FILE="+filepath.Join(q.dir, "pid"),
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none")
	if q.names == nil {
		conf := "listeners.tcp.1 = 127.0.0.1:" + q.port + "\nvm_memory_high_watermark.relative = 0.9\ndisk_free_limit.absolute = 1MB\n"
		for name, text := range map[string]string{"rabbitmq.conf": conf, "enabled_plugins": "[].\n"} {
			if err := os.WriteFile(filepath.Join(q.dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.Command(queuetest.Binary(t, "epmd"), "-port", q.epmd, "-address", "127.0.0.1")
		cmd.Env = env
		q.names = startProgram(t, cmd)
		t.Cleanup(q.names.kill)
	}
	cmd := exec.Command(queuetest.Binary(t, "rabbitmq-server", "/usr/lib/rabbitmq/bin/rabbitmq-server"))
	cmd.Env = env
	q.program = startProgram(t, cmd)
	q.await(t, func() bool {
		conn, err := amqp.Dial(q.base())
		return err == nil && conn.Close() == nil
	})
	q.do(t, func(ch *amqp.Channel) error {
		if err := ch.ExchangeDeclare("events", "topic", true, false, false, false, nil); err != nil {
			return err
		}
		if _, err := ch.QueueDeclare("events", true, false, false, false, nil); err != nil {
			return err
		}
		return ch.QueueBind("events", "#", "events", false, nil)
	})
}

func (q *rabbitQueue) do(t *testing.T, f func(*amqp.Channel) error) {
	t.Helper()
	conn, err := amqp.Dial(q.base())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	if err := f(ch); err != nil {
		t.Fatal(err)
	}
}

func (q *rabbitQueue) stop(*testing.T) { q.kill() }

func (q *rabbitQueue) base() string { return "amqp://guest:guest@127.0.0.1:" + q.port + "/" }

func (q *rabbitQueue) url() string { return q.base() + "?exchange=events" }

func (q *rabbitQueue) read(t *testing.T) (bodies []*ordercheck.Body) {
	t.Helper()
	q.do(t, func(ch *amqp.Channel) error {
		for {
			m, ok, err := ch.Get("events", true)
			if err != nil || !ok {
				return err
			}
			b, err := ordercheck.Parse(m.Body)
			if err != nil {
				return err
			}
			bodies = append(bodies, b)
		}
	})
	return bodies
}

// queueServers are those that come back with their data: a broker of franz-go's kfake does not.
func queueServers(t *testing.T) map[string]queueServer {
	t.Helper()
	port := func() string { return strconv.Itoa(queuetest.FreePort(t)) }
	return map[string]queueServer{
		"nats":     &natsQueue{dir: t.TempDir(), port: natsserver.RANDOM_PORT},
		"redis":    &redisQueue{dir: t.TempDir(), port: port()},
		"rabbitmq": &rabbitQueue{dir: t.TempDir(), port: port(), epmd: port(), dist: port()},
	}
}

// endpointState is what the API says of an endpoint.
type endpointState struct {
	State     string `json:"state"`
	Lag       uint64 `json:"lag"`
	Delivered uint64 `json:"delivered"`
	LastError struct {
		Error string `json:"error"`
	} `json:"lastError"`
}

// v1 calls /api/v1 and reads the answer into out.
func (p *server) v1(method, path, body string, want int, out any) {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), method, "http://"+p.http+"/api/v1/"+path, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer e2e-secret")
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != want {
		p.t.Fatalf("%s %s: %s, want %d", method, path, res.Status, want)
	}
	if err := json.NewDecoder(res.Body).Decode(out); err != nil {
		p.t.Fatalf("%s %s: %v", method, path, err)
	}
}

// awaitEndpoint asks until the endpoint is as it should be.
func (p *server) awaitEndpoint(name, what string, ok func(endpointState) bool) {
	p.t.Helper()
	for begin := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		var st endpointState
		p.v1(http.MethodGet, "endpoints/"+name, "", http.StatusOK, &st)
		if ok(st) {
			return
		}
		if time.Since(begin) > patience {
			p.t.Fatalf("%s is never %s: %+v", name, what, st)
		}
	}
}

// TestQueueServerRestarts: the server of a queue is killed, and comes back, twice while streams come and go. The queue
// has everything in the end, in the order of each stream.
func TestQueueServerRestarts(t *testing.T) {
	for name, q := range queueServers(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q.start(t)
			t.Cleanup(func() { q.stop(t) })
			state := stateDir(t)
			s := start(t, quick().with("server.state_dir", state, "protocol.continue_push_ms", "0", "delivery.drain_ms", "60000"),
				"serve", "-c", configFile(t, fmt.Sprintf("[endpoint.queue]\nurl=%s\ntimeout_ms=2000\n", q.url())))
			ctx, enough := context.WithCancel(t.Context())
			var pubs publications
			var failed error
			var publishing sync.WaitGroup
			publishing.Go(func() { pubs, failed = crowd(ctx, s, 0, 300*time.Millisecond) })
			t.Cleanup(func() {
				enough()
				publishing.Wait()
			})
			for range 2 {
				var before uint64
				s.awaitEndpoint("queue", "at work", func(st endpointState) bool {
					before = st.Delivered
					return st.Delivered > 100
				})
				q.stop(t)
				s.awaitEndpoint("queue", "down and behind", func(st endpointState) bool { return st.State == "down" && st.Lag > 50 })
				q.start(t)
				s.awaitEndpoint("queue", "back", func(st endpointState) bool { return st.State == "up" && st.Delivered > before+50 })
			}
			enough()
			publishing.Wait()
			if failed != nil {
				t.Fatal(failed)
			}
			// What has failed often is not waited for at the stop.
			s.awaitEndpoint("queue", "done", func(st endpointState) bool { return st.Lag == 0 })
			s.stop()
			if log := s.log.String(); strings.Contains(log, "not everything was delivered") || strings.Contains(log, "dead letter") {
				t.Errorf("something is left:\n%s", tail(log, 2000))
			}
			check := ordercheck.New(ordercheck.Options{KeepFacts: true})
			got, again := map[string][]told{}, 0
			for _, b := range q.read(t) {
				if check.Add(ordercheck.Delivery{Body: b}).Duplicate {
					again++
					continue
				}
				got[b.Event.Stream] = append(got[b.Event.Stream], ofBody(b))
			}
			t.Logf("%d events are in the queue twice", again)
			compare(t, name, got, owed(audit(t, filepath.Join(state, "journal")), lifecycle))
			expectFacts(t, name, check, pubs.facts(func(string) bool { return true }))
		})
	}
}

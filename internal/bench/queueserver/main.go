// Command queueserver runs a queue server for a benchmark until its standard input ends: the first line of its output is
// one JSON object, with the URL for Hookline, or why there is none. It is a program of its own because the product must
// not carry the servers that it can send to.
//
//	queueserver nats|kafka|redis|rabbitmq DIRECTORY
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/twmb/franz-go/pkg/kfake"
)

// starting is how long a server may take.
const starting = 60 * time.Second

// running is a server that runs.
type running struct {
	URL string `json:"url,omitempty"`
	// What it is, for the table.
	What string `json:"what,omitempty"`
	// Missing says why there is no server.
	Missing string `json:"missing,omitempty"`
	stop    func()
}

var errMissing = errors.New("is not installed")

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: queueserver nats|kafka|redis|rabbitmq DIRECTORY")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "queueserver:", err)
		os.Exit(1)
	}
}

func run(kind, dir string) error {
	start := map[string]func(dir string) (running, error){
		"nats": startNATS, "kafka": startKafka, "redis": startRedis, "rabbitmq": startRabbit,
	}[kind]
	if start == nil {
		return fmt.Errorf("%q is no kind of server", kind)
	}
	r, err := start(dir)
	if errors.Is(err, errMissing) {
		r, err = running{Missing: err.Error(), stop: func() {}}, nil
	}
	if err != nil {
		return err
	}
	defer r.stop()
	if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

func startNATS(dir string) (running, error) {
	srv, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: dir, NoLog: true, NoSigs: true,
	})
	if err != nil {
		return running{}, err
	}
	srv.Start()
	stop := func() {
		srv.Shutdown()
		srv.WaitForShutdown()
	}
	if !srv.ReadyForConnections(starting) {
		stop()
		return running{}, errors.New("nats-server does not get ready")
	}
	return running{
		URL: srv.ClientURL() + "/bench?create=1", What: "a real nats-server " + server.VERSION + ", streams in files", stop: stop,
	}, nil
}

func startKafka(dir string) (running, error) {
	const topic = "bench"
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.DataDir(dir), kfake.SeedTopics(32, topic))
	if err != nil {
		return running{}, err
	}
	return running{
		URL:  "kafka://" + strings.Join(c.ListenAddrs(), ",") + "/" + topic,
		What: "franz-go's kfake, an imitation of Kafka and not a real one", stop: c.Close,
	}, nil
}

func startRedis(dir string) (running, error) {
	port, err := freePort()
	if err != nil {
		return running{}, err
	}
	r, err := process(port, nil, "redis-server", "--bind", "127.0.0.1", "--port", port, "--dir", dir,
		"--appendonly", "yes", "--appendfsync", "always", "--save", "")
	r.URL, r.What = "redis://127.0.0.1:"+port+"/?prefix=bench", "a real redis-server, appendfsync always"
	return r, err
}

func startRabbit(dir string) (running, error) {
	var ports [3]string
	for i := range ports {
		p, err := freePort()
		if err != nil {
			return running{}, err
		}
		ports[i] = p
	}
	for name, text := range map[string]string{
		"rabbitmq.conf":   "listeners.tcp.1 = 127.0.0.1:" + ports[0] + "\nvm_memory_high_watermark.relative = 0.9\ndisk_free_limit.absolute = 1MB\n",
		"enabled_plugins": "[].\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil { //nolint:gosec // the directory is that of the benchmark
			return running{}, err
		}
	}
	program := "/usr/lib/rabbitmq/bin/rabbitmq-server" // Debian's in PATH wants to be root
	if _, err := os.Stat(program); err != nil {
		program = "rabbitmq-server"
	}
	env := append(os.Environ(), "HOME="+dir, "ERL_EPMD_PORT="+ports[1], "ERL_EPMD_ADDRESS=127.0.0.1",
		"RABBITMQ_NODENAME=bench@localhost", "RABBITMQ_DIST_PORT="+ports[2],
		"RABBITMQ_CONF_ENV_FILE="+filepath.Join(dir, "none"), "RABBITMQ_CONFIG_FILE="+filepath.Join(dir, "rabbitmq.conf"),
		"RABBITMQ_ENABLED_PLUGINS_FILE="+filepath.Join(dir, "enabled_plugins"), "RABBITMQ_MNESIA_BASE="+filepath.Join(dir, "mnesia"),
		"RABBITMQ_LOG_BASE="+filepath.Join(dir, "log"), "RABBITMQ_PID_FILE="+filepath.Join(dir, "pid"),
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none")
	// An epmd of its own, so that nothing is left behind.
	epmd, err := process("", env, "epmd", "-port", ports[1], "-address", "127.0.0.1")
	if err != nil {
		return running{}, err
	}
	r, err := process(ports[0], env, program)
	if err != nil {
		epmd.stop()
		return running{}, err
	}
	stop := r.stop
	r.stop = func() { stop(); epmd.stop() }
	if err := declare("amqp://guest:guest@127.0.0.1:" + ports[0] + "/"); err != nil {
		r.stop()
		return running{}, err
	}
	r.URL, r.What = "amqp://guest:guest@127.0.0.1:"+ports[0]+"/?exchange=bench", "a real rabbitmq-server, one durable queue"
	return r, nil
}

// declare makes an exchange and a queue that gets everything.
func declare(url string) error {
	var conn *amqp.Connection
	var err error
	for end := time.Now().Add(starting); ; time.Sleep(100 * time.Millisecond) { // the port opens before the users are there
		if conn, err = amqp.Dial(url); err == nil || time.Now().After(end) {
			break
		}
	}
	if err != nil {
		return err
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	if err := ch.ExchangeDeclare("bench", "topic", true, false, false, false, nil); err != nil {
		return err
	}
	if _, err := ch.QueueDeclare("bench", true, false, false, false, nil); err != nil {
		return err
	}
	return ch.QueueBind("bench", "#", "bench", false, nil)
}

// process starts a program in a process group of its own and waits until it takes connections at the port, if there
// is one.
func process(port string, env []string, name string, args ...string) (running, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return running{}, fmt.Errorf("%s %w", name, errMissing)
	}
	cmd := exec.Command(path, args...) //nolint:gosec,noctx // a server of the list above, ended by stop
	cmd.Env = env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return running{}, err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait()
	}()
	r := running{stop: func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // it is thrown away with its directory
		<-ended
	}}
	for end := time.Now().Add(starting); port != ""; time.Sleep(50 * time.Millisecond) {
		c, err := (&net.Dialer{Timeout: time.Second}).DialContext(context.Background(), "tcp", "127.0.0.1:"+port)
		if err == nil {
			_ = c.Close()
			break
		}
		select {
		case <-ended:
			return running{}, fmt.Errorf("%s ended at once", name)
		default:
		}
		if time.Now().After(end) {
			r.stop()
			return running{}, fmt.Errorf("%s takes no connections after %v", name, starting)
		}
	}
	return r, nil
}

func freePort() (string, error) {
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if _, bad := strconv.Atoi(port); err == nil {
		err = bad
	}
	return port, err
}

package e2e

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hookline/hookline/event"
)

// patience bounds every wait. It is long, because other tests run beside, and those of other packages.
const patience = 4 * time.Minute

// auto lets the system choose a port.
const auto = "65535"

// hooks are the hooks that the server sends by now.
func hooks() []event.Type {
	return []event.Type{
		event.OnPublish, event.OnPlay, event.OnStreamChanged, event.OnStreamNoneReader, event.OnStreamNotFound,
		event.OnFlowReport, event.OnPublicationEnded, event.OnServerStarted, event.OnServerExited,
		event.OnServerKeepalive, event.OnEventGap, event.OnRecordMP4,
	}
}

// settings are config keys with their values.
type settings map[string]string

// variable returns the environment variable of a config key.
func variable(key string) string {
	return "HOOKLINE_" + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

// quick are settings that make failures show, and heal, soon. What the server does to a peer that takes its time is none of them:
// whoever stands still for a while on a busy machine, the receiver too, is still served. Tests of just that set their own.
func quick() settings {
	return settings{
		"general.listen_ip": "127.0.0.1", "rtmp.port": auto, "http.port": auto, "rtsp.port": auto, "rtsp.sslport": "0", "protocol.enable_hls": "0",
		"general.mediaServerId": "e2e", "general.flowThreshold": "0", "api.secret": "e2e-secret",
		"hook.alive_interval": "3600", "hook.retry_delay": "0.1",
		"delivery.backoff_min_ms": "50", "delivery.backoff_max_ms": "400", "journal.min_free_mb": "0",
		"hook.timeoutSec": "60", "general.maxStreamWaitMS": "300000", "limits.viewer_lag_ms": "120000",
		"rtmp.handshakeSecond": "120", "rtmp.keepAliveSecond": "120", "rtsp.handshakeSecond": "120", "rtsp.keepAliveSecond": "120",
		"http.keepAliveSecond": "600",
	}
}

// endpoint adds the URLs of a receiver.
func (s settings) endpoint(r *receiver) settings {
	s["hook.enable"] = "1"
	for _, h := range hooks() {
		s["hook."+string(h)] = r.url(h)
	}
	return s
}

// with returns a copy with other values.
func (s settings) with(pairs ...string) settings {
	s = maps.Clone(s)
	for i := 0; i < len(pairs); i += 2 {
		s[pairs[i]] = pairs[i+1]
	}
	return s
}

// without returns a copy that lacks keys.
func (s settings) without(keys ...string) settings {
	s = maps.Clone(s)
	for _, k := range keys {
		delete(s, k)
	}
	return s
}

// environ returns the settings as environment, without those that the test itself runs under.
func (s settings) environ() []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "HOOKLINE_") })
	for _, k := range slices.Sorted(maps.Keys(s)) {
		env = append(env, variable(k)+"="+s[k])
	}
	return env
}

// processLog collects what a process writes.
type processLog struct {
	mu     sync.Mutex
	text   bytes.Buffer
	change chan struct{} // closed and replaced on every write
}

func newProcessLog() *processLog { return &processLog{change: make(chan struct{})} }

// Write implements io.Writer.
func (l *processLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.change)
	l.change = make(chan struct{})
	return l.text.Write(p)
}

func (l *processLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// await waits until the log matches.
func (l *processLog) await(re *regexp.Regexp, gone <-chan struct{}) []string {
	deadline := time.After(patience)
	for {
		l.mu.Lock()
		m, change := re.FindStringSubmatch(l.text.String()), l.change
		l.mu.Unlock()
		if m != nil {
			return m
		}
		select {
		case <-change:
		case <-gone:
			return re.FindStringSubmatch(l.String())
		case <-deadline:
			return nil
		}
	}
}

// server is a running process.
type server struct {
	t          *testing.T
	cmd        *exec.Cmd
	log        *processLog
	rtmp, http string // addresses
	rtsp       string
	gone       chan struct{}
	err        error // of the process; written before gone is closed
}

// stateDir returns a new state directory.
func stateDir(t *testing.T) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "state")
}

// launch starts the program and does not wait until it is up.
func launch(t *testing.T, s settings, args ...string) *server {
	t.Helper()
	if len(args) == 0 {
		args = []string{"serve"}
	}
	return launchCommand(t, s, append([]string{binary}, args...))
}

func launchCommand(t *testing.T, s settings, argv []string) *server {
	t.Helper()
	p := &server{t: t, log: newProcessLog(), gone: make(chan struct{})}
	p.cmd = exec.Command(argv[0], argv[1:]...)
	p.cmd.Env = append(s.environ(), "GORACE=halt_on_error=0")
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	p.cmd.Dir = t.TempDir()
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.gone)
	}()
	t.Cleanup(p.check)
	return p
}

// check ends the process if it still runs, and looks for accidents in its log.
func (p *server) check() {
	_ = p.cmd.Process.Kill()
	<-p.gone
	text := p.log.String()
	for _, bad := range []string{"DATA RACE", "panic:", "fatal error:"} {
		if strings.Contains(text, bad) {
			p.t.Errorf("%s in the server's log", bad)
		}
	}
	if p.t.Failed() {
		p.t.Logf("the server's log:\n%s", tail(text, 6000))
	}
}

func tail(s string, n int) string {
	if len(s) > n {
		return "…" + s[len(s)-n:]
	}
	return s
}

var up = regexp.MustCompile(`msg="hookline is up".* rtmp=(\S+) http=(\S+) rtsp=(\S+)`)

// start starts the program and waits until it is up.
func start(t *testing.T, s settings, args ...string) *server {
	t.Helper()
	p := launch(t, s, args...)
	p.awaitUp()
	return p
}

func (p *server) awaitUp() {
	p.t.Helper()
	m := p.log.await(up, p.gone)
	if m == nil {
		p.t.Fatalf("the server did not come up:\n%s", p.log)
	}
	p.rtmp, p.http, p.rtsp = m[1], m[2], m[3]
}

// serve starts a server with a receiver of its own.
func serve(t *testing.T, pairs ...string) (*server, *receiver) {
	t.Helper()
	r := newReceiver(t)
	return start(t, quick().endpoint(r).with("server.state_dir", stateDir(t)).with(pairs...)), r
}

// rtmpURL returns the URL of a stream of app live.
func (p *server) rtmpURL(stream string) string { return "rtmp://" + p.rtmp + "/live/" + stream }

// rtspURL is rtmpURL for RTSP.
func (p *server) rtspURL(stream string) string { return "rtsp://" + p.rtsp + "/live/" + stream }

// flvURL is rtmpURL for HTTP-FLV; stream may have a query.
func (p *server) flvURL(stream string) string { return p.liveURL(stream, "flv") }

// liveURL is rtmpURL for a live format over HTTP: "flv", "ts", "mp4".
func (p *server) liveURL(stream, format string) string {
	name, query, ok := strings.Cut(stream, "?")
	if ok {
		query = "?" + query
	}
	return "http://" + p.http + "/live/" + name + ".live." + format + query
}

// kill is SIGKILL.
func (p *server) kill() {
	p.t.Helper()
	_ = p.cmd.Process.Kill()
	p.wait()
}

// stop is SIGTERM; the process must end well.
func (p *server) stop() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Error(err)
	}
	p.wait()
	if p.err != nil {
		p.t.Errorf("the server stopped with %v:\n%s", p.err, tail(p.log.String(), 2000))
	}
}

func (p *server) wait() {
	p.t.Helper()
	select {
	case <-p.gone:
	case <-time.After(patience):
		_ = p.cmd.Process.Signal(syscall.SIGQUIT)
		<-p.gone
		p.t.Fatalf("the server does not end:\n%s", tail(p.log.String(), 20000))
	}
}

// refuse starts a program that must give up, and returns what it said last.
func refuse(t *testing.T, s settings, args ...string) string {
	t.Helper()
	p := launch(t, s, args...)
	p.wait()
	var exit *exec.ExitError
	if !errors.As(p.err, &exit) || exit.ExitCode() <= 0 {
		t.Fatalf("the program ended with %v, want an exit code that is not 0:\n%s", p.err, p.log)
	}
	lines := strings.Split(strings.TrimSpace(p.log.String()), "\n")
	return lines[len(lines)-1]
}

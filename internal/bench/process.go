package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	startLimit = 2 * time.Minute // until a server is up
	stopLimit  = time.Minute     // until it has ended in good order
	anyPort    = "65535"         // lets the system choose
)

// ErrServer says that the server under test did not start or stop as it should.
var ErrServer = errors.New("the server under test failed")

// process is a running server.
type process struct {
	cmd *exec.Cmd
	// Addresses. Of nginx there are only those that it listens at.
	rtmp, http, rtsp string

	log  *serverLog
	done chan struct{} // closed when it is gone
	err  error         // how it ended; written before done is closed
}

// startServer starts the real server with its state in a directory of its own. It ends with ctx or this process at the
// latest.
func (e *env) startServer(ctx context.Context, keys map[string]string) (*process, error) {
	dir, err := e.newDir()
	if err != nil {
		return nil, err
	}
	return e.startServerIn(ctx, dir, keys)
}

// startServerIn is startServer with a directory, in which there may be state and a configuration file; args are more
// arguments of the command.
func (e *env) startServerIn(ctx context.Context, dir string, keys map[string]string, args ...string) (*process, error) {
	if runtime.GOOS != "linux" {
		return nil, ErrNoProc
	}
	argv := e.server
	if len(argv) == 0 {
		exe, err := os.Executable()
		if err != nil {
			return nil, err
		}
		argv = []string{exe, "serve"}
	}
	p := newProcess(ctx, slices.Concat(argv, args), dir, serverEnvironment(dir, keys))
	if err := p.start(); err != nil {
		return nil, err
	}
	if err := p.awaitUp(ctx); err != nil {
		p.kill()
		return nil, err
	}
	return p, nil
}

// newProcess returns a process that start will start in dir.
func newProcess(ctx context.Context, argv []string, dir string, env []string) *process {
	p := &process{log: newServerLog(), done: make(chan struct{})}
	p.cmd = exec.CommandContext(ctx, argv[0], argv[1:]...) //nolint:gosec // this program, or one that the user has installed
	p.cmd.Env, p.cmd.Dir = env, dir
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.WaitDelay = p.log, p.log, time.Second
	p.cmd.SysProcAttr = serverAttributes()
	return p
}

func (p *process) start() error {
	started := make(chan error, 1)
	go func() {
		// The death signal of the child is sent when the thread ends that started it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.err = p.cmd.Wait()
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("%w: %w", ErrServer, err)
	}
	return nil
}

// serverEnvironment configures a server, instead of what this process's own environment may say.
func serverEnvironment(state string, keys map[string]string) []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "HOOKLINE_") })
	all := map[string]string{
		"general.listen_ip": "127.0.0.1", "rtmp.port": anyPort, "http.port": anyPort, "rtsp.port": anyPort, "rtsp.sslport": "0", "protocol.enable_hls": "0",
		"server.state_dir": filepath.Join(state, "state"),
	}
	maps.Copy(all, keys)
	for k, v := range all {
		env = append(env, "HOOKLINE_"+strings.ToUpper(strings.ReplaceAll(k, ".", "_"))+"="+v)
	}
	return env
}

// awaitUp waits until the server says where it listens.
func (p *process) awaitUp(ctx context.Context) error {
	t := time.NewTimer(startLimit)
	defer t.Stop()
	select {
	case m := <-p.log.up:
		p.rtmp, p.http, p.rtsp = m[0], m[1], m[2]
		return nil
	case <-p.done:
		return fmt.Errorf("%w: it ended: %w\n%s", ErrServer, p.err, p.log)
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return fmt.Errorf("%w: it did not start within %v\n%s", ErrServer, startLimit, p.log)
	}
}

func (p *process) pid() int { return p.cmd.Process.Pid }

func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may be gone already
	<-p.done
}

// stop asks the server to end, and kills it when it does not.
func (p *process) stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may be gone already: then done is closed
	t := time.NewTimer(stopLimit)
	defer t.Stop()
	select {
	case <-p.done:
	case <-t.C:
		p.kill()
		return fmt.Errorf("%w: it did not stop within %v\n%s", ErrServer, stopLimit, p.log)
	}
	if p.err != nil {
		return fmt.Errorf("%w: %w\n%s", ErrServer, p.err, p.log)
	}
	return nil
}

// serverLog keeps the end of what a server writes, and looks for the line that says that it is up.
type serverLog struct {
	line *regexp.Regexp
	up   chan []string // addresses of RTMP, HTTP and RTSP

	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
	told bool         // guarded by mu
}

func newServerLog() *serverLog {
	return &serverLog{
		line: regexp.MustCompile(`msg="hookline is up".* rtmp=(\S+) http=(\S+) rtsp=(\S+)[^\n]*\n`),
		up:   make(chan []string, 1),
	}
}

// Write implements io.Writer.
func (l *serverLog) Write(p []byte) (int, error) {
	const most = 16 << 10
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(p)
	if m := l.line.FindStringSubmatch(l.text.String()); m != nil && !l.told {
		l.told = true
		l.up <- m[1:]
	}
	if n := l.text.Len() - most; n > 0 {
		l.text.Next(n)
	}
	return len(p), nil
}

// String returns the last words.
func (l *serverLog) String() string {
	const most = 2000
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.text.Bytes()
	return string(b[max(0, len(b)-most):])
}

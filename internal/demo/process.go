package demo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/heldport"
	"github.com/hookline/hookline/internal/receivertool"
)

// command is how the server is started, each time in the same way.
type command struct {
	args       []string
	dir        string // of state and log
	rtmp, http int
	env        []string
	held       []*heldport.Port // so that they are still free after the crash
}

// newCommand chooses ports, and holds them until close.
func newCommand(args []string, dir string, r *receivertool.Receiver) (*command, error) {
	c := &command{args: args, dir: dir}
	for _, port := range []*int{&c.rtmp, &c.http} {
		p, err := heldport.Hold(netip.MustParseAddrPort("127.0.0.1:0"))
		if err != nil {
			c.close()
			return nil, err
		}
		c.held = append(c.held, p)
		*port = p.Number()
	}
	c.env = c.environment(r)
	return c, nil
}

// close lets go of the ports.
func (c *command) close() {
	for _, p := range c.held {
		p.Close()
	}
}

func (c *command) rtmpAddr() string { return "127.0.0.1:" + strconv.Itoa(c.rtmp) }

// environment configures the server, instead of what the demo's own environment may hold.
func (c *command) environment(r *receivertool.Receiver) []string {
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "HOOKLINE_") {
			env = append(env, v)
		}
	}
	set := func(key string, value any) {
		key = strings.ToUpper(strings.NewReplacer(".", "_").Replace(key))
		env = append(env, fmt.Sprintf("HOOKLINE_%s=%v", key, value))
	}
	set("general.listen_ip", "127.0.0.1")
	set("rtmp.port", c.rtmp)
	set("http.port", c.http)
	set("rtsp.port", "0")
	set("protocol.enable_hls", 0) // its schema would come late, or never with a short stream
	set("server.state_dir", filepath.Join(c.dir, "state"))
	set("general.flowThreshold", 0)
	set("general.streamNoneReaderDelayMS", 3000)
	set("protocol.continue_push_ms", grace.Milliseconds())
	set("hook.enable", 1)
	set("hook.timeoutSec", hookTimeout.Seconds())
	set("hook.retry_delay", 0.2)
	set("hook.alive_interval", 5)
	set("delivery.backoff_min_ms", 100)
	set("delivery.backoff_max_ms", 1000)
	set("delivery.start_hold_ms", 300)
	for _, hook := range hooks() {
		set("hook."+string(hook), r.URL(hook))
	}
	return env
}

// hooks are those that the server knows.
func hooks() []event.Type {
	return []event.Type{
		event.OnPublish, event.OnPlay, event.OnStreamChanged, event.OnStreamNoneReader, event.OnStreamNotFound,
		event.OnFlowReport, event.OnServerStarted, event.OnServerExited, event.OnServerKeepalive,
		event.OnPublicationEnded, event.OnEventGap,
	}
}

// process is one run of the server.
type process struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{} // closed when it is gone
	err  error         // how it ended; written before done is closed
}

// start starts the server and waits until it serves. The process ends with ctx at the latest.
func (c *command) start(ctx context.Context) (*process, error) {
	logFile := filepath.Join(c.dir, "server.log")
	out, err := os.OpenFile(logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600) //nolint:gosec // our own directory
	if err != nil {
		return nil, err
	}
	p := &process{log: logFile, done: make(chan struct{})}
	p.cmd = exec.CommandContext(ctx, c.args[0], c.args[1:]...) //nolint:gosec // this program
	p.cmd.Env, p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = c.env, c.dir, out, out
	p.cmd.SysProcAttr = childAttributes()
	started := make(chan error, 1)
	go func() {
		defer out.Close()
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
		return nil, fmt.Errorf("starting the server: %w", err)
	}
	if err := p.ready(ctx, "http://127.0.0.1:"+strconv.Itoa(c.http)+"/readyz"); err != nil {
		p.kill()
		return nil, err
	}
	return p, nil
}

// ready waits until the server answers.
func (p *process) ready(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	transport := &http.Transport{DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 2 * time.Second}
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		if resp, err := client.Do(req); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusServiceUnavailable {
				return nil
			}
		}
		select {
		case <-p.done:
			return fmt.Errorf("the server ended: %w\n%s", errors.Join(p.err, errEnded), p.lastWords())
		case <-ctx.Done():
			return fmt.Errorf("the server did not get ready: %w\n%s", ctx.Err(), p.lastWords())
		case <-time.After(30 * time.Millisecond):
		}
	}
}

var errEnded = errors.New("it was not told to")

// lastWords returns the end of the server's log.
func (p *process) lastWords() string {
	const most = 2000
	raw, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(raw[max(0, len(raw)-most):])
}

// kill ends the process with SIGKILL and waits for it.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may be gone already
	<-p.done
}

// stop asks the process to end in good order, and kills it when it does not.
func (p *process) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.kill()
		return fmt.Errorf("stopping the server: %w", err)
	}
	select {
	case <-p.done:
	case <-time.After(stopLimit):
		p.kill()
		return fmt.Errorf("the server did not stop within %v and was killed", stopLimit)
	}
	if p.err != nil {
		return fmt.Errorf("the server stopped with an error: %w\n%s", p.err, p.lastWords())
	}
	return nil
}

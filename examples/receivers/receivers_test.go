// Package receivers_test drives the receivers in other languages, and the kit, through the vectors.
package receivers_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookline/hookline/receiver"
)

// patience bounds every wait for a program.
const patience = 5 * time.Minute

// program is a receiver in another language.
type program struct {
	argv  []string // what runs it
	check []string // what says which vectors of signatures are authentic
	v1a   bool     // it knows these signatures
}

func programs(t *testing.T) map[string]program {
	t.Helper()
	classes := t.TempDir()
	sources, err := filepath.Glob("*.java")
	if err != nil || len(sources) == 0 {
		t.Fatalf("no Java: %v", err)
	}
	if out, err := command(t, append([]string{"javac", "-Xlint:all", "-Werror", "-d", classes}, sources...)).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	java := []string{"java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", classes}
	return map[string]program{
		"Python": {[]string{"python3", "receiver.py"}, []string{"python3", "receiver.py", "check"}, false},
		"Node":   {[]string{"node", "receiver.mjs"}, []string{"node", "receiver.mjs", "check"}, true},
		"Java":   {append(slices.Clone(java), "Receiver"), append(slices.Clone(java), "Webhook"), true},
	}
}

// command prepares a run of a program.
func command(t *testing.T, argv []string, args ...string) *exec.Cmd {
	t.Helper()
	if _, err := exec.LookPath(argv[0]); err != nil {
		t.Fatalf("%s is missing; make test-deps installs it", argv[0])
	}
	cmd := exec.CommandContext(t.Context(), argv[0], append(slices.Clone(argv[1:]), args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// TestExamplesAreShort: each file is one to read and to begin with.
func TestExamplesAreShort(t *testing.T) {
	for _, pattern := range []string{"*.java", "*.py", "*.mjs", "../*/main.go"} {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		for _, name := range names {
			raw, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if n := bytes.Count(raw, []byte("\n")); n >= 150 {
				t.Errorf("%s has %d lines", name, n)
			}
		}
	}
}

// process is a run of a program.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	url    string
	lines  chan string
	stderr bytes.Buffer
}

func (p program) start(t *testing.T, b *behaviour, state string) *process {
	t.Helper()
	r := &process{t: t, cmd: command(t, p.argv, "0", state), lines: make(chan string, 1000)}
	r.cmd.Env = append(os.Environ(), "WEBHOOK_SECRETS="+strings.Join(b.Keys, " "), fmt.Sprint("WEBHOOK_TEST_NOW=", b.Now))
	r.cmd.Stderr = &r.stderr
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(r.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			r.lines <- s.Text()
		}
	}()
	first := r.line()
	addr, ok := strings.CutPrefix(first, "listening on ")
	if !ok {
		t.Fatalf("it says %q", first)
	}
	r.url = "http://" + addr + "/"
	return r
}

// line returns the next line that the program prints.
func (r *process) line() string {
	r.t.Helper()
	select {
	case s, ok := <-r.lines:
		if !ok {
			_ = r.cmd.Wait()
			r.t.Fatalf("the program ended: %s", r.stderr.String())
		}
		return s
	case <-time.After(patience):
		r.t.Fatal("the program prints nothing")
	}
	return ""
}

// kill ends the program, which has nothing more to say.
func (r *process) kill() {
	r.t.Helper()
	_ = r.cmd.Process.Kill()
	for s := range r.lines {
		r.t.Errorf("it also says %q", s)
	}
	_ = r.cmd.Wait()
	if r.t.Failed() {
		r.t.Logf("it complains: %s", r.stderr.String())
	}
}

func (r *process) post(req *request) (int, []byte) {
	r.t.Helper()
	status, body, err := r.try(req)
	if err != nil {
		r.t.Fatal(err)
	}
	return status, body
}

func (r *process) try(req *request) (int, []byte, error) {
	r.t.Helper()
	out, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, r.url, strings.NewReader(req.Body))
	if err != nil {
		r.t.Fatal(err)
	}
	for k, v := range req.Headers {
		out.Header.Set(k, v)
	}
	out.Close = true // some hang up when nothing comes for 5 s, or after a large body
	resp, err := http.DefaultClient.Do(out)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, body, err
}

func TestPrograms(t *testing.T) {
	for name, p := range programs(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := readVectors(t)
			state := filepath.Join(t.TempDir(), "state")
			run := p.start(t, &b, state)
			defer func() { run.kill() }()
			restarts := 0
			for _, v := range b.Vectors {
				for i, req := range v.Requests {
					if req.Restart {
						run.kill()
						run = p.start(t, &b, state)
						restarts++
					}
					at := fmt.Sprintf("%s, request %d", v.Name, i+1)
					status, body := run.post(&req)
					for _, want := range req.check(t, at, status, body, p.v1a) {
						if got := run.line(); got != want {
							t.Fatalf("%s: it says %q, want %q", at, got, want)
						}
					}
				}
			}
			if restarts == 0 {
				t.Error("no vector restarts the program")
			}
			large := request{Body: strings.Repeat(" ", 5<<20), Headers: b.Vectors[0].Requests[0].Headers}
			if status, _, err := run.try(&large); err == nil && status != http.StatusRequestEntityTooLarge { // or it has hung up
				t.Errorf("a large body is answered %d", status)
			}
			if status, _ := run.post(&b.Vectors[0].Requests[0]); status != http.StatusOK {
				t.Errorf("after a large body a duplicate is answered %d", status)
			}
		})
	}
}

// TestProgramsVerify holds each program's verification against the vectors of package event.
func TestProgramsVerify(t *testing.T) {
	const name = "../../event/testdata/webhook-signatures.json"
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Verify []struct {
			Name    string            `json:"name"`
			Headers map[string]string `json:"headers"`
			Error   string            `json:"error"`
		} `json:"verify"`
	}
	if err := json.Unmarshal(raw, &file); err != nil || len(file.Verify) == 0 {
		t.Fatalf("%d vectors, %v", len(file.Verify), err)
	}
	for lang, p := range programs(t) {
		t.Run(lang, func(t *testing.T) {
			t.Parallel()
			var want strings.Builder
			for _, v := range file.Verify {
				known := p.v1a || slices.ContainsFunc(strings.Fields(v.Headers["webhook-signature"]), func(s string) bool { return strings.HasPrefix(s, "v1,") })
				verdict := "refused"
				if v.Error == "" && known {
					verdict = "ok"
				}
				fmt.Fprintln(&want, verdict, v.Name)
			}
			out, err := command(t, p.check, name).Output()
			if err != nil || string(out) != want.String() {
				t.Errorf("%v, it says\n%swant\n%s", err, out, want.String())
			}
		})
	}
}

// TestKit: the kit does what the vectors say.
func TestKit(t *testing.T) {
	b := readVectors(t)
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Unix(b.Now, 0))) // the clock of the vectors
		store := receiver.NewMemory()
		var log []string
		kit := newKit(t, b.Keys, store, &log)
		for _, v := range b.Vectors {
			for i, req := range v.Requests {
				if req.Restart {
					kit = newKit(t, b.Keys, store, &log)
				}
				log = nil
				w := record(kit, &req)
				want := req.check(t, fmt.Sprintf("%s, request %d", v.Name, i+1), w.Code, w.Body.Bytes(), true)
				if !slices.Equal(log, want) {
					t.Errorf("%s, request %d: %q, want %q", v.Name, i+1, log, want)
				}
			}
		}
	})
}

func newKit(t *testing.T, keys []string, store receiver.Store, log *[]string) *receiver.Receiver {
	t.Helper()
	kit, err := receiver.New(receiver.WithSecrets(keys...), receiver.WithStore(store), receiver.WithLogger(slog.New(slog.DiscardHandler)),
		receiver.OnPublish(func(context.Context, *receiver.Event, *receiver.Publish) (receiver.PublishDecision, error) {
			return receiver.AllowPublish(receiver.PublishOptions{}), nil
		}),
		receiver.OnPlay(func(context.Context, *receiver.Event, *receiver.Play) (receiver.Decision, error) {
			return receiver.Allow(), nil
		}),
		receiver.OnAny(func(_ context.Context, e *receiver.Event) error {
			line := fmt.Sprintf("handled %s %d %d %s", e.Stream, e.Epoch, e.Seq, e.Type)
			if e.Late {
				line += " late"
			}
			*log = append(*log, line)
			return nil
		}),
		receiver.OnGap(func(_ context.Context, e *receiver.Event, g *receiver.Gap) error {
			*log = append(*log, fmt.Sprintf("gap %s %d %d %s", e.Stream, g.Missing.From, g.Missing.To, g.Reason))
			return nil
		}))
	if err != nil {
		t.Fatal(err)
	}
	return kit
}

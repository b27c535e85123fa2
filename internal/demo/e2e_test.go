package demo_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hookline/hookline/internal/demo"
	"github.com/hookline/hookline/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// build makes the real binary.
func build(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "hookline")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", bin,
		"github.com/hookline/hookline/cmd/hookline").CombinedOutput()
	if err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return bin
}

// TestDemo uses the command and the real server.
func TestDemo(t *testing.T) {
	bin := build(t)
	for name, test := range map[string]func(*testing.T, string){
		"short":                testShort,
		"catches lost journal": testLostJournal,
		"interrupted":          func(t *testing.T, bin string) { testSignal(t, bin, syscall.SIGINT) },
		"killed":               func(t *testing.T, bin string) { testSignal(t, bin, syscall.SIGKILL) },
		"server fails":         func(t *testing.T, _ string) { testServerFails(t) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, bin)
		})
	}
}

// testShort plays a short one.
func testShort(t *testing.T, bin string) {
	tmp := t.TempDir()
	cmd := exec.CommandContext(t.Context(), bin, "demo", "--json", "--seconds", "12", "--streams", "16", "--seed", "7")
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s\n%s", err, stderr.Bytes(), stdout.Bytes())
	}
	t.Logf("%s", stderr.Bytes())
	var shape map[string]any
	d := json.NewDecoder(bytes.NewReader(stdout.Bytes()))
	if err := d.Decode(&shape); err != nil {
		t.Fatalf("%v in %s", err, stdout.Bytes())
	}
	if d.More() {
		t.Errorf("more than one object: %s", stdout.Bytes())
	}
	for _, member := range []string{
		"events", "delivered", "out_of_order", "lost", "duplicates_on_wire", "latency_ms", "publications", "crashes",
		"outage_seconds", "gaps_named", "violations", "seed", "racing_sender",
	} {
		if _, ok := shape[member]; !ok {
			t.Errorf("no %q in %s", member, stdout.Bytes())
		}
	}
	var r demo.Result
	if err := json.Unmarshal(stdout.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	if !r.OK || r.OutOfOrder != 0 || r.Lost != 0 || r.Violations != 0 || r.Delivered+r.GapsNamed != r.Events {
		t.Errorf("broken promises: %s", stdout.Bytes())
	}
	if r.Events < 100 || r.Crashes != 1 || r.LiveAtCrash == 0 || r.BacklogAtCrash == 0 || r.OutageSeconds <= 0 || r.Seed != 7 {
		t.Errorf("not much happened: %s", stdout.Bytes())
	}
	if r.Racing.Lost == 0 || !r.Racing.Simulated || r.Racing.Events != r.Events {
		t.Errorf("the racing sender: %+v", r.Racing)
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

// testLostJournal is the control: a server that forgets must not look good.
func testLostJournal(t *testing.T, bin string) {
	r, err := demo.Run(t.Context(), demo.Config{
		Server:  []string{"sh", "-c", `rm -rf "$HOOKLINE_SERVER_STATE_DIR"; exec "$0" serve`, bin},
		Seconds: 10, Streams: 16, Seed: 3, Keep: t.TempDir(),
	})
	if !errors.Is(err, demo.ErrBroken) || r.OK || r.Lost == 0 || len(r.LostExamples) == 0 {
		t.Fatalf("%v: %+v", err, r)
	}
	if table := r.Table(false); !strings.Contains(table, "lost:") {
		t.Error(table)
	}
}

func testServerFails(t *testing.T) {
	_, err := demo.Run(t.Context(), demo.Config{
		Server: []string{"sh", "-c", "echo out of cheese >&2; exit 3"}, Keep: t.TempDir(), Seconds: 10,
	})
	if err == nil || !strings.Contains(err.Error(), "out of cheese") {
		t.Error(err)
	}
}

// testSignal ends a demo in the middle: the server must be gone, and unless it had no chance to, its state.
func testSignal(t *testing.T, bin string, sig syscall.Signal) {
	if sig == syscall.SIGKILL && runtime.GOOS != "linux" {
		return // only Linux tells a child of its parent's death
	}
	tmp := t.TempDir()
	cmd := exec.CommandContext(t.Context(), bin, "demo", "--seconds", "60", "--streams", "8")
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
	out := &waitFor{text: "healthy", found: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-out.found:
	case <-time.After(5 * time.Minute):
		t.Error("it does not begin")
	}
	if err := cmd.Process.Signal(sig); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("a demo that was ended looks good")
	}
	address := regexp.MustCompile(`rtmp://([0-9.:]+)/`).FindStringSubmatch(out.buf.String())
	if address == nil {
		t.Fatalf("no address in %s", out.buf.String())
	}
	for limit := time.Now().Add(2 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", address[1])
		if err != nil {
			break
		}
		_ = conn.Close()
		if time.Now().After(limit) {
			t.Fatal("the server lives on")
		}
	}
	if left, err := os.ReadDir(tmp); sig != syscall.SIGKILL && (err != nil || len(left) > 0) {
		t.Errorf("left behind: %v %v", left, err)
	}
}

// waitFor is a writer that tells when a text was written.
type waitFor struct {
	buf   bytes.Buffer
	text  string
	found chan struct{}
	done  bool
}

func (w *waitFor) Write(p []byte) (int, error) {
	w.buf.Write(p)
	if !w.done && strings.Contains(w.buf.String(), w.text) {
		w.done = true
		close(w.found)
	}
	return len(p), nil
}

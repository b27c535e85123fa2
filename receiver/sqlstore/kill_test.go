package sqlstore_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hookline/hookline/receiver"
	"github.com/hookline/hookline/receiver/receivertest"
	"github.com/hookline/hookline/receiver/sqlstore"
)

// Steps at which the child kills itself, each once in a life.
const (
	beforeEffect = iota + 1
	afterEffect
	afterCommit
	steps = afterCommit
)

func TestMain(m *testing.M) {
	if text := os.Getenv("SQLSTORE_TEST_DATABASE"); text != "" {
		if err := child(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// die is the end of a process as by kill -9.
func die() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

// killer is a store that dies after a commit.
type killer struct {
	receiver.Store
	armed bool
}

// Update implements receiver.Store.
func (k *killer) Update(ctx context.Context, key receiver.Key, f func(context.Context, receiver.Mark) (receiver.Mark, error)) error {
	err := k.Store.Update(ctx, key, f)
	if err == nil && k.armed {
		die()
	}
	return err
}

// child is a receiver in a process of its own. It dies at the step that its environment says, at the third event.
func child(text string) error {
	ctx := context.Background()
	var d database
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		return err
	}
	step, err := strconv.Atoi(os.Getenv("SQLSTORE_TEST_STEP"))
	if err != nil {
		return err
	}
	db, err := sql.Open(d.Driver, d.DSN)
	if err != nil {
		return err
	}
	store, err := sqlstore.New(ctx, db, d.Dialect)
	if err != nil {
		return err
	}
	k := &killer{Store: store}
	handled := 0
	r, err := receiver.New(receiver.WithStore(k), receiver.WithTimeout(time.Minute), receiver.OnAny(func(ctx context.Context, e *receiver.Event) error {
		handled++
		now := handled == 3
		if now && step == beforeEffect {
			die()
		}
		if _, err := sqlstore.Tx(ctx).ExecContext(ctx, d.insert(), strconv.FormatUint(e.Seq, 10)); err != nil {
			return err
		}
		if now && step == afterEffect {
			die()
		}
		k.armed = now && step == afterCommit
		return nil
	}))
	if err != nil {
		return err
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(ln.Addr())
	return (&http.Server{Handler: r, ReadHeaderTimeout: time.Minute}).Serve(ln)
}

// process is a running child.
type process struct {
	cmd  *exec.Cmd
	addr string
}

func start(t *testing.T, d database, step int) *process {
	t.Helper()
	text, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), "SQLSTORE_TEST_DATABASE="+string(text), "SQLSTORE_TEST_STEP="+strconv.Itoa(step))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var addr string
	if _, err := fmt.Fscanln(out, &addr); err != nil {
		t.Fatal(err)
	}
	return &process{cmd, addr}
}

// ServeHTTP passes a request on; 502 when the child dies.
func (p *process) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	out, err := http.NewRequestWithContext(req.Context(), http.MethodPost, "http://"+p.addr+"/", req.Body)
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	out.Header = req.Header
	resp, err := http.DefaultClient.Do(out)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer resp.Body.Close()
	w.WriteHeader(resp.StatusCode)
	_, _ = io.Copy(w, resp.Body)
}

func TestKill(t *testing.T) { testKill(t, sqliteFile(filepath.Join(t.TempDir(), "test.db"))) }

// testKill kills the receiver before the effect, between effect and commit, and between commit and answer, over and
// over. The sender tries again until it gets an answer: each effect is in the database once, in order.
func testKill(t *testing.T, d database) {
	const events, lives = 40, 12
	h := harness(t, d, nil)
	p := start(t, d, 1)
	defer func() {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	}()
	s := receivertest.New(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { p.ServeHTTP(w, r) }))
	kills := 0
	var want []string
	for i := range events {
		e := s.Register("live/a", fmt.Sprint("schema", i))
		want = append(want, strconv.FormatUint(e.Seq, 10))
		for s.Send(e).Status != http.StatusOK {
			if err := p.cmd.Wait(); err == nil {
				t.Fatal("the child ended by itself")
			}
			kills++
			if kills > lives+steps {
				t.Fatal("an event is never accepted")
			}
			step := kills%steps + 1
			if kills >= lives {
				step = 0 // it lives on
			}
			p = start(t, d, step)
		}
	}
	got, err := h.Effects()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("after %d kills the effects are %v", kills, got)
	}
	t.Logf("%d kills", kills)
	if kills < steps {
		t.Errorf("only %d kills", kills)
	}
	http.DefaultClient.CloseIdleConnections()
}

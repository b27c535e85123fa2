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
	"sync/atomic"
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
	beforeAccept // of the inbox
	afterAccept
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

// killer is a store that dies after a commit, or when the third event is put into the inbox.
type killer struct {
	*sqlstore.Store
	armed    atomic.Bool
	step     int
	accepted atomic.Int64
}

// Accept implements receiver.InboxStore.
func (k *killer) Accept(ctx context.Context, entries []receiver.Entry) error {
	now := k.accepted.Add(1) == 3
	if now && k.step == beforeAccept {
		die()
	}
	err := k.Store.Accept(ctx, entries)
	if now && err == nil && k.step == afterAccept {
		die()
	}
	return err
}

// Update implements receiver.Store.
func (k *killer) Update(ctx context.Context, key receiver.Key, f func(context.Context, receiver.Mark) (receiver.Mark, error)) error {
	err := k.Store.Update(ctx, key, f)
	if err == nil && k.armed.Load() {
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
	k := &killer{Store: store, step: step}
	handled := 0
	opts := []receiver.Option{receiver.WithStore(k), receiver.WithTimeout(time.Minute)}
	if os.Getenv("SQLSTORE_TEST_INBOX") != "" {
		opts = append(opts, receiver.WithInbox(receiver.InboxConfig{}))
	}
	opts = append(opts, receiver.OnAny(func(ctx context.Context, e *receiver.Event) error {
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
		k.armed.Store(now && step == afterCommit)
		return nil
	}))
	r, err := receiver.New(opts...)
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
	gone chan struct{} // closed when it has ended
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.gone
}

func start(t *testing.T, d database, step int, inbox bool) *process {
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
	if inbox {
		cmd.Env = append(cmd.Env, "SQLSTORE_TEST_INBOX=1")
	}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: cmd, gone: make(chan struct{})}
	_, err = fmt.Fscanln(out, &p.addr)
	go func() {
		defer close(p.gone)
		_ = cmd.Wait() // killed, as a rule
	}()
	if err != nil {
		t.Fatal(err)
	}
	return p
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
		_, _ = io.WriteString(w, err.Error())
		return
	}
	defer resp.Body.Close()
	w.WriteHeader(resp.StatusCode)
	_, _ = io.Copy(w, resp.Body)
}

func TestKill(t *testing.T) {
	testKill(t, sqliteFile(filepath.Join(t.TempDir(), "test.db")), false)
}

func TestKillInbox(t *testing.T) {
	testKill(t, sqliteFile(filepath.Join(t.TempDir(), "test.db")), true)
}

// testKill kills the receiver before the effect, between effect and commit, and after the commit, and with an inbox also before and
// after an event is put into it, over and over. The sender tries again until it gets an answer: each effect is in the database
// once, in order.
func testKill(t *testing.T, d database, inbox bool) {
	const events, lives = 60, 15
	steps := afterCommit
	if inbox {
		steps = afterAccept
	}
	h := harness(t, d, nil)
	p := start(t, d, 1, inbox)
	defer func() { p.kill() }()
	s := receivertest.New(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { p.ServeHTTP(w, r) }))
	kills := 0
	patience := time.Now().Add(10 * time.Minute)
	again := func() {
		if time.Now().After(patience) {
			t.Fatal("an event is never accepted")
		}
		select {
		case <-p.gone:
		case <-time.After(50 * time.Millisecond): // it lives
			return
		}
		kills++
		if kills > lives+steps {
			t.Fatal("it dies more often than it was told")
		}
		step := kills%steps + 1
		if kills >= lives {
			step = 0 // it lives on
		}
		p = start(t, d, step, inbox)
	}
	var want, got []string
	// drain waits until everything that was accepted has its effect.
	drain := func() {
		var err error
		for {
			if got, err = h.Effects(); err != nil {
				t.Fatal(err)
			}
			if len(got) >= len(want) || time.Now().After(patience) {
				return
			}
			select {
			case <-p.gone: // with what was in the inbox
				again()
			case <-time.After(5 * time.Millisecond):
			}
		}
	}
	for i := range events {
		e := s.Register("live/a", fmt.Sprint("schema", i))
		want = append(want, strconv.FormatUint(e.Seq, 10))
		for a := s.Send(e); a.Status != http.StatusOK; a = s.Send(e) {
			if a.Status != http.StatusBadGateway {
				t.Logf("event %d is answered %d %s", e.Seq, a.Status, a.Body)
			}
			again()
		}
		if i%5 == 4 { // so that each life gets to its step, however slow it is
			drain()
		}
	}
	drain()
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("after %d kills the effects are %v", kills, got)
	}
	t.Logf("%d kills", kills)
	if kills < steps {
		t.Errorf("only %d kills", kills)
	}
	http.DefaultClient.CloseIdleConnections()
}

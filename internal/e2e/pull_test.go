package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hookline/hookline/internal/journal"
)

// front is an address that stays while servers behind it come and go.
type front struct {
	addr   string
	target atomic.Pointer[string]
}

func newFront(t *testing.T) *front {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &front{addr: l.Addr().String()}
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { f.relay(ctx, c) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		cancel()
		wg.Wait()
	})
	return f
}

// relay connects c with the present server; when one side ends, so does the other.
func (f *front) relay(ctx context.Context, c net.Conn) {
	defer c.Close()
	to := f.target.Load()
	if to == nil {
		return
	}
	s, err := (&net.Dialer{}).DialContext(ctx, "tcp", *to)
	if err != nil {
		return
	}
	defer s.Close()
	end := func() {
		_ = c.Close()
		_ = s.Close()
	}
	defer context.AfterFunc(ctx, end)()
	var wg sync.WaitGroup
	for _, way := range [][2]net.Conn{{c, s}, {s, c}} {
		wg.Go(func() {
			_, _ = io.Copy(way[0], way[1])
			end()
		})
	}
	wg.Wait()
}

// pulled is what a consumer has read of the log, in the order in which it came.
type pulled struct {
	name   string
	mu     sync.Mutex
	events []apiEvent
	breaks int // of the connection
	why    error
}

func (p *pulled) add(list ...apiEvent) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.events = append(p.events, list...)
}

func (p *pulled) last() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.events) == 0 {
		return 0
	}
	return p.events[len(p.events)-1].Position
}

// broken notes that the connection has ended and why, and waits a little.
func (p *pulled) broken(why error) {
	p.mu.Lock()
	p.breaks++
	p.why = why
	p.mu.Unlock()
	time.Sleep(20 * time.Millisecond)
}

// poll reads by GET /api/v1/events with cursor, epoch and a wait, until the context ends: cursor and epoch are kept
// together with the events of an answer that came whole.
func (p *pulled) poll(ctx context.Context, t *testing.T, addr string) {
	cursor, epoch := json.Number("1"), json.Number("0")
	for ctx.Err() == nil {
		var page struct {
			Events []apiEvent      `json:"events"`
			Cursor json.Number     `json:"cursor"`
			Epoch  json.Number     `json:"epoch"`
			Gap    json.RawMessage `json:"gap"`
		}
		path := fmt.Sprintf("events?cursor=%s&epoch=%s&wait=2s&limit=50", cursor, epoch)
		body, err := read(ctx, addr, path, "")
		if err == nil {
			err = json.NewDecoder(body).Decode(&page)
			_ = body.Close()
		}
		if err != nil {
			p.broken(err)
			continue
		}
		if page.Gap != nil {
			t.Errorf("%s: a gap: %s", p.name, page.Gap)
		}
		p.add(page.Events...)
		if cursor = page.Cursor; page.Epoch != "" {
			epoch = page.Epoch
		}
	}
}

// stream reads by GET /api/v1/events/stream, and goes on behind the id of the last message that came whole.
func (p *pulled) stream(ctx context.Context, t *testing.T, addr string) {
	last := ""
	for ctx.Err() == nil {
		body, err := read(ctx, addr, "events/stream?cursor=1", last)
		if err != nil {
			p.broken(err)
			continue
		}
		raw := make([]byte, 0, 1<<16)
		for buf := make([]byte, 4096); err == nil; {
			var n int
			n, err = body.Read(buf)
			raw = append(raw, buf[:n]...)
			for {
				message, rest, whole := bytes.Cut(raw, []byte("\n\n"))
				if !whole {
					break
				}
				raw = rest
				if id := p.message(t, string(message)); id != "" {
					last = id
				}
			}
		}
		_ = body.Close()
		p.broken(err)
	}
}

// message takes a server-sent event and returns its id.
func (p *pulled) message(t *testing.T, text string) (id string) {
	var e apiEvent
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch name {
		case "id":
			id = value
		case "event":
			t.Errorf("%s: %s", p.name, text)
		case "data":
			if err := json.Unmarshal([]byte(value), &e); err != nil {
				t.Errorf("%s: %v: %s", p.name, err, value)
			}
			p.add(e)
		}
	}
	return id
}

// read opens an answer of /api/v1.
func read(ctx context.Context, addr, path, lastID string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/api/v1/"+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer e2e-secret")
	if lastID != "" {
		req.Header.Set("Last-Event-ID", lastID)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		_ = res.Body.Close()
		return nil, fmt.Errorf("%s", res.Status)
	}
	return res.Body, nil
}

// command reads by `hookline events tail --follow`, whose standard output it is.
func (p *pulled) command(t *testing.T, addr string) *tool {
	t.Helper()
	r, w := io.Pipe()
	c := &tool{t: t, gone: make(chan struct{})}
	c.cmd = exec.Command(binary, "events", "--url", "http://"+addr, "--secret", "e2e-secret", "tail", "--follow", "--json", "--last", "100000")
	c.cmd.Stdout, c.cmd.Stderr = w, &c.stderr
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		c.err = c.cmd.Wait()
		_ = w.Close()
	}()
	go func() {
		defer close(c.gone)
		for lines := json.NewDecoder(r); ; {
			var e apiEvent
			if lines.Decode(&e) != nil {
				return
			}
			p.add(e)
		}
	}()
	t.Cleanup(func() {
		_ = c.cmd.Process.Kill()
		<-c.gone
	})
	return c
}

// lastPosition is the newest of the journal.
func (p *server) lastPosition() uint64 {
	p.t.Helper()
	var state struct {
		Last uint64 `json:"last"`
	}
	p.v1(http.MethodGet, "journal", "", http.StatusOK, &state)
	return state.Last
}

// TestPullOverRestarts: whoever reads the log instead of receiving, by long poll, by server-sent events or by the command
// line, has after SIGKILLs of the server, by the rules of the cursor, every event once and in order.
func TestPullOverRestarts(t *testing.T) {
	t.Parallel()
	state := stateDir(t)
	cfg := quick().with("server.state_dir", state, "protocol.continue_push_ms", "0")
	gate := newFront(t)
	up := func() *server {
		s := start(t, cfg)
		gate.target.Store(&s.http)
		return s
	}
	s := up()
	polled, streamed, told := &pulled{name: "long poll"}, &pulled{name: "server-sent events"}, &pulled{name: "events tail"}
	consumers := []*pulled{polled, streamed, told}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	t.Cleanup(func() { stop(); wg.Wait() })
	wg.Go(func() { polled.poll(ctx, t, gate.addr) })
	wg.Go(func() { streamed.stream(ctx, t, gate.addr) })
	command := told.command(t, gate.addr)

	// With pauses: consumers that share the processors with a load that takes all of them fall behind without end.
	load := newLoad(t, crashLoad, crashViewers, 300*time.Millisecond)
	load.target(s)
	for range 4 {
		from := s.lastPosition()
		for _, c := range consumers { // each is in the middle of it
			c.await(t, from+100)
		}
		time.Sleep(rand.N(200 * time.Millisecond))
		load.kill(s)
		s = up()
		load.target(s)
	}
	load.stop()
	end := s.lastPosition()
	for _, c := range consumers {
		c.await(t, end)
	}
	command.signal(syscall.SIGINT)
	if err := command.wait(); err != nil || command.err != nil {
		t.Errorf("events tail ended with %v", command.err)
	}
	stop()
	wg.Wait()
	s.stop()
	recs := audit(t, filepath.Join(state, "journal"))
	for _, c := range consumers {
		c.expect(t, recs)
	}
	if n := strings.Count(command.stderr.String(), "trying again"); n < 4 {
		t.Errorf("events tail tells of %d broken connections:\n%s", n, command.stderr.String())
	}
}

// await waits until the consumer is at a position, as long as it comes nearer.
func (p *pulled) await(t *testing.T, position uint64) {
	t.Helper()
	begin, was := time.Now(), p.last()
	for now := was; now < position; now = p.last() {
		if now != was {
			begin, was = time.Now(), now
		}
		if time.Since(begin) > patience {
			p.mu.Lock()
			defer p.mu.Unlock()
			t.Fatalf("%s stays at %d, and never is at %d; %d breaks, the last with %v", p.name, now, position, p.breaks, p.why)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// expect demands that the consumer has the log from its beginning to where it stopped.
func (p *pulled) expect(t *testing.T, recs []*journal.Record) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	t.Logf("%s: %d of %d events, over %d breaks", p.name, len(p.events), len(recs), p.breaks)
	same := func(e apiEvent, r *journal.Record) bool {
		return e.Position == r.Position && e.ID == r.ID && e.Seq == r.Seq && e.Stream == r.Key && e.Type == r.Type && e.Time.Equal(r.Time)
	}
	if len(p.events) > len(recs) || !slices.EqualFunc(p.events, recs[:len(p.events)], same) {
		at := 0
		for at < min(len(p.events), len(recs)) && same(p.events[at], recs[at]) {
			at++
		}
		t.Errorf("%s: event %d is %+v", p.name, at, head(p.events[at:]))
	}
}

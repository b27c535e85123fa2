package receivertool

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/heldport"
	"github.com/hookline/hookline/internal/ordercheck"
)

// ErrClosed says that the receiver was closed.
var ErrClosed = errors.New("receivertool: closed")

// Limits of the HTTP server.
const (
	// MaxBody is the largest body that is accepted; a larger one is answered 413. Of a batch it is
	// event.DefaultBatchBytes.
	MaxBody = 1 << 20

	maxHeader     = 64 << 10
	headerTimeout = 5 * time.Second
	readTimeout   = 30 * time.Second
	idleTimeout   = 2 * time.Minute
	// maxHang ends a request that is left hanging, so that a sender without time-out does not collect them.
	maxHang = 2 * time.Minute
	// rebind is how long Up tries to get its port back.
	rebind = 10 * time.Second
)

// Receiver is a running receiver.
type Receiver struct {
	cfg     Config
	addr    string
	port    *heldport.Port // addr's, while the receiver is down as well; nil: nothing holds it
	checker *ordercheck.Checker
	print   printer
	stop    chan struct{} // closed by Close

	running sync.WaitGroup // servers and requests

	mu       sync.Mutex   // guards everything below
	server   *http.Server // nil while down
	ln       net.Listener // of server
	closed   bool
	faults   Faults
	attempts attempts
	counts   Snapshot
	latency  histogram
}

// Snapshot holds the counters of a receiver.
type Snapshot struct {
	// Requests counts all, a batch once for each of its events; each is counted once more below.
	Requests int `json:"requests"`
	// Batches counts the requests that are batches.
	Batches int `json:"batches,omitempty"`
	// Accepted were answered with success, Failed with 500 on purpose, Hung never on purpose. Abandoned: the sender
	// went away first, or the receiver went down. Refused could not be read (400, 404, 405, 413).
	Accepted  int `json:"accepted"`
	Failed    int `json:"failed"`
	Hung      int `json:"hung"`
	Abandoned int `json:"abandoned"`
	Refused   int `json:"refused"`
	// Plain of the accepted have no event member: nothing can be checked.
	Plain int `json:"plain"`
	// Decisions of the accepted are decisions.
	Decisions int `json:"decisions"`
	// Up: connections are accepted.
	Up bool `json:"up"`
	// P50, P99 and Max of the time from the raising of an event with a seq to its first acceptance; both clocks must
	// be the same. Quantiles are at most 6 % too high.
	P50 time.Duration `json:"latency_p50_ns"`
	P99 time.Duration `json:"latency_p99_ns"`
	Max time.Duration `json:"latency_max_ns"`
}

// Start listens and serves until Close.
func Start(ctx context.Context, cfg Config) (*Receiver, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("receivertool: %w", err)
	}
	if cfg.Addr == "" {
		cfg.Addr = "127.0.0.1:0"
	}
	r := &Receiver{
		cfg: cfg, checker: ordercheck.New(cfg.Order), stop: make(chan struct{}), faults: cfg.Faults,
		print:    newPrinter(cfg),
		attempts: attempts{count: map[string]int{}},
	}
	r.hold()
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", r.cfg.Addr)
	if err != nil {
		r.port.Close()
		return nil, fmt.Errorf("receivertool: %w", err)
	}
	r.addr = ln.Addr().String()
	r.serve(ln)
	return r, nil
}

// hold keeps the port of an IPv4 address. What can't be held is no error here: Listen has a better one.
func (r *Receiver) hold() {
	addr, err := netip.ParseAddrPort(r.cfg.Addr)
	if err != nil || !addr.Addr().Is4() {
		return
	}
	if r.port, err = heldport.Hold(addr); err == nil {
		r.cfg.Addr = netip.AddrPortFrom(addr.Addr(), uint16(r.port.Number())).String()
	}
}

// serve starts a server on ln. The caller holds the lock, or is the only one who knows r.
func (r *Receiver) serve(ln net.Listener) {
	srv := &http.Server{
		Handler:           http.HandlerFunc(r.handle),
		MaxHeaderBytes:    maxHeader,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		IdleTimeout:       idleTimeout,
	}
	r.server, r.ln = srv, ln
	r.running.Go(func() {
		// Serve returns when the server is closed; a listener that breaks by itself shows as refused connections.
		_ = srv.Serve(ln)
	})
}

// Addr returns the address that the receiver listens on, also while it is down.
func (r *Receiver) Addr() string { return r.addr }

// URL returns the URL of a hook.
func (r *Receiver) URL(hook event.Type) string {
	return "http://" + r.addr + "/index/hook/" + string(hook)
}

// Down refuses connections and cuts off running requests until Up. It is a no-op while down.
func (r *Receiver) Down() {
	r.mu.Lock()
	srv, ln := r.server, r.ln
	r.server = nil
	r.mu.Unlock()
	if srv != nil {
		// The server itself closes a listener only if it has got round to using it.
		_ = ln.Close()
		_ = srv.Close()
	}
}

// Up accepts connections again, on the same port. It is a no-op while up. Where nothing holds the port meanwhile it fails when
// somebody else keeps it for ten seconds.
func (r *Receiver) Up(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, rebind)
	defer cancel()
	for {
		done, err := r.tryUp(ctx)
		if done {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("receivertool: listening again: %w", err)
		case <-r.stop:
			return ErrClosed
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (r *Receiver) tryUp(ctx context.Context) (done bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return true, ErrClosed
	}
	if r.server != nil {
		return true, nil
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", r.addr)
	if err != nil {
		return false, err
	}
	r.serve(ln)
	return true, nil
}

// SetFaults changes the misbehaviour from the next request on.
func (r *Receiver) SetFaults(f Faults) error {
	if err := f.Validate(); err != nil {
		return fmt.Errorf("receivertool: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults = f
	return nil
}

// Checker returns the checker that sees what is accepted.
func (r *Receiver) Checker() *ordercheck.Checker { return r.checker }

// Snapshot returns the counters.
func (r *Receiver) Snapshot() Snapshot {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.counts
	s.Up = r.server != nil
	s.P50, s.P99, s.Max = r.latency.quantile(0.50), r.latency.quantile(0.99), r.latency.max
	return s
}

// Close stops, gives running requests a second to be answered, and waits for them. It is idempotent.
func (r *Receiver) Close() error {
	r.mu.Lock()
	if !r.closed {
		r.closed = true
		close(r.stop)
	}
	srv, ln := r.server, r.ln
	r.server = nil
	r.mu.Unlock()
	if srv != nil {
		_ = ln.Close()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		if srv.Shutdown(ctx) != nil {
			_ = srv.Close()
		}
		cancel()
	}
	r.port.Close()
	r.running.Wait()
	return nil
}

// enter counts a request in; false: the receiver is closed.
func (r *Receiver) enter() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	r.running.Add(1)
	r.counts.Requests++
	return true
}

// count changes the counters.
func (r *Receiver) count(change func(*Snapshot)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(&r.counts)
}

// hookOf returns the hook that a path names.
func hookOf(path string) (event.Type, bool) {
	path = strings.TrimRight(path, "/")
	hook := event.Type(path[strings.LastIndexByte(path, '/')+1:])
	return hook, known(hook)
}

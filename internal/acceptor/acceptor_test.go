package acceptor_test

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/hookline/hookline/internal/acceptor"
	"github.com/hookline/hookline/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

var errClosed = errors.New("closed")

// echo is a session that reads until its end.
type echo struct {
	conn net.Conn
	stop sync.Once
}

func (e *echo) Run() {
	defer e.conn.Close()
	_, _ = e.conn.Write([]byte("!"))
	_, _ = io.Copy(io.Discard, e.conn)
}

func (e *echo) Stop() { e.stop.Do(func() { _ = e.conn.Close() }) }

// moody is a listener whose Accept fails now and then.
type moody struct {
	net.Listener
	mu    sync.Mutex
	fails []error
}

func (l *moody) Accept() (net.Conn, error) {
	l.mu.Lock()
	if len(l.fails) > 0 {
		err := l.fails[0]
		l.fails = l.fails[1:]
		l.mu.Unlock()
		return nil, err
	}
	l.mu.Unlock()
	return l.Listener.Accept()
}

// noFiles is what Accept says when there are no descriptors.
type noFiles struct{}

func (noFiles) Error() string   { return "too many open files" }
func (noFiles) Temporary() bool { return true }

func start(t *testing.T, all, perIP int, fails ...error) (s *acceptor.Server, addr string, served chan error) {
	t.Helper()
	s = acceptor.New(acceptor.Config{
		Protocol: "test", Closed: errClosed, Logger: slog.New(slog.DiscardHandler),
		Limits: func() (int, int) { return all, perIP },
		New:    func(conn net.Conn, _ uint64) acceptor.Session { return &echo{conn: conn} },
	})
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served = make(chan error, 1)
	go func() { served <- s.Serve(&moody{Listener: l, fails: fails}) }()
	t.Cleanup(func() { _ = s.Close() })
	return s, l.Addr().String(), served
}

// dial connects, and says whether there was room.
func dial(t *testing.T, addr string) (conn net.Conn, admitted bool) {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetReadDeadline(time.Now().Add(3 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	_, err = conn.Read(make([]byte, 1))
	return conn, err == nil
}

func TestLimits(t *testing.T) {
	for _, c := range []struct{ all, perIP, want int }{{2, 0, 2}, {5, 3, 3}} {
		s, addr, _ := start(t, c.all, c.perIP, noFiles{}, noFiles{})
		var conns []net.Conn
		for i := range c.want + 1 {
			conn, ok := dial(t, addr)
			if ok != (i < c.want) {
				t.Errorf("%+v: connection %d admitted: %t", c, i+1, ok)
			}
			conns = append(conns, conn)
		}
		if s.Connections() != c.want || s.Refused() != 1 {
			t.Errorf("%+v: %d connections, %d refused", c, s.Connections(), s.Refused())
		}
		for _, conn := range conns {
			_ = conn.Close()
		}
		for s.Connections() > 0 {
			time.Sleep(time.Millisecond)
		}
		if _, ok := dial(t, addr); !ok { // there is room again
			t.Errorf("%+v: refused after all have left", c)
		}
	}
}

func TestClose(t *testing.T) {
	s, addr, served := start(t, 10, 0)
	conn, _ := dial(t, addr)
	if s.Context().Err() != nil {
		t.Error("the context has ended before Close")
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := <-served; !errors.Is(err, errClosed) {
		t.Errorf("Serve returns %v", err)
	}
	if _, err := conn.Read(make([]byte, 1)); err == nil || s.Connections() != 0 || s.Context().Err() == nil {
		t.Errorf("%d sessions after Close, %v", s.Connections(), err)
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(l); !errors.Is(err, errClosed) {
		t.Errorf("Serve after Close returns %v", err)
	}
}

func TestAcceptFails(t *testing.T) {
	broken := errors.New("broken")
	_, _, served := start(t, 10, 0, broken)
	if err := <-served; !errors.Is(err, broken) {
		t.Errorf("Serve returns %v", err)
	}
}

func TestEndpoint(t *testing.T) {
	for _, c := range []struct {
		addr net.Addr
		ip   string
		port int
	}{
		{nil, "", 0},
		{&net.UnixAddr{Name: "/x"}, "", 0},
		{&net.TCPAddr{IP: net.ParseIP("192.0.2.1"), Port: 7}, "192.0.2.1", 7},
		{&net.TCPAddr{IP: net.ParseIP("::ffff:192.0.2.1"), Port: 7}, "192.0.2.1", 7},
		{&net.TCPAddr{IP: net.ParseIP("fe80::1"), Zone: "eth0", Port: 9}, "fe80::1", 9},
	} {
		if ip, port := acceptor.Endpoint(c.addr); ip != c.ip || port != c.port {
			t.Errorf("%v: %s %d", c.addr, ip, port)
		}
	}
}

package queuetest

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"
)

// Mode is what a Net does with traffic.
type Mode int

// Modes of a Net.
const (
	Pass   Mode = iota
	Refuse      // connections are accepted and reset
	Hole        // connections stay, bytes vanish in both directions
	Slow        // each piece is held for a moment
)

const slowness = 5 * time.Millisecond

// Net is a network with faults: its Dial leads through a TCP proxy to the address that was asked for.
type Net struct {
	tb      testing.TB
	running sync.WaitGroup

	mu       sync.Mutex
	mode     Mode                    // guarded by mu
	proxies  map[string]net.Listener // guarded by mu; by target
	conns    map[net.Conn]struct{}   // guarded by mu
	closed   bool                    // guarded by mu
	swallows chan struct{}           // guarded by mu; closed at the first bytes that vanish
}

// NewNet returns a network that passes everything on until the test ends.
func NewNet(tb testing.TB) *Net {
	n := &Net{tb: tb, proxies: map[string]net.Listener{}, conns: map[net.Conn]struct{}{}, swallows: make(chan struct{})}
	tb.Cleanup(n.close)
	return n
}

// Dial is a port.DialFunc.
func (n *Net) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	proxy, err := n.proxy(address)
	if err != nil {
		return nil, err
	}
	return (&net.Dialer{}).DialContext(ctx, network, proxy)
}

// Set changes the mode. Connections that lost bytes in a hole are cut when it ends.
func (n *Net) Set(m Mode) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.mode != Hole && m == Hole {
		n.swallows = make(chan struct{})
	}
	if n.mode == Hole && m != Hole || m == Refuse {
		n.cut() // first, lest what was on its way into the hole is passed on
	}
	n.mode = m
}

// Cut resets all connections.
func (n *Net) Cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut()
}

// cut is Cut with the lock held.
func (n *Net) cut() {
	for c := range n.conns {
		reset(c)
	}
}

// Swallowed is closed when the present hole has taken its first bytes.
func (n *Net) Swallowed() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.swallows
}

func (n *Net) proxy(target string) (string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return "", net.ErrClosed
	}
	l, ok := n.proxies[target]
	if !ok {
		var err error
		l, err = (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
		if err != nil {
			return "", err
		}
		n.proxies[target] = l
		n.running.Go(func() { n.serve(l, target) })
	}
	return l.Addr().String(), nil
}

func (n *Net) serve(l net.Listener, target string) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		n.running.Go(func() { n.relay(c, target) })
	}
}

func (n *Net) relay(client net.Conn, target string) {
	defer reset(client)
	if !n.add(client) {
		return
	}
	defer n.remove(client)
	server, err := (&net.Dialer{Timeout: patience}).DialContext(context.Background(), "tcp", target)
	if err != nil {
		return
	}
	defer reset(server)
	if !n.add(server) {
		return
	}
	defer n.remove(server)
	var both sync.WaitGroup
	both.Go(func() { n.copy(server, client) })
	both.Go(func() { n.copy(client, server) })
	both.Wait()
}

// copy moves bytes; when one direction ends, so does the other.
func (n *Net) copy(to, from net.Conn) {
	defer reset(to)
	defer reset(from)
	buf := make([]byte, 16<<10)
	for {
		k, err := from.Read(buf)
		if err != nil {
			return
		}
		switch n.now() {
		case Refuse:
			return
		case Hole:
			n.swallow()
			continue
		case Slow:
			time.Sleep(slowness)
		case Pass:
		}
		if _, err := to.Write(buf[:k]); err != nil {
			return
		}
	}
}

func (n *Net) swallow() {
	n.mu.Lock()
	defer n.mu.Unlock()
	select {
	case <-n.swallows:
	default:
		close(n.swallows)
	}
}

func (n *Net) now() Mode {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.mode
}

func (n *Net) add(c net.Conn) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed || n.mode == Refuse {
		return false
	}
	n.conns[c] = struct{}{}
	return true
}

func (n *Net) remove(c net.Conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.conns, c)
}

func (n *Net) close() {
	n.mu.Lock()
	n.closed = true
	for _, l := range n.proxies {
		_ = l.Close()
	}
	n.mu.Unlock()
	n.Cut()
	n.running.Wait()
}

// reset closes c so that nothing of what it has not sent is sent any more.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}

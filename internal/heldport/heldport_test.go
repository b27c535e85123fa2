package heldport_test

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"

	"github.com/hookline/hookline/internal/heldport"
)

// TestHold: while a port is held connections are refused, and a listener can use it, again and again.
func TestHold(t *testing.T) {
	p, err := heldport.Hold(netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	addr := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(p.Number()))
	for range 3 {
		if c, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr.String()); !errors.Is(err, syscall.ECONNREFUSED) {
			if err == nil {
				_ = c.Close()
			}
			t.Errorf("nobody listens: %v", err)
		}
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		c, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := heldport.Hold(addr); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("somebody listens: %v", err)
		}
		_, _ = c.Close(), l.Close()
	}
	p.Close()
	p.Close()
	(*heldport.Port)(nil).Close()
	if _, err := heldport.Hold(netip.MustParseAddrPort("[::1]:0")); err == nil {
		t.Error("IPv6 is taken")
	}
}

// TestHeldIsNotGivenAway: of very many ports that the system chooses none is one that is held.
func TestHeldIsNotGivenAway(t *testing.T) {
	held := map[int]bool{}
	for range 200 {
		p, err := heldport.Hold(netip.MustParseAddrPort("127.0.0.1:0"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Close)
		if held[p.Number()] {
			t.Fatalf("%d is held twice", p.Number())
		}
		held[p.Number()] = true
	}
	for range 5000 {
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if port := l.Addr().(*net.TCPAddr).Port; held[port] {
			t.Errorf("%d is given to a listener", port)
		}
		_ = l.Close()
	}
}

//go:build !linux

package heldport

import (
	"fmt"
	"net"
	"net/netip"
)

// Hold chooses a port of an IPv4 address: the given one, or any that is free for port 0. Nothing keeps it.
func Hold(addr netip.AddrPort) (*Port, error) {
	l, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(addr))
	if err != nil {
		return nil, fmt.Errorf("heldport: %w", err)
	}
	defer l.Close()
	return &Port{number: l.Addr().(*net.TCPAddr).Port, release: func() {}}, nil
}

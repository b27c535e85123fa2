package heldport

import (
	"fmt"
	"net/netip"
	"os"
	"syscall"
)

// Hold holds a port of an IPv4 address: the given one, or any that is free for port 0. It fails with [syscall.EADDRINUSE] when
// somebody listens there.
func Hold(addr netip.AddrPort) (*Port, error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("heldport: %w", os.NewSyscallError("socket", err))
	}
	p := &Port{release: func() { _ = syscall.Close(fd) }}
	if p.number, err = bind(fd, addr); err != nil {
		p.Close()
		return nil, fmt.Errorf("heldport: %s: %w", addr, err)
	}
	return p, nil
}

func bind(fd int, addr netip.AddrPort) (port int, err error) {
	if !addr.Addr().Unmap().Is4() {
		return 0, syscall.EAFNOSUPPORT
	}
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		return 0, os.NewSyscallError("setsockopt", err)
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: addr.Addr().Unmap().As4(), Port: int(addr.Port())}); err != nil {
		return 0, os.NewSyscallError("bind", err)
	}
	at, err := syscall.Getsockname(fd)
	if err != nil {
		return 0, os.NewSyscallError("getsockname", err)
	}
	if in, ok := at.(*syscall.SockaddrInet4); ok {
		return in.Port, nil
	}
	return 0, syscall.EAFNOSUPPORT
}

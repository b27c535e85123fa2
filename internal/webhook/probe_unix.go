//go:build unix

package webhook

import (
	"errors"
	"net"
	"syscall"
)

// probe looks at the socket of one connection. It is used by the owner of the connection only.
type probe struct {
	raw   syscall.RawConn
	state socketState
	peek  func(fd uintptr)
	buf   [1]byte
}

func newProbe(c net.Conn) *probe {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	p := &probe{raw: raw}
	p.peek = func(fd uintptr) {
		n, _, err := syscall.Recvfrom(int(fd), p.buf[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		switch {
		case errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EINTR):
			p.state = socketQuiet
		case err == nil && n > 0:
			p.state = socketReadable
		default:
			p.state = socketEnded
		}
	}
	return p
}

func (p *probe) look() socketState {
	p.state = socketEnded
	if err := p.raw.Control(p.peek); err != nil {
		return socketEnded
	}
	return p.state
}

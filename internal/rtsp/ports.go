package rtsp

import (
	"errors"
	"net"
	"sync"
)

// errNoPorts: the range of UDP ports is used up.
var errNoPorts = errors.New("rtsp: no UDP ports are left (rtp_proxy.port_range)")

// ports hands out pairs of UDP sockets, an even port and the next one.
type ports struct {
	mu       sync.Mutex
	min, max int // 0: the system chooses
	next     int
}

func (p *ports) limit(lowest, highest int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	lowest += lowest & 1
	if lowest <= 0 || highest > 65535 || highest-lowest < 1 {
		lowest, highest = 0, 0
	}
	if p.min != lowest || p.max != highest {
		p.min, p.max, p.next = lowest, highest, lowest
	}
}

// pair opens two sockets on ip.
func (p *ports) pair(ip net.IP) (media, control *net.UDPConn, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.min == 0 {
		return systemPair(ip)
	}
	for range (p.max - p.min + 1) / 2 {
		port := p.next
		if p.next += 2; p.next+1 > p.max {
			p.next = p.min
		}
		if media, control, err = open(ip, port); err == nil {
			return media, control, nil
		}
	}
	return nil, nil, errNoPorts
}

// systemPair lets the system choose until the port is even and the next one is free.
func systemPair(ip net.IP) (media, control *net.UDPConn, err error) {
	for range 64 {
		if media, err = net.ListenUDP("udp", &net.UDPAddr{IP: ip}); err != nil {
			return nil, nil, err
		}
		port := media.LocalAddr().(*net.UDPAddr).Port //nolint:forcetypeassert // of ListenUDP
		if port&1 == 0 {
			if control, err = net.ListenUDP("udp", &net.UDPAddr{IP: ip, Port: port + 1}); err == nil {
				return media, control, nil
			}
		}
		_ = media.Close()
	}
	return nil, nil, errNoPorts
}

func open(ip net.IP, port int) (media, control *net.UDPConn, err error) {
	if media, err = net.ListenUDP("udp", &net.UDPAddr{IP: ip, Port: port}); err != nil {
		return nil, nil, err
	}
	if control, err = net.ListenUDP("udp", &net.UDPAddr{IP: ip, Port: port + 1}); err != nil {
		_ = media.Close()
		return nil, nil, err
	}
	return media, control, nil
}

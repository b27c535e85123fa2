package rtsp

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"golang.org/x/net/ipv4"

	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/stream"
)

// errNoGroup: every address of the range is in use, or the player has none of IPv4.
var errNoGroup = errors.New("rtsp: no multicast address is left (multicast.addrMin, multicast.addrMax)")

// groups hands out multicast addresses, with ports: a machine that takes two streams is not to mix them up.
type groups struct {
	mu       sync.Mutex // guards what follows
	min, max netip.Addr
	next     netip.Addr
	used     map[netip.Addr]bool
	ports    [2]int
	port     int
}

// groupPorts is the number of ports that a group has, two for each track.
const groupPorts = 2 * 4

// limit sets the ranges. One that is none of IPv4 multicast is the default's, and so is one of too few ports.
func (g *groups) limit(lowest, highest string, portMin, portMax int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	portMin += portMin & 1
	if portMin <= 0 || portMax > 65535 || portMax-portMin < groupPorts {
		portMin, portMax = 30000, 35000
	}
	// From the top: pairs of ports for one player are taken from the bottom.
	if p := [2]int{portMin, (portMax - groupPorts + 1) &^ 1}; g.ports != p {
		g.ports, g.port = p, p[1]
	}
	low, err1 := netip.ParseAddr(lowest)
	high, err2 := netip.ParseAddr(highest)
	if err1 != nil || err2 != nil || !low.Is4() || !high.Is4() || !low.IsMulticast() || !high.IsMulticast() || high.Less(low) {
		low, high = netip.AddrFrom4([4]byte{239, 0, 0, 0}), netip.AddrFrom4([4]byte{239, 255, 255, 255})
	}
	if g.min != low || g.max != high {
		g.min, g.max, g.next = low, high, low
	}
}

// groupTries bounds the search for ports that are free here. Where none are, players on other machines have them.
const groupTries = 64

// take returns an address that nobody has, and the first of its ports, which are free if there are such.
func (g *groups) take(free func(port int) bool) (netip.AddrPort, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.used == nil {
		g.used = map[netip.Addr]bool{}
	}
	for range len(g.used) + 1 {
		a := g.next
		if g.next = a.Next(); g.max.Less(g.next) || !g.next.IsValid() {
			g.next = g.min
		}
		if !g.used[a] {
			g.used[a] = true
			port := g.nextPort()
			for i := 0; i < groupTries && !free(port); i++ {
				port = g.nextPort()
			}
			return netip.AddrPortFrom(a, uint16(port)), nil
		}
	}
	return netip.AddrPort{}, errNoGroup
}

func (g *groups) nextPort() int {
	port := g.port
	if g.port -= groupPorts; g.port < g.ports[0] {
		g.port = g.ports[1]
	}
	return port
}

// portsFree says whether players on this machine could use the ports of a group with two tracks.
func portsFree(port int) bool {
	for i := range 4 {
		conn, err := net.ListenUDP("udp4", &net.UDPAddr{Port: port + i})
		if err != nil {
			return false
		}
		_ = conn.Close()
	}
	return true
}

func (g *groups) give(a netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.used, a)
}

// caster sends one publication to one multicast address, for all players who asked for that on the same interface, and who are
// its readers: it only relays.
type caster struct {
	srv   *Server
	key   string
	group netip.AddrPort // of the first track
	local net.IP         // of the interface
	ttl   int
	holds int // sessions; guarded by Server.mu

	conn *net.UDPConn
	ways atomic.Pointer[view] // replaced, never changed
	sent atomic.Int64

	mu      sync.Mutex // guards what follows
	members map[*session]int64
	cancel  context.CancelFunc // of the goroutine that sends; nil before the first PLAY
	done    chan struct{}
}

// castOf returns the caster of what the session watches, which it holds until release.
func (s *session) castOf(v *view) (*caster, error) {
	local := net.ParseIP(s.peer.LocalIP).To4()
	if local == nil {
		return nil, errNoGroup
	}
	srv, key := s.srv, v.viewer.Publication()+" "+s.peer.LocalIP
	srv.mu.Lock()
	defer srv.mu.Unlock()
	c := srv.casts[key]
	if c == nil {
		group, err := srv.groups.take(portsFree)
		if err != nil {
			return nil, err
		}
		c = &caster{srv: srv, key: key, group: group, local: local, ttl: s.cfg.MulticastTTL, members: map[*session]int64{}}
		c.ways.Store(&view{over: overMulticast, outs: map[int]*out{}})
		if err := c.open(); err != nil {
			srv.groups.give(group.Addr())
			return nil, err
		}
		srv.casts[key] = c
	}
	c.holds++
	return c, nil
}

// release ends sending when nobody holds the caster any more.
func (c *caster) release() {
	c.srv.mu.Lock()
	c.holds--
	last := c.holds == 0
	if last {
		delete(c.srv.casts, c.key)
	}
	c.srv.mu.Unlock()
	if !last {
		return
	}
	c.mu.Lock()
	cancel, done := c.cancel, c.done
	c.mu.Unlock()
	if cancel != nil {
		cancel()
		<-done
	}
	_ = c.conn.Close()
	c.srv.groups.give(c.group.Addr())
}

// way returns the port of a track, to which is sent from now on.
func (c *caster) way(n int) (port uint16, err error) {
	if n < 0 || 2*n+1 >= groupPorts {
		return 0, errNoGroup
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	port = c.group.Port() + uint16(2*n)
	old := c.ways.Load()
	if old.outs[n] != nil {
		return port, nil
	}
	to := func(port uint16) *net.UDPAddr {
		return net.UDPAddrFromAddrPort(netip.AddrPortFrom(c.group.Addr(), port))
	}
	outs := maps.Clone(old.outs)
	outs[n] = &out{media: c.conn, control: c.conn, toMedia: to(port), toReport: to(port + 1)}
	c.ways.Store(&view{over: overMulticast, outs: outs})
	return port, nil
}

// open opens the socket that sends by the interface over which the players came.
func (c *caster) open() (err error) {
	ifi, err := interfaceOf(c.local)
	if err != nil {
		return err
	}
	if c.conn, err = net.ListenUDP("udp4", &net.UDPAddr{IP: c.local}); err != nil {
		return fmt.Errorf("rtsp: multicast: %w", err)
	}
	p := ipv4.NewPacketConn(c.conn)
	if err := errors.Join(p.SetMulticastInterface(ifi), p.SetMulticastTTL(c.ttl), p.SetMulticastLoopback(true)); err != nil {
		_ = c.conn.Close()
		return fmt.Errorf("rtsp: multicast: %w", err)
	}
	return nil
}

// interfaceOf returns the interface that has an address.
func interfaceOf(ip net.IP) (*net.Interface, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("rtsp: multicast: %w", err)
	}
	for i := range all {
		addrs, err := all[i].Addrs()
		if err != nil {
			continue
		}
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok && n.Contains(ip) && (n.IP.Equal(ip) || ip.IsLoopback()) {
				return &all[i], nil
			}
		}
	}
	return nil, fmt.Errorf("rtsp: multicast: no interface has %v", ip)
}

// join makes the session one of those who are sent to; the first begins the sending.
func (c *caster) join(s *session, v *view) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cancel == nil {
		ctx, cancel := context.WithCancel(c.srv.Context())
		viewer, err := c.attach(ctx, v)
		if err != nil {
			cancel()
			return err
		}
		c.cancel, c.done = cancel, make(chan struct{})
		go c.run(ctx, viewer)
	}
	c.members[s] = c.sent.Load()
	return nil
}

// attach watches the stream, on behalf of those who were let in.
func (c *caster) attach(ctx context.Context, v *view) (*stream.Viewer, error) {
	return c.srv.hub.Play(ctx, stream.PlayRequest{
		// An origin's query: there is nothing to wait for when the stream has just ended.
		MediaInfo: fact.MediaInfo{Schema: FormatName, Protocol: FormatName, Stream: v.name, Params: "edge=1"},
		Format:    FormatName, Admitted: true, Relay: true, Kick: func() {},
	})
}

// run sends until nobody is left or the stream ends, with which the sessions end.
func (c *caster) run(ctx context.Context, viewer *stream.Viewer) {
	defer close(c.done)
	defer viewer.Close()
	err := viewer.Serve(ctx, c)
	if ctx.Err() != nil {
		return
	}
	c.ways.Load().bye()
	pause(ctx, farewell)
	c.mu.Lock()
	defer c.mu.Unlock()
	for s := range c.members {
		s.log.Info("RTSP viewer ended", "transport", overMulticast, "why", err)
		s.end(fact.EndUnpublish)
	}
}

// leave counts what was sent while the session was one of the members.
func (c *caster) leave(s *session, v *view) {
	c.mu.Lock()
	from, ok := c.members[s]
	delete(c.members, s)
	c.mu.Unlock()
	if ok {
		v.viewer.Sent(int(c.sent.Load() - from))
	}
}

// Write implements stream.Outlet.
func (c *caster) Write(ctx context.Context, blocks net.Buffers) (int64, error) {
	w := c.ways.Load()
	if c.sent.Load() == 0 {
		// As in session.serveView.
		c.sent.Add(int64(w.datagrams(blocks, true)))
		pause(ctx, reportLead)
	}
	n := w.spread(ctx, blocks)
	c.sent.Add(n)
	return n, nil
}

// setupMulticast takes SETUP of a track, and returns the answer's transport.
func (s *session) setupMulticast(v *view, n int) (transport string, err error) {
	if v.cast == nil {
		if v.cast, err = s.castOf(v); err != nil {
			return "", err
		}
	}
	port, err := v.cast.way(n)
	if err != nil {
		return "", err
	}
	return multicastTransport(v.cast, port), nil
}

// multicastTransport is the answer to a SETUP.
func multicastTransport(c *caster, port uint16) string {
	return fmt.Sprintf("RTP/AVP;multicast;destination=%s;source=%s;port=%d-%d;ttl=%d", c.group.Addr(), c.local, port, port+1, c.ttl)
}

// playMulticast takes PLAY of who is sent to by multicast. Where the packets begin is not known: others may watch already.
func (s *session) playMulticast(q *request) error {
	v := s.view
	if err := v.cast.join(s, v); err != nil {
		_ = s.answer(q, playRefusal(err))
		return err
	}
	v.done = make(chan struct{})
	close(v.done)
	v.cancel, v.begun = func() {}, true
	s.allow(playerTimeout)
	s.log.Info("RTSP viewer started", "stream", v.name.Key(), "transport", overMulticast, "group", v.cast.group.String())
	return s.answer(q, &reply{status: 200, header: []string{"Range", "npt=now-"}})
}

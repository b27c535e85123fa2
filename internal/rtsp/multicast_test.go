package rtsp

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/ipv4"

	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/format/rtp"
	"github.com/hookline/hookline/internal/stream"
	"github.com/hookline/hookline/internal/stream/streamtest"
)

// cast is a multicast transport that the server answered.
type cast struct {
	group netip.AddrPort
	ttl   int
}

func (c *client) setupMulticast(url string) (to cast) {
	c.t.Helper()
	c.ok("DESCRIBE", url)
	h, _ := c.ok("SETUP", url+"/trackID=0", "Transport: RTP/AVP;multicast")
	rest, ok := strings.CutPrefix(h["transport"], "RTP/AVP;multicast;destination=")
	addr, rest, _ := strings.Cut(rest, ";source=127.0.0.1;port=")
	var a, b uint16
	if _, err := fmt.Sscanf(rest, "%d-%d;ttl=%d", &a, &b, &to.ttl); !ok || err != nil || b != a+1 || a%2 != 0 {
		c.t.Fatalf("%q: %v", h["transport"], err)
	}
	to.group = netip.AddrPortFrom(netip.MustParseAddr(addr), a)
	return to
}

// ownGroup returns an address that no other process uses that tests at the same time.
func ownGroup(n int) string {
	pid := 2*os.Getpid() + n
	return netip.AddrFrom4([4]byte{239, byte(192 + pid>>16&63), byte(pid >> 8), byte(pid)}).String()
}

// receive joins a group on the loopback interface.
func receive(t *testing.T, group netip.AddrPort) *net.UDPConn {
	t.Helper()
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(group))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	lo, err := interfaceOf(net.IPv4(127, 0, 0, 1))
	if err != nil {
		t.Fatal(err)
	}
	if err := ipv4.NewPacketConn(conn).JoinGroup(lo, &net.UDPAddr{IP: net.IP(group.Addr().AsSlice())}); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	return conn
}

// packet reads one packet.
func packet(t *testing.T, conn *net.UDPConn) rtp.Packet {
	t.Helper()
	buf := make([]byte, 2048)
	n, err := conn.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	p, err := rtp.Parse(buf[:n])
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestMulticast: two players share one group, whose packets are sent once; it is sent to as long as one of them is there. Each
// is reported with what was sent while it watched.
func TestMulticast(t *testing.T) {
	w, group := newWorld(), ownGroup(0)
	srv, addr := start(t, w, Config{MulticastMin: group, MulticastMax: group, MulticastTTL: 3})
	url := "rtsp://" + addr + "/live/a"
	pub := dial(t, addr)
	send := pub.publish(url)
	send()
	one, two := dial(t, addr), dial(t, addr)
	to := one.setupMulticast(url)
	if to != two.setupMulticast(url) || to.group.Addr().String() != group || to.ttl != 3 {
		t.Error(to)
	}
	media, reports := receive(t, to.group), receive(t, netip.AddrPortFrom(to.group.Addr(), to.group.Port()+1))
	one.ok("PLAY", url)
	send()
	first := packet(t, media)
	two.ok("PLAY", url)
	if hub := srv.hub.(*stream.Hub); len(hub.Players(stream.Filter{})) != 2 || hub.Stats().Viewers != 2 {
		t.Errorf("%+v, %+v", hub.Players(stream.Filter{}), hub.Stats())
	}
	if first.PT != 8 {
		t.Errorf("%+v", first)
	}
	for i := range 4 {
		send()
		if p := packet(t, media); p.Seq != first.Seq+uint16(i)+1 {
			t.Errorf("packet %d follows %d", p.Seq, first.Seq)
		}
		if i == 1 {
			one.ok("TEARDOWN", url) // the other one goes on
		}
	}
	buf := make([]byte, 2048)
	n, err := reports.Read(buf)
	if r, err2 := rtp.ParseRTCP(buf[:n]); err != nil || err2 != nil || r.Sender == nil {
		t.Error(err, err2)
	}
	// The range has one address, so that there is none for another stream, until it is free.
	other := dial(t, addr)
	sendOther := other.publish("rtsp://" + addr + "/live/b")
	sendOther()
	late := dial(t, addr)
	late.ok("DESCRIBE", "rtsp://"+addr+"/live/b")
	if status, _, _ := late.ask("SETUP", "rtsp://"+addr+"/live/b/trackID=0", "Transport: RTP/AVP;multicast"); status != 461 {
		t.Error(status)
	}
	two.ok("TEARDOWN", url)
	for deadline := time.Now().Add(patience); srv.casting() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the group is still sent to")
		}
	}
	if h, _ := late.ok("SETUP", "rtsp://"+addr+"/live/b/trackID=0", "Transport: RTP/AVP;multicast"); !strings.Contains(h["transport"], group) {
		t.Error(h)
	}
	late.ok("PLAY", "rtsp://"+addr+"/live/b")
	pub.ok("TEARDOWN", url)
	other.ok("TEARDOWN", url)
	<-w.Ended
	<-w.Ended
	if _, err := late.r.Peek(1); err == nil {
		t.Error("who watches a stream that has ended is still connected")
	}
	players := func() int {
		return len(slices.DeleteFunc(streamtest.Of[*fact.FlowReport](w.Plane), func(r *fact.FlowReport) bool {
			return !r.Player || r.Live.Stream != "a" || r.TotalBytes == 0
		}))
	}
	for deadline := time.Now().Add(patience); players() < 2 && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
	}
	if n := players(); n != 2 {
		t.Errorf("%d players were reported", n)
	}
}

// casting is the number of groups that are in use.
func (s *Server) casting() int {
	s.groups.mu.Lock()
	defer s.groups.mu.Unlock()
	return len(s.groups.used)
}

// TestMulticastRefused: no publisher by multicast, none at all where another transport is the only one.
func TestMulticastRefused(t *testing.T) {
	w := newWorld()
	_, addr := start(t, w, Config{Transport: TCPOnly})
	url := "rtsp://" + addr + "/live/a"
	pub := dial(t, addr)
	pub.announce(url)
	if status, _, _ := pub.ask("SETUP", url+"/track0", "Transport: RTP/AVP;multicast;mode=record"); status != 461 {
		t.Error(status)
	}
	send := dial(t, addr).publish("rtsp://" + addr + "/live/b")
	send()
	player := dial(t, addr)
	player.ok("DESCRIBE", "rtsp://"+addr+"/live/b")
	if status, _, _ := player.ask("SETUP", "rtsp://"+addr+"/live/b/trackID=0", "Transport: RTP/AVP;multicast"); status != 461 {
		t.Error(status)
	}
}

func TestGroups(t *testing.T) {
	var g groups
	g.limit("239.1.0.254", "239.1.1.1", 4001, 4018)
	var got []string
	taken := 4010
	free := func(port int) bool { return port != taken }
	for i := range 5 {
		if i == 1 {
			taken = 0
		}
		a, err := g.take(free)
		if err != nil {
			got = append(got, "none")
			continue
		}
		got = append(got, a.String())
	}
	if want := "239.1.0.254:4002 239.1.0.255:4010 239.1.1.0:4002 239.1.1.1:4010 none"; strings.Join(got, " ") != want {
		t.Errorf("%q, want %q", got, want)
	}
	g.give(netip.MustParseAddr("239.1.1.0"))
	if a, err := g.take(free); err != nil || a.String() != "239.1.1.0:4002" {
		t.Error(a, err)
	}
	for _, bad := range [][2]string{{"10.0.0.1", "10.0.0.2"}, {"239.1.0.2", "239.1.0.1"}, {"ff02::1", "ff02::2"}, {"", ""}} {
		if g.limit(bad[0], bad[1], 0, 0); g.min.String() != "239.0.0.0" || g.max.String() != "239.255.255.255" || g.ports != [2]int{30000, 34992} {
			t.Error(bad, g.min, g.max)
		}
	}
}

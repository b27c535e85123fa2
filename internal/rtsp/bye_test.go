package rtsp

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/hookline/hookline/internal/format/rtp"
)

// kicker is a Registry that ends sessions.
type kicker struct {
	mu  sync.Mutex
	all map[string]func()
}

func (k *kicker) Add(s Session) (remove func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.all[fmt.Sprint(s.PeerPort)] = s.Kick
	return func() {}
}

func (k *kicker) kick(c *client) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.all[fmt.Sprint(c.conn.LocalAddr().(*net.TCPAddr).Port)]()
}

func listenUDP(t *testing.T) (conn *net.UDPConn, port int) {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	return conn, conn.LocalAddr().(*net.UDPAddr).Port
}

// awaitBye reads reports until the end is told, and returns whose.
func awaitBye(t *testing.T, conn *net.UDPConn) uint32 {
	t.Helper()
	buf := make([]byte, 2048)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		r, err := rtp.ParseRTCP(buf[:n])
		if err != nil {
			t.Error(err)
		}
		if r.Bye {
			return rtp.Source(buf[n-8:n], true)
		}
	}
}

// TestBye: players over UDP and multicast are told of the end of what they play, by the source that sent; who leaves is not.
func TestBye(t *testing.T) {
	for _, over := range []string{"udp", overMulticast} {
		for _, how := range []string{"unpublish", "kick"} {
			if over == overMulticast && how == "kick" {
				continue // others may watch on
			}
			t.Run(over+" "+how, func(t *testing.T) {
				group := ownGroup(1)
				w, k := newWorld(), &kicker{all: map[string]func(){}}
				_, addr := start(t, w, Config{Registry: k, MulticastMin: group, MulticastMax: group})
				url := "rtsp://" + addr + "/live/a"
				pub, player := dial(t, addr), dial(t, addr)
				send := pub.publish(url)
				send()
				var sound, reports *net.UDPConn
				if over == overMulticast {
					to := player.setupMulticast(url)
					sound, reports = receive(t, to.group), receive(t, netip.AddrPortFrom(to.group.Addr(), to.group.Port()+1))
				} else {
					var ports [2]int
					sound, ports[0] = listenUDP(t)
					reports, ports[1] = listenUDP(t)
					player.ok("DESCRIBE", url)
					player.ok("SETUP", url+"/trackID=0", fmt.Sprintf("Transport: RTP/AVP;unicast;client_port=%d-%d", ports[0], ports[1]))
				}
				player.ok("PLAY", url)
				send()
				from := packet(t, sound).SSRC
				if how == "kick" {
					k.kick(player)
				} else {
					pub.ok("TEARDOWN", url)
				}
				if got := awaitBye(t, reports); got != from {
					t.Errorf("%x says bye, %x sent", got, from)
				}
				if _, err := player.r.Peek(1); err == nil {
					t.Error("the player is still connected")
				}
			})
		}
	}
}

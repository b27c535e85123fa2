package e2e

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/hookline/hookline/event"
)

// TestNames: whatever a publisher calls its stream, it is served, with events in order, or refused with a reason.
func TestNames(t *testing.T) {
	t.Parallel()
	s, r := serve(t)
	for _, tc := range []struct {
		name, stream string
		served       bool
	}{
		{"slashes", "a/b/c", true},
		{"quotes", `a"b\c`, true},
		{"escapes", "a%2fb%00", true},
		{"not ASCII", "\U0001f3a5", true},
		{"a space", "a b", true},
		{"markup", "<script>", true},
		{"a suffix", "a.live.flv", true},
		{"a long query", "q?" + strings.Repeat("y", 8000), true},
		{"a level that climbs", "..", false},
		{"a path", "../../etc/passwd", false},
		{"10 KB", strings.Repeat("x", 10<<10), false},
		{"a query of 10 KB", "q?" + strings.Repeat("y", 10<<10), false},
		{"not UTF-8", "a\xff\xfeb", false},
		{"a newline", "a\nb", false},
		{"a zero", "a\x00b", false},
		{"nothing", "?x=1", false},
		{"only slashes", "///", false},
	} {
		p := &publisher{Client: dial(t, s.rtmpURL(tc.stream)), clip: theClip(t)}
		err := askToPublish(t, p.Client)
		if !tc.served {
			if text := refusedWith(t, err, "NetStream.Publish.BadName"); text == "" {
				t.Errorf("%s: no reason is given", tc.name)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		p.must(t, p.send(80))
		p.unpublish(t)
		name, _, _ := strings.Cut(tc.stream, "?")
		r.accept(event.OnPublicationEnded, name)
		r.expectStory(name, "register", "publisher", "unregister", "publication_ended unpublish")
	}
	s.stop()
	r.expectClosed()
}

// TestHostile: senders of nonsense, of nothing, and of a little now and then don't disturb who is served.
func TestHostile(t *testing.T) {
	t.Parallel()
	s, r := serve(t, "rtmp.handshakeSecond", "20") // who is served may be slow, too
	garbage := make([]byte, 1<<16)
	_, _ = rand.Read(garbage)
	version := append([]byte{3}, garbage...)
	var conns []net.Conn
	for _, first := range [][]byte{
		nil, {3}, version[:1537], version, garbage, []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), version[:3073],
	} {
		for _, addr := range []string{s.rtmp, s.http} {
			var d net.Dialer
			c, err := d.DialContext(t.Context(), "tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_, _ = c.Write(first)
			if addr == s.rtmp {
				conns = append(conns, c)
			}
		}
	}
	for i := range 5 {
		life(t, s, r, fmt.Sprintf("s%d", i))
	}
	for i, c := range conns { // none stays for ever
		_ = c.SetReadDeadline(time.Now().Add(patience))
		var timeout net.Error
		for buf := make([]byte, 4096); ; {
			_, err := c.Read(buf)
			if errors.As(err, &timeout) && timeout.Timeout() {
				t.Errorf("connection %d stays", i)
			}
			if err != nil {
				break
			}
		}
	}
}

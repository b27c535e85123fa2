package webhook

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// fakeDNS answers each question for a name with the next of its lists of addresses; the last one stays.
type fakeDNS struct {
	conn net.PacketConn
	done chan struct{}

	mu    sync.Mutex
	names map[string][][]string // guarded by mu
	asked int                   // questions for A; guarded by mu
}

func newFakeDNS(t *testing.T, names map[string][][]string) (*fakeDNS, *net.Resolver) {
	t.Helper()
	conn, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &fakeDNS{conn: conn, names: names, done: make(chan struct{})}
	go d.serve()
	t.Cleanup(func() {
		_ = conn.Close()
		<-d.done
	})
	return d, &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, "udp", conn.LocalAddr().String())
		if err != nil {
			return nil, err
		}
		return patientConn{c.(*net.UDPConn)}, nil
	}}
}

// patientConn waits for an answer however long it takes: the resolver would ask again after five seconds, and give up.
type patientConn struct{ *net.UDPConn }

// SetDeadline implements net.Conn.
func (patientConn) SetDeadline(time.Time) error { return nil }

func (d *fakeDNS) serve() {
	defer close(d.done)
	buf := make([]byte, 1500)
	for {
		n, from, err := d.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		var m dnsmessage.Message
		if m.Unpack(buf[:n]) != nil || len(m.Questions) != 1 {
			continue
		}
		d.answer(&m)
		if b, err := m.Pack(); err == nil {
			_, _ = d.conn.WriteTo(b, from)
		}
	}
}

// answer fills in what there is. Both kinds of address are asked for at once: a list is used up by the question for A.
func (d *fakeDNS) answer(m *dnsmessage.Message) {
	q := m.Questions[0]
	d.mu.Lock()
	defer d.mu.Unlock()
	lists := d.names[strings.TrimSuffix(q.Name.String(), ".")]
	m.Response, m.Authoritative, m.Additionals = true, true, nil
	if len(lists) == 0 {
		m.RCode = dnsmessage.RCodeNameError
		return
	}
	for _, s := range lists[0] {
		a := netip.MustParseAddr(s)
		h := dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET}
		switch {
		case a.Is4() && q.Type == dnsmessage.TypeA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AResource{A: a.As4()}})
		case a.Is6() && q.Type == dnsmessage.TypeAAAA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AAAAResource{AAAA: a.As16()}})
		}
	}
	if q.Type == dnsmessage.TypeA {
		if d.asked++; len(lists) > 1 {
			d.names[strings.TrimSuffix(q.Name.String(), ".")] = lists[1:]
		}
	}
}

// TestGuardAfterResolution: whatever a name resolves to is judged when it is dialled; nothing is connected to.
func TestGuardAfterResolution(t *testing.T) {
	kinds := map[string]string{
		"loopback": "127.0.0.1", "loopback6": "::1", "private10": "10.1.2.3", "private172": "172.20.0.1", "private192": "192.168.0.9",
		"metadata": "169.254.169.254", "metadata6": "fd00:ec2::254", "cgnat": "100.64.1.1", "unspecified": "0.0.0.0",
		"unspecified6": "::", "multicast": "224.0.0.251", "multicast6": "ff02::fb", "broadcast": "255.255.255.255",
		"mapped": "::ffff:127.0.0.1", "mapped-metadata": "::ffff:169.254.169.254", "nat64": "64:ff9b::7f00:1",
		"nat64-metadata": "64:ff9b::a9fe:a9fe", "nat64-own": "64:ff9b:1::7f00:1", "sixtofour": "2002:7f00:1::1",
		"sixtofour-private": "2002:c0a8:1::1", "teredo": "2001:0:808:808::1", "unique-local": "fd12::1", "link-local6": "fe80::1",
	}
	names := map[string][][]string{}
	for name, addr := range kinds {
		names[name+".test"] = [][]string{{addr}}
	}
	_, resolver := newFakeDNS(t, names)
	c := newClient(t, Config{Guard: PublicOnly, Resolver: resolver, MaxRedirects: -1})
	for name := range kinds {
		if r := send(t, c, "http://"+name+".test:9/", patience); !errors.Is(r.Err, ErrRefused) {
			t.Errorf("%s: %d %v", name, r.Status, r.Err)
		}
	}
	for _, host := range []string{"2130706433", "0x7f.1", "127.1", "017700000001"} { // spellings that some resolvers take for addresses
		if r := send(t, c, "http://"+host+":9/", patience); r.Err == nil {
			t.Errorf("%s: %d", host, r.Status)
		}
	}
}

// TestGuardAgainstRebinding: a name that was harmless when it was looked at is judged again at every connection, and a
// private address among public ones is not reached.
func TestGuardAgainstRebinding(t *testing.T) {
	rec := answers(t, true, okWire())
	_, port, _ := net.SplitHostPort(rec.ln.Addr().String())
	dns, resolver := newFakeDNS(t, map[string][][]string{"rebind.test": {{"127.0.0.2"}, {"127.0.0.1"}}, "mixed.test": {{"127.0.0.1", "169.254.169.254"}}})
	var seen []netip.Addr
	guard := func(ctx context.Context, network string, a netip.AddrPort) error {
		seen = append(seen, a.Addr())
		if a.Addr().String() == "127.0.0.2" {
			return nil // plays the public address; nobody listens there
		}
		return PublicOnly(ctx, network, a)
	}
	c := newClient(t, Config{Guard: guard, Resolver: resolver})
	first := send(t, c, "http://rebind.test:"+port+"/", patience)
	second := send(t, c, "http://rebind.test:"+port+"/", patience)
	if first.Err == nil || errors.Is(first.Err, ErrRefused) || !errors.Is(second.Err, ErrRefused) {
		t.Errorf("first %v, second %v", first.Err, second.Err)
	}
	dns.mu.Lock()
	asked := dns.asked
	dns.mu.Unlock()
	if len(seen) != 2 || asked < 2 || rec.conns.Load() != 0 {
		t.Errorf("%v after %d questions, %d connections", seen, asked, rec.conns.Load())
	}
	if r := send(t, c, "http://mixed.test:"+port+"/", patience); !errors.Is(r.Err, ErrRefused) || rec.conns.Load() != 0 {
		t.Errorf("%v", r.Err)
	}
}

func TestRedirectGuard(t *testing.T) {
	for _, c := range []struct {
		from, to string
		ok       bool
	}{
		{"8.8.8.8", "1.1.1.1", true},
		{"10.0.0.1", "8.8.8.8", true},
		{"10.0.0.1", "192.168.1.1", true},
		{"127.0.0.1", "127.0.0.2", true},
		{"100.64.0.1", "100.64.0.2", true},
		{"fd00::1", "fd00::2", true},
		{"8.8.8.8", "127.0.0.1", false},
		{"8.8.8.8", "10.0.0.1", false},
		{"8.8.8.8", "::ffff:10.0.0.1", false},
		{"8.8.8.8", "64:ff9b::a00:1", false},
		{"10.0.0.1", "169.254.169.254", false},
		{"127.0.0.1", "169.254.169.254", false},
		{"127.0.0.1", "fe80::1", false},
		{"127.0.0.1", "0.0.0.0", false},
		{"127.0.0.1", "224.0.0.1", false},
		{"127.0.0.1", "64:ff9b::7f00:1", false},
	} {
		err := redirectGuard(netip.MustParseAddr(c.from))(t.Context(), "tcp", netip.AddrPortFrom(netip.MustParseAddr(c.to), 80))
		if (err == nil) != c.ok {
			t.Errorf("%s to %s: %v", c.from, c.to, err)
		}
	}
}

// TestRedirectToMetadata: an operator's receiver that was taken over can't lead to what only this machine may see, and
// credentials don't follow to another host.
func TestRedirectToMetadata(t *testing.T) {
	_, resolver := newFakeDNS(t, map[string][][]string{"meta.test": {{"169.254.169.254"}}})
	var got http.Header
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Header
		_, _ = io.WriteString(w, okBody)
	}))
	defer other.Close()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		to := "http://meta.test/latest/meta-data"
		if r.URL.Path == "/other" {
			to = other.URL
		}
		http.Redirect(w, r, to, http.StatusTemporaryRedirect)
	}))
	defer srv.Close()
	c := newClient(t, Config{Resolver: resolver})
	if r := send(t, c, srv.URL, patience); !errors.Is(r.Err, ErrRefused) {
		t.Errorf("%d %v", r.Status, r.Err)
	}
	wantAccepted(t, c.Send(t.Context(), Request{URL: srv.URL + "/other", Header: http.Header{"Authorization": {"Bearer hunter2"}, "X-A": {"b"}}, Timeout: patience}))
	if got.Get("Authorization") != "" || got.Get("X-A") != "b" {
		t.Errorf("%v", got)
	}
}

// TestSecretsAreNotInErrors: what a failed attempt says goes to logs and listings.
func TestSecretsAreNotInErrors(t *testing.T) {
	for _, cfg := range []Config{{}, {Guard: PublicOnly}, {Proxy: "http://joe:hunter2@127.0.0.1:1"}, {Proxy: "ftp://joe:hunter2@x"}} {
		for _, to := range []string{"http://joe:hunter2@127.0.0.1:1/?k=hunter2", "https://joe:hunter2@127.0.0.1:1/", "http://joe:hunter2@%zz/"} {
			if r := send(t, newClient(t, cfg), to, patience); r.Err == nil || strings.Contains(r.Err.Error(), "hunter2") {
				t.Errorf("%s: %v", to, r.Err)
			}
		}
	}
}

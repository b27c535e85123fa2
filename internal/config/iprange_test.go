package config

import (
	"net/netip"
	"testing"
)

func TestIPRanges(t *testing.T) {
	const usual = "::1,127.0.0.1,172.16.0.0-172.31.255.255,192.168.0.0-192.168.255.255,10.0.0.0-10.255.255.255"
	tests := []struct {
		list, addr string
		want       bool
	}{
		{usual, "127.0.0.1", true},
		{usual, "::1", true},
		{usual, "127.0.0.2", false},
		{usual, "::ffff:10.1.2.3", true},
		{usual, "172.15.255.255", false},
		{usual, "172.16.0.0", true},
		{usual, "172.31.255.255", true},
		{usual, "172.32.0.0", false},
		{usual, "fe80::1%eth0", false},
		{"", "8.8.8.8", true},
		{" , ", "2001:db8::1", true},
		{"fe80::1-fe80::ff", "fe80::5%eth0", true},
		{"2001:db8::/32", "2001:db8:ffff::", true},
		{"2001:db8::/32", "2001:db9::", false},
		{"10.1.2.3/8", "10.255.255.255", true},
		{"10.1.2.3/8", "11.0.0.0", false},
		{"::/0", "1.2.3.4", false},
		{"0.0.0.0/0", "1.2.3.4", true},
		{"::ffff:10.0.0.0/104", "10.9.9.9", true},
	}
	for _, tt := range tests {
		r, err := ParseIPRanges(tt.list)
		if err != nil {
			t.Fatalf("%q: %v", tt.list, err)
		}
		if got := r.Contains(netip.MustParseAddr(tt.addr)); got != tt.want {
			t.Errorf("%q contains %s: %t", tt.list, tt.addr, got)
		}
		if r.Contains(netip.Addr{}) {
			t.Errorf("%q contains the invalid address", tt.list)
		}
	}
}

func TestSchemas(t *testing.T) {
	all, err := ParseSchemas("")
	if err != nil || !all.Contains("rtmp") || !all.Contains("hls.fmp4") {
		t.Errorf("the empty list does not stand for all: %v", err)
	}
	some, err := ParseSchemas("rtsp/ hls.fmp4 /")
	if err != nil || !some.Contains("rtsp") || !some.Contains("hls.fmp4") || some.Contains("hls") {
		t.Errorf("rtsp/hls.fmp4: %+v, %v", some, err)
	}
}

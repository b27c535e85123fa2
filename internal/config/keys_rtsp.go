package config

import (
	"net/netip"
	"time"
)

// rtspKeys are [rtsp].
func rtspKeys() []Key {
	keys := []Key{
		portKey("rtsp.port", "554", "RTSP listener", func(c *Config) *int { return &c.RTSP.Port }).withoutFile("8554"),
		portKey("rtsp.sslport", "332", "RTSPS listener; off while there is no certificate (tls.certificates)",
			func(c *Config) *int { return &c.RTSP.SSLPort }).withoutFile("8332"),
		boolKey("rtsp.authBasic", "0", Now, "Basic instead of Digest", func(c *Config) *bool { return &c.RTSP.AuthBasic }),
		durationKey("rtsp.handshakeSecond", "15", time.Second, 0.1, maxSeconds, Now, "limit until RECORD or PLAY",
			func(c *Config) *time.Duration { return &c.RTSP.Handshake }),
		durationKey("rtsp.keepAliveSecond", "15", time.Second, 0.1, maxSeconds, Now, "idle time-out of publishers",
			func(c *Config) *time.Duration { return &c.RTSP.KeepAlive }),
		intKey("rtsp.rtpTransportType", "-1", -1, 2, Now, "-1 any, 0 TCP, 1 UDP, 2 multicast; others are answered 461",
			func(c *Config) *int { return &c.RTSP.Transport }),
		groupKey("multicast.addrMin", "239.0.0.0", "first multicast address", func(c *Config) *string { return &c.RTSP.MulticastMin }),
		groupKey("multicast.addrMax", "239.255.255.255", "last multicast address", func(c *Config) *string { return &c.RTSP.MulticastMax }),
		intKey("multicast.udpTTL", "64", 0, 255, New, "TTL of multicast", func(c *Config) *int { return &c.RTSP.MulticastTTL }),
	}
	return append(keys, planned(
		boolKey("rtsp.directProxy", "1", New, "pass packets through unchanged", nil),
		boolKey("rtsp.lowLatency", "0", New, "no merging of packets", nil),
	)...)
}

// groupKey is a key whose value is a multicast address of IPv4.
func groupKey(name, def, doc string, field func(*Config) *string) Key {
	return newKey(KindString, name, def, New, doc, "a multicast address of IPv4", func(c *Config, v string) error {
		a, err := netip.ParseAddr(v)
		if err != nil || !a.Is4() || !a.IsMulticast() {
			return errNotAllowed
		}
		put(c, field, v)
		return nil
	})
}

// rtpKeys are [rtp].
func rtpKeys() []Key {
	keys := []Key{
		intKey("rtp.audioMtuSize", "600", 64, 65535, Start, "MTU of audio packets, bytes", func(c *Config) *int { return &c.RTP.AudioMTU }),
		intKey("rtp.videoMtuSize", "1400", 64, 65535, Start, "MTU of video packets, bytes", func(c *Config) *int { return &c.RTP.VideoMTU }),
		boolKey("rtp.h264_stap_a", "1", Start, "parameter sets of H.264 in one packet (STAP-A)", func(c *Config) *bool { return &c.RTP.STAP }),
	}
	return append(keys, planned(
		intKey("rtp.rtpMaxSize", "10", 1, 1<<20, New, "largest packet over TCP, KB", nil),
		boolKey("rtp.lowLatency", "0", New, "no merging of packets", nil),
	)...)
}

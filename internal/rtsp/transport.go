package rtsp

import (
	"fmt"
	"strconv"
	"strings"
)

// spec is one transport that a peer offers (RFC 2326 section 12.39).
type spec struct {
	tcp, multicast bool
	// interleaved are the channels of TCP, clientPort the peer's ports of UDP; -1: not given.
	interleaved, clientPort [2]int
	record                  bool
}

// parseTransport returns the offers of a Transport header that can be served, in their order.
func parseTransport(h string) []spec {
	var out []spec
	for offer := range strings.SplitSeq(h, ",") {
		parts := strings.Split(strings.TrimSpace(offer), ";")
		s := spec{interleaved: [2]int{-1, -1}, clientPort: [2]int{-1, -1}}
		switch strings.ToUpper(parts[0]) {
		case "RTP/AVP", "RTP/AVP/UDP":
		case "RTP/AVP/TCP":
			s.tcp = true
		default:
			continue
		}
		for _, p := range parts[1:] {
			name, value, _ := strings.Cut(strings.TrimSpace(p), "=")
			switch strings.ToLower(name) {
			case "multicast":
				s.multicast = true
			case "interleaved":
				s.interleaved = pairOf(value, 255)
			case "client_port":
				s.clientPort = pairOf(value, 65535)
			case "mode":
				m := strings.ToLower(strings.Trim(value, `"`))
				s.record = m == "record" || m == "receive"
			}
		}
		if len(out) < 8 {
			out = append(out, s)
		}
	}
	return out
}

// pairOf reads "a-b" or "a", which means a and the next.
func pairOf(s string, most int) [2]int {
	a, b, two := strings.Cut(s, "-")
	x, err := strconv.Atoi(a)
	if err != nil || x < 0 || x > most {
		return [2]int{-1, -1}
	}
	y := x + 1
	if two {
		if y, err = strconv.Atoi(b); err != nil || y < 0 || y > most {
			return [2]int{-1, -1}
		}
	}
	return [2]int{x, min(y, most)}
}

func tcpTransport(ch [2]int, ssrc uint32, record bool) string {
	s := fmt.Sprintf("RTP/AVP/TCP;unicast;interleaved=%d-%d", ch[0], ch[1])
	return withMode(s, ssrc, record)
}

func udpTransport(client [2]int, server int, ssrc uint32, record bool) string {
	s := fmt.Sprintf("RTP/AVP;unicast;client_port=%d-%d;server_port=%d-%d", client[0], client[1], server, server+1)
	return withMode(s, ssrc, record)
}

func withMode(s string, ssrc uint32, record bool) string {
	if record {
		return s + ";mode=record"
	}
	if ssrc != 0 {
		s += fmt.Sprintf(";ssrc=%08X", ssrc)
	}
	return s
}

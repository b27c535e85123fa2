package rtp

import (
	"encoding/binary"
	"fmt"
	"time"
)

// RTCP packet types (RFC 3550 section 12.1).
const (
	rtcpSR   = 200
	rtcpRR   = 201
	rtcpSDES = 202
	rtcpBye  = 203
)

// SenderReport ties the RTP clock of a track to wall time (RFC 3550 section 6.4.1).
type SenderReport struct {
	SSRC uint32
	NTP  time.Time
	RTP  uint32
	// compact is the middle of the NTP time, which receivers send back.
	compact uint32
}

// Report is what a compound RTCP packet says.
type Report struct {
	Sender   *SenderReport
	Receiver bool // a receiver report: who reads is alive
	Bye      bool
}

// ParseRTCP reads a compound packet. Errors wrap ErrBadPacket.
func ParseRTCP(b []byte) (Report, error) {
	var r Report
	for len(b) > 0 {
		if len(b) < 4 || b[0]>>6 != 2 {
			return r, fmt.Errorf("RTCP header: %w", ErrBadPacket)
		}
		n := 4 + 4*int(binary.BigEndian.Uint16(b[2:]))
		if n > len(b) {
			return r, fmt.Errorf("RTCP length: %w", ErrBadPacket)
		}
		switch body := b[4:n]; b[1] {
		case rtcpSR:
			if len(body) < 24 {
				return r, fmt.Errorf("sender report of %d bytes: %w", n, ErrBadPacket)
			}
			r.Sender = &SenderReport{
				SSRC: binary.BigEndian.Uint32(body), NTP: fromNTP(binary.BigEndian.Uint64(body[4:])),
				RTP: binary.BigEndian.Uint32(body[12:]), compact: binary.BigEndian.Uint32(body[6:]),
			}
		case rtcpRR:
			r.Receiver = true
		case rtcpBye:
			r.Bye = true
		}
		b = b[n:]
	}
	return r, nil
}

// ntpEpoch is 1900 in Unix seconds.
const ntpEpoch = 2208988800

func toNTP(t time.Time) uint64 {
	s := uint64(t.Unix()+ntpEpoch) << 32
	return s | uint64(t.Nanosecond())<<32/uint64(time.Second)
}

func fromNTP(v uint64) time.Time {
	return time.Unix(int64(v>>32)-ntpEpoch, int64((v&0xffffffff)*uint64(time.Second)>>32))
}

// AppendSenderReport appends a sender report in the interleaved framing, on the channel behind that of the packets: the
// frame of pts is played at now.
func (e *Encoder) AppendSenderReport(dst []byte, now time.Time, pts time.Duration) []byte {
	dst = append(dst, '$', e.w.channel+1, 0, 28, 0x80, rtcpSR, 0, 6)
	dst = binary.BigEndian.AppendUint32(dst, e.w.ssrc)
	dst = binary.BigEndian.AppendUint64(dst, toNTP(now))
	dst = binary.BigEndian.AppendUint32(dst, e.Time(pts))
	dst = binary.BigEndian.AppendUint32(dst, e.packets)
	return binary.BigEndian.AppendUint32(dst, e.octets)
}

// cname names us to receivers (RFC 3550 section 6.5.1), with the zeros that fill its chunk up.
const cname = "\x01\x08hookline\x00\x00"

// AppendBye appends a compound packet, without framing, that says that a source is over (RFC 3550 sections 6.1 and 6.6).
func AppendBye(dst []byte, ssrc uint32) []byte {
	dst = append(dst, 0x80, rtcpRR, 0, 1)
	dst = binary.BigEndian.AppendUint32(dst, ssrc)
	dst = append(dst, 0x81, rtcpSDES, 0, byte((4+len(cname))/4))
	dst = binary.BigEndian.AppendUint32(dst, ssrc)
	dst = append(dst, cname...)
	dst = append(dst, 0x81, rtcpBye, 0, 1)
	return binary.BigEndian.AppendUint32(dst, ssrc)
}

// Source returns the SSRC of a packet: RTP, or RTCP that begins with a report. 0: it is too short to have one.
func Source(b []byte, control bool) uint32 {
	at := 8
	if control {
		at = 4
	}
	if len(b) < at+4 {
		return 0
	}
	return binary.BigEndian.Uint32(b[at:])
}

// Reception counts the packets of one source for its receiver reports (RFC 3550 appendix A.3).
type Reception struct {
	SSRC uint32 // of the source

	started  bool
	base     uint32 // first extended sequence number
	top      uint32 // highest extended sequence number
	received uint32
	lastRecv uint32
	lastWant uint32
	jitter   float64
	transit  int64
	sr       uint32
	srAt     time.Time
}

// Packet counts one packet that came at now; rate is the RTP clock in Hz.
func (r *Reception) Packet(p *Packet, now time.Time, rate int) {
	transit := toClock(time.Duration(now.UnixNano()%int64(24*time.Hour)), rate) - int64(p.Timestamp)
	if !r.started {
		r.started, r.SSRC, r.base, r.top, r.transit = true, p.SSRC, uint32(p.Seq), uint32(p.Seq), transit
	}
	if d := int16(p.Seq - uint16(r.top)); d > 0 {
		r.top += uint32(d)
	}
	r.received++
	d := transit - r.transit
	r.transit = transit
	if d < 0 {
		d = -d
	}
	if d < int64(rate)*10 { // else the clock jumped
		r.jitter += (float64(d) - r.jitter) / 16
	}
}

// SenderReport notes a report of the source.
func (r *Reception) SenderReport(s *SenderReport, now time.Time) { r.sr, r.srAt = s.compact, now }

// AppendReport appends a receiver report of ours, without framing; nothing before the first packet.
func (r *Reception) AppendReport(dst []byte, ssrc uint32, now time.Time) []byte {
	if !r.started {
		return dst
	}
	want := r.top - r.base + 1
	lost := int64(want) - int64(r.received)
	fraction := 0
	if w := want - r.lastWant; w > 0 {
		if l := int64(w) - int64(r.received-r.lastRecv); l > 0 {
			fraction = int(min(l<<8/int64(w), 255))
		}
	}
	r.lastWant, r.lastRecv = want, r.received
	delay := uint32(0)
	if !r.srAt.IsZero() {
		delay = uint32(toClock(now.Sub(r.srAt), 65536))
	}
	dst = append(dst, 0x81, rtcpRR, 0, 7)
	dst = binary.BigEndian.AppendUint32(dst, ssrc)
	dst = binary.BigEndian.AppendUint32(dst, r.SSRC)
	dst = binary.BigEndian.AppendUint32(dst, uint32(fraction)<<24|uint32(min(max(lost, -1<<23), 1<<23-1))&0xffffff)
	dst = binary.BigEndian.AppendUint32(dst, r.top)
	dst = binary.BigEndian.AppendUint32(dst, uint32(min(r.jitter, 1<<31)))
	dst = binary.BigEndian.AppendUint32(dst, r.sr)
	return binary.BigEndian.AppendUint32(dst, delay)
}

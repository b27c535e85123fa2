package rtp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
)

// Errors of packets and formats; they come wrapped with the place.
var (
	// ErrBadPacket: a packet that RFC 3550 or the RFC of its payload does not allow.
	ErrBadPacket = errors.New("bad RTP packet")
	// ErrUnsupported: a codec that has no RTP payload here.
	ErrUnsupported = errors.New("no RTP payload format")
)

const (
	headerSize = 12
	// framing is the size of RTSP's interleaved header.
	framing = 4
	// MaxUnit bounds one access unit in bytes.
	MaxUnit = 16 << 20
)

// Packet is a parsed RTP packet. Payload is a slice of what was parsed.
type Packet struct {
	PT        uint8
	Marker    bool
	Seq       uint16
	Timestamp uint32
	SSRC      uint32
	Payload   []byte
}

// Parse parses one packet, over extensions, contributing sources and padding (RFC 3550 section 5.1). Errors wrap
// ErrBadPacket.
func Parse(b []byte) (Packet, error) {
	var p Packet
	if len(b) < headerSize || b[0]>>6 != 2 {
		return p, fmt.Errorf("header: %w", ErrBadPacket)
	}
	p.PT, p.Marker = b[1]&0x7f, b[1]&0x80 != 0
	p.Seq = binary.BigEndian.Uint16(b[2:])
	p.Timestamp = binary.BigEndian.Uint32(b[4:])
	p.SSRC = binary.BigEndian.Uint32(b[8:])
	n := headerSize + 4*int(b[0]&0x0f)
	if b[0]&0x10 != 0 { // extension
		if len(b) < n+4 {
			return p, fmt.Errorf("extension: %w", ErrBadPacket)
		}
		n += 4 + 4*int(binary.BigEndian.Uint16(b[n+2:]))
	}
	end := len(b)
	if b[0]&0x20 != 0 { // padding; its last byte is its length
		end -= int(b[end-1])
		if b[len(b)-1] == 0 {
			return p, fmt.Errorf("padding: %w", ErrBadPacket)
		}
	}
	if n > end {
		return p, fmt.Errorf("length: %w", ErrBadPacket)
	}
	p.Payload = b[n:end:end]
	return p, nil
}

// Packets yields the channel and the bytes of each packet in a buffer of interleaved frames. It stops at what is none.
func Packets(b []byte) iter.Seq2[uint8, []byte] {
	return func(yield func(uint8, []byte) bool) {
		for len(b) >= framing && b[0] == '$' {
			n := int(binary.BigEndian.Uint16(b[2:]))
			if n > len(b)-framing {
				return
			}
			if !yield(b[1], b[framing:framing+n:framing+n]) {
				return
			}
			b = b[framing+n:]
		}
	}
}

// writer writes the packets of one track.
type writer struct {
	channel uint8
	pt      uint8
	seq     uint16
	ssrc    uint32
	mtu     int // of header and payload
}

// room is the number of payload bytes of a full packet.
func (w *writer) room() int { return w.mtu - headerSize }

// begin appends the headers of a packet with n bytes of payload, which the caller appends.
func (w *writer) begin(dst []byte, ts uint32, marker bool, n int) []byte {
	n += headerSize
	pt := w.pt
	if marker {
		pt |= 0x80
	}
	dst = append(dst, '$', w.channel, byte(n>>8), byte(n), 0x80, pt)
	dst = binary.BigEndian.AppendUint16(dst, w.seq)
	dst = binary.BigEndian.AppendUint32(dst, ts)
	w.seq++
	return binary.BigEndian.AppendUint32(dst, w.ssrc)
}

// packet appends a packet whose payload is the concatenation of parts.
func (w *writer) packet(dst []byte, ts uint32, marker bool, parts ...[]byte) []byte {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	dst = w.begin(dst, ts, marker, n)
	for _, p := range parts {
		dst = append(dst, p...)
	}
	return dst
}

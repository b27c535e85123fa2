package rtp

import (
	"github.com/bluenviron/gortsplib/v5/pkg/format/rtpmjpeg"

	"github.com/hookline/hookline/internal/media"
)

// vp8Payload is RFC 7741 with the shortest descriptor.
type vp8Payload struct{}

func (vp8Payload) append(dst []byte, w *writer, ts uint32, f *media.Frame) []byte {
	head := [1]byte{0x10} // start of the first partition
	for rest := f.Data; len(rest) > 0; {
		n := min(len(rest), w.room()-len(head))
		dst = w.packet(dst, ts, n == len(rest), head[:], rest[:n])
		rest, head[0] = rest[n:], 0
	}
	return dst
}

// vp9Payload is RFC 9628 in non-flexible mode, without layers.
type vp9Payload struct{}

func (vp9Payload) append(dst []byte, w *writer, ts uint32, f *media.Frame) []byte {
	const inter, begin, end = 0x40, 0x08, 0x04
	flags := byte(begin)
	if !f.Key {
		flags |= inter
	}
	for rest := f.Data; len(rest) > 0; {
		n := min(len(rest), w.room()-1)
		if n == len(rest) {
			flags |= end
		}
		head := [1]byte{flags}
		dst = w.packet(dst, ts, n == len(rest), head[:], rest[:n])
		rest, flags = rest[n:], flags&^begin
	}
	return dst
}

// av1Payload is "RTP Payload Format For AV1" of the Alliance for Open Media: one OBU, or a fragment of one, in a packet.
type av1Payload struct{}

func (av1Payload) append(dst []byte, w *writer, ts uint32, f *media.Frame) []byte {
	const more, continued, one, newSequence = 0x40, 0x80, 0x10, 0x08
	obus := bareOBUs(f.Data)
	fresh := byte(0)
	if f.Key {
		fresh = newSequence
	}
	for i, o := range obus {
		flags := byte(one) | fresh
		for rest := o; len(rest) > 0; {
			n := min(len(rest), w.room()-1)
			if n < len(rest) {
				flags |= more
			} else {
				flags &^= more
			}
			head := [1]byte{flags}
			dst = w.packet(dst, ts, n == len(rest) && i == len(obus)-1, head[:], rest[:n])
			rest, flags = rest[n:], one|continued
		}
		fresh = 0
	}
	return dst
}

// bareOBUs returns the OBUs of a temporal unit without their size fields.
func bareOBUs(data []byte) [][]byte {
	const hasSize, extension = 2, 4
	var out [][]byte
	for len(data) > 0 {
		head := data[:1]
		if data[0]&extension != 0 && len(data) > 1 {
			head = data[:2]
		}
		typ, payload, n, ok := media.TakeOBU(data)
		if !ok {
			break
		}
		if typ != media.OBUTemporalDelimiter {
			o := append(append(make([]byte, 0, len(head)+len(payload)), head...), payload...)
			o[0] &^= hasSize
			out = append(out, o)
		}
		data = data[n:]
	}
	return out
}

// jpegPayload is RFC 2435, which is for baseline pictures with the usual tables only; others can't be written.
type jpegPayload struct{ enc *rtpmjpeg.Encoder }

func newJPEGPayload(mtu int) (*jpegPayload, error) {
	ssrc, seq := uint32(0), uint16(0)
	e := &rtpmjpeg.Encoder{SSRC: &ssrc, InitialSequenceNumber: &seq, PayloadMaxSize: mtu - headerSize}
	if err := e.Init(); err != nil {
		return nil, err
	}
	return &jpegPayload{e}, nil
}

func (p *jpegPayload) append(dst []byte, w *writer, ts uint32, f *media.Frame) []byte {
	pkts, err := p.enc.Encode(f.Data)
	if err != nil {
		return dst
	}
	for _, k := range pkts {
		dst = w.packet(dst, ts, k.Marker, k.Payload)
	}
	return dst
}

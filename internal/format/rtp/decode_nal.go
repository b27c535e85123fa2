package rtp

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/hookline/hookline/internal/media"
)

// keepFragment bounds the memory that is kept for the next NAL unit in fragments.
const keepFragment = 1 << 20

// nalUnits collects the NAL units of one access unit.
type nalUnits struct {
	codec   media.Codec
	ts      int64
	buf     []byte // 4-byte lengths and NAL units
	frag    []byte // a NAL unit in fragments; its memory is used again
	fragOn  bool
	damaged bool // something of the access unit is missing
	picture bool // there is a slice
}

// start begins the access unit of ts, after what came before it was handed on.
func (u *nalUnits) start(ts int64, lost bool, emit func(int64, []byte)) {
	if lost {
		u.fragOn, u.damaged = false, true
	}
	if ts != u.ts {
		// What is missing may be the end of the old unit or the start of the new one; both are doubtful, but a unit that was
		// complete would have been handed on at its marker.
		u.flush(emit)
		u.ts = ts
		u.damaged = false
	}
}

// flush hands on the unit, unless something of it is missing.
func (u *nalUnits) flush(emit func(int64, []byte)) {
	if len(u.buf) > 0 && !u.damaged {
		emit(u.ts, u.buf)
	}
	u.buf, u.fragOn, u.picture = nil, false, false
	if cap(u.frag) > keepFragment {
		u.frag = nil
	}
}

// marker ends the unit. Some cameras set it on parameter sets too, which belong to the picture that follows.
func (u *nalUnits) marker(emit func(int64, []byte)) {
	if u.picture || u.damaged {
		u.flush(emit)
		u.damaged = false
	}
}

func (u *nalUnits) add(nalu []byte) error {
	if len(nalu) == 0 {
		return nil
	}
	if len(u.buf)+len(nalu)+4 > MaxUnit {
		u.damaged = true
		return fmt.Errorf("access unit of more than %d bytes: %w", MaxUnit, ErrBadPacket)
	}
	switch typ := media.NALUType(u.codec, nalu); {
	case u.codec == media.H264 && typ == 9, u.codec == media.H265 && typ == 35:
		return nil // access unit delimiter: containers make their own
	case u.codec == media.H264:
		u.picture = u.picture || typ >= 1 && typ <= 5
	default:
		u.picture = u.picture || typ <= media.H265NALLastVCL
	}
	u.buf = binary.BigEndian.AppendUint32(slices.Grow(u.buf, 4+len(nalu)), uint32(len(nalu)))
	u.buf = append(u.buf, nalu...)
	return nil
}

// fragment takes one fragment of a NAL unit. head is the header of the whole unit, when the fragment is the first.
func (u *nalUnits) fragment(head, data []byte, first, last bool) error {
	switch {
	case first:
		u.frag, u.fragOn = append(append(u.frag[:0], head...), data...), true
	case !u.fragOn:
		u.damaged = true
		return fmt.Errorf("fragment without a start: %w", ErrBadPacket)
	case len(u.frag)+len(data) > MaxUnit:
		u.fragOn, u.frag, u.damaged = false, nil, true
		return fmt.Errorf("NAL unit of more than %d bytes: %w", MaxUnit, ErrBadPacket)
	default:
		u.frag = append(u.frag, data...)
	}
	if !last {
		return nil
	}
	u.fragOn = false
	return u.add(u.frag)
}

// aggregate takes NAL units behind 16-bit lengths. skip is the number of bytes before each length.
func (u *nalUnits) aggregate(b []byte, skip int) error {
	for len(b) > 0 {
		if len(b) < skip+2 {
			return fmt.Errorf("aggregation: %w", ErrBadPacket)
		}
		n := int(binary.BigEndian.Uint16(b[skip:]))
		b = b[skip+2:]
		if n > len(b) {
			return fmt.Errorf("aggregation: %w", ErrBadPacket)
		}
		if err := u.add(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// h264Form is RFC 6184: single NAL units, STAP-A, FU-A. The interleaved mode is not asked for and not read.
type h264Form struct{ u nalUnits }

func (h *h264Form) push(p *Packet, ts int64, lost bool, emit func(int64, []byte)) error {
	h.u.codec = media.H264
	h.u.start(ts, lost, emit)
	var err error
	switch b := p.Payload; b[0] & 0x1f {
	case 24: // STAP-A
		err = h.u.aggregate(b[1:], 0)
	case 28: // FU-A
		if len(b) < 3 {
			err = fmt.Errorf("FU-A of %d bytes: %w", len(b), ErrBadPacket)
			break
		}
		err = h.u.fragment([]byte{b[0]&0xe0 | b[1]&0x1f}, b[2:], b[1]&0x80 != 0, b[1]&0x40 != 0)
	case 0, 25, 26, 27, 29, 30, 31:
		err = fmt.Errorf("H.264 payload type %d: %w", b[0]&0x1f, ErrBadPacket)
	default:
		err = h.u.add(b)
	}
	if p.Marker {
		h.u.marker(emit)
	}
	return err
}

// h265Form is RFC 7798: single NAL units, AP, FU.
type h265Form struct {
	u    nalUnits
	donl bool // sprop-max-don-diff: decoding order numbers are there
}

func (h *h265Form) push(p *Packet, ts int64, lost bool, emit func(int64, []byte)) error {
	h.u.codec = media.H265
	h.u.start(ts, lost, emit)
	b := p.Payload
	if len(b) < 3 {
		return fmt.Errorf("H.265 payload of %d bytes: %w", len(b), ErrBadPacket)
	}
	err := h.payload(b)
	if p.Marker {
		h.u.marker(emit)
	}
	return err
}

func (h *h265Form) payload(b []byte) error {
	don := 0
	if h.donl {
		don = 2
	}
	bad := fmt.Errorf("H.265 payload of %d bytes: %w", len(b), ErrBadPacket)
	switch typ := b[0] >> 1 & 0x3f; typ {
	case 48: // AP: the first unit has the 2 bytes of DONL before its length, the others one byte of DOND
		if !h.donl {
			return h.u.aggregate(b[2:], 0)
		}
		if len(b) < 6 {
			return bad
		}
		n := int(binary.BigEndian.Uint16(b[4:]))
		if n > len(b)-6 {
			return bad
		}
		if err := h.u.add(b[6 : 6+n]); err != nil {
			return err
		}
		return h.u.aggregate(b[6+n:], 1)
	case 49: // FU
		first, last := b[2]&0x80 != 0, b[2]&0x40 != 0
		data := b[3:]
		if first {
			if len(data) < don {
				return bad
			}
			data = data[don:]
		}
		return h.u.fragment([]byte{b[0]&0x81 | b[2]&0x3f<<1, b[1]}, data, first, last)
	case 50:
		return fmt.Errorf("H.265 PACI packet: %w", ErrBadPacket)
	default:
		if h.donl { // DONL stands behind the header
			if len(b) < 4 {
				return bad
			}
			return h.u.add(append([]byte{b[0], b[1]}, b[4:]...))
		}
		return h.u.add(b)
	}
}

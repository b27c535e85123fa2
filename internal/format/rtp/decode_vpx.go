package rtp

import (
	"errors"
	"fmt"

	"github.com/bluenviron/gortsplib/v5/pkg/format/rtpmjpeg"
	pion "github.com/pion/rtp"
)

// pieces collects the packets of one picture, from the first to the marker.
type pieces struct {
	ts  int64
	buf []byte
	on  bool
}

func (p *pieces) push(ts int64, lost, first, last bool, data []byte, emit func(int64, []byte)) error {
	if first {
		p.buf, p.on, p.ts = nil, true, ts
	}
	if !p.on || lost && !first || ts != p.ts || len(p.buf)+len(data) > MaxUnit {
		p.buf, p.on = nil, false
		return fmt.Errorf("picture without its start: %w", ErrBadPacket)
	}
	p.buf = append(p.buf, data...)
	if last {
		if len(p.buf) > 0 {
			emit(ts, p.buf)
		}
		p.buf, p.on = nil, false
	}
	return nil
}

// vp8Form is RFC 7741 section 4.2.
type vp8Form struct{ p pieces }

func (v *vp8Form) push(p *Packet, ts int64, lost bool, emit func(int64, []byte)) error {
	b := p.Payload
	first := b[0]&0x10 != 0 && b[0]&0x07 == 0
	n := 1
	if b[0]&0x80 != 0 { // extension
		if len(b) < 2 {
			return fmt.Errorf("VP8 descriptor: %w", ErrBadPacket)
		}
		x := b[1]
		n = 2
		if x&0x80 != 0 { // picture id
			if len(b) > n && b[n]&0x80 != 0 {
				n++
			}
			n++
		}
		if x&0x40 != 0 { // TL0PICIDX
			n++
		}
		if x&0x30 != 0 { // TID, KEYIDX
			n++
		}
	}
	if n > len(b) {
		return fmt.Errorf("VP8 descriptor: %w", ErrBadPacket)
	}
	return v.p.push(ts, lost, first, p.Marker, b[n:], emit)
}

// vp9Form is RFC 9628 section 4.2.
type vp9Form struct{ p pieces }

func (v *vp9Form) push(p *Packet, ts int64, lost bool, emit func(int64, []byte)) error {
	b := p.Payload
	n, ok := vp9Descriptor(b)
	if !ok {
		return fmt.Errorf("VP9 descriptor: %w", ErrBadPacket)
	}
	begin := b[0]&0x08 != 0
	// The frames of several layers of one picture follow each other and stay together.
	first := begin && (!v.p.on || v.p.ts != ts)
	return v.p.push(ts, lost, first, p.Marker, b[n:], emit)
}

// vp9Descriptor returns the length of the payload descriptor.
func vp9Descriptor(b []byte) (n int, ok bool) {
	n = 1
	flags := b[0]
	if flags&0x80 != 0 { // picture id
		if n < len(b) && b[n]&0x80 != 0 {
			n++
		}
		n++
	}
	if flags&0x20 != 0 { // layer
		n++
		if flags&0x10 == 0 {
			n++ // TL0PICIDX
		}
	}
	if flags&0x50 == 0x50 { // flexible mode, inter: reference indices
		for range 3 {
			if n >= len(b) {
				return 0, false
			}
			n++
			if b[n-1]&1 == 0 {
				break
			}
		}
	}
	if flags&0x02 != 0 { // scalability structure
		if n >= len(b) {
			return 0, false
		}
		v := b[n]
		n++
		if v&0x10 != 0 {
			n += 4 * (int(v>>5) + 1)
		}
		if v&0x08 != 0 {
			if n >= len(b) {
				return 0, false
			}
			groups := int(b[n])
			n++
			for range groups {
				if n >= len(b) {
					return 0, false
				}
				n += 1 + int(b[n]>>2&3)
			}
		}
	}
	return n, n <= len(b)
}

// av1Form is "RTP Payload Format For AV1".
type av1Form struct {
	ts   int64
	buf  []byte // OBUs with sizes
	frag []byte
	on   bool // a fragment is open
	bad  bool
}

func (a *av1Form) push(p *Packet, ts int64, lost bool, emit func(int64, []byte)) error {
	b := p.Payload
	if ts != a.ts {
		a.buf, a.frag, a.on, a.bad, a.ts = nil, nil, false, false, ts
	}
	if lost && (len(a.buf) > 0 || b[0]&0x80 != 0) {
		a.bad = true
	}
	err := a.elements(b)
	if err != nil {
		a.bad = true
	}
	if p.Marker {
		if !a.bad && !a.on && len(a.buf) > 0 {
			emit(ts, a.buf)
		}
		a.buf, a.frag, a.on, a.bad = nil, nil, false, false
	}
	return err
}

func (a *av1Form) elements(b []byte) error {
	head, rest := b[0], b[1:]
	count := int(head >> 4 & 3)
	for i := 1; len(rest) > 0; i++ {
		element := rest
		if i == count { // the last of a known number has no length
			rest = nil
		} else {
			n, w := leb128(rest)
			if w == 0 || n > uint64(len(rest)-w) {
				return fmt.Errorf("AV1 element: %w", ErrBadPacket)
			}
			element, rest = rest[w:w+int(n)], rest[w+int(n):]
		}
		if err := a.element(element, i == 1 && head&0x80 != 0, len(rest) == 0 && head&0x40 != 0); err != nil {
			return err
		}
	}
	return nil
}

func (a *av1Form) element(e []byte, continued, more bool) error {
	switch {
	case continued && !a.on:
		return fmt.Errorf("AV1 fragment without a start: %w", ErrBadPacket)
	case !continued:
		a.frag = nil
	}
	if len(a.frag)+len(e)+len(a.buf) > MaxUnit {
		return fmt.Errorf("AV1 temporal unit of more than %d bytes: %w", MaxUnit, ErrBadPacket)
	}
	a.frag = append(a.frag, e...)
	if a.on = more; more {
		return nil
	}
	o := a.frag
	a.frag = nil
	return a.add(o)
}

// add appends an OBU with its size.
func (a *av1Form) add(o []byte) error {
	const hasSize, extension, delimiter = 2, 4, 2
	if len(o) == 0 || o[0]&0x80 != 0 || o[0]&extension != 0 && len(o) < 2 {
		return fmt.Errorf("OBU: %w", ErrBadPacket)
	}
	if o[0]>>3&0xf == delimiter {
		return nil
	}
	if o[0]&hasSize != 0 { // allowed, though it should not be there
		a.buf = append(a.buf, o...)
		return nil
	}
	n := 1
	if o[0]&extension != 0 {
		n = 2
	}
	a.buf = append(a.buf, o[0]|hasSize)
	a.buf = append(a.buf, o[1:n]...)
	for v := len(o) - n; ; v >>= 7 {
		if v < 0x80 {
			a.buf = append(a.buf, byte(v))
			break
		}
		a.buf = append(a.buf, byte(v)|0x80)
	}
	a.buf = append(a.buf, o[n:]...)
	return nil
}

// leb128 reads a little-endian base 128 number; n is 0 when it is broken.
func leb128(b []byte) (v uint64, n int) {
	for i, c := range b[:min(len(b), 8)] {
		v |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			return v, i + 1
		}
	}
	return 0, 0
}

// jpegForm is RFC 2435.
type jpegForm struct {
	dec *rtpmjpeg.Decoder
	buf []byte // the payloads of the picture, of which the decoder keeps slices
}

func newJPEGForm() (*jpegForm, error) {
	d := &rtpmjpeg.Decoder{}
	if err := d.Init(); err != nil {
		return nil, err
	}
	return &jpegForm{dec: d}, nil
}

func (j *jpegForm) push(p *Packet, ts int64, _ bool, emit func(int64, []byte)) error {
	if b := p.Payload; len(b) < 4 || b[1]|b[2]|b[3] == 0 || len(j.buf)+len(b) > MaxUnit { // at the beginning of a picture
		j.buf = nil
	}
	n := len(j.buf)
	j.buf = append(j.buf, p.Payload...)
	b, err := j.dec.Decode(&pion.Packet{
		Header:  pion.Header{Version: 2, Marker: p.Marker, SequenceNumber: p.Seq, Timestamp: p.Timestamp},
		Payload: j.buf[n:],
	})
	switch {
	case errors.Is(err, rtpmjpeg.ErrMorePacketsNeeded):
		return nil
	case err != nil:
		return fmt.Errorf("JPEG: %w: %w", ErrBadPacket, err)
	}
	emit(ts, b)
	return nil
}

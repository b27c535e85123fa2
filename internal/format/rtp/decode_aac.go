package rtp

import (
	"encoding/binary"
	"fmt"

	"github.com/hookline/hookline/internal/media"
)

// aacFrame is the number of samples of an AAC frame, by which the units of one packet follow each other.
const aacFrame = 1024

// aacForm is mpeg4-generic, RFC 3640 section 3.2.
type aacForm struct {
	sizeBits, indexBits, deltaBits int

	frag []byte
	need int // size of the unit in fragments
	// held is a unit whose packet had no marker, of heldAt: some senders write the size of the fragment where that of the
	// unit belongs, so only the next packet tells whether it was all.
	held   []byte
	heldAt int64
}

func (a *aacForm) push(p *Packet, ts int64, lost bool, emit func(int64, []byte)) error {
	if lost {
		a.frag, a.need, a.held = nil, 0, nil
	}
	if a.held != nil && ts != a.heldAt {
		emit(a.heldAt, a.held)
		a.held = nil
	}
	b := p.Payload
	if len(b) < 2 {
		return fmt.Errorf("AAC payload of %d bytes: %w", len(b), ErrBadPacket)
	}
	bits := int(binary.BigEndian.Uint16(b))
	head := b[2:]
	n := (bits + 7) / 8
	if n > len(head) {
		return fmt.Errorf("AAC headers of %d bits: %w", bits, ErrBadPacket)
	}
	data := head[n:]
	sizes, err := a.sizes(head[:n], bits)
	if err != nil {
		return err
	}
	if len(sizes) == 1 && (a.need > 0 || sizes[0] > len(data)) {
		return a.fragment(sizes[0], data, p.Marker, ts, emit)
	}
	a.frag, a.need = nil, 0
	if len(sizes) == 1 && sizes[0] == len(data) && (a.held != nil || !p.Marker) {
		return a.hold(data, p.Marker, ts, emit)
	}
	for i, size := range sizes {
		if size > len(data) {
			return fmt.Errorf("AAC unit of %d bytes in %d: %w", size, len(data), ErrBadPacket)
		}
		if size > 0 {
			emit(ts+int64(i)*aacFrame, append([]byte(nil), data[:size]...))
		}
		data = data[size:]
	}
	return nil
}

// hold joins packets of one time up to the marker.
func (a *aacForm) hold(data []byte, last bool, ts int64, emit func(int64, []byte)) error {
	if len(a.held)+len(data) > 1<<16 {
		a.held = nil
		return fmt.Errorf("AAC unit of more than 64 KiB: %w", ErrBadPacket)
	}
	a.held, a.heldAt = append(a.held, data...), ts
	if last && len(a.held) > 0 {
		emit(ts, a.held)
		a.held = nil
	}
	return nil
}

// sizes reads the AU headers.
func (a *aacForm) sizes(b []byte, bits int) ([]int, error) {
	var sizes []int
	r := bits24{b: b}
	for first := true; bits > 0; first = false {
		n := a.sizeBits + a.deltaBits
		if first {
			n = a.sizeBits + a.indexBits
		}
		if n > bits || a.sizeBits == 0 {
			return nil, fmt.Errorf("AAC headers: %w", ErrBadPacket)
		}
		sizes = append(sizes, r.take(a.sizeBits))
		r.take(n - a.sizeBits)
		bits -= n
		if len(sizes) > 64 {
			return nil, fmt.Errorf("AAC: more than 64 units in a packet: %w", ErrBadPacket)
		}
	}
	return sizes, nil
}

func (a *aacForm) fragment(size int, data []byte, last bool, ts int64, emit func(int64, []byte)) error {
	if a.need == 0 {
		a.need = size
	}
	if size != a.need || len(a.frag)+len(data) > size {
		a.frag, a.need = nil, 0
		return fmt.Errorf("AAC fragments of another size: %w", ErrBadPacket)
	}
	a.frag = append(a.frag, data...)
	if len(a.frag) == size {
		emit(ts, a.frag)
		a.frag, a.need = nil, 0
	} else if last {
		a.frag, a.need = nil, 0
		return fmt.Errorf("AAC unit is incomplete: %w", ErrBadPacket)
	}
	return nil
}

// bits24 reads up to 24 bits at a time; past the end there are zeros.
type bits24 struct {
	b   []byte
	pos int
}

func (r *bits24) take(n int) int {
	v := 0
	for range n {
		v <<= 1
		if i := r.pos >> 3; i < len(r.b) {
			v |= int(r.b[i]>>(7-r.pos&7)) & 1
		}
		r.pos++
	}
	return v
}

// latmForm is MP4A-LATM, RFC 6416 section 6: audioMuxElements with one layer and one sub-frame, which is what is in use.
type latmForm struct {
	inBand bool // cpresent=1: the configuration may stand before the frame
	frag   []byte
	ts     int64
	// config is what came in band.
	config []byte
}

func (l *latmForm) push(p *Packet, ts int64, lost bool, emit func(int64, []byte)) error {
	if lost || ts != l.ts {
		l.frag = nil
	}
	l.ts = ts
	if len(l.frag)+len(p.Payload) > 1<<16 {
		l.frag = nil
		return fmt.Errorf("LATM element of more than 64 KiB: %w", ErrBadPacket)
	}
	l.frag = append(l.frag, p.Payload...)
	if !p.Marker {
		return nil
	}
	b := l.frag
	l.frag = nil
	if l.inBand {
		return l.element(b, ts, emit)
	}
	return l.payload(b, ts, emit)
}

// payload reads PayloadLengthInfo and PayloadMux (ISO 14496-3 section 1.7.3).
func (l *latmForm) payload(b []byte, ts int64, emit func(int64, []byte)) error {
	for i := 0; len(b) > 0; i++ {
		n := 0
		for {
			if len(b) == 0 {
				return fmt.Errorf("LATM length: %w", ErrBadPacket)
			}
			v := int(b[0])
			b = b[1:]
			n += v
			if v != 255 {
				break
			}
		}
		if n > len(b) {
			return fmt.Errorf("LATM payload of %d bytes in %d: %w", n, len(b), ErrBadPacket)
		}
		if n > 0 {
			emit(ts+int64(i)*aacFrame, append([]byte(nil), b[:n]...))
		}
		b = b[n:]
	}
	return nil
}

// element reads an audioMuxElement with muxConfigPresent.
func (l *latmForm) element(b []byte, ts int64, emit func(int64, []byte)) error {
	r := bits24{b: b}
	if r.take(1) == 0 { // StreamMuxConfig
		config, ok := streamMuxConfig(&r)
		if !ok {
			return fmt.Errorf("LATM StreamMuxConfig: %w", ErrBadPacket)
		}
		l.config = config
	}
	// What follows is not aligned to bytes.
	var rest []byte
	for r.pos+8 <= 8*len(b) {
		rest = append(rest, byte(r.take(8)))
	}
	n, at := 0, 0
	for at < len(rest) {
		v := int(rest[at])
		at++
		n += v
		if v != 255 {
			break
		}
	}
	if n == 0 || n > len(rest)-at {
		return fmt.Errorf("LATM payload of %d bytes: %w", n, ErrBadPacket)
	}
	emit(ts, rest[at:at+n:at+n])
	return nil
}

// streamMuxConfig reads a StreamMuxConfig of version 0 with one program, one layer and frame length type 0, and returns
// its AudioSpecificConfig.
func streamMuxConfig(r *bits24) (config []byte, ok bool) {
	if r.take(1) != 0 { // audioMuxVersion
		return nil, false
	}
	r.take(1) // allStreamsSameTimeFraming
	if r.take(6) != 0 || r.take(4) != 0 || r.take(3) != 0 {
		return nil, false // sub-frames, programs, layers
	}
	from := r.pos
	if config, ok = audioConfigAt(r, from); !ok {
		return nil, false
	}
	if r.take(3) != 0 { // frameLengthType
		return nil, false
	}
	r.take(8)           // latmBufferFullness
	if r.take(1) != 0 { // otherDataPresent
		return nil, false
	}
	if r.take(1) != 0 { // crcCheckPresent
		r.take(8)
	}
	return config, r.pos <= 8*len(r.b)
}

// audioConfigAt takes an AudioSpecificConfig of AAC-LC, which has no length of its own: 16 bits, or 40 with an explicit rate.
func audioConfigAt(r *bits24, from int) ([]byte, bool) {
	object, rate := r.take(5), r.take(4)
	if object != 2 {
		return nil, false
	}
	n := 16
	if rate == 15 {
		n += 24
	}
	r.pos = from
	var config []byte
	for range n / 8 {
		config = append(config, byte(r.take(8)))
	}
	_, err := media.ParseAACConfig(config)
	return config, err == nil
}

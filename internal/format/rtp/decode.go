package rtp

import (
	"fmt"

	"github.com/hookline/hookline/internal/media"
)

// Unit is one access unit as it came. Data belongs to the caller.
type Unit struct {
	// Time is the RTP time, unwrapped.
	Time int64
	// Data is in the form of media.Frame.Data; of H.264 and H.265 with the parameter sets that came in band.
	Data []byte
}

// Depacketizer takes the packets of one track in the order of their sequence numbers.
type Depacketizer struct {
	clock   int
	un      unwrapper
	form    form
	started bool
	seq     uint16
	lost    uint64
	dropped uint64
	out     []Unit
	emit    func(ts int64, data []byte) // appends to out
}

// form collects the payloads of one codec.
type form interface {
	// push takes the payload of the next packet, which is overwritten later; lost: packets before it are missing. Complete units
	// go to emit.
	push(p *Packet, ts int64, lost bool, emit func(ts int64, data []byte)) error
}

// NewDepacketizer returns one for a track as Describe or ParseSDP describe it. Errors wrap ErrUnsupported.
func NewDepacketizer(f Format) (*Depacketizer, error) {
	d := &Depacketizer{clock: f.ClockRate}
	d.emit = func(ts int64, data []byte) { d.out = append(d.out, Unit{Time: ts, Data: data}) }
	switch f.Codec {
	case media.H264:
		d.form = &h264Form{}
	case media.H265:
		d.form = &h265Form{donl: f.donl}
	case media.AAC:
		if f.latm {
			d.form = &latmForm{inBand: f.latmInBand}
		} else {
			d.form = &aacForm{sizeBits: f.aacSizeBits, indexBits: f.aacIndexBits, deltaBits: f.aacDeltaBits}
		}
	case media.MP3:
		d.form = &mp3Form{}
	case media.Opus, media.PCMA, media.PCMU, media.L16:
		d.form = wholeForm{}
	case media.VP8:
		d.form = &vp8Form{}
	case media.VP9:
		d.form = &vp9Form{}
	case media.AV1:
		d.form = &av1Form{}
	case media.JPEG:
		j, err := newJPEGForm()
		if err != nil {
			return nil, fmt.Errorf("%v: %w: %w", f.Codec, ErrUnsupported, err)
		}
		d.form = j
	default:
		return nil, fmt.Errorf("%v: %w", f.Codec, ErrUnsupported)
	}
	if d.clock <= 0 {
		return nil, fmt.Errorf("clock rate %d: %w", f.ClockRate, ErrUnsupported)
	}
	return d, nil
}

// Push takes the next packet, whose payload may be overwritten afterwards, and returns the units that it completes; they are valid
// until the next call, their data for ever. Errors wrap ErrBadPacket: the packet is dropped and the next may be pushed.
func (d *Depacketizer) Push(p *Packet) ([]Unit, error) {
	lost := d.started && p.Seq != d.seq+1
	if lost {
		d.lost += uint64(p.Seq - d.seq - 1)
	}
	d.started, d.seq = true, p.Seq
	clear(d.out)
	d.out = d.out[:0]
	if len(p.Payload) == 0 {
		return nil, nil // keep-alive of some cameras
	}
	err := d.form.push(p, d.un.unwrap(p.Timestamp), lost, d.emit)
	if err != nil {
		d.dropped++
	}
	return d.out, err
}

// Stats returns the number of packets that were lost and of those that were dropped.
func (d *Depacketizer) Stats() (lost, dropped uint64) { return d.lost, d.dropped }

// unwrapper extends 32-bit RTP times to 64 bits.
type unwrapper struct {
	started bool
	last    int64
}

func (u *unwrapper) unwrap(ts uint32) int64 {
	if !u.started {
		u.started, u.last = true, int64(ts)
		return u.last
	}
	u.last += int64(int32(ts - uint32(u.last)))
	return u.last
}

// wholeForm: a packet is a unit.
type wholeForm struct{}

func (wholeForm) push(p *Packet, ts int64, _ bool, emit func(int64, []byte)) error {
	emit(ts, append([]byte(nil), p.Payload...))
	return nil
}

// mp3Form is RFC 2250 section 3.5. Frames in one packet stay together: they follow each other without a gap.
type mp3Form struct {
	ts  int64
	buf []byte
	bad bool
}

func (m *mp3Form) push(p *Packet, ts int64, lost bool, emit func(int64, []byte)) error {
	if len(p.Payload) <= 4 {
		return fmt.Errorf("MP3 payload of %d bytes: %w", len(p.Payload), ErrBadPacket)
	}
	at, data := int(p.Payload[2])<<8|int(p.Payload[3]), p.Payload[4:]
	if at == 0 {
		m.buf, m.bad, m.ts = nil, false, ts
	}
	if lost && at > 0 || at != len(m.buf) {
		m.bad = true
	}
	if m.bad || len(m.buf)+len(data) > 1<<16 {
		return fmt.Errorf("MP3 fragment at %d: %w", at, ErrBadPacket)
	}
	m.buf = append(m.buf, data...)
	if n := mp3Size(m.buf); n > 0 && len(m.buf) < n {
		return nil // the rest of the frame follows
	}
	for rest := m.buf; len(rest) > 0; {
		n := mp3Size(rest)
		if n <= 0 || n > len(rest) {
			n = len(rest)
		}
		emit(ts, append([]byte(nil), rest[:n]...))
		rate, _, _ := media.MP3Header(rest)
		if rate <= 0 {
			break
		}
		ts += int64(90000 * mp3Samples(rest) / rate) // the clock of MPA is 90 kHz
		rest = rest[n:]
	}
	m.buf = nil
	return nil
}

// mp3Samples is the number of samples of a layer III frame.
func mp3Samples(b []byte) int {
	if len(b) > 1 && b[1]>>3&3 != 3 {
		return 576 // MPEG-2 and 2.5
	}
	return 1152
}

// mp3Size returns the length of the layer III frame at the start of b, 0 when it is none (ISO 11172-3 section 2.4.2.3).
func mp3Size(b []byte) int {
	if len(b) < 4 || b[0] != 0xff || b[1]&0xe0 != 0xe0 || b[1]>>1&3 != 1 {
		return 0
	}
	v1 := [...]int{0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0}
	v2 := [...]int{0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0}
	rates := v1
	if b[1]>>3&3 != 3 {
		rates = v2
	}
	rate, _, ok := media.MP3Header(b)
	if !ok || rate <= 0 {
		return 0
	}
	n := mp3Samples(b) / 8 * rates[b[2]>>4] * 1000 / rate
	if n == 0 {
		return 0
	}
	return n + int(b[2]>>1&1)
}

package mpegts

import (
	"bytes"
	"slices"

	"github.com/hookline/hookline/internal/media"
)

// Limits of a Demuxer.
const (
	// MaxAccessUnit is the most bytes of a PES packet; a larger one is dropped.
	MaxAccessUnit = 8 << 20
	maxSection    = 1024 + 3 // ISO 13818-1, 2.4.4.5 and 2.4.4.9
)

// Stats counts what a Demuxer has seen.
type Stats struct {
	Packets uint64 // transport packets
	Resyncs uint64 // times that packets were searched for
	Lost    uint64 // gaps in continuity counters
	Dropped uint64 // PES packets, or parts of them, that were dropped: damaged, too large, of no use
}

// Demuxer reads the first program of a transport stream: its first video and its first audio stream that Hookline
// knows. It is used by one goroutine at a time.
type Demuxer struct {
	emit    func(*media.Frame)
	rest    []byte // bytes before the next whole packet
	insync  bool
	stats   Stats
	pat     sections
	pmt     sections
	program []byte // the PMT section that streams are of
	streams []*stream
	clock   unwrapper
}

// NewDemuxer returns a demuxer that calls emit with each frame, within Write and Flush. Frames are the receiver's. DTS and
// PTS are those of the stream, unwrapped; per track the order is that of the stream. There are no Config frames: a
// new configuration shows as another Track.
func NewDemuxer(emit func(*media.Frame)) *Demuxer {
	d := &Demuxer{emit: emit}
	d.pat.pid, d.pmt.pid = pidPAT, pidNull
	return d
}

// Stats returns the counters.
func (d *Demuxer) Stats() Stats { return d.stats }

// Write takes the next bytes of the stream, of any number. It never fails; b is not kept.
func (d *Demuxer) Write(b []byte) (int, error) {
	n := len(b)
	if len(d.rest) > 0 {
		d.rest = append(d.rest, b...)
		b = d.rest
	}
	b = d.packets(b)
	d.rest = append(d.rest[:0], b...)
	return n, nil
}

// Flush emits what is complete only because the stream has ended.
func (d *Demuxer) Flush() {
	if len(d.rest) == PacketSize && d.rest[0] == syncByte {
		d.packet(d.rest)
	}
	d.rest = d.rest[:0]
	for _, s := range d.streams {
		d.finish(s)
		d.flush(s)
	}
}

// packets takes the whole packets of b and returns what is left.
func (d *Demuxer) packets(b []byte) []byte {
	for len(b) >= PacketSize {
		if b[0] != syncByte || !d.insync && len(b) > PacketSize && b[PacketSize] != syncByte {
			d.insync = false
			i := bytes.IndexByte(b[1:], syncByte)
			if i < 0 {
				return nil
			}
			b = b[1+i:]
			continue
		}
		if !d.insync {
			if len(b) == PacketSize {
				return b // it takes two to be sure
			}
			d.insync = true
			d.stats.Resyncs++
		}
		d.packet(b[:PacketSize])
		b = b[PacketSize:]
	}
	return b
}

func (d *Demuxer) packet(b []byte) {
	d.stats.Packets++
	const transportError, scrambled = 0x80, 0xc0
	pid := uint16(b[1]&0x1f)<<8 | uint16(b[2])
	if b[1]&transportError != 0 || b[3]&scrambled != 0 || pid == pidNull {
		return
	}
	start, cc := b[1]&0x40 != 0, b[3]&15
	payload, discontinuity, ok := adaptation(b)
	if !ok {
		return
	}
	switch pid {
	case d.pat.pid:
		d.pat.add(payload, start, d.onPAT)
		return
	case d.pmt.pid:
		d.pmt.add(payload, start, d.onPMT)
		return
	}
	for _, s := range d.streams {
		if s.pid == pid {
			d.elementary(s, payload, start, discontinuity, cc)
		}
	}
}

// adaptation returns the payload behind the adaptation field.
func adaptation(b []byte) (payload []byte, discontinuity, ok bool) {
	payload = b[4:]
	if b[3]&0x20 != 0 {
		n := int(b[4])
		if n > PacketSize-5 {
			return nil, false, false
		}
		discontinuity = n > 0 && b[5]&0x80 != 0
		payload = b[5+n:]
	}
	if b[3]&0x10 == 0 {
		payload = nil
	}
	return payload, discontinuity, true
}

// sections puts the sections of one PID together.
type sections struct {
	pid uint16
	buf []byte
	on  bool // a section has begun
}

// add takes a payload and calls found with each whole section whose CRC is right.
func (s *sections) add(p []byte, start bool, found func([]byte)) {
	if len(p) == 0 {
		return
	}
	if start {
		n := int(p[0])
		if p = p[1:]; n > len(p) {
			s.on = false
			return
		}
		if s.on {
			s.buf = append(s.buf, p[:n]...)
			s.take(found)
		}
		s.on, s.buf, p = true, s.buf[:0], p[n:]
	}
	if !s.on {
		return
	}
	s.buf = append(s.buf, p...)
	s.take(found)
}

func (s *sections) take(found func([]byte)) {
	b := s.buf
	for s.on && len(b) >= 3 {
		n := 3 + int(b[1]&0x0f)<<8 + int(b[2])
		if b[0] == 0xff || n > maxSection {
			s.on = false
			break
		}
		if len(b) < n {
			break
		}
		if n >= 12 && crc(b[:n]) == 0 {
			found(b[:n])
		}
		b = b[n:]
	}
	s.buf = append(s.buf[:0], b...)
}

func (d *Demuxer) onPAT(b []byte) {
	if b[0] != tableIDPA || b[5]&1 == 0 {
		return
	}
	for p := b[8 : len(b)-4]; len(p) >= 4; p = p[4:] {
		if p[0] == 0 && p[1] == 0 {
			continue // network PID
		}
		if pid := uint16(p[2]&0x1f)<<8 | uint16(p[3]); pid != d.pmt.pid {
			d.pmt = sections{pid: pid}
		}
		return
	}
}

func (d *Demuxer) onPMT(b []byte) {
	if b[0] != tableIDPM || b[5]&1 == 0 || len(b) < 16 || bytes.Equal(b, d.program) {
		return
	}
	info := int(b[10]&0x0f)<<8 | int(b[11])
	p := b[12 : len(b)-4]
	if info > len(p) {
		return
	}
	d.program = slices.Clone(b)
	var next []*stream
	has := map[media.Kind]bool{}
	for p = p[info:]; len(p) >= 5; {
		n := int(p[3]&0x0f)<<8 | int(p[4])
		if n > len(p)-5 {
			break
		}
		kind, pid, descriptors := p[0], uint16(p[1]&0x1f)<<8|uint16(p[2]), p[5:5+n]
		p = p[5+n:]
		codec, channels, ok := identify(kind, descriptors)
		if !ok || has[codec.Kind()] {
			continue
		}
		has[codec.Kind()] = true
		next = append(next, d.keep(kind, pid, codec, channels))
	}
	for _, s := range d.streams {
		if !slices.Contains(next, s) {
			d.finish(s)
			d.flush(s)
		}
	}
	d.streams = next
}

// keep returns the stream of a PID if it is as before, else a new one.
func (d *Demuxer) keep(kind byte, pid uint16, codec media.Codec, channels int) *stream {
	for _, s := range d.streams {
		if s.pid == pid && s.codec == codec && s.kind == kind && s.channels == channels {
			return s
		}
	}
	return &stream{pid: pid, kind: kind, codec: codec, channels: channels}
}

// identify returns the codec of a stream by its type and descriptors. channels is for Opus.
func identify(kind byte, descriptors []byte) (codec media.Codec, channels int, ok bool) {
	switch kind {
	case typeH264:
		return media.H264, 0, true
	case typeH265:
		return media.H265, 0, true
	case typeADTS:
		return media.AAC, 0, true
	case typeMPEG1Audio, typeMPEG2Audio:
		return media.MP3, 0, true
	case typePCMA:
		return media.PCMA, 1, true
	case typePCMU:
		return media.PCMU, 1, true
	}
	opus, channels := kind == typeOpus, 2
	private := kind == typePrivate
	for len(descriptors) >= 2 {
		n := int(descriptors[1])
		if n > len(descriptors)-2 {
			break
		}
		tag, body := descriptors[0], descriptors[2:2+n]
		descriptors = descriptors[2+n:]
		switch {
		case tag == 5 && private && string(body) == "HEVC":
			return media.H265, 0, true
		case tag == 5 && private && string(body) == "Opus":
			opus = true
		case tag == 0x7f && len(body) >= 2 && body[0] == 0x80 && body[1] >= 1 && body[1] <= 2:
			channels = int(body[1])
		}
	}
	return media.Opus, channels, opus
}

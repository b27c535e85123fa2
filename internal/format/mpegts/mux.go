package mpegts

import (
	"bytes"
	"time"

	"github.com/hookline/hookline/internal/media"
)

const (
	// tableEvery is the most media time between two PAT and PMT.
	tableEvery = 500 * time.Millisecond
	// pcrEvery is the media time after which sound brings a PCR of its own.
	pcrEvery = 80 * time.Millisecond
)

// Muxer writes a transport stream. It is used by one goroutine at a time.
type Muxer struct {
	video, audio program
	pcrPID       uint16
	version      byte
	pat, pmt     []byte // sections
	patCC, pmtCC byte
	tabled       bool          // tables were written
	tablesAt     time.Duration // when
	clocked      bool
	pcrAt        time.Duration // of the newest PCR
	es           []byte        // scratch: a PES packet
}

// program is one elementary stream.
type program struct {
	pid   uint16
	cc    byte
	track *media.Track
	kind  elementary
	sets  []byte  // parameter sets as Annex B
	adts  [7]byte // template of AAC
}

// NewMuxer returns a muxer of tracks. Those that can't be carried are left out.
func NewMuxer(tracks []*media.Track) *Muxer {
	m := &Muxer{video: program{pid: pidVideo}, audio: program{pid: pidAudio}, version: 31}
	m.SetTracks(tracks)
	return m
}

// SetTracks replaces the tracks. It says whether the PMT is another now; it then comes, with a new version, before the
// next frame, or by AppendTables. Another configuration of the same codec is no change: it stands before the key frames.
func (m *Muxer) SetTracks(tracks []*media.Track) bool {
	m.video.track, m.audio.track = nil, nil
	for _, t := range tracks {
		m.of(t).set(t)
	}
	if m.pcrPID = pidAudio; m.video.track != nil {
		m.pcrPID = pidVideo
	}
	if bytes.Equal(m.program(m.version), m.pmt) {
		return false
	}
	if m.pat == nil {
		m.pat = section(tableIDPA, []byte{0, 1, 0xc1, 0, 0, 0, 1, 0xe0 | pidPMT>>8, pidPMT & 0xff})
	}
	m.version = (m.version + 1) & 31
	m.pmt, m.tabled = m.program(m.version), false
	return true
}

// program returns the PMT section.
func (m *Muxer) program(version byte) []byte {
	body := []byte{0, 1, 0xc1 | version<<1, 0, 0, 0xe0 | byte(m.pcrPID>>8), byte(m.pcrPID), 0xf0, 0}
	for _, p := range []*program{&m.video, &m.audio} {
		if p.track == nil {
			continue
		}
		n := len(p.kind.descriptors)
		body = append(body, p.kind.streamType, 0xe0|byte(p.pid>>8), byte(p.pid), 0xf0|byte(n>>8), byte(n))
		body = append(body, p.kind.descriptors...)
	}
	return section(tableIDPM, body)
}

func (m *Muxer) of(t *media.Track) *program {
	if t.Codec.Kind() == media.Video {
		return &m.video
	}
	return &m.audio
}

// set makes t the track, unless it can't be carried.
func (p *program) set(t *media.Track) bool {
	kind := describe(t)
	if kind.streamType == 0 {
		return false
	}
	p.track, p.kind, p.sets = t, kind, nil
	switch t.Codec {
	case media.H264:
		if c, err := media.ParseAVCConfig(t.Config); err == nil {
			p.sets = appendUnits(nil, c.SPS, c.PPS)
		}
	case media.H265:
		if c, err := media.ParseHEVCConfig(t.Config); err == nil {
			p.sets = appendUnits(nil, c.VPS, c.SPS, c.PPS)
		}
	case media.AAC:
		p.adts, _ = adtsHeader(t)
	default:
	}
	return true
}

func appendUnits(dst []byte, kinds ...[][]byte) []byte {
	for _, units := range kinds {
		for _, u := range units {
			dst = append(append(dst, 0, 0, 0, 1), u...)
		}
	}
	return dst
}

// AppendTables appends PAT and PMT: what a reader needs that starts where no key frame is.
func (m *Muxer) AppendTables(dst []byte) []byte {
	dst = appendSection(dst, pidPAT, &m.patCC, m.pat)
	return appendSection(dst, pidPMT, &m.pmtCC, m.pmt)
}

// appendSection appends the one packet of a section, which is shorter than that.
func appendSection(dst []byte, pid uint16, cc *byte, s []byte) []byte {
	dst = append(dst, syncByte, 0x40|byte(pid>>8), byte(pid), 0x10|*cc&15, 0)
	*cc++
	dst = append(dst, s...)
	return appendFill(dst, PacketSize-5-len(s))
}

func appendFill(dst []byte, n int) []byte {
	for range n {
		dst = append(dst, 0xff)
	}
	return dst
}

// AppendGap appends what tells a reader that packets are missing before the ones that come next.
func (m *Muxer) AppendGap(dst []byte) []byte {
	for _, p := range []*program{&m.video, &m.audio} {
		if p.track == nil {
			continue
		}
		// Packets without payload keep the counter: that of the packet which the reader has not got.
		dst = append(dst, syncByte, byte(p.pid>>8), byte(p.pid), 0x20|(p.cc-1)&15, PacketSize-5, 0x80)
		dst = appendFill(dst, PacketSize-6)
	}
	return dst
}

// Size returns about the most bytes that Append adds for f, so that a buffer can be made that need not grow.
func (m *Muxer) Size(f *media.Frame) int {
	p := m.of(f.Track)
	n := len(f.Data) + 64
	packets := 1
	if f.Key {
		n += len(p.sets)
	}
	if m.due(f) {
		packets += 2
	}
	return (packets + (n+PacketSize-5)/(PacketSize-4)) * PacketSize
}

// Append appends the packets of f to dst, with tables and PCR when they are due. Frames without media, and those of
// tracks that are not carried, add nothing. A frame's track that differs from the one that was set, in configuration
// only, replaces it.
func (m *Muxer) Append(dst []byte, f *media.Frame) []byte {
	p := m.of(f.Track)
	if p.track == nil || p.track.Codec != f.Track.Codec || f.Config || len(f.Data) == 0 {
		return dst
	}
	if p.track != f.Track && !p.set(f.Track) {
		return dst
	}
	m.es = p.appendPES(m.es[:0], f)
	if len(m.es) == 0 {
		return dst
	}
	if m.due(f) {
		dst = m.AppendTables(dst)
		m.tabled, m.tablesAt = true, f.DTS
	}
	pcr := p.pid == m.pcrPID
	if !pcr && m.clocked && f.DTS-m.pcrAt >= pcrEvery {
		dst = m.appendClock(dst, f.DTS)
	}
	if pcr {
		m.clocked, m.pcrAt = true, f.DTS
	}
	return p.packetise(dst, m.es, f, pcr)
}

// due says that tables go before f.
func (m *Muxer) due(f *media.Frame) bool {
	return !m.tabled || f.Key || (f.DTS-m.tablesAt).Abs() >= tableEvery
}

// appendClock appends a packet that has nothing but a PCR.
func (m *Muxer) appendClock(dst []byte, at time.Duration) []byte {
	m.pcrAt = at
	dst = append(dst, syncByte, byte(m.pcrPID>>8), byte(m.pcrPID), 0x20|(m.video.cc-1)&15, PacketSize-5, 0x10)
	dst = appendPCR(dst, at)
	return appendFill(dst, PacketSize-12)
}

func appendPCR(dst []byte, at time.Duration) []byte {
	v := uint64(ticks(at)) & tsMask
	return append(dst, byte(v>>25), byte(v>>17), byte(v>>9), byte(v>>1), byte(v<<7)|0x7e, 0)
}

// packetise appends the packets of one PES packet. The first may have a PCR; stuffing goes into the last.
func (p *program) packetise(dst, pes []byte, f *media.Frame, pcr bool) []byte {
	for first := true; len(pes) > 0; first = false {
		var field [8]byte // adaptation field without stuffing
		n := 0
		if first && (pcr || f.Key) {
			n = 2
			if f.Key {
				field[1] |= 0x40 // random_access_indicator
			}
			if pcr {
				field[1] |= 0x10
				n = len(appendPCR(field[:2], f.DTS))
			}
		}
		room := PacketSize - 4 - n
		stuff := max(room-len(pes), 0)
		start := byte(0)
		if first {
			start = 0x40
		}
		control := byte(0x10)
		if n+stuff > 0 {
			control = 0x30
		}
		dst = append(dst, syncByte, start|byte(p.pid>>8), byte(p.pid), control|p.cc&15)
		p.cc++
		dst = appendField(dst, field[:n], stuff)
		take := room - stuff
		dst = append(dst, pes[:take]...)
		pes = pes[take:]
	}
	return dst
}

// appendField appends an adaptation field with stuffing, nothing when it has neither.
func appendField(dst, field []byte, stuff int) []byte {
	n := len(field)
	switch {
	case n+stuff == 0:
		return dst
	case n > 0:
		field[0] = byte(n + stuff - 1)
		dst = append(dst, field...)
	default:
		dst = append(dst, byte(stuff-1))
		if stuff--; stuff > 0 {
			dst = append(dst, 0)
			stuff--
		}
	}
	return appendFill(dst, stuff)
}

// appendPES appends the PES packet of f; nothing when f can't be carried.
func (p *program) appendPES(dst []byte, f *media.Frame) []byte {
	pts, dts := ticks(f.PTS+Delay), ticks(f.DTS+Delay)
	dst = append(dst, 0, 0, 1, p.kind.streamID, 0, 0, 0x84, 0x80, ptsBytes)
	if pts != dts {
		dst[7], dst[8] = 0xc0, 2*ptsBytes
		dst = appendStamp(dst, 3, pts)
		dst = appendStamp(dst, 1, dts)
	} else {
		dst = appendStamp(dst, 2, pts)
	}
	head := len(dst)
	dst = p.appendPayload(dst, f)
	if len(dst) == head {
		return dst[:0]
	}
	n := len(dst) - 6
	if n > 0xffff {
		if p.kind.streamID != streamVideo {
			return dst[:0]
		}
		n = 0 // unbounded
	}
	dst[4], dst[5] = byte(n>>8), byte(n)
	return dst
}

func (p *program) appendPayload(dst []byte, f *media.Frame) []byte {
	switch f.Track.Codec {
	case media.H264, media.H265:
		return p.appendPicture(dst, f)
	case media.AAC:
		if len(f.Data) > maxADTS-adtsSize {
			return dst
		}
		h := p.adts
		setADTSLength(&h, len(f.Data))
		return append(append(dst, h[:]...), f.Data...)
	case media.Opus:
		dst = append(dst, 0x7f, 0xe0) // opus_control_header without trims
		n := len(f.Data)
		for ; n >= 255; n -= 255 {
			dst = append(dst, 255)
		}
		return append(append(dst, byte(n)), f.Data...)
	default:
		return append(dst, f.Data...)
	}
}

// appendPicture appends an access unit as Annex B, with a delimiter and, before a key frame, the parameter sets, unless
// it brings its own.
func (p *program) appendPicture(dst []byte, f *media.Frame) []byte {
	codec := f.Track.Codec
	if codec == media.H265 {
		dst = append(dst, 0, 0, 0, 1, h265AUD<<1, 1, 0x50)
	} else {
		dst = append(dst, 0, 0, 0, 1, h264AUD, 0xf0)
	}
	if f.Key && len(media.FindParameterSets(codec, f.Data).SPS) == 0 {
		dst = append(dst, p.sets...)
	}
	for nalu := range media.NALUnits(f.Data) {
		if isAUD(codec, nalu) {
			continue
		}
		dst = append(append(dst, 0, 0, 0, 1), nalu...)
	}
	return dst
}

const (
	h264AUD = 9
	h265AUD = 35
)

func isAUD(codec media.Codec, nalu []byte) bool {
	t := media.NALUType(codec, nalu)
	return codec == media.H264 && t == h264AUD || codec == media.H265 && t == h265AUD
}

package mpegts

import (
	"bytes"
	"time"

	"github.com/hookline/hookline/internal/media"
)

// stream is one elementary stream that is read.
type stream struct {
	pid      uint16
	kind     byte // stream type
	codec    media.Codec
	channels int
	track    *media.Track
	cc       byte
	counted  bool // cc is valid

	pes  []byte // the PES packet that is being put together
	open bool
	want int // its size, 0 while unknown

	es       []byte // of video: the access unit so far; of audio: the beginning of a frame
	dts, pts time.Duration
	stamped  bool // the two above are valid
}

// elementary takes the payload of one transport packet.
func (d *Demuxer) elementary(s *stream, payload []byte, start, discontinuity bool, cc byte) {
	if payload == nil {
		if discontinuity {
			s.counted = false
		}
		return
	}
	if s.counted && !discontinuity {
		switch cc {
		case s.cc:
			return // sent twice
		case (s.cc + 1) & 15:
		default:
			d.stats.Lost++
			d.damaged(s)
		}
	}
	s.cc, s.counted = cc, true
	if start {
		d.finish(s)
		s.open, s.want, s.pes = true, 0, s.pes[:0]
	}
	if !s.open {
		return
	}
	if len(s.pes)+len(payload) > MaxAccessUnit {
		d.damaged(s)
		return
	}
	s.pes = append(s.pes, payload...)
	if s.want == 0 && len(s.pes) >= 6 {
		s.want = int(s.pes[4])<<8 | int(s.pes[5])
		if s.want > 0 {
			s.want += 6
		}
	}
	if s.want > 0 && len(s.pes) >= s.want {
		s.pes = s.pes[:s.want]
		d.finish(s)
	}
}

// damaged drops what is incomplete.
func (d *Demuxer) damaged(s *stream) {
	if s.open || len(s.es) > 0 {
		d.stats.Dropped++
	}
	s.open, s.es = false, s.es[:0]
}

// finish takes the PES packet that is complete now.
func (d *Demuxer) finish(s *stream) {
	if !s.open {
		return
	}
	s.open = false
	if s.want > 0 && len(s.pes) < s.want {
		d.damaged(s)
		d.stats.Dropped++
		return
	}
	payload, dts, pts, stamped, ok := parsePES(s.pes)
	if !ok {
		d.stats.Dropped++
		return
	}
	if s.codec.Kind() == media.Video {
		d.video(s, payload, dts, pts, stamped)
	} else {
		d.audio(s, payload, dts, stamped)
	}
	s.pes = slim(s.pes, len(s.pes))
}

// parsePES reads a PES header (ISO 13818-1, 2.4.3.6); the stamps are raw.
func parsePES(b []byte) (payload []byte, dts, pts int64, stamped, ok bool) {
	if len(b) < pesHeader || b[0] != 0 || b[1] != 0 || b[2] != 1 || b[6]&0xc0 != 0x80 {
		return nil, 0, 0, false, false
	}
	switch b[3] { // those without the optional header
	case 0xbc, 0xbe, 0xbf, 0xf0, 0xf1, 0xf2, 0xf8, 0xff:
		return nil, 0, 0, false, false
	}
	n := pesHeader + int(b[8])
	if n > len(b) {
		return nil, 0, 0, false, false
	}
	if b[7]&0x80 != 0 && b[8] >= ptsBytes {
		pts = parseStamp(b[pesHeader:])
		dts, stamped = pts, true
		if b[7]&0x40 != 0 && b[8] >= 2*ptsBytes {
			dts = parseStamp(b[pesHeader+ptsBytes:])
		}
	}
	return b[n:], dts, pts, stamped, true
}

// unwrapper turns stamps of 33 bits into times that go on. All streams share it, so that they wrap together.
type unwrapper struct {
	last int64
	any  bool
}

func (u *unwrapper) next(raw int64) int64 {
	if !u.any {
		u.any, u.last = true, raw
		return raw
	}
	u.last += signed33(raw - u.last)
	return u.last
}

// signed33 returns the difference of two stamps that are less than half the range apart.
func signed33(d int64) int64 { return d << 31 >> 31 }

func duration(t int64) time.Duration { return time.Duration(t * 100_000 / 9) }

// stamp sets the time of what begins in a PES packet.
func (d *Demuxer) stamp(s *stream, dts, pts int64) {
	t := d.clock.next(dts)
	s.dts, s.pts, s.stamped = duration(t), duration(t+signed33(pts-dts)), true
}

// video takes the payload of a PES packet: an access unit, the further part of one when it has no stamp, or several with
// delimiters between them.
func (d *Demuxer) video(s *stream, payload []byte, dts, pts int64, stamped bool) {
	if stamped {
		d.flush(s)
		d.stamp(s, dts, pts)
	}
	if !s.stamped || len(s.es)+len(payload) > MaxAccessUnit {
		d.damaged(s)
		return
	}
	s.es = append(s.es, payload...)
}

// flush emits the access units that were put together.
func (d *Demuxer) flush(s *stream) {
	es := s.es
	s.es = s.es[:0]
	if s.codec.Kind() != media.Video || len(es) == 0 {
		return
	}
	begin, at, picture := 0, 0, false
	for at < len(es) {
		i, n := startCode(es[at:])
		if i < 0 {
			break
		}
		at += i
		if u := es[at+n:]; len(u) > 0 {
			t := media.NALUType(s.codec, u)
			if isAUD(s.codec, u) && picture {
				d.accessUnit(s, es[begin:at])
				s.dts, s.pts = s.dts+s.step(), s.pts+s.step()
				begin, picture = at, false
			}
			picture = picture || isPicture(s.codec, t)
		}
		at += n
	}
	d.accessUnit(s, es[begin:])
	s.es = slim(s.es, len(es))
}

// slim drops a buffer of which far less was used: one huge picture must not hold its memory for ever.
func slim(b []byte, used int) []byte {
	if large := 1 << 20; cap(b) > large && used < cap(b)/8 {
		return nil
	}
	return b
}

// step is the assumed distance of access units that share a stamp.
func (s *stream) step() time.Duration {
	if s.track != nil && s.track.FPS > 0 {
		return time.Duration(float64(time.Second) / s.track.FPS)
	}
	return 40 * time.Millisecond
}

func isPicture(codec media.Codec, t int) bool {
	if codec == media.H265 {
		return t <= media.H265NALLastVCL
	}
	return t >= media.H264NALSlice && t <= media.H264NALIDR
}

// startCode finds the next start code: where it is and how long; -1 if there is none.
func startCode(b []byte) (at, n int) {
	at = bytes.Index(b, []byte{0, 0, 1})
	if at > 0 && b[at-1] == 0 {
		return at - 1, 4
	}
	return at, 3
}

// accessUnit emits one access unit. Its parameter sets become the track's.
func (d *Demuxer) accessUnit(s *stream, es []byte) {
	data := make([]byte, 0, len(es)+16)
	for nalu := range media.AnnexBUnits(es) {
		if isAUD(s.codec, nalu) {
			continue
		}
		data = appendUnit(data, nalu)
	}
	if sets := media.FindParameterSets(s.codec, data); len(sets.SPS) > 0 {
		if t := s.configure(sets); t != nil {
			s.track = t
			data = withoutSets(s.codec, data)
		}
	}
	picture, key := media.Picture(s.codec, data)
	if s.track == nil || !picture {
		return
	}
	d.emit(&media.Frame{Track: s.track, DTS: s.dts, PTS: s.pts, Key: key, Data: data})
}

// configure returns the track with the sets; nil when they are good for nothing.
func (s *stream) configure(sets media.ParameterSets) *media.Track {
	if s.track != nil {
		return s.track.WithParameterSets(cloneSets(sets))
	}
	t, err := cloneSets(sets).Track(s.codec)
	if err != nil {
		return nil
	}
	return t
}

// cloneSets keeps the sets from holding, or sharing, the access unit.
func cloneSets(p media.ParameterSets) media.ParameterSets {
	for _, kind := range []*[][]byte{&p.VPS, &p.SPS, &p.PPS} {
		sets := *kind
		for i, set := range sets {
			sets[i] = bytes.Clone(set)
		}
	}
	return p
}

func appendUnit(dst, nalu []byte) []byte {
	n := len(nalu)
	return append(append(dst, byte(n>>24), byte(n>>16), byte(n>>8), byte(n)), nalu...)
}

// withoutSets takes the parameter sets out of an access unit, in place.
func withoutSets(codec media.Codec, data []byte) []byte {
	out := data[:0]
	for nalu := range media.NALUnits(data) {
		t := media.NALUType(codec, nalu)
		if codec == media.H265 && t >= media.H265NALVPS && t <= media.H265NALPPS ||
			codec == media.H264 && (t == media.H264NALSPS || t == media.H264NALPPS) {
			continue
		}
		out = appendUnit(out, nalu)
	}
	return out
}

package mpegts

import (
	"bytes"
	"time"

	"github.com/hookline/hookline/internal/media"
)

// audio takes the payload of a PES packet: whole frames, and parts of them at its ends.
func (d *Demuxer) audio(s *stream, payload []byte, dts int64, stamped bool) {
	switch s.codec {
	case media.AAC, media.MP3:
		d.framed(s, payload, dts, stamped)
		return
	default:
	}
	if stamped {
		d.stamp(s, dts, dts)
	}
	if !s.stamped || len(payload) == 0 {
		d.stats.Dropped++
		return
	}
	if s.codec == media.Opus {
		d.opus(s, payload)
		return
	}
	if s.track == nil {
		s.track, _ = media.NewAudioTrack(s.codec, nil, 8000, s.channels, 16)
	}
	d.sound(s, payload)
}

// sound emits a frame and moves the time on by its length.
func (d *Demuxer) sound(s *stream, data []byte) {
	d.emit(&media.Frame{Track: s.track, DTS: s.dts, PTS: s.dts, Data: bytes.Clone(data)})
	if n, rate := media.AudioSamples(s.track, data), s.track.SampleRate; rate > 0 {
		s.dts += time.Duration(n) * time.Second / time.Duration(rate)
	}
}

// framed takes frames that have headers, AAC and MP3. The stamp is that of the first frame that begins in payload.
func (d *Demuxer) framed(s *stream, payload []byte, dts int64, stamped bool) {
	split := adtsFrame
	if s.codec == media.MP3 {
		split = mp3Frame
	}
	begun := len(s.es) // bytes of a frame that began earlier
	b := append(s.es, payload...)
	took := 0
	for took < len(b) {
		if stamped && took >= begun {
			d.stamp(s, dts, dts)
			stamped = false
		}
		t, head, size, ok := split(s, b[took:])
		if !ok { // resynchronise
			i := bytes.IndexByte(b[took+1:], 0xff)
			if i < 0 {
				took = len(b)
				break
			}
			took += 1 + i
			d.stats.Dropped++
			continue
		}
		if size == 0 || size > len(b)-took {
			break
		}
		if s.stamped && t != nil {
			s.track = t
			d.sound(s, b[took+head:took+size])
		}
		took += size
	}
	if stamped && took >= begun {
		d.stamp(s, dts, dts) // the first frame to begin here is not complete yet
	}
	s.es = append(s.es[:0], b[took:]...)
}

// adtsFrame reads an ADTS header: the track, the sizes of header and frame. The size is 0 while it is not known, and ok
// false where no header is. A frame of several blocks has no track.
func adtsFrame(s *stream, b []byte) (t *media.Track, head, size int, ok bool) {
	if b[0] != 0xff || len(b) > 1 && b[1]&0xf6 != 0xf0 {
		return nil, 0, 0, false
	}
	if len(b) < adtsSize {
		return nil, 0, 0, true
	}
	head = adtsSize
	if b[1]&1 == 0 {
		head += 2 // CRC
	}
	size = int(b[3]&3)<<11 | int(b[4])<<3 | int(b[5])>>5
	index := b[2] >> 2 & 15
	if size <= head || index >= rateCount {
		return nil, 0, 0, false
	}
	object, channels := b[2]>>6+1, b[2]&1<<2|b[3]>>6
	if b[6]&3 != 0 || channels == 0 {
		return nil, head, size, true
	}
	config := []byte{object<<3 | index>>1, index<<7 | channels<<3}
	if s.track != nil && bytes.Equal(s.track.Config, config) {
		return s.track, head, size, true
	}
	t, err := media.NewAudioTrack(media.AAC, config, 0, 0, 16)
	return t, head, size, err == nil
}

// mp3Frame is adtsFrame for MPEG audio.
func mp3Frame(s *stream, b []byte) (t *media.Track, head, size int, ok bool) {
	if b[0] != 0xff || len(b) > 1 && b[1]&0xe0 != 0xe0 {
		return nil, 0, 0, false
	}
	if len(b) < 4 {
		return nil, 0, 0, true
	}
	rate, channels, ok := media.MP3Header(b)
	if _, size = media.MP3Frame(b); !ok || size < 4 {
		return nil, 0, 0, false
	}
	if t = s.track; t != nil && t.SampleRate == rate && t.Channels == channels {
		return t, 0, size, true
	}
	t, err := media.NewAudioTrack(media.MP3, nil, rate, channels, 16)
	return t, 0, size, err == nil
}

// opus takes packets behind control headers (ETSI TS 103 491, table 5-1), or one that has none.
func (d *Demuxer) opus(s *stream, b []byte) {
	if s.track == nil {
		s.track, _ = media.NewAudioTrack(media.Opus, media.BuildOpusHead(s.channels), 0, s.channels, 16)
	}
	if !opusControl(b) {
		d.sound(s, b)
		return
	}
	for opusControl(b) {
		flags, rest, size := b[1], b[2:], 0
		for len(rest) > 0 {
			n := rest[0]
			rest = rest[1:]
			size += int(n)
			if n != 255 {
				break
			}
		}
		skip := 0
		if flags&0x10 != 0 { // start_trim
			skip += 2
		}
		if flags&0x08 != 0 { // end_trim
			skip += 2
		}
		if flags&0x04 != 0 && skip < len(rest) { // control_extension
			skip += 1 + int(rest[skip])
		}
		if size == 0 || skip+size > len(rest) {
			d.stats.Dropped++
			return
		}
		d.sound(s, rest[skip:skip+size])
		b = rest[skip+size:]
	}
}

func opusControl(b []byte) bool { return len(b) >= 3 && b[0] == 0x7f && b[1]&0xe0 == 0xe0 }

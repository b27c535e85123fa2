package rtp

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/hookline/hookline/internal/media"
)

// EncoderConfig says how the packets of a track are written.
type EncoderConfig struct {
	PT      uint8  // payload type; Describe chooses one
	SSRC    uint32 // of the source
	Seq     uint16 // of the first packet
	Base    uint32 // RTP time of PTS 0
	Channel uint8  // of the interleaved framing
	// MTU bounds a packet in bytes, header included. Default 1400 for video and audio.
	MTU int
	// Single writes parameter sets of H.264 in packets of their own: not every player reads STAP-A. Default false.
	Single bool
}

// Encoder writes the packets of one track. It is used by one goroutine at a time.
type Encoder struct {
	w       writer
	single  bool
	base    uint32
	clock   int
	payload payload
	packets uint32
	octets  uint32
	last    uint32 // RTP time of the newest frame
}

// payload appends the packets of one unit of a codec.
type payload interface {
	append(dst []byte, w *writer, ts uint32, f *media.Frame) []byte
}

// defaultMTU leaves room for IP and UDP headers and for tunnels.
const defaultMTU = 1400

// NewEncoder returns an encoder for the frames of t. Errors wrap ErrUnsupported.
func NewEncoder(t *media.Track, cfg EncoderConfig) (*Encoder, error) {
	if cfg.MTU < 64 || cfg.MTU > 65535 {
		cfg.MTU = defaultMTU
	}
	e := &Encoder{
		w:    writer{channel: cfg.Channel, pt: cfg.PT, seq: cfg.Seq, ssrc: cfg.SSRC, mtu: cfg.MTU},
		base: cfg.Base, single: cfg.Single,
	}
	if err := e.Renew(t); err != nil {
		return nil, err
	}
	return e, nil
}

// Renew takes the configuration of t for the frames that follow; the sequence goes on. Errors wrap ErrUnsupported.
func (e *Encoder) Renew(t *media.Track) error {
	e.clock = ClockRate(t)
	switch t.Codec {
	case media.H264:
		e.payload = newNALPayload(t, e.single)
	case media.H265:
		e.payload = newNALPayload(t, false)
	case media.AAC:
		e.payload = aacPayload{}
	case media.MP3:
		e.payload = mp3Payload{}
	case media.Opus:
		e.payload = wholePayload{}
	case media.PCMA, media.PCMU:
		e.payload = pcmPayload{bytesPerTick: max(t.Channels, 1)}
	case media.L16:
		e.payload = pcmPayload{bytesPerTick: 2 * max(t.Channels, 1)}
	case media.VP8:
		e.payload = vp8Payload{}
	case media.VP9:
		e.payload = vp9Payload{}
	case media.AV1:
		e.payload = av1Payload{}
	case media.JPEG:
		p, err := newJPEGPayload(e.w.mtu)
		if err != nil {
			return fmt.Errorf("%v: %w: %w", t.Codec, ErrUnsupported, err)
		}
		e.payload = p
	default:
		return fmt.Errorf("%v: %w", t.Codec, ErrUnsupported)
	}
	return nil
}

// Append appends the packets of f, in the interleaved framing.
func (e *Encoder) Append(dst []byte, f *media.Frame) []byte {
	seq, n := e.w.seq, len(dst)
	e.last = e.Time(f.PTS)
	dst = e.payload.append(dst, &e.w, e.last, f)
	packets := uint32(e.w.seq - seq)
	e.packets += packets
	e.octets += uint32(len(dst)-n) - packets*(framing+headerSize)
	return dst
}

// Time returns the RTP time of a PTS.
func (e *Encoder) Time(pts time.Duration) uint32 {
	return e.base + uint32(toClock(pts, e.clock))
}

// Next returns the sequence number of the next packet, and the RTP time of the newest frame (RTP-Info).
func (e *Encoder) Next() (seq uint16, ts uint32) { return e.w.seq, e.last }

// toClock converts a time into ticks, rounded to the nearest.
func toClock(d time.Duration, rate int) int64 {
	s, rest := int64(d/time.Second), int64(d%time.Second)
	return s*int64(rate) + (rest*int64(rate)+int64(time.Second)/2)/int64(time.Second)
}

// fromClock converts ticks into a time.
func fromClock(ticks int64, rate int) time.Duration {
	s, rest := ticks/int64(rate), ticks%int64(rate)
	return time.Duration(s)*time.Second + time.Duration(rest*int64(time.Second)/int64(rate))
}

// nalPayload is H.264 (RFC 6184) and H.265 (RFC 7798): one NAL unit per packet, fragments of those that are too long,
// and one aggregation packet with the parameter sets before every key frame, because players join there.
type nalPayload struct {
	codec  media.Codec
	sets   [][]byte
	single bool // no aggregation packets
}

func newNALPayload(t *media.Track, single bool) *nalPayload {
	return &nalPayload{codec: t.Codec, sets: parameterSets(t), single: single}
}

// parameterSets returns VPS, SPS and PPS of a configuration, in this order.
func parameterSets(t *media.Track) [][]byte {
	var sets [][]byte
	if t.Codec == media.H265 {
		if c, err := media.ParseHEVCConfig(t.Config); err == nil {
			sets = append(append(append(sets, c.VPS...), c.SPS...), c.PPS...)
		}
	} else if c, err := media.ParseAVCConfig(t.Config); err == nil {
		sets = append(append(sets, c.SPS...), c.PPS...)
	}
	return sets
}

func (p *nalPayload) append(dst []byte, w *writer, ts uint32, f *media.Frame) []byte {
	if f.Key && len(media.FindParameterSets(p.codec, f.Data).SPS) == 0 {
		dst = p.appendSets(dst, w, ts)
	}
	var held []byte
	for nalu := range media.NALUnits(f.Data) {
		if held != nil {
			dst = p.appendUnit(dst, w, ts, held, false)
		}
		held = nalu
	}
	if held != nil {
		dst = p.appendUnit(dst, w, ts, held, true)
	}
	return dst
}

// appendSets writes the parameter sets as one aggregation packet, STAP-A (RFC 6184 section 5.7.1) or AP (RFC 7798 section
// 4.4.2), or as packets of their own when they are too long, or are to be.
func (p *nalPayload) appendSets(dst []byte, w *writer, ts uint32) []byte {
	head := []byte{24 | 3<<5}
	if p.codec == media.H265 {
		head = []byte{48 << 1, 1}
	}
	n := len(head)
	for _, s := range p.sets {
		n += 2 + len(s)
	}
	if len(p.sets) == 0 {
		return dst
	}
	if n > w.room() || len(p.sets) == 1 || p.single {
		for _, s := range p.sets {
			dst = p.appendUnit(dst, w, ts, s, false)
		}
		return dst
	}
	dst = append(w.begin(dst, ts, false, n), head...)
	for _, s := range p.sets {
		dst = append(binary.BigEndian.AppendUint16(dst, uint16(len(s))), s...)
	}
	return dst
}

// appendUnit writes one NAL unit, in fragments (FU-A, RFC 6184 section 5.8; FU, RFC 7798 section 4.4.3) when it is long.
func (p *nalPayload) appendUnit(dst []byte, w *writer, ts uint32, nalu []byte, last bool) []byte {
	if len(nalu) <= w.room() {
		return w.packet(dst, ts, last, nalu)
	}
	var head [3]byte
	fu, skip := head[:2], 1
	typ := nalu[0] & 0x1f
	head[0] = nalu[0]&0xe0 | 28
	if p.codec == media.H265 {
		fu, skip = head[:3], 2
		typ = nalu[0] >> 1 & 0x3f
		head[0], head[1] = nalu[0]&0x81|49<<1, nalu[1]
	}
	rest, flag := nalu[skip:], byte(0x80)
	for len(rest) > 0 {
		n := min(len(rest), w.room()-len(fu))
		if n == len(rest) {
			flag |= 0x40
		}
		fu[len(fu)-1] = flag | typ
		dst = w.packet(dst, ts, last && n == len(rest), fu, rest[:n])
		rest, flag = rest[n:], 0
	}
	return dst
}

// aacPayload is mode AAC-hbr of RFC 3640 section 3.3.6: one access unit per packet, or fragments of one.
type aacPayload struct{}

func (aacPayload) append(dst []byte, w *writer, ts uint32, f *media.Frame) []byte {
	if len(f.Data) == 0 || len(f.Data) >= 1<<13 {
		return dst // the size has 13 bits
	}
	head := [4]byte{0, 16, byte(len(f.Data) >> 5), byte(len(f.Data) << 3)}
	for rest := f.Data; len(rest) > 0; {
		n := min(len(rest), w.room()-len(head))
		dst = w.packet(dst, ts, n == len(rest), head[:], rest[:n])
		rest = rest[n:]
	}
	return dst
}

// mp3Payload is RFC 2250 section 3.5: fragments behind their offset.
type mp3Payload struct{}

func (mp3Payload) append(dst []byte, w *writer, ts uint32, f *media.Frame) []byte {
	for at := 0; at < len(f.Data) && at < 1<<16; {
		n := min(len(f.Data)-at, w.room()-4)
		head := [4]byte{0, 0, byte(at >> 8), byte(at)}
		dst = w.packet(dst, ts, true, head[:], f.Data[at:at+n])
		at += n
	}
	return dst
}

// wholePayload writes a frame as one packet: Opus (RFC 7587 section 4.2). A longer one can't be written.
type wholePayload struct{}

func (wholePayload) append(dst []byte, w *writer, ts uint32, f *media.Frame) []byte {
	if len(f.Data) == 0 || len(f.Data) > 65535-headerSize {
		return dst
	}
	return w.packet(dst, ts, true, f.Data)
}

// pcmPayload is sound of a fixed number of bytes per tick of the clock (RFC 3551 section 4.5), which may be cut between any two ticks.
type pcmPayload struct{ bytesPerTick int }

func (p pcmPayload) append(dst []byte, w *writer, ts uint32, f *media.Frame) []byte {
	step := w.room() / p.bytesPerTick * p.bytesPerTick
	for at := 0; at < len(f.Data); {
		n := min(len(f.Data)-at, step)
		dst = w.packet(dst, ts+uint32(at/p.bytesPerTick), false, f.Data[at:at+n])
		at += n
	}
	return dst
}

// Carries says that RTP can carry t.
func Carries(t *media.Track) bool {
	_, err := NewEncoder(t, EncoderConfig{})
	return err == nil
}

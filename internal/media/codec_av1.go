package media

import (
	"encoding/binary"
	"fmt"
	"iter"
)

// Types of open bitstream units (AV1 bitstream specification, section 6.2.2) that matter here.
const (
	OBUSequenceHeader    = 1
	OBUTemporalDelimiter = 2
	OBUFrameHeader       = 3
	OBUFrame             = 6
)

// av1ConfigSize is the size of the fixed part of an AV1CodecConfigurationRecord.
const av1ConfigSize = 4

// AV1Config is an AV1CodecConfigurationRecord ("AV1 Codec ISO Media File Format Binding", section 2.3.3).
type AV1Config struct {
	Profile, Level int
	HighTier       bool
	BitDepth       int
	Mono           bool
	SubX, SubY     bool // chroma subsampling
	// OBUs are the configuration OBUs, each with a size: one sequence header, or nothing when it comes in band.
	OBUs []byte
}

// ParseAV1Config parses an AV1CodecConfigurationRecord. OBUs is a slice of b. Errors wrap ErrBadConfig.
func ParseAV1Config(b []byte) (AV1Config, error) {
	const markerAndVersion = 0x81
	if len(b) < av1ConfigSize || b[0] != markerAndVersion {
		return AV1Config{}, fmt.Errorf("AV1CodecConfigurationRecord: %w", ErrBadConfig)
	}
	c := AV1Config{
		Profile: int(b[1] >> 5), Level: int(b[1] & 0x1f), HighTier: b[2]&0x80 != 0, BitDepth: 8,
		Mono: b[2]&0x10 != 0, SubX: b[2]&8 != 0, SubY: b[2]&4 != 0, OBUs: b[av1ConfigSize:],
	}
	switch b[2] >> 5 & 3 {
	case 3:
		c.BitDepth = 12
	case 2:
		c.BitDepth = 10
	}
	return c, nil
}

// AV1Sequence is what a sequence header says (AV1 bitstream specification, section 5.5).
type AV1Sequence struct {
	AV1Config
	Width, Height int
	FPS           float64 // 0 when the header has no timing
}

// OBUs yields type and payload of the OBUs of data, in the low-overhead format (section 5.2). It stops at the first that
// is broken; one without a size is the last.
func OBUs(data []byte) iter.Seq2[int, []byte] {
	return func(yield func(int, []byte) bool) {
		for len(data) > 0 {
			typ, payload, n, ok := TakeOBU(data)
			if !ok || !yield(typ, payload) {
				return
			}
			data = data[n:]
		}
	}
}

// TakeOBU reads the OBU at the start of b, which is not empty; it takes n bytes.
func TakeOBU(b []byte) (typ int, payload []byte, n int, ok bool) {
	const extension, hasSize, forbidden = 4, 2, 0x80
	h := b[0]
	if h&forbidden != 0 {
		return 0, nil, 0, false
	}
	at := 1
	if h&extension != 0 {
		at++
	}
	if at > len(b) {
		return 0, nil, 0, false
	}
	size := len(b) - at
	if h&hasSize != 0 {
		v, width := leb128(b[at:])
		if at += width; width == 0 || v > uint64(len(b)-at) {
			return 0, nil, 0, false
		}
		size = int(v)
	}
	return int(h >> 3 & 0xf), b[at : at+size : at+size], at + size, true
}

// leb128 reads a little-endian base 128 number (section 4.10.5); n is 0 when it is broken.
func leb128(b []byte) (v uint64, n int) {
	for i, c := range b[:min(len(b), 8)] {
		v |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			return v, i + 1
		}
	}
	return 0, 0
}

// TrimAV1 returns a temporal unit without the temporal delimiters in front of it, which containers leave out.
func TrimAV1(data []byte) []byte {
	for len(data) > 0 {
		typ, _, n, ok := TakeOBU(data)
		if !ok || typ != OBUTemporalDelimiter {
			break
		}
		data = data[n:]
	}
	return data
}

// FindAV1Sequence returns the payload of the first sequence header in data, nil when there is none.
func FindAV1Sequence(data []byte) []byte {
	for typ, payload := range OBUs(data) {
		if typ == OBUSequenceHeader {
			return payload
		}
	}
	return nil
}

// av1Picture is Picture for AV1: a temporal unit begins with a key frame that is shown, or not.
func av1Picture(data []byte) (any, key bool) {
	for typ, payload := range OBUs(data) {
		if typ != OBUFrame && typ != OBUFrameHeader || len(payload) == 0 {
			continue
		}
		// show_existing_frame, frame_type (0: key frame), show_frame
		return true, payload[0]&0xf0 == 0x10
	}
	return false, false
}

// ParseAV1Sequence parses the payload of a sequence header OBU. OBUs of the result is empty. Errors wrap ErrBadConfig.
func ParseAV1Sequence(payload []byte) (AV1Sequence, error) {
	r := bitReader{b: payload}
	var s AV1Sequence
	s.Profile = int(r.u(3))
	r.skip(1) // still_picture
	reduced := r.flag()
	if reduced {
		s.Level = int(r.u(5))
	} else {
		s.operation(&r)
	}
	w, h := int(r.u(4))+1, int(r.u(4))+1
	s.Width, s.Height = int(r.u(w))+1, int(r.u(h))+1
	s.tools(&r, reduced)
	s.colour(&r)
	r.skip(1) // film_grain_params_present
	if r.failed || s.Profile > 2 {
		return AV1Sequence{}, fmt.Errorf("AV1 sequence header: %w", ErrBadConfig)
	}
	return s, nil
}

// operation reads timing and operating points; the first point is the one with everything.
func (s *AV1Sequence) operation(r *bitReader) {
	delayBits, model := 0, false
	if r.flag() { // timing_info_present_flag
		tick, scale := r.u(32), r.u(32)
		ticks := 0.0
		if r.flag() { // equal_picture_interval
			ticks = float64(r.ue()) + 1 // uvlc is Exp-Golomb
		}
		if ticks > 0 {
			s.FPS = frameRate(float64(scale), float64(tick)*ticks)
		}
		if model = r.flag(); model {
			delayBits = int(r.u(5)) + 1
			r.skip(32 + 5 + 5)
		}
	}
	display := r.flag() // initial_display_delay_present_flag
	for i := range r.u(5) + 1 {
		r.skip(12) // operating_point_idc
		level, high := int(r.u(5)), false
		if level > 7 {
			high = r.flag()
		}
		if i == 0 {
			s.Level, s.HighTier = level, high
		}
		if model && r.flag() {
			r.skip(2*delayBits + 1)
		}
		if display && r.flag() {
			r.skip(4)
		}
	}
}

// tools reads what stands between the size and the colours.
func (s *AV1Sequence) tools(r *bitReader, reduced bool) {
	if !reduced && r.flag() { // frame_id_numbers_present_flag
		r.skip(7)
	}
	r.skip(3)
	if !reduced {
		r.skip(4)
		order := r.flag() // enable_order_hint
		if order {
			r.skip(2)
		}
		screen := true // seq_choose_screen_content_tools
		if !r.flag() {
			screen = r.flag()
		}
		if screen && !r.flag() { // seq_choose_integer_mv
			r.skip(1)
		}
		if order {
			r.skip(3)
		}
	}
	r.skip(3)
}

// colour reads color_config (5.5.2).
func (s *AV1Sequence) colour(r *bitReader) {
	s.BitDepth = 8
	if r.flag() {
		s.BitDepth = 10
		if s.Profile == 2 && r.flag() {
			s.BitDepth = 12
		}
	}
	s.Mono = s.Profile != 1 && r.flag()
	srgb := false
	if r.flag() { // color_description_present_flag
		srgb = r.u(24) == 1<<16|13<<8 // BT.709 primaries, sRGB transfer, identity matrix
	}
	s.SubX, s.SubY = true, true
	switch {
	case s.Mono:
		r.skip(1)
		return
	case srgb:
		s.SubX, s.SubY = false, false
	default:
		r.skip(1) // color_range
		s.subsampling(r)
	}
	r.skip(1) // separate_uv_delta_q
}

func (s *AV1Sequence) subsampling(r *bitReader) {
	switch {
	case s.Profile == 1:
		s.SubX, s.SubY = false, false
	case s.Profile == 2 && s.BitDepth == 12:
		s.SubX = r.flag()
		s.SubY = s.SubX && r.flag()
	case s.Profile == 2:
		s.SubY = false
	}
	if s.SubX && s.SubY {
		r.skip(2) // chroma_sample_position
	}
}

// BuildAV1Config makes an AV1CodecConfigurationRecord of the payload of a sequence header OBU. Errors wrap ErrBadConfig.
func BuildAV1Config(sequence []byte) ([]byte, error) {
	s, err := ParseAV1Sequence(sequence)
	if err != nil {
		return nil, err
	}
	if len(sequence) > maxConfig {
		return nil, fmt.Errorf("AV1 sequence header of %d bytes: %w", len(sequence), ErrBadConfig)
	}
	var flags byte
	for i, set := range [...]bool{s.HighTier, s.BitDepth > 8, s.BitDepth == 12, s.Mono, s.SubX, s.SubY} {
		if set {
			flags |= 0x80 >> i
		}
	}
	b := []byte{0x81, byte(s.Profile<<5 | s.Level), flags, 0, OBUSequenceHeader<<3 | 2}
	b = binary.AppendUvarint(b, uint64(len(sequence))) // the same encoding as leb128
	return append(b, sequence...), nil
}

func (t *Track) fromAV1(config []byte) ([]byte, error) {
	c, err := ParseAV1Config(config)
	if err != nil {
		return nil, err
	}
	if sequence := FindAV1Sequence(c.OBUs); sequence != nil {
		s, err := ParseAV1Sequence(sequence)
		if err != nil {
			return nil, err
		}
		t.Width, t.Height, t.FPS = s.Width, s.Height, s.FPS
	}
	return config, nil
}

package media

import (
	"encoding/binary"
	"fmt"
)

// avcLengthSizeAt is the byte of an AVCDecoderConfigurationRecord that holds lengthSizeMinusOne.
const avcLengthSizeAt = 4

// AVCConfig is an AVCDecoderConfigurationRecord, ISO 14496-15 section 5.3.3.1.
type AVCConfig struct {
	Profile, Compatibility, Level byte
	LengthSize                    int // of the NAL unit lengths, in bytes
	SPS, PPS                      [][]byte
}

// ParseAVCConfig parses an AVCDecoderConfigurationRecord. The parameter sets are slices of b. Errors wrap ErrBadConfig.
func ParseAVCConfig(b []byte) (AVCConfig, error) {
	var c AVCConfig
	if len(b) < 7 || b[0] != 1 {
		return c, fmt.Errorf("AVCDecoderConfigurationRecord: %w", ErrBadConfig)
	}
	c.Profile, c.Compatibility, c.Level = b[1], b[2], b[3]
	c.LengthSize = int(b[avcLengthSizeAt]&3) + 1
	rest := b[6:]
	var ok bool
	if c.SPS, rest, ok = takeSets(rest, int(b[5]&0x1f)); !ok || len(rest) == 0 {
		return c, fmt.Errorf("AVCDecoderConfigurationRecord: truncated SPS: %w", ErrBadConfig)
	}
	if c.PPS, _, ok = takeSets(rest[1:], int(rest[0])); !ok {
		return c, fmt.Errorf("AVCDecoderConfigurationRecord: truncated PPS: %w", ErrBadConfig)
	}
	return c, nil
}

// takeSets takes n parameter sets with 2-byte lengths from b. Empty ones are left out.
func takeSets(b []byte, n int) (sets [][]byte, rest []byte, ok bool) {
	for range n {
		if len(b) < 2 {
			return nil, nil, false
		}
		size := int(binary.BigEndian.Uint16(b))
		if b = b[2:]; len(b) < size {
			return nil, nil, false
		}
		if size > 0 {
			sets = append(sets, b[:size:size])
		}
		b = b[size:]
	}
	return sets, b, true
}

// BuildAVCConfig makes an AVCDecoderConfigurationRecord with NAL unit length size 4. It needs at least one of each;
// errors wrap ErrBadConfig.
func BuildAVCConfig(sps, pps [][]byte) ([]byte, error) {
	if len(sps) == 0 || len(pps) == 0 || len(sps) > 31 || len(pps) > 255 || len(sps[0]) < 4 {
		return nil, fmt.Errorf("%d SPS, %d PPS: %w", len(sps), len(pps), ErrBadConfig)
	}
	first, err := ParseH264SPS(sps[0])
	if err != nil {
		return nil, err
	}
	b := []byte{1, sps[0][1], sps[0][2], sps[0][3], 0xff, 0xe0 | byte(len(sps))}
	if b, err = appendSets(b, sps); err != nil {
		return nil, err
	}
	b = append(b, byte(len(pps)))
	if b, err = appendSets(b, pps); err != nil {
		return nil, err
	}
	switch sps[0][1] {
	case 66, 77, 88:
	default: // the record of all newer profiles says the sample format
		b = append(b, 0xfc|byte(first.ChromaFormat), 0xf8|byte(first.LumaBits-8), 0xf8|byte(first.ChromaBits-8), 0)
	}
	return b, nil
}

func appendSets(b []byte, sets [][]byte) ([]byte, error) {
	for _, s := range sets {
		if len(s) > 0xffff {
			return nil, fmt.Errorf("parameter set of %d bytes: %w", len(s), ErrBadConfig)
		}
		b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
		b = append(b, s...)
	}
	return b, nil
}

// SPS is what a sequence parameter set says of the picture.
type SPS struct {
	Width, Height        int     // in luma samples, after cropping
	FPS                  float64 // frames per second, 0 when the set has no timing
	ChromaFormat         int     // chroma_format_idc
	LumaBits, ChromaBits int     // per sample
}

// ParseH264SPS parses a sequence parameter set (ITU-T H.264, 7.3.2.1.1 and E.1.1), one NAL unit with its header byte.
// Errors wrap ErrBadConfig.
func ParseH264SPS(nalu []byte) (SPS, error) {
	if len(nalu) < 4 || nalu[0]&0x1f != H264NALSPS || len(nalu) > maxConfig {
		return SPS{}, fmt.Errorf("H264 SPS: %w", ErrBadConfig)
	}
	r := bitReader{b: unescape(nalu)}
	s := SPS{ChromaFormat: 1, LumaBits: 8, ChromaBits: 8}
	r.skip(8)
	profile := r.u(8)
	r.skip(16) // constraints, level
	r.ue()     // seq_parameter_set_id
	separatePlanes := false
	if h264HasChroma(profile) {
		separatePlanes = s.h264Chroma(&r)
	}
	r.ue() // log2_max_frame_num_minus4
	h264PicOrder(&r)
	r.ue()    // max_num_ref_frames
	r.skip(1) // gaps_in_frame_num_value_allowed_flag
	s.h264Size(&r, separatePlanes)
	if r.failed || s.Width <= 0 || s.Height <= 0 {
		return SPS{}, fmt.Errorf("H264 SPS: %w", ErrBadConfig)
	}
	if r.flag() {
		s.FPS = h264Timing(&r)
	}
	return s, nil
}

func h264HasChroma(profile uint32) bool {
	switch profile {
	case 100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135:
		return true
	}
	return false
}

func (s *SPS) h264Chroma(r *bitReader) (separatePlanes bool) {
	s.ChromaFormat = r.count(3)
	if s.ChromaFormat == 3 {
		separatePlanes = r.flag()
	}
	s.LumaBits = 8 + r.count(6)
	s.ChromaBits = 8 + r.count(6)
	r.skip(1) // qpprime_y_zero_transform_bypass_flag
	if !r.flag() {
		return separatePlanes
	}
	lists := 8
	if s.ChromaFormat == 3 {
		lists = 12
	}
	for i := range lists {
		if !r.flag() {
			continue
		}
		size := 16
		if i >= 6 {
			size = 64
		}
		h264ScalingList(r, size)
	}
	return separatePlanes
}

func h264ScalingList(r *bitReader, size int) {
	last, next := int32(8), int32(8)
	for range size {
		if next != 0 {
			next = (last + r.se() + 256) & 0xff
		}
		if next != 0 {
			last = next
		}
	}
}

func h264PicOrder(r *bitReader) {
	switch r.ue() { // pic_order_cnt_type
	case 0:
		r.ue() // log2_max_pic_order_cnt_lsb_minus4
	case 1:
		r.skip(1) // delta_pic_order_always_zero_flag
		r.se()    // offset_for_non_ref_pic
		r.se()    // offset_for_top_to_bottom_field
		for range r.count(255) {
			r.se()
		}
	}
}

// maxPicture is the largest width or height in samples that is believed.
const maxPicture = 1 << 16

func (s *SPS) h264Size(r *bitReader, separatePlanes bool) {
	width := (r.count(maxPicture/16-1) + 1) * 16
	height := (r.count(maxPicture/16-1) + 1) * 16
	frameOnly := r.flag() // frame_mbs_only_flag
	field := 1
	if !frameOnly {
		field = 2
		r.skip(1) // mb_adaptive_frame_field_flag
	}
	height *= field
	r.skip(1) // direct_8x8_inference_flag
	if r.flag() {
		unitX, unitY := chromaUnit(s.ChromaFormat, separatePlanes)
		width -= unitX * (r.count(maxPicture) + r.count(maxPicture))
		height -= unitY * field * (r.count(maxPicture) + r.count(maxPicture))
	}
	s.Width, s.Height = width, height
}

// chromaUnit returns the units of cropping in luma samples (ITU-T H.264, table 6-1).
func chromaUnit(format int, separatePlanes bool) (x, y int) {
	switch {
	case separatePlanes:
		return 1, 1
	case format == 1:
		return 2, 2
	case format == 2:
		return 2, 1
	}
	return 1, 1
}

// h264Timing reads the VUI up to the frame rate; a broken VUI is one without timing.
func h264Timing(r *bitReader) float64 {
	videoSignal(r)
	if r.flag() { // chroma_loc_info_present_flag
		r.ue()
		r.ue()
	}
	if !r.flag() { // timing_info_present_flag
		return 0
	}
	units, scale := r.u(32), r.u(32)
	if r.failed {
		return 0
	}
	return frameRate(float64(scale), 2*float64(units))
}

// videoSignal skips the first part of the VUI, which H.264 and H.265 share.
func videoSignal(r *bitReader) {
	const extendedSAR = 255
	if r.flag() && r.u(8) == extendedSAR { // aspect_ratio_info_present_flag
		r.skip(32)
	}
	if r.flag() { // overscan_info_present_flag
		r.skip(1)
	}
	if r.flag() { // video_signal_type_present_flag
		r.skip(4)
		if r.flag() { // colour_description_present_flag
			r.skip(24)
		}
	}
}

// frameRate returns scale/units, or 0 when that is no frame rate: encoders write all sorts of tick counts.
func frameRate(scale, units float64) float64 {
	if units <= 0 {
		return 0
	}
	if fps := scale / units; fps >= 0.1 && fps <= 1000 {
		return fps
	}
	return 0
}

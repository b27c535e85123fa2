package media

import (
	"encoding/binary"
	"fmt"
)

// hevcLengthSizeAt is the byte of an HEVCDecoderConfigurationRecord that holds lengthSizeMinusOne.
const hevcLengthSizeAt = 21

// HEVCConfig is an HEVCDecoderConfigurationRecord, ISO 14496-15 section 8.3.3.1.
type HEVCConfig struct {
	LengthSize    int     // of the NAL unit lengths, in bytes
	FPS           float64 // avgFrameRate, 0 when unspecified
	VPS, SPS, PPS [][]byte
}

// ParseHEVCConfig parses an HEVCDecoderConfigurationRecord. The parameter sets are slices of b. Errors wrap
// ErrBadConfig. Version 0, which old encoders write, is read as version 1.
func ParseHEVCConfig(b []byte) (HEVCConfig, error) {
	var c HEVCConfig
	if len(b) < 23 || b[0] > 1 {
		return c, fmt.Errorf("HEVCDecoderConfigurationRecord: %w", ErrBadConfig)
	}
	c.FPS = frameRate(float64(binary.BigEndian.Uint16(b[19:])), 256)
	c.LengthSize = int(b[hevcLengthSizeAt]&3) + 1
	rest := b[23:]
	for range b[22] {
		if len(rest) < 3 {
			return c, fmt.Errorf("HEVCDecoderConfigurationRecord: truncated: %w", ErrBadConfig)
		}
		sets, next, ok := takeSets(rest[3:], int(binary.BigEndian.Uint16(rest[1:])))
		if !ok {
			return c, fmt.Errorf("HEVCDecoderConfigurationRecord: truncated: %w", ErrBadConfig)
		}
		switch rest[0] & 0x3f {
		case H265NALVPS:
			c.VPS = append(c.VPS, sets...)
		case H265NALSPS:
			c.SPS = append(c.SPS, sets...)
		case H265NALPPS:
			c.PPS = append(c.PPS, sets...)
		}
		rest = next
	}
	return c, nil
}

// BuildHEVCConfig makes an HEVCDecoderConfigurationRecord with NAL unit length size 4. It needs at least one of each;
// errors wrap ErrBadConfig.
func BuildHEVCConfig(vps, sps, pps [][]byte) ([]byte, error) {
	if len(vps) == 0 || len(sps) == 0 || len(pps) == 0 {
		return nil, fmt.Errorf("%d VPS, %d SPS, %d PPS: %w", len(vps), len(sps), len(pps), ErrBadConfig)
	}
	s, err := ParseH265SPS(sps[0])
	if err != nil {
		return nil, err
	}
	raw := unescape(sps[0])
	if len(raw) < 15 {
		return nil, fmt.Errorf("H265 SPS: %w", ErrBadConfig)
	}
	b := append(make([]byte, 0, 256), 1)
	b = append(b, raw[3:15]...)  // profile, compatibility, constraints, level
	b = append(b, 0xf0, 0, 0xfc) // min_spatial_segmentation_idc and parallelismType unknown
	b = append(b, 0xfc|byte(s.ChromaFormat))
	b = append(b, 0xf8|byte(s.LumaBits-8), 0xf8|byte(s.ChromaBits-8))
	b = append(b, 0, 0)                       // avgFrameRate unspecified
	layers := raw[2]>>1&7 + 1                 // sps_max_sub_layers
	b = append(b, layers<<3|raw[2]&1<<2|3, 3) // temporalIdNested, lengthSizeMinusOne; three arrays
	kinds := [3]byte{H265NALVPS, H265NALSPS, H265NALPPS}
	for i, sets := range [3][][]byte{vps, sps, pps} {
		if len(sets) > 0xffff {
			return nil, fmt.Errorf("%d parameter sets: %w", len(sets), ErrBadConfig)
		}
		b = append(b, 0x80|kinds[i])
		b = binary.BigEndian.AppendUint16(b, uint16(len(sets)))
		if b, err = appendSets(b, sets); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// ParseH265SPS parses a sequence parameter set (ITU-T H.265, 7.3.2.2.1 and E.2.1), one NAL unit with its two header
// bytes. Errors wrap ErrBadConfig; a set that is broken behind the picture size has no frame rate.
func ParseH265SPS(nalu []byte) (SPS, error) {
	if len(nalu) < 3 || nalu[0]>>1&0x3f != H265NALSPS || len(nalu) > maxConfig {
		return SPS{}, fmt.Errorf("H265 SPS: %w", ErrBadConfig)
	}
	r := bitReader{b: unescape(nalu)}
	s := SPS{}
	r.skip(16 + 4)
	subLayers := int(r.u(3)) // sps_max_sub_layers_minus1
	r.skip(1)
	h265ProfileTierLevel(&r, subLayers)
	r.ue() // sps_seq_parameter_set_id
	s.h265Size(&r)
	s.LumaBits = 8 + r.count(8)
	s.ChromaBits = 8 + r.count(8)
	if r.failed || s.Width <= 0 || s.Height <= 0 {
		return SPS{}, fmt.Errorf("H265 SPS: %w", ErrBadConfig)
	}
	s.FPS = h265Timing(&r, subLayers)
	return s, nil
}

// h265ProfileTierLevel skips profile_tier_level (7.3.3).
func h265ProfileTierLevel(r *bitReader, subLayers int) {
	r.skip(96)
	if subLayers == 0 {
		return
	}
	present := r.u(16)
	for i := range subLayers {
		flags := present >> uint(14-2*i)
		if flags&2 != 0 {
			r.skip(88)
		}
		if flags&1 != 0 {
			r.skip(8)
		}
	}
}

func (s *SPS) h265Size(r *bitReader) {
	s.ChromaFormat = r.count(3)
	separatePlanes := false
	if s.ChromaFormat == 3 {
		separatePlanes = r.flag()
	}
	s.Width = r.count(maxPicture)
	s.Height = r.count(maxPicture)
	if r.flag() { // conformance_window_flag
		unitX, unitY := chromaUnit(s.ChromaFormat, separatePlanes)
		s.Width -= unitX * (r.count(maxPicture) + r.count(maxPicture))
		s.Height -= unitY * (r.count(maxPicture) + r.count(maxPicture))
	}
}

// h265Timing reads from behind the bit depths to the frame rate in the VUI, 0 when there is none.
func h265Timing(r *bitReader, subLayers int) float64 {
	pocBits := 4 + r.count(12)
	first := subLayers
	if r.flag() { // sps_sub_layer_ordering_info_present_flag
		first = 0
	}
	for range subLayers - first + 1 {
		r.ue()
		r.ue()
		r.ue()
	}
	for range 6 { // block sizes and depths
		r.ue()
	}
	if r.flag() { // scaling_list_enabled_flag
		if r.flag() { // sps_scaling_list_data_present_flag
			h265ScalingLists(r)
		}
	}
	r.skip(2)     // amp_enabled_flag, sample_adaptive_offset_enabled_flag
	if r.flag() { // pcm_enabled_flag
		r.skip(8)
		r.ue()
		r.ue()
		r.skip(1)
	}
	h265RefPicSets(r)
	if r.flag() { // long_term_ref_pics_present_flag
		for range r.count(32) {
			r.skip(pocBits + 1)
		}
	}
	r.skip(2)                  // sps_temporal_mvp_enabled_flag, strong_intra_smoothing_enabled_flag
	if r.failed || !r.flag() { // vui_parameters_present_flag
		return 0
	}
	return h265VUITiming(r)
}

func h265VUITiming(r *bitReader) float64 {
	videoSignal(r)
	if r.flag() { // chroma_loc_info_present_flag
		r.ue()
		r.ue()
	}
	r.skip(3)     // neutral_chroma_indication_flag, field_seq_flag, frame_field_info_present_flag
	if r.flag() { // default_display_window_flag
		for range 4 {
			r.ue()
		}
	}
	if !r.flag() { // vui_timing_info_present_flag
		return 0
	}
	units, scale := r.u(32), r.u(32)
	if r.failed {
		return 0
	}
	return frameRate(float64(scale), float64(units))
}

// h265ScalingLists skips scaling_list_data (7.3.4).
func h265ScalingLists(r *bitReader) {
	for size := range 4 {
		step := 1
		if size == 3 {
			step = 3
		}
		for matrix := 0; matrix < 6; matrix += step {
			if !r.flag() { // scaling_list_pred_mode_flag
				r.ue()
				continue
			}
			if size > 1 {
				r.se()
			}
			for range min(64, 1<<uint(4+size*2)) {
				r.se()
			}
		}
	}
}

// h265RefPicSets skips the short-term reference picture sets (7.3.7).
func h265RefPicSets(r *bitReader) {
	deltas := 0 // NumDeltaPocs of the set before
	for i := range r.count(64) {
		if r.failed {
			return
		}
		if i > 0 && r.flag() { // inter_ref_pic_set_prediction_flag
			r.skip(1)
			r.ue()
			kept := 0
			for range deltas + 1 {
				used := r.flag()      // used_by_curr_pic_flag
				if used || r.flag() { // use_delta_flag
					kept++
				}
			}
			deltas = kept
			continue
		}
		negative, positive := r.count(16), r.count(16)
		deltas = negative + positive
		for range deltas {
			r.ue()
			r.skip(1)
		}
	}
}

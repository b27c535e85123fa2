package media

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"iter"
)

// NAL unit types of H.264 (ITU-T H.264, table 7-1) that matter here.
const (
	H264NALSlice = 1
	H264NALIDR   = 5
	H264NALSPS   = 7
	H264NALPPS   = 8
)

// NAL unit types of H.265 (ITU-T H.265, table 7-1) that matter here.
const (
	H265NALBLA     = 16 // first of the types that decoding can start at
	H265NALCRA     = 21 // last of them
	H265NALLastVCL = 31
	H265NALVPS     = 32
	H265NALSPS     = 33
	H265NALPPS     = 34
)

// NALUType returns the type of a NAL unit that is not empty.
func NALUType(codec Codec, nalu []byte) int {
	if codec == H265 {
		return int(nalu[0] >> 1 & 0x3f)
	}
	return int(nalu[0] & 0x1f)
}

// NALUnits yields the NAL units of data, each behind a 4-byte length. Empty ones are left out; at a length that exceeds
// what is left it stops.
func NALUnits(data []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for len(data) > 4 {
			n := binary.BigEndian.Uint32(data)
			if uint64(n) > uint64(len(data)-4) {
				return
			}
			nalu := data[4 : 4+n : 4+n]
			data = data[4+n:]
			if n > 0 && !yield(nalu) {
				return
			}
		}
	}
}

// CheckNALUnits returns ErrBadNALUnits unless data is a whole number of NAL units behind 4-byte lengths.
func CheckNALUnits(data []byte) error {
	for len(data) > 0 {
		if len(data) < 4 {
			return fmt.Errorf("%d bytes left over: %w", len(data), ErrBadNALUnits)
		}
		n := binary.BigEndian.Uint32(data)
		if uint64(n) > uint64(len(data)-4) {
			return fmt.Errorf("length %d of %d: %w", n, len(data)-4, ErrBadNALUnits)
		}
		data = data[4+n:]
	}
	return nil
}

// Picture says what an access unit holds: any picture at all, and one that decoding can start at (H.264 IDR; H.265 IDR,
// CRA, BLA; a key frame of the others).
func Picture(codec Codec, data []byte) (any, key bool) {
	switch codec {
	case H264, H265:
		return naluPicture(codec, data)
	case AV1:
		return av1Picture(data)
	case VP8, VP9:
		h, ok := vpHeader(codec, data)
		return ok, ok && h.Key
	case JPEG:
		return len(data) > 0, len(data) > 0
	default:
		return false, false
	}
}

func naluPicture(codec Codec, data []byte) (any, key bool) {
	for nalu := range NALUnits(data) {
		t := NALUType(codec, nalu)
		if codec == H265 {
			any = any || t <= H265NALLastVCL
			key = key || t >= H265NALBLA && t <= H265NALCRA
			continue
		}
		any = any || t >= H264NALSlice && t <= H264NALIDR
		key = key || t == H264NALIDR
	}
	return any, key
}

// IsKeyFrame says that decoding can start at the access unit data.
func IsKeyFrame(codec Codec, data []byte) bool {
	if codec.Kind() != Video {
		return false
	}
	_, key := Picture(codec, data)
	return key
}

// WidenNALULengths returns data, whose NAL units stand behind lengths of size 1, 2 or 3 bytes, with 4-byte lengths, in
// a new buffer; with size 4 it returns data itself. It returns ErrBadNALUnits when the lengths do not add up.
func WidenNALULengths(data []byte, size int) ([]byte, error) {
	if size == 4 {
		return data, CheckNALUnits(data)
	}
	if size < 1 || size > 4 {
		return nil, fmt.Errorf("length size %d: %w", size, ErrBadNALUnits)
	}
	count, err := countNALUnits(data, size)
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, len(data)+count*(4-size))
	for len(data) > 0 {
		n := nalLength(data[:size])
		out = binary.BigEndian.AppendUint32(out, uint32(n))
		out = append(out, data[size:size+n]...)
		data = data[size+n:]
	}
	return out, nil
}

func countNALUnits(data []byte, size int) (int, error) {
	count := 0
	for len(data) > 0 {
		if len(data) < size {
			return 0, fmt.Errorf("%d bytes left over: %w", len(data), ErrBadNALUnits)
		}
		n := nalLength(data[:size])
		if n > len(data)-size {
			return 0, fmt.Errorf("length %d of %d: %w", n, len(data)-size, ErrBadNALUnits)
		}
		data = data[size+n:]
		count++
	}
	return count, nil
}

func nalLength(b []byte) int {
	n := 0
	for _, c := range b {
		n = n<<8 | int(c)
	}
	return n
}

// IsAnnexB says that data starts with an Annex B start code. Data with 4-byte lengths never does, unless its first NAL
// unit is one byte long or has 256 to 511 bytes: ask only when CheckNALUnits refused it.
func IsAnnexB(data []byte) bool {
	return bytes.HasPrefix(data, []byte{0, 0, 1}) || bytes.HasPrefix(data, []byte{0, 0, 0, 1})
}

// AppendFromAnnexB appends the NAL units of an Annex B byte stream (ITU-T H.264, Annex B) to dst, each behind a 4-byte
// length. What stands before the first start code is left out.
func AppendFromAnnexB(dst, stream []byte) []byte {
	for nalu := range AnnexBUnits(stream) {
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(nalu)))
		dst = append(dst, nalu...)
	}
	return dst
}

// AnnexBUnits yields the NAL units of an Annex B byte stream, without start codes and trailing zeros. Empty ones are
// left out.
func AnnexBUnits(stream []byte) iter.Seq[[]byte] {
	code := []byte{0, 0, 1}
	return func(yield func([]byte) bool) {
		at := bytes.Index(stream, code)
		for at >= 0 {
			stream = stream[at+len(code):]
			nalu := stream
			if at = bytes.Index(stream, code); at >= 0 {
				nalu = stream[:at]
			}
			nalu = bytes.TrimRight(nalu, "\x00")
			if len(nalu) > 0 && !yield(nalu[:len(nalu):len(nalu)]) {
				return
			}
		}
	}
}

// AppendAnnexB appends data, NAL units behind 4-byte lengths, to dst as an Annex B byte stream.
func AppendAnnexB(dst, data []byte) []byte {
	for nalu := range NALUnits(data) {
		dst = append(dst, 0, 0, 0, 1)
		dst = append(dst, nalu...)
	}
	return dst
}

// ParameterSets are the parameter sets of one access unit or configuration.
type ParameterSets struct {
	VPS, SPS, PPS [][]byte // VPS only for H.265
}

// FindParameterSets returns the parameter sets that stand in band in an access unit, as slices of data.
func FindParameterSets(codec Codec, data []byte) ParameterSets {
	var p ParameterSets
	for nalu := range NALUnits(data) {
		switch t := NALUType(codec, nalu); {
		case codec == H265 && t == H265NALVPS:
			p.VPS = append(p.VPS, nalu)
		case codec == H265 && t == H265NALSPS, codec == H264 && t == H264NALSPS:
			p.SPS = append(p.SPS, nalu)
		case codec == H265 && t == H265NALPPS, codec == H264 && t == H264NALPPS:
			p.PPS = append(p.PPS, nalu)
		}
	}
	return p
}

// Track makes a video track of the parameter sets. Errors wrap ErrBadConfig.
func (p ParameterSets) Track(codec Codec) (*Track, error) {
	var config []byte
	var err error
	if codec == H265 {
		config, err = BuildHEVCConfig(p.VPS, p.SPS, p.PPS)
	} else {
		config, err = BuildAVCConfig(p.SPS, p.PPS)
	}
	if err != nil {
		return nil, err
	}
	return NewVideoTrack(codec, config)
}

// WithParameterSets returns t itself when every set of p is in its configuration or p has no SPS, else a new track
// with the kinds of sets that p has replaced by those of p. Sets that make no valid configuration change nothing.
func (t *Track) WithParameterSets(p ParameterSets) *Track {
	if len(p.SPS) == 0 {
		return t
	}
	var have ParameterSets
	if t.Codec == H265 {
		if c, err := ParseHEVCConfig(t.Config); err == nil {
			have = ParameterSets{c.VPS, c.SPS, c.PPS}
		}
	} else if c, err := ParseAVCConfig(t.Config); err == nil {
		have = ParameterSets{nil, c.SPS, c.PPS}
	}
	if containsAll(have.VPS, p.VPS) && containsAll(have.SPS, p.SPS) && containsAll(have.PPS, p.PPS) {
		return t
	}
	if len(p.VPS) == 0 {
		p.VPS = have.VPS
	}
	if len(p.PPS) == 0 {
		p.PPS = have.PPS
	}
	changed, err := p.Track(t.Codec)
	if err != nil {
		return t
	}
	if changed.FPS == 0 {
		changed.FPS = t.FPS
	}
	return changed
}

// containsAll compares without trailing zeros, which some encoders leave on sets in band.
func containsAll(have, want [][]byte) bool {
	for _, w := range want {
		found := false
		for _, h := range have {
			found = found || bytes.Equal(bytes.TrimRight(h, "\x00"), bytes.TrimRight(w, "\x00"))
		}
		if !found {
			return false
		}
	}
	return true
}

package media

import (
	"encoding/binary"
	"fmt"
)

// VPConfig is the content of a "vpcC" box: version 1, no flags, and a VPCodecConfigurationRecord ("VP Codec ISO Media
// File Format Binding", section "VP Codec Configuration Box"). It holds no picture size.
type VPConfig struct {
	Profile, Level              int
	BitDepth                    int
	Chroma                      int // 0 and 1: 4:2:0, 2: 4:2:2, 3: 4:4:4
	FullRange                   bool
	Primaries, Transfer, Matrix int // ISO 23091-2
}

const (
	vpConfigSize = 12
	vpRecordSize = 8 // without version and flags
)

// ParseVPConfig parses the content of a "vpcC" box; a record without version and flags, as some encoders send it, is
// read too. Errors wrap ErrBadConfig.
func ParseVPConfig(b []byte) (VPConfig, error) {
	r, err := vpRecord(b)
	if err != nil {
		return VPConfig{}, err
	}
	return VPConfig{
		Profile: int(r[0]), Level: int(r[1]), BitDepth: int(r[2] >> 4), Chroma: int(r[2] >> 1 & 7), FullRange: r[2]&1 != 0,
		Primaries: int(r[3]), Transfer: int(r[4]), Matrix: int(r[5]),
	}, nil
}

// vpRecord returns the record in b. The third byte of a record holds the bit depth and is never 0.
func vpRecord(b []byte) ([]byte, error) {
	if len(b) >= vpConfigSize && b[0] == 1 && b[1] == 0 && b[2] == 0 && b[3] == 0 {
		b = b[4:]
	}
	if len(b) < vpRecordSize || b[0] > 3 || b[2]>>4 < 8 || b[2]>>4 > 12 || int(binary.BigEndian.Uint16(b[6:])) > len(b)-vpRecordSize {
		return nil, fmt.Errorf("VPCodecConfigurationRecord: %w", ErrBadConfig)
	}
	return b, nil
}

// BuildVPConfig makes the content of a "vpcC" box.
func BuildVPConfig(c VPConfig) []byte {
	b := []byte{1, 0, 0, 0, byte(c.Profile), byte(c.Level), byte(c.BitDepth)<<4 | byte(c.Chroma&7)<<1}
	if c.FullRange {
		b[6] |= 1
	}
	return append(b, byte(c.Primaries), byte(c.Transfer), byte(c.Matrix), 0, 0)
}

// VPHeader is what a frame of VP8 or VP9 says of itself.
type VPHeader struct {
	Key bool
	// Of a key frame.
	Width, Height int
	Config        VPConfig
}

// ParseVP8Header parses the uncompressed part of a VP8 frame (RFC 6386 section 9.1). ok is false when it is none.
func ParseVP8Header(b []byte) (h VPHeader, ok bool) {
	const interFrame, maxVersion = 1, 3
	if len(b) < 3 || b[0]>>1&7 > maxVersion {
		return h, false
	}
	if b[0]&interFrame != 0 {
		return h, true
	}
	if len(b) < 10 || b[3] != 0x9d || b[4] != 0x01 || b[5] != 0x2a {
		return h, false
	}
	h.Key = true
	h.Width, h.Height = int(binary.LittleEndian.Uint16(b[6:])&0x3fff), int(binary.LittleEndian.Uint16(b[8:])&0x3fff)
	h.Config = VPConfig{
		Profile: int(b[0] >> 1 & 3), Level: vpLevel(h.Width, h.Height), BitDepth: 8, Chroma: 1, Primaries: 2, Transfer: 2, Matrix: 2,
	}
	return h, h.Width > 0 && h.Height > 0
}

// ParseVP9Header parses the uncompressed header of a VP9 frame, or of the first of a superframe (VP9 bitstream
// specification, section 6.2). ok is false when it is none.
func ParseVP9Header(b []byte) (h VPHeader, ok bool) {
	const frameMarker, syncCode = 2, 0x498342
	r := bitReader{b: b}
	if r.u(2) != frameMarker {
		return h, false
	}
	profile := int(r.u(1) | r.u(1)<<1)
	if profile == 3 && r.flag() {
		return h, false
	}
	if r.flag() { // show_existing_frame
		return h, !r.failed
	}
	inter := r.flag()
	r.skip(2) // show_frame, error_resilient_mode
	if inter {
		return h, !r.failed
	}
	if r.u(24) != syncCode {
		return h, false
	}
	h.Key = true
	h.Config.Profile = profile
	h.Config.vp9Colour(&r)
	h.Width, h.Height = int(r.u(16))+1, int(r.u(16))+1
	h.Config.Level = vpLevel(h.Width, h.Height)
	return h, !r.failed
}

// vp9Colour reads color_config (6.2.2).
func (c *VPConfig) vp9Colour(r *bitReader) {
	const rgb = 7
	c.BitDepth = 8
	if c.Profile >= 2 {
		c.BitDepth = 10
		if r.flag() {
			c.BitDepth = 12
		}
	}
	space := r.u(3)
	c.Primaries, c.Transfer, c.Matrix = 2, 2, 2 // unspecified
	if m := [...]int{2, 6, 1, 6, 7, 9, 2, 0}[space]; m != 2 {
		c.Matrix = m
	}
	if space == rgb {
		c.FullRange, c.Chroma = true, 3
		if c.Profile&1 != 0 {
			r.skip(1)
		}
		return
	}
	c.FullRange = r.flag()
	c.Chroma = 1
	if c.Profile&1 != 0 {
		subX, subY := r.flag(), r.flag()
		r.skip(1)
		switch {
		case !subX:
			c.Chroma = 3
		case !subY:
			c.Chroma = 2
		}
	}
}

// vpLevel returns the least level whose pictures may be this large; the rate is not known.
func vpLevel(width, height int) int {
	size := width * height
	for _, l := range [...]struct{ size, level int }{
		{36864, 10}, {73728, 11}, {122880, 20}, {245760, 21}, {552960, 30}, {983040, 31}, {2228224, 40}, {8912896, 50},
	} {
		if size <= l.size {
			return l.level
		}
	}
	return 60
}

// vpHeader parses the header of a frame of codec, VP8 or VP9.
func vpHeader(codec Codec, data []byte) (VPHeader, bool) {
	if codec == VP8 {
		return ParseVP8Header(data)
	}
	return ParseVP9Header(data)
}

func (t *Track) fromVP(config []byte) ([]byte, error) {
	if len(config) == 0 { // everything is in the key frames
		return nil, nil
	}
	r, err := vpRecord(config)
	if err != nil {
		return nil, err
	}
	if len(config) > len(r) {
		return config, nil
	}
	return append([]byte{1, 0, 0, 0}, r...), nil
}

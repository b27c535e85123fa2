package media

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// AACConfig is an AudioSpecificConfig, ISO 14496-3 section 1.6.2.1.
type AACConfig struct {
	ObjectType    int // of the core: 2 for AAC-LC, also with SBR and PS
	SampleRate    int // of the core, in Hz
	Channels      int // of the core, 0 when the configuration does not say
	SBR, PS       bool
	ExtensionRate int  // of the decoded sound with SBR, in Hz
	ShortFrames   bool // 960 samples at the core rate instead of 1024
}

// OutputRate is the sample rate of the decoded sound in Hz.
func (c AACConfig) OutputRate() int {
	if c.SBR && c.ExtensionRate > 0 {
		return c.ExtensionRate
	}
	return c.SampleRate
}

// OutputChannels is the number of channels of the decoded sound, 0 when unknown.
func (c AACConfig) OutputChannels() int {
	if c.PS && c.Channels == 1 {
		return 2
	}
	return c.Channels
}

// Audio object types, ISO 14496-3 table 1.17.
const (
	aotSSR      = 3
	aotSBR      = 5
	aotScalable = 6
	aotERLC     = 17
	aotERScal   = 20
	aotERBSAC   = 22
	aotERLD     = 23
	aotPS       = 29
	aotEscape   = 31
)

// ParseAACConfig parses an AudioSpecificConfig with explicit hierarchical or backward compatible signalling of SBR and
// PS. Errors wrap ErrBadConfig.
func ParseAACConfig(b []byte) (AACConfig, error) {
	var c AACConfig
	if len(b) < 2 || len(b) > maxConfig {
		return c, fmt.Errorf("AudioSpecificConfig of %d bytes: %w", len(b), ErrBadConfig)
	}
	r := bitReader{b: b}
	c.ObjectType = aacObjectType(&r)
	c.SampleRate = aacRate(&r)
	channels := int(r.u(4))
	c.Channels = aacChannels(channels)
	if c.ObjectType == aotSBR || c.ObjectType == aotPS {
		c.SBR, c.PS = true, c.ObjectType == aotPS
		c.ExtensionRate = aacRate(&r)
		if c.ObjectType = aacObjectType(&r); c.ObjectType == aotERBSAC {
			r.skip(4) // extensionChannelConfiguration
		}
	}
	if r.failed || c.ObjectType == 0 || c.SampleRate == 0 {
		return c, fmt.Errorf("AudioSpecificConfig: %w", ErrBadConfig)
	}
	if aacGeneral(c.ObjectType) {
		n := c.specific(&r, channels)
		if channels == 0 {
			c.Channels = n
		}
		if !c.SBR && !r.failed {
			c.syncExtension(&r)
		}
	}
	return c, nil
}

func aacObjectType(r *bitReader) int {
	t := int(r.u(5))
	if t == aotEscape {
		t = 32 + int(r.u(6))
	}
	return t
}

// aacRate reads samplingFrequencyIndex and, at the escape value, the frequency itself; 0 for the reserved indices.
func aacRate(r *bitReader) int {
	const escape = 15
	rates := [...]int{96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350}
	i := r.u(4)
	if i == escape {
		return int(r.u(24))
	}
	if int(i) < len(rates) {
		return rates[i]
	}
	return 0
}

// aacChannels returns the number of channels of a channelConfiguration (table 1.19), 0 when it does not say.
func aacChannels(config int) int {
	switch config {
	case 1, 2, 3, 4, 5, 6:
		return config
	case 7, 12, 14:
		return 8
	case 11:
		return 7
	}
	return 0
}

// aacGeneral says that a GASpecificConfig follows.
func aacGeneral(t int) bool {
	return t >= 1 && t <= 7 && t != aotSBR || t >= aotERLC && t <= aotERLD && t != 18
}

// specific reads GASpecificConfig (4.4.1) and returns the number of channels of its program_config_element.
func (c *AACConfig) specific(r *bitReader, channels int) int {
	t := c.ObjectType
	c.ShortFrames = r.flag()
	if r.flag() { // dependsOnCoreCoder
		r.skip(14)
	}
	extension := r.flag()
	n := 0
	if channels == 0 {
		n = aacProgram(r)
	}
	if t == aotScalable || t == aotERScal {
		r.skip(3)
	}
	if extension {
		switch t {
		case aotERBSAC:
			r.skip(16)
		case aotERLC, 19, aotERScal, aotERLD:
			r.skip(3)
		}
		r.skip(1)
	}
	return n
}

// aacProgram reads a program_config_element (4.4.1.1) and returns its number of channels.
func aacProgram(r *bitReader) int {
	r.skip(10)
	front, side, back := int(r.u(4)), int(r.u(4)), int(r.u(4))
	lfe, assoc, cc := int(r.u(2)), int(r.u(3)), int(r.u(4))
	for _, bits := range [...]int{4, 4} { // mono and stereo mixdown
		if r.flag() {
			r.skip(bits)
		}
	}
	if r.flag() { // matrix mixdown
		r.skip(3)
	}
	channels := lfe
	for range front + side + back {
		channels++
		if r.flag() { // a pair
			channels++
		}
		r.skip(4)
	}
	r.skip(4*(lfe+assoc) + 5*cc)
	r.skip(-r.pos & 7)
	r.skip(8 * int(r.u(8))) // comment
	if r.failed {
		return 0
	}
	return channels
}

// syncExtension reads the backward compatible signalling behind the core configuration (table 1.15).
func (c *AACConfig) syncExtension(r *bitReader) {
	const sbrSync, psSync = 0x2b7, 0x548
	if r.left() < 16 || r.u(11) != sbrSync || aacObjectType(r) != aotSBR || !r.flag() {
		return
	}
	rate := aacRate(r)
	if r.failed || rate == 0 {
		return
	}
	c.SBR, c.ExtensionRate = true, rate
	if r.left() >= 12 && r.u(11) == psSync {
		c.PS = r.flag()
	}
}

// OpusRate is the clock of Opus in Hz, whatever the rate of the original sound was (RFC 7587 section 4.1).
const OpusRate = 48000

// OpusHead is an identification header, RFC 7845 section 5.1.
type OpusHead struct {
	Channels  int
	PreSkip   int // in samples of 48 kHz
	InputRate int // of the original sound, in Hz; informative
	Mapping   int // channel mapping family
}

// ParseOpusHead parses an identification header with its magic. Errors wrap ErrBadConfig.
func ParseOpusHead(b []byte) (OpusHead, error) {
	if len(b) < 19 || !bytes.HasPrefix(b, []byte("OpusHead")) || b[8]&0xf0 != 0 || b[9] == 0 {
		return OpusHead{}, fmt.Errorf("OpusHead: %w", ErrBadConfig)
	}
	h := OpusHead{
		Channels:  int(b[9]),
		PreSkip:   int(binary.LittleEndian.Uint16(b[10:])),
		InputRate: int(binary.LittleEndian.Uint32(b[12:])),
		Mapping:   int(b[18]),
	}
	if h.Mapping == 0 && h.Channels > 2 || h.Mapping != 0 && len(b) < 21+h.Channels {
		return OpusHead{}, fmt.Errorf("OpusHead: channel mapping: %w", ErrBadConfig)
	}
	return h, nil
}

// BuildOpusHead makes the identification header of a stream of 1 or 2 channels that came without one.
func BuildOpusHead(channels int) []byte {
	b := append([]byte("OpusHead"), 1, byte(min(max(channels, 1), 2)))
	b = binary.LittleEndian.AppendUint16(b, 3840) // RFC 7845 section 4.2: 80 ms are enough to converge
	b = binary.LittleEndian.AppendUint32(b, OpusRate)
	return append(b, 0, 0, 0)
}

// MP3Header returns sample rate in Hz and channels of an MPEG audio frame (ISO 11172-3 section 2.4.1.3, 13818-3);
// ok is false when data does not start with one.
func MP3Header(data []byte) (rate, channels int, ok bool) {
	const (
		reserved = 1
		mpeg1    = 3
	)
	if len(data) < 4 || data[0] != 0xff || data[1]&0xe0 != 0xe0 {
		return 0, 0, false
	}
	version, layer, index := data[1]>>3&3, data[1]>>1&3, data[2]>>2&3
	if version == reserved || layer == 0 || index == 3 {
		return 0, 0, false
	}
	rate = [...]int{44100, 48000, 32000}[index]
	switch version {
	case mpeg1:
	case 2:
		rate /= 2
	default: // MPEG 2.5
		rate /= 4
	}
	channels = 2
	if data[3]>>6 == 3 {
		channels = 1
	}
	return rate, channels, true
}

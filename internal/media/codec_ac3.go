package media

import "fmt"

// AC3Header is the header of a sync frame of AC-3 or E-AC-3 (ATSC A/52:2018, sections 5.3 and E.2.2).
type AC3Header struct {
	Enhanced             bool // E-AC-3
	SampleRate, Channels int
	Samples              int // of one channel in the frame
	Size                 int // of the frame in bytes
	FSCod, BSID, BSMod   int
	ACMod                int
	LFE                  bool
	BitRateCode          int // of AC-3
}

const (
	ac3MaxBSID  = 10
	eac3MaxBSID = 16
	ac3Samples  = 1536
)

// ParseAC3Header parses the sync frame at the start of b; ok is false when there is none.
func ParseAC3Header(b []byte) (h AC3Header, ok bool) {
	if len(b) < 8 || b[0] != 0x0b || b[1] != 0x77 {
		return h, false
	}
	switch bsid := int(b[5] >> 3); {
	case bsid <= ac3MaxBSID:
		return parseAC3(b)
	case bsid <= eac3MaxBSID:
		return parseEAC3(b)
	default:
		return h, false
	}
}

func parseAC3(b []byte) (h AC3Header, ok bool) {
	h.FSCod, h.BSID, h.BSMod = int(b[4]>>6), int(b[5]>>3), int(b[5]&7)
	code := int(b[4] & 0x3f)
	kbits := ac3BitRate(code / 2)
	if h.FSCod == 3 || kbits == 0 {
		return h, false
	}
	r := bitReader{b: b[6:]}
	h.ACMod = int(r.u(3))
	if h.ACMod&1 != 0 && h.ACMod != 1 {
		r.skip(2) // cmixlev
	}
	if h.ACMod&4 != 0 {
		r.skip(2) // surmixlev
	}
	if h.ACMod == 2 {
		r.skip(2) // dsurmod
	}
	h.LFE = r.flag()
	h.BitRateCode = code / 2
	rate := ac3Rate(h.FSCod)
	h.Size = 2 * (kbits * 1000 * ac3Samples / 16 / rate)
	if h.FSCod == 1 && code&1 != 0 {
		h.Size += 2
	}
	h.SampleRate = rate >> max(h.BSID-8, 0) // the low rates of old encoders
	h.Samples = ac3Samples
	h.Channels = ac3Channels(h.ACMod, h.LFE)
	return h, true
}

func parseEAC3(b []byte) (h AC3Header, ok bool) {
	const dependent = 1
	h.Enhanced = true
	r := bitReader{b: b[2:]}
	if r.u(2) == dependent {
		return h, false
	}
	r.skip(3) // substreamid
	h.Size = 2 * (int(r.u(11)) + 1)
	h.FSCod = int(r.u(2))
	half := int(r.u(2))
	h.Samples = 256 * [...]int{1, 2, 3, 6}[half]
	if h.FSCod == 3 { // half the rate
		if half == 3 {
			return h, false
		}
		h.SampleRate, h.Samples = ac3Rate(half)/2, ac3Samples
	} else {
		h.SampleRate = ac3Rate(h.FSCod)
	}
	h.ACMod, h.LFE, h.BSID = int(r.u(3)), r.flag(), int(r.u(5))
	h.Channels = ac3Channels(h.ACMod, h.LFE)
	return h, true
}

// ac3BitRate returns kbit/s by half of frmsizecod (table 5.18), 0 when that is reserved.
func ac3BitRate(code int) int {
	rates := [...]int{32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640}
	if code < len(rates) {
		return rates[code]
	}
	return 0
}

func ac3Rate(fscod int) int { return [...]int{48000, 44100, 32000, 48000}[fscod&3] }

func ac3Channels(acmod int, lfe bool) int {
	n := [...]int{2, 1, 2, 3, 3, 4, 4, 5}[acmod&7]
	if lfe {
		n++
	}
	return n
}

// Config returns the content of the box "dac3" or "dec3" (ETSI TS 102 366, annex F) for a stream of such frames.
func (h AC3Header) Config() []byte {
	lfe := uint32(0)
	if h.LFE {
		lfe = 1
	}
	if !h.Enhanced {
		v := uint32(h.FSCod)<<22 | uint32(h.BSID)<<17 | uint32(h.BSMod)<<14 | uint32(h.ACMod)<<11 | lfe<<10 | uint32(h.BitRateCode)<<5
		return []byte{byte(v >> 16), byte(v >> 8), byte(v)}
	}
	rate := min(h.Size*8*h.SampleRate/max(h.Samples, 1)/1000, 1<<13-1)
	v := uint32(h.FSCod)<<22 | uint32(h.BSID)<<17 | uint32(h.BSMod)<<12 | uint32(h.ACMod)<<9 | lfe<<8
	return []byte{byte(rate >> 5), byte(rate << 3), byte(v >> 16), byte(v >> 8), byte(v)} // one independent substream
}

// fromAC3 takes the content of "dac3" or "dec3"; without it everything is in the frames.
func (t *Track) fromAC3(config []byte) error {
	if len(config) == 0 {
		t.defaults(ac3Rate(0), 2)
		return nil
	}
	size, at := 3, 0
	if t.Codec == EAC3 {
		size, at = 5, 2
	}
	if len(config) < size || config[at]>>6 == 3 && t.SampleRate <= 0 {
		return fmt.Errorf("AC-3 configuration: %w", ErrBadConfig)
	}
	v := uint32(config[at])<<16 | uint32(config[at+1])<<8 | uint32(config[at+2])
	if v>>22 != 3 {
		t.SampleRate = ac3Rate(int(v >> 22))
		if t.Codec == AC3 {
			t.SampleRate >>= max(int(v>>17&0x1f)-8, 0) & 3
		}
	}
	acmod, lfe := v>>11&7, v>>10&1
	if t.Codec == EAC3 {
		acmod, lfe = v>>9&7, v>>8&1
	}
	t.Config, t.Channels = config, ac3Channels(int(acmod), lfe != 0)
	return nil
}

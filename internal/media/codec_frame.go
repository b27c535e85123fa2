package media

// AudioSamples returns how many samples per channel the audio frame data of t holds, at t.SampleRate; 0 when neither the
// codec nor the frame says.
func AudioSamples(t *Track, data []byte) int {
	switch t.Codec {
	case AAC:
		return aacSamples(t)
	case MP3:
		n, _ := MP3Frame(data)
		return n
	case Opus:
		return OpusSamples(data)
	case PCMA, PCMU:
		return len(data) / max(t.Channels, 1)
	default:
		return 0
	}
}

func aacSamples(t *Track) int {
	const short, long = 960, 1024
	c, err := ParseAACConfig(t.Config)
	if err != nil {
		return long
	}
	n := long
	if c.ShortFrames {
		n = short
	}
	if c.SBR && c.ExtensionRate == 2*c.SampleRate {
		n *= 2
	}
	return n
}

// OpusSamples returns the number of samples at 48 kHz of an Opus packet (RFC 6716 section 3.1), 0 when it is none.
func OpusSamples(data []byte) int {
	if len(data) == 0 {
		return 0
	}
	frame := 0
	switch config := data[0] >> 3; {
	case config < 12: // SILK: 10, 20, 40, 60 ms
		frame = [...]int{480, 960, 1920, 2880}[config&3]
	case config < 16: // hybrid: 10, 20 ms
		frame = 480 << (config & 1)
	default: // CELT: 2.5, 5, 10, 20 ms
		frame = 120 << (config & 3)
	}
	switch data[0] & 3 {
	case 0:
		return frame
	case 1, 2:
		return 2 * frame
	}
	if len(data) < 2 {
		return 0
	}
	const most = 120 * OpusRate / 1000 // RFC 6716 section 3.2.5
	if n := frame * int(data[1]&0x3f); n <= most {
		return n
	}
	return 0
}

// MP3Frame returns the number of samples per channel of an MPEG audio frame of any layer, and its size in bytes with the
// header; both 0 when data does not start with one. The size is 0 when the header leaves it open (free format).
func MP3Frame(data []byte) (samples, size int) {
	rate, _, ok := MP3Header(data)
	if !ok {
		return 0, 0
	}
	mpeg1, layer := data[1]>>3&3 == 3, 4-int(data[1]>>1&3)
	rates := mp3Rates(mpeg1, layer)
	index := data[2] >> 4
	if index == 15 {
		return 0, 0
	}
	bitrate, padding := 1000*rates[index], int(data[2]>>1&1)
	switch {
	case layer == 1:
		return 384, (12*bitrate/rate + padding) * 4 * min(bitrate, 1)
	case layer == 3 && !mpeg1:
		return 576, (72*bitrate/rate + padding) * min(bitrate, 1)
	default:
		return 1152, (144*bitrate/rate + padding) * min(bitrate, 1)
	}
}

// mp3Rates returns the bit rates in kbit/s by index (ISO 11172-3 section 2.4.2.3, ISO 13818-3 section 2.4.2.3).
func mp3Rates(mpeg1 bool, layer int) [15]int {
	switch {
	case mpeg1 && layer == 1:
		return [15]int{0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448}
	case mpeg1 && layer == 2:
		return [15]int{0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384}
	case mpeg1:
		return [15]int{0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320}
	case layer == 1:
		return [15]int{0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256}
	default:
		return [15]int{0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160}
	}
}

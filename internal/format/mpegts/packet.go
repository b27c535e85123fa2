package mpegts

import (
	"encoding/binary"
	"time"

	"github.com/hookline/hookline/internal/media"
)

// PacketSize is the size of a transport packet in bytes.
const PacketSize = 188

// Delay is what PTS and DTS are ahead of the PCR: it gives readers that follow the PCR time to interleave.
const Delay = 200 * time.Millisecond

const (
	syncByte  = 0x47
	pidPAT    = 0
	pidNull   = 0x1fff
	pidPMT    = 0x1000
	pidVideo  = 0x100
	pidAudio  = 0x101
	tsMask    = 1<<33 - 1 // of PTS and DTS
	tableIDPA = 0
	tableIDPM = 2
)

// Stream types, ISO 13818-1 table 2-34; the last three are ZLMediaKit's.
const (
	typeMPEG1Audio = 0x03
	typeMPEG2Audio = 0x04
	typePrivate    = 0x06
	typeADTS       = 0x0f
	typeLATM       = 0x11
	typeH264       = 0x1b
	typeH265       = 0x24
	typePCMA       = 0x90
	typePCMU       = 0x91
	typeOpus       = 0x9c
)

// Stream ids of PES packets, ISO 13818-1 table 2-22.
const (
	streamVideo   = 0xe0
	streamAudio   = 0xc0
	streamPrivate = 0xbd
)

// ticks returns d in ticks of 90 kHz. It is exact and does not wrap within 32 years.
func ticks(d time.Duration) int64 { return int64(d) * 9 / 100_000 }

// Carries says that a transport stream can carry t.
func Carries(t *media.Track) bool { return describe(t).streamType != 0 }

// elementary is how a track is carried.
type elementary struct {
	streamType  byte
	streamID    byte
	descriptors []byte
}

func describe(t *media.Track) elementary {
	switch t.Codec {
	case media.H264:
		return elementary{typeH264, streamVideo, nil}
	case media.H265:
		return elementary{typeH265, streamVideo, []byte{5, 4, 'H', 'E', 'V', 'C'}}
	case media.AAC:
		if _, ok := adtsHeader(t); ok {
			return elementary{typeADTS, streamAudio, nil}
		}
	case media.MP3:
		if t.SampleRate > 0 && t.SampleRate < 32000 {
			return elementary{typeMPEG2Audio, streamAudio, nil}
		}
		return elementary{typeMPEG1Audio, streamAudio, nil}
	case media.Opus:
		// Registration, then the DVB extension descriptor with channel_config_code: 1 and 2 are mono and stereo.
		if t.Channels >= 1 && t.Channels <= 8 {
			return elementary{typePrivate, streamPrivate, []byte{5, 4, 'O', 'p', 'u', 's', 0x7f, 2, 0x80, byte(t.Channels)}}
		}
	case media.PCMA:
		return elementary{typePCMA, streamAudio, nil}
	case media.PCMU:
		return elementary{typePCMU, streamAudio, nil}
	default:
	}
	return elementary{}
}

// adtsHeader returns the 7 bytes of an ADTS header (ISO 14496-3, 1.A.2.2) with a length of 0.
func adtsHeader(t *media.Track) (h [7]byte, ok bool) {
	c, err := media.ParseAACConfig(t.Config)
	if err != nil || c.ObjectType < 1 || c.ObjectType > 4 {
		return h, false
	}
	index := -1
	for i, r := range sampleRates() {
		if r == c.SampleRate {
			index = i
		}
	}
	channels := c.Channels
	if channels == 8 {
		channels = 7
	}
	if index < 0 || channels < 1 || channels > 7 || channels == 7 && c.Channels == 7 {
		return h, false
	}
	h[0], h[1] = 0xff, 0xf1 // MPEG-4, no CRC
	h[2] = byte(c.ObjectType-1)<<6 | byte(index)<<2 | byte(channels>>2)
	h[3] = byte(channels&3) << 6
	h[5], h[6] = 0x1f, 0xfc // buffer fullness: variable rate
	return h, true
}

const (
	adtsSize  = 7
	maxADTS   = 1<<13 - 1 // of a frame with its header
	ptsBytes  = 5
	pesHeader = 9 // up to the time stamps
)

// rateCount is the number of sampling frequency indices.
const rateCount = 13

func sampleRates() [rateCount]int {
	return [rateCount]int{96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350}
}

// setADTSLength completes a header for a raw frame of n bytes.
func setADTSLength(h *[7]byte, n int) {
	n += adtsSize
	h[3] = h[3]&0xc0 | byte(n>>11)
	h[4] = byte(n >> 3)
	h[5] = byte(n<<5) | 0x1f
}

// appendStamp appends a PTS or DTS with its four marker bits.
func appendStamp(dst []byte, marker byte, t int64) []byte {
	v := uint64(t) & tsMask
	return append(dst, marker<<4|byte(v>>29)&0x0e|1, byte(v>>22), byte(v>>14)|1, byte(v>>7), byte(v<<1)|1)
}

// parseStamp reads a PTS or DTS of 5 bytes.
func parseStamp(b []byte) int64 {
	return int64(b[0]&0x0e)<<29 | int64(b[1])<<22 | int64(b[2]&0xfe)<<14 | int64(b[3])<<7 | int64(b[4])>>1
}

// crc is the CRC-32 of MPEG-2 sections: polynomial 0x04c11db7, not reflected (ISO 13818-1, annex A).
func crc(b []byte) uint32 {
	c := ^uint32(0)
	for _, x := range b {
		c ^= uint32(x) << 24
		for range 8 {
			if c&0x8000_0000 != 0 {
				c = c<<1 ^ 0x04c1_1db7
			} else {
				c <<= 1
			}
		}
	}
	return c
}

// section wraps body, which follows section_length, into a section with its CRC.
func section(table byte, body []byte) []byte {
	n := len(body) + 4
	s := append([]byte{table, 0xb0 | byte(n>>8), byte(n)}, body...)
	return binary.BigEndian.AppendUint32(s, crc(s))
}

// Package media holds the unit that every protocol exchanges: one access unit of one track. No I/O.
//
// Contract. A Frame and everything it points to is immutable once it was handed on; frames are shared by all
// readers without copying.
package media

import "time"

// Codec is a codec; the values are ZLMediaKit's codec_id, where it has one.
type Codec int

// The codecs that Hookline knows.
const (
	H264 Codec = 0
	H265 Codec = 1
	AAC  Codec = 2
	PCMA Codec = 3
	PCMU Codec = 4
	Opus Codec = 5
	L16  Codec = 6
	VP8  Codec = 7
	VP9  Codec = 8
	AV1  Codec = 9
	JPEG Codec = 10
	MP3  Codec = 14
	// ZLMediaKit has no id for what follows.
	FLAC Codec = 100
	AC3  Codec = 101
	EAC3 Codec = 102
)

// Kind is video or audio; the values are ZLMediaKit's codec_type.
type Kind int

// Kinds of tracks.
const (
	Video Kind = 0
	Audio Kind = 1
)

// Kind returns the kind of c.
func (c Codec) Kind() Kind {
	switch c {
	case H264, H265, VP8, VP9, AV1, JPEG:
		return Video
	default:
		return Audio
	}
}

// String returns ZLMediaKit's codec_id_name.
func (c Codec) String() string {
	switch c {
	case H264:
		return "H264"
	case H265:
		return "H265"
	case AAC:
		return "mpeg4-generic"
	case PCMA:
		return "PCMA"
	case PCMU:
		return "PCMU"
	case Opus:
		return "opus"
	case L16:
		return "L16"
	case VP8:
		return "VP8"
	case VP9:
		return "VP9"
	case AV1:
		return "AV1"
	case JPEG:
		return "JPEG"
	case MP3:
		return "MP3"
	case FLAC:
		return "FLAC"
	case AC3:
		return "AC3"
	case EAC3:
		return "EAC3"
	}
	return "unknown"
}

// Track describes one elementary stream. It is immutable; a change of the configuration makes a new Track.
type Track struct {
	Codec Codec
	// Config is the out-of-band configuration: AVCDecoderConfigurationRecord (ISO 14496-15), HEVCDecoderConfigurationRecord,
	// AudioSpecificConfig (ISO 14496-3), OpusHead (RFC 7845, without the magic "OpusHead" stripped or added: the
	// whole identification header), AV1CodecConfigurationRecord, the content of the boxes "vpcC" (VP8 and VP9, with version
	// and flags), "dac3" and "dec3" (ETSI TS 102 366), the STREAMINFO block of FLAC without its header; empty for G.711,
	// L16, MP3 and JPEG, and where everything is in the frames and none has come.
	Config []byte

	// Video, from the configuration; 0 when unknown.
	Width, Height int
	FPS           float64 // from the SPS or the publisher's metadata

	// Audio.
	SampleRate, Channels, SampleBits int
}

// Ready says that the track can be decoded by a viewer: it has the configuration that its codec needs. VP8, VP9 and JPEG
// have no other than the size of their pictures, which their key frames say.
func (t *Track) Ready() bool {
	switch t.Codec {
	case H264, H265, AAC, AV1, FLAC:
		return len(t.Config) > 0
	case VP8, VP9, JPEG:
		return t.Width > 0
	default:
		return true
	}
}

// Frame is one access unit of one track.
type Frame struct {
	Track *Track
	// DTS and PTS since the start of the publication, in one clock for all tracks.
	DTS, PTS time.Duration
	// Skew added to a time gives the place in the source: it is not 0 behind a jump in a file, for DTS and PTS go on there. Only
	// the hub sets it.
	Skew time.Duration
	// Key: decoding can start here (IDR, CRA, BLA). Always false for audio.
	Key bool
	// Config: the frame carries no media, only announces a new Track configuration (Data is empty).
	Config bool
	// Data: H.264 and H.265 as NAL units, each with a 4-byte big-endian length (ISO 14496-15), without parameter
	// sets that are in Config unless the publisher sent them in band; AV1 as the OBUs of a temporal unit, with sizes and
	// without temporal delimiter; AAC as raw access units; L16 in network byte order; others as they are: one frame or
	// superframe of VP8 and VP9, one JPEG picture, sync frames of MP3, AC-3 and E-AC-3, packets of Opus, frames of FLAC.
	Data []byte
}

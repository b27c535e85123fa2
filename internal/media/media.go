// Package media holds the unit that every protocol exchanges: one access unit of one track. No I/O.
//
// Contract. A Frame and everything it points to is immutable once it was handed on; frames are shared by all
// readers without copying.
package media

import "time"

// Codec is a codec; the values are ZLMediaKit's codec_id.
type Codec int

// The codecs that Hookline knows.
const (
	H264 Codec = 0
	H265 Codec = 1
	AAC  Codec = 2
	PCMA Codec = 3
	PCMU Codec = 4
	Opus Codec = 5
	MP3  Codec = 14
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
	if c == H264 || c == H265 {
		return Video
	}
	return Audio
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
	case MP3:
		return "MP3"
	}
	return "unknown"
}

// Track describes one elementary stream. It is immutable; a change of the configuration makes a new Track.
type Track struct {
	Codec Codec
	// Config is the out-of-band configuration: AVCDecoderConfigurationRecord (ISO 14496-15), HEVCDecoderConfigurationRecord,
	// AudioSpecificConfig (ISO 14496-3), OpusHead (RFC 7845, without the magic "OpusHead" stripped or added: the
	// whole identification header); empty for G.711 and MP3.
	Config []byte

	// Video, from the configuration; 0 when unknown.
	Width, Height int
	FPS           float64 // from the SPS or the publisher's metadata

	// Audio.
	SampleRate, Channels, SampleBits int
}

// Ready says that the track can be decoded by a viewer: it has the configuration that its codec needs.
func (t *Track) Ready() bool {
	switch t.Codec {
	case H264, H265, AAC:
		return len(t.Config) > 0
	default:
		return true
	}
}

// Frame is one access unit of one track.
type Frame struct {
	Track *Track
	// DTS and PTS since the start of the publication, in one clock for all tracks.
	DTS, PTS time.Duration
	// Key: decoding can start here (IDR, CRA, BLA). Always false for audio.
	Key bool
	// Config: the frame carries no media, only announces a new Track configuration (Data is empty).
	Config bool
	// Data: H.264 and H.265 as NAL units, each with a 4-byte big-endian length (ISO 14496-15), without parameter
	// sets that are in Config unless the publisher sent them in band; AAC as raw access units; others as they are.
	Data []byte
}

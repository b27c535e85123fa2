package flv

import (
	"errors"
	"fmt"

	"github.com/hookline/hookline/internal/media"
)

// Errors of reading; they come wrapped with the place.
var (
	// ErrTruncated: a body that ends inside its header.
	ErrTruncated = errors.New("flv: truncated")
	// ErrMalformed: a body or file that contradicts the format.
	ErrMalformed = errors.New("flv: malformed")
)

// UnsupportedError names a codec that Hookline can't carry.
type UnsupportedError struct {
	Kind media.Kind
	Name string // "Speex", "FourCC vvc1"
}

// Error implements error.
func (e *UnsupportedError) Error() string { return "flv: unsupported codec: " + e.Name }

// Frame types, upper four bits of the first byte of a video body (E.4.3.1).
const (
	frameKey     = 1
	frameInter   = 2
	frameCommand = 5
)

// Legacy video codec ids, lower four bits of the first byte of a video body.
const (
	videoAVC = 7
	// Not Adobe's: what Chinese encoders, CDNs and ZLMediaKit agreed on.
	videoHEVC = 12
	videoAV1  = 13
	videoVP8  = 14
	videoVP9  = 15
)

// Legacy sound formats, upper four bits of the first byte of an audio body (E.4.2.1).
const (
	soundMP3      = 2
	soundALaw     = 7
	soundMuLaw    = 8
	soundEnhanced = 9 // reserved by Adobe, the escape of Enhanced RTMP v2
	soundAAC      = 10
	soundOpus     = 13 // not Adobe's: ZLMediaKit's
	soundMP38K    = 14
)

// Packet types of AVC and of AAC (E.4.3.1, E.4.2.2).
const (
	packetConfig = 0
	packetData   = 1
	packetEnd    = 2
)

// Packet types of Enhanced RTMP, video (ExVideoTagHeader) and audio (ExAudioTagHeader).
const (
	exSequenceStart = 0
	exCodedFrames   = 1
	exSequenceEnd   = 2
	exVideoFramesX  = 3 // coded frames whose composition time is 0 and absent
	exVideoMetadata = 4
	exAudioChannels = 4
	exVideoTSStart  = 5 // an AV1 video descriptor of MPEG-TS; the sequence header is in band then
	exAudioMulti    = 5
	exVideoMulti    = 6
	exModEx         = 7
)

// Multitrack types of Enhanced RTMP v2 (AvMultitrackType).
const (
	multiOne        = 0
	multiMany       = 1
	multiManyCodecs = 2
)

// exHeader is bit 7 of the first byte of a video body: an enhanced header follows.
const exHeader = 0x80

// fourCC is a codec of Enhanced RTMP, as a big-endian number.
type fourCC uint32

const (
	fourAVC  fourCC = 'a'<<24 | 'v'<<16 | 'c'<<8 | '1'
	fourHEVC fourCC = 'h'<<24 | 'v'<<16 | 'c'<<8 | '1'
	fourAAC  fourCC = 'm'<<24 | 'p'<<16 | '4'<<8 | 'a'
	fourOpus fourCC = 'O'<<24 | 'p'<<16 | 'u'<<8 | 's'
	fourMP3  fourCC = '.'<<24 | 'm'<<16 | 'p'<<8 | '3'
	fourVP8  fourCC = 'v'<<24 | 'p'<<16 | '0'<<8 | '8'
	fourVP9  fourCC = 'v'<<24 | 'p'<<16 | '0'<<8 | '9'
	fourAV1  fourCC = 'a'<<24 | 'v'<<16 | '0'<<8 | '1'
	fourFLAC fourCC = 'f'<<24 | 'L'<<16 | 'a'<<8 | 'C'
	fourAC3  fourCC = 'a'<<24 | 'c'<<16 | '-'<<8 | '3'
	fourEAC3 fourCC = 'e'<<24 | 'c'<<16 | '-'<<8 | '3'
)

// FourCCs returns the FourCCs of Enhanced RTMP that are read and written, for the capabilities of a connection.
func FourCCs(k media.Kind) []string {
	if k == media.Video {
		return []string{"avc1", "hvc1", "vp08", "vp09", "av01"}
	}
	return []string{"mp4a", "Opus", "fLaC", "ac-3", "ec-3", ".mp3"}
}

// Carries says that tracks of codec c can be written.
func Carries(c media.Codec) bool { return c != media.JPEG && c != media.L16 }

// forms returns how a codec is written: its legacy id and its FourCC, 0 where there is none.
func forms(c media.Codec) (legacy byte, four fourCC) {
	switch c {
	case media.H264:
		return videoAVC, fourAVC
	case media.H265:
		return videoHEVC, fourHEVC
	case media.AV1:
		return videoAV1, fourAV1
	case media.VP8:
		return videoVP8, fourVP8
	case media.VP9:
		return videoVP9, fourVP9
	case media.AAC:
		return soundAAC, fourAAC
	case media.PCMA:
		return soundALaw, 0
	case media.PCMU:
		return soundMuLaw, 0
	case media.MP3:
		return soundMP3, fourMP3
	case media.Opus:
		return soundOpus, fourOpus
	case media.FLAC:
		return 0, fourFLAC
	case media.AC3:
		return 0, fourAC3
	case media.EAC3:
		return 0, fourEAC3
	default:
		return 0, 0
	}
}

// written returns the FourCC by which codec c is written, 0 where it is by its legacy id: what Adobe gave an id keeps it,
// since every player reads it, the rest is as asked if it has both.
func written(c media.Codec, enhanced bool) fourCC {
	legacy, four := forms(c)
	switch c {
	case media.H264, media.AAC, media.PCMA, media.PCMU, media.MP3:
		return 0
	default:
		if legacy != 0 && !enhanced {
			return 0
		}
		return four
	}
}

// codec returns the codec of f when it is of kind k.
func (f fourCC) codec(k media.Kind) (media.Codec, error) {
	var c media.Codec
	switch f {
	case fourAVC:
		c = media.H264
	case fourHEVC:
		c = media.H265
	case fourAAC:
		c = media.AAC
	case fourOpus:
		c = media.Opus
	case fourMP3:
		c = media.MP3
	case fourVP8:
		c = media.VP8
	case fourVP9:
		c = media.VP9
	case fourAV1:
		c = media.AV1
	case fourFLAC:
		c = media.FLAC
	case fourAC3:
		c = media.AC3
	case fourEAC3:
		c = media.EAC3
	default:
		return 0, &UnsupportedError{k, f.String()}
	}
	if c.Kind() != k {
		return 0, &UnsupportedError{k, f.String()}
	}
	return c, nil
}

// String names f for messages; what is not printable ASCII is shown in hexadecimal.
func (f fourCC) String() string {
	b := []byte{byte(f >> 24), byte(f >> 16), byte(f >> 8), byte(f)}
	for _, c := range b {
		if c < ' ' || c > '~' {
			return fmt.Sprintf("FourCC 0x%08x", uint32(f))
		}
	}
	return "FourCC " + string(b)
}

// Peek says what the body of an audio or video message is, as AppendBody writes it: a codec configuration, or a key frame.
func Peek(typ TagType, body []byte) (config, key bool) {
	if len(body) < 2 {
		return false, false
	}
	high, low := body[0]>>4, body[0]&0x0f
	switch {
	case typ == TagVideo && high&8 != 0:
		return low == exSequenceStart, high&7 == frameKey && low != exSequenceStart
	case typ == TagVideo:
		return body[1] == packetConfig, high == frameKey && body[1] != packetConfig
	case typ == TagAudio && high == soundEnhanced:
		return low == exSequenceStart, false
	case typ == TagAudio:
		return high == soundAAC && body[1] == packetConfig, false
	}
	return false, false
}

// videoName names a legacy video codec id that is not supported.
func videoName(id byte) string {
	switch id {
	case 2:
		return "Sorenson H.263"
	case 3:
		return "Screen video"
	case 4, 5:
		return "On2 VP6"
	case 6:
		return "Screen video 2"
	}
	return fmt.Sprintf("video codec id %d", id)
}

// soundName names a legacy sound format that is not supported.
func soundName(id byte) string {
	switch id {
	case 0, 3:
		return "linear PCM"
	case 1:
		return "ADPCM"
	case 4, 5, 6:
		return "Nellymoser"
	case 11:
		return "Speex"
	}
	return fmt.Sprintf("sound format %d", id)
}

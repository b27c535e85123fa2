package flv

import (
	"encoding/binary"
	"time"

	"github.com/hookline/hookline/internal/media"
)

// AppendBody appends the body of the audio or video message of f to dst: its header and its data, or for a Config frame
// the sequence header of its track. enhanced chooses how codecs are written that have a FourCC and an
// unofficial legacy id: H.265, AV1, VP8, VP9 and Opus. The codec must be one that Carries allows.
func AppendBody(dst []byte, f *media.Frame, enhanced bool) []byte {
	if f.Config {
		return AppendSequenceHeader(dst, f.Track, enhanced)
	}
	return append(AppendBodyHeader(dst, f, enhanced), f.Data...)
}

// AppendBodyHeader appends what stands before f.Data in the body of f, which is at most MaxBodyHeader bytes.
func AppendBodyHeader(dst []byte, f *media.Frame, enhanced bool) []byte {
	if f.Track.Codec.Kind() == media.Audio {
		return appendSoundHeader(dst, f.Track, enhanced)
	}
	typ := byte(frameInter)
	if f.Key {
		typ = frameKey
	}
	dst = appendVideoHeader(dst, f.Track.Codec, typ, packetData, enhanced)
	if !timed(f.Track.Codec, enhanced) {
		return dst
	}
	cts := f.PTS.Milliseconds() - f.DTS.Milliseconds()
	return append24(dst, uint32(min(max(cts, -1<<23), 1<<23-1)))
}

// timed says that a body of coded frames has a composition time: all legacy ones, H.264 and H.265 of the enhanced ones.
func timed(c media.Codec, enhanced bool) bool {
	return c == media.H264 || c == media.H265 || written(c, enhanced) == 0
}

// MaxBodyHeader is the longest header that AppendBodyHeader writes, in bytes.
const MaxBodyHeader = 8

// appendVideoHeader appends the header up to the composition time. The packet types 0 and 1 mean the same in both forms.
func appendVideoHeader(dst []byte, codec media.Codec, frameType, packetType byte, enhanced bool) []byte {
	if four := written(codec, enhanced); four != 0 {
		dst = append(dst, exHeader|frameType<<4|packetType)
		return binary.BigEndian.AppendUint32(dst, uint32(four))
	}
	legacy, _ := forms(codec)
	return append(dst, frameType<<4|legacy, packetType)
}

func appendSoundHeader(dst []byte, t *media.Track, enhanced bool) []byte {
	if four := written(t.Codec, enhanced); four != 0 {
		dst = append(dst, soundEnhanced<<4|exCodedFrames)
		return binary.BigEndian.AppendUint32(dst, uint32(four))
	}
	dst = append(dst, soundFlags(t))
	if t.Codec == media.AAC {
		dst = append(dst, packetData)
	}
	return dst
}

// soundFlags is the first byte of a legacy audio body: format, rate, size and channels (E.4.2.1).
func soundFlags(t *media.Track) byte {
	const bits16, stereo = 2, 1
	format := soundFormat(t)
	flags := format<<4 | bits16
	switch format {
	case soundAAC, soundOpus: // always 44 kHz stereo, whatever it is
		return flags | 3<<2 | stereo
	case soundMP3:
		flags |= soundRate(t.SampleRate) << 2
	}
	if t.Channels > 1 {
		flags |= stereo
	}
	return flags
}

func soundFormat(t *media.Track) byte {
	if t.Codec == media.MP3 && t.SampleRate == 8000 {
		return soundMP38K
	}
	legacy, _ := forms(t.Codec)
	return legacy
}

func soundRate(hz int) byte {
	switch {
	case hz >= 32000:
		return 3
	case hz >= 16000:
		return 2
	case hz > 8000:
		return 1
	}
	return 0
}

// AppendSequenceHeader appends the body that announces track; it appends nothing for codecs that have none, and for
// tracks whose configuration has not come.
func AppendSequenceHeader(dst []byte, t *media.Track, enhanced bool) []byte {
	switch t.Codec {
	case media.H264, media.H265, media.AV1, media.VP8, media.VP9:
		if len(t.Config) == 0 {
			return dst
		}
		dst = appendVideoHeader(dst, t.Codec, frameKey, packetConfig, enhanced)
		if written(t.Codec, enhanced) == 0 {
			dst = append(dst, 0, 0, 0) // composition time
		}
		return append(dst, t.Config...)
	case media.AAC:
		if len(t.Config) == 0 {
			return dst
		}
		return append(append(dst, soundFlags(t), packetConfig), t.Config...)
	case media.Opus, media.FLAC, media.AC3, media.EAC3:
		return appendSoundSequence(dst, t, enhanced)
	default:
		return dst
	}
}

// appendSoundSequence appends the sequence start of a codec that has a FourCC only, or is written by it.
func appendSoundSequence(dst []byte, t *media.Track, enhanced bool) []byte {
	four := written(t.Codec, enhanced)
	if four == 0 {
		return dst
	}
	dst = append(dst, soundEnhanced<<4|exSequenceStart)
	dst = binary.BigEndian.AppendUint32(dst, uint32(four))
	switch {
	case t.Codec == media.AC3 || t.Codec == media.EAC3: // nothing belongs here, their frames say it all
		return dst
	case t.Codec == media.Opus && len(t.Config) == 0:
		return append(dst, media.BuildOpusHead(t.Channels)...)
	}
	return append(dst, t.Config...)
}

// TagType is the type of an FLV tag, which is that of the RTMP message with the same body.
type TagType byte

// Tag types.
const (
	TagAudio TagType = 8
	TagVideo TagType = 9
	TagData  TagType = 18
)

// TypeOf returns the type of the tag or message that carries frames of t.
func TypeOf(t *media.Track) TagType {
	if t.Codec.Kind() == media.Audio {
		return TagAudio
	}
	return TagVideo
}

// Sizes of the parts of a file, in bytes.
const (
	// TagHeader is the size of the header of a tag.
	TagHeader = 11
	// TagTrailer is the size of PreviousTagSize, which follows a tag.
	TagTrailer = 4
	// MaxBody is the largest body of a tag and of an RTMP message.
	MaxBody = 1<<24 - 1

	fileHeader = 9
)

// Millis returns ts as the 32-bit timestamp of a tag or message: whole milliseconds that wrap; negative is 0.
func Millis(ts time.Duration) uint32 {
	return uint32(max(ts, 0).Milliseconds())
}

// AppendFileHeader appends the header of an FLV file, and the PreviousTagSize of the tag that is not there (E.2, E.3).
func AppendFileHeader(dst []byte, hasAudio, hasVideo bool) []byte {
	var flags byte
	if hasAudio {
		flags |= 4
	}
	if hasVideo {
		flags |= 1
	}
	return append(dst, 'F', 'L', 'V', 1, flags, 0, 0, 0, fileHeader, 0, 0, 0, 0)
}

// AppendTag appends a tag and its PreviousTagSize; the body may come in parts. A body larger than MaxBody can't be
// written and is left out.
func AppendTag(dst []byte, typ TagType, ts time.Duration, body ...[]byte) []byte {
	start := len(dst)
	dst = appendTagHeader(dst, typ, ts)
	for _, part := range body {
		dst = append(dst, part...)
	}
	return closeTag(dst, start)
}

// AppendFrameTag is AppendTag for the body of f, without building it elsewhere first.
func AppendFrameTag(dst []byte, f *media.Frame, enhanced bool) []byte {
	start := len(dst)
	dst = appendTagHeader(dst, TypeOf(f.Track), f.DTS)
	return closeTag(AppendBody(dst, f, enhanced), start)
}

// appendTagHeader appends the header of a tag whose size is not known yet.
func appendTagHeader(dst []byte, typ TagType, ts time.Duration) []byte {
	ms := Millis(ts)
	return append(dst, byte(typ), 0, 0, 0, byte(ms>>16), byte(ms>>8), byte(ms), byte(ms>>24), 0, 0, 0)
}

// closeTag writes the size of the tag that begins at start into its header and behind it.
func closeTag(dst []byte, start int) []byte {
	size := len(dst) - start - TagHeader
	if size > MaxBody {
		return dst[:start]
	}
	dst[start+1], dst[start+2], dst[start+3] = byte(size>>16), byte(size>>8), byte(size)
	return binary.BigEndian.AppendUint32(dst, uint32(size+TagHeader))
}

func append24(dst []byte, n uint32) []byte { return append(dst, byte(n>>16), byte(n>>8), byte(n)) }

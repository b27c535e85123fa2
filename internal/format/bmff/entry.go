package bmff

import (
	"encoding/binary"

	"github.com/hookline/hookline/internal/media"
)

// Object types of MPEG-4 systems (ISO 14496-1 table 5, and the registration authority).
const (
	objectAAC  = 0x40
	objectMP3  = 0x6b
	objectMP3x = 0x69 // MPEG-2 rates
)

// entryType returns the type of a track's sample entry and that of its configuration box; "" when it can't be carried.
func entryType(t *media.Track) (entry, config string) {
	switch t.Codec {
	case media.H264:
		return "avc1", "avcC"
	case media.H265:
		return "hvc1", "hvcC"
	case media.AV1:
		return "av01", "av1C"
	case media.VP9:
		return "vp09", "vpcC"
	case media.VP8:
		return "vp08", "vpcC"
	case media.AAC, media.MP3:
		return "mp4a", "esds"
	case media.Opus:
		return "Opus", "dOps"
	case media.FLAC:
		return "fLaC", "dfLa"
	case media.AC3:
		return "ac-3", "dac3"
	case media.EAC3:
		return "ec-3", "dec3"
	case media.PCMA:
		return "alaw", ""
	case media.PCMU:
		return "ulaw", ""
	default:
		return "", ""
	}
}

// Carries says that an MP4 file can carry t: its codec has a mapping, and what the sample entry needs is known.
func Carries(t *media.Track) bool {
	entry, _ := entryType(t)
	switch t.Codec {
	case media.H264, media.H265, media.AAC, media.AV1, media.VP8, media.VP9, media.FLAC, media.AC3, media.EAC3:
		return len(t.Config) > 0
	default:
		return entry != ""
	}
}

// Timescale returns the time scale of t in ticks per second: the sample rate of sound, 90 kHz for pictures.
func Timescale(t *media.Track) uint32 {
	if t.Codec.Kind() == media.Audio && t.SampleRate > 0 {
		return uint32(t.SampleRate)
	}
	return 90000
}

// appendEntry appends the sample entry of t.
func appendEntry(dst []byte, t *media.Track) []byte {
	entry, config := entryType(t)
	dst, at := Begin(dst, entry)
	dst = zeros(dst, 6)
	dst = u16(dst, 1) // data_reference_index
	if t.Codec.Kind() == media.Video {
		dst = zeros(dst, 16)
		dst = u16(u16(dst, t.Width), t.Height)
		dst = u32(u32(dst, 72<<16), 72<<16) // dots per inch
		dst = u32(dst, 0)
		dst = u16(dst, 1) // frames per sample
		dst = zeros(dst, 32)
		dst = u16(u16(dst, 24), 0xffff)
	} else {
		dst = zeros(dst, 8)
		dst = u16(u16(dst, t.Channels), 16)
		dst = u32(dst, 0)
		rate := uint32(t.SampleRate)
		if rate > 0xffff {
			rate = 0 // it does not fit; the time scale says it
		}
		dst = u32(dst, rate<<16)
	}
	if config != "" {
		var c int
		dst, c = Begin(dst, config)
		dst = End(appendConfig(dst, t), c)
	}
	return End(dst, at)
}

// appendConfig appends the content of the configuration box.
func appendConfig(dst []byte, t *media.Track) []byte {
	switch t.Codec {
	case media.AAC:
		return appendESDS(dst, objectAAC, t.Config)
	case media.MP3:
		if t.SampleRate > 0 && t.SampleRate < 32000 {
			return appendESDS(dst, objectMP3x, nil)
		}
		return appendESDS(dst, objectMP3, nil)
	case media.Opus:
		return appendOpus(dst, t)
	case media.FLAC:
		dst = u32(dst, 0)
		return append(append(dst, 0x80, 0, 0, byte(len(t.Config))), t.Config...) // the last block, STREAMINFO
	default:
		return append(dst, t.Config...)
	}
}

// appendESDS appends an ES descriptor (ISO 14496-1, 7.2.6.5).
func appendESDS(dst []byte, object byte, specific []byte) []byte {
	dst = u32(dst, 0)
	inner := 13
	if len(specific) > 0 {
		inner += 5 + len(specific)
	}
	dst = descriptor(dst, 3, 3+5+inner+5+1)
	dst = append(dst, 0, 1, 0) // ES_ID, no flags
	dst = descriptor(dst, 4, inner)
	dst = append(dst, object, 0x15) // audio stream
	dst = zeros(dst, 11)            // buffer size and bit rates are not known
	if len(specific) > 0 {
		dst = append(descriptor(dst, 5, len(specific)), specific...)
	}
	return append(descriptor(dst, 6, 1), 2) // SL: predefined for MP4
}

func descriptor(dst []byte, tag byte, n int) []byte {
	return append(dst, tag, 0x80|byte(n>>21), 0x80|byte(n>>14), 0x80|byte(n>>7), byte(n&0x7f))
}

// appendOpus appends the content of "dOps": that of the identification header with other byte order.
func appendOpus(dst []byte, t *media.Track) []byte {
	head := t.Config
	if _, err := media.ParseOpusHead(head); err != nil {
		head = media.BuildOpusHead(t.Channels)
	}
	dst = append(dst, 0, head[9])
	dst = u16(dst, int(binary.LittleEndian.Uint16(head[10:])))
	dst = u32(dst, binary.LittleEndian.Uint32(head[12:]))
	dst = append(dst, head[16+1], head[16]) // output gain
	return append(dst, head[18:]...)
}

// ParseEntries returns the track that the first sample entry in the content of a box "stsd" describes; nil when Hookline
// does not know the codec, or the entry is broken. lengthSize is the size of the lengths of NAL units in the samples, 0 where
// there are none.
func ParseEntries(stsd []byte) (t *media.Track, lengthSize int) {
	if len(stsd) < 8 {
		return nil, 0
	}
	for typ, body := range Boxes(stsd[8:]) {
		if t = parseEntry(typ, body); t == nil {
			break
		}
		if t.Codec == media.H264 || t.Codec == media.H265 {
			_, box := entryType(t)
			config, _ := Find(body[videoFixed:], box)
			lengthSize = media.NALULengthSize(t.Codec, config)
		}
		break
	}
	return t, lengthSize
}

func parseEntry(typ string, b []byte) *media.Track {
	switch typ {
	case "avc1", "avc3":
		return videoEntry(media.H264, "avcC", b)
	case "hvc1", "hev1":
		return videoEntry(media.H265, "hvcC", b)
	case "av01":
		return videoEntry(media.AV1, "av1C", b)
	case "vp09":
		return videoEntry(media.VP9, "vpcC", b)
	case "vp08":
		return videoEntry(media.VP8, "vpcC", b)
	case "mp4a":
		return audioEntry(media.AAC, "esds", b)
	case ".mp3":
		return audioEntry(media.MP3, "", b)
	case "Opus":
		return audioEntry(media.Opus, "dOps", b)
	case "fLaC":
		return audioEntry(media.FLAC, "dfLa", b)
	case "ac-3":
		return audioEntry(media.AC3, "dac3", b)
	case "ec-3":
		return audioEntry(media.EAC3, "dec3", b)
	case "alaw":
		return audioEntry(media.PCMA, "", b)
	case "ulaw":
		return audioEntry(media.PCMU, "", b)
	default:
		return nil
	}
}

// videoFixed is the size of a visual sample entry without boxes.
const videoFixed = 78

func videoEntry(codec media.Codec, box string, b []byte) *media.Track {
	if len(b) < videoFixed {
		return nil
	}
	config, ok := Find(b[videoFixed:], box)
	if !ok {
		return nil
	}
	t, err := media.NewVideoTrack(codec, config)
	if err != nil {
		return nil
	}
	if t.Width == 0 {
		t.Width, t.Height = int(binary.BigEndian.Uint16(b[24:])), int(binary.BigEndian.Uint16(b[26:]))
	}
	return t
}

func audioEntry(codec media.Codec, box string, b []byte) *media.Track {
	const fixed = 28
	if len(b) < fixed {
		return nil
	}
	channels := int(binary.BigEndian.Uint16(b[16:]))
	rate := int(binary.BigEndian.Uint32(b[24:]) >> 16)
	rest := b[fixed:]
	switch version := binary.BigEndian.Uint16(b[8:]); { // of QuickTime's entries
	case version == 1 && len(rest) >= 16:
		if _, ok := Find(rest, box); !ok && box != "" {
			rest = rest[16:]
		}
	case version == 2:
		return nil
	}
	var config []byte
	if box != "" {
		body, ok := Find(rest, box)
		if !ok {
			body, ok = Find(rest, "wave", box)
		}
		if !ok {
			return nil
		}
		if config, codec, ok = audioConfig(codec, body); !ok {
			return nil
		}
	}
	t, err := media.NewAudioTrack(codec, config, rate, channels, 16)
	if err != nil {
		return nil
	}
	return t
}

// audioConfig turns the content of a configuration box into that of Track.Config.
func audioConfig(codec media.Codec, b []byte) ([]byte, media.Codec, bool) {
	switch codec {
	case media.AAC:
		return parseESDS(b)
	case media.Opus:
		if len(b) < 11 {
			return nil, codec, false
		}
		head := append([]byte("OpusHead"), 1, b[1])
		head = binary.LittleEndian.AppendUint16(head, binary.BigEndian.Uint16(b[2:]))
		head = binary.LittleEndian.AppendUint32(head, binary.BigEndian.Uint32(b[4:]))
		head = append(head, b[9], b[8])
		return append(head, b[10:]...), codec, true
	case media.FLAC:
		if len(b) < 4 {
			return nil, codec, false
		}
		return b[4:], codec, true
	default:
		return b, codec, true
	}
}

// parseESDS returns the codec of an ES descriptor, AAC or MP3, with its configuration.
func parseESDS(b []byte) ([]byte, media.Codec, bool) {
	if len(b) < 4 {
		return nil, 0, false
	}
	es, ok := findDescriptor(b[4:], 3)
	if !ok || len(es) < 3 {
		return nil, 0, false
	}
	flags := es[2]
	es = es[3:]
	for _, skip := range []struct {
		bit byte
		n   int
	}{{0x80, 2}, {0x40, 0}, {0x20, 2}} {
		n := skip.n
		if flags&skip.bit == 0 {
			continue
		}
		if skip.bit == 0x40 && len(es) > 0 {
			n = 1 + int(es[0]) // URL
		}
		if n > len(es) {
			return nil, 0, false
		}
		es = es[n:]
	}
	d, ok := findDescriptor(es, 4)
	if !ok || len(d) < 13 {
		return nil, 0, false
	}
	switch d[0] {
	case objectAAC, 0x66, 0x67, 0x68: // MPEG-4, and the profiles of MPEG-2
		config, ok := findDescriptor(d[13:], 5)
		return config, media.AAC, ok
	case objectMP3, objectMP3x:
		return nil, media.MP3, true
	}
	return nil, 0, false
}

// findDescriptor returns the content of the first descriptor with a tag.
func findDescriptor(b []byte, want byte) ([]byte, bool) {
	for len(b) >= 2 {
		tag, n, i := b[0], 0, 1
		for ; i < len(b) && i <= 4; i++ {
			n = n<<7 | int(b[i]&0x7f)
			if b[i]&0x80 == 0 {
				i++
				break
			}
		}
		if n > len(b)-i {
			return nil, false
		}
		if tag == want {
			return b[i : i+n : i+n], true
		}
		b = b[i+n:]
	}
	return nil, false
}

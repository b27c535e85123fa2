package rtp

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/hookline/hookline/internal/media"
)

// ErrBadSDP: a session description that says nothing that can be used.
var ErrBadSDP = errors.New("bad session description")

const (
	// MaxSDP bounds a session description in bytes.
	MaxSDP = 64 << 10
	// maxMedia bounds the media of a session description.
	maxMedia = 16
)

// Format is one media of a session description, as far as its codec is known.
type Format struct {
	Kind      media.Kind
	Codec     media.Codec
	Name      string // of the encoding, as it was written
	Known     bool   // Codec is valid
	PT        uint8
	ClockRate int
	Channels  int
	Control   string // URL, absolute or relative to the session's
	// Track is what the description says of it; for H.264 and H.265 without configuration when the parameter sets come in
	// band. Nil while Known is false or the configuration is unusable.
	Track *media.Track

	aacSizeBits, aacIndexBits, aacDeltaBits int

	latm, latmInBand bool
	donl             bool
}

// Session is a parsed session description.
type Session struct {
	Control string
	Media   []Format
}

// ParseSDP reads a session description (RFC 8866). It is lenient: cameras leave out mandatory lines, use bare line feeds,
// and write parameters of their own, and only what names the media matters. Errors wrap ErrBadSDP.
func ParseSDP(b []byte) (*Session, error) {
	if len(b) > MaxSDP {
		return nil, fmt.Errorf("%d bytes: %w", len(b), ErrBadSDP)
	}
	s := &Session{}
	var drafts []*draft
	for line := range strings.Lines(string(b)) {
		line = strings.TrimRight(line, "\r\n \x00")
		key, value, ok := strings.Cut(line, "=")
		if !ok || len(key) != 1 {
			continue
		}
		switch {
		case key == "m":
			if len(drafts) == maxMedia {
				return nil, fmt.Errorf("more than %d media: %w", maxMedia, ErrBadSDP)
			}
			drafts = append(drafts, newDraft(value))
		case key == "a" && len(drafts) == 0:
			if c, ok := strings.CutPrefix(value, "control:"); ok {
				s.Control = strings.TrimSpace(c)
			}
		case key == "a":
			drafts[len(drafts)-1].attribute(value)
		}
	}
	for _, d := range drafts {
		if d.ok {
			s.Media = append(s.Media, d.format())
		}
	}
	if len(s.Media) == 0 {
		return nil, fmt.Errorf("no audio and no video: %w", ErrBadSDP)
	}
	return s, nil
}

// draft collects the lines of one media.
type draft struct {
	f      Format
	ok     bool
	rtpmap string
	fmtp   map[string]string
}

func newDraft(m string) *draft {
	d := &draft{fmtp: map[string]string{}}
	words := strings.Fields(m)
	if len(words) < 4 {
		return d
	}
	switch strings.ToLower(words[0]) {
	case "video":
		d.f.Kind = media.Video
	case "audio":
		d.f.Kind = media.Audio
	default:
		return d // metadata of cameras (ONVIF): not taken
	}
	pt, err := strconv.ParseUint(words[3], 10, 7)
	d.f.PT, d.ok = uint8(pt), err == nil
	return d
}

func (d *draft) attribute(a string) {
	name, value, _ := strings.Cut(a, ":")
	value = strings.TrimSpace(value)
	switch strings.ToLower(name) {
	case "control":
		d.f.Control = value
	case "rtpmap":
		if rest, ok := d.mine(value); ok {
			d.rtpmap = rest
		}
	case "fmtp":
		rest, ok := d.mine(value)
		if !ok {
			return
		}
		for part := range strings.SplitSeq(rest, ";") {
			k, v, _ := strings.Cut(strings.TrimSpace(part), "=")
			if k != "" && len(d.fmtp) < 64 {
				d.fmtp[strings.ToLower(strings.TrimSpace(k))] = strings.TrimSpace(v)
			}
		}
	}
}

// mine cuts the payload type off and says whether it is that of the media: the first of its list.
func (d *draft) mine(value string) (string, bool) {
	pt, rest, _ := strings.Cut(value, " ")
	n, err := strconv.ParseUint(pt, 10, 8)
	return strings.TrimSpace(rest), err == nil && uint8(n) == d.f.PT
}

// encodings are the encoding names of RTP payload formats, in lower case.
var encodings = map[string]media.Codec{ //nolint:gochecknoglobals // a constant table
	"h264": media.H264, "h265": media.H265, "hevc": media.H265,
	"mpeg4-generic": media.AAC, "mp4a-latm": media.AAC,
	"pcma": media.PCMA, "pcmu": media.PCMU, "opus": media.Opus, "mpa": media.MP3,
	"l16": media.L16, "vp8": media.VP8, "vp9": media.VP9, "av1": media.AV1, "jpeg": media.JPEG,
}

// format completes the media from its rtpmap or its static payload type (RFC 3551 section 6).
func (d *draft) format() Format {
	f := d.f
	name, rest, _ := strings.Cut(d.rtpmap, "/")
	rate, channels, _ := strings.Cut(rest, "/")
	f.Name = name
	f.ClockRate, _ = strconv.Atoi(strings.TrimSpace(rate))
	f.Channels, _ = strconv.Atoi(strings.TrimSpace(channels))
	if d.rtpmap == "" {
		f.Name, f.ClockRate, f.Channels = static(f.PT)
	}
	if f.ClockRate < 0 || f.ClockRate > 1<<24 || f.Channels < 0 || f.Channels > 255 {
		return f
	}
	f.Codec, f.Known = encodings[strings.ToLower(f.Name)]
	if !f.Known || f.Codec.Kind() != f.Kind {
		f.Known = false
		return f
	}
	if f.ClockRate == 0 {
		f.ClockRate = 90000
		if f.Kind == media.Audio {
			f.ClockRate = 8000
		}
	}
	d.track(&f)
	return f
}

func static(pt uint8) (name string, rate, channels int) {
	switch pt {
	case 0:
		return "PCMU", 8000, 1
	case 8:
		return "PCMA", 8000, 1
	case 10:
		return "L16", 44100, 2
	case 11:
		return "L16", 44100, 1
	case 14:
		return "MPA", 90000, 2
	case 26:
		return "JPEG", 90000, 0
	}
	return "", 0, 0
}

// track makes the track of the parameters. A configuration that can't be read leaves none: it may come in band.
func (d *draft) track(f *Format) {
	switch f.Codec {
	case media.H264:
		f.Track = d.nalTrack(media.H264, "", "sprop-parameter-sets")
	case media.H265:
		f.donl = number(d.fmtp["sprop-max-don-diff"]) > 0
		f.Track = d.nalTrack(media.H265, "sprop-vps", "sprop-sps", "sprop-pps")
	case media.AAC:
		d.aac(f)
	case media.Opus:
		channels := 1
		if d.fmtp["sprop-stereo"] == "1" || d.fmtp["sprop-stereo"] == "" && f.Channels == 2 {
			channels = 2
		}
		f.Track = audio(media.Opus, media.BuildOpusHead(channels), f.ClockRate, channels)
	case media.MP3:
		f.Track = audio(media.MP3, nil, 0, 0)
	case media.VP8, media.VP9, media.AV1, media.JPEG:
		f.Track = &media.Track{Codec: f.Codec} // everything is in the pictures
	default:
		f.Track = audio(f.Codec, nil, f.ClockRate, max(f.Channels, 1))
	}
}

func audio(c media.Codec, config []byte, rate, channels int) *media.Track {
	t, err := media.NewAudioTrack(c, config, rate, channels, 0)
	if err != nil {
		return nil
	}
	return t
}

// nalTrack reads comma lists of base64 NAL units.
func (d *draft) nalTrack(codec media.Codec, params ...string) *media.Track {
	var sets media.ParameterSets
	for _, p := range params {
		if p == "" {
			continue
		}
		for part := range strings.SplitSeq(d.fmtp[p], ",") {
			nalu, err := base64.StdEncoding.DecodeString(strings.TrimSpace(part))
			if err != nil {
				nalu, err = base64.RawStdEncoding.DecodeString(strings.TrimRight(strings.TrimSpace(part), "="))
			}
			if err != nil || len(nalu) < 2 {
				continue
			}
			switch t := media.NALUType(codec, nalu); {
			case codec == media.H265 && t == media.H265NALVPS:
				sets.VPS = append(sets.VPS, nalu)
			case codec == media.H265 && t == media.H265NALSPS, codec == media.H264 && t == media.H264NALSPS:
				sets.SPS = append(sets.SPS, nalu)
			case codec == media.H265 && t == media.H265NALPPS, codec == media.H264 && t == media.H264NALPPS:
				sets.PPS = append(sets.PPS, nalu)
			}
		}
	}
	if len(sets.SPS) > 0 && len(sets.PPS) > 0 {
		if t, err := sets.Track(codec); err == nil {
			return t
		}
	}
	return &media.Track{Codec: codec}
}

// aac reads mpeg4-generic (RFC 3640 section 4.1) and MP4A-LATM (RFC 6416 section 7.3).
func (d *draft) aac(f *Format) {
	f.latm = strings.EqualFold(f.Name, "MP4A-LATM")
	config, err := hex.DecodeString(d.fmtp["config"])
	if f.latm {
		f.latmInBand = d.fmtp["cpresent"] != "0"
		if err == nil && len(config) > 0 {
			config, _ = streamMuxConfig(&bits24{b: config})
		}
	}
	f.aacSizeBits, f.aacIndexBits, f.aacDeltaBits = 13, 3, 3
	for name, bits := range map[string]*int{
		"sizelength": &f.aacSizeBits, "indexlength": &f.aacIndexBits, "indexdeltalength": &f.aacDeltaBits,
	} {
		if v, ok := d.fmtp[name]; ok {
			*bits = min(max(number(v), 0), 24)
		}
	}
	if len(config) < 2 {
		config = aacConfig(f.ClockRate, f.Channels)
	}
	f.Track = audio(media.AAC, config, f.ClockRate, max(f.Channels, 1))
}

// aacConfig makes an AudioSpecificConfig of AAC-LC for descriptions that have none.
func aacConfig(rate, channels int) []byte {
	rates := [...]int{96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350}
	for i, r := range rates {
		if r == rate {
			v := 2<<11 | i<<7 | max(channels, 1)&15<<3
			return []byte{byte(v >> 8), byte(v)}
		}
	}
	return nil
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0
	}
	return n
}

// ClockRate is the RTP clock of a track in Hz.
func ClockRate(t *media.Track) int {
	switch {
	case t.Codec.Kind() == media.Video, t.Codec == media.MP3:
		return 90000
	case t.Codec == media.Opus:
		return media.OpusRate
	case t.SampleRate > 0:
		return t.SampleRate
	}
	return 8000
}

// PayloadType is the payload type of a track: the static one of RFC 3551 where there is one, else dynamic.
func PayloadType(t *media.Track, dynamic uint8) uint8 {
	switch {
	case t.Codec == media.PCMU && t.SampleRate == 8000 && t.Channels == 1:
		return 0
	case t.Codec == media.PCMA && t.SampleRate == 8000 && t.Channels == 1:
		return 8
	case t.Codec == media.MP3:
		return 14
	case t.Codec == media.JPEG:
		return 26
	}
	return dynamic
}

// Describe returns the lines of a track: m=, rtpmap and fmtp, without control. Errors wrap ErrUnsupported.
func Describe(t *media.Track, pt uint8) (string, error) {
	kind, name, suffix, fmtp := "audio", "", "", ""
	switch t.Codec {
	case media.H264:
		kind, name, fmtp = "video", "H264", h264Params(t)
	case media.H265:
		kind, name, fmtp = "video", "H265", h265Params(t)
	case media.AAC:
		name, suffix = "mpeg4-generic", "/"+strconv.Itoa(max(t.Channels, 1))
		fmtp = "streamtype=5;profile-level-id=1;mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3;config=" +
			strings.ToUpper(hex.EncodeToString(t.Config))
	case media.Opus:
		name, suffix = "opus", "/2" // always 2 (RFC 7587 section 7)
		if t.Channels == 2 {
			fmtp = "sprop-stereo=1"
		}
	case media.VP8, media.VP9, media.AV1, media.JPEG:
		kind, name = "video", t.Codec.String()
	case media.PCMA, media.PCMU, media.L16:
		name, suffix = t.Codec.String(), "/"+strconv.Itoa(max(t.Channels, 1))
	case media.MP3:
		name = "MPA"
	default:
		return "", fmt.Errorf("%v: %w", t.Codec, ErrUnsupported)
	}
	s := fmt.Sprintf("m=%s 0 RTP/AVP %d\r\na=rtpmap:%d %s/%d%s\r\n", kind, pt, pt, name, ClockRate(t), suffix)
	if fmtp != "" {
		s += fmt.Sprintf("a=fmtp:%d %s\r\n", pt, fmtp)
	}
	return s, nil
}

func h264Params(t *media.Track) string {
	s := "packetization-mode=1"
	c, err := media.ParseAVCConfig(t.Config)
	if err != nil || len(c.SPS) == 0 {
		return s
	}
	if len(c.SPS[0]) > 3 {
		s += ";profile-level-id=" + strings.ToUpper(hex.EncodeToString(c.SPS[0][1:4]))
	}
	return s + ";sprop-parameter-sets=" + base64List(append(append([][]byte{}, c.SPS...), c.PPS...))
}

func h265Params(t *media.Track) string {
	c, err := media.ParseHEVCConfig(t.Config)
	if err != nil {
		return ""
	}
	var parts []string
	for _, p := range []struct {
		name string
		sets [][]byte
	}{{"sprop-vps", c.VPS}, {"sprop-sps", c.SPS}, {"sprop-pps", c.PPS}} {
		if len(p.sets) > 0 {
			parts = append(parts, p.name+"="+base64List(p.sets))
		}
	}
	return strings.Join(parts, ";")
}

func base64List(sets [][]byte) string {
	var out []string
	for _, s := range sets {
		out = append(out, base64.StdEncoding.EncodeToString(s))
	}
	return strings.Join(out, ",")
}

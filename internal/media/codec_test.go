package media

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// videoCases are configurations that libx264 and libx265 wrote, with what ffprobe says of them.
var videoCases = []struct {
	name   string
	codec  Codec
	config string
	width  int
	height int
	fps    float64
}{
	{"H264 cropped 1080p", H264, "0142c028ffe100176742c028da01e0089f97011000003e90000ea600f1832a01000468ce0fc8", 1920, 1080, 30000.0 / 1001},
	{"H264 with colours", H264, "01640020ffe1001c67640020acd9405005bb016a020202800000030080000032078c18cb01000668ebe3cb22c0fdf8f800", 1280, 720, 50},
	{"H264 interlaced", H264, "0164001effe1001c6764001eacd940b424dff8020001688000000300800000190f8a14cb01000668fba3cb22c0fdf8f800", 720, 576, 25},
	{"H264 4:2:2, 10 bits", H264, "017a000cffe1001b677a000cb6cd9415087888fc0440000003004000000783c50a658001000668ebe3cb22c0fefafa00", 322, 242, 15},
	{"H264 4:4:4", H264, "01f4000cffe1001c67f4000c919b282a10f084760220000003002000000303c1e28532c001000668ebe3c44844fff8f800", 321, 243, 15},
	{"H264 scaling matrices", H264, "0164000bffe100196764000bacd942847e5c0440000003004000000c03c50a658001000768ebe3cb3002c0fdf8f800", 160, 120, 24},
	{"H264 grey", H264, "0164000bffe1001a6764000bf3650a11f89c05b2000003000200000300601e28532c01000668ebe3cb22c0fcf8f800", 160, 120, 24},
	{"H264 without sets", H264, "0142c01fffe000", 0, 0, 0},
	{"H265 1080p", H265, "01016000000090000000000078f000fcfdf8f800000f03a00001001840010c01ffff016000000300900000030000030078959409a10001002a420101016000000300900000030000030078a003c0801107cb965654a4c2f01680800001f480003a9804a2000100064401c073c189", 1920, 1080, 30000.0 / 1001},
	{"H265 10 bits, temporal layers", H265, "01022000000090000000000078f000fcfdfafa00001303a00001001c40010c02ffff02200000030090000003000003007800009598acc048a1000100324201020220000003009000000300000300780000a00280802d13659598acd24995e02d404040410000030001000003003208a2000100074401c172b46240", 1280, 720, 50},
	{"H265 4:2:2, scaling lists", H265, "0104080000009d08000000003cf000fcfefafa00000f03a00001001840010c01ffff0408000003009d0800000300003c998a0240a10001002b4201010408000003009d0800000300003cb00a480f9c93b65998a924e5780b4040000003004000000303c2a2000100074401c172b46240", 322, 242, 15},
	{"H265 4:4:4", H265, "0104080000009e08000000003cf000fcfff8f800000f03a00001001740010c01ffff0408000003009e0800000300003c959809a10001002b4201010408000003009e0800000300003c9001510080e79f2cacd24995e02d010000030001000003000c08a2000100084401c172860c4624", 330, 250, 12},
}

func TestNewVideoTrack(t *testing.T) {
	for _, c := range videoCases {
		t.Run(c.name, func(t *testing.T) {
			config := unhex(t, c.config)
			got, err := NewVideoTrack(c.codec, config)
			if err != nil {
				t.Fatal(err)
			}
			if got.Width != c.width || got.Height != c.height || math.Abs(got.FPS-c.fps) > 1e-9 {
				t.Errorf("got %dx%d, %g frames/s", got.Width, got.Height, got.FPS)
			}
			if !bytes.Equal(got.Config, config) || !got.Ready() {
				t.Error("configuration not kept")
			}
			if c.width == 0 {
				return
			}
			rebuilt, err := configSets(t, c.codec, config).Track(c.codec)
			if err != nil || !bytes.Equal(rebuilt.Config, config) {
				t.Errorf("rebuilt: %x, %v", rebuilt.Config, err)
			}
		})
	}
}

func configSets(t *testing.T, codec Codec, config []byte) ParameterSets {
	t.Helper()
	if codec == H265 {
		c, err := ParseHEVCConfig(config)
		if err != nil {
			t.Fatal(err)
		}
		return ParameterSets{c.VPS, c.SPS, c.PPS}
	}
	c, err := ParseAVCConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return ParameterSets{nil, c.SPS, c.PPS}
}

func TestNewVideoTrackRefuses(t *testing.T) {
	for _, c := range videoCases {
		config := unhex(t, c.config)
		if c.width == 0 {
			continue
		}
		// A record that ends anywhere before its last set is refused, or has lost its optional tail.
		for n := range config {
			track, err := NewVideoTrack(c.codec, config[:n:n])
			if err == nil && track.Width != c.width {
				t.Errorf("%s: %d bytes accepted", c.name, n)
			}
			if err != nil && !errors.Is(err, ErrBadConfig) {
				t.Errorf("%s: %v", c.name, err)
			}
		}
	}
	for name, err := range map[string]error{
		"audio codec": second(NewVideoTrack(AAC, []byte{1})),
		"huge":        second(NewVideoTrack(H264, make([]byte, maxConfig+1))),
		"no SPS":      second(ParameterSets{PPS: [][]byte{{0x68}}}.Track(H264)),
		"no VPS":      second(ParameterSets{SPS: [][]byte{{0x42, 1}}}.Track(H265)),
		"empty SPS":   second(ParseH264SPS(nil)),
		"not an SPS":  second(ParseH265SPS([]byte{0x40, 1, 1})),
	} {
		if !errors.Is(err, ErrBadConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestLengthSizeBecomes4(t *testing.T) {
	for _, c := range []struct {
		codec Codec
		at    int
		from  string
	}{{H264, avcLengthSizeAt, videoCases[0].config}, {H265, hevcLengthSizeAt, videoCases[8].config}} {
		want := unhex(t, c.from)
		config := bytes.Clone(want)
		config[c.at] = config[c.at]&^3 | 1
		before := bytes.Clone(config)
		if n := NALULengthSize(c.codec, config); n != 2 {
			t.Errorf("%v: length size %d", c.codec, n)
		}
		track, err := NewVideoTrack(c.codec, config)
		if err != nil || !bytes.Equal(track.Config, want) || !bytes.Equal(config, before) {
			t.Fatalf("%v: %+v, %v", c.codec, track, err)
		}
	}
	if n := NALULengthSize(H265, nil); n != 4 {
		t.Error(n)
	}
}

var aacCases = []struct {
	name, config   string
	want           AACConfig
	rate, channels int
}{
	{"LC stereo", "1190", AACConfig{ObjectType: 2, SampleRate: 48000, Channels: 2}, 48000, 2},
	{"LC stereo, no SBR said", "119056e500", AACConfig{ObjectType: 2, SampleRate: 48000, Channels: 2}, 48000, 2},
	{"LC mono 8 kHz", "158856e500", AACConfig{ObjectType: 2, SampleRate: 8000, Channels: 1}, 8000, 1},
	{"7.1", "11b856e500", AACConfig{ObjectType: 2, SampleRate: 48000, Channels: 8}, 48000, 8},
	{"escape rate", "1780 0fa0 10", AACConfig{ObjectType: 2, SampleRate: 8000, Channels: 2}, 8000, 2},
	{"hierarchical SBR", "2b11 8800", AACConfig{ObjectType: 2, SampleRate: 24000, Channels: 2, SBR: true, ExtensionRate: 48000}, 48000, 2},
	{"hierarchical SBR and PS", "eb09 8800", AACConfig{ObjectType: 2, SampleRate: 24000, Channels: 1, SBR: true, PS: true, ExtensionRate: 48000}, 48000, 2},
	{"compatible SBR", "1310 56e598", AACConfig{ObjectType: 2, SampleRate: 24000, Channels: 2, SBR: true, ExtensionRate: 48000}, 48000, 2},
	{"compatible SBR and PS", "1308 56e59d4880", AACConfig{ObjectType: 2, SampleRate: 24000, Channels: 1, SBR: true, PS: true, ExtensionRate: 48000}, 48000, 2},
	{"escape object type", "f8e6 40", AACConfig{ObjectType: 39, SampleRate: 48000, Channels: 2}, 48000, 2},
	// front: one single and one pair, no more: three channels.
	{"program config", "1180 04c8 0000 0100 00", AACConfig{ObjectType: 2, SampleRate: 48000, Channels: 3}, 48000, 3},
}

func TestAACConfig(t *testing.T) {
	for _, c := range aacCases {
		t.Run(c.name, func(t *testing.T) {
			config := unhex(t, c.config)
			got, err := ParseAACConfig(config)
			if err != nil || got != c.want {
				t.Fatalf("got %+v, %v", got, err)
			}
			track, err := NewAudioTrack(AAC, config, 1, 1, 0)
			if err != nil || track.SampleRate != c.rate || track.Channels != c.channels || track.SampleBits != 16 {
				t.Errorf("got %+v, %v", track, err)
			}
		})
	}
	for _, bad := range []string{"", "11", "0000", "1690", "1780 0000 10", "f8", "2b"} {
		if _, err := NewAudioTrack(AAC, unhex(t, bad), 0, 0, 0); !errors.Is(err, ErrBadConfig) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestOpusHead(t *testing.T) {
	surround := unhex(t, "4f70757348656164 01 06 3801 80bb0000 0000 01 04 02 00 04 01 02 03 05")
	for _, c := range []struct {
		name     string
		config   []byte
		channels int
	}{
		{"none", nil, 2},
		{"built", BuildOpusHead(1), 1},
		{"surround", surround, 6},
	} {
		track, err := NewAudioTrack(Opus, c.config, 44100, 0, 0)
		if err != nil || track.Channels != c.channels || track.SampleRate != 48000 || !track.Ready() {
			t.Errorf("%s: %+v, %v", c.name, track, err)
		}
	}
	h, err := ParseOpusHead(surround)
	if err != nil || h != (OpusHead{Channels: 6, PreSkip: 312, InputRate: 48000, Mapping: 1}) {
		t.Errorf("%+v, %v", h, err)
	}
	for _, bad := range [][]byte{
		[]byte("OpusHead"), surround[8:], surround[:20],
		slices.Replace(bytes.Clone(surround), 18, 19, 0), slices.Replace(bytes.Clone(surround), 8, 9, 0x10),
	} {
		if _, err := NewAudioTrack(Opus, bad, 0, 0, 0); !errors.Is(err, ErrBadConfig) {
			t.Errorf("%x: %v", bad, err)
		}
	}
}

func TestAudioDefaults(t *testing.T) {
	for _, c := range []struct {
		codec                  Codec
		rate, channels         int
		wantRate, wantChannels int
	}{
		{PCMA, 0, 0, 8000, 1}, {PCMU, 16000, 2, 16000, 2}, {MP3, 0, 0, 44100, 2},
	} {
		track, err := NewAudioTrack(c.codec, nil, c.rate, c.channels, 0)
		if err != nil || track.SampleRate != c.wantRate || track.Channels != c.wantChannels || !track.Ready() {
			t.Errorf("%v: %+v, %v", c.codec, track, err)
		}
	}
	for _, err := range []error{second(NewAudioTrack(H264, nil, 0, 0, 0)), second(NewAudioTrack(AAC, make([]byte, maxConfig+1), 0, 0, 0))} {
		if !errors.Is(err, ErrBadConfig) {
			t.Error(err)
		}
	}
}

func TestMP3Header(t *testing.T) {
	for _, c := range []struct {
		wire           string
		rate, channels int
		ok             bool
	}{
		{"fffb9044", 44100, 2, true},
		{"fffb94c4", 48000, 1, true},
		{"fff38064", 22050, 2, true},
		{"ffe318c4", 8000, 1, true},
		{"fffb", 0, 0, false},
		{"00000000", 0, 0, false},
		{"fffb9c44", 0, 0, false},
		{"ffeb9044", 0, 0, false},
		{"fff99044", 0, 0, false},
	} {
		rate, channels, ok := MP3Header(unhex(t, c.wire))
		if rate != c.rate || channels != c.channels || ok != c.ok {
			t.Errorf("%s: %d, %d, %v", c.wire, rate, channels, ok)
		}
	}
}

func FuzzVideoConfig(f *testing.F) {
	for _, c := range videoCases {
		f.Add(c.codec == H265, unhex(f, c.config))
	}
	f.Fuzz(func(t *testing.T, hevc bool, config []byte) {
		codec := H264
		if hevc {
			codec = H265
		}
		before := bytes.Clone(config)
		track, err := NewVideoTrack(codec, config)
		if err != nil {
			if !errors.Is(err, ErrBadConfig) {
				t.Fatal(err)
			}
			return
		}
		if !bytes.Equal(config, before) {
			t.Fatal("input changed")
		}
		if track.Width < 0 || track.Width > maxPicture || track.Height < 0 || track.Height > 2*maxPicture {
			t.Fatalf("%dx%d", track.Width, track.Height)
		}
		if math.IsNaN(track.FPS) || track.FPS < 0 || track.FPS > 1000 {
			t.Fatal(track.FPS)
		}
		if same := track.WithParameterSets(configSets(t, codec, config)); same != track {
			t.Fatal("its own sets change the track")
		}
	})
}

func FuzzSPS(f *testing.F) {
	for _, c := range videoCases {
		if c.codec == H265 {
			config, _ := ParseHEVCConfig(unhex(f, c.config))
			f.Add(config.SPS[0])
		} else if config, _ := ParseAVCConfig(unhex(f, c.config)); len(config.SPS) > 0 {
			f.Add(config.SPS[0])
		}
	}
	f.Fuzz(func(t *testing.T, nalu []byte) {
		sps, err := ParseH264SPS(nalu)
		if err == nil && (sps.Width <= 0 || sps.Height <= 0) {
			t.Fatal(sps)
		}
		if err == nil {
			if _, err := (ParameterSets{nil, [][]byte{nalu}, [][]byte{{0x68}}}).Track(H264); err != nil {
				t.Fatal(err)
			}
		}
		sps, err = ParseH265SPS(nalu)
		if err == nil && (sps.Width <= 0 || sps.Height <= 0) {
			t.Fatal(sps)
		}
	})
}

func FuzzAudioConfig(f *testing.F) {
	for _, c := range aacCases {
		f.Add(unhex(f, c.config))
	}
	f.Add(BuildOpusHead(2))
	f.Fuzz(func(t *testing.T, config []byte) {
		for _, codec := range []Codec{AAC, Opus} {
			track, err := NewAudioTrack(codec, config, 0, 0, 0)
			if err != nil {
				continue
			}
			if track.SampleRate <= 0 || track.SampleRate >= 1<<24 || track.Channels <= 0 || track.Channels > 255 {
				t.Fatalf("%+v", track)
			}
		}
		MP3Header(config)
	})
}

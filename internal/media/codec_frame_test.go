package media

import "testing"

func TestAudioSamples(t *testing.T) {
	track := func(c Codec, config string, rate, channels int) *Track {
		tr, err := NewAudioTrack(c, []byte(config), rate, channels, 16)
		if err != nil {
			t.Fatal(err)
		}
		return tr
	}
	opus := track(Opus, "", 48000, 2)
	for _, c := range []struct {
		name  string
		track *Track
		data  string
		want  int
	}{
		{"AAC", track(AAC, "\x11\x90", 0, 0), "x", 1024},
		{"AAC of 960", track(AAC, "\x11\x94", 0, 0), "x", 960},
		{"AAC with SBR", track(AAC, "\x2b\x11\x88\x00", 0, 0), "x", 2048},
		{"MP3", track(MP3, "", 44100, 2), "\xff\xfb\x90\x64", 1152},
		{"MP3 of MPEG-2", track(MP3, "", 22050, 2), "\xff\xf3\x80\x64", 576},
		{"no MP3", track(MP3, "", 44100, 2), "abcd", 0},
		{"Opus, CELT 20 ms", opus, "\xfc", 960},
		{"Opus, 2 of SILK 60 ms", opus, "\x19", 5760},
		{"Opus, 3 of hybrid 10 ms", opus, "\x63\x03", 1440},
		{"Opus, too much", opus, "\x1b\x03", 0},
		{"Opus, cut off", opus, "\x03", 0},
		{"Opus, empty", opus, "", 0},
		{"G.711", track(PCMA, "", 8000, 1), "0123456789", 10},
		{"G.711 stereo", track(PCMU, "", 8000, 2), "0123456789", 5},
	} {
		if got := AudioSamples(c.track, []byte(c.data)); got != c.want {
			t.Errorf("%s: %d samples, want %d", c.name, got, c.want)
		}
	}
	// 128 kbit/s at 44,100 Hz: 417 bytes, 418 with padding.
	for wire, want := range map[string]int{"\xff\xfb\x90\x64": 417, "\xff\xfb\x92\x64": 418, "\xff\xfb\x00\x64": 0, "\xff\xfb\xf0\x64": 0} {
		if _, size := MP3Frame([]byte(wire)); size != want {
			t.Errorf("%x: %d bytes, want %d", wire, size, want)
		}
	}
}

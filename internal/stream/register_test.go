package stream

import (
	"testing"

	"github.com/hookline/hookline/internal/media"
)

// TestObserve: a track is new when its frames decode in another way, also where no configuration says so.
func TestObserve(t *testing.T) {
	vp9 := media.Track{Codec: media.VP9, Config: []byte{1}}
	sized, faster, mp3 := vp9, vp9, media.Track{Codec: media.MP3, SampleRate: 44100, Channels: 2}
	sized.Width, sized.Height = 320, 180
	faster.FPS = 60
	mono := mp3
	mono.Channels = 1
	for _, c := range []struct {
		name    string
		from    media.Track
		to      media.Track
		changed bool
	}{
		{"the same again", vp9, vp9, false},
		{"another rate of pictures", vp9, faster, false},
		{"another size", vp9, sized, true},
		{"another codec", vp9, media.Track{Codec: media.VP8, Config: []byte{1}}, true},
		{"fewer channels", mp3, mono, true},
	} {
		p := &publication{opts: Options{MaxTrack: 2}}
		if _, changed := p.observe(&c.from, p.start); !changed {
			t.Fatalf("%s: the first track is not new", c.name)
		}
		track, changed := p.observe(&c.to, p.start)
		if changed != c.changed || changed && track.cur != &c.to {
			t.Errorf("%s: changed %v, to %+v", c.name, changed, track.cur)
		}
	}
}

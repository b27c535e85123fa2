package stream

import (
	"time"

	"github.com/hookline/hookline/internal/media"
)

const (
	// muteRate in Hz and muteStep, the length of one frame of 1,024 samples, are upstream's.
	muteRate = 8000
	muteStep = 1024 * time.Second / muteRate
	// muteGap is the longest gap between two pictures that is filled with silence.
	muteGap = 10 * time.Second
)

// muteConfig is the AudioSpecificConfig (ISO/IEC 14496-3 section 1.6.2.1) of AAC-LC, 8000 Hz, one channel.
func muteConfig() []byte { return []byte{0x15, 0x88} }

// muteFrame is a raw_data_block (ISO/IEC 14496-3 section 4.4.2.1) of silence: one single_channel_element with one scale
// factor band, which has no spectrum (ZERO_HCB), and the end.
func muteFrame() []byte { return []byte{0x00, 0xc8, 0x00, 0x80, 0x23, 0x80} }

// muteAudio adds silence to a stream that has pictures only: players that wait for sound begin at once.
type muteAudio struct {
	track *media.Track
	data  []byte
	begun bool
	next  time.Duration // DTS
}

// addMute adds the silent track, when the options want it and the stream has no sound at its registration.
func (p *publication) addMute() {
	o := &p.opts
	v := p.track(media.Video)
	if !o.AddMuteAudio || !o.EnableAudio || p.maxTracks() < 2 || v == nil || !v.cur.Ready() || p.track(media.Audio) != nil {
		return
	}
	tr, err := media.NewAudioTrack(media.AAC, muteConfig(), muteRate, 1, 16)
	if err != nil {
		return // never: the configuration is ours
	}
	p.mute = &muteAudio{track: tr, data: muteFrame()}
	p.tracks = append(p.tracks, &track{cur: tr, seen: tr})
}

// silence delivers the silence that comes before a picture at dts.
func (p *publication) silence(dts time.Duration, now time.Time, d *deferred) {
	m := p.mute
	if !m.begun {
		return
	}
	if dts-m.next > muteGap {
		m.next = dts - muteStep
	}
	t := p.track(media.Audio)
	for ; m.next < dts; m.next += muteStep {
		f := &media.Frame{Track: m.track, DTS: m.next, PTS: m.next, Skew: p.skew, Data: m.data}
		p.clock.tracks[media.Audio].follow(m.next)
		t.count(f)
		p.hand(f, now, d)
	}
}

// unmute ends the silence: there is sound.
func (p *publication) unmute() { p.mute = nil }

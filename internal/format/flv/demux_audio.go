package flv

import (
	"bytes"
	"fmt"
	"time"

	"github.com/hookline/hookline/internal/media"
)

// Audio takes the body of an audio message with timestamp ts and owns it afterwards; the result is as of Video.
func (d *Demuxer) Audio(ts time.Duration, body []byte) ([]*media.Frame, error) {
	if len(body) == 0 {
		return nil, nil
	}
	data := body[1:]
	switch id := body[0] >> 4; id {
	case soundAAC:
		return d.aac(ts, data)
	case soundALaw:
		return d.sound(ts, media.PCMA, 8000, int(body[0]&1)+1, data)
	case soundMuLaw:
		return d.sound(ts, media.PCMU, 8000, int(body[0]&1)+1, data)
	case soundMP3, soundMP38K:
		return d.mp3(ts, data)
	case soundOpus:
		return d.sound(ts, media.Opus, media.OpusRate, 2, data)
	case soundEnhanced:
		return d.audioEnhanced(ts, body)
	default:
		return nil, &UnsupportedError{media.Audio, soundName(id)}
	}
}

func (d *Demuxer) aac(ts time.Duration, data []byte) ([]*media.Frame, error) {
	if len(data) == 0 {
		return nil, fmt.Errorf("AAC body: %w", ErrTruncated)
	}
	switch data[0] {
	case packetConfig:
		return d.audioSequence(ts, media.AAC, data[1:])
	case packetData:
		return d.configured(ts, media.AAC, data[1:])
	}
	return nil, fmt.Errorf("AAC packet type %d: %w", data[0], ErrMalformed)
}

func (d *Demuxer) mp3(ts time.Duration, data []byte) ([]*media.Frame, error) {
	rate, channels, ok := media.MP3Header(data)
	if !ok && (d.audio == nil || d.audio.Codec != media.MP3) {
		d.dropped++
		return nil, nil
	}
	if !ok { // a frame that continues: what is known stays
		rate, channels = d.audio.SampleRate, d.audio.Channels
	}
	return d.sound(ts, media.MP3, rate, channels, data)
}

func (d *Demuxer) audioEnhanced(ts time.Duration, body []byte) ([]*media.Frame, error) {
	p, ok, err := parseEnhanced(body, media.Audio)
	if err != nil || !ok {
		d.ignore(media.Audio, p, err)
		return nil, err
	}
	if p.typ == exSequenceEnd || p.typ == exAudioChannels {
		return nil, nil
	}
	codec, err := p.codec.codec(media.Audio)
	if err != nil {
		return nil, err
	}
	switch p.typ {
	case exSequenceStart:
		if codec == media.MP3 || codec == media.AC3 || codec == media.EAC3 { // their frames say it all
			return nil, nil
		}
		return d.audioSequence(ts, codec, p.data)
	case exCodedFrames:
		return delayed(p.nano)(d.soundFrame(ts, codec, p.data))
	}
	return nil, fmt.Errorf("enhanced audio packet type %d: %w", p.typ, ErrMalformed)
}

// delayed adds nano to the presentation time of the frames that carry something.
func delayed(nano time.Duration) func([]*media.Frame, error) ([]*media.Frame, error) {
	return func(frames []*media.Frame, err error) ([]*media.Frame, error) {
		for _, f := range frames {
			if !f.Config {
				f.PTS += nano
			}
		}
		return frames, err
	}
}

// soundFrame takes the coded frames of an enhanced body.
func (d *Demuxer) soundFrame(ts time.Duration, codec media.Codec, data []byte) ([]*media.Frame, error) {
	switch codec {
	case media.MP3:
		return d.mp3(ts, data)
	case media.Opus:
		if d.audio == nil || d.audio.Codec != media.Opus {
			return d.sound(ts, codec, media.OpusRate, 2, data)
		}
	case media.AC3, media.EAC3:
		return d.synced(ts, codec, data)
	default:
	}
	return d.configured(ts, codec, data)
}

// synced takes sync frames that describe themselves.
func (d *Demuxer) synced(ts time.Duration, codec media.Codec, data []byte) ([]*media.Frame, error) {
	out := d.out[:0]
	if t := media.FrameTrack(d.audio, codec, data); t != nil && t != d.audio {
		d.audio = t
		out = append(out, configFrame(ts, t))
	}
	if len(data) == 0 {
		return out, nil
	}
	if d.audio == nil || d.audio.Codec != codec {
		d.dropped++
		return out, nil
	}
	return append(out, &media.Frame{Track: d.audio, DTS: ts, PTS: ts, Data: data}), nil
}

// audioSequence takes a codec configuration.
func (d *Demuxer) audioSequence(ts time.Duration, codec media.Codec, config []byte) ([]*media.Frame, error) {
	t, err := media.NewAudioTrack(codec, config, 0, 0, 0)
	if err != nil {
		return nil, fmt.Errorf("flv: %w", err)
	}
	if d.audio != nil && d.audio.Codec == codec && bytes.Equal(d.audio.Config, t.Config) {
		return nil, nil
	}
	d.audio = t
	return append(d.out[:0], configFrame(ts, t)), nil
}

// configured takes an access unit of a codec that has a configuration.
func (d *Demuxer) configured(ts time.Duration, codec media.Codec, data []byte) ([]*media.Frame, error) {
	if len(data) == 0 {
		return nil, nil
	}
	if d.audio == nil || d.audio.Codec != codec {
		d.dropped++
		return nil, nil
	}
	return append(d.out[:0], &media.Frame{Track: d.audio, DTS: ts, PTS: ts, Data: data}), nil
}

// sound takes an access unit of a codec whose every body says what it is; the track changes when that changes.
func (d *Demuxer) sound(ts time.Duration, codec media.Codec, rate, channels int, data []byte) ([]*media.Frame, error) {
	if len(data) == 0 {
		return nil, nil
	}
	out := d.out[:0]
	t := d.audio
	same := t != nil && t.Codec == codec && (codec == media.Opus || t.SampleRate == rate && t.Channels == channels)
	if !same {
		t, err := media.NewAudioTrack(codec, nil, rate, channels, 0)
		if err != nil {
			return nil, fmt.Errorf("flv: %w", err)
		}
		d.audio = t
		out = append(out, configFrame(ts, t))
	}
	return append(out, &media.Frame{Track: d.audio, DTS: ts, PTS: ts, Data: data}), nil
}

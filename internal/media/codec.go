package media

import (
	"bytes"
	"errors"
	"fmt"
)

// Errors of codec configurations; they come wrapped with the place.
var (
	// ErrBadConfig: a codec configuration that its specification does not allow, or that ends too early.
	ErrBadConfig = errors.New("bad codec configuration")
	// ErrBadNALUnits: access unit data whose NAL unit lengths do not add up.
	ErrBadNALUnits = errors.New("bad NAL unit lengths")
)

// maxConfig is the largest codec configuration in bytes. Real ones have less than 300.
const maxConfig = 64 << 10

// NewVideoTrack makes a track of the configuration that Track.Config describes; it may be empty for VP8, VP9 and JPEG.
// The Config of H.264 and H.265 says NAL unit length size 4 whatever config says, because frames carry 4-byte lengths; config is
// copied only when that changes it, else it is kept and must not be modified. Errors wrap ErrBadConfig.
//
// A record without parameter sets is good: the encoder sends them in band, and width, height and rate are 0.
func NewVideoTrack(codec Codec, config []byte) (*Track, error) {
	if len(config) > maxConfig {
		return nil, fmt.Errorf("%v: %d bytes: %w", codec, len(config), ErrBadConfig)
	}
	t := &Track{Codec: codec}
	var err error
	switch codec {
	case H264:
		t.Config, err = t.fromAVC(config)
	case H265:
		t.Config, err = t.fromHEVC(config)
	case AV1:
		t.Config, err = t.fromAV1(config)
	case VP8, VP9:
		t.Config, err = t.fromVP(config)
	case JPEG:
	default:
		err = fmt.Errorf("not a video codec: %w", ErrBadConfig)
	}
	if err != nil {
		return nil, fmt.Errorf("%v: %w", codec, err)
	}
	return t, nil
}

func (t *Track) fromAVC(config []byte) ([]byte, error) {
	c, err := ParseAVCConfig(config)
	if err != nil {
		return nil, err
	}
	if len(c.SPS) > 0 {
		sps, err := ParseH264SPS(c.SPS[0])
		if err != nil {
			return nil, err
		}
		t.Width, t.Height, t.FPS = sps.Width, sps.Height, sps.FPS
	}
	return withLengthSize4(config, avcLengthSizeAt), nil
}

func (t *Track) fromHEVC(config []byte) ([]byte, error) {
	c, err := ParseHEVCConfig(config)
	if err != nil {
		return nil, err
	}
	t.FPS = c.FPS
	if len(c.SPS) > 0 {
		sps, err := ParseH265SPS(c.SPS[0])
		if err != nil {
			return nil, err
		}
		t.Width, t.Height = sps.Width, sps.Height
		if sps.FPS > 0 {
			t.FPS = sps.FPS
		}
	}
	return withLengthSize4(config, hevcLengthSizeAt), nil
}

// NALULengthSize returns the size in bytes of the NAL unit lengths that config, as the publisher sent it, announces:
// 1, 2, 3 or 4; 4 when config is too short to tell.
func NALULengthSize(codec Codec, config []byte) int {
	at := avcLengthSizeAt
	if codec == H265 {
		at = hevcLengthSizeAt
	}
	if len(config) <= at {
		return 4
	}
	return int(config[at]&3) + 1
}

func withLengthSize4(config []byte, at int) []byte {
	if config[at]&3 == 3 {
		return config
	}
	config = bytes.Clone(config)
	config[at] |= 3
	return config
}

// NewAudioTrack makes an audio track. config is what Track.Config describes: needed for AAC and FLAC, it may be empty for
// Opus, AC-3 and E-AC-3, and is ignored for the others. rate in Hz, channels and bits per sample are what the container
// says; a configuration that says otherwise wins, and 0 takes the codec's default. Errors wrap ErrBadConfig.
//
// The rate of AAC is that of the decoded sound: with explicitly signalled SBR twice the core rate.
func NewAudioTrack(codec Codec, config []byte, rate, channels, bits int) (*Track, error) {
	if len(config) > maxConfig {
		return nil, fmt.Errorf("%v: %d bytes: %w", codec, len(config), ErrBadConfig)
	}
	t := &Track{Codec: codec, SampleRate: rate, Channels: channels, SampleBits: bits}
	if t.SampleBits <= 0 {
		t.SampleBits = 16
	}
	var err error
	switch codec {
	case AAC:
		err = t.fromAAC(config)
	case Opus:
		err = t.fromOpus(config)
	case PCMA, PCMU:
		t.defaults(8000, 1)
	case MP3, L16:
		t.defaults(44100, 2)
	case FLAC:
		err = t.fromFLAC(config)
	case AC3, EAC3:
		err = t.fromAC3(config)
	default:
		err = fmt.Errorf("not an audio codec: %w", ErrBadConfig)
	}
	if err != nil {
		return nil, fmt.Errorf("%v: %w", codec, err)
	}
	return t, nil
}

func (t *Track) fromAAC(config []byte) error {
	c, err := ParseAACConfig(config)
	if err != nil {
		return err
	}
	t.Config = config
	t.SampleRate = c.OutputRate()
	if n := c.OutputChannels(); n > 0 {
		t.Channels = n
	}
	t.defaults(0, 2)
	return nil
}

func (t *Track) fromOpus(config []byte) error {
	t.SampleRate = OpusRate
	if len(config) > 0 {
		h, err := ParseOpusHead(config)
		if err != nil {
			return err
		}
		t.Config, t.Channels = config, h.Channels
	}
	t.defaults(OpusRate, 2)
	return nil
}

func (t *Track) defaults(rate, channels int) {
	if t.SampleRate <= 0 {
		t.SampleRate = rate
	}
	if t.Channels <= 0 {
		t.Channels = channels
	}
}

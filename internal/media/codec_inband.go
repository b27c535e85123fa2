package media

import "bytes"

// FrameTrack returns the track that a frame of a codec other than H.264 and H.265 makes of t, which is nil before the
// first: the same when the frame changes nothing, nil when nothing is known. Pictures of VP8, VP9 and JPEG carry their
// size, AV1 its sequence header, AC-3 and E-AC-3 everything.
func FrameTrack(t *Track, codec Codec, data []byte) *Track {
	if t != nil && t.Codec != codec {
		t = nil
	}
	switch codec {
	case AV1:
		return av1Track(t, data)
	case VP8, VP9:
		return vpTrack(t, codec, data)
	case JPEG:
		w, h, ok := JPEGSize(data)
		if !ok || t != nil && t.Width == w && t.Height == h {
			return t
		}
		next := Track{Codec: JPEG, Width: w, Height: h}
		if t != nil {
			next.FPS = t.FPS
		}
		return &next
	case AC3, EAC3:
		return ac3Track(t, codec, data)
	default:
		return t
	}
}

func av1Track(t *Track, data []byte) *Track {
	sequence := FindAV1Sequence(data)
	if sequence == nil {
		return t
	}
	if t != nil {
		if c, err := ParseAV1Config(t.Config); err == nil && bytes.Equal(FindAV1Sequence(c.OBUs), sequence) {
			return t
		}
	}
	config, err := BuildAV1Config(bytes.Clone(sequence))
	if err != nil {
		return t
	}
	next, err := NewVideoTrack(AV1, config)
	if err != nil {
		return t
	}
	if next.FPS == 0 && t != nil {
		next.FPS = t.FPS
	}
	return next
}

func vpTrack(t *Track, codec Codec, data []byte) *Track {
	h, ok := vpHeader(codec, data)
	if !ok || !h.Key || t != nil && t.Width == h.Width && t.Height == h.Height && len(t.Config) > 0 {
		return t
	}
	next := Track{Codec: codec, Width: h.Width, Height: h.Height}
	if t != nil {
		next.Config, next.FPS = t.Config, t.FPS
	}
	if len(next.Config) == 0 || t.Width > 0 { // what the publisher said of another size is not true any more
		next.Config = BuildVPConfig(h.Config)
	}
	return &next
}

func ac3Track(t *Track, codec Codec, data []byte) *Track {
	h, ok := ParseAC3Header(data)
	if !ok || h.Enhanced != (codec == EAC3) {
		return t
	}
	if t != nil && t.SampleRate == h.SampleRate && t.Channels == h.Channels && len(t.Config) > 0 {
		return t
	}
	next, err := NewAudioTrack(codec, h.Config(), 0, 0, 0)
	if err != nil {
		return t
	}
	return next
}

// JPEGSize returns the size of a JPEG picture in pixels (ITU-T T.81, section B.2.2).
func JPEGSize(b []byte) (width, height int, ok bool) {
	const soi, sof0, sof15, dht, jpg, dac, sos = 0xd8, 0xc0, 0xcf, 0xc4, 0xc8, 0xcc, 0xda
	if len(b) < 4 || b[0] != 0xff || b[1] != soi {
		return 0, 0, false
	}
	for b = b[2:]; len(b) >= 4 && b[0] == 0xff; {
		marker, size := b[1], int(b[2])<<8|int(b[3])
		if marker == 0xff { // fill
			b = b[1:]
			continue
		}
		if marker == sos || size < 2 || len(b) < 2+size {
			return 0, 0, false
		}
		if marker >= sof0 && marker <= sof15 && marker != dht && marker != jpg && marker != dac {
			if size < 8 {
				return 0, 0, false
			}
			height, width = int(b[5])<<8|int(b[6]), int(b[7])<<8|int(b[8])
			return width, height, width > 0 && height > 0
		}
		b = b[2+size:]
	}
	return 0, 0, false
}

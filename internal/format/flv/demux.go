package flv

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/hookline/hookline/internal/media"
)

// Demuxer makes frames of the bodies of one publication. The zero value is ready. It is used by one goroutine.
type Demuxer struct {
	video, audio *media.Track
	lengthSize   int    // of the NAL unit lengths that the publisher sends
	videoConfig  []byte // the last configuration as the publisher sent it
	fps          float64
	dropped      uint64
	ignored      uint64
	refused      string
	out          [2]*media.Frame // backs the results
}

// Dropped counts the bodies that gave no frame because their codec's configuration had not come yet.
func (d *Demuxer) Dropped() uint64 { return d.dropped }

// Ignored counts the bodies of additional tracks, which are left out: of a multitrack publisher only track 0 is carried.
// what names the kind, the codec and the number of the first one, as far as it is known.
func (d *Demuxer) Ignored() (n uint64, what string) { return d.ignored, d.refused }

// Tracks returns the current tracks, video first.
func (d *Demuxer) Tracks() []*media.Track {
	var ts []*media.Track
	for _, t := range []*media.Track{d.video, d.audio} {
		if t != nil {
			ts = append(ts, t)
		}
	}
	return ts
}

// Data takes the body of a data message or script tag and owns it afterwards. ok says that it was onMetaData; other
// data messages are no error. A frame rate in it is given to video tracks whose parameter sets have none, if it comes
// before them.
func (d *Demuxer) Data(body []byte) (m Metadata, ok bool, err error) {
	m, err = ParseMetadata(body)
	if errors.Is(err, ErrNotMetadata) {
		return Metadata{}, false, nil
	}
	if err != nil {
		return Metadata{}, false, err
	}
	d.fps = m.FrameRate
	return m, true, nil
}

// Video takes the body of a video message with timestamp ts and owns it afterwards. It returns the frames that it made,
// in a slice that is valid until the next call: none, one, or a Config frame and one more. A Config frame announces a
// track that appeared or changed.
func (d *Demuxer) Video(ts time.Duration, body []byte) ([]*media.Frame, error) {
	if len(body) == 0 {
		return nil, nil
	}
	if body[0]&exHeader != 0 {
		return d.videoEnhanced(ts, body)
	}
	frameType, id := body[0]>>4, body[0]&0x0f
	if frameType == frameCommand {
		return nil, nil
	}
	var codec media.Codec
	switch id {
	case videoAVC:
		codec = media.H264
	case videoHEVC:
		codec = media.H265
	case videoAV1:
		codec = media.AV1
	case videoVP8:
		codec = media.VP8
	case videoVP9:
		codec = media.VP9
	default:
		return nil, &UnsupportedError{media.Video, videoName(id)}
	}
	if len(body) < 5 {
		if len(body) > 1 && body[1] == packetEnd { // some encoders leave the composition time out here
			return nil, nil
		}
		return nil, fmt.Errorf("video body of %d bytes: %w", len(body), ErrTruncated)
	}
	switch body[1] {
	case packetConfig:
		return d.videoSequence(ts, codec, body[5:])
	case packetData:
		return d.picture(ts, codec, frameType == frameKey, ts+signed24(body[2:]), body[5:])
	case packetEnd:
		return nil, nil
	}
	return nil, fmt.Errorf("AVC packet type %d: %w", body[1], ErrMalformed)
}

func (d *Demuxer) videoEnhanced(ts time.Duration, body []byte) ([]*media.Frame, error) {
	frameType := body[0] >> 4 & 7
	p, ok, err := parseEnhanced(body, media.Video)
	if err != nil || !ok {
		d.ignore(media.Video, p, err)
		return nil, err
	}
	if p.typ == exVideoMetadata || frameType == frameCommand || p.typ == exSequenceEnd || p.typ == exVideoTSStart {
		return nil, nil
	}
	codec, err := p.codec.codec(media.Video)
	if err != nil {
		return nil, err
	}
	pts := ts + p.nano
	switch p.typ {
	case exSequenceStart:
		return d.videoSequence(ts, codec, p.data)
	case exCodedFrames:
		if codec == media.H264 || codec == media.H265 { // the others are never reordered
			if len(p.data) < 3 {
				return nil, fmt.Errorf("enhanced video body: %w", ErrTruncated)
			}
			pts += signed24(p.data)
			p.data = p.data[3:]
		}
		return d.picture(ts, codec, frameType == frameKey, pts, p.data)
	case exVideoFramesX:
		return d.picture(ts, codec, frameType == frameKey, pts, p.data)
	}
	return nil, fmt.Errorf("enhanced video packet type %d: %w", p.typ, ErrMalformed)
}

// videoSequence takes a codec configuration.
func (d *Demuxer) videoSequence(ts time.Duration, codec media.Codec, config []byte) ([]*media.Frame, error) {
	if d.video != nil && d.video.Codec == codec && bytes.Equal(d.videoConfig, config) {
		return nil, nil
	}
	if len(config) == 0 { // some encoders open with an empty one and send the sets in band
		return nil, nil
	}
	t, err := media.NewVideoTrack(codec, config)
	if err != nil {
		return nil, fmt.Errorf("flv: %w", err)
	}
	d.videoConfig = config
	d.lengthSize = media.NALULengthSize(codec, config)
	return d.announce(ts, d.setVideo(t)), nil
}

func (d *Demuxer) setVideo(t *media.Track) *media.Track {
	if t.FPS == 0 {
		t.FPS = d.fps
	}
	d.video = t
	return t
}

// picture takes one access unit.
func (d *Demuxer) picture(ts time.Duration, codec media.Codec, flagged bool, pts time.Duration, data []byte) ([]*media.Frame, error) {
	data, err := d.accessUnit(codec, data)
	if err != nil {
		return nil, fmt.Errorf("flv: %w", err)
	}
	if len(data) == 0 { // an empty body, or Annex B of nothing but start codes
		return nil, nil
	}
	pictures, key := media.Picture(codec, data)
	out := d.out[:0]
	if d.video == nil || d.video.Codec != codec || flagged || key {
		if t := d.inBand(codec, data); t != d.video {
			d.videoConfig = nil // a sequence header counts again, also the same as before
			out = append(out, configFrame(ts, d.setVideo(t)))
		}
	}
	if d.video == nil || d.video.Codec != codec {
		d.dropped++
		return out, nil
	}
	f := &media.Frame{
		Track: d.video, DTS: ts, PTS: pts, Data: data,
		// The publisher's word counts beside the NAL units: an open GOP without IDR starts at a recovery point.
		Key: key || flagged && pictures,
	}
	return append(out, f), nil
}

// inBand returns the track that data's own parameter sets make of the current one: the same when they change nothing.
func (d *Demuxer) inBand(codec media.Codec, data []byte) *media.Track {
	if codec != media.H264 && codec != media.H265 {
		if t := media.FrameTrack(d.video, codec, data); t != nil {
			return t
		}
		return d.video
	}
	sets := media.FindParameterSets(codec, data)
	if d.video != nil && d.video.Codec == codec {
		return d.video.WithParameterSets(sets)
	}
	if t, err := sets.Track(codec); err == nil {
		return t
	}
	return d.video
}

// accessUnit returns data in the form of a Frame.
func (d *Demuxer) accessUnit(codec media.Codec, data []byte) ([]byte, error) {
	switch codec {
	case media.H264, media.H265:
		return d.lengthPrefixed(data)
	case media.AV1:
		return media.TrimAV1(data), nil
	default:
		return data, nil
	}
}

// lengthPrefixed returns data with 4-byte NAL unit lengths. Some encoders send Annex B against the rules.
func (d *Demuxer) lengthPrefixed(data []byte) ([]byte, error) {
	size := d.lengthSize
	if size == 0 {
		size = 4
	}
	converted, err := media.WidenNALULengths(data, size)
	if err != nil && media.IsAnnexB(data) {
		return media.AppendFromAnnexB(make([]byte, 0, len(data)+16), data), nil
	}
	return converted, err
}

// announce returns a Config frame for t.
func (d *Demuxer) announce(ts time.Duration, t *media.Track) []*media.Frame {
	return append(d.out[:0], configFrame(ts, t))
}

func configFrame(ts time.Duration, t *media.Track) *media.Frame {
	return &media.Frame{Track: t, DTS: ts, PTS: ts, Config: true}
}

// ignore counts a body that was left out without an error.
func (d *Demuxer) ignore(k media.Kind, p enhanced, err error) {
	if err != nil {
		return
	}
	if d.ignored++; d.ignored == 1 {
		name := "audio"
		if k == media.Video {
			name = "video"
		}
		d.refused = fmt.Sprintf("%s track %d, %s", name, p.track, p.codec)
	}
}

// signed24 reads a composition time in milliseconds.
func signed24(b []byte) time.Duration {
	n := int32(b[0])<<24 | int32(b[1])<<16 | int32(b[2])<<8
	return time.Duration(n>>8) * time.Millisecond
}

// enhanced is a body of Enhanced RTMP without its headers.
type enhanced struct {
	typ   byte
	codec fourCC
	track byte
	nano  time.Duration // added to the presentation time
	data  []byte
}

// parseEnhanced reads ExVideoTagHeader or ExAudioTagHeader. ok is false when the body is about additional tracks only.
func parseEnhanced(body []byte, kind media.Kind) (p enhanced, ok bool, err error) {
	frameType := body[0] >> 4 & 7
	p.typ, body = body[0]&0x0f, body[1:]
	for p.typ == exModEx {
		var nano time.Duration
		if p.typ, nano, body, err = takeModEx(body); err != nil {
			return p, false, err
		}
		p.nano += nano
	}
	multi := p.typ == exVideoMulti
	if kind == media.Audio {
		multi = p.typ == exAudioMulti
	} else if frameType == frameCommand && p.typ != exVideoMetadata {
		return p, true, nil // a seek command, without FourCC
	}
	if multi {
		return p.multitrack(body)
	}
	if p.codec, body, err = takeFourCC(body); err != nil {
		return p, false, err
	}
	p.data = body
	return p, true, nil
}

// takeModEx takes one packet modifier and returns the packet type behind it. The only one that is defined,
// TimestampOffsetNano, is a number of nanoseconds below a millisecond; others are skipped, as they must be.
func takeModEx(b []byte) (typ byte, nano time.Duration, rest []byte, err error) {
	const timestampOffsetNano = 0
	if len(b) < 1 {
		return 0, 0, nil, fmt.Errorf("ModEx: %w", ErrTruncated)
	}
	size, b := int(b[0])+1, b[1:]
	if size == 256 {
		if len(b) < 2 {
			return 0, 0, nil, fmt.Errorf("ModEx: %w", ErrTruncated)
		}
		size, b = int(binary.BigEndian.Uint16(b))+1, b[2:]
	}
	if len(b) < size+1 {
		return 0, 0, nil, fmt.Errorf("ModEx: %w", ErrTruncated)
	}
	if b[size]>>4 == timestampOffsetNano && size >= 3 {
		nano = time.Duration(uint32(b[0])<<16 | uint32(b[1])<<8 | uint32(b[2]))
		if nano >= time.Millisecond {
			nano = 0
		}
	}
	return b[size] & 0x0f, nano, b[size+1:], nil
}

func takeFourCC(b []byte) (fourCC, []byte, error) {
	if len(b) < 4 {
		return 0, nil, fmt.Errorf("FourCC: %w", ErrTruncated)
	}
	return fourCC(binary.BigEndian.Uint32(b)), b[4:], nil
}

// multitrack finds track 0. Publishers that send several tracks give it the number 0, or no number at all; the others
// are renditions of the same thing.
func (p enhanced) multitrack(b []byte) (_ enhanced, ok bool, err error) {
	if len(b) < 1 {
		return p, false, fmt.Errorf("multitrack: %w", ErrTruncated)
	}
	kind := b[0] >> 4
	p.typ, b = b[0]&0x0f, b[1:]
	if kind > multiManyCodecs {
		return p, false, fmt.Errorf("multitrack type %d: %w", kind, ErrMalformed)
	}
	if kind != multiManyCodecs {
		if p.codec, b, err = takeFourCC(b); err != nil {
			return p, false, err
		}
	}
	for len(b) > 0 {
		if kind == multiManyCodecs {
			if p.codec, b, err = takeFourCC(b); err != nil {
				return p, false, err
			}
		}
		if p.track, p.data, b, err = takeTrack(b, kind != multiOne); err != nil {
			return p, false, err
		}
		if p.track == 0 {
			return p, true, nil
		}
	}
	return p, false, nil
}

func takeTrack(b []byte, sized bool) (id byte, data, rest []byte, err error) {
	if len(b) < 1 {
		return 0, nil, nil, fmt.Errorf("multitrack: %w", ErrTruncated)
	}
	id, b = b[0], b[1:]
	if !sized {
		return id, b, nil, nil
	}
	if len(b) < 3 {
		return 0, nil, nil, fmt.Errorf("multitrack: %w", ErrTruncated)
	}
	size := int(b[0])<<16 | int(b[1])<<8 | int(b[2])
	if b = b[3:]; len(b) < size {
		return 0, nil, nil, fmt.Errorf("multitrack: %w", ErrTruncated)
	}
	return id, b[:size:size], b[size:], nil
}

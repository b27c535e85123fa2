package pubtool

import (
	"bytes"
	_ "embed" // the sample
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/hookline/hookline/internal/format/flv"
	"github.com/hookline/hookline/internal/media"
	"github.com/hookline/hookline/internal/rtmp"
)

// sampleFile holds 4 s of a test picture, H.264 Constrained Baseline 64x48 at 25 fps with a key frame each second, and of
// silence, AAC-LC mono of 32 kHz. It was encoded from FFmpeg's own test sources:
//
//	ffmpeg -f lavfi -i testsrc=size=64x48:rate=25 -f lavfi -i anullsrc=r=32000:cl=mono -t 4 \
//	  -c:v libx264 -profile:v baseline -pix_fmt yuv420p -preset veryslow -crf 30 -g 25 -keyint_min 25 -sc_threshold 0 \
//	  -bf 0 -refs 1 -bsf:v filter_units=remove_types=6 -c:a aac -b:a 16k -frames:a 125 -map_metadata -1 \
//	  -fflags +bitexact -flags:v +bitexact -flags:a +bitexact -flvflags no_duration_filesize sample.flv
//
//go:embed sample.flv
var sampleFile []byte

// The times of the sample. 4 s are a whole number of both, so that it can be repeated without a seam.
const (
	sampleLength = 4 * time.Second
	videoStep    = 40 * time.Millisecond // 25 fps
	audioStep    = 32 * time.Millisecond // 1024 samples at 32 kHz
)

// generated is the material of generated streams; all streams of a run share it.
type generated struct {
	start []message // metadata and sequence headers
	turn  []message // 4 s of media, in the order of their times
}

// generate makes streams of bitrate bit/s.
func generate(bitrate int) (*generated, error) {
	video, audio, tracks, err := demuxSample()
	if err != nil {
		return nil, fmt.Errorf("sample: %w", err)
	}
	g := &generated{start: []message{
		{typ: rtmp.TypeDataAMF0, body: setDataFrame(flv.AppendMetadataBody(nil, nil, tracks, true))},
	}}
	for _, t := range tracks {
		body := flv.AppendSequenceHeader(nil, t, true)
		g.start = append(g.start, message{typ: rtmp.MessageType(flv.TypeOf(t)), body: body})
	}
	pad(video, audio, bitrate)
	g.turn = append(timed(rtmp.TypeVideo, video, videoStep), timed(rtmp.TypeAudio, audio, audioStep)...)
	slices.SortStableFunc(g.turn, func(a, b message) int { return int(a.at - b.at) })
	return g, nil
}

// demuxSample returns the bodies of the sample.
func demuxSample() (video, audio [][]byte, tracks []*media.Track, err error) {
	var d flv.Demuxer
	for r := flv.NewReader(bytes.NewReader(sampleFile)); ; {
		tag, err := r.Next()
		if errors.Is(err, io.EOF) {
			return video, audio, d.Tracks(), nil
		}
		if err != nil {
			return nil, nil, nil, err
		}
		frames, err := demux(&d, tag)
		if err != nil {
			return nil, nil, nil, err
		}
		for _, f := range frames {
			switch {
			case f.Config:
			case f.Track.Codec.Kind() == media.Video:
				video = append(video, flv.AppendBody(nil, f, true))
			default:
				audio = append(audio, flv.AppendBody(nil, f, true))
			}
		}
	}
}

func demux(d *flv.Demuxer, tag flv.Tag) ([]*media.Frame, error) {
	switch tag.Type {
	case flv.TagVideo:
		return d.Video(tag.Timestamp, tag.Body)
	case flv.TagAudio:
		return d.Audio(tag.Timestamp, tag.Body)
	case flv.TagData:
	}
	return nil, nil
}

// timed gives times to bodies that follow each other at a fixed step.
func timed(typ rtmp.MessageType, bodies [][]byte, step time.Duration) []message {
	ms := make([]message, len(bodies))
	for i, b := range bodies {
		ms[i] = message{typ: typ, at: time.Duration(i) * step, body: b}
	}
	return ms
}

// minFiller is the smallest filler NAL unit with its length: a header and the trailing bits.
const minFiller = 4 + 2

// pad appends filler NAL units (ITU-T H.264, 7.3.2.7) to the pictures, so that video and audio together have bitrate
// bit/s at any time as far as they have not more anyway.
func pad(video, audio [][]byte, bitrate int) {
	sound := 0
	for _, b := range audio {
		sound += len(b)
	}
	sent := 0
	for i := range video {
		part := time.Duration(i+1) * videoStep
		want := int(int64(bitrate)/8*part.Milliseconds()/1000) - int(int64(sound)*int64(part)/int64(sampleLength))
		sent += len(video[i])
		if missing := want - sent; missing >= minFiller {
			video[i] = appendFiller(video[i], missing)
			sent += missing
		}
	}
}

// appendFiller appends a filler NAL unit of n bytes with its length.
func appendFiller(body []byte, n int) []byte {
	const filler, ff, trailing = 12, 0xff, 0x80
	size := n - 4
	body = append(body, byte(size>>24), byte(size>>16), byte(size>>8), byte(size), filler)
	body = append(body, bytes.Repeat([]byte{ff}, size-2)...)
	return append(body, trailing)
}

// generatedSource repeats the sample for ever.
type generatedSource struct {
	g      *generated
	at     int // in start, then in turn
	opened bool
	offset time.Duration
}

func (s *generatedSource) next() (message, error) {
	if !s.opened {
		if s.at < len(s.g.start) {
			s.at++
			return s.g.start[s.at-1], nil
		}
		s.opened, s.at = true, 0
	}
	if s.at == len(s.g.turn) {
		s.at = 0
		s.offset += sampleLength
	}
	m := s.g.turn[s.at]
	s.at++
	m.at += s.offset
	return m, nil
}

func (s *generatedSource) close() {}

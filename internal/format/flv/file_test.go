package flv

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hookline/hookline/internal/media"
)

// The files of testdata were written by FFmpeg 5.1 (testsrc, sine); NAME.packets is what its ffprobe lists of them:
//
//	ffprobe -show_entries packet=codec_type,stream_index,pts,dts,size,flags -of compact=p=0 NAME.flv
var files = []string{"h264_aac_bframes", "h264_alaw", "aac_only", "mulaw", "mp3"}

// packet is one frame as ffprobe sees it.
type packet struct {
	kind     string
	pts, dts int64 // ms
	size     int
	key      bool
}

func parsePackets(t testing.TB, list string) []packet {
	t.Helper()
	var ps []packet
	for line := range strings.Lines(list) {
		var p packet
		for field := range strings.SplitSeq(strings.TrimSpace(line), "|") {
			name, value, _ := strings.Cut(field, "=")
			var err error
			switch name {
			case "codec_type":
				p.kind = value
			case "pts":
				_, err = fmt.Sscan(value, &p.pts)
			case "dts":
				_, err = fmt.Sscan(value, &p.dts)
			case "size":
				_, err = fmt.Sscan(value, &p.size)
			case "flags":
				p.key = strings.HasPrefix(value, "K")
			}
			if err != nil {
				t.Fatal(line, err)
			}
		}
		ps = append(ps, p)
	}
	return ps
}

func packetOf(f *media.Frame) packet {
	p := packet{"audio", f.PTS.Milliseconds(), f.DTS.Milliseconds(), len(f.Data), true}
	if f.Track.Codec.Kind() == media.Video {
		p.kind, p.key = "video", f.Key
	}
	return p
}

// readFile returns the frames of an FLV file, without Config frames, and what the publisher announced.
func readFile(t testing.TB, file []byte) (frames []*media.Frame, tracks []*media.Track, m Metadata) {
	t.Helper()
	var d Demuxer
	r := NewReader(bytes.NewReader(file))
	for {
		tag, err := r.Next()
		if errors.Is(err, io.EOF) {
			return frames, d.Tracks(), m
		}
		if err != nil {
			t.Fatal(err)
		}
		if tag.Type == TagData {
			if m, _, err = d.Data(tag.Body); err != nil {
				t.Fatal(err)
			}
			continue
		}
		fs, err := d.feed(tag)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range fs {
			if !f.Config {
				frames = append(frames, f)
			}
		}
	}
}

func remux(frames []*media.Frame, p Program) []byte {
	k := NewPackager(p)
	out := k.Start()
	for _, f := range frames {
		out = k.Append(out, f)
	}
	return out
}

func load(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestFiles(t *testing.T) {
	for _, name := range files {
		t.Run(name, func(t *testing.T) {
			frames, tracks, m := readFile(t, load(t, name+".flv"))
			want := parsePackets(t, string(load(t, name+".packets")))
			compare(t, frames, want)
			var video, audio bool
			for _, track := range tracks {
				video = video || track.Codec == media.H264 && track.Width == 160 && track.Height == 120 && track.FPS == 25
				audio = audio || track.Codec.Kind() == media.Audio && track.SampleRate >= 8000 && track.Channels == 1
			}
			if video != m.HasVideo || audio != m.HasAudio || video && (m.Width != 160 || m.Height != 120 || m.FrameRate != 25) {
				t.Errorf("video %v, audio %v, announced %+v", video, audio, m)
			}
			for _, metadata := range [][]byte{m.Raw, nil} {
				again, _, m2 := readFile(t, remux(frames, Program{Tracks: tracks, Metadata: metadata}))
				compare(t, again, want)
				for i, f := range again {
					if !bytes.Equal(f.Data, frames[i].Data) {
						t.Fatalf("frame %d changed", i)
					}
				}
				if m2.HasAudio != m.HasAudio || m2.HasVideo != m.HasVideo || m2.Width != m.Width || m2.FrameRate != m.FrameRate {
					t.Errorf("metadata %+v", m2)
				}
			}
		})
	}
}

func compare(t *testing.T, frames []*media.Frame, want []packet) {
	t.Helper()
	var got []packet
	for _, f := range frames {
		got = append(got, packetOf(f))
	}
	if !slices.Equal(got, want) {
		t.Fatalf("got  %v\nwant %v", got, want)
	}
}

func TestUnsupportedFile(t *testing.T) {
	var d Demuxer
	r := NewReader(bytes.NewReader(load(t, "speex.flv")))
	refused := 0
	for {
		tag, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		var unsupported *UnsupportedError
		if _, err = d.feed(tag); errors.As(err, &unsupported) && unsupported.Name == "Speex" {
			refused++
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if refused < 10 {
		t.Errorf("%d refused", refused)
	}
}

// hevcFrames makes frames of testdata/hevc.hevc, which libx265 wrote with access unit delimiters, and testdata/hevc.hvcc,
// its configuration as FFmpeg's mp4 muxer writes it for hvc1.
func hevcFrames(t testing.TB) []*media.Frame {
	t.Helper()
	const delimiter = 35
	track, err := media.NewVideoTrack(media.H265, load(t, "hevc.hvcc"))
	if err != nil {
		t.Fatal(err)
	}
	var units [][]byte
	for nalu := range media.AnnexBUnits(load(t, "hevc.hevc")) {
		if media.NALUType(media.H265, nalu) == delimiter {
			units = append(units, nil)
		}
		last := &units[len(units)-1]
		*last = media.AppendFromAnnexB(*last, append([]byte{0, 0, 1}, nalu...))
	}
	var frames []*media.Frame
	for i, data := range units {
		ts := time.Duration(i) * 40 * time.Millisecond
		frames = append(frames, &media.Frame{
			Track: track, DTS: ts, PTS: ts + 80*time.Millisecond, Key: media.IsKeyFrame(media.H265, data), Data: data,
		})
	}
	return frames
}

func TestHEVC(t *testing.T) {
	frames := hevcFrames(t)
	track := frames[0].Track
	if track.Width != 160 || track.Height != 120 || track.FPS != 25 || len(frames) != 25 || !frames[0].Key || !frames[12].Key || frames[1].Key {
		t.Fatalf("%+v, %d frames", track, len(frames))
	}
	sets := media.FindParameterSets(media.H265, frames[0].Data)
	if built, err := sets.Track(media.H265); err != nil || !bytes.Equal(built.Config, track.Config) {
		t.Errorf("of the sets in band: %x, %v", built.Config, err)
	}
	for _, enhanced := range []bool{true, false} {
		file := remux(frames, Program{Tracks: []*media.Track{track}, Enhanced: enhanced})
		got, tracks, m := readFile(t, file)
		if len(got) != len(frames) || len(tracks) != 1 || !bytes.Equal(tracks[0].Config, track.Config) || !m.HasVideo || m.HasAudio {
			t.Fatalf("%d frames, %v, %+v", len(got), tracks, m)
		}
		for i, f := range got {
			if packetOf(f) != packetOf(frames[i]) || !bytes.Equal(f.Data, frames[i].Data) {
				t.Fatalf("frame %d: %v, want %v", i, packetOf(f), packetOf(frames[i]))
			}
		}
	}
}

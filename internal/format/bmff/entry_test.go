package bmff_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hookline/hookline/internal/format/bmff"
	"github.com/hookline/hookline/internal/format/fmp4"
	"github.com/hookline/hookline/internal/format/mp4"
	"github.com/hookline/hookline/internal/formattest"
	"github.com/hookline/hookline/internal/media"
)

// TestEntries: what FFmpeg wrote in each codec is read, written again, and decoded.
func TestEntries(t *testing.T) {
	for _, c := range []struct {
		codec media.Codec
		name  string
		args  string
	}{
		{media.FLAC, "flac", "-c:a flac"},
		{media.AC3, "ac3", "-c:a ac3"},
		{media.EAC3, "eac3", "-c:a eac3"},
		{media.Opus, "opus", "-c:a libopus"},
		{media.MP3, "mp3", "-c:a libmp3lame"},
		{media.AAC, "aac", "-c:a aac"},
		{media.VP9, "vp9", "-c:v libvpx-vp9 -cpu-used 8"},
		{media.AV1, "av1", "-c:v libaom-av1 -cpu-used 8"},
		{media.H264, "h264", "-c:v libx264 -preset ultrafast"},
		{media.H265, "hevc", "-c:v libx265 -preset ultrafast -x265-params log-level=error"},
	} {
		t.Run(c.name, func(t *testing.T) {
			input := "sine=duration=0.5:sample_rate=48000"
			if c.codec.Kind() == media.Video {
				input = "testsrc=size=64x64:rate=10:duration=0.5"
			}
			path := filepath.Join(t.TempDir(), "in.mp4")
			args := append([]string{"-v", "error", "-nostdin", "-f", "lavfi", "-i", input}, strings.Fields(c.args)...)
			formattest.Tool(t, nil, "ffmpeg", append(args, "-strict", "-2", path)...)
			in, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			f, err := mp4.Open(bytes.NewReader(in), int64(len(in)))
			if err != nil {
				t.Fatal(err)
			}
			tracks := f.Tracks()
			if len(tracks) != 1 || tracks[0].Codec != c.codec || !bmff.Carries(tracks[0]) {
				t.Fatalf("tracks %+v", tracks)
			}
			m := fmp4.NewMuxer(tracks)
			out := m.AppendInit(nil)
			n := 0
			for r := f.NewReader(); ; n++ {
				fr, err := r.Next()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				m.Add(fr)
				out = m.AppendFragment(out, nil)
			}
			packets, codecs := formattest.Probe(t, "out.mp4", out)
			if len(packets) != n || n < 5 || !slices.Equal(codecs, []string{c.name}) {
				t.Errorf("%d packets of %d, codecs %v", len(packets), n, codecs)
			}
			formattest.Decode(t, "out.mp4", out)
		})
	}
}

func FuzzParseEntries(f *testing.F) {
	for _, c := range formattest.Clips(f) {
		init := fmp4.NewMuxer(c.Tracks).AppendInit(nil)
		stsd, _ := bmff.Find(init, "moov", "trak", "mdia", "minf", "stbl", "stsd")
		f.Add(stsd)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		track, size := bmff.ParseEntries(b)
		if track == nil && size != 0 || size > 4 {
			t.Fatal(size)
		}
	})
}

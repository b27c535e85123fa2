// Package formattest has frames and real tools for the tests of the container formats.
package formattest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hookline/hookline/internal/format/flv"
	"github.com/hookline/hookline/internal/media"
)

// Clip is a short piece of media.
type Clip struct {
	Name   string
	Tracks []*media.Track
	Frames []*media.Frame
}

// Clips returns what FFmpeg wrote: H.264 with B-frames and AAC, H.264 and G.711, AAC, G.711, MP3, H.265; and Opus, whose
// packets are silence.
func Clips(t testing.TB) []Clip {
	t.Helper()
	var clips []Clip
	for _, name := range []string{"h264_aac_bframes", "h264_alaw", "aac_only", "mulaw", "mp3"} {
		clips = append(clips, readFLV(t, name))
	}
	return append(clips, hevc(t), opus(t))
}

// Named returns the clip of a name: that of the file in flv/testdata, "hevc" or "opus".
func Named(t testing.TB, name string) Clip {
	t.Helper()
	for _, c := range Clips(t) {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("no clip %q", name)
	return Clip{}
}

func file(t testing.TB, name string) []byte {
	t.Helper()
	_, here, _, _ := runtime.Caller(0)
	b, err := os.ReadFile(filepath.Join(filepath.Dir(here), "..", "format", "flv", "testdata", filepath.Base(name)))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func readFLV(t testing.TB, name string) Clip {
	t.Helper()
	clip := Clip{Name: name}
	var d flv.Demuxer
	for r := flv.NewReader(bufio.NewReader(bytes.NewReader(file(t, name+".flv")))); ; {
		tag, err := r.Next()
		if errors.Is(err, io.EOF) {
			clip.Tracks = d.Tracks()
			return clip
		}
		if err != nil {
			t.Fatal(err)
		}
		var frames []*media.Frame
		switch tag.Type {
		case flv.TagVideo:
			frames, err = d.Video(tag.Timestamp, tag.Body)
		case flv.TagAudio:
			frames, err = d.Audio(tag.Timestamp, tag.Body)
		case flv.TagData:
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range frames {
			if !f.Config {
				clip.Frames = append(clip.Frames, f)
			}
		}
	}
}

// hevc splits the elementary stream into access units of 40 ms, without reordering.
func hevc(t testing.TB) Clip {
	t.Helper()
	track, err := media.NewVideoTrack(media.H265, file(t, "hevc.hvcc"))
	if err != nil {
		t.Fatal(err)
	}
	clip := Clip{Name: "hevc", Tracks: []*media.Track{track}}
	var at time.Duration
	var data []byte
	for nalu := range media.AnnexBUnits(file(t, "hevc.hevc")) {
		kind := media.NALUType(media.H265, nalu)
		if kind >= media.H265NALVPS && kind <= media.H265NALPPS {
			continue
		}
		data = append(data, byte(len(nalu)>>24), byte(len(nalu)>>16), byte(len(nalu)>>8), byte(len(nalu)))
		data = append(data, nalu...)
		if picture, key := media.Picture(media.H265, data); picture {
			clip.Frames = append(clip.Frames, &media.Frame{Track: track, DTS: at, PTS: at, Key: key, Data: data})
			at, data = at+40*time.Millisecond, nil
		}
	}
	return clip
}

func opus(t testing.TB) Clip {
	t.Helper()
	track, err := media.NewAudioTrack(media.Opus, media.BuildOpusHead(2), 48000, 2, 16)
	if err != nil {
		t.Fatal(err)
	}
	clip := Clip{Name: "opus", Tracks: []*media.Track{track}}
	for i := range 50 {
		at := time.Duration(i) * 20 * time.Millisecond
		data := append([]byte{0xfc, 0xff, 0xfe}, make([]byte, i*7)...) // CELT, 20 ms, stereo
		clip.Frames = append(clip.Frames, &media.Frame{Track: track, DTS: at, PTS: at, Data: data})
	}
	return clip
}

// Packet is what ffprobe says of a packet; times in seconds.
type Packet struct {
	Kind     string
	PTS, DTS float64
	Duration float64
	Size     int
	Key      bool
}

// Probe writes data to a file and returns the packets that ffprobe finds in it, in the order of the file, and the codec
// names of its streams. A complaint fails the test.
func Probe(t testing.TB, name string, data []byte) (packets []Packet, codecs []string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	var out struct {
		Packets []struct {
			Kind     string `json:"codec_type"`
			PTS      string `json:"pts_time"`
			DTS      string `json:"dts_time"`
			Duration string `json:"duration_time"`
			Size     string `json:"size"`
			Flags    string `json:"flags"`
		} `json:"packets"`
		Streams []struct {
			Codec string `json:"codec_name"`
		} `json:"streams"`
	}
	list := Tool(t, nil, "ffprobe", "-v", "error", "-show_packets", "-show_streams", "-of", "json", path)
	if err := json.Unmarshal(list, &out); err != nil {
		t.Fatal(err)
	}
	for _, p := range out.Packets {
		packets = append(packets, Packet{
			p.Kind, number(t, p.PTS), number(t, p.DTS), number(t, p.Duration), int(number(t, p.Size)),
			strings.HasPrefix(p.Flags, "K"),
		})
	}
	for _, s := range out.Streams {
		codecs = append(codecs, s.Codec)
	}
	return packets, codecs
}

func number(t testing.TB, s string) float64 {
	t.Helper()
	if s == "" {
		return 0
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// Decode demands that ffmpeg decodes all of data without an error.
func Decode(t testing.TB, name string, data []byte) {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	Tool(t, nil, "ffmpeg", "-v", "error", "-nostdin", "-xerror", "-i", path, "-f", "null", "-")
}

// Tool runs a command and returns its output. A failure, a complaint or a missing tool fails the test.
func Tool(t testing.TB, stdin io.Reader, name string, args ...string) []byte {
	t.Helper()
	c := exec.CommandContext(t.Context(), name, args...) //nolint:gosec // the tests name the tools
	var complaint bytes.Buffer
	c.Stdin, c.Stderr = stdin, &complaint
	out, err := c.Output()
	if err != nil || complaint.Len() > 0 {
		t.Fatalf("%v: %v: %s", c.Args, err, complaint.String())
	}
	return out
}

package rtmp

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/stream"
	"github.com/hookline/hookline/internal/stream/streamtest"
)

// run runs a tool and returns what it wrote. A tool that is missing fails the test.
func run(t *testing.T, name string, args ...string) (out string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), streamtest.Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	b, err := cmd.Output()
	if errors.Is(err, exec.ErrNotFound) {
		t.Fatal(err)
	}
	return string(b) + stderr.String(), err
}

// packets returns the packets of an input as ffprobe sees them: "codec_type,dts_ms,size".
func packets(t *testing.T, input string) []string {
	t.Helper()
	out, err := run(t, "ffprobe", "-v", "error", "-show_entries", "packet=codec_type,dts,size", "-of", "csv=p=0", input)
	if err != nil {
		t.Errorf("ffprobe %s: %v\n%s", input, err, out)
	}
	return strings.Fields(out)
}

// TestFFmpeg: ffmpeg publishes a file, ffprobe plays it, and gets every packet of it with its time stamp.
func TestFFmpeg(t *testing.T) {
	for _, tc := range []struct {
		name   string
		encode []string
	}{
		{"H.264 with B-frames and AAC", []string{
			"-f", "lavfi", "-i", "testsrc=size=320x240:rate=25", "-f", "lavfi", "-i", "sine=sample_rate=44100",
			"-c:v", "libx264", "-pix_fmt", "yuv420p", "-bf", "3", "-g", "25", "-c:a", "aac",
		}},
		{"large pictures", []string{
			"-f", "lavfi", "-i", "nullsrc=size=640x480:rate=25,geq=random(1)*255:128:128",
			"-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-qp", "4",
		}},
		{"audio only", []string{"-f", "lavfi", "-i", "sine=sample_rate=48000", "-c:a", "aac"}},
		{"G.711", []string{"-f", "lavfi", "-i", "sine=sample_rate=8000", "-c:a", "pcm_alaw", "-ar", "8000", "-ac", "1"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "in.flv")
			args := append([]string{"-v", "error"}, tc.encode...)
			if out, err := run(t, "ffmpeg", append(args, "-t", "2", file)...); err != nil {
				t.Fatalf("ffmpeg: %v\n%s", err, out)
			}
			want := packets(t, file)

			hub := newFakeHub()
			_, addr := startServer(t, hub, Config{})
			url := "rtmp://" + addr + "/live/a"
			got := make(chan []string, 1)
			go func() { got <- packets(t, url+"?viewer=1") }()
			<-hub.played
			if out, err := run(t, "ffmpeg", "-v", "error", "-i", file, "-c", "copy", "-f", "flv", url+"?token=1"); err != nil {
				t.Errorf("ffmpeg: %v\n%s", err, out)
			}
			if req := <-hub.published; req.Params != "token=1" || req.Key() != "__defaultVhost__/live/a" {
				t.Errorf("published %s?%s", req.Key(), req.Params)
			}
			expectEnd(t, hub, fact.EndUnpublish)
			comparePackets(t, <-got, want)
		})
	}
}

// comparePackets compares per kind: the order between audio and video is the muxer's.
func comparePackets(t *testing.T, got, want []string) {
	t.Helper()
	for _, kind := range []string{"video", "audio"} {
		g, w := ofKind(got, kind), ofKind(want, kind)
		if len(g) != len(w) {
			t.Errorf("%s: %d packets of %d", kind, len(g), len(w))
			continue
		}
		last := -1 << 30
		for i := range g {
			if g[i] != w[i] {
				t.Errorf("%s packet %d is %s, want %s", kind, i, g[i], w[i])
				break
			}
			dts, err := strconv.Atoi(strings.Split(g[i], ",")[1])
			if err != nil || dts < last {
				t.Errorf("%s packet %d: DTS %d after %d, %v", kind, i, dts, last, err)
			}
			last = dts
		}
	}
}

func ofKind(all []string, kind string) (out []string) {
	for _, p := range all {
		if strings.HasPrefix(p, kind) {
			out = append(out, p)
		}
	}
	return out
}

// TestFFmpegRefused: real clients say why they were refused, and leave.
func TestFFmpegRefused(t *testing.T) {
	hub := newFakeHub()
	hub.publish = func(context.Context, stream.PublishRequest) error {
		return &stream.RefusedError{Message: "wrong token"}
	}
	hub.play = func(context.Context, stream.PlayRequest) error { return stream.ErrNotFound }
	_, addr := startServer(t, hub, Config{})
	url := "rtmp://" + addr + "/live/a"

	out, err := run(t, "ffmpeg", "-v", "info", "-f", "lavfi", "-i", "sine", "-t", "1", "-c:a", "aac", "-f", "flv", url)
	if err == nil || !strings.Contains(out, "wrong token") {
		t.Errorf("ffmpeg: %v\n%s", err, out)
	}
	out, err = run(t, "ffprobe", "-v", "info", url)
	if err == nil || !strings.Contains(out, "No such stream") {
		t.Errorf("ffprobe: %v\n%s", err, out)
	}
}

// TestFFmpegKilled: an encoder that dies has lost its connection.
func TestFFmpegKilled(t *testing.T) {
	hub := newFakeHub()
	_, addr := startServer(t, hub, Config{})
	cmd := exec.Command("ffmpeg", "-v", "error", "-re", "-f", "lavfi", "-i", "sine", "-c:a", "aac", "-f", "flv", "rtmp://"+addr+"/live/a")
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	hub.waitStream(t, "__defaultVhost__/live/a").waitFrames(t, 5)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	expectEnd(t, hub, fact.EndConnectionLost)
}

package pubtool

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hookline/hookline/internal/format/flv"
	"github.com/hookline/hookline/internal/pubtool/pubtest"
	"github.com/hookline/hookline/internal/rtmp"
)

// tool runs a program, which must be there and have nothing to complain about, and returns its output.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil || stderr.Len() > 0 {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, stderr.String())
	}
	return string(out)
}

// TestDecode: FFmpeg decodes what is generated, across the seams and with padding, without a word.
func TestDecode(t *testing.T) {
	const length = 10 * time.Second
	for _, bitrate := range []int{0, 200_000, 2_100_000} {
		g, err := generate(bitrate)
		if err != nil {
			t.Fatal(err)
		}
		file := flv.AppendFileHeader(nil, true, true)
		for s := (&generatedSource{g: g}); ; {
			m, err := s.next()
			if err != nil || m.at >= length {
				break
			}
			if m.typ != rtmp.TypeDataAMF0 {
				file = flv.AppendTag(file, flv.TagType(m.typ), m.at, m.body)
			}
		}
		path := filepath.Join(t.TempDir(), "generated.flv")
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		tool(t, "ffmpeg", "-v", "warning", "-xerror", "-err_detect", "explode", "-i", path, "-f", "null", "-")
		got := tool(t, "ffprobe", "-v", "warning", "-count_frames", "-of", "csv=p=0",
			"-show_entries", "stream=codec_name,profile,width,height,sample_rate,r_frame_rate,nb_read_frames", path)
		// 10 s of sounds of 32 ms: 312.5.
		const want = "h264,Constrained Baseline,64,48,25/1,250\naac,LC,32000,0/0,313\n"
		if got != want {
			t.Errorf("bit rate %d: ffprobe says\n%swant\n%s", bitrate, got, want)
		}
	}
}

// TestDecodeLive: the same through a server. The player comes first and waits.
func TestDecodeLive(t *testing.T) {
	s := pubtest.Start(t)
	done := make(chan error, 1)
	go func() {
		err := s.AwaitPlayers(t.Context(), 1)
		if err == nil {
			_, err = Run(t.Context(), Config{URL: s.RTMP + "/live/cam", Realtime: true, Life: 2 * time.Second, Bitrate: 200_000})
		}
		done <- err
	}()
	got := tool(t, "ffprobe", "-v", "error", "-count_frames", "-of", "csv=p=0", "-show_entries", "stream=codec_name,nb_read_frames",
		s.RTMP+"/live/cam")
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	frames := map[string]int{}
	for _, line := range strings.Fields(got) { // there is a line for data messages as well
		codec, n, _ := strings.Cut(line, ",")
		frames[codec], _ = strconv.Atoi(n)
	}
	if frames["h264"] < 45 || frames["aac"] < 55 {
		t.Errorf("ffprobe says %q", got)
	}
}

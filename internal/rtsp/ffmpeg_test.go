package rtsp

import (
	"context"
	"math"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hookline/hookline/internal/fact"
)

// probed is a packet as ffprobe sees it.
type probed struct {
	kind     string
	pts, dts float64 // seconds
	size     int
}

func packets(t *testing.T, args ...string) []probed {
	t.Helper()
	args = append([]string{"-v", "error", "-show_entries", "packet=codec_type,pts_time,dts_time,size", "-of", "csv=p=0"}, args...)
	out, err := run(t, "ffprobe", args...)
	if err != nil {
		t.Errorf("ffprobe: %v\n%s", err, out)
	}
	var ps []probed
	for line := range strings.Lines(out) {
		f := strings.Split(strings.TrimSpace(line), ",")
		if len(f) < 4 {
			continue
		}
		p := probed{kind: f[0], pts: seconds(f[1]), dts: seconds(f[2])}
		p.size, _ = strconv.Atoi(f[3])
		ps = append(ps, p)
	}
	return ps
}

// seconds is NaN where ffprobe knows none.
func seconds(s string) float64 {
	v, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return math.NaN()
	}
	return v
}

func of(ps []probed, kind string) (out []probed) {
	for _, p := range ps {
		if p.kind == kind {
			out = append(out, p)
		}
	}
	return out
}

var sources = map[string][]string{
	"H264+AAC, B-frames": {
		"-f", "lavfi", "-i", "testsrc=size=320x240:rate=25", "-f", "lavfi", "-i", "sine=sample_rate=44100",
		"-c:v", "libx264", "-pix_fmt", "yuv420p", "-bf", "2", "-g", "25", "-c:a", "aac",
	},
	"H265+AAC": {
		"-f", "lavfi", "-i", "testsrc=size=320x240:rate=25", "-f", "lavfi", "-i", "sine=sample_rate=48000",
		"-c:v", "libx265", "-x265-params", "log-level=error:keyint=25", "-pix_fmt", "yuv420p", "-c:a", "aac",
	},
	"H264+G711": {
		"-f", "lavfi", "-i", "testsrc=size=640x480:rate=25", "-f", "lavfi", "-i", "sine=sample_rate=8000",
		"-c:v", "libx264", "-preset", "ultrafast", "-g", "25", "-pix_fmt", "yuv420p", "-c:a", "pcm_alaw", "-ar", "8000", "-ac", "1",
	},
	"audio": {"-f", "lavfi", "-i", "sine=sample_rate=48000", "-c:a", "aac"},
	"video": {
		"-f", "lavfi", "-i", "testsrc=size=320x240:rate=25", "-c:v", "libx264", "-g", "25", "-pix_fmt", "yuv420p",
	},
}

// TestFFmpeg: ffmpeg publishes a file in real time, ffprobe waits for it and plays it: every packet arrives, decoding times grow,
// and sound and picture stay together.
func TestFFmpeg(t *testing.T) {
	for name, encode := range sources {
		for _, over := range []string{"tcp", "udp"} {
			t.Run(name+" "+over, func(t *testing.T) {
				t.Parallel()
				file := filepath.Join(t.TempDir(), "in.mkv")
				args := append([]string{"-v", "error"}, encode...)
				if out, err := run(t, "ffmpeg", append(args, "-t", "3", file)...); err != nil {
					t.Fatalf("ffmpeg: %v\n%s", err, out)
				}
				want := packets(t, file)
				w := newWorld()
				_, addr := start(t, w, Config{})
				url := "rtsp://" + addr + "/live/a"
				got := make(chan []probed, 1)
				go func() { got <- packets(t, "-rtsp_transport", over, "-analyzeduration", "1000000", "-i", url) }()
				select { // a player that comes later would begin later
				case <-w.waiting:
				case <-got:
					t.Fatal("the player has not waited")
				}
				out, err := run(t, "ffmpeg", "-v", "error", "-re", "-i", file, "-c", "copy", "-f", "rtsp", "-rtsp_transport", over, url+"?token=1")
				if err != nil {
					t.Fatalf("ffmpeg: %v\n%s", err, out)
				}
				if e := <-w.Ended; e.Reason != fact.EndUnpublish || e.Params != "token=1" {
					t.Errorf("ended: %+v", e)
				}
				compare(t, <-got, want, over == "udp")
				if n := w.shown(); n < uint64(sum(want)*least(over == "udp")/10) {
					t.Errorf("%d bytes of %d were sent to the player", n, sum(want))
				}
			})
		}
	}
}

// least is how many tenths have to arrive: nearly everything, since the last packets may be in somebody's buffers when the stream
// ends; where the network may lose packets, which it does when who reads them gets no time, some.
func least(lossy bool) int {
	if lossy {
		return 2
	}
	return 9
}

// compare demands the least of each kind, times in order, and sound and picture as far apart as in the source.
func compare(t *testing.T, got, want []probed, lossy bool) {
	t.Helper()
	var starts []float64
	for _, kind := range []string{"video", "audio"} {
		g, w := of(got, kind), of(want, kind)
		if len(w) == 0 {
			continue
		}
		if sum(g) < sum(w)*least(lossy)/10 || len(g) == 0 { // PCM is cut anew
			t.Errorf("%s: %d packets (%d bytes) of %d (%d)", kind, len(g), sum(g), len(w), sum(w))
			continue
		}
		first := 0
		if math.IsNaN(g[0].pts) && len(g) > 1 {
			first = 1 // ffmpeg loses the time of the first picture over RTSP
		}
		if !lossy || sum(g) == sum(w) { // else the first may be among those that were lost
			starts = append(starts, g[first].pts-w[first].pts)
		}
		for i := 1; i < len(g); i++ {
			if g[i].dts < g[i-1].dts {
				t.Errorf("%s packet %d: DTS %v after %v", kind, i, g[i].dts, g[i-1].dts)
			}
			if g[i].pts < g[i].dts {
				t.Errorf("%s packet %d: DTS %v behind PTS %v", kind, i, g[i].dts, g[i].pts)
			}
		}
	}
	if len(starts) == 2 {
		if d := starts[0] - starts[1]; !(math.Abs(d) <= 0.06) {
			t.Errorf("sound and picture are %.3f s apart", d)
		}
	}
}

func sum(ps []probed) (n int) {
	for _, p := range ps {
		n += p.size
	}
	return n
}

// TestFFmpegRefused: real clients say why they were refused, and leave.
func TestFFmpegRefused(t *testing.T) {
	w := newWorld()
	w.allow = func(params string) bool { return params == "token=1" }
	_, addr := start(t, w, Config{})
	url := "rtsp://" + addr + "/live/a"
	out, err := run(t, "ffmpeg", "-v", "info", "-f", "lavfi", "-i", "sine", "-t", "1", "-c:a", "aac", "-f", "rtsp", url)
	if err == nil || !strings.Contains(out, "401") {
		t.Errorf("ffmpeg: %v\n%s", err, out)
	}
	out, err = run(t, "ffprobe", "-v", "info", url)
	if err == nil || !strings.Contains(out, "401") {
		t.Errorf("ffprobe: %v\n%s", err, out)
	}
}

// TestFFmpegPassword: with a realm players have to know a password, and on_play is not asked.
func TestFFmpegPassword(t *testing.T) {
	for _, c := range []struct {
		name          string
		basic, hashed bool
	}{{"digest", false, false}, {"digest, hashed", false, true}, {"basic", true, false}} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld()
			w.realm, w.passwd, w.hashed = "cams", "s3cret", c.hashed
			_, addr := start(t, w, Config{AuthBasic: c.basic})
			// It publishes until the players have been there.
			ctx, cancel := context.WithCancel(t.Context())
			cmd := exec.CommandContext(ctx, "ffmpeg", "-v", "error", "-re", "-f", "lavfi", "-i", "sine", "-c:a", "aac", "-f", "rtsp", "-rtsp_transport", "tcp", "rtsp://"+addr+"/live/a")
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			out, err := run(t, "ffprobe", "-v", "error", "-show_entries", "stream=codec_name", "-of", "csv=p=0", "rtsp://u:s3cret@"+addr+"/live/a")
			if err != nil || !strings.Contains(out, "aac") {
				t.Errorf("right password: %v\n%s", err, out)
			}
			if out, err := run(t, "ffprobe", "-v", "error", "rtsp://u:wrong@"+addr+"/live/a"); err == nil {
				t.Errorf("wrong password: %s", out)
			}
			cancel()
			_ = cmd.Wait()
			<-w.Ended
			types := w.Types()
			if !slices.Contains(types, "on_rtsp_auth") || !slices.Contains(types, "on_rtsp_realm") || slices.Contains(types, "on_play") {
				t.Error(types)
			}
		})
	}
}

// TestLost: a publisher that dies has lost its connection, and one that sends nothing is given up.
func TestLost(t *testing.T) {
	w := newWorld()
	srv, addr := start(t, w, Config{KeepAlive: time.Second})
	c := dial(t, addr)
	c.announce("rtsp://" + addr + "/live/a")
	for srv.Connections() == 0 {
		time.Sleep(time.Millisecond)
	}
	c.conn.Close()
	if e := <-w.Ended; e.Reason != fact.EndConnectionLost {
		t.Error(e.Reason)
	}
	c = dial(t, addr)
	c.announce("rtsp://" + addr + "/live/b")
	c.ok("SETUP", "rtsp://"+addr+"/live/b/track0", "Transport: RTP/AVP/TCP;unicast;interleaved=0-1;mode=record")
	c.ok("RECORD", "rtsp://"+addr+"/live/b")
	if e := <-w.Ended; e.Reason != fact.EndTimeout {
		t.Error(e.Reason)
	}
}

//go:build realclient

package e2e

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"image"
	"image/png"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/hookline/hookline/event"
)

// TestGStreamer: GStreamer publishes over RTMP and RTMPS and plays over RTMP, RTMPS and HTTP-FLV. The players wait for the
// stream, so that they have to decode every picture of it, but for the last ones over RTMP.
func TestGStreamer(t *testing.T) {
	t.Parallel()
	file, _ := certificate(t)
	s, r := serve(t, "tls.certificates", file, "rtmp.sslport", auto, "http.sslport", auto)
	rtmps, https := s.secure()
	const pictures, width, height = 75, 160, 120
	dir := t.TempDir()
	play := func(name string, source ...string) *tool {
		args := append(append([]string{"-q"}, source...), strings.Fields("! flvdemux name=d d.video ! queue ! h264parse ! avdec_h264 ! filesink location="+
			filepath.Join(dir, name)+" d.audio ! queue ! aacparse ! avdec_aac ! fakesink")...)
		return runTool(t, "gst-launch-1.0", args...)
	}
	for _, to := range []string{"rtmp://" + s.rtmp, "rtmps://" + rtmps} {
		scheme, _, _ := strings.Cut(to, ":")
		name := "gst_" + scheme
		players := map[string]*tool{
			name + "_over_rtmp":  play(name+"_over_rtmp", "rtmp2src", "timeout=300", "location="+s.rtmpURL(name)),
			name + "_over_rtmps": play(name+"_over_rtmps", "rtmp2src", "timeout=300", "location=rtmps://"+rtmps+"/live/"+name, "tls-validation-flags=0"),
			name + "_over_http":  play(name+"_over_http", "souphttpsrc", "timeout=300", "location="+s.flvURL(name)),
			name + "_over_https": play(name+"_over_https", "souphttpsrc", "timeout=300", "ssl-strict=false", "location=https://"+https+"/live/"+name+".live.flv"),
		}
		r.await("the players of "+name, len(players), func(p *post) bool {
			return p.hook == event.OnStreamNotFound && p.body.Event.Stream == key(name)
		})
		args := "-q videotestsrc is-live=true num-buffers=" + strconv.Itoa(pictures) +
			" ! video/x-raw,format=I420,width=160,height=120,framerate=25/1 ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=25" +
			" ! h264parse ! queue ! mux. audiotestsrc is-live=true num-buffers=130 ! audio/x-raw,rate=44100,channels=1 ! avenc_aac ! aacparse" +
			" ! queue ! flvmux name=mux streamable=true ! rtmp2sink location=" + to + "/live/" + name
		if scheme == "rtmps" {
			args += " tls-validation-flags=0"
		}
		if err := runTool(t, "gst-launch-1.0", strings.Fields(args)...).wait(); err != nil {
			t.Error(err)
		}
		for player, c := range players {
			if err := c.wait(); err != nil {
				t.Errorf("%s: %v\n%s", player, err, c.stderr.String())
			}
			const size = width * height * 3 / 2
			least := pictures
			if strings.Contains(player, "_over_rtmp") {
				least -= 2 // rtmp2src drops what it has not handed on when the stream ends
			}
			st, err := os.Stat(filepath.Join(dir, player))
			if err != nil {
				t.Error(err)
			} else if n := int(st.Size()); n%size != 0 || n/size < least || n/size > pictures {
				t.Errorf("%s: %d bytes of pictures, which are %d of %d", player, n, n/size, pictures)
			}
		}
		r.accept(event.OnPublicationEnded, name)
	}
}

// TestVLC: VLC without a screen plays over RTMP and HTTP-FLV, with and without TLS, and shows different pictures. It does not ask whose
// certificate that of RTMPS is; for HTTPS it is told whom to trust.
func TestVLC(t *testing.T) {
	t.Parallel()
	file, _ := certificate(t)
	s, r := serve(t, "tls.certificates", file, "rtmp.sslport", auto, "http.sslport", auto)
	rtmps, https := s.secure()
	live(t, s.rtmpURL("vlc"))
	r.accept(event.OnStreamChanged, "vlc")
	for protocol, url := range map[string]string{
		"rtmp": s.rtmpURL("vlc"), "http": s.flvURL("vlc"), "rtmps": "rtmps://" + rtmps + "/live/vlc", "https": "https://" + https + "/live/vlc.live.flv",
	} {
		t.Run(protocol, func(t *testing.T) {
			dir, err := os.MkdirTemp("", "hookline-vlc-") //nolint:usetesting // the directory above that of the test is closed to VLC's user
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.RemoveAll(dir) })
			c := vlc(t, dir, "--run-time=6", "--gnutls-dir-trust="+trusted(t, dir, file), url)
			if err := c.wait(); err != nil {
				t.Errorf("%v\n%s", err, c.stderr.String())
			}
			files, err := filepath.Glob(filepath.Join(dir, "shown*.png"))
			if err != nil {
				t.Fatal(err)
			}
			seen := map[string]bool{}
			for _, f := range files {
				raw, err := os.ReadFile(f)
				if err != nil {
					t.Fatal(err)
				}
				if img, err := png.Decode(bytes.NewReader(raw)); err == nil && colourful(img) { // the last one may be cut
					seen[string(raw)] = true
				}
			}
			if len(seen) < 2 {
				t.Errorf("%d different pictures in %d files\n%s", len(seen), len(files), c.stderr.String())
			}
			r.await("on_play over "+protocol, 1, func(p *post) bool { return p.hook == event.OnPlay && p.json["protocol"] == protocol })
		})
	}
}

// TestGStreamerFile: GStreamer plays a file over RTSP, every picture of it.
func TestGStreamerFile(t *testing.T) {
	t.Parallel()
	s, _, root := cinema(t)
	put(t, root, "a.mp4", film(t, "4"))
	out := filepath.Join(t.TempDir(), "out")
	c := runTool(t, "gst-launch-1.0", strings.Fields("-q rtspsrc protocols=tcp tcp-timeout=300000000 latency=500 location="+s.rtspURL("a.mp4")+
		" ! rtph264depay ! h264parse ! avdec_h264 ! filesink location="+out)...)
	if err := c.wait(); err != nil {
		t.Errorf("%v\n%s", err, c.stderr.String())
	}
	info, err := os.Stat(out)
	if err != nil {
		t.Fatal(err)
	}
	if n, rest := info.Size()/(160*120*3/2), info.Size()%(160*120*3/2); n != 100 || rest != 0 {
		t.Errorf("%d pictures of 100", n)
	}
}

// shot is a picture that gst_seek.py has shown; n is -1 when it is not in the file.
type shot struct {
	step     int
	at, rate float64
	n        int
}

// seekAbout plays a file with gst_seek.py and returns what it shows in each step.
func seekAbout(t *testing.T, frames map[string]int, args ...string) map[int][]shot {
	t.Helper()
	// Debian's Python: that of the PATH may be another one, which has no bindings.
	c := runTool(t, "/usr/bin/python3", append([]string{filepath.Join("testdata", "gst_seek.py")}, args...)...)
	shots := map[int][]shot{}
	for line := range strings.Lines(c.output()) {
		var x shot
		var sum string
		if _, err := fmt.Sscan(line, &x.step, &x.at, &x.rate, &sum); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		n, ok := frames[sum]
		if x.n = n; !ok {
			x.n = -1
		}
		shots[x.step] = append(shots[x.step], x)
	}
	return shots
}

// TestGStreamerSeek: GStreamer seeks in a file over RTSP, forth and back, pauses, plays it at double speed and to its end. Each
// picture is the one of its time, and none is missing after a seek.
func TestGStreamerSeek(t *testing.T) {
	t.Parallel()
	s, _, root := cinema(t)
	const second, all = 25, 40 * 25 // pictures, and those of a group
	file := encode(t, "in.mp4", "40", picture(), tone(), h264("-bf 0 -s 160x120"), []string{"-c:a", "aac"})
	frames := numbered(t, file)
	if len(frames) != all {
		t.Fatal(len(frames), "different pictures")
	}
	t.Run("tcp", func(t *testing.T) {
		put(t, root, "tcp.mp4", file)
		steps := strings.Fields("pull=10 seek=12.2 pull=10 seek=6.52 pull=10 pause play pull=10 seek=9.2 pull=10 speed=2@5.2 pull=50 seek=38.2 pull=0")
		shots := seekAbout(t, frames, append([]string{s.rtspURL("tcp.mp4"), "tcp"}, steps...)...)
		first := map[int]int{0: 0, 2: 12 * second, 4: 6 * second, 7: 6*second + 10, 9: 9 * second, 11: 5 * second, 13: 38 * second}
		for step, want := range first {
			for i, x := range shots[step] {
				if x.n != want+i || (x.rate == 2) != (step == 11) || i == 0 && math.Abs(x.at-float64(x.n)/second) > 0.5 {
					t.Errorf("picture %d from %d on is %+v", i, want, x)
				}
			}
		}
		if last := shots[13]; len(last) == 0 || last[len(last)-1].n != all-1 {
			t.Errorf("the end is %+v", last)
		}
	})
	// Over UDP the player may show first what was in its socket, and lose what did not fit into it.
	t.Run("udp", func(t *testing.T) {
		put(t, root, "udp.mp4", file)
		steps := strings.Fields("pull=30 seek=12.2 pull=50 seek=6.52 pull=50 pause play pull=10")
		shots := seekAbout(t, frames, append([]string{s.rtspURL("udp.mp4"), "udp"}, steps...)...)
		for step, want := range map[int]int{0: 0, 2: 12 * second, 4: 6 * second} {
			if !slices.ContainsFunc(shots[step], func(x shot) bool { return x.n >= want && x.n < want+2*second }) {
				t.Errorf("nothing from %d on: %+v", want, shots[step])
			}
		}
	})
}

func colourful(img image.Image) bool {
	seen := map[[3]uint32]bool{}
	for x := range img.Bounds().Dx() {
		for y := range img.Bounds().Dy() {
			r, g, b, _ := img.At(x, y).RGBA()
			seen[[3]uint32{r >> 13, g >> 13, b >> 13}] = true
		}
	}
	return len(seen) >= 20
}

// trusted copies the certificate of a file that has the key as well to where VLC may read it, and returns the directory.
func trusted(t *testing.T, dir, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for b, rest := pem.Decode(data); b != nil; b, rest = pem.Decode(rest) {
		if b.Type != "CERTIFICATE" {
			continue
		}
		dir = filepath.Join(dir, "trust")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "host.pem"), pem.EncodeToMemory(b), 0o644); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	t.Fatal("no certificate in ", file)
	return ""
}

// vlc plays something and writes each fifth picture that it shows into dir. VLC refuses to be root.
func vlc(t *testing.T, dir string, args ...string) *tool {
	t.Helper()
	const nobody = 65534
	all := append(strings.Fields("-q -I dummy --no-audio --vout=dummy --no-drop-late-frames --no-skip-frames "+
		"--video-filter=scene --scene-format=png --scene-ratio=5 --scene-prefix=shown --play-and-exit --scene-path="+dir), args...)
	who := &syscall.Credential{Uid: nobody, Gid: nobody}
	if os.Geteuid() != 0 {
		who = nil
	} else if err := os.Chown(dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("cvlc", append(all, "vlc://quit")...)
	cmd.Env = []string{"HOME=" + dir, "PATH=" + os.Getenv("PATH")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: who}
	return startTool(t, cmd)
}

// TestGStreamerBye: GStreamer plays over RTSP by UDP and by multicast, and ends without an error when the stream does.
func TestGStreamerBye(t *testing.T) {
	t.Parallel()
	s, r := serve(t)
	players := map[string]*tool{}
	for _, over := range []string{"udp", "udp-mcast"} {
		players[over] = runTool(t, "gst-launch-1.0", strings.Fields("-q rtspsrc multicast-iface=lo timeout=300000000 protocols="+over+" location="+s.rtspURL("bye")+
			" name=s s. ! queue ! rtph264depay ! h264parse ! fakesink s. ! queue ! rtpmp4gdepay ! fakesink")...)
	}
	r.await("the players", len(players), func(p *post) bool { return p.hook == event.OnStreamNotFound })
	push(t, encode(t, "in.flv", "8", picture(), tone(), h264(""), []string{"-c:a", "aac"}), s.rtmpURL("bye"), "-re").output()
	for over, c := range players {
		if err := c.wait(); err != nil {
			t.Errorf("%s: %v\n%s", over, err, c.stderr.String())
		}
	}
	s.stop()
}

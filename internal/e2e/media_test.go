package e2e

import (
	"context"
	"encoding/json"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/hookline/hookline/event"
)

// TestMedia: ffmpeg publishes a file, ffprobe and ffmpeg play it over RTMP, HTTP-FLV, HTTP-TS and HTTP-fMP4, and get every packet. The
// players come first and wait, so that the expected number is exact.
func TestMedia(t *testing.T) {
	t.Parallel()
	s, r := serve(t, "protocol.add_mute_audio", "0") // many tools start at once
	pcm := func(codec string) []string { return strings.Fields("-c:a " + codec + " -ar 8000 -ac 1") }
	for _, tc := range []struct {
		name string
		args [][]string
	}{
		{"h264_aac", [][]string{picture(), tone(), h264("-bf 0"), {"-c:a", "aac"}}},
		{"h264_bframes_aac", [][]string{picture(), tone(), h264("-bf 3 -b_strategy 0"), {"-c:a", "aac"}}},
		{"h264_pcma", [][]string{picture(), tone(), h264("-bf 0"), pcm("pcm_alaw")}},
		{"h264_pcmu", [][]string{picture(), tone(), h264("-bf 0"), pcm("pcm_mulaw")}},
		{"audio_only", [][]string{tone(), {"-c:a", "aac"}}},
		{"video_only", [][]string{picture(), h264("-bf 0")}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			file := encode(t, "in.flv", "2", tc.args...)
			want := probe(t, file).packets()
			players := map[string]*tool{
				"rtmp": probe(t, s.rtmpURL(tc.name+"?by=ffprobe")),
				"flv":  probe(t, s.flvURL(tc.name+"?by=ffprobe")),
			}
			// ffmpeg calls every end premature where no length was announced.
			players["flv"].tolerate = "Stream ends prematurely"
			decoders := []*tool{decode(t, s.rtmpURL(tc.name), nil), decode(t, "pipe:0", download(t, s.flvURL(tc.name)))}
			timed := map[string]*tool{}
			for _, format := range []string{"ts", "mp4"} {
				timed[format] = probe(t, s.liveURL(tc.name, format))
				timed[format].tolerate = "Stream ends prematurely"
				decoders = append(decoders, decode(t, "pipe:0", download(t, s.liveURL(tc.name, format))))
			}
			r.await("the players of "+tc.name, 8, func(p *post) bool {
				return p.hook == event.OnStreamNotFound && p.body.Event.Stream == key(tc.name)
			})
			push(t, file, s.rtmpURL(tc.name), "-re").output()
			for protocol, c := range players {
				comparePackets(t, protocol, c.packets(), want)
			}
			expect := probe(t, file).times()
			compareTimes(t, "mp4", timed["mp4"].times(), expect)
			if strings.HasPrefix(tc.name, "h264_pcm") {
				delete(expect, "audio") // FFmpeg has no stream type for G.711 in TS
			}
			compareTimes(t, "ts", timed["ts"].times(), expect)
			for _, c := range decoders {
				c.output()
			}
			r.accept(event.OnPublicationEnded, tc.name)
		})
	}
}

// moment is when a packet is decoded and shown, in seconds.
type moment struct{ dts, pts float64 }

// times returns the times of the packets by kind.
func (c *tool) times() map[string][]moment {
	c.t.Helper()
	var out struct {
		Packets []struct {
			Type string `json:"codec_type"`
			DTS  string `json:"dts_time"`
			PTS  string `json:"pts_time"`
		} `json:"packets"`
	}
	if err := json.Unmarshal([]byte(c.output()), &out); err != nil {
		c.t.Fatal(err)
	}
	kinds := map[string][]moment{}
	for _, p := range out.Packets {
		var m moment
		for at, s := range map[*float64]string{&m.dts: p.DTS, &m.pts: p.PTS} {
			v, err := strconv.ParseFloat(s, 64)
			if err != nil {
				c.t.Fatal(err)
			}
			*at = v
		}
		kinds[p.Type] = append(kinds[p.Type], m)
	}
	return kinds
}

// compareTimes demands as many packets of every kind, in the order of DTS, and one shift of time for all of them, exact to
// what rounding does: a millisecond in FLV, and the samples of a frame of sound.
func compareTimes(t *testing.T, protocol string, got, want map[string][]moment) {
	t.Helper()
	const exact, inSync = 0.003, 0.060
	for kind, w := range want {
		g := got[kind]
		if len(g) != len(w) {
			t.Errorf("%s: %d %s packets of %d", protocol, len(g), kind, len(w))
			continue
		}
		for i := range g {
			if d, p := g[i].dts-g[0].dts-w[i].dts+w[0].dts, g[i].pts-g[0].pts-w[i].pts+w[0].pts; math.Abs(d) > exact || math.Abs(p) > exact {
				t.Errorf("%s: %s packet %d is off by %v and %v s", protocol, kind, i, d, p)
				break
			}
			if i > 0 && g[i].dts <= g[i-1].dts {
				t.Errorf("%s: %s packet %d: DTS %v after %v", protocol, kind, i, g[i].dts, g[i-1].dts)
			}
		}
	}
	v, a := got["video"], got["audio"]
	if wv, wa := want["video"], want["audio"]; len(v)*len(a)*len(wv)*len(wa) > 0 {
		if d := v[0].pts - a[0].pts - wv[0].pts + wa[0].pts; math.Abs(d) > inSync {
			t.Errorf("%s: sound and picture are %v s further apart than published", protocol, d)
		}
	}
}

// TestBurst: ffmpeg publishes a file as fast as it can and leaves at once. The players that waited get every packet of
// it, audio from before the first picture included.
func TestBurst(t *testing.T) {
	t.Parallel()
	s, r := serve(t, "protocol.add_mute_audio", "0")
	for _, tc := range []struct {
		name, seconds string
		args          [][]string
	}{
		{"burst_h264_aac", "3", [][]string{picture(), tone(), h264("-bf 0"), {"-c:a", "aac"}}},
		{"burst_late_picture", "3", [][]string{{"-itsoffset", "0.4"}, picture(), tone(), h264("-bf 0"), {"-c:a", "aac"}}},
		{"burst_video_only", "3", [][]string{picture(), h264("-bf 0")}},
		{"burst_audio_only", "3", [][]string{tone(), {"-c:a", "aac"}}},
		{"burst_minute", "60", [][]string{picture(), tone(), h264("-bf 0"), {"-c:a", "aac"}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			file := encode(t, "in.flv", tc.seconds, tc.args...)
			want := probe(t, file).allPackets()
			players := map[string]*tool{
				"rtmp": probe(t, s.rtmpURL(tc.name)),
				"flv":  probe(t, s.flvURL(tc.name)),
			}
			players["flv"].tolerate = "Stream ends prematurely"
			r.await("the players of "+tc.name, 2, func(p *post) bool {
				return p.hook == event.OnStreamNotFound && p.body.Event.Stream == key(tc.name)
			})
			push(t, file, s.rtmpURL(tc.name)).output()
			for protocol, c := range players {
				comparePackets(t, protocol, c.allPackets(), want)
			}
			r.accept(event.OnPublicationEnded, tc.name)
		})
	}
}

// allPackets is packets with what comes before the first picture: who waits gets that as well.
func (c *tool) allPackets() map[string][]packet {
	c.t.Helper()
	var out struct {
		Packets []packet `json:"packets"`
	}
	if err := json.Unmarshal([]byte(c.output()), &out); err != nil {
		c.t.Fatal(err)
	}
	kinds := map[string][]packet{}
	for _, p := range out.Packets {
		kinds[p.Type] = append(kinds[p.Type], p)
	}
	return kinds
}

// comparePackets demands the same packets of every kind, and one shift of time for all of them: what is in step stays
// in step.
func comparePackets(t *testing.T, protocol string, got, want map[string][]packet) {
	t.Helper()
	delete(got, "data") // metadata over RTMP shows as a stream of its own
	if len(got) != len(want) {
		t.Errorf("%s: %d kinds of packets, want %d", protocol, len(got), len(want))
	}
	shift, known := int64(0), false
	for kind, w := range want {
		g := got[kind]
		if len(g) != len(w) {
			t.Errorf("%s: %d %s packets of %d", protocol, len(g), kind, len(w))
			continue
		}
		if !known {
			shift, known = g[0].DTS-w[0].DTS, true
		}
		for i := range g {
			expect := w[i]
			expect.DTS += shift
			expect.PTS += shift
			if g[i] != expect {
				t.Errorf("%s: %s packet %d is %+v, want %+v", protocol, kind, i, g[i], expect)
				break
			}
			if i > 0 && g[i].DTS <= g[i-1].DTS {
				t.Errorf("%s: %s packet %d: DTS %d after %d", protocol, kind, i, g[i].DTS, g[i-1].DTS)
			}
		}
	}
}

// download gets a stream over HTTP, to be read while it comes.
func download(t *testing.T, url string) io.Reader {
	t.Helper()
	r, w := io.Pipe()
	done := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer close(done)
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			w.CloseWithError(err)
			return
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			w.CloseWithError(err)
			return
		}
		defer res.Body.Close()
		_, err = io.Copy(w, res.Body)
		w.CloseWithError(err)
	}()
	t.Cleanup(func() {
		cancel()
		_ = r.Close()
		<-done
	})
	return r
}

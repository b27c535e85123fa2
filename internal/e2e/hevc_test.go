package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/format/flv"
	"github.com/hookline/hookline/internal/media"
	"github.com/hookline/hookline/internal/rtmp"
)

// TestHEVC: H.265 with AAC goes through in both of its forms, and comes out in both, byte by byte. Debian's ffmpeg can't
// mux H.265 into FLV, so the built-in client publishes what ffmpeg encoded, and ffmpeg decodes what came out.
func TestHEVC(t *testing.T) {
	t.Parallel()
	file := encode(t, "in.mp4", "2", picture(), tone(),
		strings.Fields("-c:v libx265 -preset ultrafast -x265-params log-level=error:keyint=25:bframes=2 -s 160x120 -pix_fmt yuv420p -c:a aac"))
	sent := demuxMP4(t, file)
	for _, out := range []string{"1", "0"} {
		s, r := serve(t, "rtmp.enhanced", out)
		for name, legacy := range map[string]bool{"enhanced": false, "legacy": true} {
			t.Run(name+"_to_"+map[string]string{"1": "enhanced", "0": "legacy"}[out], func(t *testing.T) {
				overRTMP, overFLV := make(chan []*media.Frame, 1), make(chan []*media.Frame, 1)
				var others []*tool
				for _, format := range []string{"ts", "mp4"} {
					others = append(others,
						probe(t, s.liveURL(name, format)), decode(t, "pipe:0", download(t, s.liveURL(name, format))))
				}
				var attached sync.WaitGroup
				attached.Add(2)
				go func() { overRTMP <- playRTMP(t, s.rtmpURL(name), out == "1", attached.Done) }()
				go func() { overFLV <- playFLV(t, s.flvURL(name), out == "1", attached.Done) }()
				r.await("the players", 6, func(p *post) bool {
					return p.hook == event.OnStreamNotFound && p.body.Event.Stream == key(name)
				})
				publishFrames(t, s.rtmpURL(name), legacy, sent, attached.Wait)
				got, gotFLV := <-overRTMP, <-overFLV
				compareFrames(t, "rtmp", got, sent)
				compareFrames(t, "flv", gotFLV, sent)
				compareDecoded(t, got, file)
				for i, c := range others {
					c.tolerate = "Stream ends prematurely"
					if i%2 == 1 {
						c.output()
						continue
					}
					compareTimes(t, []string{"ts", "", "mp4"}[i], c.times(), moments(sent))
				}
			})
		}
	}
}

// demuxMP4 reads the frames of an MP4 file by ffprobe, in the order of the file.
func demuxMP4(t *testing.T, file string) []*media.Frame {
	t.Helper()
	var in struct {
		Packets []struct {
			Stream int    `json:"stream_index"`
			PTS    string `json:"pts_time"`
			DTS    string `json:"dts_time"`
			Flags  string `json:"flags"`
			Data   string `json:"data"`
		} `json:"packets"`
		Streams []struct {
			Type       string `json:"codec_type"`
			Extra      string `json:"extradata"`
			SampleRate string `json:"sample_rate"`
			Channels   int    `json:"channels"`
		} `json:"streams"`
	}
	c := runTool(t, "ffprobe", "-v", "error", "-show_packets", "-show_streams", "-show_data", "-of", "json", file)
	if err := json.Unmarshal([]byte(c.output()), &in); err != nil {
		t.Fatal(err)
	}
	var tracks []*media.Track
	for _, st := range in.Streams {
		var tr *media.Track
		var err error
		if st.Type == "video" {
			tr, err = media.NewVideoTrack(media.H265, dump(t, st.Extra))
		} else {
			tr, err = media.NewAudioTrack(media.AAC, dump(t, st.Extra), atoi(t, st.SampleRate), st.Channels, 16)
		}
		if err != nil {
			t.Fatal(err)
		}
		tracks = append(tracks, tr)
	}
	var frames []*media.Frame
	const start = time.Second // everything is positive after it
	for _, p := range in.Packets {
		tr := tracks[p.Stream]
		frames = append(frames, &media.Frame{
			Track: tr, DTS: start + stamp(t, p.DTS), PTS: start + stamp(t, p.PTS), Data: dump(t, p.Data),
			Key: tr.Codec == media.H265 && strings.HasPrefix(p.Flags, "K"),
		})
	}
	if len(frames) < 100 || len(tracks) != 2 {
		t.Fatalf("%d frames of %d tracks", len(frames), len(tracks))
	}
	return frames
}

// dump reads ffprobe's hexadecimal dump: lines of "offset: bytes  text".
func dump(t *testing.T, s string) []byte {
	t.Helper()
	var out []byte
	for line := range strings.Lines(s) {
		_, rest, ok := strings.Cut(line, ": ")
		if !ok {
			continue
		}
		hexa, _, _ := strings.Cut(rest, "  ")
		b, err := hex.DecodeString(strings.ReplaceAll(hexa, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, b...)
	}
	return out
}

// stamp reads seconds and rounds to what FLV can carry.
func stamp(t *testing.T, s string) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(s + "s")
	if err != nil {
		t.Fatal(err)
	}
	return d.Round(time.Millisecond)
}

// publishFrames publishes the first frames, waits for the viewers, and publishes the rest.
func publishFrames(t *testing.T, url string, legacy bool, frames []*media.Frame, attached func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := rtmp.Dialer{LegacyHEVC: legacy}.Dial(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Publish(ctx); err != nil {
		t.Fatal(err)
	}
	for i, f := range frames {
		if i == 40 {
			attached()
		}
		if err := c.WriteFrame(f); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Unpublish(ctx); err != nil {
		t.Fatal(err)
	}
}

// collector demuxes what a player got.
type collector struct {
	t        *testing.T
	demux    flv.Demuxer
	enhanced bool
	attached func() // called at the first frame, or at the end if there is none
	frames   []*media.Frame
}

func (c *collector) done() []*media.Frame {
	if len(c.frames) == 0 {
		c.attached()
	}
	return c.frames
}

func (c *collector) add(typ flv.TagType, ts time.Duration, body []byte) {
	var frames []*media.Frame
	var err error
	switch typ {
	case flv.TagVideo:
		if enhanced := body[0]&0x80 != 0; enhanced != c.enhanced {
			c.t.Errorf("a video body begins with %#x, want enhanced=%v", body[0], c.enhanced)
		}
		frames, err = c.demux.Video(ts, body)
	case flv.TagAudio:
		frames, err = c.demux.Audio(ts, body)
	default:
	}
	if err != nil {
		c.t.Error(err)
	}
	for _, f := range frames {
		if !f.Config {
			if len(c.frames) == 0 {
				c.attached()
			}
			c.frames = append(c.frames, f)
		}
	}
}

func playRTMP(t *testing.T, url string, enhanced bool, attached func()) []*media.Frame {
	col := collector{t: t, enhanced: enhanced, attached: attached}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := rtmp.Dial(ctx, url)
	if err != nil {
		t.Error(err)
		return col.done()
	}
	defer c.Close()
	if err := c.Play(ctx); err != nil {
		t.Error(err)
		return col.done()
	}
	for {
		m, err := c.Read()
		if errors.Is(err, io.EOF) {
			return col.done()
		}
		if err != nil {
			t.Error(err)
			return col.done()
		}
		col.add(flv.TagType(m.Type), time.Duration(m.Timestamp)*time.Millisecond, m.Body)
	}
}

func playFLV(t *testing.T, url string, enhanced bool, attached func()) []*media.Frame {
	col := collector{t: t, enhanced: enhanced, attached: attached}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Error(err)
		return col.done()
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Error(err)
		return col.done()
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Error(res.Status)
		return col.done()
	}
	return readFLV(t, res.Body, enhanced, attached)
}

// readFLV demuxes what comes, up to the end.
func readFLV(t *testing.T, in io.Reader, enhanced bool, attached func()) []*media.Frame {
	col := collector{t: t, enhanced: enhanced, attached: attached}
	for r := flv.NewReader(bufio.NewReader(in)); ; {
		tag, err := r.Next()
		if errors.Is(err, io.EOF) {
			return col.done()
		}
		if err != nil {
			t.Error(err)
			return col.done()
		}
		col.add(tag.Type, tag.Timestamp, tag.Body)
	}
}

// compareFrames compares access units byte by byte, and times after a common shift.
func compareFrames(t *testing.T, protocol string, got, want []*media.Frame) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d access units of %d", protocol, len(got), len(want))
	}
	shift, last := got[0].DTS-want[0].DTS, map[media.Kind]time.Duration{}
	for i, w := range want {
		g := got[i]
		kind := w.Track.Codec.Kind()
		switch {
		case g.Track.Codec != w.Track.Codec || !bytes.Equal(g.Track.Config, w.Track.Config):
			t.Fatalf("%s: access unit %d is of another track", protocol, i)
		case !bytes.Equal(g.Data, w.Data):
			t.Fatalf("%s: access unit %d: %d bytes differ from the %d that were published", protocol, i, len(g.Data), len(w.Data))
		case g.Key != w.Key:
			t.Fatalf("%s: access unit %d: key %v", protocol, i, g.Key)
		case g.DTS-shift != w.DTS || g.PTS-shift != w.PTS:
			t.Fatalf("%s: access unit %d at %v, %v, want %v, %v and a shift of %v", protocol, i, g.DTS, g.PTS, w.DTS, w.PTS, shift)
		case g.DTS < last[kind]:
			t.Fatalf("%s: access unit %d: DTS %v after %v", protocol, i, g.DTS, last[kind])
		}
		last[kind] = g.DTS
	}
}

// compareDecoded writes the pictures as an elementary stream, and demands that ffmpeg decodes it to the same pictures
// as the file from which they came.
func compareDecoded(t *testing.T, frames []*media.Frame, file string) {
	t.Helper()
	var es []byte
	n := 0
	for _, f := range frames {
		if f.Track.Codec != media.H265 {
			continue
		}
		if n == 0 {
			config, err := media.ParseHEVCConfig(f.Track.Config)
			if err != nil {
				t.Fatal(err)
			}
			for _, sets := range [][][]byte{config.VPS, config.SPS, config.PPS} {
				for _, set := range sets {
					es = append(append(es, 0, 0, 0, 1), set...)
				}
			}
		}
		n++
		es = media.AppendAnnexB(es, f.Data)
	}
	out := filepath.Join(t.TempDir(), "out.h265")
	if err := os.WriteFile(out, es, 0o600); err != nil {
		t.Fatal(err)
	}
	count := runTool(t, "ffprobe", "-v", "error", "-count_frames", "-select_streams", "v", "-show_entries",
		"stream=nb_read_frames", "-of", "csv=p=0", out)
	if got := atoi(t, count.output()); got != n {
		t.Errorf("ffprobe decodes %d pictures of %d", got, n)
	}
	sum := func(in string) string {
		return runTool(t, "ffmpeg", "-v", "error", "-nostdin", "-xerror", "-i", in, "-map", "0:v", "-vsync", "passthrough", "-f", "md5", "-").output()
	}
	if got, want := sum(out), sum(file); got != want {
		t.Errorf("the pictures differ: %s, want %s", got, want)
	}
}

// moments returns the times of frames.
func moments(frames []*media.Frame) map[string][]moment {
	kinds := map[string][]moment{}
	for _, f := range frames {
		kind := map[media.Kind]string{media.Video: "video", media.Audio: "audio"}[f.Track.Codec.Kind()]
		kinds[kind] = append(kinds[kind], moment{f.DTS.Seconds(), f.PTS.Seconds()})
	}
	return kinds
}

package httplive

import (
	"bytes"
	"io"
	"math"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/format/bmff"
	"github.com/hookline/hookline/internal/format/mpegts"
	"github.com/hookline/hookline/internal/formattest"
	"github.com/hookline/hookline/internal/media"
	"github.com/hookline/hookline/internal/stream"
)

// watch plays a stream to its end. It has attached, or waits for the stream, when it returns.
func (b *bench) watch(t *testing.T, path string) <-chan []byte {
	t.Helper()
	before := b.hub.Stats()
	done := make(chan []byte, 1)
	go func() {
		defer close(done)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.url+path, http.NoBody)
		if err != nil {
			t.Error(err)
			return
		}
		res, err := b.client.Do(req)
		if err != nil {
			t.Error(err)
			return
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != http.StatusOK {
			t.Error(res.Status, err)
		}
		done <- body
	}()
	for s := b.hub.Stats(); s.Viewers+s.Waiting == before.Viewers+before.Waiting; s = b.hub.Stats() {
		time.Sleep(time.Millisecond)
	}
	return done
}

// announce tells which tracks will come.
func announce(p *stream.Publisher, frames []*media.Frame) {
	video := slices.ContainsFunc(frames, func(f *media.Frame) bool { return f.Track.Codec.Kind() == media.Video })
	audio := slices.ContainsFunc(frames, func(f *media.Frame) bool { return f.Track.Codec.Kind() == media.Audio })
	p.Metadata(nil, video, audio, 0, 0, 0)
}

func write(t *testing.T, p *stream.Publisher, frames []*media.Frame, shift time.Duration) {
	t.Helper()
	for _, f := range frames {
		g := *f
		g.DTS, g.PTS = f.DTS+shift, f.PTS+shift
		if err := p.WriteFrame(&g); err != nil {
			t.Fatal(err)
		}
	}
}

func ofKind(frames []*media.Frame, k media.Kind) []*media.Frame {
	return slices.DeleteFunc(slices.Clone(frames), func(f *media.Frame) bool { return f.Track.Codec.Kind() != k })
}

func demux(wire []byte) []*media.Frame {
	var frames []*media.Frame
	d := mpegts.NewDemuxer(func(f *media.Frame) { frames = append(frames, f) })
	_, _ = d.Write(wire)
	d.Flush()
	return frames
}

// TestEveryFrame: who waits for a stream gets every frame of it, as TS and as fMP4, at the right time, and ffmpeg decodes it.
func TestEveryFrame(t *testing.T) {
	for _, c := range formattest.Clips(t) {
		t.Run(c.Name, func(t *testing.T) {
			b := newBench(t)
			b.plane.patient = true
			ts, mp4 := b.watch(t, "/live/cam.live.ts"), b.watch(t, "/live/cam.live.mp4")
			p := b.publish(t, "cam")
			announce(p, c.Frames)
			write(t, p, c.Frames, 0)
			p.Close(fact.EndUnpublish)
			checkTS(t, <-ts, c)
			checkFMP4(t, <-mp4, c)
		})
	}
}

func checkTS(t *testing.T, wire []byte, c formattest.Clip) {
	t.Helper()
	frames := demux(wire)
	for _, k := range []media.Kind{media.Video, media.Audio} {
		got, want := ofKind(frames, k), ofKind(c.Frames, k)
		if len(got) != len(want) {
			t.Fatalf("TS: kind %d: %d frames of %d", k, len(got), len(want))
		}
		for i := range got {
			if d := got[i].PTS - want[i].PTS - (got[0].PTS - want[0].PTS); d.Abs() > time.Millisecond {
				t.Fatalf("TS: frame %d is off by %v", i, d)
			}
		}
	}
	checkOffset(t, "TS", first(frames, media.Video), first(frames, media.Audio), c)
	if c.Name != "mulaw" && c.Name != "h264_alaw" { // FFmpeg does not know G.711 in TS
		formattest.Decode(t, "live.ts", wire)
	}
}

func first(frames []*media.Frame, k media.Kind) float64 {
	if f := ofKind(frames, k); len(f) > 0 {
		return f[0].PTS.Seconds()
	}
	return math.NaN()
}

// checkOffset compares how far sound and picture are apart.
func checkOffset(t *testing.T, format string, video, audio float64, c formattest.Clip) {
	t.Helper()
	want := first(c.Frames, media.Video) - first(c.Frames, media.Audio)
	if d := video - audio - want; !math.IsNaN(want) && !(math.Abs(d) < 0.060) {
		t.Errorf("%s: sound and picture are %v s apart, want %v", format, video-audio, want)
	}
}

func checkFMP4(t *testing.T, wire []byte, c formattest.Clip) {
	t.Helper()
	packets, _ := formattest.Probe(t, "live.mp4", wire)
	begin := map[string]float64{"video": math.NaN(), "audio": math.NaN()}
	for kind, name := range map[media.Kind]string{media.Video: "video", media.Audio: "audio"} {
		got := slices.DeleteFunc(slices.Clone(packets), func(p formattest.Packet) bool { return p.Kind != name })
		want := ofKind(c.Frames, kind)
		if len(got) != len(want) {
			t.Fatalf("fMP4: %d %s packets of %d", len(got), name, len(want))
		}
		for i, g := range got {
			if i == 0 {
				begin[name] = g.PTS
			} else if g.DTS <= got[i-1].DTS {
				t.Fatalf("fMP4: DTS %v after %v", g.DTS, got[i-1].DTS)
			}
			if d := g.PTS - got[0].PTS - (want[i].PTS - want[0].PTS).Seconds(); math.Abs(d) > 0.003 {
				t.Fatalf("fMP4: %s %d is off by %v s", name, i, d)
			}
		}
	}
	checkOffset(t, "fMP4", begin["video"], begin["audio"], c)
	formattest.Decode(t, "live.mp4", wire)
}

// TestLate: who comes later starts at the newest key frame with all that it needs.
func TestLate(t *testing.T) {
	b := newBench(t)
	c := formattest.Named(t, "h264_aac_bframes")
	p := b.publish(t, "cam")
	announce(p, c.Frames)
	length := c.Frames[len(c.Frames)-1].DTS + 100*time.Millisecond
	write(t, p, c.Frames, 0)
	write(t, p, c.Frames, length)
	ts, mp4 := b.watch(t, "/live/cam?schema=ts"), b.watch(t, "/live/cam?schema=fmp4")
	write(t, p, c.Frames, 2*length)
	p.Close(fact.EndUnpublish)
	wire := <-ts
	video := ofKind(demux(wire), media.Video)
	want := ofKind(c.Frames, media.Video)
	back := slices.Clone(want)
	slices.Reverse(back)
	cached := 1 + slices.IndexFunc(back, func(f *media.Frame) bool { return f.Key })
	if want := len(want) + cached; len(video) != want || !video[0].Key {
		t.Errorf("TS: %d pictures, want %d", len(video), want)
	}
	formattest.Decode(t, "late.ts", wire)
	wire = <-mp4
	packets, _ := formattest.Probe(t, "late.mp4", wire)
	if n := slices.IndexFunc(packets, func(p formattest.Packet) bool { return p.Kind == "video" }); n < 0 || !packets[n].Key {
		t.Errorf("fMP4: it starts with %+v", packets[:min(len(packets), 3)])
	}
	formattest.Decode(t, "late.mp4", wire)
}

// TestOtherConfiguration: a change in mid-stream brings a new PMT or init segment, and readers go on.
func TestOtherConfiguration(t *testing.T) {
	b := newBench(t)
	b.plane.patient = true
	with, without := formattest.Named(t, "h264_aac_bframes"), formattest.Named(t, "h264_alaw")
	ts, mp4 := b.watch(t, "/live/cam.live.ts"), b.watch(t, "/live/cam.live.mp4")
	p := b.publish(t, "cam")
	announce(p, with.Frames)
	write(t, p, with.Frames, 0)
	write(t, p, without.Frames, with.Frames[len(with.Frames)-1].DTS+40*time.Millisecond)
	p.Close(fact.EndUnpublish)
	frames := demux(<-ts)
	codecs := map[media.Codec]int{}
	for _, f := range frames {
		codecs[f.Track.Codec]++
	}
	want := map[media.Codec]int{
		media.AAC: len(ofKind(with.Frames, media.Audio)), media.PCMA: len(ofKind(without.Frames, media.Audio)),
		media.H264: len(ofKind(with.Frames, media.Video)) + len(ofKind(without.Frames, media.Video)),
	}
	for c, n := range want {
		if codecs[c] != n {
			t.Errorf("TS: %d frames of %v, want %d", codecs[c], c, n)
		}
	}
	movies, fragments := 0, 0
	for typ := range bmff.Boxes(<-mp4) {
		switch typ {
		case "moov":
			movies++
		case "moof":
			fragments++
		}
	}
	if movies < 2 || fragments != len(frames) {
		t.Errorf("fMP4: %d init segments, %d fragments of %d", movies, fragments, len(frames))
	}
}

// TestNotCarried: a schema that nobody could play does not register.
func TestNotCarried(t *testing.T) {
	b := newBench(t)
	p := b.publish(t, "cam")
	track := &media.Track{Codec: media.JPEG}
	p.Metadata(nil, true, false, 0, 0, 0)
	if err := p.WriteFrame(&media.Frame{Track: track, Key: true, Data: []byte{0xff, 0xd8}}); err != nil {
		t.Fatal(err)
	}
	for _, s := range b.hub.List(stream.Filter{}) {
		if s.Schema != "rtmp" {
			t.Errorf("%s is registered", s.Schema)
		}
	}
	p.Close(fact.EndUnpublish)
}

func TestPackagersKeepTheirWord(t *testing.T) {
	for _, c := range formattest.Clips(t) {
		for _, f := range Formats(true)[1:] {
			k := f.New(stream.Program{Tracks: c.Tracks})
			var sum []byte
			for _, fr := range c.Frames {
				n := k.(stream.Sizer).Size(fr)
				out := k.Append(nil, fr)
				if len(out) > n || len(out) == 0 {
					t.Fatalf("%s: %s: %d bytes, announced %d", c.Name, f.Name, len(out), n)
				}
				sum = append(sum, out...)
			}
			if bytes.Contains(sum, []byte("moov")) {
				t.Errorf("%s: %s: an init segment among the frames", c.Name, f.Name)
			}
		}
	}
}

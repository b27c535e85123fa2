package mpegts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/asticode/go-astits"

	"github.com/hookline/hookline/internal/formattest"
	"github.com/hookline/hookline/internal/media"
)

func mux(c formattest.Clip) []byte {
	m := NewMuxer(c.Tracks)
	var out []byte
	for _, f := range c.Frames {
		out = m.Append(out, f)
	}
	return out
}

func demux(b []byte, piece int) ([]*media.Frame, Stats) {
	var frames []*media.Frame
	d := NewDemuxer(func(f *media.Frame) { frames = append(frames, f) })
	for len(b) > 0 {
		n := min(piece, len(b))
		_, _ = d.Write(b[:n])
		b = b[n:]
	}
	d.Flush()
	return frames, d.Stats()
}

func ofKind(frames []*media.Frame, k media.Kind) []*media.Frame {
	return slices.DeleteFunc(slices.Clone(frames), func(f *media.Frame) bool { return f.Track.Codec.Kind() != k })
}

// same demands the same access units per track, with times shifted by Delay, exact to a tick.
func same(t *testing.T, got, want []*media.Frame) {
	t.Helper()
	for _, k := range []media.Kind{media.Video, media.Audio} {
		got, want := ofKind(got, k), ofKind(want, k)
		if len(got) != len(want) {
			t.Fatalf("kind %d: %d frames of %d", k, len(got), len(want))
		}
		for i, w := range want {
			g := got[i]
			late := func(a, b time.Duration) bool { return (a - b - Delay).Abs() > 2*time.Second/90000 }
			switch {
			case g.Track.Codec != w.Track.Codec:
				t.Fatalf("frame %d is %v", i, g.Track.Codec)
			case !bytes.Equal(strip(g), strip(w)):
				t.Fatalf("%v %d: %d bytes, want %d", w.Track.Codec, i, len(g.Data), len(w.Data))
			case g.Key != w.Key || late(g.DTS, w.DTS) || late(g.PTS, w.PTS):
				t.Fatalf("%v %d: %v %v %v, want %v %v %v", w.Track.Codec, i, g.DTS, g.PTS, g.Key, w.DTS, w.PTS, w.Key)
			}
		}
	}
}

// strip returns the data without what the muxer moves about: parameter sets and delimiters.
func strip(f *media.Frame) []byte {
	if f.Track.Codec.Kind() == media.Audio {
		return f.Data
	}
	var out []byte
	for nalu := range media.NALUnits(f.Data) {
		if !isAUD(f.Track.Codec, nalu) {
			out = appendUnit(out, bytes.TrimRight(nalu, "\x00"))
		}
	}
	return withoutSets(f.Track.Codec, out)
}

func TestThereAndBack(t *testing.T) {
	for _, c := range formattest.Clips(t) {
		wire := mux(c)
		for _, piece := range []int{len(wire), 1316, 100, 1} {
			t.Run(fmt.Sprint(c.Name, "/", piece), func(t *testing.T) {
				got, stats := demux(wire, piece)
				same(t, got, c.Frames)
				if stats.Lost+stats.Dropped > 0 || stats.Resyncs != 1 || int(stats.Packets) != len(wire)/PacketSize {
					t.Errorf("%+v", stats)
				}
				for i, track := range c.Tracks {
					g := ofKind(got, track.Codec.Kind())[0].Track
					if track.Codec != media.AAC && track.Codec != media.Opus && !bytes.Equal(g.Config, track.Config) ||
						g.SampleRate != track.SampleRate || g.Channels != track.Channels || g.Width != track.Width {
						t.Errorf("track %d: %+v, want %+v", i, g, track)
					}
				}
			})
		}
	}
}

// TestFFprobe compares what ffprobe finds with what was written, and lets ffmpeg decode it.
func TestFFprobe(t *testing.T) {
	names := map[media.Codec]string{
		media.H264: "h264", media.H265: "hevc", media.AAC: "aac", media.MP3: "mp3", media.Opus: "opus",
		media.PCMA: "", media.PCMU: "", // FFmpeg knows no stream type for them
	}
	for _, c := range formattest.Clips(t) {
		t.Run(c.Name, func(t *testing.T) {
			if c.Name == "mulaw" {
				return // nothing that ffprobe knows
			}
			wire := mux(c)
			packets, codecs := formattest.Probe(t, "out.ts", wire)
			for _, track := range c.Tracks {
				if n := names[track.Codec]; n != "" && !slices.Contains(codecs, n) {
					t.Errorf("no %s in %v", n, codecs)
				}
			}
			for kind, name := range map[media.Kind]string{media.Video: "video", media.Audio: "audio"} {
				want := ofKind(c.Frames, kind)
				if len(want) == 0 || names[want[0].Track.Codec] == "" {
					continue
				}
				got := slices.DeleteFunc(slices.Clone(packets), func(p formattest.Packet) bool { return p.Kind != name })
				if len(got) != len(want) {
					t.Fatalf("%d %s packets of %d", len(got), name, len(want))
				}
				for i, f := range want {
					for at, in := range map[float64]time.Duration{got[i].DTS: f.DTS, got[i].PTS: f.PTS} {
						// ffprobe counts the times of sound from one stamp on
						if math.Abs(at-(in+Delay).Seconds()) > 0.003 {
							t.Fatalf("%s %d at %v, want %v", name, i, at, in+Delay)
						}
					}
				}
			}
			if c.Name != "h264_alaw" {
				formattest.Decode(t, "out.ts", wire)
			}
		})
	}
}

// TestAstits checks PSI, PES stamps, continuity and PCR with another implementation.
func TestAstits(t *testing.T) {
	for _, c := range formattest.Clips(t) {
		t.Run(c.Name, func(t *testing.T) {
			checkPackets(t, mux(c))
			checkData(t, c)
		})
	}
}

func checkPackets(t *testing.T, wire []byte) {
	t.Helper()
	dmx := astits.NewDemuxer(context.Background(), bytes.NewReader(wire), astits.DemuxerOptPacketSize(PacketSize))
	last, pcr, n := map[uint16]uint8{}, int64(-1), 0
	for {
		p, err := dmx.NextPacket()
		if errors.Is(err, astits.ErrNoMorePackets) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		n++
		if cc, ok := last[p.Header.PID]; ok && p.Header.HasPayload && p.Header.ContinuityCounter != (cc+1)&15 {
			t.Fatalf("packet %d of PID %d: counter %d after %d", n, p.Header.PID, p.Header.ContinuityCounter, cc)
		}
		last[p.Header.PID] = p.Header.ContinuityCounter
		if a := p.AdaptationField; a != nil && a.HasPCR {
			if at := a.PCR.Base; pcr >= 0 && (at < pcr || at-pcr > 9000) {
				t.Errorf("PCR %d after %d", at, pcr)
			}
			pcr = a.PCR.Base
		}
	}
	if n != len(wire)/PacketSize || pcr < 0 {
		t.Errorf("%d packets, PCR %d", n, pcr)
	}
}

func checkData(t *testing.T, c formattest.Clip) {
	t.Helper()
	dmx := astits.NewDemuxer(context.Background(), bytes.NewReader(mux(c)))
	frames := map[uint16][]*media.Frame{pidVideo: ofKind(c.Frames, media.Video), pidAudio: ofKind(c.Frames, media.Audio)}
	streams := -1
	for {
		d, err := dmx.NextData()
		if errors.Is(err, astits.ErrNoMorePackets) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if d.PMT != nil {
			streams = len(d.PMT.ElementaryStreams)
		}
		if d.PES == nil {
			continue
		}
		left := frames[d.PID]
		if len(left) == 0 {
			t.Fatalf("more PES packets on PID %d than frames", d.PID)
		}
		f, o := left[0], d.PES.Header.OptionalHeader
		frames[d.PID] = left[1:]
		if o.PTS.Base != ticks(f.PTS+Delay) || o.DTS != nil && o.DTS.Base != ticks(f.DTS+Delay) {
			t.Fatalf("PTS %d of frame %v", o.PTS.Base, f.PTS)
		}
	}
	if streams != len(c.Tracks) || len(frames[pidVideo])+len(frames[pidAudio]) > 0 {
		t.Errorf("%d streams; %d and %d frames are missing", streams, len(frames[pidVideo]), len(frames[pidAudio]))
	}
}

// TestKeyFrame: where a picture can be started at, everything that a reader needs comes first.
func TestKeyFrame(t *testing.T) {
	for _, name := range []string{"h264_aac_bframes", "hevc"} {
		c := formattest.Named(t, name)
		m := NewMuxer(c.Tracks)
		keys := 0
		for _, f := range c.Frames {
			wire := m.Append(nil, f)
			if len(wire)%PacketSize != 0 || len(wire) > m.Size(f) {
				t.Fatalf("%d bytes, announced %d", len(wire), m.Size(f))
			}
			if !f.Key {
				continue
			}
			keys++
			got, _ := demux(wire, len(wire))
			if len(got) != 1 || !got[0].Key || !bytes.Equal(got[0].Track.Config, f.Track.Config) {
				t.Fatalf("%s: a key frame alone gives %d frames", name, len(got))
			}
		}
		if keys < 1 {
			t.Error("no key frame")
		}
	}
}

func TestWrap(t *testing.T) {
	c := formattest.Named(t, "h264_aac_bframes")
	start := time.Duration(1<<33)*time.Second/90000 - 500*time.Millisecond
	for i, f := range c.Frames {
		g := *f
		g.DTS, g.PTS = g.DTS+start, g.PTS+start
		c.Frames[i] = &g
	}
	got, stats := demux(mux(c), 1316)
	if stats.Dropped > 0 {
		t.Errorf("%+v", stats)
	}
	same(t, got, c.Frames)
	// It is the same if only one of PTS and DTS has wrapped.
	if d := signed33((1<<33 + 100 - (1<<33 - 50)) & tsMask); d != 150 {
		t.Error(d)
	}
}

func TestChange(t *testing.T) {
	c := formattest.Named(t, "h264_aac_bframes")
	video := c.Tracks[slices.IndexFunc(c.Tracks, func(t *media.Track) bool { return t.Codec == media.H264 })]
	m := NewMuxer([]*media.Track{video})
	wire := m.Append(nil, ofKind(c.Frames, media.Video)[0])
	if m.SetTracks([]*media.Track{video}) {
		t.Error("the same tracks are a change")
	}
	again := *video
	if m.SetTracks([]*media.Track{&again}) {
		t.Error("another configuration is a change of the PMT")
	}
	if !m.SetTracks(c.Tracks) {
		t.Error("a further track is no change")
	}
	for _, f := range c.Frames[1:] {
		wire = m.Append(wire, f)
	}
	got, _ := demux(wire, 188)
	if n := len(ofKind(got, media.Audio)); n != len(ofKind(c.Frames, media.Audio)) {
		t.Errorf("%d frames of the new track", n)
	}
	if v := m.version; v != 1 {
		t.Errorf("version %d", v)
	}
}

// TestGap: what AppendGap says lets a reader go on without taking what is missing for a loss.
func TestGap(t *testing.T) {
	c := formattest.Named(t, "h264_aac_bframes")
	m := NewMuxer(c.Tracks)
	var wire []byte
	for i, f := range c.Frames {
		b := m.Append(nil, f)
		switch {
		case i < 10 || i >= 20:
			wire = append(wire, b...)
		case i == 19:
			wire = m.AppendGap(wire)
		}
	}
	got, stats := demux(wire, 1316)
	if stats.Lost > 0 || len(got) != len(c.Frames)-10 {
		t.Errorf("%+v, %d frames of %d", stats, len(got), len(c.Frames))
	}
	checkGap(t, wire)
}

func checkGap(t *testing.T, wire []byte) {
	t.Helper()
	n := 0
	for ; len(wire) > 0; wire = wire[PacketSize:] {
		if _, gap, ok := adaptation(wire[:PacketSize]); gap && ok {
			n++
		}
	}
	if n != 2 {
		t.Errorf("%d discontinuities", n)
	}
}

func TestCarries(t *testing.T) {
	for config, want := range map[string]bool{
		"\x11\x90": true, "\x11\xb8": true, // LC stereo, 7.1
		"\xf8\xe6\x40": false, // object type 39
		"\x11\x80":     false, // no channel configuration
	} {
		track, err := media.NewAudioTrack(media.AAC, []byte(config), 48000, 2, 16)
		if err != nil {
			continue
		}
		if Carries(track) != want {
			t.Errorf("%x: %v", config, !want)
		}
	}
}

func TestAllocations(t *testing.T) {
	c := formattest.Named(t, "h264_aac_bframes")
	m := NewMuxer(c.Tracks)
	dst := make([]byte, 0, 1<<20)
	run := func() {
		dst = dst[:0]
		for _, f := range c.Frames[:20] {
			dst = m.Append(dst, f)
		}
	}
	run()
	if n := testing.AllocsPerRun(20, run); n > 1 { // FindParameterSets of the key frame
		t.Errorf("%v allocations for 20 frames", n)
	}
}

func BenchmarkAppend(b *testing.B) {
	c := formattest.Named(b, "h264_aac_bframes")
	f := *ofKind(c.Frames, media.Video)[1]
	f.Data = appendUnit(nil, bytes.Repeat([]byte{0x41}, 10_000))
	m := NewMuxer(c.Tracks)
	var dst []byte
	b.SetBytes(10_000)
	b.ReportAllocs()
	for b.Loop() {
		dst = m.Append(dst[:0], &f)
	}
}

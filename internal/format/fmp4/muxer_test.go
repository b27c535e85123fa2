package fmp4

import (
	"bytes"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/Eyevinn/mp4ff/mp4"

	"github.com/hookline/hookline/internal/formattest"
	"github.com/hookline/hookline/internal/media"
)

// mux writes a file with a fragment for every n frames.
func mux(c formattest.Clip, n int) []byte {
	m := NewMuxer(c.Tracks)
	out := m.AppendInit(nil)
	for i, f := range c.Frames {
		if i > 0 && i%n == 0 {
			out = m.AppendFragment(out, f)
		}
		m.Add(f)
	}
	return m.AppendFragment(out, nil)
}

func ofKind(frames []*media.Frame, k media.Kind) []*media.Frame {
	return slices.DeleteFunc(slices.Clone(frames), func(f *media.Frame) bool { return f.Track.Codec.Kind() != k })
}

// TestFFprobe: what ffprobe finds is what was written, and ffmpeg decodes it, however it was cut.
func TestFFprobe(t *testing.T) {
	names := map[media.Codec]string{
		media.H264: "h264", media.H265: "hevc", media.AAC: "aac", media.MP3: "mp3", media.Opus: "opus",
		media.PCMA: "pcm_alaw", media.PCMU: "pcm_mulaw",
	}
	for _, c := range formattest.Clips(t) {
		for _, n := range []int{1, 10} {
			file := mux(c, n)
			packets, codecs := formattest.Probe(t, "out.mp4", file)
			for _, track := range c.Tracks {
				if !slices.Contains(codecs, names[track.Codec]) {
					t.Errorf("%s: no %v in %v", c.Name, track.Codec, codecs)
				}
			}
			for kind, name := range map[media.Kind]string{media.Video: "video", media.Audio: "audio"} {
				want := ofKind(c.Frames, kind)
				got := slices.DeleteFunc(slices.Clone(packets), func(p formattest.Packet) bool { return p.Kind != name })
				if len(got) != len(want) {
					t.Fatalf("%s/%d: %d %s packets of %d", c.Name, n, len(got), name, len(want))
				}
				for i, f := range want {
					if got[i].Size != len(f.Data) || kind == media.Video && got[i].Key != f.Key ||
						math.Abs(got[i].DTS-f.DTS.Seconds()) > 0.002 || math.Abs(got[i].PTS-f.PTS.Seconds()) > 0.002 {
						t.Fatalf("%s/%d: %s %d is %+v, want %v %v", c.Name, n, name, i, got[i], f.DTS, f.PTS)
					}
					if i > 0 && got[i].DTS <= got[i-1].DTS {
						t.Fatalf("%s/%d: DTS %v after %v", c.Name, n, got[i].DTS, got[i-1].DTS)
					}
				}
			}
			formattest.Decode(t, "out.mp4", file)
		}
	}
}

// TestMP4ff reads every sample with another implementation, and encodes what it read to the same bytes.
func TestMP4ff(t *testing.T) {
	for _, c := range formattest.Clips(t) {
		for _, n := range []int{1, 10} {
			file := mux(c, n)
			parsed, err := mp4.DecodeFile(bytes.NewReader(file))
			if err != nil {
				t.Fatal(c.Name, err)
			}
			left := map[uint32][]*media.Frame{VideoID: ofKind(c.Frames, media.Video), AudioID: ofKind(c.Frames, media.Audio)}
			for _, segment := range parsed.Segments {
				for _, fragment := range segment.Fragments {
					for _, traf := range fragment.Moof.Trafs {
						id := traf.Tfhd.TrackID
						trex, _ := parsed.Init.Moov.Mvex.GetTrex(id)
						samples, err := fragment.GetFullSamples(trex)
						if err != nil {
							t.Fatal(c.Name, err)
						}
						left[id] = compare(t, c.Name, samples, left[id])
					}
				}
			}
			if len(left[VideoID])+len(left[AudioID]) > 0 {
				t.Errorf("%s: %d and %d frames are missing", c.Name, len(left[VideoID]), len(left[AudioID]))
			}
		}
	}
}

func compare(t *testing.T, name string, samples []mp4.FullSample, want []*media.Frame) []*media.Frame {
	t.Helper()
	for _, s := range samples {
		if len(want) == 0 {
			t.Fatalf("%s: more samples than frames", name)
		}
		f := want[0]
		want = want[1:]
		scale := Timescale(f.Track)
		if !bytes.Equal(s.Data, f.Data) || s.Flags != mp4.SyncSampleFlags && (f.Key || f.Track.Codec.Kind() == media.Audio) {
			t.Fatalf("%s: sample at %v: %d bytes, flags %x", name, f.DTS, len(s.Data), s.Flags)
		}
		if d := int64(s.DecodeTime) - Ticks(f.DTS, scale); d > int64(scale)/500 || d < -int64(scale)/500 {
			t.Fatalf("%s: DTS %d, want %v", name, s.DecodeTime, f.DTS)
		}
	}
	return want
}

// TestSound: rounded stamps make no gaps, real gaps stay, and the two tracks stay together.
func TestSound(t *testing.T) {
	track, err := media.NewAudioTrack(media.AAC, []byte{0x12, 0x10}, 0, 0, 16) // 44,100 Hz
	if err != nil {
		t.Fatal(err)
	}
	m := NewMuxer([]*media.Track{track})
	var at time.Duration
	var want int64
	for i := range 1000 {
		if i == 500 {
			at += 200 * time.Millisecond // a pause
			want = Ticks(at.Truncate(time.Millisecond), 44100)
		}
		m.Add(&media.Frame{Track: track, DTS: at.Truncate(time.Millisecond), Data: []byte{1}})
		m.AppendFragment(nil, nil)
		if s := m.Samples()[0]; s.DTS != want || s.Duration != 1024 || !s.Key {
			t.Fatalf("sample %d: %+v, want %d", i, s, want)
		}
		want += 1024
		at += 1024 * time.Second / 44100
	}
}

// TestDurations: the frame that comes next makes the duration exact.
func TestDurations(t *testing.T) {
	c := formattest.Named(t, "h264_aac_bframes")
	m := NewMuxer(c.Tracks)
	video := ofKind(c.Frames, media.Video)
	m.Add(video[0])
	next := *video[1]
	next.DTS = video[0].DTS + 77*time.Millisecond
	m.AppendFragment(nil, &next)
	if d := m.Samples()[0].Duration; d != 77*90 {
		t.Errorf("%d ticks", d)
	}
	m.Add(&next)
	m.AppendFragment(nil, nil)
	if d := m.Samples()[0].Duration; d != 77*90 {
		t.Errorf("%d ticks without a next frame", d)
	}
}

func TestSamples(t *testing.T) {
	c := formattest.Named(t, "h264_aac_bframes")
	m := NewMuxer(c.Tracks)
	var out []byte
	for i, f := range c.Frames {
		m.Add(f)
		if i%7 != 6 {
			continue
		}
		begin := len(out)
		out = m.AppendFragment(out, nil)
		if m.Pending() != 0 || len(m.Samples()) != 7 {
			t.Fatalf("%d pending, %d samples", m.Pending(), len(m.Samples()))
		}
		for _, s := range m.Samples() {
			data := out[begin+s.Offset:][:s.Size]
			if !slices.ContainsFunc(c.Frames[i-6:i+1], func(f *media.Frame) bool { return bytes.Equal(f.Data, data) }) {
				t.Fatalf("%+v is no frame", s)
			}
		}
	}
	m.AppendFragment(nil, nil)
	if m.AppendFragment(nil, nil) != nil || len(m.Samples()) > 0 {
		t.Error("an empty fragment")
	}
}

func TestChange(t *testing.T) {
	c := formattest.Named(t, "h264_alaw")
	m := NewMuxer(c.Tracks)
	if m.SetTracks(c.Tracks) {
		t.Error("the same tracks are a change")
	}
	other := formattest.Named(t, "h264_aac_bframes")
	if !m.SetTracks(other.Tracks) {
		t.Error("other tracks are none")
	}
	key := ofKind(other.Frames, media.Video)[0]
	if m.Add(ofKind(c.Frames, media.Audio)[0]) || !m.Add(key) {
		t.Error("frames of tracks that are gone are taken, or those of the new ones not")
	}
	wire := m.AppendFragment(nil, nil)
	s := m.Samples()[0]
	data := wire[s.Offset:][:s.Size]
	if sets := media.FindParameterSets(media.H264, data); len(sets.SPS) != 1 || !bytes.HasSuffix(data, key.Data) || len(wire) > m.Size(key) {
		t.Errorf("no parameter sets in the key frame; %d bytes, announced %d", len(wire), m.Size(key))
	}
	if len(m.Movie()) != 2 || m.SetTracks(nil) != true || len(m.Movie()) != 0 {
		t.Error("tracks stay")
	}
}

func TestAllocations(t *testing.T) {
	c := formattest.Named(t, "h264_aac_bframes")
	m := NewMuxer(c.Tracks)
	dst := make([]byte, 0, 1<<20)
	run := func() {
		dst = dst[:0]
		for _, f := range c.Frames[:20] {
			m.Add(f)
			dst = m.AppendFragment(dst, nil)
		}
	}
	run()
	if n := testing.AllocsPerRun(20, run); n > 0 {
		t.Errorf("%v allocations for 20 frames", n)
	}
}

func BenchmarkAppend(b *testing.B) {
	c := formattest.Named(b, "h264_aac_bframes")
	f := *ofKind(c.Frames, media.Video)[1]
	f.Data = append([]byte{0, 0, 0x27, 0x0c}, make([]byte, 9996)...)
	m := NewMuxer(c.Tracks)
	var dst []byte
	b.SetBytes(10_000)
	b.ReportAllocs()
	for b.Loop() {
		m.Add(&f)
		dst = m.AppendFragment(dst[:0], nil)
	}
}

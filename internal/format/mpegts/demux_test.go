package mpegts

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/hookline/hookline/internal/formattest"
	"github.com/hookline/hookline/internal/media"
)

// TestResync: garbage before, between and instead of packets costs the frames that it hits, no others.
func TestResync(t *testing.T) {
	c := formattest.Named(t, "h264_aac_bframes")
	wire := mux(c)
	garbage := bytes.Repeat([]byte{0x47, 0, 1}, 100)
	got, _ := demux(append(bytes.Clone(garbage), wire...), 1000)
	if len(got) != len(c.Frames) {
		t.Errorf("garbage before: %d frames of %d", len(got), len(c.Frames))
	}
	middle := len(wire) / 2 / PacketSize * PacketSize
	torn := append(append(bytes.Clone(wire[:middle]), garbage[:77]...), wire[middle:]...)
	got, stats := demux(torn, 1000)
	if len(got) < len(c.Frames)-3 || stats.Resyncs != 2 {
		t.Errorf("garbage between: %d frames of %d, %+v", len(got), len(c.Frames), stats)
	}
	lost := append(bytes.Clone(wire[:middle]), wire[middle+PacketSize:]...)
	got, stats = demux(lost, 1000)
	if len(got) < len(c.Frames)-2 || stats.Lost != 1 {
		t.Errorf("a packet lost: %d frames of %d, %+v", len(got), len(c.Frames), stats)
	}
	twice := append(bytes.Clone(wire[:middle]), wire[middle-PacketSize:]...)
	if got, stats = demux(twice, 1000); len(got) != len(c.Frames) || stats.Lost > 0 {
		t.Errorf("a packet twice: %d frames of %d, %+v", len(got), len(c.Frames), stats)
	}
}

// TestFFmpegWrote reads what another muxer wrote: sections and stamps of its own, sound of several frames per PES packet.
func TestFFmpegWrote(t *testing.T) {
	for _, c := range formattest.Clips(t) {
		if c.Name == "h264_alaw" || c.Name == "mulaw" || c.Name == "opus" {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			theirs := formattest.Tool(t, bytes.NewReader(mux(c)), "ffmpeg", "-v", "error", "-i", "-", "-c", "copy",
				"-copyts", "-muxdelay", "0", "-muxpreload", "0", "-f", "mpegts", "-")
			got, stats := demux(theirs, 1316)
			if stats.Lost > 0 {
				t.Errorf("%+v", stats)
			}
			for _, k := range []media.Kind{media.Video, media.Audio} {
				want := ofKind(c.Frames, k)
				got := ofKind(got, k)
				if len(got) != len(want) {
					t.Fatalf("%d frames of %d", len(got), len(want))
				}
				for i := range got {
					if !bytes.Equal(strip(got[i]), strip(want[i])) {
						t.Fatalf("frame %d differs", i)
					}
					if d := (got[i].DTS - got[0].DTS - want[i].DTS + want[0].DTS).Abs(); d > 3e6 {
						t.Fatalf("frame %d is %v off", i, d)
					}
				}
			}
		})
	}
}

func TestLimits(t *testing.T) {
	c := formattest.Named(t, "h264_alaw")
	m := NewMuxer(c.Tracks)
	wire := m.AppendTables(nil)
	f := *ofKind(c.Frames, media.Video)[0]
	f.Data = appendUnit(nil, bytes.Repeat([]byte{0x65}, MaxAccessUnit))
	wire = m.Append(wire, &f)
	for _, f := range c.Frames {
		wire = m.Append(wire, f)
	}
	got, stats := demux(wire, 4096)
	if len(got) != len(c.Frames) || stats.Dropped == 0 {
		t.Errorf("%d frames of %d, %+v", len(got), len(c.Frames), stats)
	}
}

// TestNoise: damaged streams do no harm.
func TestNoise(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, c := range formattest.Clips(t) {
		wire := mux(c)
		for range 50 {
			b := bytes.Clone(wire)
			for range 1 + rnd.IntN(30) {
				b[rnd.IntN(len(b))] = byte(rnd.Uint32())
			}
			demux(b, 1+rnd.IntN(2000))
		}
	}
}

func FuzzDemux(f *testing.F) {
	for _, c := range formattest.Clips(f) {
		wire := mux(c)
		f.Add(wire[:min(len(wire), 20*PacketSize)], uint16(188))
	}
	f.Fuzz(func(t *testing.T, b []byte, piece uint16) {
		frames, _ := demux(b, int(piece)+1)
		for _, fr := range frames {
			if fr.Track == nil || len(fr.Data) == 0 {
				t.Fatal("a frame without track or data")
			}
			if fr.Track.Codec.Kind() == media.Video && media.CheckNALUnits(fr.Data) != nil {
				t.Fatal("bad NAL units")
			}
		}
	})
}

package hls

import (
	"bytes"
	"log/slog"
	"testing"
	"time"

	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/media"
	"github.com/hookline/hookline/internal/stream"
)

// BenchmarkSegment is what a segmenter does with a second of 2.1 Mbit/s: pictures and sound to a file, and the playlists.
func BenchmarkSegment(b *testing.B) {
	for name, variant := range map[string]string{TS: TS, FMP4: FMP4, "low": FMP4} {
		b.Run(name, func(b *testing.B) {
			cfg := DefaultConfig()
			cfg.Logger = slog.New(slog.DiscardHandler)
			s := &Server{}
			s.cfg.Store(&cfg)
			video := &media.Track{Codec: media.H264, Config: []byte{1, 66, 0, 30, 255, 225, 0, 4, 0x67, 66, 0, 30, 1, 0, 2, 0x68, 0xce}, Width: 320, Height: 240}
			g := &segmenter{
				Inbox: stream.NewInbox(1), srv: s, cfg: &cfg, log: cfg.Logger, variant: variant, dir: b.TempDir(), ext: "." + variant,
				program: stream.Program{Tracks: []*media.Track{video}}, reported: true,
			}
			g.job.Stream = fact.Stream{App: "live", Stream: "cam"}
			if name == "low" { // and nobody asks
				g.low = newLowLatency(&cfg)
			}
			g.mux = newMuxer(variant, g.program.Tracks, g.low)
			data := append([]byte{0, 0, 41, 0, 0x41}, bytes.Repeat([]byte{0x5a}, 41*256-1)...)
			b.SetBytes(25 * int64(len(data)))
			b.ReportAllocs()
			at := time.Duration(0)
			for b.Loop() {
				for i := range 25 {
					if err := g.frame(&media.Frame{Track: video, DTS: at, PTS: at, Key: i == 0, Data: data}, i == 0); err != nil {
						b.Fatal(err)
					}
					at += 40 * time.Millisecond
				}
			}
			g.scrap()
		})
	}
}

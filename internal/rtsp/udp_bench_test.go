package rtsp

import (
	"context"
	"encoding/binary"
	"log/slog"
	"testing"
	"time"

	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/format/rtp"
	"github.com/hookline/hookline/internal/media"
	"github.com/hookline/hookline/internal/stream"
)

// BenchmarkDatagrams is what a publisher over UDP costs: a picture of 40 KiB in packets of 1,400 bytes, in order and with each
// tenth packet late; allocs/op is for all its packets.
func BenchmarkDatagrams(b *testing.B) {
	for name, late := range map[string]bool{"order": false, "late": true} {
		b.Run(name, func(b *testing.B) {
			w := newWorld()
			hub := stream.New(stream.DefaultConfig(), w, w, Formats(Packing{}))
			s := &session{srv: &Server{hub: hub}, cfg: &Config{KeepAlive: time.Minute}, log: slog.New(slog.DiscardHandler)}
			p := &publication{s: s}
			track := &media.Track{Codec: media.H264, Config: []byte{1, 66, 0, 30, 255, 225, 0, 4, 0x67, 66, 0, 30, 1, 0, 2, 0x68, 0xce}, Width: 320, Height: 240}
			if err := p.add(rtp.Format{Codec: media.H264, Known: true, ClockRate: 90000, PT: 96, Track: track}); err != nil {
				b.Fatal(err)
			}
			var err error
			p.publisher, err = hub.Publish(b.Context(), stream.PublishRequest{MediaInfo: fact.MediaInfo{
				Schema: FormatName, Protocol: "rtsp", Stream: fact.Stream{Vhost: fact.DefaultVhost, App: "live", Stream: "a"},
			}, Bytes: &p.bytes})
			if err != nil {
				b.Fatal(err)
			}
			t := p.tracks[0]
			t.report = time.Now().Add(time.Hour)
			p.publisher.Metadata(nil, true, false, 0, 0, 0)
			enc, err := rtp.NewEncoder(track, rtp.EncoderConfig{PT: 96, MTU: 1400})
			if err != nil {
				b.Fatal(err)
			}
			data := binary.BigEndian.AppendUint32(nil, 40<<10)
			data = append(append(data, 0x65), make([]byte, 40<<10-1)...)
			buf := make([]byte, 2048)
			var wire []byte
			var order [][]byte
			at, now := time.Duration(0), time.Now()
			b.ReportAllocs()
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				at += 40 * time.Millisecond
				now = now.Add(40 * time.Millisecond)
				wire = enc.Append(wire[:0], &media.Frame{Track: track, PTS: at, DTS: at, Key: true, Data: data})
				order = order[:0]
				for _, raw := range rtp.Packets(wire) {
					order = append(order, raw)
				}
				for i := 5; late && i+3 < len(order); i += 10 {
					order[i], order[i+1], order[i+2], order[i+3] = order[i+1], order[i+2], order[i+3], order[i]
				}
				for _, raw := range order {
					n := copy(buf, raw)
					if err := p.datagram(t, buf[:n], now); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(len(order)), "packets/op")
			p.publisher.Close(fact.EndUnpublish)
			if err := hub.Stop(context.Background()); err != nil {
				b.Fatal(err)
			}
		})
	}
}

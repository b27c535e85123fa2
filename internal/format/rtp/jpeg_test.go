package rtp

import (
	"bytes"
	"image"
	"image/jpeg"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/hookline/hookline/internal/media"
)

// TestJPEG: pictures in many packets come back as they were, although the memory of each packet is written over.
func TestJPEG(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	tr := &media.Track{Codec: media.JPEG, Width: 320, Height: 240}
	e, seq := encoder(t, tr), uint16(65530)
	d, err := NewDepacketizer(formatOf(media.JPEG))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		img := image.NewYCbCr(image.Rect(0, 0, 320, 240), image.YCbCrSubsampleRatio420)
		for j := range img.Y {
			img.Y[j] = byte(rng.Uint32())
		}
		var in bytes.Buffer
		if err := jpeg.Encode(&in, img, &jpeg.Options{Quality: 90}); err != nil {
			t.Fatal(err)
		}
		want, err := jpeg.Decode(bytes.NewReader(in.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		var got []Unit
		pkts := split(t, e.Append(nil, &media.Frame{Track: tr, PTS: time.Duration(i) * time.Second, Key: true, Data: in.Bytes()}), &seq)
		for j := range pkts {
			us, err := pushReused(d, &pkts[j])
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, us...)
		}
		if len(got) != 1 || len(pkts) < 10 {
			t.Fatalf("%d pictures in %d packets", len(got), len(pkts))
		}
		back, err := jpeg.Decode(bytes.NewReader(got[0].Data))
		if err != nil {
			t.Fatal(err)
		}
		a, b := back.(*image.YCbCr), want.(*image.YCbCr)
		if !bytes.Equal(a.Y, b.Y) || !bytes.Equal(a.Cb, b.Cb) {
			t.Error("another picture came back")
		}
	}
}

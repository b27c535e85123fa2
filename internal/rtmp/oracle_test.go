package rtmp

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/bluenviron/gortmplib"
	"github.com/bluenviron/gortmplib/pkg/codecs"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/flac"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/opus"

	"github.com/hookline/hookline/internal/media"
)

// oracle writes and reads one track by another implementation of Enhanced RTMP.
type oracle struct {
	track *gortmplib.Track
	codec media.Codec
	// write writes frame i at a time; read counts what comes.
	write func(w *gortmplib.Writer, t *gortmplib.Track, at time.Duration, i int) error
	read  func(r *gortmplib.Reader, t *gortmplib.Track, got func())
}

func oracles() []oracle {
	sequence := fromHex("0800000042abbfc3700be001") // that of the configuration which gortmplib makes up
	return []oracle{
		{
			&gortmplib.Track{Codec: &codecs.AV1{}}, media.AV1,
			func(w *gortmplib.Writer, t *gortmplib.Track, at time.Duration, i int) error {
				if i%10 == 0 {
					return w.WriteAV1(t, at, [][]byte{sequence, fromHex("30171400a0b010")})
				}
				return w.WriteAV1(t, at, [][]byte{fromHex("30290c29027020")})
			},
			func(r *gortmplib.Reader, t *gortmplib.Track, got func()) {
				r.OnDataAV1(t, func(time.Duration, [][]byte) { got() })
			},
		},
		{
			&gortmplib.Track{Codec: &codecs.VP9{}}, media.VP9,
			func(w *gortmplib.Writer, t *gortmplib.Track, at time.Duration, i int) error {
				frame := fromHex("86004092f0e14000004c6b5d")
				if i%10 == 0 {
					frame = fromHex("824983420013f00b360438241c184a000a407fd9fa3c771f")
				}
				return w.WriteVP9(t, at, frame)
			},
			func(r *gortmplib.Reader, t *gortmplib.Track, got func()) {
				r.OnDataVP9(t, func(time.Duration, []byte) { got() })
			},
		},
		{
			&gortmplib.Track{Codec: &codecs.H265{}}, media.H265,
			func(w *gortmplib.Writer, t *gortmplib.Track, at time.Duration, i int) error {
				nalu := fromHex("020188")
				if i%10 == 0 {
					nalu = fromHex("260188")
				}
				return w.WriteH265(t, at+40*time.Millisecond, at, [][]byte{nalu})
			},
			func(r *gortmplib.Reader, t *gortmplib.Track, got func()) {
				r.OnDataH265(t, func(time.Duration, time.Duration, [][]byte) { got() })
			},
		},
		{
			&gortmplib.Track{Codec: &codecs.FLAC{StreamInfo: &flac.StreamInfo{SampleRate: 48000, ChannelCount: 2, BitDepth: 24, MinBlockSize: 4608, MaxBlockSize: 4608}}}, media.FLAC,
			func(w *gortmplib.Writer, t *gortmplib.Track, at time.Duration, _ int) error {
				return w.WriteFLAC(t, at, []byte("\xff\xf8\xc9\x1a"))
			},
			func(r *gortmplib.Reader, t *gortmplib.Track, got func()) {
				r.OnDataFLAC(t, func(time.Duration, []byte) { got() })
			},
		},
		{
			&gortmplib.Track{Codec: &codecs.Opus{IDHeader: &opus.IDHeader{Version: 1, ChannelCount: 2, PreSkip: 312, InputSampleRate: 48000}}}, media.Opus,
			func(w *gortmplib.Writer, t *gortmplib.Track, at time.Duration, _ int) error {
				return w.WriteOpus(t, at, []byte("\xfc\xff\xfe"))
			},
			func(r *gortmplib.Reader, t *gortmplib.Track, got func()) {
				r.OnDataOpus(t, func(time.Duration, []byte) { got() })
			},
		},
		{
			&gortmplib.Track{Codec: &codecs.AC3{SampleRate: 48000, ChannelCount: 2}}, media.AC3,
			func(w *gortmplib.Writer, t *gortmplib.Track, at time.Duration, _ int) error {
				return w.WriteAC3(t, at, append(fromHex("0b77fe95144043e106f46370"), make([]byte, 756)...))
			},
			func(r *gortmplib.Reader, t *gortmplib.Track, got func()) {
				r.OnDataAC3(t, func(time.Duration, []byte) { got() })
			},
		},
	}
}

// TestOracle: another implementation publishes every codec, alone and beside a second track of its kind, and another reads
// what it published.
func TestOracle(t *testing.T) {
	for _, o := range oracles() {
		for _, extra := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v, more tracks %v", o.codec, extra), func(t *testing.T) {
				_, addr := startRealHub(t)
				u, err := url.Parse("rtmp://" + addr + "/live/a")
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				var wg sync.WaitGroup
				defer wg.Wait()
				defer cancel()
				wg.Go(func() {
					if err := oraclePublish(ctx, u, o, extra); err != nil && ctx.Err() == nil {
						t.Error(err)
					}
				})
				n, err := oraclePlay(ctx, u, o, 40)
				if err != nil || n < 40 {
					t.Errorf("%d frames, %v", n, err)
				}
			})
		}
	}
}

func oraclePublish(ctx context.Context, u *url.URL, o oracle, extra bool) error {
	c := &gortmplib.Client{URL: u, Publish: true}
	if err := c.Initialize(ctx); err != nil {
		return err
	}
	defer c.Close()
	tracks := []*gortmplib.Track{o.track}
	if extra {
		tracks = append(tracks, &gortmplib.Track{Codec: o.track.Codec})
	}
	w := &gortmplib.Writer{Conn: c, Tracks: tracks}
	if err := w.Initialize(); err != nil {
		return err
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		for _, track := range tracks {
			if err := o.write(w, track, time.Duration(i)*20*time.Millisecond, i); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func oraclePlay(ctx context.Context, u *url.URL, o oracle, want int) (n int, err error) {
	c := &gortmplib.Client{URL: u}
	if err := c.Initialize(ctx); err != nil {
		return 0, err
	}
	defer c.Close()
	r := &gortmplib.Reader{Conn: c}
	if err := r.Initialize(); err != nil {
		return 0, err
	}
	tracks := r.Tracks()
	if len(tracks) != 1 || tracks[0].Codec.ID() != o.track.Codec.ID() {
		return 0, errors.New("other tracks")
	}
	o.read(r, tracks[0], func() { n++ })
	for n < want {
		if err := r.Read(); err != nil {
			return n, err
		}
	}
	return n, nil
}

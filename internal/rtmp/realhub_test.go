package rtmp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"testing"
	"time"

	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/format/amf"
	"github.com/hookline/hookline/internal/format/flv"
	"github.com/hookline/hookline/internal/media"
	"github.com/hookline/hookline/internal/stream"
	"github.com/hookline/hookline/internal/stream/streamtest"
)

// factLog also hands out what registers, and an element for each player that waits for a stream.
type factLog struct {
	*streamtest.Plane
	began   chan *fact.Registered
	waiting chan struct{}
}

func newFactLog() *factLog {
	return &factLog{
		Plane: streamtest.New(stream.Options{EnableAudio: true, EnableRTMP: true, MaxTrack: 2}),
		began: make(chan *fact.Registered, 100), waiting: make(chan struct{}, 100),
	}
}

// NotFound implements stream.Gate.
func (l *factLog) NotFound(ctx context.Context, q stream.PlayQuestion) (bool, fact.Outcome) {
	l.waiting <- struct{}{}
	return l.Plane.NotFound(ctx, q)
}

// Raise implements stream.Facts.
func (l *factLog) Raise(f fact.Fact) {
	l.Plane.Raise(f)
	if r, ok := f.(*fact.Registered); ok {
		l.began <- r
	}
}

func startRealHub(t *testing.T) (facts *factLog, addr string) {
	t.Helper()
	facts = newFactLog()
	hub := stream.New(streamtest.Patient(), facts, facts, Formats(true))
	t.Cleanup(func() {
		if err := hub.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	_, addr = startServer(t, HubOf(hub), Config{})
	return facts, addr
}

// TestRealHub: the server and the hub understand each other, from the wait for a stream to its end.
func TestRealHub(t *testing.T) {
	facts, addr := startRealHub(t)
	view := dial(t, addr, "live/a")
	played := make(chan error, 1)
	go func() { played <- view.Play(t.Context()) }()

	pub := publisher(t, addr, "live/a?token=1")
	second := dial(t, addr, "live/a")
	var status *StatusError
	if err := second.Publish(t.Context()); !errors.As(err, &status) || status.Code != codePublishBadName {
		t.Errorf("second publisher: %v", err)
	}
	video, audio := tracks()
	if err := pub.WriteMetadata(video, audio); err != nil {
		t.Fatal(err)
	}
	const seconds = 2
	for i := range seconds * 25 {
		dts := time.Duration(i) * 40 * time.Millisecond
		if err := pub.WriteFrame(picture(video, dts, i%25 == 0, 2000)); err != nil {
			t.Fatal(err)
		}
		if err := pub.WriteFrame(sound(audio, dts)); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-played; err != nil {
		t.Fatal(err)
	}
	if err := pub.Unpublish(t.Context()); err != nil {
		t.Error(err)
	}
	frames := 0
	for {
		m, err := view.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if m.Type != TypeDataAMF0 && m.Body[1] != 0 {
			frames++
		}
	}
	if frames == 0 {
		t.Error("no frames")
	}
	if e := <-facts.Ended; e.Reason != fact.EndUnpublish || e.Bytes == 0 || e.Params != "token=1" {
		t.Errorf("ended as %+v", e)
	}
}

// TestRealHubFFmpeg: a real encoder and a real player through server and hub.
func TestRealHubFFmpeg(t *testing.T) {
	facts, addr := startRealHub(t)
	file := filepath.Join(t.TempDir(), "in.flv")
	out, err := run(t, "ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc=size=320x240:rate=25", "-f", "lavfi", "-i", "sine",
		"-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "25", "-c:a", "aac", "-t", "3", file)
	if err != nil {
		t.Fatalf("ffmpeg: %v\n%s", err, out)
	}
	url := "rtmp://" + addr + "/live/a"
	got := make(chan []string, 1)
	go func() { got <- packets(t, url) }()
	select { // a player that comes later would begin later
	case <-facts.waiting:
	case <-got:
		t.Fatal("the player has not waited")
	}
	if out, err := run(t, "ffmpeg", "-v", "error", "-re", "-i", file, "-c", "copy", "-f", "flv", url); err != nil {
		t.Errorf("ffmpeg: %v\n%s", err, out)
	}
	played, sent := <-got, packets(t, file)
	if v := len(ofKind(played, "video")); v < len(ofKind(sent, "video"))/2 {
		t.Errorf("%d pictures of %d", v, len(ofKind(sent, "video")))
	}
	if a := len(ofKind(played, "audio")); a < len(ofKind(sent, "audio"))/2 {
		t.Errorf("%d sounds of %d", a, len(ofKind(sent, "audio")))
	}
}

// TestCodecChange: a publisher that changes its codecs in mid-stream leaves its viewers with the right configuration, and
// with metadata that says so.
func TestCodecChange(t *testing.T) {
	_, addr := startRealHub(t)
	pub := publisher(t, addr, "live/a")
	video, audio := tracks()
	if err := pub.WriteMetadata(video, audio); err != nil {
		t.Fatal(err)
	}
	writeSome(t, pub)
	view := player(t, addr, "live/a")
	// What comes, in order: metadata by its codec ids, configurations, the first frame of each codec.
	seen := make(chan string, 100)
	go func() {
		defer close(seen)
		var d flv.Demuxer
		for {
			m, err := view.Read()
			if err != nil {
				return
			}
			var frames []*media.Frame
			switch m.Type {
			case TypeDataAMF0:
				values, err := amf.DecodeAll(m.Body)
				if err != nil || len(values) < 2 {
					t.Error(err)
					return
				}
				o, _ := amf.Members(values[1])
				seen <- fmt.Sprintf("ids %.0f %.0f", o.Number("videocodecid"), o.Number("audiocodecid"))
				continue
			case TypeVideo:
				frames, err = d.Video(0, m.Body)
			case TypeAudio:
				frames, err = d.Audio(0, m.Body)
			default:
			}
			if err != nil {
				t.Error(err)
			}
			for _, f := range frames {
				if !f.Config {
					seen <- f.Track.Codec.String()
				}
			}
		}
	}()
	expect := func(want ...string) {
		t.Helper()
		for got := range seen {
			if got == want[0] {
				want = want[1:]
			}
			if len(want) == 0 {
				return
			}
		}
		t.Fatalf("never came: %v", want)
	}
	expect("ids 7 10", "H264")
	av1, err := media.NewVideoTrack(media.AV1, fromHex("81000c000a0b000000043cfeccdaf90040"))
	if err != nil {
		t.Fatal(err)
	}
	at := time.Second
	if err := pub.WriteFrame(&media.Frame{Track: av1, DTS: at, PTS: at, Key: true, Data: fromHex("3206171400a0b010")}); err != nil {
		t.Fatal(err)
	}
	expect("ids 1635135537 10", "AV1")
	opus, err := media.NewAudioTrack(media.Opus, nil, 0, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := pub.WriteFrame(&media.Frame{Track: opus, DTS: at, PTS: at, Data: []byte("\xfc\xff\xfe")}); err != nil {
		t.Fatal(err)
	}
	expect("ids 1635135537 1332770163", "opus")
	if err := pub.WriteFrame(picture(video, 2*at, true, 100)); err != nil {
		t.Fatal(err)
	}
	expect("ids 7 1332770163", "H264")
}

// TestTracksJSON: what on_stream_changed says of the tracks, in ZLMediaKit's ids and names.
func TestTracksJSON(t *testing.T) {
	facts, addr := startRealHub(t)
	video := func(c media.Codec, config, data string) *media.Frame {
		track, err := media.NewVideoTrack(c, fromHex(config))
		if err != nil {
			t.Fatal(err)
		}
		return &media.Frame{Track: track, Key: true, Data: fromHex(data)}
	}
	audio := func(c media.Codec, config, data string) *media.Frame {
		track, err := media.NewAudioTrack(c, fromHex(config), 0, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		return &media.Frame{Track: track, Data: fromHex(data)}
	}
	for i, c := range []struct {
		video, audio *media.Frame
		want         string
	}{
		{
			video(media.AV1, "81000c000a0b000000043cfeccdaf90040", "3206171400a0b010"),
			audio(media.FLAC, "120012000002170014310bb80370000025800b8151a634c335f4b80e00d91a23b1b5", "fff8c91a"),
			"9 AV1 320x180, 100 FLAC 48000 Hz 2 channels 24 bits",
		},
		{
			video(media.VP9, "01000000000b820202020000", "824983420013f00b360438241c184a00"),
			audio(media.AC3, "", "0b77fe95144043e106f46370"),
			"8 VP9 320x180, 101 AC3 48000 Hz 2 channels 16 bits",
		},
		{
			video(media.VP8, "", "1062009d012a4001b4000007088585"),
			audio(media.EAC3, "", "0b7702ff3f87c00020802000"),
			"7 VP8 320x180, 102 EAC3 48000 Hz 6 channels 16 bits",
		},
	} {
		pub := publisher(t, addr, fmt.Sprintf("live/%d", i))
		if err := pub.WriteMetadata(c.video.Track, c.audio.Track); err != nil {
			t.Fatal(err)
		}
		for _, f := range []*media.Frame{c.video, c.audio} {
			if err := pub.WriteFrame(f); err != nil {
				t.Fatal(err)
			}
		}
		r := <-facts.began
		if len(r.Tracks) != 2 {
			t.Fatalf("%d tracks", len(r.Tracks))
		}
		v, a := r.Tracks[0], r.Tracks[1]
		got := fmt.Sprintf("%d %s %dx%d, %d %s %d Hz %d channels %d bits", v.CodecID, v.CodecIDName, *v.Width, *v.Height,
			a.CodecID, a.CodecIDName, *a.SampleRate, *a.Channels, *a.SampleBit)
		if got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}

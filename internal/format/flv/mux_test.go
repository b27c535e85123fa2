package flv

import (
	"bytes"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/hookline/hookline/internal/media"
)

func videoTrack(t testing.TB, codec media.Codec, config string) *media.Track {
	t.Helper()
	track, err := media.NewVideoTrack(codec, unhex(t, config))
	if err != nil {
		t.Fatal(err)
	}
	return track
}

func audioTrack(t testing.TB, codec media.Codec, config string, rate, channels int) *media.Track {
	t.Helper()
	track, err := media.NewAudioTrack(codec, unhex(t, config), rate, channels, 0)
	if err != nil {
		t.Fatal(err)
	}
	return track
}

func TestBodies(t *testing.T) {
	h264, h265 := videoTrack(t, media.H264, avc720), videoTrack(t, media.H265, hevc330)
	head := "4f70757348656164 01 02 000f 80bb0000 0000 00"
	for _, c := range []struct {
		name     string
		track    *media.Track
		enhanced bool
		sequence string
		key      bool
		cts      time.Duration
		body     string // before the data
	}{
		{"H264", h264, true, "17 00 000000" + avc720, true, 0, "17 01 000000"},
		{"H264, B-frame", h264, false, "17 00 000000" + avc720, false, 80 * time.Millisecond, "27 01 000050"},
		{"H264, before DTS", h264, false, "17 00 000000" + avc720, false, -time.Millisecond, "27 01 ffffff"},
		{"H264, beyond 24 bits", h264, false, "17 00 000000" + avc720, false, 3 * time.Hour, "27 01 7fffff"},
		{"H265 enhanced", h265, true, "90" + hvc1 + hevc330, true, 40 * time.Millisecond, "91" + hvc1 + "000028"},
		{"H265 enhanced, inter", h265, true, "90" + hvc1 + hevc330, false, 0, "a1" + hvc1 + "000000"},
		{"H265 legacy", h265, false, "1c 00 000000" + hevc330, true, 40 * time.Millisecond, "1c 01 000028"},
		{"AV1", videoTrack(t, media.AV1, av1Config), true, "90" + av01 + av1Config, true, 0, "91" + av01},
		{"AV1 legacy", videoTrack(t, media.AV1, av1Config), false, "1d 00 000000" + av1Config, false, 0, "2d 01 000000"},
		{"VP9", videoTrack(t, media.VP9, vp9Config), true, "90" + vp09 + vp9Config, false, 0, "a1" + vp09},
		{"VP9 legacy", videoTrack(t, media.VP9, vp9Config), false, "1f 00 000000" + vp9Config, true, 0, "1f 01 000000"},
		{"VP8 not configured", videoTrack(t, media.VP8, ""), true, "", true, 0, "91" + vp08},
		{"FLAC", audioTrack(t, media.FLAC, flacConfig, 0, 0), true, "90" + flac + flacConfig, false, 0, "91" + flac},
		{"FLAC, legacy asked", audioTrack(t, media.FLAC, flacConfig, 0, 0), false, "90" + flac + flacConfig, false, 0, "91" + flac},
		{"AC-3", audioTrack(t, media.AC3, "101140", 0, 0), true, "90" + ac3, false, 0, "91" + ac3},
		{"E-AC-3", audioTrack(t, media.EAC3, "0e00200f00", 0, 0), false, "90" + eac3, false, 0, "91" + eac3},
		{"H265 not configured", &media.Track{Codec: media.H265}, false, "", false, 0, "2c 01 000000"},
		{"AAC", audioTrack(t, media.AAC, "1188", 0, 0), true, "af 00 1188", false, 0, "af 01"},
		{"AAC not configured", &media.Track{Codec: media.AAC}, true, "", false, 0, "af 01"},
		{"PCMA", audioTrack(t, media.PCMA, "", 0, 0), true, "", false, 0, "72"},
		{"PCMU stereo", audioTrack(t, media.PCMU, "", 8000, 2), false, "", false, 0, "83"},
		{"MP3 48 kHz", audioTrack(t, media.MP3, "", 48000, 2), false, "", false, 0, "2f"},
		{"MP3 22 kHz", audioTrack(t, media.MP3, "", 22050, 1), false, "", false, 0, "2a"},
		{"MP3 11 kHz", audioTrack(t, media.MP3, "", 11025, 1), false, "", false, 0, "26"},
		{"MP3 8 kHz", audioTrack(t, media.MP3, "", 8000, 1), false, "", false, 0, "e2"},
		{"Opus enhanced", audioTrack(t, media.Opus, head, 0, 0), true, "90" + opus + head, false, 0, "91" + opus},
		{"Opus without header", audioTrack(t, media.Opus, "", 0, 2), true, "90" + opus + head, false, 0, "91" + opus},
		{"Opus legacy", audioTrack(t, media.Opus, head, 0, 0), false, "", false, 0, "df"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &media.Frame{Track: c.track, DTS: time.Second, PTS: time.Second + c.cts, Key: c.key, Data: []byte{0xaa}}
			typ := TypeOf(c.track)
			if config, key := Peek(typ, AppendBody(nil, f, c.enhanced)); config || key != c.key {
				t.Errorf("peeked %v, %v", config, key)
			}
			if config, key := Peek(typ, AppendSequenceHeader(nil, c.track, c.enhanced)); config != (c.sequence != "") || key {
				t.Errorf("peeked %v, %v in the sequence header", config, key)
			}
			if got := AppendBody([]byte{1}, f, c.enhanced); !bytes.Equal(got, unhex(t, "01"+c.body+"aa")) {
				t.Errorf("body %x", got)
			}
			header := AppendBodyHeader(nil, f, c.enhanced)
			if !bytes.Equal(header, unhex(t, c.body)) || len(header) > MaxBodyHeader {
				t.Errorf("header %x", header)
			}
			f.Config = true
			if got := AppendBody(nil, f, c.enhanced); !bytes.Equal(got, unhex(t, c.sequence)) {
				t.Errorf("sequence header %x", got)
			}
		})
	}
}

func TestCompositionTimeIsOfWholeMilliseconds(t *testing.T) {
	f := &media.Frame{Track: videoTrack(t, media.H264, avc720), DTS: 1999 * time.Microsecond, PTS: 3001 * time.Microsecond}
	if got := AppendBodyHeader(nil, f, false); !bytes.Equal(got, unhex(t, "27 01 000002")) { // 1 to 3
		t.Errorf("%x", got)
	}
}

func TestAppendTag(t *testing.T) {
	got := AppendTag([]byte{0xff}, TagAudio, 0x12345678*time.Millisecond, []byte{1}, nil, []byte{2, 3})
	if want := unhex(t, "ff 08 000003 345678 12 000000 010203 0000000e"); !bytes.Equal(got, want) {
		t.Errorf("%x", got)
	}
	for ts, want := range map[time.Duration]uint32{
		-time.Second: 0, 1999 * time.Microsecond: 1, (1<<32 + 5) * time.Millisecond: 5, math.MaxUint32 * time.Millisecond: math.MaxUint32,
	} {
		if got := Millis(ts); got != want {
			t.Errorf("%v: %d", ts, got)
		}
	}
	if got := AppendTag([]byte{0xff}, TagVideo, 0, make([]byte, MaxBody), []byte{1}); len(got) != 1 {
		t.Error("a body that is too large was written")
	}
}

func TestPackager(t *testing.T) {
	video, audio := videoTrack(t, media.H264, avc720), audioTrack(t, media.AAC, "1210", 0, 0)
	p := NewPackager(Program{Tracks: []*media.Track{video, audio}})
	out := p.Start()
	out = p.Append(out, &media.Frame{Track: video, Config: true, DTS: time.Second})
	out = p.Append(out, &media.Frame{Track: video, DTS: time.Second, PTS: time.Second, Key: true, Data: unhex(t, "00000002 6588")})
	out = p.Append(out, &media.Frame{Track: audio, DTS: time.Second, PTS: time.Second, Data: []byte{0x21}})
	changed := videoTrack(t, media.H264, avc1080)
	out = p.Append(out, &media.Frame{Track: changed, Config: true, DTS: 2 * time.Second})
	out = p.Append(out, &media.Frame{Track: changed, DTS: 2 * time.Second, PTS: 2 * time.Second, Key: true, Data: unhex(t, "00000002 6588")})
	out = p.Change(out, Program{Tracks: []*media.Track{changed}, Metadata: amf0(t, asOBS)})
	out = p.Append(out, &media.Frame{Track: changed, Config: true, DTS: 2 * time.Second})
	var got []string
	r := NewReader(bytes.NewReader(out))
	for {
		tag, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, strings.Join([]string{tag.Timestamp.String(), string('0' + rune(tag.Type%10)), hexStart(tag.Body)}, " "))
	}
	if !r.HasAudio() || !r.HasVideo() {
		t.Error("flags")
	}
	want := []string{
		"0s 8 0200", "0s 9 1700", "0s 8 af00", "1s 9 1701", "1s 8 af01",
		"2s 9 1700", "2s 9 1701", "2s 8 0200", "2s 9 1700",
	}
	if strings.Join(got, ", ") != strings.Join(want, ", ") {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	if !bytes.Contains(out, []byte("obs-output")) {
		t.Error("the publisher's metadata is missing")
	}
}

// Tracks that FLV can't carry are left out, whatever the hub has.
func TestPackagerLeavesOut(t *testing.T) {
	picture := videoTrack(t, media.JPEG, "")
	sound := audioTrack(t, media.AAC, "1210", 0, 0)
	p := NewPackager(Program{Tracks: []*media.Track{picture, sound}})
	out := p.Start()
	before := len(out)
	if out = p.Append(out, &media.Frame{Track: picture, Key: true, Data: []byte{0xff, 0xd8}}); len(out) != before {
		t.Error("a JPEG picture was written")
	}
	if r := NewReader(bytes.NewReader(out)); true {
		if _, err := r.Next(); err != nil || r.HasVideo() || !r.HasAudio() {
			t.Error("video is announced", err)
		}
	}
	if bytes.Contains(out, []byte("videocodecid")) {
		t.Error("video is in the metadata")
	}
}

func hexStart(b []byte) string {
	const digits = "0123456789abcdef"
	return string([]byte{digits[b[0]>>4], digits[b[0]&15], digits[b[1]>>4], digits[b[1]&15]})
}

func TestReader(t *testing.T) {
	file := AppendTag(AppendFileHeader(nil, true, false), TagAudio, time.Second, []byte{1, 2, 3})
	big := make([]byte, 200<<10)
	file = AppendTag(file, TagVideo, 2*time.Second, big)
	r := NewReader(iotest.OneByteReader(bytes.NewReader(file)))
	first, err1 := r.Next()
	second, err2 := r.Next()
	_, err3 := r.Next()
	if err1 != nil || err2 != nil || !errors.Is(err3, io.EOF) {
		t.Fatal(err1, err2, err3)
	}
	if first.Type != TagAudio || first.Timestamp != time.Second || !bytes.Equal(first.Body, []byte{1, 2, 3}) || !bytes.Equal(second.Body, big) {
		t.Error(first)
	}
	if !r.HasAudio() || r.HasVideo() {
		t.Error("flags")
	}
	longHeader := append(unhex(t, "464c5601050000000b ffff 00000000"), file[13:]...)
	if got, err := NewReader(bytes.NewReader(longHeader)).Next(); err != nil || len(got.Body) != 3 {
		t.Error(got, err)
	}
}

func TestReaderRefuses(t *testing.T) {
	good := AppendTag(AppendFileHeader(nil, true, false), TagAudio, 0, []byte{1, 2, 3})
	for n := range len(good) {
		_, err := NewReader(bytes.NewReader(good[:n])).Next()
		switch {
		case n >= 9 && n <= 13: // nothing behind the header
			if !errors.Is(err, io.EOF) {
				t.Errorf("%d bytes: %v", n, err)
			}
		case n >= 27: // only PreviousTagSize is missing
			if err != nil {
				t.Errorf("%d bytes: %v", n, err)
			}
		case !errors.Is(err, io.ErrUnexpectedEOF):
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	for name, c := range map[string]struct {
		file string
		want error
	}{
		"magic":       {"464c57 01 05 00000009 00000000", ErrMalformed},
		"header size": {"464c56 01 05 00000008 00000000", ErrMalformed},
		"header huge": {"464c56 01 05 ffffffff 00000000", ErrMalformed},
		"encrypted":   {"464c56 01 05 00000009 00000000 28 000000 00000000 000000", ErrMalformed},
		"lying size":  {"464c56 01 05 00000009 00000000 08 ffffff 00000000 000000 00", io.ErrUnexpectedEOF},
	} {
		if _, err := NewReader(bytes.NewReader(unhex(t, c.file))).Next(); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzReader(f *testing.F) {
	f.Add(AppendTag(AppendFileHeader(nil, true, false), TagAudio, 0, []byte{1, 2, 3}))
	f.Add(AppendFileHeader(nil, true, true))
	f.Fuzz(func(t *testing.T, file []byte) {
		r := NewReader(bytes.NewReader(file))
		total := 0
		for {
			tag, err := r.Next()
			if err != nil {
				break
			}
			total += TagHeader + len(tag.Body)
		}
		if total > len(file) {
			t.Fatal("more than there is")
		}
	})
}

func BenchmarkAppendFrameTag(b *testing.B) {
	for name, track := range map[string]*media.Track{
		"H264": videoTrack(b, media.H264, avc720), "H265": videoTrack(b, media.H265, hevc330), "AAC": audioTrack(b, media.AAC, "1210", 0, 0),
	} {
		b.Run(name, func(b *testing.B) {
			p := NewPackager(Program{Tracks: []*media.Track{track}, Enhanced: true})
			f := &media.Frame{Track: track, PTS: 40 * time.Millisecond, Data: make([]byte, 4096)}
			dst := make([]byte, 0, 8192)
			b.SetBytes(int64(len(f.Data)))
			b.ReportAllocs()
			for b.Loop() {
				dst = p.Append(dst[:0], f)
			}
		})
	}
}

func BenchmarkDemuxer(b *testing.B) {
	var d Demuxer
	if _, err := d.Video(0, unhex(b, "17 00 000000"+avc720)); err != nil {
		b.Fatal(err)
	}
	body := append(unhex(b, "27 01 000000 00001000 41"), make([]byte, 4095)...)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.Video(0, body); err != nil {
			b.Fatal(err)
		}
	}
}

func TestAppendDoesNotAllocate(t *testing.T) {
	track := videoTrack(t, media.H265, hevc330)
	p := NewPackager(Program{Tracks: []*media.Track{track}, Enhanced: true})
	f := &media.Frame{Track: track, Data: make([]byte, 100)}
	dst := make([]byte, 0, 1000)
	if n := testing.AllocsPerRun(100, func() { dst = p.Append(dst[:0], f) }); n > 0 {
		t.Errorf("%g allocations for a frame", n)
	}
	body := f.Data
	if n := testing.AllocsPerRun(100, func() { dst = AppendTag(dst[:0], TagVideo, 0, body[:5], body[5:]) }); n > 0 {
		t.Errorf("%g allocations for a tag", n)
	}
}

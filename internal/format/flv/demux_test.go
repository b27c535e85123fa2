package flv

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hookline/hookline/internal/media"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Configurations that libx264 and libx265 wrote.
const (
	avc1080 = "0142c028ffe100176742c028da01e0089f97011000003e90000ea600f1832a01000468ce0fc8"
	avc720  = "01640020ffe1001c67640020acd9405005bb016a020202800000030080000032078c18cb01000668ebe3cb22c0fdf8f800"
	hevc330 = "0104080000009e08000000003cf000fcfff8f800000f03a00001001740010c01ffff0408000003009e0800000300003c959809a10001002b4201010408000003009e0800000300003c9001510080e79f2cacd24995e02d010000030001000003000c08a2000100084401c172860c4624"

	hvc1 = "68766331"
	avc1 = "61766331"
	mp4a = "6d703461"
	opus = "4f707573"
	av01 = "61763031"
	vp09 = "76703039"
	vp08 = "76703038"
	flac = "664c6143"
	ac3  = "61632d33"
	eac3 = "65632d33"

	// What libaom, libvpx and FFmpeg wrote.
	av1Config  = "81000c00 0a0b000000043cfeccdaf90040"
	av1Key     = "0a0b000000043cfeccdaf90040 3206171400a0b010"
	av1Inter   = "3206290c29027020"
	vp9Config  = "01000000 000b820202020000"
	vp9Key     = "824983420013f00b360438241c184a000a407fd9fa3c771f"
	vp9Inter   = "86004092f0e14000004c6b5d"
	vp8Key     = "1062009d012a4001b4000007088585888584880202"
	vp8Inter   = "310c001011fc0018"
	flacConfig = "120012000002170014310bb80370000025800b8151a634c335f4b80e00d91a23b1b5"
	ac3Frame   = "0b77fe95144043e106f46370"
	eac3Frame  = "0b7702ff3f87c00020802000"
)

// step is one body and what comes of it: frames as text, or a part of the error's text.
type step struct {
	kind TagType
	body string
	want string
}

var demuxCases = []struct {
	name  string
	steps []step
}{
	{"legacy AVC", []step{
		{TagVideo, "17 00 000000" + avc1080, "config H264 1920x1080"},
		{TagVideo, "17 00 000000" + avc1080, ""},
		{TagVideo, "17 01 000050 00000002 6588", "H264 key +80ms 6"},
		{TagVideo, "27 01 ffffd8 00000002 4188", "H264 -40ms 6"},
		{TagVideo, "37 01 000000 00000002 0188", "H264 +0s 6"},
		{TagVideo, "17 02 000000", ""},
		{TagVideo, "17 02", ""},
		{TagVideo, "17 00 000000" + avc720, "config H264 1280x720"},
		{TagVideo, "17 01 000000 00000002 6588", "H264 key +0s 6"},
	}},
	{"legacy HEVC", []step{
		{TagVideo, "1c 00 000000" + hevc330, "config H265 330x250"},
		{TagVideo, "1c 01 000000 00000003 260188", "H265 key +0s 7"},
		{TagVideo, "2c 01 000028 00000003 020188", "H265 +40ms 7"},
	}},
	{"enhanced HEVC", []step{
		{TagVideo, "90" + hvc1 + hevc330, "config H265 330x250"},
		{TagVideo, "91" + hvc1 + "000028 00000003 260188", "H265 key +40ms 7"},
		{TagVideo, "a3" + hvc1 + "00000003 020188", "H265 +0s 7"},
		{TagVideo, "92" + hvc1, ""},
		{TagVideo, "94" + hvc1 + "02 0009 636f6c6f72496e666f 03 000009", ""},
		{TagVideo, "d1 00", ""},
	}},
	{"enhanced AVC", []step{
		{TagVideo, "90" + avc1 + avc720, "config H264 1280x720"},
		{TagVideo, "91" + avc1 + "ffffff 00000002 6588", "H264 key -1ms 6"},
		{TagVideo, "a3" + avc1 + "00000002 4188", "H264 +0s 6"},
	}},
	{"ModEx", []step{
		// One byte of length and three of time offset, then a sequence start.
		{TagVideo, "97 02 0f4240 00" + avc1 + avc720, "config H264 1280x720"},
		// Two modifiers, the first of 256 bytes by the 16-bit length.
		{TagVideo, "97 ff 00ff " + strings.Repeat("00", 256) + "07 00 aa 03" + avc1 + "00000002 6588", "H264 key +0s 6"},
		{TagVideo, "97", "truncated"},
		{TagVideo, "97 ff 00", "truncated"},
		{TagVideo, "97 05 00", "truncated"},
	}},
	{"multitrack", []step{
		{TagVideo, "96 00" + avc1 + "00" + avc720, "config H264 1280x720"},
		{TagVideo, "96 00" + avc1 + "01" + avc1080, "ignored"},
		{TagVideo, "a6 13" + avc1 + "01 000006 00000002 4199 00 000006 00000002 4188", "H264 +0s 6"},
		{TagVideo, "a6 23" + hvc1 + "01 000006 00000002 0201" + avc1 + "00 000006 00000002 4188", "H264 +0s 6"},
		{TagVideo, "a6 13" + avc1 + "00 000007 00000002 4188", "truncated"},
		{TagVideo, "a6", "truncated"},
		{TagVideo, "a6 13 61", "truncated"},
		{TagVideo, "a6 13" + avc1 + "01 00", "truncated"},
		{TagVideo, "a6 23 61", "truncated"},
		{TagVideo, "a6 03" + avc1, "ignored"},
		{TagVideo, "a6 f3" + avc1, "malformed"},
		{TagAudio, "95 00" + opus + "00" + "4f70757348656164 01 02 3801 80bb0000 0000 00", "config opus 48000 Hz 2"},
		{TagAudio, "95 01" + opus + "01 fc", "ignored"},
	}},
	{"nanoseconds", []step{
		{TagVideo, "90" + avc1 + avc720, "config H264 1280x720"},
		{TagVideo, "97 02 07a120 01" + avc1 + "000028 00000002 6588", "H264 key +40.5ms 6"},
		{TagVideo, "97 02 07a120 11" + avc1 + "000028 00000002 6588", "H264 key +40ms 6"}, // another modifier
		{TagVideo, "97 01 07a1 01" + avc1 + "000028 00000002 6588", "H264 key +40ms 6"},
		{TagAudio, "97 02 000001 01" + opus + "fcfffe", "config opus 48000 Hz 2; opus +1ns 3"},
	}},
	{"AV1", []step{
		{TagVideo, "91" + av01 + av1Inter, "dropped"},
		{TagVideo, "90" + av01 + av1Config, "config AV1 320x180"},
		{TagVideo, "90" + av01 + av1Config, ""},
		{TagVideo, "91" + av01 + "1200" + av1Key, "AV1 key +0s 21"},
		{TagVideo, "a1" + av01 + av1Inter, "AV1 +0s 8"},
		{TagVideo, "95" + av01 + "8004 81000c00", ""},
		{TagVideo, "2d 01 000000" + av1Inter, "AV1 +0s 8"},
	}},
	{"AV1 in band", []step{
		{TagVideo, "91" + av01 + av1Key, "config AV1 320x180; AV1 key +0s 21"},
		{TagVideo, "91" + av01 + av1Key, "AV1 key +0s 21"},
	}},
	{"VP9", []step{
		{TagVideo, "90" + vp09 + vp9Config, "config VP9 0x0"},
		{TagVideo, "91" + vp09 + vp9Key, "config VP9 320x180; VP9 key +0s 24"},
		{TagVideo, "a1" + vp09 + vp9Inter, "VP9 +0s 12"},
		{TagVideo, "91" + vp09 + vp9Key, "VP9 key +0s 24"},
		{TagVideo, "90" + vp09, ""},
		{TagVideo, "90" + vp09 + "00", "bad codec configuration"},
	}},
	{"VP8", []step{
		{TagVideo, "a1" + vp08 + vp8Inter, "dropped"},
		{TagVideo, "91" + vp08 + vp8Key, "config VP8 320x180; VP8 key +0s 21"},
		{TagVideo, "a1" + vp08 + vp8Inter, "VP8 +0s 8"},
		{TagVideo, "1e 01 000000" + vp8Key, "VP8 key +0s 21"},
	}},
	{"FLAC", []step{
		{TagAudio, "91" + flac + "fff8", "dropped"},
		{TagAudio, "90" + flac + flacConfig, "config FLAC 48000 Hz 2"},
		{TagAudio, "90" + flac + "80000022" + flacConfig, ""},
		{TagAudio, "91" + flac + "fff8", "FLAC +0s 2"},
	}},
	{"AC-3", []step{
		{TagAudio, "90" + ac3, ""},
		{TagAudio, "91" + ac3 + "0000", "dropped"},
		{TagAudio, "91" + ac3 + ac3Frame, "config AC3 48000 Hz 2; AC3 +0s 12"},
		{TagAudio, "91" + ac3 + ac3Frame, "AC3 +0s 12"},
		{TagAudio, "91" + ac3, ""},
		{TagAudio, "91" + eac3 + ac3Frame, "dropped"},
		{TagAudio, "91" + eac3 + eac3Frame, "config EAC3 48000 Hz 6; EAC3 +0s 12"},
	}},
	{"video before its configuration", []step{
		{TagVideo, "17 01 000000 00000002 6588", "dropped"},
		{TagVideo, "27 01 000000 00000002 4188", "dropped"},
		{TagVideo, "17 00 000000", ""},
	}},
	{"parameter sets in band only", []step{
		{TagVideo, "17 01 000000 00000017 6742c028da01e0089f97011000003e90000ea600f1832a 00000004 68ce0fc8 00000002 6588", "config H264 1920x1080; H264 key +0s 41"},
		{TagVideo, "27 01 000000 00000002 4188", "H264 +0s 6"},
	}},
	{"parameter sets that change in band", []step{
		{TagVideo, "17 00 000000" + avc720, "config H264 1280x720"},
		{TagVideo, "17 01 000000 00000017 6742c028da01e0089f97011000003e90000ea600f1832a 00000004 68ce0fc8 00000002 6588", "config H264 1920x1080; H264 key +0s 41"},
		{TagVideo, "17 01 000000 00000017 6742c028da01e0089f97011000003e90000ea600f1832a 00000004 68ce0fc8 00000002 6588", "H264 key +0s 41"},
		{TagVideo, "17 00 000000" + avc720, "config H264 1280x720"},
		{TagVideo, "17 00 000000" + avc720, ""},
	}},
	{"key frames", []step{
		{TagVideo, "17 00 000000" + avc720, "config H264 1280x720"},
		{TagVideo, "27 01 000000 00000002 6588", "H264 key +0s 6"}, // not flagged
		{TagVideo, "17 01 000000 00000002 4188", "H264 key +0s 6"}, // a recovery point
		{TagVideo, "17 01 000000 00000002 0601", "H264 +0s 6"},     // nothing to decode
	}},
	{"NAL unit lengths of 2 bytes", []step{
		{TagVideo, "17 00 000000 01640020fd" + avc720[10:], "config H264 1280x720"},
		{TagVideo, "17 01 000000 0002 6588 0002 6599", "H264 key +0s 12"},
	}},
	{"Annex B against the rules", []step{
		{TagVideo, "17 00 000000" + avc720, "config H264 1280x720"},
		{TagVideo, "17 01 000000 00000001 6588 000001 6599", "H264 key +0s 12"},
	}},
	{"codec change", []step{
		{TagVideo, "17 00 000000" + avc720, "config H264 1280x720"},
		{TagVideo, "1c 01 000000 00000003 260188", "dropped"},
		{TagVideo, "1c 00 000000" + hevc330, "config H265 330x250"},
		{TagVideo, "1c 01 000000 00000003 260188", "H265 key +0s 7"},
	}},
	{"bad video", []step{
		{TagVideo, "", ""},
		{TagVideo, "17", "truncated"},
		{TagVideo, "17 01 0000", "truncated"},
		{TagVideo, "17 01 000000", ""},
		{TagVideo, "17 03 000000 00", "malformed"},
		{TagVideo, "17 00 000000 0164", "bad codec configuration"},
		{TagVideo, "17 01 000000 ffffffff 65", "bad NAL unit lengths"},
		{TagVideo, "57 00", ""},
		{TagVideo, "22 00", "unsupported codec: Sorenson H.263"},
		{TagVideo, "24 00", "unsupported codec: On2 VP6"},
		{TagVideo, "2b 00", "unsupported codec: video codec id 11"},
		{TagVideo, "2f 00", "truncated"},
		{TagVideo, "90 76766331 81", "unsupported codec: FourCC vvc1"},
		{TagVideo, "90" + av01 + "81", "bad codec configuration"},
		{TagVideo, "90 00010203 81", "unsupported codec: FourCC 0x00010203"},
		{TagVideo, "90" + opus, "unsupported codec: FourCC Opus"},
		{TagVideo, "90 6176", "truncated"},
		{TagVideo, "91" + avc1 + "0000", "truncated"},
		{TagVideo, "95" + avc1, ""}, // MPEG2TSSequenceStart
		{TagVideo, "98" + avc1, "malformed"},
	}},
	{"AAC", []step{
		{TagAudio, "af 01 2110", "dropped"},
		{TagAudio, "af 00 1210", "config mpeg4-generic 44100 Hz 2"},
		{TagAudio, "af 00 1210", ""},
		{TagAudio, "af 01 2110", "mpeg4-generic +0s 2"},
		{TagAudio, "af 01", ""},
		{TagAudio, "af 00 1188", "config mpeg4-generic 48000 Hz 1"},
		{TagAudio, "af", "truncated"},
		{TagAudio, "af 02", "malformed"},
		{TagAudio, "af 00", "bad codec configuration"},
		{TagAudio, "", ""},
	}},
	{"enhanced AAC", []step{
		{TagAudio, "91" + mp4a + "2110", "dropped"},
		{TagAudio, "90" + mp4a + "1210", "config mpeg4-generic 44100 Hz 2"},
		{TagAudio, "94" + mp4a + "00 02", ""},
		{TagAudio, "91" + mp4a + "2110", "mpeg4-generic +0s 2"},
		{TagAudio, "92" + mp4a, ""},
		{TagAudio, "97 02 0f4240 01" + mp4a + "2110", "mpeg4-generic +0s 2"},
	}},
	{"enhanced Opus", []step{
		{TagAudio, "90" + opus + "4f70757348656164 01 01 3801 80bb0000 0000 00", "config opus 48000 Hz 1"},
		{TagAudio, "91" + opus + "fcfffe", "opus +0s 3"},
	}},
	{"Opus without header", []step{
		{TagAudio, "91" + opus + "fcfffe", "config opus 48000 Hz 2; opus +0s 3"},
		{TagAudio, "df fcfffe", "opus +0s 3"},
		{TagAudio, "90" + opus + "4f70", "bad codec configuration"},
	}},
	{"G.711", []step{
		{TagAudio, "72 d5d5", "config PCMA 8000 Hz 1; PCMA +0s 2"},
		{TagAudio, "72 d5d5", "PCMA +0s 2"},
		{TagAudio, "83 ffff", "config PCMU 8000 Hz 2; PCMU +0s 2"},
		{TagAudio, "72", ""},
	}},
	{"MP3", []step{
		{TagAudio, "2f 00000000", "dropped"},
		{TagAudio, "2f fffb9044", "config MP3 44100 Hz 2; MP3 +0s 4"},
		{TagAudio, "2f 00000000", "MP3 +0s 4"},
		{TagAudio, "e2 ffe318c4", "config MP3 8000 Hz 1; MP3 +0s 4"},
		{TagAudio, "90 2e6d7033", ""},
		{TagAudio, "91 2e6d7033 fffb9044", "config MP3 44100 Hz 2; MP3 +0s 4"},
	}},
	{"bad audio", []step{
		{TagAudio, "b2 00", "unsupported codec: Speex"},
		{TagAudio, "62 00", "unsupported codec: Nellymoser"},
		{TagAudio, "12 00", "unsupported codec: ADPCM"},
		{TagAudio, "32 00", "unsupported codec: linear PCM"},
		{TagAudio, "f2 00", "unsupported codec: sound format 15"},
		{TagAudio, "90 73706578", "unsupported codec: FourCC spex"},
		{TagAudio, "90" + flac, "bad codec configuration"},
		{TagAudio, "90" + hvc1, "unsupported codec: FourCC hvc1"},
		{TagAudio, "90 66", "truncated"},
		{TagAudio, "93" + mp4a, "malformed"},
	}},
}

func TestDemuxer(t *testing.T) {
	for _, c := range demuxCases {
		t.Run(c.name, func(t *testing.T) {
			var d Demuxer
			for i, s := range c.steps {
				if got := d.step(t, s.kind, unhex(t, s.body)); got != s.want && (s.want == "" || !strings.Contains(got, s.want) || !strings.HasPrefix(got, "error ")) {
					t.Fatalf("step %d: got %q, want %q", i, got, s.want)
				}
			}
		})
	}
}

// step feeds body and describes what comes of it.
func (d *Demuxer) step(t *testing.T, kind TagType, body []byte) string {
	t.Helper()
	const ts = 5 * time.Second
	dropped := d.Dropped()
	ignored, _ := d.Ignored()
	feed := d.Video
	if kind == TagAudio {
		feed = d.Audio
	}
	frames, err := feed(ts, body)
	if err != nil {
		if len(frames) > 0 {
			t.Error("frames beside an error")
		}
		return "error " + err.Error()
	}
	var words []string
	for _, f := range frames {
		if f.DTS != ts {
			t.Errorf("DTS %v", f.DTS)
		}
		words = append(words, describe(f))
	}
	if d.Dropped() > dropped {
		words = append(words, "dropped")
	}
	if n, _ := d.Ignored(); n > ignored {
		words = append(words, "ignored")
	}
	return strings.Join(words, "; ")
}

func describe(f *media.Frame) string {
	t := f.Track
	switch {
	case f.Config && t.Codec.Kind() == media.Video:
		return fmt.Sprintf("config %v %dx%d", t.Codec, t.Width, t.Height)
	case f.Config:
		return fmt.Sprintf("config %v %d Hz %d", t.Codec, t.SampleRate, t.Channels)
	case t.Codec.Kind() == media.Audio:
		return fmt.Sprintf("%v +%v %d", t.Codec, f.PTS-f.DTS, len(f.Data))
	}
	key, sign := "", "+"
	if f.Key {
		key = " key"
	}
	if f.PTS < f.DTS {
		sign = ""
	}
	return fmt.Sprintf("%v%s %s%v %d", t.Codec, key, sign, f.PTS-f.DTS, len(f.Data))
}

func TestUnsupportedErrorIsTyped(t *testing.T) {
	var d Demuxer
	_, err := d.Audio(0, []byte{0xb2, 0})
	var unsupported *UnsupportedError
	if !errors.As(err, &unsupported) || unsupported.Name != "Speex" || unsupported.Kind != media.Audio {
		t.Error(err)
	}
	if got, err := d.Audio(0, []byte{0x72, 1}); err != nil || len(got) != 2 {
		t.Error("the next body must be taken:", err)
	}
	if got := d.Tracks(); len(got) != 1 || got[0].Codec != media.PCMA {
		t.Error(got)
	}
}

func TestDemuxerSharesTheBody(t *testing.T) {
	var d Demuxer
	if _, err := d.Video(0, unhex(t, "17 00 000000"+avc720)); err != nil {
		t.Fatal(err)
	}
	body := unhex(t, "17 01 000000 00000002 6588")
	frames, err := d.Video(0, body)
	if err != nil || len(frames) != 1 || &frames[0].Data[0] != &body[5] {
		t.Fatal("the body was copied", err)
	}
	allocs := testing.AllocsPerRun(100, func() {
		_, _ = d.Video(0, body)
	})
	if allocs > 1 {
		t.Errorf("%g allocations for a frame", allocs)
	}
}

func FuzzDemuxer(f *testing.F) {
	for _, c := range demuxCases {
		var stream []byte
		for _, s := range c.steps {
			stream = AppendTag(stream, s.kind, 0, unhex(f, s.body))
		}
		f.Add(append(AppendFileHeader(nil, true, true), stream...))
	}
	f.Add(AppendTag(AppendFileHeader(nil, true, true), TagData, 0, AppendMetadataBody(nil, nil, nil, true)))
	f.Fuzz(func(t *testing.T, file []byte) {
		var d Demuxer
		p := NewPackager(Program{Enhanced: len(file)%2 == 0})
		out := p.Start()
		sent := 0
		for r := NewReader(bytes.NewReader(file)); ; {
			tag, err := r.Next()
			if err != nil {
				break
			}
			frames, err := d.feed(tag)
			if err != nil {
				continue
			}
			for _, frame := range frames {
				nalus := frame.Track.Codec == media.H264 || frame.Track.Codec == media.H265
				if !frame.Config && nalus && media.CheckNALUnits(frame.Data) != nil {
					t.Fatal("a frame of bad NAL units")
				}
				if !frame.Config {
					sent++
				}
				out = p.Append(out, frame)
			}
		}
		got := 0
		var again Demuxer
		for r := NewReader(bytes.NewReader(out)); ; {
			tag, err := r.Next()
			if err != nil {
				break
			}
			frames, err := again.feed(tag)
			if err != nil {
				t.Fatalf("what was written can't be read: %v", err)
			}
			for _, frame := range frames {
				if !frame.Config {
					got++
				}
			}
		}
		if got != sent {
			t.Fatalf("%d frames of %d came back", got, sent)
		}
	})
}

// feed gives d the body of a tag.
func (d *Demuxer) feed(tag Tag) ([]*media.Frame, error) {
	switch tag.Type {
	case TagAudio:
		return d.Audio(tag.Timestamp, tag.Body)
	case TagVideo:
		return d.Video(tag.Timestamp, tag.Body)
	case TagData:
		_, _, err := d.Data(tag.Body)
		return nil, err
	}
	return nil, nil
}

package rtp

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/hookline/hookline/internal/media"
)

func TestParseSDP(t *testing.T) {
	const head = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\na=control:*\r\n"
	for _, c := range []struct{ name, sdp, want string }{
		{
			"ffmpeg", head + "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1; sprop-parameter-sets=Z0LAHtkAoEf+iA==,aM48gA==; profile-level-id=42C01E\r\na=control:streamid=0\r\n" +
				"m=audio 0 RTP/AVP 97\r\na=rtpmap:97 MPEG4-GENERIC/44100/2\r\na=fmtp:97 profile-level-id=1;mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3; config=121056E500\r\na=control:streamid=1\r\n",
			"H264/90000 96 streamid=0 config; mpeg4-generic/44100 97 streamid=1 44100x2 config",
		},
		{"bare line feeds, no rtpmap", strings.ReplaceAll(head, "\r\n", "\n") + "m=audio 0 RTP/AVP 8\na=control:track1\n", "PCMA/8000 8 track1 8000x1"},
		{"sets in band", head + "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H265/90000\r\n", "H265/90000 96 "},
		{"metadata of a camera", head + "m=application 0 RTP/AVP 107\r\na=rtpmap:107 vnd.onvif.metadata/90000\r\nm=audio 0 RTP/AVP 0\r\n", "PCMU/8000 0  8000x1"},
		{"opus", head + "m=audio 0 RTP/AVP 111\r\na=rtpmap:111 opus/48000/2\r\na=fmtp:111 sprop-stereo=0\r\n", "opus/48000 111  48000x1 config"},
		{"latm", head + "m=audio 0 RTP/AVP 97\r\na=rtpmap:97 MP4A-LATM/44100/2\r\na=fmtp:97 cpresent=0; config=400024203fc0\r\n", "mpeg4-generic/44100 97  44100x2 config"},
		{"unknown", head + "m=video 0 RTP/AVP 99\r\na=rtpmap:99 FOO/90000\r\n", "FOO unknown"},
		{"no config", head + "m=audio 0 RTP/AVP 97\r\na=rtpmap:97 mpeg4-generic/16000/1\r\n", "mpeg4-generic/16000 97  16000x1 config"},
	} {
		s, err := ParseSDP([]byte(c.sdp))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		var got []string
		for _, f := range s.Media {
			if !f.Known {
				got = append(got, f.Name+" unknown")
				continue
			}
			d := fmt.Sprintf("%v/%d %d %s", f.Codec, f.ClockRate, f.PT, f.Control)
			if f.Kind == media.Audio {
				d += fmt.Sprintf(" %dx%d", f.Track.SampleRate, f.Track.Channels)
			}
			if len(f.Track.Config) > 0 {
				d += " config"
			}
			got = append(got, d)
		}
		if g := strings.Join(got, "; "); g != c.want {
			t.Errorf("%s: %q, want %q", c.name, g, c.want)
		}
	}
	for _, bad := range []string{"", "v=0", "m=video", strings.Repeat("a", MaxSDP+1), strings.Repeat("m=video 0 RTP/AVP 96\n", maxMedia+1)} {
		if _, err := ParseSDP([]byte(bad)); !errors.Is(err, ErrBadSDP) {
			t.Errorf("%.20q: %v", bad, err)
		}
	}
}

// What Describe says is understood, with the same configuration.
func TestDescribe(t *testing.T) {
	aac, err := media.NewAudioTrack(media.AAC, []byte{0x12, 0x10}, 0, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	opus, _ := media.NewAudioTrack(media.Opus, media.BuildOpusHead(2), 48000, 2, 0)
	pcm, _ := media.NewAudioTrack(media.PCMU, nil, 8000, 1, 0)
	wide, _ := media.NewAudioTrack(media.PCMA, nil, 16000, 2, 0)
	for _, tr := range []*media.Track{h264Track(t), aac, opus, pcm, wide} {
		lines, err := Describe(tr, PayloadType(tr, 96))
		if err != nil {
			t.Fatal(err)
		}
		s, err := ParseSDP([]byte("v=0\r\n" + lines))
		if err != nil || len(s.Media) != 1 || !s.Media[0].Known {
			t.Fatalf("%s: %v", lines, err)
		}
		f := s.Media[0]
		if f.Codec != tr.Codec || f.ClockRate != ClockRate(tr) || !bytes.Equal(f.Track.Config, tr.Config) ||
			f.Track.SampleRate != tr.SampleRate || f.Track.Channels != tr.Channels {
			t.Errorf("%s: %+v", lines, f.Track)
		}
	}
	if _, err := Describe(&media.Track{Codec: 999}, 96); !errors.Is(err, ErrUnsupported) {
		t.Error(err)
	}
}

func FuzzSDP(f *testing.F) {
	f.Add([]byte("m=video 0 RTP/AVP 96\na=rtpmap:96 H264/90000\na=fmtp:96 sprop-parameter-sets=Z0LAHtkAoEf+iA==,aM48gA=="))
	f.Add([]byte("m=audio 0 RTP/AVP 97\na=rtpmap:97 MP4A-LATM/44100/2\na=fmtp:97 cpresent=0; config=400024203fc0"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseSDP(b)
		if err != nil {
			return
		}
		for _, m := range s.Media {
			if m.Known {
				_, _ = NewDepacketizer(m)
			}
		}
	})
}

// FuzzDepacketizer cuts its input into payloads: a length byte, a flag byte, the payload.
func FuzzDepacketizer(f *testing.F) {
	f.Add(uint8(0), []byte{5, 0x80, 0x7c, 0x85, 1, 2, 3, 4, 0x40, 0x7c, 0x45, 4, 5})
	f.Add(uint8(1), []byte{6, 0, 96, 1, 0, 1, 2, 3})
	f.Add(uint8(2), []byte{8, 0x80, 0, 16, 0, 32, 1, 2, 3, 4})
	f.Add(uint8(3), []byte{8, 0x80, 0x40, 0, 0x24, 0x20, 0x3f, 0xc0, 1, 2})
	f.Add(uint8(7), []byte{4, 0x80, 0x90, 0x80, 1, 2})
	f.Add(uint8(8), []byte{4, 0x80, 0x0a, 0x08, 0, 2})
	f.Add(uint8(9), []byte{6, 0x80, 0x00, 2, 0x30, 1, 1, 0x30})
	f.Add(uint8(10), []byte{12, 0x80, 0, 0, 0, 0, 1, 90, 2, 2, 1, 2, 3, 4})
	f.Add(uint8(4), []byte{8, 0x80, 0, 0, 0, 0, 0xff, 0xfb, 0x90, 0})
	f.Fuzz(func(t *testing.T, kind uint8, b []byte) {
		forms := []Format{formatOf(media.H264), formatOf(media.H265), formatOf(media.AAC), formatOf(media.AAC), formatOf(media.MP3), formatOf(media.H265), formatOf(media.AAC)}
		forms = append(forms, formatOf(media.VP8), formatOf(media.VP9), formatOf(media.AV1), formatOf(media.JPEG))
		forms[3].latm, forms[3].latmInBand, forms[5].donl, forms[6].latm = true, true, true, true
		d, err := NewDepacketizer(forms[int(kind)%len(forms)])
		if err != nil {
			t.Fatal(err)
		}
		seq, ts := uint16(0), uint32(0)
		for len(b) >= 2 {
			n, flags := min(int(b[0]), len(b)-2), b[1]
			seq += 1 + uint16(flags&1)
			ts += uint32(flags & 2)
			us, _ := d.Push(&Packet{Marker: flags&0x80 != 0, Seq: seq, Timestamp: ts, Payload: b[2 : 2+n]})
			for _, u := range us {
				if len(u.Data) == 0 || len(u.Data) > MaxUnit {
					t.Fatalf("unit of %d bytes", len(u.Data))
				}
				if c := forms[int(kind)%len(forms)].Codec; c == media.H264 || c == media.H265 {
					if err := media.CheckNALUnits(u.Data); err != nil {
						t.Fatal(err)
					}
				}
			}
			b = b[2+n:]
		}
	})
}

func FuzzPacket(f *testing.F) {
	f.Add([]byte{0x80, 96, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3})
	f.Add([]byte{0x80, 200, 0, 6, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(_ *testing.T, b []byte) {
		_, _ = Parse(b)
		_, _ = ParseRTCP(b)
		for range Packets(b) {
			continue // only that it ends
		}
	})
}

package flv

import (
	"bytes"
	"errors"
	"math"
	"testing"

	"github.com/hookline/hookline/internal/format/amf"
	"github.com/hookline/hookline/internal/media"
)

func amf0(t testing.TB, values ...any) []byte {
	t.Helper()
	var b []byte
	for _, v := range values {
		var err error
		if b, err = amf.Append(b, v); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func amf3(t testing.TB, v any) []byte {
	t.Helper()
	b, err := amf.Append3([]byte{0x11}, v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// asOBS is what OBS sends, shortened.
var asOBS = amf.ECMAArray{
	{Name: "duration", Value: 0.0},
	{Name: "fileSize", Value: 0.0},
	{Name: "width", Value: 1280.0},
	{Name: "height", Value: 720.0},
	{Name: "videocodecid", Value: 7.0},
	{Name: "videodatarate", Value: 2500.0},
	{Name: "framerate", Value: 30.0},
	{Name: "audiocodecid", Value: 10.0},
	{Name: "audiosamplerate", Value: 48000.0},
	{Name: "stereo", Value: true},
	{Name: "2.1", Value: false},
	{Name: "encoder", Value: "obs-output module"},
}

func TestParseMetadata(t *testing.T) {
	full := Metadata{HasVideo: true, HasAudio: true, Width: 1280, Height: 720, FrameRate: 30, Raw: amf0(t, asOBS)}
	for _, c := range []struct {
		name string
		body []byte
		want Metadata
	}{
		{"OBS", amf0(t, "@setDataFrame", "onMetaData", asOBS), full},
		{"file", amf0(t, "onMetaData", asOBS), full},
		{"AMF3 message of AMF0", append([]byte{0}, amf0(t, "@setDataFrame", "onMetaData", asOBS)...), full},
		{"AMF3", append(amf0(t, "onMetaData"), amf3(t, asOBS)...), full},
		{"all AMF3", append(append([]byte{0}, amf3(t, "onMetaData")...), amf3(t, amf.Object(asOBS))...), full},
		{"no end", bytes.TrimSuffix(amf0(t, "onMetaData", asOBS), []byte{0, 0, 9}), full},
		{"something behind", amf0(t, "onMetaData", asOBS, 1.0), full},
		{
			"text ids", amf0(t, "onMetaData", amf.Object{{Name: "videocodecid", Value: "hvc1"}, {Name: "audiocodecid", Value: ""}}),
			Metadata{HasVideo: true},
		},
		{
			"zero ids", amf0(t, "onMetaData", amf.Object{{Name: "videocodecid", Value: 0.0}, {Name: "audiocodecid", Value: math.NaN()}}),
			Metadata{},
		},
		{
			"flags win", amf0(t, "onMetaData", amf.Object{
				{Name: "hasVideo", Value: false}, {Name: "videocodecid", Value: 7.0}, {Name: "hasAudio", Value: true},
			}),
			Metadata{HasAudio: true},
		},
		{
			"nonsense", amf0(t, "onMetaData", amf.Object{
				{Name: "width", Value: math.Inf(1)}, {Name: "height", Value: -1.0}, {Name: "framerate", Value: 1e9},
			}),
			Metadata{},
		},
		{"numbers as text", amf0(t, "onMetaData", amf.Object{{Name: "fps", Value: "25.00"}}), Metadata{FrameRate: 25}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := ParseMetadata(c.body)
			if err != nil {
				t.Fatal(err)
			}
			raw := got.Raw
			if c.want.Raw != nil && !bytes.Equal(raw, c.want.Raw) {
				t.Errorf("raw %x", raw)
			}
			if v, n, err := amf.Decode(raw); err != nil || n != len(raw) || v == nil {
				t.Errorf("raw %x: %v", raw, err)
			}
			got.Raw, c.want.Raw = nil, nil
			if got.Width != c.want.Width || got.Height != c.want.Height || got.FrameRate != c.want.FrameRate ||
				got.HasAudio != c.want.HasAudio || got.HasVideo != c.want.HasVideo {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestParseMetadataRefuses(t *testing.T) {
	var big amf.ECMAArray
	for i := range 5 {
		big = append(big, amf.Member{Name: string(rune('a' + i)), Value: string(make([]byte, 60<<10))})
	}
	for name, c := range map[string]struct {
		body []byte
		want error
	}{
		"other":     {amf0(t, "onCuePoint", asOBS), ErrNotMetadata},
		"number":    {amf0(t, 1.0), ErrNotMetadata},
		"nothing":   {nil, amf.ErrTruncated},
		"no value":  {amf0(t, "onMetaData"), amf.ErrTruncated},
		"no object": {amf0(t, "onMetaData", 1.0), ErrMalformed},
		"bad":       {append(amf0(t, "onMetaData"), 0xff), amf.ErrMarker},
		"huge":      {amf0(t, "onMetaData", big), amf.ErrLimit},
	} {
		if _, err := ParseMetadata(c.body); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDemuxerData(t *testing.T) {
	var d Demuxer
	if _, ok, err := d.Data(amf0(t, "onTextData", 1.0)); ok || err != nil {
		t.Error(ok, err)
	}
	if _, ok, err := d.Data([]byte{0xff}); ok || err == nil {
		t.Error(ok, err)
	}
	if m, ok, err := d.Data(amf0(t, "onMetaData", amf.Object{{Name: "framerate", Value: 12.5}})); !ok || err != nil || m.FrameRate != 12.5 {
		t.Error(m, ok, err)
	}
	// A set without timing takes the rate that the publisher announced.
	if _, err := d.Video(0, unhex(t, "17 00 000000 0142c01fffe000")); err != nil || d.video.FPS != 12.5 {
		t.Error(d.video, err)
	}
}

func TestMetadataValue(t *testing.T) {
	tracks := []*media.Track{
		{Codec: media.H265, Width: 330, Height: 250, FPS: 12.5},
		{Codec: media.Opus, SampleRate: 48000, Channels: 2, SampleBits: 16},
	}
	for enhanced, ids := range map[bool][2]float64{true: {0x68766331, 0x4f707573}, false: {12, 13}} {
		body := append(amf.AppendString(nil, "onMetaData"), MetadataValue(tracks, enhanced)...)
		m, err := ParseMetadata(body)
		if err != nil || !m.HasAudio || !m.HasVideo || m.Width != 330 || m.Height != 250 || m.FrameRate != 12.5 {
			t.Errorf("%+v, %v", m, err)
		}
		v, _, err := amf.Decode(m.Raw)
		ms, _ := amf.Members(v)
		if err != nil || ms.Number("videocodecid") != ids[0] || ms.Number("audiocodecid") != ids[1] ||
			ms.Number("audiosamplerate") != 48000 || ms.Number("audiochannels") != 2 {
			t.Errorf("%v, %v", ms, err)
		}
	}
	m, err := ParseMetadata(AppendMetadataBody(nil, nil, nil, true))
	if err != nil || m.HasAudio || m.HasVideo {
		t.Errorf("%+v, %v", m, err)
	}
}

func FuzzParseMetadata(f *testing.F) {
	f.Add(amf0(f, "@setDataFrame", "onMetaData", asOBS))
	f.Add(append([]byte{0}, amf0(f, "onMetaData", amf.Object(asOBS))...))
	f.Add(append(amf0(f, "onMetaData"), amf3(f, asOBS)...))
	f.Add(bytes.TrimSuffix(amf0(f, "onMetaData", asOBS), []byte{0, 0, 9}))
	f.Fuzz(func(t *testing.T, body []byte) {
		m, err := ParseMetadata(body)
		if err != nil {
			return
		}
		tracks := []*media.Track{{Codec: media.AV1, Width: 16, Height: 9}, {Codec: media.Opus, SampleRate: 48000, Channels: 2}}
		if u, err := ParseMetadata(AppendMetadataBody(nil, m.Raw, tracks[:len(body)%3], true)); err != nil || len(body)%3 > 0 && !u.HasVideo {
			t.Fatalf("updated: %+v, %v", u, err)
		}
		again, err := ParseMetadata(AppendMetadataBody(nil, m.Raw, nil, true))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(again.Raw, m.Raw) || again.HasVideo != m.HasVideo || again.FrameRate != m.FrameRate {
			t.Fatal("not stable")
		}
	})
}

// The publisher's metadata stays, but what the tracks know better.
func TestMetadataIsUpdated(t *testing.T) {
	h264, aac := videoTrack(t, media.H264, avc720), audioTrack(t, media.AAC, "1190", 0, 0)
	h265, opus := videoTrack(t, media.H265, hevc330), audioTrack(t, media.Opus, "", 0, 0)
	with := func(changes ...amf.Member) amf.ECMAArray {
		u := update{members: asOBS}
		for _, m := range changes {
			if m.Value == nil {
				u.drop(m.Name)
			} else {
				u.set(m.Name, m.Value)
			}
		}
		return u.members
	}
	for _, c := range []struct {
		name     string
		value    amf.ECMAArray
		tracks   []*media.Track
		enhanced bool
		want     amf.ECMAArray
	}{
		{"nothing to do", asOBS, []*media.Track{h264, aac}, true, asOBS},
		{"no tracks yet", asOBS, nil, true, asOBS},
		{
			"codec change", asOBS,
			[]*media.Track{h265, opus},
			true,
			with(
				amf.Member{Name: "width", Value: 330.0}, amf.Member{Name: "height", Value: 250.0},
				amf.Member{Name: "videocodecid", Value: float64(fourHEVC)}, amf.Member{Name: "audiocodecid", Value: float64(fourOpus)},
			),
		},
		{
			"by legacy ids", with(amf.Member{Name: "videocodecid", Value: "hvc1"}),
			[]*media.Track{h265, opus},
			false,
			with(
				amf.Member{Name: "width", Value: 330.0}, amf.Member{Name: "height", Value: 250.0},
				amf.Member{Name: "videocodecid", Value: 12.0}, amf.Member{Name: "audiocodecid", Value: 13.0},
			),
		},
		{
			"no audio", asOBS,
			[]*media.Track{h264},
			true,
			with(amf.Member{Name: "audiocodecid"}, amf.Member{Name: "audiosamplerate"}, amf.Member{Name: "stereo"}),
		},
		{
			"more tracks announced than carried", with(amf.Member{Name: "audioTrackIdInfoMap", Value: amf.Object{{Name: "1", Value: amf.Object{}}}}),
			[]*media.Track{h264, aac},
			true, asOBS,
		},
	} {
		body := AppendMetadataBody(nil, amf0(t, c.value), c.tracks, c.enhanced)
		if want := amf0(t, "onMetaData", c.want); !bytes.Equal(body, want) {
			t.Errorf("%s:\ngot  %q\nwant %q", c.name, body, want)
		}
	}
}

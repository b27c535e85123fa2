package media

import (
	"bytes"
	"errors"
	"slices"
	"testing"
)

func TestNALUnits(t *testing.T) {
	for _, c := range []struct {
		name, data string
		want       []string
		good       bool
	}{
		{"nothing", "", nil, true},
		{"two", "00000001 65 00000002 4142", []string{"\x65", "AB"}, true},
		{"empty one between", "00000001 65 00000000 00000001 41", []string{"\x65", "A"}, true},
		{"empty one at the end", "00000001 65 00000000", []string{"\x65"}, true},
		{"lying length", "00000001 65 00000003 4142", []string{"\x65"}, false},
		{"huge length", "ffffffff 65", nil, false},
		{"half a length", "00000001 65 0000", []string{"\x65"}, false},
	} {
		data := unhex(t, c.data)
		var got []string
		for nalu := range NALUnits(data) {
			got = append(got, string(nalu))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q", c.name, got)
		}
		if err := CheckNALUnits(data); (err == nil) != c.good || err != nil && !errors.Is(err, ErrBadNALUnits) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	for range NALUnits(unhex(t, "00000001 65 00000001 65")) {
		break
	}
}

func TestIsKeyFrame(t *testing.T) {
	for _, c := range []struct {
		name          string
		codec         Codec
		data          string
		pictures, key bool
	}{
		{"H264 IDR", H264, "00000001 06 00000002 6588", true, true},
		{"H264 slice", H264, "00000002 4188", true, false},
		{"H264 sets only", H264, "00000001 67 00000001 68", false, false},
		{"H265 IDR_W_RADL", H265, "00000002 2601", true, true},
		{"H265 CRA", H265, "00000002 2a01", true, true},
		{"H265 BLA", H265, "00000002 2001", true, true},
		{"H265 TRAIL", H265, "00000002 0201", true, false},
		{"H265 sets only", H265, "00000002 4001 00000002 4201", false, false},
		{"audio", AAC, "00000002 6588", true, false},
	} {
		data := unhex(t, c.data)
		if got := IsKeyFrame(c.codec, data); got != c.key {
			t.Errorf("%s: %v", c.name, got)
		}
		if c.codec.Kind() == Video {
			if pictures, key := Picture(c.codec, data); pictures != c.pictures || key != c.key {
				t.Errorf("%s: %v, %v", c.name, pictures, key)
			}
		}
	}
}

func TestWidenNALULengths(t *testing.T) {
	want := unhex(t, "00000002 6588 00000001 41")
	for size, data := range map[int]string{1: "02 6588 01 41", 2: "0002 6588 0001 41", 3: "000002 6588 000001 41", 4: "00000002 6588 00000001 41"} {
		got, err := WidenNALULengths(unhex(t, data), size)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d: %x, %v", size, got, err)
		}
		if _, err := WidenNALULengths(unhex(t, data+"ff"), size); !errors.Is(err, ErrBadNALUnits) {
			t.Errorf("%d: %v", size, err)
		}
	}
	if _, err := WidenNALULengths(want, 5); !errors.Is(err, ErrBadNALUnits) {
		t.Error(err)
	}
	if _, err := WidenNALULengths([]byte{0}, 2); !errors.Is(err, ErrBadNALUnits) {
		t.Error(err)
	}
}

func TestAnnexB(t *testing.T) {
	for _, c := range []struct{ name, stream, want string }{
		{"nothing", "", ""},
		{"no start code", "0102", ""},
		{"mixed start codes", "00000001 6588 000001 41 000001 42", "00000002 6588 00000001 41 00000001 42"},
		{"trailing zeros", "000001 6588 0000 00000001 41 00", "00000002 6588 00000001 41"},
		{"junk before", "ffff 000001 41", "00000001 41"},
		{"empty units", "000001 000001 000001 41 000001", "00000001 41"},
	} {
		got := AppendFromAnnexB(nil, unhex(t, c.stream))
		if !bytes.Equal(got, unhex(t, c.want)) {
			t.Errorf("%s: %x", c.name, got)
		}
		if back := AppendFromAnnexB(nil, AppendAnnexB(nil, got)); !bytes.Equal(back, got) {
			t.Errorf("%s: and back: %x", c.name, back)
		}
	}
	for range AnnexBUnits(unhex(t, "000001 41 000001 42")) {
		break
	}
	if !IsAnnexB([]byte{0, 0, 0, 1, 2}) || !IsAnnexB([]byte{0, 0, 1, 2}) || IsAnnexB([]byte{0, 0, 0, 2, 1, 1}) {
		t.Error("IsAnnexB")
	}
}

func TestWithParameterSets(t *testing.T) {
	for _, pair := range [][2]int{{0, 1}, {8, 9}} {
		a, b := videoCases[pair[0]], videoCases[pair[1]]
		track, err := NewVideoTrack(a.codec, unhex(t, a.config))
		if err != nil {
			t.Fatal(err)
		}
		own, other := configSets(t, a.codec, unhex(t, a.config)), configSets(t, b.codec, unhex(t, b.config))
		var data []byte
		for _, sets := range [][][]byte{own.VPS, own.SPS, own.PPS} {
			for _, s := range sets {
				data = AppendFromAnnexB(data, append([]byte{0, 0, 1}, s...))
			}
		}
		if track.WithParameterSets(FindParameterSets(a.codec, data)) != track {
			t.Errorf("%v: the same sets change the track", a.codec)
		}
		if track.WithParameterSets(ParameterSets{PPS: other.PPS}) != track {
			t.Errorf("%v: a PPS alone changes the track", a.codec)
		}
		if track.WithParameterSets(ParameterSets{SPS: [][]byte{{0x67, 1}}}) != track {
			t.Errorf("%v: a broken SPS changes the track", a.codec)
		}
		if got := track.WithParameterSets(other); got.Width != b.width || got.Height != b.height {
			t.Errorf("%v: %+v", a.codec, got)
		}
		if got := track.WithParameterSets(ParameterSets{SPS: other.SPS}); got.Width != b.width {
			t.Errorf("%v: SPS alone: %+v", a.codec, got)
		}
	}
}

func FuzzNALUnits(f *testing.F) {
	for _, s := range []string{"00000001 65 00000002 4142", "0002 6588 0001 41", "00000001 6588 000001 41", "ffffffff 65"} {
		f.Add(unhex(f, s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		total := 0
		for nalu := range NALUnits(data) {
			total += len(nalu) + 4
		}
		if total > len(data) {
			t.Fatal("more than there is")
		}
		for _, codec := range []Codec{H264, H265} {
			IsKeyFrame(codec, data)
			FindParameterSets(codec, data)
		}
		for size := range 6 {
			if out, err := WidenNALULengths(data, size); err == nil && CheckNALUnits(out) != nil {
				t.Fatal("widened to nonsense")
			}
		}
		converted := AppendFromAnnexB(nil, data)
		if CheckNALUnits(converted) != nil {
			t.Fatal("Annex B to nonsense")
		}
		if back := AppendFromAnnexB(nil, AppendAnnexB(nil, converted)); !bytes.Equal(back, converted) {
			t.Fatal("not stable")
		}
	})
}

func BenchmarkPicture(b *testing.B) {
	data := append([]byte{0, 0, 0x10, 0}, make([]byte, 0x1000)...)
	data[4] = 0x41
	b.ReportAllocs()
	for b.Loop() {
		if pictures, key := Picture(H264, data); !pictures || key {
			b.Fatal("wrong")
		}
	}
}

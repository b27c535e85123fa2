package rtmp

import (
	"errors"
	"io"
	"testing"
	"time"

	"github.com/hookline/hookline/internal/media"
	"github.com/hookline/hookline/internal/stream"
)

func TestTimestampsWrap(t *testing.T) {
	for _, c := range []struct {
		name string
		in   []uint32
		want []int64 // ms
	}{
		{"32 bits", []uint32{1<<32 - 40, 0, 40}, []int64{1<<32 - 40, 1 << 32, 1<<32 + 40}},
		{"back and forth over the wrap", []uint32{1<<32 - 40, 10, 1<<32 - 20, 30}, []int64{1<<32 - 40, 1<<32 + 10, 1<<32 - 20, 1<<32 + 30}},
		{"24 bits", []uint32{1<<24 - 40, 1<<24 - 1, 20, 60}, []int64{1<<24 - 40, 1<<24 - 1, 1<<24 + 20, 1<<24 + 60}},
		{"through 24 bits", []uint32{1<<24 - 40, 1 << 24, 1<<24 + 40}, []int64{1<<24 - 40, 1 << 24, 1<<24 + 40}},
		{"starts again", []uint32{1 << 23, 0, 40}, []int64{1 << 23, 0, 40}},
		{"back beyond the beginning", []uint32{40, 0, 1<<32 - 40}, []int64{40, 0, -40}},
	} {
		var u unwrapper
		for i, v := range c.in {
			if got := u.at(v).Milliseconds(); got != c.want[i] {
				t.Errorf("%s, %d: %d, want %d", c.name, i, got, c.want[i])
			}
		}
	}
}

// TestStampsOnTheWire: what a packager writes a chunk reader reads, over every width of time stamps, also where the message
// has several chunks and its neighbours have none of theirs extended.
func TestStampsOnTheWire(t *testing.T) {
	video, audio := tracks()
	p := newPackager(stream.Program{Tracks: []*media.Track{video, audio}}, true)
	var out []byte
	var want []int64
	for _, at := range []int64{0, 1<<24 - 2, 1<<24 - 1, 1 << 24, 1<<24 + 1, 1<<32 - 1, 1 << 32, 1<<32 + 1, 1<<32 + 1<<24} {
		dts := time.Duration(at) * time.Millisecond
		out = p.Append(out, picture(video, dts, true, 3*ChunkSize))
		out = p.Append(out, sound(audio, dts))
		want = append(want, at, at)
	}
	in := w()
	in.control(TypeSetChunkSize, ChunkSize).Write(out)
	got, err := readAll(in.Bytes())
	if !errors.Is(err, io.EOF) || len(got) != len(want) {
		t.Fatalf("%d messages, %v", len(got), err)
	}
	for i, m := range got {
		if m.Timestamp != uint32(want[i]) {
			t.Errorf("message %d is at %d, want %d", i, m.Timestamp, want[i])
		}
	}
}

package rtmp

import (
	"bytes"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hookline/hookline/internal/media"
	"github.com/hookline/hookline/internal/stream"
)

// wireOf returns blocks of a packager: what comes first, then one block of several frames for each string: K key frame, P
// picture, A sound, C another configuration.
func wireOf(frames ...string) (blocks net.Buffers) {
	video, audio := tracks()
	program := stream.Program{Tracks: []*media.Track{video, audio}}
	p := newPackager(program, true)
	blocks = append(blocks, p.Start())
	at := (1<<24 - 2) * time.Millisecond // some time stamps are extended
	for _, f := range frames {
		var b []byte
		for _, c := range f {
			switch c {
			case 'K', 'P':
				b = p.Append(b, picture(video, at, c == 'K', ChunkSize+100))
			case 'A':
				b = p.Append(b, sound(audio, at))
			case 'C':
				b = p.Change(b, program)
			}
			at += time.Millisecond
		}
		blocks = append(blocks, b)
	}
	return blocks
}

// letters says what is in wire bytes: as wireOf, M metadata, V and S configurations.
func letters(t *testing.T, b []byte) string {
	t.Helper()
	in := w()
	in.control(TypeSetChunkSize, ChunkSize).Write(b)
	all, _ := readAll(in.Bytes())
	var s strings.Builder
	for _, m := range all {
		switch {
		case m.Type == TypeDataAMF0:
			s.WriteByte('M')
		case m.Type == TypeVideo && m.Body[1] == 0:
			s.WriteByte('V')
		case m.Type == TypeAudio && m.Body[1] == 0:
			s.WriteByte('S')
		case m.Type == TypeAudio:
			s.WriteByte('A')
		case m.Body[0]>>4 == 1:
			s.WriteByte('K')
		default:
			s.WriteByte('P')
		}
	}
	return s.String()
}

func TestSieve(t *testing.T) {
	blocks := wireOf("KAP", "APAC", "P", "KPA", "A")
	for _, c := range []struct {
		mute [6]uint32 // before each block
		want string
	}{
		{[6]uint32{}, "MVS KAP APAMVS P KPA A"},
		{[6]uint32{muteAudio, muteAudio, muteAudio, muteAudio, muteAudio, muteAudio}, "MVS KP PMVS P KP "},
		{[6]uint32{muteVideo, muteVideo, muteVideo, muteVideo, muteVideo, muteVideo}, "MVS A AAMVS  A A"},
		{[6]uint32{0, 0, muteVideo, 0, 0, 0}, "MVS KAP AAMVS  KPA A"},
		{[6]uint32{0, mutePause, mutePause, 0, 0, 0}, "MVS  MVS  KPA A"},
		{[6]uint32{0, 0, 0, 0, mutePause, 0}, "MVS KAP APAMVS P  A"},
	} {
		var mute atomic.Uint32
		f := sieve{mute: &mute}
		var got []string
		for i, b := range blocks {
			mute.Store(c.mute[i])
			left, gap := f.pass(net.Buffers{b})
			again, _ := f.pass(net.Buffers{b}) // a block that was not taken comes again
			if !bytes.Equal(bytes.Join(left, nil), bytes.Join(again, nil)) {
				t.Error("a block that comes again is cut in another way")
			}
			f.gap = gap
			got = append(got, letters(t, bytes.Join(left, nil)))
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%v: %q, want %q", c.mute, s, c.want)
		}
	}
}

// TestMutedPlayer: receiveAudio, receiveVideo and pause of a player at a real hub.
func TestMutedPlayer(t *testing.T) {
	_, addr := startRealHub(t)
	pub := publisher(t, addr, "live/a")
	video, audio := tracks()
	if err := pub.WriteMetadata(video, audio); err != nil {
		t.Fatal(err)
	}
	view := dial(t, addr, "live/a")
	for _, c := range []struct {
		name  string
		value bool
	}{{"receiveVideo", false}, {"receiveAudio", true}} { // before there is anything
		if err := view.sendCommand(c.name, nil, c.value); err != nil {
			t.Fatal(err)
		}
	}
	at := time.Duration(0)
	write := func(frames string) {
		t.Helper()
		for _, c := range frames {
			f := sound(audio, at)
			if c != 'A' {
				f = picture(video, at, c == 'K', 100)
			}
			if err := pub.WriteFrame(f); err != nil {
				t.Fatal(err)
			}
			at += 10 * time.Millisecond
		}
	}
	write("KA")
	if err := view.Play(t.Context()); err != nil {
		t.Fatal(err)
	}
	next := func() string {
		t.Helper()
		for {
			m, err := view.Read()
			if err != nil {
				t.Fatal(err)
			}
			if m.Type != TypeDataAMF0 && m.Body[1] != 0 {
				return fmt.Sprintf("%d@%d", m.Type, m.Timestamp)
			}
		}
	}
	expect := func(want string) {
		t.Helper()
		if got := next(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	expect("8@10")
	write("PA") // 20, 30
	expect("8@30")
	// The answer says that the command has been taken.
	ask := func(name string, values ...any) {
		t.Helper()
		if _, err := view.request(name, append([]any{nil}, values...)...); err != nil {
			t.Fatal(err)
		}
	}
	ask("receiveVideo", true)
	ask("receiveAudio", false)
	write("PAKPA") // 40, 50, 60, 70, 80
	expect("9@60")
	expect("9@70")
	if err := view.sendStreamCommand(1, "pause", nil, true, 0.0); err != nil {
		t.Fatal(err)
	}
	if err := view.await(codePause); err != nil {
		t.Fatal(err)
	}
	write("KP") // 90, 100
	ask("receiveAudio", true)
	if err := view.sendStreamCommand(1, "pause", nil, false, 0.0); err != nil {
		t.Fatal(err)
	}
	if err := view.await(codeUnpause); err != nil {
		t.Fatal(err)
	}
	write("PAK") // 110, 120, 130
	// Frames of before may come now, if they were not written before: but pictures from a key frame on only.
	for first := true; ; {
		m, err := view.Read()
		if err != nil {
			t.Fatal(err)
		}
		if m.Type != TypeVideo || m.Body[1] == 0 {
			continue
		}
		if first && m.Body[0]>>4 != 1 {
			t.Errorf("the first picture after a pause, at %d, is no key frame", m.Timestamp)
		}
		if first = false; m.Timestamp == 130 {
			break
		}
	}
}

// FuzzSieve: of bytes that are no messages nothing is lost, and what is cut is cut at messages.
func FuzzSieve(f *testing.F) {
	for _, b := range wireOf("KA", "C") {
		if len(b) < 1<<10 {
			f.Add(b, uint32(muteAudio))
		}
	}
	f.Add(w().full(4, 1<<24-1, 2, TypeAudio).u32(1<<24).raw("\xaf\x01").full(6, 0, 2, TypeVideo).raw("\x27\x01").Bytes(), uint32(mutePause))
	f.Fuzz(func(t *testing.T, b []byte, m uint32) {
		var mute atomic.Uint32
		mute.Store(m)
		s := sieve{mute: &mute}
		left, _ := s.pass(net.Buffers{b})
		n := 0
		for _, part := range left {
			n += len(part)
		}
		if n > len(b) {
			t.Fatalf("%d of %d bytes", n, len(b))
		}
		mute.Store(0)
		s.gap = false
		if left, _ = s.pass(net.Buffers{b}); !bytes.Equal(bytes.Join(left, nil), b) {
			t.Fatal("bytes are lost of what is all wanted")
		}
	})
}

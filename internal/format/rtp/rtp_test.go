package rtp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/bluenviron/gortsplib/v5/pkg/format/rtph264"
	"github.com/bluenviron/gortsplib/v5/pkg/format/rtph265"
	"github.com/bluenviron/gortsplib/v5/pkg/format/rtpmpeg4audio"
	pion "github.com/pion/rtp"

	"github.com/hookline/hookline/internal/media"
)

var (
	testSPS = []byte{0x67, 0x42, 0xc0, 0x1e, 0xd9, 0x00, 0xa0, 0x47, 0xfe, 0x88}
	testPPS = []byte{0x68, 0xce, 0x3c, 0x80}
)

func nalData(nalus ...[]byte) []byte {
	var b []byte
	for _, n := range nalus {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(n))), n...)
	}
	return b
}

func bytesOf(rng *rand.Rand, first byte, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.UintN(255)) + 1 // no start codes
	}
	b[0] = first
	return b
}

func h264Track(t *testing.T) *media.Track {
	t.Helper()
	c, err := media.BuildAVCConfig([][]byte{testSPS}, [][]byte{testPPS})
	if err != nil {
		t.Fatal(err)
	}
	return &media.Track{Codec: media.H264, Config: c}
}

func h265Track() *media.Track { return &media.Track{Codec: media.H265} }

func encoder(t *testing.T, tr *media.Track) *Encoder {
	t.Helper()
	e, err := NewEncoder(tr, EncoderConfig{PT: 96, SSRC: 7, Seq: 65530, Base: 1<<32 - 1000, Channel: 2})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func formatOf(c media.Codec) Format {
	return Format{Codec: c, Known: true, ClockRate: 90000, aacSizeBits: 13, aacIndexBits: 3, aacDeltaBits: 3}
}

// split parses every packet of a buffer, and checks framing and sequence.
func split(t *testing.T, b []byte, seq *uint16) []Packet {
	t.Helper()
	var out []Packet
	n := 0
	for ch, raw := range Packets(b) {
		p, err := Parse(raw)
		if err != nil || ch != 2 || p.PT != 96 || p.SSRC != 7 || p.Seq != *seq || len(raw) > defaultMTU {
			t.Fatalf("packet %d: channel %d, %+v, %v", len(out), ch, p, err)
		}
		*seq++
		n += framing + len(raw)
		out = append(out, p)
	}
	if n != len(b) {
		t.Fatalf("%d of %d bytes are packets", n, len(b))
	}
	return out
}

func toPion(p Packet) *pion.Packet {
	return &pion.Packet{
		Header: pion.Header{
			Version: 2, Marker: p.Marker, PayloadType: p.PT, SequenceNumber: p.Seq, Timestamp: p.Timestamp, SSRC: p.SSRC,
		},
		Payload: p.Payload,
	}
}

func fromPion(p *pion.Packet) *Packet {
	return &Packet{
		PT: p.PayloadType, Marker: p.Marker, Seq: p.SequenceNumber, Timestamp: p.Timestamp, SSRC: p.SSRC, Payload: p.Payload,
	}
}

// pushReused pushes a packet whose memory is written over afterwards.
func pushReused(d *Depacketizer, p *Packet) ([]Unit, error) {
	q := *p
	q.Payload = bytes.Clone(p.Payload)
	us, err := d.Push(&q)
	for i := range q.Payload {
		q.Payload[i] = 0xee
	}
	return us, err
}

// What we write is read by gortsplib and by ourselves, over all lengths around the limits of a packet.
func TestEncodeVideo(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, c := range []struct {
		track *media.Track
		head  byte
		read  func(*pion.Packet) ([][]byte, error)
	}{
		{h264Track(t), 0x65, func() func(*pion.Packet) ([][]byte, error) {
			d := &rtph264.Decoder{PacketizationMode: 1}
			_ = d.Init()
			return d.Decode
		}()},
		{h265Track(), 19 << 1, func() func(*pion.Packet) ([][]byte, error) {
			d := &rtph265.Decoder{}
			_ = d.Init()
			return d.Decode
		}()},
	} {
		e, seq := encoder(t, c.track), uint16(65530)
		d, err := NewDepacketizer(formatOf(c.track.Codec))
		if err != nil {
			t.Fatal(err)
		}
		room := defaultMTU - headerSize
		for i, n := range []int{3, 4, 100, room - 1, room, room + 1, 2 * room, 3*room - 4, 70000} {
			want := [][]byte{bytesOf(rng, c.head, n), bytesOf(rng, c.head, 50), bytesOf(rng, c.head, n)}
			f := &media.Frame{Track: c.track, PTS: time.Duration(i) * 40 * time.Millisecond, Data: nalData(want...)}
			var theirs [][]byte
			var ours []Unit
			pkts := split(t, e.Append(nil, f), &seq)
			for j, p := range pkts {
				if last := j == len(pkts)-1; p.Marker != last {
					t.Fatalf("marker of packet %d of %d: %v", j, len(pkts), p.Marker)
				}
				au, err := c.read(toPion(p))
				if err == nil {
					theirs = au
				}
				us, err := pushReused(d, &p)
				if err != nil {
					t.Fatal(err)
				}
				ours = append(ours, us...)
			}
			if !slices.EqualFunc(theirs, want, bytes.Equal) {
				t.Errorf("%v, %d bytes: gortsplib reads %d units", c.track.Codec, n, len(theirs))
			}
			if len(ours) != 1 || !bytes.Equal(ours[0].Data, f.Data) || ours[0].Time != 1<<32-1000+int64(i)*3600 {
				t.Errorf("%v, %d bytes: we read %d units", c.track.Codec, n, len(ours))
			}
		}
	}
}

// Before a key frame stand the parameter sets, in one packet.
func TestEncodeParameterSets(t *testing.T) {
	tr := h264Track(t)
	e, seq := encoder(t, tr), uint16(65530)
	idr := []byte{0x65, 1, 2, 3}
	pkts := split(t, e.Append(nil, &media.Frame{Track: tr, Key: true, Data: nalData(idr)}), &seq)
	if len(pkts) != 2 || pkts[0].Payload[0]&0x1f != 24 || pkts[0].Marker {
		t.Fatalf("%+v", pkts)
	}
	d, _ := NewDepacketizer(formatOf(media.H264))
	var units []Unit
	for _, p := range pkts {
		u, err := pushReused(d, &p)
		if err != nil {
			t.Fatal(err)
		}
		units = append(units, u...)
	}
	if len(units) != 1 || !bytes.Equal(units[0].Data, nalData(testSPS, testPPS, idr)) {
		t.Errorf("%+v", units)
	}
	pkts = split(t, e.Append(nil, &media.Frame{Track: tr, Key: true, Data: nalData(testSPS, testPPS, idr)}), &seq)
	if len(pkts) != 3 {
		t.Errorf("%d packets, the sets twice", len(pkts))
	}
}

// A loss costs the unit that it hits, and no other.
func TestLoss(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	tr := h264Track(t)
	e, seq := encoder(t, tr), uint16(65530)
	var pkts []Packet
	var frames [][]byte
	for i := range 5 {
		data := nalData(bytesOf(rng, 0x41, 5000))
		frames = append(frames, data)
		pkts = append(pkts, split(t, e.Append(nil, &media.Frame{Track: tr, PTS: time.Duration(i) * time.Second, Data: data}), &seq)...)
	}
	per := len(pkts) / 5
	for lost := range pkts {
		d, _ := NewDepacketizer(formatOf(media.H264))
		var got [][]byte
		for i := range pkts {
			if i == lost {
				continue
			}
			us, _ := pushReused(d, &pkts[i])
			for _, u := range us {
				got = append(got, u.Data)
			}
		}
		want := slices.Delete(slices.Clone(frames), lost/per, lost/per+1)
		if !slices.EqualFunc(got, want, bytes.Equal) {
			t.Errorf("packet %d lost: %d units", lost, len(got))
		}
		if n, _ := d.Stats(); n != 1 && lost > 0 && lost < len(pkts)-1 {
			t.Errorf("packet %d lost: counted %d", lost, n)
		}
	}
}

func TestDecodeGortsplib(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	v := &rtph264.Encoder{PayloadType: 96, PacketizationMode: 1}
	if err := v.Init(); err != nil {
		t.Fatal(err)
	}
	h := &rtph265.Encoder{PayloadType: 96}
	if err := h.Init(); err != nil {
		t.Fatal(err)
	}
	a := &rtpmpeg4audio.Encoder{PayloadType: 96, SizeLength: 13, IndexLength: 3, IndexDeltaLength: 3}
	if err := a.Init(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		codec  media.Codec
		first  byte
		encode func([][]byte) ([]*pion.Packet, error)
	}{{media.H264, 0x41, v.Encode}, {media.H265, 1 << 1, h.Encode}, {media.AAC, 0x21, a.Encode}} {
		d, err := NewDepacketizer(formatOf(c.codec))
		if err != nil {
			t.Fatal(err)
		}
		for range 50 {
			var in [][]byte
			for range 1 + rng.IntN(4) {
				in = append(in, bytesOf(rng, c.first, 3+rng.IntN(4000)))
			}
			pkts, err := c.encode(in)
			if err != nil {
				t.Fatal(err)
			}
			var got [][]byte
			for _, p := range pkts {
				us, err := pushReused(d, fromPion(p))
				if err != nil {
					t.Fatal(err)
				}
				for _, u := range us {
					got = append(got, u.Data)
				}
			}
			want := in
			if c.codec != media.AAC {
				want = [][]byte{nalData(in...)}
			}
			if !slices.EqualFunc(got, want, bytes.Equal) {
				t.Fatalf("%v: %d units of %d", c.codec, len(got), len(want))
			}
		}
	}
}

func TestEncodeAudio(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	aac := &rtpmpeg4audio.Decoder{SizeLength: 13, IndexLength: 3, IndexDeltaLength: 3}
	if err := aac.Init(); err != nil {
		t.Fatal(err)
	}
	for _, codec := range []media.Codec{media.AAC, media.Opus, media.PCMA} {
		tr := &media.Track{Codec: codec, SampleRate: 8000, Channels: 1}
		e, seq := encoder(t, tr), uint16(65530)
		f := formatOf(codec)
		f.ClockRate = 8000
		d, err := NewDepacketizer(f)
		if err != nil {
			t.Fatal(err)
		}
		for i, n := range []int{1, 300, 1372, 1380, 1388, 4000} {
			if codec == media.Opus && n > 1275 {
				continue
			}
			in := bytesOf(rng, 0x55, n)
			var got []byte
			for _, p := range split(t, e.Append(nil, &media.Frame{Track: tr, PTS: time.Duration(i) * time.Second, Data: in}), &seq) {
				us, err := pushReused(d, &p)
				if err != nil {
					t.Fatal(err)
				}
				for _, u := range us {
					got = append(got, u.Data...)
				}
				if codec == media.AAC {
					if au, err := aac.Decode(toPion(p)); err == nil && !bytes.Equal(au[0], in) {
						t.Errorf("AAC of %d bytes: gortsplib reads another", n)
					}
				}
			}
			if !bytes.Equal(got, in) {
				t.Errorf("%v of %d bytes: %d came back", codec, n, len(got))
			}
		}
	}
}

// Pictures of the other codecs come back as they were, over several packets.
func TestEncodePictures(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 10))
	av1 := func(n int) []byte { // a sequence header and a frame, with sizes
		frame := bytesOf(rng, 0x10, n)
		b := append([]byte{0x0a, 2, 1, 2, 0x32}, byte(n)|0x80, byte(n>>7))
		return append(b, frame...)
	}
	for _, c := range []struct {
		codec media.Codec
		make  func(n int) []byte
	}{
		{media.VP8, func(n int) []byte { return bytesOf(rng, 0x10, n) }},
		{media.VP9, func(n int) []byte { return bytesOf(rng, 0x82, n) }},
		{media.AV1, av1},
	} {
		tr := &media.Track{Codec: c.codec}
		e, seq := encoder(t, tr), uint16(65530)
		d, err := NewDepacketizer(formatOf(c.codec))
		if err != nil {
			t.Fatal(err)
		}
		for i, n := range []int{200, 1386, 1387, 1388, 9000} {
			in := c.make(n)
			var got []Unit
			for _, p := range split(t, e.Append(nil, &media.Frame{Track: tr, PTS: time.Duration(i) * time.Second, Key: i == 0, Data: in}), &seq) {
				us, err := pushReused(d, &p)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, us...)
			}
			if len(got) != 1 || !bytes.Equal(got[0].Data, in) {
				t.Errorf("%v of %d bytes: %d units", c.codec, n, len(got))
			}
		}
	}
}

func TestParse(t *testing.T) {
	full := &pion.Packet{
		Header:  pion.Header{Version: 2, Marker: true, PayloadType: 97, SequenceNumber: 5, Timestamp: 6, SSRC: 7, CSRC: []uint32{1, 2}, Padding: true, PaddingSize: 5},
		Payload: []byte("payload"),
	}
	if err := full.SetExtension(1, []byte{1, 2, 3}); err != nil {
		t.Fatal(err)
	}
	b, err := full.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	p, err := Parse(b)
	if err != nil || string(p.Payload) != "payload" || !p.Marker || p.PT != 97 || p.Seq != 5 || p.Timestamp != 6 || p.SSRC != 7 {
		t.Errorf("%+v, %v", p, err)
	}
	for n := range len(b) - 5 - len("payload") {
		if _, err := Parse(b[:n]); n < 24 && !errors.Is(err, ErrBadPacket) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

func TestReorderer(t *testing.T) {
	now := time.Unix(0, 0)
	push := func(r *Reorderer, seqs ...uint16) (got []uint16) {
		for _, s := range seqs {
			now = now.Add(time.Millisecond)
			for _, p := range r.Push(&Packet{Seq: s}, now) {
				got = append(got, p.Seq)
			}
		}
		return got
	}
	for _, c := range []struct {
		name     string
		in, want []uint16
	}{
		{"in order", []uint16{65534, 65535, 0, 1}, []uint16{65534, 65535, 0, 1}},
		{"swapped", []uint16{10, 12, 11, 13}, []uint16{10, 11, 12, 13}},
		{"twice", []uint16{10, 11, 11, 10, 12}, []uint16{10, 11, 12}},
		{"anew", []uint16{10, 5000, 5001, 5002, 5003, 5004, 5005, 5006, 5007, 5008}, []uint16{10, 5007, 5008}},
	} {
		if got := push(&Reorderer{}, c.in...); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	r := &Reorderer{Wait: 50 * time.Millisecond}
	if got := push(r, 1, 3, 4); !slices.Equal(got, []uint16{1}) {
		t.Error(got)
	}
	now = now.Add(time.Second)
	if got := push(r, 5); !slices.Equal(got, []uint16{3, 4, 5}) {
		t.Error("what is missing was waited for too long:", got)
	}
	_ = push(r, 9, 7, 65535)
	var rest []uint16
	for _, p := range r.Rest() {
		rest = append(rest, p.Seq)
	}
	if !slices.Equal(rest, []uint16{7, 9}) || len(r.Rest()) != 0 {
		t.Error("the rest:", rest)
	}
}

// TestSingle: parameter sets go in one packet, or, for players that don't read STAP-A, in one each.
func TestSingle(t *testing.T) {
	f := &media.Frame{Track: h264Track(t), Key: true, Data: nalData([]byte{0x65, 1, 2, 3})}
	for single, want := range map[bool][]byte{false: {24, 5}, true: {7, 8, 5}} {
		e, err := NewEncoder(f.Track, EncoderConfig{PT: 96, SSRC: 7, Channel: 2, Single: single})
		if err != nil {
			t.Fatal(err)
		}
		d, err := NewDepacketizer(formatOf(media.H264))
		if err != nil {
			t.Fatal(err)
		}
		var types []byte
		var got []Unit
		seq := uint16(0)
		for _, p := range split(t, e.Append(nil, f), &seq) {
			types = append(types, p.Payload[0]&0x1f)
			us, err := pushReused(d, &p)
			if err != nil {
				t.Error(err)
			}
			got = append(got, us...)
		}
		if !bytes.Equal(types, want) || len(got) != 1 || len(media.FindParameterSets(media.H264, got[0].Data).PPS) != 1 {
			t.Errorf("single %v: NAL unit types %v, want %v; %d units", single, types, want, len(got))
		}
	}
}

// TestReordererMemory: packets that are late, lost or doubled come out once and in order, with their own payload, although the
// memory of each is written over when those that came for it have been used.
func TestReordererMemory(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for round := range 50 {
		r := &Reorderer{Depth: 16, Wait: 20 * time.Millisecond}
		now, seq, got := time.Unix(0, 0), uint16(65500), 0
		buf := make([]byte, 2000)
		last := seq - 1
		check := func(out []Packet) {
			for _, p := range out {
				want := bytes.Repeat([]byte{byte(p.Seq), byte(p.Seq >> 8)}, 1+int(p.Seq%500))
				if int16(p.Seq-last) <= 0 || !bytes.Equal(p.Payload, want) {
					t.Fatalf("round %d: packet %d behind %d, payload % x", round, p.Seq, last, p.Payload[:2])
				}
				last = p.Seq
				got++
			}
		}
		var in []uint16
		for range 500 {
			if seq++; rng.IntN(20) > 0 {
				in = append(in, seq)
			}
			if n := len(in); n > 9 && rng.IntN(4) == 0 {
				j := n - 1 - rng.IntN(8)
				in[n-1], in[j] = in[j], in[n-1]
			}
			if rng.IntN(30) == 0 {
				in = append(in, seq)
			}
		}
		for _, n := range in {
			now = now.Add(time.Millisecond)
			payload := buf[:2*(1+int(n%500))]
			for i := range payload {
				payload[i] = byte(n >> (8 * (i % 2)))
			}
			check(r.Push(&Packet{Seq: n, Payload: payload}, now))
			clear(payload)
		}
		check(r.Rest())
		if got < 400 {
			t.Errorf("round %d: %d packets of 500", round, got)
		}
		if len(r.held) > 0 || len(r.free) > 2*r.Depth {
			t.Errorf("round %d: %d are held, %d buffers free", round, len(r.held), len(r.free))
		}
	}
}

// Two tracks that start apart are put in line by their sender reports.
func TestTimeline(t *testing.T) {
	var l Timeline
	v, a := l.Track(90000), l.Track(48000)
	start := time.Unix(1000, 0)
	if d := v.PTS(5000, start); d != 0 {
		t.Error(d)
	}
	// Audio of the same moment arrives 300 ms later.
	if d := a.PTS(100, start.Add(300*time.Millisecond)); d != 300*time.Millisecond {
		t.Error(d)
	}
	v.Report(&SenderReport{NTP: time.Unix(1700000000, 0), RTP: 5000})
	a.Report(&SenderReport{NTP: time.Unix(1700000001, 0), RTP: 100 + 48000})
	if d := a.PTS(100+96000, start); d != 2*time.Second {
		t.Error(d)
	}
	if d := v.PTS(5000+180000, start); d != 2*time.Second {
		t.Error(d)
	}
}

func TestRTCP(t *testing.T) {
	e := encoder(t, h264Track(t))
	now := time.Unix(1700000000, 500000000)
	b := e.AppendSenderReport(nil, now, time.Second)
	if b[0] != '$' || b[1] != 3 {
		t.Fatalf("% x", b[:4])
	}
	r, err := ParseRTCP(b[framing:])
	if err != nil || r.Sender == nil || r.Sender.SSRC != 7 || r.Sender.RTP != e.Time(time.Second) || r.Sender.NTP.Sub(now).Abs() > time.Microsecond {
		t.Errorf("%+v, %v", r.Sender, err)
	}
	bye := AppendBye(nil, 0x01020304)
	if r, err := ParseRTCP(bye); err != nil || !r.Bye || !r.Receiver || Source(bye, true) != 0x01020304 || len(bye) != 8+20+8 {
		t.Errorf("% x: %+v, %v", bye, r, err)
	}
	if n := Source(b[framing:framing+28], true); n != 7 || Source(bye[:7], true) != 0 || Source(bye[:11], false) != 0 {
		t.Errorf("source %d", n)
	}
	var rec Reception
	for _, seq := range []uint16{65534, 65535, 1, 2} { // 0 is missing
		rec.Packet(&Packet{Seq: seq, SSRC: 9}, now, 90000)
	}
	rr := rec.AppendReport(nil, 1, now)
	got, err := ParseRTCP(rr)
	if err != nil || !got.Receiver || binary.BigEndian.Uint32(rr[12:])&0xffffff != 1 || binary.BigEndian.Uint32(rr[16:]) != 1<<16+2 {
		t.Errorf("% x, %v", rr, err)
	}
}

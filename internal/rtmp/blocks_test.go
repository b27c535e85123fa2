package rtmp

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/hookline/hookline/internal/media"
	"github.com/hookline/hookline/internal/stream"
)

func TestSendBlocks(t *testing.T) {
	for _, tc := range []struct {
		name  string
		sizes []int
	}{
		{"one", []int{10}},
		{"many small", []int{100 << 10, 100 << 10, 100 << 10, 1, 100 << 10, writeStep, 5}},
		{"large", []int{3*writeStep + 7}},
		{"mixed", []int{1, writeStep + 1, 2, 2 * writeStep, 3}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var blocks net.Buffers
			var want []byte
			for i, n := range tc.sizes {
				blocks = append(blocks, bytes.Repeat([]byte{byte(i + 1)}, n))
				want = append(want, blocks[i]...)
			}
			near, far := net.Pipe()
			defer near.Close()
			got := make(chan []byte, 1)
			go func() { b, _ := io.ReadAll(far); got <- b }()
			s := newSession(New(Config{}, newFakeHub()), near, 1)
			defer s.cancel()
			n, err := s.sendBlocks(t.Context(), blocks)
			if err != nil || int(n) != len(want) {
				t.Errorf("sent %d of %d, %v", n, len(want), err)
			}
			near.Close()
			if !bytes.Equal(<-got, want) {
				t.Error("other bytes arrived")
			}
		})
	}
}

// TestSendBlocksGivesUp: between two blocks a cancelled viewer stops; the connection goes on.
func TestSendBlocksGivesUp(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	s := newSession(New(Config{}, newFakeHub()), near, 1)
	defer s.cancel()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_, _ = io.ReadFull(far, make([]byte, writeStep))
		cancel()
		_, _ = io.ReadFull(far, make([]byte, writeStep))
	}()
	block := make([]byte, 2*writeStep)
	n, err := s.sendBlocks(ctx, net.Buffers{block, block})
	if !errors.Is(err, context.Canceled) || int(n) != len(block) {
		t.Errorf("sent %d, %v", n, err)
	}
}

func TestPackagerAppendsOnce(t *testing.T) {
	video, audio := tracks()
	p := Formats(true)[0].New(stream.Program{Tracks: []*media.Track{video, audio}})
	if got, err := readAll(append(appendControl(nil, TypeSetChunkSize, ChunkSize), p.Start()...)); !errors.Is(err, io.EOF) || len(got) != 3 {
		t.Errorf("start: %d messages, %v, want metadata and two configurations", len(got), err)
	}
	buf := make([]byte, 0, 1<<20)
	frames := []*media.Frame{
		picture(video, (1<<32+5)*time.Millisecond, true, 3*ChunkSize), // the time stamp has wrapped
		picture(video, (1<<32-1)*time.Millisecond, false, 2*ChunkSize),
		picture(video, (1<<24-2)*time.Millisecond, false, ChunkSize-4-5), // exactly one chunk
		sound(audio, -time.Second),
		{Track: audio, Config: true},
	}
	allocs := testing.AllocsPerRun(10, func() {
		buf = buf[:0]
		for _, f := range frames {
			buf = p.Append(buf, f)
		}
	})
	if allocs > 0 {
		t.Errorf("%v allocations", allocs)
	}
	got, err := readAll(append(appendControl(nil, TypeSetChunkSize, ChunkSize), buf...))
	if !errors.Is(err, io.EOF) || len(got) != 4 {
		t.Fatalf("%d messages, %v", len(got), err)
	}
	for i, ts := range []uint32{5, 1<<32 - 1, 1<<24 - 2, 0} {
		if got[i].Timestamp != ts || !bytes.HasSuffix(got[i].Body, frames[i].Data) || got[i].StreamID != mediaStreamID {
			t.Errorf("frame %d: %d bytes at %d, want %d", i, len(got[i].Body), got[i].Timestamp, ts)
		}
	}
	if changed := p.Change(nil, stream.Program{Tracks: []*media.Track{audio}}); len(changed) == 0 {
		t.Error("a change is not announced")
	}
}

func TestUnwrapper(t *testing.T) {
	var u unwrapper
	for i, tc := range []struct {
		in   uint32
		want int64
	}{{1<<32 - 10, 1<<32 - 10}, {5, 1<<32 + 5}, {1<<32 - 1, 1<<32 - 1}, {20, 1<<32 + 20}, {1 << 30, 1<<32 + 1<<30}} {
		if got := u.at(tc.in).Milliseconds(); got != tc.want {
			t.Errorf("step %d: %d, want %d", i, got, tc.want)
		}
	}
}

func TestAggregate(t *testing.T) {
	tag := func(typ byte, ts byte, body string) string {
		return string([]byte{typ, 0, 0, byte(len(body)), 0, 0, ts, 0, 0, 0, 0}) + body + "\x00\x00\x00\x00"
	}
	m := Message{Type: TypeAggregate, Timestamp: 1000, Body: []byte(tag(8, 50, "a") + tag(9, 70, "bc") + tag(22, 70, "x") + tag(8, 70, ""))}
	var got []Message
	err := splitAggregate(m, func(p Message) error { got = append(got, p); return nil })
	if err != nil || len(got) != 2 || got[0].Timestamp != 1000 || got[1].Timestamp != 1020 || string(got[1].Body) != "bc" || got[1].Type != TypeVideo {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, cut := range []int{1, 10, 11} {
		if err := splitAggregate(Message{Body: m.Body[:cut]}, func(Message) error { return nil }); !errors.Is(err, ErrProtocol) {
			t.Errorf("cut at %d: %v", cut, err)
		}
	}
}

// TestTLS publishes and plays over rtmps.
func TestTLS(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	if err != nil {
		t.Fatal(err)
	}
	hub := newFakeHub()
	srv := New(Config{Logger: slog.New(slog.DiscardHandler)}, hub)
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	defer func() { srv.Close(); <-done }()

	d := Dialer{TLS: &tls.Config{RootCAs: pool}}
	url := "rtmps://" + l.Addr().String() + "/live/a"
	pub, err := d.Dial(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer pub.Close()
	if err := pub.Publish(t.Context()); err != nil {
		t.Fatal(err)
	}
	if req := <-hub.published; req.Protocol != "rtmps" || req.Schema != "rtmp" {
		t.Errorf("asked for %+v", req.MediaInfo)
	}
	writeSome(t, pub)
	view, err := d.Dial(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer view.Close()
	if err := view.Play(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := pub.Unpublish(t.Context()); err != nil {
		t.Error(err)
	}
	n := 0
	for ; err == nil; n++ {
		_, err = view.Read()
	}
	if !errors.Is(err, io.EOF) || n < 5 {
		t.Errorf("%d messages, %v", n, err)
	}
}

package rtmp

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/media"
	"github.com/hookline/hookline/internal/stream"
	"github.com/hookline/hookline/internal/stream/streamtest"
)

// fakeHub relays what is published to whoever plays, from the first frame on.
type fakeHub struct {
	// publish and play decide; nil allows. Set before use.
	publish func(ctx context.Context, req stream.PublishRequest) error
	play    func(ctx context.Context, req stream.PlayRequest) error

	published chan stream.PublishRequest
	played    chan stream.PlayRequest
	ended     chan fact.EndReason

	mu      sync.Mutex
	streams map[string]*fakeStream
	arrived chan struct{} // closed when a stream appears
}

func newFakeHub() *fakeHub {
	return &fakeHub{
		published: make(chan stream.PublishRequest, 100), played: make(chan stream.PlayRequest, 100),
		ended: make(chan fact.EndReason, 100), streams: make(map[string]*fakeStream), arrived: make(chan struct{}),
	}
}

// note keeps what a test may want to see; fuzzing does not look.
func note[T any](c chan T, v T) {
	select {
	case c <- v:
	default:
	}
}

// Publish implements Hub.
func (h *fakeHub) Publish(ctx context.Context, req stream.PublishRequest) (Publisher, error) {
	note(h.published, req)
	if h.publish != nil {
		if err := h.publish(ctx, req); err != nil {
			return nil, err
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if old := h.streams[req.Key()]; old != nil && !old.over() {
		return nil, stream.ErrBusy
	}
	s := &fakeStream{hub: h, kick: req.Kick, wake: make(chan struct{})}
	h.streams[req.Key()] = s
	close(h.arrived)
	h.arrived = make(chan struct{})
	return s, nil
}

// Play implements Hub.
func (h *fakeHub) Play(ctx context.Context, req stream.PlayRequest) (Viewer, error) {
	note(h.played, req)
	if h.play != nil {
		if err := h.play(ctx, req); err != nil {
			return nil, err
		}
	}
	for {
		h.mu.Lock()
		s, arrived := h.streams[req.Key()], h.arrived
		h.mu.Unlock()
		if s != nil {
			return &fakeViewer{s: s}, nil
		}
		select {
		case <-arrived:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (h *fakeHub) stream(key string) *fakeStream {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.streams[key]
}

func (h *fakeHub) waitStream(t *testing.T, key string) *fakeStream {
	t.Helper()
	for {
		h.mu.Lock()
		s, arrived := h.streams[key], h.arrived
		h.mu.Unlock()
		if s != nil {
			return s
		}
		select {
		case <-arrived:
		case <-t.Context().Done():
			t.Fatal("no stream")
		}
	}
}

// fakeStream is a publisher and what its viewers see.
type fakeStream struct {
	hub  *fakeHub
	kick func()

	mu        sync.Mutex
	metadata  []byte
	announced int
	tracks    [2]*media.Track
	packager  stream.Packager
	frames    int
	log       net.Buffers
	closed    bool // from outside
	ended     bool
	wake      chan struct{}
}

// over says that the stream has ended. It stays there, so that a player that waited for it sees it even if it was short.
func (s *fakeStream) over() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

func (s *fakeStream) signal() {
	close(s.wake)
	s.wake = make(chan struct{})
}

// Metadata implements Publisher.
func (s *fakeStream) Metadata(raw []byte, _, _ bool, _, _ int, _ float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.metadata = raw
	s.announced++
}

// WriteFrame implements Publisher.
func (s *fakeStream) WriteFrame(f *media.Frame) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return stream.ErrEnded
	}
	defer s.signal()
	s.tracks[f.Track.Codec.Kind()] = f.Track
	program := stream.Program{Metadata: s.metadata}
	for _, t := range s.tracks {
		if t != nil {
			program.Tracks = append(program.Tracks, t)
		}
	}
	switch {
	case f.Config && s.packager != nil:
		s.log = append(s.log, s.packager.Change(nil, program))
		return nil
	case f.Config:
		return nil
	case s.packager == nil:
		s.packager = Formats(true)[0].New(program)
		s.log = append(s.log, s.packager.Start())
	}
	s.frames++
	s.log = append(s.log, s.packager.Append(nil, f))
	return nil
}

// Close implements Publisher.
func (s *fakeStream) Close(reason fact.EndReason) {
	s.mu.Lock()
	s.ended = true
	s.signal()
	s.mu.Unlock()
	note(s.hub.ended, reason)
}

// closeOutside is what the API does.
func (s *fakeStream) closeOutside() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.kick()
}

func (s *fakeStream) waitFrames(t *testing.T, n int) {
	t.Helper()
	for {
		s.mu.Lock()
		frames, wake := s.frames, s.wake
		s.mu.Unlock()
		if frames >= n {
			return
		}
		select {
		case <-wake:
		case <-t.Context().Done():
			t.Fatal("no frames")
		}
	}
}

type fakeViewer struct {
	s    *fakeStream
	next int
}

// Serve implements Viewer.
func (v *fakeViewer) Serve(ctx context.Context, out stream.Outlet) error {
	for {
		blocks, err := v.take(ctx)
		if err != nil {
			return err
		}
		if _, err := out.Write(ctx, blocks); err != nil {
			return err
		}
	}
}

func (v *fakeViewer) take(ctx context.Context) (net.Buffers, error) {
	for {
		v.s.mu.Lock()
		blocks := append(net.Buffers(nil), v.s.log[v.next:]...)
		wake, ended := v.s.wake, v.s.ended
		v.s.mu.Unlock()
		if len(blocks) > 0 {
			v.next += len(blocks)
			return blocks, nil
		}
		if ended {
			return nil, stream.ErrEnded
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Close implements Viewer.
func (v *fakeViewer) Close() {}

// startServer serves on a port of its own until the test ends.
func startServer(t *testing.T, hub Hub, cfg Config) (srv *Server, addr string) {
	t.Helper()
	cfg.Logger = slog.New(slog.DiscardHandler)
	for _, d := range []*time.Duration{&cfg.Handshake, &cfg.KeepAlive, &cfg.WriteTimeout} {
		if *d == 0 {
			*d = streamtest.Patience // nobody is slow here, but for those whose test says so
		}
	}
	srv = New(cfg, hub)
	srv.parting, srv.linger = streamtest.Patience, streamtest.Patience
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	t.Cleanup(func() {
		srv.Close()
		if err := <-done; !errors.Is(err, ErrServerClosed) {
			t.Errorf("Serve: %v", err)
		}
	})
	return srv, l.Addr().String()
}

// dial connects a client that is closed with the test.
func dial(t *testing.T, addr, path string) *Client {
	t.Helper()
	c, err := Dialer{WriteTimeout: streamtest.Patience}.Dial(t.Context(), "rtmp://"+addr+"/"+path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// publisher is dial and Publish.
func publisher(t *testing.T, addr, path string) *Client {
	t.Helper()
	c := dial(t, addr, path)
	if err := c.Publish(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

// player is dial and Play.
func player(t *testing.T, addr, path string) *Client {
	t.Helper()
	c := dial(t, addr, path)
	if err := c.Play(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

func fromHex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

// tracks returns an H.264 and an AAC track.
func tracks() (video, audio *media.Track) {
	video = &media.Track{
		Codec:  media.H264,
		Config: fromHex("0142c028ffe100176742c028da01e0089f97011000003e90000ea600f1832a01000468ce0fc8"),
	}
	audio = &media.Track{Codec: media.AAC, Config: fromHex("1210"), SampleRate: 44100, Channels: 2, SampleBits: 16}
	return video, audio
}

// picture returns a video frame with one slice of n bytes.
func picture(t *media.Track, dts time.Duration, key bool, n int) *media.Frame {
	nalu := byte(0x41)
	if key {
		nalu = 0x65
	}
	data := append([]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n), nalu}, bytes.Repeat([]byte{0x5a}, n-1)...)
	return &media.Frame{Track: t, DTS: dts, PTS: dts + 40*time.Millisecond, Key: key, Data: data}
}

func sound(t *media.Track, dts time.Duration) *media.Frame {
	return &media.Frame{Track: t, DTS: dts, PTS: dts, Data: []byte("some AAC")}
}

// writeSome publishes a key frame and a sound.
func writeSome(t *testing.T, c *Client) {
	t.Helper()
	video, audio := tracks()
	for _, f := range []*media.Frame{picture(video, 0, true, 500), sound(audio, 0)} {
		if err := c.WriteFrame(f); err != nil {
			t.Fatal(err)
		}
	}
}

func expectEnd(t *testing.T, h *fakeHub, want fact.EndReason) {
	t.Helper()
	if got := <-h.ended; got != want {
		t.Errorf("the publication ended with %q, want %q", got, want)
	}
}

func (h *fakeHub) Control(fact.Stream) (stream.Control, error) { return nil, stream.ErrNotFound }

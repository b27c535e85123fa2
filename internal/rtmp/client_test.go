package rtmp

import (
	"bufio"
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/format/amf"
	"github.com/hookline/hookline/internal/media"
)

// scripted is a server that shakes hands and then does what serve says, once for each connection.
func scripted(t *testing.T, serve func(conn net.Conn, in *chunkReader)) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				if acceptHandshake(conn, conn) == nil {
					in := newChunkReader(bufio.NewReader(conn))
					in.media = true
					serve(conn, in)
				}
			})
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return l.Addr().String()
}

// nextCommand reads up to the next command called name; ok is false when the client is gone.
func nextCommand(in *chunkReader, name string) (c command, streamID uint32, ok bool) {
	for {
		m, err := in.next()
		if err != nil {
			return c, 0, false
		}
		if m.Type != TypeCommandAMF0 {
			continue
		}
		if c, err = parseCommand(m); err == nil && c.name == name {
			return c, m.StreamID, true
		}
	}
}

func answerTo(conn net.Conn, name string, id float64, values ...any) {
	_, _ = conn.Write(appendCommand(appendControl(nil, TypeSetChunkSize, ChunkSize), csidCommand, 0, ChunkSize, name, id, values...))
}

func status0(level, code string, more ...amf.Member) amf.Object {
	return append(amf.Object{{Name: "level", Value: level}, {Name: "code", Value: code}}, more...)
}

// rejecting is a server that names another one.
func rejecting(t *testing.T, redirect string) string {
	return scripted(t, func(conn net.Conn, in *chunkReader) {
		c, _, ok := nextCommand(in, "connect")
		if !ok {
			return
		}
		ex := amf.Object{{Name: "code", Value: 302.0}, {Name: "redirect", Value: redirect}}
		answerTo(conn, "_error", c.id, nil, status0(levelError, "NetConnection.Connect.Rejected", amf.Member{Name: "ex", Value: ex}))
		_, _ = in.next()
	})
}

func TestRedirect(t *testing.T) {
	hub := newFakeHub()
	_, addr := startServer(t, hub, Config{})
	first := rejecting(t, "rtmp://"+addr+"/other/app")
	c := dial(t, rejecting(t, "//"+first+"/x"), "live/a?token=1")
	if err := c.Publish(t.Context()); err != nil {
		t.Fatal(err)
	}
	if req := <-hub.published; req.Key() != "__defaultVhost__/other/app/a" || req.Params != "token=1" {
		t.Errorf("published %s?%s", req.Key(), req.Params)
	}

	var status *StatusError
	if _, err := (Dialer{MaxRedirects: -1}).Dial(t.Context(), "rtmp://"+first+"/live/a"); !errors.As(err, &status) || status.Redirect == "" {
		t.Errorf("without redirects: %v", err)
	}
	if _, err := Dial(t.Context(), "rtmp://"+rejecting(t, "")+"/live/a"); !errors.As(err, &status) {
		t.Errorf("to nowhere: %v", err)
	}
	if _, err := Dial(t.Context(), "rtmp://"+rejecting(t, "/live")+"/live/a"); !errors.Is(err, errRedirects) {
		t.Errorf("in a circle: %v", err)
	}
	if _, err := Dial(t.Context(), "rtmp://"+rejecting(t, "http://example.com/live")+"/live/a"); err == nil || !strings.Contains(err.Error(), "redirect") {
		t.Errorf("to HTTP: %v", err)
	}
}

func TestRedirected(t *testing.T) {
	from, err := parseURL("rtmp://a.example/live/room/1?token=x")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ to, want string }{
		{"", "rtmp://a.example/live/room/1?token=x"},
		{"rtmp://b.example:1936/live", "rtmp://b.example:1936/live/room/1?token=x"},
		{"rtmps://b.example/app/inst", "rtmps://b.example/app/inst/room/1?token=x"},
		{"rtmp://b.example/live/room/1", "rtmp://b.example/live/room/1?token=x"},
		{"//b.example/live", "rtmp://b.example/live/room/1?token=x"},
		{"/app2", "rtmp://a.example/app2/room/1?token=x"},
		{"rtmp://b.example", ""},
		{"http://b.example/live", ""},
		{"rtmp://%zz/", ""},
	} {
		got, err := from.redirected(c.to)
		if (err != nil) != (c.want == "") || err == nil && got.String() != c.want {
			t.Errorf("%q: %v, %v", c.to, got, err)
		}
	}
	if got, _ := from.redirected("rtmps://[::1]/live"); got.host != "[::1]:443" || !got.tls {
		t.Errorf("%+v", got)
	}
}

// TestMessageStream: the stream id is the server's choice.
func TestMessageStream(t *testing.T) {
	ids := make(chan uint32, 10)
	addr := scripted(t, func(conn net.Conn, in *chunkReader) {
		c, _, _ := nextCommand(in, "connect")
		answerTo(conn, "_result", c.id, nil, status0(levelStatus, codeConnectSuccess))
		c, _, _ = nextCommand(in, "createStream")
		answerTo(conn, "_result", c.id, nil, 7.0)
		_, id, _ := nextCommand(in, "publish")
		ids <- id
		answerTo(conn, "onStatus", 0, nil, status0(levelStatus, codePublishStart))
		for range 4 { // two configurations, two frames
			if m, err := in.next(); err == nil {
				ids <- m.StreamID
			}
		}
		c, _, _ = nextCommand(in, "deleteStream")
		ids <- uint32(c.number(0))
	})
	c := publisher(t, addr, "live/a")
	writeSome(t, c)
	if err := c.Unpublish(t.Context()); err != nil {
		t.Error(err)
	}
	for i := range 6 {
		if id := <-ids; id != 7 {
			t.Errorf("%d: message stream %d", i, id)
		}
	}
}

// TestSilentServer: contexts and the read time-out end every wait.
func TestSilentServer(t *testing.T) {
	release := make(chan struct{})
	addr := scripted(t, func(conn net.Conn, in *chunkReader) {
		c, _, ok := nextCommand(in, "connect")
		if ok && c.object.Text("app") == "live" {
			answerTo(conn, "_result", c.id, nil, status0(levelStatus, codeConnectSuccess))
			_, _, _ = nextCommand(in, "never")
		}
		<-release
	})
	defer close(release)
	ctx, cancel := context.WithCancel(t.Context())
	c, err := Dialer{ReadTimeout: time.Hour}.Dial(ctx, "rtmp://"+addr+"/live/a")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	time.AfterFunc(10*time.Millisecond, cancel)
	if err := c.Publish(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("publish: %v", err)
	}
	c.Close()
	c, err = Dialer{ReadTimeout: 100 * time.Millisecond}.Dial(t.Context(), "rtmp://"+addr+"/live/a")
	if err == nil { // on a slow machine the server's greeting may be too late already
		defer c.Close()
		err = c.Play(t.Context())
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("play: %v", err)
	}
}

// TestReconnectRequest: a server that stops asks those who understand it to come back.
func TestReconnectRequest(t *testing.T) {
	hub := newFakeHub()
	srv, addr := startServer(t, hub, Config{})
	asked := make(chan string, 2)
	d := Dialer{OnReconnect: func(url string) { asked <- url }}
	url := "rtmp://" + addr + "/live/a?x=1"
	pub, err := d.Dial(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer pub.Close()
	if err := pub.Publish(t.Context()); err != nil {
		t.Fatal(err)
	}
	old, err := Dialer{LegacyHEVC: true, OnReconnect: func(string) { t.Error("who does not speak Enhanced RTMP was asked to reconnect") }}.Dial(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	if err := old.Play(t.Context()); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			if _, err := old.Read(); err != nil {
				return
			}
		}
	}()
	player, err := d.Dial(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer player.Close()
	if err := player.Play(t.Context()); err != nil {
		t.Fatal(err)
	}
	// The hub ends the streams first, as if they were kicked.
	srv.Stopping()
	hub.stream("__defaultVhost__/live/a").closeOutside()
	expectEnd(t, hub, fact.EndKicked)
	for err = nil; err == nil; {
		_, err = player.Read()
	}
	srv.Close()
	for range 2 {
		if got := <-asked; got != url {
			t.Errorf("asked to reconnect to %s", got)
		}
	}
	<-pub.Done()
	<-ended
}

// TestAllCodecs: what the client writes the server reads, and what the server writes a client reads.
func TestAllCodecs(t *testing.T) {
	video := func(c media.Codec, config string) *media.Track {
		track, err := media.NewVideoTrack(c, fromHex(config))
		if err != nil {
			t.Fatal(err)
		}
		return track
	}
	audio := func(c media.Codec, config string) *media.Track {
		track, err := media.NewAudioTrack(c, fromHex(config), 0, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		return track
	}
	h264, aac := tracks()
	for _, c := range []struct {
		track *media.Track
		data  []byte
	}{
		{h264, fromHex("000000026588")},
		{video(media.AV1, "81000c000a0b000000043cfeccdaf90040"), fromHex("3206171400a0b010")},
		{video(media.VP9, "01000000000b820202020000"), fromHex("824983420013f00b360438241c184a00")},
		{video(media.VP8, ""), fromHex("1062009d012a4001b4000007088585")},
		{aac, []byte("sound")},
		{audio(media.Opus, ""), []byte("\xfc\xff\xfe")},
		{audio(media.FLAC, "120012000002170014310bb80370000025800b8151a634c335f4b80e00d91a23b1b5"), []byte("\xff\xf8\xc9")},
		{audio(media.AC3, "101140"), fromHex("0b77fe95144043e106f46370")},
		{audio(media.EAC3, "0c00200f00"), fromHex("0b7702ff3f87c00020802000")},
		{audio(media.PCMA, ""), []byte("\xd5\xd5")},
		{audio(media.MP3, ""), []byte("\xff\xfb\x90\x44")},
	} {
		for _, legacy := range []bool{false, true} {
			t.Run(c.track.Codec.String(), func(t *testing.T) {
				hub := newFakeHub()
				_, addr := startServer(t, hub, Config{})
				pub, err := Dialer{LegacyHEVC: legacy}.Dial(t.Context(), "rtmp://"+addr+"/live/a")
				if err != nil {
					t.Fatal(err)
				}
				defer pub.Close()
				if err := pub.Publish(t.Context()); err != nil {
					t.Fatal(err)
				}
				f := &media.Frame{Track: c.track, Data: c.data, Key: c.track.Codec.Kind() == media.Video}
				if err := pub.WriteFrame(f); err != nil {
					t.Fatal(err)
				}
				s := hub.stream("__defaultVhost__/live/a")
				s.waitFrames(t, 1)
				s.mu.Lock()
				got := s.tracks[c.track.Codec.Kind()]
				s.mu.Unlock()
				if got.Codec != c.track.Codec || got.SampleRate != c.track.SampleRate || got.Channels != c.track.Channels {
					t.Errorf("arrived as %+v", got)
				}
				view := player(t, addr, "live/a")
				for {
					m, err := view.Read()
					if err != nil {
						t.Fatal(err)
					}
					if strings.HasSuffix(string(m.Body), string(c.data)) {
						break
					}
				}
			})
		}
	}
	c := publisher(t, scriptedSink(t), "live/a")
	if err := c.WriteFrame(&media.Frame{Track: video(media.JPEG, ""), Data: []byte("x")}); err == nil {
		t.Error("a JPEG picture was written")
	}
}

// scriptedSink is a server that takes everything.
func scriptedSink(t *testing.T) string {
	_, addr := startServer(t, newFakeHub(), Config{})
	return addr
}

// FuzzClient: whatever a server sends, a player ends or goes on.
func FuzzClient(f *testing.F) {
	ok := func(name string, values ...any) []byte {
		return appendCommand(nil, csidCommand, 0, defaultChunkSize, name, 0, append([]any{nil}, values...)...)
	}
	f.Add(ok("onStatus", status0(levelStatus, codePlayStart)))
	f.Add(ok("onStatus", status0(levelStatus, codeReconnect, amf.Member{Name: "tcUrl", Value: "//example.com/app"})))
	f.Add(ok("_error", status0(levelError, "x", amf.Member{Name: "ex", Value: amf.Object{{Name: "redirect", Value: "rtmp://a/b"}}})))
	f.Add(append(ok("_result", 1.0), appendEvent(nil, eventPingRequest, 7)...))
	f.Add(w().full(6, 0, 27, TypeAggregate).raw("\x09\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x17\x00\x00\x00\x0c").Bytes())
	f.Add(appendMessage(nil, 7, Message{Type: TypeDataAMF0, Body: []byte("\x02\x00\x0aonMetaData\x03\x00\x00\x09")}, defaultChunkSize))
	target, err := parseURL("rtmp://example.com/live/a?x=1")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		for _, serve := range []func(c *Client) error{
			func(c *Client) error { _, err := c.Read(); return err },
			func(c *Client) error { return c.await(codePlayStart) },
			func(c *Client) error { _, err := c.createStream(); return err },
		} {
			conn := &script{Reader: strings.NewReader(string(in))}
			c := &Client{conn: conn, target: target, timeout: time.Second, input: &countingReader{r: conn}, onMove: func(url string) {
				if _, err := parseURL(url); err != nil {
					t.Errorf("asked to reconnect to %q: %v", url, err)
				}
			}}
			c.in = newChunkReader(bufio.NewReader(c.input))
			c.in.media = true
			for range 1000 {
				if serve(c) != nil {
					break
				}
			}
		}
	})
}

package rtmp

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/format/amf"
	"github.com/hookline/hookline/internal/media"
	"github.com/hookline/hookline/internal/stream"
)

func TestPublishAndPlay(t *testing.T) {
	hub := newFakeHub()
	_, addr := startServer(t, hub, Config{})
	pub := publisher(t, addr, "live/a/b?token=1")
	req := <-hub.published
	if req.Key() != "__defaultVhost__/live/a/b" || req.Params != "token=1" || req.Schema != "rtmp" || req.Protocol != "rtmp" ||
		req.IP != "127.0.0.1" || req.Port == 0 || req.ID == "" || req.OriginType != fact.OriginRTMPPush ||
		req.OriginURL != "rtmp://__defaultVhost__/live/a/b?token=1" {
		t.Errorf("asked for %+v", req)
	}
	view := player(t, addr, "live/a/b?viewer=1")
	if req := <-hub.played; req.Key() != "__defaultVhost__/live/a/b" || req.Params != "viewer=1" || req.Format != FormatName {
		t.Errorf("asked for %+v", req)
	}

	video, audio := tracks()
	if err := pub.WriteMetadata(video, audio); err != nil {
		t.Fatal(err)
	}
	var sent []*media.Frame
	for i := range 20 {
		dts := time.Duration(i) * 40 * time.Millisecond
		sent = append(sent, picture(video, dts, i == 0, 100+i*10000), sound(audio, dts))
	}
	sent = append(sent, picture(video, (1<<24-1)*time.Millisecond, false, 3*ChunkSize)) // an extended time stamp
	for _, f := range sent {
		if err := pub.WriteFrame(f); err != nil {
			t.Fatal(err)
		}
	}
	if err := pub.Unpublish(t.Context()); err != nil {
		t.Error(err)
	}
	expectEnd(t, hub, fact.EndUnpublish)
	if req.Bytes.Load() == 0 {
		t.Error("no bytes counted")
	}

	metadata := 0
	var got []Message
	for {
		m, err := view.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case m.Type == TypeDataAMF0:
			metadata++
		case m.Body[1] != 0: // no sequence header
			got = append(got, m)
		}
	}
	if metadata == 0 {
		t.Error("no metadata")
	}
	if len(got) != len(sent) {
		t.Fatalf("got %d frames of %d", len(got), len(sent))
	}
	for i, m := range got {
		if !bytes.HasSuffix(m.Body, sent[i].Data) || int64(m.Timestamp) != sent[i].DTS.Milliseconds() {
			t.Errorf("frame %d differs: %d bytes at %d", i, len(m.Body), m.Timestamp)
		}
	}
}

func TestPublishRefused(t *testing.T) {
	for _, tc := range []struct {
		name, path string
		err        error
		code, text string
	}{
		{"refused by the hook", "live/a", &stream.RefusedError{Message: "no token"}, codePublishBadAuth, "no token"},
		{"busy", "live/a", stream.ErrBusy, codePublishBadName, "Already"},
		{"no room", "live/a", stream.ErrNoRoom, codePublishFailed, "journal"},
		{"stopping", "live/a", stream.ErrStopping, codePublishFailed, "stopping"},
		{"internal", "live/a", errors.New("secret path"), codePublishFailed, "internal error"},
		{"dots", "live/../a", nil, codePublishBadName, ".."},
		{"trailing slash", "live/a/", nil, codePublishBadName, "slash"},
		{"long", "live/" + strings.Repeat("x", 10<<10), nil, codePublishBadName, "longer"},
		{"not UTF-8", "live/\xff\xfe", nil, codePublishBadName, "UTF-8"},
		{"control", "live/a\x01b", nil, codePublishBadName, "control"},
		{"empty", "live/?x=y", nil, codePublishBadName, "empty"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			hub := newFakeHub()
			hub.publish = func(context.Context, stream.PublishRequest) error { return tc.err }
			_, addr := startServer(t, hub, Config{})
			c := dial(t, addr, tc.path)
			err := c.Publish(t.Context())
			var status *StatusError
			if !errors.As(err, &status) || status.Code != tc.code || status.Level != levelError || !strings.Contains(status.Description, tc.text) {
				t.Fatalf("got %v", err)
			}
			if _, err := c.next(); !errors.Is(err, io.EOF) {
				t.Errorf("after the refusal: %v, want io.EOF", err)
			}
		})
	}
}

// TestPublishIsAnsweredAfterDecision: media that comes before is kept, and the frames come after.
func TestPublishIsAnsweredAfterDecision(t *testing.T) {
	hub := newFakeHub()
	allow := make(chan struct{})
	hub.publish = func(ctx context.Context, _ stream.PublishRequest) error {
		select {
		case <-allow:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	_, addr := startServer(t, hub, Config{})
	c := dial(t, addr, "live/a")
	if err := c.sendStreamCommand(1, "publish", nil, "a", "live"); err != nil {
		t.Fatal(err)
	}
	writeSome(t, c)
	<-hub.published
	// A ping is answered meanwhile, and nothing was said about publishing before it.
	if err := c.send(func(dst []byte) []byte { return appendEvent(dst, eventPingRequest, 42) }); err != nil {
		t.Fatal(err)
	}
	m, err := c.in.next()
	if err != nil || m.Type != TypeUserControl || m.Body[1] != eventPingResponse || m.Body[5] != 42 {
		t.Fatalf("got %+v, %v, want a ping response", m, err)
	}
	close(allow)
	if err := c.await(codePublishStart); err != nil {
		t.Fatal(err)
	}
	hub.stream("__defaultVhost__/live/a").waitFrames(t, 2)
}

// TestPublishPendingFull: a publisher that does not wait can't fill memory, and loses nothing.
func TestPublishPendingFull(t *testing.T) {
	hub := newFakeHub()
	allow := make(chan struct{})
	hub.publish = func(context.Context, stream.PublishRequest) error { <-allow; return nil }
	_, addr := startServer(t, hub, Config{})
	c := dial(t, addr, "live/a")
	if err := c.sendStreamCommand(1, "publish", nil, "a", "live"); err != nil {
		t.Fatal(err)
	}
	const frames = 100
	var wg sync.WaitGroup
	wg.Go(func() {
		video, _ := tracks()
		for i := range frames {
			if err := c.WriteFrame(picture(video, time.Duration(i)*time.Second, i == 0, 100<<10)); err != nil {
				t.Error(err)
				return
			}
		}
	})
	<-hub.published
	close(allow)
	wg.Wait()
	if err := c.WriteTag(TypeAudio, 0, []byte("\xaf\x00\x12\x10")); err != nil {
		t.Fatal(err)
	}
	if err := c.await(codePublishStart); err != nil {
		t.Fatal(err)
	}
	hub.stream("__defaultVhost__/live/a").waitFrames(t, frames)
}

func TestPublisherLeavesDuringDecision(t *testing.T) {
	for _, tc := range []struct {
		name  string
		leave func(c *Client)
	}{
		{"close", func(c *Client) { c.Close() }},
		{"deleteStream", func(c *Client) { _ = c.sendCommand("deleteStream", nil, float64(1)) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			hub := newFakeHub()
			cancelled := make(chan struct{})
			hub.publish = func(ctx context.Context, _ stream.PublishRequest) error {
				<-ctx.Done()
				close(cancelled)
				return ctx.Err()
			}
			_, addr := startServer(t, hub, Config{})
			c := dial(t, addr, "live/a")
			if err := c.sendStreamCommand(1, "publish", nil, "a", "live"); err != nil {
				t.Fatal(err)
			}
			<-hub.published
			tc.leave(c)
			<-cancelled
		})
	}
}

// TestAllowedTooLate: the hub allowed what nobody waits for any more; the claim is given back.
func TestAllowedTooLate(t *testing.T) {
	hub := newFakeHub()
	hub.publish = func(ctx context.Context, _ stream.PublishRequest) error { <-ctx.Done(); return nil }
	_, addr := startServer(t, hub, Config{})
	c := dial(t, addr, "live/a")
	if err := c.sendStreamCommand(1, "publish", nil, "a", "live"); err != nil {
		t.Fatal(err)
	}
	<-hub.published
	c.Close()
	expectEnd(t, hub, fact.EndConnectionLost)
}

func TestPublicationEnds(t *testing.T) {
	for _, tc := range []struct {
		name string
		end  func(t *testing.T, c *Client, srv *Server, hub *fakeHub, reg *fakeRegistry)
		want fact.EndReason
		code string // what the client is told
	}{
		{"connection lost", func(_ *testing.T, c *Client, _ *Server, _ *fakeHub, _ *fakeRegistry) { c.Close() }, fact.EndConnectionLost, ""},
		{"nonsense", func(t *testing.T, c *Client, _ *Server, _ *fakeHub, _ *fakeRegistry) {
			if _, err := c.conn.Write([]byte("\xff\xff\xff\xff")); err != nil {
				t.Fatal(err)
			}
		}, fact.EndConnectionLost, ""},
		{"FCUnpublish", func(_ *testing.T, c *Client, _ *Server, _ *fakeHub, _ *fakeRegistry) {
			_ = c.sendCommand("FCUnpublish", nil, "a")
		}, fact.EndUnpublish, ""},
		{"deleteStream", func(_ *testing.T, c *Client, _ *Server, _ *fakeHub, _ *fakeRegistry) {
			_ = c.sendCommand("deleteStream", nil, float64(1))
		}, fact.EndUnpublish, ""},
		{"closeStream", func(_ *testing.T, c *Client, _ *Server, _ *fakeHub, _ *fakeRegistry) {
			_ = c.sendStreamCommand(1, "closeStream", nil)
		}, fact.EndUnpublish, ""},
		{"kicked by the API", func(_ *testing.T, _ *Client, _ *Server, _ *fakeHub, reg *fakeRegistry) { reg.kickAll() }, fact.EndKicked, codeConnectClosed},
		{"closed by the hub", func(_ *testing.T, _ *Client, _ *Server, hub *fakeHub, _ *fakeRegistry) {
			hub.stream("__defaultVhost__/live/a").closeOutside()
		}, fact.EndKicked, codeConnectClosed},
		{"server stops", func(_ *testing.T, _ *Client, srv *Server, _ *fakeHub, _ *fakeRegistry) { srv.Close() }, fact.EndServerStop, codeConnectClosed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			hub, reg := newFakeHub(), newFakeRegistry()
			srv, addr := startServer(t, hub, Config{Registry: reg})
			c := publisher(t, addr, "live/a")
			writeSome(t, c)
			hub.stream("__defaultVhost__/live/a").waitFrames(t, 2)
			tc.end(t, c, srv, hub, reg)
			expectEnd(t, hub, tc.want)
			if tc.code != "" {
				<-c.Done()
				var status *StatusError
				if !errors.As(c.readErr, &status) || status.Code != tc.code {
					t.Errorf("the client got %v", c.readErr)
				}
			}
			c.Close()
			reg.waitSessions(t, 0)
		})
	}
}

func TestPublishAgain(t *testing.T) {
	hub := newFakeHub()
	_, addr := startServer(t, hub, Config{})
	c := dial(t, addr, "live/a")
	for range 3 {
		id, err := c.createStream()
		if err != nil || id != mediaStreamID {
			t.Fatal(id, err)
		}
		if err := c.sendStreamCommand(id, "publish", nil, "a", "live"); err != nil {
			t.Fatal(err)
		}
		if err := c.await(codePublishStart); err != nil {
			t.Fatal(err)
		}
		c.tracks = [2]*media.Track{}
		writeSome(t, c)
		if err := c.sendCommand("deleteStream", nil, float64(id)); err != nil {
			t.Fatal(err)
		}
		expectEnd(t, hub, fact.EndUnpublish)
		if err := c.await(codeUnpublish); err != nil {
			t.Fatal(err)
		}
	}
	// Twice at a time is refused.
	for range 2 {
		if err := c.sendStreamCommand(1, "publish", nil, "a", "live"); err != nil {
			t.Fatal(err)
		}
	}
	err := c.await("never")
	var status *StatusError
	if !errors.As(err, &status) || status.Code != codePublishBadName {
		t.Errorf("second publish: %v", err)
	}
}

func TestPlayRefused(t *testing.T) {
	for _, tc := range []struct {
		name, path string
		err        error
		code       string
	}{
		{"refused by the hook", "live/a", &stream.RefusedError{Message: "no"}, codePlayBadAuth},
		{"not found", "live/a", stream.ErrNotFound, codePlayNotFound},
		{"stopping", "live/a", stream.ErrStopping, codePlayFailed},
		{"internal", "live/a", errors.New("x"), codePlayFailed},
		{"bad name", "live/a/..", nil, codePlayFailed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			hub := newFakeHub()
			hub.play = func(context.Context, stream.PlayRequest) error { return tc.err }
			_, addr := startServer(t, hub, Config{})
			c := dial(t, addr, tc.path)
			var status *StatusError
			if err := c.Play(t.Context()); !errors.As(err, &status) || status.Code != tc.code {
				t.Fatalf("got %v", err)
			}
			if _, err := c.next(); !errors.Is(err, io.EOF) {
				t.Errorf("after the refusal: %v, want io.EOF", err)
			}
		})
	}
}

func TestPlayWaitsAndLeaves(t *testing.T) {
	hub := newFakeHub()
	srv, addr := startServer(t, hub, Config{})
	c := dial(t, addr, "live/a")
	if err := c.sendStreamCommand(1, "play", nil, "a"); err != nil {
		t.Fatal(err)
	}
	<-hub.played
	c.Close()
	srv.Close() // waits for the session, which is gone because its player is
}

func TestPlayerCommands(t *testing.T) {
	hub := newFakeHub()
	_, addr := startServer(t, hub, Config{})
	pub := publisher(t, addr, "live/a")
	writeSome(t, pub)
	c := player(t, addr, "live/a")
	for _, step := range []struct {
		name string
		args []any
		code string
	}{
		{"pause", []any{nil, true, float64(0)}, codePause},
		{"pause", []any{nil, false, float64(0)}, codeUnpause},
		{"seek", []any{nil, float64(1000)}, codeSeek},
		{"closeStream", []any{nil}, codePlayStop},
		{"play", []any{nil, "a", float64(-1), float64(-1), true}, codePlayReset},
		{"play2", []any{nil, amf.Object{{Name: "streamName", Value: "a"}}}, codePlayStart},
	} {
		if err := c.sendStreamCommand(1, step.name, step.args...); err != nil {
			t.Fatal(err)
		}
		if err := c.await(step.code); err != nil {
			t.Errorf("%s: %v", step.name, err)
		}
	}
}

func TestViewerIsKicked(t *testing.T) {
	hub, reg := newFakeHub(), newFakeRegistry()
	_, addr := startServer(t, hub, Config{Registry: reg})
	pub := publisher(t, addr, "live/a")
	writeSome(t, pub)
	c := player(t, addr, "live/a")
	req := <-hub.played
	req.Kick()
	for {
		_, err := c.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestSlowViewer: a viewer that does not read is closed by the write time-out, and disturbs nobody. In virtual time, since a time-out
// that is short enough to wait for would hit whoever does not get the processor for so long.
func TestSlowViewer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub, reg := newFakeHub(), newFakeRegistry()
		const timeout = 8 * time.Second
		srv := New(Config{Logger: slog.New(slog.DiscardHandler), WriteTimeout: timeout, Registry: reg}, hub)
		connect := func() *Client {
			near, far := net.Pipe()
			srv.Accept(far)
			c, err := Dialer{}.over(t.Context(), near, newAddress("rtmp", "host", "live", "a"))
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		ask := func(c *Client, name, answer string, values ...any) { // one at a time: a pipe holds nothing
			t.Helper()
			if err := errors.Join(c.sendStreamCommand(1, name, append([]any{nil}, values...)...), c.await(answer)); err != nil {
				t.Fatal(err)
			}
		}
		pub, c := connect(), connect()
		ask(pub, "publish", codePublishStart, "a", "live")
		ask(c, "play", codePlayStart, "a")
		begun := time.Now()
		video, _ := tracks()
		for i := range 40 {
			if err := pub.WriteFrame(picture(video, time.Duration(i)*time.Millisecond, true, 1<<20)); err != nil {
				t.Fatal(err)
			}
		}
		hub.stream("__defaultVhost__/live/a").waitFrames(t, 40)
		if d := time.Since(begun); d != 0 {
			t.Errorf("the publisher waited %v for the viewer", d)
		}
		reg.waitSessions(t, 1) // the publisher stays
		if d := time.Since(begun); d < timeout*3/4 || d > timeout {
			t.Errorf("the viewer was closed after %v", d)
		}
		if err := errors.Join(c.Close(), pub.Close(), srv.Close()); err != nil {
			t.Error(err)
		}
	})
}

func TestCommands(t *testing.T) {
	hub := newFakeHub()
	_, addr := startServer(t, hub, Config{})
	for _, tc := range []struct {
		name   string
		args   []any
		answer string
		value  any
	}{
		{"createStream", []any{nil}, "_result", float64(1)},
		{"releaseStream", []any{nil, "a"}, "_result", amf.Undefined{}},
		{"FCPublish", []any{nil, "a"}, "_result", amf.Undefined{}},
		{"FCUnpublish", []any{nil, "a"}, "_result", amf.Undefined{}},
		{"FCSubscribe", []any{nil, "a"}, "_result", amf.Undefined{}},
		{"getStreamLength", []any{nil, "a"}, "_result", float64(0)},
		{"_checkbw", []any{nil}, "_result", amf.Undefined{}},
		{"checkBandwidth", nil, "_result", amf.Undefined{}},
		{"receiveAudio", []any{nil, false}, "_result", amf.Undefined{}},
		{"connect", []any{amf.Object{}}, "_error", nil},
		{"pause", []any{nil, true}, "_error", nil},
		{"noSuchThing", []any{nil, "a"}, "_error", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := dial(t, addr, "live/a")
			if err := c.sendCommand(tc.name, tc.args...); err != nil {
				t.Fatal(err)
			}
			m, err := c.next()
			if err != nil {
				t.Fatal(err)
			}
			answer, err := parseCommand(m)
			if err != nil || answer.name != tc.answer || answer.id != c.call {
				t.Fatalf("got %+v, %v", answer, err)
			}
			if tc.value != nil && (len(answer.args) != 1 || answer.args[0] != tc.value) {
				t.Errorf("got %v, want %v", answer.args, tc.value)
			}
			if tc.answer == "_error" {
				if o, _ := answer.status(); o.Text("code") != codeCallFailed {
					t.Errorf("got %v", answer.args)
				}
			}
		})
	}
}

// TestConnectAMF3 sends connect as Flash does with object encoding 3, then a command of type 17.
func TestConnectAMF3(t *testing.T) {
	hub := newFakeHub()
	_, addr := startServer(t, hub, Config{})
	conn := handshaken(t, addr)
	c := &Client{conn: conn, timeout: time.Minute, input: &countingReader{r: conn}}
	c.in = newChunkReader(newBufio(c.input))
	answer, err := c.request("connect", amf.Object{{Name: "app", Value: "live"}, {Name: "objectEncoding", Value: float64(3)}})
	if err != nil {
		t.Fatal(err)
	}
	if o, _ := answer.status(); o.Number("objectEncoding") != 3 || o.Text("code") != codeConnectSuccess {
		t.Errorf("connect: %v", answer.args)
	}
	if answer.object.Text("fmsVer") == "" || answer.object.Number("capabilities") == 0 {
		t.Errorf("connect: %v", answer.object)
	}
	for _, prefix := range []string{"\x00", ""} { // with the byte that Flash sends, and without
		c.call++
		body := amf.AppendNumber(amf.AppendString([]byte(prefix), "createStream"), c.call)
		err = c.send(func(dst []byte) []byte {
			return appendMessage(dst, csidCommand, Message{Type: TypeCommandAMF3, Body: append(body, 5)}, defaultChunkSize)
		})
		if err != nil {
			t.Fatal(err)
		}
		m, err := c.next()
		if err != nil {
			t.Fatal(err)
		}
		if answer, err := parseCommand(m); err != nil || answer.number(0) != 1 || answer.id != c.call {
			t.Errorf("createStream: %+v, %v", answer, err)
		}
	}
}

func TestAcknowledgement(t *testing.T) {
	hub := newFakeHub()
	_, addr := startServer(t, hub, Config{})
	c := dial(t, addr, "live/a")
	err := c.send(func(dst []byte) []byte { return appendControl(dst, TypeWindowAckSize, 1) })
	if err != nil {
		t.Fatal(err)
	}
	if err := c.WriteTag(TypeAudio, 0, make([]byte, minAckWindow-1024)); err != nil {
		t.Fatal(err)
	}
	if err := c.WriteTag(TypeAudio, 0, make([]byte, 1024)); err != nil {
		t.Fatal(err)
	}
	m, err := c.in.next()
	if err != nil || m.Type != TypeAck {
		t.Errorf("got %+v, %v, want an acknowledgement", m, err)
	}
}

func TestConnectionLimits(t *testing.T) {
	for name, cfg := range map[string]Config{"all": {MaxConnections: 2}, "per address": {MaxPerIP: 2}} {
		t.Run(name, func(t *testing.T) {
			srv, addr := startServer(t, newFakeHub(), cfg)
			dial(t, addr, "live/a")
			dial(t, addr, "live/b")
			if _, err := Dial(t.Context(), "rtmp://"+addr+"/live/c"); err == nil {
				t.Error("a third connection was accepted")
			}
			if srv.Refused() != 1 || srv.Connections() != 2 {
				t.Errorf("%d refused, %d there", srv.Refused(), srv.Connections())
			}
		})
	}
}

func TestServeAfterClose(t *testing.T) {
	srv := New(Config{}, newFakeHub())
	srv.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Serve(l); !errors.Is(err, ErrServerClosed) {
		t.Errorf("got %v", err)
	}
}

func TestDialCancelled(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // accepts and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer cancel()
		if conn, err := l.Accept(); err == nil {
			t.Cleanup(func() { conn.Close() })
		}
	}()
	if _, err := Dial(ctx, "rtmp://"+l.Addr().String()+"/live/a"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

package httplive

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/format/flv"
	"github.com/hookline/hookline/internal/media"
	"github.com/hookline/hookline/internal/stream"
	"github.com/hookline/hookline/internal/stream/streamtest"
)

// wsClient is the other half of a WebSocket.
type wsClient struct {
	t *testing.T
	net.Conn
	r      *bufio.Reader
	header http.Header
}

// dialWS shakes hands; more are further header lines.
func (b *bench) dialWS(t *testing.T, path string, more ...string) *wsClient {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", b.server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(streamtest.Patience))
	lines := append([]string{
		"GET " + path + " HTTP/1.1", "Host: x", "Upgrade: WebSocket", "Connection: keep-alive, Upgrade",
		"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
	}, more...)
	fmt.Fprint(conn, strings.Join(lines, "\r\n")+"\r\n\r\n")
	c := &wsClient{t: t, Conn: conn, r: bufio.NewReader(conn)}
	res, err := http.ReadResponse(c.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	// The answer to this key is in RFC 6455, section 1.3.
	if res.StatusCode != http.StatusSwitchingProtocols || res.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Fatalf("%+v", res)
	}
	c.header = res.Header
	return c
}

// read returns the next frame.
func (c *wsClient) read() (op opcode, payload []byte) {
	c.t.Helper()
	var head [10]byte
	if _, err := io.ReadFull(c.r, head[:2]); err != nil {
		c.t.Fatal(err)
	}
	size := uint64(head[1])
	switch size {
	case 126:
		_, _ = io.ReadFull(c.r, head[2:4])
		size = uint64(binary.BigEndian.Uint16(head[2:]))
	case 127:
		_, _ = io.ReadFull(c.r, head[2:10])
		size = binary.BigEndian.Uint64(head[2:])
	}
	if head[0]&0xf0 != 0x80 || size > 1<<20 {
		c.t.Fatalf("%x", head)
	}
	payload = make([]byte, size)
	if _, err := io.ReadFull(c.r, payload); err != nil {
		c.t.Fatal(err)
	}
	return opcode(head[0] & 0x0f), payload
}

// end reads to the close frame and returns the media before it, and the close frame's status and reason.
func (c *wsClient) end() (data []byte, status int, reason string) {
	c.t.Helper()
	for {
		op, payload := c.read()
		switch op {
		case opBinary:
			data = append(data, payload...)
		case opClose:
			return data, int(binary.BigEndian.Uint16(payload)), string(payload[2:])
		default: // a ping
		}
	}
}

// clientFrame is a frame as a client sends it, masked.
func clientFrame(final bool, op opcode, payload []byte) []byte {
	b := appendFrameHeader(nil, op, len(payload))
	if !final {
		b[0] &^= 0x80
	}
	b[1] |= 0x80
	mask := [4]byte{1, 2, 3, 4}
	b = append(b, mask[:]...)
	for i, v := range payload {
		b = append(b, v^mask[i%4])
	}
	return b
}

func (c *wsClient) say(final bool, op opcode, payload []byte) {
	c.t.Helper()
	if _, err := c.Write(clientFrame(final, op, payload)); err != nil {
		c.t.Fatal(err)
	}
}

// times returns the time stamps of the audio tags of an FLV stream, in ms.
func times(t *testing.T, data []byte) []int {
	t.Helper()
	var out []int
	for r := flv.NewReader(bytes.NewReader(data)); ; {
		tag, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		if tag.Type == flv.TagAudio {
			out = append(out, int(tag.Timestamp.Milliseconds()))
		}
	}
}

func TestWebSocketPlay(t *testing.T) {
	b := newBench(t)
	p := b.publish(t, "cam")
	pcma(t, p, 0, 5)
	c := b.dialWS(t, "/live/cam.live.flv?who=me", "Origin: http://page.example", "Sec-WebSocket-Protocol: a, b")
	for name, want := range map[string]string{"Sec-WebSocket-Protocol": "a", "Access-Control-Allow-Origin": "http://page.example"} {
		if c.header.Get(name) != want {
			t.Errorf("%s: %q", name, c.header.Get(name))
		}
	}
	op, first := c.read()
	if op != opBinary || string(first[:3]) != "FLV" {
		t.Fatalf("%d %x", op, first)
	}
	c.say(true, opPing, []byte("are you there"))
	c.say(false, opText, []byte("{"))
	c.say(true, opPing, nil) // may stand between fragments
	c.say(true, opContinuation, make([]byte, 200))
	data, pongs := first, 0
	for pongs < 2 {
		switch op, payload := c.read(); op {
		case opPong:
			if pongs++; pongs == 1 && string(payload) != "are you there" {
				t.Errorf("%q", payload)
			}
		case opBinary:
			data = append(data, payload...)
		default:
			t.Fatal(op)
		}
	}
	if l := b.list.list(); len(l) != 1 || l[0].TypeID != TypeID {
		t.Errorf("sessions: %+v", l)
	}
	pcma(t, p, 5, 5)
	p.Close(fact.EndUnpublish)
	rest, status, _ := c.end()
	if status != closeNormal {
		t.Error("status", status)
	}
	if got := times(t, append(data, rest...)); len(got) != 10 {
		t.Errorf("%v", got)
	}
	c.say(true, opClose, binary.BigEndian.AppendUint16(nil, closeNormal))
	if _, err := c.r.ReadByte(); !errors.Is(err, io.EOF) {
		t.Error("the connection is not closed:", err)
	}
	for b.hub.Stats().Viewers != 0 {
		time.Sleep(time.Millisecond)
	}
	b.plane.mu.Lock()
	defer b.plane.mu.Unlock()
	if q := b.plane.asked[0]; q.Protocol != "ws" || q.Schema != "rtmp" || q.Params != "who=me" {
		t.Errorf("%+v", q)
	}
}

// TestWebSocketFormats: TS and fMP4 come in frames as well.
func TestWebSocketFormats(t *testing.T) {
	b := newBench(t)
	p := b.publish(t, "cam")
	pcma(t, p, 0, 5)
	for path, schema := range map[string]string{"/live/cam.live.ts": "ts", "/live/cam.live.mp4?starPts=1": "fmp4", "/live/cam?schema=ts": "ts"} {
		c := b.dialWS(t, path)
		op, payload := c.read()
		if start := schema == "ts" && payload[0] == 0x47 || schema == "fmp4" && string(payload[4:8]) == "ftyp"; op != opBinary || !start {
			t.Errorf("%s: opcode %d, %d bytes that begin with %x", path, op, len(payload), payload[:min(len(payload), 16)])
		}
		_ = c.Close()
	}
	b.waitFor(t, func() bool { return b.hub.Stats().Viewers == 0 })
	for _, q := range b.plane.asked {
		if q.Protocol != "ws" || q.Schema != "ts" && q.Schema != "fmp4" {
			t.Errorf("%+v", q)
		}
	}
}

// TestWebSocketRefused: the WebSocket is there at once, and says what is wrong.
func TestWebSocketRefused(t *testing.T) {
	b := newBench(t)
	for path, want := range map[string]int{"/live/none.live.flv": 404, "/live/none.live.flv?no": 401, "/live/none?schema=rtmp": 404} {
		c := b.dialWS(t, path)
		if _, status, reason := c.end(); status != want || reason == "" {
			t.Errorf("%s: %d %q", path, status, reason)
		}
	}
	b.handler.Close()
	res := b.get(t, http.MethodGet, "/live/none.live.flv")
	if res.StatusCode != http.StatusServiceUnavailable {
		t.Error(res.Status)
	}
}

func TestWebSocketHandshake(t *testing.T) {
	b := newBench(t)
	for _, tc := range []struct {
		name, value string
		status      int
	}{
		{"Sec-WebSocket-Version", "8", http.StatusUpgradeRequired},
		{"Sec-WebSocket-Key", "short", http.StatusBadRequest},
		{"Sec-WebSocket-Key", "", http.StatusBadRequest},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.url+"/live/cam.live.flv", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range map[string]string{
			"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
			tc.name: tc.value,
		} {
			req.Header.Set(k, v)
		}
		res, err := b.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != tc.status {
			t.Errorf("%s %q: %s", tc.name, tc.value, res.Status)
		}
	}
}

// TestWebSocketLeaves: who closes in good order is answered, who does not is noticed, who breaks a rule is told.
func TestWebSocketLeaves(t *testing.T) {
	b := newBench(t)
	p := b.publish(t, "cam")
	pcma(t, p, 0, 5)
	c := b.dialWS(t, "/live/cam.live.flv")
	c.say(true, opClose, append(binary.BigEndian.AppendUint16(nil, 1001), "bye"...))
	if _, status, _ := c.end(); status != 1001 {
		t.Error(status)
	}
	c = b.dialWS(t, "/live/cam.live.flv")
	_, _ = c.Write([]byte{0x81, 1, 'a'}) // not masked
	if _, status, _ := c.end(); status != closeProtocol {
		t.Error(status)
	}
	_ = c.Close() // it is waited for
	_ = b.dialWS(t, "/live/cam.live.flv").Close()
	c = b.dialWS(t, "/live/cam.live.flv")
	b.waitFor(t, func() bool { return len(b.list.list()) == 1 && b.hub.Stats().Viewers == 1 })
	b.list.list()[0].Kick()
	_, _ = io.Copy(io.Discard, c)
	b.waitFor(t, func() bool { return b.hub.Stats().Viewers == 0 })
}

func (b *bench) waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(streamtest.Patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("still not")
		}
	}
}

func TestListener(t *testing.T) {
	masked := func(b ...byte) []byte { return append(b, 0, 0, 0, 0) }
	long := clientFrame(true, opBinary, make([]byte, maxTalk/4))
	for name, tc := range map[string]struct {
		in   []byte
		want any // a status, or an error
		said string
	}{
		"nothing":               {nil, io.EOF, ""},
		"cut":                   {[]byte{0x81}, io.EOF, ""},
		"text":                  {clientFrame(true, opText, []byte("hello")), io.EOF, ""},
		"reserved":              {masked(0xc1, 0x80), closeProtocol, ""},
		"not masked":            {[]byte{0x82, 0}, closeProtocol, ""},
		"long ping":             {masked(0x89, 0x80|126, 0, 126), closeProtocol, ""},
		"ping in pieces":        {masked(0x09, 0x80), closeProtocol, ""},
		"unknown":               {masked(0x83, 0x80), closeProtocol, ""},
		"unknown control":       {masked(0x8b, 0x80), closeProtocol, ""},
		"nothing to continue":   {clientFrame(true, opContinuation, nil), closeProtocol, ""},
		"not continued":         {append(clientFrame(false, opText, nil), clientFrame(true, opText, nil)...), closeProtocol, ""},
		"long form of 125":      {masked(0x82, 0x80|126, 0, 125), closeProtocol, ""},
		"longer form of 65535":  {masked(0x82, 0x80|127, 0, 0, 0, 0, 0, 0, 0xff, 0xff), closeProtocol, ""},
		"a petabyte":            {masked(0x82, 0x80|127, 0, 4, 0, 0, 0, 0, 0, 0), closeTooBig, ""},
		"negative":              {masked(0x82, 0x80|127, 0xff, 0, 0, 0, 0, 0, 0, 0), closeProtocol, ""},
		"much":                  {bytes.Repeat(long, 4), closePolicy, ""},
		"pings":                 {bytes.Repeat(clientFrame(true, opPing, nil), maxTalk/frameCost+1), closePolicy, "*"},
		"ping":                  {clientFrame(true, opPing, []byte("x")), io.EOF, "10:x"},
		"pong":                  {clientFrame(true, opPong, []byte("x")), io.EOF, ""},
		"close":                 {clientFrame(true, opClose, nil), errClosed, "8:"},
		"close with a status":   {clientFrame(true, opClose, []byte{0x03, 0xe8, 'x'}), errClosed, "8:\x03\xe8"},
		"close with half of it": {clientFrame(true, opClose, []byte{3}), closeProtocol, ""},
		"close with 404":        {clientFrame(true, opClose, []byte{0x01, 0x94}), closeProtocol, ""},
		"close with 1005":       {clientFrame(true, opClose, []byte{0x03, 0xed}), closeProtocol, ""},
	} {
		said := ""
		l := newListener(bufio.NewReader(bytes.NewReader(tc.in)), func(op opcode, payload []byte) error {
			said += fmt.Sprintf("%d:%s", op, payload)
			return nil
		})
		l.now = func() time.Time { return l.at }
		err := l.run()
		var wrong *closeError
		if status, ok := tc.want.(int); ok {
			if !errors.As(err, &wrong) || wrong.status != status {
				t.Errorf("%s: %v, want %d", name, err, status)
			}
		} else if !errors.Is(err, tc.want.(error)) {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
		if said != tc.said && tc.said != "*" {
			t.Errorf("%s: said %q, want %q", name, said, tc.said)
		}
	}
}

// TestHeartbeats: who says a little for hours is not cut.
func TestHeartbeats(t *testing.T) {
	beat := clientFrame(true, opText, make([]byte, 900))
	l := newListener(bufio.NewReader(bytes.NewReader(bytes.Repeat(beat, 10000))), nil)
	now := l.at
	l.now = func() time.Time { now = now.Add(time.Second); return now }
	if err := l.run(); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}

func FuzzListener(f *testing.F) {
	f.Add(clientFrame(true, opPing, []byte("x")))
	f.Add(append(clientFrame(false, opBinary, make([]byte, 300)), clientFrame(true, opClose, []byte{3, 0xe8})...))
	f.Add([]byte{0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		n := 0
		l := newListener(bufio.NewReader(bytes.NewReader(data)), func(_ opcode, payload []byte) error {
			if n++; len(payload) > maxControl {
				t.Error(len(payload))
			}
			return nil
		})
		if err := l.run(); err == nil || n > len(data)/6 {
			t.Error(err, n)
		}
	})
}

// fixed is a packager that writes n bytes for a frame, whatever it is.
type fixed int

func (k fixed) Start() []byte                            { return make([]byte, k) }
func (k fixed) Append(dst []byte, _ *media.Frame) []byte { return append(dst, make([]byte, k)...) }

func (k fixed) Change(dst []byte, _ stream.Program) []byte { return append(dst, make([]byte, k)...) }

func frameOf(n int) *media.Frame { return &media.Frame{Data: make([]byte, n)} }

func framedLen(n int) int { return n + frameHeaderLen(n)*min(n, 1) }

func appended(k fixed, n int) []byte { return framed{k}.Append([]byte("before"), frameOf(n)) }

// TestFramed: headers are right whatever the length of the data lets expect.
func TestFramed(t *testing.T) {
	for _, n := range []int{0, 1, 61, 125, 126, 1000, 65471, 65472, 65535, 65536, 200000} {
		for _, expect := range []int{0, 61, 62, 1000, 65471, 65472, 70000} {
			b := appended(fixed(n), expect)
			if string(b[:6]) != "before" || len(b) != 6+framedLen(n) {
				t.Fatalf("%d bytes for data of %d: %d", n, expect, len(b))
			}
			if header, size := frameSize(b[6:]); n > 0 && (size != n || header != frameHeaderLen(n) || b[6] != 0x82) {
				t.Errorf("%d bytes for data of %d: header %d, size %d", n, expect, header, size)
			}
		}
		if b := (framed{fixed(n)}).Start(); len(b) != framedLen(n) {
			t.Error(n, len(b))
		}
		if b := (framed{fixed(n)}).Change([]byte("x"), stream.Program{}); len(b) != 1+framedLen(n) {
			t.Error(n, len(b))
		}
	}
}

// TestStartPts: media before the time stamp is left out, what announces is not.
func TestStartPts(t *testing.T) {
	b := newBench(t)
	p := b.publish(t, "cam")
	pcma(t, p, 0, 5)
	res := b.get(t, http.MethodGet, "/live/cam.live.flv?starPts=130")
	c := b.dialWS(t, "/live/cam.live.flv?starPts=130")
	b.waitFor(t, func() bool { return b.hub.Stats().Viewers == 2 })
	pcma(t, p, 5, 5)
	p.Close(fact.EndUnpublish)
	plain, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	framed, _, _ := c.end()
	for name, data := range map[string][]byte{"http": plain, "ws": framed} {
		if got := times(t, data); fmt.Sprint(got) != "[140 160 180]" {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestConfigures(t *testing.T) {
	for _, tc := range []struct {
		typ  flv.TagType
		body []byte
		want bool
	}{
		{flv.TagVideo, []byte{0x17, 0}, true},
		{flv.TagVideo, []byte{0x17, 1}, false},
		{flv.TagVideo, []byte{0x90, 'h'}, true},
		{flv.TagVideo, []byte{0x91, 'h'}, false},
		{flv.TagAudio, []byte{0xaf, 0}, true},
		{flv.TagAudio, []byte{0xaf, 1}, false},
		{flv.TagAudio, []byte{0x72, 0}, false},
		{flv.TagAudio, []byte{0x90, 'O'}, true},
		{flv.TagAudio, []byte{0x91, 'O'}, false},
	} {
		if got := configures(tc.typ, tc.body); got != tc.want {
			t.Errorf("%d %x: %v", tc.typ, tc.body, got)
		}
	}
}

// FuzzStartAt: whatever is in a block, nothing is invented and the order stays.
func FuzzStartAt(f *testing.F) {
	f.Add([]byte("FLV\x01\x05\x00\x00\x00\x09\x00\x00\x00\x00\x08\x00\x00\x02\x00\x00\x01\x00\x00\x00\x00\xaf\x01\x00\x00\x00\x0d"), false)
	f.Add([]byte{0x82, 17, 8, 0, 0, 2, 0, 0, 1, 0, 0, 0, 0, 0xaf, 1, 0, 0, 0, 13}, true)
	f.Add([]byte("0\x7f\xff0000000"), true) // a length that no int holds
	f.Fuzz(func(t *testing.T, block []byte, ws bool) {
		var got []byte
		s := &startAt{out: sink(func(b net.Buffers) {
			for _, x := range b {
				got = append(got, x...)
			}
		}), from: 1, ws: ws}
		if _, err := s.Write(t.Context(), net.Buffers{block}); err != nil || len(got) > len(block) {
			t.Error(err, len(got), len(block))
		}
	})
}

type sink func(b net.Buffers)

func (s sink) Write(_ context.Context, b net.Buffers) (int64, error) {
	s(b)
	return 0, nil
}

// TestBrowsers: what pages from elsewhere ask first, and who may.
func TestBrowsers(t *testing.T) {
	b := newBench(t)
	res := b.get(t, http.MethodOptions, "/live/cam.live.flv")
	for k, v := range map[string]string{
		"Access-Control-Allow-Origin": "http://page.example", "Access-Control-Allow-Credentials": "true", "Allow": methods,
		"Access-Control-Allow-Methods": methods, "Vary": "Origin",
	} {
		if res.StatusCode != http.StatusOK || res.Header.Get(k) != v {
			t.Errorf("%s: %q, %s", k, res.Header.Get(k), res.Status)
		}
	}
	b.handler.Reconfigure(Config{})
	if res := b.get(t, http.MethodOptions, "/live/cam.live.flv"); res.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Error("allowed although it is not")
	}
}

// TestForwarded: hooks are told the address that the trusted proxy names.
func TestForwarded(t *testing.T) {
	b := newBench(t)
	b.handler.Reconfigure(Config{PeerIP: func(r *http.Request) string { return r.Header.Get("X-Real-Ip") }})
	for _, ip := range []string{"", "192.0.2.7"} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/live/none.live.flv?no", http.NoBody)
		r.RemoteAddr = "127.0.0.1:5"
		r.Header.Set("X-Real-Ip", ip)
		w := httptest.NewRecorder()
		b.handler.ServeHTTP(hijackable{w}, r)
		if w.Code != http.StatusUnauthorized {
			t.Error(w.Code)
		}
	}
	if a := b.plane.asked; a[0].IP != "127.0.0.1" || a[1].IP != "192.0.2.7" {
		t.Errorf("%+v", a)
	}
}

// hijackable is a recorder that claims to be a connection.
type hijackable struct{ *httptest.ResponseRecorder }

func (hijackable) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return nil, nil, errors.ErrUnsupported
}

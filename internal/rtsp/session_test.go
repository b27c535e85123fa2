package rtsp

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/format/rtp"
	"github.com/hookline/hookline/internal/media"
	"github.com/hookline/hookline/internal/stream"
)

// client speaks RTSP by hand.
type client struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
	seq  int
}

func dial(t *testing.T, addr string) *client {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { conn.Close() })
	return &client{t: t, conn: conn, r: bufio.NewReader(conn)}
}

// ask sends a request and returns status, headers and body of the reply. Media on the way is dropped.
func (c *client) ask(method, url string, lines ...string) (status int, header map[string]string, body string) {
	c.t.Helper()
	c.seq++
	text := ""
	if n := len(lines); n > 0 && strings.HasPrefix(lines[n-1], "v=0") {
		text, lines = lines[n-1], lines[:n-1]
		lines = append(lines, fmt.Sprint("Content-Length: ", len(text)))
	}
	fmt.Fprintf(c.conn, "%s %s RTSP/1.0\r\nCSeq: %d\r\n%s\r\n%s", method, url, c.seq, crlf(lines), text)
	return c.reply()
}

func crlf(lines []string) string {
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(l + "\r\n")
	}
	return b.String()
}

func (c *client) reply() (status int, header map[string]string, body string) {
	c.t.Helper()
	for {
		b, err := c.r.Peek(1)
		if err != nil {
			c.t.Fatal(err)
		}
		if b[0] != '$' {
			break
		}
		if _, _, err := readFrame(c.r, nil); err != nil {
			c.t.Fatal(err)
		}
	}
	line, err := readLine(c.r)
	if err != nil {
		c.t.Fatal(err)
	}
	if _, err := fmt.Sscanf(line, "RTSP/1.0 %d", &status); err != nil {
		c.t.Fatalf("%q: %v", line, err)
	}
	header = map[string]string{}
	for {
		line, err := readLine(c.r)
		if err != nil {
			c.t.Fatal(err)
		}
		if line == "" {
			break
		}
		k, v, _ := strings.Cut(line, ": ")
		header[strings.ToLower(k)] = v
	}
	n := 0
	_, _ = fmt.Sscan(header["content-length"], &n)
	b := make([]byte, n)
	if _, err := io.ReadFull(c.r, b); err != nil {
		c.t.Fatal(err)
	}
	return status, header, string(b)
}

func (c *client) ok(method, url string, lines ...string) (header map[string]string, body string) {
	c.t.Helper()
	status, header, body := c.ask(method, url, lines...)
	if status != 200 {
		c.t.Fatalf("%s %s: %d %s", method, url, status, body)
	}
	return header, body
}

const pcmSDP = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\nm=audio 0 RTP/AVP 8\r\na=control:track0\r\n"

func (c *client) announce(url string) {
	c.t.Helper()
	c.ok("ANNOUNCE", url, "Content-Type: application/sdp", pcmSDP)
}

// publish announces and records sound, whose packets are sent by send.
func (c *client) publish(url string) (send func()) {
	c.t.Helper()
	c.announce(url)
	h, _ := c.ok("SETUP", url+"/track0", "Transport: RTP/AVP/TCP;unicast;interleaved=4-5;mode=record")
	if h["transport"] != "RTP/AVP/TCP;unicast;interleaved=4-5;mode=record" {
		c.t.Error(h["transport"])
	}
	c.ok("RECORD", url)
	tr := &media.Track{Codec: media.PCMA, SampleRate: 8000, Channels: 1}
	enc, err := rtp.NewEncoder(tr, rtp.EncoderConfig{PT: 8, Channel: 4})
	if err != nil {
		c.t.Fatal(err)
	}
	at := time.Duration(0)
	return func() {
		c.t.Helper()
		at += 20 * time.Millisecond
		if _, err := c.conn.Write(enc.Append(nil, &media.Frame{Track: tr, PTS: at, Data: make([]byte, 160)})); err != nil {
			c.t.Fatal(err)
		}
	}
}

// TestEndIsTaken: a player that speaks on when the stream is over still gets all of it, and then the end.
func TestEndIsTaken(t *testing.T) {
	w := newWorld()
	_, addr := start(t, w, Config{})
	url := "rtsp://" + addr + "/live/end"
	p := dial(t, addr)
	send := p.publish(url)
	send()
	c := dial(t, addr)
	c.ok("DESCRIBE", url)
	c.ok("SETUP", url+"/trackID=0", "Transport: RTP/AVP/TCP;unicast;interleaved=0-1")
	c.ok("PLAY", url)
	const packets = 20
	for range packets {
		send()
	}
	p.ok("TEARDOWN", url)
	<-w.Ended
	for range 200 {
		if _, err := c.conn.Write([]byte{'$', 1, 0, 4, 0x80, 201, 0, 0}); err != nil {
			t.Fatal(err)
		}
	}
	got := 0
	for {
		ch, _, err := readFrame(c.r, nil)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if ch == 0 {
			got++
		}
	}
	if got < packets {
		t.Errorf("%d packets of %d", got, packets)
	}
}

// TestPlay: DESCRIBE before the stream is there waits, channels are the player's, PAUSE and PLAY, TEARDOWN.
func TestPlay(t *testing.T) {
	w := newWorld()
	_, addr := start(t, w, Config{})
	url := "rtsp://" + addr + "/live/a"
	player := dial(t, addr)
	described := make(chan string, 1)
	go func() {
		_, sdp := player.ok("DESCRIBE", url+"?who=me", "Accept: application/sdp")
		described <- sdp
	}()
	pub := dial(t, addr)
	send := pub.publish(url)
	send()
	sdp := <-described
	if !strings.Contains(sdp, "m=audio 0 RTP/AVP 8\r\n") || !strings.Contains(sdp, "a=control:trackID=0") {
		t.Error(sdp)
	}
	if status, _, _ := player.ask("SETUP", url+"/trackID=7", "Transport: RTP/AVP/TCP;unicast;interleaved=6-7"); status != 404 {
		t.Error(status)
	}
	if status, _, _ := player.ask("SETUP", url+"/trackID=0", "Transport: RAW/RAW"); status != 461 {
		t.Error(status)
	}
	player.ok("SETUP", url+"/trackID=0", "Transport: RTP/AVP/TCP;unicast;interleaved=6-7")
	h, _ := player.ok("PLAY", url, "Range: npt=0.000-")
	if !strings.HasPrefix(h["session"], "") || h["range"] == "" {
		t.Error(h)
	}
	for range 5 {
		send()
	}
	for {
		ch, b, err := readFrame(player.r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if ch == 7 {
			if r, err := rtp.ParseRTCP(b); err != nil || r.Sender == nil {
				t.Error(err)
			}
			continue
		}
		if p, err := rtp.Parse(b); ch != 6 || err != nil || p.PT != 8 {
			t.Errorf("channel %d, %+v, %v", ch, p, err)
		}
		break
	}
	player.ok("PAUSE", url)
	player.ok("PLAY", url)
	player.ok("GET_PARAMETER", url)
	if status, _, _ := player.ask("PLAY", url, "Session: other"); status != 454 {
		t.Error(status)
	}
	player.ok("TEARDOWN", url)
	pub.ok("TEARDOWN", url)
	if e := <-w.Ended; e.Reason != fact.EndUnpublish {
		t.Error(e.Reason)
	}
}

func TestBusy(t *testing.T) {
	w := newWorld()
	_, addr := start(t, w, Config{})
	url := "rtsp://" + addr + "/live/a"
	dial(t, addr).announce(url)
	status, _, body := dial(t, addr).ask("ANNOUNCE", url, pcmSDP)
	if status != 406 || body != "Already publishing" {
		t.Error(status, body)
	}
}

// TestTunnel: the requests come in base64 on a second connection.
func TestTunnel(t *testing.T) {
	w := newWorld()
	_, addr := start(t, w, Config{})
	url := "rtsp://" + addr + "/live/a"
	send := dial(t, addr).publish(url)
	send()
	out, in := dial(t, addr), dial(t, addr)
	fmt.Fprintf(out.conn, "GET /live/a HTTP/1.1\r\nx-sessioncookie: c1\r\nAccept: application/x-rtsp-tunnelled\r\n\r\n")
	for {
		line, err := readLine(out.r)
		if err != nil {
			t.Fatal(err)
		}
		if line == "" {
			break
		}
	}
	fmt.Fprintf(in.conn, "POST /live/a HTTP/1.1\r\nx-sessioncookie: c1\r\nContent-Length: 32767\r\n\r\n")
	for i, q := range []string{
		"OPTIONS " + url + " RTSP/1.0\r\nCSeq: 1\r\n\r\n",
		"DESCRIBE " + url + " RTSP/1.0\r\nCSeq: 2\r\n\r\n",
		"SETUP " + url + "/trackID=0 RTSP/1.0\r\nCSeq: 3\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n\r\n",
		"PLAY " + url + " RTSP/1.0\r\nCSeq: 4\r\n\r\n",
	} {
		text := base64.StdEncoding.EncodeToString([]byte(q)) + "\r\n"
		for j := 0; j < len(text); j += 7 { // cut anywhere
			if _, err := in.conn.Write([]byte(text[j:min(j+7, len(text))])); err != nil {
				t.Fatal(err)
			}
		}
		if status, h, _ := out.reply(); status != 200 || h["cseq"] != fmt.Sprint(i+1) {
			t.Fatal(i, status, h)
		}
	}
	send()
	if _, b, err := readFrame(out.r, nil); err != nil || len(b) == 0 {
		t.Error(err)
	}
}

func TestTransport(t *testing.T) {
	for in, want := range map[string]string{
		"RTP/AVP/TCP;unicast;interleaved=2-3":                                   "tcp [2 3]",
		"RTP/AVP;unicast;client_port=5000-5001;mode=record":                     "udp [5000 5001] record",
		`RTP/AVP/UDP;unicast;client_port=5000;mode="RECORD"`:                    "udp [5000 5001] record",
		"RTP/AVP;multicast;client_port=1-2,RTP/AVP/TCP;unicast;interleaved=0-1": "multicast, tcp [0 1]",
		"RAW/RAW/UDP":                      "",
		"RTP/AVP/TCP;interleaved=999-1000": "tcp [-1 -1]",
	} {
		var got []string
		for _, s := range parseTransport(in) {
			d := fmt.Sprint("udp ", s.clientPort)
			switch {
			case s.multicast:
				d = "multicast"
			case s.tcp:
				d = fmt.Sprint("tcp ", s.interleaved)
			}
			if s.record {
				d += " record"
			}
			got = append(got, d)
		}
		if g := strings.Join(got, ", "); g != want {
			t.Errorf("%s: %q, want %q", in, g, want)
		}
	}
}

func TestTarget(t *testing.T) {
	for in, want := range map[string]string{
		"rtsp://h:554/live/cam?token=1&a=b":          "__defaultVhost__/live/cam token=1&a=b",
		"rtsp://h/live/a/b/":                         "__defaultVhost__/live/a/b ",
		"/live/cam":                                  "__defaultVhost__/live/cam ",
		"rtsp://h/live/a%20b":                        "__defaultVhost__/live/a b ",
		"rtsp://h/live":                              "",
		"rtsp://h/live/../x":                         "",
		"rtsp://h/live/%00":                          "",
		"rtsp://h/live/" + strings.Repeat("x", 2000): "",
	} {
		name, params, err := target(in, false)
		got := ""
		if err == nil {
			got = name.Key() + " " + params
		}
		if got != want {
			t.Errorf("%.40s: %q, want %q", in, got, want)
		}
	}
	if name, _, _ := target("rtsp://u:p@cams.example:554/live/a", true); name.Vhost != "cams.example" {
		t.Error(name.Vhost)
	}
}

// script is a connection whose peer has sent everything it ever will and reads whatever it is told.
type script struct{ io.Reader }

func (s *script) Write(p []byte) (int, error)      { return len(p), nil }
func (s *script) Close() error                     { return nil }
func (s *script) LocalAddr() net.Addr              { return nil }
func (s *script) RemoteAddr() net.Addr             { return nil }
func (s *script) SetDeadline(time.Time) error      { return nil }
func (s *script) SetReadDeadline(time.Time) error  { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }

// FuzzSession feeds a whole server session.
func FuzzSession(f *testing.F) {
	f.Add([]byte("OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n"))
	f.Add([]byte("ANNOUNCE rtsp://h/live/a RTSP/1.0\r\nCSeq: 1\r\nContent-Length: " + fmt.Sprint(len(pcmSDP)) + "\r\n\r\n" + pcmSDP +
		"SETUP rtsp://h/live/a/track0 RTSP/1.0\r\nCSeq: 2\r\nTransport: RTP/AVP/TCP;interleaved=0-1\r\n\r\n" +
		"RECORD rtsp://h/live/a RTSP/1.0\r\nCSeq: 3\r\n\r\n$\x00\x00\x0d\x80\x08\x00\x01\x00\x00\x00\x01\x00\x00\x00\x02\x55" +
		"$\x01\x00\x08\x80\xc9\x00\x01\x00\x00\x00\x01TEARDOWN rtsp://h/live/a RTSP/1.0\r\n\r\n"))
	f.Add([]byte("DESCRIBE rtsp://h/live/a?edge=1 RTSP/1.0\r\nAuthorization: Digest username=\"u\", nonce=\"\"\r\n\r\n"))
	f.Add([]byte("GET /x HTTP/1.1\r\nx-sessioncookie: c\r\n\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		w := newWorld()
		w.allow = func(params string) bool { return params != "no" }
		hc := stream.DefaultConfig()
		hc.MaxStreamWait = time.Millisecond
		hub := stream.New(hc, w, w, Formats(Packing{}))
		srv := New(Config{Logger: slog.New(slog.DiscardHandler), Handshake: 10 * time.Millisecond, PortMin: 40000, PortMax: 40003}, hub, w)
		srv.Accept(&script{Reader: bytes.NewReader(in)})
		srv.Wait()
		_ = srv.Close()
		if err := hub.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		if srv.Connections() != 0 {
			t.Error("a session is left")
		}
	})
}

// TestLastWords: what a publisher sends last, its TEARDOWN included, is taken although it has closed its connection and takes no
// reports any more.
func TestLastWords(t *testing.T) {
	w := newWorld()
	_, addr := start(t, w, Config{})
	url := "rtsp://" + addr + "/live/a"
	c := dial(t, addr)
	c.ok("ANNOUNCE", url, "Content-Type: application/sdp", pcmSDP+
		"m=audio 0 RTP/AVP 0\r\na=control:track1\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:track2\r\n")
	for _, i := range []int{0, 2} {
		c.ok("SETUP", fmt.Sprint(url, "/track", i), fmt.Sprintf("Transport: RTP/AVP/TCP;unicast;interleaved=%d-%d;mode=record", 2*i, 2*i+1))
	}
	c.ok("RECORD", url)
	var all []byte
	for seq := range 140 { // more than the server reads at once, and less than the connection holds
		for ch, pt := range map[byte]byte{0: 8, 4: 96} {
			p := binary.BigEndian.AppendUint16([]byte{0x80, pt}, uint16(seq))
			p = binary.BigEndian.AppendUint32(p, uint32(seq*160))
			p = append(append(p, 0, 0, 0, ch+1), make([]byte, 160)...)
			all = append(append(all, '$', ch, 0, byte(len(p))), p...)
		}
	}
	all = fmt.Appendf(all, "TEARDOWN %s RTSP/1.0\r\nCSeq: 99\r\n\r\n", url)
	if _, err := c.conn.Write(all); err != nil {
		t.Fatal(err)
	}
	_ = c.conn.Close()
	if e := <-w.Ended; e.Reason != fact.EndUnpublish || e.Bytes < uint64(len(all)) {
		t.Errorf("ended as %s after %d bytes of %d", e.Reason, e.Bytes, len(all))
	}
}

package playtool

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// rtspFeed plays RTSP with everything interleaved in the connection (RFC 2326, 10.12). It only counts bytes.
type rtspFeed struct {
	conn net.Conn
	in   *bufio.Reader
	n    uint64 // bytes read
	url  string
	cseq int
	id   string // session
}

const (
	// maxSDP bounds a description, in bytes.
	maxSDP = 64 << 10
	// maxTracks of a stream are played.
	maxTracks = 16
)

// openRTSP calls connected between connecting and playing.
func openRTSP(ctx context.Context, addr string, connected func()) (feed, error) {
	u, err := url.Parse(addr)
	if err != nil {
		return nil, err
	}
	port := u.Port()
	if port == "" {
		port = "554"
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return nil, err
	}
	connected()
	f := &rtspFeed{conn: conn, url: addr}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	err = f.play()
	if !stop() && ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return f, nil
}

// play asks for the stream, track by track.
func (f *rtspFeed) play() error {
	limited := &io.LimitedReader{R: f, N: maxHeader}
	f.in = bufio.NewReaderSize(limited, httpBuffer)
	header, sdp, err := f.ask("DESCRIBE", f.url, "Accept: application/sdp")
	if err != nil {
		return err
	}
	base := f.url
	if b := header.Get("Content-Base"); b != "" {
		base = b
	}
	for i, control := range controls(sdp) {
		limited.N = maxHeader
		track := control
		if !strings.Contains(control, "://") {
			track = strings.TrimSuffix(base, "/") + "/" + control
		}
		transport := fmt.Sprintf("Transport: RTP/AVP/TCP;unicast;interleaved=%d-%d", 2*i, 2*i+1)
		if _, _, err := f.ask("SETUP", track, transport); err != nil {
			return err
		}
	}
	limited.N = maxHeader
	_, _, err = f.ask("PLAY", f.url, "Range: npt=0.000-")
	limited.N = 1<<63 - 1
	return err
}

// controls returns the addresses of the tracks of a description.
func controls(sdp []byte) (out []string) {
	track := false
	for line := range strings.Lines(string(sdp)) {
		line = strings.TrimSpace(line)
		track = track || strings.HasPrefix(line, "m=")
		if v, ok := strings.CutPrefix(line, "a=control:"); ok && track && len(out) < maxTracks {
			out = append(out, v)
		}
	}
	return out
}

// ask sends a request and returns the answer to it.
func (f *rtspFeed) ask(method, to string, header string) (textproto.MIMEHeader, []byte, error) {
	f.cseq++
	text := fmt.Sprintf("%s %s RTSP/1.0\r\nCSeq: %d\r\nUser-Agent: hookline\r\n%s\r\n", method, to, f.cseq, header)
	if f.id != "" {
		text += "Session: " + f.id + "\r\n"
	}
	if _, err := io.WriteString(f.conn, text+"\r\n"); err != nil {
		return nil, nil, err
	}
	in := textproto.NewReader(f.in)
	status, err := in.ReadLine()
	if err != nil {
		return nil, nil, fmt.Errorf("RTSP answer: %w", err)
	}
	h, err := in.ReadMIMEHeader()
	if err != nil {
		return nil, nil, fmt.Errorf("RTSP answer: %w", err)
	}
	n, err := strconv.ParseUint("0"+h.Get("Content-Length"), 10, 32)
	if err != nil || n > maxSDP {
		return nil, nil, fmt.Errorf("RTSP answer: Content-Length %q", h.Get("Content-Length"))
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(f.in, body); err != nil {
		return nil, nil, fmt.Errorf("RTSP answer: %w", err)
	}
	if !strings.HasPrefix(status, "RTSP/1.0 200 ") {
		return nil, nil, &RefusedError{status}
	}
	if id, _, _ := strings.Cut(h.Get("Session"), ";"); id != "" {
		f.id = id
	}
	return h, body, nil
}

// Read implements io.Reader: it counts.
func (f *rtspFeed) Read(p []byte) (int, error) {
	n, err := f.conn.Read(p)
	f.n += uint64(n)
	return n, err
}

func (f *rtspFeed) next() (message, error)       { return message{}, errOnlyDiscard }
func (f *rtspFeed) skip(buf []byte) (int, error) { return f.in.Read(buf) }
func (f *rtspFeed) received() uint64             { return f.n }
func (f *rtspFeed) close()                       { _ = f.conn.Close() }

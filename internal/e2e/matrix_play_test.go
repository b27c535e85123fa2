//go:build realclient

package e2e

import (
	"bufio"
	bin "encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/Eyevinn/mp4ff/mp4"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/media"
)

// output is a way to play.
type output struct {
	name string
	// players is the number of clients that wait for the stream.
	players func(c *content) int
	play    func(c *cell)
}

// outputs are the columns of the matrix.
func outputs() []output {
	two := func(*content) int { return 2 }
	one := func(*content) int { return 1 }
	none := func(*content) int { return 0 }
	flv := func(c *content) int {
		if c.video == "h265" {
			return 1 // ffmpeg 5 can't read it, so our own client does
		}
		return 2
	}
	live := func(format string) func(c *cell) {
		return func(c *cell) { c.overHTTP(c.s.liveURL(c.stream, format), format == "ts") }
	}
	return []output{
		{"rtmp", flv, (*cell).overRTMP},
		{"rtsp_tcp", two, func(c *cell) { c.overRTSP("tcp") }},
		{"rtsp_udp", two, func(c *cell) { c.overRTSP("udp") }},
		{"http_flv", flv, (*cell).overFLV},
		{"ws_flv", flv, (*cell).overWebSocket},
		{"http_ts", two, live("ts")},
		{"http_fmp4", two, live("mp4")},
		{"hls", two, func(c *cell) { c.overHLS("hls.m3u8", true) }},
		{"hls_fmp4", two, func(c *cell) { c.overHLS("hls.fmp4.m3u8", false) }},
		{"mp4_file", none, (*cell).recordedMP4},
		{"hls_files", none, func(c *cell) { c.recordedHLS("vod.m3u8", true) }},
		{"fmp4_files", none, func(c *cell) { c.recordedHLS("vod.fmp4.m3u8", false) }},
		{"gst_rtsp", one, func(c *cell) { c.gstreamer(0, "protocols=tcp") }},
		// By multicast a player begins at the key frame that is the newest when it plays.
		{"gst_multicast", one, func(c *cell) { c.gstreamer(2, "protocols=udp-mcast", "multicast-iface=lo", "udp-reconnect=false") }},
	}
}

// pkt is a packet as ffprobe shows it: times in seconds, NaN when there is none.
type pkt struct {
	dts, pts float64
	size     int
}

// packets are those of an input, by kind.
type packets map[string][]pkt

// probePackets reads an input to its end.
func probePackets(t *testing.T, stdin io.Reader, args ...string) packets {
	t.Helper()
	all := append([]string{"-v", "error", "-show_entries", "packet=codec_type,pts_time,dts_time,size", "-of", "json"}, args...)
	c := runToolWith(t, stdin, "ffprobe", all...)
	c.tolerate = "Stream ends prematurely" // where no length was announced
	var out struct {
		Packets []struct {
			Type string `json:"codec_type"`
			DTS  string `json:"dts_time"`
			PTS  string `json:"pts_time"`
			Size string `json:"size"`
		} `json:"packets"`
	}
	if err := json.Unmarshal([]byte(c.output()), &out); err != nil {
		t.Fatalf("%v: %v", c.cmd.Args, err)
	}
	number := func(s string) float64 {
		v, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return math.NaN()
		}
		return v
	}
	kinds := packets{}
	for _, p := range out.Packets {
		size, _ := strconv.Atoi(p.Size)
		kinds[p.Type] = append(kinds[p.Type], pkt{number(p.DTS), number(p.PTS), size})
	}
	return kinds
}

// tolerances in seconds: what rounding to milliseconds and samples does, and how far sound and picture may drift apart.
const (
	rounding = 0.003
	inSync   = 0.060
)

// expect judges what a player got. Without sound: the format can't carry that of the clip.
func (c *cell) expect(got packets, silent bool) {
	c.Helper()
	want := c.src.want
	for _, kind := range []string{"video", "audio"} {
		w := want[kind]
		if kind == "audio" && silent {
			w = nil
		}
		if kind == "audio" && c.src.audio == "aac" && c.in != "rtmp" {
			w = withoutTail(w, len(got[kind]))
		}
		c.expectKind(kind, got[kind], w)
	}
	v, a, wv, wa := got["video"], got["audio"], want["video"], want["audio"]
	if len(v)*len(a)*len(wv)*len(wa) == 0 || c.Failed() {
		return
	}
	n := c.unstamped(v)
	if d := v[n].pts - a[0].pts - wv[n].pts + wa[0].pts; !(math.Abs(d) < inSync) {
		c.Errorf("sound and picture are %.3f s further apart than published", d)
	}
}

// withoutTail is what ffmpeg publishes of AAC over RTSP: it never sends what it has collected for its last packet.
func withoutTail(p []pkt, got int) []pkt {
	const collected = 4
	if n := len(p) - got; n > 0 && n <= collected {
		return p[:got]
	}
	return p
}

// unstamped is the number of packets before the first that has a PTS. FFmpeg loses that of the first picture over RTSP: its
// parser takes times by the place in a file, and there is none.
func (c *cell) unstamped(p []pkt) int {
	if c.rtsp && len(p) > 1 && math.IsNaN(p[0].pts) {
		return 1
	}
	return 0
}

func (c *cell) expectKind(kind string, got, want []pkt) {
	c.Helper()
	cut := kind == "audio" && c.src.audio == "g711" // RTP and players cut PCM as they like
	switch {
	case cut && bytesOf(got) != bytesOf(want), !cut && len(got) != len(want):
		c.Errorf("%d %s packets (%d bytes) of %d (%d)", len(got), kind, bytesOf(got), len(want), bytesOf(want))
		return
	case len(got) == 0:
		return
	}
	first := c.unstamped(got)
	last := math.Inf(-1)
	for i, p := range got {
		if i >= first && !cut {
			if is, should := p.pts-got[first].pts, want[i].pts-want[first].pts; !(math.Abs(is-should) <= rounding) {
				c.Errorf("%s packet %d is at %.4f s, want %.4f", kind, i, is, should)
				return
			}
		}
		if p.dts <= last {
			c.Errorf("%s packet %d: DTS %v after %v", kind, i, p.dts, last)
		}
		if p.dts > p.pts {
			c.Errorf("%s packet %d: DTS %v behind PTS %v", kind, i, p.dts, p.pts)
		}
		if !math.IsNaN(p.dts) {
			last = p.dts
		}
	}
}

func bytesOf(p []pkt) (n int) {
	for _, x := range p {
		n += x.size
	}
	return n
}

// both reads an input with ffprobe and decodes it with ffmpeg, at the same time. input gives the arguments of each.
func (c *cell) both(silent bool, input func() (io.Reader, []string)) {
	c.Helper()
	in, args := input()
	all := append([]string{"-v", "error", "-xerror"}, args...)
	dec := runToolWith(c.T, in, "ffmpeg", append(all, "-f", "null", "-")...)
	dec.tolerate = "Stream ends prematurely"
	in, args = input()
	c.expect(probePackets(c.T, in, args...), silent)
	dec.output()
}

// address is an input that is a URL or a file.
func address(args ...string) func() (io.Reader, []string) {
	return func() (io.Reader, []string) {
		return nil, append(slices.Clone(args[:len(args)-1]), "-i", args[len(args)-1])
	}
}

func (c *cell) overRTMP() {
	if c.src.video == "h265" {
		c.expectFrames(playRTMP(c.T, c.s.rtmpURL(c.stream), true, func() {}))
		return
	}
	c.both(false, address(c.s.rtmpURL(c.stream)))
}

func (c *cell) overFLV() {
	if c.src.video == "h265" {
		c.expectFrames(playFLV(c.T, c.s.flvURL(c.stream), true, func() {}))
		return
	}
	c.overHTTP(c.s.flvURL(c.stream), false)
}

func (c *cell) overRTSP(transport string) {
	c.rtsp = true
	c.both(false, address("-rtsp_transport", transport, "-analyzeduration", "1000000", c.s.rtspURL(c.stream)))
}

// overHTTP plays an endless answer. ts: it is MPEG-TS, in which players don't know G.711. ffmpeg reads it from a pipe: an end
// is premature to it where no length was announced.
func (c *cell) overHTTP(url string, ts bool) {
	dec := decode(c.T, "pipe:0", download(c.T, url))
	c.expect(probePackets(c.T, nil, url), ts && c.src.audio == "g711")
	dec.output()
}

func (c *cell) overHLS(list string, ts bool) {
	n := 0
	c.both(ts && c.src.audio == "g711", func() (io.Reader, []string) {
		n++ // two that have everything in common would be one viewer
		return nil, []string{"-live_start_index", "0", "-i", c.s.hlsURL(fmt.Sprintf("%s?viewer=%d", c.stream, n), list)}
	})
}

// expectFrames judges what our own client got of H.265.
func (c *cell) expectFrames(frames []*media.Frame) {
	c.Helper()
	got := packets{}
	for _, f := range frames {
		kind := map[media.Kind]string{media.Video: "video", media.Audio: "audio"}[f.Track.Codec.Kind()]
		got[kind] = append(got[kind], pkt{f.DTS.Seconds(), f.PTS.Seconds(), len(f.Data)})
	}
	c.expect(got, false)
	compareDecoded(c.T, frames, c.src.file)
}

// recordedMP4 reads the recording with ffprobe and with a second parser.
func (c *cell) recordedMP4() {
	rec := c.r.acceptIn(c.T, event.OnRecordMP4, c.stream)
	path, _ := rec.json["file_path"].(string)
	c.both(false, address(path))
	file, err := mp4.ReadMP4File(path)
	if err != nil || file.Moov == nil {
		c.Fatalf("mp4ff: %v", err)
	}
	for _, tr := range file.Moov.Traks {
		kind := map[string]string{"vide": "video", "soun": "audio"}[tr.Mdia.Hdlr.HandlerType]
		n := int(tr.Mdia.Minf.Stbl.Stsz.SampleNumber)
		if kind == "audio" && c.src.audio == "g711" || kind == "audio" && c.in != "rtmp" && len(withoutTail(c.src.want[kind], n)) == n {
			continue
		}
		if n != len(c.src.want[kind]) {
			c.Errorf("mp4ff: %d samples of %s, want %d", n, kind, len(c.src.want[kind]))
		}
	}
}

// recordedHLS reads the playlists of the hours in which the stream was live.
func (c *cell) recordedHLS(list string, ts bool) {
	c.r.acceptIn(c.T, event.OnPublicationEnded, c.stream)
	files, err := filepath.Glob(filepath.Join(c.root, "live", c.stream, "*", "*", list))
	if err != nil || len(files) == 0 {
		c.Fatalf("no %s: %v", list, err)
	}
	if len(files) == 1 {
		c.both(ts && c.src.audio == "g711", address("-allowed_extensions", "ALL", files[0]))
		return
	}
	got := packets{} // the hour was over meanwhile
	for _, f := range files {
		for kind, p := range probePackets(c.T, nil, "-allowed_extensions", "ALL", f) {
			got[kind] = append(got[kind], p...)
		}
		decode(c.T, f, nil).output()
	}
	c.expect(got, ts && c.src.audio == "g711")
}

// gstreamer plays RTSP with GStreamer, and counts pictures and samples of sound. As many groups of pictures of a second each
// may be missing as late says.
func (c *cell) gstreamer(late int, properties ...string) {
	dir := c.TempDir()
	args := append([]string{"-q", "rtspsrc", "location=" + c.s.rtspURL(c.stream), "tcp-timeout=300000000", "timeout=300000000", "latency=200", "name=s"}, properties...)
	file := map[string]string{"video": filepath.Join(dir, "video"), "audio": filepath.Join(dir, "audio")}
	depay := map[string]string{
		"h264": "application/x-rtp,media=video ! rtph264depay ! h264parse ! avdec_h264",
		"h265": "application/x-rtp,media=video ! rtph265depay ! h265parse ! avdec_h265",
		"aac":  "application/x-rtp,media=audio ! rtpmp4gdepay ! aacparse ! avdec_aac ! audioconvert ! audio/x-raw,format=S16LE",
		"g711": "application/x-rtp,media=audio ! rtppcmadepay ! alawdec",
	}
	for kind, codec := range map[string]string{"video": c.src.video, "audio": c.src.audio} {
		if codec != "" {
			args = append(args, strings.Fields("s. ! queue ! "+depay[codec]+" ! filesink location="+file[kind])...)
		}
	}
	g := runTool(c.T, "gst-launch-1.0", args...)
	if err := g.wait(); err != nil {
		c.Errorf("gst-launch-1.0: %v\n%s", err, g.stderr.String())
	}
	const picture, sample = 160 * 120 * 3 / 2, 2
	size := func(kind string) int {
		st, err := os.Stat(file[kind])
		if err != nil {
			c.Fatal(err)
		}
		return int(st.Size())
	}
	if c.src.video != "" {
		n, want := size("video"), len(c.src.want["video"])
		if missing := want - n/picture; n%picture != 0 || missing < 0 || missing%25 != 0 || missing/25 > late {
			c.Errorf("GStreamer decodes %d bytes of pictures, which are %d of %d", n, n/picture, want)
		}
	}
	if c.src.audio == "" {
		return
	}
	want, rate := len(c.src.want["audio"])*1024, 44100
	if c.src.audio == "g711" {
		want, rate = bytesOf(c.src.want["audio"]), 8000
	}
	if n := size("audio") / sample; n < want-6*1024-late*rate || n > want+1024 { // the decoder of AAC may keep its delay; see withoutTail
		c.Errorf("GStreamer decodes %d samples of sound of %d", n, want)
	}
}

// overWebSocket hands what comes over a WebSocket on to ffprobe and ffmpeg.
func (c *cell) overWebSocket() {
	if c.src.video == "h265" {
		r := webSocket(c.T, c.s.http, "/live/"+c.stream+".live.flv")
		c.expectFrames(readFLV(c.T, r, true, func() {}))
		return
	}
	c.both(false, func() (io.Reader, []string) {
		return webSocket(c.T, c.s.http, "/live/"+c.stream+".live.flv"), []string{"-i", "pipe:0"}
	})
}

// webSocket opens one and returns what its messages say (RFC 6455), up to the closing.
func webSocket(t *testing.T, addr, path string) io.Reader {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(3 * patience))
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", path, addr)
	in := bufio.NewReader(conn)
	r, w := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		res, err := http.ReadResponse(in, nil)
		if err == nil && res.StatusCode != http.StatusSwitchingProtocols {
			err = fmt.Errorf("WebSocket: %s", res.Status)
		}
		for err == nil {
			err = webSocketFrame(w, in)
		}
		w.CloseWithError(err)
	}()
	t.Cleanup(func() {
		_, _ = conn.Close(), r.Close()
		<-done
	})
	return r
}

// webSocketFrame copies the payload of a binary frame. io.EOF: the server says that it closes.
func webSocketFrame(w io.Writer, in *bufio.Reader) error {
	var head [2]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return err
	}
	size := int64(head[1] & 0x7f)
	switch size {
	case 126:
		var n uint16
		if err := bin.Read(in, bin.BigEndian, &n); err != nil {
			return err
		}
		size = int64(n)
	case 127:
		if err := bin.Read(in, bin.BigEndian, &size); err != nil {
			return err
		}
	}
	const binaryFrame, closing = 2, 8
	switch head[0] & 0x0f {
	case closing:
		return io.EOF
	case 0, binaryFrame:
	default:
		w = io.Discard
	}
	_, err := io.CopyN(w, in, size)
	return err
}

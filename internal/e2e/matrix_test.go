//go:build realclient

package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/media"
	"github.com/hookline/hookline/internal/rtmp"
)

// content is what is published: a clip that was encoded once.
type content struct {
	name         string
	video, audio string // "h264", "h265", "aac", "g711"; "" for none
	args         [][]string

	file   string
	want   packets
	frames []*media.Frame // of H.265, which ffmpeg can't publish over RTMP
}

// clipSeconds is the length of the clips.
const clipSeconds = "4"

// contents are the columns of what is published.
func contents() []*content {
	aac := strings.Fields("-c:a aac -ac 1")
	small := []string{"-s", "160x120"}
	return []*content{
		{name: "h264_aac", video: "h264", audio: "aac", args: [][]string{picture(), tone(), h264("-bf 0"), small, aac}},
		{name: "h265_aac", video: "h265", audio: "aac", args: [][]string{
			picture(), tone(), strings.Fields("-c:v libx265 -preset ultrafast -pix_fmt yuv420p -x265-params log-level=error:keyint=25:bframes=2"), small, aac,
		}},
		{name: "h264_g711", video: "h264", audio: "g711", args: [][]string{
			picture(), tone(), h264("-bf 0"), small, strings.Fields("-c:a pcm_alaw -ar 8000 -ac 1"),
		}},
		{name: "h264_bframes", video: "h264", audio: "aac", args: [][]string{picture(), tone(), h264("-bf 3 -b_strategy 0"), small, aac}},
		{name: "audio_only", audio: "aac", args: [][]string{tone(), aac}},
		{name: "video_only", video: "h264", args: [][]string{picture(), h264("-bf 0"), small}},
	}
}

// prepare encodes the clip and notes what is in it.
func (c *content) prepare(t *testing.T) {
	t.Helper()
	name := "in.flv"
	if c.video == "h265" {
		name = "in.mp4" // ffmpeg can't put H.265 into FLV
	}
	c.file = encode(t, name, clipSeconds, c.args...)
	c.want = probePackets(t, nil, c.file)
	if v := c.want["video"]; c.audio == "" {
		// protocol.add_mute_audio: silence up to the last picture, a frame each 128 ms.
		for at := v[0].dts; at < v[len(v)-1].dts; at += 0.128 {
			c.want["audio"] = append(c.want["audio"], pkt{at, at, 6})
		}
	}
	if c.video == "h265" {
		c.frames = demuxMP4(t, c.file)
	}
}

// ingest is a way to publish, in real time.
type ingest struct {
	name    string
	publish func(t *testing.T, s *server, c *content, stream string)
}

func ingests() []ingest {
	over := func(transport string) func(*testing.T, *server, *content, string) {
		return func(t *testing.T, s *server, c *content, stream string) {
			t.Helper()
			runTool(t, "ffmpeg", "-v", "error", "-nostdin", "-re", "-i", c.file, "-c", "copy",
				"-f", "rtsp", "-rtsp_transport", transport, s.rtspURL(stream)).output()
		}
	}
	return []ingest{
		{"rtmp", func(t *testing.T, s *server, c *content, stream string) {
			t.Helper()
			if c.frames != nil {
				publishPaced(t, s.rtmpURL(stream), c.frames)
				return
			}
			push(t, c.file, s.rtmpURL(stream), "-re").output()
		}},
		{"rtsp_tcp", over("tcp")},
		{"rtsp_udp", over("udp")},
	}
}

// publishPaced publishes frames in real time.
func publishPaced(t *testing.T, url string, frames []*media.Frame) {
	t.Helper()
	c, err := rtmp.Dialer{}.Dial(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Publish(t.Context()); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	for _, f := range frames {
		time.Sleep(time.Until(begin.Add(f.DTS - frames[0].DTS)))
		if err := c.WriteFrame(f); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Unpublish(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// cell is one pair of an ingest with a content, and an output.
type cell struct {
	*testing.T
	s      *server
	r      *receiver
	root   string // of what is recorded
	in     string // name of the ingest
	src    *content
	stream string
	rtsp   bool // played over RTSP with ffmpeg
}

// TestMatrix: every way in, with every content, is played in every way out at the same time. ffprobe counts what comes, looks at
// its times and whether sound and picture stay together; ffmpeg decodes it without an error. Where a format can't carry a
// codec, what the documents say is demanded. The table goes to the file that HOOKLINE_MATRIX_OUT names.
func TestMatrix(t *testing.T) {
	root, r := t.TempDir(), newReceiver(t)
	s := start(t, quick().endpoint(r).with("server.state_dir", stateDir(t),
		"protocol.enable_hls", "1", "protocol.enable_hls_fmp4", "1", "protocol.hls_save_path", root,
		"hls.segDur", "1", "hls.segNum", "20", "hls.segKeep", "1", "hls.deleteDelaySec", "60",
		"protocol.enable_mp4", "1", "protocol.mp4_save_path", root,
		// Another server on this machine may send by multicast, too.
		"multicast.addrMin", fmt.Sprintf("239.%d.%d.1", rand.IntN(255), rand.IntN(256))))
	all := contents()
	for _, c := range all {
		c.prepare(t)
	}
	table := newTable(outputs())
	t.Run("all", func(t *testing.T) {
		for _, in := range ingests() {
			for _, c := range all {
				t.Run(in.name+"/"+c.name, func(t *testing.T) {
					t.Parallel()
					row(t, table, in, cell{s: s, r: r, root: root, in: in.name, src: c, stream: in.name + "_" + c.name})
				})
			}
		}
	})
	table.write(t)
	r.expectClosed()
}

// row publishes once and plays in every way. The players come first and wait, so that it is known what they have to get.
func row(t *testing.T, table *table, in ingest, c cell) {
	var wg sync.WaitGroup
	defer wg.Wait()
	players := 0
	for _, out := range outputs() {
		players += out.players(c.src)
		wg.Go(func() {
			ok := t.Run(out.name, func(t *testing.T) {
				c := c
				c.T = t
				out.play(&c)
			})
			table.note(in.name+"/"+c.src.name, out.name, ok)
		})
	}
	c.r.awaitIn(t, "the players of "+c.stream, players, func(p *post) bool {
		return p.hook == event.OnStreamNotFound && p.body.Event.Stream == key(c.stream)
	})
	in.publish(t, c.s, c.src, c.stream)
}

// table collects the results.
type table struct {
	columns []output
	mu      sync.Mutex // guards what follows
	rows    []string
	results map[string]map[string]bool
	passed  int
	failed  int
}

func newTable(columns []output) *table {
	return &table{columns: columns, results: map[string]map[string]bool{}}
}

func (b *table) note(row, column string, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.results[row] == nil {
		b.results[row] = map[string]bool{}
		b.rows = append(b.rows, row)
	}
	b.results[row][column] = ok
	if ok {
		b.passed++
	} else {
		b.failed++
	}
}

// write writes the table, with the number of what passed and failed alone on its last line.
func (b *table) write(t *testing.T) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	var w strings.Builder
	fmt.Fprintf(&w, "%-24s", "in \\ out")
	for _, c := range b.columns {
		fmt.Fprintf(&w, " %s", c.name)
	}
	for _, in := range ingests() {
		for _, c := range contents() {
			row := in.name + "/" + c.name
			fmt.Fprintf(&w, "\n%-24s", row)
			for _, c := range b.columns {
				word := "-"
				if ok, ran := b.results[row][c.name]; ran {
					word = map[bool]string{true: "ok", false: "FAIL"}[ok]
				}
				fmt.Fprintf(&w, " %-*s", len(c.name), word)
			}
		}
	}
	fmt.Fprintf(&w, "\n\n%d passed, %d failed\n", b.passed, b.failed)
	t.Log("\n" + w.String())
	if file := os.Getenv("HOOKLINE_MATRIX_OUT"); file != "" {
		if err := os.WriteFile(filepath.Clean(file), []byte(w.String()), 0o600); err != nil {
			t.Error(err)
		}
	}
}

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hookline/hookline/internal/format/flv"
	"github.com/hookline/hookline/internal/rtmp"
)

// tool is a running command.
type tool struct {
	t              *testing.T
	cmd            *exec.Cmd
	stdout, stderr bytes.Buffer
	tolerate       string // a line of standard error with this is no complaint
	gone           chan struct{}
	err            error
}

// runTool starts a command, which is killed when the test ends. One that is missing fails the test.
func runTool(t *testing.T, name string, args ...string) *tool {
	t.Helper()
	return runToolWith(t, nil, name, args...)
}

// runToolWith is runTool with a standard input.
func runToolWith(t *testing.T, stdin io.Reader, name string, args ...string) *tool {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdin = stdin
	return startTool(t, cmd)
}

// startTool starts a command that is prepared.
func startTool(t *testing.T, cmd *exec.Cmd) *tool {
	t.Helper()
	c := &tool{t: t, cmd: cmd, gone: make(chan struct{})}
	c.cmd.Stdout, c.cmd.Stderr = &c.stdout, &c.stderr
	if c.cmd.SysProcAttr == nil {
		c.cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	c.cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	c.cmd.WaitDelay = 30 * time.Second // its input may have more, or stand still
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		c.err = c.cmd.Wait()
		close(c.gone)
	}()
	t.Cleanup(func() {
		_ = c.cmd.Process.Kill()
		<-c.gone
	})
	return c
}

// wait waits for the end and returns how it was.
func (c *tool) wait() error {
	c.t.Helper()
	select {
	case <-c.gone:
		return c.err
	case <-time.After(patience):
		c.t.Fatalf("%v does not end:\n%s", c.cmd.Args, c.stderr.String())
		return nil
	}
}

// output waits for a good end, without a complaint, and returns what was written to standard output.
func (c *tool) output() string {
	c.t.Helper()
	err := c.wait()
	complaints := 0
	for line := range strings.Lines(c.stderr.String()) {
		if c.tolerate == "" || !strings.Contains(line, c.tolerate) {
			complaints++
		}
	}
	if err != nil || complaints > 0 {
		c.t.Errorf("%v: %v\n%s", c.cmd.Args, err, c.stderr.String())
	}
	return c.stdout.String()
}

// signal sends a signal.
func (c *tool) signal(s os.Signal) {
	if err := c.cmd.Process.Signal(s); err != nil {
		c.t.Error(err)
	}
}

// Inputs of ffmpeg.
func picture() []string { return strings.Fields("-f lavfi -i testsrc=size=320x240:rate=25") }
func tone() []string    { return strings.Fields("-f lavfi -i sine=sample_rate=44100") }

// encode makes a file of some seconds in the test's directory.
func encode(t *testing.T, name, seconds string, args ...[]string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	all := []string{"-v", "error", "-nostdin"}
	for _, a := range args {
		all = append(all, a...)
	}
	runTool(t, "ffmpeg", append(all, "-t", seconds, file)...).output()
	return file
}

// h264 are the options of a small and quick encoder with a key frame each second.
func h264(more string) []string {
	return strings.Fields("-c:v libx264 -preset veryfast -pix_fmt yuv420p -g 25 " + more)
}

// push publishes a file with ffmpeg.
func push(t *testing.T, file, url string, before ...string) *tool {
	t.Helper()
	args := append([]string{"-v", "error", "-nostdin"}, before...)
	return runTool(t, "ffmpeg", append(args, "-i", file, "-c", "copy", "-f", "flv", url)...)
}

// packet is a packet as ffprobe shows it.
type packet struct {
	Type  string `json:"codec_type"`
	PTS   int64  `json:"pts"`
	DTS   int64  `json:"dts"`
	Size  string `json:"size"`
	Flags string `json:"flags"`
}

// probe starts ffprobe on an input, which reads it to its end.
func probe(t *testing.T, input string) *tool {
	t.Helper()
	return runTool(t, "ffprobe", "-v", "error", "-show_packets", "-of", "json", input)
}

// packets returns what ffprobe found, in ms, by kind. What comes before the first picture is left out: players start at
// a picture.
func (c *tool) packets() map[string][]packet {
	c.t.Helper()
	var out struct {
		Packets []packet `json:"packets"`
	}
	if err := json.Unmarshal([]byte(c.output()), &out); err != nil {
		c.t.Fatal(err)
	}
	kinds := map[string][]packet{}
	isVideo := func(p packet) bool { return p.Type == "video" }
	for _, p := range out.Packets[max(0, slices.IndexFunc(out.Packets, isVideo)):] {
		kinds[p.Type] = append(kinds[p.Type], p)
	}
	return kinds
}

// decode starts ffmpeg as a player that decodes all of an input and gives up at the first error.
func decode(t *testing.T, input string, stdin io.Reader) *tool {
	t.Helper()
	return runToolWith(t, stdin, "ffmpeg", "-v", "error", "-xerror", "-i", input, "-f", "null", "-")
}

// clip is a short FLV file of one group of pictures, to be published again and again.
type clip struct {
	headers, media []flv.Tag
	length         time.Duration
}

var sharedClip = sync.OnceValues(func() (*clip, error) {
	file := filepath.Join(scratch, "clip.flv")
	args := append([]string{"-v", "error", "-nostdin"}, picture()...)
	args = append(append(args, tone()...), h264("-bf 0 -s 160x120")...)
	args = append(args, "-c:a", "aac", "-t", "1", file)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "ffmpeg", args...).CombinedOutput(); err != nil {
		return nil, errors.Join(err, errors.New(string(out)))
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	c := &clip{length: time.Second}
	for r := flv.NewReader(bytes.NewReader(raw)); ; {
		tag, err := r.Next()
		if errors.Is(err, io.EOF) {
			return c, nil
		}
		if err != nil {
			return nil, err
		}
		sequence := tag.Type != flv.TagData && len(tag.Body) > 1 && tag.Body[1] == 0
		switch {
		case tag.Type == flv.TagData:
			tag.Body = append([]byte("\x02\x00\x0d@setDataFrame"), tag.Body...)
			c.headers = append(c.headers, tag)
		case sequence:
			c.headers = append(c.headers, tag)
		default:
			c.media = append(c.media, tag)
		}
	}
})

func theClip(t *testing.T) *clip {
	t.Helper()
	c, err := sharedClip()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// publisher publishes the clip by the built-in client.
type publisher struct {
	*rtmp.Client
	clip *clip
	next int
}

// dial connects; the caller publishes.
func dial(t *testing.T, url string) *rtmp.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := rtmp.Dialer{WriteTimeout: patience}.Dial(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// publish starts a publication and sends the first group of pictures.
func publish(t *testing.T, url string) *publisher {
	t.Helper()
	p := &publisher{Client: dial(t, url), clip: theClip(t)}
	if err := askToPublish(t, p.Client); err != nil {
		t.Fatal(err)
	}
	p.must(t, p.send(len(p.clip.media)))
	return p
}

func askToPublish(t *testing.T, c *rtmp.Client) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return c.Publish(ctx)
}

func (p *publisher) must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// send sends n more tags, after the headers if they are the first.
func (p *publisher) send(n int) error {
	if p.next == 0 {
		for _, h := range p.clip.headers {
			if err := p.WriteTag(rtmp.MessageType(h.Type), 0, h.Body); err != nil {
				return err
			}
		}
	}
	for range n {
		round, i := p.next/len(p.clip.media), p.next%len(p.clip.media)
		tag := p.clip.media[i]
		at := tag.Timestamp + time.Duration(round)*p.clip.length
		if err := p.WriteTag(rtmp.MessageType(tag.Type), flv.Millis(at), tag.Body); err != nil {
			return err
		}
		p.next++
	}
	return nil
}

// keep sends on in real time until the connection ends or the test does.
func (p *publisher) keep(t *testing.T) {
	t.Helper()
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(40 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-p.Done():
				return
			}
			if p.send(2) != nil {
				return
			}
		}
	})
	t.Cleanup(func() {
		_ = p.Close()
		wg.Wait()
	})
}

// unpublish ends the publication in good order.
func (p *publisher) unpublish(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	p.must(t, p.Unpublish(ctx))
}

// refusedWith demands that err is the server's status with the code, and returns its description.
func refusedWith(t *testing.T, err error, code string) (description string) {
	t.Helper()
	var s *rtmp.StatusError
	if !errors.As(err, &s) || s.Code != code {
		t.Fatalf("got %v, want %s", err, code)
	}
	return s.Description
}

func atoi(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(strings.TrimSpace(s))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/hookline/hookline/internal/format/flv"
	"github.com/hookline/hookline/internal/playtool"
	"github.com/hookline/hookline/internal/pubtool"
)

// streamPath is the stream that is watched.
const streamPath = "/live/bench"

// scene is a server with one live stream.
type scene struct {
	server    *process
	publisher *child
}

// publishArgs are the arguments of the publisher.
type publishArgs struct {
	URL     string
	Bitrate int
}

// openScene starts a server, with some keys of its configuration set, and a publisher.
func (e *env) openScene(ctx context.Context, keys map[string]string) (*scene, error) {
	p, err := e.startServer(ctx, keys)
	if err != nil {
		return nil, err
	}
	c, err := startChild(ctx, rolePublish, publishArgs{URL: urlAt(p.rtmp, true), Bitrate: e.bitrate})
	if err != nil {
		return nil, errors.Join(err, p.stop())
	}
	var live bool
	if err := c.answer(&live); err != nil {
		return nil, errors.Join(err, c.stop(), p.stop())
	}
	return &scene{server: p, publisher: c}, nil
}

func (s *scene) close() error { return errors.Join(s.publisher.stop(), s.server.stop()) }

// url returns the URL of the stream for viewers of RTMP or HTTP-FLV.
func (s *scene) url(rtmp bool) string { return urlAt(s.addr(rtmp), rtmp) }

func (s *scene) addr(rtmp bool) string {
	if rtmp {
		return s.server.rtmp
	}
	return s.server.http
}

func urlAt(addr string, rtmp bool) string {
	if rtmp {
		return "rtmp://" + addr + streamPath
	}
	return flvURL(addr)
}

// flvURL returns the URL of the stream at an address.
func flvURL(addr string) string { return "http://" + addr + streamPath + ".live.flv" }

// publishChild publishes until ctx ends.
func publishChild(ctx context.Context, raw []byte) error {
	var args publishArgs
	if err := json.Unmarshal(raw, &args); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	said := make(chan error, 1)
	_, err := pubtool.Run(ctx, pubtool.Config{
		URL: args.URL, Bitrate: args.Bitrate, Realtime: true, Quiet: true,
		OnAccepted: func(pubtool.Publication) { said <- say(true) },
	})
	select {
	case failed := <-said:
		err = errors.Join(err, failed)
	default:
	}
	return err
}

// playArgs are the arguments of the viewers.
type playArgs struct {
	URL     string
	Viewers int
}

// played is their answer.
type played struct {
	Viewers int // that got media and did not fail
	Bytes   uint64
	Failure string // the first, if any
}

// startViewers starts viewers in a process of their own. They play until endViewers.
func startViewers(ctx context.Context, url string, n int) (*child, error) {
	return startChild(ctx, rolePlay, playArgs{URL: url, Viewers: n})
}

// endViewers ends them. All must have played.
func endViewers(c *child, n int) (played, error) {
	var p played
	if err := c.finish(&p); err != nil {
		return p, err
	}
	if p.Viewers < n {
		return p, fmt.Errorf("%d of %d viewers played: %s", p.Viewers, n, p.Failure)
	}
	return p, nil
}

// playChild plays until ctx ends and looks into nothing.
func playChild(ctx context.Context, raw []byte) error {
	var args playArgs
	if err := json.Unmarshal(raw, &args); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	res, err := playtool.Run(ctx, playtool.Config{URL: args.URL, Viewers: args.Viewers, Discard: true, Quiet: true})
	p := played{Viewers: res.Played - res.Failed, Bytes: res.Totals.Bytes}
	if err != nil {
		p.Failure = err.Error()
	}
	return say(p)
}

// awaitViewers waits until the server has n viewers, as its metrics say.
func (p *process) awaitViewers(ctx context.Context, n int) error {
	for {
		got, err := p.viewers(ctx)
		if err != nil {
			return err
		}
		if got >= n {
			return nil
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return fmt.Errorf("%d of %d viewers play: %w", got, n, err)
		}
	}
}

func (p *process) viewers(ctx context.Context) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.http+"/metrics", http.NoBody)
	if err != nil {
		return 0, err
	}
	t := &http.Transport{DisableKeepAlives: true}
	defer t.CloseIdleConnections()
	resp, err := (&http.Client{Transport: t, Timeout: 5 * time.Second}).Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	for lines := bufio.NewScanner(io.LimitReader(resp.Body, 4<<20)); lines.Scan(); {
		if v, ok := strings.CutPrefix(lines.Text(), "hookline_viewers "); ok {
			return strconv.Atoi(v)
		}
	}
	return 0, fmt.Errorf("%w: its metrics do not say how many viewers it has", ErrServer)
}

// firstByteLimit bounds the wait of one viewer.
const firstByteLimit = 10 * time.Second

// viewerFirstByte measures how long viewers, one after the other, wait for media.
func viewerFirstByte(ctx context.Context, e *env) ([]Result, error) {
	s, err := e.openScene(ctx, nil)
	if err != nil {
		return nil, err
	}
	took := make([]time.Duration, 0, e.firstBytes)
	for i := 0; err == nil && i < e.firstBytes; i++ {
		var d time.Duration
		if d, err = firstByte(ctx, s.server.http); err == nil {
			took = append(took, d)
			err = pause(ctx, e.firstByteGap)
		}
	}
	if err = errors.Join(err, s.close()); err != nil {
		return nil, err
	}
	return []Result{
		{Name: "viewer_first_byte_p50", Value: percentile(took, 0.5), Unit: "ms", Note: fmt.Sprintf(
			"HTTP-FLV, from the request until the first audio or video tag is there; %d viewers of a live stream, one "+
				"after the other", len(took))},
		{Name: "viewer_first_byte_p99", Value: percentile(took, 0.99), Unit: "ms"},
	}, nil
}

// firstByte plays until media is there. Heads of answer and file, and metadata, do not count.
func firstByte(ctx context.Context, addr string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, firstByteLimit)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, flvURL(addr), http.NoBody)
	if err != nil {
		return 0, err
	}
	start := time.Now()
	if err := req.Write(conn); err != nil {
		return 0, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("%w: a viewer got %s", ErrServer, resp.Status)
	}
	for tags := flv.NewReader(resp.Body); ; {
		tag, err := tags.Next()
		if err != nil {
			return 0, err
		}
		if tag.Type != flv.TagData {
			return time.Since(start), nil
		}
	}
}

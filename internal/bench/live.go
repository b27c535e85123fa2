package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

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
	Streams int    // see pubtool.Config
	File    string // in a loop, instead of the generated stream
}

// openScene starts a server, with some keys of its configuration set, and a publisher.
func (e *env) openScene(ctx context.Context, keys map[string]string) (*scene, error) {
	p, err := e.startServer(ctx, keys)
	if err != nil {
		return nil, err
	}
	return openStream(ctx, p, publishArgs{URL: protoRTMP.url(p.rtmp), Bitrate: e.bitrate})
}

// openStream starts the publisher of a server that is up, and ends both when it fails.
func openStream(ctx context.Context, p *process, args publishArgs) (*scene, error) {
	c, err := startChild(ctx, rolePublish, args)
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

func (s *scene) pid() int { return s.server.pid() }

// protocol is what viewers speak.
type protocol int

const (
	protoFLV protocol = iota // HTTP-FLV
	protoRTMP
	protoRTSP // over TCP
	protoTS   // HTTP-TS
	protoFMP4 // HTTP-fMP4
)

// String returns the name that users know.
func (p protocol) String() string {
	return [...]string{"HTTP-FLV", "RTMP", "RTSP/TCP", "HTTP-TS", "HTTP-fMP4"}[p]
}

// url returns the URL of the stream at an address.
func (p protocol) url(addr string) string {
	before := [...]string{"http", "rtmp", "rtsp", "http", "http"}[p]
	after := [...]string{".live.flv", "", "", ".live.ts", ".live.mp4"}[p]
	return before + "://" + addr + streamPath + after
}

// url returns the URL of the stream for viewers.
func (s *scene) url(p protocol) string { return p.url(s.addr(p)) }

func (s *scene) addr(p protocol) string {
	at := s.server
	return [...]string{at.http, at.rtmp, at.rtsp, at.http, at.http}[p]
}

// publishChild publishes until ctx ends. It says so when the server has accepted all streams.
func publishChild(ctx context.Context, raw []byte) error {
	var args publishArgs
	if err := json.Unmarshal(raw, &args); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	said := make(chan error, 1)
	var accepted atomic.Int64
	var life time.Duration
	if args.File != "" {
		life = benchLimit
	}
	_, err := pubtool.Run(ctx, pubtool.Config{
		URL: args.URL, File: args.File, Bitrate: args.Bitrate, Streams: args.Streams, Life: life, Realtime: true, Quiet: true,
		OnAccepted: func(pubtool.Publication) {
			if accepted.Add(1) == int64(max(args.Streams, 1)) {
				said <- say(true)
			}
		},
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
	Streams int // see playtool.Config
}

// played is their answer.
type played struct {
	Viewers int // that got media and did not fail
	Bytes   uint64
	Failure string // the first, if any
}

// startViewers starts viewers in a process of their own, and waits until all have media. They play until endViewers.
func startViewers(ctx context.Context, args playArgs) (*child, error) {
	c, err := startChild(ctx, rolePlay, args)
	if err != nil {
		return nil, err
	}
	var p played
	if err := c.answer(&p); err != nil {
		return nil, errors.Join(err, c.stop())
	}
	if p.Viewers < args.Viewers {
		return nil, errors.Join(fmt.Errorf("%d of %d viewers play: %s", p.Viewers, args.Viewers, p.Failure), c.stop())
	}
	return c, nil
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

// playChild plays until ctx ends and looks into nothing. It speaks when all viewers have media, and at the end.
func playChild(ctx context.Context, raw []byte) error {
	var args playArgs
	if err := json.Unmarshal(raw, &args); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	said := make(chan error, 1)
	res, err := playtool.Run(ctx, playtool.Config{
		URL: args.URL, Viewers: args.Viewers, Streams: args.Streams, Discard: true, Quiet: true,
		OnPlaying: func() { said <- say(played{Viewers: args.Viewers}) },
	})
	p := played{Viewers: res.Played - res.Failed, Bytes: res.Totals.Bytes}
	if err != nil {
		p.Failure = err.Error()
	}
	return say(p)
}

// metric returns the sum of the server's metrics whose line begins with prefix.
func (p *process) metric(ctx context.Context, prefix string) (sum float64, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.http+"/metrics", http.NoBody)
	if err != nil {
		return 0, err
	}
	t := &http.Transport{DisableKeepAlives: true}
	defer t.CloseIdleConnections()
	resp, err := (&http.Client{Transport: t, Timeout: time.Minute}).Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	found := false
	for lines := bufio.NewScanner(io.LimitReader(resp.Body, 4<<20)); lines.Scan(); {
		if !strings.HasPrefix(lines.Text(), prefix) {
			continue
		}
		v, err := strconv.ParseFloat(lines.Text()[strings.LastIndexByte(lines.Text(), ' ')+1:], 64)
		if err != nil {
			return 0, err
		}
		found, sum = true, sum+v
	}
	if !found {
		return 0, fmt.Errorf("%w: its metrics do not say %s", ErrServer, prefix)
	}
	return sum, nil
}

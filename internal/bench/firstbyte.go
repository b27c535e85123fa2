package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/hookline/hookline/internal/format/flv"
)

// firstByteLimit bounds the wait of one viewer.
const firstByteLimit = time.Minute

// viewerFirstByte measures how long viewers, one after the other, wait for media.
func viewerFirstByte(ctx context.Context, e *env) ([]Result, error) {
	s, err := e.openScene(ctx, nil)
	if err != nil {
		return nil, err
	}
	took, err := e.firstBytesOf(ctx, s)
	if err = errors.Join(err, s.close()); err != nil {
		return nil, err
	}
	return firstByteResults("viewer_first_byte", took, ""), nil
}

func firstByteResults(name string, took []time.Duration, also string) []Result {
	return []Result{
		{Name: name + "_p50", Value: percentile(took, 0.5), Unit: "ms", Note: fmt.Sprintf(
			"HTTP-FLV, from the request until the first audio or video tag is there; %d viewers of a live stream, one "+
				"after the other%s", len(took), also)},
		{Name: name + "_p99", Value: percentile(took, 0.99), Unit: "ms"},
	}
}

func (e *env) firstBytesOf(ctx context.Context, s *scene) (took []time.Duration, err error) {
	for i := 0; err == nil && i < e.firstBytes; i++ {
		var d time.Duration
		if d, err = firstByte(ctx, s.server.http); err == nil {
			took = append(took, d)
			err = pause(ctx, e.firstByteGap)
		}
	}
	return took, err
}

// loadedConfig has an endpoint that is owed everything that is in the journal.
const loadedConfig = `[general]
mediaServerId=bench
[endpoint.load]
url=%s
start=beginning
rate=%d
`

// delivered is the metric that counts the endpoint's accepted events.
const delivered = `hookline_delivery_latency_seconds_count{endpoint="load"`

// viewerFirstByteLoaded is viewerFirstByte while the same server delivers events from its journal.
func viewerFirstByteLoaded(ctx context.Context, e *env) ([]Result, error) {
	dir, err := e.newDir()
	if err != nil {
		return nil, err
	}
	journal := filepath.Join(dir, "state", "journal")
	if err := os.MkdirAll(journal, 0o750); err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	var filled int
	args := fillArgs{Dir: journal, Pad: e.pad, Events: e.backlog, Keys: e.keys, Outstanding: e.outstanding}
	if err := ask(ctx, roleFill, args, &filled); err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "config.ini")
	if err := os.WriteFile(file, fmt.Appendf(nil, loadedConfig, e.url, e.backlogRate), 0o600); err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	p, err := e.startServerIn(ctx, dir, nil, "-c", file)
	if err != nil {
		return nil, err
	}
	s, err := openStream(ctx, p, publishArgs{URL: protoRTMP.url(p.rtmp), Bitrate: e.bitrate})
	if err != nil {
		return nil, err
	}
	took, rate, err := e.firstBytesAmid(ctx, s)
	if err = errors.Join(err, s.close()); err != nil {
		return nil, err
	}
	return firstByteResults("viewer_first_byte_loaded", took,
		fmt.Sprintf(", while the same server delivered %.0f events/s to a receiver", rate)), nil
}

// firstBytesAmid returns also how many events were delivered in a second meanwhile.
func (e *env) firstBytesAmid(ctx context.Context, s *scene) (took []time.Duration, rate float64, err error) {
	before, err := s.server.awaitMetric(ctx, delivered)
	if err != nil {
		return nil, 0, err
	}
	start := time.Now()
	took, err = e.firstBytesOf(ctx, s)
	if err != nil {
		return nil, 0, err
	}
	after, err := s.server.metric(ctx, delivered)
	if err == nil && after <= before {
		err = fmt.Errorf("%w: no event was delivered meanwhile", ErrNothing)
	}
	return took, (after - before) / time.Since(start).Seconds(), err
}

// awaitMetric waits until there is one.
func (p *process) awaitMetric(ctx context.Context, prefix string) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for {
		v, err := p.metric(ctx, prefix)
		if err == nil && v > 0 {
			return v, nil
		}
		if failed := pause(ctx, 50*time.Millisecond); failed != nil {
			return 0, errors.Join(err, failed)
		}
	}
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
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, protoFLV.url(addr), http.NoBody)
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

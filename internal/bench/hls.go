package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// fetchArgs are the arguments of clients that fetch files again and again.
type fetchArgs struct {
	Addr    string
	Paths   []string
	Header  string // lines that every request has, each with its end
	Clients int
}

// fetched is their answer.
type fetched struct {
	Requests int
	Bytes    uint64
	Failure  string
}

// fetchChild fetches until ctx ends, each client over a connection of its own, and reads the bodies without looking into
// them. It speaks when the first file is there, and at the end.
func fetchChild(ctx context.Context, raw []byte) error {
	var args fetchArgs
	if err := json.Unmarshal(raw, &args); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		total fetched
	)
	begun := sync.OnceValue(func() error { return say(true) })
	for i := range args.Clients {
		wg.Go(func() {
			f, err := fetch(ctx, args, i, begun)
			mu.Lock()
			defer mu.Unlock()
			total.Requests += f.Requests
			total.Bytes += f.Bytes
			if err != nil && ctx.Err() == nil {
				total.Failure = err.Error()
			}
		})
	}
	wg.Wait()
	return errors.Join(begun(), say(total))
}

// fetch is one client.
func fetch(ctx context.Context, args fetchArgs, i int, begun func() error) (out fetched, err error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", args.Addr)
	if err != nil {
		return out, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	in := bufio.NewReaderSize(conn, 64<<10)
	buf := make([]byte, 64<<10)
	for ctx.Err() == nil {
		p := args.Paths[i%len(args.Paths)]
		i++
		if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: bench\r\n%s\r\n", p, args.Header); err != nil {
			return out, err
		}
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			return out, err
		}
		n, err := io.CopyBuffer(onlyWriter{io.Discard}, resp.Body, buf)
		_ = resp.Body.Close()
		if err != nil {
			return out, err
		}
		if resp.StatusCode != http.StatusOK {
			return out, fmt.Errorf("%s: %s", p, resp.Status)
		}
		out.Requests++
		out.Bytes += uint64(n)
		if err := begun(); err != nil {
			return out, err
		}
	}
	return out, nil
}

// onlyWriter hides io.Discard's ReaderFrom, so that the client's buffer is used.
type onlyWriter struct{ io.Writer }

// hlsSegments compares what it costs to serve HLS segments with what it costs nginx to serve the same files.
func hlsSegments(ctx context.Context, e *env) (rs []Result, err error) {
	dir, err := e.newDir()
	if err != nil {
		return nil, err
	}
	root := filepath.Join(dir, "www")
	p, err := e.startServerIn(ctx, dir, map[string]string{
		"http.rootPath": root, "protocol.hls_save_path": root,
		// So many that none of the list disappears while it is fetched.
		"protocol.enable_hls": "1", "hls.segDur": "1", "hls.segNum": "4", "hls.segRetain": "600",
	})
	if err != nil {
		return nil, err
	}
	s, err := openStream(ctx, p, publishArgs{URL: protoRTMP.url(p.rtmp), Bitrate: e.bitrate})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	ours, err := s.segments(ctx)
	if err != nil {
		return nil, err
	}
	ours.Clients = e.hlsClients
	nginx, err := e.startNginx(ctx, func(_, dir, addr string) []byte {
		return fmt.Appendf(nil, fileServerConfig, dir, addr, root)
	})
	switch {
	case errors.Is(err, ErrNoNginx):
		return []Result{{Name: "hls_segments_ratio", Unit: "ratio", Skipped: err.Error()}}, nil
	case err != nil:
		return nil, err
	}
	defer func() { err = errors.Join(err, nginx.stop()) }()
	theirs := fetchArgs{Addr: nginx.rtmp, Paths: ours.Paths, Clients: e.hlsClients}
	rates, err := interleave(e.fanoutPairs, []func() (float64, error){
		func() (float64, error) { return e.segmentsPerCPU(ctx, p.pid(), ours) },
		func() (float64, error) { return e.segmentsPerCPU(ctx, nginx.pid(), theirs) },
	})
	if err != nil {
		return nil, err
	}
	note := fmt.Sprintf("segments for each second of CPU, to those of nginx, one process with sendfile, of the same %d files; %d "+
		"clients that fetch one after the other; higher is better", len(ours.Paths), e.hlsClients)
	return []Result{
		overPairs("hls_segments_ratio", "ratio", ratios(rates[0], rates[1]), note),
		overPairs("hls_segments_rate", "segments/CPU s", rates[0], "").against(middle(rates[1])),
	}, nil
}

// segmentsPerCPU measures a server while clients fetch.
func (e *env) segmentsPerCPU(ctx context.Context, pid int, args fetchArgs) (float64, error) {
	c, err := startChild(ctx, roleFetch, args)
	if err != nil {
		return 0, err
	}
	var begun bool
	if err := c.answer(&begun); err != nil {
		return 0, errors.Join(err, c.stop())
	}
	before, err := usageOf(pid)
	if err != nil {
		return 0, errors.Join(err, c.stop())
	}
	err = pause(ctx, e.fanoutFor)
	after, failed := usageOf(pid)
	var f fetched
	err = errors.Join(err, failed, c.finish(&f))
	switch cpu := after.less(before).cpu; {
	case err != nil:
		return 0, err
	case f.Failure != "":
		return 0, fmt.Errorf("%w: a client failed: %s", ErrNothing, f.Failure)
	case f.Requests == 0 || cpu <= 0:
		return 0, fmt.Errorf("%w: %d segments in %v of CPU", ErrNothing, f.Requests, cpu)
	default:
		return float64(f.Requests) / cpu.Seconds(), nil
	}
}

// segmentLimit bounds the wait for segments.
const segmentLimit = 2 * time.Minute

// segments waits until the list of the stream has some, and returns how a viewer fetches them.
func (s *scene) segments(ctx context.Context) (args fetchArgs, err error) {
	ctx, cancel := context.WithTimeout(ctx, segmentLimit)
	defer cancel()
	t := &http.Transport{DisableKeepAlives: true}
	defer t.CloseIdleConnections()
	list := "http://" + s.server.http + streamPath + "/hls.m3u8"
	cookie := ""
	for len(args.Paths) < 2 {
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return args, fmt.Errorf("%w: no segments: %w", ErrServer, err)
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, list, http.NoBody)
		if err != nil {
			return args, err
		}
		if cookie != "" {
			req.Header.Set("Cookie", cookie)
		}
		resp, err := t.RoundTrip(req)
		if err != nil {
			return args, err
		}
		for _, c := range resp.Cookies() {
			cookie = c.Name + "=" + c.Value
		}
		text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
		_ = resp.Body.Close()
		if err != nil {
			return args, err
		}
		args.Paths = nil
		for line := range bytes.Lines(text) {
			if name := strings.TrimSpace(string(line)); name != "" && name[0] != '#' {
				args.Paths = append(args.Paths, path.Join(streamPath, name))
			}
		}
	}
	args.Addr, args.Header = s.server.http, "Cookie: "+cookie+"\r\n"
	return args, nil
}

// fileServerConfig has one process that sends files.
const fileServerConfig = `daemon off;
master_process off;
pid %[1]s/nginx.pid;
error_log stderr error;
events { worker_connections 1024; }
http { access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000;
  client_body_temp_path %[1]s/a; proxy_temp_path %[1]s/b; fastcgi_temp_path %[1]s/c; uwsgi_temp_path %[1]s/d; scgi_temp_path %[1]s/e;
  server { listen %[2]s; root %[3]s; } }
`

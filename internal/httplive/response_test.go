package httplive

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/format/flv"
	"github.com/hookline/hookline/internal/pipenet"
	"github.com/hookline/hookline/internal/stream"
	"github.com/hookline/hookline/internal/stream/streamtest"
)

func newBench2(t *testing.T) *bench {
	t.Helper()
	return newBenchWith(t, func(s *httptest.Server) {
		s.EnableHTTP2 = true
		s.StartTLS()
	})
}

// play2 asks for a stream over HTTP/2.
func (b *bench) play2(t *testing.T, ctx context.Context, path string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.url+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	res, err := b.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	if res.ProtoMajor != 2 {
		t.Fatal(res.Proto)
	}
	return res
}

// await waits until n sessions are listed.
func (s *sessions) await(t *testing.T, n int) []Session {
	t.Helper()
	for deadline := time.Now().Add(streamtest.Patience); ; time.Sleep(time.Millisecond) {
		l := s.list()
		if len(l) == n {
			return l
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d sessions, want %d: %+v", len(l), n, l)
		}
	}
}

// stamps reads the times of all tags of sound, up to the end.
func stamps(body io.Reader) (at []time.Duration, err error) {
	r := flv.NewReader(body)
	for {
		tag, err := r.Next()
		if errors.Is(err, io.EOF) {
			return at, nil
		}
		if err != nil {
			return at, err
		}
		if tag.Type == flv.TagAudio {
			at = append(at, tag.Timestamp)
		}
	}
}

// TestShared: two requests on one connection of HTTP/2 play, each with a session of its own; the end of the stream is the end of the body.
func TestShared(t *testing.T) {
	b := newBench2(t)
	p := b.publish(t, "cam")
	pcma(t, p, 0, 5)
	all, late := b.play2(t, t.Context(), "/live/cam.live.flv"), b.play2(t, t.Context(), "/live/cam.live.flv?starPts=100")
	if h := all.Header; all.StatusCode != http.StatusOK || h.Get("Content-Type") != "video/x-flv" || h.Get("Cache-Control") != "no-store" || h.Get("Connection") != "" {
		t.Errorf("%+v", all)
	}
	l := b.list.await(t, 2)
	if !l[0].Shared || !l[1].Shared || l[0].ID == l[1].ID || l[0].PeerPort != l[1].PeerPort {
		t.Errorf("%+v", l)
	}
	pcma(t, p, 5, 5)
	p.Close(fact.EndUnpublish)
	for _, tc := range []struct {
		res  *http.Response
		want int
	}{{all, 10}, {late, 5}} {
		if at, err := stamps(tc.res.Body); err != nil || len(at) != tc.want || !slices.IsSorted(at) {
			t.Errorf("%v, %v, want %d", at, err, tc.want)
		}
	}
	b.list.await(t, 0)
	b.plane.mu.Lock()
	defer b.plane.mu.Unlock()
	if len(b.plane.asked) != 2 || b.plane.asked[0].Protocol != "https" {
		t.Errorf("%+v", b.plane.asked)
	}
	sent := uint64(0)
	for _, f := range b.plane.flows() {
		if f.Player {
			sent += f.TotalBytes
		}
	}
	if sent < 15*160 {
		t.Errorf("%d bytes are reported", sent)
	}
}

// TestSharedEnds: a client that leaves, is kicked, or finds no room disturbs nobody else on its connection.
func TestSharedEnds(t *testing.T) {
	b := newBench2(t)
	b.list.room = 3
	p := b.publish(t, "cam")
	pcma(t, p, 0, 5)
	stays := b.play2(t, t.Context(), "/live/cam.live.flv?stays")
	stayer := b.list.await(t, 1)[0].ID
	ctx, leave := context.WithCancel(t.Context())
	_ = b.play2(t, ctx, "/live/cam.live.flv")
	kicked := b.play2(t, t.Context(), "/live/cam.live.ts")
	if res := b.play2(t, t.Context(), "/live/cam.live.flv"); res.StatusCode != http.StatusServiceUnavailable {
		t.Error(res.Status)
	}
	b.list.await(t, 3)
	leave()
	for _, s := range b.list.await(t, 2) {
		if s.ID != stayer {
			s.Kick()
		}
	}
	if _, err := io.ReadAll(kicked.Body); err == nil {
		t.Error("a viewer that was kicked sees the end of the stream")
	}
	b.list.await(t, 1)
	for path, status := range map[string]int{"/live/none.live.flv": http.StatusNotFound, "/live/cam.live.flv?no": http.StatusUnauthorized} {
		if res := b.play2(t, t.Context(), path); res.StatusCode != status {
			t.Errorf("%s: %s", path, res.Status)
		}
	}
	pcma(t, p, 5, 1)
	p.Close(fact.EndUnpublish)
	if at, err := stamps(stays.Body); err != nil || len(at) != 6 {
		t.Errorf("%v, %v", at, err)
	}
}

// serve2 serves HTTP/2 over pipes, in virtual time.
func serve2(b *bench) (end func()) {
	l := pipenet.Listen()
	var p http.Protocols
	p.SetUnencryptedHTTP2(true)
	srv := &http.Server{Handler: b.handler, Protocols: &p, ReadHeaderTimeout: time.Minute}
	tr := &http.Transport{DialContext: l.Dial, Protocols: &p}
	b.url, b.client = "http://"+l.Addr().String(), &http.Client{Transport: tr}
	go func() { _ = srv.Serve(l) }()
	return func() {
		tr.CloseIdleConnections()
		_ = srv.Close()
		synctest.Wait()
	}
}

// TestSharedSlow: a client that takes nothing is cut after the time-out, and Close cuts one that waits. In virtual time, since a
// time-out that is short enough to wait for would hit whoever does not get the processor for so long.
func TestSharedSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const timeout = 8 * time.Second
		b := newStage(t, Config{WriteTimeout: timeout}, time.Minute, serve2)
		p := b.publish(t, "cam")
		pcma(t, p, 0, 5)
		slow := b.play2(t, t.Context(), "/live/cam.live.flv")
		begun := time.Now()
		for i := 5; len(b.list.list()) > 0 && time.Since(begun) < time.Hour; i += 500 { // nobody reads
			pcma(t, p, i, 500)
			time.Sleep(time.Second)
			synctest.Wait()
		}
		if d := time.Since(begun); d < timeout || d > 5*time.Minute {
			t.Errorf("cut after %v", d)
		}
		if _, err := io.Copy(io.Discard, slow.Body); err == nil {
			t.Error("what was cut looks complete")
		}
		waits := b.play2(t, t.Context(), "/live/cam.live.flv")
		b.handler.Close()
		if _, err := io.Copy(io.Discard, waits.Body); err == nil {
			t.Error("what was cut looks complete")
		}
		if res := b.play2(t, t.Context(), "/live/cam.live.flv"); res.StatusCode != http.StatusServiceUnavailable {
			t.Error(res.Status)
		}
	})
}

// TestResponse: blocks of every size arrive, and a writer that is late is kicked.
func TestResponse(t *testing.T) {
	rec := httptest.NewRecorder()
	out := &response{w: rec, control: http.NewResponseController(rec), timeout: time.Minute, late: time.AfterFunc(time.Hour, func() {})}
	n, err := out.Write(t.Context(), [][]byte{{1}, make([]byte, 600<<10), {2, 3}})
	if n != 600<<10+3 || err != nil || rec.Body.Len() != int(n) || !rec.Flushed {
		t.Error(n, err, rec.Body.Len())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if n, err := out.Write(ctx, [][]byte{{1}, {2}}); n != 1 || !errors.Is(err, context.Canceled) {
		t.Error(n, err)
	}
}

var _ stream.Outlet = (*response)(nil)

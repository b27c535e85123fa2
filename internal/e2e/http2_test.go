package e2e

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/format/flv"
)

// client2 speaks HTTP/2 and knows how many connections that takes.
type client2 struct {
	t    *testing.T
	base string
	http http.Client

	mu    sync.Mutex
	conns map[string]bool // by their addresses
}

func newClient2(t *testing.T, addr string, trust *tls.Config) *client2 {
	t.Helper()
	tr := &http.Transport{TLSClientConfig: trust.Clone(), ForceAttemptHTTP2: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &client2{t: t, base: "https://" + addr, http: http.Client{Transport: tr}, conns: map[string]bool{}}
}

// get asks for something, with header lines as names and values.
func (c *client2) get(ctx context.Context, path string, header ...string) (*http.Response, error) {
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.conns[i.Conn.LocalAddr().String()] = true
	}})
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := c.http.Do(req)
	if err == nil && res.ProtoMajor != 2 {
		_ = res.Body.Close()
		err = errors.New(res.Proto)
	}
	return res, err
}

// whole is get for an answer that has an end.
func (c *client2) whole(path string, header ...string) (status int, body string, err error) {
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	res, err := c.get(ctx, path, header...)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, string(b), err
}

// must is whole for what is there.
func (c *client2) must(path string, header ...string) (body string) {
	c.t.Helper()
	status, body, err := c.whole(path, header...)
	if err != nil || status/100 != 2 {
		c.t.Fatalf("%s: %d %v\n%s", path, status, err, body)
	}
	return body
}

// lastSegment is the number of the last whole segment of a playlist.
func lastSegment(t *testing.T, list string) int {
	t.Helper()
	m := regexp.MustCompile(`#EXT-X-MEDIA-SEQUENCE:(\d+)`).FindStringSubmatch(list)
	if m == nil {
		t.Fatal(list)
	}
	return atoi(t, m[1]) + strings.Count(list, "#EXTINF:") - 1
}

// TestHTTP2: everything that HTTPS serves is there over HTTP/2, on one connection at the same time: live streams, each of which is
// a session, playlists that are waited for, the API, parts of files. HTTP/1.1 is there for who does not speak it, or when
// http.http2 is 0.
func TestHTTP2(t *testing.T) {
	t.Parallel()
	file, trust := certificate(t)
	www := t.TempDir()
	if err := os.WriteFile(filepath.Join(www, "page.txt"), []byte("0123456789"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, r := serve(t, "tls.certificates", file, "rtmp.sslport", "0", "http.sslport", auto, "http.rootPath", www, "protocol.enable_hls_fmp4", "1",
		"hls.segDur", "4", "hls.segNum", "20", "hls.lowLatency", "1", "hls.partDur", "0.3") // who waits is sent away after three segments' time
	_, https := s.secure()
	c := newClient2(t, https, trust)
	publish(t, s.rtmpURL("two")).keep(t)

	live := map[string]io.Reader{}
	for _, format := range []string{"flv", "ts", "mp4"} {
		res, err := c.get(t.Context(), "/live/two.live."+format+"?as="+format)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		live[format] = res.Body
		r.await("on_play of "+format, 1, func(p *post) bool {
			return p.hook == event.OnPlay && p.json["protocol"] == "https" && p.body.Params == "as="+format
		})
		if _, err := io.ReadFull(res.Body, make([]byte, 1000)); err != nil {
			t.Error(format, err)
		}
	}
	if got := c.must("/page.txt", "Range", "bytes=2-4"); got != "234" {
		t.Errorf("%q", got)
	}
	waitTogether(t, c, "/live/two/hls.fmp4.m3u8")

	// Who is there: each stream, not the connection; one that is kicked ends alone.
	var sessions struct{ Data []map[string]any }
	if err := json.Unmarshal([]byte(c.must("/index/api/getAllSession?secret=e2e-secret")), &sessions); err != nil {
		t.Fatal(err)
	}
	viewers := 0
	for _, v := range sessions.Data {
		if v["typeid"] == "mediakit::HttpSession" {
			viewers++
		}
	}
	if viewers != 3 {
		t.Errorf("%v", sessions.Data)
	}
	var kicked struct{ Data []map[string]any }
	players := c.must("/index/api/getMediaPlayerList?secret=e2e-secret&vhost=__defaultVhost__&app=live&stream=two&schema=ts")
	if err := json.Unmarshal([]byte(players), &kicked); err != nil || len(kicked.Data) != 1 {
		t.Fatal(players, err)
	}
	c.must(fmt.Sprint("/index/api/kick_session?secret=e2e-secret&id=", kicked.Data[0]["identifier"]))
	if _, err := io.Copy(io.Discard, live["ts"]); err == nil {
		t.Error("who was kicked sees an end")
	}
	if a := s.call("close_streams", ofStream("two", "force", "1")...); a.Closed < 1 {
		t.Error(a)
	}
	if _, err := io.Copy(io.Discard, live["mp4"]); err != nil {
		t.Error("the end of a stream:", err)
	}
	for _, format := range []string{"flv", "ts", "mp4"} {
		r.accept(event.OnFlowReport, "two", ofPlayer, params("as="+format))
	}
	if len(c.conns) != 1 {
		t.Errorf("%d connections: %v", len(c.conns), c.conns)
	}
	if old := fetch(t, trust, "https://"+https+"/page.txt"); old != "0123456789" {
		t.Error(old)
	}
}

// waitTogether has several requests for a playlist wait on one connection, while others are answered.
func waitTogether(t *testing.T, c *client2, list string) {
	t.Helper()
	now := lastSegment(t, c.must(list))
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			query, want := fmt.Sprintf("?_HLS_msn=%d", now+1), now+1
			if i%2 == 1 {
				query, want = query+"&_HLS_part=0", now
			}
			status, body, err := c.whole(list + query)
			if err != nil || status != http.StatusOK {
				t.Errorf("%s: %d, %v", query, status, err)
			} else if got := lastSegment(t, body); got < want {
				t.Errorf("%s: the last segment is %d\n%s", query, got, body)
			}
		})
	}
	for range 5 {
		if got := c.must("/page.txt"); got != "0123456789" {
			t.Error(got)
		}
	}
	wg.Wait()
}

// TestHTTP2Off: with http.http2=0 nobody is offered HTTP/2.
func TestHTTP2Off(t *testing.T) {
	t.Parallel()
	file, trust := certificate(t)
	s, _ := serve(t, "tls.certificates", file, "rtmp.sslport", "0", "http.sslport", auto, "http.http2", "0")
	_, https := s.secure()
	_, err := newClient2(t, https, trust).get(t.Context(), "/healthz")
	if err == nil || err.Error() != "HTTP/1.1" {
		t.Error(err)
	}
}

// TestHTTP2Curl: curl asks for HTTP/2, and gets a live stream up to its end.
func TestHTTP2Curl(t *testing.T) {
	t.Parallel()
	file, _ := certificate(t)
	s, r := serve(t, "tls.certificates", file, "rtmp.sslport", "0", "http.sslport", auto)
	_, https := s.secure()
	out := filepath.Join(t.TempDir(), "out.flv")
	player := runTool(t, "curl", "-sS", "--http2", "--cacert", file, "-w", "%{http_version} %{http_code}", "-o", out, "https://"+https+"/live/c.live.flv")
	r.await("the player", 1, func(p *post) bool { return p.hook == event.OnStreamNotFound })
	p := publish(t, s.rtmpURL("c"))
	p.unpublish(t)
	if got := player.output(); got != "2 200" {
		t.Error(got)
	}
	f, err := os.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	media := 0
	for r := flv.NewReader(f); ; {
		tag, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if tag.Type != flv.TagData {
			media++
		}
	}
	if want := len(p.clip.media); media < want {
		t.Errorf("%d tags of %d", media, want)
	}
}

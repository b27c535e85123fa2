package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/textproto"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hookline/hookline/internal/ordercheck"
	"github.com/hookline/hookline/internal/rtmp"
)

const (
	soakSteady  = 4  // publishers that stay, each with a viewer of every protocol that stays
	soakComing  = 8  // publishers that come and go
	soakGuests  = 16 // viewers that come and go
	soakSamples = 40 // of what the server uses
)

// soak is a server under a load that changes all the time.
type soak struct {
	t      *testing.T
	s      *server
	rtsp   string // address
	ctx    context.Context
	wg     sync.WaitGroup
	loads  atomic.Int64 // publications and guests that ended
	steady []*steadyViewer
}

// steadyViewer is a viewer that stays.
type steadyViewer struct {
	name string
	got  atomic.Int64 // bytes
	gone atomic.Pointer[error]
}

// TestSoak keeps a server busy with publishers and viewers of all protocols that come and go, in good order and not, and
// looks at its memory, goroutines and descriptors: they are no more at the end than at the beginning, and as few as before
// when everybody has left. Viewers that stay always get their stream. HOOKLINE_E2E_SOAK is its duration, 15 s without.
func TestSoak(t *testing.T) {
	length := 15 * time.Second
	if v := os.Getenv("HOOKLINE_E2E_SOAK"); v != "" {
		d, err := time.ParseDuration(v)
		if err != nil || d < time.Second {
			t.Fatalf("HOOKLINE_E2E_SOAK=%s: want a duration of at least 1s", v)
		}
		length = d
	}
	r := newReceiverWith(t, ordercheck.Options{}, true)
	s := start(t, quick().endpoint(r).with("server.state_dir", stateDir(t), "protocol.enable_hls", "1", "hls.segDur", "1"))
	m := regexp.MustCompile(`msg="hookline is up".* rtsp=(\S+)`).FindStringSubmatch(s.log.String())
	if m == nil {
		t.Fatalf("no RTSP address:\n%s", s.log)
	}
	before := s.usage(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	k := &soak{t: t, s: s, rtsp: m[1], ctx: ctx}
	k.begin(theClip(t))
	eventually(t, "everybody is there", func() bool { return k.loads.Load() > 2*(soakComing+soakGuests) })
	k.goesOn() // so that those who stay have all begun, too
	uses := k.watch(length)
	k.goesOn()
	cancel()
	k.wg.Wait()
	t.Logf("%v, %d publications and guests; at first %+v, at last %+v, before %+v", length, k.loads.Load(), uses[0], uses[len(uses)-1], before)
	flat(t, uses[len(uses)/4:])
	after := s.usage(t)
	for end := time.Now().Add(patience); after.goroutines > before.goroutines+10 && time.Now().Before(end); after = s.usage(t) {
		time.Sleep(200 * time.Millisecond)
	}
	if after.goroutines > before.goroutines+10 {
		t.Errorf("%d goroutines after everybody has left, %d before", after.goroutines, before.goroutines)
	}
	s.stop()
}

// flat demands that the median of the last third is hardly above that of the first.
func flat(t *testing.T, uses []use) {
	t.Helper()
	third := max(len(uses)/3, 1)
	middle := func(part []use, get func(use) int) int {
		var all []int
		for _, u := range part {
			all = append(all, get(u))
		}
		slices.Sort(all)
		return all[len(all)/2]
	}
	for _, c := range []struct {
		what string
		get  func(use) int
		more int // that chance may bring, beside a quarter
	}{
		{"goroutines", func(u use) int { return u.goroutines }, 30},
		{"bytes alive", func(u use) int { return u.heap }, 8 << 20},
		{"descriptors", func(u use) int { return u.fds }, 30},
	} {
		first, last := middle(uses[:third], c.get), middle(uses[len(uses)-third:], c.get)
		t.Logf("%s: %d, %d at the end", c.what, first, last)
		if last > first+first/4+c.more {
			t.Errorf("%s grow from %d to %d", c.what, first, last)
		}
	}
}

// use is what a server says it uses.
type use struct{ goroutines, heap, fds int }

// usage reads the server's metrics.
func (p *server) usage(t *testing.T) (u use) {
	t.Helper()
	var text []byte
	eventually(t, "/metrics answers", func() bool { // while others ask, or it takes long, it does not
		res := get(t, "http://"+p.http+"/metrics")
		var err error
		text, err = io.ReadAll(res.Body)
		return err == nil && res.StatusCode == http.StatusOK
	})
	number := func(name string) int {
		m := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindSubmatch(text)
		if m == nil {
			t.Fatalf("no %s in /metrics", name)
		}
		f, err := strconv.ParseFloat(string(m[1]), 64)
		if err != nil {
			t.Fatal(err)
		}
		return int(f)
	}
	// The size at which garbage is collected next is twice what was alive after the last time; how much of it is used at
	// the moment says nothing.
	return use{number("go_goroutines"), number("go_memstats_next_gc_bytes") / 2, number("process_open_fds")}
}

// begin starts everybody.
func (k *soak) begin(c *clip) {
	for i := range soakSteady {
		publish(k.t, k.s.rtmpURL(fmt.Sprintf("steady%d", i))).keep(k.t)
		for _, protocol := range protocols() {
			v := &steadyViewer{name: fmt.Sprintf("%s of steady%d", protocol, i)}
			k.steady = append(k.steady, v)
			k.wg.Go(func() {
				err := k.view(k.ctx, protocol, fmt.Sprintf("steady%d", i), &v.got, time.Hour)
				v.gone.Store(&err)
			})
		}
	}
	for i := range soakComing {
		k.wg.Go(func() {
			for k.ctx.Err() == nil {
				k.publishOnce(c, fmt.Sprintf("coming%d", i))
				k.loads.Add(1)
			}
		})
	}
	for range soakGuests {
		k.wg.Go(func() {
			for k.ctx.Err() == nil {
				k.visit()
				k.loads.Add(1)
			}
		})
	}
}

// watch looks at the server, and at who stays, until length is over.
func (k *soak) watch(length time.Duration) (uses []use) {
	type seen struct {
		got int64
		at  time.Time
	}
	last := make([]seen, len(k.steady))
	for i := range last {
		last[i].at = time.Now()
	}
	for range soakSamples {
		time.Sleep(length / soakSamples)
		uses = append(uses, k.s.usage(k.t))
		for i, v := range k.steady {
			if gone := v.gone.Load(); gone != nil {
				k.t.Fatalf("%s has ended: %v", v.name, *gone)
			}
			if got := v.got.Load(); got > last[i].got {
				last[i] = seen{got, time.Now()}
			} else if time.Since(last[i].at) > patience+length/soakSamples {
				k.t.Fatalf("%s got nothing since %v", v.name, last[i].at)
			}
		}
	}
	return uses
}

// goesOn waits until everybody who stays gets more than before.
func (k *soak) goesOn() {
	k.t.Helper()
	for _, v := range k.steady {
		before := v.got.Load()
		eventually(k.t, v.name+" goes on", func() bool {
			if gone := v.gone.Load(); gone != nil {
				k.t.Fatalf("%s has ended: %v", v.name, *gone)
			}
			return v.got.Load() > before
		})
	}
}

// publishOnce publishes for a moment and ends in one of several ways.
func (k *soak) publishOnce(c *clip, stream string) {
	ctx, cancel := context.WithTimeout(k.ctx, patience)
	defer cancel()
	client, err := rtmp.Dial(ctx, k.s.rtmpURL(stream))
	if err != nil {
		return
	}
	p := &publisher{Client: client, clip: c}
	defer p.Close()
	if p.Publish(ctx) != nil {
		return
	}
	for range 1 + rand.IntN(80) {
		if p.send(1+rand.IntN(4)) != nil {
			return
		}
		rest(ctx, 20*time.Millisecond)
	}
	switch rand.IntN(3) {
	case 0:
		_ = p.Reset()
	case 1:
		_ = p.Unpublish(ctx)
	}
}

// visit watches some stream for a moment, or asks for one that is not there, or takes it and does not read.
func (k *soak) visit() {
	stream := fmt.Sprintf("steady%d", rand.IntN(soakSteady))
	switch rand.IntN(8) {
	case 0, 1, 2:
		stream = fmt.Sprintf("coming%d", rand.IntN(soakComing))
	case 3:
		stream = "nobody"
	}
	all := protocols()
	stay := 50*time.Millisecond + time.Duration(rand.Int64N(int64(2*time.Second)))
	ctx, cancel := context.WithTimeout(k.ctx, stay)
	defer cancel()
	if rand.IntN(6) == 0 {
		k.stall(ctx, stream)
		return
	}
	var got atomic.Int64
	_ = k.view(ctx, all[rand.IntN(len(all))], stream, &got, stay)
}

// stall asks for a stream and reads nothing.
func (k *soak) stall(ctx context.Context, stream string) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", k.s.http)
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = fmt.Fprintf(conn, "GET /live/%s.live.flv HTTP/1.1\r\nHost: a\r\n\r\n", stream)
	<-ctx.Done()
}

func protocols() []string { return []string{"rtmp", "flv", "ts", "mp4", "rtsp", "hls"} }

// view counts what a viewer gets until ctx ends, which is no error.
func (k *soak) view(ctx context.Context, protocol, stream string, got *atomic.Int64, stay time.Duration) (err error) {
	switch protocol {
	case "rtmp":
		err = k.viewRTMP(ctx, stream, got)
	case "rtsp":
		err = k.viewRTSP(ctx, stream, got, stay)
	case "hls":
		err = k.viewHLS(ctx, stream, got)
	default:
		err = k.viewHTTP(ctx, k.s.liveURL(stream, protocol), got)
	}
	if ctx.Err() != nil {
		return nil
	}
	return errors.Join(err, errors.New("the stream has ended"))
}

func (k *soak) viewRTMP(ctx context.Context, stream string, got *atomic.Int64) error {
	c, err := rtmp.Dial(ctx, k.s.rtmpURL(stream))
	if err != nil {
		return err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	if err := c.Play(ctx); err != nil {
		return err
	}
	for {
		m, err := c.Read()
		if err != nil {
			return err
		}
		got.Add(int64(len(m.Body)))
	}
}

// counter counts what is written to it.
type counter struct{ n *atomic.Int64 }

// Write implements io.Writer.
func (c counter) Write(p []byte) (int, error) {
	c.n.Add(int64(len(p)))
	return len(p), nil
}

func (k *soak) viewHTTP(ctx context.Context, url string, got *atomic.Int64) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	t := &http.Transport{DisableKeepAlives: true}
	defer t.CloseIdleConnections()
	resp, err := t.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	_, err = io.Copy(counter{got}, resp.Body)
	return err
}

// viewHLS asks for the list again and again, and for the newest segment in it.
func (k *soak) viewHLS(ctx context.Context, stream string, got *atomic.Int64) error {
	base := "http://" + k.s.http + "/live/" + stream + "/"
	newest := ""
	for ctx.Err() == nil {
		asked := time.Now()
		list, err := k.fetch(ctx, base+"hls.m3u8")
		if err != nil {
			return err
		}
		lines := strings.Split(strings.TrimSpace(list), "\n")
		if segment := lines[len(lines)-1]; segment != newest && strings.Contains(segment, ".ts") {
			newest = segment
			content, err := k.fetch(ctx, base+segment)
			if time.Since(asked) > 5*time.Second && err != nil {
				continue // it is gone by right
			}
			if err != nil {
				return err
			}
			got.Add(int64(len(content)))
		}
		rest(ctx, 300*time.Millisecond)
	}
	return ctx.Err()
}

func (k *soak) fetch(ctx context.Context, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", url, resp.Status)
	}
	return string(text), err
}

// viewRTSP plays the first track over TCP.
func (k *soak) viewRTSP(ctx context.Context, stream string, got *atomic.Int64, stay time.Duration) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", k.rtsp)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	url := "rtsp://" + k.rtsp + "/live/" + stream
	in := textproto.NewReader(bufio.NewReader(conn))
	session := ""
	for i, ask := range []string{
		"DESCRIBE " + url + " RTSP/1.0\r\nAccept: application/sdp\r\n",
		"SETUP " + url + "/trackID=0 RTSP/1.0\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n",
		"PLAY " + url + " RTSP/1.0\r\n",
	} {
		if session != "" {
			ask += "Session: " + session + "\r\n"
		}
		if _, err := fmt.Fprintf(conn, "%sCSeq: %d\r\n\r\n", ask, i+1); err != nil {
			return err
		}
		status, err := in.ReadLine()
		if err != nil {
			return err
		}
		header, err := in.ReadMIMEHeader()
		if err != nil {
			return err
		}
		if !strings.Contains(status, " 200 ") {
			return errors.New(status)
		}
		session, _, _ = strings.Cut(header.Get("Session"), ";")
		n, _ := strconv.ParseInt(header.Get("Content-Length"), 10, 32)
		if _, err := io.CopyN(io.Discard, in.R, n); err != nil {
			return err
		}
	}
	if stay > 10*time.Second { // the server ends sessions of which it hears nothing
		alive := func() {
			_, _ = fmt.Fprintf(conn, "OPTIONS %s RTSP/1.0\r\nCSeq: 9\r\nSession: %s\r\n\r\n", url, session)
		}
		tick := time.NewTicker(5 * time.Second)
		defer tick.Stop()
		k.wg.Go(func() {
			for {
				select {
				case <-tick.C:
					alive()
				case <-ctx.Done():
					return
				}
			}
		})
	}
	_, err = io.Copy(counter{got}, in.R)
	return err
}

// rest waits.
func rest(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

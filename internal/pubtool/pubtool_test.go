package pubtool_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/leaktest"
	"github.com/hookline/hookline/internal/pubtool"
	"github.com/hookline/hookline/internal/pubtool/pubtest"
	"github.com/hookline/hookline/internal/queue/queuetest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

func run(t *testing.T, cfg pubtool.Config) pubtool.Result {
	t.Helper()
	res, err := pubtool.Run(t.Context(), cfg)
	if err != nil {
		t.Fatalf("Run: %v", err)
	}
	return res
}

// reasons returns why the server says that publications ended, when it has told of n.
func reasons(t *testing.T, s *pubtest.Server, n int) map[fact.EndReason]int {
	t.Helper()
	for len(s.Ended()) < n {
		select {
		case <-t.Context().Done():
			t.Fatalf("%d of %d publications ended", len(s.Ended()), n)
		case <-time.After(time.Millisecond):
		}
	}
	got := map[fact.EndReason]int{}
	for _, e := range s.Ended() {
		got[e.Reason]++
	}
	return got
}

func TestOneGenerated(t *testing.T) {
	s := pubtest.Start(t)
	var out bytes.Buffer
	res := run(t, pubtool.Config{URL: s.RTMP + "/live/cam?token=1", Life: time.Second, Out: &out})
	if res.Accepted != 1 || len(res.Publications) != 1 || res.Ends[pubtool.EndUnpublish] != 1 {
		t.Fatalf("%+v", res)
	}
	p := res.Publications[0]
	// 25 pictures, 32 sounds of 32 ms, 3 headers.
	if p.Key != "live/cam" || p.Messages != 25+32+3 || p.Bytes == 0 || p.Bytes != res.Bytes || p.Error != "" {
		t.Errorf("%+v", p)
	}
	if want := "token=1&pub=" + p.ID; p.Params != want || !slices.Equal(s.Asked(), []string{want}) {
		t.Errorf("params %q, the server has %q", p.Params, s.Asked())
	}
	if p.Started.After(p.Accepted) || p.Accepted.After(p.Ended) {
		t.Errorf("times: %+v", p)
	}
	if got := reasons(t, s, 1); got[fact.EndUnpublish] != 1 {
		t.Errorf("the server says %v", got)
	}
	if line := out.String(); !strings.Contains(line, "1 published") || strings.Count(line, "\n") != 1 {
		t.Errorf("progress %q", line)
	}
	if raw, err := json.Marshal(res); err != nil || !strings.Contains(string(raw), `"end":"unpublish"`) {
		t.Errorf("%s %v", raw, err)
	}
}

func TestChurn(t *testing.T) {
	s := pubtest.Start(t)
	var mu sync.Mutex
	var accepted, over []string
	res := run(t, pubtool.Config{
		URL: s.RTMP + "/live/cam", Streams: 4, Concurrency: 2, Churn: true, Count: 30,
		Life: 100 * time.Millisecond, LifeJitter: 100 * time.Millisecond,
		ResetRate: 0.3, HalfCloseRate: 0.3, Seed: 7,
		OnAccepted:    func(p pubtool.Publication) { mu.Lock(); accepted = append(accepted, p.ID); mu.Unlock() },
		OnPublication: func(p pubtool.Publication) { mu.Lock(); over = append(over, p.ID); mu.Unlock() },
	})
	if len(res.Publications) != 30 || res.Unreachable != 0 {
		t.Fatalf("%+v", res)
	}
	keys, ids := map[string]int{}, map[string]bool{}
	for _, p := range res.Publications {
		keys[p.Key]++
		ids[p.ID] = true
	}
	if len(ids) != 30 || len(over) != 30 || len(accepted) != res.Accepted {
		t.Errorf("%d ids, %d over, %d accepted of %d", len(ids), len(over), len(accepted), res.Accepted)
	}
	if want := []string{"live/cam_1", "live/cam_2", "live/cam_3", "live/cam_4"}; !slices.Equal(slices.Sorted(maps.Keys(keys)), want) {
		t.Errorf("keys %v", keys)
	}
	for _, end := range []pubtool.End{pubtool.EndUnpublish, pubtool.EndReset, pubtool.EndHalfClose} {
		if res.Ends[end] == 0 {
			t.Errorf("none ended by %s: %v", end, res.Ends)
		}
	}
	got := reasons(t, s, res.Accepted)
	if got[fact.EndUnpublish] != res.Ends[pubtool.EndUnpublish] ||
		got[fact.EndConnectionLost] != res.Ends[pubtool.EndReset]+res.Ends[pubtool.EndHalfClose] {
		t.Errorf("the server says %v, we %v", got, res.Ends)
	}
}

// TestPlanFollowsTheSeed: the same seed gives the same ends, whatever the timing.
func TestPlanFollowsTheSeed(t *testing.T) {
	s := pubtest.Start(t)
	ends := func() []string {
		res := run(t, pubtool.Config{
			URL: s.RTMP + "/live/cam", Streams: 10, Life: 40 * time.Millisecond, ResetRate: 0.5, Seed: 3,
		})
		var l []string
		for _, p := range res.Publications {
			l = append(l, p.Key+" "+string(p.End))
		}
		slices.Sort(l)
		reasons(t, s, len(s.Asked())) // the keys are free again
		return l
	}
	if a, b := ends(), ends(); !slices.Equal(a, b) {
		t.Errorf("%v\n%v", a, b)
	}
}

func TestRealtimeTakesItsTime(t *testing.T) {
	s := pubtest.Start(t)
	const life = 300 * time.Millisecond
	res := run(t, pubtool.Config{URL: s.RTMP + "/live/cam", Life: life, Realtime: true})
	if res.Elapsed < life {
		t.Errorf("%v of media took %v", life, res.Elapsed)
	}
}

func TestStoppedWhileLive(t *testing.T) {
	s := pubtest.Start(t)
	ctx, cancel := context.WithCancel(t.Context())
	res, err := pubtool.Run(ctx, pubtool.Config{
		URL: s.RTMP + "/live/cam", Realtime: true, OnAccepted: func(pubtool.Publication) { cancel() },
	})
	if err != nil || res.Ends[pubtool.EndUnpublish] != 1 {
		t.Errorf("%+v %v", res, err)
	}
	if got := reasons(t, s, 1); got[fact.EndUnpublish] != 1 {
		t.Errorf("the server says %v", got)
	}
}

func TestRefused(t *testing.T) {
	s := pubtest.Start(t)
	s.Refuse("not you")
	res, err := pubtool.Run(t.Context(), pubtool.Config{URL: s.RTMP + "/live/cam", Realtime: true})
	if !errors.Is(err, pubtool.ErrFailed) || !strings.Contains(err.Error(), "not you") {
		t.Errorf("error %v", err)
	}
	if len(res.Publications) != 1 {
		t.Fatalf("%+v", res)
	}
	if p := res.Publications[0]; p.End != pubtool.EndRefused || p.Code != "NetStream.Publish.BadAuth" && p.Code != "NetStream.Publish.Denied" || !p.Accepted.IsZero() {
		t.Errorf("%+v", p)
	}
	// A refusal is a publication of Count, so that a server that refuses everything is not asked for ever.
	res, err = pubtool.Run(t.Context(), pubtool.Config{
		URL: s.RTMP + "/live/cam", Churn: true, Count: 3, Life: time.Millisecond,
	})
	if !errors.Is(err, pubtool.ErrFailed) || res.Ends[pubtool.EndRefused] != 3 {
		t.Errorf("%+v %v", res, err)
	}
}

func TestClosedByTheServer(t *testing.T) {
	s := pubtest.Start(t)
	accepted := make(chan struct{})
	go func() {
		<-accepted
		s.Stop(t)
	}()
	res, err := pubtool.Run(t.Context(), pubtool.Config{
		URL: s.RTMP + "/live/cam", Realtime: true, OnAccepted: func(pubtool.Publication) { close(accepted) },
	})
	if !errors.Is(err, pubtool.ErrFailed) || res.Ends[pubtool.EndLost] != 1 {
		t.Errorf("%+v %v", res, err)
	}
}

// loopback returns an address that nobody else gets, and where nobody listens.
func loopback(t *testing.T) string {
	t.Helper()
	return fmt.Sprintf("127.0.0.1:%d", queuetest.FreePort(t))
}

// TestRestart: with Churn a server that is away costs time, not publications.
func TestRestart(t *testing.T) {
	s := pubtest.StartAt(t, loopback(t))
	lost := make(chan struct{}, 100)
	var out bytes.Buffer
	done := make(chan struct{})
	var res pubtool.Result
	var err error
	first := make(chan struct{}, 100)
	go func() {
		defer close(done)
		res, err = pubtool.Run(t.Context(), pubtool.Config{
			URL: s.RTMP + "/live/cam", Churn: true, Count: 3, Life: 200 * time.Millisecond, Realtime: true, Out: &out,
			OnAccepted: func(pubtool.Publication) { first <- struct{}{} },
			OnPublication: func(p pubtool.Publication) {
				if p.End != pubtool.EndUnpublish {
					lost <- struct{}{}
				}
			},
		})
	}()
	<-first
	s.Stop(t)
	<-lost
	pubtest.StartAt(t, s.Addr())
	<-done
	if err != nil || res.Accepted != 3 || res.Ends[pubtool.EndUnpublish] != 2 || res.Ends[pubtool.EndLost] != 1 {
		t.Errorf("%+v %v", res, err)
	}
}

func TestUnreachable(t *testing.T) {
	res, err := pubtool.Run(t.Context(), pubtool.Config{URL: "rtmp://" + loopback(t) + "/live/cam", Streams: 2, Realtime: true})
	if !errors.Is(err, pubtool.ErrFailed) || res.Unreachable != 2 || len(res.Publications) != 0 {
		t.Errorf("%+v %v", res, err)
	}
}

// TestSilentServer: nothing waits for ever.
func TestSilentServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	res, err := pubtool.Run(t.Context(), pubtool.Config{
		URL: "rtmp://" + l.Addr().String() + "/live/cam", Realtime: true, Timeout: 50 * time.Millisecond,
	})
	if !errors.Is(err, pubtool.ErrFailed) || res.Unreachable != 1 {
		t.Errorf("%+v %v", res, err)
	}
}

func TestFile(t *testing.T) {
	const sample = "sample.flv" // 100 pictures, 125 sounds, 2 sequence headers, an end of sequence, metadata
	s := pubtest.Start(t)
	res := run(t, pubtool.Config{URL: s.RTMP + "/live/file", File: sample})
	if p := res.Publications[0]; p.End != pubtool.EndUnpublish || p.Messages != 100+125+2+1+1 {
		t.Errorf("%+v", p)
	}
	// A life that is longer than the file lets it begin again.
	res = run(t, pubtool.Config{URL: s.RTMP + "/live/loop", File: sample, Life: 6 * time.Second})
	if p := res.Publications[0]; p.End != pubtool.EndUnpublish || p.Messages < 300 || p.Messages > 360 {
		t.Errorf("%+v", p)
	}
}

func TestBadFiles(t *testing.T) {
	s := pubtest.Start(t)
	whole, err := os.ReadFile("sample.flv")
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, data []byte) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, c := range []struct{ file, want string }{
		{filepath.Join(t.TempDir(), "none.flv"), "no such file"},
		{write("text.flv", []byte("this is no video at all")), "not an FLV file"},
		{write("empty.flv", whole[:13]), "neither audio nor video"},
		{write("zero.flv", nil), "EOF"},
		{t.TempDir(), "directory"},
	} {
		for _, life := range []time.Duration{0, time.Second} {
			res, err := pubtool.Run(t.Context(), pubtool.Config{URL: s.RTMP + "/live/cam", File: c.file, Life: life})
			if err == nil || !strings.Contains(err.Error(), c.want) || len(res.Publications) != 0 {
				t.Errorf("%s: %+v %v", c.file, res, err)
			}
		}
	}
	cut := write("cut.flv", whole[:len(whole)-10])
	res, err := pubtool.Run(t.Context(), pubtool.Config{URL: s.RTMP + "/live/cam", File: cut})
	if !errors.Is(err, pubtool.ErrFailed) || res.Ends[pubtool.EndSource] != 1 {
		t.Errorf("%+v %v", res, err)
	}
	if got := reasons(t, s, 1); got[fact.EndUnpublish] != 1 {
		t.Errorf("the server says %v", got)
	}
}

func TestBadConfigs(t *testing.T) {
	const url = "rtmp://127.0.0.1/live/cam"
	for _, c := range []struct {
		cfg  pubtool.Config
		want string
	}{
		{pubtool.Config{URL: "http://x/live/cam", Realtime: true}, "rtmp://host/app/stream"},
		{pubtool.Config{URL: "rtmp://x/live", Realtime: true}, "rtmp://host/app/stream"},
		{pubtool.Config{URL: url}, "without real time"},
		{pubtool.Config{URL: url, Realtime: true, Churn: true}, "needs a life"},
		{pubtool.Config{URL: url, Realtime: true, Streams: -1}, "streams"},
		{pubtool.Config{URL: url, Realtime: true, Streams: pubtool.MaxStreams + 1}, "streams"},
		{pubtool.Config{URL: url, Realtime: true, Concurrency: -1}, "concurrency"},
		{pubtool.Config{URL: url, Realtime: true, Life: -1}, "negative"},
		{pubtool.Config{URL: url, Realtime: true, ResetRate: 0.6, HalfCloseRate: 0.6}, "rate"},
		{pubtool.Config{URL: url, Realtime: true, Bitrate: pubtool.MaxBitrate + 1}, "bit rate"},
		{pubtool.Config{URL: url, Realtime: true, Bitrate: 1, File: "x.flv"}, "bit rate"},
	} {
		if _, err := pubtool.Run(t.Context(), c.cfg); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c.cfg, err)
		}
	}
}

func TestBitrate(t *testing.T) {
	s := pubtest.Start(t)
	for _, want := range []int{200_000, 2_100_000} {
		res := run(t, pubtool.Config{URL: fmt.Sprintf("%s/live/b%d", s.RTMP, want), Life: 8 * time.Second, Bitrate: want})
		got := float64(res.Bytes) * 8 / 8
		if got < float64(want)*0.99 || got > float64(want)*1.01 {
			t.Errorf("%d bit/s: %.0f", want, got)
		}
	}
}

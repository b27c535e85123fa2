package stream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/media"
)

// settled checks that nothing is left of what a hub has done, and holds its facts against the contract.
func settled(t *testing.T, w *world, hub *Hub) {
	t.Helper()
	if err := hub.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if st := hub.Stats(); st != (Stats{}) || len(hub.streams) != 0 || len(hub.pubs) != 0 || len(hub.lingering) != 0 {
		t.Errorf("left over: %+v, %d streams, %d publications", st, len(hub.streams), len(hub.pubs))
	}
	if n := w.open(); n != 0 {
		t.Errorf("%d admissions were not given back", n)
	}
	checkCausality(t, w.take())
}

// patientWorld resumes publications for d.
func patientWorld(d time.Duration) *world {
	w := newWorld()
	w.publish = func(context.Context, PublishQuestion) PublishVerdict {
		v := PublishVerdict{Outcome: fact.Outcome{Allowed: true, By: "hook"}, Options: defaultOptions()}
		v.Options.ContinuePush = d
		return v
	}
	return w
}

// reporting is the default, with a report for every session.
func reporting() Config {
	cfg := DefaultConfig()
	cfg.FlowThreshold = 0
	return cfg
}

func picture(at time.Duration, key bool) *media.Frame {
	return &media.Frame{Track: videoTrack("V"), DTS: at, PTS: at, Key: key, Data: make([]byte, 10)}
}

// TestReconnectStorm: a thousand encoders lose their connection at the same moment and come back, all at once and again
// and again, some after others have taken their place. No publication is lost, doubled, or ended for the wrong reason.
func TestReconnectStorm(t *testing.T) {
	const keys, rounds = 200, 5
	synctest.Test(t, func(t *testing.T) {
		w := patientWorld(10 * time.Second)
		hub := New(reporting(), w, w, textFormats())
		var wg sync.WaitGroup
		ids := make([]map[string]bool, keys)
		for i := range keys {
			ids[i] = map[string]bool{}
			var mu sync.Mutex // guards ids[i]
			for range 5 {     // encoders that fight for the key
				wg.Go(func() {
					for round := 0; round < rounds; {
						var n atomic.Uint64
						p, err := hub.Publish(t.Context(), PublishRequest{MediaInfo: named(fmt.Sprint("cam", i)), Bytes: &n})
						if errors.Is(err, ErrBusy) {
							time.Sleep(time.Second)
							continue
						}
						if err != nil {
							t.Error(err)
							return
						}
						mu.Lock()
						ids[i][p.Publication()] = true
						mu.Unlock()
						p.Metadata(nil, true, false, 0, 0, 0)
						if err := p.WriteFrame(picture(0, true)); err != nil {
							t.Error(err)
						}
						time.Sleep(time.Second)
						p.Close(fact.EndConnectionLost)
						round++
					}
				})
			}
		}
		wg.Wait()
		time.Sleep(time.Minute)
		synctest.Wait()
		ended := 0
		facts := w.take()
		for _, f := range facts {
			if e, ok := f.(*fact.PublicationEnded); ok {
				ended++
				if e.Reason != fact.EndConnectionLost {
					t.Error(show(e))
				}
			}
		}
		for i := range ids {
			if len(ids[i]) != 1 {
				t.Errorf("%d publications of a key that was never free", len(ids[i]))
			}
		}
		if ended != keys {
			t.Errorf("%d publications ended, not %d", ended, keys)
		}
		checkCausality(t, facts)
		settled(t, w, hub)
	})
}

// TestThousandPublications has a thousand publications begin and end within a second, with a viewer each, who waits for
// some of them and comes to others.
func TestThousandPublications(t *testing.T) {
	const n = 1000
	synctest.Test(t, func(t *testing.T) {
		w := patientWorld(0)
		hub := New(reporting(), w, w, textFormats())
		var wg sync.WaitGroup
		var played atomic.Int64
		for i := range n {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * time.Millisecond / 2)
				name := fmt.Sprint("s", i/2) // two lives each
				p, err := hub.Publish(t.Context(), PublishRequest{MediaInfo: named(name)})
				for errors.Is(err, ErrBusy) {
					time.Sleep(10 * time.Millisecond)
					p, err = hub.Publish(t.Context(), PublishRequest{MediaInfo: named(name)})
				}
				if err != nil {
					t.Error(err)
					return
				}
				p.Metadata(nil, true, false, 0, 0, 0)
				for j := range 10 {
					if err := p.WriteFrame(picture(time.Duration(j)*40*ms, j == 0)); err != nil {
						t.Error(err)
					}
					time.Sleep(20 * time.Millisecond)
				}
				p.Close(fact.EndUnpublish)
			})
			wg.Go(func() {
				time.Sleep(time.Duration((i*7)%n) * time.Millisecond / 2)
				v, err := hub.Play(t.Context(), PlayRequest{MediaInfo: named(fmt.Sprint("s", i/2)), Format: "rtmp"})
				if err != nil {
					if !errors.Is(err, ErrNotFound) {
						t.Error(err)
					}
					return
				}
				defer v.Close()
				m := &moody{t: t}
				if err := v.Serve(t.Context(), m); !errors.Is(err, ErrEnded) {
					t.Error(err)
				}
				if s := m.text(); !strings.HasPrefix(s, "<H264:V>K0 ") || !strings.HasSuffix(s, "v360 ") {
					t.Errorf("a viewer got %q", s)
				}
				played.Add(1)
			})
		}
		wg.Wait()
		if played.Load() < n/2 {
			t.Errorf("%d viewers of %d played", played.Load(), n)
		}
		settled(t, w, hub)
	})
}

// TestEveryInterleaving runs a publisher and two viewers of one key in every order of their steps.
func TestEveryInterleaving(t *testing.T) {
	actors := [][]string{
		{"publish A cam", "meta A v", "write A cV k0 v40", "close A unpublish"},
		{"play v1 cam rtmp", "read v1", "leave v1"},
		{"play v2 cam flv", "leave v2"},
	}
	runs := 0
	var order func(done []int, script []string)
	order = func(done []int, script []string) {
		left := false
		for i, steps := range actors {
			if done[i] == len(steps) {
				continue
			}
			left = true
			next := slices.Clone(done)
			next[i]++
			order(next, append(slices.Clip(script), steps[done[i]]))
		}
		if left {
			return
		}
		runs++
		synctest.Test(t, func(t *testing.T) { interleave(t, script) })
	}
	order(make([]int, len(actors)), nil)
	if want := 1260; runs != want { // 9! / (4! 3! 2!)
		t.Errorf("%d orders, not %d", runs, want)
	}
}

// interleave runs the steps of one order and checks what came of them.
func interleave(t *testing.T, script []string) {
	t.Helper()
	s := newStage(t)
	var out strings.Builder
	for _, step := range script {
		words := strings.Fields(step)
		if words[0] == "read" && s.viewers[words[1]] == nil {
			continue // it still waits
		}
		s.do(words[0], words[1:])
		synctest.Wait()
		fmt.Fprintln(&out, step)
		for len(s.said) > 0 {
			fmt.Fprintln(&out, " ", <-s.said)
		}
	}
	facts := s.w.take()
	place := func(step string) int { return slices.Index(script, step) }
	written, closed := place("write A cV k0 v40"), place("close A unpublish")
	reads := place("play v1 cam rtmp") < closed && place("read v1") > written && place("read v1") > place("play v1 cam rtmp")
	if got := strings.Contains(out.String(), "v1: <H264:V>|K0 |v40 \n"); got != reads {
		t.Errorf("the first viewer has read: %v, not %v:\n%s", got, reads, out.String())
	}
	s.finish()
	checkCausality(t, append(facts, s.w.take()...))
	if t.Failed() {
		t.Log(out.String())
	}
}

// TestLeaveDuringReplay: a viewer that leaves while it is sent the cached group of pictures is reported with what it got,
// and those that are served the same blocks get all of them.
func TestLeaveDuringReplay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRush(t, reporting())
		r.publish(true, false)
		r.frame(videoTrack("V"), 0, true, 40_000)
		for i := 1; i < 20; i++ {
			r.frame(videoTrack("V"), time.Duration(i)*40*ms, false, 40_000)
		}
		const viewers = 50
		sent := map[string]int{}
		var ends []<-chan int
		for i := range viewers {
			ctx, leave := context.WithCancel(t.Context())
			v, err := r.hub.Play(ctx, PlayRequest{
				MediaInfo: named("cam"), Format: "rtmp", Peer: Peer{Client: fact.Client{ID: fmt.Sprint(i)}},
			})
			if err != nil {
				t.Fatal(err)
			}
			m := &leaving{moody: moody{t: t}, after: i % 10, leave: leave}
			end := make(chan int, 1)
			go func() {
				err := v.Serve(ctx, m)
				if want := context.Canceled; i%10 > 0 && !errors.Is(err, want) || i%10 == 0 && !errors.Is(err, ErrEnded) {
					t.Error(err)
				}
				v.Close()
				leave()
				end <- len(m.text())
			}()
			ends = append(ends, end)
		}
		synctest.Wait()
		r.pub.Close(fact.EndUnpublish)
		for i, end := range ends {
			sent[fmt.Sprint(i)] = <-end
		}
		facts := r.w.take()
		for _, f := range facts {
			if f, ok := f.(*fact.FlowReport); ok && f.Player {
				if int(f.TotalBytes) != sent[f.ID] {
					t.Errorf("viewer %s got %d bytes, %d are reported", f.ID, sent[f.ID], f.TotalBytes)
				}
				delete(sent, f.ID)
			}
		}
		if len(sent) != 0 {
			t.Errorf("not reported: %v", sent)
		}
		checkCausality(t, facts)
		synctest.Wait()
	})
}

// leaving is moody, and leaves in its n-th write, 0: never.
type leaving struct {
	moody
	after int
	leave func()
}

func (l *leaving) Write(ctx context.Context, blocks net.Buffers) (int64, error) {
	n, err := l.moody.Write(ctx, blocks)
	if l.after--; l.after == 0 {
		l.leave()
	}
	return n, err
}

// TestRegistryContention has many sessions fight for the locks of few keys, real goroutines in real time, with the race
// detector's eyes on them.
func TestRegistryContention(t *testing.T) {
	w := patientWorld(0)
	cfg := reporting()
	cfg.MaxStreamWait, cfg.ViewerLinger, cfg.PackagerIdle = 20*time.Millisecond, 10*time.Millisecond, time.Millisecond
	w.publish = func(_ context.Context, q PublishQuestion) PublishVerdict {
		v := PublishVerdict{Outcome: fact.Outcome{Allowed: true, By: "hook"}, Options: defaultOptions()}
		v.Options.ContinuePush = 0
		if strings.HasSuffix(q.Params, "other") { // two keys at a time, in both orders
			v.Options.StreamReplace = map[string]string{"a": "b", "b": "c", "c": "a"}[q.Stream.Stream]
		}
		return v
	}
	hub := New(cfg, w, w, textFormats())
	var wg sync.WaitGroup
	for i := range 8 {
		key := string("abc"[i%3])
		wg.Go(func() {
			for j := range 100 {
				name := key
				if j%2 == 0 {
					name += "?other"
				}
				p, err := hub.Publish(t.Context(), PublishRequest{MediaInfo: named(name)})
				if errors.Is(err, ErrBusy) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				p.Metadata(nil, true, false, 0, 0, 0)
				for k := range 5 {
					_ = p.WriteFrame(picture(time.Duration(k)*40*ms, k == 0)) // it may have been closed
				}
				p.Close(fact.EndUnpublish)
			}
		})
		wg.Go(func() {
			for range 30 {
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
				v, err := hub.Play(ctx, PlayRequest{MediaInfo: named(key), Format: "rtmp"})
				if err == nil {
					_ = v.Serve(ctx, &moody{t: t}) // to the end of the stream or of its patience
					v.Close()
				}
				cancel()
			}
		})
		wg.Go(func() {
			for range 50 {
				hub.List(Filter{})
				hub.Players(Filter{})
				hub.CloseStreams(Filter{Stream: key}, true, fact.EndKicked)
			}
		})
	}
	wg.Wait()
	settled(t, w, hub)
}

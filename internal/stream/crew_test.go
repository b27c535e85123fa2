package stream

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/media"
)

// moody is a DirectOutlet that takes what it likes.
type moody struct {
	t    *testing.T
	busy atomic.Int32 // calls in progress
	// take says how much of n bytes Try takes; nil: all. block, when set, is what Write waits for.
	take  func(n int) int
	block <-chan struct{}
	fail  error // of the next Try or Write

	mu     sync.Mutex
	got    []byte
	rest   []byte
	tries  int
	writes int
}

func (m *moody) Direct() bool { return true }

// enter checks that nobody else is at it.
func (m *moody) enter() func() {
	if m.busy.Add(1) != 1 {
		m.t.Error("two goroutines write to one viewer")
	}
	return func() { m.busy.Add(-1) }
}

func (m *moody) Try(blocks net.Buffers) (int, Taken, error) {
	defer m.enter()()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tries++
	if len(m.rest) > 0 {
		m.t.Error("Try while something is left over")
	}
	var all []byte
	for _, b := range blocks {
		all = append(all, b...)
	}
	n := len(all)
	if m.take != nil {
		n = m.take(n)
	}
	m.got = append(m.got, all[:n]...)
	switch {
	case m.fail != nil:
		return n, TookNothing, m.fail
	case n == len(all):
		return n, TookAll, nil
	case n == 0:
		return 0, TookNothing, nil
	}
	m.rest = all[n:]
	return n, TookLate, nil
}

func (m *moody) Write(ctx context.Context, blocks net.Buffers) (int64, error) {
	defer m.enter()()
	if m.block != nil {
		select {
		case <-m.block:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.writes++
	n := len(m.rest)
	m.got, m.rest = append(m.got, m.rest...), nil
	for i, b := range blocks {
		m.got = append(m.got, b...)
		n += len(b)
		blocks[i] = nil
	}
	return int64(n), m.fail
}

func (m *moody) text() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return string(m.got)
}

// serve plays cam into m and returns where its end is told.
func (r *rush) serve(ctx context.Context, m *moody) <-chan error {
	r.t.Helper()
	v, err := r.hub.Play(r.t.Context(), PlayRequest{MediaInfo: named("cam"), Format: "rtmp"})
	if err != nil {
		r.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		err := v.Serve(ctx, m)
		if n := v.sent.Load(); int(n) != len(m.text()) {
			r.t.Errorf("%d bytes are counted, %d were taken", n, len(m.text()))
		}
		v.Close()
		ended <- err
	}()
	return ended
}

// live publishes cam with one key frame.
func (r *rush) live() {
	r.t.Helper()
	r.publish(true, false)
	r.frame(videoTrack("V"), 0, true, 5)
}

// TestCrew: a connection that takes everything never needs its own goroutine again, one that does not gets it.
func TestCrew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRush(t, DefaultConfig())
		r.live()
		quick, slow := &moody{t: t}, &moody{t: t, take: func(n int) int { return n / 2 }}
		ends := []<-chan error{r.serve(t.Context(), quick), r.serve(t.Context(), slow)}
		synctest.Wait()
		for i := range 3 {
			r.frame(videoTrack("V"), time.Duration(i+1)*40*ms, false, 10)
			synctest.Wait()
		}
		if quick.writes != 1 || quick.tries != 3 {
			t.Errorf("%d writes and %d tries", quick.writes, quick.tries)
		}
		if slow.writes != 4 || slow.tries != 3 {
			t.Errorf("the slow one has %d writes and %d tries", slow.writes, slow.tries)
		}
		r.pub.Close(fact.EndUnpublish)
		for i, m := range []*moody{quick, slow} {
			if err := <-ends[i]; !errors.Is(err, ErrEnded) {
				t.Error(err)
			}
			if s := strings.ReplaceAll(m.text(), "\x00", ""); s != "<H264:V>K0 v40 v80 v120 " {
				t.Error(s)
			}
		}
	})
}

// TestCrewGoesOn: who takes nothing at all keeps nobody waiting, and is served again later, or moved.
func TestCrewGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRush(t, DefaultConfig())
		r.live()
		gate := make(chan struct{})
		stuck := &moody{t: t, take: func(int) int { return 0 }}
		other := &moody{t: t}
		ends := []<-chan error{r.serve(t.Context(), stuck), r.serve(t.Context(), other)}
		synctest.Wait()
		stuck.block = gate
		for i := range 100 {
			r.frame(videoTrack("V"), time.Duration(i+1)*40*ms, false, 10)
		}
		synctest.Wait()
		if s := other.text(); !strings.Contains(s, "v4000 ") {
			t.Error("the other viewer waits")
		}
		if s := strings.ReplaceAll(stuck.text(), "\x00", ""); s != "<H264:V>K0 " {
			t.Error(s)
		}
		close(gate)
		synctest.Wait()
		if stuck.text() != other.text() {
			t.Errorf("they got\n%q and\n%q", stuck.text(), other.text())
		}
		r.pub.Close(fact.EndUnpublish)
		for _, c := range ends {
			if err := <-c; !errors.Is(err, ErrEnded) {
				t.Error(err)
			}
		}
	})
}

// TestCrewLeave: a viewer that leaves is not written to any more, whoever has it; an error of its connection ends it.
func TestCrewLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRush(t, DefaultConfig())
		r.live()
		broken := errors.New("broken")
		ctx, cancel := context.WithCancel(t.Context())
		parked, failing := &moody{t: t}, &moody{t: t}
		blocked := &moody{t: t, take: func(int) int { return 0 }}
		ends := []<-chan error{r.serve(ctx, parked), r.serve(ctx, blocked), r.serve(t.Context(), failing)}
		synctest.Wait()
		blocked.block, failing.fail = make(chan struct{}), broken
		r.frame(videoTrack("V"), 40*ms, false, 10)
		if err := <-ends[2]; !errors.Is(err, broken) {
			t.Error(err)
		}
		synctest.Wait()
		cancel()
		for _, c := range ends[:2] {
			if err := <-c; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
		r.frame(videoTrack("V"), 80*ms, false, 10)
		synctest.Wait()
		if s := parked.text(); !strings.Contains(s, "v40 ") || strings.Contains(s, "v80 ") {
			t.Error(s)
		}
		r.pub.Close(fact.EndUnpublish)
	})
}

// TestCrewInterleavings has many viewers come, go, stumble and catch up while frames come, and checks that each has got
// frames that are contiguous from a key frame on. It is in real time, so nobody is moved or given up because it gets no time.
func TestCrewInterleavings(t *testing.T) {
	const viewers, frames = crewSize + 100, 300 // more than one hand
	cfg := DefaultConfig()
	cfg.ViewerLagDuration, cfg.ViewerLinger = 10*time.Minute, 10*time.Minute
	r := newRush(t, cfg)
	r.live()
	var wg sync.WaitGroup
	var came, last atomic.Int64 // last: the number of the last frame
	for i := range viewers {
		wg.Go(func() {
			dice := rand.New(rand.NewPCG(1, uint64(i)))
			m := &moody{t: t}
			if i%3 == 0 {
				m.take = func(n int) int { return dice.IntN(2) * dice.IntN(n+1) }
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if i%5 == 0 {
				defer time.AfterFunc(time.Duration(dice.IntN(300))*time.Millisecond, cancel).Stop()
			}
			end := r.serve(ctx, m)
			came.Add(1)
			err := <-end
			if !errors.Is(err, ErrEnded) && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			contiguous(t, m.text(), errors.Is(err, ErrEnded), int(last.Load()))
		})
	}
	for came.Load() < viewers/2 {
		time.Sleep(time.Millisecond)
	}
	for i := 1; i <= frames || came.Load() < viewers; i++ { // to nobody who comes late the stream is over
		r.frame(videoTrack("V"), time.Duration(i)*40*ms, i%50 == 0, 20)
		last.Store(int64(i))
		if i > frames {
			time.Sleep(10 * time.Millisecond)
		} else if i%10 == 0 {
			time.Sleep(time.Millisecond)
		}
	}
	r.pub.Close(fact.EndUnpublish)
	wg.Wait()
}

// contiguous checks the frames of one viewer, who has all to the end or not.
func contiguous(t *testing.T, got string, all bool, frames int) {
	t.Helper()
	head, text, ok := strings.Cut(strings.ReplaceAll(got, "\x00", ""), ">")
	if !ok || head != "<H264:V" {
		if all || got != "" {
			t.Errorf("it begins with %.40q", got)
		}
		return
	}
	if !all { // the last frame may be cut
		text = text[:strings.LastIndexByte(text, ' ')+1]
	}
	last := -1
	for i, word := range strings.Fields(text) {
		n, err := strconv.Atoi(word[1:])
		n /= 40
		if err != nil {
			t.Errorf("%q: %v", word, err)
			return
		}
		if i == 0 && word[0] != 'K' || i > 0 && n != last+1 {
			t.Errorf("%q after %d", word, last)
			return
		}
		last = n
	}
	if all && last != frames {
		t.Errorf("the last frame is %d, not %d", last, frames)
	}
}

// BenchmarkCrew measures one frame for viewers whose connections take it at once. Time and allocations are per frame.
func BenchmarkCrew(b *testing.B) {
	for _, viewers := range []int{10, 1000} {
		b.Run(fmt.Sprint(viewers), func(b *testing.B) { benchmarkCrew(b, viewers) })
	}
}

// counting is a DirectOutlet that only counts.
type counting struct{ n *atomic.Int64 }

func (c counting) Direct() bool { return true }

func (c counting) Try(blocks net.Buffers) (int, Taken, error) {
	c.n.Add(int64(len(blocks)))
	return len(blocks[0]), TookAll, nil
}

func (c counting) Write(_ context.Context, blocks net.Buffers) (int64, error) {
	c.n.Add(int64(len(blocks)))
	return 1, nil
}

func benchmarkCrew(b *testing.B, viewers int) {
	w := newWorld()
	hub := New(DefaultConfig(), w, w, []Format{{Name: "raw", Schema: "rtmp", New: func(Program) Packager { return rawPackager{} }}})
	p, err := hub.Publish(b.Context(), PublishRequest{MediaInfo: named("cam"), Bytes: &atomic.Uint64{}})
	if err != nil {
		b.Fatal(err)
	}
	p.Metadata(nil, true, false, 0, 0, 0)
	tr := videoTrack("V")
	data := make([]byte, 10_000)
	write := func(i int) {
		at := time.Duration(i) * 40 * ms
		if err := p.WriteFrame(&media.Frame{Track: tr, DTS: at, PTS: at, Key: i%50 == 0, Data: data}); err != nil {
			b.Error(err)
		}
	}
	write(0)
	var got atomic.Int64
	var done sync.WaitGroup
	for range viewers {
		v, err := hub.Play(b.Context(), PlayRequest{MediaInfo: named("cam"), Format: "raw"})
		if err != nil {
			b.Fatal(err)
		}
		done.Go(func() {
			defer v.Close()
			if err := v.Serve(context.Background(), counting{&got}); !errors.Is(err, ErrEnded) {
				b.Error(err)
			}
		})
	}
	await := func(n int) {
		for got.Load() < int64(n) {
			time.Sleep(10 * time.Microsecond)
		}
	}
	await(viewers)
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		write(i + 1)
		await((i + 2) * viewers)
	}
	b.StopTimer()
	p.Close(fact.EndUnpublish)
	done.Wait()
	if err := hub.Stop(b.Context()); err != nil {
		b.Fatal(err)
	}
}

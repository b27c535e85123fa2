package demo

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/hookline/hookline/internal/pubtool"
)

// app is the application of every stream.
const app = "demo"

// crowd publishes. Of n publishers
//   - a quarter stays: long publications, so that some are live at the crash and at the stop;
//   - a quarter breaks off: resets, half of which take the key up again at once;
//   - the others come and go: short publications of the same key, ended by a goodbye.
type crowd struct {
	server string // host:port
	seed   uint64
	long   time.Duration // life of who stays, about
	log    *factLog

	wg     sync.WaitGroup
	begin  context.Context // done: nothing new begins
	brief  context.Context // done: who comes and goes says goodbye
	stay   context.Context // done: who stays does
	cancel [3]context.CancelFunc
}

func newCrowd(ctx context.Context, cfg Config, server string, long time.Duration, log *factLog) *crowd {
	c := &crowd{server: server, seed: cfg.Seed, long: long, log: log}
	c.stay, c.cancel[0] = context.WithCancel(ctx)
	c.brief, c.cancel[1] = context.WithCancel(c.stay)
	c.begin, c.cancel[2] = context.WithCancel(c.brief)
	for i := range cfg.Streams {
		dice := rand.New(rand.NewPCG(cfg.Seed, uint64(i))) //nolint:gosec // G404: repeatable on purpose
		m := &member{crowd: c, number: i, dice: dice}
		switch i % 8 {
		case 0, 4:
			c.wg.Go(m.stays)
		case 1, 5:
			c.wg.Go(m.breaksOff)
		default:
			c.wg.Go(m.comesAndGoes)
		}
	}
	return c
}

// thin lets nothing new begin and ends all but the long publications.
func (c *crowd) thin() {
	c.cancel[2]()
	c.cancel[1]()
}

// end ends everything and waits for it.
func (c *crowd) end() {
	c.cancel[0]()
	c.wg.Wait()
	c.thin() // releases the contexts
}

// member is one publisher. It belongs to one goroutine.
type member struct {
	*crowd
	number int
	dice   *rand.Rand
}

// between returns a duration of the dice.
func (m *member) between(low, high time.Duration) time.Duration {
	return low + time.Duration(m.dice.Int64N(int64(high-low)+1))
}

// pause waits; false: nothing new begins.
func (m *member) pause(low, high time.Duration) bool {
	t := time.NewTimer(m.between(low, high))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-m.begin.Done():
		return false
	}
}

// rest waits after a publication, longer when it was none.
func (m *member) rest(end pubtool.End) bool {
	switch end {
	case pubtool.EndUnpublish, pubtool.EndReset:
		return m.pause(20*time.Millisecond, 250*time.Millisecond)
	default:
		return m.pause(300*time.Millisecond, 900*time.Millisecond)
	}
}

func (m *member) stays() {
	for ok := m.pause(0, time.Second); ok; {
		ok = m.rest(m.publish(m.stay, "long"+m.id(), m.between(m.long*21/20, m.long*3/2), 0))
	}
}

func (m *member) comesAndGoes() {
	for ok := m.pause(0, time.Second); ok; {
		ok = m.rest(m.publish(m.brief, "short"+m.id(), m.between(300*time.Millisecond, 1200*time.Millisecond), 0))
	}
}

func (m *member) breaksOff() {
	lives := 0
	for ok := m.pause(0, time.Second); ok; {
		resume := m.dice.IntN(2) == 0
		end := m.publish(m.brief, fmt.Sprintf("broken%s-%d", m.id(), lives), m.between(900*time.Millisecond, 2*time.Second), 0.75)
		if end != pubtool.EndUnpublish && (end != pubtool.EndReset || !resume) {
			lives++
		}
		ok = m.rest(end)
	}
}

func (m *member) id() string { return fmt.Sprintf("%03d", m.number) }

// publish makes one publication and says how it ended; "": the server could not be reached.
func (m *member) publish(ctx context.Context, stream string, life time.Duration, resets float64) (end pubtool.End) {
	// Failures are among the facts.
	_, _ = pubtool.Run(ctx, pubtool.Config{
		URL: "rtmp://" + m.server + "/" + app + "/" + stream, Count: 1, Life: life, Realtime: true,
		ResetRate: resets, Timeout: 10 * time.Second, Seed: m.dice.Uint64(), Quiet: true,
		OnAccepted:    m.log.accepted,
		OnPublication: func(p pubtool.Publication) { end = p.End; m.log.ended(p) },
	})
	return end
}

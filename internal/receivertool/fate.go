package receivertool

import (
	"fmt"
	"hash/fnv"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/ordercheck"
)

// fate is what happens to one request.
type fate struct {
	attempt    int // how often the same was asked, from 1
	delay      time.Duration
	fail, hang bool
}

// maxCounted bounds the number of events whose attempts are counted; the oldest are forgotten.
const maxCounted = 1 << 16

// attempts counts how often each event was sent.
type attempts struct {
	count map[string]int
	ring  []string
	next  int
}

func (a *attempts) add(name string) int {
	n := a.count[name] + 1
	a.count[name] = n
	switch {
	case n > 1:
	case len(a.ring) < maxCounted:
		a.ring = append(a.ring, name)
	default:
		delete(a.count, a.ring[a.next])
		a.ring[a.next] = name
		a.next = (a.next + 1) % maxCounted
	}
	return n
}

// name identifies an event across runs of the server: ids differ from run to run, seqs don't.
func name(hook event.Type, b *ordercheck.Body) string {
	stream := b.Event.Stream
	if b.Event.ID == "" {
		stream = b.Vhost + "/" + b.App + "/" + b.Stream
	}
	return fmt.Sprintf("%s %d %s", hook, b.Event.Seq, stream)
}

// decide draws the fate of the n-th attempt of an event.
func (f Faults) decide(seed uint64, name string, n int) fate {
	h := fnv.New64a()
	fmt.Fprintf(h, "%d %d %s", seed, n, name)
	state := h.Sum64()
	// splitmix64; package rand would draw for all requests in the order in which they happen to come.
	draw := func() float64 {
		state += 0x9e3779b97f4a7c15
		z := state
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		return float64((z^z>>31)>>11) / (1 << 53)
	}
	out := fate{attempt: n}
	out.hang = draw() < f.HangRate
	out.fail = draw() < f.FailRate
	out.delay = f.Delay + time.Duration(draw()*float64(f.Jitter))
	return out
}

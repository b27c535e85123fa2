package receiver

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/hookline/hookline/event"
)

const (
	// ringSize is how many indexes are remembered, and how far below the newest a missing one is waited for.
	ringSize = 1024
	// stragglers: an index of the process before may come for this long after a restart.
	stragglers = 25 * time.Second
	// stale: signs of another process that are so far apart are of different things.
	stale = time.Minute
)

// incarnation is one run of a sender's process, as its hook_index tells it.
type incarnation struct {
	name    string
	n       int // counts
	born    time.Time
	started bool  // an on_server_started was seen
	hello   int64 // its index
	whole   bool  // its first index came: nothing was sent before what is known
	max     int64 // highest index that came
	low     int64 // every index up to here came, or is waited for no more
	ring    [ringSize]slot
	suspect int64     // an index far below max, -1: none
	clashes int       // hooks that had the index of another
	clashed time.Time // when the first of them came
}

type slot struct {
	index int64
	hash  uint64
	at    time.Time
	used  bool
}

func (z *zlm) newIncarnation(s *zlmSource, h *hook) {
	inc := &incarnation{
		name: strconv.FormatInt(h.arrived.UnixMilli(), 36), born: h.arrived, max: h.index, low: max(h.index-1-64, -1), suspect: -1,
	}
	if s.inc != nil {
		inc.n = s.inc.n + 1
		s.prev = s.inc
		z.r.stats.restarts.Add(1)
	}
	s.inc = inc
}

// incarnate decides which run of the sender's process sent a hook, and marks its index. A restart ends what was live.
func (z *zlm) incarnate(e *Event) {
	h, s := e.plain, e.plain.source
	switch {
	case s.inc == nil:
		z.newIncarnation(s, h)
	case e.Type == event.OnServerStarted && h.prior == nil:
		if s.begins(h) {
			z.restart(e)
		}
	case s.straggler(h):
		h.inc = s.prev
	case h.index >= 0 && s.inc.restarted(h):
		z.restart(e)
	}
	if h.inc == nil {
		h.inc = s.inc
		h.stray = s.prev != nil && h.index > s.inc.max+16 && s.prev.near(h.index) && h.arrived.Sub(s.inc.born) < stragglers
	}
	if e.Type == event.OnServerStarted && !s.inc.started {
		s.inc.started, s.inc.hello = true, h.index
	}
	h.self.inc = h.inc
	if h.order == h.index && h.first.Equal(h.arrived) { // no retry
		h.first = h.inc.sent(h.index, h.arrived)
		h.self.first = h.first
	}
	e.Incarnation, e.Epoch, e.Time = h.inc.name, max(h.inc.born.UnixMilli(), 1), h.first
	if h.inc == s.inc && h.index >= 0 {
		s.inc.mark(h)
	}
}

// begins says that an on_server_started is of a process that is new. It comes once, or as a retry, and others may overtake it.
func (s *zlmSource) begins(h *hook) bool {
	age := h.arrived.Sub(s.inc.born)
	switch {
	case age > stale || h.index < 0:
		return true
	case s.inc.started && age > s.settle():
		return true
	case s.inc.started && h.index == s.inc.hello: // something on the way may have repeated it
		return age > time.Second
	case s.inc.started: // a request of this process, or of the one before, may have hung; not so when its index has come
		return s.inc.seen(h) != unseen
	}
	return s.inc.seen(h) == other
}

// sent is when the attempt with this index had been sent at the latest: before those with a higher one came.
func (i *incarnation) sent(index int64, arrived time.Time) time.Time {
	if s := &i.ring[max(index, 0)%ringSize]; index < 0 || s.used && s.index == index && !s.at.Equal(arrived) {
		return arrived // of another process, perhaps
	}
	first, second := arrived, arrived // the first of them may be of another process
	for k := index + 1; k <= min(i.max, index+16); k++ {
		s := &i.ring[k%ringSize]
		switch {
		case !s.used || s.index != k:
		case s.at.Before(first):
			first, second = s.at, first
		case s.at.Before(second):
			second = s.at
		}
	}
	return second
}

// straggler says that a hook is one of the process before, which was on its way when that died.
func (s *zlmSource) straggler(h *hook) bool {
	if s.prev == nil || h.index < 0 || !s.prev.near(h.index) {
		return false
	}
	age := h.arrived.Sub(s.inc.born)
	return age < stragglers && h.index > s.inc.max+64 || age < 2*time.Second && h.index > s.inc.max+16
}

func (z *zlm) restart(e *Event) {
	s := e.plain.source
	since := e.plain.arrived // when the first sign of the new process came
	if old := s.inc; e.Type != event.OnServerStarted && !old.clashed.IsZero() && since.Sub(old.clashed) < stale {
		since = old.clashed
	}
	for st := range s.queued { // what still waits has nothing to wait for
		for _, h := range st.wait {
			h.deadline = e.plain.arrived
		}
	}
	z.newIncarnation(s, e.plain)
	for _, st := range s.streams {
		for _, l := range st.lives {
			if !l.came.Before(since) {
				l.inc = s.inc
			}
		}
	}
	z.endAll(s, ReasonRestarted, e.plain.arrived)
}

type sight uint8

const (
	unseen sight = iota
	same         // the same request again
	other        // another request had this index
)

func (i *incarnation) seen(h *hook) sight {
	s := &i.ring[h.index%ringSize]
	switch {
	case !s.used || s.index != h.index:
		return unseen
	case s.hash == h.hash:
		return same
	}
	return other
}

func (i *incarnation) near(index int64) bool { return index > i.max-ringSize && index <= i.max+64 }

// restarted says that an index can't be of this process.
func (i *incarnation) restarted(h *hook) bool {
	if h.index > i.max-ringSize {
		i.suspect = -1
		if i.seen(h) != other {
			return false
		}
		// One may have been on its way for long, several have not.
		if h.arrived.Sub(i.clashed) > stale {
			i.clashes, i.clashed = 0, h.arrived
		}
		i.clashes++
		return i.clashes > 2
	}
	if i.suspect >= 0 && i.suspect != h.index && h.index > i.suspect-64 && h.index < i.suspect+ringSize {
		return true
	}
	if i.suspect = h.index; i.clashed.IsZero() {
		i.clashed = h.arrived
	}
	return false
}

func (i *incarnation) mark(h *hook) {
	if h.index > i.max-ringSize {
		i.ring[h.index%ringSize] = slot{h.index, h.hash, h.arrived, true}
	}
	i.whole = i.whole || h.index == 0
	i.max = max(i.max, h.index)
	i.advance(max(i.low, i.max-ringSize/2))
}

// advance gives up what is missing up to index low.
func (i *incarnation) advance(low int64) {
	i.low = max(i.low, low)
	for {
		s := &i.ring[(i.low+1)%ringSize]
		if !s.used || s.index != i.low+1 {
			return
		}
		i.low++
	}
}

// enqueue puts an event among those of its stream that wait.
func (z *zlm) enqueue(e *Event) {
	h, st := e.plain, e.plain.stream
	h.deadline = h.arrived
	if z.opt.Window > 0 && z.waiting < z.opt.Waiting && h.inc == h.source.inc {
		h.look = h.vague && z.doubtful(e)
		if h.index >= 0 && h.order >= h.index || h.look {
			h.deadline = h.arrived.Add(z.opt.Window)
		}
	}
	h.self.waits = e
	z.waiting++
	at := len(st.wait)
	for at > 0 && h.before(st.wait[at-1]) {
		at--
	}
	st.wait = slices.Insert(st.wait, at, h)
	h.source.queued[st] = true
}

func (h *hook) before(o *hook) bool {
	if h.inc != o.inc {
		return h.inc.n < o.inc.n
	}
	return h.index >= 0 && o.index >= 0 && h.order < o.order
}

func (h *hook) ready(now time.Time) bool {
	return !now.Before(h.deadline) || !h.look && h.order <= h.inc.low
}

// pump hands turns to the streams of a source.
func (z *zlm) pump(s *zlmSource) {
	now := time.Now()
	for st := range s.queued {
		z.next(st, now)
	}
}

func (z *zlm) next(st *zlmStream, now time.Time) {
	if st.busy || len(st.wait) == 0 || !st.wait[0].ready(now) {
		return
	}
	h := st.wait[0]
	z.dequeue(h)
	st.busy = true
	if st.inc != h.inc && (st.inc == nil || st.inc.n < h.inc.n) {
		st.inc, st.released = h.inc, -1
	}
	close(h.turn)
}

func (z *zlm) dequeue(h *hook) bool {
	st := h.stream
	at := slices.Index(st.wait, h)
	if at < 0 {
		return false
	}
	st.wait = slices.Delete(st.wait, at, at+1)
	z.waiting--
	if len(st.wait) == 0 {
		delete(h.source.queued, st)
	}
	return true
}

// await waits for the turn of a hook; its caller calls leave.
func (z *zlm) await(ctx context.Context, h *hook) error {
	z.mu.Lock()
	deadline := h.deadline
	z.mu.Unlock()
	t := time.NewTimer(time.Until(deadline))
	defer t.Stop()
	for {
		select {
		case <-h.turn:
			return nil
		case <-t.C:
			z.mu.Lock()
			if h.inc == h.source.inc && h.index >= 0 {
				h.inc.advance(h.index)
			}
			z.pump(h.source)
			z.mu.Unlock()
		case <-ctx.Done():
			z.mu.Lock()
			gone := z.dequeue(h)
			if gone {
				h.self.finish(false)
				z.pump(h.source)
			}
			z.mu.Unlock()
			if gone {
				return ctx.Err()
			}
			<-h.turn // it came at the same moment
			return nil
		}
	}
}

// leave ends the turn of a hook.
func (z *zlm) leave(h *hook, handled bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	h.self.finish(handled)
	st := h.stream
	if l := h.self.life; !handled && h.vague && l != nil && h.self.tries >= h.source.retries {
		if o := l.outputs[h.schema]; o != nil {
			o.lost = true // no other attempt comes
		}
	}
	if handled && h.inc == st.inc {
		st.released = max(st.released, h.order)
	}
	st.busy = false
	z.pump(h.source)
}

// attempt is a request of a stream that was seen.
type attempt struct {
	hash   uint64
	typ    event.Type
	index  int64
	order  int64
	at     time.Time
	first  time.Time
	inc    *incarnation
	waits  *Event    // until it has its turn
	done   bool      // handled
	ended  time.Time // answered; zero: in hand
	life   *life     // what it was taken to be about
	leaves string    // the schema of an unregister
	unsure bool      // it may have been about another
	heir   *attempt  // its retry, when that has come
	tries  int       // attempts before this one that were seen
}

func (a *attempt) finish(handled bool) { a.done, a.ended, a.waits = handled, time.Now(), nil }

// remember keeps an attempt, and finds the one that it repeats.
func (st *zlmStream) remember(h *hook, typ event.Type, s *zlmSource) {
	old := h.arrived.Add(-2 * s.settle())
	for len(st.attempts) > 0 && (len(st.attempts) >= maxAttempts || st.attempts[0].at.Before(old)) {
		st.attempts[0] = nil
		st.attempts = st.attempts[1:]
	}
	h.prior = st.prior(h, typ, s)
	a := &attempt{hash: h.hash, typ: typ, index: h.index, order: h.index, at: h.arrived, first: h.arrived}
	h.self = a
	if h.vague {
		a.leaves = h.schema
	}
	if p := h.prior; p != nil && !h.vague {
		h.adopt(p)
		a.order, a.first = h.order, h.first
	}
	st.attempts = append(st.attempts, a)
}

// prior returns the attempt that h may repeat: of those with the same content the one whose retry is due, else the newest.
func (st *zlmStream) prior(h *hook, typ event.Type, s *zlmSource) *attempt {
	var newest *attempt
	for i := len(st.attempts) - 1; i >= 0; i-- {
		a := st.attempts[i]
		if a.hash != h.hash || a.typ != typ {
			continue
		}
		same := a.sent(h) && a.inc == s.inc && typ != event.OnServerStarted
		repeated := same || a.repeated(h, s)
		switch {
		case same:
			return a
		case repeated && (!h.vague || a.heir == nil && a.refused() && h.retries(a)):
			return a
		case repeated && newest == nil:
			newest = a
		}
		if !h.vague {
			return nil
		}
	}
	return newest
}

// adopt makes h another attempt of the event of p.
func (h *hook) adopt(p *attempt) {
	h.order, h.first = p.order, p.first
	if h.self.tries = p.tries; !p.sent(h) {
		p.heir = h.self
		h.self.tries++
	}
}

// sent says that h is the same request again, by what is between sender and receiver.
func (a *attempt) sent(h *hook) bool { return h.index >= 0 && a.index == h.index }

// retried says that the retry has come, and is not h.
func (a *attempt) retried(h *hook) bool { return a.heir != nil && a.heir != h.self }

// repeated says that h may be the retry of a.
func (a *attempt) repeated(h *hook, s *zlmSource) bool {
	age := h.arrived.Sub(a.at)
	if age > s.settle() {
		return false
	}
	switch a.typ {
	case event.OnServerStarted: // a process that begins again begins with 0, a retry takes the next
		return a.heir == nil && a.inc == s.inc && h.index > a.index && h.index+16 > s.inc.max && h.arrived.Sub(a.first) > s.retryDelay-tight
	case event.OnStreamNoneReader, event.OnSendRTPStopped, event.OnRTPServerTimeout, event.OnServerExited, event.OnServerKeepalive:
		return a.heir == nil && age >= s.retryDelay-settleSlack/4
	default: // nothing else has the same content
		return true
	}
}

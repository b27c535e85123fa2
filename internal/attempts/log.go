package attempts

import (
	"bytes"
	"slices"
	"sync"
	"time"
)

// Config bounds a Log.
type Config struct {
	// Recent is the number of attempts that are remembered which were accepted at once; 0: none.
	Recent int
	// Kept is the number of the others: failures, refusals, what was accepted only after a failure; 0: none. The
	// endpoints share it: each keeps its last Kept/n, if n of them hold any, and more while others need less.
	Kept int
	// AnswerBytes are kept of an answer; 0: none.
	AnswerBytes int
}

const (
	// sample: of accepted first attempts with an answer other than the one before, one in so many keeps it.
	sample = 16
	// grow is by how many slots a ring grows until it is as large as it may be.
	grow = 512
	// scan is how many slots are looked at under the lock at a time.
	scan = 1024
	// maxErr bounds the text of an error, in bytes.
	maxErr = 512
)

// Log remembers the newest attempts. See the package comment. It is safe for concurrent use.
type Log struct {
	mu      sync.Mutex
	cfg     Config
	recent  ring
	kept    shares
	answers map[string]*answer // by endpoint
}

// answer is the one that an endpoint gives to nearly everything.
type answer struct {
	last    []byte
	skipped int
}

// ring holds the last attempts; the oldest is at next once it is full.
type ring struct {
	slots []Attempt
	next  int
	added uint64
}

// NewLog returns an empty log.
func NewLog(cfg Config) *Log { return &Log{cfg: cfg, answers: map[string]*answer{}} }

// Configure changes the bounds. A ring whose size changes keeps its newest attempts.
func (l *Log) Configure(cfg Config) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if cfg.Recent != l.cfg.Recent {
		l.recent.resize(cfg.Recent)
	}
	if cfg.Kept != l.cfg.Kept {
		l.kept.resize(cfg.Kept)
	}
	l.cfg = cfg
}

// Add remembers an attempt. It keeps no reference to the answer.
func (l *Log) Add(a Attempt) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if a.Result == Accepted && a.N <= 1 {
		a.Answer = l.usual(&a)
		l.recent.add(&a, l.cfg.Recent)
		return
	}
	a.Answer = bytes.Clone(a.Answer[:min(len(a.Answer), l.cfg.AnswerBytes)])
	if len(a.Err) > maxErr {
		a.Err = a.Err[:maxErr]
	}
	l.kept.add(&a, l.cfg.Kept)
}

// usual returns the answer of an accepted attempt, without a copy where it is the usual one. Of decisions, in which the
// answer matters, it is kept always.
func (l *Log) usual(a *Attempt) []byte {
	head := a.Answer[:min(len(a.Answer), l.cfg.AnswerBytes)]
	if len(head) == 0 || l.cfg.Recent == 0 {
		return nil
	}
	u := l.answers[a.Endpoint]
	if u == nil {
		u = &answer{skipped: sample}
		l.answers[a.Endpoint] = u
	}
	if bytes.Equal(u.last, head) {
		return u.last
	}
	if u.skipped++; u.skipped < sample && a.Seq != 0 {
		return nil
	}
	head = bytes.Clone(head)
	if a.Seq != 0 {
		u.last, u.skipped = head, 0
	}
	return head
}

// Forget drops what an endpoint's answers are compared with; its attempts stay until others need their room. For
// endpoints that are gone.
func (l *Log) Forget(endpoint string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.answers, endpoint)
	l.kept.forget(endpoint)
}

// Find returns the attempts that match, oldest first; of more than limit, the newest ones. What is added meanwhile
// may be missing. match is called under the log's lock, some slots at a time.
func (l *Log) Find(limit int, match func(*Attempt) bool) []Attempt {
	out := l.find(&l.recent, limit, match)
	l.mu.Lock()
	names := l.kept.names()
	l.mu.Unlock()
	for _, name := range names {
		out = append(out, l.findKept(name, limit, match)...)
	}
	slices.SortStableFunc(out, func(a, b Attempt) int { return a.At.Compare(b.At) })
	return out[max(0, len(out)-limit):]
}

// find walks a ring from its newest slot back. Slots that were overwritten since are not looked at again.
func (l *Log) find(r *ring, limit int, match func(*Attempt) bool) (out []Attempt) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := r.added
	for more := true; more && len(out) < limit; {
		for range scan {
			oldest := r.added - uint64(len(r.slots))
			if at == oldest || at < oldest || len(out) >= limit {
				more = false
				break
			}
			at--
			if a := r.at(at); match(a) {
				out = append(out, *a)
			}
		}
		if more { // who wants to add goes first
			l.mu.Unlock()
			l.mu.Lock()
		}
	}
	slices.Reverse(out)
	return out
}

// findKept walks what is kept of an endpoint from its newest attempt back, until it comes to what has gone meanwhile.
func (l *Log) findKept(endpoint string, limit int, match func(*Attempt) bool) (out []Attempt) {
	l.mu.Lock()
	defer l.mu.Unlock()
	of := l.kept.byName[endpoint]
	if of == nil {
		return nil
	}
	for i, n := of.newest, uint64(0); i >= 0 && len(out) < limit; {
		for range scan {
			s := &l.kept.slots[i]
			if match(&s.Attempt) {
				out = append(out, s.Attempt)
			}
			if i = s.older; i < 0 || len(out) == limit {
				return out
			}
			n = l.kept.slots[i].n
		}
		l.mu.Unlock() // who wants to add goes first
		l.mu.Lock()
		if int(i) >= len(l.kept.slots) || l.kept.slots[i].n != n {
			return out
		}
	}
	return out
}

// Oldest returns when the oldest attempt was sent that is remembered of those accepted at once, and the time from which
// on all of the others are; zero: none. Of an endpoint at which little fails the others may reach further back.
func (l *Log) Oldest() (recent, kept time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.recent.oldest(), l.kept.since()
}

func (r *ring) oldest() time.Time {
	if len(r.slots) == 0 {
		return time.Time{}
	}
	return r.at(r.added - uint64(len(r.slots))).At
}

// at returns the n-th attempt that was added, which must still be there.
func (r *ring) at(n uint64) *Attempt {
	back := int(r.added - n) // 1: the newest
	i := r.next - back
	if i < 0 {
		i += len(r.slots)
	}
	return &r.slots[i]
}

func (r *ring) add(a *Attempt, size int) {
	if size <= 0 {
		return
	}
	if len(r.slots) < size {
		if len(r.slots) == cap(r.slots) {
			r.slots = slices.Grow(r.slots, min(max(grow, len(r.slots)), size-len(r.slots)))
		}
		r.slots = append(r.slots, *a)
		r.next = len(r.slots) % size
	} else {
		r.slots[r.next] = *a
		r.next = (r.next + 1) % size
	}
	r.added++
}

func (r *ring) resize(size int) {
	var all []Attempt
	for n := r.added - uint64(len(r.slots)); n < r.added; n++ {
		all = append(all, *r.at(n))
	}
	*r = ring{}
	for i := range all[max(0, len(all)-size):] {
		r.add(&all[max(0, len(all)-size)+i], size)
	}
}

package delivery

import "time"

const (
	// A URL counts as down after downAfter failures with no success between if they took at least downGrace, or after
	// downMany at once: on a busy endpoint a few keys that always fail are in a row by chance.
	downAfter = 5
	downMany  = 64
	downGrace = 500 * time.Millisecond
	// freshProbe bounds how often a lane that has not failed itself may probe a URL that is down.
	freshProbe = time.Second
	// minSlow is the least time after which an attempt may count as slow.
	minSlow = 50 * time.Millisecond
)

// target is one URL of an endpoint: its slots, its breaker, its queues. Guarded by the endpoint's lock.
type target struct {
	url   string
	shown string // url without secrets, for logs and listings
	// ready and failing hold lanes whose head goes to this URL; failing those whose last attempt failed: first those
	// that were only cut short, then by how often they failed: who failed once does not queue behind who always does.
	ready   fifo
	failing [4]fifo
	// readySince is when the oldest lane came into ready; with Config.BatchWait only.
	readySince time.Time
	// fast and slow count the attempts in flight: slow ones share a quarter of the slots.
	fast, slow int
	// limit is the number of slots that are open now; it grows after an outage.
	limit int
	first *attempt // in flight, oldest first
	last  *attempt

	failures     int // in a row
	failingSince time.Time
	failedLane   *lane // the one that failed, while it is only one
	failedMany   bool
	latency      time.Duration
	success      time.Time
	lastError    string
	lastErrorAt  time.Time
	// While nothing succeeds a slow attempt is ended only at nextCut, and then more and more rarely.
	nextCut  time.Time
	cutDelay time.Duration

	// Breaker.
	down      bool
	downSince time.Time
	lastGood  time.Time // the last success before it went down
	probeAt   time.Time // when the next probe of a failed lane may go out
	lastProbe time.Time
	backoff   time.Duration
	waiting   fifo // lanes that wait for the URL to come back, longest first

	// gone: the receiver answered 410.
	gone bool
	// used says that the configuration still names the URL.
	used bool
}

func (t *target) inFlight() int { return t.fast + t.slow }

// slowShare is the number of slots for lanes that fail and attempts that hang.
func (t *target) slowShare() int { return max(1, t.limit/4) }

// patience is how long the n-th attempt may take before it counts as slow: twenty times the usual, and four times
// longer with every attempt, so that a key that needs its time gets it.
func (t *target) patience(n int, timeout time.Duration) time.Duration {
	d := time.Second
	if t.latency > 0 {
		d = max(20*t.latency, minSlow)
	}
	return min(d<<min(2*(n-1), 16), timeout)
}

// pushFailing queues a lane whose last attempt failed.
func (t *target) pushFailing(l *lane) {
	i := 0
	if l.attempts > l.cuts {
		i = 1 + min(l.attempts/2, len(t.failing)-2)
	}
	t.failing[i].push(l)
}

func (t *target) peekFailing() *lane {
	for i := range t.failing {
		if l := t.failing[i].peek(); l != nil {
			return l
		}
	}
	return nil
}

func (t *target) popFailing() *lane {
	for i := range t.failing {
		if l := t.failing[i].pop(); l != nil {
			return l
		}
	}
	return nil
}

func (t *target) link(a *attempt) {
	a.older, a.newer = t.last, nil
	if t.last != nil {
		t.last.newer = a
	} else {
		t.first = a
	}
	t.last = a
}

func (t *target) unlink(a *attempt) {
	if a.older != nil {
		a.older.newer = a.newer
	} else {
		t.first = a.newer
	}
	if a.newer != nil {
		a.newer.older = a.older
	} else {
		t.last = a.older
	}
	a.older, a.newer = nil, nil
}

// succeeded notes an answer that shows the receiver alive. It reports whether the URL was down until now.
func (t *target) succeeded(now time.Time, latency time.Duration, slots int) bool {
	t.failures = 0
	t.success, t.nextCut, t.cutDelay = now, time.Time{}, 0
	if t.latency == 0 {
		t.latency = latency
	} else {
		t.latency += (latency - t.latency) / 8
	}
	wasDown := t.down
	if wasDown {
		t.down, t.backoff, t.limit = false, 0, 1
	} else if t.limit < slots {
		t.limit = min(slots, t.limit*2)
	}
	return wasDown
}

// failed notes an attempt that shows the receiver in trouble; l is nil when it was one of several lanes. It reports
// whether the URL has just gone down.
func (t *target) failed(now time.Time, l *lane, c *Config) bool {
	if t.failures++; t.failures == 1 {
		t.failingSince, t.failedLane, t.failedMany = now, l, false
	}
	t.failedMany = t.failedMany || l == nil || t.failedLane != l
	if !t.down && (t.failures < downAfter || now.Sub(t.failingSince) < downGrace && t.failures < downMany) {
		return false
	}
	wentDown := !t.down
	if wentDown {
		t.down, t.downSince, t.lastGood, t.backoff = true, now, t.success, c.BackoffMin
	} else {
		t.backoff = min(2*t.backoff, c.ProbeMax)
	}
	t.probeAt = now.Add(t.backoff)
	return wentDown
}

// mayProbe says whether the lane may find out whether the receiver is back: by the back-off, sooner when it has not
// failed itself, and at once when all that failed was one other lane.
func (t *target) mayProbe(l *lane, now time.Time) bool {
	if l.attempts == 0 && !t.failedMany && t.failedLane != l {
		return t.inFlight() <= 1
	}
	return t.inFlight() == 0 && !now.Before(t.nextProbe(l))
}

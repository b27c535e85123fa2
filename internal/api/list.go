package api

import (
	"net/http"
	"slices"
	"time"

	"github.com/hookline/hookline/internal/journal"
)

// positionGap says that positions which the client has not seen can't be listed any more: reason "retention"; or reason
// "reset", when the cursor is ahead of the journal, which then is another one.
type positionGap struct {
	From   uint64 `json:"from"`
	To     uint64 `json:"to"`
	Reason string `json:"reason"`
}

// Reasons of a positionGap.
const (
	gapRetention = "retention"
	gapReset     = "reset"
)

// eventPage is the answer to a list of events.
type eventPage struct {
	Events []eventView `json:"events"`
	Cursor uint64      `json:"cursor"`
	More   bool        `json:"more"`
	// Epoch goes with Cursor: given back with it, it tells whether the journal is still the one that was read.
	Epoch int64        `json:"epoch,omitempty"`
	Gap   *positionGap `json:"gap,omitempty"`
}

// listEvents lists events in the order of the journal, or the newest first. An answer has the cursor at which to go on,
// and whether there is anything. With wait an answer that would be empty waits for an event.
func (c *v1Call) listEvents() error {
	if wantsStream(c.r) {
		return c.streamEvents()
	}
	f, err := newEventFilter(c.query)
	if err != nil {
		return err
	}
	n, err := limit(c.query)
	if err != nil {
		return err
	}
	from, err := number(c.query, "cursor", 0)
	if err != nil {
		return err
	}
	epoch, err := number(c.query, "epoch", 0)
	if err != nil {
		return err
	}
	back, err := descending(c.query)
	if err != nil {
		return err
	}
	wait, err := waiting(c.query)
	if err != nil {
		return err
	}
	if back && wait > 0 {
		return &badParameter{"wait", "absent with order=desc"}
	}
	var p *page
	switch {
	case back:
		p = c.api.newPage(&f, n)
		p.back = true
		err = c.api.scanBack(c.r, p, from)
	case wait > 0:
		p, err = c.poll(&f, from, int64(epoch), n, wait)
	default:
		p, err = c.api.scan(c.r, &f, from, int64(epoch), n)
	}
	if err == nil && !back {
		err = c.api.tellEpoch(p)
	}
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, eventPage{Events: p.events, Cursor: p.cursor, More: p.more, Epoch: p.epoch, Gap: p.gap})
}

func (a *API) newPage(f *eventFilter, n int) *page {
	return &page{f: f, limit: n, events: []eventView{}, deadline: time.Now().Add(a.scanTime)}
}

// scan collects a page on from a position, 0 for the beginning. epoch is that of the record before it, 0 when the client
// does not know.
func (a *API) scan(r *http.Request, f *eventFilter, from uint64, epoch int64, n int) (*page, error) {
	p := a.newPage(f, n)
	var err error
	if from, p.gap, err = a.resume(from, epoch); err != nil {
		return nil, err
	}
	if f.byStream {
		if p.gap != nil && p.gap.Reason == gapRetention {
			p.gap = nil // nobody knows whether the stream had events there
		}
		return p, a.scanKey(r, p, from)
	}
	return p, a.scanLog(r, p, from)
}

// poll collects a page; when that would be empty it waits for an event.
func (c *v1Call) poll(f *eventFilter, from uint64, epoch int64, n int, wait time.Duration) (*page, error) {
	leave, err := c.enter(c.api.waiters, "too many requests wait for events")
	if err != nil {
		return nil, err
	}
	defer leave()
	// Not every writer has a deadline.
	_ = http.NewResponseController(c.w).SetWriteDeadline(time.Now().Add(wait + answerTimeout))
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		seen := c.api.deps.Journal.Info().Last
		p, err := c.api.scan(c.r, f, from, epoch, n)
		if err != nil || len(p.events) > 0 || p.more || p.gap != nil {
			return p, err
		}
		seen, some := c.await(f, seen, timer.C)
		from, epoch = max(p.cursor, seen+1), 0
		if !some {
			p.cursor, p.epoch = from, 0
			return p, nil
		}
	}
}

// await waits until there may be an event behind a position that matches. It returns the position up to which there is
// none.
func (c *v1Call) await(f *eventFilter, seen uint64, timeout <-chan time.Time) (uint64, bool) {
	ready := make(chan struct{})
	close(ready)
	for {
		recs, wake := c.api.deps.Broadcaster.after(seen+1, tailRecords)
		if i := slices.IndexFunc(recs, f.matches); i >= 0 {
			return recs[i].Position - 1, true
		}
		if len(recs) > 0 {
			seen, wake = recs[len(recs)-1].Position, ready
		} else if c.api.deps.Journal.Info().Last > seen {
			return seen, true // further behind than what is kept, or not told of yet
		}
		select {
		case <-timeout:
			return seen, false
		case <-c.r.Context().Done():
			return seen, false
		case <-c.api.done:
			return seen, false
		case <-wake:
		}
	}
}

// scanBack reads back from a position, which is not included; 0: from the newest.
func (a *API) scanBack(r *http.Request, p *page, from uint64) error {
	b, err := a.backward(p.f, from)
	if err != nil {
		return err
	}
	p.cursor = from
	if p.cursor == 0 {
		p.cursor = a.deps.Journal.Info().Last + 1
	}
	for {
		recs, err := b.next()
		if err != nil {
			return err
		}
		if len(recs) == 0 {
			p.more = false
			return nil
		}
		for _, rec := range slices.Backward(recs) {
			if !p.take(rec) {
				return nil
			}
		}
		if p.late(r) {
			return nil
		}
	}
}

// backward returns a reader of what stands before a position and may match.
func (a *API) backward(f *eventFilter, from uint64) (*backward, error) {
	info := a.deps.Journal.Info()
	end := info.Last + 1
	if from > 0 {
		end = min(end, from)
	}
	if !f.until.IsZero() {
		at, err := a.positionAt(f.until.Add(clockSlack))
		if err != nil {
			return nil, err
		}
		end = min(end, at)
	}
	lim := journal.Limit{Records: backRecords}
	if !f.byStream {
		return &backward{
			read:  func(from uint64) ([]*journal.Record, error) { return a.deps.Journal.Read(from, lim) },
			place: func(r *journal.Record) uint64 { return r.Position },
			low:   info.First, high: end, step: backRecords,
		}, nil
	}
	b := &backward{
		read:  func(seq uint64) ([]*journal.Record, error) { return a.deps.Journal.ReadKey(f.stream, seq, lim) },
		place: func(r *journal.Record) uint64 { return r.Seq },
		step:  backRecords,
	}
	first, err := a.deps.Journal.ReadKey(f.stream, f.after+1, journal.Limit{Records: 1})
	if err != nil || len(first) == 0 {
		return b, err
	}
	b.low = first[0].Seq
	if b.high, err = a.seqAt(f.stream, end); err != nil {
		return nil, err
	}
	if f.before > 0 {
		b.high = min(b.high, f.before)
	}
	return b, nil
}

// backRecords is about the number of records that are read at a time on the way back.
const backRecords = 256

// backward reads a sequence that can only be read forwards from its end to its beginning.
type backward struct {
	read  func(from uint64) ([]*journal.Record, error)
	place func(*journal.Record) uint64 // rises; read reads on from one
	// low and high bound the places that are left, high excluded.
	low, high uint64
	step      uint64 // how far back the next read goes
}

// next returns the last records that were not returned yet, in the order of the sequence. None: there are no more.
func (b *backward) next() ([]*journal.Record, error) {
	for b.high > b.low {
		from := b.low
		if b.high-b.low > b.step {
			from = b.high - b.step
		}
		recs, whole, err := b.collect(from)
		if err != nil {
			return nil, err
		}
		if !whole {
			b.step = max(b.step/4, 1)
			continue
		}
		b.high = from
		if len(recs) > 0 {
			return recs, nil
		}
		b.step = min(b.step*2, 1<<62) // places may be far apart
	}
	return nil, nil
}

// collect returns the records from a place up to high, unless they are more than one may hold.
func (b *backward) collect(from uint64) (recs []*journal.Record, whole bool, err error) {
	size := 0
	for from < b.high {
		batch, err := b.read(from)
		if err != nil {
			return nil, false, err
		}
		if len(batch) == 0 {
			break
		}
		for _, r := range batch {
			if b.place(r) >= b.high {
				return recs, true, nil
			}
			recs = append(recs, r)
			size += len(r.Body)
			if len(recs) > 1 && (len(recs) > backRecords || size > answerBytes) {
				return nil, false, nil
			}
			from = b.place(r) + 1
		}
	}
	return recs, true, nil
}

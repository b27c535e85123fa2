package api

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/hookline/hookline/internal/journal"
)

const (
	// tailRecords is the number of records between two looks at the client, and tailBytes about the size of a write.
	tailRecords = 256
	tailBytes   = 256 << 10
)

// streamEvents serves server-sent events (the HTML standard, section 9.2): what is journaled from now on, or behind
// Last-Event-ID, or from the parameter cursor on.
//
// A message's id is its epoch and its position, as 1767319445678-42, and its data an event as in the list. A message of
// type "gap" says that the client misses something: {"from":n,"to":m,"reason":"retention"}, positions which the journal
// has no more; or reason "reset" when the journal is not the one that the client has read (see resume).
func (c *v1Call) streamEvents() error {
	a, w, r := c.api, c.w, c.r
	f, from, gap, err := a.tailStart(r, c.query)
	if err != nil {
		return err
	}
	leave, err := c.enter(a.streams, "too many event streams")
	if err != nil {
		return err
	}
	defer leave()
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // nginx in between passes messages on at once
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return nil
	}
	t := &tail{api: a, w: w, rc: http.NewResponseController(w), f: f, next: from}
	t.buf.WriteString(": hookline\n\n")
	if gap != nil {
		t.gap(*gap)
	}
	if err := t.run(r.Context()); err != nil {
		a.log.DebugContext(r.Context(), "event stream ended", "peer", r.RemoteAddr, "err", err)
	}
	return nil // the answer has begun
}

// enter takes one of the places of a kind of long request; leave gives it back.
func (c *v1Call) enter(places chan struct{}, full string) (leave func(), err error) {
	select {
	case <-c.api.done:
		return nil, &refusal{http.StatusServiceUnavailable, ProblemStopping, "the server is stopping"}
	default:
	}
	select {
	case places <- struct{}{}:
		return func() { <-places }, nil
	default:
		c.w.Header().Set("Retry-After", "5")
		return nil, &refusal{http.StatusServiceUnavailable, ProblemBusy, full}
	}
}

// tailStart reads the filter and the position at which a stream begins, and what the client misses before it.
func (a *API) tailStart(r *http.Request, q url.Values) (f eventFilter, from uint64, gap *positionGap, err error) {
	if f, err = newEventFilter(q); err != nil {
		return f, 0, nil, err
	}
	if from, err = number(q, "cursor", a.deps.Journal.Info().Last+1); err != nil {
		return f, 0, nil, err
	}
	epoch, err := number(q, "epoch", 0)
	if err != nil {
		return f, 0, nil, err
	}
	if id := r.Header.Get("Last-Event-ID"); id != "" {
		of, position, ok := strings.Cut(id, "-")
		if !ok { // a position alone
			of, position = "0", id
		}
		seen, bad := strconv.ParseUint(position, 10, 63)
		if epoch, err = strconv.ParseUint(of, 10, 63); bad != nil || err != nil {
			return f, 0, nil, &badParameter{"Last-Event-ID", "the id of a message"}
		}
		from = seen + 1
	}
	from, gap, err = a.resume(from, int64(epoch))
	if gap != nil && gap.Reason == gapRetention {
		gap = nil // found when it is read
	}
	return f, max(from, 1), gap, err
}

// tail is one event stream. It is used by one goroutine.
type tail struct {
	api  *API
	w    http.ResponseWriter
	rc   *http.ResponseController
	f    eventFilter
	next uint64 // position
	buf  bytes.Buffer
}

// run writes until the client leaves, is too slow, or the API is closed.
func (t *tail) run(ctx context.Context) error {
	if err := t.flush(); err != nil {
		return err
	}
	beat := time.NewTicker(t.api.deps.Heartbeat)
	defer beat.Stop()
	ready := make(chan struct{})
	close(ready)
	for {
		wake, err := t.advance()
		if err != nil {
			return err
		}
		if wake == nil { // there is more, perhaps a long way through what does not match
			wake = ready
		}
		select {
		case <-wake:
		case <-beat.C:
			t.buf.WriteString(":\n\n")
			if err := t.flush(); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		case <-t.api.done:
			return nil
		}
	}
}

// advance writes the next records. When there are none it says when to look again.
func (t *tail) advance() (<-chan struct{}, error) {
	recs, wake := t.api.deps.Broadcaster.after(t.next, tailRecords)
	if recs == nil {
		var err error
		if recs, err = t.api.deps.Journal.Read(t.next, journal.Limit{Records: tailRecords}); err != nil {
			return nil, err
		}
		if len(recs) == 0 {
			return wake, nil
		}
	}
	if first := recs[0].Position; first > t.next {
		t.gap(positionGap{t.next, first - 1, gapRetention})
	}
	for _, r := range recs {
		t.next = r.Position + 1
		if !t.f.matches(r) {
			continue
		}
		if err := t.message(r); err != nil {
			return nil, err
		}
		if t.buf.Len() >= tailBytes {
			if err := t.flush(); err != nil {
				return nil, err
			}
		}
	}
	return nil, t.flush()
}

// message appends one event. Its JSON is on one line.
func (t *tail) message(r *journal.Record) error {
	b, err := marshal(eventOf(r))
	if err != nil {
		return err
	}
	t.buf.WriteString("id: ")
	t.buf.WriteString(strconv.FormatInt(r.Epoch, 10))
	t.buf.WriteByte('-')
	t.buf.WriteString(strconv.FormatUint(r.Position, 10))
	t.buf.WriteString("\ndata: ")
	t.buf.Write(b)
	t.buf.WriteString("\n\n")
	return nil
}

func (t *tail) gap(g positionGap) {
	b, err := marshal(g)
	if err != nil { // two numbers and a word
		return
	}
	t.buf.WriteString("event: gap\ndata: ")
	t.buf.Write(b)
	t.buf.WriteString("\n\n")
}

// flush sends what was appended. A client that does not take it in time is cut.
func (t *tail) flush() error {
	if t.buf.Len() == 0 {
		return nil
	}
	_ = t.rc.SetWriteDeadline(time.Now().Add(t.api.deps.WriteTimeout)) // not every writer has one
	_, err := t.w.Write(t.buf.Bytes())
	t.buf.Reset()
	if err != nil {
		return err
	}
	err = t.rc.Flush()
	_ = t.rc.SetWriteDeadline(time.Time{}) // in HTTP/2 it would end a stream of which nothing is written
	return err
}

package api

import (
	"cmp"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hookline/hookline/internal/delivery"
	"github.com/hookline/hookline/internal/journal"
)

// deadLetterView is an element of /api/v1/dead-letters.
type deadLetterView struct {
	Endpoint string    `json:"endpoint"`
	Position uint64    `json:"position"`
	Reason   string    `json:"reason"`
	Error    string    `json:"error"`
	Attempts int       `json:"attempts"`
	Time     time.Time `json:"time"` // when it was given up
	// Event is absent when what is stored can't be read.
	Event *eventView `json:"event,omitempty"`
}

func viewOf(d *delivery.DeadLetter, rec *journal.Record) deadLetterView {
	v := deadLetterView{
		Endpoint: d.Endpoint, Position: d.Position, Reason: d.Reason, Error: d.Error, Attempts: d.Attempts, Time: d.Time,
	}
	if rec != nil {
		e := eventOf(rec)
		e.Position = d.Position
		v.Event = &e
	}
	return v
}

// deadFilter selects dead letters; empty members don't limit.
type deadFilter struct{ endpoint, stream, reason string }

func (f *deadFilter) check() error {
	return errors.Join(
		checkText("endpoint", f.endpoint, maxName), checkText("stream", f.stream, journal.MaxKey),
		checkText("reason", f.reason, maxName),
	)
}

func (f *deadFilter) matches(d *delivery.DeadLetter, rec *journal.Record) bool {
	return (f.endpoint == "" || f.endpoint == d.Endpoint) && (f.reason == "" || f.reason == d.Reason) &&
		(f.stream == "" || rec != nil && f.stream == rec.Key)
}

// deadPage collects what matches behind a cursor.
type deadPage struct {
	views  []deadLetterView
	cursor string
	more   bool
}

// deadLetters returns at most n dead letters, sorted by endpoint and position. The cursor is "endpoint/position" of the
// last one seen.
func (a *API) deadLetters(f *deadFilter, cursor string, n int) (*deadPage, error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	list := a.deps.DeadLetters
	if a.deps.Platform != nil {
		list = a.deps.Platform.DeadLetters
	}
	p := &deadPage{views: []deadLetterView{}, cursor: cursor}
	if list == nil {
		return p, nil
	}
	letters, err := list(f.endpoint)
	if err != nil {
		return nil, err
	}
	if letters, err = behind(slices.Clone(letters), cursor); err != nil {
		return nil, err
	}
	size := 0
	for i := range letters {
		d := &letters[i]
		if f.reason != "" && f.reason != d.Reason {
			continue // without a look at the record
		}
		rec := decode(d.Record)
		if !f.matches(d, rec) {
			continue
		}
		if size += len(d.Record); len(p.views) >= n || size > answerBytes && len(p.views) > 0 {
			p.more = true
			break
		}
		p.views = append(p.views, viewOf(d, rec))
		p.cursor = d.Endpoint + "/" + strconv.FormatUint(d.Position, 10)
	}
	return p, nil
}

// behind returns the letters after the cursor, sorted.
func behind(letters []delivery.DeadLetter, cursor string) ([]delivery.DeadLetter, error) {
	slices.SortStableFunc(letters, func(x, y delivery.DeadLetter) int {
		return cmp.Or(strings.Compare(x.Endpoint, y.Endpoint), cmp.Compare(x.Position, y.Position))
	})
	if cursor == "" {
		return letters, nil
	}
	slash := strings.LastIndexByte(cursor, '/')
	position, err := strconv.ParseUint(cursor[slash+1:], 10, 64)
	if slash < 0 || err != nil {
		return nil, &badParameter{"cursor", "one that this list has returned"}
	}
	at := slices.IndexFunc(letters, func(d delivery.DeadLetter) bool {
		return cmp.Or(strings.Compare(d.Endpoint, cursor[:slash]), cmp.Compare(d.Position, position)) > 0
	})
	if at < 0 {
		return nil, nil
	}
	return letters[at:], nil
}

func (c *v1Call) listDeadLetters() error {
	n, err := limit(c.query)
	if err != nil {
		return err
	}
	f := deadFilter{c.query.Get("endpoint"), c.query.Get("stream"), c.query.Get("reason")}
	p, err := c.api.deadLetters(&f, c.query.Get("cursor"), n)
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, map[string]any{"deadLetters": p.views, "cursor": p.cursor, "more": p.more})
}

// deadLetter returns the endpoint and the position in the path.
func (c *v1Call) deadLetter() (endpoint string, position uint64, err error) {
	if err := checkText("endpoint", c.path[0], maxName); err != nil {
		return "", 0, err
	}
	if position, err = strconv.ParseUint(c.path[1], 10, 63); err != nil {
		return "", 0, &badParameter{"position", "a position"}
	}
	c.note("endpoint", c.path[0], "position", position)
	return c.path[0], position, nil
}

func (c *v1Call) getDeadLetter() error {
	endpoint, position, err := c.deadLetter()
	if err != nil {
		return err
	}
	d, rec, err := c.api.deps.Platform.DeadLetter(endpoint, position)
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, viewOf(&d, rec))
}

// redriven is the answer to a redrive.
type redriven struct {
	Redriven int `json:"redriven"`
	// Cursor and More lead on, when there is more than one request may take.
	Cursor string `json:"cursor,omitempty"`
	More   bool   `json:"more"`
}

func (c *v1Call) redriveDeadLetter() error {
	endpoint, position, err := c.deadLetter()
	if err != nil {
		return err
	}
	if err := c.api.deps.Platform.Redrive(endpoint, position); err != nil {
		return err
	}
	return c.answer(http.StatusAccepted, redriven{Redriven: 1})
}

// redriveRequest is the body of a redrive of many.
type redriveRequest struct {
	Endpoint string `json:"endpoint"`
	Stream   string `json:"stream"`
	Reason   string `json:"reason"`
	Limit    *int   `json:"limit"`
	Cursor   string `json:"cursor"`
}

// redriveMany redrives what matches behind the cursor. A dead letter stays one until it is accepted, so that without
// the cursor the same ones would come again.
func (c *v1Call) redriveMany() error {
	var in redriveRequest
	if err := c.body(&in); err != nil {
		return err
	}
	n := defaultLimit
	if in.Limit != nil {
		n = *in.Limit
	}
	switch {
	case in.Endpoint == "":
		return &badParameter{"endpoint", "the name of an endpoint"}
	case n < 1 || n > maxLimit:
		return &badParameter{"limit", "an integer from 1 to 1000"}
	}
	f := deadFilter{in.Endpoint, in.Stream, in.Reason}
	if err := f.check(); err != nil {
		return err
	}
	c.note("endpoint", in.Endpoint, "stream", in.Stream, "reason", in.Reason)
	if _, err := c.api.endpoint(in.Endpoint); err != nil {
		return err
	}
	p, err := c.api.deadLetters(&f, in.Cursor, n)
	if err != nil {
		return err
	}
	out := redriven{Cursor: p.cursor, More: p.more}
	defer func() { c.note("count", out.Redriven) }()
	for i := range p.views {
		err := c.api.deps.Platform.Redrive(p.views[i].Endpoint, p.views[i].Position)
		if errors.Is(err, delivery.ErrNoDeadLetter) {
			continue // accepted or discarded meanwhile
		}
		if err != nil {
			return err
		}
		out.Redriven++
	}
	return c.answer(http.StatusAccepted, out)
}

func (c *v1Call) discardDeadLetter() error {
	endpoint, position, err := c.deadLetter()
	if err != nil {
		return err
	}
	reason := strings.TrimSpace(c.query.Get("reason"))
	if err := checkText("reason", reason, maxText); err != nil {
		return err
	}
	if reason == "" {
		return &badParameter{"reason", "given: it is what the log will say"}
	}
	c.note("reason", reason)
	if err := c.api.deps.Platform.Discard(endpoint, position, reason); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

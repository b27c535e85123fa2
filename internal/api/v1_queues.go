package api

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/delivery"
	"github.com/hookline/hookline/internal/journal"
)

// depthRecords bounds how many events are looked at to count what one endpoint is owed, depthTotal for one answer.
const (
	depthRecords = 50000
	depthTotal   = 200000
)

// gapView is a gap that an endpoint's receiver was not told of yet.
type gapView struct {
	Endpoint  string    `json:"endpoint"`
	ID        string    `json:"id"`
	HookIndex uint64    `json:"hook_index"`
	Time      time.Time `json:"time"`
	Epoch     int64     `json:"epoch"`
	Stream    string    `json:"stream"`
	event.Gap
}

// gapPage is the answer to /api/v1/gaps.
type gapPage struct {
	Gaps   []gapView `json:"gaps"`
	Cursor string    `json:"cursor,omitempty"`
	More   bool      `json:"more"`
}

// listGaps lists gaps by endpoint and stream.
func (c *v1Call) listGaps() error {
	n, err := limit(c.query)
	if err != nil {
		return err
	}
	after, name, key := c.query.Get("cursor"), c.query.Get("endpoint"), c.query.Get("stream")
	for _, p := range []struct{ name, v string }{{"endpoint", name}, {"cursor", after}, {"stream", key}} {
		if err := checkText(p.name, p.v, maxGapCursor); err != nil {
			return err
		}
	}
	gaps, err := c.api.deps.Operations.OpenGaps(name)
	if err != nil {
		return err
	}
	slices.SortStableFunc(gaps, func(a, b delivery.OpenGap) int { return strings.Compare(gapPlace(&a), gapPlace(&b)) })
	page := gapPage{Gaps: []gapView{}}
	for i := range gaps {
		g := &gaps[i]
		place := gapPlace(g)
		switch {
		case name != "" && g.Endpoint != name, c.query.Has("stream") && g.Stream != key, place <= after:
			continue
		case len(page.Gaps) == n:
			page.More = true
			return c.answer(http.StatusOK, page)
		}
		page.Gaps = append(page.Gaps, gapView{
			Endpoint: g.Endpoint, ID: g.ID, HookIndex: g.Index, Time: g.Time.UTC(), Epoch: g.Epoch, Stream: g.Stream, Gap: g.Gap,
		})
		page.Cursor = place
	}
	return c.answer(http.StatusOK, page)
}

// maxGapCursor bounds the parameters of listGaps, in bytes: a cursor names an endpoint, a stream and an id.
const maxGapCursor = 4096

// gapPlace orders gaps; no two have the same.
func gapPlace(g *delivery.OpenGap) string { return g.Endpoint + " " + g.Stream + " " + g.ID }

// depthView is how much an endpoint is behind.
type depthView struct {
	Name  string `json:"name"`
	State string `json:"state,omitempty"`
	// Lag is the number of positions behind the floor, owed or not.
	Lag uint64 `json:"lag"`
	// Events and Bytes are what is owed; bytes are those of the bodies. Exact is false when that is only a part.
	Events uint64 `json:"events"`
	Bytes  uint64 `json:"bytes"`
	Exact  bool   `json:"exact"`
	// Parked is the number of streams that wait for themselves.
	Parked   int `json:"parked"`
	Held     int `json:"held"`
	InFlight int `json:"inFlight"`
	// Oldest is the time of the oldest event that is owed.
	Oldest *time.Time `json:"oldest,omitempty"`
}

// queues shows the depth of each endpoint, by name.
func (c *v1Call) queues() error {
	n, err := limit(c.query)
	if err != nil {
		return err
	}
	after := c.query.Get("cursor")
	if err := checkText("cursor", after, maxName); err != nil {
		return err
	}
	page := struct {
		Queues []depthView `json:"queues"`
		Cursor string      `json:"cursor,omitempty"`
		More   bool        `json:"more"`
	}{Queues: []depthView{}}
	left := depthTotal
	for _, e := range c.api.endpoints() {
		if e.Name <= after {
			continue
		}
		if len(page.Queues) == n {
			page.More = true
			break
		}
		v := depthView{
			Name: e.Name, State: e.State, Lag: lag(&e.Stats), Parked: e.Stats.Parked, Held: e.Stats.Held,
			InFlight: e.Stats.InFlight, Exact: true,
		}
		if v.Lag > 0 || v.Parked > 0 {
			d, err := c.api.deps.Operations.Depth(e.Name, min(left, depthRecords))
			if err != nil {
				return err
			}
			left -= d.Looked
			v.Events, v.Bytes, v.Exact = d.Events, d.Bytes, d.Exact
			if !d.Oldest.IsZero() {
				t := d.Oldest.UTC()
				v.Oldest = &t
			}
		}
		page.Queues, page.Cursor = append(page.Queues, v), e.Name
	}
	return c.answer(http.StatusOK, page)
}

// retentionView is what the journal keeps.
type retentionView struct {
	Hours    float64 `json:"hours"`
	MaxBytes int64   `json:"maxBytes"`
	// Before and Events: what goes at the next look, within a minute.
	Before uint64 `json:"before,omitempty"`
	Events uint64 `json:"events"`
	// Expires is when the oldest event is too old.
	Expires *time.Time `json:"expires,omitempty"`
}

func (c *v1Call) retention(info journal.Info, oldest *time.Time) (*retentionView, error) {
	if c.api.deps.Operations == nil {
		return nil, nil //nolint:nilnil // nobody knows
	}
	r, err := c.api.deps.Operations.Retention()
	if err != nil {
		return nil, err
	}
	v := &retentionView{Hours: r.MaxAge.Hours(), MaxBytes: r.MaxBytes, Before: r.Before}
	if r.Before > info.First {
		v.Events = r.Before - info.First
	}
	if oldest != nil {
		t := oldest.Add(r.MaxAge)
		v.Expires = &t
	}
	return v, nil
}

package api

import (
	"net/http"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/journal"
)

// journalView is the answer to /api/v1/journal.
type journalView struct {
	Created time.Time `json:"created"`
	First   uint64    `json:"first"`
	Last    uint64    `json:"last"`
	Events  uint64    `json:"events"`
	Bytes   uint64    `json:"bytes"`
	// Oldest and Newest are the times of the first and the last event.
	Oldest *time.Time `json:"oldest,omitempty"`
	Newest *time.Time `json:"newest,omitempty"`
	// Retention is absent when nobody knows it.
	Retention *retentionView `json:"retention,omitempty"`
	Endpoints []queueView    `json:"endpoints"`
}

// queueView is what one endpoint is still owed.
type queueView struct {
	Name  string `json:"name"`
	State string `json:"state,omitempty"`
	Floor uint64 `json:"floor"`
	// Lag is the number of positions behind the floor.
	Lag    uint64 `json:"lag"`
	Parked int    `json:"parked"`
	// Since is the time of the first event behind the floor. Parked lanes may be further behind.
	Since *time.Time `json:"since,omitempty"`
}

// journalState shows how much there is, how far back it goes, and how far each endpoint is.
func (c *v1Call) journalState() error {
	info := c.api.deps.Journal.Info()
	v := journalView{
		Created: time.UnixMilli(info.Created).UTC(), First: info.First, Last: info.Last, Events: info.Last + 1 - info.First,
		Bytes: info.Bytes, Endpoints: []queueView{},
	}
	times := map[uint64]*time.Time{} // endpoints often wait at the same place
	at := func(position uint64) (*time.Time, error) {
		if t, ok := times[position]; ok {
			return t, nil
		}
		recs, err := c.api.deps.Journal.Read(position, journal.Limit{Records: 1})
		if err != nil || len(recs) == 0 {
			return nil, err
		}
		t := recs[0].Time.UTC()
		times[position] = &t
		return &t, nil
	}
	var err error
	if v.Events > 0 {
		if v.Oldest, err = at(info.First); err != nil {
			return err
		}
		if v.Newest, err = at(info.Last); err != nil {
			return err
		}
	}
	if v.Retention, err = c.retention(info, v.Oldest); err != nil {
		return err
	}
	for _, e := range c.api.endpoints() {
		q := queueView{Name: e.Name, State: e.State, Floor: e.Stats.Floor, Lag: lag(&e.Stats), Parked: e.Stats.Parked}
		if q.Lag > 0 {
			if q.Since, err = at(max(q.Floor+1, info.First)); err != nil {
				return err
			}
		}
		v.Endpoints = append(v.Endpoints, q)
	}
	return c.answer(http.StatusOK, v)
}

// timelineView is what the journal has of one stream.
type timelineView struct {
	Stream string `json:"stream"`
	// Publications group Events, in the order in which they first occur on this page.
	Publications []*publicationView `json:"publications"`
	Events       []eventView        `json:"events"`
	// Requests are what was sent in the time of this page that is no event of the journal.
	Requests   []requestView `json:"requests"`
	Remembered memoryView    `json:"remembered"`
	Cursor     uint64        `json:"cursor"` // the seq at which to go on
	More       bool          `json:"more"`
}

// publicationView sums up the events of one publication on a page.
type publicationView struct {
	Publication string `json:"publication"`
	// Began and Ended are absent when the event that says so is not on the page.
	Began *time.Time `json:"began,omitempty"`
	Ended *time.Time `json:"ended,omitempty"`
	// Live: the journal has no end of it; also looked for behind the page, within bounds.
	Live bool `json:"live"`
	// First and Last are seqs.
	First  uint64 `json:"first"`
	Last   uint64 `json:"last"`
	Events int    `json:"events"`
}

// timeline lists everything that the journal has of a stream, by seq: what happened and what was decided, and what is
// remembered of the attempts to tell receivers of it.
func (c *v1Call) timeline() error {
	key := c.path[0]
	if len(key) > journal.MaxKey {
		return &badParameter{"stream", "a stream key"}
	}
	n, err := limit(c.query)
	if err != nil {
		return err
	}
	seq, err := number(c.query, "cursor", 0)
	if err != nil {
		return err
	}
	if last, err := c.api.deps.Journal.LastOfKey(key); err != nil {
		return err
	} else if last == nil {
		return errNoHistory
	}
	recs, more, err := c.readKey(key, seq, n)
	if err != nil {
		return err
	}
	v := timelineView{Stream: key, Publications: []*publicationView{}, Events: []eventView{}, Cursor: seq, More: more}
	groups := map[string]*publicationView{}
	for _, r := range recs {
		v.Events = append(v.Events, eventOf(r))
		v.Cursor = r.Seq + 1
		if r.Publication == "" {
			continue
		}
		g := groups[r.Publication]
		if g == nil {
			g = &publicationView{Publication: r.Publication, First: r.Seq, Live: true}
			groups[r.Publication] = g
			v.Publications = append(v.Publications, g)
		}
		g.add(r)
	}
	v.Requests, v.Remembered = c.attach(key, recs, v.Events, more), c.api.memory()
	if more {
		if err := c.findEnds(key, v.Cursor, groups); err != nil {
			return err
		}
	}
	return c.answer(http.StatusOK, v)
}

func (g *publicationView) add(r *journal.Record) {
	g.Events++
	g.Last = r.Seq
	t := r.Time.UTC()
	switch {
	case r.Type == event.OnPublish && g.Began == nil:
		g.Began = &t
	case r.Type == event.OnPublicationEnded:
		g.Ended, g.Live = &t, false
	}
}

// findEnds looks behind the page for the ends of publications, as far as one request goes.
func (c *v1Call) findEnds(key string, seq uint64, groups map[string]*publicationView) error {
	deadline := time.Now().Add(c.api.scanTime)
	for scanned := 0; scanned < scanRecords && time.Now().Before(deadline); {
		open := 0
		for _, g := range groups {
			if g.Live {
				open++
			}
		}
		if open == 0 {
			return nil
		}
		recs, err := c.api.deps.Journal.ReadKey(key, seq, journal.Limit{})
		if err != nil || len(recs) == 0 {
			return err
		}
		for _, r := range recs {
			if g := groups[r.Publication]; g != nil && r.Type == event.OnPublicationEnded {
				g.Live = false
			}
		}
		scanned += len(recs)
		seq = recs[len(recs)-1].Seq + 1
	}
	return nil
}

// readKey returns at most n events of a key from seq on, and whether there are more.
func (c *v1Call) readKey(key string, seq uint64, n int) (out []*journal.Record, more bool, err error) {
	size := 0
	for {
		recs, err := c.api.deps.Journal.ReadKey(key, seq, journal.Limit{Records: n + 1 - len(out)})
		if err != nil || len(recs) == 0 {
			return out, false, err
		}
		for _, r := range recs {
			if size += len(r.Body); len(out) >= n || size > answerBytes && len(out) > 0 {
				return out, true, nil
			}
			out = append(out, r)
			seq = r.Seq + 1
		}
	}
}

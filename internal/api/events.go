package api

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/journal"
)

const (
	// scanRecords bounds the records that one request looks at, and defaultScanTime the time that it takes; the cursor leads
	// on from there.
	scanRecords     = 100000
	defaultScanTime = 5 * time.Second
	// answerBytes bounds the bodies in one answer.
	answerBytes = 8 << 20
	// clockSlack is how far the times of neighbours in the log may be out of order.
	clockSlack = time.Minute
	// indexSlack is the number of positions by which an event may stand away from where its hook_index would put it:
	// events of different keys change places within the batches that are on their way at once.
	indexSlack = 8192
)

// eventView is an event of /api/v1: the members of the envelope and where it stands.
type eventView struct {
	Position  uint64 `json:"position"`
	Class     string `json:"class"`
	HookIndex uint64 `json:"hook_index"`
	event.Envelope
	Body json.RawMessage `json:"body"`
	// Deliveries are what is remembered of the attempts; in timelines and of single events.
	Deliveries []deliveryView `json:"deliveries,omitempty"`
}

func eventOf(r *journal.Record) eventView {
	body := json.RawMessage(r.Body)
	if !json.Valid(body) { // never written like that; an answer without an event would be worse
		body, _ = json.Marshal(string(r.Body)) // a string always has a JSON form
	}
	return eventView{
		Position: r.Position, Class: r.Class.String(), HookIndex: r.Index, Body: body,
		Envelope: event.Envelope{
			ID: r.ID, Type: r.Type, Source: r.Source, Incarnation: r.Incarnation, Epoch: r.Epoch, Stream: r.Key,
			Publication: r.Publication, Seq: r.Seq, Time: r.Time.UTC(), Compensation: r.Compensation,
		},
	}
}

// decode undoes the form in which a dead letter keeps its record, nil when it can't be read.
func decode(s string) *journal.Record {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return nil
	}
	r, err := journal.Decode(b)
	if err != nil {
		return nil
	}
	return r
}

// eventFilter selects events.
type eventFilter struct {
	stream       string
	byStream     bool
	types        map[event.Type]bool // empty: all
	since, until time.Time           // since <= time < until; zero: no bound
	after        uint64              // seq, with byStream
	before       uint64              // seq, with byStream; 0: no bound
}

// newEventFilter reads the parameters stream, type, since, until, after and before.
func newEventFilter(q url.Values) (f eventFilter, err error) {
	f.byStream, f.stream = q.Has("stream"), q.Get("stream")
	if len(f.stream) > journal.MaxKey {
		return f, &badParameter{"stream", "a stream key"}
	}
	if f.types, err = types(q["type"]); err != nil {
		return f, err
	}
	if f.since, err = instant(q, "since"); err != nil {
		return f, err
	}
	if f.until, err = instant(q, "until"); err != nil {
		return f, err
	}
	if f.after, err = number(q, "after", 0); err != nil {
		return f, err
	}
	if f.before, err = number(q, "before", 0); err != nil {
		return f, err
	}
	if !f.byStream && (q.Has("after") || q.Has("before")) {
		return f, &badParameter{"stream", "given with after and before"}
	}
	return f, nil
}

// types reads names of types; each value may be a comma list.
func types(values []string) (map[event.Type]bool, error) {
	all, out := event.Types(), map[event.Type]bool{}
	for _, v := range values {
		for name := range strings.SplitSeq(v, ",") {
			if !slices.Contains(all, event.Type(name)) {
				return nil, &badParameter{"type", "the name of an event type"}
			}
			out[event.Type(name)] = true
		}
	}
	return out, nil
}

func (f *eventFilter) matches(r *journal.Record) bool {
	return (!f.byStream || r.Key == f.stream) && (len(f.types) == 0 || f.types[r.Type]) &&
		(f.since.IsZero() || !r.Time.Before(f.since)) && (f.until.IsZero() || r.Time.Before(f.until)) &&
		(!f.byStream || r.Seq > f.after && (f.before == 0 || r.Seq < f.before))
}

// past says that nothing behind r can match.
func (f *eventFilter) past(r *journal.Record) bool {
	if f.byStream && (f.before > 0 && r.Seq >= f.before || !f.until.IsZero() && !r.Time.Before(f.until)) {
		return true // seq rises within a key, and time never falls
	}
	return !f.until.IsZero() && r.Time.After(f.until.Add(clockSlack))
}

// early says that nothing before r can match.
func (f *eventFilter) early(r *journal.Record) bool {
	if f.since.IsZero() {
		return false
	}
	return f.byStream && r.Time.Before(f.since) || r.Time.Before(f.since.Add(-clockSlack))
}

// page collects one answer.
type page struct {
	f        *eventFilter
	limit    int
	deadline time.Time

	events  []eventView
	bytes   int
	scanned int
	cursor  uint64 // position at which to go on; newest first: the last one looked at
	more    bool   // there may be something
	back    bool   // newest first
	gap     *positionGap
	epoch   int64 // of the last record that was looked at, 0 when there was none
}

// take looks at a record and says whether to go on.
func (p *page) take(r *journal.Record) bool {
	if !p.back && p.f.past(r) || p.back && p.f.early(r) {
		p.more = false
		return false
	}
	full := len(p.events) >= p.limit || p.bytes+len(r.Body) > answerBytes && len(p.events) > 0
	if match := p.f.matches(r); match && full || p.scanned >= scanRecords {
		p.more = true
		return false
	} else if match {
		p.events = append(p.events, eventOf(r))
		p.bytes += len(r.Body)
	}
	p.scanned++
	p.epoch = r.Epoch
	if p.cursor = r.Position + 1; p.back {
		p.cursor = r.Position
	}
	return true
}

// late says that the request has taken long enough; what is left is for the next page.
func (p *page) late(r *http.Request) bool {
	p.more = true
	return r.Context().Err() != nil || time.Now().After(p.deadline)
}

// scanLog reads on from a position, 0 for the beginning.
func (a *API) scanLog(r *http.Request, p *page, from uint64) error {
	if from == 0 && !p.f.since.IsZero() {
		var err error
		if from, err = a.positionAt(p.f.since.Add(-clockSlack)); err != nil {
			return err
		}
	}
	p.cursor = max(from, a.deps.Journal.Info().First)
	for {
		recs, err := a.deps.Journal.Read(p.cursor, journal.Limit{})
		if err != nil {
			return err
		}
		if len(recs) == 0 {
			p.more = false
			return nil
		}
		for _, rec := range recs {
			if !p.take(rec) {
				return nil
			}
		}
		if p.late(r) {
			return nil
		}
	}
}

// scanKey reads the events of one stream on from a position, 0 for the beginning.
func (a *API) scanKey(r *http.Request, p *page, from uint64) error {
	p.cursor = max(from, 1)
	seq, err := a.seqAt(p.f.stream, from)
	if err != nil {
		return err
	}
	for seq = max(seq, p.f.after+1); ; {
		recs, err := a.deps.Journal.ReadKey(p.f.stream, seq, journal.Limit{})
		if err != nil {
			return err
		}
		if len(recs) == 0 {
			p.more = false
			return nil
		}
		for _, rec := range recs {
			if !p.take(rec) {
				return nil
			}
			seq = rec.Seq + 1
		}
		if p.late(r) {
			return nil
		}
	}
}

// positionAt returns a position before which no event is as late as t, as long as the clock was not set back.
func (a *API) positionAt(t time.Time) (uint64, error) {
	return a.search(func(r *journal.Record) bool { return !r.Time.Before(t) })
}

// search returns the first position whose record is reached, given that all behind one that is are too.
func (a *API) search(reached func(*journal.Record) bool) (uint64, error) {
	info := a.deps.Journal.Info()
	low, high := info.First, info.Last+1
	for low < high {
		mid := low + (high-low)/2
		recs, err := a.deps.Journal.Read(mid, journal.Limit{Records: 1})
		if err != nil {
			return 0, err
		}
		if len(recs) == 0 || reached(recs[0]) {
			high = mid
		} else {
			low = max(mid, recs[0].Position) + 1
		}
	}
	return low, nil
}

// seqAt returns a seq before which no event of the key stands at position or behind it.
func (a *API) seqAt(key string, position uint64) (uint64, error) {
	if position <= 1 {
		return 0, nil
	}
	last, err := a.deps.Journal.LastOfKey(key)
	if err != nil || last == nil {
		return 0, err
	}
	low, high := uint64(1), last.Seq+1
	for low < high {
		mid := low + (high-low)/2
		recs, err := a.deps.Journal.ReadKey(key, mid, journal.Limit{Records: 1})
		switch {
		case err != nil:
			return 0, err
		case len(recs) == 0 || recs[0].Position >= position:
			high = mid
		default:
			low = recs[0].Seq + 1
		}
	}
	return low, nil
}

// errNoEvent says that the journal has no event with an id.
var errNoEvent = errors.New("no such event")

// errNoHistory says that the journal has no event of a stream.
var errNoHistory = errors.New("no event of the stream")

// getEvent returns one event by its id.
func (c *v1Call) getEvent() error {
	rec, err := c.api.find(c.r, c.path[0])
	if err != nil {
		return err
	}
	views := []eventView{eventOf(rec)}
	c.attach(rec.Key, []*journal.Record{rec}, views, true)
	return c.answerTagged(views[0])
}

// find looks an id up. It ends with the hook_index in hexadecimal, by which the log is nearly sorted.
func (a *API) find(r *http.Request, id string) (*journal.Record, error) {
	index, err := strconv.ParseUint(id[strings.LastIndexByte(id, '-')+1:], 16, 64)
	if err != nil {
		return nil, errNoEvent
	}
	at, err := a.search(func(r *journal.Record) bool { return r.Index >= index })
	if err != nil {
		return nil, err
	}
	from, to := uint64(1), at+indexSlack
	if at > indexSlack {
		from = at - indexSlack
	}
	for from <= to && r.Context().Err() == nil {
		recs, err := a.deps.Journal.Read(from, journal.Limit{})
		if err != nil {
			return nil, err
		}
		if len(recs) == 0 {
			break
		}
		for _, rec := range recs {
			if rec.Index == index && rec.ID == id {
				return rec, nil
			}
		}
		from = recs[len(recs)-1].Position + 1
	}
	return nil, errNoEvent
}

package receiver

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/hookline/hookline/event"
)

// Feed is a log of events that a receiver reads instead of being sent them; [API] is one.
type Feed interface {
	// Next returns the events behind c, in the order of the log and without a hole in what it holds of a stream, and the
	// cursor behind them. It waits for a while when there are none; then the page is empty.
	Next(ctx context.Context, c Cursor) (*Page, error)
}

// Cursor is a place in a log. The zero Cursor is its beginning.
type Cursor struct {
	Epoch    int64
	Position uint64
}

// Page is a part of a log.
type Page struct {
	Events []*Event
	Next   Cursor
	// Lost says why something before the events can't be read any more; "": nothing is lost.
	Lost string
}

// pullWait is how long a server holds a request for which it has no events.
const pullWait = 20 * time.Second

// Next implements [Feed] with /api/v1/events.
func (a *API) Next(ctx context.Context, c Cursor) (*Page, error) {
	var page struct {
		Events []apiEvent `json:"events"`
		Cursor uint64     `json:"cursor"`
		Epoch  int64      `json:"epoch"`
		Gap    *struct {
			Reason string `json:"reason"`
		} `json:"gap"`
	}
	q := url.Values{
		"cursor": {strconv.FormatUint(max(c.Position, 1), 10)}, "limit": {strconv.Itoa(pageLimit)}, "wait": {pullWait.String()},
	}
	if c.Epoch != 0 {
		q.Set("epoch", strconv.FormatInt(c.Epoch, 10))
	}
	long := *a
	if long.Client == nil {
		long.Client = &http.Client{Timeout: pullWait + 10*time.Second}
	}
	if err := long.get(ctx, "events", q, &page); err != nil {
		return nil, err
	}
	out := &Page{Next: Cursor{page.Epoch, page.Cursor}}
	if page.Gap != nil {
		out.Lost = page.Gap.Reason
	}
	for i := range page.Events {
		e, err := page.Events[i].event()
		if err != nil {
			return nil, err
		}
		out.Events = append(out.Events, e)
	}
	if len(page.Events) > 0 && page.Cursor <= c.Position && page.Epoch == c.Epoch {
		return nil, errors.New("receiver: the list of events does not go on")
	}
	return out, nil
}

// PullConfig of [Receiver.Pull].
type PullConfig struct {
	// Name is that of the cursor in the store: each reader of a store needs one of its own. Default "pull".
	Name string
	// Start is where a reader begins whose name the store does not know.
	Start Cursor
	// Window is how many events may be read and not handled yet. A stream whose handler fails holds up no other until as many
	// events of others have gone past it. Default 4096.
	Window int
	// Workers is how many streams are handled at the same time. Default 64.
	Workers int
}

// The pause after a failure grows from the one to the other.
const (
	retryMin = 100 * time.Millisecond
	retryMax = 30 * time.Second
)

// errPullInbox says that the two exclude each other: what is pulled would overtake what waits.
var errPullInbox = errors.New("receiver: Pull handles events as it reads them; it can't be used with an inbox")

// Pull reads the log of a sender with the handlers of the receiver until ctx ends, whose error it returns. Nothing needs to be
// configured at the sender, and no port opened here.
//
// Events of one stream run one at a time, in order, several streams side by side. A handler that fails is tried again with its
// event after a pause, which grows to half a minute, and holds up its own stream; who wants to skip an event returns nil. The
// cursor is kept in the store and never ahead of what is committed, so after a crash some events are read again, and the
// marks know them. Requests that fail are logged and made again. Decisions can't be pulled: they are in the log as
// history, with their outcome. With [WithInbox] Pull fails at once: the log is an inbox, and the cursor the place in it.
func (r *Receiver) Pull(ctx context.Context, from Feed, cfg PullConfig) error {
	if r.inbox != nil {
		return errPullInbox
	}
	if cfg.Name == "" {
		cfg.Name = "pull"
	}
	if cfg.Window <= 0 {
		cfg.Window = 4096
	}
	if cfg.Workers <= 0 {
		cfg.Workers = 64
	}
	p := &puller{
		r: r, cfg: cfg, key: Key{Replay: "cursor " + cfg.Name}, // no replay has such an id
		slots: make(chan struct{}, cfg.Workers), streams: map[Key][]*pulled{}, room: make(chan struct{}, 1),
	}
	// A context that ends with the receiver as well.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.base, cancel)()
	defer p.wg.Wait()
	defer cancel()
	at, err := p.load(ctx)
	if err != nil {
		return err
	}
	p.saved = at
	for pause := retryMin; ; {
		page, err := from.Next(ctx, at)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			r.log.Warn("the sender's log could not be read", "error", err)
			rest(ctx, pause)
			pause = min(2*pause, retryMax)
			continue
		}
		pause = retryMin
		if page.Lost != "" {
			r.log.Error("events can't be read any more", "reason", page.Lost, "epoch", at.Epoch, "position", at.Position)
		}
		at = page.Next
		if err := p.take(ctx, page); err != nil {
			return err
		}
	}
}

// puller is a Pull at work.
type puller struct {
	r     *Receiver
	cfg   PullConfig
	key   Key // of the cursor
	slots chan struct{}
	wg    sync.WaitGroup
	room  chan struct{} // told when there is more room in the window

	mu      sync.Mutex
	streams map[Key][]*pulled // guarded by mu; whose first is being handled
	open    int               // guarded by mu; events that are not handled yet
	pages   []*pulledPage     // guarded by mu; that are not done, in order
	saved   Cursor            // guarded by saving
	saving  sync.Mutex
}

// pulledPage is a page of which events are left.
type pulledPage struct {
	left int
	next Cursor
}

type pulled struct {
	e    *Event
	page *pulledPage
}

// load reads the cursor.
func (p *puller) load(ctx context.Context) (at Cursor, err error) {
	err = p.r.store.Update(ctx, p.key, func(_ context.Context, m Mark) (Mark, error) {
		at = Cursor{m.Epoch, m.Seq}
		return m, nil
	})
	if at == (Cursor{}) {
		at = p.cfg.Start
	}
	return at, err
}

// take hands the events of a page out, and waits until there is room for them.
func (p *puller) take(ctx context.Context, page *Page) error {
	pp := &pulledPage{left: len(page.Events), next: page.Next}
	p.mu.Lock()
	p.pages = append(p.pages, pp)
	p.mu.Unlock()
	if pp.left == 0 {
		p.finish(ctx, pp, 0)
	}
	for _, e := range page.Events {
		for !p.admit(ctx, &pulled{e, pp}) {
			select {
			case <-p.room:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return ctx.Err()
}

// admit puts an event into its stream's queue if there is room.
func (p *puller) admit(ctx context.Context, item *pulled) bool {
	k := Key{Source: item.e.Source, Stream: item.e.Stream}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open >= p.cfg.Window {
		return false
	}
	p.open++
	queue, busy := p.streams[k]
	p.streams[k] = append(queue, item)
	if !busy {
		p.wg.Go(func() { p.work(ctx, k) })
	}
	return true
}

// work handles the events of a stream until there are no more.
func (p *puller) work(ctx context.Context, k Key) {
	for {
		p.mu.Lock()
		queue := p.streams[k]
		if len(queue) == 0 {
			delete(p.streams, k)
			p.mu.Unlock()
			return
		}
		item := queue[0]
		p.streams[k] = queue[1:]
		p.mu.Unlock()
		if !p.handle(ctx, item.e) {
			return
		}
		p.finish(ctx, item.page, 1)
	}
}

// handle tries until the event is handled, or ctx ends.
func (p *puller) handle(ctx context.Context, e *Event) bool {
	for pause := retryMin; ctx.Err() == nil; pause = min(2*pause, retryMax) {
		err := p.try(ctx, e)
		if err == nil {
			return true
		}
		if ctx.Err() == nil {
			p.r.note(e, err)
		}
		rest(ctx, pause)
	}
	return false
}

// try handles an event once, in a worker's place.
func (p *puller) try(ctx context.Context, e *Event) error {
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-p.slots }()
	ctx, cancel := context.WithTimeout(ctx, p.r.timeout)
	defer cancel()
	again := *e // an attempt leaves its traces in the event
	return guard(func() error { return p.r.sequenced(ctx, &again) })
}

// finish notes that n more events of a page are done, and keeps the cursor behind the last page before which all are.
func (p *puller) finish(ctx context.Context, page *pulledPage, n int) {
	p.mu.Lock()
	page.left -= n
	p.open -= n
	var to *Cursor
	for len(p.pages) > 0 && p.pages[0].left == 0 {
		to = &p.pages[0].next
		p.pages = p.pages[1:]
	}
	p.mu.Unlock()
	select {
	case p.room <- struct{}{}:
	default:
	}
	if to != nil {
		p.save(ctx, *to)
	}
}

// save keeps a cursor unless a later one is kept already.
func (p *puller) save(ctx context.Context, at Cursor) {
	p.saving.Lock()
	defer p.saving.Unlock()
	if at.Epoch < p.saved.Epoch || at.Epoch == p.saved.Epoch && at.Position <= p.saved.Position {
		return
	}
	err := p.r.store.Update(ctx, p.key, func(context.Context, Mark) (Mark, error) {
		return Mark{Epoch: at.Epoch, Seq: at.Position}, nil
	})
	if err != nil {
		if ctx.Err() == nil {
			p.r.log.Warn("the cursor could not be kept", "error", err) // the next page tries again
		}
		return
	}
	p.saved = at
}

// rest waits.
func rest(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// event is the form of the kit. In a log that is read without a filter the seqs of a stream are contiguous.
func (a *apiEvent) event() (*Event, error) {
	if err := check(&a.Envelope); err != nil {
		return nil, err
	}
	e := &Event{Envelope: a.Envelope, HookIndex: a.HookIndex, Body: a.Body}
	if e.Seq > 0 {
		prev := e.Seq - 1
		e.Prev = &prev
	}
	e.Gap, e.Late, e.Replay = nil, false, "" // these are of a delivery
	return e, nil
}

// apiEvent is an event in an answer of /api/v1.
type apiEvent struct {
	event.Envelope
	HookIndex uint64          `json:"hook_index"`
	Body      json.RawMessage `json:"body"`
}

// Message handles what a queue destination of Hookline has delivered: the body of one message, in the form zlm or cloudevents. nil
// means that it may be acknowledged to the queue, also when it was a duplicate; after an error it must come again before anything
// else of its stream does. A message that will never be understood is an error that [IsMalformed] tells. There is no signature to
// verify: who may write to the queue is the queue's affair.
//
// Let the messages of one stream come one after the other: one consumer for a key, without requeueing.
func (r *Receiver) Message(ctx context.Context, body []byte) error {
	if !r.begin() {
		return errBusy
	}
	defer r.end()
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	defer context.AfterFunc(r.base, cancel)()
	events, err := parse(formOf(body), body)
	if err != nil {
		r.stats.malformed.Add(1)
		return err
	}
	if events, err = r.inbox.accept(ctx, events); err != nil {
		if !errors.Is(err, errBusy) {
			r.note(nil, err)
		}
		return err
	}
	for _, e := range events {
		err := guard(func() error {
			_, err := r.dispatch(ctx, e)
			return err
		})
		if err != nil {
			r.note(e, err)
			return err
		}
	}
	return nil
}

// formOf returns the content type of a body that comes without one.
func formOf(body []byte) string {
	var m struct {
		Spec string `json:"specversion"`
	}
	if json.Unmarshal(body, &m) == nil && m.Spec != "" {
		return event.ContentTypeCloudEvent
	}
	return ""
}

// IsMalformed says that an error of [Receiver.Message] is about the message itself: it will fail as often as it comes.
func IsMalformed(err error) bool { return errors.As(err, new(*badRequest)) }

package receiver

import (
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/hookline/hookline/event"
)

// MaxEnded is the number of publications that have ended and are remembered, the newest.
const MaxEnded = 1024

// DefaultMaxPublications is the number of publications that have not ended and are remembered.
const DefaultMaxPublications = 65536

// WithMaxPublications replaces [DefaultMaxPublications]; each takes about a kilobyte, more with recordings. Of one that begins while as
// many have not ended the state is not kept: its events are handled, with the verdict [Untracked], [Stats.Untracked] counts them, and a
// log line says so. When there is room again it is followed from the next event on, and Uncertain. Publications whose ends never came take room until
// [Receiver.Reconcile] ends them.
func WithMaxPublications(n int) Option { return func(r *Receiver) { r.tracker.limit = max(n, 1) } }

// Change is a change of the state of a publication.
type Change struct {
	// Publication is the state after the change.
	Publication Publication
	// Before is the state that it was in; of a new one [Publishing].
	Before State
	// Event is what changed it. Of a repair it is made up: type, source, stream, publication, epoch and no id.
	Event Event
	// Synthesised: no event told this; it was found by [Receiver.Reconcile], or follows from another publication's register.
	Synthesised bool
}

type publicationKey struct{ source, id string }

// streamState is what the tracker knows of a stream. It lives as long as a publication of the stream is remembered.
type streamState struct {
	epoch   int64
	seq     uint64 // up to here the state holds what the events say, from events or a snapshot
	current *Publication
	pubs    []*Publication // that are remembered
}

// tracker keeps the state of publications.
type tracker struct {
	mu       sync.Mutex // guards everything here
	pubs     map[publicationKey]*Publication
	streams  map[Key]*streamState
	ended    []publicationKey // oldest first
	watchers map[*watcher]bool
	closed   bool
	limit    int // of publications that have not ended
	refused  uint64
	strange  map[publicationKey]bool // of which something was refused; at most limit
	full     bool                    // the last that was new was refused
	log      *slog.Logger
}

type watcher struct{ ch chan Change }

func (t *tracker) init(log *slog.Logger) {
	if t.limit == 0 {
		t.limit = DefaultMaxPublications
	}
	t.log = log
	t.strange = map[publicationKey]bool{}
	t.pubs = map[publicationKey]*Publication{}
	t.streams = map[Key]*streamState{}
	t.watchers = map[*watcher]bool{}
}

// peek returns the verdict that apply would return.
func (t *tracker) peek(e *Event, gap bool) Verdict {
	if e.Publication == "" || e.Replay != "" {
		return Untracked
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	p, isNew := t.find(e)
	p.Uncertain = p.Uncertain || gap
	if t.known(e) {
		return Known
	}
	if isNew && t.crowded() {
		return Untracked
	}
	v := p.follow(e)
	if st := t.streams[Key{Source: e.Source, Stream: e.Stream}]; v == Expected && t.supersedes(st, &p) && !st.current.Uncertain && !gap {
		return Impossible
	}
	return v
}

// crowded says that there is no room for another publication. The caller holds mu.
func (t *tracker) crowded() bool { return len(t.pubs)-len(t.ended) >= t.limit }

// refuse counts what is not followed for want of room. The caller holds mu.
func (t *tracker) refuse(source, stream string) {
	t.refused++
	if !t.full {
		t.full = true
		t.log.Warn("too many publications have not ended; the state of those that come is not kept", "source", source, "stream", stream, "max", t.limit)
	}
}

// find returns a copy of the publication of e, or a new one. The caller holds mu.
func (t *tracker) find(e *Event) (p Publication, isNew bool) {
	if old := t.pubs[publicationKey{e.Source, e.Publication}]; old != nil {
		return old.clone(), false
	}
	return Publication{
		Source: e.Source, Stream: e.Stream, ID: e.Publication, Epoch: e.Epoch, Since: e.Time, Readers: -1,
		// The first that is heard of a publication is its on_publish (history) or a register.
		Uncertain: e.Type != event.OnStreamChanged && e.Type != event.OnPublish ||
			t.strange[publicationKey{e.Source, e.Publication}] || len(t.strange) >= t.limit,
	}, true
}

// known says that a snapshot was newer than e. The caller holds mu.
func (t *tracker) known(e *Event) bool {
	st := t.streams[Key{Source: e.Source, Stream: e.Stream}]
	return st != nil && !e.Late && (e.Epoch < st.epoch || e.Epoch == st.epoch && e.Seq <= st.seq)
}

// supersedes says that p is live beside another publication of its stream, whose end was never heard of.
func (t *tracker) supersedes(st *streamState, p *Publication) bool {
	return st != nil && p.State == Live && st.current != nil && st.current.ID != p.ID && st.current.State == Live
}

// apply lets the state follow an event that was committed.
func (t *tracker) apply(e *Event) Verdict {
	if e.Publication == "" {
		return Untracked
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.known(e) {
		return Known
	}
	p, isNew := t.find(e)
	if isNew && e.Late {
		return Belated // of a publication that is forgotten
	}
	if isNew && t.crowded() {
		t.refuse(e.Source, e.Stream)
		if k := (publicationKey{e.Source, e.Publication}); e.Type == event.OnPublicationEnded {
			delete(t.strange, k)
		} else if len(t.strange) < t.limit {
			t.strange[k] = true
		}
		return Untracked
	}
	before := p.State
	v := p.follow(e)
	st := t.stream(Key{Source: e.Source, Stream: e.Stream})
	if t.supersedes(st, &p) && !e.Late {
		if v == Expected {
			v = st.current.off()
		}
		t.finish(st.current, ReasonSuperseded, e)
	}
	if !e.Late {
		st.epoch, st.seq = e.Epoch, e.Seq
	}
	t.put(p, isNew, st)
	t.tell(Change{Publication: p.clone(), Before: before, Event: *e})
	return v
}

func (t *tracker) stream(k Key) *streamState {
	st := t.streams[k]
	if st == nil {
		st = &streamState{}
		t.streams[k] = st
	}
	return st
}

// put keeps p. The caller holds mu.
func (t *tracker) put(p Publication, isNew bool, st *streamState) {
	k := publicationKey{p.Source, p.ID}
	old := t.pubs[k]
	wasEnded := old != nil && old.State == Ended
	if old == nil {
		old = &Publication{}
		t.pubs[k] = old
	}
	*old = p
	if isNew {
		st.pubs = append(st.pubs, old)
		t.full = false
		delete(t.strange, k)
	}
	if p.State == Live || st.current == nil {
		st.current = old
	}
	if p.State == Ended && !wasEnded {
		t.retire(k)
	}
}

// retire remembers an end and forgets the oldest. The caller holds mu.
func (t *tracker) retire(k publicationKey) {
	t.ended = append(t.ended, k)
	if len(t.ended) <= MaxEnded {
		return
	}
	oldest := t.ended[0]
	t.ended = t.ended[1:]
	p := t.pubs[oldest]
	if p == nil {
		return
	}
	delete(t.pubs, oldest)
	sk := Key{Source: p.Source, Stream: p.Stream}
	if st := t.streams[sk]; st != nil {
		if st.pubs = slices.DeleteFunc(st.pubs, func(o *Publication) bool { return o == p }); len(st.pubs) == 0 {
			delete(t.streams, sk)
		} else if st.current == p {
			st.current = nil
		}
	}
}

// finish ends a publication of which no event told the end. The caller holds mu.
func (t *tracker) finish(p *Publication, reason string, cause *Event) {
	before := p.State
	p.State, p.Schemas, p.Readers, p.Reason, p.Uncertain = Ended, nil, 0, reason, true
	p.EndedAt = cause.Time
	t.retire(publicationKey{p.Source, p.ID})
	t.tell(Change{Publication: p.clone(), Before: before, Synthesised: true, Event: synthetic(event.OnPublicationEnded, p)})
}

func synthetic(typ event.Type, p *Publication) Event {
	return Event{Envelope: event.Envelope{Type: typ, Source: p.Source, Epoch: p.Epoch, Stream: p.Stream, Publication: p.ID}}
}

// gap makes what is known of a stream's publications uncertain.
func (t *tracker) gap(k Key) {
	t.mu.Lock()
	defer t.mu.Unlock()
	st := t.streams[k]
	if st == nil {
		return
	}
	for _, p := range st.pubs {
		if p.State != Ended {
			p.Uncertain = true
		}
	}
}

// tell sends a change to who watches; who is behind is cut off. The caller holds mu.
func (t *tracker) tell(c Change) {
	for w := range t.watchers {
		select {
		case w.ch <- c:
		default:
			delete(t.watchers, w)
			close(w.ch)
		}
	}
}

func (t *tracker) closeWatchers() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	for w := range t.watchers {
		delete(t.watchers, w)
		close(w.ch)
	}
}

func (t *tracker) list(f func(*Publication) bool) []Publication {
	var out []Publication
	for _, p := range t.pubs {
		if f(p) {
			out = append(out, p.clone())
		}
	}
	slices.SortFunc(out, func(a, b Publication) int {
		if c := strings.Compare(a.Stream, b.Stream); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return out
}

// Live returns the publications that are [Live], by stream.
func (r *Receiver) Live() []Publication {
	t := &r.tracker
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.list(func(p *Publication) bool { return p.State == Live })
}

// Publication returns what is known of a publication: one that has not ended, or one of the last [MaxEnded] that have.
func (r *Receiver) Publication(source, id string) (Publication, bool) {
	t := &r.tracker
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.pubs[publicationKey{source, id}]
	if p == nil {
		return Publication{}, false
	}
	return p.clone(), true
}

// Stream returns the publication of a stream key that is live, or else was last.
func (r *Receiver) Stream(source, stream string) (Publication, bool) {
	t := &r.tracker
	t.mu.Lock()
	defer t.mu.Unlock()
	st := t.streams[Key{Source: source, Stream: stream}]
	if st == nil || st.current == nil {
		return Publication{}, false
	}
	return st.current.clone(), true
}

// Watch returns what has not ended, and a channel of every change after that, in the order of each publication. The channel
// is closed by stop, by [Receiver.Shutdown], and when its buffer is full: then watch anew. Nothing waits for a watcher.
func (r *Receiver) Watch(buffer int) (now []Publication, changes <-chan Change, stop func()) {
	t := &r.tracker
	w := &watcher{make(chan Change, max(buffer, 1))}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		close(w.ch)
	} else {
		t.watchers[w] = true
	}
	return t.list(func(p *Publication) bool { return p.State != Ended }), w.ch, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.watchers[w] {
			delete(t.watchers, w)
			close(w.ch)
		}
	}
}

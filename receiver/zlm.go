package receiver

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hookline/hookline/event"
)

// Certainty says how sure it is what an event is about. Events of Hookline are [Exact]: they name their publication.
type Certainty uint8

const (
	// Exact: the body names it.
	Exact Certainty = iota
	// Inferred: the body does not name it, and of what is known only one thing fits, or one fits much better.
	Inferred
	// Unknown: nothing fits, or several things do; what is said is a guess.
	Unknown
)

// String returns the certainty's name in lower case.
func (c Certainty) String() string {
	return [...]string{"exact", "inferred", "unknown"}[min(c, Unknown)]
}

// Defaults of [ZLMediaKit]. The last three are ZLMediaKit's own.
const (
	DefaultWindow       = 250 * time.Millisecond
	DefaultWaiting      = 1024
	DefaultRetryDelay   = 3 * time.Second
	DefaultHookTimeout  = 10 * time.Second
	DefaultContinuePush = 15 * time.Second
)

// ZLMediaKit says how a plain ZLMediaKit sends. The zero value has the defaults.
type ZLMediaKit struct {
	// Window is how long an event may wait for those with a lower hook_index that have not come; 0: [DefaultWindow], negative:
	// nothing waits. While no index is missing nothing waits.
	Window time.Duration
	// Waiting bounds the events that wait, of all streams together; 0: [DefaultWaiting]. Beyond it an event does not wait.
	Waiting int
	// AnswerAtOnce answers when an event is accepted in memory, not when it is handled. A handler that fails then is called
	// up to three times, RetryDelay apart, and an event that fails in the end, or is in memory when the process dies, is lost.
	AnswerAtOnce bool
	// RetryDelay is hook.retry_delay, Timeout hook.timeoutSec and ContinuePush protocol.continue_push_ms of the sender; 0: the
	// defaults, until an on_server_started says what they are. A negative ContinuePush: none.
	RetryDelay, Timeout, ContinuePush time.Duration
	// LifeParam is the name of a parameter in the publisher's URL whose value is new for each publication:
	// "rtmp://host/live/a?life=1b4e28ba" with "life". Such publications have that value as their id, and nothing about them is inferred.
	LifeParam string
}

// WithZLMediaKit has bodies without the member event taken for those of plain ZLMediaKit. The last element of the request's path
// names the hook ("/hooks/on_publish"). Such requests can't be signed: with [WithSecrets] they are refused.
//
// Handlers, state and [Receiver.Watch] are the same. [Event.Seq] is 0, [Event.HookIndex] is that of the first attempt that
// was seen, ID and Publication are made of the content, and [Event.Certainty] says how sure it is.
// docs/zlmediakit-sender.md says what can't be known.
func WithZLMediaKit(o ZLMediaKit) Option {
	return func(r *Receiver) { r.zlm = newZLM(r, o) }
}

// Limits of what is kept for plain ZLMediaKit.
const (
	maxSources  = 256
	maxLives    = 16   // of a stream
	maxSessions = 8192 // of a source
	maxAttempts = 256  // of a stream
	maxSchemas  = 32   // of a publication
	maxIdents   = 16   // publishers of a publication, which come back
	plainSlots  = 4096 // requests in hand, unless WithLimits says otherwise
	maxIndex    = 1 << 53
	// settleSlack is added to what the sender's settings say about when the last retry is over: its timers run every 2 s.
	settleSlack = 2 * time.Second
)

// hook is a request of plain ZLMediaKit.
type hook struct {
	index   int64 // -1: none
	order   int64 // index of the first attempt that was seen
	hash    uint64
	arrived time.Time
	first   time.Time // arrival of the first attempt that was seen
	source  *zlmSource
	stream  *zlmStream
	inc     *incarnation
	prior   *attempt // an attempt with the same content
	self    *attempt
	stray   bool // it may be of the process before
	schema  string
	listed  bool // it is no hook, but what a list says
	vague   bool // another event may have the same content: an unregister

	deadline time.Time
	look     bool // waits until the deadline: what else comes decides what it is
	turn     chan struct{}
	found    finding
}

// zlm is what the receiver knows of plain ZLMediaKits.
type zlm struct {
	r     *Receiver
	opt   ZLMediaKit
	begun time.Time

	mu      sync.Mutex // guards what follows and all sources; taken before tracker.mu
	sources map[string]*zlmSource
	waiting int
	closed  bool
	doubts  map[chan struct{}]bool // each gets a token when something became uncertain
}

// zlmSource is one mediaServerId. Guarded by zlm.mu.
type zlmSource struct {
	name     string
	inc      *incarnation
	prev     *incarnation
	streams  map[string]*zlmStream
	sessions map[string]*session
	queued   map[*zlmStream]bool // that have hooks waiting
	arrivals int

	retryDelay, timeout, grace time.Duration
	retries                    int

	skew    time.Duration // of the receiver's clock from the sender's, and up to a second and the way more
	clocked bool          // skew is known
}

// zlmStream is one stream key of a source. Guarded by zlm.mu.
type zlmStream struct {
	key      string
	wait     []*hook // by incarnation and order
	busy     bool
	released int64 // highest order that was handed out in this incarnation
	inc      *incarnation
	attempts []*attempt // oldest first
	lives    []*life    // oldest first
	used     time.Time
}

func newZLM(r *Receiver, o ZLMediaKit) *zlm {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&o.Window, DefaultWindow)
	def(&o.RetryDelay, DefaultRetryDelay)
	def(&o.Timeout, DefaultHookTimeout)
	def(&o.ContinuePush, DefaultContinuePush)
	o.ContinuePush = max(o.ContinuePush, 0)
	if o.Waiting == 0 {
		o.Waiting = DefaultWaiting
	}
	return &zlm{r: r, opt: o, begun: time.Now(), sources: map[string]*zlmSource{}, doubts: map[chan struct{}]bool{}}
}

// settle is how long after an event its last attempt may come (each has a time-out, and a delay after it).
func (s *zlmSource) settle() time.Duration {
	return time.Duration(s.retries+1)*s.timeout + time.Duration(s.retries)*s.retryDelay + settleSlack
}

// parsePlain reads a body of plain ZLMediaKit.
func parsePlain(path string, body []byte) (*Event, error) {
	typ := event.Type(path[strings.LastIndexByte(path, '/')+1:])
	if !slices.Contains(event.Types(), typ) || typ == event.OnPublicationEnded || typ == event.OnEventGap || typ == event.OnAdminAction {
		return nil, &badRequest{"no member event, and the path does not end with the name of a hook"}
	}
	m, body, err := readBody(typ, body)
	if err != nil {
		return nil, err
	}
	h := &hook{index: -1, turn: make(chan struct{})}
	if raw, ok := m["hook_index"]; ok {
		n, err := strconv.ParseInt(strings.Trim(string(raw), `"`), 10, 64) // a number as text, in on_server_started
		if err != nil || n < 0 || n > maxIndex {
			return nil, &badRequest{"hook_index out of bounds"}
		}
		h.index = n
		delete(m, "hook_index")
	}
	var who struct {
		ID       string `json:"mediaServerId"`
		Vhost    string `json:"vhost"`
		App      string `json:"app"`
		Stream   string `json:"stream"`
		StreamID string `json:"stream_id"`
		Regist   bool   `json:"regist"`
		Schema   string `json:"schema"`
	}
	if err := json.Unmarshal(body, &who); err != nil {
		return nil, &badRequest{"body: " + err.Error()}
	}
	e := &Event{Body: body, plain: h, Certainty: Unknown}
	e.Type, e.Source, e.HookIndex = typ, who.ID, uint64(max(h.index, 0))
	if e.Source == "" {
		e.Source = "zlmediakit"
	}
	if who.Stream == "" {
		who.Stream = who.StreamID
	}
	if who.App != "" || who.Stream != "" {
		e.Stream = who.Vhost + "/" + who.App + "/" + who.Stream
	}
	if len(e.Stream) > maxName || len(e.Source) > maxName {
		return nil, &badRequest{"event with a name that is too long"}
	}
	h.vague = typ == event.OnStreamChanged && !who.Regist
	h.schema, h.hash = who.Schema, contentHash(typ, m)
	h.order = h.index
	return e, nil
}

// contentHash is the same for each attempt of an event, in each run of the receiver.
func contentHash(typ event.Type, m map[string]json.RawMessage) uint64 {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	d := sha256.New()
	d.Write([]byte(typ))
	for _, k := range keys {
		d.Write([]byte(k))
		d.Write([]byte{0})
		d.Write(m[k])
		d.Write([]byte{0})
	}
	return binary.BigEndian.Uint64(d.Sum(nil))
}

// nameOf makes an id of what it names.
func nameOf(parts ...any) string { return "z" + strconv.FormatUint(hashOf(parts...), 16) }

// life returns the value of LifeParam in the publisher's parameters, "" when there is none.
func (z *zlm) life(params string) string {
	if z.opt.LifeParam == "" || params == "" {
		return ""
	}
	q, err := url.ParseQuery(params)
	if v := q.Get(z.opt.LifeParam); err == nil && len(v) <= 128 {
		return v
	}
	return ""
}

// accept registers the arrival of a hook. What it returns says whether it is one that waits for its turn.
func (z *zlm) accept(e *Event) (queued bool, err error) {
	h := e.plain
	z.mu.Lock()
	defer z.mu.Unlock()
	h.arrived = time.Now()
	h.first = h.arrived
	src, err := z.source(e.Source)
	if err != nil {
		return false, err
	}
	if src.arrivals++; src.arrivals%1024 == 0 {
		src.sweep(h.arrived)
	}
	h.source = src
	h.stream = src.stream(e.Stream, h.arrived)
	h.stream.remember(h, e.Type, src)
	z.incarnate(e)
	if e.Type == event.OnServerStarted {
		src.configure(e)
	}
	if c := event.ClassOf(e.Type); c != event.Lifecycle {
		z.pump(src)
		return false, nil
	}
	z.enqueue(e)
	z.pump(src)
	return true, nil
}

// source returns what is known of a server.
func (z *zlm) source(name string) (*zlmSource, error) {
	s := z.sources[name]
	if s == nil {
		if len(z.sources) >= maxSources {
			return nil, &badRequest{"too many servers"}
		}
		s = &zlmSource{
			name: name, streams: map[string]*zlmStream{}, sessions: map[string]*session{}, queued: map[*zlmStream]bool{},
			retryDelay: z.opt.RetryDelay, timeout: z.opt.Timeout, grace: z.opt.ContinuePush, retries: 1,
		}
		z.sources[name] = s
	}
	return s, nil
}

func (s *zlmSource) stream(key string, now time.Time) *zlmStream {
	st := s.streams[key]
	if st == nil {
		st = &zlmStream{key: key, released: -1}
		s.streams[key] = st
	}
	st.used = now
	return st
}

// sweep forgets streams that are idle and sessions that are over.
func (s *zlmSource) sweep(now time.Time) {
	old := now.Add(-2 * s.settle())
	for k, st := range s.streams {
		live := slices.ContainsFunc(st.lives, func(l *life) bool { return !l.ended })
		if !live && !st.busy && len(st.wait) == 0 && st.used.Before(old) {
			delete(s.streams, k)
		}
	}
	for id, c := range s.sessions {
		if c.at.Before(old) && (c.life == nil || c.life.ended) {
			delete(s.sessions, id)
		}
	}
}

// handlePlain handles a request of plain ZLMediaKit and answers. It reports whether the request's place is still taken.
func (r *Receiver) handlePlain(w http.ResponseWriter, req *http.Request, e *Event) (kept bool) {
	queued, err := r.zlm.accept(e)
	if err != nil {
		r.fail(w, e, err)
		return false
	}
	if queued && r.zlm.opt.AnswerAtOnce {
		reply(w, http.StatusOK, success())
		go func() {
			defer r.end()
			r.handleAccepted(context.WithoutCancel(req.Context()), e)
		}()
		return true
	}
	ctx, cancel := context.WithTimeout(req.Context(), r.timeout)
	defer cancel()
	defer context.AfterFunc(r.base, cancel)()
	var answer any = success()
	if queued {
		err = r.takeTurn(ctx, e)
	} else {
		var a any
		if a, err = r.askPlain(ctx, e); a != nil {
			answer = a
		}
	}
	if err != nil {
		r.fail(w, e, err)
		return false
	}
	reply(w, http.StatusOK, answer)
	return false
}

// askPlain handles a decision, a question or a heartbeat.
func (r *Receiver) askPlain(ctx context.Context, e *Event) (answer any, err error) {
	z := r.zlm
	z.beforeDecision(e)
	defer func() { z.afterDecision(e, answer, err) }()
	if event.ClassOf(e.Type) != event.Heartbeat {
		return r.decide(ctx, e)
	}
	if r.handlers.heartbeat == nil {
		return nil, nil
	}
	return nil, guard(func() error { return r.handlers.heartbeat(ctx, e) })
}

// takeTurn handles a lifecycle event when its turn has come.
func (r *Receiver) takeTurn(ctx context.Context, e *Event) error {
	if err := r.zlm.await(ctx, e.plain); err != nil {
		return err
	}
	err := guard(func() error { return r.runPlain(ctx, e) })
	r.zlm.leave(e.plain, err == nil)
	return err
}

// handleAccepted handles an event that was answered already.
func (r *Receiver) handleAccepted(ctx context.Context, e *Event) {
	const tries = 3
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.base, cancel)()
	if r.zlm.await(ctx, e.plain) != nil {
		return
	}
	var err error
	for n := range tries {
		try, done := context.WithTimeout(ctx, r.timeout)
		err = guard(func() error { return r.runPlain(try, e) })
		done()
		if err == nil || n == tries-1 || r.base.Err() != nil {
			break
		}
		r.log.Warn("webhook handler failed and is called again", "stream", e.Stream, "type", e.Type, "error", err)
		select {
		case <-time.After(r.zlm.opt.RetryDelay):
		case <-r.base.Done():
		}
	}
	r.zlm.leave(e.plain, err == nil)
	if err != nil {
		r.note(e, err)
	}
}

// runPlain runs the handlers of an event whose turn it is, and lets the state follow.
func (r *Receiver) runPlain(ctx context.Context, e *Event) error {
	z, h := r.zlm, e.plain
	z.resolve(e)
	if h.found.duplicate {
		r.stats.duplicates.Add(1)
		return nil
	}
	id := h.found.id
	known := false
	err := r.store.Update(ctx, Key{Source: e.Source, Stream: e.Stream}, func(ctx context.Context, m Mark) (Mark, error) {
		if known = slices.Contains(m.Recent, id); known {
			return m, nil
		}
		m.heard(m)
		m.Recent = append(slices.Clone(m.Recent), id)
		if over := len(m.Recent) - MaxRecent; over > 0 {
			m.Recent = slices.Delete(m.Recent, 0, over)
		}
		return m, guard(func() error { return r.call(ctx, e) })
	})
	if err != nil {
		return err
	}
	if known {
		r.stats.duplicates.Add(1)
	} else {
		r.stats.handled.Add(1)
		if e.Late {
			r.stats.late.Add(1)
		}
		switch e.Certainty {
		case Inferred:
			r.stats.inferred.Add(1)
		case Unknown:
			r.stats.unknown.Add(1)
		case Exact:
		}
	}
	z.commit(e) // also of what an earlier run of this receiver handled: the state is new
	return nil
}

// hashOf makes a number of what it names.
func hashOf(parts ...any) uint64 {
	d := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(d, "%v\x00", p)
	}
	return binary.BigEndian.Uint64(d.Sum(nil))
}

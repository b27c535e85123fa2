package receiver

import (
	"encoding/json"
	"slices"
	"strconv"
	"time"

	"github.com/hookline/hookline/event"
)

// Reasons of an end that a plain ZLMediaKit did not tell, beside [ReasonSuperseded] and [ReasonReconciled].
const (
	// ReasonUnregistered: every schema that had registered unregistered.
	ReasonUnregistered = "unregistered"
	// ReasonInferred: some signs of the end came, and others did not.
	ReasonInferred = "inferred"
	// ReasonRestarted: the sender's process is another one.
	ReasonRestarted = "restarted"
	// ReasonExited: the sender said that it stops.
	ReasonExited = "exited"
)

// configure takes what on_server_started says of the sender's settings.
func (s *zlmSource) configure(e *Event) {
	var body ServerStarted
	if json.Unmarshal(e.Body, &body) != nil {
		return
	}
	set := func(d *time.Duration, key string, unit time.Duration) {
		v, err := strconv.ParseFloat(body.Config(key), 64)
		if err == nil && v >= 0 && v <= 3600*float64(time.Second/unit) {
			*d = time.Duration(v * float64(unit))
		}
	}
	set(&s.retryDelay, "hook.retry_delay", time.Second)
	set(&s.timeout, "hook.timeoutSec", time.Second)
	set(&s.grace, "protocol.continue_push_ms", time.Millisecond)
	if n, err := strconv.Atoi(body.Config("hook.retry")); err == nil && n >= 0 && n <= 10 {
		s.retries = n
	}
}

// commit lets the state follow an event that was handled.
func (z *zlm) commit(e *Event) {
	h := e.plain
	z.mu.Lock()
	defer z.mu.Unlock()
	if e.Type == event.OnServerExited {
		z.endAll(h.source, ReasonExited, h.first)
		return
	}
	if e.Certainty == Unknown {
		z.uncertain()
	}
	l := h.found.life
	if l == nil {
		return
	}
	if h.found.fresh {
		z.attach(l, h.first)
	}
	switch e.Type {
	case event.OnStreamChanged:
		if b, err := decoded[StreamChanged](e); err == nil && b.Regist {
			h.source.clock(h, b.CreateStamp)
			z.registered(l, h, b)
		} else if err == nil {
			l.unregistered(e, b)
		}
	case event.OnRecordMP4, event.OnRecordTS:
		if b, err := decoded[Record](e); err == nil {
			l.recorded(e, b)
		}
	case event.OnFlowReport:
		if b, err := decoded[FlowReport](e); err == nil {
			z.reported(l, h, b)
		}
	default: // it changes nothing
	}
	if e.Certainty == Unknown {
		l.pub.Uncertain = true
	}
	z.show(l, e, false)
	z.arm(l)
}

// uncertain tells who reconciles that it is time to.
func (z *zlm) uncertain() {
	for c := range z.doubts {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// doubt returns a channel that gets a token when something becomes uncertain.
func (z *zlm) doubt() (c chan struct{}, stop func()) {
	c = make(chan struct{}, 1)
	z.mu.Lock()
	defer z.mu.Unlock()
	z.doubts[c] = true
	return c, func() {
		z.mu.Lock()
		defer z.mu.Unlock()
		delete(z.doubts, c)
	}
}

// attach puts a new life among those of its stream, and ends those before it.
func (z *zlm) attach(l *life, now time.Time) {
	st := l.stream
	at := len(st.lives)
	for at > 0 && l.olderThan(st.lives[at-1]) {
		at--
	}
	if at < len(st.lives) { // it comes after all, and is over
		l.closing, l.ended = now, true
		l.pub.Reason, l.pub.Uncertain = ReasonSuperseded, true
		l.pub.EndedAt = st.lives[at].born
	}
	st.lives = slices.Insert(st.lives, at, l)
	for _, o := range st.lives[:at] {
		if !o.ended {
			z.end(o, ReasonSuperseded, l.born)
		}
	}
	for len(st.lives) > maxLives {
		st.lives[0].stop()
		st.lives = slices.Delete(st.lives, 0, 1)
	}
	for _, id := range l.idents {
		if c := l.source.sessions[id]; c != nil && c.life == nil && c.inc == l.inc {
			c.life = l
		}
	}
}

func (l *life) olderThan(o *life) bool {
	if l.inc != o.inc {
		return l.inc.n < o.inc.n
	}
	if l.create != 0 && o.create != 0 {
		return l.create < o.create
	}
	return l.born.Before(o.born)
}

// registered: a schema of l has come.
func (z *zlm) registered(l *life, h *hook, b *StreamChanged) {
	o := l.output(b.Schema)
	if o == nil {
		return
	}
	if !o.reg {
		l.order = append(l.order, b.Schema)
	}
	if o.gone && o.create != 0 && b.CreateStamp > o.create+1 {
		o.gone = false // switched off and on
	}
	if o.gone && o.shaky && h.order > o.away && o.away >= 0 { // what was taken for its end was that of a life before
		l.back(o)
		z.uncertain()
	}
	o.reg, o.create, o.at, o.index = true, b.CreateStamp, h.arrived, h.order
	if l.create == 0 {
		l.create = b.CreateStamp
	}
	if h.order >= h.index && h.index >= 0 && l.begin > h.index {
		l.begin = h.index
	}
	l.pub.Params, l.pub.Origin, l.pub.Readers = b.Params, b.OriginTypeStr, b.TotalReaderCount
	if b.OriginSock != nil {
		l.pub.Publisher = b.OriginSock.PeerIP
		z.join(l, b.OriginSock.Identifier)
		if c := l.source.sessions[b.OriginSock.Identifier]; c != nil && c.life == l {
			c.sure = true
		}
	}
	l.seen(h)
}

// back takes back that a schema has left.
func (l *life) back(o *output) {
	o.gone, o.shaky = false, false
	for _, x := range l.outputs {
		if x.gone {
			return
		}
	}
	l.gone, l.shaky = time.Time{}, false
	if !l.ended {
		l.closing = time.Time{}
	}
}

// output returns what is known of a schema; nil when there are more than any server has.
func (l *life) output(schema string) *output {
	o := l.outputs[schema]
	if o == nil && len(l.outputs) < maxSchemas {
		o = &output{}
		l.outputs[schema] = o
	}
	return o
}

// join makes a session one of the publishers of l.
func (z *zlm) join(l *life, ident string) {
	if !slices.Contains(l.idents, ident) {
		if len(l.idents) == maxIdents {
			l.idents = slices.Delete(l.idents, 0, 1)
		}
		l.idents = append(l.idents, ident)
		l.left = time.Time{} // another has taken over
	}
	if c := l.source.sessions[ident]; c != nil && c.inc == l.inc && c.stream == l.stream.key {
		c.life = l
	}
}

func (l *life) seen(h *hook) {
	if h.first.After(l.sign) {
		l.sign = h.first
	}
}

func (l *life) unregistered(e *Event, b *StreamChanged) {
	h := e.plain
	o := l.output(b.Schema)
	if o == nil {
		return
	}
	o.gone, o.at, o.shaky, o.away = true, h.arrived, e.Certainty == Unknown, h.order
	if l.gone.IsZero() {
		l.shaky = e.Certainty == Unknown
	}
	if l.gone.IsZero() || h.first.Before(l.gone) {
		l.gone = h.first
	}
	if len(l.live()) > 0 {
		return
	}
	if l.closing.IsZero() {
		l.closing = h.arrived
	}
	l.pub.Reason = ReasonUnregistered
}

// live are the schemas that are registered, in the order of registration.
func (l *life) live() []string {
	var out []string
	for _, s := range l.order {
		if o := l.outputs[s]; o.reg && !o.gone {
			out = append(out, s)
		}
	}
	return out
}

func (l *life) recorded(e *Event, b *Record) {
	if n := number(b.FileName); n >= 0 {
		l.slices[e.Type] = max(l.slices[e.Type], n+1)
		l.firsts[e.Type] = l.firsts[e.Type] || n == 0
	}
	r := *b
	r.Certainty = e.Certainty
	p := &l.pub
	if len(p.Recordings) >= MaxRecordings {
		p.Recordings = slices.Delete(p.Recordings, 0, 1)
	}
	p.Recordings = append(p.Recordings, r)
	l.seen(e.plain)
}

func (z *zlm) reported(l *life, h *hook, b *FlowReport) {
	if b.Player {
		l.pub.Views++
		l.pub.ViewBytes += b.TotalBytes
		return
	}
	l.pub.Publisher = b.IP
	l.pub.Bytes += b.TotalBytes
	at := h.first
	// A report that was lost at first comes when its retry is due; its duration says when the session ended.
	late := func(began time.Time) {
		if end := began.Add(time.Duration(min(b.Duration, 1<<31)) * time.Second); at.Sub(end) > 2*time.Second {
			at, l.retold = end.Add(time.Second/2), true
		}
	}
	if c := l.source.sessions[b.ID]; b.shared() {
		late(l.born)
		l.over = l.grace == 0
	} else {
		if c != nil && c.inc == l.inc {
			late(c.at)
			c.over, l.timed = true, true
		} else if len(l.idents) == 1 {
			late(l.born)
		}
		z.join(l, b.ID)
	}
	if n := len(l.idents); n > 0 && b.ID == l.idents[n-1] {
		l.left, l.told = at, h.arrived
	}
}

// end ends a life of which the last unregister never came.
func (z *zlm) end(l *life, reason string, at time.Time) Change {
	if l.closing.IsZero() {
		l.closing = at
		l.pub.Reason, l.pub.EndedAt = reason, at
		if reason == ReasonSuperseded && (!l.gone.IsZero() || !l.left.IsZero()) {
			l.pub.Reason = ReasonInferred
		}
	}
	l.ended = true
	l.stop()
	return z.show(l, nil, true)
}

// endAll ends what a process left behind.
func (z *zlm) endAll(s *zlmSource, reason string, at time.Time) {
	for _, st := range s.streams {
		for _, l := range st.lives {
			if l.ended || reason == ReasonRestarted && l.inc == s.inc {
				continue
			}
			when := at
			if reason == ReasonRestarted {
				when = l.sign
			}
			z.end(l, reason, when)
		}
	}
	if reason == ReasonRestarted {
		z.uncertain()
	}
}

// show brings a life into the state cache, and tells who watches. cause is nil when no event told it.
func (z *zlm) show(l *life, cause *Event, synthesised bool) Change {
	p, t := &l.pub, &z.r.tracker
	p.Source, p.Stream, p.ID, p.Epoch = l.source.name, l.stream.key, l.id, max(l.inc.born.UnixMilli(), 1)
	p.Since, p.Schemas = l.born, nil
	before := p.State
	switch {
	case l.ended:
		p.State, p.Readers = Ended, 0
	case !l.closing.IsZero():
		p.State, p.Readers = Closing, 0
	default:
		p.State, p.Schemas = Publishing, l.live()
		if len(p.Schemas) > 0 {
			p.State = Live
		}
	}
	l.certify()
	l.changed = time.Now()
	if cause != nil {
		p.HookIndex = cause.HookIndex
	}
	c := Change{Publication: p.clone(), Before: before, Synthesised: synthesised, Event: synthetic(synthesise(p.State), p)}
	if cause != nil {
		c.Event = *cause
	}
	c.Event.Certainty = p.EndCertainty
	if cause != nil {
		c.Event.Certainty = cause.Certainty
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	k := publicationKey{p.Source, p.ID}
	old := t.pubs[k]
	isNew := old == nil
	if old != nil && old.State == Ended && p.State != Ended { // it was taken to be over, and is not
		t.ended = slices.DeleteFunc(t.ended, func(e publicationKey) bool { return e == k })
	}
	if isNew && l.shown {
		return c // forgotten, as one of the oldest that have ended
	}
	if isNew && t.crowded() {
		t.refuse(p.Source, p.Stream)
		return c
	}
	l.shown = true
	t.put(p.clone(), isNew, t.stream(Key{Source: p.Source, Stream: p.Stream}))
	t.tell(c)
	return c
}

func (l *life) stop() {
	if l.timer != nil {
		l.timer.Stop()
	}
}

// due is when something follows for l from nothing coming; zero: never.
func (l *life) due() time.Time {
	s := l.source
	switch {
	case l.ended:
		return time.Time{}
	case !l.closing.IsZero():
		return l.closing.Add(s.settle())
	case !l.gone.IsZero():
		return l.gone.Add(s.retryDelay + settleSlack)
	case !l.left.IsZero():
		return l.left.Add(l.grace + s.settle())
	}
	return time.Time{}
}

func (z *zlm) arm(l *life) {
	at := l.due()
	l.stop()
	if at.IsZero() || z.closed {
		return
	}
	l.timer = time.AfterFunc(time.Until(at), func() {
		z.mu.Lock()
		defer z.mu.Unlock()
		if at := l.due(); z.closed || at.IsZero() || time.Now().Before(at) {
			return
		}
		z.conclude(l)
		z.arm(l)
	})
}

// conclude decides about a life of which the rest of what was to come did not come.
func (z *zlm) conclude(l *life) {
	switch {
	case !l.closing.IsZero():
		l.ended = true
	case !l.gone.IsZero() && !l.strong():
		l.gone = time.Time{} // one output was switched off
		return
	case l.gone.IsZero() && z.resumed(l):
		return
	default:
		l.closing = time.Now()
		l.pub.Reason, l.pub.EndedAt = ReasonInferred, l.closing
		z.uncertain()
	}
	z.show(l, nil, true)
}

// switched says that the API can switch a schema on and off while the stream lives.
func switched(schema string) bool { return schema != "rtsp" && schema != "rtmp" }

// strong says that what unregistered can't be an output that was switched off.
func (l *life) strong() bool {
	n := 0
	for s, o := range l.outputs {
		if o.gone && !switched(s) {
			return true
		}
		if o.gone {
			n++
		}
	}
	return n > 1 || !l.left.IsZero()
}

// resumed looks for a publisher that came back within the grace.
func (z *zlm) resumed(l *life) bool {
	for id, c := range l.source.sessions {
		if c.life == nil && c.inc == l.inc && c.stream == l.stream.key && c.params == l.params && !c.over &&
			c.at.After(l.born) && c.at.Sub(l.left) < l.grace+settleSlack {
			z.join(l, id)
			return true
		}
	}
	return false
}

// stop ends all timers.
func (z *zlm) stop() {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.closed = true
	for _, s := range z.sources {
		for _, st := range s.streams {
			for _, l := range st.lives {
				l.stop()
			}
		}
	}
}

// beforeDecision fills what a handler of a decision or a question sees.
func (z *zlm) beforeDecision(e *Event) {
	h := e.plain
	z.mu.Lock()
	defer z.mu.Unlock()
	e.Certainty = Exact
	if e.Type == event.OnStreamNoneReader {
		b, err := decoded[StreamNoneReader](e)
		if err == nil {
			e.Certainty = Unknown
			z.during(e, b.Params)
		}
	}
	h.found.id = h.hash
	l := h.found.life
	z.fill(e)
	e.Verdict, e.Late = Untracked, false
	if l != nil {
		e.Publication = l.id
	}
}

// afterDecision remembers who was allowed to publish.
func (z *zlm) afterDecision(e *Event, answer any, err error) {
	h := e.plain
	z.mu.Lock()
	defer z.mu.Unlock()
	h.self.finish(err == nil)
	if l := h.found.life; l != nil && e.Type == event.OnStreamNoneReader && !l.ended {
		l.pub.Readers = 0
		z.show(l, e, false)
	}
	a, allowed := answer.(publishAnswer)
	b, bad := decoded[Publish](e)
	if err != nil || !allowed || bad != nil || b.ID == "" {
		return
	}
	s := h.source
	key := e.Stream
	if a.StreamReplace != "" {
		key = b.Vhost + "/" + b.App + "/" + a.StreamReplace
	}
	c := &session{id: b.ID, stream: key, params: b.Params, at: h.first, index: h.order, grace: s.grace, inc: h.inc}
	if a.ContinuePushMS != nil {
		c.grace = time.Duration(*a.ContinuePushMS) * time.Millisecond
	}
	if old := s.sessions[b.ID]; old != nil && h.prior != nil && old.inc == h.inc && !old.at.Before(h.first) {
		old.grace = c.grace
		return
	}
	if len(s.sessions) >= maxSessions {
		for id := range s.sessions {
			delete(s.sessions, id)
			break
		}
	}
	s.sessions[b.ID] = c
}

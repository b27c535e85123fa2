package receiver

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hookline/hookline/event"
)

// life is a publication of plain ZLMediaKit. Guarded by zlm.mu.
type life struct {
	id      string
	stream  *zlmStream
	source  *zlmSource
	inc     *incarnation
	create  uint64   // the sender's clock, Unix seconds; 0: not known
	idents  []string // sessions of its publishers
	params  string
	named   bool      // id is the publisher's own
	born    time.Time // arrival of the first sign
	came    time.Time // arrival of the event that began it here
	begin   int64     // index of an attempt from which on it existed; -1: not known
	outputs map[string]*output
	order   []string // schemas as they registered

	sign    time.Time // newest sign of life
	gone    time.Time // first unregister, 0: none came
	shaky   bool      // whether that was of this life is not known
	left    time.Time // the publisher's session ended, as its report says
	told    time.Time // that report came
	timed   bool      // when the publisher came is known, so that left is not the time of a retry
	over    bool      // its device's report came
	retold  bool      // left is by what the report says, not by its arrival
	grace   time.Duration
	closing time.Time // nothing is live any more
	ended   bool
	changed time.Time           // when the state cache had it last
	shown   bool                // the state cache has had it
	slices  map[event.Type]int  // the highest number of a file, and one
	firsts  map[event.Type]bool // file 0 is there
	timer   *time.Timer
	pub     Publication
}

// output is a schema of a life.
type output struct {
	reg, gone bool
	create    uint64
	index     int64     // of the register
	at        time.Time // arrival of the newest event
	shaky     bool      // gone, as far as is known
	away      int64     // index of the unregister
	lost      bool      // its unregister was refused by a handler each time
}

// session is a publisher that on_publish allowed.
type session struct {
	id, stream, params string
	at                 time.Time
	index              int64
	grace              time.Duration
	inc                *incarnation
	life               *life
	sure               bool // a register names both
	over               bool
}

// finding is what an event was found to be about.
type finding struct {
	id        uint64 // of the event
	life      *life  // nil: nothing that is known
	fresh     bool   // life is not among those of its stream yet
	duplicate bool
}

// resolve finds out what an event is about, and fills what a handler sees of that.
func (z *zlm) resolve(e *Event) {
	h := e.plain
	z.mu.Lock()
	defer z.mu.Unlock()
	h.found = finding{}
	if p := h.prior; p != nil && !h.vague && p.done {
		h.found.duplicate = true
		return
	}
	switch e.Type {
	case event.OnStreamChanged:
		b, err := decoded[StreamChanged](e)
		switch {
		case err != nil:
			h.found.id = h.hash
		case b.Regist:
			z.register(e, b)
		default:
			z.unregister(e, b)
		}
	case event.OnRecordMP4, event.OnRecordTS:
		z.record(e)
	case event.OnFlowReport:
		z.report(e)
	case event.OnSendRTPStopped:
		b, err := decoded[SendRTPStopped](e)
		if err == nil {
			z.during(e, b.Params)
		}
	default:
		e.Certainty = Exact // it is about the server, or about a port
	}
	if h.found.duplicate {
		return
	}
	z.fill(e)
}

func (z *zlm) fill(e *Event) {
	h := e.plain
	f := &h.found
	switch e.Type {
	case event.OnServerStarted, event.OnServerExited, event.OnRTPServerTimeout, event.OnSendRTPStopped:
		f.id = hashOf(h.hash, h.inc.name, h.order) // the same may be said again
	default:
		if f.id == 0 {
			f.id = h.hash
		}
	}
	e.ID = "z" + strconv.FormatUint(f.id, 16)
	e.HookIndex = uint64(max(h.order, 0))
	e.Time = h.first
	e.Late = h.index >= 0 && h.inc == h.stream.inc && h.order < h.stream.released || h.inc != h.source.inc
	e.Publication, e.Verdict = "", Untracked
	if f.life != nil {
		e.Publication = f.life.id
		e.Verdict = f.life.verdict(e)
	} else if e.Certainty == Unknown {
		e.Verdict = Unexplained
	}
	h.self.life = f.life
	h.self.order, h.self.first = h.order, h.first
}

// verdict says whether there is a transition.
func (l *life) verdict(e *Event) Verdict {
	known, v := l.stands(e), Expected
	switch {
	case e.Certainty == Unknown:
		v = Unexplained
	case known:
		v = Known
	case e.Late:
		v = Belated
	}
	return v
}

// stands says that the life holds already what an event of its schemas says.
func (l *life) stands(e *Event) bool {
	if e.Type != event.OnStreamChanged {
		return false
	}
	b, err := decoded[StreamChanged](e)
	if err != nil {
		return false
	}
	o := l.outputs[b.Schema]
	return o != nil && (b.Regist && o.reg || !b.Regist && o.gone)
}

func near(a, b uint64) bool { return a <= b+1 && b <= a+1 }

// candidates are the lives of a stream that an event of inc and with these parameters may be about, newest first.
func (st *zlmStream) candidates(inc *incarnation, params string) []*life {
	var out []*life
	for i := len(st.lives) - 1; i >= 0; i-- {
		if l := st.lives[i]; l.inc == inc && l.params == params {
			out = append(out, l)
		}
	}
	return out
}

// register finds the life of a register, which its session and its stamp name, or begins one.
func (z *zlm) register(e *Event, b *StreamChanged) {
	h := e.plain
	f := &h.found
	f.life, e.Certainty = h.stream.match(h, b)
	f.id = h.hash
	if p := h.source.prev; f.life == nil && p != nil && h.inc != p { // it was on its way when the process died
		old := *h
		old.inc = p
		f.life, e.Certainty = h.stream.match(&old, b)
	}
	if f.life != nil {
		return
	}
	ident := ""
	if b.OriginSock != nil {
		ident = b.OriginSock.Identifier
	}
	f.fresh, e.Certainty = true, Exact
	f.life = z.begin(h, b.Params, ident, b.CreateStamp)
	if c := h.source.sessions[ident]; c != nil && c.stream == h.stream.key && c.life == nil && c.inc == h.inc {
		f.life.begin, f.life.born, f.life.grace = c.index, c.at, c.grace
	}
	if ident == "" || f.life.surely(b.CreateStamp) != Exact {
		e.Certainty = Inferred
	}
}

// surely is how certain it is that what names a publisher of l, and a stamp, is about l. When another life of the stream has the same
// stamp they may be one, which the publisher resumed: what came made two of it.
func (l *life) surely(create uint64) Certainty {
	for _, o := range l.stream.lives {
		if o != l && !l.named && create != 0 && o.create == create && o.params == l.params {
			return Inferred
		}
	}
	return Exact
}

// match returns the life that a register belongs to.
func (st *zlmStream) match(h *hook, b *StreamChanged) (*life, Certainty) {
	ident := ""
	if b.OriginSock != nil {
		ident = b.OriginSock.Identifier
	}
	list := st.candidates(h.inc, b.Params)
	for _, l := range list {
		o, has := l.outputs[b.Schema], slices.Contains(l.idents, ident)
		switch {
		case ident != "" && has && (near(l.create, b.CreateStamp) || l.create == 0):
			return l, l.surely(b.CreateStamp)
		case ident != "" && has && l.closing.IsZero() && b.CreateStamp > l.create && switched(b.Schema) && !l.strong() && (o == nil || !o.reg || o.gone):
			return l, Inferred // an output that was switched on later
		}
	}
	for _, l := range list {
		o := l.outputs[b.Schema]
		switch {
		case ident == "" && near(l.create, b.CreateStamp) && (o == nil || !o.reg || o.create == b.CreateStamp):
			return l, Inferred // the publisher has gone meanwhile
		case len(l.idents) == 0 && near(l.create, b.CreateStamp):
			return l, Inferred
		case ident != "" && l.create == b.CreateStamp && l.closing.IsZero() && (h.listed || o == nil || !o.reg) && l.resumedBy(ident):
			return l, Inferred
		}
	}
	return nil, Unknown
}

// resumedBy says that a publisher that came later may have taken over.
func (l *life) resumedBy(ident string) bool {
	c := l.source.sessions[ident]
	return l.grace > 0 && (c == nil || c.at.After(l.born) && c.life == nil)
}

// begin makes a life. It joins those of its stream when the event is handled.
func (z *zlm) begin(h *hook, params, ident string, create uint64) *life {
	l := &life{
		stream: h.stream, source: h.source, inc: h.inc, create: create, params: params, born: h.first, came: h.arrived, begin: -1, grace: h.source.grace,
		outputs: map[string]*output{}, slices: map[event.Type]int{}, firsts: map[event.Type]bool{}, sign: h.first,
	}
	if ident != "" {
		l.idents = []string{ident}
	}
	if create > 0 && h.order >= h.index && h.index >= 0 {
		l.begin = h.index
	}
	stamp := create
	if create == 0 {
		stamp = uint64(max(h.first.Unix(), 0))
	}
	l.id = nameOf(h.source.name, h.stream.key, stamp, ident)
	z.christen(l)
	return l
}

// christen gives a life the name that its publisher has for it, unless that is another's: then it is not what it should be.
func (z *zlm) christen(l *life) {
	v := z.life(l.params)
	if v == "" {
		return
	}
	t := &z.r.tracker
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.pubs[publicationKey{l.source.name, v}] == nil {
		l.id, l.named = v, true
	}
}

// adopt returns the life of the newest publisher of the stream of which nothing was seen but that it was allowed.
func (z *zlm) adopt(h *hook, params string, after time.Time) *life {
	var best *session
	for _, c := range h.source.sessions {
		if c.index >= 0 && h.order >= 0 && h.order < c.index {
			continue // sent before the publisher was there
		}
		if c.stream == h.stream.key && c.params == params && c.inc == h.inc && c.life == nil && !c.over && c.at.After(after) &&
			!c.at.After(h.first) && (best == nil || c.at.After(best.at)) {
			best = c
		}
	}
	if best == nil {
		return nil
	}
	return z.adopted(h, best)
}

func (z *zlm) adopted(h *hook, c *session) *life {
	l := z.begin(h, c.params, c.id, 0)
	l.stream = h.source.stream(c.stream, h.arrived)
	l.born, l.begin, l.grace = c.at, c.index, c.grace
	l.id = nameOf(h.source.name, c.stream, max(c.at.Unix(), 0), c.id)
	l.named = false
	z.christen(l)
	l.pub.Uncertain = true
	return l
}

// during finds the life that was live when an event without a better clue was raised.
func (z *zlm) during(e *Event, params string) {
	h := e.plain
	for _, l := range h.stream.candidates(h.inc, params) {
		if l.begin >= 0 && h.order >= 0 && h.order < l.begin {
			continue // sent before the publisher was there
		}
		h.found.life, e.Certainty = l, Inferred
		if l.named {
			e.Certainty = Exact
		} else if h.first.Sub(l.born) < h.source.retryDelay && len(h.stream.lives) > 1 {
			e.Certainty = Unknown // it may have been on its way for so long
		}
		return
	}
}

// report finds the life of a session that ended.
func (z *zlm) report(e *Event) {
	h := e.plain
	b, err := decoded[FlowReport](e)
	if err != nil {
		return
	}
	f := &h.found
	f.id = h.hash
	if b.Player {
		if c := h.source.sessions[b.ID]; c != nil && c.inc == h.inc {
			e.Certainty = Exact // a publisher that got no stream: upstream calls it a player
			return
		}
		z.viewer(e, b)
		return
	}
	c := h.source.sessions[b.ID]
	if c != nil && c.inc != h.inc {
		c = nil
	}
	st := h.stream
	if c != nil && c.stream != st.key { // on_publish gave the stream another name
		st = h.source.stream(c.stream, h.arrived)
	}
	if f.life, e.Certainty = h.publisher(b, c, st); f.life != nil {
		return
	}
	if c == nil {
		e.Certainty = Unknown
		return
	}
	e.Certainty = Inferred
	if l := c.takesOver(st); l != nil {
		f.life = l
		return
	}
	if b.shared() && c.life != nil {
		e.Certainty = Unknown
		return
	}
	f.life, f.fresh = z.adopted(h, c), true
}

// publisher returns the life whose publisher a report names.
func (h *hook) publisher(b *FlowReport, c *session, st *zlmStream) (*life, Certainty) {
	if c != nil && c.life != nil && !b.shared() {
		if !c.sure && !c.life.named {
			return c.life, Inferred
		}
		return c.life, c.life.surely(c.life.create)
	}
	if b.shared() {
		return h.device(b, st)
	}
	for _, l := range slices.Backward(st.lives) {
		if l.inc == h.inc && l.publishedBy(h, b) {
			return l, l.surely(l.create)
		}
	}
	return nil, Exact
}

// device returns the life of a device that a report names by its stream: when it came says which of its lives that was.
func (h *hook) device(b *FlowReport, st *zlmStream) (best *life, c Certainty) {
	least := time.Duration(0)
	for _, l := range slices.Backward(st.lives) {
		if l.inc != h.inc || l.over || !slices.Contains(l.idents, b.ID) {
			continue
		}
		if off, fits := l.fits(h, b); fits && (best == nil || off < least) {
			best, least = l, off
		}
	}
	if best != nil && best.named {
		return best, Exact
	}
	return best, Inferred
}

// shared says that the id is no session's: that of RTP is the stream's, so that each publication of the stream has it.
func (b *FlowReport) shared() bool { return b.ID == b.Stream }

// publishedBy says that a report is of a publisher of l. Where the id does not tell it, when the session began does.
func (l *life) publishedBy(h *hook, b *FlowReport) bool {
	if b.Player || !slices.Contains(l.idents, b.ID) {
		return false
	}
	if !b.shared() {
		return true
	}
	_, fits := l.fits(h, b)
	return fits
}

// fits compares when the session of a report began with when l did. The report, or the question before l, may have been retried.
// off is how badly it fits.
func (l *life) fits(h *hook, b *FlowReport) (off time.Duration, fits bool) {
	d := h.first.Add(-time.Duration(min(b.Duration, 1<<31)) * time.Second).Sub(l.born)
	off = d.Abs()
	for _, retry := range []time.Duration{h.source.retryDelay, h.source.timeout + h.source.retryDelay} {
		off = min(off, (d-retry).Abs()+time.Second, (d+retry).Abs()+time.Second)
	}
	return off, off < 3*time.Second
}

// takesOver returns the life that a publisher resumed, which shows in that no register followed.
func (c *session) takesOver(st *zlmStream) *life {
	for i := len(st.lives) - 1; i >= 0; i-- {
		l := st.lives[i]
		if l.inc == c.inc && l.params == c.params && l.grace > 0 && l.born.Before(c.at) && (l.gone.IsZero() || l.gone.After(c.at)) &&
			(l.left.IsZero() || c.follows(l, l.left) || c.follows(l, l.sign) || c.relieves(l)) {
			return l
		}
	}
	return nil
}

// follows says that a publisher came within the grace after a time at which the life, or its publisher, was there.
func (c *session) follows(l *life, t time.Time) bool { return c.at.Sub(t) < l.grace+settleSlack }

// relieves says that another publisher took over before, of which no report came.
func (c *session) relieves(l *life) bool {
	for _, o := range l.source.sessions {
		if o != c && o.life == nil && !o.over && o.inc == c.inc && o.stream == c.stream && o.params == c.params &&
			o.at.After(l.left) && o.at.Before(c.at) && o.follows(l, l.left) {
			return true
		}
	}
	return false
}

// viewer finds the life that a viewer watched.
func (z *zlm) viewer(e *Event, b *FlowReport) {
	h := e.plain
	began := h.first.Add(-time.Duration(b.Duration) * time.Second)
	for i := len(h.stream.lives) - 1; i >= 0; i-- {
		l := h.stream.lives[i]
		if l.inc != h.inc || l.begin >= 0 && h.order >= 0 && h.order < l.begin || began.Add(2*time.Second).Before(l.born) {
			continue
		}
		h.found.life, e.Certainty = l, Inferred
		return
	}
}

// number returns the number in the name of a file, -1 when there is none.
func number(name string) int {
	name = name[strings.LastIndexByte(name, '/')+1:]
	dot := strings.LastIndexByte(name, '.')
	if dot < 0 {
		return -1
	}
	name = name[:dot]
	n, err := strconv.Atoi(name[strings.LastIndexAny(name, "-_")+1:])
	if err != nil || n < 0 {
		return -1
	}
	return n
}

// record finds the life of a file, by the sender's clock: it was opened after its life began, and before the next did.
func (z *zlm) record(e *Event) {
	h := e.plain
	b, err := decoded[Record](e)
	if err != nil {
		return
	}
	f := &h.found
	f.id = h.hash
	n := number(b.FileName)
	list := h.stream.candidates(h.inc, b.Params)
	for i, l := range list {
		switch {
		case l.begin >= 0 && h.order >= 0 && h.order < l.begin: // sent before the publisher was there
			continue
		case l.create > b.StartTime:
			continue
		case l.create == 0 && h.first.Add(-time.Duration(b.TimeLen*float64(time.Second))).Before(l.born.Add(-time.Second)):
			continue
		}
		e.Certainty = Inferred
		if i+1 < len(list) && l.create == b.StartTime {
			l, e.Certainty = tie(l, list[i+1], e.Type, n)
		}
		if l.named {
			e.Certainty = Exact
		}
		f.life = l
		break
	}
	if f.life == nil || !f.life.named && f.life.outlived(h, b, n, e.Type) {
		after := time.Time{}
		if f.life != nil {
			after = f.life.born
		}
		if l := z.adopt(h, b.Params, after); l != nil && !l.born.After(h.opened(b).Add(2*time.Second)) {
			f.life, f.fresh, e.Certainty = l, true, Inferred
		} else if f.life != nil && f.life.outlived(h, b, -1, e.Type) {
			e.Certainty = Unknown
		}
	}
}

// opened is when a file was opened, to a second: by the sender's clock when it is known, else by its end and length.
func (h *hook) opened(b *Record) time.Time {
	if s := h.source; s.clocked {
		return time.Unix(int64(min(b.StartTime, 1<<40)), 0).Add(s.skew)
	}
	return h.first.Add(-time.Duration(b.TimeLen * float64(time.Second)))
}

// clock compares the sender's clock with the receiver's by a register, which comes at once. The one that came fastest, at the
// beginning of a second, says it best.
func (s *zlmSource) clock(h *hook, stamp uint64) {
	if d := h.first.Sub(time.Unix(int64(min(stamp, 1<<40)), 0)); stamp > 0 && (!s.clocked || d < s.skew) {
		s.skew, s.clocked = d, true
	}
}

// outlived says that a file was opened after the life had ended, or is the first of a recorder and the life has its first.
func (l *life) outlived(h *hook, b *Record, n int, t event.Type) bool {
	if n == 0 && l.firsts[t] && l.grace == 0 {
		return true
	}
	switch end := l.gone; {
	case end.IsZero():
		return false
	case h.source.clocked && !l.shaky:
		return h.opened(b).Sub(end) > time.Second/2
	default:
		return h.opened(b).Sub(end) > h.source.settle()
	}
}

// tie decides between two lives, of which the newer began in the second in which the file was opened.
func tie(newer, older *life, t event.Type, n int) (*life, Certainty) {
	switch {
	case n > 0: // no file has been finished in that second
		return older, Inferred
	case n == 0 && older.slices[t] > 0: // the older has its first file
		return newer, Inferred
	case !older.gone.IsZero() && newer.born.Sub(older.gone) > 1500*time.Millisecond: // it was gone before that second
		return newer, Inferred
	}
	return newer, Unknown
}

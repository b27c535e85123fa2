package hls

import (
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/hookline/hookline/internal/media"
)

// part is a Partial Segment (RFC 8216bis section 4.4.4.9): a run of bytes in the file of its segment, beginning and ending
// with a fragment.
type part struct {
	number      uint64 // counts through all segments of a publication
	offset      int64
	size        int64
	length      time.Duration
	independent bool // a player can start in it
}

// lowLatency is what a segmenter of Low-Latency HLS keeps beside. Owned by run.
type lowLatency struct {
	token string // in the names of parts: another one for each publication
	asked time.Duration
	// target is the Part Target Duration: a little more than nominal, which is a whole number of pictures of step. 0: not known
	// yet, since no segment is complete; there are no parts before.
	target, nominal, step time.Duration
	frames                int           // of the track that leads, in the segment
	began                 time.Duration // length of the segment when the open part began
	offset                int64         // and its size
	independent           bool          // of the open part
	number                uint64        // of the open part
	clock                 time.Time     // when the next segment begins, as its media says
}

// slew bounds how far the date of a segment may be from what the lengths before it say, so that dates follow the clock of the
// server without a jump.
const slew = 5 * time.Millisecond

func newLowLatency(cfg *Config) *lowLatency {
	return &lowLatency{asked: min(cfg.Part, cfg.Segment), token: strconv.FormatInt(time.Now().UnixMilli(), 10)}
}

// open begins a segment, and returns its date.
func (l *lowLatency) open(now time.Time, broken bool) time.Time {
	l.frames, l.began, l.offset, l.independent = 0, 0, 0, false
	if l.clock.IsZero() || broken {
		l.clock = now
	}
	l.clock = l.clock.Add(max(-slew, min(slew, now.Sub(l.clock))))
	return l.clock
}

// due says whether the open part is as long as a part is to be.
func (l *lowLatency) due(length time.Duration) bool {
	d := length - l.began
	return l.target > 0 && d > 0 && d+l.step/2 >= l.nominal
}

// close ends the open part, at a length and size of the segment, and appends it to parts.
func (l *lowLatency) close(parts []part, length time.Duration, size int64) []part {
	if l.target == 0 || size == l.offset {
		return parts
	}
	p := part{number: l.number, offset: l.offset, size: size - l.offset, length: length - l.began, independent: l.independent}
	l.number++
	l.began, l.offset, l.independent = length, size, false
	return append(parts, p)
}

// settle finds the length of parts when the first segment is complete: so many pictures as come next to what was asked for,
// and a tenth more for those whose times are not even.
func (l *lowLatency) settle(length time.Duration) {
	if l.target > 0 || l.frames == 0 {
		return
	}
	l.step = max(length/time.Duration(l.frames), time.Millisecond)
	n := max(1, (l.asked+l.step/2)/l.step)
	l.nominal = n * l.step
	l.target = ceil(l.nominal + l.nominal/10)
}

// ceil rounds up to what a playlist can say.
func ceil(d time.Duration) time.Duration {
	return (d + time.Millisecond - 1).Truncate(time.Millisecond)
}

// partName is the file name of a part, which stands beside the playlist. The one that comes next has its name before it is
// known to which segment it belongs.
func (g *segmenter) partName(number uint64) string {
	return "part_" + g.low.token + "_" + strconv.FormatUint(number, 10) + g.ext
}

// endPart ends the open part before f, when it is time.
func (g *segmenter) endPart(f *media.Frame) error {
	if g.low == nil || !g.low.due(g.length) {
		return nil
	}
	g.buf = g.mux.end(g.buf, f)
	if err := g.flush(0); err != nil {
		return err
	}
	g.cur.parts = g.low.close(g.cur.parts, g.length, g.cur.size)
	if g.listing > 0 {
		g.expose(&g.cur, false)
	}
	return nil
}

// state is what a segmenter shows at a time. It is immutable, but for its text.
type state struct {
	list  list
	known []segment // those of the list, and before them those whose files are still there
	// sequence is the media sequence number of the open segment, and open how many of its parts there are.
	sequence uint64
	open     int
	newer    chan struct{} // closed when this is not the newest state any more

	once, onceDelta sync.Once
	text, delta     []byte
}

// expose shows what is there: complete segments, and the parts of the open one, which is nil between two.
func (g *segmenter) expose(open *segment, ended bool) {
	n := len(g.known)
	s := &state{list: g.listed(ended), known: g.known[:n:n], sequence: g.sequence, newer: make(chan struct{})}
	s.list.low = &lowList{target: g.low.target, name: g.partName, next: g.low.number}
	if open != nil {
		s.open = len(open.parts)
		s.list.low.open = *open
	}
	g.mu.Lock()
	old := g.shown
	g.shown = s
	g.mu.Unlock()
	if old != nil {
		close(old.newer)
	}
}

// state returns what is shown now; nil while there is no playlist, and without Low-Latency HLS.
func (g *segmenter) state() *state {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.shown
}

// playlist renders the state, once for all who ask.
func (s *state) playlist() []byte {
	s.once.Do(func() { s.text = s.list.render() })
	return s.text
}

// update renders what is new to somebody who has an older list: what is further from the end than the boundary is left out.
func (s *state) update() []byte {
	s.onceDelta.Do(func() {
		l := s.list
		l.skip = l.from(l.boundary())
		if s.delta = s.playlist(); l.skip > 0 {
			s.delta = l.render()
		}
	})
	return s.delta
}

// has says whether the list holds a segment, or, with part at least 0, a part of it or what comes behind.
func (s *state) has(sequence uint64, part int) bool {
	return sequence < s.sequence || sequence == s.sequence && part >= 0 && part < s.open
}

// find returns a part, and the file that holds it.
func (s *state) find(number uint64) (file string, p part, ok bool) {
	if in(&s.list.low.open, number) {
		return pick(&s.list.low.open, number)
	}
	for i := len(s.known) - 1; i >= 0; i-- {
		if in(&s.known[i], number) {
			return pick(&s.known[i], number)
		}
		if len(s.known[i].parts) > 0 && s.known[i].parts[0].number < number {
			break
		}
	}
	return "", part{}, false
}

// in says whether a part belongs to a segment.
func in(s *segment, number uint64) bool {
	n := len(s.parts)
	return n > 0 && s.parts[0].number <= number && number <= s.parts[n-1].number
}

func pick(s *segment, number uint64) (string, part, bool) {
	return s.file, s.parts[number-s.parts[0].number], true
}

// lowList is what a playlist of Low-Latency HLS shows beside.
type lowList struct {
	target time.Duration // that of the list is longer while it shows a part that had to be
	name   func(number uint64) string
	open   segment // its parts are shown, if there are some
	next   uint64  // the part that comes next
}

// holdBack is how far from the end a player stays, in Part Target Durations (RFC 8216bis section 4.4.3.8: at least twice,
// better three times).
const holdBack = 3

// longest returns the Part Target Duration of a list that shows the parts of segments.
func (l *lowList) longest(segments []segment) time.Duration {
	target := l.target
	for _, p := range l.open.parts {
		target = max(target, ceil(p.length))
	}
	for i := range segments {
		for _, p := range segments[i].parts {
			target = max(target, ceil(p.length))
		}
	}
	return target
}

// head writes the tags of the whole list.
func (l *lowList) head(b writer, target, boundary time.Duration) {
	fmt.Fprintf(b, "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL=%.1f,PART-HOLD-BACK=%.3f\n#EXT-X-PART-INF:PART-TARGET=%.3f\n",
		boundary.Seconds(), (holdBack * target).Seconds(), target.Seconds())
}

// date writes when a segment began.
func (l *lowList) date(b writer, s *segment) {
	fmt.Fprintf(b, "#EXT-X-PROGRAM-DATE-TIME:%s\n", s.date.UTC().Format("2006-01-02T15:04:05.000Z"))
}

// parts writes those of a segment.
func (l *lowList) parts(b writer, parts []part, uri func(string) string) {
	for _, p := range parts {
		fmt.Fprintf(b, "#EXT-X-PART:DURATION=%.3f,URI=%q", p.length.Seconds(), uri(l.name(p.number)))
		if p.independent {
			_, _ = b.WriteString(",INDEPENDENT=YES")
		}
		_, _ = b.WriteString("\n")
	}
}

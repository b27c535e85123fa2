package hls

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"net/url"
	"time"
)

// segment is a complete segment.
type segment struct {
	sequence uint64 // media sequence number
	name     string // relative to the playlist
	file     string // absolute
	length   time.Duration
	size     int64
	start    time.Time
	// init is the name of the init segment, "" without; broken: a discontinuity stands before it.
	init   string
	broken bool
	// resets is the number of discontinuities before the segment, itself included.
	resets int
	parts  []part    // of Low-Latency HLS
	date   time.Time // likewise
}

// list is what a playlist shows.
type list struct {
	variant  string
	segments []segment
	target   int // seconds
	event    bool
	ended    bool
	// query is put behind each name.
	query string
	// whole: the list begins with its first segment, so that numbers count from there; past stands before it.
	whole bool
	past  string
	low   *lowList // nil: not of Low-Latency HLS
	skip  int      // segments at the beginning that the client has already
}

type writer interface {
	io.Writer
	io.StringWriter
}

// render writes the playlist.
func (l *list) render() []byte {
	var b bytes.Buffer
	version := 4
	if l.variant == FMP4 {
		version = 7
	}
	if l.skip > 0 {
		version = 9
	}
	fmt.Fprintf(&b, "#EXTM3U\n#EXT-X-VERSION:%d\n#EXT-X-ALLOW-CACHE:NO\n#EXT-X-TARGETDURATION:%d\n", version, max(l.target, 1))
	parts := l.from(3 * l.unit())
	if l.low != nil {
		l.low.head(&b, l.low.longest(l.segments[parts:]), l.boundary())
	}
	l.numbers(&b)
	if l.event {
		b.WriteString("#EXT-X-PLAYLIST-TYPE:EVENT\n")
	}
	b.WriteString(l.past)
	if l.skip > 0 {
		fmt.Fprintf(&b, "#EXT-X-SKIP:SKIPPED-SEGMENTS=%d\n", l.skip)
	}
	shown := ""
	for i := l.skip; i < len(l.segments); i++ {
		s := &l.segments[i]
		l.begin(&b, s, &shown)
		if l.low != nil && i >= parts {
			l.low.parts(&b, s.parts, l.uri)
		}
		fmt.Fprintf(&b, "#EXTINF:%.3f,\n%s\n", s.length.Seconds(), l.uri(s.name))
	}
	if l.low != nil && !l.ended {
		if s := &l.low.open; len(s.parts) > 0 {
			l.begin(&b, s, &shown)
			l.low.parts(&b, s.parts, l.uri)
		}
		fmt.Fprintf(&b, "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=%q\n", l.uri(l.low.name(l.low.next)))
	}
	if l.ended {
		b.WriteString("#EXT-X-ENDLIST\n")
	}
	return b.Bytes()
}

// numbers writes the tags that count what has left the list.
func (l *list) numbers(b writer) {
	first := uint64(0)
	if len(l.segments) > 0 && !l.whole {
		first = l.segments[0].sequence
	}
	fmt.Fprintf(b, "#EXT-X-MEDIA-SEQUENCE:%d\n", first)
	if len(l.segments) == 0 || l.whole {
		return
	}
	n := l.segments[0].resets
	if l.segments[0].broken {
		n-- // its own tag stands in the list
	}
	if n > 0 {
		fmt.Fprintf(b, "#EXT-X-DISCONTINUITY-SEQUENCE:%d\n", n)
	}
}

// begin writes the tags before a segment. shown is the init segment that holds.
func (l *list) begin(b writer, s *segment, shown *string) {
	if s.broken {
		_, _ = b.WriteString("#EXT-X-DISCONTINUITY\n")
	}
	if s.init != *shown {
		*shown = s.init
		fmt.Fprintf(b, "#EXT-X-MAP:URI=%q\n", l.uri(s.init))
	}
	if l.low != nil {
		l.low.date(b, s)
	}
}

// unit is the target duration.
func (l *list) unit() time.Duration { return time.Duration(max(l.target, 1)) * time.Second }

// boundary is how far from the end segments are that a delta update may leave out (RFC 8216bis section 4.4.3.8).
func (l *list) boundary() time.Duration { return 6 * l.unit() }

// from is the first segment that ends less than so long before the end of the list. The parts of those within three target
// durations are shown (RFC 8216bis section 6.2.2).
func (l *list) from(d time.Duration) int {
	if l.low == nil {
		return 0
	}
	var behind time.Duration
	for _, p := range l.low.open.parts {
		behind += p.length
	}
	i := len(l.segments)
	for i > 0 && behind < d {
		i--
		behind += l.segments[i].length
	}
	return i
}

func (l *list) uri(name string) string {
	u := url.URL{Path: name}
	s := u.EscapedPath()
	if l.query != "" {
		s += "?" + l.query
	}
	return s
}

// seconds is a duration as target durations count it (RFC 8216bis section 4.4.3.1: rounded to the nearest).
func seconds(d time.Duration) int { return int(math.Round(d.Seconds())) }

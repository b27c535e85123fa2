package hls

import (
	"fmt"
	"math"
	"net/url"
	"strings"
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
}

// render writes the playlist.
func (l *list) render() []byte {
	var b strings.Builder
	version := 4
	if l.variant == FMP4 {
		version = 7
	}
	fmt.Fprintf(&b, "#EXTM3U\n#EXT-X-VERSION:%d\n#EXT-X-ALLOW-CACHE:NO\n#EXT-X-TARGETDURATION:%d\n", version, max(l.target, 1))
	first := uint64(0)
	if len(l.segments) > 0 && !l.whole {
		first = l.segments[0].sequence
	}
	fmt.Fprintf(&b, "#EXT-X-MEDIA-SEQUENCE:%d\n", first)
	if len(l.segments) > 0 && !l.whole {
		n := l.segments[0].resets
		if l.segments[0].broken {
			n-- // its own tag stands in the list
		}
		if n > 0 {
			fmt.Fprintf(&b, "#EXT-X-DISCONTINUITY-SEQUENCE:%d\n", n)
		}
	}
	if l.event {
		b.WriteString("#EXT-X-PLAYLIST-TYPE:EVENT\n")
	}
	b.WriteString(l.past)
	shown := ""
	for _, s := range l.segments {
		if s.broken {
			b.WriteString("#EXT-X-DISCONTINUITY\n")
		}
		if s.init != shown {
			shown = s.init
			fmt.Fprintf(&b, "#EXT-X-MAP:URI=%q\n", l.uri(s.init))
		}
		fmt.Fprintf(&b, "#EXTINF:%.3f,\n%s\n", s.length.Seconds(), l.uri(s.name))
	}
	if l.ended {
		b.WriteString("#EXT-X-ENDLIST\n")
	}
	return []byte(b.String())
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

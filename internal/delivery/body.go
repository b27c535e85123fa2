package delivery

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/journal"
)

// envelope is what of event.Envelope goes on the wire from here.
type envelope struct {
	id, source, incarnation, stream, publication string

	typ          event.Type
	epoch        int64
	seq, prev    uint64 // with hasSeq
	after        uint64 // with hasAfter
	hasSeq       bool
	hasAfter     bool
	index        uint64
	time         time.Time
	compensation bool
	late         bool
	replay       string
	gap          []event.Gap
}

func envelopeOf(r *journal.Record) envelope {
	return envelope{
		id: r.ID, source: r.Source, incarnation: r.Incarnation, stream: r.Key, publication: r.Publication,
		typ: r.Type, epoch: r.Epoch, seq: r.Seq, hasSeq: r.Type != event.OnEventGap, index: r.Index, time: r.Time,
		compensation: r.Compensation,
	}
}

// appendBody appends the body of a hook: the members of fact (a JSON object), then the sender's.
func appendBody(dst, fact []byte, e *envelope) []byte {
	n := len(fact)
	for n > 0 && fact[n-1] != '}' {
		n--
	}
	if n == 0 {
		dst = append(dst, '{')
	} else {
		dst = append(dst, fact[:n-1]...)
		if last := dst[len(dst)-1]; last != '{' {
			dst = append(dst, ',')
		}
	}
	dst = append(dst, `"hook_index":`...)
	dst = strconv.AppendUint(dst, e.index, 10)
	dst = append(dst, `,"mediaServerId":`...)
	dst = appendString(dst, e.source)
	dst = append(dst, `,"event":`...)
	dst = appendEnvelope(dst, e)
	return append(dst, '}')
}

func appendEnvelope(dst []byte, e *envelope) []byte {
	dst = append(dst, `{"id":`...)
	dst = appendString(dst, e.id)
	dst = append(dst, `,"type":`...)
	dst = appendString(dst, string(e.typ))
	dst = append(dst, `,"source":`...)
	dst = appendString(dst, e.source)
	dst = append(dst, `,"incarnation":`...)
	dst = appendString(dst, e.incarnation)
	dst = append(dst, `,"epoch":`...)
	dst = strconv.AppendInt(dst, e.epoch, 10)
	dst = append(dst, `,"stream":`...)
	dst = appendString(dst, e.stream)
	if e.publication != "" {
		dst = append(dst, `,"publication":`...)
		dst = appendString(dst, e.publication)
	}
	if e.hasSeq {
		dst = append(dst, `,"seq":`...)
		dst = strconv.AppendUint(dst, e.seq, 10)
		dst = append(dst, `,"prev":`...)
		dst = strconv.AppendUint(dst, e.prev, 10)
	}
	if e.hasAfter {
		dst = append(dst, `,"after":`...)
		dst = strconv.AppendUint(dst, e.after, 10)
	}
	dst = append(dst, `,"time":"`...)
	dst = e.time.UTC().AppendFormat(dst, "2006-01-02T15:04:05.000000000Z07:00")
	dst = append(dst, '"')
	if e.compensation {
		dst = append(dst, `,"compensation":true`...)
	}
	if e.late {
		dst = append(dst, `,"late":true`...)
	}
	if e.replay != "" {
		dst = append(dst, `,"replay":`...)
		dst = appendString(dst, e.replay)
	}
	if len(e.gap) > 0 {
		dst = append(dst, `,"gap":[`...)
		for i, g := range e.gap {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendGap(append(dst, '{'), g)
			dst = append(dst, '}')
		}
		dst = append(dst, ']')
	}
	return append(dst, '}')
}

// appendGap appends the members of a gap without braces.
func appendGap(dst []byte, g event.Gap) []byte {
	dst = append(dst, `"from":`...)
	dst = strconv.AppendUint(dst, g.From, 10)
	dst = append(dst, `,"to":`...)
	dst = strconv.AppendUint(dst, g.To, 10)
	dst = append(dst, `,"count":`...)
	dst = strconv.AppendUint(dst, g.Count, 10)
	dst = append(dst, `,"types":[`...)
	for i, t := range g.Types {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendString(dst, string(t))
	}
	dst = append(dst, `],"reason":`...)
	return appendString(dst, g.Reason)
}

// gapFact is the body of on_event_gap before the sender's members.
func gapFact(key string, g event.Gap) []byte {
	vhost, app, stream := splitKey(key)
	dst := appendGap([]byte{'{'}, g)
	dst = append(dst, `,"vhost":`...)
	dst = appendString(dst, vhost)
	dst = append(dst, `,"app":`...)
	dst = appendString(dst, app)
	dst = append(dst, `,"stream":`...)
	dst = appendString(dst, stream)
	return append(dst, '}')
}

// splitKey undoes "vhost/app/stream"; the stream may hold slashes.
func splitKey(key string) (vhost, app, stream string) {
	vhost, rest, _ := strings.Cut(key, "/")
	app, stream, _ = strings.Cut(rest, "/")
	return vhost, app, stream
}

// appendString appends s as a JSON string. Bytes that are not UTF-8 become U+FFFD, as in encoding/json.
func appendString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 {
				dst = append(append(dst, s[start:i]...), `\ufffd`...)
				start = i + 1
			}
			i += size
			continue
		}
		if c >= 0x20 && c != '"' && c != '\\' {
			i++
			continue
		}
		dst = append(dst, s[start:i]...)
		if c == '"' || c == '\\' {
			dst = append(dst, '\\', c)
		} else {
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
		i++
		start = i
	}
	return append(append(dst, s[start:]...), '"')
}

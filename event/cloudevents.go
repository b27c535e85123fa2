package event

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strconv"
)

// Content types of the CloudEvents JSON format 1.0 in structured mode, one event and a batch. Both are UTF-8.
const (
	ContentTypeCloudEvent      = "application/cloudevents+json"
	ContentTypeCloudEventBatch = "application/cloudevents-batch+json"
)

// TypePrefix comes before the hook's name in the CloudEvents attribute type: "hookline.on_stream_changed".
const TypePrefix = "hookline."

// SourcePrefix comes before the mediaServerId in the CloudEvents attribute source.
const SourcePrefix = "/hookline/"

// Names of the attributes that CloudEvents 1.0 does not define itself; sequence and partitionkey are among its
// documented extensions. The package comment describes them.
const (
	attrSequence     = "sequence"
	attrPartitionKey = "partitionkey"
	attrPrev         = "prev"
	attrAfter        = "after"
	attrEpoch        = "epoch"
	attrIncarnation  = "incarnation"
	attrPublication  = "publication"
	attrHookIndex    = "hookindex"
	attrCompensation = "compensation"
	attrGap          = "gap"
	attrLate         = "late"
	attrReplay       = "replay"
	attrStreamBase64 = "streamb64"
)

// CloudEvent is an event that came in the CloudEvents form.
type CloudEvent struct {
	Envelope Envelope
	// HookIndex is the hook_index of the event.
	HookIndex uint64
	// Body is the hook's body as a JSON object: ZLMediaKit's, with hook_index and mediaServerId, without event.
	Body json.RawMessage
}

// CloudEventSource returns the attribute source of the server with this mediaServerId: "/hookline/" and the id as one
// path segment, percent-encoded but for the unreserved characters of RFC 3986 section 2.3. Different ids have
// different sources.
func CloudEventSource(mediaServerID string) string {
	return string(appendSource(nil, mediaServerID))
}

func appendSource(dst []byte, id string) []byte {
	const hex = "0123456789ABCDEF"
	dst = append(dst, SourcePrefix...)
	for i := range len(id) {
		c := id[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '.', c == '_', c == '~':
			dst = append(dst, c)
		default:
			dst = append(dst, '%', hex[c>>4], hex[c&15])
		}
	}
	return dst
}

// AppendCloudEvent appends the event as one JSON object, as the package comment describes. The body is the JSON object
// of the hook without hook_index, mediaServerId and event, as the journal keeps it; the first two are added. It is not
// checked, and its white space is kept. A body that has no braces is taken for an empty object.
//
// An [Envelope] without ID, Type or Time gives an object that [ParseCloudEvent] refuses.
func AppendCloudEvent(dst []byte, e *Envelope, hookIndex uint64, body []byte) []byte {
	dst = append(dst, `{"specversion":"1.0","id":`...)
	dst = appendAttribute(dst, e.ID)
	dst = append(dst, `,"source":"`...)
	dst = appendSource(dst, e.Source)
	dst = append(dst, `","type":"`+TypePrefix...)
	dst = append(appendChars(dst, string(e.Type)), '"')
	if e.Stream != "" {
		dst = append(dst, `,"subject":`...)
		dst = appendAttribute(dst, e.Stream)
	}
	dst = append(dst, `,"time":"`...)
	dst = e.Time.UTC().AppendFormat(dst, "2006-01-02T15:04:05.000000000Z07:00")
	dst = append(dst, `","datacontenttype":"application/json"`...)
	dst = appendPlace(dst, e, hookIndex)
	dst = appendMarks(dst, e)
	dst = append(dst, `,"data":`...)
	dst = appendData(dst, e.Source, hookIndex, body)
	return append(dst, '}')
}

// appendPlace appends the extension attributes that say where the event stands.
func appendPlace(dst []byte, e *Envelope, hookIndex uint64) []byte {
	dst = appendName(dst, attrPartitionKey)
	if e.Stream != "" {
		dst = appendAttribute(dst, e.Stream)
	} else {
		dst = append(appendSource(append(dst, '"'), e.Source), '"')
	}
	if e.Seq != 0 {
		dst = appendNumber(appendName(dst, attrSequence), e.Seq)
	}
	if e.Prev != nil {
		dst = appendNumber(appendName(dst, attrPrev), *e.Prev)
	}
	if e.After != nil {
		dst = appendNumber(appendName(dst, attrAfter), *e.After)
	}
	dst = appendNumber(appendName(dst, attrEpoch), uint64(max(e.Epoch, 0)))
	if e.Incarnation != "" {
		dst = appendAttribute(appendName(dst, attrIncarnation), e.Incarnation)
	}
	if e.Publication != "" {
		dst = appendAttribute(appendName(dst, attrPublication), e.Publication)
	}
	return appendNumber(appendName(dst, attrHookIndex), hookIndex)
}

// appendMarks appends the extension attributes that few events have.
func appendMarks(dst []byte, e *Envelope) []byte {
	if e.Compensation {
		dst = append(appendName(dst, attrCompensation), "true"...)
	}
	if e.Late {
		dst = append(appendName(dst, attrLate), "true"...)
	}
	if e.Replay != "" {
		dst = appendAttribute(appendName(dst, attrReplay), e.Replay)
	}
	if len(e.Gap) > 0 {
		dst = appendAttribute(appendName(dst, attrGap), string(appendGaps(nil, e.Gap)))
	}
	if e.Stream != "" && !exact(e.Stream) {
		dst = append(appendName(dst, attrStreamBase64), '"')
		dst = base64.StdEncoding.AppendEncode(dst, []byte(e.Stream))
		dst = append(dst, '"')
	}
	return dst
}

func appendName(dst []byte, name string) []byte {
	dst = append(dst, ',', '"')
	dst = append(dst, name...)
	return append(dst, '"', ':')
}

func appendData(dst []byte, source string, hookIndex uint64, body []byte) []byte {
	dst = append(dst, '{')
	body = bytes.TrimSpace(body)
	if n := len(body); n >= 2 && body[0] == '{' && body[n-1] == '}' {
		if members := bytes.TrimSpace(body[1 : n-1]); len(members) > 0 {
			dst = append(append(dst, members...), ',')
		}
	}
	dst = append(dst, `"hook_index":`...)
	dst = strconv.AppendUint(dst, hookIndex, 10)
	dst = append(dst, `,"mediaServerId":`...)
	return append(appendString(dst, source), '}')
}

// appendGaps appends the JSON text of event.gap.
func appendGaps(dst []byte, gaps []Gap) []byte {
	dst = append(dst, '[')
	for i, g := range gaps {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"from":`...)
		dst = strconv.AppendUint(dst, g.From, 10)
		dst = append(dst, `,"to":`...)
		dst = strconv.AppendUint(dst, g.To, 10)
		dst = append(dst, `,"count":`...)
		dst = strconv.AppendUint(dst, g.Count, 10)
		dst = append(dst, `,"types":[`...)
		for j, t := range g.Types {
			if j > 0 {
				dst = append(dst, ',')
			}
			dst = appendString(dst, string(t))
		}
		dst = append(dst, `],"reason":`...)
		dst = append(appendString(dst, g.Reason), '}')
	}
	return append(dst, ']')
}

// CloudEventBatch builds the JSON array of a batch in one buffer. The zero value is an empty batch. It is not safe for
// concurrent use.
type CloudEventBatch struct {
	buf []byte
	n   int
}

// Add appends an event; see [AppendCloudEvent].
func (b *CloudEventBatch) Add(e *Envelope, hookIndex uint64, body []byte) {
	b.next()
	b.buf = AppendCloudEvent(b.buf, e, hookIndex, body)
}

// AddEncoded appends an event that [AppendCloudEvent] has encoded. It is copied.
func (b *CloudEventBatch) AddEncoded(object []byte) {
	b.next()
	b.buf = append(b.buf, object...)
}

func (b *CloudEventBatch) next() {
	if b.n == 0 {
		b.buf = append(b.buf[:0], '[')
	} else {
		b.buf = append(b.buf, ',')
	}
	b.n++
}

// Len returns the number of events.
func (b *CloudEventBatch) Len() int { return b.n }

// Size returns the length of [CloudEventBatch.Bytes].
func (b *CloudEventBatch) Size() int {
	if b.n == 0 {
		return len("[]")
	}
	return len(b.buf) + len("]")
}

// Bytes returns the array. It is valid until the next Add, AddEncoded or Reset; more may be added after it.
func (b *CloudEventBatch) Bytes() []byte {
	if b.n == 0 {
		return []byte("[]")
	}
	b.buf = append(b.buf, ']')
	out := b.buf
	b.buf = b.buf[:len(b.buf)-1]
	return out
}

// Reset empties the batch and keeps its memory.
func (b *CloudEventBatch) Reset() { b.buf, b.n = b.buf[:0], 0 }

package event

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Limits of what [ParseCloudEvent] reads.
const (
	// MaxCloudEventBytes is the largest event.
	MaxCloudEventBytes = 4 << 20
	// MaxCloudEventMembers is the largest number of attributes, known and unknown, with data.
	MaxCloudEventMembers = 64
)

// Reasons why bytes are not an event. A [CloudEventError] is the third kind.
var (
	// ErrTooLarge: a limit was exceeded; the text says which.
	ErrTooLarge = errors.New("event: cloudevent too large")
	// ErrNotJSON: the bytes are not JSON (RFC 8259), or not an object or, for a batch, not an array.
	ErrNotJSON = errors.New("event: cloudevent is not JSON of the right kind")
)

// CloudEventError says which attribute makes an object no event of Hookline.
type CloudEventError struct {
	// Attribute is the name of the attribute, or "data".
	Attribute string
	// Reason is a short text without the value.
	Reason string
}

// Error implements error.
func (e *CloudEventError) Error() string {
	return "event: cloudevent: " + e.Attribute + ": " + e.Reason
}

// ParseCloudEvent reads one event in the JSON format, as [AppendCloudEvent] writes it or an intermediary that knows
// CloudEvents 1.0 has written it anew: in any order of members, with null for what is absent, with data_base64, and
// with further attributes, which are ignored. The body has hook_index and mediaServerId; it is part of b unless it
// came as data_base64.
//
// Events of other products and of other versions than 1.0 are refused. The type may be one that this package does not
// know yet. Errors are a [*CloudEventError] or wrap [ErrTooLarge] or [ErrNotJSON].
func ParseCloudEvent(b []byte) (Envelope, uint64, json.RawMessage, error) {
	if len(b) > MaxCloudEventBytes {
		return Envelope{}, 0, nil, fmt.Errorf("%w: %d bytes, more than %d", ErrTooLarge, len(b), MaxCloudEventBytes)
	}
	if !json.Valid(b) {
		return Envelope{}, 0, nil, ErrNotJSON
	}
	ce, err := parseObject(bytes.TrimSpace(b))
	return ce.Envelope, ce.HookIndex, ce.Body, err
}

// BatchLimit bounds a batch. Zero means the default.
type BatchLimit struct {
	Events int // default 1,000
	Bytes  int // default 16 MiB
}

// Defaults of [BatchLimit].
const (
	DefaultBatchEvents = 1000
	DefaultBatchBytes  = 16 << 20
)

// ParseCloudEventBatch reads a JSON array of events, all or none. An empty array is a batch without events. The bodies
// are parts of b. Errors are as those of [ParseCloudEvent] and name the event, counted from 1.
func ParseCloudEventBatch(b []byte, lim BatchLimit) ([]CloudEvent, error) {
	if lim.Events <= 0 {
		lim.Events = DefaultBatchEvents
	}
	if lim.Bytes <= 0 {
		lim.Bytes = DefaultBatchBytes
	}
	if len(b) > lim.Bytes {
		return nil, fmt.Errorf("%w: %d bytes, more than %d", ErrTooLarge, len(b), lim.Bytes)
	}
	if b = bytes.TrimSpace(b); !json.Valid(b) || b[0] != '[' {
		return nil, ErrNotJSON
	}
	var out []CloudEvent
	for s := (splitter{rest: b[1:]}); s.more(); {
		if len(out) == lim.Events {
			return nil, fmt.Errorf("%w: more than %d events", ErrTooLarge, lim.Events)
		}
		raw := s.value()
		if len(raw) > MaxCloudEventBytes {
			return nil, fmt.Errorf("%w: event %d has %d bytes, more than %d", ErrTooLarge, len(out)+1, len(raw), MaxCloudEventBytes)
		}
		ce, err := parseObject(raw)
		if err != nil {
			return nil, fmt.Errorf("event %d: %w", len(out)+1, err)
		}
		out = append(out, ce)
	}
	return out, nil
}

// parseObject reads a valid JSON value without white space around it.
func parseObject(b []byte) (CloudEvent, error) {
	if b[0] != '{' {
		return CloudEvent{}, ErrNotJSON
	}
	var a attributes
	for s := (splitter{rest: b[1:]}); s.more(); {
		name := s.value()
		s.skip(':')
		a.add(name, s.value())
	}
	var ce CloudEvent
	a.required(&ce.Envelope)
	a.place(&ce)
	a.marks(&ce.Envelope)
	ce.Body = a.body()
	if a.err != nil {
		return CloudEvent{}, a.err
	}
	return ce, nil
}

// attributes are the members of an object. The first error stays.
type attributes struct {
	list [MaxCloudEventMembers]struct {
		name  string
		value []byte
	}
	n   int
	err error
}

func (a *attributes) fail(name, reason string) {
	if a.err == nil {
		a.err = &CloudEventError{Attribute: name, Reason: reason}
	}
}

func (a *attributes) add(name, value []byte) {
	if a.err != nil {
		return
	}
	key := unquote(name)
	if a.n == len(a.list) {
		a.err = fmt.Errorf("%w: more than %d members", ErrTooLarge, len(a.list))
		return
	}
	for i := range a.n {
		if a.list[i].name == key {
			a.fail(key, "given twice")
			return
		}
	}
	a.list[a.n].name, a.list[a.n].value = key, value
	a.n++
}

// get returns the value of an attribute; null means absent.
func (a *attributes) get(name string) ([]byte, bool) {
	for i := range a.n {
		if a.list[i].name == name {
			v := a.list[i].value
			return v, string(v) != "null"
		}
	}
	return nil, false
}

func (a *attributes) text(name string) (string, bool) {
	v, ok := a.get(name)
	if !ok {
		return "", false
	}
	if v[0] != '"' {
		a.fail(name, "not a string")
		return "", false
	}
	return unquote(v), true
}

// number reads a 64-bit number, which is a string of up to 20 digits.
func (a *attributes) number(name string) (uint64, bool) {
	s, ok := a.text(name)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || len(s) > numberDigits {
		a.fail(name, "not a number of up to 20 digits and 64 bits")
		return 0, false
	}
	return n, true
}

// flag reads a Boolean, which may come as its canonical string.
func (a *attributes) flag(name string) bool {
	v, ok := a.get(name)
	if !ok {
		return false
	}
	switch string(v) {
	case `true`, `"true"`:
		return true
	case `false`, `"false"`:
		return false
	}
	a.fail(name, "not a Boolean")
	return false
}

// required reads what every event has.
func (a *attributes) required(e *Envelope) {
	if v, _ := a.text("specversion"); v != "1.0" {
		a.fail("specversion", "not 1.0")
	}
	e.ID, _ = a.text("id")
	if e.ID == "" {
		a.fail("id", "absent")
	}
	typ, _ := a.text("type")
	name, ok := strings.CutPrefix(typ, TypePrefix)
	if !ok || name == "" {
		a.fail("type", "does not name an event of Hookline")
	}
	e.Type = Type(name)
	source, _ := a.text("source")
	path, ok := strings.CutPrefix(source, SourcePrefix)
	id, err := url.PathUnescape(path)
	if !ok || err != nil || strings.ContainsAny(path, "/?#") {
		a.fail("source", "does not name a Hookline server")
	}
	e.Source = id
	stamp, _ := a.text("time")
	t, err := time.Parse(time.RFC3339Nano, stamp)
	if err != nil || t.UTC().Year() > 9999 || t.UTC().Year() < 0 {
		a.fail("time", "not RFC 3339")
		return
	}
	e.Time = t.UTC()
}

// place reads where the event stands.
func (a *attributes) place(ce *CloudEvent) {
	e := &ce.Envelope
	e.Stream, _ = a.text("subject")
	if s, ok := a.text(attrStreamBase64); ok {
		raw, err := base64.StdEncoding.DecodeString(s)
		if err != nil {
			a.fail(attrStreamBase64, "not base64")
		}
		e.Stream = string(raw)
	}
	if n, ok := a.number(attrSequence); ok {
		if n == 0 {
			a.fail(attrSequence, "zero")
		}
		e.Seq = n
	}
	if n, ok := a.number(attrPrev); ok {
		e.Prev = &n
	}
	if n, ok := a.number(attrAfter); ok {
		e.After = &n
	}
	epoch, _ := a.number(attrEpoch)
	if e.Epoch = int64(epoch); e.Epoch < 0 {
		a.fail(attrEpoch, "more than 63 bits")
	}
	e.Incarnation, _ = a.text(attrIncarnation)
	e.Publication, _ = a.text(attrPublication)
	ce.HookIndex, _ = a.number(attrHookIndex)
}

func (a *attributes) marks(e *Envelope) {
	e.Compensation = a.flag(attrCompensation)
	e.Late = a.flag(attrLate)
	e.Replay, _ = a.text(attrReplay)
	s, ok := a.text(attrGap)
	if !ok {
		return
	}
	if err := json.Unmarshal([]byte(s), &e.Gap); err != nil {
		a.fail(attrGap, "not the JSON text of a list of gaps")
	}
	if len(e.Gap) == 0 {
		e.Gap = nil
	}
}

// body returns data as a JSON object.
func (a *attributes) body() json.RawMessage {
	if kind, ok := a.text("datacontenttype"); ok && !isJSON(kind) {
		a.fail("datacontenttype", "not JSON")
	}
	data, ok := a.get("data")
	encoded, binary := a.text("data_base64")
	switch {
	case ok && binary:
		a.fail("data_base64", "beside data")
	case binary:
		raw, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil || !json.Valid(raw) {
			a.fail("data_base64", "not base64 of JSON")
			return nil
		}
		data = bytes.TrimSpace(raw)
	}
	if len(data) == 0 || data[0] != '{' {
		a.fail("data", "not an object")
		return nil
	}
	return data
}

// isJSON says whether a media type declares JSON (CloudEvents JSON format 1.0.2, section 3.1.1).
func isJSON(contentType string) bool {
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return false
	}
	_, sub, _ := strings.Cut(media, "/")
	return sub == "json" || strings.HasSuffix(sub, "+json")
}

// unquote decodes a valid JSON string.
func unquote(raw []byte) string {
	if inner := raw[1 : len(raw)-1]; bytes.IndexByte(inner, '\\') < 0 && utf8.Valid(inner) {
		return string(inner)
	}
	var s string
	_ = json.Unmarshal(raw, &s) // it is a valid string
	return s
}

// splitter cuts what follows the opening bracket of a valid JSON object or array into its parts. It relies on the
// validity and knows no errors.
type splitter struct {
	rest []byte
}

// more skips to the next part and says whether there is one.
func (s *splitter) more() bool {
	s.space()
	if s.rest[0] == ',' {
		s.rest = s.rest[1:]
		s.space()
	}
	return s.rest[0] != '}' && s.rest[0] != ']'
}

func (s *splitter) space() { s.rest = bytes.TrimLeft(s.rest, " \t\r\n") }

// skip passes over the byte c and the white space around it.
func (s *splitter) skip(c byte) {
	s.space()
	s.rest = bytes.TrimPrefix(s.rest, []byte{c})
	s.space()
}

// value cuts off the value at the front.
func (s *splitter) value() []byte {
	depth, quoted := 0, false
	for i := 0; i < len(s.rest); i++ {
		c := s.rest[i]
		switch {
		case quoted:
			switch c {
			case '\\':
				i++
			case '"':
				quoted = false
			}
		case c == '"':
			quoted = true
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			if depth == 0 {
				return s.cut(i)
			}
			depth--
		case depth == 0 && (c == ',' || c == ':' || c <= ' '):
			return s.cut(i)
		}
	}
	return s.cut(len(s.rest))
}

func (s *splitter) cut(n int) []byte {
	v := s.rest[:n:n]
	s.rest = s.rest[n:]
	return v
}

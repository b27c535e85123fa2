package receiver

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"

	"github.com/hookline/hookline/event"
)

// A body is read once, by a scanner that checks all of it and keeps what the kit itself needs: the envelope, and the few members
// that the state machine looks at. Handlers get what encoding/json makes of the body. Whatever is unusual (names that differ in
// case, members that come twice, null, escapes in names, deep nesting) the scanner leaves to encoding/json, too: where it says ok,
// it has read what encoding/json reads.

// maxDepth is how deep a body may be nested before encoding/json has to read it.
const maxDepth = 32

// scanner reads JSON. A method that returns false gives up: the text is wrong, or unusual.
type scanner struct {
	b []byte
	i int
}

func (s *scanner) space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\r', '\n':
			s.i++
		default:
			return
		}
	}
}

// next takes c, with the space before it.
func (s *scanner) next(c byte) bool {
	s.space()
	if s.i >= len(s.b) || s.b[s.i] != c {
		return false
	}
	s.i++
	return true
}

// end says that nothing follows.
func (s *scanner) end() bool {
	s.space()
	return s.i == len(s.b)
}

// quoted takes a string and returns it with its quotes; plain: what is between them is its value.
func (s *scanner) quoted() (raw []byte, plain, ok bool) {
	if !s.next('"') {
		return nil, false, false
	}
	from, high := s.i-1, false
	plain = true
	for s.i < len(s.b) {
		c := s.b[s.i]
		s.i++
		switch {
		case c == '"':
			raw = s.b[from:s.i]
			return raw, plain && (!high || utf8.Valid(raw)), true
		case c < ' ':
			return nil, false, false
		case c >= utf8.RuneSelf:
			high = true
		case c == '\\':
			plain = false
			if !s.escape() {
				return nil, false, false
			}
		}
	}
	return nil, false, false
}

func (s *scanner) escape() bool {
	if s.i >= len(s.b) {
		return false
	}
	c := s.b[s.i]
	s.i++
	switch c {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return true
	case 'u':
		if len(s.b)-s.i < 4 {
			return false
		}
		for _, h := range s.b[s.i : s.i+4] {
			if (h < '0' || h > '9') && (h|0x20 < 'a' || h|0x20 > 'f') {
				return false
			}
		}
		s.i += 4
		return true
	}
	return false
}

// text takes a string into v.
func (s *scanner) text(v *string) bool {
	raw, plain, ok := s.quoted()
	if !ok {
		return false
	}
	if !plain {
		return json.Unmarshal(raw, v) == nil
	}
	*v = string(raw[1 : len(raw)-1])
	return true
}

// unsigned takes a whole number below 10^18.
func (s *scanner) unsigned(v *uint64) bool {
	s.space()
	from, n := s.i, uint64(0)
	for ; s.i < len(s.b) && s.b[s.i] >= '0' && s.b[s.i] <= '9'; s.i++ {
		n = n*10 + uint64(s.b[s.i]-'0')
	}
	digits := s.i - from
	if digits == 0 || digits > 18 || digits > 1 && s.b[from] == '0' {
		return false
	}
	if s.i < len(s.b) && (s.b[s.i] == '.' || s.b[s.i]|0x20 == 'e') {
		return false
	}
	*v = n
	return true
}

func (s *scanner) pointer(v **uint64) bool {
	*v = new(uint64)
	return s.unsigned(*v)
}

func (s *scanner) boolean(v *bool) bool {
	s.space()
	switch {
	case s.literal("true"):
		*v = true
	case s.literal("false"):
		*v = false
	default:
		return false
	}
	return true
}

func (s *scanner) literal(text string) bool {
	if !bytes.HasPrefix(s.b[s.i:], []byte(text)) {
		return false
	}
	s.i += len(text)
	return true
}

// number takes any number.
func (s *scanner) number() bool {
	digits := func() bool {
		from := s.i
		for s.i < len(s.b) && s.b[s.i] >= '0' && s.b[s.i] <= '9' {
			s.i++
		}
		return s.i > from
	}
	s.literal("-")
	if zero := s.literal("0"); !zero && !digits() {
		return false
	}
	if s.literal(".") && !digits() {
		return false
	}
	if s.literal("e") || s.literal("E") {
		if !s.literal("+") {
			s.literal("-")
		}
		return digits()
	}
	return true
}

// skip takes any value.
func (s *scanner) skip(depth int) bool {
	s.space()
	if s.i >= len(s.b) || depth > maxDepth {
		return false
	}
	switch c := s.b[s.i]; c {
	case '"':
		_, _, ok := s.quoted()
		return ok
	case '{':
		return s.object(func([]byte) bool { return s.skip(depth + 1) })
	case '[':
		return s.array(depth)
	case 't':
		return s.literal("true")
	case 'f':
		return s.literal("false")
	case 'n':
		return s.literal("null")
	}
	return s.number()
}

func (s *scanner) array(depth int) bool {
	s.i++
	if s.next(']') {
		return true
	}
	for s.skip(depth + 1) {
		if s.next(']') {
			return true
		}
		if !s.next(',') {
			return false
		}
	}
	return false
}

// object takes an object; member takes the value of a name.
func (s *scanner) object(member func(name []byte) bool) bool {
	if !s.next('{') {
		return false
	}
	if s.next('}') {
		return true
	}
	for {
		raw, plain, ok := s.quoted()
		if !ok || !plain || !s.next(':') || !member(raw[1:len(raw)-1]) {
			return false
		}
		if s.next('}') {
			return true
		}
		if !s.next(',') {
			return false
		}
	}
}

// field is a member of an object that is kept.
type field[T any] struct {
	name string
	take func(s *scanner, v *T) bool
}

// fields takes an object into v. It gives up where encoding/json would take a member under another name, or twice.
func fields[T any](s *scanner, v *T, list []field[T]) bool {
	seen := uint64(0)
	return s.object(func(name []byte) bool {
		for i := range list {
			f := &list[i]
			if len(f.name) != len(name) {
				continue
			}
			if string(name) == f.name {
				if seen&(1<<i) != 0 {
					return false
				}
				seen |= 1 << i
				return f.take(s, v)
			}
			if bytes.EqualFold(name, []byte(f.name)) {
				return false
			}
		}
		for _, c := range name {
			if c >= utf8.RuneSelf {
				return false // a letter that folds to one of ASCII is longer
			}
		}
		return s.skip(1)
	})
}

// hookBody is what the kit takes from the body of any hook.
type hookBody struct {
	event event.Envelope
	given bool // the body has an event
	index uint64
}

func bodyFields() []field[hookBody] {
	return []field[hookBody]{
		{"event", func(s *scanner, v *hookBody) bool {
			v.given = true
			return fields(s, &v.event, envelopeFieldList)
		}},
		{"hook_index", func(s *scanner, v *hookBody) bool { return s.unsigned(&v.index) }},
	}
}

func envelopeFields() []field[event.Envelope] {
	type e = event.Envelope
	return []field[e]{
		{"id", func(s *scanner, v *e) bool { return s.text(&v.ID) }},
		{"type", func(s *scanner, v *e) bool { return s.text((*string)(&v.Type)) }},
		{"source", func(s *scanner, v *e) bool { return s.text(&v.Source) }},
		{"incarnation", func(s *scanner, v *e) bool { return s.text(&v.Incarnation) }},
		{"epoch", func(s *scanner, v *e) bool {
			var n uint64
			ok := s.unsigned(&n)
			v.Epoch = int64(n)
			return ok
		}},
		{"stream", func(s *scanner, v *e) bool { return s.text(&v.Stream) }},
		{"publication", func(s *scanner, v *e) bool { return s.text(&v.Publication) }},
		{"seq", func(s *scanner, v *e) bool { return s.unsigned(&v.Seq) }},
		{"prev", func(s *scanner, v *e) bool { return s.pointer(&v.Prev) }},
		{"after", func(s *scanner, v *e) bool { return s.pointer(&v.After) }},
		{"time", func(s *scanner, v *e) bool {
			raw, plain, ok := s.quoted()
			return ok && plain && v.Time.UnmarshalJSON(raw) == nil
		}},
		{"compensation", func(s *scanner, v *e) bool { return s.boolean(&v.Compensation) }},
		{"gap", func(s *scanner, v *e) bool {
			s.space()
			from := s.i
			return s.skip(1) && json.Unmarshal(s.b[from:s.i], &v.Gap) == nil
		}},
		{"late", func(s *scanner, v *e) bool { return s.boolean(&v.Late) }},
		{"replay", func(s *scanner, v *e) bool { return s.text(&v.Replay) }},
	}
}

func changedFields() []field[StreamChanged] {
	type c = StreamChanged
	return []field[c]{
		{"schema", func(s *scanner, v *c) bool { return s.text(&v.Schema) }},
		{"regist", func(s *scanner, v *c) bool { return s.boolean(&v.Regist) }},
		{"params", func(s *scanner, v *c) bool { return s.text(&v.Params) }},
		{"originTypeStr", func(s *scanner, v *c) bool { return s.text(&v.OriginTypeStr) }},
		{"totalReaderCount", func(s *scanner, v *c) bool {
			var n uint64
			ok := s.unsigned(&n) && n < 1<<31
			v.TotalReaderCount = int(n)
			return ok
		}},
		{"originSock", func(s *scanner, v *c) bool {
			v.OriginSock = &OriginSock{}
			return fields(s, v.OriginSock, sockFieldList)
		}},
	}
}

func sockFields() []field[OriginSock] {
	return []field[OriginSock]{{"peer_ip", func(s *scanner, v *OriginSock) bool { return s.text(&v.PeerIP) }}}
}

//nolint:gochecknoglobals // tables, made once
var (
	bodyFieldList     = bodyFields()
	envelopeFieldList = envelopeFields()
	changedFieldList  = changedFields()
	sockFieldList     = sockFields()
)

// scanBody reads the body of a hook; ok is false when encoding/json has to.
func scanBody(body []byte) (b hookBody, ok bool) {
	s := scanner{b: body}
	ok = fields(&s, &b, bodyFieldList) && s.end()
	return b, ok
}

// scanChanged reads of a body of on_stream_changed what the state machine looks at; ok is false when encoding/json has to.
func scanChanged(body []byte) (b *StreamChanged, ok bool) {
	s := scanner{b: body}
	b = &StreamChanged{}
	ok = fields(&s, b, changedFieldList) && s.end()
	return b, ok
}

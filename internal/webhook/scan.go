package webhook

import "unicode/utf8"

// scanReply reads the answer that nearly every receiver gives, {"code":0,"msg":"success"}, without reflection: a flat
// object whose text holds no escapes and whose numbers are short integers. ok is false for everything else, also for
// what is wrong: the caller then asks encoding/json, which is the authority.
func scanReply(b []byte) (code int, msg string, ok bool) {
	s := scanner{b: b}
	if !s.open('{') {
		return 0, "", false
	}
	found := false
	for {
		name, ok := s.text()
		if !ok || !s.open(':') {
			return 0, "", false
		}
		switch v := s.value(); {
		case v.kind == badValue:
			return 0, "", false
		case string(name) == "code":
			code, found = v.number, v.kind == numberValue
		case string(name) == "msg":
			// encoding/json leaves the earlier text when a later msg is no string; so rare that it decides.
			if v.kind != textValue || !utf8.Valid(v.text) {
				return 0, "", false
			}
			msg = string(v.text)
		}
		if s.open('}') {
			return code, msg, found
		}
		if !s.open(',') {
			return 0, "", false
		}
	}
}

type valueKind uint8

const (
	badValue valueKind = iota
	textValue
	numberValue
	otherValue // true, false, null
)

type value struct {
	kind   valueKind
	text   []byte
	number int
}

// scanner walks over b; every method skips leading white space.
type scanner struct {
	b []byte
	i int
}

func (s *scanner) space() {
	for s.i < len(s.b) && (s.b[s.i] == ' ' || s.b[s.i] == '\t' || s.b[s.i] == '\n' || s.b[s.i] == '\r') {
		s.i++
	}
}

// open takes c if it is next.
func (s *scanner) open(c byte) bool {
	s.space()
	if s.i < len(s.b) && s.b[s.i] == c {
		s.i++
		return true
	}
	return false
}

func (s *scanner) text() ([]byte, bool) {
	if !s.open('"') {
		return nil, false
	}
	start := s.i
	for ; s.i < len(s.b); s.i++ {
		switch c := s.b[s.i]; {
		case c == '"':
			s.i++
			return s.b[start : s.i-1], true
		case c == '\\', c < ' ':
			return nil, false
		}
	}
	return nil, false
}

func (s *scanner) value() value {
	s.space()
	if s.i == len(s.b) {
		return value{}
	}
	switch c := s.b[s.i]; {
	case c == '"':
		if t, ok := s.text(); ok {
			return value{kind: textValue, text: t}
		}
	case c == '-' || c >= '0' && c <= '9':
		return s.integer()
	default:
		for _, word := range [...]string{"true", "false", "null"} {
			if len(s.b)-s.i >= len(word) && string(s.b[s.i:s.i+len(word)]) == word {
				s.i += len(word)
				return value{kind: otherValue}
			}
		}
	}
	return value{}
}

// integer takes at most nine digits; what follows them must not be part of a number.
func (s *scanner) integer() value {
	negative := s.b[s.i] == '-'
	if negative {
		s.i++
	}
	start, n := s.i, 0
	for ; s.i < len(s.b) && s.b[s.i] >= '0' && s.b[s.i] <= '9'; s.i++ {
		if s.i-start == 9 {
			return value{}
		}
		n = n*10 + int(s.b[s.i]-'0')
	}
	digits := s.i - start
	if digits == 0 || digits > 1 && s.b[start] == '0' {
		return value{}
	}
	if s.i < len(s.b) {
		switch s.b[s.i] {
		case '.', 'e', 'E':
			return value{}
		}
	}
	if negative {
		n = -n
	}
	return value{kind: numberValue, number: n}
}

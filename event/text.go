package event

import (
	"strconv"
	"unicode/utf8"
)

// appendString appends s as a JSON string. Bytes that are not UTF-8 become U+FFFD.
func appendString(dst []byte, s string) []byte {
	n := plain(s)
	dst = append(append(dst, '"'), s[:n]...)
	for _, r := range s[n:] {
		dst = appendRune(dst, r)
	}
	return append(dst, '"')
}

// appendAttribute appends s as the JSON string of an attribute: what CloudEvents disallows becomes U+FFFD.
func appendAttribute(dst []byte, s string) []byte {
	dst = append(dst, '"')
	return append(appendChars(dst, s), '"')
}

// appendChars is [appendAttribute] without the quotes.
func appendChars(dst []byte, s string) []byte {
	n := plain(s)
	dst = append(dst, s[:n]...)
	for _, r := range s[n:] {
		if !allowed(r) {
			r = utf8.RuneError
		}
		dst = appendRune(dst, r)
	}
	return dst
}

// plain returns the length of the part at the front of s, often all of it, that needs no look at its runes.
func plain(s string) int {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c > '~' || c == '"' || c == '\\' {
			return i
		}
	}
	return len(s)
}

func appendRune(dst []byte, r rune) []byte {
	const hex = "0123456789abcdef"
	switch {
	case r == '"' || r == '\\':
		return append(dst, '\\', byte(r))
	case r < 0x20:
		return append(dst, '\\', 'u', '0', '0', hex[r>>4], hex[r&15])
	case r < utf8.RuneSelf:
		return append(dst, byte(r))
	}
	return utf8.AppendRune(dst, r)
}

// allowed says whether r may be in a CloudEvents String (CloudEvents 1.0.2, "Type System"): no control characters and
// no noncharacters. Surrogates do not occur in a Go string.
func allowed(r rune) bool {
	switch {
	case r < 0x20, r >= 0x7f && r < 0xa0, r >= 0xfdd0 && r <= 0xfdef, r&0xfffe == 0xfffe:
		return false
	}
	return true
}

// exact says whether s survives [appendAttribute] unchanged.
func exact(s string) bool {
	if plain(s) == len(s) {
		return true
	}
	for i, r := range s {
		if r == utf8.RuneError {
			// A U+FFFD that stands in s itself is kept; a byte that is not UTF-8 is not.
			if _, size := utf8.DecodeRuneInString(s[i:]); size == 1 {
				return false
			}
		}
		if !allowed(r) {
			return false
		}
	}
	return true
}

// numberDigits is the length of every 64-bit number in an attribute: strings then compare like numbers.
const numberDigits = 20

// appendNumber appends n as a JSON string of 20 digits. A CloudEvents Integer has 32 bits only.
func appendNumber(dst []byte, n uint64) []byte {
	var buf [numberDigits]byte
	digits := strconv.AppendUint(buf[:0], n, 10)
	dst = append(dst, '"')
	dst = append(dst, "00000000000000000000"[len(digits):]...)
	dst = append(dst, digits...)
	return append(dst, '"')
}

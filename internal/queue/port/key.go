package port

import (
	"fmt"
	"strings"
)

const (
	emptyToken = "%"
	hexDigits  = "0123456789ABCDEF"
)

// EncodeKey turns a stream key into the tokens of a NATS subject or an AMQP routing key, reversibly:
//
//   - each "/" of the key becomes ".", so that consumers can select by token ("__defaultVhost__.live.*");
//   - an empty token (the key "", or "a//b") becomes "%";
//   - in a token A-Z a-z 0-9 "_" and "-" stay, and every other byte (dots, wildcards, spaces, controls, each byte of
//     non-ASCII UTF-8, "%" itself) becomes "%" and two upper-case hex digits.
//
// Different keys have different encodings; DecodeKey is the way back.
func EncodeKey(key string) string {
	if plainKey(key) {
		return strings.ReplaceAll(key, "/", ".")
	}
	var b strings.Builder
	b.Grow(len(key) + 16)
	for i, token := range strings.Split(key, "/") {
		if i > 0 {
			b.WriteByte('.')
		}
		if token == "" {
			b.WriteString(emptyToken)
		}
		for j := range len(token) {
			if c := token[j]; plain(c) {
				b.WriteByte(c)
			} else {
				b.Write([]byte{'%', hexDigits[c>>4], hexDigits[c&15]})
			}
		}
	}
	return b.String()
}

// DecodeKey returns the stream key that EncodeKey made subject of. It refuses what EncodeKey cannot have made.
func DecodeKey(subject string) (string, error) {
	var b strings.Builder
	for i, token := range strings.Split(subject, ".") {
		if i > 0 {
			b.WriteByte('/')
		}
		if token == emptyToken {
			continue
		}
		if token == "" {
			return "", fmt.Errorf("subject %q: empty token", subject)
		}
		for j := 0; j < len(token); j++ {
			c := token[j]
			switch {
			case plain(c):
			case c == '%' && j+2 < len(token) && hexValue(token[j+1]) >= 0 && hexValue(token[j+2]) >= 0:
				c = byte(hexValue(token[j+1])<<4 | hexValue(token[j+2]))
				j += 2
				if plain(c) || c == '/' {
					return "", fmt.Errorf("subject %q: %q need not be escaped", subject, c)
				}
			default:
				return "", fmt.Errorf("subject %q: unexpected %q", subject, c)
			}
			b.WriteByte(c)
		}
	}
	return b.String(), nil
}

// plainKey: nothing to escape, no empty token.
func plainKey(key string) bool {
	last := byte('/')
	for i := range len(key) {
		c := key[i]
		if !plain(c) && (c != '/' || last == '/') {
			return false
		}
		last = c
	}
	return last != '/'
}

func plain(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-'
}

func hexValue(c byte) int {
	return strings.IndexByte(hexDigits, c)
}

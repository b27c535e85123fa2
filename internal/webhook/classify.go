package webhook

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"unicode/utf8"
)

// maxMessage bounds the text that is taken from an answer, in bytes.
const maxMessage = 512

// ErrNotObject says that the body of an answer does not begin with a JSON object.
var ErrNotObject = errors.New("webhook: the answer is not a JSON object")

// String returns the class's name in lower case.
func (c Class) String() string {
	switch c {
	case Accepted:
		return "accepted"
	case Retryable:
		return "retryable"
	case Rejected:
		return "rejected"
	case Gone:
		return "gone"
	}
	return "unknown"
}

// Classify reads a reply under the zlm format. code and msg are those of the answer when it is Accepted (a non-zero
// code is a refusal that was understood); for every other class msg says in at most 512 bytes why. A code outside the
// range of int is saturated.
func Classify(r Reply) (c Class, code int, msg string) {
	switch {
	case r.Err != nil:
		return Retryable, 0, shorten(r.Err.Error())
	case r.Status == http.StatusOK:
		return classifyBody(r.Body)
	case r.Status == http.StatusGone:
		c = Gone
	case r.Status >= 500, r.Status == http.StatusRequestTimeout, r.Status == http.StatusTooEarly,
		r.Status == http.StatusTooManyRequests:
		c = Retryable
	default:
		c = Rejected
	}
	return c, 0, "HTTP status " + strconv.Itoa(r.Status)
}

func classifyBody(body []byte) (c Class, code int, msg string) {
	body = bytes.TrimPrefix(body, []byte("\xef\xbb\xbf"))
	if code, msg, ok := scanReply(body); ok {
		return Accepted, code, shorten(msg)
	}
	m, err := Members(body)
	if err != nil {
		return Rejected, 0, err.Error()
	}
	code, ok := integral(m["code"])
	if !ok {
		return Rejected, 0, "the answer has no integral member code"
	}
	_ = json.Unmarshal(m["msg"], &msg) // a msg that is no string says nothing
	return Accepted, code, shorten(msg)
}

// Members returns the members of the JSON object with which the body of an answer begins. As in ZLMediaKit a byte
// order mark before it and anything behind it are ignored, and the last of several members of one name counts.
func Members(body []byte) (map[string]json.RawMessage, error) {
	body = bytes.TrimPrefix(body, []byte("\xef\xbb\xbf"))
	var m map[string]json.RawMessage
	if err := json.NewDecoder(bytes.NewReader(body)).Decode(&m); err != nil || m == nil {
		return nil, ErrNotObject
	}
	return m, nil
}

// CloseAnswer reports whether an answer to on_stream_not_found or on_stream_none_reader asks to close: its member
// close is true or a number other than 0. Text is not understood, as in ZLMediaKit.
func CloseAnswer(body []byte) bool {
	m, err := Members(body)
	if err != nil {
		return false
	}
	v := string(m["close"])
	if f, err := strconv.ParseFloat(v, 64); err == nil {
		return f != 0
	}
	return v == "true"
}

// integral reads a JSON number under JsonCpp's isIntegral, which is ZLMediaKit's test: 0.0 and 1e0 are integers, 0.5
// and what exceeds 64 bits are not.
func integral(v json.RawMessage) (int, bool) {
	if len(v) == 0 || v[0] != '-' && (v[0] < '0' || v[0] > '9') {
		return 0, false
	}
	if n, err := strconv.ParseInt(string(v), 10, 64); err == nil {
		return saturate(n), true
	}
	if _, err := strconv.ParseUint(string(v), 10, 64); err == nil {
		return math.MaxInt, true
	}
	f, err := strconv.ParseFloat(string(v), 64)
	if err != nil || f != math.Trunc(f) || f < -(1<<63) || f >= 1<<64 {
		return 0, false
	}
	if f >= 1<<63 {
		return math.MaxInt, true
	}
	return saturate(int64(f)), true
}

func saturate(n int64) int { return int(min(max(n, math.MinInt), math.MaxInt)) }

func shorten(s string) string {
	if len(s) <= maxMessage {
		return s
	}
	cut := maxMessage
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return fmt.Sprintf("%s…", s[:cut])
}

package api

import (
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// badParameter is an error of the client.
type badParameter struct{ name, want string }

// Error implements error.
func (e *badParameter) Error() string { return "parameter " + e.name + " must be " + e.want }

// number returns an unsigned parameter, def when it is absent.
func number(q url.Values, name string, def uint64) (uint64, error) {
	v := q.Get(name)
	if v == "" {
		return def, nil
	}
	n, err := strconv.ParseUint(v, 10, 63)
	if err != nil {
		return 0, &badParameter{name, "a non-negative integer"}
	}
	return n, nil
}

const (
	defaultLimit = 100
	maxLimit     = 1000
)

// limit returns the parameter limit, 1 to maxLimit.
func limit(q url.Values) (int, error) {
	n, err := number(q, "limit", defaultLimit)
	if err != nil || n == 0 || n > maxLimit {
		return 0, &badParameter{"limit", "an integer from 1 to 1000"}
	}
	return int(n), nil
}

// instant returns a time: RFC 3339, or Unix seconds with a fraction; zero when it is absent.
func instant(q url.Values, name string) (time.Time, error) {
	v := q.Get(name)
	if v == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339Nano, v); err == nil {
		return t, nil
	}
	const farthest = 1 << 33 // in the year 2242; beyond, nanoseconds overflow
	f, err := strconv.ParseFloat(v, 64)
	if err != nil || !(f >= 0 && f < farthest) {
		return time.Time{}, &badParameter{name, "a time in RFC 3339 or in Unix seconds"}
	}
	return time.Unix(0, int64(f*1e9)), nil
}

// maxWait bounds a long poll.
const maxWait = time.Minute

// waiting returns the parameter wait: a duration such as 30s or a number of seconds, at most maxWait; 0 when it is
// absent.
func waiting(q url.Values) (time.Duration, error) {
	v := q.Get("wait")
	if v == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(v)
	if n, bad := strconv.ParseUint(v, 10, 16); bad == nil {
		d, err = time.Duration(n)*time.Second, nil
	}
	if err != nil || d < 0 || d > maxWait {
		return 0, &badParameter{"wait", "a duration from 0 to 60s"}
	}
	return d, nil
}

// descending returns whether the parameter order asks for the newest first.
func descending(q url.Values) (bool, error) {
	switch q.Get("order") {
	case "", "asc":
		return false, nil
	case "desc":
		return true, nil
	}
	return false, &badParameter{"order", "asc or desc"}
}

const (
	// maxName is the longest name of an endpoint and maxText the longest reason, in bytes.
	maxName = 256
	maxText = 512
)

// checkText refuses what is too long or has control characters, which would be a nuisance in logs.
func checkText(name, v string, most int) error {
	control := func(r rune) bool { return r < ' ' || r == 0x7f }
	if len(v) > most || !utf8.ValidString(v) || strings.ContainsFunc(v, control) {
		return &badParameter{name, "text of at most " + strconv.Itoa(most) + " bytes without control characters"}
	}
	return nil
}

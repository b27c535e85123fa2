package port

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxHosts bounds the list of servers in one URL.
const maxHosts = 64

// URL is the address of a destination: scheme://[user[:password]@]host[:port][,host[:port]...]/path?parameters.
// Its String shows neither user nor password; a password must be in no other part.
type URL struct {
	Scheme      string
	User        string
	Password    string
	HasPassword bool
	Hosts       []string // host:port, the default port filled in
	Path        string   // without the leading slash, unescaped
	query       url.Values
	read        map[string]bool
	err         error
}

// ParseURL reads raw; with defaultPort 0 hosts without a port stay without. No error contains any part of raw that might be secret.
func ParseURL(raw string, defaultPort int) (*URL, error) {
	scheme, rest, ok := strings.Cut(raw, "://")
	if !ok || scheme == "" || strings.ContainsFunc(scheme, func(r rune) bool { return r > 'z' || !plain(byte(r)) }) {
		return nil, fmt.Errorf("%w: no scheme", ErrURL)
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	authority, tail := rest[:end], rest[end:]
	user := ""
	if at := strings.LastIndexByte(authority, '@'); at >= 0 {
		user, authority = authority[:at+1], authority[at+1:]
	}
	// net/url takes a single host; the list is ours.
	parsed, err := url.Parse(strings.ToLower(scheme) + "://" + user + "host" + tail)
	if err != nil {
		return nil, fmt.Errorf("%w: it does not parse (special characters of a password must be %%-escaped)", ErrURL)
	}
	if strings.ContainsRune(tail, '@') {
		return nil, fmt.Errorf("%w: an @ after the host (special characters of a password must be %%-escaped)", ErrURL)
	}
	if parsed.Fragment != "" {
		return nil, fmt.Errorf("%w: it has a fragment (a # must be written %%23)", ErrURL)
	}
	query, err := url.ParseQuery(parsed.RawQuery)
	if err != nil {
		return nil, fmt.Errorf("%w: its parameters do not parse", ErrURL)
	}
	u := &URL{Scheme: parsed.Scheme, Path: strings.TrimPrefix(parsed.Path, "/"), query: query, read: map[string]bool{}}
	if parsed.User != nil {
		u.User = parsed.User.Username()
		u.Password, u.HasPassword = parsed.User.Password()
	}
	u.Hosts, err = hosts(authority, defaultPort)
	return u, err
}

func hosts(list string, defaultPort int) ([]string, error) {
	parts := strings.Split(list, ",")
	if len(parts) > maxHosts {
		return nil, fmt.Errorf("%w: more than %d hosts", ErrURL, maxHosts)
	}
	out := make([]string, 0, len(parts))
	for _, part := range parts {
		address, ok := hostPort(part, defaultPort)
		if !ok {
			// Not shown: with a password that is not escaped, this may be part of it.
			return nil, fmt.Errorf("%w: a host or its port cannot be read", ErrURL)
		}
		out = append(out, address)
	}
	return out, nil
}

func hostPort(s string, defaultPort int) (string, bool) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		host, port = s, strconv.Itoa(defaultPort)
		if strings.HasPrefix(s, "[") {
			if host = s[1:]; !strings.HasSuffix(host, "]") {
				return "", false
			}
			host = host[:len(host)-1]
		} else if strings.Contains(s, ":") {
			return "", false
		}
	}
	if host == "" || strings.ContainsFunc(host, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("[]%\\\"<>", r) }) {
		return "", false
	}
	if err != nil && defaultPort == 0 {
		return s, true
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return net.JoinHostPort(host, port), err == nil && n > 0
}

// String is the URL with *** for user and password, and without its parameters.
func (u *URL) String() string {
	user := ""
	if u.User != "" || u.HasPassword {
		user = "***@"
	}
	path := (&url.URL{Path: "/" + u.Path}).EscapedPath()
	return u.Scheme + "://" + user + strings.Join(u.Hosts, ",") + path
}

// Param returns a parameter, or def.
func (u *URL) Param(name, def string) string {
	u.read[name] = true
	values := u.query[name]
	if len(values) > 1 {
		u.fail(name, "given more than once")
	}
	if len(values) == 0 || values[0] == "" {
		return def
	}
	return values[0]
}

// Int returns a parameter between lo and hi, or def.
func (u *URL) Int(name string, def, lo, hi int64) int64 {
	s := u.Param(name, "")
	if s == "" {
		return def
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < lo || n > hi {
		u.fail(name, fmt.Sprintf("not a number from %d to %d", lo, hi))
		return def
	}
	return n
}

// Bool returns a parameter written 1, true, 0 or false, or def.
func (u *URL) Bool(name string, def bool) bool {
	s := u.Param(name, "")
	if s == "" {
		return def
	}
	b, err := strconv.ParseBool(s)
	if err != nil {
		u.fail(name, "neither 0 nor 1")
		return def
	}
	return b
}

// Duration returns a parameter such as 90s or 72h, from 0 to ten years, or def.
func (u *URL) Duration(name string, def time.Duration) time.Duration {
	s := u.Param(name, "")
	if s == "" {
		return def
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 || d > 10*365*24*time.Hour {
		u.fail(name, "not a duration such as 90s or 72h")
		return def
	}
	return d
}

// OneOf returns a parameter that is one of allowed, or allowed[0].
func (u *URL) OneOf(name string, allowed ...string) string {
	s := u.Param(name, allowed[0])
	if !slices.Contains(allowed, s) {
		u.fail(name, "not one of "+strings.Join(allowed, ", "))
		return allowed[0]
	}
	return s
}

// Err tells what was wrong with the parameters read so far, and refuses parameters that nobody has read: a misspelt
// one must not be ignored.
func (u *URL) Err() error {
	if u.err != nil {
		return u.err
	}
	for name := range u.query {
		if !u.read[name] {
			known := make([]string, 0, len(u.read))
			for k := range u.read {
				known = append(known, k)
			}
			slices.Sort(known)
			return fmt.Errorf("%w: a parameter is unknown; known are %s", ErrURL, strings.Join(known, ", "))
		}
	}
	return nil
}

func (u *URL) fail(name, what string) {
	if u.err == nil {
		u.err = fmt.Errorf("%w: parameter %s: %s", ErrURL, name, what)
	}
}

package webhook

import (
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
)

// target is a URL taken apart once: where to connect to, and the head of the request that does not change.
type target struct {
	url    *url.URL
	key    string // scheme://addr: connections with the same key are interchangeable
	addr   string // host:port to dial
	host   string // for TLS
	secure bool
	line   string // request line and Host
	auth   string // Authorization line; empty without userinfo
	// foreign says that a redirect led to another host: credentials of the request are not for it.
	foreign bool
}

// parseTarget takes a URL apart. The path and the query go out as they are written.
func parseTarget(raw string) (*target, error) {
	u, err := url.Parse(raw)
	if err != nil {
		// The parser's error quotes the URL, which may hold a password.
		return nil, fmt.Errorf("%w: it can't be parsed", ErrURL)
	}
	t := &target{url: u, host: u.Hostname()}
	port := u.Port()
	switch u.Scheme {
	case "http":
		port = fallback(port, "80")
	case "https":
		t.secure = true
		port = fallback(port, "443")
	default:
		return nil, fmt.Errorf("%w: the scheme is not http or https", ErrURL)
	}
	if t.host == "" || !isVisible(u.Host) {
		return nil, fmt.Errorf("%w: no usable host", ErrURL)
	}
	t.addr = net.JoinHostPort(t.host, port)
	t.key = u.Scheme + "://" + t.addr
	t.line = "POST " + requestTarget(raw) + " HTTP/1.1\r\nHost: " + u.Host + "\r\n"
	if u.User != nil {
		password, _ := u.User.Password()
		credentials := base64.StdEncoding.EncodeToString([]byte(u.User.Username() + ":" + password))
		t.auth = "Authorization: Basic " + credentials + "\r\n"
	}
	return t, nil
}

// requestTarget returns path and query verbatim, but for bytes that may not stand in a request line, which are
// percent-encoded.
func requestTarget(raw string) string {
	_, rest, _ := strings.Cut(raw, "://")
	rest, _, _ = strings.Cut(rest, "#")
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		rest = rest[i:]
	} else {
		rest = ""
	}
	var b strings.Builder
	if !strings.HasPrefix(rest, "/") {
		b.WriteByte('/')
	}
	for i := range len(rest) {
		if c := rest[i]; c > ' ' && c < 0x7f {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

func isVisible(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

// redirect returns where location leads to. Credentials stay with their host, and a request that began encrypted does
// not go on in the clear: bodies carry secrets (on_server_started).
func (t *target) redirect(location string) (*target, bool) {
	if location == "" {
		return nil, false
	}
	u, err := t.url.Parse(location)
	if err != nil {
		return nil, false
	}
	next, err := parseTarget(u.String())
	if err != nil || t.secure && !next.secure {
		return nil, false
	}
	next.foreign = t.foreign || next.key != t.key
	if next.auth == "" && !next.foreign {
		next.auth = t.auth
	}
	return next, true
}

// appendHead appends everything up to the empty line.
func (t *target) appendHead(b []byte, r *Request, userAgent string) ([]byte, error) {
	b = append(b, t.line...)
	b = append(b, "User-Agent: "...)
	b = appendFieldValue(b, userAgent)
	b = append(b, "\r\nAccept: */*\r\n"...)
	b = append(b, t.auth...)
	hasType := false
	for name, values := range r.Header {
		switch http.CanonicalHeaderKey(name) {
		case "Content-Type":
			hasType = true
		case "Host", "Content-Length", "Transfer-Encoding", "Connection", "User-Agent", "Accept", "Expect":
			continue // ours to say
		case "Authorization", "Cookie":
			if t.foreign {
				continue
			}
		}
		if !isToken(name) {
			return b, fmt.Errorf("%w: %q", ErrHeader, name)
		}
		for _, v := range values {
			b = append(append(b, name...), ": "...)
			b = append(appendFieldValue(b, v), "\r\n"...)
		}
	}
	if !hasType {
		b = append(b, "Content-Type: application/json\r\n"...)
	}
	b = append(b, "Content-Length: "...)
	b = strconv.AppendInt(b, int64(len(r.Body)), 10)
	return append(b, "\r\n\r\n"...), nil
}

// appendFieldValue leaves out what could end the line: a vhost in X-VHOST comes from a client's URL.
func appendFieldValue(b []byte, v string) []byte {
	for i := range len(v) {
		if c := v[i]; c >= ' ' && c != 0x7f || c == '\t' {
			b = append(b, c)
		}
	}
	return b
}

func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		alnum := c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z'
		if !alnum && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return false
		}
	}
	return s != ""
}

// targetCache remembers configured URLs. There may be a few thousand; when they were changed often enough the cache
// starts anew.
type targetCache struct {
	route func(*target) // changes a new target; nil: nothing
	mu    sync.RWMutex
	all   map[string]*target // guarded by mu
}

const maxTargets = 8192

func (c *targetCache) get(raw string) (*target, error) {
	c.mu.RLock()
	t := c.all[raw]
	c.mu.RUnlock()
	if t != nil {
		return t, nil
	}
	t, err := parseTarget(raw)
	if err != nil {
		return nil, err
	}
	if c.route != nil {
		c.route(t)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all == nil || len(c.all) >= maxTargets {
		c.all = map[string]*target{}
	}
	c.all[raw] = t
	return t, nil
}

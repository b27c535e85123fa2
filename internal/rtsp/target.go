package rtsp

import (
	"errors"
	"net"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/hookline/hookline/internal/fact"
)

// Limits of names; those of RTMP.
const (
	maxName   = 1024
	maxParams = 8 << 10
)

var errBadName = errors.New("bad stream name")

// target takes the stream and the parameters out of a URL: rtsp://host/app/stream?params.
func target(raw string, vhosts bool) (name fact.Stream, params string, err error) {
	rest := raw
	host := ""
	if i := strings.Index(rest, "://"); i >= 0 {
		rest = rest[i+3:]
		host, rest, _ = strings.Cut(rest, "/")
	} else {
		rest = strings.TrimPrefix(rest, "/")
	}
	path, params, _ := strings.Cut(rest, "?")
	if p, err := url.PathUnescape(path); err == nil {
		path = p
	}
	app, stream, _ := strings.Cut(path, "/")
	stream = strings.TrimSuffix(stream, "/")
	if !validName(app, stream) || len(params) > maxParams {
		return name, "", errBadName
	}
	return fact.Stream{Vhost: vhostOf(host, params, vhosts), App: app, Stream: stream}, params, nil
}

func validName(app, stream string) bool {
	if app == "" || stream == "" || len(app)+len(stream) > maxName || !utf8.ValidString(app+stream) {
		return false
	}
	for _, r := range app + stream {
		if r < 0x20 || r == 0x7f {
			return false
		}
	}
	for part := range strings.SplitSeq(app+"/"+stream, "/") {
		if part == "" || part == "." || part == ".." {
			return false
		}
	}
	return true
}

// vhostOf is the virtual host of a URL, as in ZLMediaKit.
func vhostOf(host, params string, on bool) string {
	if !on {
		return fact.DefaultVhost
	}
	if q, err := url.ParseQuery(params); err == nil && q.Get("vhost") != "" && validName("a", q.Get("vhost")) {
		return q.Get("vhost")
	}
	if i := strings.LastIndex(host, "@"); i >= 0 {
		host = host[i+1:]
	}
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	if host == "" || host == "localhost" || net.ParseIP(host) != nil || !validName("a", host) {
		return fact.DefaultVhost
	}
	return host
}

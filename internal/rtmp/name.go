package rtmp

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/hookline/hookline/internal/fact"
)

// Limits of names, in bytes.
const (
	maxPath   = 1024
	maxParams = 8 << 10
)

// errName is wrapped by every reason why a name can't be a stream.
var errName = errors.New("bad stream name")

// connectInfo is what the connect command says about where things are.
type connectInfo struct {
	app        string // as it came
	tcURL      string
	reconnects bool // understands a request to reconnect
}

// target returns the stream that a peer means by name after it connected with c. The path of a stream may be split
// between app and name anywhere: its first level is the app, all the rest the stream. Parameters are the query of
// name; one in tcUrl or app is dropped, as ZLMediaKit does.
func (c connectInfo) target(name string, vhosts bool) (fact.Stream, string, error) {
	name, params, _ := strings.Cut(name, "?")
	app, _, _ := strings.Cut(c.app, "?")
	if app == "" {
		app = pathOf(c.tcURL)
	}
	path := strings.Trim(app, "/")
	if name = strings.TrimLeft(untyped(name), "/"); name != "" {
		path = strings.TrimLeft(path+"/"+name, "/")
	}
	if err := checkName(path, params); err != nil {
		return fact.Stream{}, "", err
	}
	app, stream, _ := strings.Cut(path, "/")
	if app == "" || stream == "" {
		return fact.Stream{}, "", fmt.Errorf("%w: app and stream must not be empty", errName)
	}
	s := fact.Stream{Vhost: fact.DefaultVhost, App: app, Stream: stream}
	if vhosts {
		vhost, err := vhostOf(c.tcURL, params)
		if err != nil {
			return fact.Stream{}, "", err
		}
		s.Vhost = vhost
	}
	return s, params, nil
}

// untyped undoes what Flash players make of a file name: "b.mp4" is asked for as "mp4:b" or "mp4:b.mp4".
func untyped(name string) string {
	for _, ext := range []string{"mp4", "flv"} {
		rest, ok := strings.CutPrefix(name, ext+":")
		if !ok {
			continue
		}
		if rest == "" || strings.HasSuffix(rest, "."+ext) {
			return rest
		}
		return rest + "." + ext
	}
	return name
}

// checkName refuses what can't be a stream key, a file name or a part of a URL.
func checkName(path, params string) error {
	switch {
	case len(path) > maxPath:
		return fmt.Errorf("%w: longer than %d bytes", errName, maxPath)
	case len(params) > maxParams:
		return fmt.Errorf("%w: parameters longer than %d bytes", errName, maxParams)
	case !utf8.ValidString(path) || !utf8.ValidString(params):
		return fmt.Errorf("%w: not UTF-8", errName)
	case hasControl(path) || hasControl(params):
		return fmt.Errorf("%w: control character", errName)
	case strings.HasSuffix(path, "/"):
		return fmt.Errorf("%w: ends with a slash", errName)
	}
	for level := range strings.SplitSeq(path, "/") {
		switch level {
		case "":
			if path != "" {
				return fmt.Errorf("%w: empty level", errName)
			}
		case ".", "..":
			return fmt.Errorf("%w: %q is not allowed as a level", errName, level)
		}
	}
	return nil
}

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r >= 0x7f && r < 0xa0 })
}

// pathOf returns the path of a URL without query and scheme. It is no full parser: encoders put anything there.
func pathOf(raw string) string {
	_, rest, ok := strings.Cut(raw, "://")
	if !ok {
		return ""
	}
	rest, _, _ = strings.Cut(rest, "?")
	_, path, _ := strings.Cut(rest, "/")
	return path
}

// vhostOf returns the virtual host: the parameter vhost, or the host of the URL unless that is an address or localhost.
func vhostOf(tcURL, params string) (string, error) {
	if q, err := url.ParseQuery(params); err == nil && q.Get("vhost") != "" {
		return checkVhost(q.Get("vhost"))
	}
	_, rest, _ := strings.Cut(tcURL, "://")
	host, _, _ := strings.Cut(rest, "?")
	host, _, _ = strings.Cut(host, "/")
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if host == "" || host == "localhost" || net.ParseIP(strings.Trim(host, "[]")) != nil {
		return fact.DefaultVhost, nil
	}
	return checkVhost(host)
}

func checkVhost(host string) (string, error) {
	if len(host) > 255 || strings.Contains(host, "/") {
		return "", fmt.Errorf("%w: vhost", errName)
	}
	if err := checkName(host, ""); err != nil {
		return "", fmt.Errorf("vhost: %w", err)
	}
	return host, nil
}

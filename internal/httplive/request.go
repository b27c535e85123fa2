package httplive

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
	"unicode/utf8"

	"github.com/hookline/hookline/internal/fact"
)

// Limits of what is asked for, in bytes.
const (
	maxPath   = 1024
	maxParams = 8 << 10
)

// parse returns what r asks for: /app/stream.live.flv, .live.ts or .live.mp4, or /app/stream?schema=rtmp, ts or fmp4. The
// stream may contain slashes.
func parse(r *http.Request, vhosts bool) (fact.MediaInfo, kind, bool) {
	path, k, ok := kindOf(r)
	app, name, _ := strings.Cut(path, "/")
	if !ok || app == "" || name == "" || !named(path) || len(r.URL.RawQuery) > maxParams {
		return fact.MediaInfo{}, kind{}, false
	}
	protocol := "http"
	if wantsWebSocket(r) {
		protocol = "ws"
	}
	if r.TLS != nil {
		protocol += "s"
	}
	return fact.MediaInfo{
		Schema: k.schema, Protocol: protocol,
		Stream: fact.Stream{Vhost: vhost(r, vhosts), App: app, Stream: name},
		Params: r.URL.RawQuery,
	}, k, true
}

// kindOf returns the path of r without its suffix, and which kind it asks for.
func kindOf(r *http.Request) (path string, k kind, ok bool) {
	path = strings.TrimPrefix(r.URL.Path, "/")
	all := kinds()
	for _, k := range all {
		if n := len(path) - len(k.suffix); n > 0 && strings.EqualFold(path[n:], k.suffix) {
			return path[:n], k, true
		}
	}
	if r.URL.RawQuery == "" {
		return path, kind{}, false
	}
	schema := r.URL.Query().Get("schema")
	for _, k := range all {
		if k.schema == schema {
			return path, k, true
		}
	}
	return path, kind{}, false
}

// named says whether path can be the name of a stream: what can't is not worth a question to anybody.
func named(path string) bool {
	return len(path) <= maxPath && utf8.ValidString(path) &&
		!strings.ContainsFunc(path, func(c rune) bool { return c < 0x20 || c >= 0x7f && c < 0xa0 })
}

// vhost returns the virtual host of r: the parameter "vhost", else the host name; addresses and localhost have none.
func vhost(r *http.Request, enabled bool) string {
	if !enabled {
		return fact.DefaultVhost
	}
	if v := r.URL.Query().Get("vhost"); v != "" {
		return v
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil || host == "" || host == "localhost" {
		return fact.DefaultVhost
	}
	return host
}

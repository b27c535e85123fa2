package httplive

import (
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/hookline/hookline/internal/fact"
)

// suffix marks an FLV live stream; its case does not matter.
const suffix = ".live.flv"

// parse returns what r asks for: /app/stream.live.flv, or /app/stream?schema=rtmp. The stream may contain slashes.
func parse(r *http.Request, vhosts bool) (fact.MediaInfo, bool) {
	path := strings.TrimPrefix(r.URL.Path, "/")
	if n := len(path) - len(suffix); n > 0 && strings.EqualFold(path[n:], suffix) {
		path = path[:n]
	} else if r.URL.RawQuery == "" || r.URL.Query().Get("schema") != "rtmp" {
		return fact.MediaInfo{}, false
	}
	app, name, _ := strings.Cut(path, "/")
	if app == "" || name == "" {
		return fact.MediaInfo{}, false
	}
	protocol := "http"
	if r.TLS != nil {
		protocol = "https"
	}
	return fact.MediaInfo{
		Schema: "rtmp", Protocol: protocol,
		Stream: fact.Stream{Vhost: vhost(r, vhosts), App: app, Stream: name},
		Params: r.URL.RawQuery,
	}, true
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

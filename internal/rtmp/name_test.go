package rtmp

import (
	"errors"
	"strings"
	"testing"
)

func TestTarget(t *testing.T) {
	for _, tc := range []struct {
		name       string
		app, tcURL string
		stream     string
		vhosts     bool
		want       string // key?params, "" when refused
	}{
		{name: "plain", app: "live", stream: "a", want: "__defaultVhost__/live/a?"},
		{name: "params", app: "live", stream: "a?token=1&x=2?3", want: "__defaultVhost__/live/a?token=1&x=2?3"},
		{name: "query in app is dropped", app: "live?token=1", stream: "a", want: "__defaultVhost__/live/a?"},
		{name: "query in tcUrl is dropped", app: "", tcURL: "rtmp://h/live?token=1", stream: "a?k=v", want: "__defaultVhost__/live/a?k=v"},
		{name: "slash after app", app: "live/", stream: "a", want: "__defaultVhost__/live/a?"},
		{name: "slash before app", app: "/live", stream: "/a", want: "__defaultVhost__/live/a?"},
		{name: "slash between app and its query", app: "live/?x=y", stream: "a", want: "__defaultVhost__/live/a?"},
		{name: "levels in the app", app: "a/b", stream: "c", want: "__defaultVhost__/a/b/c?"},
		{name: "levels in the name", app: "a", stream: "b/c", want: "__defaultVhost__/a/b/c?"},
		{name: "everything in the app", app: "live/a", stream: "", want: "__defaultVhost__/live/a?"},
		{name: "everything in the name", app: "", stream: "live/a", want: "__defaultVhost__/live/a?"},
		{name: "mp4 without extension", app: "record", stream: "mp4:b", want: "__defaultVhost__/record/b.mp4?"},
		{name: "mp4 with extension", app: "record", stream: "mp4:b.mp4?x=1", want: "__defaultVhost__/record/b.mp4?x=1"},
		{name: "mp4 with levels", app: "record", stream: "mp4:a/b", want: "__defaultVhost__/record/a/b.mp4?"},
		{name: "flv", app: "live", stream: "flv:b", want: "__defaultVhost__/live/b.flv?"},
		{name: "other colons stay", app: "live", stream: "cam:1", want: "__defaultVhost__/live/cam:1?"},
		{name: "utf-8", app: "live", stream: "前门", want: "__defaultVhost__/live/前门?"},
		{name: "dots in a name", app: "live", stream: "a..b", want: "__defaultVhost__/live/a..b?"},
		{name: "vhosts are off", app: "live", tcURL: "rtmp://example.com/live", stream: "a?vhost=b", want: "__defaultVhost__/live/a?vhost=b"},

		{name: "vhost", vhosts: true, app: "live", tcURL: "rtmp://example.com:1935/live", stream: "a", want: "example.com/live/a?"},
		{name: "vhost of an address", vhosts: true, app: "live", tcURL: "rtmp://127.0.0.1:1935/live", stream: "a", want: "__defaultVhost__/live/a?"},
		{name: "vhost of an IPv6 address", vhosts: true, app: "live", tcURL: "rtmp://[::1]/live", stream: "a", want: "__defaultVhost__/live/a?"},
		{name: "vhost of localhost", vhosts: true, app: "live", tcURL: "rtmp://localhost/live", stream: "a", want: "__defaultVhost__/live/a?"},
		{name: "vhost by parameter", vhosts: true, app: "live", tcURL: "rtmp://h/live", stream: "a?vhost=b.c", want: "b.c/live/a?vhost=b.c"},
		{name: "vhost with a slash", vhosts: true, app: "live", tcURL: "rtmp://h/live", stream: "a?vhost=b%2Fc"},
		{name: "vhost of dots", vhosts: true, app: "live", tcURL: "rtmp://h/live", stream: "a?vhost=.."},

		{name: "empty stream", app: "live", stream: ""},
		{name: "empty stream with params", app: "live", stream: "?a=b"},
		{name: "empty app", app: "", stream: "a"},
		{name: "nothing", app: "", stream: ""},
		{name: "trailing slash", app: "live", stream: "a/"},
		{name: "only slashes", app: "live", stream: "///"},
		{name: "empty level", app: "live", stream: "a//b"},
		{name: "dot dot", app: "live", stream: "../a"},
		{name: "dot dot in app", app: "..", stream: "a"},
		{name: "dot", app: "live", stream: "./a"},
		{name: "hidden by a prefix", app: "live", stream: "mp4:../../etc/passwd"},
		{name: "control", app: "live", stream: "a\nb"},
		{name: "nul", app: "live", stream: "a\x00"},
		{name: "control in params", app: "live", stream: "a?b=\r\n"},
		{name: "not utf-8", app: "live", stream: "\xff\xfe"},
		{name: "long", app: "live", stream: strings.Repeat("a", 10<<10)},
		{name: "long params", app: "live", stream: "a?" + strings.Repeat("a", 10<<10)},
		{name: "prefix alone", app: "live", stream: "mp4:"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, params, err := connectInfo{app: tc.app, tcURL: tc.tcURL}.target(tc.stream, tc.vhosts)
			if tc.want == "" {
				if !errors.Is(err, errName) {
					t.Errorf("got %q, %v, want a refusal", s.Key(), err)
				}
				return
			}
			if err != nil || s.Key()+"?"+params != tc.want {
				t.Errorf("got %q?%q, %v, want %q", s.Key(), params, err, tc.want)
			}
		})
	}
}

func TestParseURL(t *testing.T) {
	for _, tc := range []struct{ in, host, app, name, tcURL string }{
		{"rtmp://h/live/a", "h:1935", "live", "a", "rtmp://h/live"},
		{"rtmp://h:1/live/a/b?c=d", "h:1", "live", "a/b?c=d", "rtmp://h:1/live"},
		{"rtmps://h/live/a", "h:443", "live", "a", "rtmps://h/live"},
		{"rtmp://[::1]/live/a", "[::1]:1935", "live", "a", "rtmp://[::1]/live"},
		{"http://h/live/a", "", "", "", ""},
		{"rtmp://h/live", "", "", "", ""},
		{"rtmp://h/live?x=/a", "", "", "", ""},
		{"rtmp:///live/a", "", "", "", ""},
	} {
		a, err := parseURL(tc.in)
		if (err != nil) != (tc.host == "") {
			t.Errorf("%s: %v", tc.in, err)
		}
		if err == nil && (a.host != tc.host || a.app != tc.app || a.name != tc.name || a.tcURL != tc.tcURL) {
			t.Errorf("%s: %+v", tc.in, a)
		}
	}
}

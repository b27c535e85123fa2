//go:build realclient

package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hookline/hookline/event"
)

// TestVODWebSocket: a file over WebSocket is, in each format, what ffprobe finds in the file, and decodes without a fault. The end of
// the file is the end of the messages.
func TestVODWebSocket(t *testing.T) {
	t.Parallel()
	s, r, root := cinema(t)
	file := encode(t, "in.mp4", "4", picture(), tone(), h264("-bf 2 -b_strategy 0 -s 160x120"), []string{"-c:a", "aac"})
	want := probe(t, file).times()
	probes, decodes := map[string]*tool{}, map[string]*tool{}
	for _, format := range []string{"flv", "ts", "mp4"} {
		open := func(what string) (name, path string) { // each is a stream of its own: who comes later to one begins later
			name = "ws_" + format + "_" + what + ".mp4"
			put(t, root, name, file)
			return name, "/live/" + name + ".live." + format
		}
		name, path := open("probe")
		probes[format] = runToolWith(t, webSocket(t, s.http, path), "ffprobe", "-v", "error", "-show_packets", "-of", "json", "-i", "pipe:0")
		_, path = open("decode")
		decodes[format] = decode(t, "pipe:0", webSocket(t, s.http, path))
		schema := map[string]string{"flv": "rtmp", "ts": "ts", "mp4": "fmp4"}[format]
		if p := r.accept(event.OnPlay, name); p.json["protocol"] != "ws" || p.json["schema"] != schema {
			t.Errorf("%s: %v", format, p.json)
		}
	}
	for format, c := range probes {
		compareTimes(t, format, c.times(), want)
		decodes[format].output()
		r.accept(event.OnPublicationEnded, "ws_"+format+"_probe.mp4")
		r.accept(event.OnFlowReport, "ws_"+format+"_probe.mp4", ofPlayer)
	}
}

// TestBrowserVOD: Chromium with mpegts.js plays a file over HTTP-FLV and WS-FLV, with and without TLS.
func TestBrowserVOD(t *testing.T) {
	t.Parallel()
	certificates, _ := certificate(t)
	s, _, root := cinema(t, "tls.certificates", certificates, "rtmp.sslport", "0", "http.sslport", auto)
	_, https := s.secure()
	file := encode(t, "in.mp4", "120", picture(), tone(), strings.Fields("-c:v libx264 -preset ultrafast -pix_fmt yuv420p -g 25 -bf 0 -c:a aac"))
	b := newBrowser(t, playerPage(t))
	hosts := map[string]string{"http": s.http, "ws": s.http, "https": https, "wss": https}
	for protocol, host := range hosts {
		put(t, root, protocol+".mp4", file)
		b.eval(fmt.Sprintf("start(%q, %q)", protocol, protocol+"://"+host+"/live/"+protocol+".mp4.live.flv"))
	}
	b.awaitMoving(len(hosts))
}

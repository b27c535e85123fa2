package hls

import (
	"io"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// hour is the playlist of what was made within an hour, and is kept.
type hour struct {
	// past is what publications before have left in the list, target its target duration.
	past     string
	target   int
	segments []segment
}

// hourName is the file name of a variant's playlist of an hour.
func hourName(variant string) string {
	if variant == FMP4 {
		return "vod.fmp4.m3u8"
	}
	return "vod.m3u8"
}

// keepHour writes the playlist of the hour to which the segment belongs.
func (g *segmenter) keepHour() {
	now := path.Dir(g.cur.name)
	if g.hours == nil {
		g.hours = map[string]*hour{}
	}
	for name, h := range g.hours {
		if name != now {
			g.writeHour(name, h, true)
			delete(g.hours, name)
		}
	}
	h := g.hours[now]
	if h == nil {
		h = g.readHour(now)
		g.hours[now] = h
	}
	s := g.cur
	s.name = path.Base(s.name)
	if s.init != "" {
		s.init = "../../" + s.init
	}
	if h.past != "" && len(h.segments) == 0 {
		s.broken = true
	}
	h.segments = append(h.segments, s)
	g.writeHour(now, h, false)
}

func (g *segmenter) writeHour(name string, h *hour, ended bool) {
	l := list{
		variant: g.variant, segments: h.segments, target: max(g.target, h.target), event: !ended, ended: ended, past: h.past, whole: true,
	}
	g.list(name+"/"+hourName(g.variant), l.render())
}

// maxHour bounds the playlist of an hour that is continued.
const maxHour = 4 << 20

// readHour returns the hour as earlier publications have left it.
func (g *segmenter) readHour(name string) *hour {
	h := &hour{}
	f, err := os.Open(filepath.Join(g.dir, filepath.FromSlash(name), hourName(g.variant)))
	if err != nil {
		return h
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxHour))
	if err != nil || len(b) == maxHour {
		return h
	}
	var past strings.Builder
	for line := range strings.Lines(string(b)) {
		tag, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		switch tag {
		case "#EXT-X-TARGETDURATION":
			h.target, _ = strconv.Atoi(value)
		case "#EXTM3U", "#EXT-X-VERSION", "#EXT-X-ALLOW-CACHE", "#EXT-X-MEDIA-SEQUENCE", "#EXT-X-PLAYLIST-TYPE", "#EXT-X-ENDLIST", "":
		default:
			past.WriteString(line)
		}
	}
	h.past = past.String()
	if h.past != "" && !strings.HasSuffix(h.past, "\n") {
		h.past = "" // torn
	}
	return h
}

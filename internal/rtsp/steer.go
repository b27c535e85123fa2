package rtsp

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/hookline/hookline/internal/stream"
)

// control returns what steers the stream that is played; nil when it can't be steered, because it is live.
func (s *session) control() stream.Control {
	c, err := s.srv.hub.Control(s.view.name)
	if err != nil {
		return nil
	}
	return c
}

// steer seeks and changes the speed of a source that can be steered, as Range, Scale and Speed say, and returns the headers of the
// answer. moved: it has sought. A view that is playing gets the new place when the source is told to go on, behind the answer. ok
// is false for what can't be done.
func (s *session) steer(q *request, c stream.Control) (header []string, moved, ok bool) {
	if c == nil { // a live stream begins now, whatever is asked for
		return []string{"Range", "npt=now-"}, false, true
	}
	if header, ok = s.accelerate(q, c); !ok {
		return nil, false, false
	}
	at := c.Position()
	to, given, ok := begin(q.header["range"], c)
	if !ok {
		return nil, false, false
	}
	if given {
		if s.view.playing() && c.Pause(true) != nil {
			return nil, false, false
		}
		var err error
		if at, err = c.Seek(to); err != nil {
			_ = c.Pause(false)
			return nil, false, false
		}
	}
	return append(header, "Range", "npt="+span(at, c.Duration())), given, true
}

// accelerate changes the speed. Scale and Speed (RFC 2326 sections 12.34 and 12.35) differ in what RTP's stamps mean, which are those of
// the source here whatever the speed; of both it is the product. What was asked for by Speed holds for that PLAY, and ends with the next.
func (s *session) accelerate(q *request, c stream.Control) (header []string, ok bool) {
	factor := 1.0
	for _, name := range []string{"Scale", "Speed"} {
		value := q.header[strings.ToLower(name)]
		if value == "" {
			continue
		}
		f, err := strconv.ParseFloat(value, 64)
		if err != nil || !(f > 0) {
			return nil, false
		}
		f = min(max(f*factor, minScale), maxScale) / factor // as near as it goes; the answer says what that is
		factor *= f
		header = append(header, name, strconv.FormatFloat(f, 'f', -1, 64))
	}
	if header == nil && !s.view.sped {
		return nil, true
	}
	if c.Speed(min(max(factor, minScale), maxScale)) != nil {
		return nil, false
	}
	s.view.sped = q.header["speed"] != ""
	return header, true
}

// minScale and maxScale are the speeds that a file can be played at.
const minScale, maxScale = 0.1, 20

// span is a range of normal play time (RFC 2326 section 3.6).
func span(from, to time.Duration) string {
	return fmt.Sprintf("%.3f-%.3f", from.Seconds(), to.Seconds())
}

// begin reads where a Range begins. given is false when it does not say, or in a unit that has no meaning here.
func begin(r string, c stream.Control) (to time.Duration, given, ok bool) {
	unit, value, _ := strings.Cut(r, "=")
	value, _, _ = strings.Cut(value, ";")
	from, _, _ := strings.Cut(strings.TrimSpace(value), "-")
	if from == "" || from == "now" {
		return 0, false, true
	}
	switch strings.TrimSpace(unit) {
	case "npt":
		to, ok = normalPlayTime(from)
		return to, true, ok
	case "clock":
		t, err := time.Parse("20060102T150405Z", from)
		if err != nil {
			return 0, false, false
		}
		to, ok = c.Find(t)
		return to, true, ok
	}
	return 0, false, true
}

// maxPlayTime bounds normal play time, in seconds.
const maxPlayTime = 1e9

// normalPlayTime reads seconds or hours, minutes and seconds (RFC 2326 section 3.6).
func normalPlayTime(s string) (time.Duration, bool) {
	var sum float64
	parts := strings.Split(s, ":")
	if len(parts) > 3 {
		return 0, false
	}
	for _, p := range parts {
		n, err := strconv.ParseFloat(p, 64)
		if err != nil || !(n >= 0 && n <= maxPlayTime) {
			return 0, false
		}
		sum = 60*sum + n
	}
	if sum > maxPlayTime {
		return 0, false
	}
	return time.Duration(sum * float64(time.Second)), true
}

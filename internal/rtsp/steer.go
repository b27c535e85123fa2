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

// steer seeks and changes the speed of a source that can be steered, as Range and Scale say, and returns the headers of the
// answer. A view that is playing gets the new place when the source is told to go on, behind the answer. ok is false for what
// can't be done.
func (s *session) steer(q *request, c stream.Control) (header []string, ok bool) {
	if c == nil { // a live stream begins now, whatever is asked for
		return []string{"Range", "npt=now-"}, true
	}
	if scale := q.header["scale"]; scale != "" {
		f, err := strconv.ParseFloat(scale, 64)
		if err != nil || !(f > 0) {
			return nil, false
		}
		f = min(max(f, minScale), maxScale) // as near as it goes; the answer says what that is (RFC 2326 section 12.34)
		if c.Speed(f) != nil {
			return nil, false
		}
		header = []string{"Scale", strconv.FormatFloat(f, 'f', -1, 64)}
	}
	at := c.Position()
	to, given, ok := begin(q.header["range"], c)
	if !ok {
		return nil, false
	}
	if given {
		if s.view.playing() && c.Pause(true) != nil {
			return nil, false
		}
		var err error
		if at, err = c.Seek(to); err != nil {
			_ = c.Pause(false)
			return nil, false
		}
	}
	return append(header, "Range", "npt="+span(at, c.Duration())), true
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

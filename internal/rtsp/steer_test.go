package rtsp

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hookline/hookline/internal/format/rtp"
	"github.com/hookline/hookline/internal/stream"
	"github.com/hookline/hookline/internal/vod/vodtest"
)

// frame returns the next RTP packet of the first track.
func (c *client) frame() rtp.Packet {
	c.t.Helper()
	for {
		ch, b, err := readFrame(c.r, nil)
		if err != nil {
			c.t.Fatal(err)
		}
		if ch != 0 {
			continue
		}
		p, err := rtp.Parse(b)
		if err != nil {
			c.t.Fatal(err)
		}
		return p
	}
}

// TestFile: the description of a file has its length; PLAY goes where Range says, by play time and by the clock, at the pace of
// Scale, and says where that is; the stamps of RTP go on. PAUSE stops.
func TestFile(t *testing.T) {
	w := newWorld()
	w.files = t.TempDir()
	data, _ := vodtest.Movie(t, "h264_aac_bframes", 600) // so long that nothing here lasts until its end
	const name = "2026-01-02-03-04-05-0.mp4"
	vodtest.Put(t, filepath.Join(w.files, "record/cam", name), data)
	_, addr := start(t, w, Config{Opening: patience})
	url := "rtsp://" + addr + "/record/cam/" + name
	c := dial(t, addr)
	_, sdp := c.ok("DESCRIBE", url, "Accept: application/sdp")
	if !strings.Contains(sdp, "a=range:npt=0.000-1199.") {
		t.Fatal(sdp)
	}
	for i := range 2 {
		c.ok("SETUP", fmt.Sprint(url, "/trackID=", i), fmt.Sprintf("Transport: RTP/AVP/TCP;unicast;interleaved=%d-%d", 2*i, 2*i+1))
	}
	at := func(header map[string]string) (from float64) {
		t.Helper()
		var to float64
		if _, err := fmt.Sscanf(header["range"], "npt=%f-%f", &from, &to); err != nil || to < 1199 || to > 1200 {
			t.Errorf("range %q: %v", header["range"], err)
		}
		return from
	}
	h, _ := c.ok("PLAY", url, "Range: npt=10.5-")
	if from := at(h); from < 9.9 || from > 10.5 {
		t.Error(from)
	}
	// What follows an answer is what it says, of both tracks in the order of the description.
	starts := func(h map[string]string, first rtp.Packet) {
		t.Helper()
		want := fmt.Sprint("trackID=0;seq=", first.Seq, ";rtptime=", first.Timestamp, ",url=", url, "/trackID=1;seq=")
		if !strings.Contains(h["rtp-info"], want) {
			t.Errorf("%v, but the first packet is %d at %d", h, first.Seq, first.Timestamp)
		}
	}
	first := c.frame()
	starts(h, first)
	c.ok("PAUSE", url)
	h, _ = c.ok("PLAY", url, "Range: npt=0:00:30.9-", "Scale: 2")
	if from := at(h); from < 29.9 || from > 30.9 || h["scale"] != "2" {
		t.Error(h)
	}
	next := c.frame()
	starts(h, next)
	if d := int32(next.Timestamp - first.Timestamp); d <= 0 || d > 90000*10 {
		t.Errorf("the stamps go on by %d", d)
	}
	day := time.Date(2026, 1, 2, 3, 4, 5, 0, time.Local)
	h, _ = c.ok("PLAY", url, "Range: clock="+day.Add(4500*time.Millisecond).UTC().Format("20060102T150405.99Z")+"-")
	if from := at(h); from < 3.9 || from > 4.5 {
		t.Error(h)
	}
	starts(h, c.frame())
	for _, bad := range []string{
		"Range: npt=1201-", "Range: npt=x-", "Range: npt=-1", "Range: npt=1:2:3:4-", "Range: clock=20250101T000000Z-", "Range: clock=x-",
		"Scale: 0", "Scale: -1", "Scale: x", "Scale: NaN", "Speed: 0", "Speed: NaN",
	} {
		if status, _, _ := c.ask("PLAY", url, bad); status != 457 && bad != "Range: npt=-1" {
			t.Errorf("%s: %d", bad, status)
		}
	}
	if status, _, _ := dial(t, addr).ask("DESCRIBE", "rtsp://"+addr+"/record/cam/%2e%2e/%2e%2e/x.mp4"); status != 404 {
		t.Error(status)
	}
	if h, _ = c.ok("PLAY", url, "Scale: 64"); h["scale"] != "20" {
		t.Error(h)
	}
	c.ok("TEARDOWN", url)
}

// engine is a source that knows how fast it was told to be.
type engine struct {
	stream.Control
	speed float64
}

func (e *engine) Speed(f float64) error {
	e.speed = f
	return nil
}

// TestSpeed: Scale stays, Speed is that of one PLAY, and together they are bounded.
func TestSpeed(t *testing.T) {
	e := &engine{speed: 1}
	s := &session{view: &view{}}
	for _, tc := range []struct {
		scale, speed string
		header       string
		want         float64
	}{
		{"", "", "[]", 1},
		{"", "2.0", "[Speed 2]", 2},
		{"", "", "[]", 1},
		{"2", "", "[Scale 2]", 2},
		{"", "", "[]", 2},
		{"4", "10", "[Scale 4 Speed 5]", 20},
		{"0.5", "", "[Scale 0.5]", 0.5},
		{"0.01", "", "[Scale 0.1]", 0.1},
	} {
		header, ok := s.accelerate(&request{header: map[string]string{"scale": tc.scale, "speed": tc.speed}}, e)
		if !ok || fmt.Sprint(header) != tc.header || e.speed != tc.want {
			t.Errorf("%+v: %v, %v", tc, header, e.speed)
		}
	}
}

// clock is a source whose places are the seconds of a minute.
type clock struct{ stream.Control }

func (clock) Find(at time.Time) (time.Duration, bool) {
	return time.Duration(at.Second()) * time.Second, at.Year() == 2026
}

func FuzzRange(f *testing.F) {
	for _, s := range []string{
		"npt=1.5-", "npt=0:01:02.5-3", "npt=now-", "clock=20260102T030405.25Z-", "smpte=10:12:33:20-", "npt=1e999-", "npt=NaN-", "npt=-", "=", "",
		"npt=1-;time=20260102T030405Z",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		to, given, ok := begin(s, clock{})
		if ok && given && (to < 0 || to > maxPlayTime*time.Second) {
			t.Errorf("%q begins at %v", s, to)
		}
	})
}

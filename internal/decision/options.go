package decision

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/hookline/hookline/internal/stream"
	"github.com/hookline/hookline/internal/webhook"
)

// overlay lays the protocol options of an answer to on_publish over o, with ZLMediaKit's coercions: an option that is
// absent, null, an array or an object leaves what is there; everything else, also the empty string, overwrites.
func overlay(o *stream.Options, body []byte) {
	m, err := webhook.Members(body)
	if err != nil {
		return // an answer that was accepted has members
	}
	p := patch(m)
	overlayFormats(o, p)
	p.integer("modify_stamp", &o.ModifyStamp)
	p.boolean("enable_audio", &o.EnableAudio)
	p.boolean("add_mute_audio", &o.AddMuteAudio)
	p.boolean("auto_close", &o.AutoClose)
	p.millis("continue_push_ms", &o.ContinuePush)
	p.millis("paced_sender_ms", &o.PacedSender)
	p.integer("mp4_max_second", &o.MP4MaxSecond)
	p.boolean("mp4_as_player", &o.MP4AsPlayer)
	p.text("mp4_save_path", &o.MP4SavePath)
	p.text("hls_save_path", &o.HLSSavePath)
	p.text("stream_replace", &o.StreamReplace)
	p.integer("max_track", &o.MaxTrack)
}

func overlayFormats(o *stream.Options, p patch) {
	p.boolean("enable_hls", &o.EnableHLS)
	p.boolean("enable_hls_fmp4", &o.EnableHLSFMP4)
	p.boolean("enable_mp4", &o.EnableMP4)
	p.boolean("enable_rtsp", &o.EnableRTSP)
	p.boolean("enable_rtmp", &o.EnableRTMP)
	p.boolean("enable_ts", &o.EnableTS)
	p.boolean("enable_fmp4", &o.EnableFMP4)
	p.boolean("hls_demand", &o.HLSDemand)
	p.boolean("rtsp_demand", &o.RTSPDemand)
	p.boolean("rtmp_demand", &o.RTMPDemand)
	p.boolean("ts_demand", &o.TSDemand)
	p.boolean("fmp4_demand", &o.FMP4Demand)
}

// patch are the members of an answer.
type patch map[string]json.RawMessage

// scalar returns the text of a member as ZLMediaKit sees it, after JsonCpp's asString: strings unquoted, numbers and
// booleans as they are written.
func (p patch) scalar(name string) (s string, number, ok bool) {
	raw := p[name]
	if len(raw) == 0 {
		return "", false, false
	}
	switch raw[0] {
	case 'n', '[', '{':
		return "", false, false
	case '"':
		return s, false, json.Unmarshal(raw, &s) == nil
	case 't', 'f':
		return string(raw), false, true
	}
	return string(raw), true, true
}

// boolean: true, "true" in any case, "1" and a number equal to 1 are true, everything else is false.
func (p patch) boolean(name string, dst *bool) {
	s, number, ok := p.scalar(name)
	if !ok {
		return
	}
	if number {
		f, err := strconv.ParseFloat(s, 64)
		*dst = err == nil && f == 1
		return
	}
	*dst = s == "1" || strings.EqualFold(s, "true")
}

// integer: numbers lose their fraction; text must be a decimal integer; junk and what exceeds 32 bits are 0.
func (p patch) integer(name string, dst *int) {
	s, number, ok := p.scalar(name)
	if !ok {
		return
	}
	*dst = 0
	if number {
		if f, err := strconv.ParseFloat(s, 64); err == nil && math.Abs(f) <= math.MaxInt32 {
			*dst = int(f)
		}
		return
	}
	if n, err := strconv.ParseInt(s, 10, 32); err == nil {
		*dst = int(n)
	}
}

func (p patch) millis(name string, dst *time.Duration) {
	if _, _, ok := p.scalar(name); ok {
		var ms int
		p.integer(name, &ms)
		*dst = time.Duration(ms) * time.Millisecond
	}
}

func (p patch) text(name string, dst *string) {
	if s, _, ok := p.scalar(name); ok {
		*dst = s
	}
}

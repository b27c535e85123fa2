package decision

import (
	"fmt"
	"testing"
	"time"

	"github.com/hookline/hookline/internal/stream"
)

func TestBooleanCoercion(t *testing.T) {
	for value, want := range map[string]string{
		`true`: "true", `false`: "false", `1`: "true", `0`: "false", `1.0`: "true", `0.0`: "false", `-0`: "false",
		`2`: "false", `-1`: "false", `0.5`: "false", `1e400`: "false",
		`"true"`: "true", `"TRUE"`: "true", `"True"`: "true", `"false"`: "false", `"False"`: "false",
		`"1"`: "true", `"0"`: "false", `"2"`: "false", `"yes"`: "false", `" true"`: "false", `"1.0"`: "false",
		`""`: "false", `"t\u0072ue"`: "true",
		`null`: "kept", `[]`: "kept", `[true]`: "kept", `{}`: "kept", `{"a":true}`: "kept",
	} {
		for _, before := range []bool{false, true} {
			expect := want
			if want == "kept" {
				expect = fmt.Sprint(before)
			}
			o := stream.Options{EnableMP4: before}
			overlay(&o, []byte(`{"code":0,"enable_mp4":`+value+`}`))
			if got := fmt.Sprint(o.EnableMP4); got != expect {
				t.Errorf("%s over %v: %s, want %s", value, before, got, expect)
			}
		}
	}
}

func TestIntegerCoercion(t *testing.T) {
	const kept = 77
	for value, want := range map[string]int{
		`5`: 5, `0`: 0, `-5`: -5, `1.9`: 1, `-1.9`: -1, `1e3`: 1000, `2147483647`: 2147483647, `2147483648`: 0,
		`1e400`: 0, `-99999999999`: 0,
		`"5"`: 5, `"-5"`: -5, `"007"`: 7, `"5s"`: 0, `"1.5"`: 0, `"0x10"`: 0, `"junk"`: 0, `""`: 0, `"99999999999"`: 0,
		`true`: 0, `false`: 0,
		`null`: kept, `[]`: kept, `[5]`: kept, `{}`: kept, `{"a":5}`: kept,
	} {
		o := stream.Options{MP4MaxSecond: kept, ContinuePush: kept * time.Millisecond}
		overlay(&o, []byte(`{"mp4_max_second":`+value+`,"continue_push_ms":`+value+`}`))
		if o.MP4MaxSecond != want || o.ContinuePush != time.Duration(want)*time.Millisecond {
			t.Errorf("%s: %d and %v, want %d", value, o.MP4MaxSecond, o.ContinuePush, want)
		}
	}
}

func TestTextCoercion(t *testing.T) {
	for value, want := range map[string]string{
		`"a/b"`: "a/b", `""`: "", `"\u4f60"`: "你", `5`: "5", `1.50`: "1.50", `true`: "true", `false`: "false",
		`null`: "kept", `[]`: "kept", `{}`: "kept",
	} {
		o := stream.Options{StreamReplace: "kept"}
		overlay(&o, []byte(`{"stream_replace":`+value+`}`))
		if o.StreamReplace != want {
			t.Errorf("%s: %q, want %q", value, o.StreamReplace, want)
		}
	}
}

func TestEveryOptionIsRead(t *testing.T) {
	defaults := config().Defaults
	o := defaults
	overlay(&o, []byte(`{"code":0,"msg":"ok","unknown":1,"Enable_audio":1,
		"modify_stamp":1,"enable_audio":1,"add_mute_audio":"1","auto_close":true,"continue_push_ms":"2500",
		"paced_sender_ms":40,"enable_hls":1,"enable_hls_fmp4":1,"enable_mp4":1,"enable_rtsp":1,"enable_rtmp":0,
		"enable_ts":1,"enable_fmp4":1,"hls_demand":1,"rtsp_demand":1,"rtmp_demand":1,"ts_demand":1,"fmp4_demand":1,
		"mp4_max_second":60,"mp4_as_player":1,"mp4_save_path":"/m","hls_save_path":"/h","stream_replace":"r","max_track":3}`))
	want := stream.Options{
		ModifyStamp: 1, EnableAudio: true, AddMuteAudio: true, AutoClose: true, ContinuePush: 2500 * time.Millisecond,
		PacedSender: 40 * time.Millisecond, EnableHLS: true, EnableHLSFMP4: true, EnableMP4: true, EnableRTSP: true,
		EnableTS: true, EnableFMP4: true, HLSDemand: true, RTSPDemand: true, RTMPDemand: true, TSDemand: true,
		FMP4Demand: true, MP4MaxSecond: 60, MP4AsPlayer: true, MP4SavePath: "/m", HLSSavePath: "/h",
		StreamReplace: "r", MaxTrack: 3,
	}
	if o != want {
		t.Errorf("got  %+v\nwant %+v", o, want)
	}
	o = defaults
	overlay(&o, []byte("\xef\xbb\xbf{\"code\":0}"))
	if o != defaults {
		t.Errorf("an empty answer changed %+v", o)
	}
}

func TestPublishOptions(t *testing.T) {
	defaults := config().Defaults
	v := service(config(), body200(`{"code":0,"enable_rtmp":false,"stream_replace":"b","enable_mp4":null}`)).
		Publish(t.Context(), publishQuestion("a"))
	want := defaults
	want.EnableRTMP, want.StreamReplace = false, "b"
	if !v.Outcome.Allowed || v.Options != want {
		t.Errorf("%+v", v)
	}
	v = service(config(), body200(`{"code":1,"enable_rtmp":false}`)).Publish(t.Context(), publishQuestion("a"))
	if v.Outcome.Allowed || v.Options != defaults {
		t.Errorf("%+v", v)
	}
}

func FuzzOverlay(f *testing.F) {
	for _, body := range []string{
		`{"code":0,"enable_mp4":"1","continue_push_ms":-1,"stream_replace":"x"}`, `{"mp4_max_second":1e308}`, `{`, ``,
		`{"max_track":"9223372036854775807","mp4_save_path":5}`, `{"enable_ts":{"a":[1,2,{}]}}`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var o stream.Options
		overlay(&o, body)
		if o.ContinuePush.Abs() > time.Duration(1<<31)*time.Millisecond {
			t.Errorf("continue_push_ms %v", o.ContinuePush)
		}
	})
}

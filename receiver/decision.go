package receiver

import "encoding/json"

// PublishDecision answers on_publish. The zero value refuses.
type PublishDecision struct {
	allow   bool
	reason  string
	options PublishOptions
}

// PublishOptions are ZLMediaKit's protocol options; those that are nil or empty keep the sender's configuration. Which
// of them have an effect says the sender's docs/events.md.
type PublishOptions struct {
	// StreamReplace publishes under another stream id.
	StreamReplace string `json:"stream_replace,omitempty"`
	// ContinuePushMS is how long a publisher that was lost may come back.
	ContinuePushMS *int `json:"continue_push_ms,omitempty"`
	// ModifyStamp: 0 the publisher's time stamps, 1 the time of arrival, 2 repaired.
	ModifyStamp  *int    `json:"modify_stamp,omitempty"`
	MaxTrack     *int    `json:"max_track,omitempty"`
	EnableAudio  *bool   `json:"enable_audio,omitempty"`
	AddMuteAudio *bool   `json:"add_mute_audio,omitempty"`
	AutoClose    *bool   `json:"auto_close,omitempty"`
	EnableRTSP   *bool   `json:"enable_rtsp,omitempty"`
	EnableRTMP   *bool   `json:"enable_rtmp,omitempty"`
	EnableTS     *bool   `json:"enable_ts,omitempty"`
	EnableFMP4   *bool   `json:"enable_fmp4,omitempty"`
	EnableHLS    *bool   `json:"enable_hls,omitempty"`
	EnableMP4    *bool   `json:"enable_mp4,omitempty"`
	MP4MaxSecond *int    `json:"mp4_max_second,omitempty"`
	MP4SavePath  *string `json:"mp4_save_path,omitempty"`
	HLSSavePath  *string `json:"hls_save_path,omitempty"`
}

// AllowPublish lets the publisher in.
func AllowPublish(o PublishOptions) PublishDecision { return PublishDecision{allow: true, options: o} }

// RefusePublish refuses the publisher, who may be told the reason.
func RefusePublish(reason string) PublishDecision { return PublishDecision{reason: reason} }

// Decision answers on_play and on_shell_login. The zero value refuses.
type Decision struct {
	allow  bool
	reason string
}

// Allow says yes.
func Allow() Decision { return Decision{allow: true} }

// Refuse says no; the client may be told the reason.
func Refuse(reason string) Decision { return Decision{reason: reason} }

// RTSPCredentials answers on_rtsp_auth.
type RTSPCredentials struct {
	// Password is the plain password, or md5(user:realm:password) in hex when Encrypted is true. Empty refuses.
	Password  string
	Encrypted bool
}

// HTTPAccessDecision answers on_http_access. The zero value refuses.
type HTTPAccessDecision struct {
	Allow  bool
	Reason string // why not
	// Path is the directory that the decision is for; empty: that of the request.
	Path string
	// Seconds is how long the decision holds for this client; 0: for this request.
	Seconds int
}

type plainAnswer struct {
	Code int    `json:"code"`
	Msg  string `json:"msg"`
}

func refusal(reason string) plainAnswer {
	if reason == "" {
		reason = "refused"
	}
	return plainAnswer{Code: -1, Msg: reason}
}

func success() plainAnswer { return plainAnswer{Msg: "success"} }

type publishAnswer struct {
	plainAnswer
	PublishOptions
}

func (d PublishDecision) answer() any {
	if !d.allow {
		return refusal(d.reason)
	}
	return publishAnswer{success(), d.options}
}

func (d Decision) answer() any {
	if !d.allow {
		return refusal(d.reason)
	}
	return success()
}

func (d HTTPAccessDecision) answer() any {
	reason := d.Reason
	if d.Allow {
		reason = ""
	} else if reason == "" {
		reason = "refused"
	}
	return struct {
		plainAnswer
		Err    string `json:"err"`
		Path   string `json:"path"`
		Second int    `json:"second"`
	}{success(), reason, d.Path, d.Seconds}
}

func (c RTSPCredentials) answer() any {
	if c.Password == "" {
		return refusal("")
	}
	return struct {
		plainAnswer
		Encrypted bool   `json:"encrypted"`
		Password  string `json:"passwd"`
	}{success(), c.Encrypted, c.Password}
}

func closeAnswer(shut bool) any {
	return struct {
		plainAnswer
		Close bool `json:"close"`
	}{success(), shut}
}

func realmAnswer(realm string) any {
	return struct {
		plainAnswer
		Realm string `json:"realm"`
	}{success(), realm}
}

// bodyOf decodes a hook's body.
func bodyOf[T any](raw json.RawMessage) (*T, error) {
	v := new(T)
	if err := json.Unmarshal(raw, v); err != nil {
		return nil, &badRequest{"body: " + err.Error()}
	}
	return v, nil
}

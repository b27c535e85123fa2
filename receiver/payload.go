package receiver

import "encoding/json"

// Media says which stream a request is about, as it was asked for.
type Media struct {
	Schema   string `json:"schema"`
	Protocol string `json:"protocol"`
	Vhost    string `json:"vhost"`
	App      string `json:"app"`
	Stream   string `json:"stream"`
	// Params is the query string without "?".
	Params string `json:"params"`
}

// Client is the session of a publisher or a viewer.
type Client struct {
	IP   string `json:"ip"`
	Port int    `json:"port"`
	// ID is the id of the session in the sender's API.
	ID string `json:"id"`
}

// Place names a stream.
type Place struct {
	Vhost  string `json:"vhost"`
	App    string `json:"app"`
	Stream string `json:"stream"`
	Params string `json:"params"`
}

// Origin says where the media of a stream comes from.
type Origin struct {
	OriginType    int    `json:"originType"`
	OriginTypeStr string `json:"originTypeStr"`
}

// Publish is the body of on_publish.
type Publish struct {
	Media
	Client
	Origin
}

// Play is the body of on_play.
type Play struct {
	Media
	Client
}

// StreamNotFound is the body of on_stream_not_found.
type StreamNotFound struct {
	Media
	Client
}

// RTSPRealm is the body of on_rtsp_realm.
type RTSPRealm struct {
	Media
	Client
}

// RTSPAuth is the body of on_rtsp_auth.
type RTSPAuth struct {
	Media
	Client
	UserName string `json:"user_name"`
	// MustNoEncrypt: the plain password is needed.
	MustNoEncrypt bool   `json:"must_no_encrypt"`
	Realm         string `json:"realm"`
}

// HTTPAccess is the body of on_http_access. The headers of the request, "header.NAME", are in [Event.Body].
type HTTPAccess struct {
	Client
	Path     string `json:"path"`
	FilePath string `json:"file_path"`
	IsDir    bool   `json:"is_dir"`
	Params   string `json:"params"`
}

// ShellLogin is the body of on_shell_login.
type ShellLogin struct {
	Client
	UserName string `json:"user_name"`
	Password string `json:"passwd"`
}

// StreamNoneReader is the body of on_stream_none_reader.
type StreamNoneReader struct {
	Schema string `json:"schema"`
	Place
}

// StreamChanged is the body of on_stream_changed. An unregister has Schema, Place and Regist only.
type StreamChanged struct {
	Schema string `json:"schema"`
	Place
	// Regist is true when the schema has come, false when it has gone.
	Regist bool `json:"regist"`
	Origin
	OriginURL string `json:"originUrl"`
	// CreateStamp is in Unix seconds.
	CreateStamp      uint64      `json:"createStamp"`
	AliveSecond      uint64      `json:"aliveSecond"`
	BytesSpeed       uint64      `json:"bytesSpeed"`
	TotalBytes       uint64      `json:"totalBytes"`
	ReaderCount      int         `json:"readerCount"`
	TotalReaderCount int         `json:"totalReaderCount"`
	IsRecordingMP4   bool        `json:"isRecordingMP4"`
	IsRecordingHLS   bool        `json:"isRecordingHLS"`
	OriginSock       *OriginSock `json:"originSock"`
	Tracks           []Track     `json:"tracks"`
}

// OriginSock is the publisher's connection.
type OriginSock struct {
	PeerIP     string `json:"peer_ip"`
	PeerPort   int    `json:"peer_port"`
	LocalIP    string `json:"local_ip"`
	LocalPort  int    `json:"local_port"`
	Identifier string `json:"identifier"`
}

// Track is a track of a stream. Members of the other kind are 0.
type Track struct {
	CodecID     int    `json:"codec_id"`
	CodecIDName string `json:"codec_id_name"`
	// CodecType is 0 for video, 1 for audio.
	CodecType int     `json:"codec_type"`
	Ready     bool    `json:"ready"`
	Frames    uint64  `json:"frames"`
	Duration  uint64  `json:"duration"` // ms
	Loss      float64 `json:"loss"`     // percent, -1: not known
	Width     int     `json:"width"`
	Height    int     `json:"height"`
	FPS       float64 `json:"fps"`

	SampleRate int `json:"sample_rate"`
	Channels   int `json:"channels"`
	SampleBit  int `json:"sample_bit"`
}

// FlowReport is the body of on_flow_report: a session has ended.
type FlowReport struct {
	Media
	Client
	TotalBytes uint64 `json:"totalBytes"`
	Duration   uint64 `json:"duration"` // seconds
	// Player is true for a viewer, false for the publisher.
	Player bool `json:"player"`
}

// PublicationEnded is the body of on_publication_ended.
type PublicationEnded struct {
	Place
	Origin
	Start    int64    `json:"start"`    // Unix ms
	End      int64    `json:"end"`      // Unix ms
	Duration float64  `json:"duration"` // seconds
	Reason   string   `json:"reason"`
	Bytes    uint64   `json:"bytes"`
	Schemas  []string `json:"schemas"`
	// Recordings are its MP4 files; RecordingsOmitted counts older ones that the list has no room for.
	Recordings []struct {
		Path      string  `json:"path"`
		StartTime uint64  `json:"start_time"` // Unix seconds
		TimeLen   float64 `json:"time_len"`   // seconds
		FileSize  uint64  `json:"file_size"`
		Reason    string  `json:"reason"`
		SHA256    string  `json:"sha256"`
	} `json:"recordings"`
	RecordingsOmitted int `json:"recordingsOmitted"`
}

// Record is the body of on_record_mp4 and on_record_ts.
type Record struct {
	Place
	StartTime uint64  `json:"start_time"` // Unix seconds
	TimeLen   float64 `json:"time_len"`   // seconds
	FileSize  uint64  `json:"file_size"`
	FilePath  string  `json:"file_path"`
	FileName  string  `json:"file_name"`
	Folder    string  `json:"folder"`
	URL       string  `json:"url"`
	// Reason is why a file ended before its time, SHA256 its digest; both empty as a rule.
	Reason string `json:"reason"`
	SHA256 string `json:"sha256"`
	// Certainty is in the recordings of a [Publication]: how sure it is that the file is of this one.
	Certainty Certainty `json:"-"`
}

// SendRTPStopped is the body of on_send_rtp_stopped.
type SendRTPStopped struct {
	Place
	Origin
	OriginURL string `json:"originUrl"`
	SSRC      string `json:"ssrc"`
	Msg       string `json:"msg"`
	Err       int    `json:"err"`
}

// RTPServerTimeout is the body of on_rtp_server_timeout.
type RTPServerTimeout struct {
	LocalPort int    `json:"local_port"`
	Vhost     string `json:"vhost"`
	App       string `json:"app"`
	StreamID  string `json:"stream_id"`
	TCPMode   int    `json:"tcp_mode"`
	ReUsePort bool   `json:"re_use_port"`
	SSRC      uint32 `json:"ssrc"`
}

// ServerStarted is the body of on_server_started: the sender's configuration as "section.key", its API secret included.
type ServerStarted map[string]json.RawMessage

// Config returns the value of a "section.key", "" when it is absent.
func (s ServerStarted) Config(key string) string {
	var v string
	_ = json.Unmarshal(s[key], &v) // what is no string is no config entry
	return v
}

// ServerExited is the body of on_server_exited, which has no members of its own.
type ServerExited struct{}

// ServerKeepalive is the body of on_server_keepalive.
type ServerKeepalive struct {
	Data map[string]float64 `json:"data"`
}

// Outcome is what became of a decision or a question, in the body of an event of class history.
type Outcome struct {
	// Allowed is the verdict; of on_stream_not_found and on_stream_none_reader: close.
	Allowed bool `json:"allowed"`
	// By is "hook", "default", "failed" or "server".
	By string `json:"by"`
	// Message is the receiver's msg, or the error.
	Message    string `json:"message"`
	RequestID  string `json:"requestId"`
	Attempts   int    `json:"attempts"`
	DurationMS int64  `json:"durationMs"`
}

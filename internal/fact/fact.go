package fact

import (
	"github.com/hookline/hookline/event"
)

// Fact is one thing that happened.
type Fact interface {
	// Meta says what the event plane needs to know beside the body. The body is the fact's own JSON form.
	Meta() Meta
}

// Meta is what a fact says about itself.
type Meta struct {
	Type        event.Type
	Class       event.Class
	Key         string // "vhost/app/stream"; "" for the server itself
	Publication string // "" when it belongs to none
	// Live is the change that the fact makes to the set of live publications; it is journaled with the event.
	Live LiveChange
	// Compensation marks an ending that a crash left to the next start.
	Compensation bool
	// Shed may be dropped, and named in a gap notice, when the journal can't keep up: viewer and segment events.
	Shed bool
}

// LiveChange is a change to the set of live publications.
type LiveChange uint8

const (
	// LiveNone changes nothing.
	LiveNone LiveChange = iota
	// LiveStart adds the publication.
	LiveStart
	// LiveRegister adds a schema to the publication.
	LiveRegister
	// LiveUnregister takes a schema away.
	LiveUnregister
	// LiveEnd removes the publication.
	LiveEnd
	// LiveRecord adds a finished file to the publication.
	LiveRecord
)

// Stream is the identity of a stream. The JSON members are ZLMediaKit's tuple.
type Stream struct {
	Vhost  string `json:"vhost"`
	App    string `json:"app"`
	Stream string `json:"stream"`
}

// DefaultVhost is the vhost of every stream while vhosts are off.
const DefaultVhost = "__defaultVhost__"

// Key returns "vhost/app/stream".
func (s Stream) Key() string { return s.Vhost + "/" + s.App + "/" + s.Stream }

// MediaInfo is the MI block of a hook: what was asked for, as it was asked for.
type MediaInfo struct {
	Schema   string `json:"schema"`
	Protocol string `json:"protocol"`
	Stream
	Params string `json:"params"`
}

// Client is the CL block of a hook.
type Client struct {
	IP   string `json:"ip"`
	Port int    `json:"port"`
	ID   string `json:"id"`
}

// OriginType is where a stream comes from; the numbers are ZLMediaKit's.
type OriginType int

// The origins of ZLMediaKit.
const (
	OriginUnknown OriginType = iota
	OriginRTMPPush
	OriginRTSPPush
	OriginRTPPush
	OriginPull
	OriginFFmpegPull
	OriginMP4VOD
	OriginDevice
	OriginRTCPush
	OriginSRTPush
)

// String returns ZLMediaKit's originTypeStr.
func (o OriginType) String() string {
	names := [...]string{
		"unknown", "rtmp_push", "rtsp_push", "rtp_push", "pull", "ffmpeg_pull", "mp4_vod", "device_chn",
		"rtc_push", "srt_push",
	}
	if o < 0 || int(o) >= len(names) {
		return names[0]
	}
	return names[o]
}

// Socket is the originSock object.
type Socket struct {
	PeerIP     string `json:"peer_ip"`
	PeerPort   int    `json:"peer_port"`
	LocalIP    string `json:"local_ip"`
	LocalPort  int    `json:"local_port"`
	Identifier string `json:"identifier"`
}

// Track is an element of tracks. Video and audio have different members; a pointer that is nil is left out.
type Track struct {
	CodecID     int      `json:"codec_id"`
	CodecIDName string   `json:"codec_id_name"`
	CodecType   int      `json:"codec_type"` // 0 video, 1 audio
	Ready       bool     `json:"ready"`
	Frames      uint64   `json:"frames"`
	Duration    uint64   `json:"duration"` // ms
	Loss        *float64 `json:"loss,omitempty"`

	// Video.
	Width         *int     `json:"width,omitempty"`
	Height        *int     `json:"height,omitempty"`
	FPS           *float64 `json:"fps,omitempty"`
	KeyFrames     *uint64  `json:"key_frames,omitempty"`
	GopSize       *int     `json:"gop_size,omitempty"`
	GopIntervalMS *int     `json:"gop_interval_ms,omitempty"`

	// Audio.
	SampleRate *int `json:"sample_rate,omitempty"`
	Channels   *int `json:"channels,omitempty"`
	SampleBit  *int `json:"sample_bit,omitempty"`
}

// StreamObject is ZLMediaKit's description of one media source (one schema of a stream).
type StreamObject struct {
	Schema string `json:"schema"`
	Stream
	Params           string  `json:"params"`
	CreateStamp      uint64  `json:"createStamp"` // Unix seconds
	AliveSecond      uint64  `json:"aliveSecond"`
	BytesSpeed       uint64  `json:"bytesSpeed"` // bytes/s
	TotalBytes       uint64  `json:"totalBytes"`
	ReaderCount      int     `json:"readerCount"`
	TotalReaderCount int     `json:"totalReaderCount"`
	OriginType       int     `json:"originType"`
	OriginTypeStr    string  `json:"originTypeStr"`
	OriginURL        string  `json:"originUrl"`
	IsRecordingMP4   bool    `json:"isRecordingMP4"`
	IsRecordingHLS   bool    `json:"isRecordingHLS"`
	OriginSock       *Socket `json:"originSock"`
	Tracks           []Track `json:"tracks"`
}

// PublicationStarted: a key was claimed after the allow. It is history (the outcome of on_publish) and the
// birth certificate by which a crash finds what it has to end.
type PublicationStarted struct {
	Publication string `json:"-"`
	// Live is the stream after stream_replace; MediaInfo holds what was asked for.
	Live Stream `json:"-"`
	MediaInfo
	Client
	OriginType    int    `json:"originType"`
	OriginTypeStr string `json:"originTypeStr"`
	Start         int64  `json:"start"` // Unix ms
	// Outcome is what was decided and by whom.
	Outcome Outcome `json:"outcome"`
}

// Meta implements Fact.
func (f *PublicationStarted) Meta() Meta {
	return Meta{Type: event.OnPublish, Class: event.History, Key: f.Live.Key(), Publication: f.Publication, Live: LiveStart}
}

// Outcome is the result of a decision or a question.
type Outcome struct {
	// Allowed is the verdict; for on_stream_not_found and on_stream_none_reader: the answer was close=true.
	Allowed bool `json:"allowed"`
	// By is "hook" (the receiver answered), "default" (no hook configured), "failed" (no answer: failed closed)
	// or "server" (Hookline itself: the key is taken, no room).
	By string `json:"by"`
	// Message is the receiver's msg or the error.
	Message string `json:"message,omitempty"`
	// RequestID is the event id of the request, when there was one.
	RequestID string `json:"requestId,omitempty"`
	// Attempts is the number of requests sent.
	Attempts int `json:"attempts,omitempty"`
	// DurationMS is the time from the request to the verdict.
	DurationMS int64 `json:"durationMs"`
}

// Decided is the outcome of a decision or question that started no publication: history. A resume of a
// publication within continue_push_ms is one too.
type Decided struct {
	Type        event.Type `json:"-"`
	Publication string     `json:"-"` // for on_stream_none_reader and resumes
	Live        Stream     `json:"-"` // the stream after stream_replace where there is one
	MediaInfo
	Client
	Outcome Outcome `json:"outcome"`
}

// Meta implements Fact.
func (f *Decided) Meta() Meta {
	return Meta{Type: f.Type, Class: event.History, Key: f.Live.Key(), Publication: f.Publication, Shed: true}
}

// FileAccess is what on_http_access asks about: a file or a directory that somebody wants over HTTP.
type FileAccess struct {
	Client
	Path     string `json:"path"`      // of the URL, without its query
	FilePath string `json:"file_path"` // absolute
	IsDir    bool   `json:"is_dir"`
	Params   string `json:"params"`
}

// FileAccessed is the outcome of on_http_access: history of the server, since a file belongs to no stream.
type FileAccessed struct {
	FileAccess
	// Scope is the path that the verdict covers for Seconds; both are left out when it was for one request only.
	Scope   string  `json:"scope,omitempty"`
	Seconds int     `json:"seconds,omitempty"`
	Outcome Outcome `json:"outcome"`
}

// Meta implements Fact.
func (f *FileAccessed) Meta() Meta {
	return Meta{Type: event.OnHTTPAccess, Class: event.History, Shed: true}
}

// Registered: a schema of the stream can be played from now on.
type Registered struct {
	Publication string `json:"-"`
	StreamObject
	Regist bool `json:"regist"` // always true
}

// Meta implements Fact.
func (f *Registered) Meta() Meta {
	return Meta{Type: event.OnStreamChanged, Key: f.Key(), Publication: f.Publication, Live: LiveRegister}
}

// Unregistered: a schema of the stream can't be played any more.
type Unregistered struct {
	Publication string `json:"-"`
	Schema      string `json:"schema"`
	Stream
	Params string `json:"params"`
	Regist bool   `json:"regist"` // always false
	Crash  bool   `json:"-"`      // raised as a compensation
}

// Meta implements Fact.
func (f *Unregistered) Meta() Meta {
	return Meta{Type: event.OnStreamChanged, Key: f.Key(), Publication: f.Publication, Live: LiveUnregister, Compensation: f.Crash}
}

// FlowReport: a publishing or playing session has ended.
type FlowReport struct {
	Publication string `json:"-"` // the publication that was published or watched
	Live        Stream `json:"-"` // its stream after stream_replace
	MediaInfo
	Client
	TotalBytes uint64 `json:"totalBytes"`
	Duration   uint64 `json:"duration"` // seconds
	Player     bool   `json:"player"`
}

// Meta implements Fact.
func (f *FlowReport) Meta() Meta {
	return Meta{Type: event.OnFlowReport, Key: f.Live.Key(), Publication: f.Publication, Shed: f.Player}
}

// EndReason says why a publication ended.
type EndReason string

// The documented set of reasons.
const (
	EndUnpublish      EndReason = "unpublish"       // the publisher said so
	EndConnectionLost EndReason = "connection_lost" // the connection broke and nobody resumed in time
	EndKicked         EndReason = "kicked"          // closed by API
	EndNoReader       EndReason = "no_reader"       // on_stream_none_reader answered close, or auto_close
	EndTimeout        EndReason = "timeout"         // the publisher was connected but sent nothing
	EndServerStop     EndReason = "server_stop"     // graceful stop
	EndServerCrash    EndReason = "server_crash"    // found at the next start
)

// Recorded: a file of a publication is complete and has its final name. Its type is on_record_mp4 or, for a segment of
// HLS, on_record_ts.
type Recorded struct {
	Publication string     `json:"-"`
	Type        event.Type `json:"-"`
	StartTime   uint64     `json:"start_time"` // Unix seconds, when the file was opened
	TimeLen     float64    `json:"time_len"`   // seconds
	FileSize    uint64     `json:"file_size"`  // bytes
	FilePath    string     `json:"file_path"`  // absolute
	FileName    string     `json:"file_name"`
	Folder      string     `json:"folder"`
	URL         string     `json:"url"` // relative
	Stream
	Params string `json:"params"`
	// Reason says why the file ended before its time (disk_full, write_error, server_crash); "" for a file that did not.
	Reason string `json:"reason,omitempty"`
	// SHA256 of the file in hex, when the configuration asks for it.
	SHA256 string `json:"sha256,omitempty"`
	// Crash marks a file that the start after a crash completed.
	Crash bool `json:"-"`
}

// Meta implements Fact.
func (f *Recorded) Meta() Meta {
	m := Meta{Type: f.Type, Key: f.Key(), Publication: f.Publication, Compensation: f.Crash}
	if f.Type == event.OnRecordMP4 {
		m.Live = LiveRecord
	} else {
		m.Shed = true
	}
	return m
}

// Recording returns the entry of the list that closes the publication.
func (f *Recorded) Recording() Recording {
	return Recording{
		Path: f.FilePath, StartTime: f.StartTime, TimeLen: f.TimeLen, FileSize: f.FileSize,
		Reason: f.Reason, SHA256: f.SHA256,
	}
}

// Recording is one finished MP4 file of a publication.
type Recording struct {
	Path      string  `json:"path"`
	StartTime uint64  `json:"start_time"` // Unix seconds
	TimeLen   float64 `json:"time_len"`   // seconds
	FileSize  uint64  `json:"file_size"`  // bytes
	Reason    string  `json:"reason,omitempty"`
	SHA256    string  `json:"sha256,omitempty"`
}

// MaxRecordings bounds the list that closes a publication; of more files the newest are listed and the others counted.
const MaxRecordings = 256

// Recordings are the files of a publication.
type Recordings struct {
	List    []Recording
	Omitted int // files before those of List
}

// Add appends a file, and leaves out the oldest when there are too many.
func (r *Recordings) Add(x Recording) {
	if len(r.List) >= MaxRecordings {
		r.Omitted++
		r.List = append(r.List[:0:0], r.List[1:]...)
	}
	r.List = append(r.List, x)
}

// PublicationEnded closes a publication: no register, unregister or record of it follows.
type PublicationEnded struct {
	Publication string `json:"-"`
	Stream
	Params        string      `json:"params"`
	OriginType    int         `json:"originType"`
	OriginTypeStr string      `json:"originTypeStr"`
	Start         int64       `json:"start"` // Unix ms
	End           int64       `json:"end"`   // Unix ms; after a crash: the last sign of life
	Duration      float64     `json:"duration"`
	Reason        EndReason   `json:"reason"`
	Bytes         uint64      `json:"bytes"`
	Schemas       []string    `json:"schemas"` // in the order in which they registered
	Recordings    []Recording `json:"recordings,omitempty"`
	// RecordingsOmitted counts older files that Recordings has no room for; each had its on_record_mp4.
	RecordingsOmitted int  `json:"recordingsOmitted,omitempty"`
	Crash             bool `json:"-"`
}

// Meta implements Fact.
func (f *PublicationEnded) Meta() Meta {
	return Meta{
		Type: event.OnPublicationEnded, Key: f.Key(), Publication: f.Publication, Live: LiveEnd,
		Compensation: f.Crash,
	}
}

// ServerStarted carries every config entry as "section.key": "value".
type ServerStarted map[string]string

// Meta implements Fact.
func (f ServerStarted) Meta() Meta { return Meta{Type: event.OnServerStarted} }

// ServerExited is raised last at a graceful stop.
type ServerExited struct{}

// Meta implements Fact.
func (f ServerExited) Meta() Meta { return Meta{Type: event.OnServerExited} }

// AdminAction: somebody changed something by API, or tried to. It never holds a secret.
type AdminAction struct {
	Action  string         `json:"action"`  // endpoint.create, replay.start, config.set and so on
	By      string         `json:"by"`      // name of the token; "api.secret", or "login" for the cookie of one
	Address string         `json:"address"` // of the client
	Result  string         `json:"result"`  // "done", or the code of the refusal
	About   map[string]any `json:"about"`   // what it was about: names, never values that may be secret
}

// Meta implements Fact.
func (f *AdminAction) Meta() Meta { return Meta{Type: event.OnAdminAction} }

// EventGap names events that were never journaled because the journal could not keep up.
type EventGap struct {
	StreamKey string `json:"-"`
	event.Gap
}

// Meta implements Fact.
func (f *EventGap) Meta() Meta { return Meta{Type: event.OnEventGap, Key: f.StreamKey} }

// Keepalive is the heartbeat's body.
type Keepalive struct {
	Data map[string]int64 `json:"data"`
}

// NoneReader is the body of the question on_stream_none_reader.
type NoneReader struct {
	Schema string `json:"schema"`
	Stream
	Params string `json:"params"`
}

package stream

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"time"

	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/media"
)

// Errors of Publish and Play. A refusal by a hook is a *RefusedError.
var (
	// ErrBusy: another publisher owns the stream (RTMP: NetStream.Publish.BadName).
	ErrBusy = errors.New("stream: another publisher owns this stream")
	// ErrNotFound: the stream did not appear within maxStreamWaitMS (RTMP: NetStream.Play.StreamNotFound).
	ErrNotFound = errors.New("stream: no such stream")
	// ErrNoRoom: the event plane can't take a new publication (journal dead or full).
	ErrNoRoom = errors.New("stream: the event journal can't take a new publication")
	// ErrStopping: the server is stopping.
	ErrStopping = errors.New("stream: server is stopping")
	// ErrEnded: the stream that was watched has ended, or the publication was closed (kicked, idle).
	ErrEnded = errors.New("stream: ended")
	// ErrTooSlow: the viewer lagged beyond the limit and was closed.
	ErrTooSlow = errors.New("stream: viewer too slow")
)

// RefusedError is a decision hook's refusal, or its failure to answer (fail closed).
type RefusedError struct{ Message string }

// Error implements error.
func (e *RefusedError) Error() string { return "refused: " + e.Message }

// Facts takes what happened. Raise never blocks; it is called under the stream's lock.
type Facts interface {
	Raise(f fact.Fact)
	// Admit reserves room for the terminal events of one publication, or says why there is none. Release gives the
	// room back after the publication's last event was raised.
	Admit() (release func(), err error)
}

// Gate asks the decision hooks. No lock is held while it is asked. An error is never a verdict: a failed hook
// answers Allowed=false.
type Gate interface {
	Publish(ctx context.Context, q PublishQuestion) PublishVerdict
	Play(ctx context.Context, q PlayQuestion) Verdict
	// NotFound asks on_stream_not_found; close=true ends the player's wait at once.
	NotFound(ctx context.Context, q PlayQuestion) (close bool, outcome fact.Outcome)
	// NoneReader asks the question on_stream_none_reader in the lane of the key. holds is called right before each
	// attempt: false withdraws the question. answer is called at most once, when the receiver accepted.
	NoneReader(publication string, body fact.NoneReader, holds func() bool, answer func(close bool, outcome fact.Outcome))
}

// PublishQuestion is the body of on_publish.
type PublishQuestion struct {
	fact.MediaInfo
	fact.Client
	OriginType    fact.OriginType `json:"originType"`
	OriginTypeStr string          `json:"originTypeStr"`
}

// PlayQuestion is the body of on_play and on_stream_not_found.
type PlayQuestion struct {
	fact.MediaInfo
	fact.Client
}

// Verdict is the outcome of a decision.
type Verdict struct {
	Outcome fact.Outcome // Outcome.Allowed is the verdict
}

// PublishVerdict carries the protocol options of the reply, laid over the [protocol] defaults.
type PublishVerdict struct {
	Outcome fact.Outcome
	Options Options
}

// Options are ZLMediaKit's ProtocolOption (hooks contract, on_publish). Every option is read and kept, those whose
// feature does not exist yet have no effect.
type Options struct {
	ModifyStamp   int // 0 keep, 1 server receive time, 2 relative with jump repair
	EnableAudio   bool
	AddMuteAudio  bool
	AutoClose     bool
	ContinuePush  time.Duration
	PacedSender   time.Duration
	EnableHLS     bool
	EnableHLSFMP4 bool
	EnableMP4     bool
	EnableRTSP    bool
	EnableRTMP    bool
	EnableTS      bool
	EnableFMP4    bool
	HLSDemand     bool
	RTSPDemand    bool
	RTMPDemand    bool
	TSDemand      bool
	FMP4Demand    bool
	MP4MaxSecond  int
	MP4AsPlayer   bool
	MP4SavePath   string
	HLSSavePath   string
	StreamReplace string
	MaxTrack      int
}

// Format is one wire format that viewers can ask for. Protocol packages define them; the composition root
// registers them with the hub. Adding one does not edit the hub.
type Format struct {
	Name   string // "rtmp" (chunks), "flv"
	Schema string // "rtmp": the media source family that it belongs to
	// New makes the packager. Nil: a recorder makes what is played and registers the schema, and viewers only count;
	// Viewer.Next must not be called on them.
	New func(p Program) Packager
	// Carries says whether the format has a way to carry a track; nil: any. A schema registers only when one of its
	// formats carries a track of the stream, since nobody could play it otherwise.
	Carries func(t *media.Track) bool
}

// Program is what a packager needs to know of the stream when it starts or when the tracks change.
type Program struct {
	Tracks []*media.Track
	// Metadata is the publisher's onMetaData as AMF0 (one ECMA array or object), nil when there was none.
	Metadata []byte
}

// Sizer is a Packager that knows about how many bytes Append adds for a frame, so that the buffer of a block need not grow.
type Sizer interface{ Size(f *media.Frame) int }

// Packager writes the wire bytes of one format, once for all viewers. It is used by one goroutine at a time.
type Packager interface {
	// Start returns what a viewer needs before the first frame: file header, metadata, codec configuration.
	Start() []byte
	// Append appends the wire bytes of f to dst and returns the extended slice. It must not keep f.
	Append(dst []byte, f *media.Frame) []byte
	// Change tells of new tracks; the bytes that announce them in mid-stream are appended to dst.
	Change(dst []byte, p Program) []byte
}

// Peer describes a session to hooks and API.
type Peer struct {
	fact.Client
	LocalIP   string
	LocalPort int
	// TypeID is the class that the session API shows, such as "mediakit::RtmpSession"; only Players reads it.
	TypeID string
}

// PublishRequest is an attempt to publish.
type PublishRequest struct {
	fact.MediaInfo
	Peer
	OriginType fact.OriginType
	OriginURL  string // at least 4 characters
	// Options, for a source of the server itself (a file, a pull): on_publish is not asked, and these options hold.
	Options *Options
	// Control steers a source that can be steered; nil for one that can't.
	Control Control
	// Quiet: the publication ends when nobody reads it, and on_stream_none_reader is not asked.
	Quiet bool
	// Bytes counts what the session received; the hub reads it for on_flow_report and the API.
	Bytes *atomic.Uint64
	// Kick ends the publisher's session; it must not block. The hub calls it when the publication is closed from
	// outside (API, idle, server stop), after the facts of the ending were raised.
	Kick func()
}

// Control steers a source that plays files. Its methods wait for the source, a disk access at most, so they must not be called
// with a lock that the source needs. All viewers of the stream see what they do. Times are since the start of the source.
type Control interface {
	// Seek goes to the key frame at or before a time, and returns when its picture is shown. When Seek has returned, who
	// begins to watch begins there; a source that pauses goes there, but hands nothing on. ErrEnded: it is over.
	Seek(to time.Duration) (at time.Duration, err error)
	// Speed plays faster or slower than 1, and goes on if it paused.
	Speed(factor float64) error
	// Pause stops and goes on. When it returns after going on, what is due then is shown.
	Pause(on bool) error
	// Position is where the source is.
	Position() time.Duration
	// Duration is the length of the source.
	Duration() time.Duration
	// Find returns the place of a time of day, when the source knows when it was recorded.
	Find(at time.Time) (place time.Duration, ok bool)
}

// Demand opens the source of a stream that nobody publishes, when it knows how; it returns false when it does not. It may
// block as long as it takes to know, within ctx.
type Demand func(ctx context.Context, q PlayQuestion) bool

// PlayRequest is an attempt to play.
type PlayRequest struct {
	fact.MediaInfo
	Peer
	Format string // Format.Name
	// Admitted: the protocol's own authentication let the viewer in, so on_play is not asked.
	Admitted bool
	// Relay: it sends what others watch, who play for themselves. It is no reader and no player, and is not reported.
	Relay bool
	// Kick ends the viewer's session; it must not block. Called when the stream ended or the API kicks it.
	Kick func()
}

// Block is a run of wire bytes shared by all viewers.
type Block = net.Buffers

package stream

import (
	"context"
	"net"

	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/media"
)

// Hub is the registry of streams and the way in for publishers and viewers. It is safe for concurrent use.
type Hub struct{}

// New returns a hub that states facts to facts, asks gate, and offers formats.
func New(cfg Config, facts Facts, gate Gate, formats []Format) *Hub {
	return &Hub{}
}

// Publish claims the stream for one publisher session. It blocks while on_publish is decided.
func (h *Hub) Publish(ctx context.Context, req PublishRequest) (*Publisher, error) {
	return nil, ErrStopping
}

// Play attaches one viewer. It blocks while on_play is decided and while an absent stream is waited for.
func (h *Hub) Play(ctx context.Context, req PlayRequest) (*Viewer, error) {
	return nil, ErrStopping
}

// Publisher is one publishing session. Its methods are called from one goroutine, Close from any.
type Publisher struct{}

// Metadata states what the publisher announced, before or between frames. raw is kept (Program.Metadata); hasVideo
// and hasAudio name the tracks that will come, both false when the metadata does not say.
func (p *Publisher) Metadata(raw []byte, hasVideo, hasAudio bool, width, height int, fps float64) {}

// WriteFrame hands on one frame. It never blocks on viewers. ErrEnded: the publication was closed from outside.
func (p *Publisher) WriteFrame(f *media.Frame) error { return ErrEnded }

// Close ends the session. It is idempotent; the first cause wins.
func (p *Publisher) Close(reason fact.EndReason) {}

// Publication returns the id of the publication: the same one after a resume.
func (p *Publisher) Publication() string { return "" }

// Viewer is a cursor on the wire log of a stream. Next and Sent are called from one goroutine, Close from any.
type Viewer struct{}

// Next waits for wire bytes and returns all there are. The bytes are shared and must not be changed; the slice is
// valid until the next call and may be consumed by net.Buffers.WriteTo. Errors: ErrEnded after the last byte of a
// stream that ended, ErrTooSlow, ErrStopping, or ctx's error.
func (v *Viewer) Next(ctx context.Context) (net.Buffers, error) { return nil, ErrEnded }

// Sent counts n bytes as delivered to the viewer.
func (v *Viewer) Sent(n int) {}

// Publication returns the id of the publication that is watched.
func (v *Viewer) Publication() string { return "" }

// Close ends the session. It is idempotent.
func (v *Viewer) Close() {}

// Stop ends every publication with server_stop and waits until all viewers have left, or ctx ends.
func (h *Hub) Stop(ctx context.Context) error { return nil }

// Reconfigure replaces the configuration; it applies to timers and streams that start later, and to limits at once.
func (h *Hub) Reconfigure(cfg Config) {}

// Filter selects media sources; an empty field matches everything.
type Filter struct {
	Schema string
	Vhost  string
	App    string
	Stream string
}

// Info is one media source: one registered schema of a stream.
type Info struct {
	fact.StreamObject
	Publication string `json:"-"`
}

// Player is one viewer session, as getMediaPlayerList shows it.
type Player struct {
	fact.Socket
	TypeID string
}

// List returns the media sources that f selects, ordered by stream key and registration.
func (h *Hub) List(f Filter) []Info { return nil }

// Get returns the first media source that f selects.
func (h *Hub) Get(f Filter) (Info, bool) { return Info{}, false }

// CloseStreams ends the streams that f selects, for reason. Without force a stream with readers is kept. hit counts
// the media sources that matched, closed those of streams that were ended.
func (h *Hub) CloseStreams(f Filter, force bool, reason fact.EndReason) (hit, closed int) {
	return 0, 0
}

// Players returns the viewers of the media sources that f selects.
func (h *Hub) Players(f Filter) []Player { return nil }

// Stats are counters of what is alive.
type Stats struct {
	Sources      int // registered schemas
	Publications int
	Viewers      int
	Waiting      int // players that wait for a stream
}

// Stats returns the counters.
func (h *Hub) Stats() Stats { return Stats{} }

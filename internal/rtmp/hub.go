package rtmp

import (
	"context"

	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/media"
	"github.com/hookline/hookline/internal/stream"
)

// Hub is what a server needs of the stream hub.
type Hub interface {
	// Publish asks whether the stream may be published and claims it. It returns when that is decided or ctx ends.
	// Errors: stream.ErrBusy, *stream.RefusedError, stream.ErrNoRoom, stream.ErrStopping.
	Publish(ctx context.Context, req stream.PublishRequest) (Publisher, error)
	// Play asks whether the stream may be played and waits for it. Errors: stream.ErrNotFound, *stream.RefusedError,
	// stream.ErrStopping.
	Play(ctx context.Context, req stream.PlayRequest) (Viewer, error)
	// Control steers a source that can be steered. Errors: stream.ErrNotFound.
	Control(name fact.Stream) (stream.Control, error)
}

// Publisher is a claimed stream. It is used by one goroutine.
type Publisher interface {
	// Metadata states what the publisher announced; raw is one AMF0 value.
	Metadata(raw []byte, hasVideo, hasAudio bool, width, height int, fps float64)
	// WriteFrame hands on a frame. stream.ErrEnded: the publication was closed from outside.
	WriteFrame(f *media.Frame) error
	// Close ends the session; the reason decides whether a publisher may come back.
	Close(reason fact.EndReason)
}

// Viewer is a cursor on the wire bytes of a stream. It is used by one goroutine.
type Viewer interface {
	// Serve writes the wire bytes to outlet until the stream, the outlet or ctx ends. Errors: stream.ErrEnded,
	// stream.ErrTooSlow, stream.ErrStopping, the outlet's, or ctx's.
	Serve(ctx context.Context, outlet stream.Outlet) error
	// Close ends the session.
	Close()
}

// HubOf adapts the hub to what this package consumes.
func HubOf(h *stream.Hub) Hub { return hubAdapter{h} }

type hubAdapter struct{ hub *stream.Hub }

// Publish implements Hub. A nil *stream.Publisher must not become a non-nil Publisher.
func (a hubAdapter) Publish(ctx context.Context, req stream.PublishRequest) (Publisher, error) {
	p, err := a.hub.Publish(ctx, req)
	if err != nil {
		return nil, err
	}
	return p, nil
}

// Play implements Hub.
func (a hubAdapter) Play(ctx context.Context, req stream.PlayRequest) (Viewer, error) {
	v, err := a.hub.Play(ctx, req)
	if err != nil {
		return nil, err
	}
	return v, nil
}

// Control implements Hub.
func (a hubAdapter) Control(name fact.Stream) (stream.Control, error) { return a.hub.Control(name) }

// Session describes a connection to whoever lists and kicks sessions.
type Session struct {
	ID              string // unique per connection, "n-m"
	PeerIP, LocalIP string
	PeerPort        int
	LocalPort       int
	Type            string // "tcp"
	TypeID          string // "mediakit::RtmpSession", ZLMediaKit's name for it
	Kick            func() // ends the session; does not block
}

// Registry knows the sessions of the server.
type Registry interface {
	// Add lists a session until remove is called.
	Add(s Session) (remove func())
}

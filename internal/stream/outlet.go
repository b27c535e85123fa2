package stream

import (
	"context"
	"net"
)

// Outlet is where the wire bytes of a viewer go: the writing half of its connection.
type Outlet interface {
	// Write writes all of blocks, after what Try has left over. It may block, for as long as the session lets it, and gives
	// up when ctx ends, at best between two blocks. The bytes are shared and must not be changed; the slice is the outlet's
	// until it returns. It returns how many bytes were written, those that were left over included.
	Write(ctx context.Context, blocks net.Buffers) (int64, error)
}

// DirectOutlet is an Outlet to which may be written without a goroutine of its own.
type DirectOutlet interface {
	Outlet
	// Direct says whether Try works; when not, the outlet is served as if it had none.
	Direct() bool
	// Try writes as much of blocks as the connection takes at once, and returns how many bytes that were. It must not block,
	// nor change blocks, nor keep the slice.
	Try(blocks net.Buffers) (int, Taken, error)
}

// Taken says what a DirectOutlet has taken of blocks.
type Taken uint8

// The values of Taken.
const (
	TookAll     Taken = iota // and all of it is written
	TookLate                 // all of it, but a part is not written yet: that waits for Write
	TookNothing              // because nothing can be written now
)

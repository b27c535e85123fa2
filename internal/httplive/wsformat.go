package httplive

import (
	"slices"

	"github.com/hookline/hookline/internal/media"
	"github.com/hookline/hookline/internal/stream"
)

// framedName names a format in WebSocket frames. It is a format of its own, so that a frame's header is written once and not
// for each viewer.
func framedName(format string) string { return "ws-" + format }

// framed is a stream.Packager that puts what another one writes into binary WebSocket frames: one for the start, one for each
// media frame.
type framed struct{ inner stream.Packager }

// around is about what stands around a frame's data, when the packager does not know better.
const around = 64

// Size implements stream.Sizer.
func (k framed) Size(f *media.Frame) int { return k.payload(f) + maxFrameHeader }

func (k framed) payload(f *media.Frame) int {
	if s, ok := k.inner.(stream.Sizer); ok {
		return s.Size(f)
	}
	return len(f.Data) + around
}

// Start implements stream.Packager.
func (k framed) Start() []byte { return frameAround(nil, k.inner.Start()) }

// Change implements stream.Packager.
func (k framed) Change(dst []byte, p stream.Program) []byte {
	return frameAround(dst, k.inner.Change(nil, p))
}

// Append implements stream.Packager. The header's length is guessed, so that the payload need not be moved.
func (k framed) Append(dst []byte, f *media.Frame) []byte {
	expect := k.payload(f)
	guess := frameHeaderLen(expect)
	start := len(dst)
	dst = slices.Grow(dst, expect+maxFrameHeader)[:start+guess]
	dst = k.inner.Append(dst, f)
	size := len(dst) - start - guess
	if size == 0 {
		return dst[:start]
	}
	if n := frameHeaderLen(size); n != guess {
		if n > guess { // it is far longer than expected
			dst = append(dst, make([]byte, n-guess)...)
		}
		copy(dst[start+n:], dst[start+guess:start+guess+size])
		dst = dst[:start+n+size]
	}
	appendFrameHeader(dst[:start], opBinary, size)
	return dst
}

// frameAround appends a binary frame, or nothing when there is no payload.
func frameAround(dst, payload []byte) []byte {
	if len(payload) == 0 {
		return dst
	}
	return append(appendFrameHeader(dst, opBinary, len(payload)), payload...)
}

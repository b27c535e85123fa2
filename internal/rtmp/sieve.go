package rtmp

import (
	"net"
	"sync/atomic"

	"github.com/hookline/hookline/internal/format/flv"
)

// What a player does not want now.
const (
	muteAudio uint32 = 1 << iota
	muteVideo
	mutePause // neither, for a while
)

// sieve leaves out messages that a player does not want. Wire bytes are shared, so it cuts out what is left of them: blocks
// are whole messages with full headers (see packager). Metadata and codec configurations always go through, and pictures
// that were left out come back with a key frame. As long as a player wants everything it costs nothing.
type sieve struct {
	mute *atomic.Uint32 // set by the session at any time

	// The rest belongs to whoever writes to the viewer.
	gap bool // pictures were left out: the next ones need a key frame
	cut net.Buffers
}

// open says that everything goes through.
func (f *sieve) open() bool { return !f.gap && f.mute.Load() == 0 }

// pass returns what is left of blocks, in a slice that is valid until the next call, and the gap behind it. The caller
// stores that when the blocks were taken.
func (f *sieve) pass(blocks net.Buffers) (left net.Buffers, gap bool) {
	mute := f.mute.Load()
	gap = f.gap
	clear(f.cut)
	f.cut = f.cut[:0]
	for _, b := range blocks {
		gap = f.block(b, mute, gap)
	}
	return f.cut, gap
}

// block appends what is left of one block to cut, in as few pieces as possible.
func (f *sieve) block(b []byte, mute uint32, gap bool) bool {
	from, at := 0, 0
	for at < len(b) {
		typ, body, n, ok := firstMessage(b[at:])
		if !ok {
			break // not ours; can't be
		}
		var wanted bool
		if wanted, gap = wants(typ, body, mute, gap); !wanted {
			if at > from {
				f.cut = append(f.cut, b[from:at])
			}
			from = at + n
		}
		at += n
	}
	if from < len(b) {
		f.cut = append(f.cut, b[from:])
	}
	return gap
}

// wants says whether a message goes through, and whether there is a gap behind it.
func wants(typ MessageType, body []byte, mute uint32, gap bool) (wanted, after bool) {
	config, key := flv.Peek(flv.TagType(typ), body)
	switch {
	case config:
		return true, gap
	case typ == TypeAudio:
		return mute&(muteAudio|mutePause) == 0, gap
	case typ != TypeVideo:
		return true, gap
	case mute&(muteVideo|mutePause) != 0:
		return false, true
	}
	return key || !gap, gap && !key
}

// firstMessage returns the message at the start of b, as a packager writes it: its type, the first chunk of its body and the
// number of bytes that it takes.
func firstMessage(b []byte) (typ MessageType, body []byte, n int, ok bool) {
	if len(b) < fullHeader {
		return 0, nil, 0, false
	}
	header, again := fullHeader, 1
	if uint24(b[1:]) == extendedField {
		header, again = header+4, again+4
	}
	length := int(uint24(b[4:]))
	n = header + length
	if length > ChunkSize {
		n += (length - 1) / ChunkSize * again
	}
	if n > len(b) {
		return 0, nil, 0, false
	}
	return MessageType(b[7]), b[header : header+min(length, ChunkSize)], n, true
}

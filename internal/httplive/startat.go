package httplive

import (
	"context"
	"encoding/binary"
	"net"
	"net/http"
	"strconv"

	"github.com/hookline/hookline/internal/format/flv"
	"github.com/hookline/hookline/internal/stream"
)

// startPts returns the parameter starPts, a time stamp in ms, as ZLMediaKit spells it; 0 for none.
func startPts(r *http.Request) uint32 {
	n, err := strconv.ParseUint(r.URL.Query().Get("starPts"), 10, 32)
	if err != nil {
		return 0
	}
	return uint32(n)
}

// startAt is an outlet that leaves out the media before a time stamp, for a player that has it already. What was announced
// goes through. It works on whole tags, of which blocks consist, and copies nothing.
type startAt struct {
	out  stream.Outlet
	from uint32
	ws   bool // the tags are in WebSocket frames
	done bool
	bufs net.Buffers
}

// Write implements stream.Outlet.
func (s *startAt) Write(ctx context.Context, blocks net.Buffers) (int64, error) {
	if s.done {
		return s.out.Write(ctx, blocks)
	}
	s.bufs = s.bufs[:0]
	for _, b := range blocks {
		s.bufs = s.filter(s.bufs, b)
	}
	if len(s.bufs) == 0 {
		return 0, ctx.Err()
	}
	return s.out.Write(ctx, s.bufs)
}

// filter appends what of a block goes through.
func (s *startAt) filter(dst net.Buffers, block []byte) net.Buffers {
	for len(block) > 0 {
		if s.done {
			return append(dst, block)
		}
		n, keep := s.piece(block)
		if n <= 0 || n > len(block) { // nothing that can be taken apart
			s.done = true
			continue
		}
		if keep {
			dst = append(dst, block[:n])
		}
		block = block[n:]
	}
	return dst
}

// piece returns the length of the tag or frame at the start of b, and whether it goes through.
func (s *startAt) piece(b []byte) (n int, keep bool) {
	if s.ws {
		header, size := frameSize(b)
		if size == 0 || header+size > len(b) {
			return 0, true
		}
		_, keep = s.tag(b[header : header+size])
		return header + size, keep
	}
	return s.tag(b)
}

// frameSize returns the lengths of the header and the payload of a frame that appendFrameHeader began.
func frameSize(b []byte) (header, size int) {
	switch {
	case len(b) < 2:
		return 0, 0
	case b[1] < 126:
		return 2, int(b[1])
	case b[1] == 126 && len(b) >= 4:
		return 4, int(binary.BigEndian.Uint16(b[2:]))
	case b[1] == 127 && len(b) >= maxFrameHeader:
		if n := binary.BigEndian.Uint64(b[2:]); n <= uint64(len(b)) {
			return maxFrameHeader, int(n)
		}
	}
	return 0, 0
}

const (
	fileHeader = 13 // and the first back pointer
	tagHeader  = 11
	tagTrailer = 4
)

// tag returns the length of the file header or tag at the start of b, and whether it goes through.
func (s *startAt) tag(b []byte) (n int, keep bool) {
	if len(b) >= fileHeader && string(b[:3]) == "FLV" {
		return fileHeader, true
	}
	if len(b) < tagHeader+2 {
		return 0, true
	}
	n = tagHeader + (int(b[1])<<16 | int(b[2])<<8 | int(b[3])) + tagTrailer
	at := uint32(b[7])<<24 | uint32(b[4])<<16 | uint32(b[5])<<8 | uint32(b[6])
	typ := flv.TagType(b[0])
	if typ == flv.TagData || configures(typ, b[tagHeader:]) {
		return n, true
	}
	s.done = at >= s.from
	return n, s.done
}

// configures says whether a body announces a codec.
func configures(typ flv.TagType, body []byte) bool {
	const enhancedAudio, aac = 9, 10
	if typ == flv.TagVideo {
		if body[0]&0x80 != 0 {
			return body[0]&0x0f == 0
		}
		return body[1] == 0
	}
	switch body[0] >> 4 {
	case enhancedAudio:
		return body[0]&0x0f == 0
	case aac:
		return body[1] == 0
	}
	return false
}

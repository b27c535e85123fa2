package rtmp

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// ErrProtocol is wrapped by every error that says that the peer broke the chunk stream or a limit.
var ErrProtocol = errors.New("rtmp: protocol error")

// Limits of what a peer may send.
const (
	defaultChunkSize = 128       // spec 5.4.1
	maxChunkSize     = 1<<24 - 1 // no message is longer, so larger values mean the same

	maxMessage    = 1<<24 - 1 // audio, video, aggregate: what 24 bits can say
	maxCommand    = 64 << 10
	maxControl    = 64
	maxPartial    = 20 << 20  // all unfinished messages of a connection together
	maxEarly      = 256 << 10 // the same before it may send media
	firstBodySize = 64 << 10  // what is allocated for a message at once; more only when data arrived
	bodyGrowth    = 4         // factor by which it grows then
	extendedField = 1<<24 - 1 // a time stamp field of this value announces an extended time stamp
)

// chunkReader reads messages from a chunk stream (spec 5.3). It belongs to one goroutine.
type chunkReader struct {
	r       *bufio.Reader
	size    int // the peer's chunk size
	streams map[uint32]*chunkStream
	partial int // capacity of all unfinished bodies
	// media allows messages of media size; without it nothing may be longer than a command.
	media bool
	lim   Limits
}

// chunkStream is what a chunk may leave out because the one before said it.
type chunkStream struct {
	header
	delta    uint32 // what a header of format 3 adds when it begins a message
	field    uint32 // the extended time stamp, when extended
	extended bool
	open     bool   // a message is unfinished
	body     []byte // of the unfinished message, as far as it has arrived
}

// header is a message header.
type header struct {
	timestamp uint32 // ms, wraps
	length    int
	typ       MessageType
	streamID  uint32
}

func newChunkReader(r *bufio.Reader) *chunkReader {
	return &chunkReader{r: r, size: defaultChunkSize, streams: make(map[uint32]*chunkStream), lim: Limits{}.withDefaults()}
}

// next returns the next message that is not about the chunk stream itself. The caller owns the body. The error is
// io.EOF only between two chunks.
func (c *chunkReader) next() (Message, error) {
	for {
		m, done, err := c.chunk()
		if err != nil {
			return Message{}, err
		}
		if !done {
			continue
		}
		switch m.Type {
		case TypeSetChunkSize:
			err = c.setSize(m.Body)
		case TypeAbort:
			err = c.abort(m.Body)
		default:
			return m, nil
		}
		if err != nil {
			return Message{}, err
		}
	}
}

// chunk reads one chunk; done says that it completed the message.
func (c *chunkReader) chunk() (m Message, done bool, err error) {
	format, id, err := c.basicHeader()
	if err != nil {
		return Message{}, false, err
	}
	s, err := c.stream(id, format)
	if err != nil {
		return Message{}, false, err
	}
	if format == 3 {
		c.repeatHeader(s)
	} else if err := c.messageHeader(s, format); err != nil {
		return Message{}, false, err
	}
	if !s.open {
		if limit := c.limit(s.typ); s.length > limit {
			return Message{}, false, fmt.Errorf("%w: message of type %d has %d bytes, %d are allowed", ErrProtocol, s.typ, s.length, limit)
		}
		s.open = true
	}
	if err := c.payload(s, min(c.size, s.length-len(s.body))); err != nil {
		return Message{}, false, noEOF(err)
	}
	if len(s.body) < s.length {
		return Message{}, false, nil
	}
	m = Message{Type: s.typ, StreamID: s.streamID, Timestamp: s.timestamp, Body: s.body}
	c.drop(s)
	return m, true, nil
}

// basicHeader reads the format and the chunk stream id (spec 5.3.1.1).
func (c *chunkReader) basicHeader() (format byte, id uint32, err error) {
	b, err := c.r.ReadByte()
	if err != nil {
		return 0, 0, err
	}
	format, id = b>>6, uint32(b&0x3f)
	if id > 1 {
		return format, id, nil
	}
	low, err := c.r.ReadByte()
	if err != nil {
		return 0, 0, noEOF(err)
	}
	if id == 0 {
		return format, 64 + uint32(low), nil
	}
	high, err := c.r.ReadByte()
	if err != nil {
		return 0, 0, noEOF(err)
	}
	return format, 64 + uint32(low) + uint32(high)<<8, nil
}

// stream returns the chunk stream id. The first chunk must say at least the length: librtmp starts with format 1.
func (c *chunkReader) stream(id uint32, format byte) (*chunkStream, error) {
	if s, ok := c.streams[id]; ok {
		return s, nil
	}
	if format > 1 {
		return nil, fmt.Errorf("%w: chunk stream %d begins with a header of format %d", ErrProtocol, id, format)
	}
	if len(c.streams) >= c.lim.ChunkStreams {
		return nil, fmt.Errorf("%w: more than %d chunk streams", ErrProtocol, c.lim.ChunkStreams)
	}
	s := new(chunkStream)
	c.streams[id] = s
	return s, nil
}

// messageHeader reads a header of format 0, 1 or 2 (spec 5.3.1.2). It begins a message; one that was unfinished is
// lost, as its sender has lost it.
func (c *chunkReader) messageHeader(s *chunkStream, format byte) error {
	size := [...]int{11, 7, 3}[format]
	h, err := c.r.Peek(size)
	if err != nil {
		return noEOF(err)
	}
	c.drop(s)
	s.field = uint24(h)
	s.extended = s.field == extendedField
	if format < 2 {
		s.length = int(uint24(h[3:]))
		s.typ = MessageType(h[6])
	}
	if format == 0 {
		s.streamID = binary.LittleEndian.Uint32(h[7:])
	}
	if _, err := c.r.Discard(size); err != nil {
		return err
	}
	if s.extended {
		h, err := c.r.Peek(4)
		if err != nil {
			return noEOF(err)
		}
		s.field = binary.BigEndian.Uint32(h)
		if _, err := c.r.Discard(4); err != nil {
			return err
		}
	}
	if format == 0 {
		s.timestamp = s.field
	} else {
		s.timestamp += s.field
	}
	s.delta = s.field
	return nil
}

// repeatHeader takes a header of format 3: the message goes on, or one with the same header and time step begins
// (spec 5.3.1.2.4: after a format 0 the step is its time stamp; ffmpeg counts on it).
//
// Most encoders repeat an extended time stamp here, some do not. It is there when the next bytes are its value, or
// that of the whole time stamp where the field was a step.
func (c *chunkReader) repeatHeader(s *chunkStream) {
	if !s.open {
		s.timestamp += s.delta
	}
	if !s.extended {
		return
	}
	h, err := c.r.Peek(4)
	if err != nil {
		return // reading on will report it
	}
	if v := binary.BigEndian.Uint32(h); v == s.field || v == s.timestamp {
		_, _ = c.r.Discard(4) // can't fail, they were peeked
	}
}

// payload appends the next n bytes to the body. Memory follows what arrived, not what was announced.
func (c *chunkReader) payload(s *chunkStream, n int) error {
	for n > 0 {
		if len(s.body) == cap(s.body) {
			if err := c.grow(s); err != nil {
				return err
			}
		}
		start := len(s.body)
		step := min(n, cap(s.body)-start)
		if _, err := io.ReadFull(c.r, s.body[start:start+step]); err != nil {
			return err
		}
		s.body = s.body[:start+step]
		n -= step
	}
	return nil
}

// grow gives the body more room.
func (c *chunkReader) grow(s *chunkStream) error {
	size := min(s.length, max(firstBodySize, bodyGrowth*cap(s.body)))
	limit := maxEarly
	if c.media {
		limit = maxPartial
	}
	c.partial += size - cap(s.body)
	if c.partial > limit {
		return fmt.Errorf("%w: unfinished messages need more than %d bytes", ErrProtocol, limit)
	}
	body := make([]byte, len(s.body), size)
	copy(body, s.body)
	s.body = body
	return nil
}

// drop forgets the message in progress.
func (c *chunkReader) drop(s *chunkStream) {
	c.partial -= cap(s.body)
	s.body, s.open = nil, false
}

// limit returns how long a message of the type may be.
func (c *chunkReader) limit(t MessageType) int {
	switch t {
	case TypeSetChunkSize, TypeAbort, TypeAck, TypeUserControl, TypeWindowAckSize, TypeSetPeerBandwidth:
		return maxControl
	case TypeAudio, TypeVideo, TypeAggregate:
		if c.media {
			return c.lim.MessageBytes
		}
	case TypeDataAMF0, TypeDataAMF3:
		if c.media {
			return c.lim.DataBytes
		}
	default:
	}
	return maxCommand
}

// setSize takes the peer's chunk size (spec 5.4.1).
func (c *chunkReader) setSize(body []byte) error {
	if len(body) < 4 {
		return fmt.Errorf("%w: set chunk size has %d bytes", ErrProtocol, len(body))
	}
	size := binary.BigEndian.Uint32(body)
	if size == 0 || size > 1<<31-1 {
		return fmt.Errorf("%w: chunk size %d", ErrProtocol, size)
	}
	c.size = int(min(size, maxChunkSize))
	return nil
}

// abort discards the unfinished message of a chunk stream (spec 5.4.2).
func (c *chunkReader) abort(body []byte) error {
	if len(body) < 4 {
		return fmt.Errorf("%w: abort has %d bytes", ErrProtocol, len(body))
	}
	if s, ok := c.streams[binary.BigEndian.Uint32(body)]; ok {
		c.drop(s)
	}
	return nil
}

func uint24(b []byte) uint32 {
	return uint32(b[0])<<16 | uint32(b[1])<<8 | uint32(b[2])
}

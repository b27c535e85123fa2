package rtmp

import "encoding/binary"

// MessageType is the type id of a message (spec 5.4, 7.1).
type MessageType uint8

// The message types.
const (
	TypeSetChunkSize     MessageType = 1
	TypeAbort            MessageType = 2
	TypeAck              MessageType = 3
	TypeUserControl      MessageType = 4
	TypeWindowAckSize    MessageType = 5
	TypeSetPeerBandwidth MessageType = 6
	TypeAudio            MessageType = 8
	TypeVideo            MessageType = 9
	TypeDataAMF3         MessageType = 15
	TypeSharedAMF3       MessageType = 16
	TypeCommandAMF3      MessageType = 17
	TypeDataAMF0         MessageType = 18
	TypeSharedAMF0       MessageType = 19
	TypeCommandAMF0      MessageType = 20
	TypeAggregate        MessageType = 22
)

// Message is one message of a chunk stream.
type Message struct {
	Type      MessageType
	StreamID  uint32 // message stream; 0 is the connection itself
	Timestamp uint32 // ms, wraps
	Body      []byte
}

// User control events (spec 7.1.7).
const (
	eventStreamBegin     = 0
	eventStreamEOF       = 1
	eventSetBufferLength = 3
	eventPingRequest     = 6
	eventPingResponse    = 7
)

// Chunk streams that are used to send. A chunk stream carries one kind of message, so that headers stay cheap to read.
const (
	csidControl = 2
	csidCommand = 3
	csidAudio   = 4
	csidStatus  = 5
	csidVideo   = 6
	csidData    = 7
)

// mediaStreamID is the one message stream of a connection. All viewers share wire bytes, hence all have the same.
const mediaStreamID = 1

// fullHeader is the size of a basic header of one byte and a message header of format 0.
const fullHeader = 12

// beginMessage appends a chunk header of format 0 and returns where the body begins. The caller appends the body and
// calls endMessage. csid is 2..63.
func beginMessage(dst []byte, csid byte, typ MessageType, streamID, timestamp uint32) (out []byte, body int) {
	field := min(timestamp, extendedField)
	dst = append(dst, csid, byte(field>>16), byte(field>>8), byte(field), 0, 0, 0, byte(typ))
	dst = binary.LittleEndian.AppendUint32(dst, streamID)
	if field == extendedField {
		dst = binary.BigEndian.AppendUint32(dst, timestamp)
	}
	return dst, len(dst)
}

// endMessage writes the length of the body that stands in dst[body:] into its header and divides it into chunks of
// size bytes. Continuations repeat an extended time stamp, as Flash, ffmpeg and librtmp do.
func endMessage(dst []byte, body int, timestamp uint32, size int) []byte {
	header, again := body-fullHeader, 1 // again is the size of a header of format 3
	if timestamp >= extendedField {
		header, again = header-4, again+4
	}
	n := len(dst) - body
	dst[header+4], dst[header+5], dst[header+6] = byte(n>>16), byte(n>>8), byte(n)

	parts := (n + size - 1) / size
	if parts < 2 {
		return dst
	}
	dst = append(dst, make([]byte, (parts-1)*again)...)
	for i := parts - 1; i > 0; i-- { // from the end, so that nothing is overwritten before it was moved
		from, to := body+i*size, body+i*(size+again)
		copy(dst[to:], dst[from:min(from+size, body+n)])
		dst[to-again] = 0xc0 | dst[header]
		if again > 1 {
			binary.BigEndian.PutUint32(dst[to-4:], timestamp)
		}
	}
	return dst
}

// appendMessage appends m as chunks of size bytes.
func appendMessage(dst []byte, csid byte, m Message, size int) []byte {
	dst, body := beginMessage(dst, csid, m.Type, m.StreamID, m.Timestamp)
	return endMessage(append(dst, m.Body...), body, m.Timestamp, size)
}

// appendControl appends a protocol control message of one 32-bit value (spec 5.4). It never needs a second chunk.
func appendControl(dst []byte, typ MessageType, value uint32, extra ...byte) []byte {
	dst, body := beginMessage(dst, csidControl, typ, 0, 0)
	dst = append(binary.BigEndian.AppendUint32(dst, value), extra...)
	return endMessage(dst, body, 0, defaultChunkSize)
}

// appendEvent appends a user control message (spec 7.1.7).
func appendEvent(dst []byte, event uint16, values ...uint32) []byte {
	dst, body := beginMessage(dst, csidControl, TypeUserControl, 0, 0)
	dst = binary.BigEndian.AppendUint16(dst, event)
	for _, v := range values {
		dst = binary.BigEndian.AppendUint32(dst, v)
	}
	return endMessage(dst, body, 0, defaultChunkSize)
}

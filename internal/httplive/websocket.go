package httplive

import (
	"bufio"
	"crypto/sha1" //nolint:gosec // RFC 6455 section 4.2.2 wants SHA-1
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// The server's half of WebSocket (RFC 6455), as far as a player needs it. What it sends is made by appendFrameHeader; media
// frames are made once for all viewers, by the packager.

// opcode is the kind of a frame (section 5.2).
type opcode byte

const (
	opContinuation opcode = 0
	opText         opcode = 1
	opBinary       opcode = 2
	opClose        opcode = 8
	opPing         opcode = 9
	opPong         opcode = 10
)

// Status codes of close frames (section 7.4.1).
const (
	closeNormal   = 1000
	closeProtocol = 1002
	closePolicy   = 1008
	closeTooBig   = 1009
)

const (
	// maxControl is the payload of a control frame (section 5.5).
	maxControl = 125
	// maxFrameHeader is the longest header that a server sends.
	maxFrameHeader = 10
	// talkRate is how many bytes per second a viewer may say for as long as it likes, beyond maxTalk at once. It is enough
	// for the heartbeats that applications send.
	talkRate = 1 << 10
	// frameCost is what a frame counts for beside its bytes: a crowd of empty pings is work as well.
	frameCost = 32
)

// wantsWebSocket says whether r asks for a WebSocket.
func wantsWebSocket(r *http.Request) bool {
	return hasToken(r.Header, "Connection", "upgrade") && hasToken(r.Header, "Upgrade", "websocket")
}

// hasToken says whether a comma list in a header has the token.
func hasToken(h http.Header, name, token string) bool {
	for _, v := range h.Values(name) {
		for t := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.TrimSpace(t), token) {
				return true
			}
		}
	}
	return false
}

// upgrade checks the handshake (section 4.2.1) and returns the head of the answer. When it is not to be accepted it says
// with which status.
func upgrade(r *http.Request, extra http.Header) (head []byte, status int) {
	key := r.Header.Get("Sec-WebSocket-Key")
	nonce, err := base64.StdEncoding.DecodeString(key)
	switch {
	case r.Header.Get("Sec-WebSocket-Version") != "13":
		return nil, http.StatusUpgradeRequired
	case r.Method != http.MethodGet, !r.ProtoAtLeast(1, 1), err != nil, len(nonce) != 16:
		return nil, http.StatusBadRequest
	}
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // see the import
	b := fmt.Appendf(nil, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Accept: %s\r\n", base64.StdEncoding.EncodeToString(sum[:]))
	// A client that offers subprotocols gives up when none is chosen. They mean nothing here, so it is the first.
	offered, _, _ := strings.Cut(r.Header.Get("Sec-WebSocket-Protocol"), ",")
	if offered = strings.TrimSpace(offered); offered != "" {
		b = fmt.Appendf(b, "Sec-WebSocket-Protocol: %s\r\n", offered)
	}
	for name, values := range extra {
		for _, v := range values {
			b = fmt.Appendf(b, "%s: %s\r\n", name, v)
		}
	}
	return append(b, "\r\n"...), 0
}

// appendFrameHeader appends the header of an unfragmented, unmasked frame of n bytes.
func appendFrameHeader(dst []byte, op opcode, n int) []byte {
	dst = append(dst, 0x80|byte(op))
	switch {
	case n <= maxControl:
		return append(dst, byte(n))
	case n <= 0xffff:
		return binary.BigEndian.AppendUint16(append(dst, 126), uint16(n))
	}
	return binary.BigEndian.AppendUint64(append(dst, 127), uint64(n))
}

// frameHeaderLen is the length of what appendFrameHeader appends.
func frameHeaderLen(n int) int {
	switch {
	case n <= maxControl:
		return 2
	case n <= 0xffff:
		return 4
	}
	return maxFrameHeader
}

// appendControl appends a control frame; what is too long is cut.
func appendControl(dst []byte, op opcode, payload []byte) []byte {
	payload = payload[:min(len(payload), maxControl)]
	return append(appendFrameHeader(dst, op, len(payload)), payload...)
}

// appendClose appends a close frame. ZLMediaKit says failures by their HTTP codes, which are below what RFC 6455 allows.
func appendClose(dst []byte, status int, reason string) []byte {
	payload := binary.BigEndian.AppendUint16(make([]byte, 0, maxControl), uint16(status))
	reason = reason[:min(len(reason), maxControl-len(payload))]
	return appendControl(dst, opClose, append(payload, strings.ToValidUTF8(reason, "")...))
}

// closeError is why a connection is closed by us, with the status that says so.
type closeError struct {
	status int
	reason string
}

// Error implements error.
func (e *closeError) Error() string { return fmt.Sprintf("websocket: %s (%d)", e.reason, e.status) }

// errClosed: the client has sent a close frame.
var errClosed = errors.New("websocket: closed by the client")

// listener reads what a client says: it answers pings and closes, and drops everything else, within its limits.
type listener struct {
	r          *bufio.Reader
	answer     func(op opcode, payload []byte) error
	now        func() time.Time
	fragmented bool // a message has begun and not ended

	budget int // bytes that may be said now
	at     time.Time
	buf    [maxControl]byte
}

func newListener(r *bufio.Reader, answer func(op opcode, payload []byte) error) *listener {
	return &listener{r: r, answer: answer, now: time.Now, budget: maxTalk, at: time.Now()}
}

// run reads until the client closes (errClosed), breaks a rule (a *closeError), or the connection ends.
func (l *listener) run() error {
	for {
		if err := l.frame(); err != nil {
			return err
		}
	}
}

// frame reads one frame.
func (l *listener) frame() error {
	op, size, mask, err := l.header()
	if err != nil {
		return err
	}
	if !l.afford(size) {
		return &closeError{closePolicy, "too much is said"}
	}
	if op < opClose {
		_, err := l.r.Discard(int(size))
		return err
	}
	payload := l.buf[:size]
	for i := range payload {
		b, err := l.r.ReadByte()
		if err != nil {
			return err
		}
		payload[i] = b ^ mask[i%4]
	}
	return l.control(op, payload)
}

// header reads a frame's header and checks it (section 5.2).
func (l *listener) header() (op opcode, size uint64, mask [4]byte, err error) {
	fail := func(reason string) (opcode, uint64, [4]byte, error) {
		return 0, 0, mask, &closeError{closeProtocol, reason}
	}
	b, err := l.bytes(2)
	if err != nil {
		return 0, 0, mask, err
	}
	final, op, size := b[0]&0x80 != 0, opcode(b[0]&0x0f), uint64(b[1]&0x7f)
	switch {
	case b[0]&0x70 != 0:
		return fail("a reserved bit is set")
	case b[1]&0x80 == 0:
		return fail("a client has to mask")
	case op >= opClose && (!final || size > maxControl):
		return fail("control frames are whole and short")
	}
	switch op {
	case opContinuation, opText, opBinary:
		if (op == opContinuation) != l.fragmented {
			return fail("a message has not begun, or not ended")
		}
		l.fragmented = !final
	case opClose, opPing, opPong:
	default:
		return fail("unknown opcode")
	}
	if size, err = l.length(size); err != nil {
		return 0, 0, mask, err
	}
	b, err = l.bytes(len(mask))
	copy(mask[:], b)
	return op, size, mask, err
}

// length reads the long forms of the length, which are only for what needs them.
func (l *listener) length(short uint64) (uint64, error) {
	size := short
	switch short {
	case 126:
		b, err := l.bytes(2)
		if err != nil {
			return 0, err
		}
		if size = uint64(binary.BigEndian.Uint16(b)); size < 126 {
			return 0, &closeError{closeProtocol, "length in a long form"}
		}
	case 127:
		b, err := l.bytes(8)
		if err != nil {
			return 0, err
		}
		if size = binary.BigEndian.Uint64(b); size <= 0xffff || size > 1<<63-1 {
			return 0, &closeError{closeProtocol, "length in a long form"}
		}
	}
	if size > maxTalk {
		return 0, &closeError{closeTooBig, "a frame is too long"}
	}
	return size, nil
}

// bytes reads n bytes, at most 8; they are valid until the next read.
func (l *listener) bytes(n int) ([]byte, error) {
	for i := range n {
		b, err := l.r.ReadByte()
		if err != nil {
			return nil, err
		}
		l.buf[i] = b
	}
	return l.buf[:n], nil
}

// afford counts a frame against what a client may say.
func (l *listener) afford(size uint64) bool {
	now := l.now()
	if gain := now.Sub(l.at) / (time.Second / talkRate); gain > 0 {
		l.budget = int(min(int64(l.budget)+int64(gain), maxTalk))
		l.at = now
	}
	l.budget -= int(size) + frameCost
	return l.budget >= 0
}

// control answers a control frame.
func (l *listener) control(op opcode, payload []byte) error {
	switch op {
	case opPing:
		return l.answer(opPong, payload)
	case opClose:
		if len(payload) == 1 || len(payload) > 1 && !validClose(binary.BigEndian.Uint16(payload)) {
			return &closeError{closeProtocol, "bad close frame"}
		}
		if err := l.answer(opClose, payload[:min(len(payload), 2)]); err != nil {
			return err
		}
		return errClosed
	default: // a pong
		return nil
	}
}

// validClose says whether a client may send the status (section 7.4).
func validClose(status uint16) bool {
	switch {
	case status >= 3000 && status <= 4999:
		return true
	case status == 1004, status == 1005, status == 1006:
		return false
	}
	return status >= 1000 && status <= 1014
}

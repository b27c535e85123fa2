package rtmp

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hookline/hookline/internal/format/amf"
	"github.com/hookline/hookline/internal/format/flv"
	"github.com/hookline/hookline/internal/media"
)

// clientBuffer is the read buffer of a client and the buffer time in ms that it states as a player.
const (
	clientBuffer   = 32 << 10
	clientBufferMS = 3000
)

// Client is a connection to an RTMP server that publishes or plays one stream.
type Client struct {
	conn     net.Conn
	target   address
	enhanced bool
	timeout  time.Duration
	onMove   func(url string)

	in       *chunkReader
	input    *countingReader
	window   uint64 // bytes after which to acknowledge; 0: the server did not ask for it
	acked    uint64
	call     float64 // the newest transaction
	streamID uint32  // the message stream that the server gave
	queue    []Message
	tracks   [2]*media.Track // announced, by media.Kind

	wmu  sync.Mutex // held while writing; guards wbuf
	wbuf []byte

	interrupted atomic.Bool // a context has ended: all deadlines are over
	closeOnce   sync.Once
	// While publishing a goroutine reads.
	readDone    chan struct{}
	readErr     error         // written before readDone is closed
	unpublished chan struct{} // closed when the server confirmed the end
}

// Publish asks to publish the stream of the URL. It returns when the server has decided; a refusal is a *StatusError.
func (c *Client) Publish(ctx context.Context) error {
	return c.within(ctx, func() error {
		for _, name := range []string{"releaseStream", "FCPublish"} {
			if err := c.sendCommand(name, nil, c.target.name); err != nil {
				return err
			}
		}
		id, err := c.createStream()
		if err != nil {
			return err
		}
		if err := c.sendStreamCommand(id, "publish", nil, c.target.name, "live"); err != nil {
			return err
		}
		if err := c.await(codePublishStart); err != nil {
			return err
		}
		go c.attend()
		return nil
	})
}

// Play asks to play the stream of the URL. It returns when the server has decided; a refusal is a *StatusError.
func (c *Client) Play(ctx context.Context) error {
	return c.within(ctx, func() error {
		id, err := c.createStream()
		if err != nil {
			return err
		}
		err = c.send(func(dst []byte) []byte { return appendEvent(dst, eventSetBufferLength, id, clientBufferMS) })
		if err != nil {
			return err
		}
		if err := c.sendStreamCommand(id, "play", nil, c.target.name, float64(-2000)); err != nil {
			return err
		}
		return c.await(codePlayStart)
	})
}

// createStream returns the id of a new message stream.
func (c *Client) createStream() (uint32, error) {
	answer, err := c.request("createStream", nil)
	if err != nil {
		return 0, err
	}
	id := answer.number(0)
	if !(id >= 1 && id < 1<<32) {
		return 0, fmt.Errorf("%w: message stream %v", ErrProtocol, id)
	}
	c.streamID = uint32(id)
	return c.streamID, nil
}

// request sends a command and waits for its result.
func (c *Client) request(name string, values ...any) (command, error) {
	if err := c.sendCommand(name, values...); err != nil {
		return command{}, err
	}
	for {
		m, err := c.next()
		if err != nil {
			return command{}, err
		}
		if m.Type != TypeCommandAMF0 && m.Type != TypeCommandAMF3 {
			continue
		}
		answer, err := parseCommand(m)
		if err != nil {
			return command{}, err
		}
		switch {
		case answer.id == c.call && answer.name == "_result":
			return answer, nil
		case answer.id == c.call && answer.name == "_error", answer.name == "onStatus":
			if err := refusal(answer); err != nil {
				return command{}, err
			}
		}
	}
}

// refusal returns the error of an answer that is one.
func refusal(answer command) error {
	o, _ := answer.status()
	s := statusOf(o)
	if answer.name == "_error" || s.Level == levelError {
		return s
	}
	return nil
}

// await waits for the status code.
func (c *Client) await(code string) error {
	for {
		m, err := c.next()
		if err != nil {
			return err
		}
		if m.Type != TypeCommandAMF0 && m.Type != TypeCommandAMF3 {
			continue
		}
		answer, err := parseCommand(m)
		if err != nil {
			return err
		}
		if answer.name != "onStatus" {
			continue // results and errors of releaseStream and FCPublish decide nothing
		}
		if err := refusal(answer); err != nil {
			return err
		}
		if o, _ := answer.status(); o.Text("code") == code {
			return nil
		}
	}
}

// Read returns the next audio, video or data message. io.EOF: the stream has ended; *StatusError: the server says
// that something went wrong. The caller owns the body.
func (c *Client) Read() (Message, error) {
	for {
		if len(c.queue) > 0 {
			m := c.queue[0]
			c.queue = c.queue[1:]
			return m, nil
		}
		m, err := c.next()
		if err != nil {
			return Message{}, err
		}
		switch m.Type {
		case TypeAudio, TypeVideo:
			return m, nil
		case TypeDataAMF0, TypeDataAMF3:
			if !isServerData(m.Body) {
				return m, nil
			}
		case TypeAggregate:
			err = splitAggregate(m, func(part Message) error { c.queue = append(c.queue, part); return nil })
		case TypeCommandAMF0, TypeCommandAMF3:
			err = c.playStatus(m)
		default:
		}
		if err != nil {
			return Message{}, err
		}
	}
}

// isServerData says that a data message is from the server, not from the publisher.
func isServerData(body []byte) bool {
	body = bytes.TrimPrefix(body, []byte{0})
	for _, name := range []string{"|RtmpSampleAccess", "onStatus"} {
		if len(body) > 3 && bytes.HasPrefix(body[3:], []byte(name)) {
			return true
		}
	}
	return false
}

// playStatus takes a command that comes while playing.
func (c *Client) playStatus(m Message) error {
	cmd, err := parseCommand(m)
	if err != nil || cmd.name != "onStatus" {
		return err
	}
	if err := refusal(cmd); err != nil {
		return err
	}
	o, _ := cmd.status()
	switch o.Text("code") {
	case codePlayUnpublish, codePlayStop, "NetStream.Play.Complete":
		return io.EOF
	case codeConnectClosed:
		return statusOf(o)
	case codeReconnect:
		c.moved(o)
	}
	return nil
}

// moved tells of a request to reconnect. The connection goes on until one side closes it.
func (c *Client) moved(o amf.Object) {
	if c.onMove == nil {
		return
	}
	if target, err := c.target.redirected(o.Text("tcUrl")); err == nil {
		c.onMove(target.String())
	}
}

// next returns the next message and takes those that are about the connection.
func (c *Client) next() (Message, error) {
	for {
		m, err := c.in.next()
		if err != nil {
			return Message{}, err
		}
		if err := c.acknowledge(); err != nil {
			return Message{}, err
		}
		switch m.Type {
		case TypeWindowAckSize:
			if len(m.Body) >= 4 {
				c.window = max(uint64(binary.BigEndian.Uint32(m.Body)/2), minAckWindow)
			}
		case TypeUserControl:
			if len(m.Body) >= 6 && binary.BigEndian.Uint16(m.Body) == eventPingRequest {
				stamp := binary.BigEndian.Uint32(m.Body[2:])
				if err := c.send(func(dst []byte) []byte { return appendEvent(dst, eventPingResponse, stamp) }); err != nil {
					return Message{}, err
				}
			}
		case TypeAck, TypeSetPeerBandwidth:
		default:
			return m, nil
		}
	}
}

// acknowledge tells the server what was received, once per window, if it asked for that (spec 5.4.3).
func (c *Client) acknowledge() error {
	if c.window == 0 || c.input.n-c.acked < c.window {
		return nil
	}
	c.acked = c.input.n
	return c.send(func(dst []byte) []byte { return appendControl(dst, TypeAck, uint32(c.input.n)) })
}

// attend reads while the client publishes. When it ends, the connection does.
func (c *Client) attend() {
	defer close(c.readDone)
	defer c.conn.Close()
	for confirmed := false; ; {
		m, err := c.next()
		if err != nil {
			c.readErr = err
			return
		}
		if m.Type != TypeCommandAMF0 && m.Type != TypeCommandAMF3 {
			continue
		}
		cmd, err := parseCommand(m)
		if err != nil || cmd.name != "onStatus" {
			continue
		}
		o, _ := cmd.status()
		s := statusOf(o)
		if s.Code == codeUnpublish && !confirmed {
			confirmed = true
			close(c.unpublished)
		}
		if s.Code == codeReconnect {
			c.moved(o)
		}
		if s.Level == levelError || s.Code == codeConnectClosed {
			c.readErr = s
			return
		}
	}
}

// WriteTag writes one message of the published stream. timestamp is in ms. body is not kept.
func (c *Client) WriteTag(typ MessageType, timestamp uint32, body []byte) error {
	csid := byte(csidData)
	switch typ {
	case TypeAudio:
		csid = csidAudio
	case TypeVideo:
		csid = csidVideo
	default:
	}
	m := Message{Type: typ, StreamID: c.streamID, Timestamp: timestamp, Body: body}
	return c.write(func(dst []byte) []byte { return appendMessage(dst, csid, m, ChunkSize) })
}

// WriteMetadata announces the tracks that will come.
func (c *Client) WriteMetadata(tracks ...*media.Track) error {
	body := flv.AppendMetadataBody(amf.AppendString(nil, "@setDataFrame"), nil, tracks, c.enhanced)
	return c.WriteTag(TypeDataAMF0, 0, body)
}

// WriteFrame writes one frame of the published stream, after the configuration of its track when that is new. A codec
// that RTMP can't carry is an error.
func (c *Client) WriteFrame(f *media.Frame) error {
	if !flv.Carries(f.Track.Codec) {
		return fmt.Errorf("rtmp: %v can't be carried", f.Track.Codec)
	}
	return c.write(func(dst []byte) []byte {
		if kind := f.Track.Codec.Kind(); c.tracks[kind] != f.Track {
			c.tracks[kind] = f.Track
			dst = appendSequenceHeader(dst, f.Track, c.streamID, flv.Millis(f.DTS), c.enhanced)
		}
		if f.Config {
			return dst
		}
		return appendFrame(dst, f, c.streamID, c.enhanced)
	})
}

// write sends messages while publishing. What the server said last is a better error than a broken pipe.
func (c *Client) write(build func(dst []byte) []byte) error {
	err := c.send(build)
	if err == nil {
		return nil
	}
	_ = c.conn.Close()
	<-c.readDone
	var status *StatusError
	if errors.As(c.readErr, &status) {
		return status
	}
	return err
}

// Unpublish ends the publication as an encoder does that is switched off, waits for the server's confirmation until
// ctx ends, and closes.
func (c *Client) Unpublish(ctx context.Context) error {
	defer c.Close()
	if err := c.sendCommand("FCUnpublish", nil, c.target.name); err != nil {
		return err
	}
	if err := c.sendCommand("deleteStream", nil, float64(c.streamID)); err != nil {
		return err
	}
	select {
	case <-c.unpublished:
		return nil
	case <-c.readDone: // many servers just close
		return nil
	case <-ctx.Done():
		return fmt.Errorf("rtmp: unpublish: %w", ctx.Err())
	}
}

// Done is closed when the connection of a publisher has ended.
func (c *Client) Done() <-chan struct{} { return c.readDone }

// Close closes the connection; what was published counts as lost. It is idempotent and may be called by any goroutine.
func (c *Client) Close() error {
	var err error
	c.closeOnce.Do(func() { err = c.conn.Close() })
	return err
}

func (c *Client) sendCommand(name string, values ...any) error {
	c.call++
	return c.send(func(dst []byte) []byte {
		return appendCommand(dst, csidCommand, 0, ChunkSize, name, c.call, values...)
	})
}

func (c *Client) sendStreamCommand(streamID uint32, name string, values ...any) error {
	c.call++
	return c.send(func(dst []byte) []byte {
		return appendCommand(dst, csidStatus, streamID, ChunkSize, name, c.call, values...)
	})
}

// send writes in one piece.
func (c *Client) send(build func(dst []byte) []byte) error {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	c.wbuf = build(c.wbuf[:0])
	_ = c.conn.SetWriteDeadline(time.Now().Add(c.timeout))
	if c.interrupted.Load() {
		_ = c.conn.SetDeadline(time.Unix(1, 0))
	}
	if _, err := c.conn.Write(c.wbuf); err != nil {
		return fmt.Errorf("rtmp: write: %w", err)
	}
	return nil
}

// countingReader counts what was read, and bounds the wait for it.
type countingReader struct {
	r       io.Reader
	n       uint64
	waiting func() // before each read; may be nil
}

// Read implements io.Reader.
func (c *countingReader) Read(p []byte) (int, error) {
	if c.waiting != nil {
		c.waiting()
	}
	n, err := c.r.Read(p)
	c.n += uint64(n)
	return n, err
}

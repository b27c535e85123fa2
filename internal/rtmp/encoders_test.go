package rtmp

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/format/amf"
)

// encoder writes what an encoder sends, byte by byte as its program or its documentation says.
type encoder struct {
	wire
	size int // chunk size
	call float64
}

// message appends one with a header of format 0.
func (e *encoder) message(csid byte, m Message) *encoder {
	e.Write(appendMessage(nil, csid, m, e.size))
	return e
}

// short appends a message with a header of format 1: the message stream of before, a time step.
func (e *encoder) short(csid, step int, typ MessageType, body []byte) *encoder {
	e.basic(1, csid).u24(step).u24(len(body))
	e.WriteByte(byte(typ))
	for i := 0; i < len(body); i += e.size {
		if i > 0 {
			e.basic(3, csid)
		}
		e.Write(body[i:min(i+e.size, len(body))])
	}
	return e
}

func command0(name string, values ...any) []byte {
	return appendValues(amf.AppendString(nil, name), values)
}

// cmd sends a command with the next transaction.
func (e *encoder) cmd(csid byte, streamID uint32, name string, values ...any) *encoder {
	e.call++
	return e.message(csid, Message{
		Type: TypeCommandAMF0, StreamID: streamID, Body: command0(name, append([]any{e.call}, values...)...),
	})
}

func (e *encoder) chunkSize(n int) *encoder {
	e.control(TypeSetChunkSize, uint32(n))
	e.size = n
	return e
}

func (e *encoder) data(csid byte, streamID uint32, values ...any) *encoder {
	return e.message(csid, Message{Type: TypeDataAMF0, StreamID: streamID, Body: appendValues(nil, values)})
}

var (
	avcConfigBody = append([]byte("\x17\x00\x00\x00\x00"), fromHex("0142c028ffe100176742c028da01e0089f97011000003e90000ea600f1832a01000468ce0fc8")...)
	avcKeyBody    = []byte("\x17\x01\x00\x00\x00\x00\x00\x00\x02\x65\x88")
	avcInterBody  = []byte("\x27\x01\x00\x00\x00\x00\x00\x00\x02\x41\x88")
	aacConfigBody = []byte("\xaf\x00\x12\x10")
	aacBody       = []byte("\xaf\x01some sound")
)

// av sends configurations, a key frame, a sound and a picture: 3 frames.
func (e *encoder) av(video, audio byte, streamID uint32, at uint32) *encoder {
	for _, m := range []struct {
		csid byte
		typ  MessageType
		step uint32
		body []byte
	}{
		{video, TypeVideo, 0, avcConfigBody},
		{audio, TypeAudio, 0, aacConfigBody},
		{video, TypeVideo, 0, avcKeyBody},
		{audio, TypeAudio, 10, aacBody},
		{video, TypeVideo, 40, avcInterBody},
	} {
		e.message(m.csid, Message{Type: m.typ, StreamID: streamID, Timestamp: at + m.step, Body: m.body})
	}
	return e
}

var asEncoder = amf.ECMAArray{
	{Name: "width", Value: 1920.0},
	{Name: "height", Value: 1080.0},
	{Name: "videocodecid", Value: 7.0},
	{Name: "audiocodecid", Value: 10.0},
	{Name: "encoder", Value: "some encoder"},
}

type encoderCase struct {
	name string
	send func(e *encoder)
	// want: the key, the frames, whether metadata came, the end and the codes that the encoder waits for, in order.
	key      string
	params   string
	frames   int
	metadata bool
	end      fact.EndReason
	codes    []string
}

var started = []string{codeConnectSuccess, codePublishStart}

func encoderCases() []encoderCase {
	connect := func(app, tcURL string, more ...amf.Member) amf.Object {
		return append(amf.Object{
			{Name: "app", Value: app},
			{Name: "type", Value: "nonprivate"},
			{Name: "flashVer", Value: "FMLE/3.0 (compatible; FMSc/1.0)"},
			{Name: "swfUrl", Value: tcURL},
			{Name: "tcUrl", Value: tcURL},
		}, more...)
	}
	const url = "rtmp://example.com/live"
	return []encoderCase{
		{
			// obs-outputs/librtmp: commands on chunk stream 3, the first full and the next with format 1; everything of
			// the stream on chunk stream 4; E-RTMP announced by fourCcList and capsEx.
			name: "OBS", key: "live/key", frames: 3, metadata: true, end: fact.EndUnpublish,
			codes: []string{codeConnectSuccess, codePublishStart, codePublishStart, codeUnpublish},
			send: func(e *encoder) {
				e.cmd(3, 0, "connect", connect("live", url,
					amf.Member{Name: "fourCcList", Value: amf.StrictArray{"av01", "hvc1"}}, amf.Member{Name: "capsEx", Value: 0.0}))
				e.chunkSize(4096)
				e.short(3, 0, TypeCommandAMF0, command0("releaseStream", 2.0, nil, "key"))
				e.short(3, 0, TypeCommandAMF0, command0("FCPublish", 3.0, nil, "key"))
				e.short(3, 0, TypeCommandAMF0, command0("createStream", 4.0, nil))
				e.short(3, 0, TypeCommandAMF0, command0("_checkbw", 5.0, nil))
				e.message(4, Message{Type: TypeCommandAMF0, StreamID: 1, Body: command0("publish", 6.0, nil, "key", "live")})
				e.data(4, 1, "@setDataFrame", "onMetaData", asEncoder)
				e.short(4, 0, TypeAudio, aacConfigBody).short(4, 0, TypeVideo, avcConfigBody)
				e.short(4, 0, TypeVideo, avcKeyBody).short(4, 21, TypeAudio, aacBody).short(4, 12, TypeVideo, avcInterBody)
				e.short(3, 0, TypeCommandAMF0, command0("FCUnpublish", 7.0, nil, "key"))
				e.short(3, 0, TypeCommandAMF0, command0("deleteStream", 8.0, nil, 1.0))
			},
		},
		{
			// libavformat/rtmpproto.c: chunk size 128 to the end, publish on a chunk stream of its own, closes at once.
			name: "FFmpeg", key: "live/key", params: "token=1", frames: 3, metadata: true, end: fact.EndUnpublish,
			codes: []string{codeConnectSuccess, codePublishStart},
			send: func(e *encoder) {
				e.cmd(3, 0, "connect", amf.Object{{Name: "app", Value: "live"}, {Name: "type", Value: "nonprivate"}, {Name: "flashVer", Value: "FMLE/3.0 (compatible; Lavf59)"}, {Name: "tcUrl", Value: url}})
				e.cmd(3, 0, "releaseStream", nil, "key?token=1").cmd(3, 0, "FCPublish", nil, "key?token=1").cmd(3, 0, "createStream", nil)
				e.cmd(8, 1, "publish", nil, "key?token=1", "live")
				e.data(4, 1, "@setDataFrame", "onMetaData", asEncoder).av(6, 4, 1, 0)
				e.cmd(3, 0, "FCUnpublish", nil, "key?token=1").cmd(3, 0, "deleteStream", nil, 1.0)
			},
		},
		{
			// FMLE and what copies it (vMix): the stream name in an event of its own, window sizes, ends by FCUnpublish,
			// closeStream and deleteStream.
			name: "FMLE", key: "live/key", frames: 3, metadata: true, end: fact.EndUnpublish, codes: started,
			send: func(e *encoder) {
				e.cmd(3, 0, "connect", connect("live", url, amf.Member{Name: "objectEncoding", Value: 0.0}))
				e.control(TypeWindowAckSize, 2500000)
				e.cmd(3, 0, "releaseStream", nil, "key").cmd(3, 0, "FCPublish", nil, "key").cmd(3, 0, "createStream", nil)
				e.Write(appendEvent(nil, eventSetBufferLength, 1, 3000))
				e.cmd(4, 1, "publish", nil, "key", "live")
				e.data(4, 1, "@setDataFrame", "onMetaData", asEncoder).av(4, 4, 1, 0)
				e.cmd(3, 0, "FCUnpublish", nil, "key").cmd(4, 1, "closeStream", nil).cmd(3, 0, "deleteStream", nil, 1.0)
			},
		},
		{
			// Phone encoders (Larix, HaishinKit): no releaseStream, large chunks from the start, own chunk streams for each
			// kind, E-RTMP v2 maps, metadata without @setDataFrame is what some send.
			name: "phone", key: "live/key", frames: 3, metadata: true, end: fact.EndUnpublish, codes: started,
			send: func(e *encoder) {
				e.chunkSize(65536)
				e.cmd(3, 0, "connect", connect("live", url,
					amf.Member{Name: "videoFourCcInfoMap", Value: amf.Object{{Name: "*", Value: 6.0}}}, amf.Member{Name: "capsEx", Value: 7.0},
					amf.Member{Name: "videoFunction", Value: 1.0}, amf.Member{Name: "audioCodecs", Value: 1024.0}))
				e.cmd(3, 0, "createStream", nil).cmd(8, 1, "publish", nil, "key", "live")
				e.data(8, 1, "onMetaData", asEncoder).av(7, 6, 1, 0)
				e.cmd(3, 0, "deleteStream", nil, 1.0)
			},
		},
		{
			// Drones and cameras (as users of DJI's and others' describe them): the whole path is the app, the name is empty
			// or only the query, publish without a type, sound announced that never comes, no farewell.
			name: "drone", key: "live/uav/1", params: "sign=a%2Fb", frames: 2, metadata: true, end: fact.EndConnectionLost, codes: started,
			send: func(e *encoder) {
				e.chunkSize(1 << 20)
				e.cmd(3, 0, "connect", connect("live/uav/1", "rtmp://example.com:1935/live/uav/1"))
				e.cmd(3, 0, "createStream", nil).cmd(3, 1, "publish", nil, "?sign=a%2Fb")
				e.data(4, 1, "@setDataFrame", "onMetaData", asEncoder)
				at := uint32(1<<24 + 5) // its clock does not begin with the stream
				for _, body := range [][]byte{avcConfigBody, avcKeyBody, avcInterBody} {
					e.message(4, Message{Type: TypeVideo, StreamID: 1, Timestamp: at, Body: body})
					at += 33
				}
			},
		},
		{
			// Everything at once, without waiting for a single answer, media in front of the verdict.
			name: "pipelined", key: "live/key", frames: 3, end: fact.EndConnectionLost, codes: started,
			send: func(e *encoder) {
				e.cmd(3, 0, "connect", connect("live", url)).cmd(3, 0, "createStream", nil).cmd(3, 1, "publish", nil, "key", "live").av(6, 4, 1, 0)
			},
		},
		{
			// Flash: AMF3 messages, with AMF0 values and with AMF3 ones.
			name: "AMF3", key: "live/key", frames: 3, metadata: true, end: fact.EndUnpublish, codes: started,
			send: func(e *encoder) {
				amf3 := func(v any) []byte { b, _ := amf.Append3([]byte{0x11}, v); return b }
				e.cmd(3, 0, "connect", connect("live", url, amf.Member{Name: "objectEncoding", Value: 3.0}))
				e.message(3, Message{Type: TypeCommandAMF3, Body: append([]byte{0}, command0("createStream", 2.0, nil)...)})
				publish := append([]byte{0}, command0("publish", 3.0, nil)...)
				publish = append(append(publish, amf3("key")...), amf3("live")...)
				e.message(8, Message{Type: TypeCommandAMF3, StreamID: 1, Body: publish})
				data := append([]byte{0}, appendValues(nil, []any{"@setDataFrame", "onMetaData"})...)
				e.message(8, Message{Type: TypeDataAMF3, StreamID: 1, Body: append(data, amf3(asEncoder)...)}).av(6, 4, 1, 0)
				e.message(3, Message{Type: TypeCommandAMF3, Body: append([]byte{0}, command0("deleteStream", 4.0, nil, 1.0)...)})
			},
		},
		{
			// Chunk stream ids of two and three bytes, an extended time stamp in every chunk, aggregates.
			name: "unusual chunks", key: "live/key", frames: 5, end: fact.EndConnectionLost, codes: started,
			send: func(e *encoder) {
				e.cmd(3, 0, "connect", connect("live", url)).cmd(3, 0, "createStream", nil).cmd(3, 1, "publish", nil, "key", "live").av(6, 4, 1, 0)
				long := append(slices.Clone(avcInterBody[:5]), 0, 0, 1, 0, 0x41)
				long = append(long, make([]byte, 255)...)
				e.basic(0, 1000).u24(1<<24 - 1).u24(len(long))
				e.raw("\x09\x01\x00\x00\x00").u32(1 << 24)
				for i := 0; i < len(long); i += e.size {
					if i > 0 {
						e.basic(3, 1000).u32(1 << 24)
					}
					e.Write(long[i:min(i+e.size, len(long))])
				}
				tag := append([]byte{byte(TypeVideo), 0, 0, byte(len(avcInterBody)), 0, 0, 0, 0, 0, 0, 0}, avcInterBody...)
				tag = binary.BigEndian.AppendUint32(tag, uint32(len(tag)))
				e.basic(0, 100).u24(1<<24 - 1).u24(len(tag))
				e.raw("\x16\x01\x00\x00\x00").u32(1<<24 + 40).Write(tag)
			},
		},
		{
			// Sound before its configuration, pictures before theirs: what can't be decoded is left out.
			name: "late configurations", key: "live/key", frames: 3, end: fact.EndConnectionLost, codes: started,
			send: func(e *encoder) {
				e.cmd(3, 0, "connect", connect("live", url)).cmd(3, 0, "createStream", nil).cmd(3, 1, "publish", nil, "key", "live")
				for _, body := range [][]byte{aacBody, avcInterBody, aacBody} {
					typ := TypeAudio
					if body[0] == 0x27 {
						typ = TypeVideo
					}
					e.message(4, Message{Type: typ, StreamID: 1, Body: body})
				}
				e.av(6, 4, 1, 100)
			},
		},
	}
}

// TestEncoders replays what encoders send, whole and in pieces of three bytes.
func TestEncoders(t *testing.T) {
	for _, c := range encoderCases() {
		for _, piece := range []int{1 << 20, 3} {
			name := c.name
			if piece == 3 {
				name += " in pieces"
			}
			t.Run(name, func(t *testing.T) {
				hub := newFakeHub()
				_, addr := startServer(t, hub, Config{})
				conn := handshaken(t, addr)
				e := &encoder{size: defaultChunkSize}
				c.send(e)
				go func() {
					for b := e.Bytes(); len(b) > 0; b = b[min(piece, len(b)):] {
						if _, err := conn.Write(b[:min(piece, len(b))]); err != nil {
							return
						}
					}
				}()
				answers := newChunkReader(newBufio(conn))
				answers.media = true
				awaitCodes(t, answers, c.codes)
				if req := <-hub.published; req.Key() != "__defaultVhost__/"+c.key || req.Params != c.params {
					t.Errorf("published %s?%s", req.Key(), req.Params)
				}
				s := hub.waitStream(t, "__defaultVhost__/"+c.key)
				s.waitFrames(t, c.frames)
				if c.end == fact.EndConnectionLost {
					conn.Close()
				}
				expectEnd(t, hub, c.end)
				s.mu.Lock()
				defer s.mu.Unlock()
				if (len(s.metadata) > 0) != c.metadata {
					t.Errorf("metadata %q", s.metadata)
				}
				if s.frames != c.frames {
					t.Errorf("%d frames, want %d", s.frames, c.frames)
				}
			})
		}
	}
}

// awaitCodes reads answers until all codes came in order.
func awaitCodes(t *testing.T, r *chunkReader, codes []string) (all []command) {
	t.Helper()
	for len(codes) > 0 {
		m, err := r.next()
		if err != nil {
			t.Fatalf("waiting for %v: %v", codes, err)
		}
		if m.Type != TypeCommandAMF0 {
			continue
		}
		cmd, err := parseCommand(m)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, cmd)
		if o, _ := cmd.status(); o.Text("code") == codes[0] {
			codes = codes[1:]
		}
	}
	return all
}

// TestConnectAnswer: who announces Enhanced RTMP learns what is carried; who does not gets the answer of old.
func TestConnectAnswer(t *testing.T) {
	for name, member := range map[string]amf.Member{
		"": {Name: "fpad", Value: false}, "v1": {Name: "fourCcList", Value: amf.StrictArray{"av01"}},
		"v2 video": {Name: "videoFourCcInfoMap", Value: amf.Object{}}, "v2 audio": {Name: "audioFourCcInfoMap", Value: amf.Object{}},
		"v2 capabilities": {Name: "capsEx", Value: 1.0}, "nonsense": {Name: "capsEx", Value: "x"},
	} {
		_, addr := startServer(t, newFakeHub(), Config{})
		conn := handshaken(t, addr)
		if _, err := conn.Write(appendCommand(nil, 3, 0, defaultChunkSize, "connect", 1, amf.Object{{Name: "app", Value: "live"}, member})); err != nil {
			t.Fatal(err)
		}
		answer := awaitCodes(t, newChunkReader(newBufio(conn)), []string{codeConnectSuccess})[0]
		video, announced := answer.object.Get("videoFourCcInfoMap")
		if announced != (name != "") {
			t.Errorf("%q: %v", name, answer.object)
		}
		if !announced {
			continue
		}
		o, _ := amf.Members(video)
		if o.Number("av01") != canForward || answer.object.Number("capsEx") != ownCaps {
			t.Errorf("%q: %v", name, answer.object)
		}
	}
}

// TestFlood: a peer can't make the server answer without end.
func TestFlood(t *testing.T) {
	command := appendCommand(nil, 3, 0, defaultChunkSize, "what", 2, nil)
	ping := appendEvent(nil, eventPingRequest, 1)
	for name, one := range map[string][]byte{"commands": command, "pings": ping} {
		t.Run(name, func(t *testing.T) {
			srv, addr := startServer(t, newFakeHub(), Config{})
			conn := handshaken(t, addr)
			go func() {
				_, _ = conn.Write(append(connectBytes(), bytes.Repeat(one, 100000)...))
			}()
			answers := 0
			r := newChunkReader(newBufio(conn))
			for {
				if _, err := r.next(); err != nil {
					break
				}
				answers++
			}
			if answers > 50000 {
				t.Errorf("%d answers", answers)
			}
			conn.Close()
			srv.Close()
		})
	}
}

// TestMetadataFlood: metadata that changes all the time reaches the hub now and then.
func TestMetadataFlood(t *testing.T) {
	hub := newFakeHub()
	_, addr := startServer(t, hub, Config{})
	c := publisher(t, addr, "live/a")
	for i := range 500 {
		body := appendValues(nil, []any{"onMetaData", amf.ECMAArray{{Name: "n", Value: float64(i)}}})
		if err := c.WriteTag(TypeDataAMF0, 0, body); err != nil {
			t.Fatal(err)
		}
	}
	writeSome(t, c)
	s := hub.stream("__defaultVhost__/live/a")
	s.waitFrames(t, 2)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.announced == 0 || s.announced > 400 {
		t.Errorf("%d announcements of 500", s.announced)
	}
}

// TestEarlyMemory: before a peer is allowed to publish, it can't have much kept for it.
func TestEarlyMemory(t *testing.T) {
	_, addr := startServer(t, newFakeHub(), Config{})
	conn := handshaken(t, addr)
	in := w()
	in.Write(connectBytes())
	for i := range 10 {
		in.full(10+i, 0, 60<<10, TypeCommandAMF0).raw(strings.Repeat("x", defaultChunkSize))
	}
	if _, err := conn.Write(in.Bytes()); err != nil {
		t.Fatal(err)
	}
	r := newChunkReader(newBufio(conn))
	for {
		if _, err := r.next(); err != nil {
			return // the server has hung up
		}
	}
}

package rtmp

import (
	"errors"
	"fmt"
	"time"

	"github.com/hookline/hookline/internal/format/amf"
)

var errNotConnected = errors.New("command before connect")

// command takes a command message.
func (s *session) command(m Message) error {
	if !s.mayAsk() {
		return fmt.Errorf("%w: too many commands", ErrProtocol)
	}
	c, err := parseCommand(m)
	if err != nil {
		return err
	}
	if c.name == "connect" {
		return s.onConnect(c)
	}
	if s.connect == nil {
		return fmt.Errorf("%w: %w", ErrProtocol, errNotConnected)
	}
	switch c.name {
	case "createStream":
		return s.reply(c, nil, float64(mediaStreamID))
	case "publish":
		return s.onPublish(c)
	case "play", "play2":
		return s.onPlay(c)
	case "deleteStream", "closeStream", "FCUnpublish":
		return s.onClose(c)
	case "pause", "pauseRaw":
		return s.onPause(c)
	case "seek":
		return s.onSeek(c)
	case "playCtrl":
		return s.onPlayCtrl(c)
	case "FCPublish":
		return s.onFC(c, "onFCPublish", codePublishStart)
	case "FCSubscribe":
		return s.onFC(c, "onFCSubscribe", codePlayStart)
	case "getStreamLength":
		return s.onStreamLength(c)
	case "receiveAudio":
		return s.onReceive(c, muteAudio)
	case "receiveVideo":
		return s.onReceive(c, muteVideo)
	case "releaseStream", "_checkbw", "checkBandwidth", "FCUnsubscribe":
		return s.reply(c, nil, amf.Undefined{})
	case "_result", "_error", "onStatus":
		return nil
	default:
		s.log.Debug("unknown RTMP command", "command", c.name)
		return s.fail(c, "no such command")
	}
}

// mayAsk says whether the peer may have one more answer now.
func (s *session) mayAsk() bool {
	rate := float64(s.srv.cfg.Limits.Commands)
	return s.pace.take(time.Now(), 2*rate, rate)
}

// reply answers a command that wants to be answered.
func (s *session) reply(c command, values ...any) error {
	if c.id == 0 {
		return nil
	}
	return s.send(func(dst []byte) []byte {
		return appendCommand(dst, csidCommand, 0, ChunkSize, "_result", c.id, values...)
	})
}

// fail answers a command with an error, if it wants to be answered.
func (s *session) fail(c command, description string) error {
	if c.id == 0 {
		return nil
	}
	e := StatusError{Code: codeCallFailed, Level: levelError, Description: description}
	return s.send(func(dst []byte) []byte {
		return appendCommand(dst, csidCommand, 0, ChunkSize, "_error", c.id, nil, e.object())
	})
}

// status states something about the media stream.
func (s *session) status(code, description string) error {
	return s.send(func(dst []byte) []byte { return appendStatus(dst, levelStatus, code, description) })
}

// onConnect takes connect (spec 7.2.1.1). The chunk size is sent before the answer, so that all that follows has it.
func (s *session) onConnect(c command) error {
	if s.connect != nil {
		return s.fail(c, "already connected")
	}
	s.connect = &connectInfo{app: c.object.Text("app"), tcURL: c.object.Text("tcUrl"), reconnects: wantsReconnect(c.object)}
	var encoding float64
	if c.object.Number("objectEncoding") == 3 {
		encoding = 3
	}
	info := StatusError{Code: codeConnectSuccess, Level: levelStatus, Description: "Connection succeeded."}
	properties := amf.Object{
		{Name: "fmsVer", Value: "FMS/3,0,1,123"},
		{Name: "capabilities", Value: float64(31)},
		{Name: "mode", Value: float64(1)},
	}
	if speaksEnhanced(c.object) { // who does not has no use for it, and may be old
		properties = append(properties, enhancedMembers()...)
	}
	return s.send(func(dst []byte) []byte {
		dst = appendControl(dst, TypeWindowAckSize, serverWindow)
		dst = appendControl(dst, TypeSetPeerBandwidth, serverWindow, 2) // dynamic
		dst = appendControl(dst, TypeSetChunkSize, ChunkSize)
		return appendCommand(dst, csidCommand, 0, ChunkSize, "_result", c.id,
			properties,
			append(info.object(), amf.Member{Name: "objectEncoding", Value: encoding}))
	})
}

// onFC takes FCPublish and FCSubscribe, which only Flash servers know and FMLE waits for. They decide nothing.
func (s *session) onFC(c command, event, code string) error {
	if err := s.reply(c, nil, amf.Undefined{}); err != nil {
		return err
	}
	info := StatusError{Code: code, Level: levelStatus, Description: c.text(0)}
	return s.send(func(dst []byte) []byte {
		return appendCommand(dst, csidCommand, 0, ChunkSize, event, 0, nil, info.object())
	})
}

// onClose takes what ends publishing and playing while the connection may go on: all say the same in several words.
func (s *session) onClose(c command) error {
	if c.name == "FCUnpublish" && s.pub == nil {
		return s.reply(c, nil, amf.Undefined{})
	}
	if err := s.closeView(); err != nil {
		return err
	}
	if err := s.unpublish(); err != nil {
		return err
	}
	if c.name == "closeStream" || c.name == "deleteStream" {
		return nil // these are never answered (spec 7.2.2.3)
	}
	return s.reply(c, nil, amf.Undefined{})
}

// wait gives the peer time for its next command.
func (s *session) wait() { s.allow(time.Duration(s.srv.handshake.Load())) }

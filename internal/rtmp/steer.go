package rtmp

import (
	"time"

	"github.com/hookline/hookline/internal/format/amf"
	"github.com/hookline/hookline/internal/stream"
)

// control returns what steers the stream that is played; nil when it can't be steered, because it is live or not there yet.
func (s *session) control() stream.Control {
	if s.view == nil {
		return nil
	}
	c, err := s.srv.hub.Control(s.view.name)
	if err != nil {
		return nil
	}
	return c
}

// onPause takes pause (spec 7.2.2.8). A file stops, for all who watch it; a live stream goes on meanwhile, and what this player
// would have got is left out.
func (s *session) onPause(c command) error {
	if s.view == nil {
		return s.fail(c, "nothing is playing")
	}
	paused := c.flag(0, true)
	if file := s.control(); file != nil {
		if err := file.Pause(paused); err != nil {
			return s.fail(c, "the stream has ended")
		}
	} else {
		s.setMute(mutePause, paused)
	}
	if paused {
		return s.status(codePause, "Paused stream.")
	}
	return s.status(codeUnpause, "Playing stream.")
}

// maxSeek bounds the place that a player may seek, in ms.
const maxSeek = 1e12

// onSeek takes seek (spec 7.2.2.7). What is of the new place follows the answer: players drop what comes before.
func (s *session) onSeek(c command) error {
	file := s.control()
	if file == nil {
		return s.status(codeSeek, "a live stream plays on where it is")
	}
	ms := c.number(0)
	if !(ms >= 0 && ms <= maxSeek) {
		return s.invalidTime()
	}
	if file.Pause(true) != nil {
		return s.invalidTime()
	}
	defer func() { _ = file.Pause(false) }()
	if _, err := file.Seek(time.Duration(ms) * time.Millisecond); err != nil {
		return s.invalidTime()
	}
	return s.send(func(dst []byte) []byte {
		dst = appendEvent(dst, eventStreamBegin, mediaStreamID)
		dst = appendStatus(dst, levelStatus, codeSeek, "Seeking.")
		return appendStatus(dst, levelStatus, codePlayStart, "Started playing stream.")
	})
}

func (s *session) invalidTime() error {
	return s.send(func(dst []byte) []byte {
		return appendStatus(dst, levelError, codeSeekInvalid, "There is nothing at this time.")
	})
}

// onPlayCtrl takes playCtrl, by which ZLMediaKit's players change the speed.
func (s *session) onPlayCtrl(c command) error {
	var o amf.Object
	if len(c.args) > 0 {
		o, _ = amf.Members(c.args[0])
	}
	if file := s.control(); file == nil || file.Speed(o.Number("speed")) != nil {
		return s.fail(c, "the speed can't be changed")
	}
	return s.status(codeSpeed, "Speeding")
}

// onStreamLength takes getStreamLength: seconds, 0 for a live stream.
func (s *session) onStreamLength(c command) error {
	length := 0.0
	if file := s.control(); file != nil {
		length = file.Duration().Seconds()
	}
	return s.reply(c, nil, length)
}

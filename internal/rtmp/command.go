package rtmp

import (
	"errors"
	"fmt"

	"github.com/hookline/hookline/internal/format/amf"
)

// command is a remote procedure call or an answer to one (spec 7.2).
type command struct {
	name string
	// id is the transaction; 0 wants no answer.
	id float64
	// object is the command object, nil where it is null.
	object amf.Object
	args   []any
}

// text returns argument i as a string, "" when it is none.
func (c command) text(i int) string {
	if i >= len(c.args) {
		return ""
	}
	s, _ := c.args[i].(string)
	return s
}

// flag returns argument i as a boolean, otherwise when it is none.
func (c command) flag(i int, otherwise bool) bool {
	if i >= len(c.args) {
		return otherwise
	}
	switch v := c.args[i].(type) {
	case bool:
		return v
	case float64:
		return v != 0
	}
	return otherwise
}

// number returns argument i as a number, 0 when it is none.
func (c command) number(i int) float64 {
	if i >= len(c.args) {
		return 0
	}
	n, _ := c.args[i].(float64)
	return n
}

// status returns the information object of an answer: the first argument that is an object.
func (c command) status() (amf.Object, bool) {
	for _, a := range c.args {
		if o, ok := amf.Members(a); ok {
			return o, true
		}
	}
	return nil, false
}

var errCommand = errors.New("no command")

// parseCommand reads the body of a command message. What follows the name may be missing; encoders leave out what
// they have nothing to say about.
func parseCommand(m Message) (command, error) {
	body := m.Body
	// AMF3 commands are AMF0 behind a byte that says so; values in AMF3 carry the marker for it (spec 7.1.1). Some
	// encoders leave the byte out.
	if m.Type == TypeCommandAMF3 && len(body) > 0 && body[0] == 0 {
		body = body[1:]
	}
	values, err := amf.DecodeAll(body)
	if err != nil {
		return command{}, fmt.Errorf("%w: command: %w", ErrProtocol, err)
	}
	if len(values) == 0 {
		return command{}, fmt.Errorf("%w: command: %w", ErrProtocol, errCommand)
	}
	name, ok := values[0].(string)
	if !ok {
		return command{}, fmt.Errorf("%w: command: %w", ErrProtocol, errCommand)
	}
	c := command{name: name}
	if len(values) > 1 {
		c.id, _ = values[1].(float64)
	}
	if len(values) > 2 {
		c.object, _ = amf.Members(values[2])
		c.args = values[3:]
	}
	return c, nil
}

// appendCommand appends a command message in AMF0. The values are ours and always encodable; a value that is not is a
// mistake of this package, which the tests would show, and is written as null.
func appendCommand(dst []byte, csid byte, streamID uint32, size int, name string, id float64, values ...any) []byte {
	dst, body := beginMessage(dst, csid, TypeCommandAMF0, streamID, 0)
	dst = amf.AppendNumber(amf.AppendString(dst, name), id)
	return endMessage(appendValues(dst, values), body, 0, size)
}

func appendValues(dst []byte, values []any) []byte {
	for _, v := range values {
		out, err := amf.Append(dst, v)
		if err != nil {
			out, _ = amf.Append(dst, nil)
		}
		dst = out
	}
	return dst
}

// Levels and codes of status objects (spec 7.2, and what servers in the field send).
const (
	levelStatus = "status"
	levelError  = "error"

	codeConnectSuccess = "NetConnection.Connect.Success"
	codeConnectClosed  = "NetConnection.Connect.Closed"
	codeReconnect      = "NetConnection.Connect.ReconnectRequest"
	codeCallFailed     = "NetConnection.Call.Failed"

	codePublishStart   = "NetStream.Publish.Start"
	codePublishBadName = "NetStream.Publish.BadName"
	codePublishBadAuth = "NetStream.Publish.BadAuth"
	codePublishFailed  = "NetStream.Publish.Failed"
	codePublishIdle    = "NetStream.Publish.Idle"
	codeUnpublish      = "NetStream.Unpublish.Success"

	codePlayReset     = "NetStream.Play.Reset"
	codePlayStart     = "NetStream.Play.Start"
	codePlayStop      = "NetStream.Play.Stop"
	codePlayNotFound  = "NetStream.Play.StreamNotFound"
	codePlayBadAuth   = "NetStream.Play.BadAuth"
	codePlayFailed    = "NetStream.Play.Failed"
	codePlayPublish   = "NetStream.Play.PublishNotify"
	codePlayUnpublish = "NetStream.Play.UnpublishNotify"

	codePause   = "NetStream.Pause.Notify"
	codeUnpause = "NetStream.Unpause.Notify"
	codeSeek    = "NetStream.Seek.Notify"
	codeSpeed   = "NetStream.Speed.Notify"

	codeSeekInvalid = "NetStream.Seek.InvalidTime"
)

// StatusError is a refusal or another error that the peer stated as a status object.
type StatusError struct {
	Code        string // "NetStream.Publish.BadName"
	Level       string // "error"
	Description string // for people
	// Redirect is where to connect instead, a tcUrl, when the peer said so (ex.redirect of a rejected connect).
	Redirect string
}

// Error implements error.
func (e *StatusError) Error() string {
	return "rtmp: " + e.Code + ": " + e.Description
}

// statusObject returns the information object of e.
func (e *StatusError) object() amf.Object {
	return amf.Object{
		{Name: "level", Value: e.Level},
		{Name: "code", Value: e.Code},
		{Name: "description", Value: e.Description},
	}
}

// statusOf reads an information object.
func statusOf(o amf.Object) *StatusError {
	s := &StatusError{Code: o.Text("code"), Level: o.Text("level"), Description: o.Text("description")}
	if v, ok := o.Get("ex"); ok {
		ex, _ := amf.Members(v)
		s.Redirect = ex.Text("redirect")
	}
	return s
}

// appendStatus appends an onStatus message of the media stream.
func appendStatus(dst []byte, level, code, description string) []byte {
	s := StatusError{Code: code, Level: level, Description: description}
	return appendCommand(dst, csidStatus, mediaStreamID, ChunkSize, "onStatus", 0, nil, s.object())
}

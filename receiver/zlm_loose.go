package receiver

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
	"strings"

	"github.com/hookline/hookline/event"
)

// memberKind is how a member of a body is written.
type memberKind uint8

const (
	integer memberKind = iota + 1
	decimal
	boolean
	nested // an object, or a list of objects
)

// kindOf returns the kind of the members that the kit reads, 0 for text and all others.
func kindOf(name string) memberKind {
	switch name {
	case "hook_index", "port", "originType", "createStamp", "aliveSecond", "bytesSpeed", "totalBytes", "readerCount", "totalReaderCount",
		"peer_port", "local_port", "codec_id", "codec_type", "frames", "duration", "width", "height", "sample_rate", "channels", "sample_bit",
		"start_time", "file_size", "err", "tcp_mode":
		return integer
	case "time_len", "fps", "loss":
		return decimal
	case "regist", "player", "isRecordingMP4", "isRecordingHLS", "ready", "is_dir", "must_no_encrypt", "re_use_port":
		return boolean
	case "originSock", "tracks":
		return nested
	}
	return 0
}

// straighten rewrites members that are of another type than upstream's, as what stands between sender and receiver, or another
// version, may have them: "7" and 7.0 for 7, "true" and 1 for true. It reports whether any was. What can't be read so is left,
// and is an error later.
func straighten(m map[string]json.RawMessage) (changed bool) {
	for name, raw := range m {
		if k := kindOf(name); k != 0 && k != nested && len(raw) > 0 {
			if fixed, wrong := k.read(raw); wrong {
				m[name], changed = fixed, true
			}
		}
	}
	if !changed { // who writes one number as it should be writes all so
		return false
	}
	for name, raw := range m {
		if kindOf(name) == nested {
			m[name] = straightenInside(raw)
		}
	}
	return true
}

func straightenInside(raw json.RawMessage) json.RawMessage {
	var v any
	switch {
	case bytes.HasPrefix(raw, []byte("{")):
		var one map[string]json.RawMessage
		if json.Unmarshal(raw, &one) != nil {
			return raw
		}
		straighten(one)
		v = one
	case bytes.HasPrefix(raw, []byte("[")):
		var list []map[string]json.RawMessage
		if json.Unmarshal(raw, &list) != nil {
			return raw
		}
		for _, one := range list {
			straighten(one)
		}
		v = list
	default:
		return raw
	}
	b, err := json.Marshal(v)
	if err != nil {
		return raw
	}
	return b
}

// read returns the member as it should be, when it is not.
func (f memberKind) read(raw json.RawMessage) (fixed json.RawMessage, wrong bool) {
	text := string(raw)
	quoted := raw[0] == '"'
	if quoted && json.Unmarshal(raw, &text) != nil {
		return raw, false
	}
	text = strings.TrimSpace(text)
	switch f {
	case boolean:
		switch strings.ToLower(text) {
		case "true", "1":
			return json.RawMessage("true"), text != "true" || quoted
		case "false", "0", "":
			return json.RawMessage("false"), text != "false" || quoted
		}
		return raw, false
	case integer:
		if _, err := strconv.ParseInt(text, 10, 64); err == nil {
			return json.RawMessage(text), quoted && json.Valid([]byte(text))
		}
		n, err := strconv.ParseFloat(text, 64)
		if err != nil || math.Abs(n) > maxIndex {
			return raw, false
		}
		return strconv.AppendInt(nil, int64(n), 10), true
	case decimal:
		if quoted && json.Valid([]byte(text)) {
			return json.RawMessage(text), text[0] != '"'
		}
		return raw, false
	case nested:
	}
	return raw, false
}

// readBody returns the members of a body, and the body as a ZLMediaKit of today writes it.
func readBody(typ event.Type, body []byte) (m map[string]json.RawMessage, out []byte, err error) {
	if err := json.Unmarshal(body, &m); err != nil || m == nil {
		return nil, nil, &badRequest{"body is no JSON object"}
	}
	if typ == event.OnServerStarted { // its members are strings
		return m, body, nil
	}
	if !straighten(m) {
		return m, body, nil
	}
	out, err = json.Marshal(m)
	return m, out, err
}

package rtmp

import (
	"github.com/hookline/hookline/internal/format/amf"
	"github.com/hookline/hookline/internal/format/flv"
	"github.com/hookline/hookline/internal/media"
)

// Flags of capsEx (Enhanced RTMP v2, "Enhancing NetConnection connect Command"). Multitrack (2) is not among them: one
// track of each kind is carried.
const (
	capReconnect = 0x01
	capModEx     = 0x04
	capNano      = 0x08

	ownCaps = capReconnect | capModEx | capNano
)

// canForward is the flag of FourCcInfoMask for codecs that are passed on, neither decoded nor encoded.
const canForward = 0x04

// enhancedMembers are the properties of connect and of its answer that tell of Enhanced RTMP.
func enhancedMembers() amf.Object {
	return amf.Object{
		{Name: "videoFourCcInfoMap", Value: forwarded(media.Video)},
		{Name: "audioFourCcInfoMap", Value: forwarded(media.Audio)},
		{Name: "capsEx", Value: float64(ownCaps)},
	}
}

func forwarded(k media.Kind) amf.Object {
	var o amf.Object
	for _, name := range flv.FourCCs(k) {
		o = append(o, amf.Member{Name: name, Value: float64(canForward)})
	}
	return o
}

// fourCCList is the property of Enhanced RTMP v1 that says the same.
func fourCCList() amf.StrictArray {
	var a amf.StrictArray
	for _, k := range []media.Kind{media.Video, media.Audio} {
		for _, name := range flv.FourCCs(k) {
			a = append(a, name)
		}
	}
	return a
}

// speaksEnhanced says that a connect command announces Enhanced RTMP, of either version.
func speaksEnhanced(connect amf.Object) bool {
	for _, name := range []string{"fourCcList", "videoFourCcInfoMap", "audioFourCcInfoMap", "capsEx"} {
		if _, ok := connect.Get(name); ok {
			return true
		}
	}
	return false
}

// wantsReconnect says that a connect command announces that the peer understands a request to reconnect.
func wantsReconnect(connect amf.Object) bool {
	caps := connect.Number("capsEx")
	return caps >= 1 && caps < 1<<32 && uint64(caps)&capReconnect != 0
}

// appendReturn appends a request to reconnect when the server stops and the peer understands it.
func (s *session) appendReturn(dst []byte) []byte {
	if !s.srv.stopping.Load() || !s.connect.reconnects {
		return dst
	}
	return appendReconnect(dst, "The server is restarted.")
}

// appendReconnect appends the request to reconnect to where the peer is connected (Enhanced RTMP v2, "Reconnect Request").
func appendReconnect(dst []byte, description string) []byte {
	s := StatusError{Code: codeReconnect, Level: levelStatus, Description: description}
	return appendCommand(dst, csidCommand, 0, ChunkSize, "onStatus", 0, nil, s.object())
}

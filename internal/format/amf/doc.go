// Package amf reads and writes Adobe's Action Message Format, AMF0 (amf0-file-format-specification, 2007) and AMF3
// (amf-file-format-spec, 2013), as RTMP commands, RTMP data messages and FLV script tags carry it.
//
// Contract. Bytes come from a peer and are never trusted: decoding does not panic, does not recurse deeper than
// MaxDepth, and the decoded value, fully expanded, has at most MaxValues values and MaxBytes bytes of strings.
// References are followed by sharing the decoded Go value; what they would expand to counts against the same limits,
// so that encoding a decoded value can't blow up. A reference to an object that is still open (a cycle) is refused.
// Decoded values share no memory with the input.
//
// Go types, both versions:
//
//	float64      number, AMF3 integer and double (encoding also takes int)
//	bool, nil    boolean, null
//	string       string, long string, XML (encoded as a string)
//	Undefined    undefined and AMF0 unsupported
//	Object       anonymous object, members in the order of the wire
//	ECMAArray    associative array, members in the order of the wire; AMF3 dictionary (its string keys only)
//	StrictArray  dense array; AMF3 vectors
//	TypedObject  object with a class name
//	Date         date
//	[]byte       AMF3 byte array (in AMF0 behind the switch-to-AMF3 marker)
package amf

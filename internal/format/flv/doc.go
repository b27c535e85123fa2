// Package flv turns the bodies of RTMP messages and FLV tags into frames and back: no sockets, no goroutines.
// RTMP and FLV share these bodies (Adobe Flash Video File Format 10.1, Annex E; Enhanced RTMP v1 and v2).
package flv

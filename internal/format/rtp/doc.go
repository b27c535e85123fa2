// Package rtp turns frames into RTP packets (RFC 3550) and back. No sockets, no goroutines.
//
// Contract. An Encoder writes the packets of one track in RTSP's interleaved framing ('$', channel, length; RFC 2326
// section 10.12), so that one buffer holds many packets and serves every reader over TCP as it is; Packets walks over
// such a buffer for those who send datagrams. A Decoder takes the packets of one track in the order of their sequence
// numbers (a Reorderer puts them in order) and returns complete units; what is incomplete is dropped and counted. Nothing
// that a peer sends makes them panic, and no unit is longer than MaxUnit.
//
// Time. Encoders map the PTS of a frame to the RTP clock. Decoders return the RTP clock unwrapped to 64 bits; a Timeline
// turns it into the one clock that the tracks of a stream share, by RTCP sender reports when there are any, and by arrival
// otherwise. RTP has no DTS: it is derived from the order of the pictures (see DTS).
package rtp

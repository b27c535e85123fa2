// Package rtsp serves RTSP (RFC 2326): publishers that ANNOUNCE and RECORD, players that DESCRIBE and PLAY.
//
// Contract.
//
//   - ANNOUNCE is answered only after on_publish decided. DESCRIBE asks on_rtsp_realm; with a realm on_rtsp_auth takes the
//     place of on_play, once for a connection.
//   - RTP goes over the connection itself, on any channels, or over UDP. The packets of a stream are written once, in the
//     interleaved framing with channels 0 and 1 for the first track, 2 and 3 for the second; a viewer over TCP that asked
//     for these gets them as they are, others get copies with their own channels, and over UDP the packets themselves.
//   - By multicast a stream is sent once for all players on one interface, as long as one of them is there. Each is asked for and
//     reported as any viewer, with the bytes that were sent while it was there.
//   - Players over UDP and multicast are told of the end by an RTCP BYE of each track, and some seconds later by
//     the end of the connection, unless they leave before.
//   - A viewer is attached from DESCRIBE on, and starts at a key frame when it PLAYs.
//   - PLAY with Range or Scale, and PAUSE, steer a source that can be steered, for all who watch it; what is of the new place
//     follows the answer. To a live stream they mean nothing.
//   - Everything that a peer sends is bounded: lines, headers, bodies, frames, the time to get going, and the time without
//     a sign of life.
//   - A session is one connection and one goroutine that reads, and one more that writes what is played. UDP adds one for each
//     socket. Server.Close ends them and waits.
package rtsp

// Package rtmp serves RTMP publishers and players, and dials RTMP servers.
//
// It implements Adobe's "Real-Time Messaging Protocol (RTMP) specification" 1.0 (called "spec" in comments) as far as
// live streaming uses it, with the digest handshake that the specification leaves out, and the habits of encoders and
// players in the field where they differ from it.
//
// # Contract
//
// A [Server] runs one goroutine per connection that reads, and a second one while a decision is pending or a viewer is
// served. The publish command is answered only after [Hub].Publish has decided; media that arrives before that is kept
// in bounded memory, then the socket is not read any more. A client that leaves cancels the context of its decision.
//
// The media that a publisher sends is not copied after it was read from the socket: the body of a message is allocated
// once, and the frames that are made of it are slices of it.
//
// All viewers get the same wire bytes: message stream id 1, chunks of [ChunkSize] bytes and nothing but full chunk
// headers, so that a viewer can start at any message. [Formats] is what the hub needs to write them.
//
// A viewer that does not want audio or video, or pauses, gets what is left of the shared bytes; pictures come back with the
// next key frame. start, duration and seek mean nothing for a live stream.
//
// Enhanced RTMP (v1 and v2) is announced to peers that announce it: FourCC codecs are passed on, capsEx is Reconnect, ModEx
// and TimestampNanoOffset. A server that stops asks peers that understand it to reconnect.
//
// Whatever a peer sends, it can't make a session panic, hold more than a bounded amount of memory, or stay for ever:
// message length (by type and by what the peer was allowed so far), number of chunk streams, memory of unfinished
// messages, time until a command, time between media messages, time of a write, rate of commands, pings and changes of metadata, and
// number of connections are limited.
// Memory follows the data that arrived, never the length that was claimed.
//
// How a publication ends: the peer says so (FCUnpublish, closeStream, deleteStream): fact.EndUnpublish; the connection
// breaks or speaks nonsense: fact.EndConnectionLost; no media for Config.KeepAlive: fact.EndTimeout; [Session].Kick:
// fact.EndKicked; [Server.Close]: fact.EndServerStop.
//
// [Server] and [Session].Kick may be used from any goroutine, a [Client] by one goroutine at a time, except its Close.
package rtmp

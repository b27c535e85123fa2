// Package httplive serves live streams over HTTP and WebSocket: FLV at /app/stream.live.flv, TS at
// /app/stream.live.ts and fMP4 at /app/stream.live.mp4.
//
// Contract. A Handler takes a connection over from net/http when the stream was found, writes the shared wire bytes of
// the hub to it with one system call for all that it takes at a time, and closes it at the end. Two goroutines serve a viewer: one
// writes, one reads so that a client that leaves is noticed at once. A write that makes no progress within
// Config.WriteTimeout ends the session; a slow client never holds memory of its own beyond one batch of blocks. Close
// ends all sessions and waits for them.
//
// Over HTTP/2 the connection stays net/http's, because it carries other requests as well; the body is written through it by one
// goroutine, with the same time-out, the same accounting and the same ends (docs/adr/0006-http2.md).
//
// A WebSocket is accepted before anything is asked or looked up; what goes wrong then is the status of a close frame, an HTTP
// code. Media is in binary frames that are made once for all viewers, as a format of its own. What a client says is bounded
// in size and rate, and has no effect but for pings and closes.
package httplive

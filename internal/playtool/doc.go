// Package playtool plays a live stream to see whether it is well, over RTMP or HTTP-FLV, with one viewer or a thousand.
// It is the logic of "hookline play", and the load of the benchmarks.
//
// Contract. [Run] gives each viewer a connection and a goroutine of its own. A viewer reads every message, makes frames
// of it as the server does with a publisher's, counts them and watches the decoding times of each track; it does not
// decode pictures or sound. With [Config].Discard it only counts bytes, also of RTSP over TCP, HTTP-TS and HTTP-fMP4.
//
// Each viewer ends at the first of: Config.Frames, Config.Duration, the end of the stream, the end of the context, a
// time-out, an error. Nothing waits longer than Config.Timeout for an answer of the server, nor longer than twice
// Config.Stall for media.
//
// A viewer has failed when it was refused or cut off, stalled, got a message that makes no frame, saw time go back, got
// no media at all, or fewer frames than it was told to get. Who is stopped by the context before it got media has not.
package playtool

// Package pubtool publishes over RTMP to try Hookline with: an FLV file or a small generated stream, one stream or
// thousands, once or again and again. It is the logic of "hookline publish", and the crowd of the demo and of the
// benchmarks.
//
// Contract. [Run] publishes to [Config].Streams stream keys, each from a goroutine of its own. The publications of one
// key never overlap: the next one begins when the tool has ended the one before (which does not say that the server has
// noticed). Each attempt carries the parameter pub with an id that no other attempt of any run has, and whatever reached
// the server is told as a [Publication], exactly once, when it is over.
//
// What a publication does follows from the seed, the number of its stream and its own number in it; what the server
// does with it, of course not.
//
// A server that can't be reached is no publication: it is counted, and tried again when Config.Churn is set. So a
// restart of the server costs time, not publications.
//
// Media time is wall-clock time (Config.Realtime), or as fast as the server takes it. Nothing waits longer than
// Config.Timeout for an answer of the server. Run returns when all goroutines that it started have ended.
package pubtool

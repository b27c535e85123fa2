// Package hls cuts live streams into segments and serves them (RFC 8216 and 8216bis), with MPEG-TS ("hls") and with fragmented MP4
// ("hls.fmp4"), under ZLMediaKit's names.
//
// Contract.
//
//   - A segmenter is a stream.Sink with a goroutine and a bounded queue of its own: the stream never waits for a disk.
//   - Segments begin at key frames. A segment is complete on disk before a playlist names it; a file that a playlist named is
//     kept for Config.Retain segments more, and at the end of the stream for Config.DeleteDelay.
//   - The first playlist registers the schema. Whoever asked before waits for that, as for any stream.
//   - Playlists are served from memory, and written beside the segments for other servers. The target duration never
//     shrinks, and no segment is longer than it when rounded.
//   - A viewer is whoever keeps asking: known by a cookie, or else by address, parameters and program. It counts as a reader,
//     asks on_play once, and is reported when it has not asked for Config.ViewerIdle, or when the stream has ended.
//   - With Config.LowLatency the fMP4 variant is Low-Latency HLS (RFC 8216bis): parts, which are runs of bytes of the segment's
//     file, playlists and the next part for which a request can wait. Each part is complete on disk before a playlist names it.
//     Nothing is rendered, and nobody is woken, unless somebody asks.
//   - With hls_demand a segmenter that keeps nothing registers when its tracks are known, and writes nothing until it has a viewer:
//     the request waits, for Config.Wait at most. When the last viewer is gone so are its files. What is made then goes on with the
//     numbers of the playlist, behind a discontinuity.
//   - Every report of a segment (on_record_ts) comes before the playlist that names it.
package hls

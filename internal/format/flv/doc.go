// Package flv turns the bodies of RTMP messages and FLV tags into frames and back. RTMP and FLV share these bodies
// (Adobe Flash Video File Format 10.1, Annex E; Enhanced RTMP v1 and v2). No sockets, no goroutines.
//
// Contract. A Demuxer holds the state of one publication. It owns every body that it is given: frames are slices of it.
// An error says that this one body gave no frame, never that the next one can't; whether the session goes on is the
// caller's decision. A body whose codec Hookline can't carry gives an *UnsupportedError that names the codec.
//
//	read    legacy    H.264 (7), H.265 (12, as Chinese encoders write it), AAC (10), G.711 (7, 8), MP3 (2, 14), Opus (13)
//	        enhanced  avc1, hvc1, mp4a, Opus, .mp3; ModEx is skipped; of a multitrack message track 0
//	write   H.264, AAC, G.711 and MP3 legacy; H.265 and Opus enhanced (hvc1, Opus) or legacy (12, 13), as asked
//
// Who reads what: FFmpeg reads enhanced H.265 from 6.1 on and enhanced Opus from 7.1 on; FFmpeg 5.1 (Debian 12) reads
// neither form of H.265 or Opus. Legacy ids 12 and 13 are read by ZLMediaKit, SRS and patched players only.
//
// Timestamps. DTS of a frame is the timestamp that the caller gave, unrepaired; PTS is DTS plus the composition time.
// On the way out both are whole milliseconds, and 32 bits wrap.
package flv

// Package flv turns the bodies of RTMP messages and FLV tags into frames and back. RTMP and FLV share these bodies
// (Adobe Flash Video File Format 10.1, Annex E; Enhanced RTMP v1 and v2). No sockets, no goroutines.
//
// Contract. A Demuxer holds the state of one publication. It owns every body that it is given: frames are slices of it.
// An error says that this one body gave no frame, never that the next one can't; whether the session goes on is the
// caller's decision. A body whose codec Hookline can't carry gives an *UnsupportedError that names the codec.
//
//	read    legacy    H.264 (7), H.265 (12), AV1 (13), VP8 (14), VP9 (15), AAC (10), G.711 (7, 8), MP3 (2, 14), Opus (13)
//	        enhanced  avc1, hvc1, av01, vp08, vp09, mp4a, Opus, fLaC, ac-3, ec-3, .mp3; ModEx (the nanosecond offset is added
//	                  to PTS); of a multitrack message track 0, the others are counted
//	write   legacy    H.264, AAC, G.711, MP3
//	        as asked  H.265, AV1, VP8, VP9 and Opus: enhanced, or legacy (12, 13, 14, 15; 13)
//	        enhanced  FLAC, AC-3, E-AC-3
//
// The legacy ids 12 to 15 of video and 13 of audio are not Adobe's; ZLMediaKit, SRS and patched players read them.
// FFmpeg reads enhanced H.265, AV1 and VP9 from 6.1 on and the audio codecs from 7.1 on; FFmpeg 5.1 (Debian 12) reads none
// of them in either form.
//
// Metadata of the publisher is kept, member by member; what the tracks know better (codec ids, size, rate of the samples)
// is corrected, and what tells of tracks that are not there is left out.
//
// Timestamps. DTS of a frame is the timestamp that the caller gave, unrepaired; PTS is DTS plus the composition time.
// On the way out both are whole milliseconds, and 32 bits wrap.
package flv

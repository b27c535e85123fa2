// Package bmff has the boxes that fragmented and progressive MP4 files share: the movie box with its tracks, and the sample
// entries of the codecs (ISO 14496-12, 14496-14, 14496-15, and the mappings of Opus, AV1, VP9, FLAC, AC-3). No I/O.
//
// Contract. Writers append to a slice. What is parsed is bounded by the bytes that are given; nothing is allocated by a
// count that they only claim, and nothing panics. Parameter sets stand in the sample entries ("avc1", "hvc1").
package bmff

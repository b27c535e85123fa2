// Package fmp4 turns frames into fragmented MP4: an init segment and fragments, "moof" with "mdat" (ISO 14496-12, CMAF). No
// I/O.
//
// Contract.
//
//   - One [Muxer] serves live HTTP, HLS segments and their parts, and recordings that a crash can't spoil: Add takes
//     frames, AppendFragment writes all that were added. A file or response is one init segment and any number of fragments,
//     in the order in which they were written.
//   - Times are those of the frames, in the clock that all tracks share, so that no edit list is needed; a fragment says its
//     own ("tfdt"), so a reader may start at any fragment that begins with a key frame, and may miss some.
//   - The time scale is the sample rate for sound and 90 kHz for pictures. Sound whose frames have a known length is put
//     one frame behind the other without rounding errors, as long as the stamps differ by at most [Tolerance].
//   - The duration of the last picture of a fragment is known when the frame is named that comes next, else it is taken for
//     that of the picture before. Fragments that begin with a key frame can begin a segment.
//   - Track 1 is video, track 2 audio, in every init segment, so that a change of the tracks can be followed. After a change
//     of the configuration the new parameter sets also stand in the key frames, for readers that heed only the first init
//     segment.
//   - Not carried ([Carries]): codecs without a mapping into MP4 (JPEG, L16), and configurations that are not known yet.
//     G.711 is "alaw" and "ulaw", as QuickTime has it: FFmpeg and GStreamer play it, browsers do not.
//   - A Muxer keeps the frames that were added until they are written, and is used by one goroutine at a time. It bounds
//     nothing: whoever adds frames writes fragments often enough (at each key frame, or a second).
package fmp4

// Package mpegts turns frames into an MPEG transport stream and back (ISO 13818-1). No I/O.
//
// Contract.
//
//   - A [Muxer] writes one program: at most one video and one audio track. Whatever it appends is a whole number of
//     packets of 188 bytes, complete with the frame that was given: nothing is held back, so that its blocks can be shared
//     by viewers and cut into HLS segments between any two calls.
//   - Every key frame has PAT and PMT, an access unit delimiter and the parameter sets before it, so a reader may start at
//     any of them. Without video a reader starts with [Muxer.AppendTables].
//   - Time stamps are those of the frames plus [Delay], modulo 2^33 ticks of 90 kHz; the PCR is that of the frames. The
//     PCR comes at least with every picture, and every 80 ms while there is sound.
//   - A [Demuxer] takes bytes in pieces of any size and calls back with frames. It finds the next packet after garbage,
//     unwraps time stamps, and drops what contradicts the format; it neither panics nor holds more than [MaxAccessUnit] per
//     elementary stream, whatever it is given.
//
// # What is carried, and how
//
// H.264 0x1b, H.265 0x24, AAC as ADTS 0x0f, MP3 0x03 (0x04 at the rates of MPEG-2), as ISO 13818-1 says. Opus is 0x06
// with the registration "Opus" (ETSI TS 103 491 and what FFmpeg writes), each packet behind its control header; the
// demuxer also takes 0x9c, which ZLMediaKit writes. G.711 is 0x90 (A-law) and 0x91 (mu-law), 8000 Hz mono: nobody
// standardised it, ZLMediaKit, its players and GB28181 devices agree on it, and FFmpeg shows such a stream as unknown data.
// AAC whose configuration ADTS can't express (object types above 4, more than 7.1 channels) is not carried: [Carries].
package mpegts

// Package mp4 makes recordings of fragments that end as progressive files, and reads both kinds (ISO 14496-12). No I/O of its
// own: writers return bytes and where they go, the reader is given an io.ReaderAt.
//
// Contract, writing.
//
//  1. A recorder writes [AppendHead] and then the fragments of an fmp4.Muxer, one behind the other. At every moment the file
//     is a fragmented MP4 that plays up to its last whole fragment, whatever ends the process.
//  2. It tells an [Index] of each fragment: what a sample table needs, about 1 KB per second of pictures and sound.
//  3. At the end [Index.Finish] returns two writes. The first goes into the space that was reserved in the head and changes
//     nothing that a reader sees; once it is on disk, the second, of eight bytes, makes the file a progressive one whose "moov"
//     stands before the data. What is between the samples stays, inside "mdat". No data is copied.
//  4. When the reserved space is too small, Finish says so. Then [Index.FinishBehind] puts the index behind the data, also in
//     place, or [Index.FastStart] returns the head of a copy.
//
// All of one file has one init segment: when that changes, the recorder begins another file. Files may have any size.
//
// Contract, reading. [Open] reads the boxes but "mdat", of progressive and of fragmented files, also of such that end in the
// middle of a fragment. It costs about 24 bytes of memory per sample, of at most [MaxSamples], never more than a small
// multiple of the file's size, and does not panic. Frames come in the order of DTS over all tracks, with times from 0 on;
// edit lists that delay or cut the beginning of a track are heeded, others are not. The first video and the first audio track
// that Hookline knows are read.
package mp4

// Package record writes MP4 files of streams.
//
// Contract.
//
//   - A recording is a stream.Sink with a goroutine and a bounded queue of its own: the stream never waits for a disk. When
//     the queue is full frames are dropped up to the next key frame, and counted.
//   - While a file is open it has a hidden name (a dot in front) and consists of fragments, each complete in itself. What was
//     written before a SIGKILL can be played; what was written SyncEvery before a power loss, too.
//   - Slices are cut at a key frame when MaxSlice has passed, at a change of the tracks, and at the end. A slice is completed by a
//     worker: it becomes an ordinary MP4 with its index in front (unless Fragmented), in place and without a copy, gets its name
//     by a rename, and is reported. Slices of one recording are reported in their order.
//   - A slice of less than MinSize bytes is removed and not reported.
//   - A file that can't be written ends its recording, with a reason; the stream lives on.
//
// The order in which a file becomes known, each step durable before the next:
//
//  1. A note of it is in the ledger, a directory of small files, before the file exists.
//  2. The file is complete under its hidden name; the note says how long it is.
//  3. It has its final name.
//  4. It is reported, and the report is in the journal.
//  5. The note is removed.
//
// Whatever step a crash hits, Recover completes the file, and returns what has to be reported between the unregisters and the
// end of its publication.
package record

// Package pebble is the embedded driver of the journal, on CockroachDB's Pebble.
//
// # Keys
//
// All integers are big-endian, so that keys sort by number.
//
//	K/ <length of key: 4> <key> <seq: 8>   position (8): the index; the length keeps one key from being another's prefix
//	M/journal                              magic, version, creation time
//	M/trim                                 position of the oldest record, seq floor
//	M/run                                  how the last run went, and a reason for a new epoch that nobody settled yet
//	M/identity                             content, device and inode of the file IDENTITY
//	P/ <position: 8>                       record, see journal.Encode
//	S/ <state key>                         state
//
// # Commit
//
//  1. Append encodes a batch and hands it to Pebble, which writes it to the log in the order of the calls and makes
//     it visible. Several batches are in flight; Pebble syncs them together.
//  2. Pebble's log writer writes the log and calls Sync on it. Without fsync the Sync is left out; the bytes are with
//     the operating system by then.
//  3. Ack.Wait waits for step 2, then advances the durable position, up to which Read and ReadKey read.
//
// # Failure
//
// Pebble ends the process when a write to its log or its manifest fails. Here the file system under it is frozen
// instead (see frozenFS): from the first failed write on, the directory stays as a crash at that moment would leave
// it, Pebble is told that all is well and goes on in memory, and the journal refuses every write with journal.ErrDead.
// Reads of what is durable go on, and the next Open recovers as after a crash.
//
// A log whose end a crash has torn is cut there at the next Open. Without fsync a crash of the machine may also leave
// a hole before the end, at which the log is cut as well; see NOFSYNC. Everything else that is not what was written is
// journal.ErrCorrupt.
//
// # Identity
//
// A copy of the directory, a restored backup for instance, may repeat positions and seqs that the original gave
// away. The file IDENTITY has a random content, and the database knows its content, device and inode: when they do
// not match, NewEpochReason is journal.EpochRestored. The device is not compared where its number is made up at each
// mount (overlay, network and some other file systems have major number 0). A restored image of a whole disk can't
// be told from the original.
package pebble

// Package sequencer turns facts into events: it gives each its id, its seq within the stream key, its hook_index and
// its time, and hands it to the journal's only appender.
//
// Contract. Raise may be called from anywhere, also under a stream's lock; it takes one shard's lock for the time of
// a few assignments and never waits for I/O of the journal's writer. Facts of one key that are raised one after the
// other get ascending seqs, and the order of seqs is the order in the journal.
//
//  1. Under the lock of the key's shard: seq, hook_index and time are taken together and the record is queued.
//  2. The appender sweeps all shards, builds one batch (records, changes of the live set, the reservation of
//     hook_index) and appends it. Several batches are on their way at once.
//  3. The completer waits for each batch in order. Only then the records are shown: to the sink (delivery), to
//     WaitDurable, to readers.
//
// So N+1 of a key durable implies N durable, and what was never durable was never shown to anyone.
//
// Pressure. The number of events that are raised but not yet durable is bounded. Each admitted publication reserves
// room for its terminal events; beyond half of the capacity events that may be shed (viewers, segments) are not
// journaled but take a seq and are named by an on_event_gap of the key; a publication that finds no room is refused.
// After a failed write nothing more is journaled: Healthy and Admit say so.
package sequencer

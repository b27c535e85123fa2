// Package journal is the port of the durable event log, the record that it stores and the record's byte form.
// Drivers live in sub-packages (pebble) and must pass internal/journal/journaltest.
//
// Contract. The log is one sequence of records, numbered by Position from 1 without holes, and an index by
// (key, seq). One goroutine appends (the sequencer's appender); reads and state changes may come from any.
//
//  1. Append assigns positions, in the order of the batch, and starts the write of records and state ops as one
//     atomic unit. After it returned, a later Append follows it in the log.
//  2. Ack.Wait returns nil once the batch is on stable storage (with fsync off: handed to the operating system).
//     If batch N+1 is durable, batch N is. Only then may anyone be told of the records.
//  3. Read and ReadKey return only records of batches whose Wait has returned nil or that were found at Open.
//  4. A failed write or sync is terminal: Wait and every later Append return an error that wraps ErrDead. Nothing
//     is retried; reads of what is durable go on.
//
// After a crash the log holds a prefix of what was appended that contains everything acknowledged.
package journal

import (
	"errors"
	"time"

	"github.com/hookline/hookline/event"
)

// ErrDead says that the writer has failed and will not write again until the journal is opened anew.
var ErrDead = errors.New("journal: writer is dead after a failed write")

// ErrClosed says that the journal was closed.
var ErrClosed = errors.New("journal: closed")

// ErrCorrupt says that stored bytes are not what was written.
var ErrCorrupt = errors.New("journal: corrupt")

// ErrLocked says that another process has the journal open.
var ErrLocked = errors.New("journal: in use by another process")

// ErrTooNew says that the journal was written by a newer version of the program.
var ErrTooNew = errors.New("journal: written by a newer version")

// Record is one journaled event.
type Record struct {
	// Position in the log, from 1; assigned by Append.
	Position uint64
	// Key is the stream key "vhost/app/stream", "" for the server. At most 64 KiB.
	Key string
	// Seq within Key: each record of a key has a higher seq than the one before.
	Seq uint64
	// Index is the hook_index.
	Index uint64
	ID    string
	Type  event.Type
	// Schema is the schema of on_stream_changed, "" for other types: endpoints may filter by it. At most 64 bytes.
	Schema      string
	Class       event.Class // Lifecycle or History
	Time        time.Time   // UTC, nanoseconds
	Source      string
	Incarnation string
	Epoch       int64
	Publication string
	// Compensation marks an ending raised for a crash.
	Compensation bool
	// Marks are the newest lifecycle events of each type of this key before this record; from them prev is
	// computed for any subscription.
	Marks []Mark
	// Body is the JSON object of the hook without hook_index, mediaServerId and event. At most 1 MiB.
	Body []byte
}

// HistorySchema is Mark.Schema of records of class history, which only some endpoints are owed.
const HistorySchema = "history"

// Mark is the newest event of one type (and schema) of a key.
type Mark struct {
	Type event.Type
	// Schema as in Record.
	Schema string
	Seq    uint64
	Index  uint64
	Epoch  int64
}

// Op changes one entry of the small durable state beside the log (cursors, live publications, reservations).
type Op struct {
	Key   string
	Value []byte // nil deletes
}

// Batch is written as one atomic unit.
type Batch struct {
	Records []*Record
	State   []Op
}

// Ack is the promise of a batch.
type Ack interface {
	// Wait blocks until the batch is durable or the writer is dead. It may be called once, by any goroutine.
	Wait() error
}

// Limit bounds a read. Zero means the default of 1,000 records and 8 MiB.
type Limit struct {
	Records int
	Bytes   int
}

// Defaults of Limit.
const (
	DefaultLimitRecords = 1000
	DefaultLimitBytes   = 8 << 20
)

// OrDefault returns l with the defaults in place of what is zero. A read returns at least one record, if there is
// one, however small Bytes is; Bytes counts the encoded size.
func (l Limit) OrDefault() Limit {
	if l.Records <= 0 {
		l.Records = DefaultLimitRecords
	}
	if l.Bytes <= 0 {
		l.Bytes = DefaultLimitBytes
	}
	return l
}

// Info describes the log.
type Info struct {
	// Created is the creation time in Unix milliseconds.
	Created int64
	// First and Last are the positions of the oldest and the newest durable record; Last+1 == First when empty.
	First, Last uint64
	// SeqFloor: a key that the log does not know starts at SeqFloor+1.
	SeqFloor uint64
	// Bytes is the approximate size on disk.
	Bytes uint64
}

// Reasons for a new epoch; see Journal.NewEpochReason.
const (
	// EpochRestored: the journal is a copy, a restored backup for instance, of one that may have gone on elsewhere.
	EpochRestored = "restored"
	// EpochTailLost: records that were acknowledged may be missing, because the machine stopped while the journal
	// was written without fsync.
	EpochTailLost = "tail_lost"
)

// Journal is the port.
type Journal interface {
	Info() Info
	// NewEpochReason returns "" or the Epoch constant that says why seqs and indexes of the current epoch may have
	// been given to other events before. The owner of the epoch must then begin a new one. The answer stays the
	// same while the journal is open; the first Append or SetState settles it atomically with its own content, so
	// that the new epoch belongs into that write. Until then every Open gives the reason again.
	NewEpochReason() string
	// Append assigns positions and starts the write. See the package comment.
	Append(b Batch) (Ack, error)
	// Read returns durable records with Position >= from in order. If from is before Info().First reading starts
	// there. An empty result means that the tail was reached. Records are shared: do not change them.
	Read(from uint64, lim Limit) ([]*Record, error)
	// ReadKey returns durable records of the key with Seq >= seq in order.
	ReadKey(key string, seq uint64, lim Limit) ([]*Record, error)
	// LastOfKey returns the newest record of the key, nil when the log has none. It includes records that were
	// appended but are not durable yet.
	LastOfKey(key string) (*Record, error)
	// State returns the entries whose key has the prefix.
	State(prefix string) (map[string][]byte, error)
	// SetState writes ops atomically; with sync they are durable when it returns, without at the latest after the
	// next durable batch.
	SetState(ops []Op, sync bool) error
	// Trim removes all records with Position < before and raises the seq floor, durably, to the highest seq that it
	// removed. It may run beside Append. It returns the number of records removed.
	Trim(before uint64) (int, error)
	// Healthy returns nil or the error that killed the writer.
	Healthy() error
	// Close flushes and waits. It is idempotent.
	Close() error
}

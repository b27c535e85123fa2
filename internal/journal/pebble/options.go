package pebble

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"time"

	pebbledb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/sstable/block"
)

const (
	// cacheSize holds the blocks that readers at the tail and the index share. Records are read once or twice.
	cacheSize = 8 << 20
	// memTableSize bounds the memory of one memtable, and with it what a start has to replay.
	memTableSize = 8 << 20
	// memTables may pile up while one is being written, before Append waits.
	memTables = 4
	// mergeTables of the index pile up before they are merged: each merge rewrites the index, and who reads it, for a stream
	// that is behind or asked about, has to look into all of them, a microsecond each.
	mergeTables = 16
	// stopWrites is so many tables in level 0 that compactions never make Append wait: reads become slower first.
	stopWrites = 1000
	// reclaimDelay is how long after Trim at the latest the space is given back.
	reclaimDelay = 30 * time.Second
)

// options returns Pebble's options for this journal.
func (j *Journal) options() *pebbledb.Options {
	o := &pebbledb.Options{
		FS:                          j.fs,
		Logger:                      &pebbleLogger{j: j},
		CacheSize:                   cacheSize,
		MemTableSize:                memTableSize,
		MemTableStopWritesThreshold: memTables,
		L0CompactionThreshold:       mergeTables,
		L0StopWritesThreshold:       stopWrites,
		LBaseMaxBytes:               64 << 20,
		MaxOpenFiles:                256,
		BytesPerSync:                512 << 10,
		FlushDelayDeleteRange:       reclaimDelay,
		FormatMajorVersion:          pebbledb.FormatTableFormatV6,
	}
	o.EventListener = &pebbledb.EventListener{
		BackgroundError: func(err error) { j.fs.freeze(fmt.Errorf("background work: %w", err)) },
		DataCorruption: func(info pebbledb.DataCorruptionInfo) {
			j.log.Error("the journal found stored bytes that are not what was written",
				"file", info.Path, "details", firstLine{info.Details}.Error())
		},
		LowDiskSpace: func(info pebbledb.LowDiskSpaceInfo) {
			j.log.Warn("the journal's disk is running full",
				"available_bytes", info.AvailBytes, "total_bytes", info.TotalBytes)
		},
	}
	o.Experimental.SpanPolicyFunc = tableLimits
	o.CompactionConcurrencyRange = func() (int, int) { return 1, 1 }
	for i := range o.Levels {
		o.Levels[i].BlockSize = 16 << 10
		o.Levels[i].Compression = func() *sstable.CompressionProfile { return block.SnappyCompression }
	}
	return o
}

// tableLimits makes Pebble end a table where the first byte of the keys changes, so that none has records and index
// entries. Records come in the order of their positions: their tables overlap no older ones and are not merged with
// them. What is merged again and again is the index only, a tenth of the bytes.
func tableLimits(start []byte) (policy pebbledb.SpanPolicy, end []byte, err error) {
	if len(start) == 0 || start[0] == 0xFF {
		return policy, nil, nil
	}
	return policy, []byte{start[0] + 1}, nil
}

// pebbleLogger passes Pebble's log on and survives its Fatalf.
type pebbleLogger struct{ j *Journal }

// Infof implements pebble.Logger. Pebble reports each flush and compaction here.
func (l *pebbleLogger) Infof(format string, args ...any) {
	if l.j.log.Enabled(context.Background(), slog.LevelDebug) {
		l.j.log.Debug("pebble", "text", fmt.Sprintf(format, args...))
	}
}

// Errorf implements pebble.Logger.
func (l *pebbleLogger) Errorf(format string, args ...any) {
	l.j.log.Warn("pebble", "text", fmt.Sprintf(format, args...))
}

// fatal is what a method of Journal panics with, and recovers, when Pebble calls Fatalf below it.
type fatal struct{ err error }

// Fatalf implements pebble.Logger. Pebble counts on it not to return, so that the writer is dead and this goroutine
// ends: by a panic that the method of Journal recovers under which it was called, or else, in one of Pebble's own
// goroutines, by runtime.Goexit. Failing disks do not lead here, because frozenFS hides them: it takes a bug.
func (l *pebbleLogger) Fatalf(format string, args ...any) {
	err := fmt.Errorf("pebble gave up: "+format, args...)
	l.j.broken.Store(true)
	l.j.fs.freeze(err)
	if calledByJournal() {
		panic(fatal{err})
	}
	runtime.Goexit()
}

// calledByJournal says whether a method that recovers is on the stack.
func calledByJournal() bool {
	pcs := make([]uintptr, 128)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(1, pcs)])
	for {
		frame, more := frames.Next()
		if strings.HasSuffix(frame.Function, "journal/pebble.(*Journal).guarded") {
			return true
		}
		if !more {
			return false
		}
	}
}
